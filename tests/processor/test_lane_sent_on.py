"""Late and dead records: sent on with the reason, and the lane goes on."""

import re

import pytest

from uploads import LATENESS_MS, WINDOW_MS, dead, now_ms, sha256


def closed_once(uploads, summary, until, partition=0):
    """Lets a window of the partition close; returns its start."""
    uploads.send("to be closed", partition=partition)
    uploads.flush()
    until(lambda: summary.progress()[partition][0] is not None)
    return summary.progress()[partition][0]


def test_a_record_of_a_closed_window_goes_to_late(lane, uploads, summary,
                                                  settled, kafka, topic,
                                                  until):
    lane()
    window = closed_once(uploads, summary, until)
    uploads.send("straggler", "late.png", "k", partition=0, ts=window + 1)
    uploads.send("on time", partition=0)
    uploads.flush()
    late, = kafka.wait_records(topic + ".late", 1)
    source = [r for r in kafka.records(topic) if r.value == b"straggler"][0]
    assert (late.value, late.key) == (source.value, source.key)
    for name, value in source.header_list:
        assert late.headers[name] == value.decode()
    assert late.headers["error-topic"] == topic
    assert late.headers["error-partition"] == "0"
    assert late.headers["error-offset"] == str(source.offset)
    assert "late" in late.headers["error-reason"]
    settled(skip={(0, source.offset)})


def test_late_is_decided_by_the_records_before(lane, uploads, settled, kafka,
                                               topic, until, summary):
    """A watermark moved in the same batch makes the next record late."""
    base = now_ms() - 30000
    base -= base % WINDOW_MS
    due = base + WINDOW_MS + LATENESS_MS
    uploads.send("a", partition=0, ts=base)
    uploads.send("b", partition=0, ts=due - 1)
    uploads.send("still counts", partition=0, ts=base + WINDOW_MS - 1)
    uploads.send("c", partition=0, ts=due)
    uploads.send("too late", partition=0, ts=base + WINDOW_MS - 1)
    uploads.flush()
    lane()
    late, = kafka.wait_records(topic + ".late", 1)
    assert late.value == b"too late"
    settled(skip=set(dead(kafka, topic + ".late")))


POISON = {
    "no ce_id": dict(ce_id=None),
    "another type": dict(ce_type="sluice.unknown"),
    "a hash that is none": dict(ce_sha256="zz"),
    "a hash of other bytes": dict(ce_sha256=sha256(b"other"),
                                  key=sha256(b"other")),
    "a key that is not the hash": dict(key=sha256(b"other")),
    "a size of other bytes": dict(ce_size="1"),
    "a name that is no UTF-8": dict(ce_subject=b"\xff\xfe"),
    "a NUL in the name": dict(ce_subject=b"a\x00b"),
    "a customer that is too long": dict(ce_customer="k" * 129),
}


@pytest.mark.parametrize("what", POISON)
def test_a_poisoned_record_goes_to_dead_and_the_lane_goes_on(
        what, lane, uploads, settled, kafka, topic):
    lane()
    uploads.send("before", partition=1)
    uploads.send("poison", partition=1, **POISON[what])
    uploads.send("after", partition=1)
    uploads.flush()
    record, = kafka.wait_records(topic + ".dead", 1)
    assert record.value == b"poison"
    assert record.headers["error-topic"] == topic
    assert record.headers["error-partition"] == "1"
    assert record.headers["error-offset"] == "1"
    assert re.search(r"\w{3}", record.headers["error-reason"])
    assert len(settled(skip={(1, 1)})) == 2


def test_a_null_value_is_dead_not_the_end(lane, uploads, settled, kafka,
                                          topic):
    lane()
    uploads.producer.produce(topic, value=None, key="k", partition=2)
    uploads.send("after", partition=2)
    uploads.flush()
    record, = kafka.wait_records(topic + ".dead", 1)
    assert record.value is None
    settled(skip={(2, 0)})


def test_wrong_bytes_first_do_not_spoil_the_right_ones(lane, uploads, settled,
                                                       kafka, topic):
    """Both claim the same hash; in one batch, since they come first."""
    right = b"the right bytes"
    uploads.send("wrong bytes!!!", key=sha256(right), partition=0,
                 ce_sha256=sha256(right))
    uploads.send(right, partition=0)
    uploads.send(right, partition=0)
    uploads.flush()
    lane()
    kafka.wait_records(topic + ".dead", 1)
    rows = settled(skip={(0, 0)})
    assert sum(r.count for r in rows) == 2
    assert rows[0].size == len(right)
    assert rows[0].first_offset == 1


def test_what_was_late_is_not_counted_after_a_replay_nor_lost(
        lane, uploads, summary, settled, redis, kafka, topic, until):
    """The straggler lies behind the end of the closed window's records, so a
    replay that only looked for later times would not meet it."""
    p = lane()
    window = closed_once(uploads, summary, until)
    until(lambda: not redis.client().exists(
        "sluice:{%s/%s:0}:open" % (topic, topic)))
    p.kill()
    redis.flush()
    uploads.send("straggler", partition=0, ts=window + 1)
    uploads.flush()
    p.start()
    late = kafka.wait_records(topic + ".late", 1)
    assert {r.value for r in late} == {b"straggler"}
    settled(skip=set(dead(kafka, topic + ".late")))
