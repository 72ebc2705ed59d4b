"""What the access log may tell of an upload."""

import json
import re

import pytest

from upload_forms import (H2, connect, form, head, part, png, post,
                          read_reply, send)

NAMES = ("upload_id", "files", "rejected", "bytes", "ack_time", "held_time",
         "reason")
HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
sluice_inflight 64k;
log_format told escape=json '{"uri":"$request_uri","status":"$status",%s}';
access_log @DIR@/told.log told;
""" % ",".join('"%s":"$sluice_%s"' % (n, n) for n in NAMES)
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_types image/png;
    sluice_header x-upload $sluice_upload_id;
    sluice_ack_timeout 5s;
    add_header X-Upload $sluice_upload_id always;
}
location = /paged {
    error_page 413 /page;
    client_max_body_size 3k;
    sluice_upload main topic=@TOPIC@;
}
location = /page { return 200 "a page"; }
location = /else { return 200; }
location = /empty { sluice_upload main topic=@TOPIC@; sluice_customer ""; }
"""


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER.replace('sluice_customer "";',
                                "sluice_customer $http_x_customer;"),
                 http=HTTP)


@pytest.fixture
def told(front, until):
    """told(uri): the next line of the log for it."""
    seen = []

    def read(uri):
        def look():
            with open(front.dir + "/told.log") as f:
                lines = [json.loads(line) for line in f]
            fresh = [i for i in lines[len(seen):] if i["uri"] == uri]
            if fresh:
                seen[:] = lines
            return fresh
        return until(look, 20)[0]
    return read


def seconds(text):
    assert re.fullmatch(r"\d+\.\d{3}", text), text
    return float(text)


def test_an_upload_is_told_of_with_its_numbers(front, kafka, topic, told):
    reply = post(front, form(part(png(1000)), part(png(2000)), part(b"text"),
                             part(b"")))
    line = told("/upload")
    assert line["status"] == "202"
    assert line["upload_id"] == reply.json()["upload"] \
        == reply.headers["x-upload"]
    assert (line["files"], line["rejected"], line["bytes"]) \
        == ("2", "2", "3000")
    assert seconds(line["ack_time"]) < 60
    assert seconds(line["held_time"]) == 0
    assert line["reason"] == ""
    for r in kafka.records(topic):
        assert r.headers["x-upload"] == line["upload_id"]


def test_what_is_no_upload_has_no_numbers(front, told):
    send(front, b"GET /else HTTP/1.0\r\n\r\n")
    line = told("/else")
    assert [line[n] for n in NAMES] == [""] * len(NAMES)


@pytest.mark.parametrize("path,headers,status,reason", [
    ("/empty", {}, 403, "customer"),
    ("/upload", {"Origin": "https://elsewhere.example"}, 403, "origin"),
    ("/upload", {"kind": "text/plain"}, 415, "content-type")])
def test_who_is_refused_is_told_why(front, told, path, headers, status,
                                    reason):
    assert post(front, form(part(png(100))), path=path,
                **headers).status == status
    line = told(path)
    assert (line["status"], line["reason"]) == (str(status), reason)
    assert line["files"] in ("", "0")


def test_a_failed_form_is_told_with_its_reason(front, told):
    assert post(front, form(part(png(100)),
                            part(png(900, 1)))[:-500]).status == 400
    line = told("/upload")
    assert (line["reason"], line["files"], line["rejected"]) \
        == ("malformed", "1", "1")
    assert post(front, form(part(b"text"))).status == 415
    line = told("/upload")
    assert (line["reason"], line["files"], line["rejected"], line["bytes"]) \
        == ("all-rejected", "0", "1", "0")


def test_numbers_outlive_a_page_that_took_the_request_over(front, kafka,
                                                           topic, told):
    """Two files are in when the third passes client_max_body_size."""
    one = form(part(png(1000)), part(png(900, 1)))
    rest = form(part(png(3000)))
    raw = one[:-len("--sluiceboundary--\r\n")] + rest
    with connect(front) as s:
        s.sendall(head(None, path="/paged", Transfer_Encoding="chunked")
                  + b"%x\r\n%s\r\n" % (len(one), raw[:len(one)]))
        kafka.wait_records(topic, 2)
        s.sendall(b"%x\r\n%s\r\n0\r\n\r\n"
                  % (len(raw) - len(one), raw[len(one):]))
        reply = read_reply(s)
    assert (reply.status, reply.body) == (413, b"a page")
    line = told("/paged")
    assert re.fullmatch("[0-9a-f-]{36}", line["upload_id"])
    assert (line["files"], line["bytes"]) == ("2", "1900")
    assert line["ack_time"] == ""                   # nobody was answered


def test_a_client_that_left_is_told_of(front, kafka, topic, told):
    body = form(part(png(1000)), part(png(5000)))
    s = connect(front)
    s.sendall(head(body) + body[:3000])
    kafka.wait_records(topic, 1)
    s.close()
    line = told("/upload")
    assert (line["files"], line["rejected"]) == ("1", "1")
    stream = H2(front)
    stream.send(body[:3000], end=False)
    kafka.wait_records(topic, 2)
    stream.reset()
    line = told("/upload")
    assert (line["files"], line["rejected"]) == ("1", "1")
    stream.close()


def test_time_held_back_is_told(front, kafka, told, until):
    """64k are with a frozen broker when more is to be read."""
    assert post(front, form(part(png(100)))).status == 202
    told("/upload")
    body = form(*[part(png(100000, n)) for n in range(4)])
    kafka.freeze()
    try:
        with connect(front) as s:
            s.sendall(head(body) + body[:200000])
            s.sendall(body[200000:])
            assert read_reply(s).status == 503
    finally:
        kafka.thaw()
    line = told("/upload")
    assert (line["status"], line["reason"]) == ("503", "unavailable")
    assert seconds(line["held_time"]) > 1
