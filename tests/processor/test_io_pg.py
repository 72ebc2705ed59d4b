"""processor/io/pg.c against a real server."""

import pytest



@pytest.fixture
def driver(dsn, drivers):
    def start(other=None, password_file="", timeout_ms=2000):
        return drivers("pg", other or dsn, password_file, timeout_ms)
    return start


@pytest.fixture
def table(dsn, postgres):
    c = postgres.connect(dsn.split("dbname=")[1].split()[0])
    c.cursor().execute("CREATE TABLE io (k text PRIMARY KEY, n bigint "
                       "CHECK (n > 0))")
    yield c
    c.close()


def test_parameters_and_nulls(driver):
    d = driver()
    assert d.ask("exec", "SELECT $1::text, $2::bigint, NULL", "a'b", 7) \
        == ("ok", "1 a'b|7|NULL")
    assert d.ask("exec", "SELECT $1::text, $2::bigint, NULL", "", 8) \
        == ("ok", "1 |8|NULL")
    assert d.ask("exec", "SHOW TimeZone") == ("ok", "0 UTC")
    assert d.ask("exec", "SHOW application_name") \
        == ("ok", "0 sluice-processor")
    assert d.ask("exec", "SHOW statement_timeout") == ("ok", "0 2s")


def test_arrays_carry_any_text(driver):
    d = driver()
    sql = "SELECT cardinality($1::text[]), array_to_string($1::text[], '~')"
    assert d.ask("array", sql) == ("ok", "1 0|")
    texts = ['a', '', '{},"', '\\', 'NULL', "it's", 'é', ' b ']
    assert d.ask("array", sql, *texts) \
        == ("ok", "1 %d|%s" % (len(texts), "~".join(texts)))


def test_bad_data_is_rejected(driver, table):
    d = driver()
    insert = "INSERT INTO io VALUES ($1, $2::bigint)"
    assert d.ask("exec", insert, "a", 1) == ("ok", "1")
    rc, text = d.ask("exec", insert, "a", 1)
    assert rc == "reject" and "23505" in text
    rc, text = d.ask("exec", insert, "b", -1)
    assert rc == "reject" and "23514" in text
    rc, text = d.ask("exec", insert, "b", "x")
    assert rc == "reject" and "22P02" in text
    assert d.ask("exec", "SELECT count(*) FROM io") == ("ok", "1 1")


def test_missing_table_is_retried(driver):
    rc, text = driver().ask("exec", "SELECT * FROM nowhere")
    assert rc == "retry" and "42P01" in text


def test_transaction_is_all_or_nothing(driver, table):
    d = driver()
    insert = "INSERT INTO io VALUES ($1, $2::bigint)"
    assert d.ask("begin")[0] == "ok"
    assert d.ask("exec", insert, "a", 1)[0] == "ok"
    assert d.ask("rollback")[0] == "ok"
    assert d.ask("begin")[0] == "ok"
    assert d.ask("exec", insert, "b", 1)[0] == "ok"
    assert d.ask("commit")[0] == "ok"
    assert d.ask("exec", "SELECT k FROM io") == ("ok", "1 b")


def test_commit_of_a_failed_transaction_is_no_success(driver, table):
    d = driver()
    assert d.ask("begin")[0] == "ok"
    assert d.ask("exec", "INSERT INTO io VALUES ($1, $2::bigint)", "a",
                 -1)[0] == "reject"
    rc, text = d.ask("commit")
    assert rc == "retry" and "rolled back" in text
    assert d.ask("begin")[0] == "ok"
    assert d.ask("commit")[0] == "ok"


def test_nothing_runs_alone_after_a_cut_in_a_transaction(driver, table,
                                                         postgres):
    d = driver()
    insert = "INSERT INTO io VALUES ($1, $2::bigint)"
    assert d.ask("begin")[0] == "ok"
    assert d.ask("exec", insert, "first", 1)[0] == "ok"
    table.cursor().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'sluice-processor'")
    assert d.ask("exec", insert, "second", 1)[0] == "retry"
    rc, text = d.ask("exec", insert, "second", 1)
    assert rc == "retry" and "transaction" in text
    assert d.ask("commit")[0] == "retry"
    assert d.ask("exec", "SELECT count(*) FROM io") == ("ok", "1 0")


def test_connection_and_statements_come_back(driver, postgres, table):
    d = driver()
    assert d.ask("exec", "SELECT $1::int", 1) == ("ok", "1 1")
    postgres.stop()
    try:
        assert d.ask("exec", "SELECT $1::int", 2)[0] == "retry"
        rc, text = d.ask("exec", "SELECT $1::int", 2)
        assert rc == "retry" and "\n" not in text
    finally:
        postgres.start()
    assert d.ask("exec", "SELECT $1::int", 3) == ("ok", "1 3")


def test_statements_a_pooler_forgot_are_prepared_again(driver):
    d = driver()
    assert d.ask("exec", "SELECT $1::int", 1)[0] == "ok"
    assert d.ask("exec", "DEALLOCATE ALL")[0] == "ok"
    assert d.ask("exec", "SELECT $1::int", 2)[0] == "retry"
    assert d.ask("exec", "SELECT $1::int", 3) == ("ok", "1 3")


def test_slow_statement_is_ended(driver):
    d = driver(timeout_ms=300)
    rc, text = d.ask("exec", "SELECT pg_sleep(60)", timeout=20)
    assert rc == "retry" and "57014" in text
    assert d.ask("exec", "SELECT 1") == ("ok", "1 1")


def test_frozen_server_is_given_up_in_time(driver, dsn, postgres):
    d = driver(timeout_ms=300)
    assert d.ask("exec", "SELECT 1")[0] == "ok"
    postgres.freeze()
    try:
        rc, text = d.ask("exec", "SELECT 1", timeout=30)
        assert rc == "retry" and "no answer" in text
    finally:
        postgres.thaw()
    assert d.ask("exec", "SELECT 1") == ("ok", "1 1")


def test_large_parameters_pass(driver):
    d = driver(timeout_ms=10000)
    big = "x" * 8_000_000
    assert d.ask("exec", "SELECT length($1::text)", big) \
        == ("ok", "1 8000000")


def test_standby_is_left(driver, dsn):
    d = driver()
    assert d.ask("exec", "SET default_transaction_read_only = on")[0] == "ok"
    rc, text = d.ask("exec", "CREATE TABLE x (a int)")
    assert rc == "retry" and "25006" in text
    assert d.ask("exec", "CREATE TABLE x (a int)")[0] == "ok"


def test_password_does_not_belong_into_the_dsn(driver):
    d = driver("host=127.0.0.1 password=secret dbname=x")
    rc, text = d.ask("check")
    assert rc == "reject" and "secret" not in text
    rc, text = d.ask("exec", "SELECT 1")
    assert rc == "reject" and "secret" not in text
    rc, text = driver("postgresql://u:secret@127.0.0.1:1/x").ask("check")
    assert rc == "reject" and "secret" not in text
    rc, text = driver("host=127.0.0.1 nonsense=secret").ask("check")
    assert rc == "reject" and "secret" not in text
    assert driver().ask("check") == ("ok", "")


def test_missing_password_file_is_told(driver):
    rc, text = driver(password_file="/nowhere/pw").ask("exec", "SELECT 1")
    assert rc == "retry" and "/nowhere/pw" in text
