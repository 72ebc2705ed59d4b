"""Clients slower than sluice_min_rate."""

import select
import time

import pytest

from test_upload_kafka import Waiting, frozen  # noqa: F401: a fixture
from upload_forms import (H2, connect, fds, form, head, part, png, post,
                          read_reply, send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout 60s;
    sluice_min_rate %s;
}
location = /metrics { sluice_metrics; }
"""


def trickle(s, body, size, interval=0.1, deadline=60):
    """Sends body in small pieces; what of it was left when we were cut."""
    end = time.monotonic() + deadline
    while body:
        assert time.monotonic() < end, "neither sent nor cut"
        if select.select([s], [], [], interval)[0]:
            break
        try:
            s.sendall(body[:size])
        except (BrokenPipeError, ConnectionResetError):
            break
        body = body[size:]
    return body


@pytest.mark.parametrize("first", [400, 150000],
                         ids=["from-the-start", "after-a-fast-half"])
def test_a_client_below_the_rate_is_cut_with_408(nginx, topic, until, first):
    front = nginx(SERVER % "10k 1s", http=HTTP)
    assert post(front, form(part(png(1000)))).status == 202
    pid, = front.workers()
    before = fds(pid)

    body = form(part(png(200000)))
    s = connect(front)
    s.sendall(head(body) + body[:first])
    assert trickle(s, body[first:], 10)
    s.close()

    assert " 408 " in open(front.access_log).read()
    assert "client too slow upload=" in front.errors()
    until(lambda: b"sluice_slow_uploads_total 1\n" in send(
        front, b"GET /metrics HTTP/1.0\r\n\r\n").body, 20)
    until(lambda: fds(pid) <= before, 30)
    assert post(front, form(part(png(1000)))).status == 202


def test_a_client_at_the_rate_is_not_cut(nginx, kafka, topic):
    """40 pieces, for some periods."""
    front = nginx(SERVER % "1k 1s", http=HTTP)
    body = form(part(png(100000)))
    with connect(front) as s:
        s.sendall(head(body))
        assert trickle(s, body, 2600) == b""
        assert read_reply(s).status == 202
    assert len(kafka.records(topic)) == 1


def test_a_slow_stream_of_h2_is_cut_and_others_go_on(nginx, topic):
    front = nginx(SERVER % "10k 1s", http=HTTP)
    body = form(part(png(200000)))
    client = H2(front)
    client.send(body[:1000], end=False)
    end = time.monotonic() + 60
    while not client.over:
        assert time.monotonic() < end
        if select.select([client.socket], [], [], 0.1)[0]:
            client.take()
        else:
            client.send(b"x", end=False)
    client.close()
    assert client.status is None
    assert "client too slow upload=" in front.errors()
    assert post(front, body).status == 202


def test_the_time_in_which_we_hold_a_client_back_does_not_count(
        nginx, frozen, topic, until):                     # noqa: F811
    front = nginx(SERVER % "100k 1s",
                  http=HTTP + "sluice_inflight 64k;", level="debug")
    frozen.freeze()
    uploads = [Waiting(front, form(*[part(png(100000, n)) for n in range(20)]))
               for _ in range(2)]
    until(lambda: front.errors().count("upload held back") >= 2, 30)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 5, 30)       # five periods
    frozen.thaw()
    assert [u.result(120).status for u in uploads] == [202] * 2
    assert "client too slow" not in front.errors()


def test_a_slow_client_does_not_keep_a_worker_that_leaves(nginx, topic, until):
    front = nginx(SERVER % "10k 1s", http=HTTP)
    body = form(part(png(200000)))
    s = connect(front)
    s.sendall(head(body) + body[:400])
    old, = front.workers()
    front.reload()
    assert trickle(s, body[400:], 10)
    s.close()
    until(lambda: old not in front.workers(), 30)
