"""Figures as Markdown."""

import statistics

from . import load, turns


def spread(runs, key, digits):
    """Median (least-most)."""
    values = [run[key] for run in runs if run.get(key) is not None]
    if not values:
        return ""
    return "%.*f (%.*f-%.*f)" % (digits, statistics.median(values),
                                 digits, min(values), digits, max(values))


def workload(w, rows, left_out):
    """The table of side_by_side(); what is wrong stands below it."""
    event = w.kind == "json"
    what = "events" if event else "files"
    lines = ["", "%s: %s" % (w.name, load.describe(w)), ""]
    columns = [
        ("CPU-s/GB", "cpu_gb", 2),
        ("CPU-s/1,000 " + what, "cpu_1k", 4 if event else 3),
        ("events/s" if event else "MB/s", "per_s" if event else "mb_s", 0),
        ("p50 ms", "p50", 1), ("p99 ms", "p99", 1), ("peak MiB", "mib", 0),
        ("of a worker", "worker_mib", 0), ("broker CPU-s/GB", "broker_gb", 2),
    ]
    lines.append("| | " + " | ".join(c[0] for c in columns) + " |")
    lines.append("|---" * (len(columns) + 1) + "|")
    notes = []
    for name, runs in rows.items():
        faults = [f for run in runs for f in run["faults"]]
        notes += ["%s: %s" % (name, f) for f in faults]
        mark = " **(faults)**" if faults else ""
        busy = [run["others"] for run in runs if turns.busy(run)]
        if busy:
            notes.append("%s: others used up to %.0f %% of the machine in %d "
                         "of %d runs" % (name, 100 * max(busy), len(busy),
                                         len(runs)))
        cells = [spread(runs, key, digits) for _, key, digits in columns]
        lines.append("| " + " | ".join([name + mark] + cells) + " |")
    for name, why in left_out.items():
        notes.append("%s: left out, %s" % (name, why))
    if notes:
        lines.append("")
        lines += ["- " + n for n in notes]
    return "\n".join(lines)


def verdicts(found):
    lines = ["", "| target | bound | measured | | with 1 worker |",
             "|---|---|---|---|---|"]
    words = {True: "met", False: "**short**", None: ""}
    for v in found:
        lines.append("| %s | %s | %s | %s | %s |" % (
            v.target, v.bound, v.measured, words[v.met], v.also))
    return "\n".join(lines)


def faulty(results):
    """Whether any run of {workload: {name: [run]}} has faults."""
    return any(run["faults"] for rows in results.values()
               for runs in rows.values() for run in runs)
