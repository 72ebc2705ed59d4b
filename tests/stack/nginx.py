"""The distribution's nginx with Sluice's module.

SLUICE_MODULE names another build of the module.  A build with
AddressSanitizer needs its runtime loaded before the stock binary; what the
sanitizers find goes to sanitizer_reports().  Figures of memory are taken from
the build that is shipped: Nginx(plain=True) is always that one.
"""

import os
import shutil
import signal
import subprocess

from . import place, ports, sanitizer, wait
from .service import Service

DEFAULT_MODULE = os.path.join(place.ROOT,
                              "build/module/ngx_http_sluice_module.so")

TEMPLATE = """\
daemon off;
{user}
worker_processes {workers};
pid {dir}/nginx.pid;
error_log {dir}/error.log {level};
load_module {module};
worker_rlimit_core 0;
{main}

events {{
    worker_connections 1024;
}}

http {{
    access_log {dir}/access.log;
    default_type application/octet-stream;
    client_body_temp_path {dir}/tmp/body;
    proxy_temp_path {dir}/tmp/proxy;
    fastcgi_temp_path {dir}/tmp/fastcgi;
    uwsgi_temp_path {dir}/tmp/uwsgi;
    scgi_temp_path {dir}/tmp/scgi;
    client_max_body_size 100m;
    {http}

    server {{
        listen 127.0.0.1:{port};
        {listen_h2}
        {server}
    }}
}}
"""


def module_path():
    return os.path.abspath(os.environ.get("SLUICE_MODULE", DEFAULT_MODULE))


def plain_path():
    path = module_path().replace("/module-asan/", "/module/")
    return path if os.path.exists(path) else DEFAULT_MODULE


def binary():
    return shutil.which("nginx") or "/usr/sbin/nginx"


def version():
    text = subprocess.run([binary(), "-v"], text=True,
                          stderr=subprocess.PIPE).stderr
    return tuple(int(n) for n in text.split("/")[1].split()[0].split("."))


class Nginx(Service):
    """port speaks HTTP/1.1, h2_port HTTP/2 without TLS (prior knowledge).

    server, http and main are put into the shipped frame above; whole, if
    given, is the complete configuration instead.  @PORT@, @H2PORT@, @DIR@,
    @MODULE@, @USER@ and the keys of values, as @KEY@, are replaced in all.
    """
    name = "nginx"
    stop_signal = signal.SIGTERM

    def __init__(self, directory, server="", http="", main="", whole=None,
                 workers=1, level="info", values=None, plain=False):
        super().__init__(directory)
        self.port = ports.free()
        self.h2_port = ports.free()
        self.url = "http://127.0.0.1:%d" % self.port
        self.conf = os.path.join(self.dir, "nginx.conf")
        self.error_log = os.path.join(self.dir, "error.log")
        self.access_log = os.path.join(self.dir, "access.log")
        self.workers_wanted = workers
        self.level = level
        self.module = plain_path() if plain else module_path()
        self.values = dict(values or {})
        os.makedirs(os.path.join(self.dir, "tmp"), exist_ok=True)
        self.reports = sanitizer.Reports(self.dir)
        self.write(server, http, main, whole)

    def write(self, server="", http="", main="", whole=None):
        """Writes the configuration; reload() makes a running nginx take it."""
        user = self.user_line()
        text = whole or TEMPLATE.format(
            dir=self.dir, module=self.module, user=user, port=self.port,
            workers=self.workers_wanted, level=self.level, main=main,
            http=http, server=server, listen_h2=self.listen_h2())
        values = dict(self.values, PORT=self.port, H2PORT=self.h2_port,
                      DIR=self.dir, MODULE=self.module, USER=user)
        for key, value in values.items():
            text = text.replace("@%s@" % key, str(value))
        with open(self.conf, "w") as f:
            f.write(text)

    def user_line(self):
        """Root's workers give root up; nobody else may ask for a user."""
        if place.is_root():
            return "user %s;" % place.user("www-data").pw_name
        return ""

    def listen_h2(self):
        if version() >= (1, 25, 1):
            return "listen 127.0.0.1:%d; http2 on;" % self.h2_port
        return "listen 127.0.0.1:%d http2;" % self.h2_port

    def arguments(self):
        return [binary(), "-p", self.dir, "-e", self.error_log,
                "-c", self.conf]

    def command(self):
        status, output = self.test()
        if status != 0:
            raise RuntimeError("nginx -t refused the configuration:\n"
                               + output)
        return self.arguments()

    def test(self):
        """nginx -t: its exit status and what it said."""
        done = subprocess.run(
            self.arguments() + ["-t"], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=self.dir,
            env=dict(os.environ, **self.environment()))
        return done.returncode, done.stdout

    def environment(self):
        return self.reports.environment(preload_for=self.module)

    def ready(self):
        return ports.is_open(self.port) and self.workers()

    def workers(self, leaving=False):
        """Pids of the workers; leaving: of those that finish their last."""
        pids = []
        for pid in self.pids()[1:]:
            try:
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    title = f.read().decode("utf-8", "replace")
            except OSError:
                continue
            if "worker process" in title and (
                    ("shutting down" in title) == leaving):
                pids.append(pid)
        return pids

    def reload(self, timeout=20):
        """SIGHUP; returns when new workers serve.  The old may linger."""
        before = set(self.workers())
        self.signal(signal.SIGHUP)
        return wait.until(
            lambda: (lambda now: now and not now & before and now)(
                set(self.workers())),
            timeout, "new workers after a reload", alive=self)

    def quit(self, timeout=60):
        """SIGQUIT: graceful; returns the exit status."""
        self.signal(signal.SIGQUIT)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise wait.Timeout("nginx did not quit\n" + self.tail())
        return self._ended()

    def errors(self):
        try:
            with open(self.error_log, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_error_log(self, text, timeout=30):
        return wait.until(lambda: text in self.errors(), timeout,
                          "%r in %s" % (text, self.error_log))

    def sanitizer_reports(self):
        return self.reports.read()

    def logs(self):
        return [self.log, self.error_log, self.access_log]
