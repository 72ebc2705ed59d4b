"""Kills, flushes and outages: counts equal the log, final rows never move."""

import random
import threading
import time

import pytest

from uploads import WINDOW_MS, dead, now_ms, truth


class Traffic:
    """Uploads from a thread, some of them equal, until stopped."""

    def __init__(self, uploads, rate=60):
        self.uploads = uploads
        self.rate = rate
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        chance = random.Random(7)
        while not self.ended.wait(1 / self.rate):
            self.uploads.send("file %d" % chance.randrange(200),
                              customer="k%d" % chance.randrange(2))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.uploads.flush()

    def wait(self, more, timeout=60):
        goal = self.uploads.sent + more
        deadline = time.monotonic() + timeout
        while self.uploads.sent < goal:
            assert time.monotonic() < deadline
            self.ended.wait(0.05)


def finals(summary):
    return {r.key: r.count for r in summary.rows() if r.final}


def unmoved(before, summary):
    """Every row that was final is so still, with the same count."""
    after = finals(summary)
    assert {k: after.get(k) for k in before} == before


@pytest.fixture
def quiet(kafka, topic):
    """After the test nothing was late or dead: nothing on time is called
    late, whatever went wrong."""
    yield
    assert dead(kafka, topic + ".late") == []
    assert dead(kafka, topic + ".dead") == []


# A lateness above every outage here, so that a late record is always a fault.
PATIENT = dict(window="2s", allowed_lateness="8s")


def test_kill_at_random_points_counts_equal_the_log(lane, uploads, summary,
                                                    settled, quiet):
    p = lane(**PATIENT)
    chance = random.Random(11)
    with Traffic(uploads) as traffic:
        for _ in range(6):
            traffic.wait(chance.randrange(5, 60))
            p.kill()
            before = finals(summary)
            p.start()
            p.wait_log("msg=taken")
            unmoved(before, summary)
    settled()


def test_flushed_redis_in_the_middle_of_a_window_changes_no_count(
        lane, uploads, summary, settled, redis, quiet):
    """Some windows are closed by then, others open, so that the replay has to
    begin in the middle of the log."""
    lane(window="2s", allowed_lateness="3s")
    with Traffic(uploads) as traffic:
        for _ in range(4):
            traffic.wait(180)
            redis.flush()
    assert any(closed for closed, _ in summary.progress().values())
    settled()


def test_redis_flushed_behind_the_last_record_is_noticed(
        lane, uploads, summary, settled, redis, until, quiet):
    p = lane(**PATIENT)
    uploads.send("the last one", partition=0)
    uploads.flush()
    until(summary.rows)
    redis.flush()
    p.wait_log("Redis lost state")
    settled()


def test_a_window_redis_lost_in_part_is_rebuilt(lane, uploads, summary,
                                                settled, redis, until, topic,
                                                quiet):
    p = lane(**PATIENT)
    for i in range(20):
        uploads.send("file %d" % i, partition=0)
    uploads.flush()
    until(lambda: len(summary.rows()) == 20)
    r = redis.client()
    key, = [k for k in r.keys("sluice:{%s/*:count" % topic)][:1]
    r.delete(key)
    p.wait_log("state dropped")
    settled()


@pytest.mark.parametrize("who", ["redis", "postgres", "both"])
def test_an_outage_stalls_and_recovers_alone(who, lane, uploads, summary,
                                             settled, redis, postgres, quiet):
    p = lane(**PATIENT)
    services = {"redis": [redis], "postgres": [postgres],
                "both": [redis, postgres]}[who]
    with Traffic(uploads) as traffic:
        traffic.wait(60)
        for s in services:
            s.stop()
        try:
            p.wait_log("msg=stalled")
            traffic.wait(100)
        finally:
            for s in services:
                s.start()
        p.wait_log("msg=recovered")
        traffic.wait(30)
    settled()
    assert p.alive()


def test_a_broker_that_dies_and_comes_back_loses_nothing(
        lane, uploads, summary, kafka, topic, until):
    """What waited in the producer meanwhile may be late, and then is there."""
    p = lane(**PATIENT)
    with Traffic(uploads) as traffic:
        traffic.wait(60)
        kafka.kill()
        traffic.wait(60)
        kafka.start()
        traffic.wait(60)
    until(lambda: summary.counts(final=True) == truth(
        kafka, topic, WINDOW_MS, set(dead(kafka, topic + ".late"))), 90,
        "final rows and late records that equal the log", pause=1)
    assert summary.counts(final=False) == {}
    assert p.alive()


def test_a_lane_starts_while_its_services_are_away(processor, ini, uploads,
                                                   settled, redis, postgres):
    redis.stop()
    postgres.stop()
    try:
        p = processor(ini())
        uploads.send("patience")
        uploads.flush()
        p.wait_log("msg=stalled")
    finally:
        redis.start()
        postgres.start()
    settled()


def test_a_second_processor_shares_the_work(lane, uploads, summary, settled,
                                            quiet):
    p = lane(**PATIENT)
    with Traffic(uploads) as traffic:
        traffic.wait(60)
        q = lane(instance=1, **PATIENT)
        traffic.wait(120)
        assert p.alive() and q.alive()
        q.stop()
        traffic.wait(60)
    settled()
    assert "msg=revoked" in p.read_log()


def test_a_replay_with_empty_redis_changes_no_final_row(
        lane, uploads, summary, settled, redis, topic):
    p = lane()
    for i in range(200):
        uploads.send("file %d" % (i % 50))
    uploads.flush()
    before = settled()
    p.stop()
    redis.flush()
    p.start()
    p.wait_log("state=none")
    uploads.send("and on", customer="new")
    uploads.flush()
    after = settled()
    assert [r for r in after if r.customer != "new"] == before


def test_a_replay_tells_what_a_final_row_counts_from_what_is_late(
        lane, uploads, summary, settled, redis, until, quiet):
    """A record of the closed window lies behind one of a window that is open,
    so that the replay meets it."""
    p = lane(allowed_lateness="2s")
    base = now_ms() - now_ms() % WINDOW_MS
    for name, ts in (("a", base), ("b", base + WINDOW_MS), ("c", base + 1),
                     ("d", base + 2 * WINDOW_MS)):
        uploads.send(name, partition=0, ts=ts)
    uploads.flush()
    until(lambda: summary.progress()[0] == (base, 4))
    p.kill()
    redis.flush()
    p.start()
    settled()


def test_a_backlog_is_read_before_its_windows_close(lane, uploads, settled,
                                                    quiet):
    """On the clock they are due long since."""
    old = now_ms() - 20000
    for i in range(60):
        uploads.send("file %d" % i, partition=0, ts=old + i % 3)
    uploads.flush()
    lane(batch_records=5)
    settled()


def test_sigterm_leaves_cleanly(lane, uploads, summary, settled, kafka, topic,
                                until):
    from confluent_kafka import Consumer, TopicPartition
    p = lane(**PATIENT)
    for i in range(40):
        uploads.send("file %d" % i, partition=0)
    uploads.flush()
    until(summary.rows)
    assert p.stop() == 0
    assert "msg=stopped" in p.read_log()
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
    low = c.committed([TopicPartition(topic, 0)], 10)[0].offset
    c.close()
    first = min(r.first_offset for r in summary.rows())
    assert low == (first if not all(r.final for r in summary.rows()) else 40)
    # A static member comes back to what it had: nobody waits for anybody.
    began = time.monotonic()
    p.start()
    p.wait_log("msg=taken")
    assert time.monotonic() - began < 6, "waited for the session to expire"
    settled()


def test_a_zombie_changes_nothing(lane, uploads, summary, settled, until,
                                  quiet):
    """Frozen beyond its session, another takes over, then it wakes up."""
    p = lane(**PATIENT)
    with Traffic(uploads, 40) as traffic:
        traffic.wait(40)
        p.freeze()
        try:
            q = lane(start=False, instance=1, **PATIENT)
            q.start()
            q.wait_log("part=0", 60)
            q.wait_log("part=3", 60)
            traffic.wait(80)
            before = finals(summary)
        finally:
            p.thaw()
        traffic.wait(80)
        unmoved(before, summary)
    settled()


def test_postgresql_that_lost_a_close_gets_it_again(lane, uploads, summary,
                                                    settled, until, topic):
    """As after a failover to a server that had not seen the last commits."""
    p = lane()
    uploads.send("old", partition=0)
    uploads.flush()
    settled()
    until(lambda: summary.progress()[0][0] is not None)
    first = summary.progress()[0]
    uploads.send("new", partition=0,
                 ts=max(now_ms(), first[0] + WINDOW_MS))
    uploads.flush()
    want = settled()
    assert summary.progress()[0] > first
    p.freeze()
    summary.query("DELETE FROM sluice.summary WHERE window_start > "
                  "to_timestamp(%s / 1000.0)", first[0])
    summary.query("UPDATE sluice.progress SET closed_through = "
                  "to_timestamp(%s / 1000.0), next_offset = %s, "
                  "last_id = NULL WHERE partition = 0", *first)
    p.thaw()
    until(lambda: [r.key for r in summary.rows() if r.final]
          == [r.key for r in want])
    assert [r.count for r in summary.rows()] == [r.count for r in want]


def test_a_close_waits_for_what_a_row_knows(lane, uploads, summary, settled,
                                            until):
    """As if another lane had shown more of the log than this one has read."""
    p = lane(window="2s", allowed_lateness="3s")
    uploads.send("one", partition=0)
    uploads.flush()
    until(summary.rows)
    summary.query("UPDATE sluice.summary SET through_offset = 2")
    p.wait_log("msg=waits")
    assert not any(r.final for r in summary.rows())
    uploads.send("two", partition=0)
    uploads.flush()
    settled()


def test_a_partition_that_can_not_go_on_does_not_stop_the_others(
        lane, uploads, summary, redis, topic, until, kafka):
    """Partition 0's key is of another type: every script on it fails."""
    redis.client().set("sluice:{%s/%s:0}:progress" % (topic, topic), "odd")
    p = lane(start=False)
    p.start()
    p.wait_log("msg=stalled")
    for partition in range(4):
        uploads.send("file", partition=partition)
    uploads.flush()
    until(lambda: {r.partition for r in summary.rows() if r.final}
          == {1, 2, 3})
    redis.client().delete("sluice:{%s/%s:0}:progress" % (topic, topic))
    until(lambda: len([r for r in summary.rows() if r.final]) == 4)


def test_a_row_that_is_locked_holds_up_its_partition_only(
        lane, uploads, summary, settled, postgres, dsn, until):
    """As by an administrator's transaction, or a lane that was frozen in the
    middle of one."""
    import psycopg2
    p = lane()
    uploads.send("first", partition=0)
    uploads.flush()
    until(summary.rows)
    holder = psycopg2.connect(dsn)
    with holder.cursor() as c:
        c.execute("SELECT FROM sluice.progress WHERE partition = 0 FOR UPDATE")
        for i in range(20):
            for partition in range(4):
                uploads.send("file %d" % i, partition=partition)
        uploads.flush()
        p.wait_log("canceling statement due to lock timeout")
        until(lambda: len([r for r in summary.rows()
                           if r.final and r.partition != 0]) >= 60)
        assert not any(r.final and r.partition == 0 for r in summary.rows())
    holder.rollback()
    holder.close()
    settled()
    assert p.alive()


def test_an_object_that_is_not_stored_holds_up_its_partition_only(
        lane, uploads, summary, settled, until, ini):
    """A file lies where the customer's directory should be."""
    import os
    p = lane()
    stone = os.path.join(ini.store, "c-bad")
    with open(stone, "w"):
        pass
    uploads.send("no way", customer="bad", partition=0)
    for i in range(20):
        for partition in (1, 2, 3):
            uploads.send("file %d" % i, customer="good", partition=partition)
    uploads.flush()
    p.wait_log("step=apply")
    until(lambda: len([r for r in summary.rows() if r.final]) >= 60)
    assert not any(r.partition == 0 for r in summary.rows())
    os.unlink(stone)
    settled()
