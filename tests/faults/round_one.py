"""A round: some minutes of uploads under faults, and then the truth.

Forms are posted to nginx while the plan is carried out.  Then all is up, and
what the clients were told, the rows, the objects and the summary are compared
with the log.
"""

import os
import random
import re
import shutil
import time
import uuid

import round_faults
import round_truth as truth
from round_clients import CHUNK, MAX_FILE, Clients
from round_faults import Targets
from round_plan import (AFTER_MS, BEFORE_MS, LATENESS_MS, PROCESSORS,
                        SESSION_MS, WINDOW_MS, plan)
from round_truth import Violation, claim
from round_watch import Memory, Watch
from stack import wait
from stack.nginx import Nginx
from stack.processor import Processor

PARTITIONS = 4
LANES = 2
THREADS = 4                    # of clients
KEYED = 0.25                   # share of forms with an Idempotency-Key
SETTLE_S = 90

INFLIGHT_MB, PARTIAL_MB = 2, 2
MEMORY_MB, SPOOL_MB = 48, 1
# docs/runbook.md, "Sizing", and what the programs take by themselves
NGINX_MB = INFLIGHT_MB + PARTIAL_MB + 17 + 40
PROCESSOR_MB = MEMORY_MB + 64

MAIN = "worker_shutdown_timeout 30s;"

HTTP = """
sluice_kafka main { bootstrap.servers @KAFKA@; }
sluice_postgres "@POSTGRES@";
sluice_inflight %dm;
sluice_partial %dm;
sluice_max_file_size %d;
sluice_chunk_size %d;
sluice_types image/png image/jpeg image/gif;
sluice_ack_timeout @ACK@;
""" % (INFLIGHT_MB, PARTIAL_MB, MAX_FILE, CHUNK)

SERVER = """
location = /upload { sluice_upload main topic=@TOPIC@; }
location = /upload/of {
    sluice_upload main topic=@TOPIC@;
    sluice_customer $args;
}
location = /summary { sluice_summary; sluice_customer all; }
"""

INI = """
[processor]
topic = @TOPIC@
instance = @INSTANCE@
lanes = %d
window = %dms
allowed_lateness = %dms
memory = %dm
batch_records = @BATCH@
assemble_lanes = 1
spool = @SPOOL@
spool_bytes = %dm
[kafka]
bootstrap.servers = @KAFKA@
group.id = @GROUP@
session.timeout.ms = %d
heartbeat.interval.ms = 500
[redis]
mode = sentinel
sentinel_master = sluice
address = @SENTINELS@
username = @REDIS_USER@
password_file = @REDIS_PASSWORD_FILE@
timeout = 2s
[postgres]
dsn = @POSTGRES@
timeout = 5s
[store.file]
path = @STORE@
""" % (LANES, WINDOW_MS, LATENESS_MS, MEMORY_MB, SPOOL_MB, SESSION_MS)


def hurried_workers(text):
    """Workers that let their connections end, after a reload, when nginx was
    told to end at once.  nginx (1.22) then reports connections as left open
    although nobody was to wait for them."""
    found, gentle = [], {}
    told = -1
    for n, line in enumerate(text.splitlines()):
        if "signal 15 (SIGTERM) received" in line:
            told = n
        said = re.search(r"\] (\d+)#\d+: (gracefully shutting down|exiting)$",
                         line)
        if said and said[2] == "exiting":
            if gentle.get(said[1], n) < told:
                found.append(said[1])
        elif said:
            gentle[said[1]] = n
    return found


class Round:
    """name: of its topic, its database and its directory.  calm: without
    faults, and no upload before every lane has its partitions."""

    def __init__(self, stage, seed, seconds, calm=False):
        self.stage, self.seed, self.seconds = stage, str(seed), seconds
        self.name = "round-" + uuid.uuid4().hex[:8]
        self.dir = os.path.join(stage.dir, self.name)
        self.store = os.path.join(stage.disk.dir, self.name, "store")
        self.spool = os.path.join(stage.disk.dir, self.name, "spool")
        self.calm = calm
        self.plan = [] if calm else plan(self.seed, seconds)
        self.done = []
        self.left_out = []
        self.verified = {}
        self.services = []
        self.clients = self.watch = self.began = None

    # what it stands on

    def start(self):
        chance = random.Random(self.seed)
        stage, name = self.stage, self.name
        os.makedirs(self.dir)
        os.makedirs(self.store)
        os.makedirs(self.spool)
        stage.kafka.create_uploads(name, PARTITIONS,
                                   message_timestamp_before_max_ms=BEFORE_MS,
                                   message_timestamp_after_max_ms=AFTER_MS)
        self.dsn = stage.postgres.create_sluice(name)
        values = {"ACK": chance.choice(("5s", "10s")), "STORE": self.store,
                  "SPOOL": self.spool,
                  "BATCH": chance.choice((3, 50, 2000)), "TOPIC": name,
                  "GROUP": name, "SENTINELS": stage.redis.addresses,
                  "REDIS_USER": stage.redis.user,
                  "REDIS_PASSWORD_FILE": stage.redis.password_file}
        print("ack %(ACK)s, batches of %(BATCH)s" % values)
        front = Nginx(os.path.join(self.dir, "nginx"), SERVER, http=HTTP,
                      main=MAIN, workers=2,
                      values=dict(values, **self.given("nginx", "reader")))
        processors = []
        for n in range(PROCESSORS):
            client = "processor %d" % n
            processors.append(Processor(
                os.path.join(self.dir, "processor-%d" % n), INI,
                values=dict(values, INSTANCE=n,
                            **self.given(client, "writer"))))
        self.services = [front] + processors
        for s in self.services:
            s.start()
        self.targets = Targets(stage, front, processors)
        if self.calm:
            # The last to join gets what the others give away.
            wait.until(lambda: processors[-1].read_log().count("msg=taken")
                       >= LANES, 60, "lanes that share the partitions")

    def given(self, client, role):
        """How that client reaches the services: by its own links."""
        found = self.stage.addresses(client)
        dsn = self.stage.postgres.dsn_as(role, self.dsn)
        found["POSTGRES"] = dsn.replace(
            "port=%d" % self.stage.postgres.port,
            "port=%d" % found.pop("POSTGRES_PORT"))
        return found

    # what happens

    def run(self):
        front = self.targets.nginx
        self.memory = Memory(self.targets, NGINX_MB, PROCESSOR_MB)
        self.watch = Watch(self.stage, self.name, self.name)
        self.watch.start()
        self.clients = Clients(front, self.seed, THREADS, 0.25, KEYED)
        try:
            self.began = time.monotonic()
            round_faults.run(self.plan, self.targets, self.seconds,
                             self.memory.look, self.done, self.left_out,
                             self.began)
            self.targets.all_back()
            self.answered_again()
        finally:
            self.clients.stop()
        print("replies:", self.clients.statuses)
        claim(not self.clients.odd, "clients saw: %s" % self.clients.odd)

    def answered_again(self):
        """Uploads are taken again, by themselves."""
        began = time.monotonic()
        promised(lambda: sum(1 for begin, end, taken in self.clients.when
                             if taken and begin > began) >= 5,
                 90, "uploads taken")

    # what is true then

    def verify(self):
        kafka, name, targets = self.stage.kafka, self.name, self.targets
        began = time.monotonic()
        log = self.all_announced()
        told = truth.check_answers(log, self.clients)
        truth.check_records(log, self.clients)
        self.no_late(log)
        found = self.all_final(log)
        settled = time.monotonic() - began
        self.memory.look()
        log = truth.read_log(kafka, name, WINDOW_MS)
        self.no_late(log)
        truth.check_rows(log, found)
        history = truth.check_uploads(log, self.dsn, name)
        objects, size = truth.check_objects(log, self.store, found)
        truth.check_pages(targets.nginx, found)
        self.all_left_redis()
        promised(lambda: truth.committed(kafka, name, name) == log.ends, 30,
                 "no lag left")
        self.memory.check()
        self.check_nginx()
        targets.check()
        self.verified = {
            "forms": self.clients.forms, "sent again": self.clients.again,
            **told, "records": len(log.records),
            "large files": len(log.whole),
            "references": len(log.references()),
            "repeats": len(log.repeats()), "twice": len(log.twice()),
            "rows": len(found),
            "counted": sum(r.count for r in found), "uploads": history,
            "objects": objects,
            "object bytes": size, "late": len(log.late),
            "dead": len(log.dead), "settled after s": round(settled, 1),
            "most MB": self.memory.most, "most files": self.memory.files}

    def all_announced(self):
        """The log, when each file in pieces that is whole has been put
        together."""
        def announced():
            log = truth.read_log(self.stage.kafka, self.name, WINDOW_MS)
            left = truth.unannounced(log)
            claim(not left, "not put together: %s" % sorted(left)[:5])
            return log
        return promised(announced, SETTLE_S, "all files put together",
                        pause=1)

    def no_late(self, log):
        claim(not log.late, "late: %s" % log.late)
        claim(not log.dead, "dead: %s" % log.dead)

    def all_final(self, log):
        """Waits until every row is final and the counts are the log's."""
        want = log.summed()
        total = sum(want.values())

        def settled():
            found = truth.rows(self.dsn, self.name)
            return all(r.final for r in found) \
                and sum(r.count for r in found) >= total and found

        try:
            promised(settled, SETTLE_S, "every row final", pause=0.3)
        except Violation as e:
            self.targets.check()
            raise Violation("%s\n%s" % (str(e)[:200], truth.difference(
                want, truth.summed(truth.rows(self.dsn, self.name)))))
        found = truth.rows(self.dsn, self.name)
        wrong = truth.difference(want, truth.summed(found))
        claim(not wrong, wrong)
        return found

    def all_left_redis(self):
        redis = self.stage.redis
        left = [k for k in redis.asked(redis.current()).keys(
            "sluice:{%s/*" % self.name) if k.endswith(":open")]
        claim(not left, "still open in Redis: %s" % left)

    def check_nginx(self):
        """Only those workers ended badly that were killed."""
        text = self.targets.nginx.errors()
        ended = {int(pid) for pid in re.findall(
            r"process (\d+) exited (?:on signal|with (?:fatal )?code [1-9])",
            text)}
        claim(ended <= self.targets.killed_workers,
              "workers ended by themselves: %s" % ended)
        hurried = re.compile("(%s)#.*: (.*open socket .* left|aborting$)"
                             % "|".join(hurried_workers(text) or ["none"]))
        odd = [line for line in text.splitlines()
               if re.search(r"\[(emerg|alert|crit)\]", line)
               and "exited on signal 9" not in line
               and not hurried.search(line)]
        claim(not odd, "nginx says %s" % odd)

    # its end

    def stop(self):
        """Ends what the round started; the services stay."""
        if self.watch:
            self.watch.stop()
        for s in self.services:
            s.thaw()
            s.stop()
        for s in self.services:
            found = s.sanitizer_reports()
            claim(not found, "%s: %s" % (s.name, found))

    def remove(self):
        """Of a round that is told as good, nothing is kept."""
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(os.path.dirname(self.store), ignore_errors=True)
        self.stage.postgres.drop_database(self.name)
        self.stage.redis.flush_master()
        self.stage.kafka.delete_topic(*(
            self.name + end for end in ("", ".chunks", ".late", ".dead")))

    def injected(self):
        """What was done, when, to what, and how long it took to be well."""
        if not self.done:
            return []
        return [{"at": round(d.began - self.began, 1), "hit": d.hit,
                 "kind": d.injection.kind,
                 "lasted": round(d.ended - d.began, 1),
                 "taken after": rounded(
                     self.clients.accepted_after(d.ended)),
                 "applied after": rounded(self.watch.applied_after(d.ended))}
                for d in self.done if d.ended]

    def not_injected(self):
        """What was planned and could not be done."""
        return [{"at": i.at, "fault": "%s: %s" % (i.track, i.kind),
                 "why": "needs root"} for i in self.left_out]


def rounded(seconds):
    return None if seconds is None else round(seconds, 1)


def promised(condition, timeout, what, **more):
    """As wait.until(), of what Sluice owes."""
    try:
        return wait.until(condition, timeout, what, **more)
    except wait.Timeout as e:
        raise Violation(str(e))
