"""The whole path under kills, cuts and flushes: nothing lost, nothing twice.

A round posts forms to nginx for some time while services are killed, frozen,
emptied and started again.  Then all is up, and what the clients were told, the
rows, the objects and the summary are compared with the log.  Everything that
chance decides comes from SLUICE_SEED, or a seed that is printed.
"""

import os
import random
import re
import time

import pytest

import round_truth as truth
from round_clients import MAX_FILE, Clients
from round_plan import LATENESS_MS, SESSION_MS, WINDOW_MS, Plan, Targets

INFLIGHT_MB, PARTIAL_MB = 1, 1
FETCH_MB, BATCH_MB = 8, 1

HTTP = """
sluice_kafka main { bootstrap.servers @KAFKA@; }
sluice_postgres "@POSTGRES_READER@";
sluice_inflight %dm;
sluice_partial %dm;
sluice_max_file_size %d;
sluice_types image/png image/jpeg image/gif;
sluice_ack_timeout @ACK@;
""" % (INFLIGHT_MB, PARTIAL_MB, MAX_FILE)

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
instance = %d
lanes = %d
window = %dms
allowed_lateness = %dms
fetch_bytes = %dm
batch_bytes = %dm
batch_records = @BATCH@
[kafka]
bootstrap.servers = @KAFKA@
group.id = round
session.timeout.ms = %d
heartbeat.interval.ms = 500
[redis]
address = @REDIS@
username = @REDIS_USER@
password_file = @REDIS_PASSWORD_FILE@
timeout = 2s
[postgres]
dsn = @POSTGRES_WRITER@
timeout = 5s
[store.file]
path = @STORE@
"""

SANITIZED_MB = 350             # what ASan keeps back of freed memory, and more
FDS = 200


class Memory:
    """The most that each process of the path held: resident MB, files."""

    def __init__(self, targets, lanes):
        self.targets = targets
        self.most = {}
        self.files = {}
        asan = "asan" in (os.environ.get("SLUICE_MODULE", "")
                          + os.environ.get("SLUICE_PROCESSOR", ""))
        more = SANITIZED_MB if asan else 0
        # docs/runbook.md, "Sizing", and what the programs take by themselves
        self.limits = {
            "nginx": INFLIGHT_MB + PARTIAL_MB + 17 + 40 + more,
            "processor": lanes * (FETCH_MB + BATCH_MB + 30) + 30 + more}

    def look(self):
        pids = [("nginx", p) for p in self.targets.nginx.workers()]
        pids += [("processor", p.pid) for p in self.targets.processors
                 if p.alive()]
        for kind, pid in pids:
            try:
                with open("/proc/%d/status" % pid) as f:
                    kb = int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
                files = len(os.listdir("/proc/%d/fd" % pid))
            except (OSError, AttributeError):
                continue               # it has just ended
            self.most[kind] = max(self.most.get(kind, 0), kb // 1024)
            self.files[kind] = max(self.files.get(kind, 0), files)

    def check(self):
        for kind, mb in self.most.items():
            assert mb <= self.limits[kind], \
                "%s held %d MB of %d" % (kind, mb, self.limits[kind])
            assert self.files[kind] <= FDS, (kind, self.files)


@pytest.fixture
def round_of(kafka, redis, postgres, topic, dsn, nginx, processor, place_of,
             until):
    def run(seed, seconds):
        print("SLUICE_SEED=%s" % seed)
        chance = random.Random(seed)
        store = os.path.join(place_of, "store")
        os.mkdir(store)
        lanes = chance.randint(1, 2)
        values = {"ACK": chance.choice(("5s", "10s")), "STORE": store,
                  "BATCH": chance.choice((3, 50, 2000))}
        front = nginx(SERVER, http=HTTP, workers=2, values=values,
                      main="worker_shutdown_timeout 30s;")
        targets = Targets(kafka, redis, postgres, front, [
            processor(INI % (i, lanes, WINDOW_MS, LATENESS_MS, FETCH_MB,
                             BATCH_MB, SESSION_MS), values=values)
            for i in range(2)])
        plan = Plan(seed, targets)
        print(values, "lanes=%d" % lanes)

        memory = Memory(targets, lanes)
        clients = Clients(front, seed, 4, 0.25)
        try:
            plan.run(memory.look, seconds)
            targets.all_back(until)
            answered_again(clients, until)
        finally:
            clients.stop()
        print("replies:", clients.statuses)
        assert not clients.odd, clients.odd

        log = truth.Log(kafka, topic, WINDOW_MS)
        print("records: %d" % len(log.records))
        truth.check_answers(log, clients)
        truth.check_records(log, clients)
        assert not log.dead, log.dead

        found = all_final(log, dsn, topic, targets, until)
        memory.look()
        print("most MB:", memory.most, "most files:", memory.files)
        log = truth.Log(kafka, topic, WINDOW_MS)
        assert not log.late, "late: %s" % log.late
        assert not log.dead, "dead: %s" % log.dead
        truth.check_rows(log, found)
        truth.check_objects(store, found)
        truth.check_pages(front, found)
        all_left_redis(redis, topic)
        until(lambda: truth.committed(kafka, "round", topic) == log.ends, 30,
              "no lag left")
        memory.check()
        check_nginx(front, targets)
        targets.check()
    return run


def answered_again(clients, until):
    """Uploads are taken again, by themselves."""
    began = time.monotonic()
    until(lambda: sum(1 for at, taken in clients.when
                      if taken and at > began) >= 5, 90, "uploads taken")


def all_final(log, dsn, topic, targets, until):
    """Waits until every row is final and the counts are the log's."""
    want = log.summed()

    def settled():
        found = truth.rows(dsn, topic)
        return all(r.final for r in found) \
            and sum(r.count for r in found) >= len(log.records) and found

    try:
        until(settled, 90, "every row final", pause=0.3)
    except AssertionError as e:
        targets.check()
        raise AssertionError("%s\n%s" % (e, truth.difference(
            want, truth.summed(truth.rows(dsn, topic)))))
    found = truth.rows(dsn, topic)
    wrong = truth.difference(want, truth.summed(found))
    assert not wrong, wrong
    return found


def all_left_redis(redis, topic):
    left = [k for k in redis.client().keys("sluice:{*/%s:*" % topic)
            if k.endswith(":open")]
    assert not left, left


def check_nginx(front, targets):
    """Only those workers ended badly that were killed."""
    text = front.errors()
    ended = {int(pid) for pid in re.findall(
        r"process (\d+) exited (?:on signal|with (?:fatal )?code [1-9])",
        text)}
    assert ended <= targets.killed_workers, ended
    odd = [line for line in text.splitlines()
           if re.search(r"\[(emerg|alert|crit)\]", line)
           and "exited on signal 9" not in line]
    assert not odd, odd


def test_a_round_of_faults_loses_nothing_and_counts_once(round_of):
    seed = os.environ.get("SLUICE_SEED") or random.randrange(10 ** 6)
    round_of(str(seed), float(os.environ.get("SLUICE_ROUND", 45)))


@pytest.mark.full
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_long_round_loses_nothing_and_counts_once(round_of, seed):
    round_of(seed, 150)
