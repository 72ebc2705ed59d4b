"""The lane protocol holds in every history, and each of its rules is needed.

A history is any order of a lane's steps, of another lane that may be a
zombie, of records that come and time that passes, with the faults a scenario
allows.  See lane_model.py.
"""

import pytest

from lane_model import RULES, Model, search

# Windows, files; True marks a record that comes whenever it likes.
LOG = [(0, "a"), (1, "b"), (0, "a"), (2, "a")]
SHORT = [(0, "a"), (0, "b"), (2, "a")]
STRAGGLER = [(0, "a"), (0, "a", True), (1, "b")]
STRANGER = [(0, "a"), (0, "b", True)]
BEHIND = [(0, "a"), (2, "a"), (0, "a", True)]

# Window 0 is due by the log at the third record; the others come meanwhile.
BUSY = [(0, "a"), (0, "b"), (2, "a"), (2, "b")]
BUSY_LATE = [(0, "a"), (0, "b"), (2, "a"), (0, "a", True)]

# The whole log is there and it is late: fewer states, for two lanes.
THERE = dict(end=3, clock=4)

SCENARIOS = {
    "a log that grows": (LOG, {}),
    "a crash and a flushed Redis": (LOG, dict(crash=1, flush=1)),
    "an older Redis and a failed call": (LOG, dict(rollback=1, retry=1)),
    "an older PostgreSQL": (LOG, dict(pgloss=1)),
    "a zombie": (SHORT, dict(steal=1, **THERE)),
    "a zombie and a flushed Redis": (SHORT, dict(steal=1, flush=1, **THERE)),
    "a zombie and an older Redis": (SHORT, dict(steal=1, rollback=1,
                                                **THERE)),
    "a straggler, a crash, a flushed Redis": (STRAGGLER, dict(crash=1,
                                                              flush=1)),
    "a straggler, a crash, an older Redis": (STRAGGLER, dict(crash=1,
                                                             rollback=1)),
    "a straggler and a zombie": (STRAGGLER, dict(steal=1)),
    "a straggler of its own and a zombie": (STRANGER, dict(steal=1)),
    "a straggler and an older PostgreSQL": (BEHIND, dict(pgloss=1)),
    "a close under traffic, a flushed Redis": (BUSY, dict(flush=1, end=2)),
    "a close under traffic, an older Redis": (BUSY_LATE, dict(rollback=1,
                                                              end=2)),
    "a close under traffic, an older PostgreSQL": (BUSY_LATE, dict(pgloss=1,
                                                                   end=2)),
    "a close under traffic and a zombie": (BUSY_LATE, dict(steal=1, end=3,
                                                           clock=4)),
}

WIDE = {
    "a zombie and an older PostgreSQL": (SHORT, dict(steal=1, pgloss=1,
                                                     **THERE)),
    "a zombie, a flushed Redis, a log that grows": (
        SHORT, dict(steal=1, flush=1, end=1)),
    "a straggler, a zombie, a flushed Redis": (STRAGGLER, dict(steal=1,
                                                               flush=1)),
}

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
    ("pg-lost",): "an older PostgreSQL",
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
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_or_counted_twice_with(name):
    log, faults = SCENARIOS[name]
    why, states = search(Model(log, **faults))
    assert why is None, states
    assert states > 1000, "the search did not search"


@pytest.mark.full
@pytest.mark.parametrize("name", WIDE)
def test_nothing_is_lost_or_counted_twice_widely_with(name):
    log, faults = WIDE[name]
    why, states = search(Model(log, **faults))
    assert why is None, states


@pytest.mark.parametrize("rules", NEEDED, ids="+".join)
def test_the_protocol_breaks_without(rules):
    log, faults = SCENARIOS[NEEDED[rules]]
    why, history = search(Model(log, rules, **faults))
    assert why is not None
    assert history


def test_every_rule_is_shown_to_be_needed():
    assert {r for rules in NEEDED for r in rules} == set(RULES)
