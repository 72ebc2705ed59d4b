"""The bench says what it saw: rows that prove nothing are not judged."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import load, report, spread, turns, verdict     # noqa: E402

FORMS = load.WORKLOADS["W1"]


def row(cpu=1.0, mb_s=100, p99=10, **more):
    return dict({"cpu_gb": cpu, "cpu_1k": cpu / 10, "mb_s": mb_s,
                 "per_s": mb_s, "p99": p99, "worker_mib": 100, "hashed": True,
                 "faults": []}, **more)


def rows(**over):
    """A run that meets every target of W1 to W3."""
    found = {verdict.DISCARD: [row(0.2)], verdict.SHA: [row(0.5)],
             verdict.PRODUCE: [row(0.3)], verdict.ONE: [row(1.2, 200, 5)],
             verdict.TWO: [row(1.2, 200, 5)], "axum": [row(1.3)],
             "go": [row(1.4)]}
    found.update(over)
    return found


def run(requests=100, bad=0, failed=0, stored=2000):
    return {"requests": requests, "bad": bad, "failed": failed,
            "answered": (requests - bad) * FORMS.files, "stored": stored}


def met(found):
    return [v.met for v in found]


def test_a_run_whose_messages_are_all_there_has_no_faults():
    assert turns.faults(run(), FORMS) == []


def test_requests_cut_off_at_the_end_are_no_fault():
    assert turns.faults(run(stored=2000 + FORMS.conns * 20), FORMS) == []


@pytest.mark.parametrize("bad", [
    run(stored=1999),
    run(stored=2001 + FORMS.conns * 20),
    run(requests=100, bad=1, stored=1980),
    run(failed=1),
])
def test_a_run_that_proves_nothing_has_a_fault(bad):
    assert turns.faults(bad, FORMS)


def test_figures_within_the_targets_meet_them():
    assert met(verdict.files("W1", rows())) == [True] * 4


def test_what_is_too_dear_is_short_by_the_difference():
    found = list(verdict.files("W1", rows(**{
        verdict.TWO: [row(2.5, 200, 5)]})))
    assert found[0].met is False
    assert found[0].measured == "2.50, short by 100 %"
    assert found[0].also == "1.20"


def test_the_best_peer_counts_and_not_the_first():
    found = list(verdict.files("W2", rows(go=[row(1.4, mb_s=300, p99=4)])))
    assert met(found) == [True, True, False, False]


def test_faults_of_one_repetition_keep_its_row_from_being_judged():
    found = verdict.files("W1", rows(**{
        verdict.TWO: [row(1.2, 200, 5), row(1.2, 200, 5, faults=["lost"])]}))
    assert met(found) == [None] * 4


def test_faults_of_a_peer_keep_it_from_being_a_measure():
    found = verdict.files("W1", rows(go=[row(1.4, faults=["lost"])]))
    assert met(found) == [True, True, None, None]


def test_a_peer_that_is_missing_is_not_beaten():
    left = rows()
    del left["axum"], left["go"]
    assert met(verdict.files("W1", left)) == [True, None, None, None]


def test_no_hash_is_taken_off_where_none_was_made():
    plain = row(0.7, 200, 5, hashed=False)
    found = list(verdict.files("W3", rows(**{verdict.ONE: [plain],
                                             verdict.TWO: [plain]})))
    assert found[0].target.endswith("unhashed")
    assert found[0].measured.startswith("1.40")
    assert found[1].measured == "0.54"


def test_events_are_held_against_peers_as_they_come():
    cheap = row(per_s=20000, p99=5, cpu_1k=0.015)
    found = list(verdict.events({
        verdict.DISCARD: [row(cpu_1k=0.010)],
        verdict.ONE: [cheap], verdict.TWO: [cheap],
        "axum": [row(per_s=9000, p99=8)], "bento": [row(per_s=9500, p99=16)],
        "axum, linger 1 ms": [row(per_s=30000, p99=4)]}))
    assert met(found) == [True, True, True, None, None]
    assert found[0].measured == "5.00 ms"


def test_a_row_with_faults_is_flagged_in_the_table():
    text = report.workload(FORMS, rows(go=[row(faults=["lost"])]),
                           {"bento": "no go here"})
    assert "| go **(faults)** |" in text
    assert "- go: lost" in text
    assert "- bento: left out, no go here" in text


def test_the_line_finds_what_a_file_and_a_byte_cost():
    per_byte, per_file = spread.line([(x, 2e-9 * x + 5e-5)
                                      for x in spread.SIZES])
    assert per_byte == pytest.approx(2e-9)
    assert per_file == pytest.approx(5e-5)


def test_peak_memory_is_the_highest_of_all_runs():
    found = verdict.memory(rows(**{verdict.TWO: [
        row(worker_mib=100), row(worker_mib=113), row(worker_mib=100)]}), 64)
    assert found.met is False


def test_a_busy_machine_is_remarked_on():
    text = report.workload(FORMS, rows(go=[row(others=0.4), row(others=0)]),
                           {})
    assert "- go: others used up to 40 % of the machine in 1 of 2 runs" in text
