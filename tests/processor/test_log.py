"""Another log, gaps in it, an older PostgreSQL, another window: the rows stay
right, or the partition stops and says so."""

import json
import os
import socket
import struct
import subprocess

import pytest

from stack.processor import binary
from test_lane_faults import Traffic
from uploads import WINDOW_MS, dead, now_ms, truth, window_of


def tool(processor, *arguments, status=0):
    """A command's JSON."""
    done = subprocess.run(
        [binary(), arguments[0], "-c", processor.ini, "--json"]
        + list(arguments[1:]), text=True, timeout=120, cwd=processor.dir,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, **processor.environment()))
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else None


def parts(found):
    """Of a command's answer: partition -> its line."""
    return {p["partition"]: p for p in found["partitions"]}


def recreate(kafka, topic, until, **config):
    kafka.delete_topic(topic)
    until(lambda: topic not in kafka.admin().list_topics(timeout=10).topics)
    kafka.create_topic(topic, 4, config)


def delete_records(kafka, topic, partition, offset):
    """What retention does: the log begins at offset.  DeleteRecords, v0."""
    def text(s):
        return struct.pack(">h", len(s)) + s.encode()

    body = (struct.pack(">hhi", 21, 0, 1) + text("test")
            + struct.pack(">i", 1) + text(topic) + struct.pack(">i", 1)
            + struct.pack(">iqi", partition, offset, 10000))
    host, port = kafka.bootstrap.split(",")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(struct.pack(">i", len(body)) + body)
        size = struct.unpack(">i", s.recv(4))[0]
        answer = s.recv(size)
    assert struct.unpack(">h", answer[-2:])[0] == 0, answer


def forget(redis, topic):
    for key in redis.client().scan_iter("sluice:{%s/*" % topic):
        redis.client().delete(key)


def gaps(summary):
    return summary.query(
        "SELECT partition, generation, first_offset, last_offset, reason,"
        " (extract(epoch FROM first_window) * 1000)::bigint,"
        " (extract(epoch FROM last_window) * 1000)::bigint"
        " FROM sluice.gaps WHERE topic = %s ORDER BY 1, 2, 3", summary.topic)


def generation(summary, partition=0):
    return summary.query("SELECT generation FROM sluice.progress"
                         " WHERE topic = %s AND partition = %s",
                         summary.topic, partition)[0][0]


def counted(summary, partition=0):
    """sha256 -> uploads, over windows and generations."""
    return dict(summary.query(
        "SELECT sha256, sum(count)::bigint FROM sluice.summary WHERE topic ="
        " %s AND partition = %s GROUP BY 1", summary.topic, partition))


def hashes(kafka, topic):
    found = {}
    for r in kafka.records(topic):
        key = r.headers["ce_sha256"]
        found[key] = found.get(key, 0) + 1
    return found


# ---- another log ----------------------------------------------------------

@pytest.mark.parametrize("state", [
    "kept", pytest.param("lost", marks=pytest.mark.full)])
def test_a_topic_made_anew_stops_the_partition_until_it_is_adopted(
        state, lane, uploads, settled, summary, kafka, topic, redis, until):
    p = lane()
    for name in ("a", "b", "a"):
        uploads.send(name, partition=0)
    uploads.flush()
    before = settled()
    p.stop()
    was = hashes(kafka, topic)
    if state == "lost":
        forget(redis, topic)

    recreate(kafka, topic, until)
    for name in ("x", "a", "y", "z", "x"):
        uploads.send(name, partition=0)
    uploads.flush()
    p.start()
    p.wait_log("it is another log")
    assert summary.rows() == before

    found = parts(tool(p, "adopt"))
    assert found[0]["result"] == "adopted" and found[0]["as"] == "fresh"
    assert [found[i]["result"] for i in (1, 2, 3)] == ["the same log"] * 3

    # It goes on by itself, and both logs are counted.
    want = hashes(kafka, topic)
    for key, n in was.items():
        want[key] = want.get(key, 0) + n
    until(lambda: counted(summary) == want
          and all(r.final for r in summary.rows()), 60)
    assert generation(summary) == 1
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []
    assert tool(p, "adopt", status=1)["partitions"][0]["result"] \
        == "the same log"
    assert generation(summary) == 1


@pytest.mark.parametrize("quiet", [
    True, pytest.param(False, marks=pytest.mark.full)])
def test_a_topic_made_anew_under_a_reading_lane_stops_its_partitions(
        quiet, processor, ini, uploads, summary, kafka, topic, until):
    """The lane stands still meanwhile, and the new log has grown past it.
    Where it read nothing for 10 s it looks before it applies anything; else it
    finds out within 10 s that it has read on elsewhere."""
    p = processor(ini(window="2s", allowed_lateness="600s").replace(
        "session.timeout.ms = 6000", "session.timeout.ms = 45000"))
    until(lambda: p.read_log().count("msg=taken") == 4)
    for i in range(6):
        uploads.send("old %d" % i, partition=i % 2)
    uploads.flush()
    until(lambda: len(summary.rows()) == 6)
    quiet_at = now_ms() + 12000
    p.freeze()
    recreate(kafka, topic, until)
    for i in range(60):
        uploads.send("new %d" % i, partition=i % 3)
    uploads.flush()
    if quiet:
        until(lambda: now_ms() > quiet_at)
    p.thaw()
    until(lambda: p.read_log().count("it is another log") >= 2, 40)
    stopped = [line for line in p.read_log().splitlines()
               if "it is another log" in line]
    assert all("step=check" in line for line in stopped), stopped
    if quiet:
        assert len(counted(summary, 0)) == len(counted(summary, 1)) == 3
    # The others go on.
    until(lambda: list(counted(summary, 2).values()) == [1] * 20, 90)
    # As does nobody who takes them later.
    p.stop()
    p.start()
    until(lambda: p.read_log(p.log_start).count("it is another log") == 2)
    found = parts(tool(p, "adopt"))
    assert [found[i]["result"] for i in range(4)] \
        == ["adopted", "adopted", "the same log", "the same log"]
    assert found[0]["as"] == found[1]["as"] == "fresh"
    until(lambda: {k for n in range(3) for k in counted(summary, n)}
          >= set(hashes(kafka, topic)))


@pytest.mark.full
def test_open_windows_of_a_log_that_is_gone_stay_counted(
        lane, uploads, summary, kafka, topic, until):
    p = lane(window="2s", allowed_lateness="600s")
    uploads.send("one", partition=0)
    uploads.send("one", partition=0)
    uploads.flush()
    until(lambda: [r.count for r in summary.rows()] == [2])
    p.stop()
    recreate(kafka, topic, until)
    uploads.send("one", partition=0)
    uploads.flush()
    p.start()
    p.wait_log("it is another log")
    assert parts(tool(p, "adopt"))[0]["as"] == "fresh"
    until(lambda: sum(counted(summary).values()) == 3)
    assert sorted((r.count, r.final) for r in summary.rows()) \
        == [(1, False), (2, True)]
    assert [(g[0], g[2], g[3], g[4]) for g in gaps(summary)] \
        == [(0, 2, None, "replaced")]
    assert summary.query("SELECT bool_and(incomplete) FROM sluice.files"
                         " WHERE pipeline = %s", topic)[0][0]


def test_a_copy_of_the_log_counts_nothing_twice(
        lane, uploads, settled, summary, kafka, topic, redis, until):
    """As from a mirror: the same records at other offsets, and new ones."""
    from confluent_kafka import Producer
    p = lane(window="2s", allowed_lateness="3s")
    uploads.send("closed", partition=0)
    uploads.flush()
    settled_rows = until(lambda: [r for r in summary.rows() if r.final])
    start = window_of(max(now_ms(), settled_rows[0].window + 4000), 2000)
    uploads.send("open", partition=0, ts=start)
    uploads.send("open", partition=0, ts=start + 1, ce_idempotencykey="k")
    uploads.flush()
    until(lambda: len(summary.rows()) == 2)
    p.stop()

    old = kafka.records(topic)
    recreate(kafka, topic, until)
    mirror = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    # One more before them, so that every offset is another one.
    uploads.send("before", partition=0, ts=old[0].timestamp - 10)
    uploads.flush()
    for r in old:
        mirror.produce(topic, value=r.value, key=r.key, partition=r.partition,
                       timestamp=r.timestamp,
                       headers=[(k, v.encode()) for k, v in r.headers.items()])
    assert mirror.flush(30) == 0
    uploads.send("new", partition=0, ts=start + 2)
    uploads.flush()

    p.start()
    p.wait_log("it is another log")
    assert parts(tool(p, "adopt", "--dry-run"))[0]["as"] == "copy"
    assert generation(summary) == 0
    assert parts(tool(p, "adopt"))[0]["as"] == "copy"
    until(lambda: len(summary.rows()) == 3
          and all(r.final for r in summary.rows()), 60)
    counts = {r.name: r.count for r in summary.rows()}
    assert sorted(r.count for r in summary.rows()) == [1, 1, 2], counts
    want = {k: n for k, n in truth(kafka, topic, 2000).items()
            if k[1] >= start}
    assert {r.key: r.count for r in summary.rows()
            if r.window >= start} == want
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []


@pytest.mark.full
def test_adopting_beside_a_lane_at_work_changes_no_count(
        lane, uploads, settled, summary, kafka, topic):
    """Nothing has to be stopped first: the older generation is fenced."""
    p = lane()
    with Traffic(uploads) as traffic:
        for _ in range(3):
            traffic.wait(100)
            found = parts(tool(p, "adopt", "--force", "--as", "copy"))
            assert {f["result"] for f in found.values()} == {"adopted"}
    settled()
    assert generation(summary) == 3
    assert dead(kafka, topic + ".late") == []
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []


@pytest.mark.full
def test_a_log_that_lost_its_end_stops_the_partition(
        lane, uploads, settled, summary, kafka, topic, until, redis):
    p = lane()
    for name in ("a", "b", "c"):
        uploads.send(name, partition=0)
    uploads.flush()
    before = settled()
    p.stop()
    forget(redis, topic)
    recreate(kafka, topic, until)
    p.start()
    p.wait_log("the log ends at 0, below 3")
    assert summary.rows() == before


# ---- gaps -----------------------------------------------------------------

@pytest.mark.full
def test_what_retention_took_unread_is_kept_as_a_gap(
        lane, uploads, settled, summary, kafka, topic, until):
    p = lane()
    uploads.send("read", partition=0)
    uploads.flush()
    rows = settled()
    closed = rows[0].window
    p.stop()
    for i in range(5):
        uploads.send("lost %d" % i, partition=0)
    uploads.flush()
    end = kafka.end_offsets(topic)[0]
    uploads.send("first that is left", partition=0)
    uploads.flush()
    left = kafka.records(topic)[-1]
    delete_records(kafka, topic, 0, end)

    p.start()
    p.wait_log("retention has overtaken")
    until(lambda: len([r for r in summary.rows() if r.final]) == 2)
    (gap,) = gaps(summary)
    assert gap[:5] == (0, 0, 1, end - 1, "retention")
    assert closed < gap[5] <= window_of(left.timestamp, WINDOW_MS) <= gap[6]
    flags = [f for f, in summary.query(
        "SELECT incomplete FROM sluice.files WHERE pipeline = %s"
        " ORDER BY window_start", topic)]
    assert flags == [False, True]
    # Once, however often it is taken.
    p.stop()
    p.start()
    until(lambda: p.read_log().count("msg=taken") >= 12)
    assert gaps(summary) == [gap]


def test_a_gap_is_found_where_redis_lost_the_state(
        lane, uploads, summary, kafka, topic, redis, until):
    """Records of a window that was open at the last close: low_offset."""
    p = lane(window="2s", allowed_lateness="20s")
    start = window_of(now_ms() - 24000, 2000)
    uploads.send("closes", partition=0, ts=start)
    uploads.send("open", partition=0, ts=start + 12000)
    uploads.send("closer", partition=0, ts=start + 22500)
    uploads.flush()
    until(lambda: summary.progress()[0][0] == start)
    p.kill()
    forget(redis, topic)
    delete_records(kafka, topic, 0, 2)
    p.start()
    p.wait_log("retention has overtaken")
    until(lambda: len(gaps(summary)) == 1)
    assert gaps(summary)[0][2:4] == (1, 1)


# ---- an older PostgreSQL --------------------------------------------------

@pytest.mark.full
def test_a_restored_backup_gets_its_rows_again(
        lane, uploads, settled, summary, kafka, topic, until, dsn, postgres,
        place_of):
    """A real dump, restored over the database while the lane works."""
    p = lane()
    uploads.send("old", partition=0)
    uploads.flush()
    settled()
    dump = os.path.join(place_of, "backup")
    subprocess.run(["pg_dump", "-Fc", "-f", dump, "-d", dsn], check=True)

    for i in range(3):
        uploads.send("since %d" % i, partition=0)
    uploads.send("old", partition=1)
    uploads.flush()
    want = settled()

    summary.close()
    name = dict(w.split("=", 1) for w in dsn.split())["dbname"]
    postgres.psql("DROP DATABASE %s WITH (FORCE)" % name, "postgres")
    postgres.psql("CREATE DATABASE %s" % name, "postgres")
    subprocess.run(["pg_restore", "-d", dsn, dump], check=True)
    assert len(summary.rows()) < len(want)

    p.wait_log("PostgreSQL lost a close")
    assert [(r.key, r.count) for r in settled()] \
        == [(r.key, r.count) for r in want]


# ---- another window -------------------------------------------------------

@pytest.mark.full
def test_the_window_changes_at_an_end_of_both_sizes(
        lane, uploads, summary, kafka, topic, until, ini):
    p = lane(window="2s", allowed_lateness="1s")
    for i in range(8):
        uploads.send("file %d" % (i % 3), partition=i % 2)
    uploads.flush()
    until(lambda: summary.progress()[0][0] and summary.progress()[1][0])
    uploads.send("keyed", partition=0, ce_idempotencykey="k")
    uploads.flush()

    found = parts(tool(p, "set-window", "6s", "--lateness", "2s"))
    assert {f["result"] for f in found.values()} == {"changed"}
    p.wait_log("windows of 6000 ms")
    closed = {i: c for i, (c, _) in summary.progress().items()}
    p.stop()
    p.write(ini(window="6s", allowed_lateness="2s"))
    for i in range(8):
        uploads.send("file %d" % (i % 3), partition=i % 2)
    uploads.send("keyed", partition=0, ce_idempotencykey="k")
    uploads.flush()
    p.start()
    log = kafka.records(topic)
    repeat = [r for r in log if "ce_idempotencykey" in r.headers][1]

    def right():
        rows = summary.rows()
        new = {}
        for r in log:
            if r is repeat:
                continue
            over = closed[r.partition]
            size = 2000 if over is not None and r.timestamp < over + 6000 \
                else 6000
            key = (r.partition, window_of(r.timestamp, size), "",
                   r.headers["ce_sha256"])
            new[key] = new.get(key, 0) + 1
        return all(r.final for r in rows) \
            and {r.key: r.count for r in rows} == new
    until(right, 60)
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []
    assert tool(p, "set-window", "6s")["partitions"][0]["result"] \
        == "as it was"


@pytest.mark.full
def test_a_window_is_not_changed_in_the_middle_of_another(
        lane, uploads, summary, until):
    p = lane(window="2s", allowed_lateness="1s")
    uploads.send("file", partition=0)
    uploads.flush()
    until(lambda: summary.progress()[0][0])
    p.stop()
    over = summary.progress()[0][0] + 2000
    size = next(s for s in (7, 11, 13, 17) if over % (s * 1000))
    # A record that no window is closed for yet: somebody has to close it.
    uploads.send("waits", partition=0, ts=max(now_ms(), over))
    uploads.flush()
    found = parts(tool(p, "set-window", "%ds" % size, "--wait", "1s",
                       status=1))
    assert found[0]["result"] == "not at an end of both"
    assert generation(summary) == 0


# ---- what is open ---------------------------------------------------------

def test_windows_tells_what_is_open_and_how_far_behind(
        lane, uploads, summary, kafka, topic, until):
    p = lane(window="60s", allowed_lateness="60s")
    now = now_ms()
    for i in range(5):
        uploads.send("file %d" % (i % 3), partition=0, ts=now)
    uploads.flush()
    until(lambda: sum(r.count for r in summary.rows()) == 5)
    p.freeze()
    uploads.send("behind", partition=0, ts=now)
    uploads.flush()
    found = {w["partition"]: w for w in tool(p, "windows")["windows"]}
    p.thaw()
    assert sorted(found) == [0, 1, 2, 3]
    w = found[0]
    assert (w["files"], w["uploads"], w["first"], w["next"], w["end"],
            w["lag"]) == (3, 5, 0, 5, 6, 1)
    assert w["window"].endswith("Z") and w["age_s"] >= 0 and w["lag_s"] >= 0
    assert w["watermark"] is not None
    assert found[1]["window"] is None and found[1]["end"] == 0

    table = subprocess.run([binary(), "windows", "-c", p.ini], text=True,
                           stdout=subprocess.PIPE, check=True).stdout
    assert table.splitlines()[0].split()[:3] == ["partition", "window",
                                                 "files"]
    assert len(table.splitlines()) == 5


def test_a_command_that_can_not_run_says_why(lane, topic):
    p = lane(start=False)
    done = subprocess.run([binary(), "windows", "-c", p.ini], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 2 and topic in done.stderr
    assert done.stdout == ""
    for wrong in (["adopt", "--as", "other"], ["set-window"],
                  ["set-window", "1500ms"], ["windows", "more"]):
        done = subprocess.run([binary()] + wrong + ["-c", p.ini], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 2 and "usage:" in done.stderr
