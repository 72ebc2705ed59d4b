"""Large windows close in steps: beside other work, and Redis never waits."""

import os
import re
import subprocess
import time

import pytest

from stack import wait

from stack.redis import Redis
from uploads import now_ms, truth

SLOW_US = 10000

# How long Redis is kept by one command is how many members that touches: a
# page asks for 500, and may get some more.
TOUCHED = 2000
WHOLE = {"HGETALL", "HKEYS", "HVALS", "SMEMBERS", "SUNION", "SDIFF", "SINTER",
         "DEL", "RENAME", "COPY", "DUMP", "SORT"}

# Members into the keys of a window, as apply.lua would have put them there.
FILL = """
for i = tonumber(ARGV[1]), tonumber(ARGV[1]) + tonumber(ARGV[2]) - 1 do
    local sha = redis.sha1hex(i) .. string.sub(redis.sha1hex('x' .. i), 1, 24)
    local member = '/' .. sha
    redis.call('SADD', KEYS[1], member)
    redis.call('HSET', KEYS[2], member, 1 + i % 3)
    redis.call('HSET', KEYS[3], member, '2026/11/21/00/00:00/' .. sha
               .. '.png image/png 7 ' .. ARGV[3] .. ' 0 upload-' .. i
               .. '/1 name-' .. i .. '.png')
end
"""
STEP = 5000

PATIENT = dict(window="2s", allowed_lateness="8s")
DUE_MS = 10000


class Seen:
    """All that a Redis is told to do, by scripts also, while this is open."""

    def __init__(self, server, path):
        self.path = path
        with open(path, "w") as f:
            self.process = subprocess.Popen(
                ["redis-cli", "-p", str(server.port), "monitor"], stdout=f)
        wait.until(lambda: open(path).readline() == "OK\n", 10, "monitor")

    def commands(self):
        """For each command from outside what its script called, as words."""
        self.process.terminate()
        self.process.wait()
        whole = []
        with open(self.path) as f:
            for line in f:
                head, _, told = line.partition("] ")
                words = [w.replace("\\", "") for w in
                         re.findall(r'"((?:[^"\\]|\\.)*)"', told)]
                if not words:
                    continue
                if not head.endswith(" lua"):
                    whole.append([])
                elif whole:
                    whole[-1].append(words)
        return whole

    def check(self, window):
        """Nothing touched more of the window than a page of it."""
        pages = 0
        for called in self.commands():
            called = [words for words in called
                      if len(words) > 1 and words[1].startswith(window)]
            assert sum(len(words) - 2 for words in called) <= TOUCHED
            for name, key, *more in called:
                assert name.upper() not in WHOLE, key
                if name.upper().endswith("SCAN"):
                    pages += 1
                    assert int(more[more.index("COUNT") + 1]) <= TOUCHED / 2
        assert pages > 1


class Large:
    """A lane whose partition 0 has an open window of n files more than the
    log knows of; they are in no record, only in Redis."""

    def __init__(self, lane, uploads, summary, server, topic, until, n):
        self.summary = summary
        self.server = server
        self.r = server.client()
        self.n = n + 1
        self.p = lane(redis_address=server.address, **PATIENT)
        uploads.send("the one in the log", partition=0)
        uploads.flush()
        until(summary.rows)
        self.row = summary.rows()[0]
        self.p.stop()
        part = "sluice:{%s/%s:0}:" % (topic, topic)
        self.window, = self.r.hkeys(part + "open")
        self.name = part + self.window + ":"
        for i in range(0, n, STEP):
            self.r.eval(FILL, 3, *[self.name + k for k in (
                "unique", "count", "file")], i, min(STEP, n - i),
                self.row.window)
        self.sum = 1 + sum(1 + i % 3 for i in range(n))
        until(lambda: now_ms() > self.row.window + DUE_MS + 500)

    def closed(self):
        """(rows, uploads) of the window's final rows."""
        return self.summary.query(
            "SELECT count(*), sum(count)::bigint FROM sluice.summary"
            " WHERE partition = 0 AND final"
            " AND window_start = to_timestamp(%s / 1000.0)",
            self.row.window)[0]

    def check(self):
        assert self.closed() == (self.n, self.sum)
        for kind in ("unique", "count", "file"):
            assert not self.r.exists(self.name + kind)

    def line(self, what):
        """Where the log says so, and what it says beyond."""
        return re.search(r"msg=%s [^\n]*window=%s rows=%d ([^\n]*)"
                         % (what, self.window, self.n), self.p.read_log())

    def watch(self):
        """From here on Redis notes what takes it too long.  Its clock runs on
        while another process has the core, so it goes before all others, if
        we may say so."""
        try:
            os.setpriority(os.PRIO_PROCESS, self.server.pid, -20)
        except PermissionError:
            pass
        self.r.config_set("slowlog-log-slower-than", SLOW_US)
        self.r.slowlog_reset()

    def slow(self):
        return [(e["duration"], e["command"][:200])
                for e in self.r.slowlog_get(128)]


@pytest.fixture
def large(lane, uploads, summary, redis, topic, until):
    def make(n, server=redis):
        return Large(lane, uploads, summary, server, topic, until, n)
    return make


def others(summary, large):
    return {k: c for k, c in summary.counts(final=True).items()
            if k[:2] != (0, large.row.window)}


def work_beside(large, uploads, kafka, topic, summary, until, seconds):
    """Uploads go on while the window closes, and all of them are counted."""
    deadline = time.monotonic() + seconds
    large.p.start()
    i = 0
    while not large.line("closed"):
        assert large.p.alive() and time.monotonic() < deadline
        for partition in range(4):
            uploads.send("file %d" % (i % 50), partition=partition)
        uploads.flush()
        i += 1
    began, ended = large.line("closing"), large.line("closed")
    assert int(re.search(r"through=(\d+)", ended[1])[1]) > int(
        re.search(r"next=(\d+)", began[1])[1]), "nothing was applied meanwhile"
    large.check()
    want = {k: c for k, c in truth(kafka, topic, 2000).items()
            if k[:2] != (0, large.row.window)}
    until(lambda: others(summary, large) == want, 60)
    return began, ended


def test_a_large_window_closes_beside_other_work(
        large, redis, uploads, kafka, topic, summary, until, ground):
    window = large(50000)
    seen = Seen(redis, os.path.join(ground, "monitor"))
    work_beside(window, uploads, kafka, topic, summary, until, 120)
    seen.check(window.name)


def test_a_kill_in_the_middle_of_a_large_close_changes_no_row(large, uploads):
    window = large(30000)
    uploads.send("and on", partition=0)
    uploads.flush()
    window.p.start()
    window.p.wait_log("msg=closing", 60)
    window.p.kill()
    assert window.closed()[0] in (0, window.n)
    window.p.start()
    window.p.wait_log("msg=closed", 120)
    window.check()


def test_a_large_window_of_an_idle_partition_closes_of_one_next(
        large, uploads, summary):
    """Nothing has come, so it is due by the clock; then something comes."""
    window = large(30000)
    window.p.start()
    window.p.wait_log("msg=closing", 60)
    uploads.send("and on", partition=0)
    uploads.flush()
    window.p.wait_log("window=%s rows=%d through" % (window.window, window.n),
                      120)
    window.check()
    through = window.summary.query(
        "SELECT DISTINCT through_offset FROM sluice.summary WHERE partition ="
        " 0 AND window_start = to_timestamp(%s / 1000.0)", window.row.window)
    assert through in ([(1,)], [(2,)])


def test_a_large_window_that_is_held_up_holds_up_nobody_else(
        large, uploads, summary, dsn, until):
    """Somebody has a lock on one of its rows: the close waits for it, or the
    flush, if that comes before Kafka has said that the partition is idle."""
    import psycopg2
    window = large(20000)
    holder = psycopg2.connect(dsn)
    with holder.cursor() as c:
        c.execute("SELECT FROM sluice.summary WHERE partition = 0 FOR UPDATE")
        assert c.rowcount == 1
        window.p.start()
        window.p.wait_log("canceling statement due to lock timeout", 60)
        for i in range(20):
            uploads.send("file %d" % i, partition=1)
        uploads.flush()
        until(lambda: sum(r.partition == 1 for r in summary.rows()) == 20)
        assert not window.closed()[0]
    holder.rollback()
    holder.close()
    window.p.wait_log("msg=closed", 120)
    window.check()


@pytest.mark.full
def test_a_window_of_a_million_closes_in_bounded_memory(
        unsanitized, large, uploads, kafka, topic, summary, until, ground):
    server = Redis(os.path.join(ground, "redis-million"),
                   "maxmemory 3gb\nlatency-monitor-threshold 10").start()
    try:
        window = large(1000000, server)
        window.watch()
        window.r.execute_command("LATENCY", "RESET")
        began, ended = work_beside(window, uploads, kafka, topic, summary,
                                   until, 900)
        slow = window.slow()
        print("slow:", slow, "latency:",
              window.r.execute_command("LATENCY", "LATEST"))
        between = window.p.read_log()[began.end():ended.start()]
        for part in (1, 2, 3):
            assert "msg=closed lane=0 part=%d " % part in between
        with open("/proc/%d/status" % window.p.pid) as f:
            peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
        print("peak kB:", peak)
        assert peak < 128 * 1024
    finally:
        server.remove()
