"""Failovers that lose writes, slots that move: counts equal the log."""

import os

import pytest

from stack.redis import Cluster, Replicated
from test_lane_faults import Traffic, finals, quiet, unmoved  # noqa: F401

# Windows close while a replica is behind.
BRISK = dict(window="2s", allowed_lateness="3s")


@pytest.fixture
def sentinels(place_of):
    g = Replicated(os.path.join(place_of, "group"))
    # A replica counts as good for ten times that without its master.
    g.sentinels[0].more = "sentinel down-after-milliseconds sluice 4000"
    yield g.start()
    g.stop()


@pytest.fixture
def cluster(place_of):
    c = Cluster(os.path.join(place_of, "cluster"))
    yield c.start()
    c.stop()


def applied(server, topic):
    """How many records of the topic this server knows to be applied."""
    c = server.client()
    if c.info("cluster")["cluster_enabled"]:
        c.execute_command("READONLY")
    return sum(int(c.hget(k, "next") or 0)
               for k in c.keys("sluice:{%s/*:progress" % topic))


def test_a_replica_promoted_while_behind_changes_no_count(
        lane, uploads, summary, settled, sentinels, topic, until, quiet):
    p = lane(redis_address=sentinels.addresses,
             redis_more="mode = sentinel\nsentinel_master = sluice", **BRISK)
    with Traffic(uploads) as traffic:
        traffic.wait(60)
        sentinels.wait_in_step()
        old = sentinels.master()
        new, = sentinels.replicas_of(old)
        new.stop_following()
        until(lambda: finals(summary), 60, "a window that closes meanwhile")
        traffic.wait(30)
        before = finals(summary)
        assert applied(new, topic) < applied(old, topic)
        old.kill()
        p.wait_log("msg=stalled")
        sentinels.wait_promoted(new)
        traffic.wait(120)
        unmoved(before, summary)
    settled()
    assert p.alive()


def test_slots_that_move_under_work_change_no_count(
        lane, uploads, summary, settled, cluster, topic, quiet):
    """Key by key, so that a partition's state is torn for a while."""
    p = lane(redis_address=cluster.addresses, redis_more="mode = cluster",
             **BRISK)
    with Traffic(uploads) as traffic:
        traffic.wait(60)
        for partition in range(4):
            key = "sluice:{%s/%s:%d}:progress" % (topic, topic, partition)
            slot, source = cluster.slot(key), cluster.master(key)
            target = next(m for m in cluster.masters() if m is not source)
            cluster.begin_move(slot, source, target)
            while cluster.move_keys(slot, source, target, 1):
                traffic.wait(3)
            traffic.wait(10)
            cluster.end_move(slot, source, target)
            traffic.wait(30)
            assert cluster.master(key) is target
    settled()
    assert "Redis lost" not in p.read_log()


@pytest.mark.full
def test_a_master_of_the_cluster_replaced_by_a_replica_behind_it(
        lane, uploads, summary, settled, cluster, topic, quiet):
    lane(redis_address=cluster.addresses, redis_more="mode = cluster",
         **BRISK)
    with Traffic(uploads) as traffic:
        traffic.wait(60)
        old = cluster.master("sluice:{%s/%s:0}:progress" % (topic, topic))
        new, = cluster.replicas_of(old)
        new.stop_following()
        traffic.wait(240)
        before = finals(summary)
        assert applied(new, topic) < applied(old, topic)
        old.kill()
        cluster.wait_promoted(new)
        traffic.wait(60)
        unmoved(before, summary)
    settled()
