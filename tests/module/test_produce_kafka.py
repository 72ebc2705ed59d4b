"""Events while Kafka is in trouble, clients leave and nginx goes."""

import threading
import time

import pytest

from upload_forms import connect, head, post, rss_kb, sanitized
from test_produce import HTTP, JSON, SERVER, accepted, event, problem


@pytest.fixture
def frozen(kafka):
    """kafka, thawed again whatever happens."""
    yield kafka
    kafka.thaw()


class Together:
    """Events sent at once, each by a connection of its own."""

    def __init__(self, front, bodies, path="/event"):
        self.replies = [None] * len(bodies)

        def run(n):
            self.replies[n] = event(front, bodies[n], path)

        self.threads = [threading.Thread(target=run, args=(n,), daemon=True)
                        for n in range(len(bodies))]
        for t in self.threads:
            t.start()

    def result(self):
        for t in self.threads:
            t.join(60)
            assert not t.is_alive(), "no reply"
        return self.replies


def test_without_brokers_events_are_503(nginx, until):
    front = nginx(SERVER % "sluice_ack_timeout 3s;", http=HTTP,
                  values={"KAFKA": "127.0.0.1:9", "TOPIC": "events"})
    reply = event(front, b"1\n2\n3", "/lines")
    problem(reply, 503, "unavailable")
    assert int(reply.headers["retry-after"]) > 0

    # once it is known, the body isn't waited for
    until(lambda: "accepted" not in event(front, b"1").json(), 30)
    problem(event(front, b"1"), 503, "unavailable")


def test_a_frozen_broker_makes_events_unknown_or_refused(nginx, frozen,
                                                         topic, until):
    front = nginx(SERVER % "sluice_ack_timeout 4s;", http=HTTP)
    accepted(event(front, b"0"), 1)
    frozen.freeze()
    n = 2000
    reply = event(front, b"\n".join(b"%d" % i for i in range(n)), "/lines")
    problem(reply, 503, "unavailable")
    got = reply.json()
    assert got["accepted"] == 0 and got["unknown"] > 0
    assert got["unknown"] + got["refused"] == n

    frozen.thaw()
    until(lambda: event(front, b"1").status == 202, 60)
    assert front.errors().count("[alert]") == 0


def test_what_waits_for_a_short_outage_is_accepted_once(nginx, frozen,
                                                        topic):
    front = nginx(SERVER % "sluice_ack_timeout 40s;", http=HTTP,
                  level="debug")
    accepted(event(front, b"0"), 1)
    frozen.freeze()
    bodies = [b"body %d" % n for n in range(60)]
    sent = Together(front, bodies)
    front.wait_error_log("upload waits for reports")
    frozen.thaw()
    for reply in sent.result():
        accepted(reply, 1)
    assert sorted(r.value for r in frozen.records(topic)) \
        == sorted(bodies + [b"0"])


def test_a_reload_cuts_no_event_that_waits(nginx, frozen, topic, until):
    front = nginx(SERVER % "sluice_ack_timeout 60s;", http=HTTP,
                  level="debug")
    accepted(event(front, b"0"), 1)
    frozen.freeze()
    sent = Together(front, [b"a\nb\nc"] * 4, "/lines")
    front.wait_error_log("upload waits for reports")
    front.reload()
    frozen.thaw()
    for reply in sent.result():
        accepted(reply, 3)
    until(lambda: not front.workers(leaving=True), 30)
    assert len(frozen.records(topic)) == 13
    assert "open socket" not in front.errors()


def test_clients_that_leave_take_nothing_with_them(nginx, frozen, topic,
                                                   until):
    front = nginx(SERVER % "", http=HTTP, level="debug")
    accepted(event(front, b"0"), 1)

    # in the middle of the second event
    with connect(front) as s:
        s.sendall(head(b"x" * 100, "/lines", JSON) + b"1\n2")
        frozen.wait_records(topic, 2)
    front.wait_error_log("client prematurely closed")

    # as soon as the event is sent
    frozen.freeze()
    with connect(front) as s:
        s.sendall(head(b"3", "/event", JSON) + b"3")
    front.wait_error_log("client gone")
    frozen.thaw()
    accepted(event(front, b"4"), 1)
    assert sorted(r.value for r in frozen.wait_records(topic, 4)) \
        == [b"0", b"1", b"3", b"4"]


def test_an_event_over_the_topics_limit_is_413(nginx, kafka, topic):
    front = nginx(SERVER % "sluice_max_event_size 3m; "
                           "client_max_body_size 4m;", http=HTTP)
    reply = event(front, b"x" * 2000000)
    assert reply.status == 413, reply.body
    accepted(event(front, b"x"), 1)


def test_events_without_a_key_use_several_partitions(nginx, kafka, topic,
                                                     until):
    front = nginx(SERVER % "", http=HTTP)

    def partitions():
        Together(front, [b"x"] * 8).result()
        return len({r.partition for r in kafka.records(topic)}) >= 3

    until(partitions, 40)


def test_events_give_their_memory_back(nginx, kafka, topic):
    front = nginx(SERVER % "client_max_body_size 30m; "
                           "sluice_max_event_size 5m;", http=HTTP)
    (worker,) = front.workers()
    lines = b"\n".join(b"%0100d" % n for n in range(5000))

    def use():
        for _ in range(4):
            accepted(event(front, lines, "/lines"), 5000)
            event(front, b"[" + lines, "/array")
            with connect(front) as s:
                s.sendall(head(b"x" * 5000000, "/event", JSON)
                          + b"x" * 2000000)
        return rss_kb(worker)

    used = use()
    for _ in range(3):
        last = use()
    if not sanitized():
        assert last < used + 20000
    assert front.errors().count("[alert]") == 0
