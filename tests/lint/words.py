#!/usr/bin/env python3
"""Words that have no place in the tree.

Paths and hosts of the machine that somebody worked on, marks of unfinished
work, line ends and bytes that editors leave behind.
"""

import re
import subprocess
import sys

from report import ROOT, Report, files

# Put together here, so that this file does not find itself.
WORDS = {
    "a path of somebody's machine": (
        r"(?<![\w.-])/(?:" + "|".join(["wo" + "rk", "fa" + "rm", "mn" + "t",
                                       r"home/\w+"])
        + r")(?:/|\b)(?!er)"),
    "a mark of unfinished work": r"\b(?:" + "|".join(
        ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b",
    "a package registry's host": r"\b(?:" + "|".join(
        ["py" + r"pi\.org", "np" + r"mjs\.(?:org|com)",
         "pythonho" + r"sted\.org", "repo1?" + r"\.maven\.(?:org|apache)",
         "pro" + r"xy\.golang\.org", "artif" + "actory", "ne" + "xus\\."])
        + r")",
    "a private host": r"\b(?:https?|git|ssh)://[\w.-]+"
                      r"\.(?:internal|local|lan|corp)\b",
    "a word about how the text was made": r"\b(?:" + "|".join(
        ["Cl" + "aude", "Chat" + "GPT", "Co" + "pilot", "L" + "LM",
         "AI[- ]gene" + "rated"]) + r")\b",
    "a path outside of the tree": r"\.\./sha" + r"red\b",
}
PATTERNS = {why: re.compile(p) for why, p in WORDS.items()}


def check(report, path, text):
    for why, pattern in PATTERNS.items():
        found = False
        for m in pattern.finditer(text):
            found = True
            report.check(False, "%s:%d: %s: %s" % (
                path, text.count("\n", 0, m.start()) + 1, why, m.group(0)))
        if not found:
            report.check(True, "")
    report.check("\r\n" not in text, "%s: CR LF line ends" % path)
    report.check(text == "" or text.endswith("\n"),
                 "%s: no newline at the end" % path)
    for i, line in enumerate(text.split("\n"), 1):
        if line.endswith((" ", "\t")):
            report.check(False, "%s:%d: blank at the end of the line"
                         % (path, i))


def commits(report):
    """The same for what the history says."""
    log = subprocess.run(
        ["git", "-c", "safe.directory=*", "log", "--format=%h%x00%s%n%b%x01"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL).stdout
    for entry in filter(None, (e.strip() for e in log.split("\1"))):
        name, _, text = entry.partition("\0")
        for why, pattern in PATTERNS.items():
            m = pattern.search(text)
            report.check(m is None, "commit %s: %s: %s"
                         % (name, why, m and m.group(0)))


def main():
    report = Report("words")
    for path in files():
        with open("%s/%s" % (ROOT, path), "rb") as f:
            data = f.read()
        # Test inputs are bytes, not words.
        if b"\0" in data or re.search(r"(corpus|/data)/", path):
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            report.check(False, "%s: not UTF-8" % path)
            continue
        check(report, path, text)
    commits(report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
