"""nginx as init systems run it: a daemon that can be upgraded on the fly.

nginx takes SIGUSR2 only when whoever started it has gone, so it is started as
a daemon here and adopted: this process becomes its parent.
"""

import ctypes
import os
import signal
import subprocess
import time

from . import wait
from .nginx import Nginx

PR_SET_CHILD_SUBREAPER = 36

# Or the new binary would not be given them.
ENVIRONMENT = "env LD_PRELOAD; env ASAN_OPTIONS; env UBSAN_OPTIONS;\n"


class Adopted:
    """As much of subprocess.Popen as a service needs."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # not ours yet: its parent lives
                if os.path.exists("/proc/%d" % self.pid):
                    return None
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("pid %d" % self.pid, timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)


class Daemon(Nginx):

    def write(self, server="", http="", main="", whole=None):
        super().write(server, http, ENVIRONMENT + main, whole)
        with open(self.conf) as f:
            text = f.read()
        with open(self.conf, "w") as f:
            f.write(text.replace("daemon off;", "daemon on;"))

    def launch(self):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        super().launch()
        assert self.process.wait(30) == 0, self.tail()
        self.process = Adopted(wait.until(self.named, 10, "a pid file"))

    def named(self):
        """The master that nginx.pid names."""
        with open(os.path.join(self.dir, "nginx.pid")) as f:
            return int(f.read())

    def upgrade(self, timeout=60):
        """USR2, then QUIT to the old master; returns when it has gone."""
        old = self.process
        old.send_signal(signal.SIGUSR2)
        pid = wait.until(
            lambda: self.named() != old.pid and self.named(), 30,
            "a new master", alive=self)
        wait.until(lambda: children(pid), 30, "its workers", alive=self)
        old.send_signal(signal.SIGQUIT)
        try:
            old.wait(timeout)
        except subprocess.TimeoutExpired:
            raise wait.Timeout("the old master stays\n" + self.tail())
        self.process = Adopted(pid)
        return old.returncode


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return f.read().split()
