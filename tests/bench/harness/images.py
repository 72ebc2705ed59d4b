"""Images in a topic, as the module would have written them.

Always the same bytes for the same arguments, so that every candidate and every
repetition has the same work, and what must come out of it is known.
"""

import hashlib
import random
import time

WINDOW_MS = 30000
EPOCH_MS = 1795176000000        # 2026-11-20T12:00:00Z
SEED = 20261120


def content(i, size):
    return hashlib.shake_128(b"%d:%d" % (SEED, i)).digest(size)


class Images:
    """count images in so many windows; with copies each content comes twice,
    one pair of ten in two windows."""

    def __init__(self, count, size, windows=10, copies=True, epoch=EPOCH_MS):
        self.count, self.size = count, size
        self.windows, self.copies, self.epoch = windows, copies, epoch
        self.rows = {}              # (window's start in ms, sha256): copies

    @property
    def bytes(self):
        return self.count * self.size

    def order(self):
        """The numbers of the contents of each window, in order of time."""
        chance = random.Random(SEED)
        fresh = self.count // self.windows // (2 if self.copies else 1)
        found = [[] for _ in range(self.windows)]
        for w in range(self.windows):
            for i in range(fresh):
                number = w * fresh + i
                found[w].append(number)
                if self.copies:
                    late = i < fresh // 10
                    found[(w + late) % self.windows].append(number)
        for w in found:
            chance.shuffle(w)
        return found

    def load(self, bootstrap, topic):
        """Writes all; returns when the broker has it."""
        from confluent_kafka import Producer
        producer = Producer({
            "bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5,
            "batch.size": 1000000, "message.max.bytes": 4000000,
            "queue.buffering.max.kbytes": 200000,
            "partitioner": "murmur2_random"})
        failed = []
        number = 0
        for w, contents in enumerate(self.order()):
            start = self.epoch + w * WINDOW_MS
            for k, i in enumerate(contents):
                value = content(i, self.size)
                digest = hashlib.sha256(value).hexdigest()
                ts = start + k * WINDOW_MS // len(contents)
                self.rows[start, digest] = self.rows.get((start, digest),
                                                         0) + 1
                self.send(producer, topic, number, ts, value, digest, failed)
                number += 1
        producer.flush()
        if failed:
            raise RuntimeError("the images were not stored: " + failed[0])

    @staticmethod
    def send(producer, topic, number, ts, value, digest, failed):
        headers = [
            ("ce_specversion", b"1.0"), ("ce_type", b"sluice.file"),
            ("ce_source", b"/upload"), ("ce_id", b"bench-%d/1" % number),
            ("ce_subject", b"image-%06d.jpg" % number),
            ("content-type", b"image/jpeg"),
            ("ce_time", time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(
                ts / 1000)).encode()),
            ("ce_sha256", digest.encode()), ("ce_size", b"%d" % len(value)),
            ("ce_field", b"file")]
        while True:
            try:
                producer.produce(
                    topic, key=digest, value=value, timestamp=ts,
                    headers=headers, on_delivery=lambda e, m: e
                    and failed.append(str(e)))
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.2)
