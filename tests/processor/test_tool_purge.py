"""purge: what is older than retention goes, and nothing else."""

import datetime
import os
import signal
import subprocess
import time

import pytest

from commands import Commands
from uploads import sha256

UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)


def midnight(days_ago):
    now = datetime.datetime.now(UTC)
    return now.replace(hour=0, minute=0, second=0, microsecond=0) \
        - days_ago * DAY


def path_of(at, value, customer="", prefix=""):
    return "%s%s%s/%s.png" % (
        prefix, "c-%s/" % customer if customer else "",
        at.strftime("%Y/%m/%d/%H/%M:%S"), sha256(value.encode()))


class Past:
    """Rows, uploads and objects of days gone by."""

    def __init__(self, summary, store, pipeline):
        self.summary = summary
        self.store = store
        self.pipeline = pipeline
        self.offset = 0

    def put(self, path, data=b"x"):
        path = os.path.join(self.store, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)

    def row(self, at, value, customer="", object=None, pipeline=None):
        self.offset += 1
        object = object or path_of(at, value, customer)
        key = (pipeline or self.pipeline, self.summary.topic, at, customer,
               sha256(value.encode()))
        self.summary.query("SELECT sluice.ensure_day(%s)", at)
        self.summary.query(
            "INSERT INTO sluice.summary (pipeline, topic, partition,"
            " window_start, customer, sha256, id, name, type, size, count,"
            " object, first_seen, first_offset, upload, through_offset, final)"
            " VALUES (%s, %s, 0, %s, %s, %s, gen_random_uuid(), 'a', 'b', 1,"
            " 1, %s, %s, %s, 'u/1', %s, true)",
            *key, object, at, self.offset, self.offset)
        self.summary.query(
            "INSERT INTO sluice.uploads (pipeline, id, topic, partition,"
            " \"offset\", customer, name, sha256, window_start, size, type,"
            " time) VALUES (%s, 'u/1', %s, 0, %s, %s, 'a', %s, %s, 1, 'b',"
            " %s)", key[0], key[1], self.offset, customer, key[4], at, at)
        return object

    def file(self, at, value, customer="", **kw):
        path = self.row(at, value, customer, **kw)
        self.put(path)
        return path

    def has(self, path):
        return os.path.exists(os.path.join(self.store, path))

    def rows(self):
        return {o for o, in self.summary.query(
            "SELECT object FROM sluice.summary")}

    def tables(self):
        return {n for n, in self.summary.query(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~"
            " '^(summary|uploads)_[0-9]{8}$'")}


@pytest.fixture
def past(summary, ini, topic):
    return Past(summary, ini.store, topic)


@pytest.fixture
def commands(ini, place_of, postgres, dsn):
    return Commands(place_of, ini(postgres=postgres.dsn_as("purger", dsn)))


def test_days_older_than_retention_go_and_others_stay(commands, past):
    old = [past.file(midnight(8), "a"), past.file(midnight(9), "b", "alice"),
           past.file(midnight(8) + DAY * 0.999, "c", "a%20b")]
    young = [past.file(midnight(7), "d"), past.file(midnight(7), "e", "alice"),
             past.file(midnight(0), "f")]
    answer = commands.run("purge")
    assert answer.code == 0, answer
    assert [past.has(p) for p in old] == [False] * 3
    assert [past.has(p) for p in young] == [True] * 3
    assert past.rows() == set(young)
    assert past.tables() == {
        t + d.strftime("_%Y%m%d") for t in ("summary", "uploads")
        for d in (midnight(7), midnight(0))}
    days = {r["day"]: r for r in answer.rows}
    assert days[midnight(8).strftime("%Y-%m-%d")]["objects"] == 2
    assert days[midnight(9).strftime("%Y-%m-%d")]["tables"] == 2
    assert not os.path.exists(os.path.join(past.store, "c-alice",
                                           midnight(9).strftime("%Y/%m/%d")))


def test_a_dry_run_tells_the_same_and_removes_nothing(commands, past):
    path = past.file(midnight(9), "a")
    dry = commands.run("purge", "--dry-run")
    assert past.has(path) and path in past.rows()
    wet = commands.run("purge")
    assert not past.has(path) and past.rows() == set()
    assert (dry.code, dry.rows) == (0, wet.rows)


def test_an_object_that_a_younger_row_refers_to_stays(commands, past):
    """A reference: its bytes were stored days before it was counted."""
    path = past.file(midnight(9), "a")
    past.row(midnight(1), "a", object=path)
    answer = commands.run("purge")
    assert past.has(path)
    assert sum(r["kept"] for r in answer.rows) == 1
    past.summary.query("DELETE FROM sluice.summary")
    assert commands.run("purge").code == 0
    assert not past.has(path)


def test_objects_without_rows_are_found(commands, past):
    path = path_of(midnight(30), "orphan", "alice")
    past.put(path)
    foreign = "c-alice/%s/notes.txt" % midnight(30).strftime("%Y/%m/%d")
    past.put(foreign)
    assert commands.run("purge").code == 0
    assert not past.has(path)
    assert past.has(foreign)


def test_another_pipelines_rows_and_objects_stay(commands, past):
    mine = past.file(midnight(9), "a")
    other = past.file(midnight(9), "b", pipeline="other")
    answer = commands.run("purge")
    assert answer.code == 0, answer
    assert (past.has(mine), past.has(other)) == (False, True)
    assert past.rows() == {other}


def test_a_second_purger_says_so(commands, past, summary):
    path = past.file(midnight(9), "a")
    summary.query("SELECT pg_advisory_lock(hashtext('sluice.purge'))")
    answer = commands.run("purge")
    assert answer.code == 1
    assert "another purge" in answer.err
    assert past.has(path) and path in past.rows()


def test_a_reader_with_a_long_query_is_waited_for(commands, past, postgres,
                                                  dsn, until):
    path = past.file(midnight(9), "a")
    import psycopg2
    reader = psycopg2.connect(dsn)
    reader.cursor().execute("SELECT count(*) FROM sluice.summary")
    purge = commands.start("purge")
    # It tries, gives way, and nobody queues behind it for long.
    until(lambda: past.summary.query(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE"
        " '%%purge_day%%' AND wait_event_type = 'Lock'")[0][0] > 0)
    past.file(midnight(0), "b")
    assert past.has(path)
    reader.rollback()
    out, err = purge.communicate(timeout=60)
    assert (purge.returncode, err) == (0, "")
    assert not past.has(path)
    reader.close()


def test_a_purge_that_was_killed_is_done_by_the_next(commands, past, summary,
                                                     until):
    paths = []
    for n in range(3):
        at = midnight(8 + n)
        paths.append(past.file(at, "row"))
        for i in range(600):
            paths.append(path_of(at + datetime.timedelta(seconds=i),
                                 "%d" % i, "k%d" % (i % 7)))
            past.put(paths[-1])
    young = past.file(midnight(1), "young")
    killed = 0
    for _ in range(4):
        purge = commands.start("purge")
        # Somewhere in the middle: once another part of it is gone.
        left = sum(map(past.has, paths))
        while purge.poll() is None and sum(map(past.has, paths)) == left:
            time.sleep(0)
        purge.send_signal(signal.SIGKILL)
        purge.communicate()
        killed += purge.returncode == -signal.SIGKILL
    assert killed > 0
    until(lambda: summary.query("SELECT count(*) FROM pg_locks WHERE locktype"
                                " = 'advisory'")[0][0] == 0)
    assert commands.run("purge").code == 0
    assert not any(map(past.has, paths))
    assert past.has(young) and past.rows() == {young}


def test_a_table_that_was_detached_and_left_is_dropped(commands, past):
    past.file(midnight(9), "a")
    name = midnight(9).strftime("summary_%Y%m%d")
    past.summary.query("ALTER TABLE sluice.summary DETACH PARTITION sluice."
                       + name)
    assert commands.run("purge").code == 0
    assert past.tables() == set()


def test_names_that_were_told_apart_go_a_day_later(commands, past, summary):
    for n in (1, 7, 9):
        summary.query(
            "INSERT INTO sluice.first_seen (pipeline, customer, id, sha256,"
            " topic, partition, \"offset\", seen_at) VALUES (%s, '', %s, %s,"
            " 't', 0, 1, now() - %s * interval '1 day')", past.pipeline,
            "key:%d" % n, "0" * 64, n)
    assert commands.run("purge").facts["first_seen"] == 1
    assert {i for i, in summary.query("SELECT id FROM sluice.first_seen")} \
        == {"key:1", "key:7"}


def test_redis_keys_of_closed_windows_and_lost_partitions_go(
        commands, past, summary, redis, topic):
    r = redis.client()
    at = midnight(1)
    summary.query("INSERT INTO sluice.progress (pipeline, topic, partition,"
                  " closed_through, window_ms, next_offset) VALUES"
                  " (%s, %s, 0, %s, 2000, 1)", topic, topic, at)
    base = "sluice:{%s/%s:" % (topic, topic)
    closed = at.strftime("%Y%m%dT%H%M%SZ")
    still = (at - DAY).strftime("%Y%m%dT%H%M%SZ")
    later = (at + datetime.timedelta(seconds=2)).strftime("%Y%m%dT%H%M%SZ")
    gone = [base + "0}:%s:count" % closed, base + "99}:progress",
            "sluice:{%s/no-such-topic:0}:open" % topic]
    kept = [base + "0}:progress", base + "0}:%s:count" % later,
            base + "0}:%s:count" % still, base + "1}:%s:count" % closed,
            "sluice:{other/%s:99}:progress" % topic]
    for key in gone + kept:
        r.set(key, "x")
    r.hset(base + "0}:open", still, 0)
    answer = commands.run("purge", "--dry-run")
    assert answer.facts["redis_keys"] == 3, answer
    assert commands.run("purge").code == 0
    assert [r.exists(k) for k in gone] == [0, 0, 0]
    assert [r.exists(k) for k in kept] == [1] * len(kept)
    assert r.exists(base + "0}:open")
    r.delete(*kept, base + "0}:open")


def test_the_keys_of_every_master_are_found(ini, place_of, postgres, dsn,
                                            topic):
    from stack.redis import Cluster
    cluster = Cluster(os.path.join(place_of, "cluster"), replicas=0).start()
    try:
        commands = Commands(place_of, ini(
            postgres=postgres.dsn_as("purger", dsn),
            redis_address=cluster.addresses, redis_more="mode = cluster"))
        gone = ["sluice:{%s/no-such-topic:%d}:open" % (topic, n)
                for n in range(40)]
        for key in gone:
            cluster.master(key).client().set(key, "x")
        assert len({cluster.master(k).port for k in gone}) == 3
        answer = commands.run("purge")
        assert (answer.code, answer.facts["redis_keys"]) == (0, 40), answer
        assert not any(cluster.master(k).client().exists(k) for k in gone)
    finally:
        cluster.stop()


def test_who_is_no_purger_is_told_so(ini, place_of, postgres, dsn, past):
    path = past.file(midnight(9), "a")
    writer = Commands(place_of, ini(postgres=postgres.dsn_as("writer", dsn)))
    answer = writer.run("purge")
    assert answer.code == 2
    assert "sluice_purger" in answer.err
    assert past.has(path)


AHEAD = """
#include <dlfcn.h>
#include <time.h>

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT,
                                                      "clock_gettime");
    int rc = real(id, ts);

    ts->tv_sec += id == CLOCK_REALTIME ? 3 * 86400 : 0;
    return rc;
}
"""


def test_a_clock_that_is_ahead_purges_nothing(commands, past, place_of):
    path = past.file(midnight(6), "a")
    shim = os.path.join(place_of, "ahead.so")
    subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", shim,
                    "-xc", "-"], input=AHEAD, text=True, check=True)
    done = subprocess.run(
        commands.argv("purge"), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=dict(
            os.environ, LD_PRELOAD=shim,
            ASAN_OPTIONS="verify_asan_link_order=0"))
    assert done.returncode == 2
    assert "clock" in done.stderr
    assert past.has(path) and past.rows() == {path}


def test_a_purger_can_remove_nothing_young(postgres, dsn, past):
    import psycopg2
    path = past.file(midnight(1), "a")
    name = midnight(1).strftime("summary_%Y%m%d")
    db = psycopg2.connect(postgres.dsn_as("purger", dsn))
    db.autocommit = True
    for sql in ("SELECT sluice.purge_day('%s', '%s', now())",
                "SELECT sluice.purge_day('%s', '%s', now() + '9 days')",
                "SELECT sluice.purge_rows('%s', '%s', now(), 10)",
                "DROP TABLE sluice.%s --%s",
                "DELETE FROM sluice.%s --%s"):
        with pytest.raises(psycopg2.Error):
            db.cursor().execute(sql % (name, past.pipeline))
    assert past.rows() == {path}
    db.close()


def test_a_purge_leaves_figures_and_a_line(commands, past, summary, place_of):
    past.file(midnight(9), "a")
    figures = os.path.join(place_of, "sluice.prom")
    assert commands.run("purge", "--metrics", figures).code == 0
    with open(figures) as f:
        text = f.read()
    assert "\nsluice_purge_success 1\n" in text
    assert "\nsluice_purge_objects 1\n" in text
    (job, ended, objects), = summary.query(
        "SELECT job, ended_at IS NOT NULL, (figures ->> 'objects')::int"
        " FROM sluice.jobs")
    assert (job, ended, objects) == ("purge", True, 1)
