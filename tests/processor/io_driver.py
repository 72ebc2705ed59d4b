"""Builds and talks to io_driver.c: processor/io/ without the lane above it."""

import fcntl
import glob
import os
import queue
import re
import subprocess
import threading
import time

from stack import place

DRIVER = os.path.join(place.ROOT, "build", "tests", "io_driver")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def has_tls():
    """Whether hiredis has it here."""
    return subprocess.run(["pkg-config", "--exists", "hiredis_ssl",
                           "libssl"]).returncode == 0


def build():
    sources = [os.path.join(place.ROOT, "tests", "processor", "io_driver.c")]
    sources += glob.glob(os.path.join(place.ROOT, "processor", "base", "*.c"))
    sources += glob.glob(os.path.join(place.ROOT, "processor", "io", "*.c"))
    sources += [os.path.join(place.ROOT, "processor", "core", "keyslot.c")]
    headers = glob.glob(os.path.join(place.ROOT, "processor", "*", "*.h"))
    os.makedirs(os.path.dirname(DRIVER), exist_ok=True)
    with open(DRIVER + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(DRIVER) and os.path.getmtime(DRIVER) > max(
                os.path.getmtime(f) for f in sources + headers):
            return DRIVER
        packages = ["rdkafka", "hiredis", "libpq", "inih",
                    "libmicrohttpd"]
        defines = []
        if has_tls():
            packages += ["hiredis_ssl", "libssl", "libcrypto"]
            defines = ["-DSLUICE_REDIS_TLS"]

        def config(what):
            return subprocess.check_output(["pkg-config", what] + packages,
                                           text=True).split()
        subprocess.run(
            ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
             "-O1", "-g", *SANITIZE, *defines, "-I" + place.ROOT,
             "-I" + os.path.join(place.ROOT, "processor"),
             *config("--cflags"), "-o", DRIVER, *sources, *config("--libs"),
             "-pthread"], check=True)
    return DRIVER


class Driver:
    """One process; its lines are read as they come, its log goes to a file."""

    def __init__(self, directory, *arguments):
        self.log = os.path.join(directory, "driver-%d.log"
                                % len(os.listdir(directory)))
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [build(), *map(str, arguments)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1,
                env=env)
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self, timeout=60):
        line = self.lines.get(timeout=timeout)
        if line is None:
            raise EOFError(self.log_text()[-4000:])
        self.seen.append(line)
        return line

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def tell(self, *words):
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask(self, *words, timeout=60):
        """(rc, text) of a command of `redis` and `pg`."""
        self.tell(*words)
        return tuple(self.line(timeout).split("\t", 1))

    def answer(self, timeout=60):
        """(rc, text) of a command of `kafka`; what came before is in seen."""
        while True:
            line = self.line(timeout)
            assert not line.startswith("wrong"), line
            if line.startswith("="):
                return tuple(line.split("\t", 2)[1:])

    def do(self, *words, timeout=60):
        self.tell(*words)
        return self.answer(timeout)

    def numbers(self, *words):
        """The two numbers that bounds, at and position answer with."""
        rc, text = self.do(*words)
        assert rc == "ok", text
        return tuple(int(n) for n in text.split())

    def poll_until(self, pattern, timeout=60):
        """Polls until a line that was ever seen matches."""
        deadline = time.monotonic() + timeout
        while not any(re.search(pattern, line) for line in self.seen):
            assert time.monotonic() < deadline, (pattern, self.seen[-20:])
            self.do("poll", 1, 200)

    def records(self):
        return [(int(p), int(o)) for p, o in
                (line.split()[1:3] for line in self.seen
                 if line.startswith("record "))]

    def end(self, timeout=60):
        """Ends it in order; a sanitizer's finding is a status other than 0."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(timeout)
        assert self.process.returncode == 0, self.log_text()[-4000:]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
