"""What the log says, and whether everything else says the same.

The log is read back when all is over.  Nothing here looks at what nginx or a
processor believes before the log has been asked.
"""

import collections
import hashlib
import json
import os

from stack import client

ROWS = """
SELECT partition, (extract(epoch FROM window_start) * 1000)::bigint, customer,
       sha256, count, final, name, type, size, object, first_offset, upload,
       through_offset
  FROM sluice.summary WHERE topic = %s
"""


class Violation(AssertionError):
    """Sluice broke a promise; anything else that fails is the harness's."""


def claim(truth, text):
    if not truth:
        raise Violation(text)


class Row:
    def __init__(self, r):
        (self.partition, self.window, self.customer, self.sha256, self.count,
         self.final, self.name, self.type, self.size, self.object,
         self.first_offset, self.upload, self.through) = r

    def __repr__(self):
        return "Row(%s)" % vars(self)


class Log:
    """All records of the topic and of .chunks, and those of .late and .dead
    by their source.  whole: {ce_id: (bytes, headers)} of the files in pieces
    that came to their end."""

    def __init__(self, records, late, dead, ends, window_ms, chunks=()):
        self.records, self.late, self.dead = records, late, dead
        self.ends, self.window_ms = ends, window_ms
        self.whole = whole(chunks)

    def customer(self, record):
        return record.headers.get("ce_customer", "")

    def references(self):
        return [r for r in self.records if is_reference(r)]

    def twice(self):
        """{(partition, offset): record before} of what a producer stored a
        second time, when the first answer was lost."""
        first, found = {}, {}
        for r in self.records:
            if not is_reference(r):
                was = first.setdefault(r.headers["ce_id"], r)
                if was is not r:
                    found[r.partition, r.offset] = was
        return found

    def repeats(self):
        """(partition, offset) of what counted before: the same content, of
        the same customer, under the same name, where it has one."""
        seen, found = set(), set()
        skip = self.late | self.dead | set(self.twice())
        for r in self.records:
            if "ce_idempotencykey" in r.headers:
                name = "key:" + r.headers["ce_idempotencykey"]
            elif is_reference(r):
                name = "id:" + r.headers["ce_id"]
            else:
                continue
            if (r.partition, r.offset) in skip:
                continue
            name = self.customer(r), name, r.headers["ce_sha256"]
            if name in seen:
                found.add((r.partition, r.offset))
            seen.add(name)
        return found

    def counted(self):
        """{(partition, window, customer, sha256): [record, ...]}: of each
        ce_id one."""
        skip = self.late | self.dead | self.repeats() | set(self.twice())
        found = {}
        for r in self.records:
            if (r.partition, r.offset) not in skip:
                found.setdefault(
                    (r.partition, r.timestamp - r.timestamp % self.window_ms,
                     self.customer(r), r.headers["ce_sha256"]), []).append(r)
        return found

    def summed(self):
        """{(window, customer, sha256): count}, over all partitions."""
        found = collections.Counter()
        for key, records in self.counted().items():
            found[key[1:]] += len(records)
        return dict(found)


def is_reference(record):
    return record.headers.get("ce_type") == "sluice.reference"


def size(record):
    return int(record.headers["ce_size"])


def whole(chunks):
    parts, found = collections.defaultdict(list), {}
    for r in chunks:
        id = r.headers["ce_id"]
        if r.headers["ce_type"] == "sluice.abort":
            parts[id] = None           # what follows is void, too
        elif parts[id] is not None and id not in found:
            if int(r.headers["ce_chunk"]) == len(parts[id]):
                parts[id].append(r.value)
                if "ce_last" in r.headers:
                    found[id] = b"".join(parts[id]), r.headers
    return found


def read_log(kafka, topic, window_ms):
    def sources(records):
        return {(int(r.headers["error-partition"]),
                 int(r.headers["error-offset"])) for r in records
                if r.headers["error-topic"] == topic}
    dead = kafka.records(topic + ".dead")
    log = Log(kafka.records(topic, 60),
              sources(kafka.records(topic + ".late")), sources(dead),
              kafka.end_offsets(topic), window_ms,
              kafka.records(topic + ".chunks", 60))
    # Of pieces that make no file a record tells; they were never accepted.
    for r in dead:
        claim(r.headers["error-topic"] == topic
              or r.key.decode() not in log.whole,
              "dead, and a whole file: %r" % r)
    return log


UPLOADS = """
SELECT partition, "offset", id, customer, name, sha256, size, type,
       (extract(epoch FROM window_start) * 1000)::bigint,
       (extract(epoch FROM time) * 1000)::bigint
  FROM sluice.uploads WHERE topic = %s
"""


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


def query(dsn, sql, *arguments):
    import psycopg2
    c = psycopg2.connect(dsn)
    try:
        with c.cursor() as cursor:
            cursor.execute(sql, arguments)
            return cursor.fetchall()
    finally:
        c.close()


def rows(dsn, topic):
    return [Row(r) for r in query(dsn, ROWS, topic)]


def summed(found):
    counts = collections.Counter()
    for r in found:
        counts[r.window, r.customer, r.sha256] += r.count
    return dict(counts)


def difference(want, have):
    """Both are {key: count}; a text short enough to read, '' for none."""
    lines = ["%s: the log has %s, the summary %s"
             % (k, want.get(k), have.get(k))
             for k in sorted(set(want) | set(have), key=str)
             if want.get(k) != have.get(k)]
    return "\n".join(["%d differ" % len(lines)] + lines[:20] if lines else [])


def check_answers(log, clients):
    """Promise 1: accepted is in the log; rejected is not."""
    by_id = {}
    for r in log.records:
        if not is_reference(r):
            by_id.setdefault(r.headers["ce_id"], []).append(r)

    told = collections.Counter()
    for sent, entry in clients.answers:
        id = entry.get("id")
        headers = by_id[id][0].headers if id in by_id \
            else log.whole.get(id, (None, None))[1]
        told[entry["status"]] += 1
        if entry["status"] == "accepted":
            claim(headers is not None, "accepted and lost: %r" % entry)
            claim(headers["ce_sha256"] == entry["sha256"] == sent.sha256
                  and headers["ce_subject"] == sent.name,
                  "accepted is not what was sent: %r %r" % (entry, headers))
        elif entry["status"] == "rejected":
            claim(headers is None, "rejected and stored: %r" % entry)
            claim(not sent.fits or entry["reason"] == "unavailable",
                  "rejected for no reason: %r" % entry)
        else:
            claim(entry["status"] == "unknown", "answered %r" % entry)
    return dict(told)


def check_records(log, clients):
    """Every record is a whole file that some client sent; and sent once,
    where it had no key to send it again.  What a producer stored a second time
    is the same record, in the same partition."""
    seen, twice = set(), log.twice()
    for r in log.records:
        was = twice.get((r.partition, r.offset), r)
        claim((was.partition, was.timestamp, was.key, was.value, was.headers)
              == (r.partition, r.timestamp, r.key, r.value, r.headers),
              "one id, and not the same: %r and %r" % (was, r))
    for r in log.records:
        sent = clients.sent.get(r.headers["ce_subject"])
        claim(sent is not None, "nobody sent %r" % r)
        value = r.value
        if is_reference(r):
            claim(not value and r.headers["ce_id"] in log.whole,
                  "a reference to nothing: %r" % r)
            value = log.whole[r.headers["ce_id"]][0]
        digest = hashlib.sha256(value).hexdigest()
        claim(size(r) == len(value)
              and digest == r.headers["ce_sha256"] == r.key.decode()
              == sent.sha256, "%r is not what was sent" % r)
        claim(log.customer(r) == sent.customer
              and r.headers.get("ce_idempotencykey") == sent.key,
              "%r is of another" % r)
        claim(sent.fits, "%r should have been rejected" % r)
        claim(sent.key or is_reference(r) or sent.name not in seen
              or (r.partition, r.offset) in twice,
              "%s is in the log twice" % sent.name)
        seen.add(sent.name)


def unannounced(log):
    """Files in pieces that are whole, and of which no reference tells."""
    return set(log.whole) - {r.headers["ce_id"] for r in log.references()}


def check_rows(log, found):
    """Each partition's row tells of its first record, and is final."""
    counted = log.counted()
    for row in found:
        key = row.partition, row.window, row.customer, row.sha256
        claim(key in counted, "a row of nothing: %r" % row)
        first, *others = counted[key]
        claim(row.final, "not final: %r" % row)
        claim(row.count == 1 + len(others), "the log has %d: %r"
              % (1 + len(others), row))
        claim((row.first_offset, row.upload, row.name, row.type, row.size)
              == (first.offset, first.headers["ce_id"],
                  first.headers["ce_subject"], first.headers["content-type"],
                  size(first)), "%r is not of %r" % (row, first))
        claim(not is_reference(first)
              or row.object == first.headers["ce_dataref"],
              "%r has another object than %r" % (row, first))
        claim(row.first_offset < row.through <= log.ends[row.partition],
              "through more than there is: %r" % row)
    claim(len(found) == len(counted), "%d rows, the log has %d"
          % (len(found), len(counted)))


def check_uploads(log, dsn, topic):
    """A row of history for each record that counts, and for no other."""
    want = {(r.partition, r.offset, r.headers["ce_id"], log.customer(r),
             r.headers["ce_subject"], r.headers["ce_sha256"], size(r),
             r.headers["content-type"], window, r.timestamp)
            for (_, window, _, _), records in log.counted().items()
            for r in records}
    have = query(dsn, UPLOADS, topic)
    claim(len(set(have)) == len(have), "uploads has a row twice")
    claim(set(have) == want, "uploads: missing %s, too many %s" % (
        sorted(want - set(have))[:10], sorted(set(have) - want)[:10]))
    return len(have)


def check_objects(log, store, found):
    """Every row has its object and every object its row, or a reference that
    tells of it; every object hashes to its name.  Returns (objects, bytes)."""
    objects, total = set(), 0
    for directory, folders, names in os.walk(store):
        if ".incoming" in folders:
            folders.remove(".incoming")      # what a kill left unfinished
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as f:
                data = f.read()
            total += len(data)
            claim(name.split(".")[0] == hashlib.sha256(data).hexdigest(),
                  "other bytes than its name says: " + path)
            objects.add(os.path.relpath(path, store))
    wanted = {r.object for r in found}
    claim(not wanted - objects,
          "rows without an object: %s" % sorted(wanted - objects)[:20])
    objects_of = {r.headers["ce_dataref"] for r in log.references()}
    claim(not objects - wanted - objects_of, "objects without a row: %s"
          % sorted(objects - wanted - objects_of)[:20])
    return len(objects), total


def check_pages(nginx, found):
    """nginx tells everybody what the rows say, page by page."""
    counts, cursor = {}, ""
    while cursor is not None:
        answer = client.get(nginx.url + "/summary?limit=200" + cursor)
        claim(answer.status == 200, "/summary: %r" % answer.body)
        page = json.loads(answer.body)
        for f in page["files"]:
            key = (f["window"], f["customer"], f["sha256"])
            claim(f["final"] and key not in counts, "/summary has %r" % f)
            counts[key] = f["count"]
        cursor = page["next"] and "&cursor=" + page["next"]
    claim(sum(counts.values()) == sum(r.count for r in found)
          and len(counts) == len(summed(found)),
          "/summary has %d files, %d counted" % (
              len(counts), sum(counts.values())))
