"""The whole path under kills, cuts and flushes: nothing lost, nothing twice.

A round is what `make faults` runs thirty of; here is a short one.  All that
chance decides comes from SLUICE_SEED, or a seed that is printed.
"""

import importlib.machinery
import importlib.util
import os
import random
import types

import pytest

import round_faults
from round_one import Round, hurried_workers
from round_plan import KINDS, plan, text
from round_report import Report
from round_stage import Stage
from stack import place


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
        print(r.verified, r.not_injected())
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


def the_run():
    """tests/faults/run, as a module."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
    loader = importlib.machinery.SourceFileLoader("faults_run", path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("faults_run", loader))
    loader.exec_module(module)
    return module


def test_a_fault_that_needs_root_stands_in_the_report_as_not_injected(
        tmp_path):
    """With a disk that could not be mounted, all of it but the services."""
    stage = types.SimpleNamespace(
        disk=types.SimpleNamespace(mounted=False), kafka=None, redis=None,
        postgres=None, services=list)
    targets = round_faults.Targets(stage, None, [])
    targets.check = list
    r = Round.__new__(Round)
    r.plan = [i for i in plan("a", 60) if i.track == "disk"][:1]
    r.done, r.left_out, r.verified = [], [], {}
    round_faults.run([r.plan[0]._replace(at=0)], targets, 0.1, list, r.done,
                     r.left_out, 0)
    report = Report(str(tmp_path), "a", 60)
    report.add(1, "a-1", "exact", "", r, 1)
    assert "not injected: needs root" in (tmp_path / "report.txt").read_text()
    assert '"disk: full"' in (tmp_path / "rounds.jsonl").read_text()
    assert not r.injected()


def test_a_run_that_needs_the_disk_fails_without_root(tmp_path, monkeypatch):
    run = the_run()
    monkeypatch.setattr(place, "is_root", lambda: False)
    monkeypatch.setattr(run, "Asked", lambda: None)      # signals are pytest's
    o = types.SimpleNamespace(first=1, rounds=1, need=["disk"])
    with pytest.raises(run.Missing, match="needs root"):
        run.rounds(o, str(tmp_path), None)


def test_a_worker_that_was_told_to_leave_and_then_to_end_is_known():
    def log(*lines):
        return "".join("2026/11/21 05:29:4%d [notice] %s\n" % line
                       for line in enumerate(lines))
    gentle, end = "7#7: gracefully shutting down", "7#7: exiting"
    term = "1#1: signal 15 (SIGTERM) received from 9, exiting"
    assert hurried_workers(log(gentle, term, end)) == ["7"]
    assert hurried_workers(log(gentle, end, term)) == []
    assert hurried_workers(log(term, gentle, end)) == []
    assert hurried_workers(log(term, end)) == []
