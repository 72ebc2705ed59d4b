"""Free ports on 127.0.0.1.

Ports come from below the range that the kernel gives to clients, so that no
outgoing connection can take one between the look and the bind, and a service
that was killed gets the same one again.
"""

import random
import socket

_given = set()


def free():
    while True:
        port = random.randrange(10000, 32000)
        if port in _given:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def is_open(port, host="127.0.0.1"):
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
