"""What the brokers say of a topic, and what follows from it."""

import os

import pytest

from upload_forms import form, part, png, post
from upload_rights import Guarded

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
    %s
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout 10s;
}
"""


def small(kafka, topic, limit=300000):
    return kafka.create_topic(topic + "-small",
                              config={"max.message.bytes": limit})


def many(front, count, size, rounds):
    """The states of rounds forms with count files each."""
    states = []
    for n in range(rounds):
        reply = post(front, form(*[part(png(size, n * count + i))
                                   for i in range(count)]))
        assert reply.status == 202, reply.body
        states += [state for _, state in reply.states()]
    return states


def test_batches_are_no_larger_than_the_topic_takes(nginx, kafka, topic):
    """librdkafka would put ten of these files into one batch."""
    name = small(kafka, topic)
    front = nginx(SERVER, http=HTTP % "linger.ms 50;",
                  values={"TOPIC": name})
    front.wait_error_log("batch.size lowered")
    assert many(front, 20, 100000, 3) == ["accepted"] * 60
    assert len(kafka.records(name)) == 60
    assert "to=300000" in front.errors()
    assert "delivery failed" not in front.errors()


def test_files_before_the_limit_is_known_are_not_too_large(nginx, kafka,
                                                           topic):
    """Without the right to ask it never is: they go again, one by one."""
    name = small(kafka, topic)
    front = nginx(SERVER, http=HTTP % "linger.ms 50;",
                  values={"TOPIC": name})
    assert many(front, 20, 100000, 3) == ["accepted"] * 60
    assert len(kafka.records(name)) == 60


def test_a_file_larger_than_the_topic_takes_is_too_large(nginx, kafka, topic):
    name = small(kafka, topic, 150000)
    front = nginx(SERVER, http=HTTP % "", values={"TOPIC": name})
    reply = post(front, form(part(png(1000), filename="a"),
                             part(png(200000), filename="b"),
                             part(png(2000), filename="c")))
    assert reply.states() == [("a", "accepted"), ("b", "too_large"),
                              ("c", "accepted")]


@pytest.fixture
def guarded(place_of):
    k = Guarded(os.path.join(place_of, "kafka")).start()
    yield k
    k.stop()


def test_without_the_right_to_ask_uploads_go_on(nginx, guarded, until):
    guarded.create_topic("uploads", config={"max.message.bytes": 300000})
    guarded.deny_describing()
    front = nginx(SERVER, http=HTTP % "linger.ms 50;",
                  values={"KAFKA": guarded.bootstrap, "TOPIC": "uploads"})
    front.wait_error_log("a topic's settings can't be read")
    assert many(front, 20, 100000, 3) == ["accepted"] * 60
    assert len(guarded.records("uploads")) == 60
    assert "to=65536" in front.errors()


def test_a_topic_that_is_not_safe_is_warned_of_once(nginx, kafka, topic):
    front = nginx(SERVER, http=HTTP % "", workers=2)
    front.wait_error_log("topic is not safe")
    line, = [x for x in front.errors().split("\n") if "is not safe" in x]
    assert "[warn]" in line
    assert "topic=%s " % topic in line
    assert "min.insync.replicas=1" in line


def test_a_missing_topic_is_warned_of_and_found_when_it_comes(nginx, kafka,
                                                              topic, until):
    name = topic + "-new"
    front = nginx(SERVER, http=HTTP % "", values={"TOPIC": name})
    front.wait_error_log("UNKNOWN_TOPIC_OR_PART")
    assert post(front, form(part(png(100)))).status == 503
    kafka.create_topic(name, config={"max.message.bytes": 200000})
    front.wait_error_log("batch.size lowered")
    until(lambda: post(front, form(part(png(100)))).status == 202, 30)
