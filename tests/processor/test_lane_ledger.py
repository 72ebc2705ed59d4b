"""What can come twice by right counts once, and what counted is written down.

An Idempotency-Key, a reference and a letter put back count once per name,
customer and content, whatever windows and offsets they come in, and in every
replay alike.  sluice.uploads holds a row for each record that was counted.
"""

import calendar
import os
import time

import pytest

from uploads import WINDOW_MS, now_ms, sha256, window_of

UPLOADS = """
SELECT partition, "offset", id, customer, name, sha256, type, size,
       (extract(epoch FROM window_start) * 1000)::bigint,
       (extract(epoch FROM time) * 1000)::bigint
  FROM sluice.uploads WHERE topic = %s ORDER BY 1, 2
"""


def key(text):
    return dict(ce_idempotencykey=text)


@pytest.fixture
def counted(summary):
    """counted(): how often in all, by customer and content."""
    def get(final=None):
        found = {}
        for (_, _, customer, digest), n in summary.counts(final).items():
            found[customer, digest] = found.get((customer, digest), 0) + n
        return found
    return get


@pytest.fixture
def read(redis, topic, until, kafka):
    """Waits until a partition was applied up to the log's end."""
    def wait(partition=0):
        end = max([r.offset + 1 for r in kafka.records(topic)
                   if r.partition == partition])
        until(lambda: redis.client().hget(
            "sluice:{%s/%s:%d}:progress" % (topic, topic, partition),
            "next") == str(end))
    return wait


@pytest.fixture
def window_closed(summary, until):
    """Waits until the partition's windows that began by now are closed."""
    def wait(partition=0):
        last = window_of(now_ms(), WINDOW_MS)
        until(lambda: (summary.progress()[partition][0] or 0) >= last
              - WINDOW_MS and not [r for r in summary.rows() if not r.final])
    return wait


def log_of(records):
    """The rows that uploads must have of these."""
    return sorted(
        (r.partition, r.offset, r.headers["ce_id"],
         r.headers.get("ce_customer", ""), r.headers["ce_subject"],
         r.headers["ce_sha256"], r.headers["content-type"],
         int(r.headers["ce_size"]), window_of(r.timestamp, WINDOW_MS),
         r.timestamp)
        for r in records)


def reference(store, value, customer="", **over):
    """Puts value into the store; returns what Uploads.send() is to be given
    for a reference to it."""
    digest = sha256(value)
    path = "%s%s/%s.png" % (
        "c-%s/" % customer if customer else "",
        time.strftime("%Y/%m/%d/%H/%M:%S", time.gmtime()), digest)
    whole = os.path.join(store, path)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    with open(whole, "wb") as f:
        f.write(value)
    return path, dict(
        dict(key=digest, ce_type="sluice.reference", ce_dataref=path,
             ce_sha256=digest, ce_size=str(len(value)), customer=customer),
        **over)


def test_a_key_counts_once_per_content_and_customer(lane, uploads, counted,
                                                    settled):
    """All in one window, and the first two in one batch."""
    uploads.send("one", customer="a", partition=0, **key("k"))
    uploads.send("one", customer="a", partition=0, **key("k"))
    uploads.send("two", customer="a", partition=0, **key("k"))
    uploads.send("one", customer="b", partition=0, **key("k"))
    uploads.send("one", customer="a", partition=0, **key("other"))
    uploads.send("one", customer="a", partition=0)
    uploads.flush()
    lane()
    settled(skip={(0, 1)})
    assert counted() == {("a", sha256(b"one")): 3, ("a", sha256(b"two")): 1,
                         ("b", sha256(b"one")): 1}


def test_a_key_counts_once_across_windows_and_partitions(
        lane, uploads, settled, window_closed):
    """Another partition: as when the topic has grown meanwhile."""
    p = lane()
    uploads.send("one", partition=0, **key("k"))
    uploads.flush()
    settled()
    window_closed()
    uploads.send("one", partition=0, **key("k"))
    uploads.send("one", partition=3, **key("k"))
    uploads.send("two", partition=0)
    uploads.flush()
    settled(skip={(0, 1), (3, 0)})
    # Nothing is stored for what counts nowhere.
    stored = [name for _, _, names in os.walk(p.store) for name in names]
    assert sorted(stored) == sorted(sha256(v) + ".png"
                                    for v in (b"one", b"two"))


def test_a_replay_decides_the_same(lane, uploads, summary, redis, read,
                                   until):
    """FLUSHALL in the middle of a window; the claims are older than it."""
    p = lane(window="4s", allowed_lateness="4s")
    base = window_of(now_ms(), 4000)
    for i in range(8):
        uploads.send("file %d" % (i % 2), partition=0, ts=base + i,
                     **key("k%d" % (i // 4)))
    uploads.flush()
    read()
    before = None
    for _ in range(2):
        redis.flush()
        p.wait_log("state=none")
        read()
        until(lambda: sum(summary.counts().values()) == 4)
        assert before is None or summary.counts() == before
        before = summary.counts()
    p.kill()
    redis.flush()
    p.start()
    until(lambda: summary.counts(final=True) == before)


def test_killed_between_ledger_and_apply(lane, uploads, summary, settled,
                                         redis, topic, until):
    """The ledger is written, and a full Redis does not take the batch."""
    p = lane()
    client = redis.client()
    uploads.send("first", partition=0)
    uploads.flush()
    until(lambda: summary.rows())
    client.config_set("maxmemory", 1)
    try:
        uploads.send("one", partition=0, **key("k"))
        uploads.send("one", partition=0, **key("k"))
        uploads.flush()
        until(lambda: claims(summary) == [("key:k", 0, 1)])
        p.kill()
        assert client.hget("sluice:{%s/%s:0}:progress" % (topic, topic),
                           "next") == "1"
    finally:
        client.config_set("maxmemory", "256mb")
    p.start()
    settled(skip={(0, 2)})
    assert [r[1] for r in summary.query(UPLOADS, topic)] == [0, 1]


def claims(summary):
    return summary.query('SELECT id, partition, "offset" '
                         'FROM sluice.first_seen ORDER BY 1, 2, 3')


def test_a_reference_counts_once_wherever_it_is_announced(
        lane, uploads, settled, ini, summary, until):
    path, args = reference(ini.store, b"large" * 1000, "a", ce_id="up/1")
    uploads.send("", "film.mp4", partition=0, **args)
    uploads.send("", "film.mp4", partition=0, **args)
    uploads.send("", "film.mp4", partition=2, **args)
    uploads.flush()
    lane(lanes=1)
    until(lambda: claims(summary))
    (_, partition, offset), = claims(summary)
    rows = settled(skip={(0, 0), (0, 1), (2, 0)} - {(partition, offset)})
    assert [(r.object, r.size, r.count, r.name) for r in rows] == [
        (path, 5000, 1, "film.mp4")]
    stored = [os.path.relpath(os.path.join(d, n), ini.store)
              for d, _, names in os.walk(ini.store) for n in names]
    assert stored == [path]


def test_a_reference_and_a_file_of_the_same_content_are_one_row(
        lane, uploads, settled, ini):
    value = b"the same"
    path, args = reference(ini.store, value)
    ts = now_ms()
    uploads.send("", "r.png", partition=0, ts=ts, **args)
    uploads.send(value, "f.png", partition=0, ts=ts)
    uploads.flush()
    lane()
    row, = settled()
    assert (row.count, row.object) == (2, path)


ELSEWHERE = ["../../etc/passwd", "/etc/passwd",
             "2026/11/20/12/00:30/%s.png" % ("0" * 64),
             "http://example.org/x", "c-other/2026/11/20/12/00:30/@.png"]


def test_a_reference_to_anything_else_is_dead(lane, uploads, settled, kafka,
                                              topic, ini):
    for path in ELSEWHERE:
        _, args = reference(ini.store, b"x", ce_dataref=path.replace(
            "@", sha256(b"x")))
        uploads.send("", partition=0, **args)
    uploads.send("fine", partition=0)
    uploads.flush()
    lane()
    letters = kafka.wait_records(topic + ".dead", len(ELSEWHERE))
    assert {r.headers["error-stage"] for r in letters} == {"read"}
    assert all("ce_dataref" in r.headers["error-reason"] for r in letters)
    settled(skip={(0, i) for i in range(len(ELSEWHERE))})


def test_a_letter_put_back_counts_once(lane, uploads, settled, kafka, topic,
                                       summary):
    """As redrive does it, twice by mistake; a keyed one, and one without."""
    lane()
    uploads.send("first", partition=0)
    uploads.flush()
    settled()
    old = summary.progress()[0][0]
    uploads.send("keyed", partition=0, ts=old, ce_id="up/1", **key("k"))
    uploads.send("plain", partition=0, ts=old, ce_id="up/2")
    uploads.flush()
    late = kafka.wait_records(topic + ".late", 2)
    assert claims(summary) == []
    for letter in late + late:
        redrive(uploads, letter)
    uploads.flush()
    settled(skip={(0, 1), (0, 2), (0, 5), (0, 6)})
    assert [c[0] for c in claims(summary)] == ["id:up/2", "key:k"]


def redrive(uploads, letter):
    uploads.producer.produce(
        uploads.topic, letter.value, letter.key, partition=0,
        headers=[h for h in letter.header_list
                 if not h[0].startswith("error-")]
        + [("ce_redriven", b"1")], timestamp=now_ms())


def test_letters_say_when_why_and_how_often(lane, uploads, kafka, topic):
    lane()
    uploads.send("bytes", partition=0, ce_sha256=sha256(b"other"),
                 key=sha256(b"other"))
    uploads.send("unread", partition=0, ce_size="x")
    before = now_ms()
    uploads.flush()
    first, second = kafka.wait_records(topic + ".dead", 2)
    assert first.headers["error-stage"] == "verify"
    assert second.headers["error-stage"] == "read"
    for r in first, second:
        assert r.headers["error-attempts"] == "1"
        assert r.headers["error-timestamp"].isdigit()
        stamp = r.headers["error-time"]
        assert stamp.endswith("Z") and len(stamp) == len(
            "2026-11-20T12:00:30.012Z")
        at = time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
        assert before - 1000 <= calendar.timegm(at) * 1000 <= now_ms()

    # One that comes back has one set of error headers, and says so.
    uploads.producer.produce(
        topic, second.value, second.key, partition=0,
        headers=second.header_list + [("ce_redriven", b"1")])
    uploads.flush()
    again = kafka.wait_records(topic + ".dead", 3)[2]
    assert again.headers["error-attempts"] == "2"
    names = [name for name, _ in again.header_list]
    assert len(names) == len(set(names))


def test_a_claim_of_what_the_store_refuses_is_given_back(
        lane, uploads, kafka, topic, settled, summary):
    """Its object's name is longer than the directory's file system takes."""
    customer = "/" * 128
    uploads.send("one", customer=customer, partition=0, **key("k"))
    uploads.send("two", partition=0, **key("k"))
    uploads.flush()
    lane()
    letter, = kafka.wait_records(topic + ".dead", 1)
    assert letter.headers["error-stage"] == "put"
    settled(skip={(0, 0)})
    assert claims(summary) == [("key:k", 0, 1)]


def test_uploads_hold_what_counted(lane, uploads, summary, kafka, topic,
                                   redis, until):
    """Through a flush and a kill, with keys that repeat."""
    p = lane()
    for i in range(30):
        uploads.send("file %d" % (i % 7), "name %d.png" % i, "k%d" % (i % 2),
                     partition=i % 4, **key("k%d" % (i % 5)))
        if i % 10 == 0:
            uploads.send("wrong", partition=1, ce_sha256=sha256(b"no"),
                         key=sha256(b"no"))
        uploads.flush()
        if i == 10:
            redis.flush()
        if i == 20:
            p.kill()
            p.start()
    log = kafka.records(topic)
    until(lambda: sum(n for _, n in summary.progress().values()) == len(log)
          and not [r for r in summary.rows() if not r.final])
    rows = summary.query(UPLOADS, topic)
    good = [r for r in log if r.value != b"wrong"]
    assert set(rows) <= set(log_of(good))

    # Once per name, customer and content; which of them, the claims say.
    names = {(r.headers["ce_idempotencykey"], r.headers["ce_customer"],
              r.headers["ce_sha256"]) for r in good}
    assert len(rows) == len(names)
    assert sorted(r[:2] for r in rows) == sorted(c[1:]
                                                 for c in claims(summary))
    assert sum(summary.counts().values()) == len(rows)
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []


@pytest.mark.full
def test_uploads_equal_the_log_in_spite_of_a_zombie(
        lane, uploads, summary, settled, kafka, topic, redis):
    """Frozen beyond its session; another takes over; then it wakes up."""
    patient = dict(window="2s", allowed_lateness="8s")
    p = lane(**patient)
    send(uploads, 40)
    p.freeze()
    try:
        q = lane(start=False, instance=1, **patient)
        q.start()
        for partition in range(4):
            q.wait_log("part=%d" % partition, 60)
        send(uploads, 40)
    finally:
        p.thaw()
    redis.flush()
    send(uploads, 40)
    settled()
    assert summary.query(UPLOADS, topic) == log_of(kafka.records(topic))
    assert summary.query("SELECT * FROM sluice.upload_mismatch") == []


def send(uploads, n):
    for i in range(n):
        uploads.send("file %d" % (i % 9), "n%d.png" % i, "k%d" % (i % 2),
                     partition=i % 4)
    uploads.flush()


def test_rows_that_postgresql_lost_are_written_again(
        lane, uploads, summary, topic, until, read):
    """As after a failover that lost commits, but no close."""
    p = lane(window="4s", allowed_lateness="4s")
    base = window_of(now_ms(), 4000)
    uploads.send("kept", partition=0, ts=base, **key("kept"))
    uploads.flush()
    read()
    p.freeze()
    uploads.send("lost", partition=0, ts=base + 1, **key("lost"))
    uploads.flush()
    p.thaw()
    read()
    p.freeze()
    summary.query('DELETE FROM sluice.uploads WHERE "offset" > 0')
    summary.query('DELETE FROM sluice.first_seen WHERE "offset" > 0')
    summary.query("UPDATE sluice.progress SET ledger_next = 1 "
                  "WHERE partition = 0")
    uploads.send("lost", partition=0, ts=base + 2, **key("lost"))
    uploads.flush()
    p.thaw()
    p.wait_log("lost a part of the ledger")
    until(lambda: summary.progress()[0] == (base, 3))
    assert [r[1] for r in summary.query(UPLOADS, topic)] == [0, 1]
    assert set(summary.counts().values()) == {1}
    assert [c[2] for c in claims(summary)] == [0, 1]


def test_uploads_table_off(lane, uploads, summary, settled):
    p = lane(uploads_table="off")
    uploads.send("one", partition=0, **key("k"))
    uploads.send("one", partition=0, **key("k"))
    uploads.send("two", partition=1)
    uploads.flush()
    settled(skip={(0, 1)})
    assert summary.query("SELECT count(*) FROM sluice.uploads") == [(0,)]
    assert "stalled" not in p.read_log()


def test_without_names_first_seen_is_not_touched(lane, uploads, summary,
                                                 settled):
    summary.query("DROP TABLE sluice.first_seen")
    p = lane()
    uploads.send("one", partition=0)
    uploads.flush()
    settled()
    assert "stalled" not in p.read_log()
