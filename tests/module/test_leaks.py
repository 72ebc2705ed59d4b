"""Nothing of a client that has gone stays behind, nor of a worker's work."""

import os
import random
import shutil
import socket
import struct

import pytest

from stack.leaks import LeakNginx, ValgrindNginx
from upload_forms import (H2, connect, fds, form, head, part, png, post,
                          rss_kb, sanitized)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_types image/png;
    sluice_ack_timeout 3s;
    client_body_timeout 5s;
}
"""
SIZES = (0, 1, 100, 5000, 90000, 290000, 310000)


def some_form(chance):
    return form(*[part((png if chance.random() < 0.9 else bytes)(
        chance.choice(SIZES)), filename="%d.png" % i)
        for i in range(chance.randint(1, 4))])


def leave(front, chance, body, h2=False):
    """In the middle, by an end or by a reset."""
    raw = head(body) + body
    if h2:
        client = H2(front)
        client.send(body[:min(60000, chance.randrange(len(body)))], end=False)
        if chance.random() < 0.5:
            client.reset()
        client.close()
        return
    with connect(front) as s:
        try:
            s.sendall(raw[:chance.randrange(len(raw))])
        except (BrokenPipeError, ConnectionResetError):
            pass
        if chance.random() < 0.5:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))


def mixed(front, number, seed=1):
    chance = random.Random(seed)
    for i in range(number):
        body = some_form(chance)
        if i % 2:
            assert post(front, body).status in (202, 413, 415, 422, 503)
        else:
            leave(front, chance, body, h2=i % 8 == 0)


def started(kind, services, values, place_of):
    n = kind(os.path.join(place_of, "nginx"), SERVER, http=HTTP,
             values=values)
    services.append(n)
    return n.start(120)


def in_trouble(front, kafka):
    """Files that Kafka does not take: by their deadline, by a client that
    does not wait for it."""
    chance = random.Random(2)
    kafka.freeze()
    try:
        body = form(*[part(png(90000, i)) for i in range(8)])
        assert post(front, body).status == 503
        for _ in range(5):
            leave(front, chance, body)
    finally:
        kafka.thaw()


@pytest.mark.skipif(not sanitized(), reason="needs AddressSanitizer")
@pytest.mark.parametrize("number", [
    100, pytest.param(3000, marks=pytest.mark.full)])
def test_workers_leave_no_memory_when_they_end(
        number, services, values, topic, place_of, kafka):
    front = started(LeakNginx, services, values, place_of)
    mixed(front, number // 2)
    in_trouble(front, kafka)
    front.reload()
    mixed(front, number // 2, seed=3)
    assert front.quit() == 0
    assert front.findings() == []


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_valgrind_finds_nothing(services, values, topic, place_of, kafka):
    front = started(ValgrindNginx, services, values, place_of)
    mixed(front, 200)
    in_trouble(front, kafka)
    assert front.quit(300) == 0
    assert front.findings() == []


@pytest.mark.parametrize("number", [
    1000, pytest.param(10000, marks=pytest.mark.full)])
def test_clients_that_leave_anywhere_leave_nothing(number, nginx, topic,
                                                   until):
    front = nginx(SERVER, http=HTTP, plain=True)
    chance = random.Random(4)
    body = form(part(png(3000)), part(png(100000, 1)), part(png(290000, 2)))
    assert post(front, body).status == 202
    pid, = front.workers()
    files = fds(pid)

    def some(n):
        for _ in range(n):
            leave(front, chance, body)
        until(lambda: fds(pid) <= files, 60)

    some(number // 4)
    settled = rss_kb(pid)
    some(number - number // 4)
    assert rss_kb(pid) < settled + 8000
    assert front.workers() == [pid]
    assert "[alert]" not in front.errors()
