"""One process of a soak's clients.

    soak_load.py PORT SEED FILES SIZE ABORTS THREADS PART PARTS OUT

Posts each PARTSth form from PART on, one connection a form, and writes to OUT
what each was answered.  A client never repeats a form: what it was not told,
only the log can say.  A line on standard output tells how far it is, about
each second; at the end of input it stops after the forms under way.
"""

import json
import os
import select
import socket
import struct
import sys
import threading

import soak_answers as answers
from soak_plan import KIND, WHOLE, Plan

TIMEOUT = 90                   # longer than any answer may take
HEAD = ("POST /upload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Type: %s\r\nContent-Length: %%d\r\n\r\n" % KIND)
RST = struct.pack("ii", 1, 0)


class Load:
    def __init__(self, port, plan, part, parts, out):
        self.port, self.plan, self.out = port, plan, out
        self.forms = iter(range(part, plan.forms, parts))
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.done = 0
        self.odd = 0

    def live(self):
        while not self.ended.is_set():
            with self.lock:
                form = next(self.forms, None)
            if form is None:
                return
            answer = self.post(form)
            with self.lock:
                answers.write(self.out, answer)
                self.done += 1

    def post(self, form):
        body = self.plan.body(form)
        head = (HEAD % len(body)).encode()
        leaves = self.plan.leaves[form]
        sent = min(len(body), leaves)
        nothing = bytes([answers.NONE] * len(self.plan.numbers(form)))
        try:
            with socket.create_connection(("127.0.0.1", self.port),
                                          TIMEOUT) as s:
                try:
                    s.sendall(head + body[:sent])
                    if leaves != WHOLE:
                        self.leave(s, form)
                        return answers.Answer(form, answers.LEFT, sent,
                                              answers.NOBODY, nothing)
                except (BrokenPipeError, ConnectionResetError):
                    pass       # refused before its end: the answer is there
                return self.answer(form, sent, read(s))
        except OSError as e:
            self.tell("form %d: %r" % (form, e))
            return answers.Answer(form, answers.RESET, sent, answers.NOBODY,
                                  nothing)
        except (ValueError, KeyError, IndexError) as e:
            self.tell("form %d: %r" % (form, e))
            return answers.Answer(form, answers.ODD, sent, answers.NOBODY,
                                  nothing)

    def leave(self, s, form):
        """Half of them by a reset, half by an end; some wait before it."""
        if form % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        if form % 3 == 0:
            self.ended.wait(0.2)

    def answer(self, form, sent, raw):
        head, _, body = raw.partition(b"\r\n\r\n")
        if not head:
            raise ConnectionResetError("closed without an answer")
        status = int(head.split(None, 2)[1])
        if status not in (202, 503):
            raise ValueError("answered %r" % raw[:500])
        if status == 503 and b"\r\nretry-after:" not in head.lower():
            raise ValueError("503 without Retry-After: %r" % head)
        reply = json.loads(body)
        if status == 503:
            self.ended.wait(0.2)       # it was asked not to come at once
        return answers.from_reply(self.plan, form, status, sent, reply)

    def tell(self, text):
        self.odd += 1
        if self.odd <= 20:
            print(text, flush=True)


def read(s):
    raw = []
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return b"".join(raw)
        raw.append(piece)


def main(port, seed, files, size, aborts, threads, part, parts, path):
    plan = Plan(seed, int(files), int(size), float(aborts))
    with open(path, "wb", 1 << 20) as out:
        load = Load(int(port), plan, int(part), int(parts), out)
        live = [threading.Thread(target=load.live)
                for _ in range(int(threads))]
        for t in live:
            t.start()
        while any(t.is_alive() for t in live):
            if select.select([sys.stdin], [], [], 1)[0] \
                    and not os.read(0, 4096):
                load.ended.set()
                break
            print("done %d" % load.done, flush=True)
        for t in live:
            t.join()
    print("done %d" % load.done, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
