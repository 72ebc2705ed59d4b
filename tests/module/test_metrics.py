"""sluice_metrics: what was counted is what was posted."""

import os
import signal
import threading

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics)
from prometheus_client.parser import (
    text_string_to_metric_families as prometheus)

from stack import client
from upload_forms import (H2, connect, form, head, part, png, post,
                          read_reply, send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
sluice_kafka "qu\\"ote" {
    bootstrap.servers @KAFKA@;
}
sluice_kafka unused {
    bootstrap.servers 127.0.0.1:1;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_types image/png;
    sluice_max_files 5;
}
location = /small {
    client_max_body_size 1k;
    sluice_upload "qu\\"ote" topic=@TOPIC@;
}
location = /metrics { sluice_metrics; }
location = /else { return 200; }
"""
OPENMETRICS = ("application/openmetrics-text;version=1.0.0;"
               "escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,"
               "*/*;q=0.2")


def families(front, accept=None):
    """The parsed text, by the parser of the type that was sent."""
    got = client.get(front.url + "/metrics",
                     {"Accept": accept} if accept else {"Accept": "*/*"})
    assert got.status == 200
    kind = got.headers["content-type"]
    if kind.startswith("application/openmetrics-text; version=1.0.0"):
        return list(openmetrics(got.body.decode()))
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    return list(prometheus(got.body.decode()))


def samples(front, accept=None):
    """name{label="value",...} -> number, labels in order of their names."""
    found = {}
    for family in families(front, accept):
        for s in family.samples:
            key = s.name
            if s.labels:
                key += "{%s}" % ",".join('%s="%s"' % i
                                         for i in sorted(s.labels.items()))
            assert key not in found, key
            found[key] = s.value
    return found


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP, workers=2)


@pytest.mark.parametrize("accept,kind", [
    ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    (None, "text/plain; version=0.0.4; charset=utf-8"),
    (OPENMETRICS,
     "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ("application/openmetrics-text;q=0.1, text/plain;q=0.5",
     "text/plain; version=0.0.4; charset=utf-8"),
    ("application/openmetrics-text;q=0",
     "text/plain; version=0.0.4; charset=utf-8")])
def test_openmetrics_is_for_who_asks_for_it(front, accept, kind):
    """And the text ends in # EOF there alone; both are what it says."""
    raw = b"GET /metrics HTTP/1.0\r\n"
    if accept:
        raw += b"Accept: " + accept.encode() + b"\r\n"
    reply = send(front, raw + b"\r\n")
    assert reply.headers["content-type"] == kind
    assert reply.body.endswith(b"# EOF\n") == ("openmetrics" in kind)
    assert b"_created" not in reply.body
    assert samples(front, accept)


def test_both_formats_say_the_same(front, until):
    post(front, form(part(png(100))))
    until(lambda: samples(front)['sluice_uploads_total{code="202"}'] == 1, 20)
    one, other = samples(front), samples(front, OPENMETRICS)
    assert one == other and len(one) > 40
    for family in families(front, OPENMETRICS):
        assert family.name.startswith("sluice_")
        assert family.documentation and family.type != "unknown"


def test_every_metric_is_in_the_reference(front):
    from stack import place
    with open(os.path.join(place.ROOT, "docs/module.md")) as f:
        page = f.read()
    for family in families(front):
        for name in {s.name for s in family.samples}:
            name = name.replace("_seconds_bucket", "_seconds").replace(
                "_seconds_sum", "_seconds").replace("_seconds_count",
                                                    "_seconds")
            assert "`%s`" % name in page, name


def test_what_was_posted_is_what_was_counted(front, kafka, topic, until):
    """By two workers, over HTTP/1.1 and HTTP/2, refused or not."""
    sizes = [100, 5000, 200000]
    good = form(*[part(png(n, n)) for n in sizes])
    for _ in range(10):
        assert post(front, good).status == 202
    mixed = form(part(png(400000)), part(b"text"), part(b""), part(png(100)))
    assert post(front, mixed).status == 202
    assert post(front, good[:-60]).status == 400
    assert post(front, form(part(b"text"))).status == 415
    assert post(front, form(*[part(png(9, n)) for n in range(6)])).status \
        == 413
    assert post(front, good, kind="text/plain").status == 415
    assert post(front, good, path="/small").status == 413
    assert send(front, b"GET /upload HTTP/1.0\r\n\r\n").status == 405
    stream = H2(front)
    stream.send(good)
    assert stream.reply()[0] == 202
    stream.close()
    client.get(front.url + "/else")

    # an answer is counted when it is logged, and the client is quicker
    until(lambda: sum(v for k, v in samples(front).items()
                      if k.startswith("sluice_uploads_total")) == 18, 20)
    found = samples(front, OPENMETRICS)

    def files(status, reason=None):
        label = 'status="%s"' % status
        if reason:
            label = 'reason="%s",' % reason + label
        return found["sluice_files_total{%s}" % label]

    accepted = 10 * 3 + 1 + 2 + 5 + 3
    assert files("accepted") == accepted == len(kafka.records(topic))
    assert files("unknown") == 0
    assert files("rejected", "too_large") == 1
    assert files("rejected", "type_not_allowed") == 2
    assert files("rejected", "empty") == 1
    assert files("rejected", "incomplete") == 1
    assert files("rejected", "unavailable") == 0

    codes = {c: found['sluice_uploads_total{code="%s"}' % c]
             for c in ("200", "202", "400", "405", "413", "415", "499",
                       "503", "other")}
    assert codes == {"200": 0, "202": 12, "400": 1, "405": 1, "413": 2,
                     "415": 2, "499": 0, "503": 0, "other": 0}
    assert found["sluice_uploads_begun_total"] == 15

    assert found["sluice_ack_seconds_count"] == accepted
    assert found['sluice_ack_seconds_bucket{le="+Inf"}'] == accepted
    assert found["sluice_ack_seconds_sum"] >= 0
    acked = 11 * sum(sizes) + 100 + sizes[0] + sizes[1] + 5 * 9
    assert found["sluice_acked_bytes_total"] == acked
    assert found["sluice_received_bytes_total"] >= acked + 400000

    for gauge in ("open_uploads", "held_uploads", "inflight_bytes",
                  "partial_bytes"):
        assert found["sluice_" + gauge] == 0, gauge
    assert found["sluice_workers"] == 2
    assert found["sluice_inflight_limit_bytes"] == 2 * 64 * 1024 * 1024
    assert found['sluice_kafka_up{kafka="main"}'] == 1
    assert found['sluice_kafka_up{kafka="qu"ote"}'] == 1
    assert not any("unused" in name for name in found)


def test_gauges_follow_uploads_on_any_worker(front, until):
    """Asked of whichever worker answers."""
    body = form(part(png(200000)))
    slow = [connect(front) for _ in range(6)]
    for s in slow:
        s.sendall(head(body) + body[:100000])

    def gauge(name):
        return samples(front)["sluice_" + name]

    until(lambda: gauge("open_uploads") == 6
          and gauge("partial_bytes") >= 6 * 90000, 30)
    for s in slow[:3]:
        s.sendall(body[100000:])
        assert read_reply(s).status == 202
    until(lambda: gauge("open_uploads") == 3, 30)
    for s in slow:
        s.close()
    until(lambda: gauge("open_uploads") == 0
          and gauge("partial_bytes") == 0, 30)
    until(lambda: samples(front)['sluice_uploads_total{code="400"}'] == 3, 20)
    assert samples(front)["sluice_uploads_aborted_total"] == 3


def test_counters_go_on_after_a_reload_and_a_killed_worker(front, kafka,
                                                           topic, until):
    body = form(part(png(1000)), part(png(2000)))
    slow = connect(front)
    slow.sendall(head(body) + body[:500])
    for _ in range(4):
        assert post(front, body).status == 202
    front.reload()
    for _ in range(4):
        assert post(front, body).status == 202
    found = samples(front)
    assert found['sluice_files_total{status="accepted"}'] == 16
    assert found["sluice_open_uploads"] == 1            # of an old worker
    assert found["sluice_workers"] == 3

    slow.sendall(body[500:])
    assert read_reply(slow).status == 202
    until(lambda: samples(front)["sluice_workers"] == 2, 30)
    assert samples(front)['sluice_files_total{status="accepted"}'] == 18

    # whoever is killed with an upload open leaves no ghost of it
    slow = [connect(front) for _ in range(8)]
    for s in slow:
        s.sendall(head(body) + body[:500])
    until(lambda: samples(front)["sluice_open_uploads"] == 8, 30)
    before = front.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(front.workers()) - set(before)) == 2, 30)
    until(lambda: post(front, body).status == 202, 30)
    found = samples(front)
    assert found["sluice_open_uploads"] == 0
    assert found["sluice_partial_bytes"] == 0
    assert found["sluice_workers"] == 2
    assert found['sluice_files_total{status="accepted"}'] == 20
    for s in slow:
        s.close()


def test_fewer_workers_after_a_reload_leave_no_gauge(nginx, topic, until):
    front = nginx(SERVER, http=HTTP, workers=4)
    until(lambda: samples(front)["sluice_workers"] == 4, 30)
    front.workers_wanted = 1
    front.write(SERVER, http=HTTP)
    front.reload()
    until(lambda: samples(front)["sluice_workers"] == 1, 30)


def test_a_broker_that_goes_is_seen_on_all_workers(nginx, ground, place_of,
                                                   until):
    from stack.kafka import Kafka
    away = Kafka(os.path.join(place_of, "kafka"))
    try:
        front = nginx(SERVER, http=HTTP, workers=2, values={
            "KAFKA": away.bootstrap, "TOPIC": "uploads"})

        def up():
            return samples(front)['sluice_kafka_up{kafka="main"}']

        until(lambda: up() == 0, 30)
        found = samples(front)
        assert found["sluice_producer_errors_total"] > 0
        away.start()
        away.create_topic("uploads")
        until(lambda: up() == 1, 60)
    finally:
        if away.alive():
            away.stop()


def test_an_answer_is_counted_whoever_waits(front, kafka, until):
    """unknown and 503, and acknowledgements that come too late."""
    body = form(part(png(1000)))
    assert post(front, body).status == 202
    front.write(SERVER.replace("sluice_max_files 5;", "sluice_max_files 5; "
                               "sluice_ack_timeout 2s;"), http=HTTP)
    front.reload()
    assert post(front, body).status == 202
    kafka.freeze()
    try:
        replies = []
        threads = [threading.Thread(
            target=lambda: replies.append(post(front, body).status))
            for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert replies == [503] * 3
        until(lambda: samples(front)['sluice_uploads_total{code="503"}'] == 3,
              20)
        found = samples(front)
        # those behind the first were never handed over
        unknown = found['sluice_files_total{status="unknown"}']
        assert unknown >= 1
        assert unknown + found['sluice_files_total{reason="unavailable",'
                               'status="rejected"}'] == 3
        assert found["sluice_ack_timeouts_total"] == 3
        assert found["sluice_undelivered_total"] == 0
    finally:
        kafka.thaw()
    until(lambda: samples(front)["sluice_inflight_bytes"] == 0, 60)
    assert samples(front)["sluice_delivered_late_total"] == unknown


def test_only_get_is_answered(front):
    assert send(front, b"POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: "
                b"close\r\nContent-Length: 2\r\n\r\nab").status == 405
    reply = send(front, b"HEAD /metrics HTTP/1.0\r\n\r\n")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) > 1000
