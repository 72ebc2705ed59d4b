"""sql/: the migrations, the tables and views, and who may do what."""

import concurrent.futures
import datetime
import os
import shutil
import subprocess
import uuid

import psycopg2
import pytest

from stack import place

MIGRATE = os.path.join(place.ROOT, "sql", "migrate")
UTC = datetime.timezone.utc
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=UTC)

ROW = dict(pipeline="main", topic="uploads", partition=0, window_start=NOON,
           customer="", sha256="0" * 64, id=str(uuid.UUID(int=1)),
           name="a.jpg", type="image/jpeg", size=10, count=1, object="x",
           first_seen=NOON, first_offset=5, upload="u/1", through_offset=5,
           final=False)


def migrate(dsn, script=MIGRATE):
    return subprocess.run([script, dsn], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def connect(dsn, role=None):
    db = psycopg2.connect(dsn)
    db.autocommit = True
    if role:
        db.cursor().execute("SET ROLE " + role)
    return db


def run(db, sql, args=None):
    c = db.cursor()
    c.execute(sql, args)
    return c.fetchall() if c.description else None


def insert(db, **values):
    row = dict(ROW, **values)
    run(db, "INSERT INTO sluice.summary (%s) VALUES (%s)" % (
        ", ".join(row), ", ".join("%%(%s)s" % k for k in row)), row)


@pytest.fixture
def db(dsn):
    c = connect(dsn)
    run(c, "SELECT sluice.ensure_day(%s)", (NOON,))
    yield c
    c.close()


@pytest.fixture
def empty(postgres):
    name = "e_" + uuid.uuid4().hex[:12]
    yield postgres.create_database(name)
    postgres.drop_database(name)


def schema(dsn):
    text = subprocess.run(["pg_dump", "--schema-only", dsn], check=True,
                          text=True, stdout=subprocess.PIPE).stdout
    # newer versions write a random word around it
    return [line for line in text.splitlines() if "restrict" not in line]


# migrations

def test_a_second_run_changes_nothing(empty):
    first = migrate(empty)
    assert first.returncode == 0, first.stdout
    files = sorted(n for n in os.listdir(os.path.dirname(MIGRATE))
                   if n.endswith(".sql"))
    assert first.stdout == "".join("applied %s\n" % n for n in files)
    before = schema(empty)

    second = migrate(empty)
    assert (second.returncode, second.stdout) == (0, "")
    assert schema(empty) == before


def test_two_runs_at_once_apply_each_file_once(empty):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: migrate(empty), range(4)))
    assert [d.returncode for d in done] == [0] * 4, done
    said = "".join(d.stdout for d in done)
    assert said.count("applied 002_") == 1


def test_a_file_that_fails_leaves_nothing_behind(empty, place_of):
    copy = os.path.join(place_of, "sql")
    shutil.copytree(os.path.dirname(MIGRATE), copy)
    with open(os.path.join(copy, "900_bad.sql"), "w") as f:
        f.write("CREATE TABLE sluice.half (n integer);\nSELECT 1/0;\n")
    script = os.path.join(copy, "migrate")

    failed = migrate(empty, script)
    assert failed.returncode != 0
    assert "division by zero" in failed.stdout

    db = connect(empty)
    assert run(db, "SELECT to_regclass('sluice.half')") == [(None,)]
    assert run(db, "SELECT count(*) FROM sluice.migration "
                   "WHERE name LIKE '900%%'") == [(0,)]

    with open(os.path.join(copy, "900_bad.sql"), "w") as f:
        f.write("CREATE TABLE sluice.half (n integer);\n")
    assert migrate(empty, script).stdout == "applied 900_bad.sql\n"
    db.close()


@pytest.mark.parametrize("rights", ["", "CREATEROLE"])
def test_it_needs_no_superuser(postgres, rights):
    name = "o_" + uuid.uuid4().hex[:12]
    postgres.psql("CREATE ROLE %s LOGIN %s" % (name, rights), "postgres")
    postgres.psql("CREATE DATABASE %s OWNER %s" % (name, name), "postgres")
    try:
        done = migrate(postgres.dsn_of(name, user=name))
        assert done.returncode == 0, done.stdout
        db = connect(postgres.dsn_of(name, user=name))
        run(db, "SELECT sluice.ensure_day(%s)", (NOON,))
        insert(db)
        assert len(run(db, "SELECT * FROM sluice.files")) == 1
        assert run(db, "SELECT sluice.summary_json(NULL,NULL,NULL,1,NULL)")
        db.close()
    finally:
        postgres.drop_database(name)
        postgres.psql("DROP ROLE " + name, "postgres")


def test_names_are_found_without_the_schema(db):
    assert run(db, "SHOW search_path") == [("sluice, public",)]
    assert run(db, "SELECT * FROM progress") == []


# days

def test_a_day_is_a_utc_day(db):
    run(db, "SET timezone = 'Pacific/Auckland'")
    run(db, "SELECT sluice.ensure_day('2026-03-29T23:59:59.999Z')")
    insert(db, window_start=datetime.datetime(2026, 3, 29, tzinfo=UTC))
    insert(db, window_start=datetime.datetime(2026, 3, 29, 23, 59, 59,
                                              tzinfo=UTC))
    for hour in (datetime.datetime(2026, 3, 28, 23, 59, 59, tzinfo=UTC),
                 datetime.datetime(2026, 3, 30, tzinfo=UTC)):
        with pytest.raises(psycopg2.errors.CheckViolation):
            insert(db, window_start=hour)
    assert run(db, "SELECT to_regclass('sluice.summary_20260329') "
                   "IS NOT NULL") == [(True,)]


def test_a_day_has_a_table_of_uploads_too(db):
    """Also where summary had its own before there was one of uploads."""
    day = "uploads_%s" % NOON.strftime("%Y%m%d")
    run(db, "DROP TABLE sluice." + day)
    run(db, "SELECT sluice.ensure_day(%s)", (NOON,))
    run(db, "INSERT INTO sluice.uploads VALUES ('p', 'id', 't', 0, 0, 7, 'c',"
            " 'n', %s, %s, 1, 'x/y', %s)", ("0" * 64, NOON, NOON))
    assert run(db, "SELECT count(*) FROM sluice." + day) == [(1,)]


def test_a_reader_sees_uploads_without_their_place(dsn, db):
    run(db, "INSERT INTO sluice.uploads VALUES ('p', 'id', 't', 0, 0, 7, 'c',"
            " 'n', %s, %s, 1, 'x/y', %s)", ("0" * 64, NOON, NOON))
    reader = connect(dsn, "sluice_reader")
    c = reader.cursor()
    c.execute("SELECT * FROM sluice.upload_history")
    assert [d[0] for d in c.description] == [
        "pipeline", "id", "customer", "name", "sha256", "type", "size",
        "window_start", "time"]
    assert len(c.fetchall()) == 1
    for table in "uploads", "first_seen":
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(reader, "SELECT * FROM sluice." + table)
    reader.close()


def test_a_count_without_its_uploads_is_a_mismatch(db):
    insert(db, count=2, final=True)
    run(db, "INSERT INTO sluice.progress (pipeline, topic, partition,"
            " closed_through, window_ms, next_offset)"
            " VALUES ('main', 'uploads', 0, %s, 30000, 9)", (NOON,))
    found = "SELECT count, uploads FROM sluice.upload_mismatch"
    assert run(db, found) == [(2, 0)]
    for at in 5, 6, 7:
        run(db, "INSERT INTO sluice.uploads VALUES ('main', 'id' || %s,"
                " 'uploads', 0, 0, %s, '', 'n', %s, %s, 1, 'x/y', %s)",
            (at, at, "0" * 64, NOON, NOON))
        if at == 6:
            assert run(db, found) == []
    assert run(db, found) == [(2, 3)]


def test_what_was_counted_twice_keeps_its_first_place(empty, place_of):
    """A history from before a record that came twice counted once."""
    copy = os.path.join(place_of, "sql")
    shutil.copytree(os.path.dirname(MIGRATE), copy)
    os.unlink(os.path.join(copy, "007_twice.sql"))
    assert migrate(empty, os.path.join(copy, "migrate")).returncode == 0

    db = connect(empty)
    for day, at, id in (0, 9, "u/1"), (0, 5, "u/1"), (0, 7, "u/2"), \
            (1, 12, "u/1"), (1, 11, "u/1"):
        window = NOON + datetime.timedelta(days=day)
        run(db, "SELECT sluice.ensure_day(%s)", (window,))
        run(db, "INSERT INTO sluice.uploads VALUES ('p', %s, 't', 0, 0, %s,"
                " 'c', 'n', %s, %s, 1, 'x/y', %s)",
            (id, at, "0" * 64, window, window))

    done = migrate(empty)
    assert done.returncode == 0 and "2 records were counted twice" \
        in done.stdout, done.stdout
    assert run(db, 'SELECT "offset" FROM sluice.uploads ORDER BY 1') \
        == [(5,), (7,), (11,)]
    assert run(db, "SELECT count(*) FROM sluice.upload_history") == [(3,)]
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(db, 'UPDATE sluice.uploads SET id = \'u/1\' WHERE "offset" = 7')
    db.close()


def test_many_may_make_the_same_day(dsn):
    def make(n):
        c = connect(dsn)
        run(c, "SELECT sluice.ensure_day(%s)",
            (NOON + datetime.timedelta(days=n % 3),))
        c.close()

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(make, range(48)))
    c = connect(dsn)
    assert run(c, "SELECT count(*) FROM pg_inherits WHERE inhparent = "
                  "'sluice.summary'::regclass") == [(3,)]
    c.close()


def test_a_new_day_waits_for_no_reader_or_writer(dsn, db):
    busy = connect(dsn)
    busy.autocommit = False
    insert(busy)
    run(busy, "SELECT * FROM sluice.summary")
    run(db, "SET lock_timeout = '2s'")
    run(db, "SELECT sluice.ensure_day(%s)",
        (NOON + datetime.timedelta(days=1),))
    busy.rollback()
    busy.close()


@pytest.mark.parametrize("day", [None, "infinity", "-infinity",
                                 "1969-12-31T23:59:59Z", "10000-01-01Z"])
def test_a_day_that_is_none_is_refused(db, day):
    with pytest.raises(psycopg2.errors.InvalidParameterValue):
        run(db, "SELECT sluice.ensure_day(%s)", (day,))


# rows

@pytest.mark.parametrize("column, value", [
    ("pipeline", ""), ("pipeline", "x" * 256), ("topic", ""),
    ("topic", "x" * 250), ("partition", -1), ("customer", "x" * 129),
    ("customer", "ж" * 65), ("sha256", "0" * 63), ("sha256", "A" * 64),
    ("name", "x" * 256), ("name", "ж" * 128), ("type", "x" * 256),
    ("size", -1), ("count", 0), ("object", "x" * 1025),
    ("upload", "x" * 256), ("first_offset", -1), ("through_offset", 4)])
def test_a_value_out_of_bounds_is_refused(db, column, value):
    with pytest.raises(psycopg2.errors.CheckViolation):
        insert(db, **{column: value})


def test_the_longest_values_fit(db):
    insert(db, pipeline="p" * 255, topic="t" * 249, customer="ж" * 64,
           name="n" * 255, type="y" * 255, object="o" * 1024,
           upload="u" * 255, size=2 ** 63 - 1, count=2 ** 62)
    assert len(run(db, "SELECT * FROM sluice.files")) == 1


# views

def test_upload_summary_has_exactly_four_columns(db):
    run(db, "UPDATE sluice.settings SET value = 'https://x.example/'")
    insert(db, count=2, partition=0, name="first.jpg")
    insert(db, count=3, partition=1, name="second.jpg",
           first_seen=NOON + datetime.timedelta(seconds=9))
    insert(db, sha256="1" * 64, id=str(uuid.UUID(int=2)), name="other.jpg")

    c = db.cursor()
    c.execute('SELECT * FROM "UploadSummary" ORDER BY "FileName"')
    assert [d.name for d in c.description] == ["FileName", "Count", "Url",
                                               "Time"]
    expected = [("first.jpg", 5, "https://x.example/files/%s"
                 % uuid.UUID(int=1), NOON),
                ("other.jpg", 1, "https://x.example/files/%s"
                 % uuid.UUID(int=2), NOON)]
    assert c.fetchall() == expected

    c.execute("SELECT * FROM UploadSummary ORDER BY FileName")
    assert [d.name for d in c.description] == ["filename", "count", "url",
                                               "time"]
    assert c.fetchall() == expected


def test_windows_customers_and_pipelines_are_apart(db):
    insert(db)
    insert(db, customer="a")
    insert(db, pipeline="other")
    insert(db, window_start=NOON + datetime.timedelta(seconds=30))
    assert run(db, 'SELECT count(*) FROM "UploadSummary"') == [(4,)]


def test_a_file_is_final_when_all_partitions_are(db):
    insert(db, partition=0, final=True)
    insert(db, partition=1, final=False)
    assert run(db, "SELECT final FROM sluice.files") == [(False,)]
    run(db, "UPDATE sluice.summary SET final = true")
    assert run(db, "SELECT final FROM sluice.files") == [(True,)]


# roles

def denied(db, sql, args=None):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run(db, sql, args)


def test_the_writer_writes_and_no_more(db, dsn):
    w = connect(dsn, "sluice_writer")
    run(w, "SELECT sluice.ensure_day(%s)",
        (NOON + datetime.timedelta(days=1),))
    insert(w)
    insert(w, window_start=NOON + datetime.timedelta(days=1))
    run(w, "UPDATE sluice.summary SET count = 2")
    run(w, "INSERT INTO sluice.progress (pipeline, topic, partition, "
           "window_ms, next_offset) VALUES ('main', 'uploads', 0, 30000, 7)")
    for sql in ("DELETE FROM sluice.summary", "TRUNCATE sluice.summary",
                "DELETE FROM sluice.progress",
                "DROP TABLE sluice.summary_20261120",
                "DELETE FROM sluice.summary_20261120",
                "CREATE TABLE sluice.mine (n integer)",
                "UPDATE sluice.settings SET value = 'https://evil'",
                "SELECT sluice.summary_json(NULL, NULL, NULL, 1, NULL)"):
        denied(w, sql)
    w.close()


def test_the_reader_sees_views_only(db, dsn):
    insert(db)
    r = connect(dsn, "sluice_reader")
    for sql in ('SELECT * FROM "UploadSummary"',
                "SELECT * FROM uploadsummary", "SELECT * FROM sluice.files",
                "SELECT sluice.summary_json('', NULL, NULL, 1, NULL)"):
        assert len(run(r, sql)) == 1
    for sql in ("SELECT * FROM sluice.summary",
                "SELECT * FROM sluice.summary_20261120",
                "SELECT * FROM sluice.progress",
                "SELECT * FROM sluice.settings",
                "SELECT * FROM sluice.migration",
                "SELECT sluice.ensure_day('2026-01-01Z')",
                "INSERT INTO sluice.settings VALUES ('x', 'y')",
                "CREATE TABLE sluice.mine (n integer)"):
        denied(r, sql)
    r.close()


def test_nobody_else_sees_anything(db, dsn, postgres):
    name = "n_" + uuid.uuid4().hex[:12]
    run(db, "CREATE ROLE %s" % name)
    n = connect(dsn, name)
    for sql in ('SELECT * FROM sluice."UploadSummary"',
                "SELECT * FROM sluice.summary",
                "SELECT sluice.ensure_day('2026-01-01Z')",
                "SELECT sluice.summary_json(NULL, NULL, NULL, 1, NULL)"):
        denied(n, sql)
    n.close()
    run(db, "DROP ROLE %s" % name)


def gap(db, first, last, pipeline="main"):
    run(db, "INSERT INTO sluice.gaps (pipeline, topic, partition, generation, "
            "first_offset, first_window, last_window, reason) VALUES "
            "(%s, 'uploads', 0, 0, 0, %s, %s, 'retention')",
        (pipeline, first, last))


@pytest.mark.parametrize("first, last, hit", [
    (0, 0, {0}), (30, 90, {30, 60}), (None, 30, {0, 30}), (60, None, {60}),
    (None, None, {0, 30, 60}), (90, 120, set())])
def test_the_page_tells_which_windows_lack_records(first, last, hit, db, dsn):
    def at(second):
        return None if second is None else NOON + datetime.timedelta(
            seconds=second)
    for n, second in enumerate((0, 30, 60)):
        insert(db, window_start=at(second), id=str(uuid.UUID(int=n)))
    gap(db, None, None, pipeline="another")
    gap(db, at(first), at(last))
    r = connect(dsn, "sluice_reader")
    (page,), = run(r, "SELECT sluice.summary_json(NULL, NULL, NULL, 9, "
                      "NULL)::json")
    r.close()
    told = {f["window"] for f in page["files"] if f["incomplete"]}
    assert len(page["files"]) == 3
    assert told == {at(s).strftime("%Y-%m-%dT%H:%M:%SZ") for s in hit}
    seen = run(db, "SELECT window_start FROM sluice.files WHERE incomplete")
    assert {w for w, in seen} == {at(s) for s in hit}


def test_a_path_set_by_the_caller_changes_nothing(db, dsn):
    """The functions run with their owner's rights, and look nowhere else."""
    insert(db)
    run(db, "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC")
    r = connect(dsn, "sluice_reader")
    run(r, "CREATE FUNCTION evil.to_char(timestamp, text) RETURNS text "
           "LANGUAGE sql AS $$ SELECT 'evil' $$")
    run(r, "SET search_path = evil, pg_catalog")
    text = run(r, "SELECT sluice.summary_json(NULL, NULL, NULL, 1, NULL)")
    assert "evil" not in text[0][0]
    r.close()


def test_the_reader_has_a_statement_timeout(db):
    assert run(db, "SELECT rolconfig FROM pg_roles WHERE rolname = "
                   "'sluice_reader'") == [(["statement_timeout=5s"],)]
