"""Metrics, health and backlog over HTTP: what is said is so, and what isn't
known isn't said."""

import http.client
import json
import os
import re
import socket
import stat
import subprocess

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from stack import place, ports
from stack.processor import binary
from uploads import now_ms

PAGE = os.path.join(place.ROOT, "docs/processor.md")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Monitor:
    """Asks a processor."""

    def __init__(self, listen):
        self.listen = listen

    def connection(self):
        if self.listen.startswith("unix:"):
            return UnixConnection(self.listen[len("unix:"):])
        return http.client.HTTPConnection(*self.listen.rsplit(":", 1),
                                          timeout=20)

    def ask(self, path, method="GET", **headers):
        c = self.connection()
        try:
            c.request(method, path, headers=headers)
            r = c.getresponse()
            return r.status, r.read().decode(), dict(r.getheaders())
        finally:
            c.close()

    def answers(self):
        try:
            return self.ask("/healthz")[0] == 200
        except OSError:
            return False

    def json(self, path):
        status, text, headers = self.ask(path)
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(text)

    def families(self):
        return {f.name: f for f in text_string_to_metric_families(
            self.ask("/metrics")[1])}

    def values(self, name):
        """{labels' values: value} of a metric's samples."""
        return {tuple(sorted(s.labels.items())): s.value
                for f in self.families().values() for s in f.samples
                if s.name == "sluice_processor_" + name}

    def value(self, name, **labels):
        """The sum of those that have the labels."""
        return sum(v for k, v in self.values(name).items()
                   if set(labels.items()) <= set(k))


@pytest.fixture
def monitored(processor, ini, until):
    def start(listen=None, wait=True, **settings):
        listen = listen or "127.0.0.1:%d" % ports.free()
        p = processor(ini(**settings) + "[http]\nlisten = %s\n" % listen)
        p.monitor = Monitor(listen)
        until(p.monitor.answers, 30, "an answer")
        if wait:
            p.wait_log("msg=taken")
        return p
    return start


def ready(monitor):
    try:
        return monitor.ask("/readyz")[0] == 200
    except OSError:
        return False


def backlog_is(monitor, messages):
    status, text, _ = monitor.ask("/backlog")
    return status == 200 and json.loads(text)["messages"] == messages


def page_metrics():
    """name -> type, of the reference's table."""
    with open(PAGE) as f:
        return dict(re.findall(r"^\| `((?:sluice_processor|process)_\w+)` \| "
                               r"(\w+) \|", f.read(), re.M))


def test_every_metric_of_the_page_is_served_in_both_formats_and_no_other(
        monitored, uploads, until):
    m = monitored().monitor
    uploads.send("one")
    uploads.flush()
    until(lambda: backlog_is(m, 0), 30, "no backlog")
    page = page_metrics()
    assert len(page) > 30

    status, text, headers = m.ask("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    plain = {f.name + ("_total" if f.type == "counter" else ""): f.type
             for f in text_string_to_metric_families(text)}
    assert plain == page

    status, text, headers = m.ask(
        "/metrics", Accept="application/openmetrics-text;version=1.0.0;q=0.9,"
                           "text/plain;version=0.0.4;q=0.5")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    strict = {f.name + ("_total" if f.type == "counter" else ""): f.type
              for f in openmetrics.text_string_to_metric_families(text)}
    assert strict == page

    _, _, headers = m.ask("/metrics", Accept="text/plain,"
                          "application/openmetrics-text;q=0.5")
    assert headers["Content-Type"].startswith("text/plain")


def test_records_are_counted_by_what_became_of_them(monitored, uploads,
                                                    until):
    p = monitored()
    m = p.monitor
    for i in range(30):
        uploads.send("file %d" % (i % 10), partition=0)
    uploads.flush()
    until(lambda: m.value("records_total", verdict="counted") == 30, 30,
          "30 counted")
    uploads.send("late", partition=0, ts=now_ms() - 20000)
    uploads.send("dead", partition=0, ce_sha256="0" * 64)
    uploads.flush()
    until(lambda: m.value("records_total") == 32, 30, "all counted")

    assert m.value("records_total", verdict="late") == 1
    assert m.value("records_total", verdict="dead") == 1
    new = m.value("members_total", seen="new")
    assert 10 <= new <= 30 and new + m.value("members_total",
                                             seen="known") == 30
    assert m.value("bytes_total") > 30 * len("file 0")
    assert m.value("batches_total") >= 1
    assert m.value("batch_seconds_count") >= m.value("batches_total")
    assert m.value("step_seconds_count", step="apply") >= 1
    assert m.value("assigned_total") == 4
    assert m.value("taken_total", state="none") == 4
    assert m.value("build_info") == 1
    for labels, lag in m.values("lag_messages").items():
        assert lag == 0, labels


def test_a_partition_that_stalls_shows_and_its_backlog_grows(
        monitored, uploads, redis, until):
    m = monitored().monitor
    until(lambda: ready(m), 30, "ready")
    uploads.send(b"x" * 1000, partition=1)
    uploads.flush()
    until(lambda: backlog_is(m, 0) and m.value("records_total") == 1, 30,
          "no backlog")
    redis.freeze()
    try:
        for i in range(50):
            uploads.send(b"y" * 996 + b"%04d" % i, partition=1)
        uploads.flush()
        until(lambda: backlog_is(m, 50), 30, "50 are left")
        status, found = m.json("/backlog")
        part, = [p for p in found["partitions"] if p["messages"]]
        assert part["partition"] == 1 and part["messages"] == 50
        assert found["bytes"] == part["bytes"] == 50 * 1000
        assert found["seconds"] == part["seconds"] >= 0
        until(lambda: m.value("partition_stalled_seconds", partition="1") > 0,
              30, "a stall")
        assert m.value("partition_stalled", partition="1") == 1
        assert m.value("failures_total") > 0
        assert m.value("partition_state", partition="1", state="taking") == 1
        status, found = m.json("/readyz")
        assert status == 503 and "is being taken" in found["reasons"][0]
        assert m.json("/healthz") == (200, {"status": "live"})
        assert backlog_is(m, 50)
    finally:
        redis.thaw()
    until(lambda: backlog_is(m, 0), 30, "no backlog")
    until(lambda: ready(m), 30, "ready")
    assert m.value("partition_stalled_seconds") == 0


def test_the_topic_of_pieces_is_told_of_as_well(monitored, topic, until):
    m = monitored(assemble_lanes=1).monitor
    until(lambda: ready(m) and backlog_is(m, 0), 60, "ready")
    found = m.json("/backlog")[1]["partitions"]
    assert sorted((p["topic"], p["partition"]) for p in found) == sorted(
        (t, p) for t in (topic, topic + ".chunks") for p in range(4))
    for t in (topic, topic + ".chunks"):
        assert m.value("lane_partitions", topic=t) == 4
        assert m.value("partition_state", topic=t, state="active") == 4


def test_a_backlog_that_is_not_known_is_no_number(ini, processor, until):
    nowhere = "127.0.0.1:%d" % ports.free()
    listen = "127.0.0.1:%d" % ports.free()
    p = processor(re.sub("bootstrap.servers = .*", "bootstrap.servers = "
                         + nowhere, ini())
                  + "[http]\nlisten = %s\n" % listen)
    m = Monitor(listen)
    until(m.answers, 30, "an answer")
    for _ in range(3):
        status, found = m.json("/backlog")
        assert status == 503 and "no partition" in found["error"]
        assert "messages" not in found
    assert m.json("/readyz")[0] == 503
    assert m.json("/healthz")[0] == 200


@pytest.mark.full
def test_with_kafka_away_the_backlog_is_not_known(monitored, uploads, kafka,
                                               until):
    m = monitored().monitor
    until(lambda: backlog_is(m, 0), 30, "no backlog")
    kafka.freeze()
    try:
        until(lambda: m.ask("/backlog")[0] == 503, 60, "unknown")
        assert list(m.json("/backlog")[1]) == ["error"]
        assert m.values("lag_messages") == {}
    finally:
        kafka.thaw()
    until(lambda: backlog_is(m, 0), 60, "no backlog")


def test_a_unix_socket_is_for_the_group_and_a_dead_ones_file_is_replaced(
        monitored, place_of, ini, processor):
    path = os.path.join(place_of, "s.sock")
    if len(path) > 100:
        path = os.path.join(place.temporary("s-"), "s.sock")
    p = monitored(listen="unix:" + path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert p.monitor.ask("/healthz")[0] == 200

    second = processor(ini(instance=1) + "[http]\nlisten = unix:%s\n" % path,
                       start=False)
    second.launch()
    assert second.process.wait(30) == 1
    assert "in use" in second.tail()
    assert p.monitor.ask("/healthz")[0] == 200

    p.kill()
    assert os.path.exists(path)
    p.start()
    p.wait_log("msg=taken")
    assert p.monitor.ask("/healthz")[0] == 200
    p.stop()
    assert not os.path.exists(path)


def test_clients_that_do_not_read_hold_up_nothing(monitored, uploads, settled,
                                                  until):
    m = monitored().monitor
    host, port = m.listen.split(":")
    slow = []
    try:
        for i in range(60):
            s = socket.create_connection((host, int(port)), timeout=10)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
                      + (b"\r\n" if i % 2 else b""))
            slow.append(s)
        for i in range(50):
            uploads.send("file %d" % i)
        uploads.flush()
        settled()
        assert m.ask("/healthz")[0] == 200
    finally:
        for s in slow:
            s.close()


def test_only_what_is_there_is_answered(monitored):
    m = monitored(wait=False).monitor
    assert m.ask("/")[0] == 404
    assert m.ask("/metrics/")[0] == 404
    status, _, headers = m.ask("/metrics", method="POST")
    assert status == 405 and headers["Allow"] == "GET, HEAD"
    status, text, headers = m.ask("/metrics", method="HEAD")
    assert status == 200 and text == ""
    assert int(headers["Content-Length"]) > 1000
    assert m.ask("/healthz?x=1")[0] == 200


@pytest.mark.parametrize("listen", [
    "9560", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "::1:9560",
    ":9560", "unix:run/s.sock", "unix:", "on", ""])
def test_a_listen_that_is_no_address_is_refused(listen, ini, place_of):
    path = os.path.join(place_of, "processor.ini")
    with open(path, "w") as f:
        f.write(ini() + "[http]\nlisten = %s\n" % listen)
    done = subprocess.run([binary(), "-c", path], text=True, timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1 and "[http] listen" in done.stdout


def test_a_port_that_is_taken_ends_the_start(monitored, ini, processor):
    p = monitored(wait=False)
    second = processor(ini(instance=1) + "[http]\nlisten = %s\n"
                       % p.monitor.listen, start=False)
    second.launch()
    assert second.process.wait(30) == 1
    assert "in use" in second.tail()


def test_a_process_killed_and_started_again_is_at_work_within_the_session(
        monitored, uploads, settled, until):
    """Static members: the group gives it its partitions back at once, not
    when the session of the dead one is over."""
    p = monitored(lanes=2)
    m = p.monitor
    for i in range(100):
        uploads.send("file %d" % i)
    uploads.flush()
    until(lambda: m.value("records_total") == 100, 30, "100 applied")
    p.kill()
    for i in range(100):
        uploads.send("file %d" % (i + 50))
    uploads.flush()
    p.start()
    until(lambda: ready(m) and backlog_is(m, 0), 30, "at work again")
    assert m.value("revoked_total") == 0
    settled()
