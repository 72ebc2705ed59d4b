"""Rows of the summary, as the processor would have written them."""

import datetime
import hashlib

import psycopg2

UTC = datetime.timezone.utc
NOON = datetime.datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)

INSERT = """
INSERT INTO sluice.summary (pipeline, topic, partition, window_start,
    customer, sha256, id, name, type, size, count, object, first_seen,
    first_offset, upload, through_offset, final)
VALUES (%(pipeline)s, 'uploads', %(partition)s, %(window)s, %(customer)s,
    %(sha256)s, %(id)s, %(name)s, %(type)s, %(size)s, %(count)s, 'x',
    %(time)s, %(offset)s, 'u/1', %(offset)s, %(final)s)
"""


def row_id(pipeline, window, customer, sha256):
    """UUID version 8 of RFC 9562, as docs/design.md has it."""
    text = "%s\n%d\n%s\n%s" % (pipeline, window.timestamp() * 1000, customer,
                               sha256)
    b = bytearray(hashlib.sha256(text.encode()).digest()[:16])
    b[6] = b[6] & 0x0f | 0x80
    b[8] = b[8] & 0x3f | 0x80
    return "%s-%s-%s-%s-%s" % (b[:4].hex(), b[4:6].hex(), b[6:8].hex(),
                               b[8:10].hex(), b[10:].hex())


class Rows:
    def __init__(self, dsn):
        self.db = psycopg2.connect(dsn)
        self.db.autocommit = True
        self.cursor = self.db.cursor()

    def sql(self, text, *args):
        self.cursor.execute(text, args or None)
        return self.cursor.fetchall() if self.cursor.description else None

    def add(self, name, customer="", window=NOON, partition=0, count=1,
            content=None, offset=0, second=1.5, final=True, size=1000,
            type="image/jpeg", pipeline="main"):
        sha256 = hashlib.sha256((content or name).encode()).hexdigest()
        self.sql("SELECT sluice.ensure_day(%s)", window)
        self.cursor.execute(INSERT, {
            "pipeline": pipeline, "partition": partition, "window": window,
            "customer": customer, "sha256": sha256, "name": name,
            "id": row_id(pipeline, window, customer, sha256), "type": type,
            "size": size, "count": count, "offset": offset, "final": final,
            "time": window + datetime.timedelta(seconds=second)})
        return sha256

    def fake(self, body):
        """Another summary_json(): what it returns, for whoever asks."""
        self.sql("CREATE OR REPLACE FUNCTION sluice.summary_json("
                 "p_customer text, p_from timestamptz, p_to timestamptz, "
                 "p_limit integer, p_cursor text, "
                 "p_pipeline text DEFAULT NULL) RETURNS text LANGUAGE plpgsql "
                 "AS $$ BEGIN " + body + " END $$")

    def close(self):
        self.db.close()
