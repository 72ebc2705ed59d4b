"""Text fields of a form, and the limits of its parts."""

import pytest

from upload_forms import BOUNDARY, H2, chunked, form, head, part, png, post, \
    send

HTTP = """
sluice_kafka main {
    bootstrap.servers @KAFKA@;
}
"""
SERVER = """
client_max_body_size 0;
location = /upload {
    sluice_upload main topic=@TOPIC@;
    sluice_field album;
    sluice_field "the owner" x-owner;
    sluice_field "a b/c";
}
location = /metrics { sluice_metrics; }
location = /limits {
    sluice_upload main topic=@TOPIC@;
    sluice_max_parts 4;
    sluice_max_header_size 300 total=800;
    sluice_max_field_size 1k;
}
location = /many {
    sluice_upload main topic=@TOPIC@;
    sluice_max_files 2000;
}
"""


@pytest.fixture
def front(nginx, topic):
    return nginx(SERVER, http=HTTP)


def text(value, name="album"):
    if isinstance(value, str):
        value = value.encode()
    return part(value, name=name, filename=None)


def sent(kafka, topic, header="album"):
    """header by file name."""
    return {r.headers["ce_subject"]: r.headers.get(header)
            for r in kafka.records(topic)}


def test_a_field_goes_into_the_records_of_files_behind_it(front, kafka,
                                                          topic):
    reply = post(front, form(
        part(png(100, 1), filename="before"), text("Spring"),
        part(png(100, 2), filename="one"), text("Me", name="the owner"),
        part(png(100, 3), filename="two"), text("Autumn"),
        part(png(100, 4), filename="three"), text(""),
        part(png(100, 5), filename="four"), text("late")))
    assert reply.status == 202, reply.body
    assert sent(kafka, topic) == {
        "before": None, "one": "Spring", "two": "Spring", "three": "Autumn",
        "four": None}
    assert sent(kafka, topic, "x-owner") == {
        "before": None, "one": None, "two": "Me", "three": "Me", "four": "Me"}


def test_a_fields_own_name_is_made_fit_for_a_header(front, kafka, topic):
    post(front, form(text("x", name="a b/c"), part(png(100), filename="f")))
    assert sent(kafka, topic, "a-b-c") == {"f": "x"}


def test_other_fields_go_nowhere(front, kafka, topic):
    post(front, form(text("x", name="Album"), text("y", name="album2"),
                     text("z", name="ce_customer"),
                     part(png(100), filename="f")))
    record, = kafka.records(topic)
    assert not {"x", "y", "z"} & set(record.headers.values())


@pytest.mark.parametrize("value, kept", [
    ("Grüße 名前 🙂", "Grüße 名前 🙂"),
    ("a\r\nce_customer: b\0\t\x7f", "a��ce_customer: b���"),
    ("‮evil", "�evil"),
    (b"\xff\xfe", "��"),
    ("x" * 1024, "x" * 1024),
    ("x" * 5000, "x" * 1024),
    ("x" * 1022 + "🙂", "x" * 1022),
    ("ä" * 600, "ä" * 512),
    (b"\xff" * 1024, "�" * 341),
], ids=["utf-8", "control", "bidi", "bad", "1024", "cut", "cut-4", "cut-2",
        "cut-bad"])
def test_a_field_is_cleaned_and_cut(front, kafka, topic, value, kept):
    post(front, form(text(value), part(png(100), filename="f")))
    assert sent(kafka, topic) == {"f": kept}


def test_a_field_in_any_number_of_pieces_is_one_value(front, kafka, topic):
    body = form(text("Spring"), part(png(100), filename="f"))
    for sizes in ([1], [70, 3, 1000]):
        raw = head(None, Transfer_Encoding="chunked") + chunked(body, *sizes)
        assert send(front, raw).status == 202
    client = H2(front)
    client.send(body)
    assert client.reply()[0] == 202
    client.close()
    assert [r.headers["album"] for r in kafka.records(topic)] == ["Spring"] * 3


def told(reply, directive):
    assert reply.status == 413, reply.body
    found = reply.json()
    assert found["type"] == "urn:sluice:problem:limit"
    assert directive in found["detail"]
    return found


def test_a_field_over_its_limit_is_413_and_names_the_directive(front, kafka,
                                                               topic):
    file = part(png(100), filename="f")
    reply = post(front, form(file, text("x" * 1024)), path="/limits")
    assert reply.status == 202
    found = told(post(front, form(file, text("x" * 1025)), path="/limits"),
                 "sluice_max_field_size")
    assert found["files"][0]["status"] == "accepted"
    told(post(front, form(file, text("x" * 65537))), "sluice_max_field_size")
    assert post(front, form(file, text("x" * 65536))).status == 202


def test_an_endless_field_is_cut_off_at_its_limit(front):
    """Announced is a gigabyte; what is sent stops with the answer."""
    raw = [head(None, Content_Length=str(1 << 30)),
           ('--%s\r\nContent-Disposition: form-data; name="album"\r\n\r\n'
            % BOUNDARY).encode()] + [b"x" * 65536] * 20
    told(send(front, raw), "sluice_max_field_size")


def test_parts_of_any_kind_are_counted(front, kafka, topic):
    parts = [text("x"), part(png(100), filename="f")] * 2
    assert post(front, form(*parts), path="/limits").status == 202
    told(post(front, form(*parts, text("x")), path="/limits"),
         "sluice_max_parts")
    told(post(front, form(*[text("x")] * 1001)), "sluice_max_parts")


def test_parts_with_a_filename_star_are_counted(front, until):
    star = part(png(100), filename=None).replace(
        b'name="file"', b"name=\"file\"; filename*=UTF-8''a.png")
    reply = post(front, form(star, part(png(100)), star))
    assert [s for _, s in reply.states()] == ["accepted"] * 3
    until(lambda: b"sluice_filename_star_total 2\n" in send(
        front, b"GET /metrics HTTP/1.0\r\n\r\n").body, 20)


def test_part_headers_are_limited_one_by_one_and_together(front):
    def padded(size):
        return part(b"x", filename="f", extra="X: %s\r\n" % ("y" * size))

    assert post(front, form(padded(150)), path="/limits").status == 202
    found = told(post(front, form(padded(250)), path="/limits"),
                 "sluice_max_header_size")
    assert "together" not in found["detail"]
    found = told(post(front, form(*[padded(180)] * 4), path="/limits"),
                 "sluice_max_header_size")
    assert "together" in found["detail"]


def test_as_many_files_as_are_allowed_have_room_for_their_headers(
        front, kafka, topic):
    """The limits of parts and of headers follow sluice_max_files."""
    files = [part(b"%d" % n, filename="%d-%s.png" % (n, "n" * 150))
             for n in range(2000)]
    reply = post(front, form(*files), path="/many")
    assert reply.status == 202, reply.body[:300]
    assert len(reply.json()["files"]) == 2000
