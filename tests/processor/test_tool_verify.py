"""verify: log, rows, uploads and objects agree, and what doesn't is found."""

import os

import pytest

from commands import Commands
from uploads import sha256


@pytest.fixture
def commands(ini, place_of):
    return Commands(place_of, ini())


@pytest.fixture
def counted(lane, uploads, settled, kafka, topic, summary, until):
    """Files of all kinds, counted, in windows that are closed."""
    p = lane()
    for n in range(40):
        uploads.send("file %d" % (n % 25), customer=("", "alice", "b c")[n % 3],
                     ce_idempotencykey="key" if n % 4 == 0 else None)
    for _ in range(2):
        uploads.send("sent twice", customer="alice", ce_idempotencykey="k",
                     upload="11111111-2222-7333-8444-555555555555")
    uploads.send("wrong bytes", ce_sha256=sha256(b"x"), key=sha256(b"x"))
    uploads.send("no id", ce_id=None)
    uploads.flush()
    kafka.wait_records(topic + ".dead", 2)
    until(lambda: summary.rows() and all(r.final for r in summary.rows())
          and sum(r.count for r in summary.rows()) == 41, 60)
    p.stop()
    return summary


def test_what_was_counted_agrees(commands, counted, place_of):
    figures = os.path.join(place_of, "verify.prom")
    answer = commands.run("verify", "--bytes", "--metrics", figures)
    assert (answer.code, answer.rows) == (0, []), answer
    assert answer.facts["rows"] == len(counted.rows())
    assert answer.facts["uploads"] == 41
    assert answer.facts["records"] == 44
    with open(figures) as f:
        assert '\nsluice_mismatch{kind="row_count"} 0\n' in f.read()


def test_each_kind_of_difference_is_found(commands, counted, ini, place_of):
    rows = {}
    for r in counted.rows():
        rows.setdefault(r.sha256, r)
    row = list(rows.values())
    path = [os.path.join(ini.store, r.object) for r in row]
    key = " WHERE partition = %s AND window_start = timestamptz 'epoch' +" \
          " %s * interval '1 ms' AND customer = %s AND sha256 = %s"

    counted.query("UPDATE sluice.summary SET count = count + 1" + key,
                  *row[0].key)
    counted.query("DELETE FROM sluice.summary" + key, *row[1].key)
    counted.query(
        "CREATE TEMP TABLE copy AS SELECT * FROM sluice.summary" + key,
        *row[2].key)
    counted.query("UPDATE copy SET sha256 = repeat('a', 64)")
    counted.query("INSERT INTO sluice.summary SELECT * FROM copy")
    counted.query("UPDATE sluice.summary SET final = false" + key,
                  *row[3].key)
    os.unlink(path[4])
    with open(path[5], "ab") as f:
        f.write(b"more")
    with open(path[6], "r+b") as f:
        f.write(b"X")
    counted.query("UPDATE sluice.uploads SET \"offset\" = \"offset\" + 1000000"
                  " WHERE ctid = (SELECT ctid FROM sluice.uploads LIMIT 1)")

    figures = os.path.join(place_of, "verify.prom")
    answer = commands.run("verify", "--since", "30m", "--bytes", "--metrics",
                          figures)
    found = {r["kind"]: r["what"] for r in answer.rows}
    assert answer.code == 1
    assert sorted(r["kind"] for r in answer.rows) == sorted([
        "row_count", "row_missing", "row_extra", "row_open", "object_missing",
        "object_size", "object_bytes", "upload_missing", "upload_extra"])
    assert row[0].sha256 in found["row_count"]
    assert row[1].sha256 in found["row_missing"]
    assert "a" * 64 in found["row_extra"]
    assert row[3].sha256 in found["row_open"]
    assert [found["object_" + k] for k in ("missing", "size", "bytes")] \
        == [r.object for r in row[4:7]]
    with open(figures) as f:
        assert '\nsluice_mismatch{kind="object_bytes"} 1\n' in f.read()


def test_one_window_is_compared_alone(commands, counted):
    windows = sorted({r.window for r in counted.rows()})
    counted.query("DELETE FROM sluice.summary")
    counted.query("DELETE FROM sluice.uploads")
    import datetime
    label = datetime.datetime.fromtimestamp(
        windows[0] / 1000, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    answer = commands.run("verify", "--window", label)
    assert answer.code == 1
    assert {r["window"] for r in answer.rows} == {label}


def test_windows_of_an_older_generation_are_left_out(commands, counted):
    """They were counted from another log, or in windows of another size."""
    counted.query("UPDATE sluice.progress SET generation = 1")
    for table in ("summary", "uploads"):
        counted.query("UPDATE sluice.%s SET generation = 1 WHERE"
                      " (partition, window_start) NOT IN (SELECT partition,"
                      " min(window_start) FROM sluice.%s GROUP BY 1)"
                      % (table, table))
    counted.query("UPDATE sluice.first_seen SET generation = 1")
    answer = commands.run("verify")
    assert (answer.code, answer.rows) == (0, []), answer
    assert answer.facts["logs_cut"] > 0


def test_who_was_erased_is_no_mismatch(commands, counted, ini, postgres, dsn,
                                       place_of):
    purger = Commands(place_of, ini(postgres=postgres.dsn_as("purger", dsn)))
    assert purger.run("erase", "--customer", "alice", "--yes").code == 0
    answer = commands.run("verify", "--bytes")
    assert (answer.code, answer.rows) == (0, []), answer


def test_late_records_and_letters_put_back_agree(commands, lane, uploads,
                                                 kafka, topic, summary,
                                                 until):
    p = lane()
    uploads.send("to be closed", partition=0)
    uploads.flush()
    until(lambda: summary.progress()[0][0] is not None)
    uploads.send("straggler", partition=0, ts=summary.progress()[0][0] + 1)
    uploads.flush()
    kafka.wait_records(topic + ".late", 1)
    for _ in range(2):
        assert commands.run("redrive", "--topic", topic + ".late").code == 0
    until(lambda: any(r.final and r.sha256 == sha256(b"straggler")
                      for r in summary.rows()), 60)
    p.stop()
    answer = commands.run("verify")
    assert (answer.code, answer.rows) == (0, []), answer
