"""Events: a JSON or raw body through sluice_produce into Kafka."""

import json
import time

import pytest

from upload_forms import chunked, curl, head, murmur2, post, send

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /event  { sluice_produce main topic=@TOPIC@; %(more)s }
location = /lines  { sluice_produce main topic=@TOPIC@ split=lines; }
location = /array  { sluice_produce main topic=@TOPIC@ split=array; }
location = /keyed  { sluice_produce main topic=@TOPIC@ split=lines
                                    key=$arg_k; }
"""


@pytest.fixture
def front(nginx, topic):
    def start(more="", http="", **kw):
        return nginx(SERVER % {"more": more}, http=HTTP + http, **kw)
    return start


def event(front, body, path="/event", kind="application/json", **headers):
    return post(front, body, path=path, kind=kind, **headers)


def accepted(reply, n):
    assert reply.status == 202, (reply.status, reply.body)
    assert reply.headers["content-type"] == "application/json"
    got = reply.json()
    assert got["events"] == n and len(got["upload"]) == 36
    return got["upload"]


def test_a_body_is_one_event_byte_for_byte(front, kafka, topic):
    body = b'{"a": "\xc3\xa4",\r\n "b": [1, 2]}\n'
    f = front()
    before = time.time() * 1000 - 1
    upload = accepted(event(f, body), 1)
    after = time.time() * 1000 + 1

    (r,) = kafka.records(topic)
    assert r.value == body and r.key is None
    assert before <= r.timestamp <= after
    assert r.headers == {
        "ce_specversion": "1.0", "ce_type": "sluice.event",
        "ce_source": r.headers["ce_source"], "ce_id": upload + "/1",
        "ce_time": r.headers["ce_time"], "content-type": "application/json"}
    assert r.headers["ce_source"].endswith("/event")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S",
                          time.gmtime(r.timestamp // 1000))
    assert r.headers["ce_time"] == "%s.%03dZ" % (stamp, r.timestamp % 1000)
