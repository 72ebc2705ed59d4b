"""What lies in Kafka after an upload: docs/design.md, section 2."""

import hashlib
import re
import time
import uuid

import pytest

from upload_forms import (chunked, curl, form, head, murmur2, part, png, post,
                          send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
server_name upload.example.com;
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_max_file_size 1m;
    sluice_chunk_size 1m;
}
"""


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def test_a_file_lies_in_kafka_as_the_contract_says(front, kafka, topic):
    data = png(100000)
    before = int(time.time() * 1000)

    reply = post(front, form(part(data, "photos", "my cat.png")))

    after = int(time.time() * 1000)
    sha = hashlib.sha256(data).hexdigest()
    assert reply.status == 202, reply.body
    answer = reply.json()
    upload = answer["upload"]
    assert uuid.UUID(upload).version == 7
    assert answer["files"] == [
        {"id": upload + "/1", "name": "my cat.png", "type": "image/png",
         "size": len(data), "sha256": sha, "status": "accepted"}]

    record, = kafka.records(topic)
    assert record.value == data
    assert record.key.decode() == sha
    assert record.partition == murmur2(record.key) % 4
    assert before - 1000 <= record.timestamp <= after + 1000
    names = [name for name, _ in record.header_list]
    assert len(names) == len(set(names))
    t = record.headers.pop("ce_time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t)
    assert record.headers == {
        "ce_specversion": "1.0", "ce_type": "sluice.file",
        "ce_source": "//upload.example.com/upload", "ce_id": upload + "/1",
        "ce_subject": "my cat.png", "content-type": "image/png",
        "ce_sha256": sha, "ce_size": "100000", "ce_field": "photos"}


def test_the_uuid_tells_the_time_of_the_upload(front):
    before = int(time.time() * 1000)
    answer = post(front, form(part(png(100)))).json()
    ms = int(answer["upload"].replace("-", "")[:12], 16)
    assert before - 1000 <= ms <= time.time() * 1000 + 1000


@pytest.mark.parametrize("way", ["length", "chunked", "h2", "h2-chunked"])
def test_files_arrive_byte_identical(front, kafka, topic, way):
    files = [png(n, n) for n in (1, 63, 64, 65, 4095, 4096, 4097, 65536,
                                 300000, 1000000)]
    body = form(*[part(f, filename="%d.png" % i)
                  for i, f in enumerate(files)])

    if way == "length":
        reply = post(front, body)
        status, answer = reply.status, reply.json()
    elif way == "chunked":
        reply = send(front, head(None, Transfer_Encoding="chunked")
                     + chunked(body, 1, 2, 3, 100, 70000))
        status, answer = reply.status, reply.json()
    else:
        extra = [] if way == "h2" else ["-H", "Content-Length:"]
        status, answer = curl(front, *extra, h2=True, body=body)

    assert status == 202, answer
    assert [f["status"] for f in answer["files"]] == ["accepted"] * len(files)
    records = kafka.records(topic)
    got = {r.headers["ce_subject"]: r.value for r in records}
    assert got == {"%d.png" % i: f for i, f in enumerate(files)}
    for r in records:
        assert r.headers["ce_sha256"] == hashlib.sha256(r.value).hexdigest()


def test_equal_files_have_one_key_and_partition(front, kafka, topic):
    data = png(5000)
    post(front, form(part(data, filename="a.png"),
                     part(data, filename="b.png")))
    records = kafka.records(topic)
    assert len(records) == 2
    assert len({r.key for r in records}) == 1
    assert len({r.partition for r in records}) == 1


def test_partition_stays_the_same_once_their_number_is_known(
        front, kafka, topic, until):
    """The first messages are placed by librdkafka, later ones by us."""
    data = [png(1000, n) for n in range(20)]

    def all_of_them():
        post(front, form(*[part(d) for d in data]))

    all_of_them()
    # statistics, and with them the number of partitions, come each 5 s
    end = time.monotonic() + 7
    until(lambda: (all_of_them(), time.monotonic() > end)[1], 30, pause=1)

    by_key = {}
    for r in kafka.records(topic):
        by_key.setdefault(r.key, set()).add(r.partition)
        assert r.partition == murmur2(r.key) % 4
    assert len(by_key) == 20
    assert all(len(p) == 1 for p in by_key.values())
