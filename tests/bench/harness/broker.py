"""One Kafka broker of the bench's own, its log in memory.

The disk is not what is measured, and a young broker costs two to three times
what a warm one does (its compiler), so it is warmed before anything counts.
"""

import os
import shutil
import subprocess
import tempfile
import time

from stack import kafka, wait

from . import BUILD

MEMORY = "/dev/shm"
NEEDED = 6 * 1024 ** 3          # what a run's topics may hold at once, and room
PARTITIONS = 4


class MemoryBroker(kafka.Broker):
    """Keeps little of each topic: at some 400 MB/s the defaults fill any
    memory."""

    def properties(self):
        return dict(super().properties(), **{
            "log.retention.check.interval.ms": 1000,
            "log.segment.delete.delay.ms": 1000,
            "log.retention.bytes": 128 * 1024 * 1024,
            "log.cleaner.enable": "false",
        })


class Cluster(kafka.Kafka):
    def _broker(self, node, controller_port):
        return MemoryBroker(os.path.join(self.dir, "kafka-%d" % node), node,
                            self.cluster, self.voters, controller_port,
                            self.replicas, self.fast_start)


class Broker:
    """The cluster, and what the bench asks it."""

    def __init__(self):
        free = shutil.disk_usage(MEMORY).free if os.path.isdir(MEMORY) else 0
        if free < NEEDED:
            raise RuntimeError("%s has %d MB free, the broker needs %d"
                               % (MEMORY, free >> 20, NEEDED >> 20))
        self.dir = tempfile.mkdtemp(prefix="sluice-bench-", dir=MEMORY)
        self.cluster = Cluster(self.dir, fast_start=False)
        self.topics = 0

    def start(self):
        self.cluster.start()
        return self

    def stop(self):
        try:
            self.cluster.stop()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def bootstrap(self):
        return self.cluster.bootstrap

    @property
    def pid(self):
        return self.cluster.pid

    def topic(self, name):
        self.topics += 1
        return self.cluster.create_topic(
            "bench-%d-%s" % (self.topics, name), PARTITIONS)

    def delete(self, topics):
        admin = self.cluster.admin()        # its end would end the request
        for future in admin.delete_topics(list(topics)).values():
            future.result(30)

    def stored(self, topic):
        """Messages ever written to the topic."""
        return sum(self.cluster.end_offsets(topic).values())

    def settled(self, topic, timeout=60):
        """The same, once it does not grow any more: what a client had on its
        way when it ended may still arrive."""
        seen = [-1]

        def still():
            now = self.stored(topic)
            same = now == seen[0]
            seen[0] = now
            return same

        wait.until(still, timeout, "end of topic " + topic, pause=0.3)
        return seen[0]

    def sample(self, topic, count=20):
        """Sizes of each partition's last messages, and whether the records
        carry a SHA-256."""
        from confluent_kafka import Consumer, TopicPartition
        ends = {p: e for p, e in self.cluster.end_offsets(topic).items() if e}
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "look",
            "enable.auto.commit": "false", "enable.partition.eof": "true"})
        sizes, hashed, left = set(), False, set(ends)
        try:
            consumer.assign([TopicPartition(topic, p, max(0, e - count))
                             for p, e in ends.items()])
            deadline = time.monotonic() + 30
            while left:
                m = consumer.poll(0.5)
                if m is not None and not m.error():
                    sizes.add(len(m.value()))
                    hashed |= "ce_sha256" in dict(m.headers() or [])
                elif m is not None and m.error().name() == "_PARTITION_EOF":
                    left.discard(m.partition())
                elif time.monotonic() > deadline:
                    raise wait.Timeout("topic %s could not be read" % topic)
        finally:
            consumer.close()
        return sizes, hashed

    def warm(self, least=6, most=16):
        """Writes GB after GB until one costs the broker no less than the one
        before.  Returns the CPU seconds of each."""
        topic = self.topic("warm")
        costs = []
        while len(costs) < most:
            used = self.cpu()
            subprocess.run(
                [os.path.join(BUILD, "floor"), "produce", self.bootstrap,
                 topic, "100000", "10000"], check=True,
                stdout=subprocess.DEVNULL)
            costs.append(self.cpu() - used)
            if len(costs) >= least and costs[-1] > 0.95 * min(costs[-3:-1]):
                break
        self.delete([topic])
        return costs

    def cpu(self):
        from . import usage
        return usage.cpu([self.pid])
