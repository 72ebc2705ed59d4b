"""Targets held against the figures of one run.

Pure: rows in, verdicts out; tests/bench/test_harness.py holds it to its word.
A target whose rows are missing, or have faults, is not judged.
"""

import collections
import statistics

# met: True, False, or None where it can't be judged; by then measured says
# why.  also: the same for one worker.
Verdict = collections.namedtuple("Verdict", "target bound measured met also")

DISCARD = "floor: nginx, read and discard"
SHA = "floor: SHA-256"
PRODUCE = "floor: librdkafka produce"
ONE, TWO = "sluice, 1 worker", "sluice, 2 workers"
AXUM = "axum"

FLOOR_RATIO = 1.25
AXUM_RATIO = 0.6
WORKER_MIB = 48
EVENT_COST = 0.006              # CPU seconds per 1,000 events above discard
EVENT_RATE = 2


class Unjudged(Exception):
    pass


class Rows:
    """Medians of one workload's rows."""

    def __init__(self, rows):
        self.rows = rows

    def get(self, name, key, of=statistics.median):
        runs = self.rows.get(name)
        if not runs:
            raise Unjudged("no row for " + name)
        if any(run["faults"] for run in runs):
            raise Unjudged(name + " has faults")
        return of([run[key] for run in runs])

    def peers(self, tuned=False):
        """Those beside us that answer after acknowledgement."""
        found = [n for n in self.rows
                 if not n.startswith(("floor: ", "sluice"))
                 and tuned == ("," in n)]
        if not found:
            raise Unjudged("no peer was measured")
        return found

    def hashed(self, name):
        return any(run.get("hashed") for run in self.rows.get(name, ()))


def judge(target, rows, ratio, most=None, least=None, unit=""):
    """ratio(name of our row) is held against a bound, for both of ours."""
    bound = "<= %g%s" % (most, unit) if most is not None \
        else ">= %g%s" % (least, unit)

    def value(name):
        v = ratio(name)
        return v, v <= most if most is not None else v >= least

    try:
        v, met = value(TWO)
        measured = "%.2f%s" % (v, unit) if met else "%.2f%s, short by %.0f %%" \
            % (v, unit, 100 * (v / most - 1 if most is not None
                               else 1 - v / least))
    except Unjudged as why:
        measured, met = "not judged: %s" % why, None
    try:
        v, ok = value(ONE)
        also = "%.2f%s%s" % (v, unit, "" if ok else ", short")
    except Unjudged as why:
        also = "not judged: %s" % why
    return Verdict(target, bound, measured, met, also)


def files(name, rows):
    """W1, W2 and W3."""
    r = Rows(rows)

    def sha(us):
        # Nothing is taken off for a hash that was not made.
        return r.get(SHA, "cpu_gb") if r.hashed(us) else 0

    def floor(us):
        return r.get(us, "cpu_gb") / (r.get(DISCARD, "cpu_gb") + sha(us)
                                      + r.get(PRODUCE, "cpu_gb"))

    def against_axum(us):
        return (r.get(us, "cpu_gb") - sha(us)) / r.get(AXUM, "cpu_gb")

    def rate(us):
        return r.get(us, "mb_s") / max(r.get(p, "mb_s") for p in r.peers())

    def p99(us):
        return r.get(us, "p99") / min(r.get(p, "p99") for p in r.peers())

    hashes = "with SHA-256" if r.hashed(TWO) or r.hashed(ONE) else "unhashed"
    yield judge(name + ": CPU per GB, nginx / floor " + hashes, rows, floor,
                most=FLOOR_RATIO)
    yield judge(name + ": CPU per GB, (nginx - SHA-256) / axum", rows,
                against_axum, most=AXUM_RATIO)
    yield judge(name + ": MB/s, nginx / best peer", rows, rate, least=1)
    yield judge(name + ": p99, nginx / best peer", rows, p99, most=1)


def memory(rows, inflight_mib):
    r = Rows(rows)
    return judge("W1: peak memory of a worker, sluice_inflight %d MiB"
                 % inflight_mib, rows, lambda us: r.get(us, "worker_mib", max),
                 most=WORKER_MIB + inflight_mib, unit=" MiB")


def events(rows):
    """W4."""
    r = Rows(rows)

    def cost(us):
        return 1000 * (r.get(us, "cpu_1k") - r.get(DISCARD, "cpu_1k"))

    def rate(us, tuned=False):
        return r.get(us, "per_s") / max(r.get(p, "per_s")
                                        for p in r.peers(tuned))

    def p99(us, tuned=False):
        return r.get(us, "p99") / min(r.get(p, "p99")
                                      for p in r.peers(tuned))

    yield judge("W4: CPU per 1,000 events, nginx - its own discard", rows,
                cost, most=1000 * EVENT_COST, unit=" ms")
    yield judge("W4: events/s, nginx / best peer", rows, rate,
                least=EVENT_RATE)
    yield judge("W4: p99, nginx / best peer", rows, p99, most=1)
    for v in (judge("W4: events/s, nginx / best peer with linger 1 ms", rows,
                    lambda us: rate(us, True), least=1),
              judge("W4: p99, nginx / best peer with linger 1 ms", rows,
                    lambda us: p99(us, True), most=1)):
        if not v.measured.endswith("no peer was measured"):
            yield v._replace(target=v.target + " (no target)", met=None)


def workloads(results, inflight_mib):
    """results: {workload: {name: [run, ...]}}."""
    found = []
    for name, rows in results.items():
        if name == "W4":
            found += events(rows)
        else:
            found += files(name, rows)
        if name == "W1":
            found.append(memory(rows, inflight_mib))
    return found


def single(target, value, most=None, least=None, unit="", digits=2):
    """A target of one of the separate parts."""
    good = value <= most if most is not None else value >= least
    measured = "%.*f%s" % (digits, value, unit)
    if not good:
        measured += ", short by %.0f %%" % (
            100 * (value / most - 1 if most is not None
                   else 1 - value / least))
    return Verdict(target, "%s %g%s" % ("<=" if most is not None else ">=",
                                        most if most is not None else least,
                                        unit), measured, good, "")


def unjudged(target, why):
    return Verdict(target, "", "not judged: " + why, None, "")
