"""Uploads beside the rest of nginx: limits, redirects, other body readers.

What comes before us (access, limits), what takes the request to us (rewrite,
named locations), who has read the body already, and what a connection is good
for after a refusal; over HTTP/1.1 and, where it can differ, over HTTP/2.
test_upload_neighbours.py has mirror, auth_request and error_page.
"""

import json
import os
import re

import pytest

from upload_forms import (H2, KIND, Reply, chunked, connect, curl, form, head,
                          part, png, post, read_reply, send)

MODULES = "/usr/lib/nginx/modules/"
LUA = "".join("load_module %s%s.so;\n" % (MODULES, name) for name in (
    "ndk_http_module", "ngx_http_lua_module"))

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
limit_conn_zone $binary_remote_addr zone=few:1m;
"""
SERVER = """
location = /upload { sluice_upload main topic=@TOPIC@; }
location = /few {
    limit_conn few 1;
    sluice_upload main topic=@TOPIC@;
}
location = /only-post {
    limit_except POST { deny all; }
    sluice_upload main topic=@TOPIC@;
}
location = /slow {
    client_body_timeout 1s;
    sluice_upload main topic=@TOPIC@;
}
location = /small {
    client_max_body_size 1k;
    sluice_upload main topic=@TOPIC@;
}
location = /traced {
    sluice_upload main topic=@TOPIC@;
    sluice_header x-request-id $request_id;
    add_header X-Request-Id $request_id always;
}
location = /named {
    error_page 418 = @upload;
    return 418;
}
location @upload { sluice_upload main topic=@TOPIC@; }
location = /tried { try_files /none /upload; }
location = /chosen {
    if ($arg_v = 2) { rewrite ^ /upload last; }
    return 404;
}
location = /own-errors {
    error_page 403 405 415 422 503 = /page;
    sluice_upload main topic=@TOPIC@;
    sluice_customer $http_x_customer;
}
location = /page { return 200 "an operator's page"; }
"""
READERS = """
location = /needed {
    lua_need_request_body on;
    access_by_lua_block { ngx.ctx.n = #(ngx.req.get_body_data() or "") }
    sluice_upload main topic=@TOPIC@;
}
location = /read {
    access_by_lua_block { ngx.req.read_body() }
    sluice_upload main topic=@TOPIC@;
}
location = /replaced {
    access_by_lua_block {
        ngx.req.read_body()
        ngx.req.set_body_data((ngx.req.get_body_data():gsub("cat", "dog")))
    }
    sluice_upload main topic=@TOPIC@;
}
location = /discarded {
    access_by_lua_block { ngx.req.discard_body() }
    sluice_upload main topic=@TOPIC@;
}
location = /upload { sluice_upload main topic=@TOPIC@; }
"""
BODY = form(part(png(100)))


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def way(front, h2, body, path, *arguments):
    return curl(front, *arguments, h2=h2, body=body, path=path)


both = pytest.mark.parametrize("h2", [False, True], ids=["h1", "h2"])


@both
def test_limit_conn_counts_uploads_under_way(front, h2, until):
    other = connect(front)
    other.sendall(head(BODY, path="/few") + BODY[:50])
    until(lambda: way(front, h2, BODY, "/few")[0] == 503, 30)
    other.sendall(BODY[50:])
    assert read_reply(other).status == 202
    other.close()
    until(lambda: way(front, h2, BODY, "/few")[0] == 202, 30)


@both
def test_limit_except_leaves_only_posts(front, h2):
    assert way(front, h2, BODY, "/only-post")[0] == 202
    assert way(front, h2, None, "/only-post")[0] == 403
    assert way(front, h2, None, "/only-post", "-X", "OPTIONS")[0] == 403


def test_client_body_timeout_ends_the_request_without_an_answer(
        front, kafka, topic, until):
    """As nginx does; the access log has 408."""
    with connect(front) as s:
        s.sendall(head(BODY, path="/slow") + BODY[:80])
        assert s.recv(100) == b""
    until(lambda: ' 408 ' in open(front.access_log).read(), 10)
    assert kafka.records(topic) == []
    assert post(front, BODY).status == 202


def test_client_body_timeout_resets_an_h2_stream(front, until):
    slow = H2(front, path="/slow")
    slow.send(BODY[:80], end=False)
    assert slow.reply()[0] is None
    until(lambda: ' 408 ' in open(front.access_log).read(), 10)
    slow.close()


def test_client_max_body_size_is_nginxs_own_413(front, kafka, topic):
    body = form(part(png(5000)))
    reply = post(front, body, path="/small")
    assert reply.status == 413 and b"<html>" in reply.body
    stream = H2(front, path="/small", content_length=str(len(body)))
    status, page = stream.reply()
    stream.close()
    assert status == 413 and b"<html>" in page
    assert kafka.records(topic) == []


def test_a_chunked_body_meets_client_max_body_size_on_its_way(front, kafka,
                                                              topic):
    body = form(part(png(5000)))
    reply = send(front, head(None, path="/small", Transfer_Encoding="chunked")
                 + chunked(body, 300))
    assert reply.status == 413
    assert b"<html>" in reply.body
    assert kafka.records(topic) == []
    assert post(front, BODY).status == 202


def test_request_id_may_go_into_the_record(front, kafka, topic):
    reply = post(front, BODY, path="/traced")
    record, = kafka.records(topic)
    assert re.fullmatch("[0-9a-f]{32}", record.headers["x-request-id"])
    assert reply.headers["x-request-id"] == record.headers["x-request-id"]


@both
def test_a_request_may_be_led_to_the_upload_location(front, kafka, topic, h2):
    """By a named location, by try_files, by rewrite in an if."""
    for n, path in enumerate(("/named", "/tried", "/chosen?v=2")):
        status, said = way(front, h2, BODY, path)
        assert status == 202, (path, said)
        assert len(kafka.records(topic)) == n + 1


@pytest.mark.parametrize("status,slug,headers", [
    (403, "customer", {}), (415, "content-type", {
        "kind": "text/plain", "x_customer": "a"})])
def test_error_page_does_not_replace_our_own_problems(front, status, slug,
                                                      headers):
    """They are sent by the module itself: only core's codes have a page."""
    reply = post(front, BODY, path="/own-errors", **headers)
    stream = H2(front, path="/own-errors", **headers)
    stream.send(BODY)
    for found, said in ((reply.status, reply.body), stream.reply()):
        said = json.loads(said)
        assert (found, said["type"]) == (status, "urn:sluice:problem:" + slug)
    stream.close()


# Who has read the body before us.

lua = pytest.fixture(lambda nginx, topic: nginx(READERS, http=HTTP, main=LUA))


@both
@pytest.mark.parametrize("path", ["/needed", "/read"])
@pytest.mark.parametrize("size", [100, 200000])
def test_a_body_that_lua_has_read_is_taken(lua, kafka, topic, path, size, h2):
    """From memory, and from the file that large ones are put into."""
    files = [png(size, n) for n in range(3)]
    status, said = way(lua, h2, form(*[part(f) for f in files]), path)
    assert status == 202, said
    assert sorted(r.value for r in kafka.records(topic)) == sorted(files)


def test_a_body_that_lua_has_replaced_is_the_body(lua, kafka, topic):
    assert post(lua, form(part(b"a cat")), path="/replaced").status == 202
    assert [r.value for r in kafka.records(topic)] == [b"a dog"]


@both
def test_a_body_that_was_discarded_is_no_form(lua, kafka, topic, h2, until):
    """And the worker serves on.  nginx resets an HTTP/2 stream whose body it
    has not read behind the answer, and curl may drop the answer then: what it
    was nginx's log says."""
    status, said = way(lua, h2, BODY, "/discarded")
    until(lambda: re.search('"POST /discarded HTTP/[^"]*" 400 ',
                            open(lua.access_log).read()), 10)
    assert h2 or status == 400
    assert h2 or said["type"] == "urn:sluice:problem:malformed"
    assert post(lua, BODY).status == 202


# What a connection is good for afterwards.

def request(body, path, close=False, **headers):
    raw = head(body, path=path, **headers) + body
    return raw if close else raw.replace(b"Connection: close\r\n", b"")


REFUSED = [("/own-errors", {}, 403), ("/upload", {"kind": "text/plain"}, 415),
           ("/upload", {"Origin": "https://elsewhere.example"}, 403),
           ("/upload", {"kind": KIND.replace("boundary=", "boundary=@")}, 400)]


def test_a_small_refused_body_leaves_the_connection_usable(front, kafka,
                                                           topic):
    """Its rest is dropped, whether it comes at once or after the answer."""
    for n, (path, headers, status) in enumerate(REFUSED):
        raw = request(BODY, path, **headers)
        with connect(front) as s:
            s.sendall(raw[:-50])
            first = s.recv(65536)
            assert int(first.split()[1]) == status
            assert b"Connection: keep-alive" in first
            s.sendall(raw[-50:] + request(BODY, "/upload", close=True))
            assert read_reply(s).status == 202
        assert len(kafka.records(topic)) == n + 1


def test_refusals_may_be_pipelined(front, kafka, topic):
    raw, wanted = b"", []
    for path, headers, status in REFUSED:
        raw += request(BODY, path, **headers) + request(BODY, "/upload")
        wanted += [status, 202]
    got = send(front, raw + request(BODY, "/upload", close=True))
    assert [got.status] + [int(n) for n in re.findall(
        rb"HTTP/1\.1 (\d+)", got.body)] == wanted + [202]
    assert len(kafka.records(topic)) == len(REFUSED) + 1


def test_a_large_refused_body_ends_the_connection(front):
    """Dropping it would take longer than a new connection."""
    body = form(part(png(200000)))
    with connect(front) as s:
        s.sendall(request(body, "/own-errors")[:1000])
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += s.recv(65536)
        reply = Reply(raw)
    assert (reply.status, reply.headers["connection"]) == (403, "close")


def test_a_malformed_form_ends_the_connection_only_when_unread(front):
    bad = BODY.replace(b"form-data", b"farm-data")
    with connect(front) as s:
        s.sendall(request(bad, "/upload"))
        first = s.recv(65536)
        assert b" 400 " in first and b"Connection: keep-alive" in first
        s.sendall(request(BODY, "/upload", close=True))
        assert read_reply(s).status == 202


def test_an_h2_connection_survives_refused_streams(front):
    c = H2(front, path="/own-errors")
    c.send(BODY)
    assert c.reply()[0] == 403
    for path, status in (("/own-errors", 403), ("/upload", 202)):
        c.over, c.status = False, None
        c.stream = c.h2.get_next_available_stream_id()
        c.h2.send_headers(c.stream, [
            (":method", "POST"), (":scheme", "http"), (":path", path),
            (":authority", "localhost"), ("content-type", KIND)])
        c.send(BODY)
        assert c.reply()[0] == status
    c.close()


def test_no_reader_leaves_a_file_open(lua, topic, until):
    """Bodies that were put aside are closed with their requests."""
    body = form(*[part(png(200000, n)) for n in range(3)])
    worker, = lua.workers()

    def open_files():
        return [f for f in os.listdir("/proc/%d/fd" % worker)
                if "body" in os.readlink("/proc/%d/fd/%s" % (worker, f))]

    for _ in range(5):
        assert post(lua, body, path="/read").status == 202
    until(lambda: open_files() == [], 10)
