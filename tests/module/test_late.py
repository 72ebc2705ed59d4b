"""Messages whose acknowledgement does not come in time: their clients are
answered, and they stay with librdkafka until they are in the log, once.

Two brokers, each at the end of a wire of its own; partition N of a topic is
led by broker N + 1, and lies nowhere else.
"""

import collections
import hashlib
import os
import time
import uuid

import pytest

from stack import client
from stack.kafka import Kafka
from test_upload_kafka import Waiting
from upload_forms import form, murmur2, part, png, post
from wire import Wire

HTTP = """
sluice_kafka main {
    bootstrap.servers @WIRES@;
    reconnect.backoff.max.ms 500;
}
sluice_inflight @INFLIGHT@;
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout @ACK@;
}
location = /events {
    sluice_produce main topic=@TOPIC@;
    sluice_max_event_size 1m;
    sluice_ack_timeout @ACK@;
}
location = /metrics { sluice_metrics; }
"""


@pytest.fixture(scope="module")
def pair(ground):
    k = Kafka(os.path.join(ground, "pair"), brokers=2)
    k.wires = [b.listener("NGINX", Wire) for b in k.brokers]
    k.start()
    yield k
    for w in k.wires:
        w.close()
    k.kill()


@pytest.fixture
def wires(pair):
    yield pair.wires
    for w in pair.wires:
        w.mend()


def make(kafka, name, **settings):
    from confluent_kafka.admin import NewTopic
    admin = kafka.admin()              # lives until the future is done
    admin.create_topics([NewTopic(
        name, num_partitions=2, replica_assignment=[[1], [2]],
        config=settings)], request_timeout=30)[name].result(30)
    return name


@pytest.fixture
def spread(request, pair):
    """A topic as above; request.param: its settings."""
    return make(pair, "late-" + uuid.uuid4().hex[:6],
                **getattr(request, "param", {}))


@pytest.fixture
def front(nginx, wires, spread, until):
    def start(ack="6s", inflight="64m", first=(0, 1)):
        n = nginx(SERVER, http=HTTP, level="debug", values={
            "WIRES": ",".join(w.address for w in wires), "TOPIC": spread,
            "ACK": ack, "INFLIGHT": inflight})
        for p in first:
            until(lambda: post(n, file_of(p)).status == 202, 30)
        # until then one partition waits for the other
        n.wait_error_log('topic "%s" has 2 partitions' % spread)
        return n
    return start


def file_of(partition, size=1000, seed=1):
    """A form with one file that goes to this partition."""
    while True:
        data = png(size, seed)
        key = hashlib.sha256(data).hexdigest().encode()
        if murmur2(key) % 2 == partition:
            return form(part(data))
        seed += 100003


def metric(front, name):
    for line in client.get(front.url + "/metrics").body.decode().split("\n"):
        if line.startswith(name + " "):
            return float(line.split()[1])


def times(kafka, topic):
    """How often each id is in the log."""
    return collections.Counter(r.headers["ce_id"]
                               for r in kafka.records(topic))


def ids(reply):
    return [f["id"] for f in reply.json()["files"]]


def test_one_late_message_does_not_double_another(front, wires, pair, spread,
                                                  until):
    """librdkafka gives up a message of one partition by renumbering all: one
    of another, whose acknowledgement was lost, was written again then."""
    n = front(ack="8s")
    wires[1].hold()
    late = Waiting(n, file_of(1, seed=2))
    time.sleep(3)                  # the other one is to be that much younger

    before = pair.end_offsets(spread)[0]
    wires[0].deafen()
    lost = Waiting(n, file_of(0, seed=2))
    until(lambda: pair.end_offsets(spread)[0] > before, 10)
    wires[0].cut()
    assert late.result().status == 503

    wires[0].mend()
    assert lost.result().status == 202
    found = times(pair, spread)
    assert set(found.values()) == {1}, found

    # and is delivered itself, when it can be
    assert not set(ids(late.result())) & set(found)
    wires[1].mend()
    until(lambda: set(ids(late.result())) <= set(times(pair, spread)), 60)
    assert set(times(pair, spread).values()) == {1}


def test_a_first_message_that_was_refused_is_not_taken_for_written(
        front, wires, pair, spread, until):
    """A broker that knows nothing of a producer takes any number for its
    first.  So the second could be written where the first was refused for
    the moment, and librdkafka takes that for the first one's receipt."""
    n = front(ack="20s", first=(1,))
    for w in wires:
        w.hush()
    admin = pair.admin()
    admin.delete_topics([spread])[spread].result(30)
    sent, told = wires[0].sent, wires[0].told
    first = Waiting(n, file_of(0, 300000, seed=2))
    until(lambda: wires[0].sent > sent + 300000 and wires[0].told > told, 10)
    make(pair, spread)
    second = Waiting(n, file_of(0, 300000, seed=3))
    deadline = time.monotonic() + 3
    while pair.end_offsets(spread)[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.1)            # it need not come
    for w in wires:
        w.tell()
    assert first.result().status == second.result().status == 202
    found = times(pair, spread)
    assert [found[i] for r in (first, second) for i in ids(r.result())] \
        == [1, 1]


@pytest.mark.parametrize("spread", [
    {"message.timestamp.before.max.ms": "6000"}], indirect=True)
def test_a_message_too_old_for_the_brokers_does_not_double_another(
        front, wires, pair, spread, until):
    """It is refused when they are back, which renumbers all others too."""
    n = front(ack="3s")
    wires[1].hold()
    late = Waiting(n, file_of(1, seed=2))
    assert late.result().status == 503
    time.sleep(4)                      # more than 6 s old now

    before = pair.end_offsets(spread)[0]
    wires[0].deafen()
    lost = Waiting(n, file_of(0, seed=2))
    until(lambda: pair.end_offsets(spread)[0] > before, 10)
    wires[0].cut()
    wires[1].mend()
    until(lambda: post(n, file_of(1, seed=3)).status == 202, 10)
    wires[0].mend()
    assert lost.result().status in (202, 503)
    until(lambda: post(n, file_of(0, seed=3)).status == 202, 10)
    until(lambda: metric(n, "sluice_inflight_bytes") == 0, 30)
    assert set(times(pair, spread).values()) == {1}
    assert "Invalid timestamp" not in n.errors()


def test_what_was_unknown_comes_late_once_and_gives_its_memory_back(
        front, wires, pair, spread, until):
    n = front(ack="2s", inflight="1m")
    for w in wires:
        w.hold()
    # more than the budget: they are unknown, rejected, or were held back
    uploads = [Waiting(n, form(*[part(png(60000, 40 * i + j))
                                 for j in range(10)])) for i in range(6)]
    states = collections.defaultdict(set)
    for reply in (u.result() for u in uploads):
        assert reply.status == 503
        for f in reply.json()["files"]:
            states[f["status"]].add(f["id"])
    assert states["unknown"] and states["rejected"]
    held = metric(n, "sluice_inflight_bytes")
    assert 0 < held <= 1024 * 1024 + 70000

    # that was long enough: nobody waits for these partitions again
    assert metric(n, "sluice_delivered_late_total") == 0
    until(lambda: [s for _, s in post(n, file_of(0, seed=3)).states()]
          == ["unavailable"], 10)
    n.wait_error_log("partition takes nothing")

    for w in wires:
        w.mend()
    until(lambda: metric(n, "sluice_inflight_bytes") == 0, 60)
    assert metric(n, "sluice_delivered_late_total") == len(states["unknown"])
    for p in (0, 1):
        until(lambda: post(n, file_of(p, seed=4)).status == 202, 30)
    assert "partition takes messages again" in n.errors()
    found = times(pair, spread)
    assert set(found.values()) == {1}
    assert states["unknown"] <= set(found)
    assert not states["rejected"] & set(found)
    assert "[alert]" not in n.errors()


def test_a_partition_that_is_away_leaves_the_others_the_budget(
        front, wires, pair, spread, until):
    n = front(ack="20s", inflight="4m")
    wires[1].hold()
    waiting = []

    def away():
        waiting.append(Waiting(n, file_of(1, 60000, seed=len(waiting))))
        assert post(n, file_of(0, 60000, seed=len(waiting))).status == 202
        return "partition takes nothing" in n.errors()

    # an eighth, by its files' bytes, and what librdkafka has
    until(away, 15)
    for i in range(30):
        reply = post(n, form(part(png(60000, 1000 + i))))
        assert reply.status in (202, 503)
        if reply.status == 503:
            assert [s for _, s in reply.states()] == ["unavailable"]
    assert metric(n, "sluice_inflight_bytes") < 3.5 * 1024 * 1024
    assert "upload held back" not in n.errors()

    wires[1].mend()
    assert {w.result().status for w in waiting} <= {202, 503}
    until(lambda: post(n, file_of(1, seed=5)).status == 202, 30)
    assert set(times(pair, spread).values()) == {1}


@pytest.mark.full
@pytest.mark.parametrize("size", [300, 300000])
def test_events_pass_over_a_partition_that_is_away(front, wires, pair, spread,
                                                   until, size):
    n = front(ack="4s")
    wires[1].hold()
    sent = [Waiting(n, b"%08d" % i * (size // 8), path="/events",
                    Content_Type="text/plain") for i in range(12)]
    statuses = [s.result().status for s in sent]
    assert statuses.count(202) >= 6

    seen = len(pair.records(spread))
    for i in range(20):
        assert post(n, b"later %d" % i, path="/events").status == 202
    assert len(pair.records(spread)) == seen + 20
    wires[1].mend()
    until(lambda: metric(n, "sluice_inflight_bytes") == 0, 60)
    assert set(times(pair, spread).values()) == {1}
    assert len(times(pair, spread)) == 2 + 12 + 20
