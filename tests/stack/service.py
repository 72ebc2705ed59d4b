"""One program that runs until it is told to stop.

Owns the process, its log and its children; what to start, and when it is
ready, is the subclass's.  The directory survives a stop and a kill, so start()
again brings the same data up on the same port.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import threading

from . import wait

PR_SET_PDEATHSIG = 1

running = []            # every live service, for stop_all() and the logs


class Service:
    name = "service"
    stop_signal = signal.SIGTERM
    stop_timeout = 30

    def __init__(self, directory):
        self.dir = os.path.abspath(directory)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.log = os.path.join(self.dir, self.name + ".log")
        self.process = None

    # what a subclass gives

    def command(self):
        raise NotImplementedError

    def ready(self):
        """Whether it serves; called until true."""
        return True

    def environment(self):
        return {}

    def run_as(self):
        """The user to run as when we are root, or None."""
        return None

    # the life of the process

    def start(self, timeout=60):
        self.launch()
        try:
            wait.until(self.ready, timeout, self.name + " ready", alive=self)
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self):
        """Starts it without waiting until it serves."""
        assert not self.alive(), self.name + " runs already"
        command = self.command()
        user = self.run_as()
        # A test run that is killed must not leave servers behind.  The signal
        # comes at the death of the starting thread, so only from the main one.
        dies_with_us = threading.current_thread() is threading.main_thread()
        if user is not None:
            command = ["setpriv", "--reuid=%d" % user.pw_uid,
                       "--regid=%d" % user.pw_gid, "--clear-groups"] + (
                ["--pdeathsig", "TERM"] if dies_with_us else []) + command
        self.log_start = self.log_size()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.dir, start_new_session=True,
                env=dict(os.environ, **self.environment()),
                preexec_fn=_die_with_parent if dies_with_us else None)
        running.append(self)

    def stop(self, timeout=None):
        """Asks it to end and waits; returns the exit status."""
        if self.alive():
            self.thaw()
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout or self.stop_timeout)
            except subprocess.TimeoutExpired:
                tail = self.tail()
                self.kill()
                raise wait.Timeout("%s did not stop:\n%s" % (self.name, tail))
        return self._ended()

    def kill(self):
        """SIGKILL to it and to all its children."""
        if self.process is not None:
            for pid in self.pids():
                _signal(pid, signal.SIGKILL)
            self.process.wait()
        return self._ended()

    def restart(self, timeout=60):
        self.stop()
        return self.start(timeout)

    def freeze(self):
        """SIGSTOP: it keeps its sockets and answers nothing."""
        for pid in self.pids():
            _signal(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in self.pids():
            _signal(pid, signal.SIGCONT)

    def signal(self, number):
        self.process.send_signal(number)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def remove(self):
        """Stops it and removes its directory."""
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def pid(self):
        return self.process.pid

    def pids(self):
        """The process and its descendants, parents first."""
        if not self.alive():
            return []
        found = [self.process.pid]
        tree = _children()
        for pid in found:
            found.extend(tree.get(pid, ()))
        return found

    def _ended(self):
        if self in running:
            running.remove(self)
        return None if self.process is None else self.process.returncode

    # the log

    def logs(self):
        """The files a reader wants to see after a failure."""
        return [self.log]

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def read_log(self, start=0):
        try:
            with open(self.log, "rb") as f:
                f.seek(start)
                return f.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def wait_log(self, text, timeout=30, start=None):
        """Waits until text stands in the log written since the last start."""
        start = self.log_start if start is None else start
        return wait.until(lambda: text in self.read_log(start), timeout,
                          "%r in %s" % (text, self.log))

    def tail(self, lines=40):
        return "\n".join(tail(path, lines) for path in self.logs())


def tail(path, lines=40):
    try:
        with open(path, "rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - 65536))
            text = f.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError as e:
        text = [str(e)]
    return "---- %s\n%s" % (path, "\n".join(text))


def stop_all():
    """Ends whatever still runs, the last started first."""
    for service in reversed(list(running)):
        try:
            service.stop(10)
        except Exception:                            # noqa: then by force
            service.kill()


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _children():
    tree = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry, "rb") as f:
                fields = f.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            tree.setdefault(int(fields[1]), []).append(int(entry))
    return tree
