"""erase: one customer goes, the others stay, and what can't go is said."""

import os

import pytest

from commands import Commands
from uploads import now_ms, sha256


@pytest.fixture
def commands(ini, place_of, postgres, dsn):
    return Commands(place_of, ini(postgres=postgres.dsn_as("purger", dsn)))


@pytest.fixture
def stored(ini):
    def files(part):
        return [os.path.join(d, f) for d, _, names in os.walk(ini.store)
                for f in names if part in os.path.join(d, f)]
    return files


def test_one_customer_goes_and_the_others_stay(commands, lane, uploads,
                                               settled, summary, stored,
                                               topic):
    lane()
    for customer in ("alice", "a b/c", "bob", ""):
        uploads.send("same bytes", customer=customer)
        uploads.send("of " + customer, customer=customer,
                     ce_idempotencykey="k")
    uploads.flush()
    settled()
    dry = commands.run("erase", "--customer", "a b/c", "--dry-run", "--yes")
    assert len([r for r in summary.rows() if r.customer == "a b/c"]) == 2
    answer = commands.run("erase", "--customer", "a b/c", "--yes")
    assert answer.code == 0, answer
    assert {k: v for k, v in dry.facts.items() if k != "dry_run"} \
        == {k: v for k, v in answer.facts.items() if k != "dry_run"}
    assert [answer.facts[k] for k in ("files", "uploads", "first_seen",
                                      "objects", "still_open")] \
        == [2, 2, 1, 2, 0]
    assert {r.customer for r in summary.rows()} == {"alice", "bob", ""}
    assert {c for c, in summary.query(
        "SELECT customer FROM sluice.uploads UNION ALL"
        " SELECT customer FROM sluice.first_seen")} == {"alice", "bob", ""}
    assert stored("c-a%20b%2Fc/") == []
    assert len(stored("c-alice/")) == 2 and len(stored("c-bob/")) == 2
    assert {r["remains_in"] for r in answer.rows} \
        == {topic + t for t in ("", ".chunks", ".late", ".dead")}
    row, = summary.query("SELECT customer, ended_at IS NOT NULL,"
                         " (figures ->> 'objects')::int FROM sluice.jobs")
    assert row == ("a b/c", True, 2)


def test_what_was_erased_stays_so_when_redis_is_lost(commands, lane, uploads,
                                                     settled, summary, redis,
                                                     until):
    p = lane()
    uploads.send("a", customer="alice")
    uploads.send("b", customer="bob")
    uploads.flush()
    settled()
    assert commands.run("erase", "--customer", "alice", "--yes").code == 0
    redis.flush()
    p.wait_log("state=none")
    uploads.send("c", customer="bob")
    uploads.flush()
    until(lambda: any(r.final and r.sha256 == sha256(b"c")
                      for r in summary.rows()), 60)
    assert {r.customer for r in summary.rows()} == {"bob"}


def test_an_open_window_stays_and_is_told(commands, lane, uploads, settled,
                                          summary, stored, until):
    lane()
    uploads.send("closed", customer="alice")
    uploads.flush()
    settled()
    # A window that began in the future stays open for as long as this takes.
    uploads.send("open", customer="alice", ts=now_ms() + 4000)
    uploads.flush()
    until(lambda: not all(r.final for r in summary.rows()))
    answer = commands.run("erase", "--customer", "alice", "--yes")
    assert (answer.code, answer.facts["still_open"]) == (1, 1), answer
    assert "open" in answer.err
    assert [r.sha256 for r in summary.rows()] == [sha256(b"open")]
    assert len(stored("c-alice/")) == 1
    until(lambda: all(r.final for r in summary.rows()), 60)
    until(lambda: commands.run("erase", "--customer", "alice", "--yes").code
          == 0, 60)
    assert summary.rows() == [] and stored("c-alice/") == []


def test_records_that_were_not_read_hold_it_back(commands, lane, uploads,
                                                 settled, summary, until):
    """Nobody knows yet into which windows they go."""
    p = lane()
    uploads.send("a", customer="alice", partition=0)
    uploads.flush()
    settled()
    closed = summary.progress()[0][0]
    p.stop()
    uploads.send("b", customer="alice", partition=0)
    uploads.flush()
    answer = commands.run("erase", "--customer", "alice", "--dry-run")
    assert answer.facts["before"] == when(closed + 2000), answer


def when(ms):
    import datetime
    return datetime.datetime.fromtimestamp(
        ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_nothing_is_erased_without_a_yes(commands, lane, uploads, settled,
                                         summary):
    lane()
    uploads.send("a", customer="alice")
    uploads.flush()
    settled()
    answer = commands.run("erase", "--customer", "alice")
    assert (answer.code, answer.facts["files"]) == (1, 1)
    assert "--yes" in answer.err
    assert len(summary.rows()) == 1


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
def test_a_name_that_no_customer_has_is_refused(name, commands):
    assert commands.run("erase", "--customer", name, "--yes").code == 2
