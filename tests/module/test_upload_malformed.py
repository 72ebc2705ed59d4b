"""Bodies that are wrong, as other parsers have met them.

The parser's own tests see every split; here it is what the client is told,
and what does and does not reach Kafka.
"""

import pytest

from upload_forms import (BOUNDARY, H2, KIND, form, head, part, png, post,
                          rss_kb, sanitized, send)

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_max_files 2000;
    client_max_body_size 0;
}
"""
DASH = b"--" + BOUNDARY.encode()
CD = b"Content-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n"
DATA = png(100)


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def told(reply, status):
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    detail = reply.json()["detail"]
    assert detail.endswith(".") and detail[0].isupper(), detail
    return reply.json()


MALFORMED = {
    "a long preamble": b"x" * 5000 + b"\r\n" + form(part(DATA)),
    "empty": b"",
    "no delimiter": DATA,
    "only delimiter": DASH + b"\r\n",
    "truncated headers": DASH + b"\r\n" + CD,
    "truncated data": DASH + b"\r\n" + CD + b"\r\n" + DATA,
    "bare LF": (DASH + b"\r\n" + CD + b"\r\n" + DATA + b"\r\n" + DASH
                + b"--\r\n").replace(b"\r\n", b"\n"),
    "bare LF in headers": DASH + b"\r\n" + CD.replace(b"\r\n", b"\n") + b"\n"
                          + DATA + b"\r\n" + DASH + b"--\r\n",
    "folded header": DASH + b"\r\n" + CD + b"X-A: b\r\n c\r\n\r\n" + DATA
                     + b"\r\n" + DASH + b"--\r\n",
    "header name begins with a blank": DASH + b"\r\n " + CD + b"\r\n" + DATA
                                       + b"\r\n" + DASH + b"--\r\n",
    "header name begins with a tab": DASH + b"\r\n\t" + CD + b"\r\n" + DATA
                                     + b"\r\n" + DASH + b"--\r\n",
    "empty header name": DASH + b"\r\n" + CD + b": x\r\n\r\n" + DATA + b"\r\n"
                         + DASH + b"--\r\n",
    "no colon": DASH + b"\r\n" + CD + b"nonsense\r\n\r\n" + DATA + b"\r\n"
                + DASH + b"--\r\n",
    "no disposition": DASH + b"\r\nContent-Type: image/png\r\n\r\n" + DATA
                      + b"\r\n" + DASH + b"--\r\n",
    "two dispositions": DASH + b"\r\n" + CD + CD + b"\r\n" + DATA + b"\r\n"
                        + DASH + b"--\r\n",
    "attachment": DASH + b"\r\n" + CD.replace(b"form-data", b"attachment")
                  + b"\r\n" + DATA + b"\r\n" + DASH + b"--\r\n",
    "no name": DASH + b"\r\nContent-Disposition: form-data; filename=\"a\""
               b"\r\n\r\n" + DATA + b"\r\n" + DASH + b"--\r\n",
    "empty name": DASH + b"\r\n" + CD.replace(b'"f"', b'""') + b"\r\n" + DATA
                  + b"\r\n" + DASH + b"--\r\n",
    "two filenames": DASH + b"\r\nContent-Disposition: form-data; name=\"f\"; "
                     b"filename=\"a\"; filename=\"b\"\r\n\r\n" + DATA
                     + b"\r\n" + DASH + b"--\r\n",
    "open quote": DASH + b"\r\nContent-Disposition: form-data; name=\"f; "
                  b"filename=\"a\r\n\r\n" + DATA + b"\r\n" + DASH + b"--\r\n",
    "NUL in a header": DASH + b"\r\n" + CD.replace(b'"a"', b'"a\0"') + b"\r\n"
                       + DATA + b"\r\n" + DASH + b"--\r\n",
}


@pytest.mark.parametrize("what", sorted(MALFORMED))
def test_a_malformed_body_is_400_with_a_sentence(front, kafka, topic, what):
    told(post(front, MALFORMED[what]), 400)
    assert kafka.records(topic) == []


@pytest.mark.parametrize("kind", [
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=a; boundary=b",
    "multipart/form-data; boundary=" + "x" * 71,
    'multipart/form-data; boundary="a<b"',
    'multipart/form-data; boundary="a',
], ids=["none", "empty", "two", "71", "alphabet", "quote"])
def test_a_bad_boundary_is_400_before_the_body(front, kind):
    body = b"x" * 10
    told(send(front, head(body, kind=kind, Expect="100-continue")), 400)


@pytest.mark.parametrize("length", [1, 69, 70])
def test_boundaries_of_every_legal_length_are_taken(front, kafka, topic,
                                                    length):
    boundary = "b" * length
    body = form(part(DATA)).replace(BOUNDARY.encode(), boundary.encode())
    kind = "multipart/form-data; boundary=" + boundary
    reply = send(front, head(body, kind=kind) + body)
    assert reply.status == 202, reply.body
    assert kafka.records(topic)[0].value == DATA


LIMITS = {
    "a header above 4 kB": DASH + b"\r\n" + CD + b"X: " + b"y" * 5000
                           + b"\r\n\r\n" + DATA + b"\r\n" + DASH + b"--\r\n",
    "escapes above 4 kB": DASH + b"\r\n" + CD.replace(
        b'"a"', b'"' + b'\\"' * 500000 + b'"') + b"\r\n" + DATA + b"\r\n"
        + DASH + b"--\r\n",
    "17 headers": DASH + b"\r\n" + CD + b"".join(b"X%d: y\r\n" % n
                                                 for n in range(16))
                  + b"\r\n" + DATA + b"\r\n" + DASH + b"--\r\n",
    "1 MB of headers": form(*[part(b"x", filename=None, extra="X: %s\r\n"
                                   % ("y" * 3900)) for _ in range(280)]),
    "a long epilogue": form(part(DATA)) + b"x" * 100000,
    "many parts": form(*[part(b"", filename=None)] * 4100),
}


@pytest.mark.parametrize("what", sorted(LIMITS))
def test_what_is_over_a_limit_is_413_with_a_sentence(front, what):
    told(post(front, LIMITS[what]), 413)


def test_transfer_encodings_are_refused(front, kafka, topic):
    body = form(part(b"aGVsbG8=", extra="Content-Transfer-Encoding: base64"
                                        "\r\n"))
    told(post(front, body), 415)
    assert kafka.records(topic) == []


def test_files_before_a_malformed_part_stay_and_are_named(front, kafka,
                                                          topic):
    body = (part(DATA, filename="one.png") + part(png(200), filename="two.png")
            + DASH + b"\r\nnonsense\r\n\r\n")
    found = told(post(front, body), 400)
    assert [(f["name"], f["status"]) for f in found["files"]] == [
        ("one.png", "accepted"), ("two.png", "accepted")]
    assert sorted(len(r.value) for r in kafka.records(topic)) == [100, 200]


def test_a_form_without_its_end_is_400(front, kafka, topic):
    """The file before it was whole; a client that was cut off sends all."""
    found = told(post(front, part(DATA, filename="one.png") + DASH + b"\r\n"),
                 400)
    assert [(f["name"], f["status"]) for f in found["files"]] == [
        ("one.png", "accepted")]
    assert len(kafka.records(topic)) == 1


def test_a_truncated_file_is_named_and_not_stored(front, kafka, topic):
    body = part(DATA, filename="one.png") + DASH + b"\r\n" + CD + b"\r\n" \
        + DATA
    found = told(post(front, body), 400)
    assert [(f["name"], f.get("reason", f["status"]))
            for f in found["files"]] == [("one.png", "accepted"),
                                         ("a", "incomplete")]
    assert len(kafka.records(topic)) == 1


def test_an_endless_preamble_is_refused_at_once(front):
    """Announced is a gigabyte; what is sent stops with the answer."""
    raw = head(None, Content_Length=str(1 << 30))
    reply = send(front, [raw] + [b"x" * 65536] * 40)
    told(reply, 400)


def test_h2_is_told_the_same(front):
    client = H2(front)
    client.send(DATA)
    status, body = client.reply()
    assert status == 400 and b"problem:malformed" in body
    client.close()


def test_an_epilogue_within_the_limit_is_dropped(front, kafka, topic):
    assert post(front, form(part(DATA)) + b"\r\n" * 1000).status == 202
    assert kafka.records(topic)[0].value == DATA


def test_content_with_line_ends_and_half_delimiters_survives(front, kafka,
                                                             topic):
    datas = [PNG_HEAD + b for b in (
        b"\r\n" * 5000, b"\r" * 5000, b"\n" * 5000,
        (b"\r\n--" + BOUNDARY.encode()[:-1]) * 500,
        b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n", b"\r\n-", b"\r")]
    reply = post(front, form(*[part(d, filename="%d" % i)
                               for i, d in enumerate(datas)]))
    assert reply.status == 202, reply.body
    got = {r.headers["ce_subject"]: r.value for r in kafka.records(topic)}
    assert got == {"%d" % i: d for i, d in enumerate(datas)}


PNG_HEAD = png(8)


def one(disposition):
    return (DASH + b"\r\nContent-Disposition: form-data; " + disposition
            + b"\r\n\r\n" + DATA + b"\r\n" + DASH + b"--\r\n")


@pytest.mark.parametrize("disposition, field, name", [
    (b'name="filename=x"; filename="a"', "filename=x", "a"),
    (b'filename="a"; name="f"', "f", "a"),
    (b'name="a;b"; filename="c;d.jpg"', "a;b", "c;d.jpg"),
    (b'name="f"; filename="a\\"b"', "f", 'a"b'),
    (b'name="f"; filename="a%22b"', "f", 'a"b'),
    (b'name="f"; xfilename="x"; filename="a"', "f", "a"),
    (b'name=f; filename=a', "f", "a"),
    (b'name="f" ;  FileName="a"', "f", "a"),
    (b'name="f%0D%0Ace_customer: x"; filename="a%0d%0ab"',
     "f\ufffd\ufffdce_customer: x", "a\ufffd\ufffdb"),
], ids=["name-like-filename", "swapped", "semicolons", "escaped", "percent",
        "substring", "tokens", "case", "line-ends"])
def test_names_are_read_by_the_grammar(front, kafka, topic, disposition,
                                       field, name):
    reply = post(front, one(disposition))
    assert reply.states() == [(name, "accepted")]
    record, = kafka.records(topic)
    assert record.headers["ce_field"] == field
    assert record.headers["ce_subject"] == name
    assert "ce_customer" not in record.headers


def test_a_field_whose_name_says_filename_is_no_file(front):
    told(post(front, one(b'name="filename=x"')), 422)


@pytest.mark.parametrize("lines", [
    "Content-Length: 10\r\nContent-Length: 11", "Content-Length: -1",
    "Content-Length: +10", "Content-Length: 0x10", "Content-Length: 1 0",
    "Content-Length: 10, 10", "Content-Length: 99999999999999999999",
    "Content-Length: 10\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"])
def test_lengths_that_others_could_read_otherwise_are_refused(front, kafka,
                                                              topic, lines):
    """nginx's own work; here because a hole in it would be ours, too."""
    raw = ("POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
           "Content-Type: %s\r\n%s\r\n\r\n" % (KIND, lines)).encode()
    assert send(front, raw + form(part(DATA))).status in (400, 501)
    assert kafka.records(topic) == []


@pytest.mark.parametrize("size", ["-1", "ffffffffffffffffff", "g", "1;a\n"])
def test_chunk_sizes_that_make_no_sense_are_refused(front, kafka, topic,
                                                    size):
    raw = head(None, Transfer_Encoding="chunked")
    reply = send(front, raw + size.encode() + b"\r\n" + form(part(DATA)))
    assert reply.status == 400
    assert kafka.records(topic) == []


@pytest.mark.parametrize("way", ["chunked", "h2"])
def test_a_file_without_length_is_dropped_in_constant_memory(front, way):
    """20 MB of a file of which 300 kB are allowed; nginx has no limit."""
    assert post(front, form(part(DATA))).status == 202
    pid, = front.workers()
    before = rss_kb(pid)
    begin, end = form(part(png(100))).split(png(100))
    pieces = [begin] + [png(65536)] * 320 + [end]
    if way == "h2":
        client = H2(front)
        for piece in pieces:
            client.send(piece, end=False)
        client.send(b"")
        status, body = client.reply()
        client.close()
        assert status == 413 and b"too_large" in body
    else:
        reply = send(front, [head(None, Transfer_Encoding="chunked"),
                             *[b"%x\r\n%s\r\n" % (len(p), p) for p in pieces],
                             b"0\r\n\r\n"])
        assert reply.states() == [("a.png", "too_large")]
    assert rss_kb(pid) - before < 4000 + sanitized() * 30000
