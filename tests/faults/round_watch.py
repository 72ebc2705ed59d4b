"""What is looked at while a round goes on: memory, and who is at work again.
"""

import os
import re
import threading
import time

from round_redis import AGAIN
from round_truth import claim

SANITIZED_MB = 350             # what ASan keeps back of freed memory, and more
FDS = 250


class Memory:
    """The most that each process of the path held: resident MB, files."""

    def __init__(self, targets, nginx_mb, processor_mb):
        self.targets = targets
        self.most = {}
        self.files = {}
        asan = "asan" in (os.environ.get("SLUICE_MODULE", "")
                          + os.environ.get("SLUICE_PROCESSOR", ""))
        more = SANITIZED_MB if asan else 0
        self.limits = {"nginx": nginx_mb + more,
                       "processor": processor_mb + more}

    def look(self):
        pids = [("nginx", p) for p in self.targets.nginx.workers()]
        pids += [("processor", p.pid) for p in self.targets.processors
                 if p.alive()]
        for kind, pid in pids:
            try:
                with open("/proc/%d/status" % pid) as f:
                    kb = int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
                files = len(os.listdir("/proc/%d/fd" % pid))
            except (OSError, AttributeError):
                continue               # it has just ended
            self.most[kind] = max(self.most.get(kind, 0), kb // 1024)
            self.files[kind] = max(self.files.get(kind, 0), files)

    def check(self):
        for kind, mb in self.most.items():
            claim(mb <= self.limits[kind], "%s held %d MB of %d"
                  % (kind, mb, self.limits[kind]))
            claim(self.files[kind] <= FDS, "%s had %d files open"
                  % (kind, self.files[kind]))


class Watch(threading.Thread):
    """Twice a second: the ends of the log, and how far it was applied."""

    EVERY_S = 0.5

    def __init__(self, stage, topic, group):
        super().__init__(daemon=True)
        self.stage, self.topic, self.group = stage, topic, group
        self.samples = []              # (monotonic, {partition: end}, next)
        self.ended = threading.Event()

    def run(self):
        from confluent_kafka import Consumer
        consumer = Consumer({"bootstrap.servers": self.stage.kafka.bootstrap,
                             "group.id": "watch", "log_level": 0})
        try:
            parts = sorted(consumer.list_topics(self.topic, 30)
                           .topics[self.topic].partitions)
            while not self.ended.wait(self.EVERY_S):
                at = time.monotonic()
                self.samples.append((at, self._ends(consumer, parts),
                                     self._nexts(parts)))
        finally:
            consumer.close()

    def _ends(self, consumer, parts):
        from confluent_kafka import KafkaException, TopicPartition
        found = {}
        for p in parts:
            try:
                found[p] = consumer.get_watermark_offsets(
                    TopicPartition(self.topic, p), 1)[1]
            except KafkaException:
                pass                   # its leader is away
        return found

    def _nexts(self, parts):
        found = {}
        try:
            client = self.stage.redis.asked(self.stage.redis.current())
            for p in parts:
                found[p] = int(client.hget(
                    "sluice:{%s/%s:%d}:progress"
                    % (self.group, self.topic, p), "next") or 0)
        except AGAIN:
            pass
        return found

    def stop(self):
        self.ended.set()
        self.join(30)

    def applied_after(self, moment):
        """Seconds until all was applied that lay in the log at a moment, or
        None."""
        want = {}
        for at, ends, nexts in self.samples:
            if at < moment:
                want.update(ends)
                continue
            for p, end in ends.items():
                want.setdefault(p, end)
            if len(nexts) == len(ends) == len(want) > 0 \
                    and all(nexts[p] >= want[p] for p in want):
                return at - moment
        return None
