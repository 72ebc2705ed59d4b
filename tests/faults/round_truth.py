"""What the log says, and whether everything else says the same.

The log is read back when all is over.  Nothing here looks at what nginx or a
processor believes before the log has been asked.
"""

import hashlib
import json
import os

import psycopg2

from stack import client

ROWS = """
SELECT partition, (extract(epoch FROM window_start) * 1000)::bigint, customer,
       sha256, count, final, name, type, size, object, first_offset, upload,
       through_offset
  FROM sluice.summary WHERE topic = %s
"""


class Row:
    def __init__(self, r):
        (self.partition, self.window, self.customer, self.sha256, self.count,
         self.final, self.name, self.type, self.size, self.object,
         self.first_offset, self.upload, self.through) = r

    def __repr__(self):
        return "Row(%s)" % vars(self)


class Log:
    """All records of the topic, and of .late and .dead by their source."""

    def __init__(self, kafka, topic, window_ms):
        self.window_ms = window_ms
        self.records = kafka.records(topic)
        self.late = _sources(kafka.records(topic + ".late"))
        self.dead = _sources(kafka.records(topic + ".dead"))
        self.ends = kafka.end_offsets(topic)

    def counted(self):
        """{(partition, window, customer, sha256): [record, ...]}"""
        found = {}
        for r in self.records:
            if (r.partition, r.offset) not in self.late | self.dead:
                found.setdefault(
                    (r.partition, r.timestamp - r.timestamp % self.window_ms,
                     r.headers.get("ce_customer", ""),
                     r.headers["ce_sha256"]), []).append(r)
        return found

    def summed(self):
        """{(window, customer, sha256): count}, over all partitions."""
        found = {}
        for key, records in self.counted().items():
            found[key[1:]] = found.get(key[1:], 0) + len(records)
        return found


def _sources(records):
    return {(int(r.headers["error-partition"]),
             int(r.headers["error-offset"])) for r in records}


def committed(kafka, group, topic):
    """The group's offsets, by partition."""
    from confluent_kafka import Consumer, TopicPartition
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    try:
        parts = c.list_topics(topic, 10).topics[topic].partitions
        return {t.partition: t.offset for t in c.committed(
            [TopicPartition(topic, p) for p in sorted(parts)], 10)}
    finally:
        c.close()


def rows(dsn, topic):
    c = psycopg2.connect(dsn)
    try:
        with c.cursor() as cursor:
            cursor.execute(ROWS, (topic,))
            return [Row(r) for r in cursor.fetchall()]
    finally:
        c.close()


def summed(found):
    counts = {}
    for r in found:
        key = (r.window, r.customer, r.sha256)
        counts[key] = counts.get(key, 0) + r.count
    return counts


def difference(want, have):
    """Both are {key: count}; a text short enough to read, '' for none."""
    lines = ["%s: the log has %s, the summary %s"
             % (k, want.get(k), have.get(k))
             for k in sorted(set(want) | set(have), key=str)
             if want.get(k) != have.get(k)]
    return "\n".join(["%d differ" % len(lines)] + lines[:20] if lines else [])


def check_answers(log, clients):
    """Promise 1: accepted is in the log, once; rejected is not."""
    by_id = {}
    for r in log.records:
        by_id.setdefault(r.headers["ce_id"], []).append(r)
    twice = {k: v for k, v in by_id.items() if len(v) > 1}
    assert not twice, "in the log twice: %r" % twice

    for sent, entry in clients.answers:
        r = by_id.get(entry.get("id"), [None])[0]
        if entry["status"] == "accepted":
            assert r is not None, "accepted and lost: %r" % entry
            assert r.headers["ce_sha256"] == entry["sha256"] == sent.sha256
            assert r.headers["ce_subject"] == sent.name
        elif entry["status"] == "rejected":
            assert r is None, "rejected and stored: %r" % entry
            assert not sent.fits or entry["reason"] == "unavailable", entry
        else:
            assert entry["status"] == "unknown", entry


def check_records(log, clients):
    """Every record is a whole file that some client sent, and sent once."""
    seen = set()
    for r in log.records:
        sent = clients.sent[r.headers["ce_subject"]]
        digest = hashlib.sha256(r.value).hexdigest()
        assert digest == r.headers["ce_sha256"] == r.key.decode() \
            == sent.sha256, "%r is not what was sent" % r
        assert r.headers.get("ce_customer", "") == sent.customer, r
        assert sent.fits, "%r should have been rejected" % r
        assert sent.name not in seen, "%s is in the log twice" % sent.name
        seen.add(sent.name)


def check_rows(log, found):
    """Each partition's row tells of its first record, and is final."""
    counted = log.counted()
    for row in found:
        first, *others = counted[row.partition, row.window, row.customer,
                                 row.sha256]
        assert row.final, row
        assert row.count == 1 + len(others), row
        assert (row.first_offset, row.upload, row.name, row.type, row.size) \
            == (first.offset, first.headers["ce_id"],
                first.headers["ce_subject"], first.headers["content-type"],
                len(first.value)), (row, first)
        assert row.first_offset < row.through <= log.ends[row.partition], row
    assert len(found) == len(counted)


def check_objects(store, found):
    """Every row's object is there; every object hashes to its name."""
    objects = set()
    for directory, folders, names in os.walk(store):
        if ".incoming" in folders:
            folders.remove(".incoming")      # what a kill left unfinished
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
            assert name.split(".")[0] == digest, path
            objects.add(os.path.relpath(path, store))
    missing = {r.object for r in found} - objects
    assert not missing, "rows without an object: %s" % missing


def check_pages(nginx, found):
    """nginx tells everybody what the rows say, page by page."""
    counts, cursor = {}, ""
    while cursor is not None:
        answer = client.get(nginx.url + "/summary?limit=200" + cursor)
        assert answer.status == 200, answer.body
        page = json.loads(answer.body)
        for f in page["files"]:
            assert f["final"], f
            key = (f["window"], f["customer"], f["sha256"])
            assert key not in counts
            counts[key] = f["count"]
        cursor = page["next"] and "&cursor=" + page["next"]
    assert sum(counts.values()) == sum(r.count for r in found)
    assert len(counts) == len(summed(found))
