"""What a window's rows say: each file once, with the number of its uploads."""

import collections
import os
import re

from uploads import WINDOW_MS, now_ms, sha256, window_of


def into_one_window(until):
    """A time in a window that has just begun."""
    until(lambda: now_ms() % WINDOW_MS < WINDOW_MS // 4, pause=0.01)
    return window_of(now_ms(), WINDOW_MS)


def test_equal_bytes_are_one_row_whatever_their_names(lane, uploads, settled,
                                                      until):
    lane()
    into_one_window(until)
    for i in range(20):
        uploads.send("picture %d" % (i % 12), "name-%d.png" % i)
    uploads.flush()
    rows = settled()
    assert sorted(r.count for r in rows) == [1] * 4 + [2] * 8
    assert {r.name for r in rows} == {"name-%d.png" % i for i in range(12)}


def test_customers_do_not_share_a_row(lane, uploads, settled, until):
    lane()
    into_one_window(until)
    for customer in ("", "a", "b", "a", "c/d e%"):
        uploads.send("the same", customer=customer)
    uploads.flush()
    rows = settled()
    assert {r.customer: r.count for r in rows} == {
        "": 1, "a": 2, "b": 1, "c/d e%": 1}
    assert len({r.id for r in rows}) == 4
    assert len({r.object for r in rows}) == 4


def test_the_same_file_in_two_windows_is_two_rows(lane, uploads, settled):
    lane()
    first = now_ms()
    uploads.send("again", ts=first)
    uploads.send("again", ts=first + WINDOW_MS)
    uploads.flush()
    rows = settled()
    assert [r.count for r in rows] == [1, 1]
    assert rows[1].window - rows[0].window == WINDOW_MS


def test_objects_hash_to_their_names_and_lie_in_their_windows(lane, uploads,
                                                              settled):
    p = lane(store_prefix="lake/raw")
    for i in range(30):
        uploads.send(os.urandom(100 + i), customer="k" if i % 2 else "",
                     kind=["image/png", "image/jpeg"][i % 2])
    uploads.flush()
    rows = settled()
    for r in rows:
        assert re.fullmatch(
            r"lake/raw/(c-k/)?\d{4}/\d\d/\d\d/\d\d/\d\d:\d\d/%s\.(png|jpg)"
            % r.sha256, r.object)
        with open(os.path.join(p.store, r.object), "rb") as f:
            assert sha256(f.read()) == r.sha256
    found = [f for _, _, files in os.walk(p.store) for f in files]
    assert len(found) == 30


def test_a_row_tells_of_the_first_upload(lane, uploads, settled, kafka, topic,
                                         until):
    lane()
    into_one_window(until)
    uploads.send("file", "first.png", "k")
    uploads.send("file", "second.jpg", "k", kind="image/png")
    uploads.flush()
    row, = settled()
    first = [r for r in kafka.records(topic)][0]
    assert (row.name, row.type, row.size, row.count) == (
        "first.png", "image/png", 4, 2)
    assert row.upload == first.headers["ce_id"]
    assert row.first_offset == first.offset
    assert row.first_seen == first.timestamp
    assert row.through == first.offset + 2


def test_rows_show_before_their_window_closes(lane, uploads, summary, until):
    lane(window="30s", allowed_lateness="55s")
    uploads.send("early")
    uploads.flush()
    rows = until(summary.rows)
    assert [(r.count, r.final) for r in rows] == [(1, False)]
    uploads.send("early", ts=rows[0].first_seen)
    uploads.flush()
    until(lambda: [r.count for r in summary.rows()] == [2])


def test_many_files_over_many_partitions_are_all_counted(lane, uploads,
                                                         settled):
    lane(lanes=2, batch_records=97)
    for i in range(3000):
        uploads.send("file %d" % (i % 700), customer="k%d" % (i % 3))
    uploads.flush()
    rows = settled()
    assert sum(r.count for r in rows) == 3000


def test_a_batch_is_bounded_by_bytes_and_takes_a_larger_record_alone(
        lane, uploads, settled):
    lane(batch_bytes="64k")
    for i in range(12):
        uploads.send(os.urandom(50000 if i % 3 else 200000))
    uploads.flush()
    assert len(settled()) == 12


def test_names_reach_the_row_as_they_were(lane, uploads, settled):
    lane()
    names = ["", "a b.png", "100%25.png", "'; DROP TABLE x; --", "{\"a,b\"}",
             "\\x", "\U0001F408 katze.png", "%00", "NULL", "ä" * 127]
    for n in names:
        uploads.send("bytes of " + n, n)
    uploads.flush()
    assert collections.Counter(r.name for r in settled()) == \
        collections.Counter(names)


def test_redis_takes_a_large_batch_in_small_calls(lane, uploads, settled,
                                                  redis):
    """Redis does nothing else while a script runs."""
    for i in range(1700):
        uploads.send("small %d" % (i % 1100), partition=0)
    uploads.flush()
    r = redis.client()
    r.config_set("slowlog-max-len", 20000)
    r.config_set("slowlog-log-slower-than", 0)
    try:
        r.slowlog_reset()
        lane(batch_records=2000)
        settled()
        calls = [str(e["command"]) for e in r.slowlog_get(20000)]
    finally:
        r.config_set("slowlog-log-slower-than", 10000)
        r.config_set("slowlog-max-len", 128)
    large = [int(n) for n in re.findall(r"EVALSHA.*\((\d+) more arguments",
                                        "\n".join(calls))]
    # ask takes an argument for each file, apply six for each of 500
    assert max(large) in range(2900, 3100)
