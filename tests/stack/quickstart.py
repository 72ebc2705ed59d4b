"""./quickstart: everything, under .run/, until Ctrl-C.

Owns the order of start and stop and what a user is told.  --once is the
promise of the README: 20 images of which 8 are copies give 12 rows with the
right counts and 12 objects whose bytes hash to their names.
"""

import argparse
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

from . import client, conf, place, service, wait
from .kafka import Kafka, fetch
from .nginx import Nginx
from .postgres import Postgres
from .processor import Processor, binary
from .redis import Redis

RUN = os.path.abspath(os.environ.get("SLUICE_RUN",
                                     os.path.join(place.ROOT, ".run")))
IMAGES = os.path.join(place.ROOT, "tests", "data", "images")
TOPIC = "uploads"
WINDOW_S = 30

# Which image comes again, under which name.
COPIES = [
    ("image-cat.jpg", "holiday.jpg"),
    ("image-cat.jpg", "holiday (1).jpg"),
    ("image-cat.jpg", "K\u00e4tzchen.jpg"),
    ("pillow-hopper.png", "portrait.png"),
    ("pillow-hopper.png", "portrait-final.png"),
    ("sharp-320x240.jpg", "IMG_0001.JPG"),
    ("pillow-flower.webp", "flower-again.webp"),
    ("image-ball.png", "ball \u2013 copy.png"),
]


class Failure(Exception):
    pass


def say(text=""):
    print(text, flush=True)


class Ground:
    """All services of one quickstart."""

    def __init__(self, prod):
        self.prod = prod

    def path(self, *names):
        return os.path.join(os.path.realpath(RUN), *names)

    def start(self):
        self.store = self.path("store")
        os.makedirs(self.store)
        os.chmod(self.store, 0o755)
        # The workers may not be able to enter the checkout.
        self.html = self.path("html")
        shutil.copytree(os.path.join(conf.CONF, "html"), self.html)
        self.kafka = Kafka(self.path(), fast_start=not self.prod)
        self.kafka.brokers[0].log = self.path("kafka.log")
        self.redis = self._at(Redis(self.path("redis")))
        self.postgres = self._at(Postgres(self.path("postgres")))

        say("quickstart: starting Kafka, Redis and PostgreSQL")
        self.redis.start()
        self.postgres.start()
        self.kafka.start()
        self.postgres.create_sluice("sluice")
        # As the playbook does: purge and erase can be tried.
        self.postgres.psql("GRANT sluice_purger TO processor_login")
        self.kafka.create_uploads(TOPIC)

        say("quickstart: starting nginx and the processor")
        self.nginx = self._at(Nginx(
            self.path("nginx"), level="notice" if self.prod else "info",
            workers=2 if self.prod else 1))
        self.nginx.error_log = self.path("nginx-error.log")
        self.nginx.access_log = self.path("nginx-access.log")
        self.nginx.write(whole=conf.nginx(self))
        self.postgres.psql("UPDATE sluice.settings SET value = '%s'"
                           " WHERE name = 'public_url'" % self.nginx.url)
        self.processor = self._at(Processor(
            self.path("processor"), conf.processor(self)))
        status, output = self.processor.check()
        if status != 0:
            raise Failure("sluice-processor -t says:\n" + output)
        self.nginx.start()
        self.processor.start()
        self.write_env()

    def _at(self, one):
        one.log = self.path(one.name + ".log")
        return one

    def write_env(self):
        self.env = {
            "UPLOAD_URL": self.nginx.url + "/upload",
            "SUMMARY_URL": self.nginx.url + "/summary",
            "PAGE_URL": self.nginx.url + "/",
            "KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "TOPIC": TOPIC,
            "REDIS_URL": self.redis.admin_url,
            "POSTGRES_DSN": "postgresql://postgres@127.0.0.1:%d/sluice"
                            % self.postgres.port,
            "STORE": self.store,
            "NGINX_PID": self.nginx.pid,
            "PROCESSOR_PIDS": self.processor.pid,
        }
        partial = self.path("env.new")
        with open(partial, "w") as f:
            for key, value in self.env.items():
                f.write("%s=%s\n" % (key, shlex.quote(str(value))))
        os.rename(partial, self.path("env"))

    def services(self):
        return [self.kafka.brokers[0], self.redis, self.postgres, self.nginx,
                self.processor]

    def stop(self):
        """Upstream first, so that nothing loses what it stands on."""
        try:
            os.unlink(self.path("env"))
        except FileNotFoundError:
            pass
        bad = []
        for name in ("nginx", "processor", "redis", "postgres", "kafka"):
            one = getattr(self, name, None)
            if one is None or not one.alive():
                continue
            status = one.quit() if name == "nginx" else one.stop()
            if name in ("nginx", "processor") and status != 0:
                bad.append("%s ended with status %d" % (name, status))
        if bad:
            raise Failure("; ".join(bad))


def explain(ground):
    e = ground.env
    image = os.path.relpath(os.path.join(IMAGES, "image-cat.jpg"))
    run = os.path.relpath(RUN)
    say("""
  page      {PAGE_URL}
  upload    {UPLOAD_URL}
  summary   {SUMMARY_URL}

Try, in another shell:

  . {run}/env
  curl -F file=@{image} -F 'file=@{image};filename=copy.jpg' "$UPLOAD_URL"
  curl "$SUMMARY_URL"
  psql "$POSTGRES_DSN" -c 'SELECT * FROM "UploadSummary"'
  redis-cli -u "$REDIS_URL" --scan
  kcat -b "$KAFKA_BOOTSTRAP" -C -e -q -t "$TOPIC" \\
      -f '%p/%o %T %k %S bytes\\n  %h\\n'
  find "$STORE/" -type f
  {processor} windows -c {run}/processor/processor.ini

Logs are {run}/*.log.  Ctrl-C stops everything.""".format(
        image=image, run=run, processor=os.path.relpath(binary()), **e))


def read(name):
    with open(os.path.join(IMAGES, name), "rb") as f:
        return f.read()


def test_set():
    """The 20 files, and what must become of them: sha256 -> (name, count)."""
    originals = sorted(n for n in os.listdir(IMAGES)
                       if n.endswith((".jpg", ".png", ".webp")))
    files = [(n, read(n)) for n in originals]
    files += [(copy, read(original)) for original, copy in COPIES]
    truth = {}
    for name, data in files:
        key = hashlib.sha256(data).hexdigest()
        first, count = truth.get(key, (name, 0))
        truth[key] = (first, count + 1)
    return files, truth


def at_window_start():
    """Waits for the next window unless this one is only seconds old."""
    age = time.time() % WINDOW_S
    if age > 5:
        say("quickstart: waiting %d s for the next window"
            % round(WINDOW_S - age))
        time.sleep(WINDOW_S - age + 0.05)


def once(ground):
    files, truth = test_set()
    at_window_start()
    say("quickstart: posting %d images, %d of them copies"
        % (len(files), len(files) - len(truth)))
    answer = client.post(ground.env["UPLOAD_URL"], files)
    if answer.status != 202:
        raise Failure("the upload was answered %d: %s"
                      % (answer.status, answer.body[:2000]))
    refused = [f for f in answer.json()["files"]
               if f["status"] != "accepted"]
    if refused or len(answer.json()["files"]) != len(files):
        raise Failure("not all files were accepted: %r" % refused)

    def complete():
        rows = summary(ground)
        return sum(r["count"] for r in rows) >= len(files) and rows

    try:
        rows = wait.until(complete, 60, "summary of %d files" % len(files))
    except wait.Timeout as e:
        raise Failure(str(e))
    table(rows)
    seen = {r["sha256"]: (r["file"], r["count"]) for r in rows}
    if seen != truth or len(rows) != len(truth):
        raise Failure("the summary says %r, the truth is %r" % (seen, truth))
    objects(ground.store, truth)
    say("quickstart: %d rows, counts right; %d objects, each hashes to its "
        "name" % (len(rows), len(truth)))


def summary(ground):
    answer = client.get(ground.env["SUMMARY_URL"] + "?limit=100")
    if answer.status != 200:
        raise Failure("the summary was answered %d: %s"
                      % (answer.status, answer.body[:2000]))
    return answer.json()["files"]


def table(rows):
    columns = ("file", "count", "size", "time", "url")
    cells = [columns] + [tuple(str(r[c]) for c in columns)
                         for r in sorted(rows, key=lambda r: r["file"])]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    say()
    for row in cells:
        say("  " + "  ".join(c.ljust(w)
                             for c, w in zip(row, widths)).rstrip())
    say()


def objects(store, truth):
    found = {}
    for directory, _, names in os.walk(os.path.realpath(store)):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
            if name.split(".")[0] != digest:
                raise Failure("%s holds bytes that hash to %s"
                              % (path, digest))
            found.setdefault(digest, []).append(path)
    if sorted(found) != sorted(truth) or any(
            len(paths) > 1 for paths in found.values()):
        raise Failure("%d objects in the store, %d expected: %r"
                      % (len(found), len(truth), found))


def serve(ground):
    explain(ground)
    while True:
        time.sleep(0.5)
        for one in ground.services():
            if not one.alive():
                raise Failure("%s ended by itself:\n%s"
                              % (one.name, one.tail()))


def lock():
    """Two quickstarts would take each other's directory away."""
    f = open(RUN + ".lock", "w")
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure("another quickstart runs in %s" % RUN)
    return f


def interrupted(number, frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(prog="quickstart")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--prod", action="store_true")
    options = parser.parse_args()
    # A shell starts what it runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    status = 0
    ground = Ground(options.prod)
    try:
        held = lock()                                # noqa: until we end
        place.public_dir(RUN)
        if not os.path.isdir(os.path.join(place.ROOT, "build/kafka-libs")):
            say("quickstart: fetching Kafka with Maven")
        fetch()
        ground.start()
        if options.once:
            once(ground)
        else:
            serve(ground)
    except KeyboardInterrupt:
        status = 130 if options.once else 0
    except (Failure, wait.Timeout, RuntimeError, OSError,
            subprocess.SubprocessError) as e:
        sys.stderr.write("quickstart: %s\n" % e)
        sys.stderr.write("quickstart: the logs are %s/*.log\n"
                         % os.path.relpath(RUN))
        status = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("quickstart: stopping")
    try:
        ground.stop()
    except (Failure, wait.Timeout) as e:
        sys.stderr.write("quickstart: %s\n" % e)
        status = status or 1
    finally:
        service.stop_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
