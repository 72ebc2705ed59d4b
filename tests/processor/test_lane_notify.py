"""Who listens to sluice_summary is told whose rows have changed."""

import json
import select
import time

import pytest


@pytest.fixture
def listener(dsn):
    made = Listener(dsn)
    yield made
    made.connection.close()


class Listener:
    def __init__(self, dsn):
        import psycopg2
        self.connection = psycopg2.connect(dsn)
        self.connection.autocommit = True
        with self.connection.cursor() as c:
            c.execute("LISTEN sluice_summary")
        self.heard = []

    def poll(self, seconds=0.2):
        select.select([self.connection], [], [], seconds)
        self.connection.poll()
        while self.connection.notifies:
            n = self.connection.notifies.pop(0)
            assert n.channel == "sluice_summary"
            self.heard.append(json.loads(n.payload))
        return self.heard

    def customers(self):
        return {c for n in self.poll() for c in n["customers"]}

    def wait(self, true, timeout=30):
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, self.heard


def test_a_flush_and_a_close_tell_whose_rows_changed(lane, uploads, topic,
                                                     listener, settled):
    names = {"", "a", 'Müller "x" \\ Söhne', "ключ"}
    lane()
    for customer in names:
        uploads.send("file", customer=customer)
    uploads.flush()
    listener.wait(lambda: listener.customers() == names)
    assert {n["pipeline"] for n in listener.heard} == {topic}
    listener.heard = []
    settled()
    listener.wait(lambda: listener.customers() == names)


def test_rows_of_one_flush_are_one_notification(lane, uploads, listener,
                                                summary, until):
    lane(flush_interval="2s", allowed_lateness="10s")
    for i in range(100):
        uploads.send("file %d" % i, customer="c%d" % (i % 10))
    uploads.flush()
    until(lambda: len(summary.rows()) == 100)
    listener.wait(lambda: listener.customers() == {
        "c%d" % i for i in range(10)})
    # Records may have come in two polls, hence in two flushes.
    assert len(listener.heard) <= 3


def test_more_customers_than_a_payload_holds_are_all(lane, uploads, listener,
                                                     topic):
    lane()
    for i in range(300):
        uploads.send("file", customer="customer-%03d-%s" % (i, "x" * 40))
    uploads.flush()
    listener.wait(lambda: {"pipeline": topic} in listener.poll())
    for n in listener.heard:
        assert len(json.dumps(n)) < 8000


def test_notify_off_tells_nobody(lane, uploads, listener, settled):
    lane(notify="off")
    uploads.send("file")
    uploads.flush()
    settled()
    listener.poll(1)
    assert listener.heard == []
