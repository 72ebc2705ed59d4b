"""The summary while PostgreSQL is away, slow, or cuts the connection."""

import socket
import threading
import time

import pytest

from stack import client

HTTP = 'sluice_postgres "@POSTGRES@ application_name=%s";'
SERVER = """
location = /summary { sluice_summary; sluice_customer all; }
location = /other   { return 204; }
"""


@pytest.fixture
def name(dsn):
    """The name under which this test's nginx is known to PostgreSQL."""
    return dsn.split("dbname=")[1].split()[0]


@pytest.fixture
def site(nginx, rows, name):
    return nginx(SERVER, http=HTTP % name)


@pytest.fixture
def mended(postgres):
    yield postgres
    postgres.thaw()
    if not postgres.alive():
        postgres.start()


def read(site, query="", timeout=30):
    return client.get(site.url + "/summary" + query, timeout=timeout)


def backends(rows, name):
    return [pid for (pid,) in rows.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s", name)]


def in_background(call):
    answers = []
    t = threading.Thread(target=lambda: answers.append(call()))
    t.start()
    return t, answers


def asked(rows, name):
    """The backend in which a question of nginx's sleeps."""
    return rows.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = "
                    "'PgSleep' AND application_name = %s", name)


def test_the_last_answer_is_served_while_it_is_away(site, rows, mended,
                                                    until):
    rows.add("a.jpg")
    good = read(site)
    assert good.status == 200
    rows.close()

    mended.kill()

    stale = until(lambda: (lambda a: a.headers["Sluice-Stale"] and a)(
        read(site)), 20, "a stale answer")
    assert stale.status == 200
    assert stale.body == good.body
    assert int(stale.headers["Sluice-Stale"]) >= 0

    unknown = read(site, "?limit=7")
    assert unknown.status == 503
    assert int(unknown.headers["Retry-After"]) > 0
    assert unknown.json()["type"] == "urn:sluice:problem:database-away"
    assert client.get(site.url + "/other").status == 204

    mended.start()
    until(lambda: read(site, "?limit=7").status == 200, 30)
    until(lambda: read(site).headers["Sluice-Stale"] is None, 30)


def test_a_bad_cursor_is_no_reason_to_serve_the_stale(site, rows):
    rows.add("a.jpg")
    assert read(site).status == 200
    assert read(site, "?cursor=AAAA").status == 400
    assert read(site, "?cursor=AAAA").status == 400


def test_a_frozen_database_holds_nobody_for_long(site, rows, mended, until):
    assert read(site).status == 200
    mended.freeze()
    # 5 s is the query's time; 30 s the client's patience
    assert read(site, "?limit=5").status == 503
    assert client.get(site.url + "/other").status == 204
    assert read(site).headers["Sluice-Stale"]
    mended.thaw()
    until(lambda: read(site, "?limit=5").status == 200, 30)


def test_a_cut_idle_connection_is_not_noticed(site, rows, name, until):
    assert read(site).status == 200
    for i in range(3):
        [pid] = until(lambda: backends(rows, name), 20)
        rows.sql("SELECT pg_terminate_backend(%s)", pid)
        answer = read(site, "?limit=%d" % (i + 1))
        assert answer.status == 200
        assert answer.headers["Sluice-Stale"] is None


def test_a_query_cut_once_is_asked_again(site, rows, name, until):
    rows.sql("CREATE SEQUENCE public.calls")
    rows.fake("IF nextval('public.calls') = 1 THEN PERFORM pg_sleep(20); "
              "END IF; RETURN '{\"second\": true}';")
    t, answers = in_background(lambda: read(site))
    pid = until(lambda: asked(rows, name), 10)[0][0]
    rows.sql("SELECT pg_terminate_backend(%s)", pid)
    t.join(30)
    assert answers[0].status == 200
    assert answers[0].json() == {"second": True}


def test_a_query_that_always_cuts_is_given_up(site, rows, name):
    rows.fake("PERFORM pg_terminate_backend(pg_backend_pid()); RETURN '{}';")
    assert read(site).status == 503
    assert read(site, "?limit=3").status == 503


def test_a_connection_cut_at_any_moment_ends_no_worker(site, rows, until):
    """Requests in fours; the connection is cut after every few of them."""
    stop = threading.Event()
    seen = []

    def ask(n):
        i = 0
        while not stop.is_set():
            i += 1
            seen.append(read(site, "?limit=%d" % (n * 200 + i % 200 + 1))
                        .status)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    try:
        for i in range(60):
            wanted = seen.count(200) + i % 7
            until(lambda: seen.count(200) >= wanted, 30, pause=0.001)
            rows.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                     "WHERE datname = current_database() "
                     "AND pid <> pg_backend_pid()")
    finally:
        stop.set()
        for t in threads:
            t.join(30)
    assert set(seen) <= {200, 503}
    until(lambda: read(site).status == 200, 30)
    assert "exited on signal" not in site.errors()


def test_a_query_that_takes_too_long_is_given_up(site, rows, until):
    rows.fake("PERFORM set_config('statement_timeout', '0', true); "
              "PERFORM pg_sleep(CASE p_limit WHEN 1 THEN 60 ELSE 0 END); "
              "RETURN '{}';")
    assert read(site, "?limit=1").status == 503
    until(lambda: read(site, "?limit=2").status == 200, 20)


def test_a_refused_query_is_a_503_and_an_error_in_the_log(site, rows):
    rows.fake("RAISE EXCEPTION E'two\\n\"lines\"';")
    assert read(site).status == 503
    assert "sqlstate=P0001 err=\"two 'lines'\"" in site.errors()


def test_nginx_starts_without_its_database(nginx, postgres, dsn, name,
                                           until):
    postgres.psql('ALTER DATABASE "%s" RENAME TO "%s_x"' % (name, name),
                  "postgres")
    try:
        site = nginx(SERVER, http=HTTP % name)
        assert read(site).status == 503
        until(lambda: "no connection to PostgreSQL" in site.errors(), 20)
    finally:
        postgres.psql('ALTER DATABASE "%s_x" RENAME TO "%s"' % (name, name),
                      "postgres")
    until(lambda: read(site).status == 200, 30)


def test_an_unknown_host_keeps_nothing_from_starting(nginx):
    site = nginx(SERVER, http='sluice_postgres "host=no-such-host.invalid";')
    assert read(site).status == 503
    assert client.get(site.url + "/other").status == 204


class Names:
    """A DNS server that knows one name, once it is told its address."""

    def __init__(self, name):
        self.name = b"".join(bytes([len(part)]) + part.encode()
                             for part in name.split(".")) + b"\0"
        self.address = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, client_address = self.socket.recvfrom(512)
            question = query[12:query.index(b"\0", 12) + 5]
            known = (self.address
                     and question.lower().startswith(self.name))
            found = known and question[-4:] == b"\0\1\0\1"      # IN A
            answer = query[:2] + (b"\x81\x80" if known else b"\x81\x83") \
                + b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0" * 4 \
                + question
            if found:
                answer += b"\xc0\x0c\0\1\0\1" + b"\0\0\0\1" + b"\0\4" \
                    + socket.inet_aton(self.address)
            self.socket.sendto(answer, client_address)


def test_a_name_is_asked_for_until_it_is_known(nginx, dsn, until):
    names = Names("db.sluice.invalid")
    site = nginx(SERVER, http="resolver 127.0.0.1:%d; sluice_postgres \"%s\";"
                 % (names.port, dsn.replace("host=127.0.0.1",
                                            "host=db.sluice.invalid")))
    assert read(site).status == 503
    until(lambda: "Host not found" in site.errors(), 20)
    names.address = "127.0.0.1"
    until(lambda: read(site).status == 200, 30)


def test_a_refused_port_is_tried_again_ever_more_slowly(nginx, until):
    site = nginx(SERVER, http='sluice_postgres "host=127.0.0.1 port=1";')
    until(lambda: "failures=4" in site.errors(), 20)
    assert read(site).status == 503
    assert site.errors().count("[error]") == 1


# the worker leaves

def test_a_waiting_request_is_answered_before_the_worker_quits(site, rows,
                                                               name, until):
    rows.fake("PERFORM pg_sleep(2); RETURN '{}';")
    t, answers = in_background(lambda: read(site))
    until(lambda: asked(rows, name), 10)
    assert site.quit() == 0
    t.join(30)
    assert answers[0].status == 200
    assert "open socket" not in site.errors()


def test_a_waiting_request_is_answered_over_a_reload(site, rows, name,
                                                     until):
    rows.fake("PERFORM pg_sleep(2); RETURN '{}';")
    t, answers = in_background(lambda: read(site))
    until(lambda: asked(rows, name), 10)
    site.reload()
    t.join(30)
    assert answers[0].status == 200
    until(lambda: len(backends(rows, name)) == 1, 20,
          "the old worker's connection is closed")
    assert read(site, "?limit=9").status == 200


def test_an_idle_connection_does_not_hold_a_quitting_worker(site, rows):
    assert read(site).status == 200
    started = time.monotonic()
    assert site.quit(timeout=10) == 0
    assert time.monotonic() - started < 5
    assert "open socket" not in site.errors()


def test_a_connect_under_way_does_not_hold_a_quitting_worker(site, rows,
                                                             mended, until):
    assert read(site).status == 200
    mended.freeze()
    assert read(site, "?limit=5").status == 503
    assert site.quit(timeout=10) == 0
    assert "open socket" not in site.errors()


def test_term_ends_a_worker_with_requests_waiting(site, rows, name, until):
    rows.fake("PERFORM pg_sleep(20); RETURN '{}';")
    s = socket.create_connection(("127.0.0.1", site.port))
    s.sendall(b"GET /summary HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: asked(rows, name), 10)
    site.stop()
    s.close()


# clients that leave

def test_clients_that_leave_while_waiting_harm_nobody(site, rows, name,
                                                      until):
    rows.fake("PERFORM pg_sleep(1); RETURN '{}';")
    held = []
    for i in range(30):
        s = socket.create_connection(("127.0.0.1", site.port))
        s.sendall(b"GET /summary?limit=%d HTTP/1.1\r\nHost: x\r\n\r\n"
                  % (i % 3 + 1))
        held.append(s)
    t, answers = in_background(lambda: read(site, "?limit=1"))
    until(lambda: asked(rows, name), 10)
    for s in held:
        s.close()
    t.join(30)
    assert answers[0].status == 200
    assert read(site, "?limit=2").status == 200


def test_a_slow_reader_keeps_its_answer_when_a_newer_one_comes(site, rows,
                                                               until):
    rows.sql("CREATE SEQUENCE public.calls")
    rows.fake("RETURN '\"' || repeat(nextval('public.calls')::text, 200000)"
              " || '\"';")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", site.port))
    s.sendall(b"GET /summary HTTP/1.0\r\n\r\n")
    first = s.recv(1024)
    newer = until(lambda: (lambda b: b[1:2] != b"1" and b)(read(site).body),
                  20)
    assert newer.count(b"2") >= 200000 - 1
    got = first
    while True:
        data = s.recv(65536)
        if not data:
            break
        got += data
    assert got.split(b"\r\n\r\n", 1)[1] == b'"' + b"1" * 200000 + b'"'


def test_more_questions_than_are_kept(site, rows):
    for i in range(200):
        assert read(site, "?limit=%d" % (i + 1)).status == 200
    assert read(site, "?limit=1").status == 200
