"""sluice_token_key: uploads bound by a token, without a secret in the page."""

import os
import subprocess
import time

import pytest

import tokens
from stack import place
from tokens import Hs256, bearer, mint, upload, write
from upload_forms import (H2, chunked, connect, curl, form, head, part, png,
                          post, read_reply, send)

KAFKA = "sluice_kafka main { bootstrap.servers @KAFKA@; }"
SERVER = """
sluice_jwt_leeway 0;
sluice_customer $http_x_customer;
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_token_key @KEY@ alg=HS256;
    sluice_origin https://app.example.com;
    sluice_types image/png image/jpeg;
    sluice_max_file_size 100k;
    sluice_max_files 3;
}
"""
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
GIF = b"GIF89a" + bytes(100)


@pytest.fixture
def key(place_of):
    return write(place_of + "/token.key", Hs256().file())


@pytest.fixture
def front(nginx, topic, key):
    return nginx(SERVER, http=KAFKA, values={"KEY": key})


def field(text, name="token"):
    return part(text if isinstance(text, bytes) else text.encode(), name,
                None)



def assert_refused(reply, invalid=True):
    assert reply.status == 401, reply.body
    assert reply.json()["type"] == "urn:sluice:problem:unauthorized"
    assert reply.headers["www-authenticate"] == 'Bearer realm="sluice"' \
        + (', error="invalid_token"' if invalid else "")


def test_a_token_names_customer_and_idempotency_key(front, kafka, topic):
    # what the client says of itself counts for nothing
    claimed = {"X_Customer": "umbrella", "Idempotency_Key": "mine"}
    reply = post(front, form(part(png(100))),
                 **bearer(upload(Hs256(), sub="acme", jti="job-1")),
                 **claimed)
    assert reply.status == 202, reply.body

    reply = post(front, form(field(upload(Hs256(), sub="acme", jti="job-2")),
                             part(png(100))), **claimed)
    assert reply.status == 202, reply.body

    records = kafka.records(topic)
    assert [r.headers["ce_customer"] for r in records] == ["acme"] * 2
    assert sorted(r.headers["ce_idempotencykey"] for r in records) \
        == ["job-1", "job-2"]
    # the token itself goes nowhere
    assert all("token" not in name for r in records for name in r.headers)


def test_a_replay_is_seen_as_one(front, kafka, topic):
    token = upload(Hs256(), jti="once")
    for mine in "a", "b":
        reply = post(front, form(part(png(100))), Idempotency_Key=mine,
                     **bearer(token))
        assert reply.status == 202
    seen = [(r.headers["ce_idempotencykey"], r.headers["ce_sha256"])
            for r in kafka.records(topic)]
    assert len(seen) == 2 and len(set(seen)) == 1


@pytest.mark.parametrize("key", tokens.ALL)
def test_each_algorithm_signs_tokens(nginx, kafka, topic, place_of, key):
    good = key()
    path = write(place_of + "/public", good.file())
    front = nginx(SERVER.replace("alg=HS256", "alg=" + good.alg), http=KAFKA,
                  values={"KEY": path})
    reply = post(front, form(field(upload(good)), part(png(100))))
    assert reply.status == 202, reply.body


def test_tokens_that_are_none_are_refused(front, kafka, topic):
    now = int(time.time())
    bad = ["", "nonsense", "a.b.c", upload(Hs256(b"y" * 32)),
           upload(Hs256(), {"alg": "none"}), upload(Hs256(), exp=now - 1),
           upload(Hs256(), exp=None), upload(Hs256(), nbf=now + 600),
           upload(Hs256(), jti=None), upload(Hs256(), jti=""),
           upload(Hs256(), jti="x" * 256), upload(Hs256(), jti="a\nb"),
           upload(Hs256(), sub=None), upload(Hs256(), sub=""),
           upload(Hs256(), sub="x" * 129), upload(Hs256(), sub="a\nb"),
           upload(Hs256(), aud="others"), upload(Hs256(), max_files=0),
           upload(Hs256(), max_file_size="1m"), upload(Hs256(), types=[]),
           "x" * 9000]
    for token in bad:
        if len(token) < 4000 and token:
            assert_refused(post(front, form(part(png(100))),
                                **bearer(token)))
        assert_refused(post(front, form(field(token), part(png(100)))))
    assert kafka.records(topic) == []
    assert "nonsense" not in front.errors()


def test_a_login_is_no_upload_token_nor_the_other_way(front, nginx, key):
    # signed by the same key
    assert_refused(post(front, form(part(png(100))),
                        **bearer(mint(Hs256(), jti="1"))))
    front.wait_error_log('"typ" is not upload+jwt')

    login = nginx("location / { sluice_jwt_key %s alg=HS256; root /; }" % key)
    assert post(login, b"", **bearer(upload(Hs256()))).status == 401
    login.wait_error_log("an upload token is good for uploads only")


@pytest.mark.parametrize("bound, files, states", [
    ({"max_file_size": 100}, [png(100), png(101)],
     ["accepted", "too_large"]),
    # a token never widens what the location allows
    ({"max_file_size": 10 ** 9}, [png(100 * 1024), png(100 * 1024 + 1)],
     ["accepted", "too_large"]),
    ({"types": ["image/jpeg", "image/gif"]}, [JPEG, png(100), GIF],
     ["accepted", "type_not_allowed", "type_not_allowed"]),
    ({"types": ["Image/PNG"]}, [png(100), JPEG],
     ["accepted", "type_not_allowed"]),
])
def test_a_token_binds_each_file(front, bound, files, states):
    token = upload(Hs256(), **bound)
    parts = [part(f) for f in files]
    for reply in (post(front, form(*parts), **bearer(token)),
                  post(front, form(field(token), *parts))):
        assert reply.status == 202, reply.body
        assert [state for _, state in reply.states()] == states


def test_a_token_of_types_that_the_location_refuses_allows_none(front):
    reply = post(front, form(part(GIF)),
                 **bearer(upload(Hs256(), types=["image/gif"])))
    assert reply.status == 415


@pytest.mark.parametrize("bound, allowed", [(1, 1), (2, 2), (9, 3)])
def test_a_token_binds_the_number_of_files(front, bound, allowed):
    token = upload(Hs256(), max_files=bound)
    files = [part(png(100, n)) for n in range(allowed + 1)]
    reply = post(front, form(*files[:-1]), **bearer(token))
    assert reply.status == 202
    reply = post(front, form(field(token), *files))
    assert reply.status == 413
    assert reply.json()["type"] == "urn:sluice:problem:too-many-files"


def test_a_form_without_its_token_first_is_refused(front, kafka, topic):
    token = upload(Hs256())
    file = part(png(100))
    for body in (form(file), form(file, field(token)),
                 form(field("x", "title"), field(token), file),
                 form(part(token.encode(), "token", "token.txt"), file),
                 form(field(token, "Token"), file),
                 ("--sluiceboundary--\r\n").encode()):
        assert_refused(post(front, body), invalid=False)
    # never from the address
    assert_refused(post(front, form(file), path="/upload?token=" + token),
                   invalid=False)
    assert kafka.records(topic) == []


def test_a_bad_bearer_token_is_refused_before_the_body(front):
    reply = send(front, head(b"x" * 1000000, Expect="100-continue",
                             **bearer("nonsense")))
    assert_refused(reply)


def test_a_bad_field_ends_the_upload_where_it_stands(front, kafka, topic):
    """The rest of the form is not waited for."""
    start = form(field(upload(Hs256(b"y" * 32))), part(png(100)))[:-40]
    with connect(front) as s:
        s.sendall(head(b"x" * 1000000) + start)
        assert_refused(read_reply(s))
    assert kafka.records(topic) == []


@pytest.mark.parametrize("way", ["bytes", "chunked", "h2"])
def test_a_token_may_arrive_in_pieces(front, kafka, topic, way):
    body = form(field(upload(Hs256())), part(png(1000)))
    if way == "bytes":
        raw = head(body) + body
        at = raw.index(b"eyJ")
        reply = send(front, [raw[:at]] + [raw[n:n + 1] for n in
                                          range(at, at + 300)]
                     + [raw[at + 300:]])
        status = reply.status
    elif way == "chunked":
        reply = send(front, head(None, Transfer_Encoding="chunked")
                     + chunked(body, 1))
        status = reply.status
    else:
        status, _ = curl(front, body=body, h2=True)
    assert status == 202
    record, = kafka.records(topic)
    assert record.value == png(1000)


def test_a_refused_token_is_answered_over_http2(front):
    h2 = H2(front)
    h2.send(form(field("nonsense"), part(png(100))))
    status, body = h2.reply()
    h2.close()
    assert status == 401
    assert b"urn:sluice:problem:unauthorized" in body


def test_a_page_of_another_origin_may_post_with_a_token(front):
    page = {"Origin": "https://app.example.com",
            "Sec_Fetch_Site": "cross-site"}
    lines = ["OPTIONS /upload HTTP/1.1", "Host: localhost",
             "Connection: close", "Origin: https://app.example.com",
             "Access-Control-Request-Method: POST",
             "Access-Control-Request-Headers: authorization"]
    asked = send(front, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert asked.status == 204
    assert "Authorization" in asked.headers["access-control-allow-headers"]

    token = upload(Hs256())
    reply = post(front, form(part(png(100))), **bearer(token), **page)
    assert reply.status == 202
    assert reply.headers["access-control-allow-origin"] \
        == "https://app.example.com"

    # a plain form needs no preflight, and may not come from elsewhere
    body = form(field(token), part(png(100)))
    assert post(front, body, **page).status == 202
    reply = post(front, body, Origin="https://evil.example")
    assert reply.status == 403

    # the page can read why it is refused
    reply = post(front, form(field("x"), part(png(100))), **page)
    assert_refused(reply)
    assert reply.headers["access-control-allow-origin"] \
        == "https://app.example.com"


def test_token_keys_rotate_without_a_reload(front, key, until):
    new = Hs256(b"z" * 40)
    write(key, new.file())
    until(lambda: post(front, form(field(upload(new)), part(png(100))))
          .status == 202, 10, "the new key")
    assert_refused(post(front, form(field(upload(Hs256())),
                                    part(png(100)))))


@pytest.mark.parametrize("server, why", [
    ("location / { sluice_token_key @KEY@ alg=HS256; }",
     'is for a location with "sluice_upload"'),
    ("location / { sluice_token_key @KEY@ alg=HS256;"
     " sluice_produce main topic=x; }",
     'is for a location with "sluice_upload"'),
    ("sluice_jwt_key @KEY@ alg=HS256; location / {"
     " sluice_upload main topic=x; sluice_token_key @KEY@ alg=HS256; }",
     'write "sluice_jwt_key off" beside it'),
])
def test_a_key_where_it_would_do_nothing_is_refused(nginx_test, key, server,
                                                    why):
    status, output = nginx_test(
        server, http="sluice_kafka main { bootstrap.servers 127.0.0.1:9; }",
        values={"KEY": key})
    assert status != 0
    assert why in output
    assert "nginx.conf:" in output


def example(name):
    """A block of code from the reference."""
    with open(os.path.join(place.ROOT, "docs/module.md")) as f:
        page = f.read()
    block = page.split("<!-- %s -->" % name)[1].split("```")[1]
    return block.partition("\n")[2]


def test_the_pages_python_mints_a_good_token(front):
    names = {}
    exec(example("mint-python"), names)
    token = names["upload_token"](Hs256().secret, "acme", max_files=1)
    assert post(front, form(field(token), part(png(100)))).status == 202
    assert post(front, form(field(token), part(png(100)), part(png(101)))
                ).status == 413


def test_the_pages_shell_mints_a_good_token(nginx, topic, place_of):
    def run(script):
        return subprocess.run(["bash", "-euc", script], cwd=place_of,
                              stdout=subprocess.PIPE, text=True,
                              check=True).stdout.strip()

    run("openssl genrsa -out private.pem 2048 2> /dev/null;"
        "openssl rsa -in private.pem -pubout -out upload.pem 2> /dev/null")
    front = nginx(SERVER.replace("alg=HS256", "alg=RS256"), http=KAFKA,
                  values={"KEY": place_of + "/upload.pem"})
    token = run(example("mint-shell"))
    reply = post(front, form(field(token), part(png(100))))
    assert reply.status == 202, reply.body
