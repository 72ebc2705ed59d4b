"""A large file all the way: form, nginx, Kafka, spool, store, row."""

import concurrent.futures
import glob
import hashlib
import http.client
import os
import random

import pytest

MB = 1024 * 1024

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_max_file_size 4g;
    sluice_types video/mp4;
    client_max_body_size 4g;
}
"""
BOUNDARY = "b0undary"
HEAD = ("--%s\r\nContent-Disposition: form-data; name=\"f\"; "
        "filename=\"film.mp4\"\r\n\r\n" % BOUNDARY).encode()
TAIL = ("\r\n--%s--\r\n" % BOUNDARY).encode()
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"


def film(size, seed):
    """Its bytes, a megabyte at a time; no two are alike."""
    noise = random.Random(seed).randbytes(MB)
    for n in range(size // MB):
        block = bytearray(noise)
        block[:len(MP4)] = MP4
        block[64:72] = n.to_bytes(8, "big")
        yield bytes(block)


def upload(front, size, seed):
    """Posts it; its hash, when it was accepted."""
    digest = hashlib.sha256()
    c = http.client.HTTPConnection("127.0.0.1", front.port, timeout=300)
    c.putrequest("POST", "/upload")
    c.putheader("Content-Type", "multipart/form-data; boundary=" + BOUNDARY)
    c.putheader("Content-Length", str(len(HEAD) + size + len(TAIL)))
    c.endheaders(HEAD)
    for block in film(size, seed):
        digest.update(block)
        c.send(block)
    c.send(TAIL)
    reply = c.getresponse()
    text = reply.read()
    assert reply.status == 202, (reply.status, text)
    c.close()
    return digest.hexdigest()


def hash_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(MB), b""):
            digest.update(block)
    return digest.hexdigest()


def peak_mib(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP, workers=1)


def assembler(lane, **settings):
    p = lane(start=False, assemble_lanes=1, **settings)
    p.start()
    p.wait_log("mod=assemble msg=taken")
    return p


def test_a_large_form_becomes_one_object_and_one_count(
        front, lane, summary, until):
    p = assembler(lane, memory="64m")
    sha256 = upload(front, 300 * MB, 1)
    row, = until(summary.rows, 120, "a row")
    assert (row.sha256, row.count, row.size) == (sha256, 1, 300 * MB)
    assert (row.name, row.type) == ("film.mp4", "video/mp4")
    assert hash_of(os.path.join(p.store, row.object)) == sha256
    until(lambda: not glob.glob(p.dir + "/../spool/lane-*/*"), 10,
          "an empty spool")


@pytest.mark.full
def test_a_host_killed_in_the_middle_leaves_one_object_and_one_count(
        front, lane, summary, until, kafka, topic):
    """Killed while it collects, and again while it stores."""
    p = assembler(lane)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        posted = pool.submit(upload, front, 400 * MB, 2)
        until(lambda: glob.glob(p.dir + "/../spool/lane-*/*"), 60, "pieces",
              pause=0.002)
        p.kill()
        p.start()
        until(lambda: glob.glob(p.store + "/.incoming/*"), 120,
              "a begun object", pause=0.002)
        p.kill()
        sha256 = posted.result()
    p.start()
    until(summary.rows, 120, "a row")
    p.stop()
    p.start()
    p.wait_log("mod=assemble msg=taken")
    row, = until(lambda: [r for r in summary.rows() if r.final], 60,
                 "a final row")
    assert (row.sha256, row.count) == (sha256, 1)
    assert hash_of(os.path.join(p.store, row.object)) == sha256
    left = [f for f in glob.glob(p.store + "/**/*.mp4", recursive=True)]
    assert len(left) == 1


@pytest.mark.full
def test_two_gigabytes_take_no_more_memory_than_little(
        unsanitized, front, lane, summary, until):
    p = assembler(lane, memory="64m")
    upload(front, 100 * MB, 3)
    until(summary.rows, 120, "a row")
    worker = front.workers()[0]
    before = peak_mib(worker), peak_mib(p.process.pid)

    sha256 = upload(front, 2000 * MB, 4)
    row, = until(lambda: [r for r in summary.rows() if r.sha256 == sha256],
                 300, "a row")
    after = peak_mib(worker), peak_mib(p.process.pid)
    print("peak MiB, nginx's worker and the processor, after 100 MB and after "
          "2000 MB: %s %s" % (before, after))
    assert row.count == 1 and row.size == 2000 * MB
    assert hash_of(os.path.join(p.store, row.object)) == sha256
    assert after[0] < before[0] + 64
    assert after[1] < before[1] + 32
    assert after[1] < 64 + 64
