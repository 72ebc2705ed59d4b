"""Those who work off a topic of images: the processor, and what one would
write instead of it.

All read the same topic from its start, write one file per window and content
under a directory of their own, and count copies in PostgreSQL.  A candidate
says how to start, when it is done, and which rows it has written; a run of it
is measured by run().
"""

import hashlib
import os
import re
import time

from stack import processor as stack_processor
from stack.processor import Processor
from stack.service import Service

from . import BUILD, usage

PEERS = os.path.join(BUILD, "peers")
POLL = 0.1

INI = """\
[processor]
topic = @TOPIC@
lanes = @LANES@
allowed_lateness = @LATENESS@
assemble_lanes = 0
[kafka]
bootstrap.servers = @BROKERS@
group.id = @GROUP@
[redis]
address = @REDIS@
username = @REDIS_USER@
password_file = @REDIS_PASSWORD_FILE@
[postgres]
dsn = @WRITER@
[store.file]
path = @STORE@
"""

TABLE = """\
CREATE TABLE peer (window_start timestamptz, hash text, name text,
    count bigint, PRIMARY KEY (window_start, hash))"""


class Place:
    """What a run gets for itself: a database, an empty Redis, a directory.

    The files stay until the bench ends: ext4 avoids the inodes of removed ones
    for minutes, and whoever creates files then pays for looking past them.
    What a run left unwritten is written before the next one begins.
    """

    def __init__(self, directory, number, stack, topic):
        self.dir = os.path.join(directory, "run-%d" % number)
        self.store = os.path.join(self.dir, "store")
        os.makedirs(self.store)
        self.stack, self.topic = stack, topic
        self.name = "bench_%d" % number
        self.dsn = stack.postgres.create_sluice(self.name)
        stack.redis.client().flushall()
        self.db = stack.postgres.connect(self.name)

    def ask(self, sql):
        with self.db.cursor() as c:
            c.execute(sql)
            return c.fetchall()

    def do(self, sql):
        with self.db.cursor() as c:
            c.execute(sql)

    def close(self):
        self.db.close()
        self.stack.postgres.drop_database(self.name)
        os.sync()

    def files(self):
        """How many whole files there are."""
        return sum(1 for _ in self.paths())

    def paths(self):
        for directory, _, names in os.walk(self.store):
            for name in names:
                if re.match(r"[0-9a-f]{64}\.", name):
                    yield os.path.join(directory, name)


class Sluice:
    summary = "SELECT count(*), coalesce(sum(count), 0) FROM sluice.summary"
    rows = ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, sha256,"
            " sum(count) FROM sluice.summary GROUP BY 1, 2")

    def __init__(self, lanes=2, lateness="55s", name=None):
        self.name = name or "sluice, %d lanes" % lanes
        self.lanes, self.lateness = lanes, lateness

    def missing(self):
        path = stack_processor.binary()
        return "" if os.path.exists(path) else "no " + path

    def prepare(self, place):
        pass

    def service(self, place):
        redis = place.stack.redis
        return Processor(os.path.join(place.dir, "processor"), INI, {
            "TOPIC": place.topic, "LANES": self.lanes,
            "LATENESS": self.lateness, "GROUP": place.name,
            "BROKERS": place.stack.kafka.bootstrap,
            "REDIS": redis.address, "REDIS_USER": redis.user,
            "REDIS_PASSWORD_FILE": redis.password_file,
            "WRITER": place.stack.postgres.dsn_as("writer", place.dsn),
            "STORE": place.store})


class Peer(Service):
    """A program that is told everything by its environment."""
    stop_timeout = 60

    def __init__(self, directory, program, arguments, settings):
        super().__init__(directory)
        self.program, self.arguments = program, arguments
        self.settings = settings

    def command(self):
        return [self.program] + self.arguments

    def environment(self):
        return self.settings


class Other:
    """Bento or Flink."""
    summary = "SELECT count(*), coalesce(sum(count), 0) FROM peer"
    rows = ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, hash,"
            " count FROM peer")

    def __init__(self, program, name, arguments=()):
        self.name = name
        self.program = os.path.join(PEERS, program)
        self.arguments = list(arguments)

    def missing(self):
        if os.path.exists(self.program):
            return ""
        why = self.program + ".missing"
        if os.path.exists(why):
            with open(why) as f:
                return f.read().strip()
        return "not built: make bench-processor does it"

    def prepare(self, place):
        place.do(TABLE)

    def service(self, place):
        port = place.stack.postgres.port
        where = "127.0.0.1:%d/%s" % (port, place.name)
        return Peer(os.path.join(place.dir, "peer"), self.program,
                    self.arguments, {
            "BROKERS": place.stack.kafka.bootstrap, "TOPIC": place.topic,
            "GROUP": place.name, "STORE": place.store,
            "REDIS": "redis://127.0.0.1:%d" % place.stack.redis.port,
            "DSN": "postgres://postgres@%s?sslmode=disable" % where,
            "JDBC": "jdbc:postgresql://%s?user=postgres"
                    "&reWriteBatchedInserts=true" % where,
            "CHECKPOINTS": os.path.join(place.dir, "checkpoints")})


class Watched:
    """A started service: its CPU and memory as they were last seen, for after
    its end nobody can ask."""

    def __init__(self, service):
        self.service = service
        self.began = time.monotonic()
        self.cpu = self.mib = 0.0
        service.launch()

    def look(self):
        try:
            self.cpu = max(self.cpu, usage.cpu([self.service.pid]))
            self.mib = max(self.mib, usage.peak_mib([self.service.pid]))
        except OSError:
            pass
        return self.service.alive()

    def age(self):
        return time.monotonic() - self.began


class Stuck(RuntimeError):
    pass


def work(candidate, place, images, watched, until=1.0, timeout=300):
    """Waits until the share of the files is there, or with 1.0 until all rows,
    copies and files are; first: seconds until the first file."""
    want = (len(images.rows), images.count)
    first = None
    deadline = time.monotonic() + timeout
    while True:
        alive = watched.look()
        if first is None and next(place.paths(), None):
            first = watched.age()
        if until < 1:
            done = place.files() >= until * want[0]
        else:
            rows, copies = place.ask(candidate.summary)[0]
            done = (rows, int(copies)) == want and place.files() >= want[0]
        if done:
            return first
        if not alive or time.monotonic() > deadline:
            raise Stuck("%s ended or stands still at %s, %d files:\n%s" % (
                candidate.name, place.ask(candidate.summary)[0],
                place.files(), watched.service.tail()))
        time.sleep(POLL)


def run(candidate, place, images):
    """One catch-up; the figures, and what is wrong with the outcome."""
    candidate.prepare(place)
    watched = Watched(candidate.service(place))
    faults = []
    try:
        first = work(candidate, place, images, watched)
        wall = watched.age()
        watched.look()
    finally:
        watched.service.stop()
    faults += compare(candidate, place, images)
    gb = images.bytes / 1e9
    return {"wall": wall, "first": first, "cpu": watched.cpu,
            "cpu_gb": watched.cpu / gb, "mb_s": gb * 1000 / wall,
            "mib": watched.mib, "faults": faults}


def killed(candidate, place, images):
    """kill -9 when half of the files are there, then the same again; seconds
    from the second start until something has grown."""
    candidate.prepare(place)
    watched = Watched(candidate.service(place))
    try:
        work(candidate, place, images, watched, until=0.5)
    finally:
        watched.service.kill()
    at = (place.files(), place.ask(candidate.summary)[0])
    watched = Watched(candidate.service(place))
    resumed = None
    try:
        while resumed is None and watched.age() < 120 and watched.look():
            if (place.files(), place.ask(candidate.summary)[0]) != at:
                resumed = watched.age()
            time.sleep(POLL)
        settle(candidate, place, images, watched)
        wall = watched.age()
    finally:
        watched.service.stop()
    return {"resumed": resumed, "wall": wall,
            "faults": compare(candidate, place, images)}


def settle(candidate, place, images, watched):
    """Until all is there, or nothing has moved for 15 s: a peer may have lost
    what would make it complete."""
    want = (len(images.rows), images.count, len(images.rows))
    seen, since = None, time.monotonic()
    while time.monotonic() - since < 15 and watched.look():
        rows, copies = place.ask(candidate.summary)[0]
        now = (rows, int(copies), place.files())
        if now == want:
            return
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(POLL)


def compare(candidate, place, images):
    """Rows against the images, and every file's bytes against its name."""
    found = {(int(w), h): int(n) for w, h, n in place.ask(candidate.rows)}
    faults = []
    lost = images.rows.keys() - found.keys()
    more = found.keys() - images.rows.keys()
    wrong = [k for k in images.rows.keys() & found.keys()
             if images.rows[k] != found[k]]
    for what, keys in (("rows missing", lost), ("rows too many", more),
                       ("counts wrong", wrong)):
        if keys:
            faults.append("%d %s" % (len(keys), what))
    files = bad = 0
    for path in place.paths():
        with open(path, "rb") as f:
            bad += hashlib.sha256(f.read()).hexdigest() \
                != os.path.basename(path)[:64]
        files += 1
    if files != len(images.rows):
        faults.append("%d files of %d" % (files, len(images.rows)))
    if bad:
        faults.append("%d files cut short or wrong" % bad)
    return faults

