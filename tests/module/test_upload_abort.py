"""Clients that leave: nothing of theirs stays behind."""

import pytest

from upload_forms import (H2, connect, fds, form, head, part, png, post,
                          rss_kb, sanitized)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
sluice_partial 2m;
sluice_inflight 2m;
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_ack_timeout 60s;
}
"""


@pytest.fixture
def front(nginx, topic):
    n = nginx(SERVER, http=HTTP)
    # the connections to Kafka are there after the first
    assert post(n, form(part(png(1000)))).status == 202
    return n


def as_before(front, until, before):
    """No connection, timer or byte of a budget is left."""
    pid, = front.workers()
    until(lambda: fds(pid) <= before, 30, "%d fds" % before)
    body = form(*[part(png(250000, n)) for n in range(10)])
    assert post(front, body).status == 202
    assert "[alert]" not in front.errors()
    assert "[emerg]" not in front.errors()


def test_a_client_may_leave_at_every_position(front, kafka, topic, until):
    body = form(part(png(300), filename="one.png"),
                part(png(5000, 1), filename="two.png"),
                part(b"", filename="three.png"))
    raw = head(body) + body
    before = fds(front.workers()[0])

    whole = len(raw)
    for at in list(range(1, 900)) + list(range(900, whole - 400, 97)) \
            + list(range(whole - 400, whole)):
        with connect(front) as s:
            s.sendall(raw[:at])

    as_before(front, until, before)
    # a part is stored whole or not at all
    assert {r.value for r in kafka.records(topic)} <= {
        png(300), png(5000, 1), png(1000), *[png(250000, n)
                                             for n in range(10)]}


@pytest.mark.full
def test_ten_thousand_aborts_leave_nothing(nginx, topic, until):
    front = nginx(SERVER, http=HTTP, plain=True)
    assert post(front, form(part(png(1000)))).status == 202
    body = form(part(png(300)), part(png(5000, 1)), part(b"", filename="x"))
    raw = head(body) + body
    pid, = front.workers()
    before = fds(pid)

    def leave(times):
        for n in range(times):
            with connect(front) as s:
                s.sendall(raw[:1 + n * 37 % (len(raw) - 1)])
        until(lambda: fds(pid) <= before, 60)

    leave(2000)
    settled = rss_kb(pid)
    leave(8000)
    assert rss_kb(pid) - settled < 2000
    as_before(front, until, before)


def test_many_half_files_leave_no_memory(front, until):
    body = form(part(png(300000)))
    raw = head(body) + body[:290000]
    pid, = front.workers()
    before = fds(pid)

    def one_round():
        clients = []
        for _ in range(20):
            s = connect(front)
            s.sendall(raw)
            clients.append(s)
        for s in clients:
            s.close()
        until(lambda: fds(pid) <= before, 30)

    for _ in range(5):
        one_round()
    settled = rss_kb(pid)
    for _ in range(20):
        one_round()
    # 400 of them are 116 MB; the sanitizer keeps what is freed for a while
    if not sanitized():
        assert rss_kb(pid) < settled + 20000
    as_before(front, until, before)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_h2_clients_may_leave_too(front, until, how):
    body = form(part(png(300)), part(png(100000, 1)))
    before = fds(front.workers()[0])
    for at in list(range(0, 600, 13)) + [5000, 50000, len(body) - 1]:
        client = H2(front)
        client.send(body[:at], end=False)
        if how == "reset":
            client.reset()
        client.close()
    as_before(front, until, before)


@pytest.mark.parametrize("h2", [False, True])
def test_a_client_that_leaves_while_reports_are_awaited_is_noticed(
        nginx, kafka, topic, until, h2):
    front = nginx(SERVER, http=HTTP, level="debug")
    assert post(front, form(part(png(1000)))).status == 202
    before = fds(front.workers()[0])
    body = form(part(png(1000, 1)))

    def awaited():
        return front.errors().count("upload waits for reports") == 2

    kafka.freeze()
    try:
        if h2:
            client = H2(front)
            client.send(body)
            until(awaited, 30)
            client.reset()
        else:
            s = connect(front)
            s.sendall(head(body) + body)
            until(awaited, 30)
            s.close()
        until(lambda: " 499 " in open(front.access_log).read(), 30)
        if h2:
            client.close()
    finally:
        kafka.thaw()
    # what had been handed over is stored
    kafka.wait_records(topic, 2)
    as_before(front, until, before)


def test_a_slow_client_is_cut_by_nginxs_own_timeout(nginx, topic, until):
    front = nginx(SERVER.replace("}", "client_body_timeout 1s;\n}"),
                  http=HTTP)
    assert post(front, form(part(png(1000)))).status == 202
    before = fds(front.workers()[0])
    body = form(part(png(1000)))
    s = connect(front)
    s.sendall(head(body) + body[:500])
    assert s.recv(100) == b""
    s.close()
    assert " 408 " in open(front.access_log).read()
    as_before(front, until, before)
