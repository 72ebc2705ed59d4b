"""sluice_origin: which pages may make a browser post here."""

import pytest

from upload_forms import H2, form, head, part, png, post, send

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload { sluice_upload main topic=@TOPIC@; }
location = /listed {
    sluice_upload main topic=@TOPIC@;
    sluice_origin https://app.example.com http://10.0.0.1:8080;
}
location = /both {
    sluice_upload main topic=@TOPIC@;
    sluice_origin self https://app.example.com;
}
location = /off {
    sluice_upload main topic=@TOPIC@;
    sluice_origin off;
}
"""
BODY = form(part(png(100)))


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


@pytest.mark.parametrize("path, headers, status", [
    ("/upload", {}, 202),
    ("/upload", {"Origin": "http://localhost"}, 202),
    ("/upload", {"Origin": "https://LOCALHOST"}, 202),
    ("/upload", {"Origin": "http://localhost:81"}, 403),
    ("/upload", {"Origin": "http://evil.example"}, 403),
    ("/upload", {"Origin": "http://localhost.evil.example"}, 403),
    ("/upload", {"Origin": "null"}, 403),
    ("/upload", {"Origin": ""}, 403),
    ("/upload", {"Origin": "localhost"}, 403),
    ("/upload", {"Origin": "http://"}, 403),
    ("/upload", {"Sec_Fetch_Site": "same-origin"}, 202),
    ("/upload", {"Sec_Fetch_Site": "none"}, 202),
    ("/upload", {"Sec_Fetch_Site": "same-site"}, 403),
    ("/upload", {"Sec_Fetch_Site": "cross-site"}, 403),
    ("/upload", {"Sec_Fetch_Site": ""}, 403),
    ("/upload", {"Origin": "http://localhost",
                 "Sec_Fetch_Site": "same-origin"}, 202),
    ("/listed", {"Origin": "https://app.example.com"}, 202),
    ("/listed", {"Origin": "https://app.example.com",
                 "Sec_Fetch_Site": "cross-site"}, 202),
    ("/listed", {"Origin": "http://10.0.0.1:8080"}, 202),
    ("/listed", {"Origin": "http://app.example.com"}, 403),
    ("/listed", {"Origin": "https://app.example.com.evil.example"}, 403),
    ("/listed", {"Origin": "http://localhost"}, 403),
    ("/listed", {"Sec_Fetch_Site": "same-origin"}, 403),
    ("/listed", {}, 202),
    ("/both", {"Origin": "http://localhost"}, 202),
    ("/both", {"Origin": "https://app.example.com"}, 202),
    ("/both", {"Origin": "https://evil.example"}, 403),
    ("/off", {"Origin": "https://evil.example"}, 202),
    ("/off", {"Sec_Fetch_Site": "cross-site"}, 202),
])
def test_pages_are_told_apart(front, kafka, topic, path, headers, status):
    reply = post(front, BODY, path=path, **headers)
    assert reply.status == status, reply.body
    assert len(kafka.records(topic)) == (1 if status == 202 else 0)
    if status == 403:
        assert reply.json()["type"] == "urn:sluice:problem:origin"
        assert "access-control-allow-origin" not in reply.headers


def test_a_foreign_page_is_refused_before_its_body(front):
    reply = send(front, head(b"x" * 1000000, Origin="http://evil.example",
                             Expect="100-continue"))
    assert reply.status == 403


def test_a_listed_page_may_read_the_answer(front):
    for body in (BODY, b"nonsense"):
        reply = post(front, body, path="/listed",
                     Origin="https://app.example.com")
        assert reply.headers["access-control-allow-origin"] \
            == "https://app.example.com"
        assert reply.headers["vary"] == "Origin"


def test_our_own_page_needs_no_cors(front):
    reply = post(front, BODY, Origin="http://localhost")
    assert "access-control-allow-origin" not in reply.headers


def preflight(front, path, **headers):
    lines = ["OPTIONS %s HTTP/1.1" % path, "Host: localhost",
             "Connection: close", "Access-Control-Request-Method: POST"]
    lines += ["%s: %s" % h for h in headers.items()]
    return send(front, ("\r\n".join(lines) + "\r\n\r\n").encode())


def test_a_listed_page_may_ask_first(front):
    reply = preflight(front, "/listed", Origin="https://app.example.com")
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] \
        == "https://app.example.com"
    assert reply.headers["access-control-allow-methods"] == "POST"
    assert "Idempotency-Key" in reply.headers["access-control-allow-headers"]
    assert reply.body == b""


def test_a_foreign_page_that_asks_first_is_refused(front):
    for path in "/listed", "/upload":
        reply = preflight(front, path, Origin="https://evil.example")
        assert reply.status == 403
        assert "access-control-allow-origin" not in reply.headers


def test_options_tells_the_methods(front):
    reply = preflight(front, "/upload")
    assert reply.status == 204
    assert reply.headers["allow"] == "POST, OPTIONS"


def test_the_host_is_known_over_h2(front):
    for origin, status in (("http://localhost", 202),
                           ("http://evil.example", 403)):
        client = H2(front, Origin=origin)
        client.send(BODY)
        assert client.reply()[0] == status
        client.close()
