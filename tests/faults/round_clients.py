"""Who uploads during a round, what they sent, and what they were answered.

Some leave in the middle of a form, some after it without waiting for the
answer.  A client never repeats a form: what it was not told about, only the
log can say.
"""

import hashlib
import http.client
import json
import random
import socket
import struct
import threading
import time
import uuid

MAX_FILE = 32 * 1024           # sluice_max_file_size
CUSTOMERS = ("", "north", "south/7%")      # as they stand in a query
LEFT = (OSError, http.client.HTTPException)


def pool(chance, n=60):
    """Files of every kind; the small number makes copies."""
    kinds = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"]
    return [chance.choice(kinds)
            + chance.randbytes(chance.choice((20, 900, 6000, 20000)))
            for _ in range(n)]


class Sent:
    def __init__(self, name, data, customer):
        self.name, self.customer = name, customer
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.fits = bool(data) and len(data) <= MAX_FILE \
            and not data.startswith(b"plain text")


class Clients:
    """started with so many threads; stop() ends them after their last."""

    def __init__(self, nginx, seed, number, pause):
        chance = random.Random("%s files" % seed)
        self.files = pool(chance)
        self.bad = [b"", b"plain text, which is not taken",
                    self.files[0] + bytes(MAX_FILE)]
        self.port = nginx.port
        self.pause = pause
        self.sent = {}                 # name -> Sent
        self.answers = []              # (Sent, entry of the reply)
        self.statuses = {}             # of replies, or the error's name
        self.odd = []                  # what no client should ever see
        self.when = []                 # (monotonic, 202 or not)
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._live, args=(
            i, random.Random("%s client %d" % (seed, i))))
            for i in range(number)]
        for t in self.threads:
            t.start()

    def stop(self, timeout=90):
        self.ended.set()
        for t in self.threads:
            t.join(timeout)
            assert not t.is_alive(), "an upload got no answer"

    def _live(self, number, chance):
        connection, form = None, 0
        while not self.ended.wait(chance.uniform(0, 2 * self.pause)):
            form += 1
            sent, path, kind, body = self._form(number, form, chance)
            way = chance.random()
            try:
                if way < 0.12:
                    self._leave(chance, path, kind, body)
                    continue
                if connection is None:
                    connection = http.client.HTTPConnection(
                        "127.0.0.1", self.port, timeout=60)
                self._post(connection, chance, path, kind, body, sent,
                           chunked=way < 0.4)
            except socket.timeout:
                self.odd.append("no answer within 60 s to " + sent[0].name)
                connection = None
            except LEFT as e:
                self._count(type(e).__name__)
                if connection is not None:
                    connection.close()
                connection = None
                self.ended.wait(0.2)
            except Exception as e:     # noqa: told at the end
                self.odd.append("%s: %r" % (sent[0].name, e))
                connection = None

    def _form(self, number, form, chance):
        """A few files, as a multipart form."""
        boundary = "b" + uuid.uuid4().hex
        customer = chance.choice(CUSTOMERS)
        sent, parts = [], []
        for i in range(chance.randint(1, 7)):
            data = chance.choice(
                self.bad if chance.random() < 0.06
                else self.files[:chance.randint(1, len(self.files))])
            one = Sent("%d-%d-%d.png" % (number, form, i), data, customer)
            sent.append(one)
            self.sent[one.name] = one
            parts.append(
                b'--%s\r\nContent-Disposition: form-data; name="file"; '
                b'filename="%s"\r\n\r\n%s\r\n'
                % (boundary.encode(), one.name.encode(), data))
        parts.append(b"--%s--\r\n" % boundary.encode())
        path = "/upload"
        if customer:
            path += "/of?" + customer
        return (sent, path, "multipart/form-data; boundary=" + boundary,
                b"".join(parts))

    def _post(self, connection, chance, path, kind, body, sent, chunked):
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if chunked:
            connection.request("POST", path, pieces(chance, body), headers,
                               encode_chunked=True)
        else:
            connection.request("POST", path, body, headers)
        response = connection.getresponse()
        text = response.read()
        self._count(response.status)
        self.when.append((time.monotonic(), response.status == 202))
        if response.status not in (202, 413, 415, 422, 503):
            self.odd.append("%s was answered %d: %s" % (
                sent[0].name, response.status, text[:500]))
            return
        known = {s.name: s for s in sent}
        entries = json.loads(text).get("files", [])
        for entry in entries:
            self.answers.append((known.pop(entry["name"]), entry))
        if response.status == 202 and known:
            self.odd.append("%d files of %s have no entry in %s"
                            % (len(known), sent[0].name, text[:500]))
        if response.status == 503 and not response.headers["Retry-After"]:
            self.odd.append("a 503 without Retry-After: %s" % text[:500])

    def _leave(self, chance, path, kind, body):
        """Goes away in the middle, or behind the last byte; with FIN or RST.
        """
        self._count("left")
        end = chance.choice((len(body), chance.randrange(len(body))))
        with socket.create_connection(("127.0.0.1", self.port), 60) as s:
            s.sendall(("POST %s HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: %s\r\nContent-Length: %d\r\n\r\n"
                       % (path, kind, len(body))).encode() + body[:end])
            self.ended.wait(chance.choice((0, 0.02, 0.5)))
            if chance.random() < 0.5:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))

    def _count(self, what):
        self.statuses[what] = self.statuses.get(what, 0) + 1


def pieces(chance, body):
    """The body as a slow client would send it."""
    at = 0
    while at < len(body):
        size = chance.choice((1, 700, 5000, 50000))
        yield body[at:at + size]
        at += size
        if chance.random() < 0.1:
            time.sleep(chance.uniform(0, 0.1))
