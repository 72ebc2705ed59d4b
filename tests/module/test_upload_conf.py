"""nginx -t: what it refuses, and that it says where."""

import re

import pytest

KAFKA = """
sluice_kafka main {
    bootstrap.servers 127.0.0.1:9;
}
"""
UPLOAD = """
location = /upload {
    sluice_upload main topic=uploads;
    %s
}
"""


def test_a_plain_configuration_passes(nginx_test):
    status, output = nginx_test(UPLOAD % "", http=KAFKA)
    assert status == 0, output


def test_all_directives_pass(nginx_test):
    status, output = nginx_test(UPLOAD % """
        sluice_customer $http_x_customer;
        sluice_types image/jpeg image/png;
        sluice_max_file_size 1m;
        sluice_max_files 10;
        sluice_max_parts 20;
        sluice_max_header_size 8k total=128k;
        sluice_max_field_size 1m;
        sluice_min_rate 1k 30s;
        sluice_ack_timeout 5s;
        sluice_origin self https://app.example.com http://localhost:8080;
        sluice_header x-front $hostname;
        sluice_field album;
        sluice_field owner x-owner;
        sluice_redirect /thanks;
    """, http=KAFKA + "sluice_inflight 32m; sluice_partial 2g;")
    assert status == 0, output


def test_the_block_may_stand_behind_its_users(nginx_test):
    whole = """
    load_module @MODULE@;
    pid @DIR@/pid;
    events {}
    http {
        server { location = /upload { sluice_upload late topic=uploads; } }
        sluice_kafka late { bootstrap.servers 127.0.0.1:9; }
    }
    """
    status, output = nginx_test(whole=whole)
    assert status == 0, output


def test_properties_may_come_from_a_file(nginx_test, place_of):
    secret = place_of + "/secret.conf"
    with open(secret, "w") as f:
        f.write("sasl.password \"a;b'c\";\n")
    block = """
    sluice_kafka main {
        bootstrap.servers 127.0.0.1:9;
        security.protocol SASL_PLAINTEXT;
        sasl.mechanisms PLAIN;
        sasl.username me;
        include %s;
    }
    """
    status, output = nginx_test(UPLOAD % "", http=block % secret)
    assert status == 0, output

    with open(secret, "w") as f:
        f.write("\nsasl.pasword secretword;\n")
    status, output = nginx_test(UPLOAD % "", http=block % secret)
    assert status != 0
    assert '"sasl.pasword"' in output and secret + ":2" in output
    assert "secretword" not in output


PROPERTIES = [
    ("no.such.property 1;", 'No such configuration property: "no.such'),
    ("linger.ms soon;", "linger.ms"),
    ("linger.ms -5;", "linger.ms"),
    ("linger.ms 999999999;", "linger.ms"),
    ("security.protocol telnet;", "security.protocol"),
    ("linger.ms;", "exactly one value"),
    ("linger.ms 1 2;", "exactly one value"),
    ("plugin.library.paths /tmp/evil;", "may not be set"),
    ("acks 1;", "may not be set"),
    ("request.required.acks 0;", "may not be set"),
    ("enable.idempotence false;", "may not be set"),
    ("message.timeout.ms 30000;", "may not be set"),
    ("delivery.timeout.ms 30000;", "may not be set"),
    ("retries 3;", "may not be set"),
    ("log.queue false;", "may not be set"),
    ("partitioner random;", "may not be set"),
    ("transactional.id x;", "may not be set"),
    ("delivery.report.only.error true;", "may not be set"),
    ("statistics.interval.ms 0;", "may not be set"),
    ("queue.buffering.max.kbytes 10;", "may not be set"),
    ("queue.buffering.max.messages 10;", "may not be set"),
    ("dr_msg_cb x;", "dr_msg_cb"),
    ("ssl.ca.location /no/such/file.pem;", "/no/such/file.pem"),
    ("ssl.key.location /no/such/key.pem;", "/no/such/key.pem"),
]


@pytest.mark.parametrize("line, reason", PROPERTIES)
def test_a_bad_kafka_property_is_refused_with_its_place(nginx_test, line,
                                                        reason):
    block = "sluice_kafka main {\n  bootstrap.servers 127.0.0.1:9;\n  %s\n}\n"
    status, output = nginx_test(UPLOAD % "", http=block % line)
    assert status != 0, output
    assert reason in output
    assert place(output, line) is not None, output


def place(output, text):
    """The line that -t names, if it is the one with text."""
    found = re.search(r" in (\S+nginx\.conf):(\d+)", output)
    assert found, output
    with open(found.group(1)) as f:
        line = f.read().split("\n")[int(found.group(2)) - 1]
    return line if text.strip() in line else None


def test_properties_that_clash_are_refused(nginx_test):
    """librdkafka judges these only when a producer is made."""
    block = """sluice_kafka main {
        bootstrap.servers 127.0.0.1:9;
        max.in.flight.requests.per.connection 10;
    }"""
    status, output = nginx_test(UPLOAD % "", http=block)
    assert status != 0
    assert "max.in.flight" in output and "nginx.conf:" in output


def test_a_file_that_is_no_key_is_refused(nginx_test, place_of):
    with open(place_of + "/key.pem", "w") as f:
        f.write("not a key")
    block = """sluice_kafka main {
        bootstrap.servers 127.0.0.1:9;
        security.protocol ssl;
        ssl.ca.location %s/key.pem;
    }""" % place_of
    status, output = nginx_test(UPLOAD % "", http=block)
    assert status != 0
    assert "ssl.ca.location" in output


def test_a_block_needs_servers(nginx_test):
    status, output = nginx_test(UPLOAD % "", http="sluice_kafka main { }")
    assert status != 0
    assert '"bootstrap.servers"' in output and "nginx.conf:" in output


def test_two_blocks_of_one_name_are_refused(nginx_test):
    status, output = nginx_test(UPLOAD % "", http=KAFKA + KAFKA)
    assert status != 0 and 'duplicate sluice_kafka "main"' in output


def test_a_missing_block_is_refused_where_it_is_named(nginx_test):
    status, output = nginx_test(UPLOAD % "")
    assert status != 0
    assert 'unknown sluice_kafka "main"' in output
    assert place(output, "sluice_upload main topic=uploads;"), output


DIRECTIVES = [
    ("sluice_max_file_size 0;", "between 1 and 100g"),
    ("sluice_max_file_size 101g;", "between 1 and 100g"),
    ("sluice_chunk_size 65535;", "between 64k and 900m"),
    ("sluice_chunk_size 901m;", "between 64k and 900m"),
    ("sluice_max_file_size many;", "invalid value"),
    ("sluice_max_files 0;", "not between 1 and 100000"),
    ("sluice_max_files 100001;", "not between 1 and 100000"),
    ("sluice_max_files x;", "invalid number"),
    ("sluice_ack_timeout 10ms;", "not between 1s and 10m"),
    ("sluice_ack_timeout 1h;", "not between 1s and 10m"),
    ("sluice_ack_timeout soon;", "invalid value"),
    ("sluice_origin example.com;", "invalid origin"),
    ("sluice_origin https://example.com/page;", "invalid origin"),
    ("sluice_origin *;", "invalid origin"),
    ("sluice_origin off https://example.com;", "invalid origin"),
    ("sluice_origin https://;", "invalid origin"),
    ("sluice_types png;", "invalid type"),
    ("sluice_types image/;", "invalid type"),
    ("sluice_header ce_id x;", "set by the module"),
    ("sluice_header CE_ID x;", "set by the module"),
    ("sluice_header error-reason x;", "set by the module"),
    ("sluice_header Content-Type x;", "set by the module"),
    ("sluice_header traceparent x;", "set by the module"),
    ('sluice_header "a b" x;', "invalid header name"),
    ('sluice_header "" x;', "invalid header name"),
    ("sluice_max_parts 0;", "not between 1 and 100000"),
    ("sluice_max_parts 100001;", "not between 1 and 100000"),
    ("sluice_max_header_size 255;", "is not between 256 and 8k"),
    ("sluice_max_header_size 9k;", "is not between 256 and 8k"),
    ("sluice_max_header_size x;", "is not between 256 and 8k"),
    ("sluice_max_header_size 4k 8k;", "expected total=SIZE"),
    ("sluice_max_header_size 4k total=2k;", "is not between"),
    ("sluice_max_header_size 4k total=x;", "is not between"),
    ("sluice_max_field_size 0;", "would refuse every form"),
    ("sluice_min_rate fast;", "is not between 0 and 1g"),
    ("sluice_min_rate 2g;", "is not between 0 and 1g"),
    ("sluice_min_rate 1k 100ms;", "is not between 1s and 10m"),
    ("sluice_min_rate 1k 1h;", "is not between 1s and 10m"),
    ("sluice_min_rate 1k soon;", "is not between 1s and 10m"),
    ("sluice_min_rate 1k; sluice_min_rate 2k;", "is duplicate"),
    ("sluice_max_field_size x;", "invalid value"),
    ("sluice_field ce_id;", "set by the module"),
    ("sluice_field traceparent;", "set by the module"),
    ("sluice_field id ce_id;", "set by the module"),
    ("sluice_field id Content-Type;", "set by the module"),
    ('sluice_field id "a b";', "invalid header name"),
    ('sluice_field "";', "needs the name of a field"),
    ("sluice_field a x; sluice_field a y;", "is named twice"),
    ("sluice_customer all;", "is for reading"),
    ('sluice_customer "";', "must not be empty"),
    ("sluice_customer $no_such_variable;", "no_such_variable"),
    ("sluice_redirect $no_such_variable;", "no_such_variable"),
    ("sluice_header x $no_such_variable;", "no_such_variable"),
]


@pytest.mark.parametrize("line, reason", DIRECTIVES)
def test_a_bad_value_is_refused_with_its_place(nginx_test, line, reason):
    status, output = nginx_test(UPLOAD % line, http=KAFKA)
    assert status != 0, output
    assert reason in output
    # "all" is known to be wrong only with the upload it stands beside, and
    # unknown variables only when everything is read
    if "all;" not in line and "$" not in line:
        assert place(output, line) is not None, output


@pytest.mark.parametrize("line, reason", [
    ("sluice_upload main;", "expected off, or a block"),
    ("sluice_upload main uploads;", "expected topic=NAME"),
    ("sluice_upload main topic=;", "invalid topic name"),
    ("sluice_upload main topic=a/b;", "invalid topic name"),
    ("sluice_upload main topic=%s;" % ("x" * 250), "invalid topic name"),
    ("sluice_upload main topic=a; sluice_upload main topic=b;",
     "is duplicate"),
])
def test_a_bad_upload_is_refused(nginx_test, line, reason):
    status, output = nginx_test("location /u {\n %s\n}" % line, http=KAFKA)
    assert status != 0
    assert reason in output and place(output, line)


@pytest.mark.parametrize("line, reason", [
    ("sluice_inflight 1k;", "less than 64k"),
    ("sluice_partial 0;", "less than 64k"),
    ("sluice_inflight much;", "invalid value"),
])
def test_a_bad_budget_is_refused(nginx_test, line, reason):
    status, output = nginx_test(UPLOAD % "", http=KAFKA + line)
    assert status != 0
    assert reason in output and place(output, line)


@pytest.mark.parametrize("line", [
    "sluice_kafka x { bootstrap.servers a; }", "sluice_inflight 1m;",
    "sluice_upload main topic=a;"])
def test_a_directive_in_the_wrong_place_is_refused(nginx_test, line):
    status, output = nginx_test(line + UPLOAD % "", http=KAFKA)
    assert status != 0
    assert "is not allowed here" in output


def test_a_body_limit_below_the_file_limit_is_said(nginx_test):
    status, output = nginx_test(UPLOAD % """
        sluice_max_file_size 2m;
        client_max_body_size 1m;""", http=KAFKA)
    assert status == 0
    assert '"client_max_body_size" of 1048576 is smaller' in output
    assert place(output, "sluice_upload main topic=uploads;")

    status, output = nginx_test(UPLOAD % """
        sluice_max_file_size 2m;
        client_max_body_size 0;""", http=KAFKA)
    assert "is smaller" not in output


def test_values_are_inherited_as_in_nginx(nginx, kafka, topic):
    from upload_forms import form, part, png, post

    front = nginx("""
        sluice_max_file_size 1k;
        sluice_header x-a server;
        location = /upload { sluice_upload main topic=@TOPIC@; }
        location = /own {
            sluice_upload main topic=@TOPIC@;
            sluice_max_file_size 2k;
            sluice_header x-b own;
        }
    """, http=KAFKA.replace("127.0.0.1:9", "@KAFKA@"))
    body = form(part(png(1500)), part(png(1000)))
    assert [s for _, s in post(front, body).states()] == ["too_large",
                                                         "accepted"]
    assert [s for _, s in post(front, body, path="/own").states()] == [
        "accepted", "accepted"]
    sent = {(r.headers.get("x-a"), r.headers.get("x-b"))
            for r in kafka.records(topic)}
    assert sent == {("server", None), (None, "own")}
