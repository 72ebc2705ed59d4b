"""Uploads over HTTP/3, by curl: the promises of HTTP/1.1 and HTTP/2 hold.

Collected where nginx has ngx_http_v3_module and curl speaks HTTP/3, as in
Debian 13; conftest.py says so where they don't.
"""

import hashlib
import json
import subprocess
import threading

import pytest

from stack import ports
from upload_forms import KIND, form, part, png, post

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
log_format told '$server_protocol $status $sluice_files $sluice_bytes';
access_log @DIR@/told.log told;
%s
"""
SERVER = """
listen 127.0.0.1:@H3PORT@ quic reuseport;
keepalive_timeout 5s;
client_body_timeout 5s;
ssl_certificate     @DIR@/cert.pem;
ssl_certificate_key @DIR@/key.pem;
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_types image/png;
    sluice_max_files 50;
    sluice_max_file_size 8m;
    sluice_ack_timeout 8s;
}
location = /customer {
    sluice_upload main topic=@TOPIC@;
    sluice_customer $http_x_customer;
}
location = /small {
    client_max_body_size 10k;
    sluice_upload main topic=@TOPIC@;
}
location = /events { sluice_produce main topic=@TOPIC@ split=lines; }
location = /health { sluice_health; }
location = /metrics { sluice_metrics; }
"""


@pytest.fixture
def start(nginx, topic, place_of):
    """nginx(http=...) with a certificate, its h3_port set."""
    def make(http="", **kw):
        port = ports.free()
        front = nginx(SERVER, http=HTTP % http, start=False,
                      values={"H3PORT": port}, **kw)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-keyout", front.dir + "/key.pem",
             "-out", front.dir + "/cert.pem"], check=True,
            stderr=subprocess.DEVNULL)
        front.h3_port = port
        return front.start()
    return make


@pytest.fixture
def front(start):
    return start()


def command(front, *arguments, path="/upload"):
    return ["curl", "-s", "-k", "-m", "60", "--http3-only", "-w",
            "\n%{http_version} %{http_code}", *arguments,
            "https://127.0.0.1:%d%s" % (front.h3_port, path)]


def h3(front, *arguments, body=None, path="/upload", kind=KIND):
    """(status, parsed JSON or text); the body by Content-Length."""
    if body is not None:
        arguments += ("--data-binary", "@-", "-H", "Content-Type: " + kind)
    done = subprocess.run(command(front, *arguments, path=path), input=body,
                          stdout=subprocess.PIPE)
    text, _, last = done.stdout.decode().rpartition("\n")
    version, status = last.split()
    assert version == "3" or status == "000", last
    try:
        return int(status), json.loads(text)
    except ValueError:
        return int(status), text


def test_files_arrive_whole(front, kafka, topic):
    files = [png(n, n) for n in (9, 100, 5000, 65536, 300000, 500000)]
    status, said = h3(front, body=form(*[part(f) for f in files]))
    assert status == 202, said
    assert [f["status"] for f in said["files"]] == ["accepted"] * len(files)
    records = kafka.records(topic)
    assert sorted(r.value for r in records) == sorted(files)
    for r in records:
        assert r.key.decode() == hashlib.sha256(r.value).hexdigest()
    with open(front.dir + "/told.log") as f:
        assert f.read().split() == ["HTTP/3.0", "202", str(len(files)),
                                    str(sum(map(len, files)))]


def test_a_body_without_length_is_taken(front, kafka, topic):
    """HTTP/3 has no chunked; curl sends DATA until the stream's end."""
    data = png(400000)
    done = subprocess.run(
        command(front, "-X", "POST", "-T", "-", "-H", "Content-Type: " + KIND),
        input=form(part(data)), stdout=subprocess.PIPE)
    assert done.stdout.endswith(b"\n3 202"), done.stdout
    record, = kafka.records(topic)
    assert record.value == data


def test_refused_files_leave_the_others_alone(front, kafka, topic):
    good = png(5000)
    status, said = h3(front, body=form(
        part(png(8400000), filename="large.png"), part(b"text"),
        part(good, filename="good.png"), part(b"", filename="none.png")))
    assert status == 202
    assert [f.get("reason", f["status"]) for f in said["files"]] == [
        "too_large", "type_not_allowed", "accepted", "empty"]
    assert [r.value for r in kafka.records(topic)] == [good]


@pytest.mark.parametrize("size", [100, 2000000])
def test_who_is_refused_before_the_body_gets_the_answer(front, kafka, topic,
                                                        size):
    """Small bodies are dropped, of large ones nothing is waited for."""
    body = form(part(png(size)))
    status, said = h3(front, body=body, path="/customer")
    assert (status, said["type"]) == (403, "urn:sluice:problem:customer")
    status, said = h3(front, body=body, kind="text/plain")
    assert (status, said["type"]) == (415, "urn:sluice:problem:content-type")
    status, page = h3(front, body=form(part(png(20000))), path="/small")
    assert status == 413
    assert kafka.records(topic) == []
    assert h3(front, body=form(part(png(100))))[0] == 202


def test_reading_stops_at_too_many_files(front):
    status, said = h3(front, body=form(*[part(png(50000, n))
                                         for n in range(60)]))
    assert (status, said["type"]) == (413, "urn:sluice:problem:too-many-files")
    assert len(said["files"]) == 50


def test_events_arrive(front, kafka, topic):
    lines = b"".join(b'{"n":%d}\n' % n for n in range(1000))
    status, said = h3(front, body=lines, path="/events",
                      kind="application/x-ndjson")
    assert status == 202, said
    assert len(kafka.records(topic)) == 1000


def test_a_client_that_leaves_leaves_nothing(front, kafka, topic, until):
    """Killed in the middle of its body, several times."""
    body = form(part(png(1000)), part(png(7000000)))
    for n in range(5):
        p = subprocess.Popen(
            command(front, "-X", "POST", "-T", "-", "-H",
                    "Content-Type: " + KIND, "--limit-rate", "500k"),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        feed = threading.Thread(target=feed_to, args=(p, body))
        feed.start()
        kafka.wait_records(topic, n + 1)
        p.kill()
        p.wait()
        feed.join(30)

    def over():
        said = h3(front, path="/metrics")[1]
        return "sluice_open_uploads 0\n" in said \
            and "sluice_partial_bytes 0\n" in said

    # QUIC tells nothing of a killed peer: nginx's own timeouts do
    until(over, 90)
    assert len(kafka.records(topic)) == 5


def feed_to(p, body):
    try:
        p.stdin.write(body)
        p.stdin.close()
    except OSError:
        pass


def test_clients_are_held_back_and_go_on(start, kafka, topic, until):
    """More than both budgets, by three at a time, with a broker that stops."""
    front = start("sluice_inflight 256k; sluice_partial 256k;")
    bodies = [form(*[part(png(100000, 10 * n + m)) for m in range(20)])
              for n in range(3)]
    replies = []
    assert h3(front, body=form(part(png(9))))[0] == 202
    kafka.freeze()
    try:
        threads = [threading.Thread(
            target=lambda b=b: replies.append(h3(front, body=b)[0]))
            for b in bodies]
        for t in threads:
            t.start()
        until(lambda: "sluice_held_uploads 3\n" in h3(
            front, path="/metrics")[1], 8)
    finally:
        kafka.thaw()
    for t in threads:
        t.join(60)
    assert replies == [202] * 3
    assert len(kafka.records(topic)) == 61


def test_a_reload_takes_no_accepted_file_with_it(front, kafka, topic, until):
    """Old and new workers read one UDP socket, so nginx may lose connections
    that are under way; what was answered is stored, and new ones are served.
    """
    data = png(400000)
    p = subprocess.Popen(
        command(front, "-X", "POST", "-T", "-", "-H", "Content-Type: " + KIND,
                "--limit-rate", "100k"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feed = threading.Thread(target=feed_to, args=(p, form(part(data))))
    feed.start()
    until(lambda: "sluice_open_uploads 1\n" in h3(front, path="/metrics")[1],
          30)
    old = front.workers()
    front.reload()
    until(lambda: h3(front, "-m", "3", body=form(part(png(100))))[0] == 202,
          60)
    # communicate() would flush what the thread may have closed
    out = p.stdout.read().decode()
    p.wait(60)
    feed.join(30)
    found = [r.value for r in kafka.records(topic)]
    # the answer itself may be among what nginx loses
    assert data in found or not out.endswith("3 202")
    until(lambda: not set(old) & set(front.pids()), 60)


def test_many_uploads_share_the_worker_with_other_protocols(front, kafka,
                                                            topic):
    body = form(*[part(png(20000, n)) for n in range(5)])
    replies = []

    def one(n):
        replies.append(h3(front, body=body)[0] if n % 2
                       else post(front, body).status)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert replies == [202] * 12
    assert len(kafka.records(topic)) == 60
