"""The whole path under kills, cuts and flushes: nothing lost, nothing twice.

A round is what `make faults` runs thirty of; here is a short one.  All that
chance decides comes from SLUICE_SEED, or a seed that is printed.
"""

import os
import random

import pytest

from round_one import Round
from round_plan import KINDS, plan, text
from round_stage import Stage


@pytest.fixture(scope="module")
def stage(ground):
    s = Stage(os.path.join(ground, "stage")).start()
    yield s
    s.stop()


@pytest.fixture
def round_of(stage):
    def run(seed, seconds):
        print("SLUICE_SEED=%s" % seed)
        r = Round(stage, seed, seconds)
        print("\n".join(map(text, r.plan)))
        try:
            r.start()
            r.run()
            r.verify()
        finally:
            r.stop()
        print(r.verified)
        r.remove()
    return run


def test_a_round_of_faults_loses_nothing_and_counts_once(round_of):
    seed = os.environ.get("SLUICE_SEED") or random.randrange(10 ** 6)
    round_of(str(seed), float(os.environ.get("SLUICE_ROUND", 20)))


@pytest.mark.full
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_long_round_loses_nothing_and_counts_once(round_of, seed):
    round_of(seed, 100)


def test_a_seed_gives_one_plan_and_another_seed_another():
    assert plan("a", 60) == plan("a", 60)
    assert plan("a", 60) != plan("b", 60)


def test_a_plan_ends_in_time_and_its_beginning_does_not_hang_on_its_length():
    short, long = plan("a", 30), plan("a", 60)
    assert all(i.at + i.lasts <= 30.1 for i in short)
    assert [i for i in short if i.at + i.lasts < 29] \
        == [i for i in long if i.at + i.lasts < 29]


def test_ten_rounds_have_faults_of_every_kind():
    found = {(i.track, i.kind) for n in range(10)
             for i in plan("x-%d" % n, 60)}
    assert found == {(t, k) for t, kinds in KINDS.items() for k in kinds}
