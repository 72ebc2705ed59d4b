"""Bodies that are wrong, as other parsers have met them.

The parser's own tests see every split; here it is what the client is told,
and what does and does not reach Kafka.
"""

import pytest

from upload_forms import (BOUNDARY, H2, form, head, part, png, post, send)

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
    "64 kB of headers": form(*[part(b"x", filename=None, extra="X: %s\r\n"
                                    % ("y" * 3900)) for _ in range(20)]),
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
