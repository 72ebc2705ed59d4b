"""Kafka 4.1 in KRaft mode: one broker, or more.

Node 1 is controller and broker; brokers given at the start are all both, a
broker added by grow() is only a broker.  The jars are resolved once by Maven
into build/kafka-libs.
"""

import json
import os
import subprocess
import time
import uuid

from . import conf, place, ports, wait
from .service import Service

LIBS = os.path.join(place.ROOT, "build", "kafka-libs")
POM = os.path.join(place.ROOT, "tests", "stack", "kafka-pom.xml")

LOG4J = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: out
      target: SYSTEM_OUT
      PatternLayout:
        pattern: "%d %p %m (%c{1})%n"
  Loggers:
    Logger:
      - name: org.apache.kafka.common.config.AbstractConfig
        level: WARN
      - name: kafka.server.KafkaConfig
        level: WARN
    Root:
      level: INFO
      AppenderRef:
        ref: out
"""


def fetch():
    """Resolves the jars, unless they lie here for this very pom."""
    stamp = os.path.join(LIBS, "kafka-pom.xml")
    with open(POM) as f:
        wanted = f.read()
    if os.path.exists(stamp):
        with open(stamp) as f:
            if f.read() == wanted:
                return LIBS
    os.makedirs(LIBS, exist_ok=True)
    for old in os.listdir(LIBS):
        os.unlink(os.path.join(LIBS, old))
    done = subprocess.run(
        ["mvn", "-B", "-q", "-f", POM, "dependency:copy-dependencies",
         "-DoutputDirectory=" + LIBS], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError("Maven could not fetch Kafka:\n" + done.stdout)
    with open(stamp, "w") as f:
        f.write(wanted)
    return LIBS


class Broker(Service):
    name = "kafka"
    stop_timeout = 60
    heap = "512m"

    def __init__(self, directory, node, cluster, voters, controller_port,
                 replicas, fast_start=True):
        super().__init__(directory)
        self.node = node
        self.cluster = cluster
        self.voters = voters
        self.port = ports.free()
        self.controller_port = controller_port
        self.replicas = replicas
        self.fast_start = fast_start
        self.address = "127.0.0.1:%d" % self.port
        self.more = {}                 # listener -> (port, advertised port)

    def listener(self, name, link):
        """Before the start: one more, NAME, whose clients are told another
        port than it has; link(port) makes what lies between, and knows it."""
        port = ports.free()
        made = link(port)
        self.more[name] = port, made.port
        return made

    def properties(self):
        voter = self.controller_port is not None
        told = listeners = "PLAINTEXT://" + self.address
        for name, (port, advertised) in self.more.items():
            listeners += ",%s://127.0.0.1:%d" % (name, port)
            told += ",%s://127.0.0.1:%d" % (name, advertised)
        if voter:
            listeners += ",CONTROLLER://127.0.0.1:%d" % self.controller_port
        return {
            "process.roles": "broker,controller" if voter else "broker",
            "node.id": self.node,
            "controller.quorum.voters": self.voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": listeners,
            "advertised.listeners": told,
            "listener.security.protocol.map": ",".join(
                name + ":PLAINTEXT"
                for name in ("PLAINTEXT", "CONTROLLER", *self.more)),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": os.path.join(self.dir, "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": self.replicas,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": self.replicas,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": self.replicas,
            "share.coordinator.state.topic.min.isr": 1,
            # Tests start many groups, and kill their members.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "broker.session.timeout.ms": 6000,
            "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
            "log.segment.bytes": 64 * 1024 * 1024,
            "log.index.size.max.bytes": 1024 * 1024,
        }

    def java(self, heap, *arguments):
        jit = ["-XX:TieredStopAtLevel=1"] if self.fast_start else []
        return ["java", "-Xmx" + heap, "-XX:+UseSerialGC", "-Xshare:auto",
                *jit, "-Djava.awt.headless=true",
                "-Dlog4j2.configurationFile="
                + os.path.join(self.dir, "log4j2.yaml"),
                "-cp", os.path.join(fetch(), "*"), *arguments]

    def command(self):
        conf = os.path.join(self.dir, "server.properties")
        with open(conf, "w") as f:
            for key, value in self.properties().items():
                f.write("%s=%s\n" % (key, value))
        with open(os.path.join(self.dir, "log4j2.yaml"), "w") as f:
            f.write(LOG4J)
        meta = os.path.join(self.dir, "data", "meta.properties")
        if not os.path.exists(meta):
            done = subprocess.run(
                self.java("128m", "kafka.tools.StorageTool", "format", "-t",
                          self.cluster, "-c", conf), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                raise RuntimeError("formatting the broker's storage failed:\n"
                                   + done.stdout)
        return self.java(self.heap, "kafka.Kafka", conf)

    def ready(self):
        # Voters that start one after another wait for each other.
        return "Kafka Server started" in self.read_log(self.log_start)


class Kafka:
    """A cluster; with one broker, start, stop and the rest mean that one."""

    def __init__(self, directory, brokers=1, fast_start=True):
        self.dir = os.path.abspath(directory)
        self.cluster = "sluice-tests-%s" % uuid.uuid4().hex[:9]
        self.fast_start = fast_start
        self.replicas = brokers
        controller_ports = [ports.free() for _ in range(brokers)]
        self.voters = ",".join("%d@127.0.0.1:%d" % (i + 1, p)
                               for i, p in enumerate(controller_ports))
        self.brokers = [self._broker(i + 1, p)
                        for i, p in enumerate(controller_ports)]

    def _broker(self, node, controller_port):
        return Broker(os.path.join(self.dir, "kafka-%d" % node), node,
                      self.cluster, self.voters, controller_port,
                      self.replicas, self.fast_start)

    @property
    def bootstrap(self):
        return ",".join(b.address for b in self.brokers)

    @property
    def pid(self):
        return self.brokers[0].pid

    def start(self, timeout=120):
        for b in self.brokers[1:]:
            b.launch()
        self.brokers[0].start(timeout)
        for b in self.brokers[1:]:
            wait.until(b.ready, timeout, b.dir + " ready", alive=b)
        return self

    def grow(self, brokers=3, timeout=120):
        """More brokers for a running cluster; topics stay where they are."""
        while len(self.brokers) < brokers:
            b = self._broker(len(self.brokers) + 1, None)
            b.start(timeout)
            self.brokers.append(b)
        return self

    def stop(self):
        # The controllers last: a broker reports its leave to them, and waits
        # for a majority's word.
        voters = [b for b in self.brokers if b.controller_port is not None]
        for b in reversed(self.brokers):
            if sum(v.alive() for v in voters) * 2 > len(voters):
                b.stop()
            else:
                b.kill()

    def kill(self):
        for b in self.brokers:
            b.kill()

    def freeze(self):
        for b in self.brokers:
            b.freeze()

    def thaw(self):
        for b in self.brokers:
            b.thaw()

    def alive(self):
        return all(b.alive() for b in self.brokers)

    def restart(self, timeout=120):
        self.stop()
        return self.start(timeout)

    # topics

    def admin(self):
        from confluent_kafka.admin import AdminClient
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def create_topic(self, name, partitions=1, config=None, replicas=None):
        from confluent_kafka.admin import NewTopic
        admin = self.admin()
        new = NewTopic(name, num_partitions=partitions,
                       replication_factor=replicas or self.replicas,
                       config={k: str(v) for k, v in (config or {}).items()})
        for future in admin.create_topics([new], request_timeout=30).values():
            future.result(30)
        # Created is not yet known to every broker, nor led.
        wait.until(lambda: _led(admin, name, partitions), 30,
                   "leaders of topic " + name)
        return name

    def create_uploads(self, name, partitions=None, **over):
        """The topics of a pipeline, as conf/topics.conf has them: name,
        name.chunks, name.late, name.dead.  over: settings of the first two, _
        for a dot; partitions: theirs."""
        over = {k.replace("_", "."): v for k, v in over.items()}
        for topic, n, config in conf.topics(name, self.replicas, **over):
            self.create_topic(
                topic, partitions if partitions
                and topic in (name, name + ".chunks") else n, config)
        return name

    def in_sync(self, topic):
        """Whether all brokers run and all replicas of the topic are in sync."""
        from confluent_kafka import KafkaException
        try:
            found = self.admin().list_topics(topic, 5)
        except KafkaException:
            return False
        parts = found.topics[topic].partitions.values()
        return self.alive() and len(parts) > 0 and all(
            p.leader >= 0 and set(p.isrs) == set(p.replicas) for p in parts)

    def delete_topic(self, *names):
        admin = self.admin()               # lives until the futures are done
        for future in admin.delete_topics(list(names)).values():
            future.result(30)

    def end_offsets(self, topic):
        """Offset after the last record, by partition."""
        from confluent_kafka import Consumer, TopicPartition
        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "look"})
        try:
            parts = c.list_topics(topic, 30).topics[topic].partitions
            return {p: c.get_watermark_offsets(
                TopicPartition(topic, p), 30)[1] for p in sorted(parts)}
        finally:
            c.close()

    def records(self, topic, timeout=30):
        """All that lies in a topic now, ordered by partition and offset."""
        from confluent_kafka import Consumer, TopicPartition
        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "look",
                      "enable.auto.commit": "false",
                      "enable.partition.eof": "true",
                      "auto.offset.reset": "earliest"})
        try:
            parts = sorted(c.list_topics(topic, 30).topics[topic].partitions)
            c.assign([TopicPartition(topic, p, 0) for p in parts])
            open_parts, found = set(parts), []
            deadline = time.monotonic() + timeout
            while open_parts:
                m = c.poll(0.5)
                if m is not None and not m.error():
                    found.append(Record(m))
                elif m is not None and m.error().name() == "_PARTITION_EOF":
                    open_parts.discard(m.partition())
                elif time.monotonic() > deadline:
                    raise wait.Timeout("topic %s could not be read" % topic)
            return sorted(found, key=lambda r: (r.partition, r.offset))
        finally:
            c.close()

    def wait_records(self, topic, count, timeout=30):
        """Waits until the topic holds at least count records."""
        wait.until(lambda: sum(self.end_offsets(topic).values()) >= count,
                   timeout, "%d records in %s" % (count, topic))
        return self.records(topic)


class Record:
    """A record as a test wants to see it: header names may not repeat."""

    def __init__(self, m):
        self.topic = m.topic()
        self.partition = m.partition()
        self.offset = m.offset()
        self.key = m.key()
        self.value = m.value() if m.value() is not None else None
        self.timestamp_type, self.timestamp = m.timestamp()
        self.header_list = m.headers() or []
        self.headers = {
            k: None if v is None else v.decode("utf-8", "surrogateescape")
            for k, v in self.header_list}

    def __repr__(self):
        return "Record(%s/%d:%d %s)" % (self.topic, self.partition,
                                        self.offset, json.dumps(self.headers))


def _led(admin, name, partitions):
    topic = admin.list_topics(name, 5).topics[name]
    return (topic.error is None and len(topic.partitions) == partitions
            and all(p.leader >= 0 for p in topic.partitions.values()))
