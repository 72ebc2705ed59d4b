"""The lane's Lua scripts, one by one: what they refuse, they do not begin.

processor/lane/*.lua say what KEYS and ARGV are.
"""

import glob
import os
import uuid

import pytest

from stack import place

SCRIPTS = {os.path.basename(path)[:-4]: path for path in glob.glob(
    os.path.join(place.ROOT, "processor", "lane", "*.lua"))}
SIZE, LATENESS = 30000, 55000
START = 1763640030000                       # of window "w"


@pytest.fixture
def part(redis):
    p = Partition(redis.client())
    yield p
    p.forget()


class Partition:
    def __init__(self, client):
        self.r = client
        self.name = "sluice:{test/%s:0}:" % uuid.uuid4().hex

    def key(self, what):
        return self.name + what

    def keys(self, *windows, kinds=("unique", "count", "file")):
        return [self.key("progress"), self.key("open")] + [
            self.key("%s:%s" % (w, k)) for w in windows for k in kinds]

    def run(self, script, keys, *argv):
        with open(SCRIPTS[script]) as f:
            return self.r.eval(f.read(), len(keys), *keys, *argv)

    def apply(self, records, belief="", closed="", next=None, windows=("w",),
              also=(), lateness=LATENESS, version=2, last="id",
              ledger=0):
        """records: (offset, time, kind[, window's number, member, row])"""
        argv = [belief, closed, next if next is not None
                else records[-1][0] + 1, last, SIZE, lateness, version, ledger,
                600000, 1200000, len(windows), *windows]
        for record in records:
            argv += list(record) + [""] * (6 - len(record))
        return self.run("apply", self.keys(*windows, *also), *argv)

    def all(self):
        found = {}
        for key in self.r.keys(self.name.replace("[", "\\[") + "*"):
            kind = self.r.type(key)
            found[key[len(self.name):]] = (
                self.r.hgetall(key) if kind == "hash"
                else self.r.smembers(key))
        return found

    def forget(self):
        for key in self.r.keys(self.name + "*"):
            self.r.delete(key)


def one(offset=0, ts=START, member="/aa", row="row"):
    return (offset, ts, "c", 1, member, row)


def applied(part, *records, **more):
    assert part.apply(list(records) or [one()], **more)[0] == "OK"


def test_apply_counts_members_and_moves_next(part):
    assert part.apply([one(3), one(4, START + 5), one(7, START, "/bb")],
                      last="x/1") == ["OK", str(START + 5)]
    assert part.all() == {
        "progress": {"next": "8", "last": "x/1", "closed": "",
                     "watermark": str(START + 5), "window": str(SIZE),
                     "lateness": str(LATENESS), "version": "2",
                     "ledger": "0"},
        "open": {"w": "3"}, "w:unique": {"/aa", "/bb"},
        "w:count": {"/aa": "2", "/bb": "1"},
        "w:file": {"/aa": "row", "/bb": "row"}}


def test_the_first_row_of_a_member_wins(part):
    applied(part, one(0, row="first"), one(1, row="second"))
    applied(part, one(2, row="third"), belief=2)
    assert part.all()["w:file"] == {"/aa": "first"}
    assert part.all()["w:count"] == {"/aa": "3"}


BELIEFS = {"behind": dict(belief=0), "ahead": dict(belief=2),
           "none": dict(belief=""),
           "of a close": dict(belief=1, closed=START - SIZE)}


@pytest.mark.parametrize("what", BELIEFS)
def test_apply_refuses_another_belief(part, what):
    applied(part)
    before = part.all()
    answer = part.apply([one(2, START + 1, "/bb")], **BELIEFS[what])
    assert answer == ["FENCED", "1", ""]
    assert part.all() == before


def test_apply_refuses_when_the_state_is_gone(part):
    assert part.apply([one(5)], belief=5) == ["FENCED", "", ""]
    assert part.all() == {}


def arguments(script):
    """KEYS' windows and ARGV after the fence, of the others."""
    return {"ask": (["w"], ("unique",), [1, "/aa"]),
            "check": (["w"], None, [0, 1000]),
            "rows": (["w"], None, ["/aa"]),
            "page": (["w"], None, ["0", 100]),
            "closed": (["w"], None, [START, 1000, "w"]),
            "drop": (["w"], None, []),
            "spoil": ([], None, [1])}[script]


def call(part, script, belief, closed):
    windows, kinds, argv = arguments(script)
    keys = part.keys(*windows, **({"kinds": kinds} if kinds else {}))
    if script in ("rows", "page"):
        del keys[1]
    if script == "rows":
        del keys[1]
    return part.run(script, keys, belief, closed, *argv)


@pytest.mark.parametrize("script", sorted(set(SCRIPTS) - {"apply", "read"}))
@pytest.mark.parametrize("what", BELIEFS)
def test_every_script_refuses_another_belief(part, script, what):
    applied(part)
    before = part.all()
    belief = dict(dict(closed=""), **BELIEFS[what])
    assert call(part, script, belief["belief"],
                belief["closed"])[0] == "FENCED"
    assert part.all() == before


@pytest.mark.parametrize("script", sorted(set(SCRIPTS) - {"apply", "read"}))
def test_every_script_accepts_the_right_belief(part, script):
    applied(part)
    assert call(part, script, 1, "")[0] == "OK"


def due(by=0):
    return START + SIZE + LATENESS + by


LATE = {
    "due and counted": [(1, START, "c", 1, "/aa", "row")],
    "due and dead": [(1, START, "d")],
    "due and a repeat": [(1, START, "r")],
    "not due and late": [(1, due(), "l")],
    "not closed and past": [(1, START, "p")],
    "due within the batch": [(1, due(), "x"), (2, due() - 1, "l")],
}


@pytest.mark.parametrize("what", LATE)
def test_apply_decides_again_what_is_late(part, what):
    applied(part, one(0, due()))
    before = part.all()
    assert part.apply(LATE[what], belief=1)[0] == "FENCED"
    assert part.all() == before


def test_what_does_not_count_moves_next_and_watermark(part):
    applied(part, one(0, due()))
    counts = part.all()["w:count"]
    assert part.apply([(1, START, "l"), (2, due(7), "d"), (3, due(8), "r"),
                       (4, due(99), "x")],
                      belief=1, windows=(), also=("w",), ledger=5) == [
                          "OK", str(due(8))]
    assert part.all()["w:count"] == counts
    assert part.all()["progress"]["next"] == "5"
    assert part.all()["progress"]["ledger"] == "5"


def test_records_of_closed_windows_are_past_or_late(part):
    applied(part, one(0, START + SIZE), closed=START)
    for kind in "pl":
        answer = part.apply([(1 if kind == "p" else 2, START, kind)],
                            belief=1 if kind == "p" else 2, closed=START,
                            windows=())
        assert answer[0] == "OK"
    assert part.apply([one(3)], belief=3, closed=START)[0] == "FENCED"


def test_a_window_that_is_opened_begins_empty(part):
    applied(part, one(0, member="/old"))
    assert part.run("closed", part.keys("w"), 1, "", "", 60000, "w") == ["OK"]
    assert "w:count" in part.all()
    part.r.delete(part.key("progress"))
    applied(part, one(0, member="/new"))
    assert part.all()["w:count"] == {"/new": "1"}


def test_what_an_expired_progress_left_behind_is_forgotten(part):
    applied(part, one(0, member="/old"))
    part.r.delete(part.key("progress"))
    applied(part, (0, START, "x"), windows=())
    assert "open" not in part.all()


@pytest.mark.parametrize("kind", ["unique", "count", "file"])
def test_a_key_that_redis_lost_is_noticed(part, kind):
    applied(part, one(0), one(1, member="/bb"))
    part.r.delete(part.key("w:" + kind))
    before = part.all()
    assert part.apply([one(2)], belief=2) == ["BROKEN"]
    assert call(part, "check", 2, "") == ["BROKEN"]
    assert call(part, "page", 2, "") == ["BROKEN"]
    assert part.all() == before


def test_a_member_without_row_that_is_not_there_is_noticed(part):
    applied(part)
    assert part.apply([(1, START, "c", 1, "/bb", "")],
                      belief=1) == ["BROKEN"]


def test_another_version_window_or_lateness_is_refused(part):
    applied(part)
    assert part.apply([one(1)], belief=1, version=3)[0] == "FENCED"
    assert part.apply([one(1)], belief=1, lateness=1)[0] == "FENCED"
    assert part.run("closed", part.keys("w"), 1, "", "", 1, "w") == ["OK"]
    assert part.apply([one(1)], belief=1, lateness=1)[0] == "OK"


def test_pages_bring_every_member_once_it_is_there(part):
    records = [one(i, member="/%04d" % i) for i in range(1500)]
    applied(part, *records)
    cursor, found = "0", {}
    while True:
        answer = part.run("page", part.keys("w")[:1] + part.keys("w")[2:],
                          1500, "", cursor, 200)
        assert answer[0] == "OK"
        assert answer[2] == 1500
        for i in range(3, len(answer), 3):
            found[answer[i]] = answer[i + 1:i + 3]
        cursor = answer[1]
        if cursor == "0":
            break
    assert found == {"/%04d" % i: ["1", "row"] for i in range(1500)}


@pytest.mark.parametrize("n, kept", [(10000, True), (10001, False)])
def test_keys_whose_expiry_would_block_redis_are_not_kept(part, n, kept):
    keys = part.keys("w")
    part.r.hset(keys[0], mapping={"next": 1, "closed": ""})
    part.r.hset(keys[1], "w", 0)
    members = ["/%d" % i for i in range(n)]
    part.r.sadd(keys[2], *members)
    for key in keys[3:]:
        part.r.hset(key, mapping={m: 1 for m in members})
    assert part.run("closed", keys, 1, "", START, 60000, "w") == ["OK"]
    assert [part.r.exists(key) for key in keys[2:]] == 3 * [kept]


def test_a_window_can_close_while_redis_is_full(part):
    """Its memory is what Redis needs."""
    import redis
    applied(part)
    part.r.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError):
            part.apply([one(1)], belief=1)
        assert part.run("closed", part.keys("w"), 1, "", START, 0,
                        "w") == ["OK"]
    finally:
        part.r.config_set("maxmemory", "256mb")
    assert set(part.all()) == {"progress"}
    assert part.all()["progress"]["closed"] == str(START)


def test_a_full_redis_takes_no_first_batch_either(part):
    import redis
    part.r.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError):
            part.apply([one(0)])
    finally:
        part.r.config_set("maxmemory", "256mb")
    assert part.all() == {}


def test_all_keys_get_their_time_to_live(part):
    applied(part)
    assert 0 < part.r.pttl(part.key("progress")) <= 600000
    for key in part.keys("w")[1:]:
        assert 600000 < part.r.pttl(key) <= 1200000
    # The windows a batch does not touch go along.
    part.r.pexpire(part.key("w:count"), 5000)
    assert part.apply([(1, START, "x")], belief=1, windows=(),
                      also=("w",))[0] == "OK"
    assert part.r.pttl(part.key("w:count")) > 600000


def test_the_lowest_offset_is_skipped_when_it_is_there_already(part):
    """It can't be: the lane begins at next.  And if it did: not twice."""
    applied(part, one(0), one(1))
    applied(part, one(1), one(2), belief=2)
    assert part.all()["w:count"] == {"/aa": "3"}


def many(n, offset, row="row", prefix="/m"):
    return [one(offset + i, START + i % 100, "%s%d" % (prefix, i), row)
            for i in range(n)]


def test_more_members_than_fit_one_call_are_counted_like_few(part):
    """Some are new and some are known, each once or twice."""
    n = 1203
    applied(part, *many(n, 0))
    again = many(n, n, row="") + many(700, 2 * n, prefix="/new")
    twice = [(r[0] + 700 + n, *r[1:5], "") for r in again[n - 5:n + 20]]
    applied(part, *again, *twice, belief=n)
    state = part.all()
    want = {"/m%d" % i: 3 if i >= n - 5 else 2 for i in range(n)}
    want.update({"/new%d" % i: 2 if i < 20 else 1 for i in range(700)})
    assert state["w:count"] == {m: str(c) for m, c in want.items()}
    assert state["w:unique"] == want.keys()
    assert state["w:file"] == dict.fromkeys(want, "row")


def test_one_that_is_missing_among_many_is_noticed(part):
    applied(part, *many(1100, 0))
    part.r.hdel(part.key("w:count"), "/m1050")
    before = part.all()
    assert part.apply(many(1100, 1100, row=""), belief=1100) == ["BROKEN"]
    assert part.all() == before
