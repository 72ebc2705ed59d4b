"""HTTP/2 beside HTTP/1.1 over a long link.

curl in a network namespace posts a form to nginx outside of it, over a link
of 100 ms round trip and 100 Mbit/s (link.c).  A stream's window is nginx's
body buffer, so HTTP/2 is measured with the shipped one and with one that
holds what is on its way.
"""

import os
import random
import shutil
import subprocess
import tempfile

from stack import nginx, ports

from . import BUILD, candidates

RTT_MS = 100
MBIT = 100
# What a router keeps: one bandwidth * round trip, beside what is on its way.
QUEUE = MBIT * RTT_MS * 1000 // 8
SHIPPED, LARGE = "64k", "2m"
FILE = 250000
FORM = {SHIPPED: 16, LARGE: 200}        # files: a small window takes long
TARGET = 0.9


class Link:
    """A namespace at the end of the link.  Needs root."""

    def __init__(self):
        tag = "slb%05d" % random.randrange(100000)
        self.ns, self.near, self.away = tag, tag + "a", tag + "b"
        net = "10.%d.%d." % (random.randrange(64, 128), random.randrange(256))
        self.address, self.client = net + "1", net + "2"
        self.process = None

    def __enter__(self):
        ip("netns", "add", self.ns)
        try:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "link"), self.near, self.away,
                 str(RTT_MS // 2), str(MBIT), str(QUEUE)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if self.process.stdout.readline() != "ready\n":
                raise RuntimeError("the link was not made")
            ip("link", "set", self.away, "netns", self.ns)
            self.up(self.near, self.address)
            self.up(self.away, self.client, "-n", self.ns)
        except BaseException:
            self.__exit__()
            raise
        return self

    def up(self, device, address, *ns):
        ip(*ns, "addr", "add", address + "/30", "dev", device)
        ip(*ns, "link", "set", device, "up")

    def __exit__(self, *_):
        if self.process:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait(10)
        ip("netns", "del", self.ns)

    def command(self, *command):
        return ["ip", "netns", "exec", self.ns, *command]


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError("ip %s: %s" % (" ".join(arguments), done.stdout))


def missing():
    if os.geteuid() != 0:
        return "a network namespace needs root"
    for program in ("ip", "curl"):
        if not shutil.which(program):
            return "no " + program
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    return ""


def form(path, files):
    with open(path, "wb") as f:
        for i in range(files):
            f.write(b"--far\r\nContent-Disposition: form-data; "
                    b'name="files"; filename="%d.jpg"\r\n\r\n'
                    b"\xff\xd8\xff\xe0" % i)
            f.write(os.urandom(FILE - 4) + b"\r\n")
        f.write(b"--far--\r\n")


def post(link, url, body, version):
    """MB/s of one upload."""
    out = subprocess.run(link.command(
        "curl", "-sS", version, "--max-time", "120", "-o", "/dev/null",
        "-H", "Expect:", "-H", "Content-Type: multipart/form-data; "
        "boundary=far", "--data-binary", "@" + body,
        "-w", "%{http_code} %{http_version} %{size_upload} %{time_total}",
        url), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if out.returncode or not out.stdout.startswith("202 "):
        raise RuntimeError("curl %s: %s" % (version, out.stdout))
    _, spoken, size, seconds = out.stdout.split()
    if spoken != ("2" if "http2" in version else "1.1"):
        raise RuntimeError("curl spoke HTTP/" + spoken)
    return float(size) / 1e6 / float(seconds)


def listen(link, n):
    h2 = "" if nginx.version() >= (1, 25, 1) else " http2"
    return "listen %s:%d; listen %s:%d%s;" % (link.address, n[0],
                                              link.address, n[1], h2)


def measure(broker, directory, reps, say):
    """{(version, buffer): [MB/s, ...]}."""
    found = {}
    with Link() as link, tempfile.TemporaryDirectory() as bodies:
        for buffer, files in FORM.items():
            body = os.path.join(bodies, buffer)
            form(body, files)
            one_buffer(link, broker, directory, reps, say, buffer, body,
                       found)
    return found


def one_buffer(link, broker, directory, reps, say, buffer, body, found):
    topic = broker.topic("far")
    module = candidates.Module(1, "far-" + buffer, {
        r"client_body_buffer_size .*": "client_body_buffer_size %s;" % buffer,
        r"client_max_body_size .*": "client_max_body_size 100m;",
        r"sluice_max_files .*": "sluice_max_files 1000;"})
    pair = (ports.free(), ports.free())
    module.extra = listen(link, pair)
    module.start(directory, broker, topic)
    try:
        urls = {"--http1.1": pair[0], "--http2-prior-knowledge": pair[1]}
        for rep in range(reps):
            for version, port in urls.items():
                mb_s = post(link, "http://%s:%d/upload" % (link.address, port),
                            body, version)
                found.setdefault((version, buffer), []).append(mb_s)
                say("far %s, buffer %s: %.1f MB/s" % (version, buffer, mb_s))
    finally:
        module.stop()
        broker.delete([topic])
