"""processor/io/redis_cluster.c against three masters, each with a replica."""

import os
import random

import pytest

from redis_fake import Fake
from stack.redis import Cluster


@pytest.fixture(scope="module")
def cluster(ground):
    c = Cluster(os.path.join(ground, "cluster"))
    yield c.start()
    c.stop()


@pytest.fixture
def driver(cluster, drivers):
    def start(address=None, timeout_ms=2000, mode=2):
        return drivers("redis", address or cluster.addresses,
                       cluster.user, cluster.password_file, timeout_ms,
                       "mode=%d" % mode)
    return start


def keys_of_two_masters(cluster):
    """A tag whose slot the first master has, and one of the last."""
    first, *_, last = cluster.servers[:3]
    tags = ["{sluice/uploads:%d}" % i for i in range(200)]
    found = []
    for server in (first, last):
        found.append(next(t for t in tags
                          if cluster.master(t).port == server.port))
    return ["sluice:%s:k" % t for t in found]


def test_slots_are_those_redis_computes(cluster, driver):
    chance = random.Random(5)
    letters = "{}ab:/é\x01 "
    keys = ["", "{}", "{}x", "x{", "{{a}}", "a{b}{c}", "}{a}",
            "sluice:{sluice/uploads:3}:progress"]
    keys += ["".join(chance.choice(letters)
                     for _ in range(chance.randrange(1, 30)))
             for _ in range(300)]
    d = driver()
    for key in keys:
        if key:
            assert d.ask("slot", key) == ("ok", str(cluster.slot(key))), key


def test_each_key_goes_to_the_master_of_its_slot(cluster, driver):
    d = driver()
    for key in keys_of_two_masters(cluster):
        assert d.ask("do", "HSET", key, "f", "1")[0] == "ok"
        assert d.ask("script", key, "arg")[0] == "ok"
        assert cluster.master(key).client().hget(key, "f") == "1"
    rc, text = d.ask("probe", "sluice:")
    assert rc == "ok" and text.startswith("cluster; ")
    assert text.count("; master 127.0.0.1:") == 3


def test_the_policy_of_every_master_is_looked_at(cluster, driver):
    last = cluster.master(keys_of_two_masters(cluster)[1])
    last.client().config_set("maxmemory-policy", "allkeys-lru")
    try:
        rc, text = driver().ask("probe", "sluice:")
        assert rc == "reject" and last.address in text
    finally:
        last.client().config_set("maxmemory-policy", "noeviction")


def test_a_node_away_is_none_to_begin_with(cluster, driver):
    d = driver("127.0.0.1:1," + cluster.servers[2].address)
    for key in keys_of_two_masters(cluster):
        assert d.ask("do", "HSET", key, "f", "1")[0] == "ok"
    rc, text = driver("127.0.0.1:1,127.0.0.1:2").ask("do", "EXISTS", "k")
    assert rc == "retry" and "127.0.0.1:2" in text


def test_a_slot_that_moves_is_followed_key_by_key(cluster, driver):
    """ASK while it is on its way, TRYAGAIN while it is torn, MOVED after."""
    key, other = keys_of_two_masters(cluster)
    source, target = cluster.master(key), cluster.master(other)
    slot, second = cluster.slot(key), key + "2"
    d = driver()
    for k in (key, second):
        assert d.ask("do", "HSET", k, "f", k)[0] == "ok"
    cluster.begin_move(slot, source, target)
    assert d.ask("get2", key, second) == ("ok", "['%s','%s']" % (key, second))
    assert cluster.move_keys(slot, source, target, 1) == 1
    rc, text = d.ask("get2", key, second)
    assert rc == "retry" and "TRYAGAIN" in text
    assert d.ask("do", "HGET", key, "f") == ("ok", "'%s'" % key)
    assert d.ask("do", "HGET", second, "f") == ("ok", "'%s'" % second)
    while cluster.move_keys(slot, source, target):
        pass
    # A script of its own, which the target has not seen: NOSCRIPT after ASK.
    target.client().script_flush()
    assert d.ask("get2", key, second) == ("ok", "['%s','%s']" % (key, second))
    cluster.end_move(slot, source, target)
    fresh = driver()
    for k in (d, fresh):
        assert k.ask("get2", key, second) == (
            "ok", "['%s','%s']" % (key, second))
        assert k.ask("do", "HSET", key, "f", key) == ("ok", "0")
    assert target.client().hget(key, "f") == key


def test_a_slot_nobody_has_is_waited_for(cluster, driver, until):
    key = keys_of_two_masters(cluster)[1]
    owner, slot = cluster.master(key), cluster.slot(key)
    d = driver()
    assert d.ask("do", "HSET", key, "f", "1")[0] == "ok"
    for s in cluster.servers:
        if s.role() == "master":
            s.client().execute_command("CLUSTER", "DELSLOTS", slot)
    rc, text = d.ask("do", "HGET", key, "f")
    assert rc == "retry" and "CLUSTERDOWN" in text
    rc, text = d.ask("do", "HGET", key, "f")
    assert rc == "retry" and ("CLUSTERDOWN" in text or str(slot) in text)
    owner.client().execute_command("CLUSTER", "ADDSLOTS", slot)
    until(lambda: d.ask("do", "HGET", key, "f") == ("ok", "'1'"))
    until(cluster.whole)


def test_redirects_in_a_circle_come_to_an_end(driver):
    def answer(words):
        if words[0] == "CLUSTER":
            return ("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n"
                    ":%d\r\n" % one.port).encode()
        if words[0] in ("AUTH", "ASKING"):
            return b"+OK\r\n"
        asked.append(words)
        return ("-MOVED 1 127.0.0.1:%d\r\n"
                % (one if len(asked) % 2 else two).port).encode()
    asked = []
    one, two = Fake(answer), Fake(answer)
    rc, text = driver(one.address).ask("do", "GET", "k")
    assert rc == "retry" and "MOVED" in text
    assert 2 < len(asked) < 12
    one.close()
    two.close()


@pytest.mark.parametrize("text", [
    "MOVED", "MOVED 1", "MOVED 16384 127.0.0.1:1", "MOVED x 127.0.0.1:1",
    "MOVED 1 127.0.0.1", "MOVED 1 127.0.0.1:0", "ASK 1 127.0.0.1:99999",
    "MOVED -1 127.0.0.1:1"])
def test_a_redirect_to_nowhere_is_an_error(driver, text):
    def answer(words):
        if words[0] == "CLUSTER":
            # An empty host: the one that was asked.
            return ("*2\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\nx\r\n:1\r\n"
                    "*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n"
                    % fake.port).encode()
        return ("-%s\r\n" % text).encode() if words[0] == "GET" else b"+OK\r\n"
    fake = Fake(answer)
    rc, said = driver(fake.address).ask("do", "GET", "k")
    assert rc == "retry" and text in said
    fake.close()


def test_an_empty_host_is_the_one_that_was_asked(driver):
    def answer(words):
        if words[0] == "CLUSTER":
            return ("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:%d\r\n"
                    % one.port).encode()
        if words[0] == "GET":
            return ("-MOVED 3 :%d\r\n" % two.port).encode()
        return b"+OK\r\n"
    one, two = Fake(answer), Fake(lambda words: b"+here\r\n")
    assert driver(one.address).ask("do", "GET", "k") == ("ok", "'here'")
    one.close()
    two.close()


def test_a_master_that_dies_is_replaced_by_its_replica(cluster, driver,
                                                       until):
    key, other = keys_of_two_masters(cluster)
    d = driver()
    assert d.ask("do", "HSET", key, "f", "9")[0] == "ok"
    old = cluster.master(key)
    cluster.wait_in_step()
    new = cluster.replicas_of(old)[0]
    old.kill()
    assert d.ask("do", "HGET", key, "f")[0] == "retry"
    assert d.ask("do", "HSET", other, "f", "1")[0] in ("ok", "retry")
    until(lambda: d.ask("do", "HGET", key, "f") == ("ok", "'9'"), 60)
    assert new.role() == "master"
    old.start()
    until(cluster.whole, 60)
