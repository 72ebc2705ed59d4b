"""Reload, upgrade and quit under load: no accepted file is lost.

What clients were told is compared with the log, read back by ce_id.
"""

import os
import signal

import pytest

from stack.daemon import Daemon
from upload_forms import post, form, part, png
from upload_load import Load

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout 6s;
}
"""
MAIN = "worker_shutdown_timeout 20s;"
FIRST = form(part(png(500, 10 ** 9), filename="first.png"))


@pytest.fixture
def front(nginx, topic):
    n = nginx(SERVER, http=HTTP, main=MAIN, workers=2)
    assert post(n, FIRST).status == 202
    return n


@pytest.fixture
def daemon(services, values, topic, place_of):
    n = Daemon(os.path.join(place_of, "daemon"), SERVER, http=HTTP, main=MAIN,
               workers=2, values=values)
    services.append(n)
    n.start()
    assert post(n, FIRST).status == 202
    return n


@pytest.fixture
def frozen(kafka):
    """kafka, thawed again whatever happens."""
    yield kafka
    kafka.thaw()


def stored(kafka, topic):
    return [r for r in kafka.records(topic, 60)
            if r.headers["ce_subject"] != "first.png"]


def more(load, until, n=20):
    seen = load.answered()
    until(lambda: load.answered() >= seen + n, 90, "answers")


def no_worker_is_left(n, until):
    until(lambda: not n.workers(leaving=True), 40, "end of old workers")
    assert "[alert]" not in n.errors()
    assert "open socket" not in n.errors()


def reload_often(n, load, until, times, pause=None):
    for _ in range(times):
        more(load, until)
        n.reload()
        if pause:
            load.ended.wait(pause)


def test_four_reloads_under_load_lose_nothing(front, kafka, topic, until):
    load = Load(front, slow=2)
    reload_often(front, load, until, 4)
    more(load, until)
    load.stop()
    assert not load.errors, load.errors[:5]
    no_worker_is_left(front, until)
    states = load.check(stored(kafka, topic))
    assert set(states) == {"accepted"}


@pytest.mark.full
def test_twenty_reloads_in_a_minute_lose_nothing(front, kafka, topic, until):
    load = Load(front, number=16, slow=4)
    reload_often(front, load, until, 20, pause=3)
    load.stop()
    assert not load.errors, load.errors[:5]
    no_worker_is_left(front, until)
    states = load.check(stored(kafka, topic))
    assert set(states) == {"accepted"}


def test_reloads_while_the_brokers_are_frozen_lose_nothing(
        front, frozen, topic, until):
    load = Load(front, slow=2)
    more(load, until)
    frozen.freeze()
    for _ in range(3):
        seen = load.statuses[503]
        front.reload()
        until(lambda: load.statuses[503] > seen, 60)
    frozen.thaw()
    seen = load.statuses[202]
    until(lambda: load.statuses[202] >= seen + 20, 60)
    load.stop()
    assert not load.errors, load.errors[:5]
    no_worker_is_left(front, until)
    load.check(stored(frozen, topic))


def test_an_upgrade_on_the_fly_under_load_loses_nothing(
        daemon, kafka, topic, until):
    load = Load(daemon, slow=2)
    for _ in range(2):
        more(load, until)
        before = daemon.pid
        assert daemon.upgrade() == 0
        assert daemon.pid != before
        more(load, until)
    load.stop()
    assert not load.errors, load.errors[:5]
    no_worker_is_left(daemon, until)
    states = load.check(stored(kafka, topic))
    assert set(states) == {"accepted"}


@pytest.mark.parametrize("end", ["QUIT", "TERM", "KILL"])
def test_an_end_under_load_loses_nothing_accepted(front, kafka, topic, until,
                                                  end):
    """TERM and KILL cut clients off, which then know nothing."""
    load = Load(front, slow=2)
    more(load, until)
    if end == "QUIT":
        assert front.quit() == 0
    elif end == "TERM":
        front.signal(signal.SIGTERM)
        front.process.wait(30)
    else:
        for pid in front.workers():
            os.kill(pid, signal.SIGKILL)
        more(load, until)
    load.stop()
    if end == "QUIT":
        # the listening socket closes: only who had not been let in is refused
        assert all("refused" in e.lower() or "reset" in e.lower()
                   for e in load.errors), load.errors[:5]
    states = load.check(stored(kafka, topic))
    assert states["accepted"] > 20
