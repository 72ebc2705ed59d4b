"""Large files are put together: docs/design.md, section 4.11."""

import glob
import os
import random
import subprocess

import pytest

from chunks import Chunks
from stack import place, ports
from test_monitor import Monitor
from uploads import now_ms, sha256

KIB = 1024


def noise(size, seed):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def chunks(kafka, topic):
    return Chunks(kafka, topic)


@pytest.fixture
def assembler(lane):
    """A processor with assembling lanes, and settings to change."""
    def start(**settings):
        settings.setdefault("assemble_lanes", 1)
        p = lane(start=False, **settings)
        p.start()
        p.wait_log("mod=assemble msg=taken")
        return p
    return start


@pytest.fixture
def references(kafka, topic, until):
    """Waits for so many references; {ce_id: [record]}"""
    def wait(count, timeout=60):
        def found():
            refs = {}
            for r in kafka.records(topic):
                assert r.headers["ce_type"] == "sluice.reference"
                refs.setdefault(r.headers["ce_id"], []).append(r)
            return refs if len(refs) >= count else None
        return until(found, timeout, "%d references" % count)
    return wait


@pytest.fixture
def committed(kafka, topic):
    """{partition: offset} that the assembling lanes committed."""
    def read():
        from confluent_kafka import Consumer, TopicPartition
        c = Consumer({"bootstrap.servers": kafka.bootstrap,
                      "group.id": topic + ".chunks"})
        try:
            return {p.partition: p.offset for p in c.committed(
                [TopicPartition(topic + ".chunks", i) for i in range(4)], 10)}
        finally:
            c.close()
    return read


def objects(store):
    return sorted(p for p in glob.glob(store + "/**", recursive=True)
                  if os.path.isfile(p))


def holds(p, ref, part):
    """The reference's object is the part's file."""
    path = os.path.join(p.store, ref.headers["ce_dataref"])
    with open(path, "rb") as f:
        data = f.read()
    assert data == part.value
    assert sha256(data) in path
    return path


@pytest.fixture
def counted(summary, until):
    """Waits until the rows count each of these files so often, and no other;
    their objects are those of the references."""
    def wait(p, *parts, times=1):
        want = sorted([(sha256(x.value), times) for x in parts])
        until(lambda: sorted((r.sha256, r.count) for r in summary.rows())
              == want, 60, "a count of %d each" % times)
        for row in summary.rows():
            with open(os.path.join(p.store, row.object), "rb") as f:
                assert sha256(f.read()) == row.sha256
        return summary.rows()
    return wait


def markers(kafka, topic):
    """{id: reason} of what was sent to the dead topic, each once."""
    found = {}
    for r in kafka.records(topic + ".dead"):
        assert r.key.decode() not in found, found
        assert r.headers["error-stage"] == "assemble"
        assert r.headers["error-topic"] == topic + ".chunks"
        assert r.value == b""
        found[r.key.decode()] = r.headers["error-reason"]
    return found


def test_files_among_each_other_become_objects_and_references(
        chunks, assembler, references, committed, counted, kafka, topic, until):
    p = assembler()
    a = chunks.part(noise(700 * KIB, 1), name="a.mp4", customer="acme & co",
                    ce_idempotencykey="k1")
    b = chunks.part(noise(300 * KIB, 2), name="b.mp4")
    c = chunks.part(noise(100 * KIB, 3), name="c.mp4", partition=1)
    while a.sent < len(a.value):
        a.piece(100 * KIB)
        b.sent < len(b.value) and b.piece(100 * KIB)
        c.sent < len(c.value) and c.piece(100 * KIB)
    a.abort()                       # behind a whole file it means nothing
    chunks.flush()

    refs = references(3)
    for part in a, b, c:
        ref, = refs[part.id]
        holds(p, ref, part)
        assert ref.key.decode() == sha256(part.value)
        assert ref.value == b""
        assert ref.headers["ce_size"] == str(len(part.value))
        assert ref.headers["ce_sha256"] == sha256(part.value)
        assert ref.headers["content-type"] == "video/mp4"
        assert "ce_chunk" not in ref.headers and "ce_last" not in ref.headers
    assert refs[a.id][0].headers["ce_idempotencykey"] == "k1"
    assert refs[a.id][0].headers["ce_customer"] == "acme & co"
    assert "c-acme%20%26%20co/" in refs[a.id][0].headers["ce_dataref"]
    assert len(objects(p.store)) == 3
    row, = [r for r in counted(p, a, b, c) if r.customer]
    assert (row.customer, row.name, row.type, row.size, row.upload) == (
        "acme & co", "a.mp4", "video/mp4", len(a.value), a.id)

    # Nothing is unfinished: the low water is the end of the log.
    ends = kafka.end_offsets(topic + ".chunks")
    until(lambda: [committed()[i] == ends[i] for i in (0, 1)] == [True, True],
          30, "the low water at the end")
    until(lambda: not glob.glob(p.dir + "/../spool/lane-*/*"), 10,
          "an empty spool")


def test_a_file_that_is_given_up_leaves_nothing(
        chunks, assembler, references, committed, kafka, topic, until):
    p = assembler()
    a = chunks.part(noise(300 * KIB, 1))
    a.piece(100 * KIB).piece(100 * KIB).abort().piece(100 * KIB)
    b = chunks.part(noise(100 * KIB, 2)).all(50 * KIB)
    chunks.flush()

    assert list(references(1)) == [b.id]
    until(lambda: committed()[0] == kafka.end_offsets(topic + ".chunks")[0],
          30, "the low water at the end")
    assert markers(kafka, topic) == {}
    assert len(objects(p.store)) == 1


def test_what_makes_no_file_is_dead_once_with_the_reason(
        chunks, assembler, references, kafka, topic, until):
    assembler()
    value = noise(300 * KIB, 1)
    gap = chunks.part(value).piece(100 * KIB).piece(100 * KIB, number=2)
    gap.piece(100 * KIB, number=3)
    head = chunks.part(value).piece(100 * KIB, number=1).piece(200 * KIB)
    wrong = chunks.part(value)
    wrong.whole["ce_sha256"] = sha256(b"another")
    wrong.all(100 * KIB)
    short = chunks.part(value)
    short.whole["ce_size"] = "300"
    short.all(100 * KIB)
    other = chunks.part(value).piece(100 * KIB)
    other.piece(100 * KIB, ce_customer="someone else").piece(100 * KIB)
    odd = chunks.part(value).piece(100 * KIB)
    odd.piece(100 * KIB, ce_chunk="one").piece(100 * KIB)
    twice = chunks.part(value).piece(100 * KIB)
    twice.sent, twice.number = 0, 0          # a copy of the log has it so
    twice.all(100 * KIB)
    chunks.flush()

    assert list(references(1)) == [twice.id]
    found = until(lambda: len(markers(kafka, topic)) == 6
                  and markers(kafka, topic), 60, "six dead parts")
    assert found[gap.id] == "piece 1 is missing"
    assert found[head.id] == "its first piece is not in the log"
    assert found[wrong.id].startswith("the bytes hash to")
    assert found[short.id] == "ce_size is 300, its pieces have 307200 bytes"
    assert found[other.id] == "its pieces name different customers"
    assert found[odd.id] == "ce_chunk is no number"


def test_a_record_that_is_no_piece_is_sent_on_as_it_is(
        chunks, assembler, references, kafka, topic):
    assembler()
    chunks.produce("key", b"bytes", [("ce_type", b"sluice.file")], 0)
    b = chunks.part(noise(100 * KIB, 2)).all(50 * KIB)
    chunks.flush()
    assert list(references(1)) == [b.id]
    dead, = kafka.wait_records(topic + ".dead", 1)
    assert dead.value == b"bytes" and dead.key == b"key"
    assert dead.headers["error-stage"] == "assemble"
    assert dead.headers["ce_type"] == "sluice.file"


def test_a_full_spool_reads_again_what_it_dropped(
        chunks, assembler, references, counted, kafka, topic):
    p = assembler(spool_bytes="1m")
    parts = [chunks.part(noise(600 * KIB, i), partition=i % 2)
             for i in range(6)]
    for _ in range(6):
        for part in parts:
            part.piece(100 * KIB)
    chunks.flush()

    refs = references(6, 90)
    for part in parts:
        assert len(refs[part.id]) == 1
        holds(p, refs[part.id][0], part)
    log = p.read_log()
    assert "msg=dropped" in log and 'msg="read again"' in log
    counted(p, *parts)
    assert markers(kafka, topic) == {}


def test_a_file_larger_than_the_spool_is_dead_and_others_go_on(
        chunks, assembler, references, kafka, topic, until):
    assembler(spool_bytes="1m")
    big = chunks.part(noise(1500 * KIB, 1))
    small = chunks.part(noise(300 * KIB, 2))
    while big.sent < len(big.value):
        big.piece(100 * KIB)
        small.sent < len(small.value) and small.piece(100 * KIB)
    chunks.flush()
    assert list(references(1)) == [small.id]
    found = until(lambda: markers(kafka, topic), 60, "a dead part")
    assert found == {big.id: "it has more than the 1048576 bytes of a lane's "
                     "spool"}


def test_a_killed_lane_begins_at_the_first_unfinished_piece(
        chunks, assembler, references, committed, counted, kafka, topic, until):
    p = assembler()
    done = chunks.part(noise(200 * KIB, 1))
    slow = chunks.part(noise(400 * KIB, 2))
    done.piece(100 * KIB)
    slow.piece(100 * KIB)
    done.piece(100 * KIB)
    slow.piece(100 * KIB)
    chunks.flush()
    references(1)
    until(lambda: committed()[0] == 1, 30, "low water at the second file")

    p.kill()
    slow.all(100 * KIB)
    chunks.flush()
    p.start()
    references(2)
    counted(p, done, slow)
    # The end of the first file lies behind the low water: that is no file.
    p.stop()
    refs = references(2)
    assert [len(refs[x.id]) for x in (done, slow)] == [1, 1]
    holds(p, refs[slow.id][0], slow)
    assert markers(kafka, topic) == {}
    assert "leftovers of a crash removed" in p.read_log()


def test_without_its_offset_the_log_is_read_from_the_start(
        chunks, assembler, references, counted, topic, until, ini):
    p = assembler(pipeline=topic)
    a = chunks.part(noise(200 * KIB, 1)).all(100 * KIB)
    chunks.flush()
    first, = references(1)[a.id]
    counted(p, a)
    p.stop()

    # Of another group's name nothing is committed.
    p.write(ini(pipeline=topic, assemble_lanes=1).replace(
        "group.id = " + topic, "group.id = %s-2" % topic))
    p.start()
    refs = until(lambda: (lambda r: len(r[a.id]) == 2 and r)(references(1)),
                 60, "a second announcement")
    assert {r.headers["ce_dataref"] for r in refs[a.id]} == \
        {first.headers["ce_dataref"]}
    assert len(objects(p.store)) == 1

    # A file behind it is counted; the one that came again is not.
    b = chunks.part(noise(200 * KIB, 2)).all(100 * KIB)
    chunks.flush()
    counted(p, a, b)


def test_an_unfinished_file_expires_by_event_time(
        chunks, assembler, references, committed, kafka, topic, until):
    p = assembler(part_ttl="5s")
    chunks.part(noise(200 * KIB, 1)).piece(100 * KIB, ts=now_ms() - 20000)
    b = chunks.part(noise(200 * KIB, 2)).all(100 * KIB)
    chunks.flush()
    assert list(references(1)) == [b.id]
    p.wait_log("msg=expired")
    until(lambda: committed()[0] == kafka.end_offsets(topic + ".chunks")[0],
          30, "the low water at the end")
    assert markers(kafka, topic) == {}


@pytest.mark.parametrize("how", ["gone", "wrong"])
def test_what_the_spool_lost_is_read_again(
        how, chunks, assembler, references, counted, kafka, topic, until):
    p = assembler()
    a = chunks.part(noise(400 * KIB, 1)).piece(100 * KIB).piece(100 * KIB)
    chunks.flush()
    pattern = p.dir + "/../spool/lane-*/*"
    path, = until(lambda: [f for f in glob.glob(pattern)
                           if os.path.getsize(f) == 200 * KIB], 30, "pieces")
    if how == "gone":
        os.unlink(path)
    else:
        with open(path, "r+b") as f:
            f.write(b"not what was there")
    a.all(100 * KIB)
    chunks.flush()
    ref, = references(1)[a.id]
    holds(p, ref, a)
    counted(p, a)
    assert 'msg="read again"' in p.read_log()
    assert markers(kafka, topic) == {}


@pytest.mark.skipif(not place.is_root(), reason="it mounts a disk")
def test_a_disk_smaller_than_the_quota_is_enough_for_one_at_a_time(
        chunks, assembler, references, counted, kafka, topic, place_of):
    spool = os.path.join(place_of, "spool")
    os.mkdir(spool)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "spool", spool],
                   check=True)
    try:
        p = assembler(spool_bytes="100m")
        parts = [chunks.part(noise(600 * KIB, i), partition=i % 2)
                 for i in range(4)]
        for _ in range(6):
            for part in parts:
                part.piece(100 * KIB)
        chunks.flush()
        references(4, 90)
        counted(p, *parts)
        assert "No space left on device" not in p.read_log()
        p.stop()
    finally:
        subprocess.run(["umount", spool], check=True)
    assert markers(kafka, topic) == {}


def test_a_spool_that_is_away_stalls_large_files_alone(
        chunks, lane, references, uploads, summary, until, place_of):
    spool = os.path.join(place_of, "away", "spool")
    p = lane(start=False, assemble_lanes=1, spool=spool)
    a = chunks.part(noise(200 * KIB, 1)).all(100 * KIB)
    chunks.flush()
    p.start()
    p.wait_log("step=spool")
    uploads.send(b"small")
    uploads.flush()
    until(summary.rows, 30, "the row of a small file")

    os.mkdir(os.path.dirname(spool))
    until(lambda: len(summary.rows()) == 2, 60, "the row of the large file")
    assert {r.sha256 for r in summary.rows()} == \
        {sha256(b"small"), sha256(a.value)}


def test_monitors_see_large_files(chunks, processor, ini, references, topic,
                                  until):
    listen = "127.0.0.1:%d" % ports.free()
    text = ini(assemble_lanes=1) + "\n[http]\nlisten = %s\n" % listen
    p = processor(text)
    m = Monitor(listen)
    until(lambda: m.ask("/readyz")[0] == 200, 60, "readiness")
    a = chunks.part(noise(200 * KIB, 1)).piece(100 * KIB)
    b = chunks.part(noise(200 * KIB, 2)).all(100 * KIB)
    c = chunks.part(noise(200 * KIB, 3)).piece(100 * KIB).abort()
    chunks.flush()
    assert list(references(1)) == [b.id]
    until(lambda: m.value("large_files_total", end="whole") == 1, 20, "one")
    until(lambda: m.value("large_files_total", end="aborted") == 1, 20, "one")
    until(lambda: m.value("spool_bytes") == 100 * KIB, 20, "what a has")
    until(lambda: m.value("committed_offset", topic=topic + ".chunks",
                          partition="0") == 0, 20, "low water at a")
    until(lambda: m.value("lag_messages", topic=topic + ".chunks") == 0, 20,
          "no lag")
    assert p.alive() and a.sent and c.sent


def test_more_files_than_are_remembered_are_read_once_others_have_ended(
        chunks, assembler, references, counted, kafka, topic, until):
    p = assembler(max_parts=2)
    parts = [chunks.part(noise(200 * KIB, n)) for n in range(7)]
    for part in parts:
        part.piece(100 * KIB)
    for part in parts[2:5]:
        part.piece(100 * KIB)              # ends before there is a place
    chunks.flush()
    p.wait_log("too many files under way")
    for part in parts[:2]:
        part.piece(100 * KIB)
    chunks.flush()
    refs = references(5)
    p.kill()                               # in the midst of reading again
    p.start()
    for part in parts[5:]:
        part.piece(100 * KIB)
    chunks.flush()
    refs = references(7)
    assert set(refs) == {part.id for part in parts}
    counted(p, *parts)
    assert markers(kafka, topic) == {}


def test_files_that_never_end_give_their_places_to_others(
        chunks, assembler, references, kafka, topic):
    p = assembler(max_parts=2, part_ttl="30s")
    for n in range(2):
        chunks.part(noise(200 * KIB, n)).piece(100 * KIB,
                                               ts=now_ms() - 40000)
    late = chunks.part(noise(200 * KIB, 2))
    late.piece(100 * KIB).piece(100 * KIB)
    chunks.flush()
    p.wait_log("too many files under way")
    assert list(references(1)) == [late.id]
    assert markers(kafka, topic) == {}


def recreate(kafka, name, until):
    kafka.delete_topic(name)
    until(lambda: name not in kafka.admin().list_topics(timeout=10).topics)
    kafka.create_topic(name, 4, {"max.message.bytes": 2 << 20})


@pytest.mark.parametrize("when", [
    "stopped", pytest.param("reading", marks=pytest.mark.full)])
def test_a_chunks_topic_made_anew_is_read_from_its_start(
        when, chunks, processor, ini, references, counted, kafka, topic,
        committed, until):
    """It has grown past where the lane was; each file counts once."""
    p = processor(ini(assemble_lanes=1).replace(
        "session.timeout.ms = 6000", "session.timeout.ms = 45000"))
    p.store = ini.store
    p.wait_log("mod=assemble msg=taken")
    old = chunks.part(noise(200 * KIB, 1)).all(50 * KIB)
    chunks.flush()
    references(1)
    until(lambda: committed()[0] == 4)
    if when == "reading":
        p.freeze()
    else:
        p.stop()
    recreate(kafka, topic + ".chunks", until)
    new = [chunks.part(noise(200 * KIB, n)).all(50 * KIB) for n in (2, 3, 4)]
    chunks.flush()
    if when == "reading":
        p.thaw()
    else:
        p.start()
    refs = references(4, 90)
    assert set(refs) == {part.id for part in [old] + new}
    # Kafka forgets what was committed for a topic that is deleted.
    assert ("this is another log" in p.read_log()) == (when == "reading")
    counted(p, old, *new)
