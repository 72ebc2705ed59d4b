"""processor/io/redis_tls.c, where hiredis has TLS; else its refusal."""

import datetime
import ipaddress
import os

import pytest

from io_driver import has_tls
from stack import ports
from stack.redis import Redis

needs_tls = pytest.mark.skipif(not has_tls(), reason="hiredis without TLS")


class Authority:
    """Writes PEM files into directory."""

    def __init__(self, directory, name):
        self.dir = directory
        self.key, self.cert = self.make(name, None)
        self.file = self.write(name + ".crt", self.cert)

    def make(self, name, issuer, sans=()):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(
            x509.oid.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.utcnow()
        build = (x509.CertificateBuilder().subject_name(subject)
                 .issuer_name(self.cert.subject if issuer else subject)
                 .public_key(key.public_key())
                 .serial_number(x509.random_serial_number())
                 .not_valid_before(now - datetime.timedelta(days=1))
                 .not_valid_after(now + datetime.timedelta(days=9))
                 .add_extension(x509.BasicConstraints(not issuer, None),
                                critical=True))
        if sans:
            build = build.add_extension(
                x509.SubjectAlternativeName(sans), False)
        return key, build.sign(issuer or key, hashes.SHA256())

    def issue(self, name, *sans):
        """(certificate's file, key's file)"""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization as s
        names = []
        for n in sans:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(n)))
            except ValueError:
                names.append(x509.DNSName(n))
        key, cert = self.make(name, self.key, names)
        path = os.path.join(self.dir, name + ".key")
        with open(path, "wb") as f:
            f.write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8,
                                      s.NoEncryption()))
        return self.write(name + ".crt", cert), path

    def write(self, name, cert):
        from cryptography.hazmat.primitives import serialization as s
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(cert.public_bytes(s.Encoding.PEM))
        return path


@pytest.fixture
def authority(place_of):
    return Authority(place_of, "ca")


@pytest.fixture
def server(place_of, authority):
    """A Redis whose certificate bears the given names; clients: whether it
    wants one of theirs."""
    def start(*names, clients="no"):
        cert, key = authority.issue("server", *names)
        port = ports.free()
        r = Redis(os.path.join(place_of, "redis"),
                  "tls-port %d\ntls-cert-file %s\ntls-key-file %s\n"
                  "tls-ca-cert-file %s\ntls-auth-clients %s"
                  % (port, cert, key, authority.file, clients))
        r.plain = r.address
        r.address = "127.0.0.1:%d" % port
        started.append(r)
        return r.start()
    started = []
    yield start
    for r in started:
        r.thaw()
        r.kill()


@pytest.fixture
def driver(drivers):
    def start(server, *more, timeout_ms=2000):
        return drivers("redis", server.address, server.user,
                       server.password_file, timeout_ms, "tls=1", *more)
    return start


@pytest.mark.skipif(has_tls(), reason="hiredis with TLS")
def test_a_build_without_tls_refuses_the_setting(driver, redis):
    rc, text = driver(redis).ask("check")
    assert rc == "reject" and "hiredis_ssl" in text


@needs_tls
def test_a_server_of_our_authority_and_name_is_spoken_to(server, driver,
                                                         authority):
    r = server("127.0.0.1")
    d = driver(r, "tls_ca=" + authority.file)
    assert d.ask("check") == ("ok", "")
    assert d.ask("do", "HSET", "sluice:t", "f", "x" * 100000) == ("ok", "1")
    assert d.ask("do", "HGET", "sluice:t", "f") == ("ok", repr("x" * 100000))
    assert d.ask("script", "sluice:t", "1")[0] == "ok"
    assert d.ask("probe", "sluice:")[1].startswith("standalone, TLS; ")


@needs_tls
def test_a_certificate_of_another_authority_is_refused(server, driver,
                                                       place_of, authority):
    r = server("127.0.0.1")
    other = Authority(place_of, "other")
    rc, text = driver(r, "tls_ca=" + other.file).ask("do", "PING")
    assert rc == "retry" and "tls" in text and "certificate" in text
    rc, text = driver(r).ask("do", "PING")
    assert rc == "retry" and "tls" in text and "certificate" in text


@needs_tls
def test_a_certificate_of_another_name_is_refused(server, driver, authority):
    r = server("redis.example.org")
    ca = "tls_ca=" + authority.file
    rc, text = driver(r, ca).ask("do", "PING")
    assert rc == "retry" and "mismatch" in text.lower()
    rc, text = driver(r, ca, "tls_name=db.example.org").ask("do", "PING")
    assert rc == "retry" and "mismatch" in text.lower()
    assert driver(r, ca, "tls_name=redis.example.org").ask("do", "PING") \
        == ("ok", "'PONG'")


@needs_tls
def test_a_server_may_want_our_certificate(server, driver, authority):
    r = server("127.0.0.1", clients="yes")
    ca = "tls_ca=" + authority.file
    rc, text = driver(r, ca).ask("do", "PING")
    assert rc == "retry"
    cert, key = authority.issue("client")
    more = [ca, "tls_cert=" + cert, "tls_key=" + key]
    assert driver(r, *more).ask("do", "PING") == ("ok", "'PONG'")


@needs_tls
def test_files_that_are_missing_are_named(server, driver, authority):
    r = server("127.0.0.1")
    rc, text = driver(r, "tls_ca=/nowhere/ca.pem").ask("do", "PING")
    assert rc == "retry" and "/nowhere/ca.pem" in text
    rc, text = driver(r, "tls_ca=" + authority.file, "tls_cert=/nowhere/c",
                      "tls_key=/nowhere/k").ask("do", "PING")
    assert rc == "retry" and "/nowhere/c" in text


@needs_tls
def test_a_frozen_server_is_given_up_in_time(server, driver, authority,
                                             until):
    r = server("127.0.0.1")
    ca = "tls_ca=" + authority.file
    old, new = driver(r, ca, timeout_ms=500), driver(r, ca, timeout_ms=500)
    assert old.ask("do", "HSET", "sluice:t", "a", "1") == ("ok", "1")
    r.freeze()
    try:
        for d in (old, new):
            rc, text = d.ask("do", "HGET", "sluice:t", "a", timeout=20)
            assert rc == "retry" and "no answer in time" in text
    finally:
        r.thaw()
    for d in (old, new):
        until(lambda: d.ask("do", "EXISTS", "sluice:t") == ("ok", "1"))
        assert d.ask("do", "HGET", "sluice:t", "b") == ("ok", "nil")


@needs_tls
def test_a_server_without_tls_is_an_error(server, driver, authority):
    r = server("127.0.0.1")
    r.address = r.plain
    rc, text = driver(r, "tls_ca=" + authority.file,
                      timeout_ms=500).ask("do", "PING")
    assert rc == "retry" and "tls" in text
