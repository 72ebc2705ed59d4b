#!/usr/bin/python3
"""Alerts name metrics that are there and headings of the runbook.

What metrics there are, docs/processor.md says, which docs.py holds to the
binary.  Where promtool is installed it reads the rules as well.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

import yaml

from report import ROOT, Report, read

PAGE = "docs/processor.md"
RUNBOOK = "docs/runbook.md"
RULES = "conf/prometheus/*.yml"


def metrics():
    """Names of samples, and the labels that each may have."""
    found = {}
    for name, kind, labels in re.findall(
            r"^\| `((?:sluice|process)_\w+)` \| (\w+) \| ([^|]*)\|",
            read(PAGE), re.M):
        labels = {v.strip() for v in labels.split(",")} | {"job", "instance"}
        for suffix in ["_bucket", "_sum", "_count"] \
                if kind == "histogram" else [""]:
            found[name + suffix] = labels | ({"le"} if suffix else set())
    return found


def headings():
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
            for h in re.findall(r"^#+ +(.*)$", read(RUNBOOK), re.M)}


def check_rule(report, path, rule, known, page, runbook):
    places = headings()
    name = rule["alert"]
    used = re.findall(r"\b((?:sluice|process)_\w+)(?:\{([^}]*)\})?",
                      rule["expr"])
    report.check(used, "%s: %s: no metric of ours" % (path, name))
    for metric, matchers in used:
        # What a command leaves for node_exporter is named in the text.
        if not report.check(metric in known or "`%s`" % metric in page,
                            "%s: %s: there is no metric %s"
                            % (path, name, metric)):
            continue
        for label in [] if metric not in known else re.findall(r"(\w+)\s*[=!]", matchers):
            report.check(label in known[metric], "%s: %s: %s has no label %s"
                         % (path, name, metric, label))
    report.check(rule["labels"]["severity"] in ("page", "ticket"),
                 "%s: %s: its severity" % (path, name))
    report.check(rule["annotations"].get("summary"), "%s: %s: no summary"
                 % (path, name))
    to, _, anchor = rule["annotations"].get("runbook", "").partition("#")
    report.check(to == RUNBOOK and anchor in places,
                 "%s: %s: no heading %s#%s" % (path, name, to, anchor))
    report.check("`%s`" % name in runbook, "%s: %s is not in %s"
                 % (path, name, RUNBOOK))


def main():
    report = Report("alerts")
    known, page, runbook = metrics(), read(PAGE), read(RUNBOOK)
    report.check(known, "%s has no table of metrics" % PAGE)
    paths = sorted(glob.glob(os.path.join(ROOT, RULES)))
    report.check(paths, "%s: none" % RULES)
    for path in paths:
        short = os.path.relpath(path, ROOT)
        for group in yaml.safe_load(read(short))["groups"]:
            for rule in group["rules"]:
                check_rule(report, short, rule, known, page, runbook)
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "rules", path],
                                  text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            report.check(done.returncode == 0, "%s: %s" % (short,
                                                           done.stdout))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
