"""Uploads beside the rest of nginx."""

import os
import re

import pytest

from upload_forms import (H2, chunked, connect, form, head, part, png, post,
                          read_reply, send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/s;
"""
SERVER = """
location = /mirrored {
    mirror /copy;
    mirror_request_body on;
    sluice_upload main topic=@TOPIC@;
}
location = /copy { internal; sluice_upload main topic=@TOPIC@; }
location = /guarded {
    auth_request /auth;
    auth_request_set $who $upstream_http_x_customer;
    sluice_upload main topic=@TOPIC@;
    sluice_customer $who;
}
location = /auth {
    internal;
    proxy_pass http://127.0.0.1:@PORT@/who;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header Cookie $http_cookie;
}
location = /who {
    if ($http_cookie = "") { return 401; }
    add_header X-Customer $http_cookie;
    return 204;
}
location /rewritten/ {
    rewrite ^ /upload last;
}
location = /upload { sluice_upload main topic=@TOPIC@; }
location = /limited {
    limit_req zone=slow;
    error_page 503 =429 /busy;
    sluice_upload main topic=@TOPIC@;
}
location = /busy { return 429 "later"; }
location = /page {
    error_page 413 = /large;
    client_max_body_size 1k;
    sluice_upload main topic=@TOPIC@;
}
location = /large {
    proxy_pass http://127.0.0.1:@PORT@/slow;
    proxy_method GET;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
location = /slow { limit_rate 150; return 200 "a page for it"; }
location /deep { location /deep/er { sluice_upload main topic=@TOPIC@; } }
"""


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


@pytest.mark.parametrize("size", [100, 250000])
def test_a_body_that_another_module_has_read_is_taken(front, kafka, topic,
                                                      size):
    """The mirror module reads it first; large ones go to a file."""
    files = [png(size, n) for n in range(3)]
    reply = post(front, form(*[part(f) for f in files]), path="/mirrored")
    assert reply.status == 202, reply.body
    assert sorted(r.value for r in kafka.records(topic)) == sorted(files)


def test_auth_request_names_the_customer(front, kafka, topic):
    body = form(part(png(100000)))
    assert post(front, body, path="/guarded").status == 401
    reply = post(front, body, path="/guarded", Cookie="acme")
    assert reply.status == 202, reply.body
    record, = kafka.records(topic)
    assert record.headers["ce_customer"] == "acme"


def test_a_rewritten_request_is_taken(front, kafka, topic):
    assert post(front, form(part(png(100))), path="/rewritten/x").status == 202
    assert len(kafka.records(topic)) == 1


def test_limit_req_comes_before_us(front, kafka, topic):
    body = form(part(png(100)))
    statuses = [post(front, body, path="/limited").status for _ in range(3)]
    assert statuses[0] == 202 and 429 in statuses
    assert len(kafka.records(topic)) == statuses.count(202)


def test_error_page_serves_nginxs_own_limits(front, kafka, topic):
    reply = post(front, form(part(png(5000))), path="/page")
    assert (reply.status, reply.body) == (200, b"a page for it")
    assert kafka.records(topic) == []


def test_error_page_may_take_over_in_the_middle_of_a_body(front, kafka,
                                                          topic):
    """The client goes on sending while the page is sent, slowly."""
    body = form(part(png(200000)))
    raw = head(None, path="/page", Transfer_Encoding="chunked")
    with connect(front) as s:
        s.sendall(raw + chunked(body, 100)[:1500])
        s.sendall(chunked(body, 100)[1500:20000])
        reply = read_reply(s)
    assert (reply.status, reply.body) == (200, b"a page for it")
    assert post(front, form(part(png(100)))).status == 202


def test_a_nested_location_has_its_own_source(front, kafka, topic):
    assert post(front, form(part(png(100))), path="/deep/er/1").status == 202
    record, = kafka.records(topic)
    assert re.fullmatch(r"//[^/]+/deep/er", record.headers["ce_source"])


def test_nothing_is_written_to_disk(front, kafka, topic):
    """Whatever the sizes; mirror's own copy is another matter."""
    body = form(*[part(png(300000, n)) for n in range(5)])
    with connect(front) as s:
        s.sendall(head(body) + body[:1000000])
        kafka.wait_records(topic, 3)
        files = [f for _, _, found in os.walk(front.dir + "/tmp")
                 for f in found]
        assert files == []
        s.sendall(body[1000000:])
        assert read_reply(s).status == 202


def test_a_worker_is_cut_by_worker_shutdown_timeout(nginx, kafka, topic,
                                                    until):
    front = nginx(SERVER, http=HTTP, main="worker_shutdown_timeout 1s;",
                  level="debug")
    kafka.freeze()
    try:
        body = form(part(png(1000)))
        s = connect(front)
        s.sendall(head(body) + body)
        front.wait_error_log("upload waits for reports")
        old = front.workers()[0]
        front.reload()
        until(lambda: old not in front.pids(), 30)
        assert s.recv(100) == b""
        s.close()
    finally:
        kafka.thaw()
    until(lambda: post(front, body).status == 202, 60)


def test_two_workers_share_the_port(nginx, kafka, topic):
    front = nginx(SERVER, http=HTTP, workers=2)
    for n in range(20):
        assert post(front, form(part(png(100, n)))).status == 202
    assert len(kafka.records(topic)) == 20


def test_uploads_follow_each_other_on_one_connection(front, kafka, topic):
    raws = []
    for n in range(10):
        body = form(part(png(100, n)))
        raw = head(body) + body
        if n < 9:
            raw = raw.replace(b"Connection: close\r\n", b"")
        raws.append(raw)
    reply = send(front, b"".join(raws))             # pipelined
    assert reply.status == 202
    assert reply.body.count(b"HTTP/1.1 202") == 9
    assert len(kafka.records(topic)) == 10


def test_streams_of_one_connection_do_not_wait_for_each_other(front):
    slow = H2(front)
    body = form(part(png(1000)))
    slow.send(body[:500], end=False)
    first = slow.stream

    slow.stream = slow.h2.get_next_available_stream_id()
    slow.h2.send_headers(slow.stream, [
        (":method", "POST"), (":scheme", "http"), (":path", "/upload"),
        (":authority", "localhost"),
        ("content-type", "multipart/form-data; boundary=sluiceboundary")])
    slow.send(body)
    assert slow.reply()[0] == 202

    slow.over, slow.stream, slow.status = False, first, None
    slow.send(body[500:])
    assert slow.reply()[0] == 202
    slow.close()
