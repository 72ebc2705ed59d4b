"""Events: JSON or raw bodies through sluice_produce into Kafka."""

import itertools
import json
import time

import pytest

from upload_forms import chunked, connect, curl, head, murmur2, post, \
    read_reply, send

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
map $arg_k $key { default $arg_k; none ""; }
"""
SERVER = """
%s
location = /event  { sluice_produce main topic=@TOPIC@; }
location = /lines  { sluice_produce main topic=@TOPIC@ split=lines; }
location = /array  { sluice_produce main split=array topic=@TOPIC@; }
location = /keyed  { sluice_produce main topic=@TOPIC@ key=$key
                                    split=lines; }
"""
JSON = "application/json"
ARRAY = b'[ {"a":"],["}, [1, {"b":[]}] ,\r\n"x\\"y", -1.5e3,null]\n'
ELEMENTS = [b'{"a":"],["}', b'[1, {"b":[]}]', b'"x\\"y"', b"-1.5e3", b"null"]


@pytest.fixture
def front(nginx, topic):
    def start(more="", http="", **kw):
        return nginx(SERVER % more, http=HTTP + http, **kw)
    return start


def event(front, body, path="/event", kind=JSON, **headers):
    return post(front, body, path=path, kind=kind, **headers)


def accepted(reply, n):
    assert reply.status == 202, (reply.status, reply.body)
    assert reply.headers["content-type"] == JSON
    got = reply.json()
    assert got == {"upload": got["upload"], "events": n}
    assert len(got["upload"]) == 36
    return got["upload"]


def problem(reply, status, slug, counts=None):
    assert reply.status == status, (reply.status, reply.body)
    assert reply.headers["content-type"] == "application/problem+json"
    got = reply.json()
    assert got["type"] == "urn:sluice:problem:" + slug
    if counts is not None:
        assert (got["accepted"], got["refused"], got["unknown"]) == counts
    return got.get("detail", "")


def by_number(records):
    """Values in the order that their requests had them."""
    return [r.value for r in sorted(records, key=lambda r: (
        r.headers["ce_id"].split("/")[0],
        int(r.headers["ce_id"].split("/")[1])))]


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
        "ce_time": r.headers["ce_time"], "content-type": JSON}
    assert r.headers["ce_source"].endswith("/event")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S",
                          time.gmtime(r.timestamp // 1000))
    assert r.headers["ce_time"] == "%s.%03dZ" % (stamp, r.timestamp % 1000)


def test_each_line_is_an_event_and_empty_ones_are_none(front, kafka, topic):
    f = front()
    body = b'\r\n{"n":1}\r\n\n{"n":2}\n \n\n{"n":"\rx"}'
    upload = accepted(event(f, body, "/lines", "Application/X-NDJSON"), 4)
    got = kafka.records(topic)
    assert by_number(got) == [b'{"n":1}', b'{"n":2}', b" ", b'{"n":"\rx"}']
    assert {r.headers["ce_id"] for r in got} \
        == {"%s/%d" % (upload, n) for n in (1, 2, 3, 4)}
    assert {r.headers["content-type"] for r in got} == {JSON}


def test_each_element_is_an_event(front, kafka, topic):
    accepted(event(front(), ARRAY, "/array", "text/whatever"), 5)
    got = kafka.records(topic)
    assert by_number(got) == ELEMENTS
    assert {r.headers["content-type"] for r in got} == {JSON}


def test_any_way_of_sending_gives_the_same_events(front, kafka, topic):
    f = front()
    lines = b'{"a":1}\r\n\r\n{"b":"\\n"}\n{"c":3}'
    bodies = [("/array", ARRAY, 5), ("/lines", lines, 3),
              ("/event", b"x" * 70000, 1)]
    for way, (path, body, n) in itertools.product(
            ["chunked", "pieces", "http2"], bodies):
        if way == "http2":
            status, got = curl(f, "-H", "Content-Type: text/x", h2=True,
                               body=body, path=path)
            assert (status, got["events"]) == (202, n)
        elif way == "chunked":
            raw = head(None, path, JSON, Transfer_Encoding="chunked")
            size = 9000 if n == 1 else 1
            accepted(send(f, raw + chunked(body, size)), n)
        else:
            with connect(f) as s:
                s.sendall(head(body, path, JSON))
                step = 30000 if n == 1 else 3
                for i in range(0, len(body), step):
                    s.sendall(body[i:i + step])
                accepted(read_reply(s), n)
    assert sorted(r.value for r in kafka.records(topic)) == sorted(3 * (
        ELEMENTS + [b'{"a":1}', b'{"b":"\\n"}', b'{"c":3}', b"x" * 70000]))


def test_the_content_type_is_the_requests_made_safe(front, kafka, topic):
    f = front()
    for kind in ["text/csv; charset=utf-8", "a/\xffb", "x/" + "y" * 400]:
        body = b"z\n"
        raw = head(body, "/lines", "KIND").replace(b"KIND",
                                                   kind.encode("latin-1"))
        accepted(send(f, raw + body), 1)
    accepted(send(f, b"POST /event HTTP/1.0\r\nContent-Length: 1\r\n\r\nz"),
             1)
    assert sorted(r.headers.get("content-type", "") for r
                  in kafka.records(topic)) == [
        "", "a/\ufffdb", "text/csv; charset=utf-8", "x/" + "y" * 253]


def test_the_key_chooses_the_partition_as_javas_clients_do(front, kafka,
                                                           topic):
    f = front()
    keys = ["user-%d" % n for n in range(8)]
    for key in keys:
        accepted(event(f, b"1\n2\n3", "/keyed?k=" + key), 3)
    accepted(event(f, b"4\n5", "/keyed?k=none"), 2)
    got = kafka.records(topic)
    for r in got:
        if r.key is not None:
            assert r.partition == murmur2(r.key) % 4
    for key in keys:
        assert [r.value for r in got if r.key == key.encode()] \
            == [b"1", b"2", b"3"]
    assert sorted(r.value for r in got if r.key is None) == [b"4", b"5"]


def test_records_carry_what_the_location_and_the_request_say(front, kafka,
                                                             topic):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    f = front("sluice_customer $http_x_tenant; "
              "sluice_header agent $http_user_agent; "
              "sluice_header empty $arg_nothing;")
    for tenant in ("acme", "other"):
        accepted(event(f, b"1\n2", "/lines", X_Tenant=tenant,
                       User_Agent="a\x01" + tenant, Traceparent=parent), 2)
    problem(event(f, b"3", "/lines"), 403, "customer")
    got = kafka.records(topic)
    assert len(got) == 4
    for r in got:
        assert r.headers["agent"] == "a\ufffd" + r.headers["ce_customer"]
        assert r.headers["traceparent"] == parent
        assert "empty" not in r.headers
    assert sorted(r.headers["ce_customer"] for r in got) \
        == ["acme", "acme", "other", "other"]


def test_a_large_event_is_refused_before_its_body(front, kafka, topic):
    f = front("sluice_max_event_size 1000;")
    raw = head(b"x" * 1001, "/event", JSON, Expect="100-continue")
    problem(send(f, raw), 413, "event-too-large")
    accepted(event(f, b"x" * 1000), 1)
    raw = head(None, "/event", JSON, Transfer_Encoding="chunked")
    problem(send(f, raw + chunked(b"x" * 1001, 100)), 413,
            "event-too-large", (0, 0, 0))
    assert [len(r.value) for r in kafka.records(topic)] == [1000]


def test_the_number_of_an_event_that_is_too_large_is_told(front, kafka,
                                                          topic):
    f = front("sluice_max_event_size 10;")
    detail = problem(event(f, b"1\n2\n" + b"x" * 11 + b"\n4", "/lines"), 413,
                     "event-too-large", (2, 0, 0))
    assert detail.startswith("Event 3 ")
    assert by_number(kafka.records(topic)) == [b"1", b"2"]


def test_the_number_of_events_is_bounded(front, kafka, topic):
    f = front("sluice_max_events 3;")
    accepted(event(f, b"[1,2,3]", "/array"), 3)
    problem(event(f, b"[1,2,3,4]", "/array"), 413, "too-many-events",
            (3, 0, 0))
    assert len(kafka.records(topic)) == 6


def test_an_array_that_is_none_is_refused_with_its_place(front):
    f = front()
    for body, n, words in [
            (b'{"a":1}', 0, "not a JSON array"), (b"[1,2", 1, "not closed"),
            (b"[1,2,]", 2, "missing"), (b"[1 2]", 1, "commas"),
            (b"[1]x", 1, "follows"), (b"[{]}]", 0, "no match"),
            (b'["a\n"]', 0, "control")]:
        detail = problem(event(f, body, "/array"), 400, "malformed",
                         (n, 0, 0))
        assert words in detail
        assert detail.startswith("Behind event %d: " % n)


def test_an_element_that_is_nested_too_deep_is_refused(front):
    f = front()
    accepted(event(f, b"[" * 65 + b"]" * 65, "/array"), 1)
    problem(event(f, b"[" * 66 + b"]" * 66, "/array"), 413, "limit",
            (0, 0, 0))


def test_a_body_without_an_event_is_422(front):
    f = front()
    for path, body in [("/event", b""), ("/lines", b"\r\n\n"),
                       ("/array", b" [ ] ")]:
        problem(event(f, body, path), 422, "no-events", (0, 0, 0))


def test_compressed_bodies_other_methods_and_pages_are_refused(front):
    f = front()
    problem(event(f, b"x", Content_Encoding="gzip"), 415, "encoding")
    accepted(event(f, b"x", Content_Encoding="Identity"), 1)
    problem(event(f, b"x", Origin="https://elsewhere.example"), 403,
            "origin")
    reply = send(f, b"GET /event HTTP/1.0\r\n\r\n")
    problem(reply, 405, "method")
    assert reply.headers["allow"] == "POST, OPTIONS"


def test_thousands_of_events_of_a_body_are_stored_once_each(front, kafka,
                                                            topic):
    f = front(http="sluice_inflight 64k;")      # so they go in many rounds
    want = [json.dumps({"n": n, "pad": "x" * (n % 300)}).encode()
            for n in range(4000)]
    accepted(event(f, b"\n".join(want), "/lines"), 4000)
    accepted(event(f, b"[" + b",".join(want) + b"]", "/array"), 4000)
    assert sorted(r.value for r in kafka.records(topic)) \
        == sorted(want + want)


def test_a_body_that_another_module_has_read_is_taken(front, kafka, topic):
    f = front("location = /copy { internal; return 204; } mirror /copy; "
              "client_body_buffer_size 8k;")
    body = b"".join(b"%05d\n" % n for n in range(20000))
    accepted(event(f, body[:6 * 9000], "/lines"), 9000)
    assert len(kafka.records(topic)) == 9000


@pytest.mark.parametrize("line,words", [
    ("sluice_produce main;", "invalid number of arguments"),
    ("sluice_produce main split=lines;", "needs topic=NAME"),
    ("sluice_produce main topic=t split=words;", "split=words"),
    ("sluice_produce main topic=t key=;", "key="),
    ("sluice_produce main topic=t split=lines split=array;", "split=array"),
    ("sluice_produce main topic=t topic=u;", "topic=u"),
    ("sluice_produce main topic=a/b;", "invalid topic name"),
    ("sluice_produce other topic=t;", "other"),
    ("sluice_upload main topic=t; sluice_produce main topic=t;", "one topic"),
    ("sluice_produce main topic=t; sluice_upload main topic=t;", "one topic"),
    ("sluice_produce main topic=t; sluice_customer all;", "for reading"),
    ("sluice_produce main topic=t; sluice_max_event_size 0;", "between"),
    ("sluice_produce main topic=t; sluice_max_event_size 901m;", "between"),
    ("sluice_produce main topic=t; sluice_max_events 0;", "between"),
])
def test_nginx_t_refuses(nginx_test, line, words):
    status, output = nginx_test(
        "location = /e { %s }" % line,
        http="sluice_kafka main { bootstrap.servers 127.0.0.1:9; }")
    assert status != 0
    assert words in output and "nginx.conf:" in output


def test_nginx_t_warns_of_a_body_limit_below_the_event(nginx_test):
    status, output = nginx_test(
        "client_max_body_size 1k; "
        "location = /e { sluice_produce main topic=t; }",
        http="sluice_kafka main { bootstrap.servers 127.0.0.1:9; }")
    assert status == 0
    assert '"sluice_max_event_size" of 262144' in output
