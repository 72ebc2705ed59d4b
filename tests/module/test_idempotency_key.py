"""Idempotency-Key: from the request into the records."""

import pytest

from upload_forms import form, head, part, png, post, send

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
}
location = /events {
    sluice_produce main topic=@TOPIC@ split=lines;
}
"""
KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def keys(kafka, topic):
    return [r.headers.get("ce_idempotencykey") for r in kafka.records(topic)]


@pytest.mark.parametrize("sent", ['"%s"' % KEY, KEY, '"%s";v=1' % KEY],
                         ids=["quoted", "bare", "parameter"])
def test_all_files_of_a_form_carry_the_key(front, kafka, topic, sent):
    body = form(part(png(100, 1)), part(png(100, 2)))
    assert post(front, body, Idempotency_Key=sent).status == 202
    assert keys(kafka, topic) == [KEY, KEY]


def test_all_events_of_a_body_carry_the_key(front, kafka, topic):
    body = b'{"a":1}\n{"a":2}\n'
    raw = head(body, path="/events", kind="application/x-ndjson",
               Idempotency_Key=KEY) + body
    assert send(front, raw).status == 202
    assert keys(kafka, topic) == [KEY, KEY]


def test_without_a_key_there_is_no_header(front, kafka, topic):
    assert post(front, form(part(png(100)))).status == 202
    assert keys(kafka, topic) == [None]


def refused(reply):
    assert reply.status == 400, reply.body
    assert reply.json()["type"] == "urn:sluice:problem:idempotency-key"


@pytest.mark.parametrize("sent", [
    '""', '"open', "two words", "a,b", "k" * 256, "k\xe4se",
    "%s\r\nIdempotency-Key: %s" % (KEY, KEY)],
    ids=["empty", "open", "words", "list", "256", "utf-8", "twice"])
def test_a_bad_key_is_400(front, kafka, topic, sent):
    body = form(part(png(100)))
    refused(send(front, head(body, Idempotency_Key=sent) + body))
    assert kafka.records(topic) == []


def test_a_bad_key_is_refused_before_the_body(front):
    refused(send(front, head(b"x" * 100, Idempotency_Key="a b",
                             Expect="100-continue")))
