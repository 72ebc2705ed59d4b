"""Files that are too large for one message: docs/design.md, section 2."""

import hashlib
import os
import random
import re
import threading
import time

import pytest

from stack.kafka import Kafka
from test_producer_failures import cut_off
from upload_forms import (BOUNDARY, chunked, connect, curl, form, head,
                          murmur2, part, png, post, read_reply, sanitized,
                          send)
from upload_rights import Guarded

CHUNK = 65536

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
client_body_buffer_size 64k;
"""
SERVER = """
server_name upload.example.com;
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_chunk_size 64k;
    sluice_max_file_size 8m;
    sluice_types image/png;
    sluice_ack_timeout 20s;
    client_max_body_size 4g;
}
location = /alive { return 200 yes; }
"""


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP, level="debug")


def noise(size, seed=0):
    """size bytes of a PNG's kind in which no slice is like another."""
    return png(8) + random.Random(seed).randbytes(size - 8)


def chunks(kafka, topic):
    """{key: its records in the order of the log}"""
    found = {}
    for record in kafka.records(topic + ".chunks"):
        found.setdefault(record.key.decode(), []).append(record)
    return found


def whole(records):
    """The file that these records are, by the contract alone."""
    last = records[-1].headers
    data = b"".join(r.value for r in records)
    assert len({r.partition for r in records}) == 1
    assert [r.headers["ce_type"] for r in records] == \
        ["sluice.chunk"] * len(records)
    assert [r.headers["ce_chunk"] for r in records] == \
        [str(n) for n in range(len(records))]
    assert ["ce_last" in r.headers for r in records] == \
        [False] * (len(records) - 1) + [True]
    assert last["ce_last"] == "true"
    assert int(last["ce_size"]) == len(data)
    assert last["ce_sha256"] == hashlib.sha256(data).hexdigest()
    return data


def types(records):
    return [r.headers["ce_type"] for r in records]


def begun(front, body, sent, **headers):
    """A connection on which so many bytes of the body were sent."""
    s = connect(front)
    s.sendall(head(body, **headers) + body[:sent])
    return s


# what lies in Kafka

def test_a_large_file_lies_in_kafka_as_the_contract_says(front, kafka, topic):
    data = noise(3 * CHUNK + 1000)
    reply = post(front, form(part(data, "photos", "my cat.png")))

    sha = hashlib.sha256(data).hexdigest()
    assert reply.status == 202, reply.body
    answer = reply.json()
    key = answer["upload"] + "/1"
    assert answer["files"] == [
        {"id": key, "name": "my cat.png", "type": "image/png",
         "size": len(data), "sha256": sha, "status": "accepted"}]

    assert kafka.records(topic) == []
    (found, records), = chunks(kafka, topic).items()
    assert found == key
    assert whole(records) == data
    assert [len(r.value) for r in records] == [CHUNK] * 3 + [1000]
    assert records[0].partition == murmur2(key.encode()) % 4

    every = {"ce_specversion": "1.0", "ce_type": "sluice.chunk",
             "ce_source": "//upload.example.com/upload", "ce_id": key,
             "ce_subject": "my cat.png", "content-type": "image/png",
             "ce_field": "photos"}
    for n, r in enumerate(records):
        names = [name for name, _ in r.header_list]
        assert len(names) == len(set(names))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                            r.headers.pop("ce_time"))
        last = {"ce_last": "true", "ce_sha256": sha,
                "ce_size": str(len(data))} if n == 3 else {}
        assert r.headers == dict(every, ce_chunk=str(n), **last)


def test_a_file_is_cut_only_when_it_is_larger_than_a_chunk(front, kafka,
                                                           topic):
    sizes = [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK,
             2 * CHUNK + 1, 5 * CHUNK]
    files = {str(n): noise(n, n) for n in sizes[1:]}
    files["1"] = b"\x89"
    # one byte is no PNG
    reply = post(front, form(*[part(files[str(n)], filename=str(n))
                               for n in sizes]))
    assert reply.states() == [("1", "type_not_allowed")] + \
        [(str(n), "accepted") for n in sizes[1:]]

    inline = {r.headers["ce_subject"]: r.value for r in kafka.records(topic)}
    cut = {r[-1].headers["ce_subject"]: whole(r)
           for r in chunks(kafka, topic).values()}
    assert inline == {str(n): files[str(n)] for n in sizes[1:3]}
    assert cut == {str(n): files[str(n)] for n in sizes[3:]}


@pytest.mark.parametrize("way", ["chunked", "h2", "h2-chunked"])
def test_large_files_arrive_byte_identical(front, kafka, topic, way):
    files = [noise(n, n) for n in (CHUNK + 1, 1000000, 4000003)]
    body = form(*[part(f, filename=str(i)) for i, f in enumerate(files)])
    if way == "chunked":
        reply = send(front, head(None, Transfer_Encoding="chunked")
                     + chunked(body, 1, 2, 3, 100, 70000))
        status, answer = reply.status, reply.json()
    else:
        extra = [] if way == "h2" else ["-H", "Content-Length:"]
        status, answer = curl(front, *extra, h2=True, body=body)
    assert status == 202, answer
    got = {r[0].headers["ce_subject"]: whole(r)
           for r in chunks(kafka, topic).values()}
    assert got == {str(i): f for i, f in enumerate(files)}


def test_large_files_of_many_clients_are_not_mixed_up(nginx, kafka, topic,
                                                      until):
    """A slow topic of chunks: all partitions are shared all the time."""
    front = nginx(SERVER, http=HTTP + "sluice_inflight 1m;", workers=2)
    files = {"%d-%d" % (c, n): noise(700000 + 40000 * n + c, 10 * c + n)
             for c in range(6) for n in range(3)}
    replies = []

    def upload(client):
        body = form(*[part(data, filename=name)
                      for name, data in files.items()
                      if name.startswith("%d-" % client)])
        replies.append(post(front, body))

    threads = [threading.Thread(target=upload, args=(c,)) for c in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert [r.status for r in replies] == [202] * 6
    got = {r[0].headers["ce_subject"]: whole(r)
           for r in chunks(kafka, topic).values()}
    assert got == files


# what does not become whole

def test_a_client_that_leaves_makes_its_chunks_void(front, kafka, topic,
                                                    until):
    body = form(part(noise(10 * CHUNK)))
    s = begun(front, body, 5 * CHUNK)
    until(lambda: len(kafka.records(topic + ".chunks")) >= 3, 30)
    s.close()

    records = until(lambda: (lambda r: types(r)[-1] == "sluice.abort" and r)(
        kafka.records(topic + ".chunks")), 30)
    mark = records.pop()
    assert types(records) == ["sluice.chunk"] * len(records)
    assert not any("ce_last" in r.headers for r in records)
    assert mark.key == records[0].key
    assert mark.partition == records[0].partition
    assert mark.value == b""
    assert mark.headers["ce_id"] == mark.key.decode()
    assert len([n for n, _ in mark.header_list if n == "ce_time"]) == 1


@pytest.mark.parametrize("how", ["too_large", "malformed", "incomplete"])
def test_chunks_of_a_file_that_fails_are_void(front, kafka, topic, how):
    if how == "too_large":
        body = form(part(noise(8 * 1024 * 1024 + 1), filename="a"),
                    part(noise(1000), filename="b"))
        states = [("a", "too_large"), ("b", "accepted")]
        status = 202
    elif how == "malformed":
        body = part(noise(4 * CHUNK), filename="a")
        body += ("--%s\rX\r\n" % BOUNDARY).encode() + form(part(noise(1000)))
        states, status = [("a", "incomplete")], 400
    else:
        body = form(part(noise(4 * CHUNK), filename="a"))[:-80]
        states, status = [("a", "incomplete")], 400
    reply = post(front, body)
    assert reply.status == status, reply.body
    assert reply.states() == states

    records = kafka.wait_records(topic + ".chunks", 2)
    assert types(records)[-1] == "sluice.abort"
    assert types(records)[:-1] == ["sluice.chunk"] * (len(records) - 1)
    assert not any("ce_last" in r.headers for r in records)


def test_no_chunk_leaves_of_a_type_that_is_not_allowed(front, kafka, topic):
    reply = post(front, form(part(b"text" * CHUNK, filename="a.txt"),
                             part(noise(1000), filename="b.png")))
    assert reply.states() == [("a.txt", "type_not_allowed"),
                              ("b.png", "accepted")]
    assert kafka.records(topic + ".chunks") == []


# Kafka in trouble

@pytest.fixture
def frozen(kafka):
    yield kafka
    kafka.thaw()


def test_a_broker_that_freezes_for_a_while_costs_nothing(nginx, frozen, topic,
                                                         until):
    front = nginx(SERVER, http=HTTP + "sluice_inflight 1m;",
                  level="debug")
    data = noise(60 * CHUNK)
    body = form(part(data))
    s = begun(front, body, 10 * CHUNK)
    until(lambda: len(frozen.records(topic + ".chunks")) >= 5, 30)

    frozen.freeze()
    sender = threading.Thread(target=s.sendall, args=(body[10 * CHUNK:],))
    sender.start()
    front.wait_error_log("upload held back")
    frozen.thaw()

    sender.join(60)
    assert read_reply(s).status == 202
    (_, records), = chunks(frozen, topic).items()
    assert whole(records) == data


def test_a_chunk_that_fails_fails_its_file(nginx, frozen, topic, until):
    front = nginx(SERVER.replace("20s", "5s"), http=HTTP, level="debug")
    body = form(part(noise(100 * CHUNK), filename="a"))
    s = begun(front, body, 10 * CHUNK)
    until(lambda: len(frozen.records(topic + ".chunks")) >= 5, 30)

    frozen.freeze()
    pieces = iter([body[n * CHUNK:(n + 1) * CHUNK] for n in range(10, 90)])

    def refused():
        s.sendall(next(pieces))
        return "partition takes nothing" in front.errors()

    until(refused, 30, pause=0.5)
    frozen.thaw()

    # what follows is not worth reading
    s.sendall(next(pieces))
    reply = read_reply(s)
    assert reply.status == 503, reply.body
    assert int(reply.headers["retry-after"]) > 0
    assert reply.states() == [("a", "unavailable")]

    records = until(lambda: (lambda r: types(r)[-1] == "sluice.abort" and r)(
        frozen.records(topic + ".chunks")), 30)
    assert not any("ce_last" in r.headers for r in records)
    until(lambda: post(front, form(part(noise(3 * CHUNK)))).status == 202, 30)


def test_an_upload_may_take_longer_than_an_answer(nginx, kafka, topic, until):
    """Chunks are acknowledged all the while; nobody is held back."""
    front = nginx(SERVER.replace("20s", "4s"), http=HTTP)
    data = noise(60 * CHUNK)
    body = form(part(data))
    end = time.monotonic() + 5
    s = begun(front, body, 2 * CHUNK)
    sent, n = 2 * CHUNK, 1
    while sent < len(body):
        if n in (15, 25):
            kafka.wait_records(topic + ".chunks", n - 5)
        elif n == 40:
            until(lambda: time.monotonic() > end, 10)
        s.sendall(body[sent:sent + CHUNK])
        sent, n = sent + CHUNK, n + 1
    assert read_reply(s).status == 202
    (_, records), = chunks(kafka, topic).items()
    assert whole(records) == data


@pytest.mark.full
def test_a_right_that_is_taken_away_fails_the_file_at_hand(nginx, place_of,
                                                           until):
    """In its middle; and before it, which makes the producer useless."""
    guarded = Guarded(os.path.join(place_of, "kafka")).start()
    try:
        guarded.create_uploads("uploads", 2)
        front = nginx(SERVER.replace("20s", "8s"), http=HTTP,
                      values={"KAFKA": guarded.bootstrap, "TOPIC": "uploads"})
        body = form(part(noise(100 * CHUNK), filename="a"))
        s = begun(front, body, 10 * CHUNK)
        until(lambda: len(guarded.records("uploads.chunks")) >= 5, 30)

        guarded.deny_writing()
        s.sendall(body[10 * CHUNK:20 * CHUNK])
        front.wait_error_log("delivery failed")
        s.sendall(body[20 * CHUNK:30 * CHUNK])
        failed = read_reply(s)
        assert failed.status == 503, failed.body
        assert failed.states() == [("a", "unavailable")]

        front.reload()
        assert post(front, form(part(noise(20 * CHUNK)))).status == 503
        front.wait_error_log("kafka producer replaced")

        guarded.allow_writing()
        again = noise(5 * CHUNK, 1)
        until(lambda: post(front, form(part(again))).status == 202, 90)
        found = {}
        for r in guarded.records("uploads.chunks"):
            found.setdefault(r.key.decode(), []).append(r)
        assert not any("ce_last" in r.headers for r in
                       found[failed.json()["files"][0]["id"]])
        assert again in [whole(r) for r in found.values()
                         if "ce_last" in r[-1].headers]
        assert "[alert]" not in front.errors()
    finally:
        guarded.stop()


@pytest.mark.full
def test_a_fatal_error_in_the_middle_of_a_file_fails_it_alone(nginx, place_of,
                                                              until):
    """The broker lost the end of its log, so the next number has a gap."""
    kafka = Kafka(os.path.join(place_of, "kafka")).start()
    try:
        kafka.create_uploads("uploads", 1)
        front = nginx(SERVER, http=HTTP,
                      values={"KAFKA": kafka.bootstrap, "TOPIC": "uploads"})
        body = form(part(noise(100 * CHUNK), filename="a"))
        s = begun(front, body, 10 * CHUNK)
        until(lambda: len(kafka.records("uploads.chunks")) >= 8, 30)
        kafka.kill()
        cut_off(kafka, "uploads.chunks", 2)
        kafka.start()
        s.sendall(body[10 * CHUNK:20 * CHUNK])
        front.wait_error_log("kafka producer replaced", 60)
        s.sendall(body[20 * CHUNK:30 * CHUNK])
        failed = read_reply(s)
        assert failed.status == 503, failed.body
        assert failed.states() == [("a", "unavailable")]

        again = noise(5 * CHUNK, 1)
        until(lambda: post(front, form(part(again))).status == 202, 60)
        found = chunks(kafka, "uploads")
        mine = found[failed.json()["files"][0]["id"]]
        assert not any("ce_last" in r.headers for r in mine)
        assert types(mine)[-1] == "sluice.abort"
        assert again in [whole(r) for r in found.values()
                         if "ce_last" in r[-1].headers]
        assert "[alert]" not in front.errors()
    finally:
        kafka.kill()


def test_a_file_whose_last_chunk_is_in_doubt_is_unknown(nginx, frozen, topic,
                                                        until):
    front = nginx(SERVER.replace("20s", "5s"), http=HTTP, level="debug")
    body = form(part(noise(8 * CHUNK), filename="a"))
    s = begun(front, body, 3 * CHUNK)
    # by its own gate from here on
    front.wait_error_log('topic "%s.chunks" has 4 partitions' % topic)
    s.sendall(body[3 * CHUNK:-1000])
    until(lambda: len(frozen.records(topic + ".chunks")) == 7, 30)
    frozen.freeze()
    s.sendall(body[-1000:])
    reply = read_reply(s)
    assert reply.status == 503, reply.body
    assert reply.states() == [("a", "unknown")]
    frozen.thaw()
    until(lambda: post(front, form(part(noise(3 * CHUNK)))).status == 202, 30)


def test_without_a_topic_for_chunks_large_files_are_503(nginx, kafka, topic):
    name = kafka.create_topic(topic + "-bare")
    front = nginx(SERVER.replace("20s", "4s"), http=HTTP,
                  values={"TOPIC": name})
    front.wait_error_log("UNKNOWN_TOPIC_OR_PART")
    reply = post(front, form(part(noise(1000), filename="a"),
                             part(noise(3 * CHUNK), filename="b")))
    assert reply.status == 503
    assert reply.states() == [("a", "accepted"), ("b", "unavailable")]
    assert send(front, b"GET /alive HTTP/1.0\r\n\r\n").body == b"yes"


def test_a_reload_does_not_cut_a_large_file(front, kafka, topic, until):
    data = noise(20 * CHUNK)
    body = form(part(data))
    s = begun(front, body, 10 * CHUNK)
    until(lambda: len(kafka.records(topic + ".chunks")) >= 5, 30)
    front.reload()
    assert front.workers(leaving=True)
    s.sendall(body[10 * CHUNK:])
    assert read_reply(s).status == 202
    (_, records), = chunks(kafka, topic).items()
    assert whole(records) == data
    until(lambda: not front.workers(leaving=True), 30)


# limits

def test_a_chunk_is_no_larger_than_the_topic_takes(nginx, kafka, topic):
    name = kafka.create_topic(topic + "-small",
                              config={"max.message.bytes": 200000})
    kafka.create_topic(name + ".chunks", 2,
                       config={"max.message.bytes": 100000})
    front = nginx(SERVER.replace("64k", "512k"), http=HTTP,
                  values={"TOPIC": name})
    front.wait_error_log("sluice_chunk_size lowered")
    assert "from=524288 to=87500 max.message.bytes=100000" in front.errors()

    files = {str(n): noise(n, n) for n in (87500, 87501, 500000)}
    reply = post(front, form(*[part(d, filename=n)
                               for n, d in files.items()]))
    assert reply.status == 202, reply.body
    assert [len(r.value) for r in kafka.records(name)] == [87500]
    assert sorted(whole(r) for r in chunks(kafka, name).values()) == \
        sorted(d for n, d in files.items() if n != "87500")


def test_a_topic_that_takes_less_lowers_what_needs_no_chunks(nginx, kafka,
                                                             topic):
    """The configuration cuts nothing, but there is a topic for pieces."""
    name = kafka.create_topic(topic + "-small",
                              config={"max.message.bytes": 100000})
    kafka.create_topic(name + ".chunks")
    front = nginx("location = /upload { sluice_upload main topic=@TOPIC@; }",
                  http=HTTP, values={"TOPIC": name})
    front.wait_error_log("sluice_chunk_size lowered")
    data = noise(250000)
    assert post(front, form(part(data))).status == 202
    (_, records), = chunks(kafka, name).items()
    assert whole(records) == data


def peak_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f
                    if line.startswith("VmHWM"))


def pour(front, size, piece):
    """Uploads one file of size bytes, made of one piece again and again."""
    start = part(png(0))[:-2] + png(8)
    tail = b"\r\n" + form()
    s = connect(front, 600)
    s.sendall(("POST /upload HTTP/1.1\r\nHost: localhost\r\nConnection: close"
               "\r\nContent-Type: multipart/form-data; boundary=%s\r\n"
               "Content-Length: %d\r\n\r\n"
               % (BOUNDARY, len(start) + size - 8 + len(tail))).encode()
              + start)
    left = size - 8
    digest = hashlib.sha256(png(8))
    while left > 0:
        now = piece[:left]
        s.sendall(now)
        digest.update(now)
        left -= len(now)
    s.sendall(tail)
    return read_reply(s), digest.hexdigest()


@pytest.mark.parametrize("size", [
    200 << 20, pytest.param(2 << 30, marks=pytest.mark.full)])
def test_memory_does_not_grow_with_the_file(nginx, kafka, topic, size):
    front = nginx(SERVER.replace("64k", "512k").replace("8m", "4g"),
                  http=HTTP + "sluice_inflight 16m;")
    assert post(front, form(part(noise(3000000)))).status == 202
    before = peak_kb(front.workers()[0])

    reply, sha = pour(front, size, noise(1 << 20))
    assert reply.status == 202, reply.body
    f, = reply.json()["files"]
    assert (f["size"], f["sha256"]) == (size, sha)
    grown = peak_kb(front.workers()[0]) - before
    assert grown < 28 * 1024 + sanitized() * 400000, grown
