"""Records as the module writes them, and what must become of them.

Uploads writes to a topic; truth() computes from the log what the rows must
be, without looking at anything the processor did.
"""

import hashlib
import time
import uuid

WINDOW_MS = 2000            # of the processor the tests start
LATENESS_MS = 1000


def now_ms():
    return int(time.time() * 1000)


def sha256(value):
    return hashlib.sha256(value).hexdigest()


def headers(value, name, customer="", kind="image/png", part=1, upload=None,
            **over):
    found = {
        "ce_specversion": "1.0",
        "ce_type": "sluice.file",
        "ce_source": "/test",
        "ce_id": "%s/%d" % (upload or uuid.uuid4(), part),
        "ce_subject": name,
        "ce_time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "content-type": kind,
        "ce_customer": customer,
        "ce_sha256": sha256(value),
        "ce_size": str(len(value)),
        "ce_field": "file",
    }
    found.update({k.replace("__", "-"): v for k, v in over.items()})
    return [(k, v.encode() if isinstance(v, str) else v)
            for k, v in found.items() if v is not None]


class Uploads:
    """A producer.  send() waits for nothing; flush() for all."""

    def __init__(self, kafka, topic):
        from confluent_kafka import Producer
        self.topic = topic
        self.failed = []
        self.sent = 0
        self.producer = Producer({
            "bootstrap.servers": kafka.bootstrap, "acks": "all",
            "enable.idempotence": "true", "linger.ms": "1",
            "partitioner": "murmur2_random"})

    def send(self, value, name="file.png", customer="", partition=None,
             ts=None, key=None, **over):
        if isinstance(value, str):
            value = value.encode()
        more = {} if partition is None else {"partition": partition}
        self.producer.produce(
            self.topic, value=value,
            key=sha256(value) if key is None else key,
            headers=headers(value, name, customer, **over),
            timestamp=now_ms() if ts is None else ts,
            on_delivery=lambda e, m: e and self.failed.append(str(e)), **more)
        self.producer.poll(0)
        self.sent += 1

    def flush(self):
        left = self.producer.flush(60)
        assert left == 0 and not self.failed, (left, self.failed)


def window_of(ts, window_ms):
    return ts - ts % window_ms


def truth(kafka, topic, window_ms, skip=()):
    """{(partition, window ms, customer, sha256): count} of the whole log.

    skip holds (partition, offset) of records that are late or dead.
    """
    found = {}
    for r in kafka.records(topic):
        if (r.partition, r.offset) in skip:
            continue
        key = (r.partition, window_of(r.timestamp, window_ms),
               r.headers.get("ce_customer", ""), r.headers["ce_sha256"])
        found[key] = found.get(key, 0) + 1
    return found


ROWS = """
SELECT partition, (extract(epoch FROM window_start) * 1000)::bigint, customer,
       sha256, count, final, name, type, size, object, through_offset,
       first_offset, upload, id,
       (extract(epoch FROM first_seen) * 1000)::bigint
  FROM sluice.summary WHERE topic = %s ORDER BY 1, 2, 3, 4
"""


class Row:
    def __init__(self, r):
        (self.partition, self.window, self.customer, self.sha256, self.count,
         self.final, self.name, self.type, self.size, self.object,
         self.through, self.first_offset, self.upload, self.id,
         self.first_seen) = r
        self.key = (self.partition, self.window, self.customer, self.sha256)

    def __repr__(self):
        return "Row(%s)" % vars(self)

    def __eq__(self, other):
        return vars(self) == vars(other)


class Summary:
    """The rows of a topic."""

    def __init__(self, dsn, topic):
        self.dsn = dsn
        self.topic = topic
        self.connection = None

    def query(self, sql, *args):
        import psycopg2
        if self.connection is None or self.connection.closed:
            self.connection = psycopg2.connect(self.dsn)
            self.connection.autocommit = True
        try:
            with self.connection.cursor() as c:
                c.execute(sql, args)
                return c.fetchall() if c.description else None
        except psycopg2.Error:
            self.connection.close()
            raise

    def rows(self):
        return [Row(r) for r in self.query(ROWS, self.topic)]

    def counts(self, final=None):
        return {r.key: r.count for r in self.rows()
                if final is None or r.final == final}

    def progress(self):
        """{partition: (closed_through ms or None, next_offset)}"""
        return {p: (c, n) for p, c, n in self.query(
            "SELECT partition, (extract(epoch FROM closed_through) * 1000)"
            "::bigint, next_offset FROM sluice.progress WHERE topic = %s",
            self.topic)}

    def close(self):
        if self.connection is not None:
            self.connection.close()


def dead(kafka, topic):
    """{(partition, offset)} of what was sent on, in source coordinates."""
    return [(int(r.headers["error-partition"]),
             int(r.headers["error-offset"])) for r in kafka.records(topic)]
