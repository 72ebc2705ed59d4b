"""Memory of uploads that stand still.

Many connections each send the beginning of a form, 64 kB of a file of 200 kB,
and wait.  What a worker's resident memory has grown by then, less what they
sent, is what an open upload costs.
"""

import os
import resource
import select
import socket
import struct
import time

from stack import client, wait

from . import candidates, usage

SENT = 64000            # below HTTP/2's first window: no client has to wait
FILE = 200000
PREREAD = 64 * 1024     # http2_body_preread_size
TARGET = 80000
WAVE = 200              # connecting at once, below the listen backlog
BOUNDARY = b"sluice-bench-slow"


def body():
    """The first SENT bytes of a form, and the form's length."""
    head = (b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; "
            b'name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n'
            b"\r\n\xff\xd8\xff\xe0")
    tail = b"\r\n--" + BOUNDARY + b"--\r\n"
    data = head + os.urandom(SENT - len(head))
    return data, len(head) - 4 + FILE + len(tail)


def http1(port):
    data, length = body()
    return (b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Content-Type: multipart/form-data; boundary=%s\r\n"
            b"Content-Length: %d\r\n\r\n" % (port, BOUNDARY, length)) + data


def http2(port):
    """RFC 9113: preface, SETTINGS, HEADERS (RFC 7541, all literal), DATA."""
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] \
            + struct.pack(">BBI", kind, flags, stream) + payload

    def literal(name, value):
        assert len(name) < 127 and len(value) < 127
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) \
            + value

    data, length = body()
    headers = b"".join(literal(*h) for h in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/upload"),
        (b":authority", b"127.0.0.1:%d" % port),
        (b"content-type", b"multipart/form-data; boundary=" + BOUNDARY),
        (b"content-length", b"%d" % length)))
    frames = [frame(0, 0, 1, data[at:at + 16384])
              for at in range(0, len(data), 16384)]
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") \
        + frame(1, 4, 1, headers) + b"".join(frames)


class Crowd:
    """Connections that have all sent the same and say nothing more."""

    def __init__(self, port, data, count):
        self.port, self.data, self.count = port, data, count
        self.poll = select.epoll()
        self.open = {}                  # fd -> socket
        self.left = {}                  # fd -> bytes not yet sent
        try:
            while len(self.open) < count or self.left:
                while len(self.left) < WAVE and len(self.open) < count:
                    self.connect()
                self.turn()
        except BaseException:
            self.close()
            raise

    def connect(self):
        s = socket.socket()
        s.setblocking(False)
        # Ends by RST, so that 10,000 ports don't wait for their time.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                     struct.pack("ii", 1, 0))
        s.connect_ex(("127.0.0.1", self.port))
        self.open[s.fileno()] = s
        self.left[s.fileno()] = memoryview(self.data)
        self.poll.register(s, select.EPOLLOUT)

    def turn(self):
        ready = self.poll.poll(30)
        if not ready:
            raise RuntimeError("%d connections can't send"
                               % len(self.left))
        for fd, _ in ready:
            n = self.open[fd].send(self.left[fd])
            self.left[fd] = self.left[fd][n:]
            if not self.left[fd]:
                del self.left[fd]
                self.poll.unregister(fd)

    def gone(self, answered):
        """How many were answered or cut off instead of being waited for."""
        return sum(1 for s in self.open.values() if answered(s))

    def close(self):
        for s in self.open.values():
            s.close()
        self.poll.close()


def answered_http1(s):
    try:
        s.recv(1)
        return True
    except BlockingIOError:
        return False


def answered_http2(s):
    """HEADERS, RST_STREAM, GOAWAY or the end, among what the server sent."""
    try:
        data = s.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True
    if not data:
        return True
    at = 0
    while at + 9 <= len(data):
        if data[at + 3] in (1, 3, 7):
            return True
        at += 9 + int.from_bytes(data[at:at + 3], "big")
    return False


def unread(port):
    """Bytes between our clients and the server's read calls."""
    total = 0
    with open("/proc/net/tcp") as f:
        next(f)
        for line in f:
            _, local, remote, _, queues = line.split(None, 5)[:5]
            out, received = queues.split(":")
            if int(local[-4:], 16) == port:
                total += int(received, 16)
            elif int(remote[-4:], 16) == port:
                total += int(out, 16)
    return total


def settled(pid):
    """Resident bytes, once they do not change any more."""
    last = usage.rss(pid)
    for _ in range(100):
        time.sleep(0.1)
        now = usage.rss(pid)
        if now == last:
            break
        last = now
    return last


def measure(broker, directory, count, h2, buffer=None):
    """{"per_conn": bytes above what was sent, "gone": connections lost}."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[0] < count + 200:
        raise RuntimeError("%d open files are allowed, %d connections need "
                           "more" % (limits[0], count))
    changes = {r"sluice_partial .*": "sluice_partial 2g;",
               r"sluice_min_rate .*": "sluice_min_rate 0;"}
    if buffer:
        changes[r"client_body_buffer_size .*"] = \
            "client_body_buffer_size %s;" % buffer
    module = candidates.Module(
        1, "slow", changes, connections=count + 1000,
        http="client_body_timeout 10m; client_header_timeout 10m;")
    why = module.missing(None)
    if why:
        raise RuntimeError(why)
    topic = broker.topic("slow")
    module.start(directory, broker, topic)
    crowd = None
    try:
        n = module.server
        # What a first upload makes once is not an upload's memory.
        for _ in range(3):
            a = client.post(n.url + "/upload", [("a.jpg", b"\xff\xd8\xff\xe0"
                                                 + bytes(FILE))])
            assert a.status == 202, (a.status, a.body)
        worker = n.workers()[0]
        before = settled(worker)
        port = n.h2_port if h2 else n.port
        crowd = Crowd(port, (http2 if h2 else http1)(port), count)
        wait.until(lambda: unread(port) == 0, 60, "all bytes read by nginx")
        grown = settled(worker) - before
        gone = crowd.gone(answered_http2 if h2 else answered_http1)
        if n.workers() != [worker]:
            raise RuntimeError("the worker ended:\n" + n.errors()[-2000:])
    finally:
        if crowd:
            crowd.close()
        module.stop()
        broker.delete([topic])
    return {"count": count, "rss_mib": grown / 2 ** 20, "gone": gone,
            "per_conn": grown / count - SENT}
