"""What a run leaves: a line of JSON a round, and the same as a table.

Both are written after every round, so a run that is cut short has told of the
rounds it finished.
"""

import json
import os
import time

LINES, TABLE = "rounds.jsonl", "report.txt"
COLUMNS = ("records", "repeats", "twice", "counted", "uploads", "rows",
           "objects")


class Report:
    def __init__(self, directory, seed, seconds):
        self.dir = directory
        self.seed, self.seconds = seed, seconds
        self.rounds = []
        os.makedirs(directory, exist_ok=True)
        for name in (LINES, TABLE):
            path = os.path.join(directory, name)
            if os.path.exists(path):
                os.unlink(path)

    def add(self, number, seed, outcome, trouble, round_, seconds):
        """outcome: exact, violation, or error (nothing was found out)."""
        self.rounds.append({
            "round": number, "seed": seed, "outcome": outcome,
            "trouble": trouble, "ended": time.strftime("%FT%TZ",
                                                       time.gmtime()),
            "seconds": round(seconds), "planned": len(round_.plan),
            "injected": round_.injected(),
            "not injected": round_.not_injected(), "verified": round_.verified})
        with open(os.path.join(self.dir, LINES), "a") as f:
            f.write(json.dumps(self.rounds[-1]) + "\n")
        with open(os.path.join(self.dir, TABLE), "w") as f:
            f.write(self.text() + "\n")

    def text(self):
        lines = ["seed %s, %g s of faults a round" % (self.seed,
                                                      self.seconds), ""]
        lines += self._rounds() + [""] + self._faults() + [""]
        lines += ["round %d, seed %s: %s\n  %s" % (
            r["round"], r["seed"], r["outcome"],
            r["trouble"].replace("\n", "\n  "))
            for r in self.rounds if r["trouble"]]
        count = [sum(r["outcome"] == o for r in self.rounds)
                 for o in ("exact", "violation", "error")]
        return "\n".join(lines + [
            "%d rounds: %d exact, %d with violations, %d with errors of the "
            "harness" % (len(self.rounds), *count)])

    def _rounds(self):
        head = "%5s %-14s %-9s %5s %6s" % ("round", "seed", "outcome", "s",
                                           "faults")
        lines = [head + "".join(" %8s" % c for c in COLUMNS)
                 + " %8s %7s" % ("MB", "settled")]
        for r in self.rounds:
            v = r["verified"]
            lines.append(
                "%5d %-14s %-9s %5d %6d" % (
                    r["round"], r["seed"], r["outcome"], r["seconds"],
                    len(r["injected"]))
                + "".join(" %8s" % v.get(c, "-") for c in COLUMNS)
                + " %8s %7s" % (
                    "%.1f" % (v["object bytes"] / 1e6) if v else "-",
                    "%.0f s" % v["settled after s"] if v else "-"))
        return lines

    def _faults(self):
        """How often each kind was injected, and how long after its end files
        were taken, and all was applied that lay in the log by then."""
        kinds = {}
        for r in self.rounds:
            for i in r["injected"]:
                what = i["hit"].split(" ")[0].rstrip(",")
                what = {"worker": "nginx", "no": "nginx"}.get(what, what)
                if " to " in i["hit"]:
                    what = "link"
                kinds.setdefault("%s: %s" % (what, i["kind"]), []).append(i)
        lines = ["%-38s %5s %18s %18s" % ("fault", "times", "taken after s",
                                          "applied after s"),
                 "%-38s %5s %18s %18s" % ("", "", "median      most",
                                          "median      most")]
        for kind, found in sorted(kinds.items()):
            lines.append("%-38s %5d %18s %18s" % (
                kind, len(found), spread(found, "taken after"),
                spread(found, "applied after")))
        return lines + self._left_out()

    def _left_out(self):
        """A fault that this machine could not do was not survived either."""
        found = {}
        for r in self.rounds:
            for i in r["not injected"]:
                found.setdefault((i["fault"], i["why"]), []).append(i)
        return ["%-38s %5d not injected: %s" % (fault, len(times), why)
                for (fault, why), times in sorted(found.items())]


def spread(found, what):
    values = sorted(i[what] for i in found if i[what] is not None)
    if not values:
        return "-"
    return "%6.1f    %6.1f" % (values[len(values) // 2], values[-1])
