#!/usr/bin/env python3
"""How long files and functions are, and how much of them is comment.

Prints what docs/style.md, section 4, asks to look at again; fails only at
what has outgrown every reason: a source file over 700 lines, a function in it
over 120.
"""

import re
import sys

from report import Report, files, read

FILE_MAX = 700
FUNCTION_MAX = 120
FUNCTION_LOOK = 60
SOURCES = ("ngx_module/", "processor/", "sluice_wire.h")


def functions(text):
    """(name, line, lines of body): nginx's form, braces at column 0."""
    lines = text.split("\n")
    begin = None
    for i, line in enumerate(lines):
        if line == "{":
            begin = i
        elif line == "}" and begin is not None:
            head = " ".join(lines[max(0, begin - 8):begin])
            names = re.findall(r"\b([a-z_][a-z0-9_]*)\s*\(", head)
            yield (names[-1] if names else "?", begin + 1, i - begin - 1)
            begin = None


def comment_share(text):
    comment = sum(c.count("\n") + 1
                  for c in re.findall(r"/\*.*?\*/", text, re.S))
    lines = text.count("\n") or 1
    return 100 * comment // lines


def main():
    report = Report("sizes")
    bodies = []
    for path in files(".c", ".h", ".lua", ".py"):
        text = read(path)
        lines = text.count("\n")
        if not path.startswith(SOURCES):
            if lines > FILE_MAX:
                print("look: %s: %d lines" % (path, lines))
            continue
        report.check(lines <= FILE_MAX, "%s: %d lines, over %d"
                     % (path, lines, FILE_MAX))
        if not path.endswith(".c"):
            continue
        for name, line, body in functions(text):
            report.check(body <= FUNCTION_MAX, "%s:%d: %s() has %d lines, "
                         "over %d" % (path, line, name, body, FUNCTION_MAX))
            bodies.append((body, path, line, name))
        if lines > 100 and comment_share(text) < 8:
            print("look: %s: %d %% comment" % (path, comment_share(text)))

    long = sorted(b for b in bodies if b[0] > FUNCTION_LOOK)
    for body, path, line, name in reversed(long):
        print("look: %s:%d: %s() has %d lines" % (path, line, name, body))
    if bodies:
        print("look: %d functions, median %d lines, %d %% over %d"
              % (len(bodies), sorted(bodies)[len(bodies) // 2][0],
                 100 * len(long) // len(bodies), FUNCTION_LOOK))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
