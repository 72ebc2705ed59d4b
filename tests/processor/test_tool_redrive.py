"""redrive: late and dead letters go back, and count once."""

import pytest

from commands import Commands
from uploads import WINDOW_MS, now_ms, sha256


@pytest.fixture
def commands(ini, place_of):
    return Commands(place_of, ini())


@pytest.fixture
def letters(kafka, topic, uploads):
    """Writes letters as the processor does; letters(kind, value, **over)."""
    from uploads import Uploads
    places = iter(range(1000))

    def write(kind, value, reason="late: its window was closed or due",
              **over):
        u = Uploads(kafka, topic)
        u.topic = topic + "." + kind
        more = {"error-reason": reason, "error-topic": topic,
                "error-partition": "0", "error-offset": str(next(places)),
                "error-timestamp": str(now_ms() - 3600000),
                "error-stage": "window"}
        more.update({k.replace("__", "-"): v for k, v in over.items()})
        u.send(value, **more)
        u.flush()
    return write


def test_a_letter_goes_back_as_it_was(commands, letters, kafka, topic):
    letters("late", "straggler", ce_subject="a.png", x__trace="7")
    before = now_ms()
    answer = commands.run("redrive", "--topic", topic + ".late")
    assert answer.code == 0, answer
    assert answer.facts["redriven"] == 1
    letter, = kafka.records(topic + ".late")
    back, = kafka.records(topic)
    assert (back.key, back.value) == (letter.key, letter.value)
    assert back.timestamp >= before
    assert not [n for n in back.headers if n.startswith("error-")]
    assert back.headers["ce_redriven"] == "1"
    for name, value in letter.header_list:
        if not name.startswith("error-"):
            assert back.headers[name] == value.decode()


def test_a_letter_goes_to_the_partition_of_its_key(commands, letters, kafka,
                                                   topic, uploads):
    uploads.send("the same bytes")
    uploads.flush()
    letters("dead", "the same bytes")
    assert commands.run("redrive", "--topic", topic + ".dead").code == 0
    first, second = kafka.wait_records(topic, 2)
    assert first.partition == second.partition


def test_how_often_it_came_back_is_counted(commands, letters, kafka, topic):
    letters("dead", "again", ce_redriven="4")
    commands.run("redrive", "--topic", topic + ".dead")
    back, = kafka.records(topic)
    assert back.headers["ce_redriven"] == "5"
    assert [n for n, _ in back.header_list].count("ce_redriven") == 1


def test_a_reason_and_a_time_choose_letters(commands, letters, kafka, topic):
    letters("dead", "a", reason="the store is strange")
    letters("dead", "b", reason="the key is not ce_sha256")
    answer = commands.run("redrive", "--topic", topic + ".dead",
                          "--reason", "store", "--since", "1h")
    assert [r["reason"] for r in answer.rows] == ["the store is strange"]
    assert [r.value for r in kafka.records(topic)] == [b"a"]
    answer = commands.run("redrive", "--topic", topic + ".dead",
                          "--since", "2090-01-01T00:00:00Z")
    assert (answer.code, answer.facts["redriven"]) == (1, 0)


def test_a_dry_run_writes_nothing(commands, letters, kafka, topic):
    letters("dead", "a")
    letters("dead", "b")
    answer = commands.run("redrive", "--topic", topic + ".dead", "--dry-run")
    assert (answer.code, answer.facts["redriven"]) == (0, 2)
    assert kafka.records(topic) == []


def test_copies_and_letters_of_others_stay(commands, letters, kafka, topic):
    letters("dead", "a", error__offset="7")
    letters("dead", "a", error__offset="7")
    letters("dead", "b", error__topic="elsewhere")
    letters("dead", "c", ce_id=None)
    answer = commands.run("redrive", "--topic", topic + ".dead")
    row, = answer.rows
    assert [row[k] for k in ("redriven", "copies", "foreign", "unfit")] \
        == [1, 1, 1, 1]
    assert [r.value for r in kafka.records(topic)] == [b"a"]


@pytest.mark.parametrize("name", ["", "other.dead"])
def test_other_topics_are_refused(name, commands, topic):
    answer = commands.run("redrive", "--topic", name or topic)
    assert answer.code == 2
    assert "dead_topic" in answer.err


def test_a_reference_without_bytes_stays(commands, letters, kafka, topic):
    digest = sha256(b"x")
    letters("dead", "", ce_type="sluice.reference", ce_sha256=digest,
            ce_dataref="2026/11/20/12/00:30/%s.png" % digest)
    answer = commands.run("redrive", "--topic", topic + ".dead")
    assert (answer.code, answer.rows[0]["unfit"]) == (1, 1)
    assert kafka.records(topic) == []


def test_a_letter_redriven_twice_counts_once(commands, lane, uploads, kafka,
                                             topic, summary, until):
    lane()
    uploads.send("to be closed", partition=0)
    uploads.flush()
    until(lambda: summary.progress()[0][0] is not None)
    uploads.send("straggler", partition=0,
                 ts=summary.progress()[0][0] + 1)
    uploads.flush()
    kafka.wait_records(topic + ".late", 1)
    for _ in range(2):
        assert commands.run("redrive", "--topic", topic + ".late").code == 0
    back = [r for r in kafka.records(topic) if "ce_redriven" in r.headers]
    assert len(back) == 2
    end = max(r.timestamp for r in back)
    end = end - end % WINDOW_MS + WINDOW_MS
    uploads.send("the clock", partition=back[0].partition, ts=now_ms())
    uploads.flush()
    digest = sha256(b"straggler")
    until(lambda: any(r.final for r in summary.rows()
                      if r.sha256 == digest), 60)
    assert sum(r.count for r in summary.rows() if r.sha256 == digest) == 1
