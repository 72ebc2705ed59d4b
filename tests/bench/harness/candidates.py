"""The servers that are measured, and the parts of the floor.

A server takes a topic and then requests; a part of the floor is one run of
build/bench/floor.  All are asked the same way: start(), measure() by turns.py,
stop().
"""

import functools
import os
import re
import resource
import subprocess
import tempfile

from stack import conf, nginx, ports
from stack.service import Service

from . import BENCH, BUILD

DISCARD = os.path.join(BUILD, "ngx_http_discard_module.so")
PEERS = os.path.join(BUILD, "peers")

# As a front is, but for the log of accesses, which no peer writes either.
FRAME = """\
daemon off;
@USER@
worker_processes {workers};
worker_rlimit_nofile {files};
pid @DIR@/nginx.pid;
error_log @DIR@/error.log warn;
load_module {module};

events {{
    worker_connections {connections};
}}

http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path @DIR@/tmp/body;
    proxy_temp_path @DIR@/tmp/proxy;
    fastcgi_temp_path @DIR@/tmp/fastcgi;
    uwsgi_temp_path @DIR@/tmp/uwsgi;
    scgi_temp_path @DIR@/tmp/scgi;
    {http}

    server {{
        listen 127.0.0.1:@PORT@;
        {listen_h2}
        {server}
    }}
}}
"""

PRODUCE = """\
location = /raw {
    sluice_produce main topic=@TOPIC@;
    client_max_body_size 1m;
    client_body_buffer_size 64k;
}
location = /event {
    sluice_produce events topic=@TOPIC@;
    client_max_body_size 1m;
}
"""

# As conf/ suggests for small events.
EVENTS = """\
sluice_kafka events {
    bootstrap.servers %s;
    linger.ms 0;
}
"""


def block(text, head):
    """The block of a configuration that begins with head."""
    m = re.search(r"(?ms)^%s \{$.*?^\}$" % re.escape(head), text)
    if m is None:
        raise RuntimeError("conf/: no %s" % head)
    return m.group(0)


@functools.cache
def known(directive):
    """Whether this build of the module has the directive: nginx -t says."""
    with tempfile.TemporaryDirectory() as directory:
        n = nginx.Nginx(directory)
        n.write(whole=frame(n, nginx.module_path(),
                            "location / { %s; }" % directive))
        return 'unknown directive "%s"' % directive not in n.test()[1]


def frame(n, module, server, http="", workers=1, connections=1024):
    return FRAME.format(module=module, server=server, http=http,
                        workers=workers, connections=connections,
                        files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
                        listen_h2=n.listen_h2())


class Discard:
    """nginx that reads a body and drops it: one worker."""
    name = "floor: nginx, read and discard"
    kafka = False

    def missing(self, workload):
        return ""

    def start(self, directory, broker, topic):
        self.server = nginx.Nginx(os.path.join(directory, "discard"))
        self.server.write(whole=frame(self.server, DISCARD, """
            location / {
                client_max_body_size 32m;
                client_body_buffer_size 64k;
                discard_body;
            }"""))
        self.server.start()

    def url(self, workload):
        return self.server.url + "/"

    def roots(self):
        return [self.server.pid]

    def workers(self):
        return self.server.workers()

    def said(self):
        return self.server.errors()

    def stop(self):
        self.server.stop()


class Module(Discard):
    """nginx with the module, set up by the samples of conf/.

    changes: {pattern of a line in a sample: the new line}, for the parts that
    measure what such a change does.  http, server: what is added.
    """
    kafka = True

    def __init__(self, workers, name=None, changes=None, http="", server="",
                 connections=1024):
        self.name = name or "sluice, %d worker%s" % (workers,
                                                     "s"[:workers > 1])
        self.count = workers
        self.changes = dict(changes or {})
        self.http, self.extra = http, server
        self.connections = connections

    def missing(self, workload):
        if "asan" in nginx.module_path():
            return "SLUICE_MODULE is a build with sanitizers"
        if not os.path.exists(nginx.module_path()):
            return "no " + nginx.module_path()
        if workload is not None and workload.kind != "form" \
                and not known("sluice_produce"):
            return "the module has no sluice_produce"
        return ""

    def start(self, directory, broker, topic):
        self.server = nginx.Nginx(
            os.path.join(directory, self.name.replace(" ", "-")))
        self.server.write(whole=self.text(broker, topic))
        self.server.workers_wanted = self.count
        self.server.start()

    def text(self, broker, topic):
        changes = dict({
            r"bootstrap\.servers .*": "bootstrap.servers %s;"
                                      % broker.bootstrap,
            r"sluice_postgres .*": "",
            r"sluice_upload .*": "sluice_upload main topic=%s;" % topic,
        }, **self.changes)
        http = conf.sample("nginx/sluice-http.conf")
        upload = block(conf.sample("sluice.conf"), "location = /upload")
        for pattern, line in changes.items():
            found = [0, 0]
            pattern = r"(?m)^[ \t]*%s$" % pattern
            http, found[0] = re.subn(pattern, lambda _: line, http)
            upload, found[1] = re.subn(pattern, lambda _: line, upload)
            if sum(found) != 1:
                raise RuntimeError("conf/: %d lines match %s"
                                   % (sum(found), pattern))
        if known("sluice_produce"):
            upload += "\n" + PRODUCE.replace("@TOPIC@", topic)
            http += EVENTS % broker.bootstrap
        return frame(self.server, nginx.module_path(), upload + self.extra,
                     http + self.http, self.count, self.connections)

    def url(self, workload):
        path = {"form": "/upload", "json": "/event"}
        return self.server.url + path.get(workload.kind, "/raw")


class Peer(Service):
    """A server of tests/bench/peers, built by tests/bench/peers/build."""
    kafka = True

    def __init__(self, program, name=None, linger_ms=None):
        self.program = os.path.join(PEERS, program)
        self.name = name or program
        self.linger_ms = linger_ms

    def missing(self, workload):
        if os.path.exists(self.program):
            return ""
        why = self.program + ".missing"
        if os.path.exists(why):
            with open(why) as f:
                return f.read().strip()
        return "not built: make bench-ingest does it"

    def start(self, directory, broker, topic):
        Service.__init__(self, os.path.join(directory,
                                            self.name.replace(" ", "-")))
        self.port = ports.free()
        self.settings = {"PORT": str(self.port), "TOPIC": topic,
                         "BROKERS": broker.bootstrap}
        if self.linger_ms is not None:
            self.settings["LINGER_MS"] = str(self.linger_ms)
        Service.start(self)

    def command(self):
        return [self.program]

    def environment(self):
        return self.settings

    def ready(self):
        return ports.is_open(self.port)

    def url(self, workload):
        return "http://127.0.0.1:%d/%s" % (
            self.port, "form" if workload.kind == "form" else "raw")

    def roots(self):
        return [self.pid]

    def workers(self):
        return [self.pid]

    def said(self):
        return self.read_log()


class Bento(Peer):
    """Takes whole bodies alone; its form of multipart makes one batch."""

    def command(self):
        return [self.program, "-c",
                os.path.join(BENCH, "peers", "bento", "stream.yaml")]

    def missing(self, workload):
        if workload is not None and workload.kind == "form":
            return "measured at W4 alone"
        return super().missing(workload)


class Floor:
    """One of the libraries alone; see floor.c."""

    def __init__(self, what, name):
        self.what = what
        self.name = "floor: " + name

    def missing(self, workload):
        # Of a few bytes the libraries alone say nothing.
        return "not for events" if workload.kind == "json" else ""

    def start(self, directory, broker, topic):
        self.topic = [broker.bootstrap, topic] if self.what != "hash" else []

    def run(self, size, count):
        done = subprocess.run(
            [os.path.join(BUILD, "floor"), self.what, *self.topic, str(size),
             str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return {k: float(v) for k, v in
                (pair.split("=") for pair in done.stdout.split())}

    def said(self):
        return ""

    def stop(self):
        pass
