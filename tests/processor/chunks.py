"""Large files in pieces, as the module writes them."""

import uuid

from uploads import headers, now_ms, sha256


class Part:
    """One file on its way.  piece() sends the next so many bytes of it."""

    def __init__(self, sender, value, name="film.mp4", customer="",
                 kind="video/mp4", partition=0, **over):
        self.sender, self.value, self.partition = sender, value, partition
        self.id = "%s/1" % uuid.uuid4()
        self.sent = 0
        self.number = 0
        self.headers = [h for h in headers(value, name, customer, kind, **over)
                        if h[0] not in ("ce_sha256", "ce_size", "ce_type",
                                        "ce_id")]
        self.whole = {"ce_sha256": sha256(value), "ce_size": str(len(value))}

    def record(self, value, kind, more, ts=None):
        found = dict(self.headers, ce_id=self.id.encode(),
                     ce_type=kind.encode())
        found.update({k: v.encode() for k, v in more.items()})
        self.sender.produce(self.id, value, list(found.items()),
                            self.partition, ts)

    def piece(self, size, number=None, ts=None, **over):
        """The last one when it reaches the end."""
        value = self.value[self.sent:self.sent + size]
        more = {"ce_chunk": str(self.number if number is None else number)}
        self.sent += len(value)
        self.number += 1
        if self.sent >= len(self.value):
            more.update(self.whole, ce_last="true")
        more.update(over)
        self.record(value, "sluice.chunk", more, ts)
        return self

    def all(self, size):
        while self.sent < len(self.value):
            self.piece(size)
        return self

    def abort(self):
        self.record(b"", "sluice.abort", {})
        return self


class Chunks:
    """A producer to TOPIC.chunks."""

    def __init__(self, kafka, topic):
        from confluent_kafka import Producer
        self.topic = topic + ".chunks"
        self.failed = []
        self.producer = Producer({
            "bootstrap.servers": kafka.bootstrap, "acks": "all",
            "enable.idempotence": "true", "linger.ms": "1"})

    def part(self, value, **more):
        return Part(self, value, **more)

    def produce(self, key, value, found, partition, ts=None):
        self.producer.produce(
            self.topic, value=value, key=key, headers=found,
            partition=partition, timestamp=now_ms() if ts is None else ts,
            on_delivery=lambda e, m: e and self.failed.append(str(e)))
        self.producer.poll(0)

    def flush(self):
        left = self.producer.flush(60)
        assert left == 0 and not self.failed, (left, self.failed)
