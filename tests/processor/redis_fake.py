"""A server that speaks Redis' protocol and answers what a test tells it to:
for what a real one can't be made to show."""

import socket
import threading


class Fake:
    """answer(words) returns the bytes to send, or None: close."""

    def __init__(self, answer):
        self.answer = answer
        self.seen = []
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(16)
        self.port = self.socket.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,),
                             daemon=True).start()

    def _serve(self, s):
        with s, s.makefile("rb") as f:
            while True:
                words = read_command(f)
                if words is None:
                    return
                self.seen.append(words)
                text = self.answer(words)
                if text is None:
                    return
                try:
                    s.sendall(text)
                except OSError:
                    return

    def close(self):
        self.socket.close()


def read_command(f):
    head = f.readline()
    if not head.startswith(b"*"):
        return None
    words = []
    for _ in range(int(head[1:])):
        length = int(f.readline()[1:])
        words.append(f.read(length + 2)[:-2].decode("utf-8", "replace"))
    return words
