"""processor/io/redis_sentinel.c against a master, a replica and sentinels."""

import os

import pytest

from stack.redis import Replicated, write_password

ACL = ("user default off\n"
       "user watcher on >redis-secret allchannels +ping +auth "
       "+sentinel|get-master-addr-by-name\n"
       "user tests on nopass ~* &* +@all\n")


@pytest.fixture(scope="module")
def group(ground):
    g = Replicated(os.path.join(ground, "sentinel-group"), sentinels=2,
                   quorum=1)
    yield g.start()
    g.stop()


@pytest.fixture
def driver(group, drivers):
    def start(address=None, *more):
        return drivers("redis", address or group.addresses, group.user,
                       group.password_file, 2000, "mode=1",
                       "sentinel_master=sluice", *more)
    return start


def test_the_master_is_found_though_the_first_sentinel_is_away(group, driver):
    d = driver("127.0.0.1:1," + group.addresses)
    assert d.ask("do", "HSET", "sluice:s", "f", "1")[0] == "ok"
    assert group.client().hget("sluice:s", "f") == "1"
    rc, text = d.ask("probe", "sluice:")
    assert rc == "ok" and text.startswith(
        "sentinel; master %s, " % group.master().address)
    assert "1 replica(s), no min-replicas-to-write" in text


def test_a_name_no_sentinel_knows_is_told(group, driver):
    rc, text = driver(None, "sentinel_master=other").ask("do", "PING")
    assert rc == "retry" and 'knows no master "other"' in text


def test_sentinels_that_are_all_away_are_told(driver):
    rc, text = driver("127.0.0.1:1,127.0.0.1:2").ask("do", "PING")
    assert rc == "retry" and "127.0.0.1:2" in text


def test_a_server_that_is_no_master_is_refused(group, driver, place_of):
    """A sentinel that hasn't heard of the failover yet."""
    from redis_fake import Fake
    port = str(group.replicas_of(group.master())[0].port)
    fake = Fake(lambda words: ("*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n"
                               % (len(port), port)).encode())
    rc, text = driver(fake.address).ask("do", "PING")
    assert rc == "retry" and "is not the master" in text
    assert driver(fake.address + "," + group.addresses).ask(
        "do", "PING") == ("ok", "'PONG'")
    fake.close()


def test_sentinels_may_have_a_user_of_their_own(group, driver, place_of,
                                                until):
    from stack.redis import Sentinel
    s = Sentinel(os.path.join(place_of, "sentinel"), group.master(), 9, ACL)
    s.start()
    try:
        rc, text = driver(s.address).ask("do", "PING")
        assert rc == "retry" and "NOAUTH" in text
        d = driver(s.address, "sentinel_username=watcher",
                   "sentinel_password_file=" + write_password(place_of))
        assert d.ask("do", "PING") == ("ok", "'PONG'")
    finally:
        s.kill()


def test_a_failover_in_order_is_followed(group, driver, until):
    group.wait_in_step()
    d = driver()
    assert d.ask("do", "HSET", "sluice:s", "f", "2")[0] == "ok"
    old = group.master()
    new = group.failover()
    # The old one takes writes for a moment longer; they are lost.
    until(lambda: d.ask("do", "HSET", "sluice:s", "f", "3")[0] == "ok"
          and new.client().hget("sluice:s", "f") == "3")
    until(lambda: old.role() == "slave")


def test_a_master_that_is_frozen_is_replaced(group, driver, until):
    until(lambda: len(group.replicas_of(group.master())) == 1)
    group.wait_in_step()
    d = driver()
    assert d.ask("do", "PING") == ("ok", "'PONG'")
    old = group.master()
    new = group.replicas_of(old)[0]
    old.freeze()
    try:
        group.wait_promoted(new)
        until(lambda: d.ask("do", "HSET", "sluice:s", "f", "4", timeout=60)[0]
              == "ok", 60)
        assert new.client().hget("sluice:s", "f") == "4"
    finally:
        old.thaw()
