"""A processor on the session's services, with windows that tests can wait for.

uploads      writes records to the test's topic
summary      its rows
ini(...)     a configuration; keywords add to or change [processor]
lane(...)    a started processor of that configuration
settled(...) waits until every row is final and equals the log's truth
drivers(...) a started io_driver, with its arguments
"""

import os

import pytest

from io_driver import Driver
from uploads import LATENESS_MS, WINDOW_MS, Summary, Uploads, truth


@pytest.fixture
def drivers(place_of):
    def start(*arguments):
        started.append(Driver(place_of, *arguments))
        return started[-1]
    started = []
    yield start
    for d in started:
        d.end()


@pytest.fixture
def uploads(kafka, topic):
    return Uploads(kafka, topic)


@pytest.fixture
def summary(dsn, topic):
    s = Summary(dsn, topic)
    yield s
    s.close()


@pytest.fixture
def ini(kafka, redis, dsn, topic, place_of):
    store = os.path.join(place_of, "store")
    os.makedirs(store, exist_ok=True)

    def text(kafka_more="", redis_address=None, postgres=None, redis_more="",
             **processor):
        settings = {
            "topic": topic, "window": "%dms" % WINDOW_MS,
            "allowed_lateness": "%dms" % LATENESS_MS,
            "flush_interval": "100ms", "poll": "50ms",
            "assemble_lanes": 0, "spool": os.path.join(place_of, "spool"),
        }
        settings.update(processor)
        return "\n".join(
            ["[processor]"] + ["%s = %s" % s for s in settings.items()]
            + ["[kafka]", "bootstrap.servers = " + kafka.bootstrap,
               "group.id = " + topic, "session.timeout.ms = 6000",
               "heartbeat.interval.ms = 500", kafka_more,
               "[redis]", "address = " + (redis_address or redis.address),
               "username = " + redis.user,
               "password_file = " + redis.password_file, "timeout = 2s", redis_more,
               "[postgres]", "dsn = " + (postgres or dsn), "timeout = 5s",
               "[store.file]", "path = " + store, ""])

    text.store = store
    text.spool = os.path.join(place_of, "spool")
    return text


@pytest.fixture
def lane(processor, ini):
    """start=False leaves it to the test to start."""
    def start(start=True, **settings):
        p = processor(ini(**settings), start=False)
        p.store = ini.store
        if start:
            p.start()
            p.wait_log("msg=taken")
        return p
    return start


@pytest.fixture
def settled(kafka, topic, summary, until):
    def wait(timeout=60, skip=()):
        want = truth(kafka, topic, WINDOW_MS, skip)
        until(lambda: summary.counts(final=True) == want, timeout,
              "final rows that equal the log")
        assert summary.counts() == want
        return summary.rows()
    return wait
