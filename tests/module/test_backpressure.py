"""Full budgets: clients wait, memory stays bounded, and all goes on by itself.

Memory is that of the build that is shipped; a sanitizer keeps what is freed.
"""

import re
import socket
import struct
import threading

import pytest

from upload_forms import (H2, connect, fds, form, head, part, png, post,
                          read_reply, send)
from upload_load import Load

MB = 1024 * 1024
INFLIGHT, PARTIAL = 8 * MB, 16 * MB
FILE = 300000
# docs/module.md, "Memory": what a connection takes besides the budgets
CONNECTION = 48 * 1024
H2_CONNECTION = 144 * 1024
KEPT = 16 * MB                 # slabs that were used, for a second
STUCK = 220

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
sluice_inflight 8m;
sluice_partial 16m;
client_body_timeout @BODY@;
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout @ACK@;
}
location = /alive { return 200 yes; }
"""
SMALL = form(part(png(1000), filename="small.png"))


def peak(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024


class Stuck:
    """Clients that stop one byte before the end of a file."""

    def __init__(self, front, number, h2=False):
        self.front, self.h2 = front, h2
        self.body = form(part(png(FILE)))
        # of the closing delimiter one byte of "--" is left too
        self.stop = self.body.index(b"\r\n--", 200) - 1
        self.go = threading.Event()
        self.leave = None              # or "close", "reset"
        self.sent = 0
        self.statuses = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._live, daemon=True)
                        for _ in range(number)]
        for t in self.threads:
            t.start()

    def _live(self):
        try:
            status = self._live_h2() if self.h2 else self._live_h1()
        except OSError as e:
            status = type(e).__name__
        with self.lock:
            self.statuses.append(status)

    def _live_h1(self):
        with connect(self.front, 120) as s:
            s.sendall(head(self.body))
            try:
                s.sendall(self.body[:self.stop])
                self._stuck()
                if self.leave:
                    return self._leave(s)
                s.sendall(self.body[self.stop:])
            except (BrokenPipeError, ConnectionResetError):
                pass
            return read_reply(s).status

    def _live_h2(self):
        client = H2(self.front)
        client.socket.settimeout(120)
        try:
            client.send(self.body[:self.stop], end=False)
            self._stuck()
            if self.leave == "reset":
                client.reset()
            if self.leave:
                return "left"
            client.send(self.body[self.stop:])
            return client.reply()[0]
        finally:
            client.close()

    def _stuck(self):
        with self.lock:
            self.sent += 1
        self.go.wait()

    def _leave(self, s):
        if self.leave == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
        return "left"

    def end(self, leave=None):
        self.leave = leave
        self.go.set()
        for t in self.threads:
            t.join(150)
            assert not t.is_alive(), "no answer"
        return self.statuses


@pytest.fixture
def front(nginx, topic):
    """ack and body: sluice_ack_timeout and client_body_timeout."""
    def start(ack="20s", body="60s", **kw):
        n = nginx(SERVER, http=HTTP, plain=True,
                  values={"ACK": ack, "BODY": body}, level="debug", **kw)
        assert post(n, SMALL).status == 202
        return n
    return start


@pytest.fixture
def frozen(kafka):
    """kafka, thawed again whatever happens."""
    yield kafka
    kafka.thaw()


def bounded(n, before, connections, each=CONNECTION, kept=0):
    """One file more than the budgets: the oldest upload's reserve."""
    pid, = n.workers()
    limit = INFLIGHT + PARTIAL + FILE + connections * each + kept
    grown = peak(pid) - before
    print("grown by %d kB of %d kB" % (grown // 1024, limit // 1024))
    assert grown <= limit
    return grown


def held(n):
    return n.errors().count("upload held back")


def unavailable(reply):
    assert reply.status == 503, (reply.status, reply.body)
    assert int(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize("h2", [False, True])
def test_clients_that_stop_before_the_end_do_not_take_all_memory(
        front, until, h2):
    n = front(ack="5s")
    pid, = n.workers()
    before, files = peak(pid), fds(pid)
    stuck = Stuck(n, STUCK, h2)
    until(lambda: held(n) >= 20, 60)

    # others: a small form is taken, a larger one waits its turn
    assert send(n, b"GET /alive HTTP/1.0\r\n\r\n").body == b"yes"
    assert post(n, SMALL).status == 202
    seen = held(n)
    reply = post(n, form(part(png(FILE, 1)), part(png(FILE, 2))))
    assert held(n) > seen
    # 202 when those that waited longer got their 503 before it
    if reply.status != 202:
        unavailable(reply)
    assert n.errors().count("state=held") > 0

    bounded(n, before, STUCK, H2_CONNECTION if h2 else CONNECTION)
    statuses = stuck.end()
    assert set(statuses) <= {202, 503}, set(statuses)
    # of 16 MB, those that were read to their last byte
    assert statuses.count(202) >= 40
    bounded(n, before, STUCK, H2_CONNECTION if h2 else CONNECTION)

    until(lambda: fds(pid) <= files, 30)
    assert post(n, SMALL).status == 202
    assert "[alert]" not in n.errors()


def test_uploads_go_on_when_those_that_are_stuck_are_cut(front, until):
    """client_body_timeout ends those whose file has stopped."""
    n = front(ack="120s", body="1s")
    pid, = n.workers()
    files = fds(pid)
    stuck = Stuck(n, 70)
    until(lambda: held(n) >= 10, 60)
    reply = post(n, form(part(png(FILE, 1)), part(png(FILE, 2))))
    assert reply.status == 202, reply.body
    assert set(stuck.end()) <= {None, 202, "ConnectionResetError"}
    until(lambda: fds(pid) <= files, 30)


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("h2", [False, True])
def test_clients_that_leave_while_held_back_give_all_back(
        front, until, h2, leave):
    n = front()
    pid, = n.workers()
    before, files = peak(pid), fds(pid)
    for _ in range(2):
        seen = held(n)
        stuck = Stuck(n, STUCK // 2, h2)
        until(lambda: held(n) >= seen + 10, 60)
        stuck.end(leave)
        until(lambda: fds(pid) <= files, 60)
    bounded(n, before, STUCK // 2, H2_CONNECTION if h2 else CONNECTION,
            KEPT)
    # nothing is left of any budget
    body = form(*[part(png(FILE, i)) for i in range(100)])
    assert post(n, body).status == 202
    assert "[alert]" not in n.errors()


def test_the_oldest_upload_ends_while_all_others_are_stuck(front, until):
    n = front()
    body = form(part(png(FILE, 1)), part(png(FILE, 2)))
    with connect(n) as s:
        s.sendall(head(body) + body[:1000])
        until(lambda: "http request body" in n.errors(), 30)
        stuck = Stuck(n, STUCK // 2)
        until(lambda: held(n) >= 10, 60)
        s.sendall(body[1000:])
        assert read_reply(s).status == 202
        stuck.end()


def test_a_stuck_stream_leaves_its_connections_others_alone(front):
    n = front()
    one = H2(n)
    body = form(part(png(FILE)))
    one.send(body[:FILE // 2], end=False)
    first = one.stream
    one.stream = one.h2.get_next_available_stream_id()
    one.h2.send_headers(one.stream, [
        (":method", "POST"), (":scheme", "http"), (":path", "/upload"),
        (":authority", "localhost"),
        ("content-type", "multipart/form-data; boundary=sluiceboundary")])
    one.send(SMALL)
    assert one.reply()[0] == 202
    one.stream, one.over = first, False
    one.send(body[FILE // 2:])
    assert one.reply()[0] == 202
    one.close()


def test_under_frozen_brokers_clients_wait_then_get_503_and_go_on(
        front, frozen, topic, until):
    n = front(ack="4s")
    pid, = n.workers()
    before, files = peak(pid), fds(pid)
    load = Load(n, number=60, size=100000, files=6)
    until(lambda: load.statuses[202] >= 60, 60)

    frozen.freeze()
    until(lambda: load.statuses[503] >= 120, 120)
    assert send(n, b"GET /alive HTTP/1.0\r\n\r\n").body == b"yes"
    bounded(n, before, 60)

    frozen.thaw()
    seen = load.statuses[202]
    until(lambda: load.statuses[202] >= seen + 120, 120)
    load.stop()
    assert not load.errors, load.errors[:3]
    bounded(n, before, 60)
    until(lambda: fds(pid) <= files, 30)

    states = load.check([r for r in frozen.records(topic)
                         if r.headers["ce_subject"] != "small.png"])
    assert states["accepted"] > 120
    assert "[alert]" not in n.errors()
