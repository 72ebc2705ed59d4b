"""Clients that post again and again while something happens to nginx.

Each file's content tells its own number, so that the log can be compared with
what the clients were told, whatever became of their connections.
"""

import collections
import json
import random
import socket
import threading

from upload_forms import form, head, part, png, read_reply


class Load:
    """number threads; stop() lets each end its last form.

    slow: some of them send in pieces over that many seconds, so that whatever
    happens finds forms half arrived.
    """

    def __init__(self, nginx, number=8, size=4000, files=4, slow=0.0):
        self.nginx, self.size, self.files = nginx, size, files
        self.slow = slow
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.next = 0
        self.told = {}                 # file's number -> its entry
        self.posted = {}               # file's number -> its bytes
        self.statuses = collections.Counter()
        self.errors = []               # connections that were cut
        self.odd = []                  # what no client should ever see
        self.threads = [threading.Thread(target=self._live, args=(i,),
                                         daemon=True) for i in range(number)]
        for t in self.threads:
            t.start()

    def stop(self, timeout=120):
        self.ended.set()
        for t in self.threads:
            t.join(timeout)
            assert not t.is_alive(), "an upload got no answer"
        assert not self.odd, self.odd[:5]
        return self

    def answered(self):
        return sum(self.statuses.values())

    def _live(self, i):
        chance = random.Random(i)
        while not self.ended.is_set():
            with self.lock:
                numbers = range(self.next,
                                self.next + chance.randint(1, self.files))
                self.next += len(numbers)
            data = {n: png(self.size, n) for n in numbers}
            self.posted.update(data)
            body = form(*[part(d, filename="%d.png" % n)
                          for n, d in data.items()])
            try:
                reply = self._post(body, chance, i % 2 and self.slow)
            except OSError as e:
                self.errors.append(repr(e))
                self.ended.wait(0.1)
                continue
            self._take(reply, numbers)

    def _post(self, body, chance, slow):
        with socket.create_connection(("127.0.0.1", self.nginx.port),
                                      90) as s:
            s.sendall(head(body))
            at = 0
            while at < len(body):
                size = chance.randint(1, len(body)) if slow else len(body)
                try:
                    s.sendall(body[at:at + size])
                except (BrokenPipeError, ConnectionResetError):
                    break              # answered before its end
                at += size
                if slow and at < len(body):
                    self.ended.wait(chance.uniform(0, slow / 2))
            reply = read_reply(s)
            if reply.status is None:
                raise ConnectionResetError("closed without an answer")
            return reply

    def _take(self, reply, numbers):
        self.statuses[reply.status] += 1
        if reply.status not in (202, 503) or reply.status == 503 \
                and "retry-after" not in reply.headers:
            self.odd.append((reply.status, reply.headers, reply.body))
            return
        try:
            entries = reply.json().get("files", [])
        except json.JSONDecodeError as e:
            self.odd.append((e, reply.body))
            return
        for entry in entries:
            number = int(entry["name"].split(".")[0])
            if number not in numbers or entry.get("reason") not in (
                    None, "unavailable", "incomplete"):
                self.odd.append(entry)
            self.told[number] = entry
        if reply.status == 202 and {self.told.get(n, {}).get("status")
                                    for n in numbers} != {"accepted"}:
            self.odd.append(("202", reply.body))

    def check(self, records):
        """Accepted is in the log, once; rejected is not; unknown may be."""
        by_value = {d: n for n, d in self.posted.items()}
        found = collections.defaultdict(list)
        for r in records:
            found[by_value[r.value]].append(r.headers["ce_id"])
        twice = {n: ids for n, ids in found.items() if len(ids) > 1}
        assert not twice, "in the log twice: %r" % twice
        for number, entry in self.told.items():
            ids = found.get(number, [])
            if entry["status"] == "accepted":
                assert ids == [entry["id"]], "lost: %r %r" % (entry, ids)
            elif entry["status"] == "rejected":
                assert not ids, "rejected and stored: %r" % entry
            else:
                assert ids in ([], [entry["id"]]), (entry, ids)
        states = collections.Counter(
            e["status"] for e in self.told.values())
        print("answers %s, files %s, cut %d, in the log %d" % (
            dict(self.statuses), dict(states), len(self.errors),
            len(records)))
        return states
