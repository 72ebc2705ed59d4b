"""processor/io/kafka*.c against a real broker.

The records that most tests write begin with the offset they will have, so
that the driver can check each one it is given.
"""

import random
import threading
import time
import uuid

import pytest

from io_driver import Driver

PARTITIONS = 3


@pytest.fixture
def log(request, kafka):
    """A topic of our own, without bounds on timestamps."""
    return kafka.create_topic("io-" + uuid.uuid4().hex[:8], PARTITIONS)


@pytest.fixture
def member(kafka, log, place_of):
    """Starts a member of the test's group; its first answer is checked."""
    def start(instance="one", *properties, topic=log):
        d = Driver(place_of, "kafka", topic, instance,
                   "bootstrap.servers=" + kafka.bootstrap,
                   "group.id=" + group, *properties)
        started.append(d)
        assert d.answer()[0] == "ok"
        return d
    group = "g-" + uuid.uuid4().hex[:8]
    start.group = group
    started = []
    yield start
    for d in started:
        d.kill()


class Writer:
    """Writes records that begin with their offset; one to a partition."""

    def __init__(self, kafka, topic, **config):
        from confluent_kafka import Producer
        self.topic = topic
        self.next = [0] * PARTITIONS
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap,
                                  "enable.idempotence": "true",
                                  "linger.ms": 2, **config})
        self.stop = threading.Event()

    def write(self, partition, size=200):
        value = ("%d " % self.next[partition]).ljust(size, "x")
        self.next[partition] += 1
        self.producer.produce(self.topic, value, key="k",
                              partition=partition)

    def fill(self, n, size=200):
        for _ in range(n):
            for p in range(PARTITIONS):
                self.write(p, size)
            self.producer.poll(0)
        assert self.producer.flush(30) == 0
        return self

    def __enter__(self):
        def run():
            chance = random.Random(1)
            while not self.stop.is_set():
                for _ in range(chance.randrange(40)):
                    self.write(chance.randrange(PARTITIONS),
                               chance.choice((20, 200, 5000)))
                self.producer.poll(0)
                self.stop.wait(0.01)
            self.producer.flush(30)
        self.thread = threading.Thread(target=run)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()


def held(d):
    """The partitions that d has by now."""
    held = set()
    for line in d.seen:
        word = line.split()
        if word[:1] == ["assigned"]:
            held.add(int(word[1]))
        elif word[:1] == ["revoked"]:
            held.discard(int(word[1]))
    return held


def assigned(d, n=PARTITIONS, timeout=60):
    """Polls until n partitions are held."""
    deadline = time.monotonic() + timeout
    while len(held(d)) != n:
        assert time.monotonic() < deadline, d.seen
        d.do("poll", 1, 200)
    return held(d)


def test_nothing_comes_before_the_start_and_then_exactly_from_there(
        kafka, log, member):
    Writer(kafka, log).fill(50)
    d = member()
    assigned(d)
    d.do("poll", 1, 3000)
    assert d.records() == []
    assert d.numbers("position", 1)[0] == -1

    assert d.do("start", 1, 17)[0] == "ok"
    assert d.do("poll", 33, 30000) == ("ok", "33")
    assert d.records() == [(1, o) for o in range(17, 50)]
    assert d.numbers("position", 1)[0] == 50
    d.end()


def test_a_rewind_begins_again_and_a_pause_is_silent(kafka, log, member):
    Writer(kafka, log).fill(50)
    d = member()
    assigned(d)
    d.do("start", 0, 0)
    d.do("poll", 10, 30000)
    d.do("start", 0, 3)
    d.do("poll", 5, 30000)
    d.do("pause", 0)
    assert d.do("poll", 1, 2000)[0] == "timeout"
    d.do("start", 0, 48)
    d.do("poll", 2, 30000)
    assert d.records() == [(0, o) for o in list(range(10)) + list(range(3, 8))
                           + [48, 49]]
    d.end()


def test_a_backlog_larger_than_the_bound_comes_whole(kafka, log, member):
    """The driver fetches 4 MiB ahead; the queue fills and is emptied."""
    Writer(kafka, log).fill(700, size=20000)
    d = member()
    assigned(d)
    for p in range(PARTITIONS):
        d.do("start", p, 0)
    assert d.do("poll", 2100, 60000, timeout=90) == ("ok", "2100")
    for p in range(PARTITIONS):
        assert [o for q, o in d.records() if q == p] == list(range(700))
    d.end()


def test_every_start_under_load_delivers_exactly_from_there(kafka, log,
                                                            member):
    with Writer(kafka, log).fill(500):
        d = member()
        assigned(d)
        rc, text = d.do("stress", 2000, 7, timeout=320)
        assert rc == "ok", text
    d.end()


def test_members_that_come_and_go_disturb_no_sequence(kafka, log, member):
    """Rebalances in order and by session timeout, while both rewind."""
    with Writer(kafka, log).fill(300):
        fast = ("session.timeout.ms=3000", "heartbeat.interval.ms=500")
        one = member("one", *fast)
        assigned(one)
        one.tell("stress", 10 ** 6, 1)
        for i in range(4):
            two = member("two-%d" % i, *fast)
            rc, text = two.do("stress", 30, i, timeout=120)
            assert rc == "ok", text
            if i % 2:
                two.kill()
            else:
                two.end()
        one.tell("enough")
        rc, text = one.answer()
        assert rc == "ok", text
        one.answer()
    one.end()


def test_partitions_are_given_up_in_order_to_a_new_member(kafka, log, member):
    one = member("one")
    assigned(one)
    two = member("two")
    deadline = time.monotonic() + 60
    while not any(line.startswith("assigned") for line in two.seen):
        assert time.monotonic() < deadline
        one.do("poll", 1, 100)
        two.do("poll", 1, 100)
    gone = [line for line in one.seen if line.startswith("revoked")]
    assert gone and all(line.endswith("kept") for line in gone)
    # Cooperative: what stays was never taken away.
    assert len(gone) < PARTITIONS
    two.end()
    one.end()


def test_partitions_that_a_killed_member_was_giving_up_find_an_owner(
        kafka, log, member):
    """One was told to give partitions up and is killed before it says that
    it did.  Come back under its name it gets the others, the group stays as
    it is, and nobody has those."""
    fast = ("session.timeout.ms=6000", "heartbeat.interval.ms=500")
    one = member("one", *fast)
    assigned(one)
    two = member("two", *fast)
    deadline = time.monotonic() + 60
    while "msg=assigned partitions=0" not in two.log_text():
        assert time.monotonic() < deadline
        two.do("poll", 1, 200)                  # and one hears of nothing
    one.kill()
    one = member("one", *fast)
    deadline = time.monotonic() + 60
    while held(one) | held(two) != set(range(PARTITIONS)):
        assert time.monotonic() < deadline, (one.seen, two.seen)
        one.do("poll", 1, 200)
        two.do("poll", 1, 200)
    assert "without an owner" in one.log_text() + two.log_text()
    two.end()
    one.end()


def test_a_commit_is_seen_by_the_group(kafka, log, member):
    from confluent_kafka import Consumer, TopicPartition
    Writer(kafka, log).fill(5)
    d = member()
    assigned(d)
    assert d.do("commit", 2, 4)[0] == "ok"
    c = Consumer({"bootstrap.servers": kafka.bootstrap,
                  "group.id": member.group})
    assert c.committed([TopicPartition(log, 2)], 10)[0].offset == 4
    c.close()
    d.end()


def test_the_end_counts_control_records(kafka, log, member):
    """A transaction's marker takes an offset that no record has."""
    from confluent_kafka import Producer
    p = Producer({"bootstrap.servers": kafka.bootstrap,
                  "transactional.id": uuid.uuid4().hex})
    p.init_transactions(30)
    p.begin_transaction()
    for _ in range(3):
        p.produce(log, b"x", partition=0)
    p.commit_transaction(30)
    p.begin_transaction()
    p.produce(log, b"dropped", partition=0)
    p.flush(10)
    p.abort_transaction(30)

    d = member()
    assigned(d)
    d.do("start", 0, 0)
    assert d.do("poll", 3, 30000)[0] == "ok"
    deadline = time.monotonic() + 30
    while d.numbers("position", 0)[0] != 6:
        assert time.monotonic() < deadline
        d.do("poll", 1, 200)
    assert d.numbers("bounds", 0) == (0, 6)
    assert len(d.records()) == 3
    d.end()


def test_an_open_transaction_ends_the_log(kafka, log, member):
    from confluent_kafka import Producer
    Writer(kafka, log).fill(2)
    p = Producer({"bootstrap.servers": kafka.bootstrap,
                  "transactional.id": uuid.uuid4().hex})
    p.init_transactions(30)
    p.begin_transaction()
    p.produce(log, b"x", partition=0)
    p.flush(10)

    d = member()
    assigned(d)
    d.do("start", 0, 0)
    assert d.do("poll", 2, 30000)[0] == "ok"
    assert d.numbers("bounds", 0) == (0, 2)
    p.abort_transaction(30)
    d.end()


def test_an_offset_that_retention_took_is_asked_for_again(kafka, log, member):
    Writer(kafka, log).fill(20)
    d = member()
    assigned(d)
    assert d.do("delete_below", 0, 10)[0] == "ok"
    assert d.numbers("bounds", 0) == (10, 20)
    d.do("start", 0, 5)
    d.poll_until(r"^revoked 0 lost$")
    assert d.seen.count("assigned 0") == 2
    assert d.records() == []
    d.do("start", 0, 10)
    assert d.do("poll", 10, 30000)[0] == "ok"
    assert d.records() == [(0, o) for o in range(10, 20)]
    d.end()


def test_an_offset_beyond_the_end_is_asked_for_again(kafka, log, member):
    Writer(kafka, log).fill(5)
    d = member()
    assigned(d)
    d.do("start", 2, 1000)
    d.poll_until(r"^revoked 2 lost$")
    d.do("start", 2, 4)
    assert d.do("poll", 1, 30000)[0] == "ok"
    assert d.records() == [(2, 4)]
    d.end()


def test_a_broker_that_restarts_interrupts_nothing(kafka, log, member):
    Writer(kafka, log).fill(2000)
    d = member()
    assigned(d)
    d.do("start", 0, 0)
    d.do("poll", 100, 30000)
    kafka.restart()
    # It may have been away for longer than a session: then the partition is
    # lost and comes again, and its owner begins where it was.
    begun = d.seen.count("assigned 0")
    deadline = time.monotonic() + 90
    while len(d.records()) < 2000:
        assert time.monotonic() < deadline, d.log_text()[-2000:]
        d.do("poll", 100, 1000)
        if d.seen.count("assigned 0") > begun:
            begun = d.seen.count("assigned 0")
            d.do("start", 0, len(d.records()))
    assert d.records() == [(0, o) for o in range(2000)]
    d.end()


def test_offset_by_time(kafka, log, member):
    from confluent_kafka import Producer
    p = Producer({"bootstrap.servers": kafka.bootstrap})
    for ts in (1000, 2000, 3000):
        p.produce(log, b"x", partition=1, timestamp=ts)
    p.flush(10)
    d = member()
    assigned(d)
    assert d.numbers("at", 1, 1500)[0] == 1
    assert d.numbers("at", 1, 2000)[0] == 1
    assert d.numbers("at", 1, 0)[0] == 0
    assert d.numbers("at", 1, 9999)[0] == 3
    d.end()


def test_a_second_member_of_the_same_name_pushes_the_first_out(kafka, log,
                                                              member):
    one = member("same")
    assigned(one)
    two = member("same")
    deadline = time.monotonic() + 60
    while sum(line.startswith("revoked") for line in one.seen) < PARTITIONS:
        assert time.monotonic() < deadline, one.seen
        one.do("poll", 1, 100)
        two.do("poll", 1, 100)
    assert all(line.endswith("lost") for line in one.seen
               if line.startswith("revoked"))
    assert "refuses this member" in one.log_text()
    # Without the rival it joins again by itself.
    two.kill()
    n = len(one.seen)
    deadline = time.monotonic() + 90
    while not any(line.startswith("assigned") for line in one.seen[n:]):
        assert time.monotonic() < deadline, one.log_text()[-2000:]
        one.do("poll", 1, 500)
    one.end()


def test_a_record_is_sent_on_whole_with_the_present_as_its_time(kafka, log,
                                                               member):
    from confluent_kafka import Producer
    dead = kafka.create_topic("dead-" + uuid.uuid4().hex[:8], 1)
    p = Producer({"bootstrap.servers": kafka.bootstrap})
    p.produce(log, b"\0body", key=b"key", partition=0, timestamp=123456,
              headers=[("ce_id", b"a"), ("x", b""), ("ce_id", b"b")])
    p.flush(10)
    d = member()
    assigned(d)
    d.do("start", 0, 0)
    assert d.do("send", dead, 10000)[0] == "ok"
    (r,) = kafka.wait_records(dead, 1)
    assert (r.key, r.value) == (b"key", b"\0body")
    assert r.header_list == [("ce_id", b"a"), ("x", b""), ("ce_id", b"b"),
                             ("error-reason", b"too late"),
                             ("error-offset", b"7"),
                             ("error-timestamp", b"123456")]
    assert abs(r.timestamp / 1000 - time.time()) < 300
    d.end()


def test_null_and_empty_stay_what_they_are(kafka, log, member):
    from confluent_kafka import Producer
    dead = kafka.create_topic("dead-" + uuid.uuid4().hex[:8], 1)
    p = Producer({"bootstrap.servers": kafka.bootstrap})
    p.produce(log, None, partition=0)
    p.produce(log, b"", key=b"", partition=0)
    p.flush(10)
    d = member()
    assigned(d)
    d.do("start", 0, 0)
    assert d.do("send", dead, 10000)[0] == "ok"
    assert d.do("send", dead, 10000)[0] == "ok"
    a, b = kafka.wait_records(dead, 2)
    assert (a.key, a.value) == (None, None)
    assert (b.key, b.value) == (b"", b"")
    d.end()


def test_a_send_that_nobody_acknowledges_fails_in_time(kafka, log, member):
    Writer(kafka, log).fill(2)
    dead = kafka.create_topic("dead-" + uuid.uuid4().hex[:8], 1)
    d = member()
    assigned(d)
    d.do("start", 0, 0)
    assert d.do("send", dead, 10000)[0] == "ok"
    d.do("start", 1, 0)
    d.poll_until("^record 1 0 ")
    kafka.freeze()
    try:
        d.do("start", 0, 0)
        rc, text = d.do("send", dead, 1000, timeout=60)
        assert rc == "retry"
    finally:
        kafka.thaw()
    d.do("start", 0, 0)
    assert d.do("send", dead, 20000, timeout=60)[0] == "ok"
    d.end()


def check(kafka, place_of, *properties):
    d = Driver(place_of, "kafka", "t", "-", *properties)
    try:
        return d.answer()
    finally:
        d.end()


@pytest.mark.parametrize("property, word", [
    ("enable.auto.commit=true", "processor itself"),
    ("auto.offset.reset=latest", "processor itself"),
    ("group.instance.id=x", "processor itself"),
    ("partition.assignment.strategy=range", "processor itself"),
    ("plugin.library.paths=/tmp/x.so", "processor itself"),
    ("rebalance_cb=1", "processor itself"),
    ("no.such.property=1", "no.such.property"),
    ("session.timeout.ms=soon", "session.timeout.ms"),
])
def test_properties_are_refused_by_line(kafka, place_of, property, word):
    rc, text = check(kafka, place_of, "bootstrap.servers=x:1", "group.id=g",
                     property)
    assert rc == "reject" and word in text and text.startswith("line 4:")


def test_required_properties(kafka, place_of):
    rc, text = check(kafka, place_of, "bootstrap.servers=x:1")
    assert rc == "reject" and "group.id" in text
    rc, text = check(kafka, place_of, "group.id=g")
    assert rc == "reject" and "bootstrap.servers" in text
    assert check(kafka, place_of, "bootstrap.servers=x:1", "group.id=g",
                 "security.protocol=ssl", "linger.ms=1") == ("ok", "g")


def test_probe_checks_topics_and_bounds(kafka, topic, log, place_of):
    def probe(name, *words, servers=kafka.bootstrap):
        d = Driver(place_of, "kafka", name, "-",
                   "bootstrap.servers=" + servers, "group.id=g")
        try:
            assert d.answer()[0] == "ok"
            return d.do("probe", *words, timeout=90)
        finally:
            d.end()

    assert probe(topic, 55000) == ("ok", "-1 -1")
    # Wider bounds are only warned of: what is late is sent on, not lost.
    rc, text = probe(topic, 54999)
    assert rc == "ok" and "45000" in text and "5000" in text
    rc, text = probe(log, 55000)
    assert rc == "ok" and log in text
    rc, text = probe("nowhere", 55000)
    assert rc == "reject" and "nowhere" in text
    rc, text = probe(topic, 55000, "nowhere.late")
    assert rc == "reject" and "nowhere.late" in text
    rc, text = probe(topic, 55000, servers="127.0.0.1:1")
    assert rc == "retry" and "127.0.0.1:1" in text
