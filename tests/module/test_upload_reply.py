"""What the client is told: docs/design.md, section 3, Replies."""

import json

import pytest

from upload_forms import (H2, KIND, chunked, curl, form, head, part, png,
                          post, send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
map $http_x_customer $customer { default $http_x_customer; }
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_types image/png image/jpeg;
    sluice_max_files 3;
    sluice_header x-front $server_port;
    sluice_header x-agent $http_user_agent;
    sluice_header x-none $http_x_none;
}
location = /page {
    sluice_upload main topic=@TOPIC@;
    sluice_redirect /thanks?n=$arg_n;
}
location = /tenant {
    sluice_upload main topic=@TOPIC@;
    sluice_customer $customer;
}
location = /small {
    client_max_body_size 10k;
    sluice_upload main topic=@TOPIC@;
}
"""
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def problem(reply, status, slug):
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    found = reply.json()
    assert found["type"] == "urn:sluice:problem:" + slug
    assert found["status"] == status
    assert found["title"]
    return found


def test_refused_files_leave_the_others_alone(front, kafka, topic):
    good = png(5000)
    reply = post(front, form(
        part(png(307201), filename="large.png"),
        part(good, filename="good.png"),
        part(b"", filename="empty.png")))

    assert reply.status == 202
    assert reply.states() == [("large.png", "too_large"),
                              ("good.png", "accepted"),
                              ("empty.png", "empty")]
    assert [r.value for r in kafka.records(topic)] == [good]


def test_a_file_of_exactly_the_limit_is_accepted(front):
    assert post(front, form(part(png(307200)))).status == 202


def test_the_type_is_that_of_the_bytes(front, kafka, topic):
    reply = post(front, form(
        part(b"<script>alert(1)</script>", filename="a.png",
             extra="Content-Type: image/png\r\n"),
        part(png(100), filename="b.txt", extra="Content-Type: text/plain\r\n")))

    assert reply.status == 202
    assert reply.states() == [("a.png", "type_not_allowed"),
                              ("b.txt", "accepted")]
    record, = kafka.records(topic)
    assert record.headers["content-type"] == "image/png"


@pytest.mark.parametrize("parts, status", [
    ([part(png(307201))], 413),
    ([part(b"text" * 100)], 415),
    ([part(b"text")], 415),
    ([part(b"", filename="a.png")], 422),
    ([part(png(400000)), part(b"text")], 422),
], ids=["too-large", "type", "short-type", "empty", "mixed"])
def test_when_all_are_refused_the_status_says_so(front, kafka, topic, parts,
                                                 status):
    reply = post(front, form(*parts))
    found = problem(reply, status, "all-rejected")
    assert {f["status"] for f in found["files"]} == {"rejected"}
    assert len(found["files"]) == len(parts)
    assert kafka.records(topic) == []


def test_too_many_files_name_the_directive_and_keep_the_first(front, kafka,
                                                              topic):
    reply = post(front, form(*[part(png(100, n), filename="%d.png" % n)
                               for n in range(5)]))
    found = problem(reply, 413, "too-many-files")
    assert "sluice_max_files" in found["detail"]
    assert [f["status"] for f in found["files"]] == ["accepted"] * 3
    assert len(kafka.records(topic)) == 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_told_what_is_allowed(front, method):
    reply = send(front, ("%s /upload HTTP/1.1\r\nHost: a\r\n"
                         "Connection: close\r\n\r\n" % method).encode())
    assert reply.status == 405
    assert reply.headers["allow"] == "POST, OPTIONS"
    assert (reply.body == b"") == (method == "HEAD")


@pytest.mark.parametrize("kind", [
    "application/json", "text/plain", "multipart/mixed; boundary=a",
    "multipart/form-dataX; boundary=a", "application/x-www-form-urlencoded"])
def test_only_forms_are_taken(front, kind):
    reply = send(front, head(b"{}", kind=kind) + b"{}")
    problem(reply, 415, "content-type")


def test_no_content_type_is_415(front):
    reply = send(front, b"POST /upload HTTP/1.1\r\nHost: a\r\n"
                        b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
    problem(reply, 415, "content-type")


def test_a_form_without_files_is_422(front):
    problem(post(front, form(part(b"x", filename=None))), 422, "no-files")
    problem(post(front, form(part(b"", filename=""))), 422, "no-files")


def test_text_fields_are_skipped(front, kafka, topic):
    data = png(70)
    reply = post(front, form(part(b"hello", "comment", None),
                             part(data, "photo", "a.png"),
                             part(b"x" * 60000, "more", None),
                             part(b"", "unchosen", "")))
    assert reply.status == 202
    assert reply.states() == [("a.png", "accepted")]
    assert [r.value for r in kafka.records(topic)] == [data]


def test_a_file_needs_no_name(front, kafka, topic):
    reply = post(front, form(part(png(70), filename="")))
    assert reply.status == 202
    assert reply.states() == [("", "accepted")]
    assert "ce_subject" not in kafka.records(topic)[0].headers


def test_filename_star_is_no_name_but_a_file(front, kafka, topic):
    raw = (b"--sluiceboundary\r\nContent-Disposition: form-data; name=\"f\"; "
           b"filename*=UTF-8''evil.png\r\n\r\n" + png(70)
           + b"\r\n--sluiceboundary--\r\n")
    reply = post(front, raw)
    assert reply.status == 202
    assert reply.states() == [("", "accepted")]


@pytest.mark.parametrize("sent, kept", [
    ("../../etc/passwd", "passwd"), ("C:\\\\Users\\\\me\\\\cat.png", "cat.png"),
    ("a;b.png", "a;b.png"), ("a%22b.png", 'a"b.png'),
    ("filename=x.png", "filename=x.png"), ("caf\u00e9.png", "caf\u00e9.png"),
    ("a\u202egnp.exe", "a\ufffdgnp.exe"), ("..", ""),
    ("x" * 300 + ".png", "x" * 255),
])
def test_names_are_made_safe(front, kafka, topic, sent, kept):
    raw = ('--sluiceboundary\r\nContent-Disposition: form-data; name="f"; '
           'filename="%s"\r\n\r\n' % sent).encode() + png(70) \
        + b"\r\n--sluiceboundary--\r\n"
    reply = post(front, raw)
    assert reply.status == 202, reply.body
    assert reply.states() == [(kept, "accepted")]
    assert kafka.records(topic)[0].headers.get("ce_subject", "") == kept


def test_bad_utf8_in_names_becomes_replacement_characters(front, kafka,
                                                          topic):
    raw = (b"--sluiceboundary\r\nContent-Disposition: form-data; "
           b"name=\"\xff\"; filename=\"a\xc3(.png\"\r\n\r\n" + png(70)
           + b"\r\n--sluiceboundary--\r\n")
    reply = post(front, raw)
    assert reply.states() == [("a\ufffd(.png", "accepted")]
    record, = kafka.records(topic)
    assert record.headers["ce_subject"] == "a\ufffd(.png"
    assert record.headers["ce_field"] == "\ufffd"


def test_the_operators_headers_are_added_clean(front, kafka, topic):
    post(front, form(part(png(70))), User_Agent="me\x7fyou")
    record, = kafka.records(topic)
    assert record.headers["x-front"] == str(front.port)
    assert record.headers["x-agent"] == "me\ufffdyou"
    assert "x-none" not in record.headers


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("value, passed", [
    (TRACE, True), (TRACE.upper(), False), (TRACE[:-1], False),
    (TRACE + "-x", False), ("ff" + TRACE[2:], False),
    ("00-%s-00f067aa0ba902b7-01" % ("0" * 32), False),
    ("00-4bf92f3577b34da6a3ce929d0e0e4736-%s-00" % ("0" * 16), False),
    (TRACE.replace("-", "_"), False), ("cc" + TRACE[2:], True),
])
def test_traceparent_is_passed_on_when_well_formed(front, kafka, topic,
                                                   value, passed):
    assert post(front, form(part(png(70))), traceparent=value).status == 202
    record, = kafka.records(topic)
    assert record.headers.get("traceparent") == (value if passed else None)


def test_the_customer_is_in_the_message(front, kafka, topic):
    reply = post(front, form(part(png(70))), path="/tenant",
                 X_Customer="acme & co")
    assert reply.status == 202
    record, = kafka.records(topic)
    assert record.headers["ce_customer"] == "acme & co"


@pytest.mark.parametrize("customer", [None, "x" * 129, "/" * 84, "a\tb", "\x80"])
def test_no_customer_no_upload(front, kafka, topic, customer):
    headers = {} if customer is None else {"X_Customer": customer}
    raw = head(form(part(png(70))), path="/tenant", **headers)
    if customer == "\x80":
        raw = raw.replace("\x80".encode(), b"\x80")
    reply = send(front, raw + form(part(png(70))))
    problem(reply, 403, "customer")
    assert kafka.records(topic) == []


def test_a_browsers_form_is_sent_on(front, kafka, topic):
    reply = post(front, form(part(png(70))), path="/page?n=1", Accept=BROWSER)
    assert reply.status == 303
    assert reply.headers["location"].endswith("/thanks?n=1")
    assert len(kafka.records(topic)) == 1


@pytest.mark.parametrize("accept", [
    None, "*/*", "application/json", "application/json, text/html",
    "text/html;q=0.5, application/json;q=0.9", "text/htmlx"])
def test_other_clients_of_the_page_get_json(front, accept):
    headers = {} if accept is None else {"Accept": accept}
    reply = post(front, form(part(png(70))), path="/page", **headers)
    assert reply.status == 202
    assert reply.headers["content-type"] == "application/json"


def test_without_redirect_a_browser_gets_json(front):
    assert post(front, form(part(png(70))), Accept=BROWSER).status == 202


def test_a_failed_form_is_not_sent_on(front):
    reply = post(front, form(part(b"", filename="a")), path="/page",
                 Accept=BROWSER)
    problem(reply, 422, "all-rejected")


def test_a_body_without_length_stops_at_the_servers_limit(front):
    body = form(part(png(200000)))
    raw = head(None, path="/small", Transfer_Encoding="chunked")
    assert send(front, raw + chunked(body, 5000)).status == 413

    client = H2(front, path="/small")
    client.send(body)
    assert client.reply()[0] == 413
    client.close()


def test_keepalive_survives_refused_files(front):
    """The whole body was read, so the connection is good for more."""
    body = form(part(b"text"))
    raw = head(body).replace(b"Connection: close\r\n", b"") + body
    last = form(part(png(70)))
    reply = send(front, [raw, head(last) + last])
    assert reply.status == 415
    assert b"HTTP/1.1 202" in reply.body


def test_a_request_with_expect_is_refused_without_its_body(front):
    reply = send(front, head(b"x" * 1000000, kind="text/plain",
                             Expect="100-continue"))
    assert reply.status == 415


def test_expect_continue_is_answered_before_the_body(front):
    body = form(part(png(1000)))
    status, answer = curl(front, "-H", "Expect: 100-continue", body=body)
    assert status == 202, answer


def test_curls_own_forms_work(front, kafka, topic, images):
    status, answer = curl(front, "-F", "a=@%s/pillow-flower.jpg" % images,
                          "-F", "b=@%s/image-ball.png" % images,
                          "-F", "c=hello")
    assert status == 202, answer
    assert [f["type"] for f in answer["files"]] == ["image/jpeg", "image/png"]
    with open(images + "/pillow-flower.jpg", "rb") as f:
        wanted = f.read()
    assert wanted in [r.value for r in kafka.records(topic)]


def test_the_reply_is_one_json_document_whatever_the_names(front):
    name = 'quote%22 back\\\\slash <b>'
    reply = post(front, form(part(png(70), filename=name)))
    assert json.loads(reply.body)["files"][0]["name"] == "slash <b>"
    assert KIND not in reply.body.decode()
