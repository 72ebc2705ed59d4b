"""GET of the summary: its rows, its arguments, and whose rows they are."""

import concurrent.futures
import datetime
import urllib.parse

import pytest

from stack import client
from summary_rows import NOON, row_id

HTTP = 'sluice_postgres "@POSTGRES@";'

SERVER = """
location = /summary { sluice_summary; sluice_customer $http_x_tenant; }
location = /all     { sluice_summary; sluice_customer all; }
"""


@pytest.fixture
def site(nginx, rows):
    return nginx(SERVER, http=HTTP)


def read(site, path="/all", tenant=None, headers=None, **args):
    headers = dict(headers or {})
    if tenant is not None:
        headers["X-Tenant"] = tenant
    args = {key.rstrip("_"): value for key, value in args.items()}
    return client.get(site.url + path + "?" + urllib.parse.urlencode(args),
                      headers)


def files(answer):
    assert answer.status == 200, answer.body
    return answer.json()["files"]


def minutes(n):
    return NOON + datetime.timedelta(minutes=n)


def test_a_row_has_all_that_a_page_needs(site, rows):
    rows.sql("UPDATE sluice.settings SET value = 'https://up.example/'")
    sha = rows.add("cat.jpg", customer="acme", count=3, final=False)

    assert files(read(site)) == [{
        "window": "2026-11-20T12:00:00Z",
        "time": "2026-11-20T12:00:01.500Z",
        "file": "cat.jpg",
        "type": "image/jpeg",
        "size": 1000,
        "count": 3,
        "sha256": sha,
        "customer": "acme",
        "url": "https://up.example/files/"
               + row_id("main", NOON, "acme", sha),
        "final": False,
        "incomplete": False}]


def test_an_empty_summary_is_a_list(site):
    answer = read(site)
    assert answer.json() == {"files": [], "next": None}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Sluice-Stale"] is None


def test_rows_of_all_partitions_are_one_file(site, rows):
    rows.add("late.jpg", content="x", partition=0, count=2, second=9)
    rows.add("first.jpg", content="x", partition=3, count=5, second=2,
             final=False)
    [f] = files(read(site))
    assert (f["file"], f["count"], f["final"]) == ("first.jpg", 7, False)
    assert f["time"] == "2026-11-20T12:00:02.000Z"


def test_names_arrive_as_they_were_sent(site, rows):
    names = ['</script><img src=x onerror="1">', 'quote " back \\ slash',
             "жизнь 你好 🎉.png", "tab is no tab", "'; DROP TABLE x; --"]
    for n in names:
        rows.add(n)
    assert sorted(f["file"] for f in files(read(site))) == sorted(names)


def test_pages_follow_each_other_without_gap_or_repeat(site, rows):
    sent = set()
    for i in range(40):
        for part in range(1 + i % 2):
            sent.add((minutes(i % 3).isoformat()[:16],
                      rows.add("f%d.jpg" % i, window=minutes(i % 3),
                               partition=part, customer="c%d" % (i % 2))))
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = read(site, limit=7, cursor=cursor).json()
        assert len(page["files"]) == (7 if page["next"] else 5)
        seen += [(f["window"][:16], f["sha256"]) for f in page["files"]]
        cursor = page["next"]
        pages += 1
    assert pages == 6
    assert len(seen) == len(set(seen)) == 40
    assert set(seen) == sent
    assert [w for w, _ in seen] == sorted((w for w, _ in seen), reverse=True)


def test_a_page_that_is_just_full_has_no_next(site, rows):
    for i in range(3):
        rows.add("f%d.jpg" % i)
    assert read(site, limit=3).json()["next"] is None
    assert read(site, limit=2).json()["next"] is not None


def test_from_is_included_and_to_is_not(site, rows):
    for i in range(4):
        rows.add("f%d" % i, window=minutes(i))

    def names(**args):
        return "".join(f["file"][1] for f in files(read(site, **args)))

    assert names(from_="2026-11-20T12:01:00Z") == "321"
    assert names(to="2026-11-20T12:01:00Z") == "0"
    assert names(from_="2026-11-20T12:01:00Z",
                 to="2026-11-20T12:03:00Z") == "21"
    assert names(from_="2026-11-20T13:01:00+01:00") == "321"
    assert names(from_="2026-11-20T12:00:59.999Z", limit=1) == "3"
    assert names(from_="2026-11-20") == "3210"
    assert names(to="2026-11-20") == ""
    assert names(from_="", to="", limit="", cursor="", other="x") == "3210"


@pytest.mark.parametrize("query", [
    "from=yesterday", "from=2026-02-30", "to=2026-11-20T12:00:00",
    "from=1795176000", "from=2026-11-20'--", "to=infinity", "from=%00",
    "limit=0", "limit=1001", "limit=-1", "limit=1e3", "limit=abc",
    "limit=99999999999999999999999", "cursor=a+b", "cursor=%27",
    "cursor=AAAA", "cursor=W10", "cursor=eyJhIjoxfQ", "cursor=W251bGxd",
    "cursor=" + "A" * 1025, "customer=%0a", "customer=a%00b",
    "customer=" + "x" * 129, "customer=%ff"])
def test_an_argument_that_makes_no_sense_is_a_400(site, query):
    answer = client.get(site.url + "/all?" + query)
    assert answer.status == 400, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:sluice:problem:bad-argument"
    assert problem["detail"]


def test_the_longest_names_page_too(site, rows):
    customer = "ж" * 41 + "xxxx"            # 250 bytes, percent-encoded
    for i in range(3):
        rows.add("f%d" % i, customer=customer)
    first = read(site, tenant=customer.encode().decode("latin-1"),
                 path="/summary", limit=1)
    page = first.json()
    assert len(page["next"]) < 1024
    again = read(site, tenant=customer.encode().decode("latin-1"),
                 path="/summary", limit=2, cursor=page["next"])
    assert len(files(again)) == 2


# whose rows

def test_a_tenant_sees_its_own_rows_only(site, rows):
    for who in ("alice", "bob", ""):
        for i in range(4):
            rows.add("%s-%d.jpg" % (who, i), customer=who, window=minutes(i))
            rows.add("same.jpg", customer=who, window=minutes(i))

    alices = read(site, "/summary", "alice", limit=3).json()["next"]
    bobs = read(site, "/summary", "bob", limit=3).json()["next"]
    everyones = read(site, limit=3).json()["next"]
    tries = [dict(), dict(limit=1000), dict(customer="bob"),
             dict(customer="alice"), dict(customer="*"), dict(customer="all"),
             dict(customer="' OR ''='"), dict(customer="alice\0"),
             dict(customer="%"), dict(customer=""), dict(Customer="bob"),
             dict(from_="1970-01-01", to="9999-12-31"), dict(cursor=alices),
             dict(cursor=bobs), dict(cursor=everyones),
             dict(cursor=bobs, customer="bob"), dict(p_customer="bob"),
             dict(tenant_="bob")]

    for args in tries:
        args = {k.rstrip("_"): v for k, v in args.items()}
        answer = client.get(
            site.url + "/summary?" + urllib.parse.urlencode(args),
            {"X-Tenant": "alice"})
        if answer.status == 200:
            assert {f["customer"] for f in answer.json()["files"]} \
                == {"alice"}, args
        else:
            assert answer.status in (400, 403), args
        assert b"bob" not in answer.body, args

    assert len(files(read(site, "/summary", "alice"))) == 8
    assert len(files(read(site, "/summary", "alice", customer="alice"))) == 8
    assert read(site, "/summary", "alice", customer="bob").status == 403
    assert read(site, "/summary", "alice", cursor=bobs).status == 400


def test_the_same_question_of_two_tenants_has_two_answers(site, rows):
    rows.add("a.jpg", customer="alice")
    rows.add("b.jpg", customer="bob")
    for _ in range(3):
        for who, name in (("alice", "a.jpg"), ("bob", "b.jpg")):
            assert [f["file"] for f in
                    files(read(site, "/summary", who))] == [name]
        assert len(files(read(site))) == 2
        assert len(files(read(site, customer="bob"))) == 1


def test_a_request_without_tenant_is_a_403(site, rows):
    rows.add("nobodys.jpg")
    assert read(site, "/summary").status == 403
    assert read(site, "/summary", "").status == 403
    assert read(site, "/summary", "", customer="").status == 403
    assert read(site, "/summary", "x" * 129).status == 403


def test_all_may_ask_for_one(site, rows):
    rows.add("a.jpg", customer="alice")
    rows.add("b.jpg", customer="bob")
    assert [f["file"] for f in files(read(site, customer="bob"))] == ["b.jpg"]
    assert files(read(site, customer="nobody")) == []


# as HTTP

def test_what_has_not_changed_is_a_304(site, rows):
    rows.add("a.jpg")
    first = read(site)
    etag = first.headers["ETag"]
    for value in (etag, "W/" + etag, '"other", ' + etag, "*"):
        again = read(site, headers={"If-None-Match": value})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == etag
    assert read(site, headers={"If-None-Match": '"other"'}).status == 200


def test_a_new_row_is_seen(site, rows, until):
    assert files(read(site)) == []
    rows.add("a.jpg")
    until(lambda: len(files(read(site))) == 1, 10)


def test_head_has_no_body(site, rows):
    rows.add("a.jpg")
    answer = client.request("HEAD", site.url + "/all")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) \
        == len(client.get(site.url + "/all").body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(site, method):
    answer = client.request(method, site.url + "/all",
                            b"x" * 100 if method in ("POST", "PUT") else None)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_many_viewers_cost_one_query(site, rows):
    rows.sql("CREATE SEQUENCE public.calls")
    rows.fake("RETURN json_build_object('n', nextval('public.calls'));")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(
            lambda _: client.get(site.url + "/all"), range(64)))
    assert {a.status for a in answers} == {200}
    # seconds may pass in between
    assert max(a.json()["n"] for a in answers) <= 5


def test_a_large_answer_is_whole(site, rows):
    for i in range(400):
        rows.add(("%03d" % i) + "n" * 240, count=i + 1)
    page = read(site, limit=1000).json()
    assert len(page["files"]) == 400
    assert sum(f["count"] for f in page["files"]) == 400 * 401 / 2


# configuration

@pytest.mark.parametrize("http, server, words", [
    (HTTP, "location = /s { sluice_summary; }",
     '"sluice_summary" needs "sluice_customer"'),
    ("", "location = /s { sluice_summary; sluice_customer all; }",
     '"sluice_summary" needs "sluice_postgres"'),
    (HTTP, "location = /s { sluice_summary; sluice_summary; "
     "sluice_customer all; }", "is duplicate"),
    (HTTP + HTTP, "", "is duplicate"),
    ('sluice_postgres "nonsense";', "", "invalid connection string"),
    ('sluice_postgres "hosst=x";', "", "invalid connection option 'hosst'"),
])
def test_what_cannot_work_is_refused(nginx_test, dsn, http, server, words):
    status, output = nginx_test(server, http=http)
    assert status != 0
    assert words in output
    assert "nginx.conf:" in output


@pytest.mark.parametrize("dsn_text, words", [
    ("host=127.0.0.1 password=secret", "use passfile= or service="),
    ("postgresql://u:secret@127.0.0.1/db", "use passfile= or service="),
    ("host=no-such-host.invalid dbname=x", "was not found"),
    ("host=127.0.0.1,no-such-host.invalid port=1,2", "was not found"),
])
def test_what_may_yet_work_is_a_warning(nginx_test, dsn_text, words):
    status, output = nginx_test(http='sluice_postgres "%s";' % dsn_text)
    assert status == 0
    assert words in output
    assert "secret" not in output
