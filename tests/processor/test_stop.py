"""A processor that is told to stop ends by itself, whatever else is away.

Its status tells whether it was in time: past its bound it ends with 1.
"""

import pytest

from stack import ports
from test_monitor import Monitor

PATIENT = dict(window="2s", allowed_lateness="60s", assemble_lanes=1)


@pytest.fixture
def away(kafka, redis, postgres):
    """Takes all three away, and brings them back after the test."""
    services = [kafka, redis, postgres]
    back = []

    def take(how):
        for s in services:
            if how == "frozen":
                back.append(s.thaw)
                s.freeze()
            else:
                back.append(s.start)
                s.kill()
    yield take
    for again in back:
        again()


@pytest.mark.parametrize("how", [
    "frozen", pytest.param("down", marks=pytest.mark.full)])
def test_a_stop_is_in_time_though_all_services_are_away(
        how, lane, uploads, away):
    """In the middle of a window, with four partitions that stall."""
    p = lane(**PATIENT)
    for i in range(200):
        uploads.send("file %d" % i, partition=i % 4)
    uploads.flush()
    away(how)
    p.wait_log("msg=stalled")
    assert p.stop() == 0, p.tail()


@pytest.mark.parametrize("how", [
    "frozen", pytest.param("down", marks=pytest.mark.full)])
def test_a_stop_is_in_time_though_no_service_was_ever_there(how, lane, away):
    p = lane(start=False, **PATIENT)
    away(how)
    p.start()
    p.wait_log("msg=starting")
    assert p.stop() == 0, p.tail()


@pytest.mark.parametrize("when", [
    pytest.param("taking", marks=pytest.mark.full), "working"])
def test_a_stop_ends_a_wait_that_is_longer_than_its_bound(
        when, processor, ini, uploads, topic, kafka, redis, postgres, until):
    """Timeouts of a minute; the lane is in the midst of one."""
    listen = "127.0.0.1:%d" % ports.free()
    text = ini(**PATIENT).replace("timeout = 2s", "timeout = 60s").replace(
        "timeout = 5s", "timeout = 60s")
    p = processor(text + "[http]\nlisten = %s\n" % listen, start=False)
    if when == "working":
        p.start()
        p.wait_log("msg=taken")
    redis.freeze()
    postgres.freeze()
    try:
        if when == "taking":
            p.start()
        uploads.send("one", partition=0)
        uploads.flush()
        until(lambda: Monitor(listen).value("lane_turn_seconds", topic=topic)
              > 2, what="a lane that waits")
        kafka.freeze()
        assert p.stop() == 0, p.tail()
    finally:
        for s in (kafka, redis, postgres):
            s.thaw()
