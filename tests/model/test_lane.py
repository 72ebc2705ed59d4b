"""The lane protocol holds in every history, and each of its rules is needed.

A history is any order of a lane's steps, of another lane that may be a
zombie, of records that come and time that passes, with the faults a scenario
allows.  Spin searches them all; lane.pml is the protocol.

What a search found is read by hand with `spin -t -p`: a failure names the
directory it lies in.
"""

import os
import re
import subprocess

import pytest

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lane.pml")

RULES = {
    "fence":        "apply refuses when next is not what the lane believes",
    "closed":       "apply refuses when closed is not what the lane believes",
    "recheck-pg":   "a lane compares closed_through, also when nothing comes",
    "page-fence":   "a page of a close is of the state the lane believes in",
    "one-next":     "pages of a window that more may come into are of one "
                    "next",
    "close-cas":    "a close compares closed_through before it moves it",
    "behind":       "a close waits while a row of its window knows more",
    "forget-fence": "closed windows leave Redis only if next has not moved",
    "settle":       "a state ahead of a close it does not know is dropped",
    "pg-lost":      "a state that knows a close PostgreSQL lost is dropped",
    "past":         "records below next_offset were counted or sent on",
    "start-time":   "without state, begin at the first record after the "
                    "closed windows",
    "start-next":   "but no later than next_offset",
    "prefix-late":  "late is decided by the records before",
    "clock-first":  "idle: first the time has passed, then Kafka is asked",
    "final":        "a final row is not written again",
    "through":      "a row does not go back to an earlier count",
    "flush-guard":  "a flush compares closed_through",
    "fresh":        "a window that is opened begins empty",
    "send-first":   "late records are sent on before next moves past them",
    "claim-first":  "a name is claimed before its record is applied",
    "own-place":    "whose name is claimed already counts if the claim is its",
    "claim-guard":  "a claim compares closed_through",
    "release":      "a late record gives back what stands in its name",
    "one-place":    "a record that the log holds twice counts from one place",
    "twice-late":   "a late record that counts from another place is not sent",
    "release-ledger": "what is late compares what the ledger held",
    "ledger-take":  "a state that knows a ledger PostgreSQL lost is dropped",
    "ledger-guard": "claims and closes compare what the ledger held",
}

FAULTS = {"crash": "crashes", "steal": "steals", "flush": "flushes",
          "rollback": "rollbacks", "pgloss": "losses", "retry": "retries",
          "expire": "expiries"}

# Windows, files; True marks a record that comes whenever it likes, "k" one of
# those with a name, of which one counts, "t" one of the places of a record
# that the log holds twice.
LOG = [(0, "a"), (1, "b"), (0, "a"), (2, "a")]
SHORT = [(0, "a"), (0, "b"), (2, "a")]
STRAGGLER = [(0, "a"), (0, "a", True), (1, "b")]
STRANGER = [(0, "a"), (0, "b", True)]
BEHIND = [(0, "a"), (2, "a"), (0, "a", True)]

# Window 0 is due by the log at the third record; the others come meanwhile.
BUSY = [(0, "a"), (0, "b"), (2, "a"), (2, "b")]
BUSY_LATE = [(0, "a"), (0, "b"), (2, "a"), (0, "a", True)]

NAMED = [(0, "a", False, "k"), (0, "a", False, "k"), (2, "a", False, "k")]
NAMED_LATE = [(0, "a"), (0, "a", True, "k"), (2, "a", False, "k")]

TWICE = [(0, "a", False, "t"), (0, "a", False, "t"), (2, "a")]
TWICE_LATE = [(0, "a", False, "t"), (2, "a"), (0, "a", True, "t")]

# The whole log is there and it is late: fewer states, for two lanes.
THERE = dict(there=3, clock=4)

SCENARIOS = {
    "a log that grows": (LOG, {}),
    "a crash and a flushed Redis": (LOG, dict(crash=1, flush=1)),
    "a crash and an expired state": (LOG, dict(crash=1, expire=1)),
    "an older Redis and a failed call": (LOG, dict(rollback=1, retry=1)),
    "an older PostgreSQL": (LOG, dict(pgloss=1)),
    "a zombie": (SHORT, dict(steal=1, **THERE)),
    "a zombie and a flushed Redis": (SHORT, dict(steal=1, flush=1, **THERE)),
    "a zombie and an expired state": (SHORT, dict(steal=1, expire=1,
                                                  **THERE)),
    "a zombie and an older Redis": (SHORT, dict(steal=1, rollback=1,
                                                **THERE)),
    "a straggler, a crash, a flushed Redis": (STRAGGLER, dict(crash=1,
                                                              flush=1)),
    "a straggler, a crash, an older Redis": (STRAGGLER, dict(crash=1,
                                                             rollback=1)),
    "a straggler and a zombie": (STRAGGLER, dict(steal=1)),
    "a straggler of its own and a zombie": (STRANGER, dict(steal=1)),
    "a straggler and an older PostgreSQL": (BEHIND, dict(pgloss=1)),
    "a close under traffic, a flushed Redis": (BUSY, dict(flush=1, there=2)),
    "a close under traffic, an older Redis": (BUSY_LATE, dict(rollback=1,
                                                              there=2)),
    "a close under traffic, an older PostgreSQL": (BUSY_LATE, dict(pgloss=1,
                                                                   there=2)),
    "a close under traffic and a zombie": (BUSY_LATE, dict(steal=1, there=3,
                                                           clock=4)),
    "a name, a crash, a flushed Redis": (NAMED, dict(crash=1, flush=1)),
    "a name and a zombie": (NAMED, dict(steal=1, **THERE)),
    "a name and an older PostgreSQL": (NAMED, dict(pgloss=1)),
    "a name that is late, and a zombie": (NAMED_LATE, dict(steal=1)),
    "a record twice, a crash, a flushed Redis": (TWICE, dict(crash=1,
                                                             flush=1)),
    "a record twice and a zombie": (TWICE, dict(steal=1, **THERE)),
    "a record twice, once late, and a zombie": (TWICE_LATE, dict(steal=1)),
    "a record twice, once late, and an older PostgreSQL": (
        TWICE_LATE, dict(pgloss=1)),
}

WIDE = {
    "a zombie and an older PostgreSQL": (SHORT, dict(steal=1, pgloss=1,
                                                     **THERE)),
    "a zombie, a flushed Redis, a log that grows": (
        SHORT, dict(steal=1, flush=1, there=1)),
    "a straggler, a zombie, a flushed Redis": (STRAGGLER, dict(steal=1,
                                                               flush=1)),
    "a straggler, a zombie, a crash": (STRAGGLER, dict(steal=1, crash=1)),
    "a name, a zombie, an older PostgreSQL": (NAMED, dict(steal=1, pgloss=1,
                                                          **THERE)),
    "a zombie, an older Redis, an older PostgreSQL": (
        SHORT, dict(steal=1, rollback=1, pgloss=1, **THERE)),
    "a record twice, a zombie, an older PostgreSQL": (
        TWICE, dict(steal=1, pgloss=1, **THERE)),
    "a record twice, once late, a zombie, a flushed Redis": (
        TWICE_LATE, dict(steal=1, flush=1)),
}

EVERY = {**SCENARIOS, **WIDE}
NUMBER = {name: i for i, name in enumerate(EVERY)}

# Rules left out, and where that shows.  final stands behind flush-guard: only
# without both a final row moves.
NEEDED = {
    ("fence",): "a zombie",
    ("closed",): "a straggler and a zombie",
    ("recheck-pg",): "an older PostgreSQL",
    ("page-fence",): "a crash and a flushed Redis",
    ("one-next",): "a straggler, a crash, a flushed Redis",
    ("close-cas",): "an older PostgreSQL",
    ("behind",): "a straggler of its own and a zombie",
    ("forget-fence",): "a straggler and a zombie",
    ("settle",): "a straggler and a zombie",
    ("past",): "a crash and a flushed Redis",
    ("start-time",): "a crash and a flushed Redis",
    ("start-next",): "a straggler, a crash, a flushed Redis",
    ("prefix-late",): "a straggler and an older PostgreSQL",
    ("clock-first",): "a log that grows",
    ("final", "flush-guard"): "a zombie",
    ("flush-guard",): "a straggler of its own and a zombie",
    ("through",): "a crash and a flushed Redis",
    ("fresh",): "an older PostgreSQL",
    ("send-first",): "a straggler, a crash, a flushed Redis",
    ("claim-first",): "a name, a crash, a flushed Redis",
    ("own-place",): "a name, a crash, a flushed Redis",
    ("claim-guard",): "a name that is late, and a zombie",
    ("release",): "a name that is late, and a zombie",
    ("one-place",): "a record twice, a crash, a flushed Redis",
    ("twice-late",): "a record twice, once late, and a zombie",
    ("release-ledger",): "a record twice, once late, and an older PostgreSQL",
    ("ledger-take",): "a name and an older PostgreSQL",
    ("ledger-guard",): "a name and an older PostgreSQL",
}

# Here nothing wrong is ever written: two truths drive the lane in circles.
NEEDED_TO_END = {("pg-lost",): "an older PostgreSQL"}


def promela(name):
    """A scenario in lane.pml's words."""
    log, faults = EVERY[name]
    faults = dict(faults)
    steps = ["RECORD(%d, %d, %d, %d)" % (r[0], "ab".index(r[1]),
                                         any(x is True for x in r),
                                         ("k" in r) + 2 * ("t" in r))
             for r in log]
    steps.append("tail = %d; clock = %d" % (faults.pop("there", 0),
                                            faults.pop("clock", 0) + 1))
    steps += ["%s = %d" % (FAULTS[f], n) for f, n in faults.items()]
    return ":: scenario == %d -> %s %s" % (
        NUMBER[name], " ".join(steps[:len(log)]), "; ".join(steps[len(log):]))


def run(command, directory, **more):
    return subprocess.run(command, cwd=directory, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=600, **more)


class Checker:
    """The program that Spin makes of the model."""

    def __init__(self, directory, without=(), liveness=False):
        self.dir = str(directory)
        self.liveness = liveness
        macros = ["-DNO_" + r.upper().replace("-", "_") for r in without]
        macros += ["-DSCENARIOS=" + " ".join(map(promela, EVERY))]
        macros += ["-DLIVENESS"] * liveness
        model = os.path.join(self.dir, "model.pml")
        self.make(["cpp", "-P", "-undef", *macros, MODEL, model])
        self.make(["spin", "-a", "model.pml"])
        self.make(["cc", "-O1", "-w", "-DVECTORSZ=2048", "-DCOLLAPSE",
                   "-DNFAIR=4" if liveness else "-DSAFETY", "-o", "pan",
                   "pan.c"])

    def make(self, command):
        done = run(command, self.dir)
        assert done.returncode == 0, done.stdout

    def search(self, name):
        """(what is wrong or None, how many states), of all histories."""
        found = run(["./pan", "-m3000000"] + ["-a", "-f"] * self.liveness,
                    self.dir, env=dict(os.environ,
                                       SCENARIO=str(NUMBER[name])))
        errors = re.search(r"errors: (\d+)", found.stdout)
        states = re.search(r"([\d.e+]+) states, stored", found.stdout)
        assert errors and states and "truncated" not in found.stdout, \
            found.stdout
        why = re.search(r"pan:\d+: (.*)", found.stdout)
        if errors[1] == "0":
            assert why is None, found.stdout
            return None, float(states[1])
        return "%s, in %s" % (why[1], self.dir), float(states[1])


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    return Checker(tmp_path_factory.mktemp("safety"))


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    return Checker(tmp_path_factory.mktemp("liveness"), liveness=True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_or_counted_twice_with(checker, name):
    why, states = checker.search(name)
    assert why is None
    assert states > 1000, "the search did not search"


@pytest.mark.full
@pytest.mark.parametrize("name", WIDE)
def test_nothing_is_lost_or_counted_twice_widely_with(checker, name):
    why, states = checker.search(name)
    assert why is None


@pytest.mark.parametrize("name", [
    "a log that grows", "a crash and a flushed Redis", "an older PostgreSQL",
    "a zombie", "a straggler, a crash, an older Redis",
    "a straggler of its own and a zombie"])
def test_the_work_ends_with(ends, name):
    assert ends.search(name)[0] is None


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_work_ends_after_all_of(ends, name):
    assert ends.search(name)[0] is None


@pytest.mark.parametrize("rules", NEEDED, ids="+".join)
def test_the_protocol_breaks_without(tmp_path, rules):
    why, _ = Checker(tmp_path, rules).search(NEEDED[rules])
    assert why is not None and "assertion" in why


@pytest.mark.parametrize("rules", NEEDED_TO_END, ids="+".join)
def test_the_work_does_not_end_without(tmp_path, rules):
    why, _ = Checker(tmp_path, rules, liveness=True).search(
        NEEDED_TO_END[rules])
    assert why is not None and "acceptance cycle" in why


def test_every_rule_is_shown_to_be_needed():
    shown = {r for rules in [*NEEDED, *NEEDED_TO_END] for r in rules}
    assert shown == set(RULES)
    with open(MODEL) as f:
        words = set(re.findall(r"NO_([A-Z_]+)", f.read()))
    assert words == {r.upper().replace("-", "_") for r in RULES}
