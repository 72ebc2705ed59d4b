"""What the lint scripts share: which files there are, and how to report.

A script checks things one by one, prints those that are wrong as
file:line: sentence, and ends with "NAME: N passed, N failed", which ./check
adds up.  Its exit status is 1 when anything failed.
"""

import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))


def files(*suffixes, under=""):
    """Tracked files and new ones that git would not ignore, relative."""
    out = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached",
         "--others", "--exclude-standard", "--"] + ([under] if under else []),
        cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode()
    found = sorted(f for f in set(out.split("\0")) if f
                   and (not suffixes or f.endswith(suffixes))
                   and os.path.isfile(os.path.join(ROOT, f)))
    return found


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8",
              errors="replace") as f:
        return f.read()


def strip_comments(text):
    """C without comments and the insides of strings; lines stay lines."""
    out = []
    i = 0
    n = len(text)
    while i < n:
        two = text[i:i + 2]
        if two == "/*":
            end = text.find("*/", i + 2)
            end = n if end < 0 else end + 2
            out.append("\n" * text.count("\n", i, end))
            i = end
        elif text[i] in "\"'":
            quote = text[i]
            out.append(quote)
            i += 1
            while i < n and text[i] != quote and text[i] != "\n":
                i += 2 if text[i] == "\\" else 1
            out.append(quote)
            i += 1
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


class Report:
    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = 0

    def check(self, good, problem):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(problem)
        return good

    def end(self):
        print("%s: %d passed, %d failed" % (self.name, self.passed,
                                            self.failed))
        return 1 if self.failed else 0
