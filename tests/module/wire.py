"""A wire between nginx and one broker that a test may hold, deafen and cut.

In the test's own process: what a test asks for holds from the next byte on.
"""

import socket
import threading

from stack import ports


class Wire:
    """From its own port to the given one of 127.0.0.1."""

    def __init__(self, to):
        self.to = to
        self.port = ports.free()
        self.address = "127.0.0.1:%d" % self.port
        self.deaf = self.away = False
        self.sent = self.told = 0        # bytes from nginx and from the broker
        self.passing = threading.Event()
        self.passing.set()
        self.telling = threading.Event()
        self.telling.set()
        self.lock = threading.Lock()
        self.sockets = set()
        self.listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, daemon=True).start()

    def hold(self):
        """Connections stay, nothing passes."""
        self.passing.clear()

    def hush(self):
        """Requests pass, what the broker answers comes with tell()."""
        self.telling.clear()

    def tell(self):
        self.telling.set()

    def deafen(self):
        """What the broker answers is lost."""
        self.deaf = True

    def cut(self):
        """Connections end, new ones too."""
        self.away = True
        self._end_all()

    def mend(self):
        """As it was; connections end, since bytes are missing in them."""
        self._end_all()
        self.deaf = self.away = False
        self.passing.set()
        self.telling.set()

    def close(self):
        self.cut()
        self.passing.set()
        self.telling.set()
        self.listening.close()

    def _serve(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.to), 5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            with self.lock:
                self.sockets |= {client, broker}
            for ends in (client, broker, False), (broker, client, True):
                threading.Thread(target=self._pass, args=ends,
                                 daemon=True).start()
            if self.away:
                _end(client)

    def _pass(self, source, sink, answers):
        try:
            while data := source.recv(65536):
                self.passing.wait()
                if not answers:
                    sink.sendall(data)
                    self.sent += len(data)
                    continue
                self.told += len(data)
                self.telling.wait()
                if not self.deaf:
                    sink.sendall(data)
        except OSError:
            pass
        _end(sink)
        with self.lock:
            self.sockets.discard(source)
        _end(source)

    def _end_all(self):
        with self.lock:
            for s in self.sockets:
                _end(s)


def _end(s):
    """Wakes who reads from it, too."""
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
