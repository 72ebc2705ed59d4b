"""A record that the log holds twice counts once.

A producer that asks again for what it got no answer to may store a record a
second time: the same ce_id, content and timestamp at another offset of the
same partition.  sluice.uploads knows which of the two came first.
"""

import os
import re
import time
import urllib.request
import uuid

import pytest

from commands import Commands
from stack import ports
from uploads import WINDOW_MS, now_ms, sha256, window_of

PLACES = """
SELECT partition, "offset", id FROM sluice.uploads WHERE topic = %s
 ORDER BY 1, 2
"""

LONG = dict(window="4s", allowed_lateness="4s")


@pytest.fixture
def double(uploads):
    """double(value, ...): a record, to be sent as often as it is called."""
    def make(value, partition=0, **more):
        args = dict(dict(upload=str(uuid.uuid4()), ts=now_ms()), **more)

        def send():
            uploads.send(value, partition=partition, **args)
            uploads.flush()
        return send
    return make


@pytest.fixture
def read(redis, topic, until, kafka):
    """Waits until partition 0 was applied up to the log's end."""
    def wait():
        end = str(kafka.end_offsets(topic)[0])
        until(lambda: redis.client().hget(
            "sluice:{%s/%s:0}:progress" % (topic, topic), "next") == end)
    return wait


def places(summary, topic):
    return [r[:2] for r in summary.query(PLACES, topic)]


def test_in_one_batch(lane, double, settled, summary, topic):
    ts = now_ms()
    one = double("one", ts=ts)
    one()
    one()
    double("one", ts=ts)()                 # the same file, of another upload
    one()
    p = lane()
    row, = settled(skip={(0, 1), (0, 3)})
    assert (row.count, row.first_offset) == (2, 0)
    assert places(summary, topic) == [(0, 0), (0, 2)]
    assert "stalled" not in p.read_log()


def test_in_two_batches(lane, double, settled, read, summary, topic):
    lane()
    one = double("one", ts=window_of(now_ms(), WINDOW_MS) + WINDOW_MS)
    one()
    read()
    one()
    row, = settled(skip={(0, 1)})
    assert row.count == 1
    assert places(summary, topic) == [(0, 0)]


@pytest.mark.parametrize("name", [
    pytest.param(None, id="plain"),
    pytest.param("k", id="keyed", marks=pytest.mark.full)])
def test_with_a_kill_in_between(lane, double, read, until, summary, topic,
                                name):
    p = lane(**LONG)
    one = double("one", ce_idempotencykey=name)
    one()
    read()
    p.kill()
    one()
    p.start()
    read()
    until(lambda: set(summary.counts(final=True).values()) == {1})
    assert places(summary, topic) == [(0, 0)]


@pytest.mark.full
def test_killed_between_ledger_and_apply(lane, uploads, double, redis,
                                         topic, until, summary):
    """Both are written down, and a full Redis does not take the batch."""
    p = lane(**LONG)
    client = redis.client()
    uploads.send("first", partition=0)
    uploads.flush()
    until(lambda: summary.rows())
    client.config_set("maxmemory", 1)
    try:
        one = double("one")
        one()
        one()
        until(lambda: places(summary, topic)[1:] == [(0, 1)])
        p.kill()
        assert client.hget("sluice:{%s/%s:0}:progress" % (topic, topic),
                           "next") == "1"
    finally:
        client.config_set("maxmemory", "256mb")
    p.start()
    until(lambda: sorted(summary.counts(final=True).values()) == [1, 1])


def test_a_replay_decides_the_same(lane, double, read, redis, until, summary,
                                   topic):
    """FLUSHALL, twice, and a kill: the first place stays the one."""
    p = lane(**LONG)
    base = window_of(now_ms(), 4000)
    one, two = double("one", ts=base), double("two", ts=base + 1)
    for send in one, two, one:
        send()
    read()
    for again in one, two:
        redis.flush()
        p.wait_log("state=none")
        again()
        read()
        until(lambda: set(summary.counts().values()) == {1})
    p.kill()
    redis.flush()
    p.start()
    until(lambda: sorted(summary.counts(final=True).values()) == [1, 1])
    assert places(summary, topic) == [(0, 0), (0, 1)]
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []


@pytest.mark.full
def test_with_a_key_beside_another_try(lane, double, settled, summary,
                                       topic):
    """The key's second request has another id; the first is there twice."""
    ts = now_ms()
    one = double("one", ce_idempotencykey="k", ts=ts)
    other = double("one", ce_idempotencykey="k", ts=ts)
    for send in one, other, one, other:
        send()
    lane()
    row, = settled(skip={(0, 1), (0, 2), (0, 3)})
    assert row.count == 1
    assert places(summary, topic) == [(0, 0)]


def test_a_reference(lane, double, settled, ini, summary, topic):
    value = b"large" * 1000
    path = "%s/%s.png" % (time.strftime("%Y/%m/%d/%H/%M:%S", time.gmtime()),
                          sha256(value))
    os.makedirs(os.path.dirname(os.path.join(ini.store, path)))
    with open(os.path.join(ini.store, path), "wb") as f:
        f.write(value)
    one = double("", key=sha256(value), ce_type="sluice.reference",
                 ce_dataref=path, ce_sha256=sha256(value),
                 ce_size=str(len(value)))
    one()
    one()
    lane()
    row, = settled(skip={(0, 1)})
    assert (row.count, row.object) == (1, path)
    assert places(summary, topic) == [(0, 0)]


def test_the_same_id_of_another_content_is_another_record(
        lane, double, settled):
    """Not as the module writes them, and nothing is dropped in silence."""
    same = dict(upload=str(uuid.uuid4()), ts=now_ms())
    double("one", **same)()
    double("two", **same)()
    double("two", customer="k", **same)()
    lane()
    rows = settled()
    assert [r.count for r in rows] == [1, 1, 1]


def test_the_second_is_not_late(lane, uploads, double, settled, kafka, topic,
                                read):
    """It counted; put back from the late topic it would count again."""
    lane()
    old = window_of(now_ms(), WINDOW_MS) - 8 * WINDOW_MS
    one = double("one", ts=old)
    one()
    uploads.send("now", partition=0)
    uploads.flush()
    read()
    one()
    double("straggler", ts=old)()
    late, = kafka.wait_records(topic + ".late", 1)
    assert late.value == b"straggler"
    settled(skip={(0, 2), (0, 3)})
    one()                                  # with its window closed for sure
    double("straggler", ts=old)()
    assert [r.value for r in kafka.wait_records(topic + ".late", 2)] \
        == [b"straggler"] * 2


def test_it_is_told_apart_from_a_name_that_came_twice(
        processor, ini, uploads, double, settled):
    listen = "127.0.0.1:%d" % ports.free()
    p = processor(ini() + "[http]\nlisten = %s\n" % listen)
    p.wait_log("msg=taken")
    for _ in range(3):
        uploads.send("one", partition=0, ce_idempotencykey="k")
    one = double("two")
    one()
    one()
    settled(skip={(0, 1), (0, 2), (0, 4)})

    def counted():
        with urllib.request.urlopen("http://%s/metrics" % listen) as r:
            found = dict(re.findall(r'_records_total\{verdict="(\w+)"\} (\d+)',
                                    r.read().decode()))
        return [found.get(v) for v in ("counted", "repeat", "twice")]
    assert counted() == ["2", "2", "1"]


def test_verify_counts_it_once_too(lane, uploads, double, settled, ini,
                                   place_of):
    p = lane()
    one = double("one")
    one()
    uploads.send("one", partition=0)
    one()
    settled(skip={(0, 2)})
    p.stop()
    answer = Commands(place_of, ini()).run("verify")
    assert (answer.code, answer.rows) == (0, []), answer
    assert answer.facts["uploads"] == 2


def test_without_the_table_nobody_remembers(lane, double, settled, ini,
                                            place_of):
    one = double("one")
    one()
    one()
    p = lane(uploads_table="off")
    row, = settled()
    assert row.count == 2
    p.stop()
    answer = Commands(place_of, ini(uploads_table="off")).run("verify")
    assert (answer.code, answer.rows) == (0, []), answer
