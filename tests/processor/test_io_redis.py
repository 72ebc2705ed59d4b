"""processor/io/redis.c against a real server."""

import pytest



@pytest.fixture
def driver(redis, drivers):
    def start(address=None, user=None, password_file=None, timeout_ms=2000):
        return drivers("redis", address or redis.address,
                       redis.user if user is None else user,
                       redis.password_file if password_file is None
                       else password_file, timeout_ms)
    return start


def test_replies_keep_their_kinds(driver):
    d = driver()
    assert d.ask("do", "PING") == ("ok", "'PONG'")
    assert d.ask("do", "HSET", "sluice:t1", "a", "1") == ("ok", "1")
    assert d.ask("do", "HMGET", "sluice:t1", "a", "b") == ("ok", "['1',nil]")
    assert d.ask("do", "DEL", "sluice:t1") == ("ok", "1")
    assert d.ask("script", "sluice:k", "arg") \
        == ("ok", "['sluice:k','arg',7,nil,[1,['x']],[]]")


def test_script_is_loaded_again_after_redis_forgot_it(driver, redis):
    d = driver()
    assert d.ask("script", "sluice:k", "1")[0] == "ok"
    redis.client().script_flush()
    assert d.ask("script", "sluice:k", "2")[0] == "ok"


def test_connection_comes_back_after_a_restart(driver, redis):
    d = driver()
    assert d.ask("script", "sluice:k", "1")[0] == "ok"
    redis.stop()
    try:
        rc, text = d.ask("do", "PING")
        assert rc == "retry" and redis.address in text
        rc, text = d.ask("do", "PING")
        assert rc == "retry" and "refused" in text.lower()
    finally:
        redis.start()
    assert d.ask("script", "sluice:k", "1")[0] == "ok"


def test_frozen_server_is_given_up_in_time(driver, redis, until):
    d = driver(timeout_ms=500)
    assert d.ask("do", "PING")[0] == "ok"
    redis.freeze()
    try:
        rc, text = d.ask("do", "PING", timeout=20)
        assert rc == "retry" and "no answer in time" in text
        # Left alone for as long as it let us wait, so that others get turns.
        rc, text = d.ask("do", "PING")
        assert rc == "retry" and "a moment ago" in text
    finally:
        redis.thaw()
    until(lambda: d.ask("do", "PING") == ("ok", "'PONG'"))


def test_idle_connection_that_was_cut_is_replaced(driver, redis):
    d = driver()
    assert d.ask("do", "PING")[0] == "ok"
    client = redis.client()
    for c in client.client_list():
        if c["user"] == redis.user:
            client.client_kill(c["addr"])
    assert d.ask("do", "PING")[0] == "retry"
    assert d.ask("do", "PING")[0] == "ok"


def test_error_replies_are_retried_with_their_text(driver):
    d = driver()
    rc, text = d.ask("do", "SET", "others:x", "1")
    assert rc == "retry" and "NOPERM" in text
    assert d.ask("do", "SET", "sluice:t2", "x")[0] == "ok"
    rc, text = d.ask("do", "HGET", "sluice:t2", "f")
    assert rc == "retry" and "WRONGTYPE" in text
    assert d.ask("do", "DEL", "sluice:t2") == ("ok", "1")


def test_wrong_password_and_missing_file_are_told(driver, place_of):
    with open(place_of + "/wrong", "w") as f:
        f.write("wrong\n")
    rc, text = driver(password_file=place_of + "/wrong").ask("do", "PING")
    assert rc == "retry" and "WRONGPASS" in text and "wrong\n" not in text
    rc, text = driver(password_file="/nowhere/pw").ask("do", "PING")
    assert rc == "retry" and "/nowhere/pw" in text


@pytest.mark.parametrize("address", ["localhost", "a:b:1", "[::1", "h:0",
                                     "h:99999", ":1", "[]:1"])
def test_malformed_address_is_refused(driver, address):
    rc, text = driver(address=address).ask("do", "PING")
    assert rc == "reject" and address in text


def test_unix_socket_and_v6_addresses_are_understood(driver):
    assert driver(address="unix:/nowhere/redis.sock").ask("do", "PING")[0] \
        == "retry"
    assert driver(address="[::1]:1").ask("do", "PING")[0] == "retry"


def test_probe_wants_noeviction(driver, redis):
    d = driver()
    rc, text = d.ask("probe", "sluice:")
    assert rc == "ok" and text.startswith(
        "standalone; master %s, " % redis.address)
    assert "noeviction, AOF on, 0 replica(s)" in text
    client = redis.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        rc, text = d.ask("probe", "sluice:")
        assert rc == "reject" and "allkeys-lru" in text
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    rc, text = d.ask("probe", "others:")
    assert rc == "retry" and ("NOPERM" in text or "permission" in text.lower()
                              or "can't access" in text)
