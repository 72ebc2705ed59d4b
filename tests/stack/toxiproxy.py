"""Toxiproxy: links between programs that can be cut, held up and slowed.

Each Link is a port of 127.0.0.1 that leads to a service's own.  The server is
built by Go into build/tools, once for this version: the newest that the Go of
Debian 12 builds.
"""

import json
import os
import shutil
import subprocess
import urllib.request

from . import place, ports
from .service import Service

VERSION = "v2.5.0"
PACKAGE = "github.com/Shopify/toxiproxy/v2/cmd/server"
TOOLS = os.path.join(place.ROOT, "build", "tools")
BINARY = os.path.join(TOOLS, "toxiproxy-" + VERSION)


def fetch():
    """Builds the server, unless it lies here."""
    if os.path.exists(BINARY):
        return BINARY
    go = shutil.which("go") or "/usr/local/go/bin/go"
    os.makedirs(TOOLS, exist_ok=True)
    done = subprocess.run(
        [go, "install", "%s@%s" % (PACKAGE, VERSION)], text=True,
        env=dict(os.environ, GOBIN=TOOLS, GOFLAGS="-mod=mod"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError("Go could not build Toxiproxy:\n" + done.stdout)
    os.rename(os.path.join(TOOLS, "server"), BINARY)
    return BINARY


class Toxiproxy(Service):
    name = "toxiproxy"

    def __init__(self, directory):
        super().__init__(directory)
        self.port = ports.free()

    def command(self):
        return [fetch(), "-host", "127.0.0.1", "-port", str(self.port)]

    def ready(self):
        return self.call("GET", "/version")

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            "http://127.0.0.1:%d%s" % (self.port, path), method=method,
            data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def link(self, name, port):
        return Link(self, name, port)


class Link:
    """From its own port to the given one of 127.0.0.1."""

    def __init__(self, server, name, to):
        self.server, self.name = server, name
        self.port = ports.free()
        self.address = "127.0.0.1:%d" % self.port
        self.to = to
        self._make()

    def _make(self):
        self.server.call("POST", "/proxies", {
            "name": self.name, "listen": self.address,
            "upstream": "127.0.0.1:%d" % self.to, "enabled": True})

    def cut(self):
        """Connections end, new ones are refused."""
        self.server.call("POST", "/proxies/" + self.name, {"enabled": False})

    def hold(self):
        """Connections stay, nothing passes: as when packets are dropped."""
        for way in ("upstream", "downstream"):
            self._add("timeout", way, {"timeout": 0})

    def slow(self, latency_ms, kb_a_second):
        for way in ("upstream", "downstream"):
            self._add("latency", way, {"latency": latency_ms // 2,
                                       "jitter": latency_ms // 4})
            self._add("bandwidth", way, {"rate": kb_a_second})

    def mend(self):
        """As it was.  Its connections end: what a held link kept back never
        arrives.  Made anew, since taking one fault away while data passes
        can hang the server."""
        self.server.call("DELETE", "/proxies/" + self.name)
        self._make()

    def _add(self, kind, way, attributes):
        self.server.call("POST", "/proxies/%s/toxics" % self.name, {
            "name": "%s-%s" % (kind, way), "type": kind, "stream": way,
            "toxicity": 1.0, "attributes": attributes})
