"""Each error Redis answers with, and answers that come too late."""

import os
import threading

import pytest

from redis_fake import Fake
from stack.redis import Redis


@pytest.fixture
def driver(drivers):
    def start(server, timeout_ms=3000, *more):
        return drivers("redis", server.address,
                       getattr(server, "user", ""),
                       getattr(server, "password_file", ""), timeout_ms, *more)
    return start


@pytest.fixture
def fake():
    def start(answer):
        started.append(Fake(answer))
        return started[-1]
    started = []
    yield start
    for f in started:
        f.close()


@pytest.fixture
def another(place_of):
    """A Redis of the test's own."""
    def start(more="", launch=False):
        r = Redis(os.path.join(place_of, "redis-%d" % len(started)), more)
        started.append(r)
        r.launch() if launch else r.start()
        return r
    started = []
    yield start
    for r in started:
        r.thaw()
        r.kill()


def test_loading_is_waited_out(driver, another, until):
    r = another("appendonly no\nkey-load-delay 1000\n"
                "loading-process-events-interval-bytes 1024")
    c = r.client()
    for i in range(2000):
        c.set("sluice:%d" % i, "x" * 100)
    c.save()
    r.kill()
    r.launch()
    d = driver(r)
    rc, text = until(lambda: (lambda a: a if "refused" not in a[1].lower()
                              else None)(d.ask("do", "EXISTS", "sluice:1")))
    assert rc == "retry" and "LOADING" in text
    until(lambda: d.ask("do", "EXISTS", "sluice:1") == ("ok", "1"), 30)


def test_busy_is_waited_out(driver, redis, until):
    c = redis.client()
    c.config_set("busy-reply-threshold", 50)
    d = driver(redis)
    assert d.ask("do", "PING")[0] == "ok"
    try:
        t = threading.Thread(target=_forever, args=(redis,))
        t.start()
        rc, text = until(lambda: (lambda a: a if a[0] != "ok" else None)(
            d.ask("do", "EXISTS", "sluice:b")))
        assert rc == "retry" and "BUSY" in text
    finally:
        until(lambda: _killed(redis))
        t.join()
        c.config_set("busy-reply-threshold", 5000)
    assert d.ask("do", "EXISTS", "sluice:b") == ("ok", "0")


def _forever(redis):
    try:
        redis.client().eval("while true do end", 0)
    except Exception:                                # noqa: it was killed
        pass


def _killed(redis):
    import redis as lib
    try:
        redis.client().script_kill()
        return True
    except lib.RedisError as e:
        return "NOTBUSY" in str(e)


@pytest.mark.parametrize("setting, value, word", [
    ("maxmemory", "1", "OOM"), ("min-replicas-to-write", "1", "NOREPLICAS")])
def test_a_write_that_is_refused_is_tried_again(driver, redis, setting, value,
                                                word):
    c = redis.client()
    before = c.config_get(setting)[setting]
    d = driver(redis)
    c.config_set(setting, value)
    try:
        rc, text = d.ask("do", "SET", "sluice:w", "1")
        assert rc == "retry" and word in text
        assert d.ask("do", "EXISTS", "sluice:w") == ("ok", "0")
    finally:
        c.config_set(setting, before)
    assert d.ask("do", "SET", "sluice:w", "1")[0] == "ok"
    assert d.ask("do", "DEL", "sluice:w") == ("ok", "1")


def test_a_replica_refuses_writes_until_it_is_promoted(driver, another,
                                                       until):
    r = another("replicaof 127.0.0.1 1")
    d = driver(r)
    rc, text = d.ask("do", "SET", "sluice:r", "1")
    assert rc == "retry" and "READONLY" in text
    r.client().execute_command("REPLICAOF", "NO", "ONE")
    assert d.ask("do", "SET", "sluice:r", "1")[0] == "ok"


def test_a_replica_without_its_master_is_left(driver, another, until):
    r = another("replicaof 127.0.0.1 1\nreplica-serve-stale-data no",
                launch=True)
    until(lambda: r.command_line("PING").startswith(b"-MASTERDOWN"))
    rc, text = driver(r).ask("do", "EXISTS", "sluice:r")
    assert rc == "retry" and "MASTERDOWN" in text


def test_a_wrapped_readonly_of_older_servers_drops_the_connection(driver,
                                                                  fake):
    """Redis 6 puts the error of a script's command into one of its own."""
    connections = []

    def answer(words):
        connections.append(words)
        return (b"-ERR Error running script (call to f_0): @user_script:1: "
                b"-READONLY You can't write against a read only replica.\r\n"
                if words[0] == "EVALSHA" else b"+OK\r\n")
    f = fake(answer)
    d = driver(f, 3000, "db=3")
    for _ in range(2):
        rc, text = d.ask("script", "sluice:k", "1")
        assert rc == "retry" and "READONLY" in text
    assert [w[0] for w in connections] == ["SELECT", "EVALSHA"] * 2


def test_a_node_of_a_cluster_tells_that_it_is_one(driver, fake):
    d = driver(fake(lambda words: b"-MOVED 1 127.0.0.1:1\r\n"))
    rc, text = d.ask("do", "GET", "sluice:k")
    assert rc == "retry" and "mode = cluster" in text


def test_an_answer_that_comes_too_late_is_never_read(driver, redis, until):
    c = redis.client()
    c.hset("sluice:l", mapping={"a": "first", "b": "second"})
    d = driver(redis, 500)
    assert d.ask("do", "HGET", "sluice:l", "a") == ("ok", "'first'")
    redis.freeze()
    try:
        rc, text = d.ask("do", "HGET", "sluice:l", "a", timeout=20)
        assert rc == "retry" and "no answer in time" in text
    finally:
        redis.thaw()
    # Any first answer but that of the second question would be the late one.
    answer = until(lambda: (lambda a: a if a[0] == "ok" else None)(
        d.ask("do", "HGET", "sluice:l", "b")))
    assert answer == ("ok", "'second'")
    for _ in range(3):
        assert d.ask("do", "HGET", "sluice:l", "b") == ("ok", "'second'")
    c.delete("sluice:l")


def test_half_an_answer_is_given_up_with_its_connection(driver, fake,
                                                        until):
    first = threading.Event()

    def answer(words):
        if not first.is_set():
            first.set()
            return b"$100\r\nhalf of"
        return b"$5\r\nwhole\r\n"
    d = driver(fake(answer), 300)
    rc, text = d.ask("do", "GET", "sluice:k")
    assert rc == "retry" and "no answer in time" in text
    until(lambda: d.ask("do", "GET", "sluice:k") == ("ok", "'whole'"))


def test_two_answers_to_one_question_drop_the_connection(driver, fake):
    first = threading.Event()

    def answer(words):
        if not first.is_set():
            first.set()
            return b"+one\r\n+two\r\n"
        return b"+three\r\n"
    d = driver(fake(answer))
    rc, text = d.ask("do", "GET", "sluice:k")
    assert rc == "retry" and "more than it was asked" in text
    assert d.ask("do", "GET", "sluice:k") == ("ok", "'three'")


@pytest.mark.parametrize("wrong", [b"?what\r\n", b"$-7\r\n",
                                   b"*99999999999\r\n", b"", b":12"])
def test_what_is_no_reply_is_an_error_and_no_more(driver, fake, wrong,
                                                  until):
    first = threading.Event()

    def answer(words):
        if not first.is_set():
            first.set()
            return wrong or None
        return b"+fine\r\n"
    d = driver(fake(answer), 300)
    assert d.ask("do", "GET", "sluice:k")[0] == "retry"
    until(lambda: d.ask("do", "GET", "sluice:k") == ("ok", "'fine'"))


@pytest.mark.parametrize("more, word", [
    (["mode=0"], "several"), (["mode=1"], "sentinel_master"),
    (["mode=2", "db=1"], "db"), (["mode=2", "tls_cert=/x"], "tls_key")])
def test_settings_that_contradict_each_other_are_refused(driver, more, word):
    class Somewhere:
        address = "a:1, b:2"
    rc, text = driver(Somewhere(), 1000, *more).ask("check")
    assert rc == "reject" and word in text
