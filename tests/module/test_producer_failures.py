"""A producer that librdkafka has given up is replaced; every accepted file is
in the log once, by whichever producer.
"""

import os
import re
import struct
import time

import pytest

from stack.kafka import Kafka
from upload_forms import form, part, png, post
from upload_load import Load
from upload_rights import Guarded

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=uploads;
    sluice_ack_timeout 6s;
}
"""
BODY = form(part(png(1000), filename="first.png"))


@pytest.fixture
def own(place_of):
    """own(class): a broker of the test's own."""
    started = []

    def start(kind=Kafka):
        k = kind(os.path.join(place_of, "kafka")).start()
        started.append(k)
        return k
    yield start
    for k in started:
        k.thaw()
        k.kill()


def front_of(nginx, kafka):
    return nginx(SERVER, http=HTTP, values={"KAFKA": kafka.bootstrap})


def replaced(front):
    return front.errors().count("kafka producer replaced")


def stored(kafka):
    return [r for r in kafka.records("uploads")
            if r.headers["ce_subject"] != "first.png"]


def works_again(load, until):
    seen = load.statuses[202]
    until(lambda: load.statuses[202] >= seen + 30, 90, "uploads to work")


def test_rights_taken_away_under_load_lose_and_repeat_nothing(
        nginx, own, until):
    """A producer that is at work is refused; one that begins is useless for
    good, and what it was given goes to the next."""
    kafka = own(Guarded)
    kafka.create_topic("uploads", 4)
    front = front_of(nginx, kafka)
    load = Load(front)
    until(lambda: load.statuses[202] >= 20, 60)

    kafka.deny_writing()
    seen = load.statuses[503]
    until(lambda: load.statuses[503] > seen, 60)
    front.reload()
    until(lambda: replaced(front), 60)
    kafka.allow_writing()
    works_again(load, until)

    load.stop()
    assert not load.errors, load.errors[:5]
    states = load.check(stored(kafka))
    assert states["accepted"] > 50
    assert "[alert]" not in front.errors()
    # librdkafka repeats it each second: the log would be full of it
    assert len(re.findall(r"\[(?:warn|notice)\].*facility=PARTCNT",
                          front.errors())) <= 4


def switches(pid):
    """How often the threads of a process have gone to sleep."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task)) as f:
            total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)",
                                   f.read()).group(1))
    return total


def test_brokers_that_are_away_are_asked_for_without_haste(nginx, own, until):
    """librdkafka tries to connect 1,400 times a second when it is asked for
    the controller of a cluster that refuses connections."""
    kafka = own()
    kafka.create_topic("uploads", 1)
    front = front_of(nginx, kafka)
    assert post(front, BODY).status == 202
    pid, = front.workers()

    kafka.kill()
    front.wait_error_log("no kafka broker answers")
    seconds, before = 4, switches(pid)
    time.sleep(seconds)                # what is measured, not waited for
    assert switches(pid) - before < 300 * seconds


def cut_off(kafka, topic, batches):
    """The last batches of partition 0 are gone, as by a loss of power."""
    directory = os.path.join(kafka.brokers[0].dir, "data", topic + "-0")
    path = os.path.join(directory, "0" * 20 + ".log")
    with open(path, "rb") as f:
        data = f.read()
    starts, at = [], 0
    while at + 12 <= len(data):
        offset, length = struct.unpack_from(">qi", data, at)
        if length <= 0:
            break
        starts.append((at, offset))
        at += 12 + length
    at, offset = starts[-batches]
    os.truncate(path, at)
    for name in os.listdir(directory):
        if name.endswith((".snapshot", "index")):
            os.unlink(os.path.join(directory, name))
    return offset


@pytest.mark.full
def test_a_broker_that_lost_the_end_of_its_log_is_met_by_a_new_producer(
        nginx, own, until):
    """Sequence numbers then have a gap, which is fatal to librdkafka."""
    kafka = own()
    kafka.create_topic("uploads", 1)
    front = front_of(nginx, kafka)
    for _ in range(10):
        assert post(front, BODY).status == 202
    kafka.kill()
    end = cut_off(kafka, "uploads", 3)
    kafka.start()
    assert kafka.end_offsets("uploads") == {0: end}

    load = Load(front)
    works_again(load, until)
    load.stop()
    assert not load.errors, load.errors[:5]
    load.check(stored(kafka))
    assert "code=OUT_OF_ORDER_SEQUENCE_NUMBER" in front.errors() \
        or "kafka producer replaced" in front.errors()


@pytest.mark.full
def test_a_topic_made_anew_under_load_is_written_to_again(nginx, own, until):
    kafka = own()
    kafka.create_topic("uploads", 4)
    front = front_of(nginx, kafka)
    load = Load(front)
    until(lambda: load.statuses[202] >= 20, 60)
    admin = kafka.admin()
    admin.delete_topics(["uploads"])["uploads"].result(30)
    until(lambda: load.statuses[503] > 0, 60)
    kafka.create_topic("uploads", 4)
    works_again(load, until)
    load.stop()
    assert not load.errors, load.errors[:5]

    # what was accepted before went with the old topic
    records = stored(kafka)
    ids = [r.headers["ce_id"] for r in records]
    assert len(ids) == len(set(ids)) > 0
    told = {e["id"]: e["status"] for e in load.told.values()}
    assert {told.get(i) for i in ids} <= {"accepted", "unknown"}
