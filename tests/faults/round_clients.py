"""Who uploads during a round, what they sent, and what they were answered.

Some leave in the middle of a form, some after it without waiting for the
answer.  A form with an Idempotency-Key is sent again until it is taken, and
at times once more; another is never repeated: what its client was not told
about, only the log can say.
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

CHUNK = 64 * 1024              # sluice_chunk_size
MAX_FILE = 300 * 1024          # sluice_max_file_size
LARGE = 0.04                   # share of files that leave in pieces
CUSTOMERS = ("", "north", "south/7%")      # as they stand in a query
LEFT = (OSError, http.client.HTTPException)


def pool(chance, n=60):
    """Files of every kind; the small number makes copies."""
    kinds = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"]
    return [chance.choice(kinds)
            + chance.randbytes(chance.choice((20, 900, 6000, 20000)))
            for _ in range(n)]


def large(chance, n=8):
    return [b"\x89PNG\r\n\x1a\n"
            + chance.randbytes(chance.randint(CHUNK, MAX_FILE - 100))
            for _ in range(n)]


class Sent:
    def __init__(self, name, data, customer, key):
        self.name, self.customer, self.key = name, customer, key
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.fits = bool(data) and len(data) <= MAX_FILE \
            and not data.startswith(b"plain text")


class Form:
    def __init__(self, sent, path, kind, body, key):
        self.sent, self.path, self.kind = sent, path, kind
        self.body, self.key = body, key


class Clients:
    """started with so many threads; stop() ends them after their last.

    keyed: the share of forms with an Idempotency-Key.
    """

    def __init__(self, nginx, seed, number, pause, keyed):
        chance = random.Random("%s files" % seed)
        self.files, self.large = pool(chance), large(chance)
        self.bad = [b"", b"plain text, which is not taken",
                    self.files[0] + bytes(MAX_FILE)]
        self.port = nginx.port
        self.pause, self.keyed = pause, keyed
        self.forms = self.again = 0
        self.sent = {}                 # name -> Sent
        self.answers = []              # (Sent, entry of the reply)
        self.statuses = {}             # of replies, or the error's name
        self.odd = []                  # what no client should ever see
        self.when = []                 # (begin, end: monotonic, 202 or not)
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._live, args=(
            i, random.Random("%s client %d" % (seed, i))))
            for i in range(number)]
        self.local = threading.local()
        for t in self.threads:
            t.start()

    def stop(self, timeout=90):
        self.ended.set()
        for t in self.threads:
            t.join(timeout)
            assert not t.is_alive(), "an upload got no answer"

    def accepted_after(self, moment):
        """Seconds from a moment to the first answer that took files of a
        form begun since, or None."""
        ends = [end for begin, end, taken in list(self.when)
                if taken and begin >= moment]
        return min(ends) - moment if ends else None

    def _live(self, number, chance):
        form, number_of = None, 0
        while not self.ended.wait(chance.uniform(0, 2 * self.pause)):
            number_of += 1
            form = self._form(number, number_of, chance, form)
            way = chance.random()
            if way < 0.12:
                self._guarded(form, self._leave, chance, form)
                continue
            taken = self._guarded(form, self._post, chance, form, way < 0.4)
            for _ in range(chance.randint(1, 6) if form.key else 0):
                if taken and chance.random() < 0.7:
                    break
                self.ended.wait(chance.uniform(0.1, 1))
                self.again += 1
                taken = self._guarded(form, self._post, chance, form, False)

    def _guarded(self, form, call, *arguments):
        """call's answer, or None when the client got none."""
        try:
            return call(*arguments)
        except socket.timeout:
            self.odd.append("no answer within 60 s to " + form.sent[0].name)
        except LEFT as e:
            self._count(type(e).__name__)
            self.ended.wait(0.2)
        except Exception as e:         # noqa: told at the end
            self.odd.append("%s: %r" % (form.sent[0].name, e))
        self._hang_up()
        return None

    def _hang_up(self):
        if getattr(self.local, "connection", None) is not None:
            self.local.connection.close()
        self.local.connection = None

    def _connection(self):
        if getattr(self.local, "connection", None) is None:
            self.local.connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=60)
        return self.local.connection

    def _form(self, number, form, chance, before):
        """A few files, as a multipart form."""
        boundary = "b" + uuid.uuid4().hex
        customer = chance.choice(CUSTOMERS)
        key = None
        if chance.random() < self.keyed:
            key = "form-%d-%d" % (number, form)
            if before and before.key and chance.random() < 0.2:
                key = before.key       # of other files: counts on its own
        sent, parts = [], []
        for i in range(chance.randint(1, 7)):
            way = chance.random()
            data = chance.choice(
                self.bad if way < 0.06
                else self.large if way < 0.06 + LARGE
                else self.files[:chance.randint(1, len(self.files))])
            one = Sent("%d-%d-%d.png" % (number, form, i), data, customer,
                       key)
            sent.append(one)
            self.sent[one.name] = one
            parts.append(
                b'--%s\r\nContent-Disposition: form-data; name="file"; '
                b'filename="%s"\r\n\r\n%s\r\n'
                % (boundary.encode(), one.name.encode(), data))
        parts.append(b"--%s--\r\n" % boundary.encode())
        self.forms += 1
        return Form(sent, "/upload" + ("/of?" + customer if customer else ""),
                    "multipart/form-data; boundary=" + boundary,
                    b"".join(parts), key)

    def _post(self, chance, form, chunked):
        """Whether all of it was taken, or refused for good."""
        headers = {"Content-Type": form.kind, "Accept": "application/json"}
        if form.key:
            headers["Idempotency-Key"] = '"%s"' % form.key
        connection, began = self._connection(), time.monotonic()
        if chunked:
            connection.request("POST", form.path, pieces(chance, form.body),
                               headers, encode_chunked=True)
        else:
            connection.request("POST", form.path, form.body, headers)
        response = connection.getresponse()
        text = response.read()
        self._count(response.status)
        self.when.append((began, time.monotonic(), response.status == 202))
        self._told(form, response, text)
        return response.status != 503

    def _told(self, form, response, text):
        first = form.sent[0].name
        if response.status not in (202, 413, 415, 422, 503):
            self.odd.append("%s was answered %d: %s" % (
                first, response.status, text[:500]))
            return
        known = {s.name: s for s in form.sent}
        for entry in json.loads(text).get("files", []):
            self.answers.append((known.pop(entry["name"]), entry))
        if response.status == 202 and known:
            self.odd.append("%d files of %s have no entry in %s"
                            % (len(known), first, text[:500]))
        if response.status == 503 and not response.headers["Retry-After"]:
            self.odd.append("a 503 without Retry-After: %s" % text[:500])

    def _leave(self, chance, form):
        """Goes away in the middle, or behind the last byte; with FIN or RST.
        """
        self._count("left")
        body = form.body
        head = ("POST %s HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: %s\r\nContent-Length: %d\r\n%s\r\n"
                % (form.path, form.kind, len(body),
                   "Idempotency-Key: %s\r\n" % form.key if form.key else ""))
        end = chance.choice((len(body), chance.randrange(len(body))))
        with socket.create_connection(("127.0.0.1", self.port), 60) as s:
            s.sendall(head.encode() + body[:end])
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
        size = chance.choice((100, 700, 5000, 50000))
        yield body[at:at + size]
        at += size
        if chance.random() < 0.1:
            time.sleep(chance.uniform(0, 0.1))
