"""sluice_health, sluice_drain, sluice_upload off."""

import json
import os
import socket

import pytest

from stack import client
from stack.kafka import Kafka
from upload_forms import (H2, connect, form, head, part, png, post,
                          read_reply, send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
sluice_kafka other {
    bootstrap.servers 127.0.0.1:1;
}
sluice_kafka unused {
    bootstrap.servers 127.0.0.1:1;
}
"""
SERVER = """
sluice_drain @DIR@/drain;
location = /upload { sluice_upload main topic=@TOPIC@; }
location = /events { sluice_produce main topic=@TOPIC@; }
location = /undrained {
    sluice_upload main topic=@TOPIC@;
    sluice_drain off;
}
location = /other { sluice_upload other topic=@TOPIC@; }
location = /off { sluice_upload off; }
location = /health { sluice_health; }
location = /health/main { sluice_health main; }
location = /health/both { sluice_health main unused; }
location = /metrics { sluice_metrics; }
"""
BODY = form(part(png(1000)))


def health(front, path="/health/main"):
    got = client.get(front.url + path)
    assert got.headers["cache-control"] == "no-store"
    said = got.json()
    if got.status == 200:
        assert got.headers["content-type"] == "application/json"
        assert set(said) == {"kafka"}
    else:
        assert got.headers["content-type"] == "application/problem+json"
        assert int(got.headers["retry-after"]) > 0
        assert said["status"] == got.status == 503
    return got.status, said.get("type", "").split(":")[-1], \
        {k["name"]: k["status"] for k in said["kafka"]}


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def test_healthy_is_who_has_heard_of_all_that_are_asked_for(front, until):
    assert health(front) == (200, "", {"main": "up"})
    assert health(front, "/health/both") \
        == (200, "", {"main": "up", "unused": "unused"})
    assert health(front, "/health") == (
        503, "unavailable", {"main": "up", "other": "down",
                             "unused": "unused"})
    assert send(front, b"HEAD /health/main HTTP/1.0\r\n\r\n").status == 200
    assert send(front, b"PUT /health/main HTTP/1.0\r\n\r\n").status == 405


def test_a_frozen_broker_shows_when_asked_and_so_does_its_return(
        front, kafka, until):
    """Nothing but the question tells: no upload is under way."""
    assert health(front) == (200, "", {"main": "up"})
    kafka.freeze()
    try:
        until(lambda: health(front) == (503, "unavailable", {"main": "down"}),
              30)
        front.wait_error_log("no kafka broker answers")
        assert post(front, BODY).status == 503
    finally:
        kafka.thaw()
    until(lambda: health(front) == (200, "", {"main": "up"}), 30)
    assert post(front, BODY).status == 202
    assert "[alert]" not in front.errors()


def test_brokers_that_come_later_are_seen(nginx, place_of, until):
    away = Kafka(os.path.join(place_of, "kafka"))
    try:
        front = nginx(SERVER, http=HTTP, values={
            "KAFKA": away.bootstrap, "TOPIC": "uploads"})
        assert health(front) == (503, "unavailable", {"main": "down"})
        away.start()
        away.create_topic("uploads")
        until(lambda: health(front)[0] == 200, 60)
        assert post(front, BODY).status == 202
        away.kill()
        until(lambda: health(front)[0] == 503, 30)
    finally:
        if away.alive():
            away.stop()


def test_who_waits_for_health_is_answered_by_a_leaving_worker(front, kafka,
                                                              until):
    assert health(front)[0] == 200
    kafka.freeze()
    try:
        def asked():
            """Some seconds after the last word of a broker it is a question,
            which takes longer than this socket waits."""
            s = connect(front)
            s.sendall(b"GET /health/main HTTP/1.1\r\nHost: a\r\n"
                      b"Connection: close\r\n\r\n")
            s.settimeout(0.3)
            try:
                return not s.recv(1, socket.MSG_PEEK) and None
            except socket.timeout:
                s.settimeout(30)
                return s

        s = until(lambda: asked() or None, 30)
        front.reload()
        assert read_reply(s).status == 503
        s.close()
    finally:
        kafka.thaw()


def test_clients_may_leave_while_they_wait(front, kafka, until):
    kafka.freeze()
    try:
        for _ in range(50):
            s = connect(front)
            s.sendall(b"GET /health/main HTTP/1.1\r\nHost: a\r\n\r\n")
            s.close()
        until(lambda: health(front)[0] == 503, 30)
    finally:
        kafka.thaw()
    until(lambda: health(front)[0] == 200, 30)


def refused(reply):
    assert reply.status == 503
    assert reply.json()["type"] == "urn:sluice:problem:draining"
    assert reply.headers["retry-after"] == "30"
    return True


def test_a_drain_file_refuses_what_is_new_and_lets_the_rest_end(
        front, kafka, topic, until):
    slow = connect(front)
    slow.sendall(head(BODY) + BODY[:500])
    stream = H2(front)
    stream.send(BODY[:500], end=False)
    until(lambda: b"sluice_open_uploads 2" in send(
        front, b"GET /metrics HTTP/1.0\r\n\r\n").body, 20)

    drain = front.dir + "/drain"
    open(drain, "w").close()
    until(lambda: post(front, BODY).status == 503, 20)
    before = len(kafka.records(topic))
    assert refused(post(front, BODY))
    assert refused(post(front, b"{}", path="/events",
                        kind="application/json"))
    assert refused(send(front, head(b"x" * 10000000, Expect="100-continue")))
    assert post(front, BODY, path="/undrained").status == 202
    until(lambda: health(front) == (503, "draining", {"main": "up"}), 20)
    assert b"sluice_draining 1" in send(
        front, b"GET /metrics HTTP/1.0\r\n\r\n").body

    slow.sendall(BODY[500:])
    assert read_reply(slow).status == 202
    stream.send(BODY[500:])
    assert stream.reply()[0] == 202
    stream.close()
    slow.close()
    assert len(kafka.records(topic)) == before + 3

    os.unlink(drain)
    until(lambda: post(front, BODY).status == 202, 20)
    until(lambda: health(front)[0] == 200, 20)
    assert b"sluice_draining 0" in send(
        front, b"GET /metrics HTTP/1.0\r\n\r\n").body


def test_a_drain_file_that_cannot_be_looked_for_is_said_once(nginx, topic,
                                                             place_of):
    hidden = os.path.join(place_of, "hidden")
    os.mkdir(hidden, 0o700)
    front = nginx("location = /upload { sluice_upload main topic=@TOPIC@; "
                  "sluice_drain %s/drain; }" % hidden, http=HTTP)
    if os.geteuid() != 0:
        pytest.skip("workers are this user, who may enter")
    for _ in range(3):
        assert post(front, BODY).status == 202
    assert front.errors().count("can't look for the drain file") == 1


def test_an_upload_location_may_be_off(front):
    refused(post(front, BODY, path="/off"))
    reply = send(front, b"OPTIONS /off HTTP/1.0\r\n\r\n")
    assert reply.status in (200, 204)
    assert send(front, b"GET /off HTTP/1.0\r\n\r\n").status == 405


@pytest.mark.parametrize("server,words", [
    ("location / { sluice_upload on; }", "expected off"),
    ("location / { sluice_upload off; sluice_upload off; }", "is duplicate"),
    ("location / { sluice_upload off; sluice_upload main topic=a; }",
     "is duplicate"),
    ("location / { sluice_drain ''; }", "must not be empty"),
    ("location / { sluice_drain a; sluice_drain b; }", "is duplicate"),
    ("location / { sluice_health nobody; }", "nobody"),
    ("location / { sluice_health; sluice_health; }", "is duplicate"),
    ("location / { sluice_metrics a; }", "invalid number of arguments")])
def test_nonsense_is_refused_with_its_place(nginx_test, server, words):
    status, said = nginx_test(server, http="sluice_kafka main { "
                              "bootstrap.servers 127.0.0.1:1; }")
    assert status != 0
    assert words in said and "nginx.conf:" in said
