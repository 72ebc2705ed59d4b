"""Files are whole wherever the memory they are received into ends.

Sizes lie around those of slabs, or are random from a seed; a form's files are
found again in Kafka by their SHA-256, and nothing else is.
"""

import hashlib
import random

import pytest

from upload_forms import PNG, chunked, curl, form, head, part, post, send

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_max_file_size 1m;
    sluice_chunk_size 1m;
    client_body_buffer_size %s;
}
"""
# what a slab is, less what stands before a form's first file
BORDERS = [16384, 20480, 65536, 131072, 262144]


@pytest.fixture
def front(nginx, topic):
    return lambda buffer="64k", more="": nginx(
        SERVER % buffer, http=HTTP + more)


def content(r, size):
    """Random, with beginnings of a delimiter in it."""
    data = bytearray(PNG + r.randbytes(max(0, size - len(PNG))))[:size]
    for _ in range(size // 5000):
        at = r.randrange(len(PNG), size)
        piece = b"\r\n--sluiceboundary"[:r.randrange(1, 17)]
        data[at:at + len(piece)] = piece
    return bytes(data[:size])


def made(seed):
    """Files of one form: small, large, and some that end at a border."""
    r = random.Random(seed)
    sizes = [r.choice(BORDERS) - r.randrange(500) for _ in range(6)]
    sizes += [r.randrange(1, 3000) for _ in range(30)]
    sizes += [r.randrange(1, 400000) for _ in range(8)] + [1000000]
    r.shuffle(sizes)
    return [content(r, size) for size in sizes]


def digests(files):
    return sorted(hashlib.sha256(f).hexdigest() for f in files)


def stored(kafka, topic, files):
    records = kafka.records(topic)
    assert digests([r.value for r in records]) == digests(files)
    assert all(r.key.decode() == hashlib.sha256(r.value).hexdigest()
               for r in records)


@pytest.mark.parametrize("buffer", ["8k", "1m"])
@pytest.mark.parametrize("way", ["length", "small chunks", "chunks", "h2"])
def test_files_that_straddle_slabs_are_whole(front, kafka, topic, way,
                                             buffer):
    n = front(buffer)
    files = made(way + buffer)
    body = form(*[part(f) for f in files])
    if way == "h2":
        status, _ = curl(n, h2=True, body=body)
        assert status == 202
    elif way == "length":
        assert post(n, body).status == 202
    else:
        r = random.Random(7)
        sizes = [r.randrange(1, 300 if way == "small chunks" else 100000)
                 for _ in range(4000)] + [20000]
        raw = head(None, Transfer_Encoding="chunked") + chunked(body, *sizes)
        assert send(n, raw).status == 202
    stored(kafka, topic, files)


@pytest.mark.parametrize("way", ["length", "chunks"])
def test_a_body_that_comes_in_crumbs_is_whole(front, kafka, topic, way):
    """Each piece alone, so that every store is appended to many times."""
    n = front()
    r = random.Random(3)
    files = [content(r, size) for size in (5, 100, 16300, 300, 16384, 2000)]
    body = form(*[part(f) for f in files])
    raw = head(body) + body
    if way == "chunks":
        raw = head(None, Transfer_Encoding="chunked") + chunked(body, 11)

    def pieces():
        at = 0
        while at < len(raw):
            size = 1 if at < 800 else r.randrange(1, 90)
            yield raw[at:at + size]
            at += size

    assert send(n, pieces()).status == 202
    stored(kafka, topic, files)


def test_refused_files_leave_the_others_whole(front, kafka, topic):
    n = front()
    r = random.Random(11)
    good = [content(r, r.randrange(1, 100000)) for _ in range(12)]
    parts = []
    for f in good:
        parts += [part(f), part(content(r, 1100000)), part(b"x" * 5000,
                                                           filename=None)]
    reply = post(n, form(*parts))
    assert reply.status == 202, reply.body
    assert [s for _, s in reply.states()] == ["accepted", "too_large"] * 12
    stored(kafka, topic, good)


def test_small_budgets_leave_files_whole(front, kafka, topic):
    n = front(more="sluice_inflight 64k; sluice_partial 64k;")
    files = made("budgets")
    assert post(n, form(*[part(f) for f in files])).status == 202
    stored(kafka, topic, files)
