"""Kafka in trouble, and nginx on its way out."""

import os
import signal
import threading

import pytest

from stack.kafka import Kafka
from upload_forms import (connect, form, head, part, png, post, read_reply,
                          rss_kb, sanitized, send)
from upload_rights import Guarded

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout %s;
}
location = /alive { return 200 yes; }
"""
BODY = form(part(png(100), filename="a.png"))


def unavailable(reply):
    assert reply.status == 503, (reply.status, reply.body)
    assert int(reply.headers["retry-after"]) > 0
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["type"] == "urn:sluice:problem:unavailable"


class Waiting:
    """An upload in a thread of its own; result() is its reply."""

    def __init__(self, front, body, path="/upload", **headers):
        self.reply, self.error = None, None

        def run():
            try:
                self.reply = post(front, body, path=path, **headers)
            except Exception as e:                  # noqa: shown by result()
                self.error = e

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self, timeout=60):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "no reply"
        if self.error:
            raise self.error
        return self.reply


@pytest.fixture
def frozen(kafka):
    """kafka, thawed again whatever happens."""
    yield kafka
    kafka.thaw()


@pytest.fixture
def away(ground, place_of):
    """A broker of the test's own, not started yet."""
    k = Kafka(os.path.join(place_of, "kafka"))
    yield k
    if k.alive():
        k.stop()


def test_nginx_starts_without_brokers_and_goes_on_when_they_come(
        nginx, away, until):
    front = nginx(SERVER % "3s", http=HTTP,
                  values={"KAFKA": away.bootstrap, "TOPIC": "uploads"})
    unavailable(post(front, BODY))

    # once it is known, a body isn't even asked for
    front.wait_error_log("_ALL_BROKERS_DOWN")
    raw = head(b"x" * 10000000, Expect="100-continue")
    until(lambda: send(front, raw).status == 503, 30)
    unavailable(send(front, raw))
    assert send(front, b"GET /alive HTTP/1.0\r\n\r\n").body == b"yes"

    away.start()
    away.create_topic("uploads")
    until(lambda: post(front, BODY).status == 202, 60)
    assert len(away.records("uploads")) >= 1
    assert front.errors().count("[alert]") == 0


def test_a_frozen_broker_is_503_in_time_and_the_file_unknown(
        nginx, frozen, topic, until):
    front = nginx(SERVER % "4s", http=HTTP)
    assert post(front, BODY).status == 202

    frozen.freeze()
    reply = post(front, form(part(png(100, 1), filename="a.png"),
                             part(b"", filename="b.png")))
    unavailable(reply)
    assert reply.states() == [("a.png", "unknown"), ("b.png", "empty")]

    frozen.thaw()
    until(lambda: post(front, BODY).status == 202, 60)
    assert front.errors().count("[alert]") == 0


def test_a_killed_broker_is_503_in_time_and_comes_back(nginx, away, until):
    away.start()
    away.create_topic("uploads")
    front = nginx(SERVER % "3s", http=HTTP,
                  values={"KAFKA": away.bootstrap, "TOPIC": "uploads"})
    assert post(front, BODY).status == 202

    away.kill()
    unavailable(post(front, BODY))

    away.start()
    until(lambda: post(front, BODY).status == 202, 60)


def test_an_upload_survives_a_short_outage(nginx, frozen, topic):
    front = nginx(SERVER % "30s", http=HTTP, level="debug")
    frozen.freeze()
    upload = Waiting(front, form(*[part(png(1000, n)) for n in range(30)]))
    front.wait_error_log("upload waits for reports")
    frozen.thaw()
    assert upload.result().status == 202
    assert len(frozen.records(topic)) == 30


def test_a_reload_does_not_cut_an_upload_that_waits(nginx, frozen, topic,
                                                    until):
    front = nginx(SERVER % "60s", http=HTTP, level="debug")
    frozen.freeze()
    upload = Waiting(front, form(*[part(png(1000, n)) for n in range(30)]))
    front.wait_error_log("upload waits for reports")

    front.reload()
    assert front.workers(leaving=True)

    frozen.thaw()
    assert upload.result().status == 202
    assert len(frozen.records(topic)) == 30
    until(lambda: not front.workers(leaving=True), 30)
    assert "open socket" not in front.errors()


def test_a_reload_does_not_cut_an_upload_that_arrives(nginx, kafka, topic,
                                                      until):
    front = nginx(SERVER % "60s", http=HTTP)
    body = form(*[part(png(100000, n)) for n in range(3)])
    with connect(front) as s:
        s.sendall(head(body) + body[:150000])
        until(lambda: len(kafka.records(topic)) == 1, 30)
        front.reload()
        assert front.workers(leaving=True)
        s.sendall(body[150000:])
        assert read_reply(s).status == 202
    assert len(kafka.records(topic)) == 3
    until(lambda: not front.workers(leaving=True), 30)


def test_twenty_reloads_with_the_brokers_away_leave_no_worker_behind(
        nginx, until):
    front = nginx(SERVER % "2s", http=HTTP,
                  values={"KAFKA": "127.0.0.1:9", "TOPIC": "uploads"})
    uploads = []
    for _ in range(20):
        uploads.append(Waiting(front, BODY))
        front.reload()
    for upload in uploads:
        assert upload.result().status == 503
    until(lambda: not front.workers(leaving=True), 30)
    assert len(front.workers()) == 1
    assert "[alert]" not in front.errors()


@pytest.mark.parametrize("end", ["TERM", "QUIT"])
def test_leaving_while_the_brokers_are_frozen_is_clean(nginx, frozen, topic,
                                                       until, end):
    front = nginx(SERVER % "3s", http=HTTP, level="debug")
    frozen.freeze()
    upload = Waiting(front, form(*[part(png(100000, n)) for n in range(30)]))
    front.wait_error_log("upload waits for reports")
    if end == "QUIT":
        assert front.quit() == 0
        unavailable(upload.result())
    else:
        front.signal(signal.SIGTERM)
        front.process.wait(30)
        upload.thread.join(30)


def test_leaving_with_reports_on_the_way_loses_nothing(nginx, kafka, topic):
    front = nginx(SERVER % "20s", http=HTTP)
    upload = Waiting(front, form(*[part(png(100000, n)) for n in range(50)]))
    kafka.wait_records(topic, 1)
    assert front.quit() == 0
    assert upload.result().status == 202
    assert len(kafka.records(topic)) == 50


def test_clients_are_held_back_while_the_budget_is_full(nginx, frozen, topic,
                                                        until):
    front = nginx(SERVER % "60s", http=HTTP + "sluice_inflight 1m;",
                  level="debug")
    frozen.freeze()
    body = form(*[part(png(250000, n)) for n in range(8)])
    uploads = [Waiting(front, body) for _ in range(10)]
    until(lambda: front.errors().count("upload held back") >= 10, 30)

    # of 20 MB, one file more than the budget per upload may have been taken
    assert rss_kb(front.workers()[0]) < 60000 + sanitized() * 200000
    assert send(front, b"GET /alive HTTP/1.0\r\n\r\n").body == b"yes"

    frozen.thaw()
    assert [u.result(120).status for u in uploads] == [202] * 10
    assert len(frozen.records(topic)) == 80


def test_a_client_held_back_too_long_gets_503(nginx, frozen, topic, until):
    front = nginx(SERVER % "3s", http=HTTP + "sluice_inflight 128k;")
    frozen.freeze()
    body = form(*[part(png(100000, n), filename="%d.png" % n)
                  for n in range(20)])
    uploads = [Waiting(front, body) for _ in range(3)]
    for upload in uploads:
        unavailable(upload.result())
    frozen.thaw()
    until(lambda: post(front, BODY).status == 202, 60)


def test_a_client_that_leaves_while_held_back_is_noticed(nginx, frozen, topic,
                                                         until):
    front = nginx(SERVER % "60s", http=HTTP + "sluice_inflight 64k;",
                  level="debug")
    frozen.freeze()
    body = form(*[part(png(70000, i)) for i in range(3)])
    s = connect(front)
    s.sendall(head(body))
    pieces = iter([body[:150000]]
                  + [body[at:at + 1000] for at in range(150000, 180000, 1000)])

    # no more than the socket takes, or its end would not arrive either
    def held():
        s.sendall(next(pieces, b""))
        return "upload held back" in front.errors()

    until(held, 30)
    s.close()
    until(lambda: " 499 " in open(front.access_log).read(), 30)


def test_the_oldest_upload_goes_on_when_parts_fill_the_memory(
        nginx, kafka, topic, until):
    """Each of these stops one byte before the end of its file."""
    front = nginx(SERVER % "60s", http=HTTP + "sluice_partial 2m;",
                  level="debug")
    body = form(part(png(300000)))
    clients = []
    for _ in range(20):
        s = connect(front)
        s.sendall(head(body) + body[:299000])
        clients.append(s)
    until(lambda: front.errors().count("upload held back") >= 5, 30)
    assert rss_kb(front.workers()[0]) < 40000 + sanitized() * 200000

    for s in clients:
        s.sendall(body[299000:])
    for s in clients:
        assert read_reply(s).status == 202
        s.close()
    assert len(kafka.records(topic)) == 20


def test_a_file_the_broker_finds_too_large_is_413(nginx, kafka, topic, until):
    small = kafka.create_topic(topic + "-small",
                               config={"max.message.bytes": 50000})
    # a batch is judged as a whole, so it must fit as well
    front = nginx(SERVER % "10s", values={"TOPIC": small},
                  http=HTTP.replace("}", "batch.size 40000;\n}"))
    body = form(part(png(1000), filename="a"), part(png(60000), filename="b"),
                part(png(2000), filename="c"))
    reply = post(front, body)
    assert reply.status == 202
    assert reply.states() == [("a", "accepted"), ("b", "too_large"),
                              ("c", "accepted")]
    assert post(front, form(part(png(60000)))).status == 413
    assert post(front, BODY).status == 202


def test_a_missing_topic_is_503(nginx, kafka):
    front = nginx(SERVER % "3s", http=HTTP,
                  values={"KAFKA": kafka.bootstrap, "TOPIC": "nosuch"})
    unavailable(post(front, BODY))


def test_a_producer_with_a_fatal_error_is_replaced(nginx, place_of, until):
    """A denied right makes librdkafka's producer useless for good."""
    guarded = Guarded(os.path.join(place_of, "kafka")).start()
    try:
        guarded.create_topic("uploads")
        guarded.deny_writing()
        front = nginx(SERVER % "6s", http=HTTP,
                      values={"KAFKA": guarded.bootstrap, "TOPIC": "uploads"})
        unavailable(post(front, BODY))
        front.wait_error_log("kafka producer replaced")

        guarded.allow_writing()
        until(lambda: post(front, BODY).status == 202, 90)
        assert "[alert]" not in front.errors()
    finally:
        guarded.stop()
