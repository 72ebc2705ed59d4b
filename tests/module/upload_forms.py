"""What the upload tests post, and by which way.

Raw bytes wherever a test is about bytes.  HTTP/2 by curl as a client that
others wrote, and by a small one of ours where the order of frames matters:
curl 7.88 takes an answer before the end of its upload for an error.
"""

import hashlib
import json
import os
import socket
import subprocess
import tempfile

import h2.config
import h2.connection
import h2.events

BOUNDARY = "sluiceboundary"
KIND = "multipart/form-data; boundary=" + BOUNDARY

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff\xe0"


def png(size, seed=0):
    """size bytes that the sniffer calls image/png, different by seed."""
    block = hashlib.sha256(b"%d" % seed).digest()
    return (PNG + block * (size // 32 + 1))[:size]


def part(data, name="file", filename="a.png", extra=""):
    head = 'Content-Disposition: form-data; name="%s"' % name
    if filename is not None:
        head += '; filename="%s"' % filename
    return ("--%s\r\n%s\r\n%s\r\n" % (BOUNDARY, head, extra)).encode() \
        + data + b"\r\n"


def form(*parts):
    return b"".join(parts) + ("--%s--\r\n" % BOUNDARY).encode()


def head(body, path="/upload", kind=KIND, **headers):
    lines = ["POST %s HTTP/1.1" % path, "Host: localhost",
             "Content-Type: " + kind, "Connection: close"]
    if body is not None:
        lines.append("Content-Length: %d" % len(body))
    lines += ["%s: %s" % (k.replace("_", "-"), v) for k, v in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(body, *sizes):
    """body in chunks of these sizes, the last one repeated."""
    out, at, sizes = [], 0, list(sizes)
    while at < len(body):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        piece = body[at:at + size]
        out.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        at += size
    return b"".join(out) + b"0\r\n\r\n"


class Reply:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else None
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def json(self):
        return json.loads(self.body)

    def states(self):
        """(name, status or reason) of every file, in the form's order."""
        return [(f["name"], f.get("reason", f["status"]))
                for f in self.json()["files"]]


def connect(nginx, timeout=60):
    return socket.create_connection(("127.0.0.1", nginx.port), timeout)


def read_reply(s):
    raw = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        raw += piece
    return Reply(raw)


def send(nginx, raw, timeout=60):
    """Raw request bytes, or an iterable of pieces; the reply."""
    with connect(nginx, timeout) as s:
        try:
            for piece in [raw] if isinstance(raw, bytes) else raw:
                s.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_reply(s)


def post(nginx, body, **headers):
    return send(nginx, head(body, **headers) + body)


def curl(nginx, *arguments, h2=False, body=None, path="/upload"):
    """(status, parsed JSON or text) by curl, over HTTP/2 if asked."""
    port = nginx.h2_port if h2 else nginx.port
    with tempfile.NamedTemporaryFile() as data:
        command = ["curl", "-s", "-m", "60", "-w", "\n%{http_code}"]
        if h2:
            command.append("--http2-prior-knowledge")
        if body is not None:
            data.write(body)
            data.flush()
            command += ["--data-binary", "@" + data.name,
                        "-H", "Content-Type: " + KIND]
        command += [*arguments, "http://127.0.0.1:%d%s" % (port, path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    text, _, status = done.stdout.rpartition("\n")
    try:
        return int(status), json.loads(text)
    except ValueError:
        return int(status), text


def murmur2(key):
    """The partition hash of Kafka's Java clients."""
    m, h = 0x5bd1e995, 0x9747b28c ^ len(key)
    for i in range(0, len(key) & ~3, 4):
        k = int.from_bytes(key[i:i + 4], "little")
        k = k * m & 0xffffffff
        k = (k ^ k >> 24) * m & 0xffffffff
        h = (h * m & 0xffffffff) ^ k
    rest = key[len(key) & ~3:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xffffffff
    h = (h ^ h >> 13) * m & 0xffffffff
    return (h ^ h >> 15) & 0x7fffffff


def fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def sanitized():
    """Whether the module is a build that needs far more memory."""
    return "asan" in os.environ.get("SLUICE_MODULE", "")


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])


class H2:
    """One HTTP/2 connection without TLS, and one upload on it."""

    def __init__(self, nginx, path="/upload", kind=KIND, **headers):
        self.socket = socket.create_connection(("127.0.0.1", nginx.h2_port),
                                               60)
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.stream, [
            (":method", "POST"), (":scheme", "http"), (":path", path),
            (":authority", "localhost"), ("content-type", kind),
            *[(k.replace("_", "-").lower(), v) for k, v in headers.items()]])
        self.status, self.body, self.over = None, b"", False
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def take(self):
        """Waits for one read's worth of events."""
        raw = self.socket.recv(65536)
        if not raw:
            self.over = True
            return
        for event in self.h2.receive_data(raw):
            if isinstance(event, h2.events.ResponseReceived):
                self.status = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
            elif isinstance(event, (h2.events.StreamEnded,
                                    h2.events.StreamReset)):
                self.over = True
        self.flush()

    def send(self, body, end=True):
        """As fast as the window allows, until all is sent or answered."""
        while body and not self.over:
            room = min(self.h2.local_flow_control_window(self.stream),
                       self.h2.max_outbound_frame_size)
            if room == 0:
                self.take()
                continue
            self.h2.send_data(self.stream, body[:room])
            body = body[room:]
            self.flush()
        if end and not self.over:
            self.h2.end_stream(self.stream)
            self.flush()

    def reply(self):
        while not self.over:
            self.take()
        return self.status, self.body

    def reset(self):
        self.h2.reset_stream(self.stream)
        self.flush()

    def close(self):
        self.socket.close()
