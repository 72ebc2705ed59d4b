"""sluice_jwt_key: who may pass any location, and what is known of them."""

import hashlib
import json
import os
import time

import pytest

import tokens
from stack import client, place
from tokens import Es256, Hs256, Rs256, bearer, mint, write
from upload_forms import H2, form, head, part, png, post, send

# A backend to stand behind proxy_pass, and to see what it is told.
BACK = """
server {
    listen unix:@DIR@/back.sock;
    return 200 "$request_method customer=$http_x_customer";
}
"""
PROXY = """
    proxy_pass http://unix:@DIR@/back.sock:;
    proxy_set_header X-Customer $sluice_jwt_sub;
"""


@pytest.fixture
def keys(place_of):
    """keys(NAME, DATA) writes a key file and returns its path."""
    return lambda name, data: write("%s/%s" % (place_of, name), data)


@pytest.fixture
def secret(keys):
    return keys("secret", Hs256().file())


def get(front, token=None, path="/", **headers):
    return client.get(front.url + path,
                      dict(bearer(token) if token else {}, **headers))


def guarded(nginx, key, extra="", **kw):
    return nginx("sluice_jwt_key %s; %s location / { %s }"
                 % (key, extra, PROXY), http=BACK, **kw)


def assert_refused(front, token, why=None):
    answer = get(front, token)
    assert answer.status == 401, token
    assert answer.headers["WWW-Authenticate"] \
        == 'Bearer realm="sluice", error="invalid_token"'
    if why:
        front.wait_error_log("no access by JWT: " + why)


@pytest.mark.parametrize("key", tokens.ALL)
def test_each_algorithm_lets_its_own_tokens_in(nginx, keys, key):
    good, other = key(), key() if key is not Hs256 else Hs256(b"x" * 32)
    path = keys("key", good.file())
    front = guarded(nginx, "%s alg=%s" % (path, good.alg))

    answer = get(front, mint(good))
    assert (answer.status, answer.body) == (200, b"GET customer=acme")
    assert_refused(front, mint(other), "the signature is none of our keys'")


@pytest.mark.parametrize("key", tokens.ALL)
def test_each_kind_of_key_may_come_as_jwk(nginx, keys, key):
    good = key()
    front = guarded(nginx, keys("jwks", {"keys": [good.jwk()]}))
    assert get(front, mint(good)).status == 200


def test_without_a_token_nobody_passes(nginx, secret):
    front = guarded(nginx, secret + " alg=HS256")
    for headers in ({}, {"Authorization": "Basic eDp5"},
                    {"Authorization": "Bearer"}):
        answer = get(front, **headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="sluice"'
    assert get(front, Authorization="Bearer ").status == 401
    # a token in the address is none
    assert get(front, path="/?access_token=" + mint(Hs256())).status == 401
    assert get(front, Authorization="bearer   " + mint(Hs256())).status == 200


def test_a_public_key_is_never_taken_for_a_secret(nginx, keys):
    key = Rs256()
    path = keys("pem", key.file())
    forged = mint(Hs256(key.file()))
    also_forged = mint(Hs256(key.file().rstrip()))

    front = guarded(nginx, path)
    assert get(front, mint(key)).status == 200
    assert_refused(front, forged)
    assert_refused(front, also_forged)


def test_none_is_no_algorithm(nginx, secret):
    front = guarded(nginx, secret + " alg=HS256")
    for alg in "none", "None", "NONE", "HS384", "":
        assert_refused(front, mint(Hs256(), {"alg": alg}),
                       "the algorithm is none of")
    text = mint(Hs256(), {"alg": "none"}).rpartition(".")[0]
    assert_refused(front, text + ".")


def test_a_token_holds_between_nbf_and_exp(nginx, secret):
    now = int(time.time())
    front = guarded(nginx, secret + " alg=HS256",
                    "sluice_jwt_leeway 60s;")
    for claims in ({"exp": now - 30}, {"exp": now + 600, "nbf": now + 30}):
        assert get(front, mint(Hs256(), **claims)).status == 200, claims
    assert_refused(front, mint(Hs256(), exp=now - 61), "the token has expired")
    assert_refused(front, mint(Hs256(), nbf=now + 300),
                   "the token is not valid yet")
    assert_refused(front, mint(Hs256(), exp=None), '"exp" is missing')


def test_issuer_and_audience_are_asked_for(nginx, secret):
    front = guarded(nginx, secret + " alg=HS256",
                    "sluice_jwt_issuer https://id.test other;"
                    "sluice_jwt_audience sluice;")
    good = {"iss": "https://id.test", "aud": ["x", "sluice"]}
    assert get(front, mint(Hs256(), **good)).status == 200
    assert get(front, mint(Hs256(), **dict(good, aud="sluice"))).status == 200
    for bad in {"iss": "https://evil.test"}, {"iss": None}:
        assert_refused(front, mint(Hs256(), **dict(good, **bad)), '"iss"')
    for bad in {"aud": "x"}, {"aud": []}, {"aud": None}:
        assert_refused(front, mint(Hs256(), **dict(good, **bad)), '"aud"')


def test_a_token_for_somebody_else_is_refused(nginx, secret):
    front = guarded(nginx, secret + " alg=HS256")
    assert_refused(front, mint(Hs256(), aud="another-service"), '"aud"')


def test_kid_chooses_among_the_keys(nginx, keys):
    old, new, pem = Es256(), Es256(), Rs256()
    front = guarded(nginx, keys("jwks", {"keys": [
        dict(old.jwk(), kid="old"), dict(new.jwk(), kid="new"),
        {"kty": "unheard-of"}]}),
        "sluice_jwt_key %s;" % keys("pem", pem.file()))

    assert get(front, mint(new, {"kid": "new"})).status == 200
    assert get(front, mint(new)).status == 200
    assert get(front, mint(pem, {"kid": "any"})).status == 200
    assert_refused(front, mint(new, {"kid": "old"}))
    assert_refused(front, mint(new, {"kid": "../../etc/passwd"}))


def test_keys_rotate_without_a_reload(nginx, keys, until):
    old, new = Es256(), Es256()
    path = keys("jwks", {"keys": [old.jwk()]})
    front = guarded(nginx, path)
    assert get(front, mint(old)).status == 200
    assert_refused(front, mint(new))

    keys("jwks", {"keys": [new.jwk()]})
    until(lambda: get(front, mint(new)).status == 200, 10, "the new key")
    assert_refused(front, mint(old))


def test_a_broken_file_leaves_the_old_keys_and_says_so_once(nginx, keys,
                                                            until):
    old, new = Es256(), Es256()
    path = keys("jwks", {"keys": [old.jwk()]})
    front = guarded(nginx, path)
    assert get(front, mint(old)).status == 200

    keys("jwks", b'{"keys":[{"kty":"EC","crv":"P-2')
    until(lambda: get(front, mint(old)).status == 200
          and "the old ones stay" in front.errors(), 10, "the complaint")
    start = time.time()
    until(lambda: get(front, mint(old)).status == 200
          and int(time.time()) > int(start) + 1, 10, "two looks later")
    assert front.errors().count("the old ones stay") == 1
    assert "P-2" not in front.errors()

    keys("jwks", {"keys": [new.jwk()]})
    until(lambda: get(front, mint(new)).status == 200, 10, "the new key")
    assert "keys read again from" in front.errors()


def test_a_file_that_is_gone_leaves_the_old_keys(nginx, keys, until):
    old, new = Es256(), Es256()
    path = keys("jwks", {"keys": [old.jwk()]})
    front = guarded(nginx, path)
    os.unlink(path)
    until(lambda: get(front, mint(old)).status == 200
          and "stay as they were" in front.errors(), 10, "the complaint")

    keys("jwks", {"keys": [new.jwk()]})
    until(lambda: get(front, mint(new)).status == 200, 10, "the new key")
    assert front.errors().count("stay as they were") == 1

    # a worker that may not read what root could
    os.chmod(path, 0o600)
    os.utime(path, (1, 1))
    until(lambda: get(front, mint(new)).status == 200
          and (not place.is_root() or "cannot read keys" in front.errors()),
          10, "the complaint")


def test_what_a_token_says_is_in_variables(nginx, secret):
    names = ["name", "level", "admin", "ratio", "customerid", "roles", "gone",
             "evil"]
    front = nginx("""
        location / {
            sluice_jwt_key %s alg=HS256;
            %s
            %s
        }
        location = /open { %s add_header X-Sub "[$sluice_jwt_sub]"; }
        """ % (secret, PROXY, "\n".join(
            'add_header X-%s "[$sluice_jwt_claim_%s]" always;' % (n, n)
            for n in names), PROXY),
        http=BACK + 'log_format sub "[$sluice_jwt_sub]";'
                    "access_log @DIR@/sub.log sub;")
    token = mint(Hs256(), name="Zoë", level=7, admin=True, ratio=0.5,
                 customerId="c-1", roles=["a"], evil="x\r\nSet-Cookie: y")
    answer = get(front, token)
    assert answer.status == 200
    assert [answer.headers["X-" + n].encode("latin-1").decode()
            for n in names] \
        == ["[Zoë]", "[7]", "[true]", "[0.5]", "[c-1]", "[]", "[]", "[]"]
    assert "Set-Cookie" not in answer.headers

    assert get(front, mint(Hs256(b"y" * 32), name="Mallory")) \
        .headers["X-name"] == "[]"
    # where no token is asked for, none is believed
    assert get(front, token, path="/open").headers["X-Sub"] == "[]"


def test_the_log_never_shows_a_token(nginx, secret, until):
    front = guarded(nginx, secret + " alg=HS256")
    token = mint(Hs256(b"y" * 32))
    assert_refused(front, token, "the signature")
    assert token not in front.errors()
    assert token.rpartition(".")[2] not in front.errors()


def test_limit_req_counts_by_customer(nginx, secret):
    front = nginx(
        "sluice_jwt_key %s alg=HS256; limit_req zone=z; location / { %s }"
        % (secret, PROXY),
        http=BACK + "limit_req_zone $sluice_jwt_sub zone=z:1m rate=1r/m;")
    assert get(front, mint(Hs256(), sub="a")).status == 200
    assert get(front, mint(Hs256(), sub="a")).status == 503
    assert get(front, mint(Hs256(), sub="b")).status == 200


def test_satisfy_any_lets_others_decide_too(nginx, secret):
    front = nginx("""
        satisfy any;
        sluice_jwt_key %s alg=HS256;
        location /allowed { allow 127.0.0.1; deny all; %s }
        location /denied  { deny all; %s }
        """ % (secret, PROXY, PROXY), http=BACK)
    answer = get(front, path="/allowed")
    assert (answer.status, answer.body) == (200, b"GET customer=")
    assert "WWW-Authenticate" not in answer.headers
    assert get(front, path="/denied").status == 401
    assert get(front, mint(Hs256()), path="/denied").status == 200


def test_a_browsers_question_before_needs_no_token(nginx, secret):
    front = guarded(nginx, secret + " alg=HS256")

    def options(**headers):
        return client.request("OPTIONS", front.url + "/", headers=headers)

    asked = {"Origin": "https://a.test",
             "Access-Control-Request-Method": "POST"}
    answer = options(**asked)
    assert (answer.status, answer.body) == (200, b"OPTIONS customer=")
    assert options().status == 401
    assert options(Origin="https://a.test").status == 401


def test_a_location_can_do_without(nginx, secret):
    front = nginx("""
        sluice_jwt_key %s alg=HS256;
        location /open { sluice_jwt_key off; %s }
        location /     { %s }
        """ % (secret, PROXY, PROXY), http=BACK)
    assert get(front, path="/open").status == 200
    assert get(front, path="/").status == 401


def test_an_error_page_knows_who_it_is_for(nginx, secret):
    front = nginx("""
        error_page 404 /lost;
        location / {
            sluice_jwt_key %s alg=HS256;
            root @DIR@/nothing;
        }
        location = /lost { internal; return 404 "lost $sluice_jwt_sub"; }
        """ % secret)
    answer = get(front, mint(Hs256()), path="/x")
    assert (answer.status, answer.body) == (404, b"lost acme")


UPLOAD = """
sluice_jwt_key %s alg=HS256;
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_customer $sluice_jwt_sub;
    sluice_origin self https://app.example.com;
}
"""
KAFKA = "sluice_kafka main { bootstrap.servers @KAFKA@; }"


def test_an_upload_belongs_to_the_tokens_subject(nginx, secret, kafka, topic):
    front = nginx(UPLOAD % secret, http=KAFKA)
    for sub in "acme", "umbrella":
        reply = post(front, form(part(png(100))),
                     **bearer(mint(Hs256(), sub=sub)))
        assert reply.status == 202, reply.body
    assert sorted(r.headers["ce_customer"] for r in kafka.records(topic)) \
        == ["acme", "umbrella"]

    # a subject that is none
    reply = post(front, form(part(png(100))),
                 **bearer(mint(Hs256(), sub=None)))
    assert reply.status == 403
    assert reply.json()["type"] == "urn:sluice:problem:customer"


def test_an_upload_without_a_token_is_refused_before_its_body(nginx, secret,
                                                              kafka, topic):
    front = nginx(UPLOAD % secret, http=KAFKA)
    reply = post(front, form(part(png(100))),
                 Origin="https://app.example.com")
    assert reply.status == 401
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["www-authenticate"] == 'Bearer realm="sluice"'
    # so that the page can read what is wrong
    assert reply.headers["access-control-allow-origin"] \
        == "https://app.example.com"
    assert reply.json()["type"] == "urn:sluice:problem:unauthorized"

    # what a client promises is never asked for
    reply = send(front, head(b"x" * 1000000, Expect="100-continue"))
    assert reply.status == 401

    h2 = H2(front, authorization="Bearer nonsense")
    h2.send(form(part(png(100000))))
    status, body = h2.reply()
    assert status == 401
    assert json.loads(body)["detail"] == "The token is not valid."
    h2.close()
    assert kafka.records(topic) == []


def test_a_summary_shows_the_subjects_rows_alone(nginx, secret, rows):
    front = nginx("""
        location = /summary {
            sluice_summary;
            sluice_jwt_key %s alg=HS256;
            sluice_customer $sluice_jwt_sub;
        }""" % secret, http='sluice_postgres "@POSTGRES@";')
    rows.add("a.jpg", customer="acme")
    rows.add("b.jpg", customer="umbrella")
    for sub, name in ("acme", "a.jpg"), ("umbrella", "b.jpg"):
        answer = get(front, mint(Hs256(), sub=sub), path="/summary")
        assert [f["file"] for f in answer.json()["files"]] == [name]
    assert get(front, mint(Hs256(), sub="acme"),
               path="/summary?customer=umbrella").status == 403
    answer = get(front, path="/summary")
    assert answer.status == 401
    assert answer.json()["type"] == "urn:sluice:problem:unauthorized"


@pytest.mark.parametrize("line, why", [
    ("sluice_jwt_key @DIR@/missing;", "cannot read keys from"),
    ("sluice_jwt_key @DIR@;", "it is not a file"),
    ("sluice_jwt_key %s;", "a secret needs alg=HS256"),
    ("sluice_jwt_key %s alg=none;", 'invalid parameter "alg=none"'),
    ("sluice_jwt_key %s HS256;", 'invalid parameter "HS256"'),
    ("sluice_jwt_key %s.short alg=HS256;", "shorter than 32 bytes"),
    ("sluice_jwt_key off; sluice_jwt_key %s alg=HS256;", 'beside "off"'),
    ("sluice_jwt_key %s alg=HS256; sluice_jwt_key off;", "beside a key"),
    ("sluice_jwt_key off alg=HS256;", 'after "off"'),
    (9 * "sluice_jwt_key %s alg=HS256;", "more than 8 times"),
    ('sluice_jwt_issuer "";', "must not be empty"),
    ("sluice_jwt_issuer a; sluice_jwt_issuer b;", "is duplicate"),
    ("sluice_jwt_leeway 2h;", "longer than 1h"),
    ("sluice_jwt_leeway soon;", "invalid value"),
    ("sluice_token_key %s alg=HS256;", "sluice_token_key"),
])
def test_bad_settings_stop_the_test_of_the_configuration(
        nginx_test, secret, keys, line, why):
    keys("secret.short", b"too short\n")
    status, output = nginx_test(line.replace("%s", secret))
    assert status != 0
    assert why in output
    assert "nginx.conf:" in output


API = """
map_hash_bucket_size 128;
map $sluice_api_key_hash $customer {
    default "";
    # printf %%s KEY | sha256sum
    %s acme;
    %s umbrella;
}
""" + KAFKA


def test_two_api_keys_are_two_customers(nginx, kafka, topic):
    ours = ["k-5d1f0c8e9b7a4c36", "k-0e6a2f4b8d9c7153"]
    front = nginx("""
        location = /upload {
            sluice_upload main topic=@TOPIC@;
            sluice_customer $customer;
        }""", http=API % tuple(hashlib.sha256(k.encode()).hexdigest()
                               for k in ours))
    for key in ours:
        reply = post(front, form(part(png(100))), X_API_Key=key)
        assert reply.status == 202, reply.body
    assert sorted(r.headers["ce_customer"] for r in kafka.records(topic)) \
        == ["acme", "umbrella"]

    hashed = hashlib.sha256(ours[0].encode()).hexdigest()
    for headers in ({}, {"X_API_Key": "k-guess"}, {"X_API_Key": ""},
                    {"X_API_Key": hashed}):
        assert post(front, form(part(png(100))), **headers).status == 403
