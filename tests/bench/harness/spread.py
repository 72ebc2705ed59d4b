"""Whether a GB costs the same, however it comes.

Forms of one file: 100 kB over 16 to 4,000 connections, and 10 kB to 300 kB
over 16.  The cost of a GB and the cost of a file are told apart by a line
through the sizes' medians.
"""

import statistics

from . import candidates, turns
from .load import Workload

CONNECTIONS = (16, 256, 1000, 4000)
SIZES = (10000, 30000, 100000, 300000)
WITHIN = 0.25


def workloads():
    found = [Workload("%d connections" % n, "form", 1, 100000, n)
             for n in CONNECTIONS]
    return found + [Workload("%d kB" % (n // 1000), "form", 1, n, 16)
                    for n in SIZES if n != 100000]


def measure(broker, directory, reps, secs, say):
    """[(workload, [run, ...])]."""
    module = candidates.Module(2, "spread", connections=16384)
    why = module.missing(None)
    if why:
        raise RuntimeError(why)
    asked = workloads()
    runs = [[] for _ in asked]
    topic = broker.topic("spread")
    module.start(directory, broker, topic)
    try:
        for rep in range(reps):
            order = list(range(len(asked)))
            for i in order[rep % len(asked):] + order[:rep % len(asked)]:
                # Thousands of requests at once take seconds to be served.
                run = turns.measure(module, topic, asked[i], broker,
                                    secs * max(1, asked[i].conns // 1000))
                runs[i].append(run)
                say("%s %d/%d: %s" % (asked[i].name, rep + 1, reps,
                                      turns.brief(run)))
    finally:
        module.stop()
        broker.delete([topic])
    return list(zip(asked, runs))


def line(points):
    """Least squares: (CPU seconds per GB, per file) of (bytes, CPU seconds a
    file), each point weighing the same by its own cost."""
    # minimise sum ((a x + b - y) / y)^2
    sxx = sum((x / y) ** 2 for x, y in points)
    sx1 = sum(x / y ** 2 for x, y in points)
    s11 = sum(1 / y ** 2 for x, y in points)
    sx = sum(x / y for x, y in points)
    s1 = sum(1 / y for x, y in points)
    det = sxx * s11 - sx1 ** 2
    return (sx * s11 - s1 * sx1) / det, (s1 * sxx - sx * sx1) / det


def judge(found):
    """What the verdicts need: largest / smallest of the medians."""
    def median(runs, key):
        return statistics.median(run[key] for run in runs)

    by_conns = [median(r, "cpu_gb") for w, r in found if w.size == 100000]
    by_size = [(w.size, median(r, "cpu_1k") / 1000) for w, r in found
               if w.conns == 16]
    per_byte, per_file = line(by_size)
    off = [y / (per_byte * x + per_file) for x, y in by_size]
    costs = [y / x for x, y in by_size]
    return {
        "connections": max(by_conns) / min(by_conns),
        "sizes": max(costs) / min(costs),
        "fit": max(max(off), 1 / min(off)),
        "gb": per_byte * 1e9, "file_us": per_file * 1e6,
        "faults": sum((run["faults"] for _, r in found for run in r), []),
    }
