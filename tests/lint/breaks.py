#!/usr/bin/env python3
"""The deliberate breaks stay where they are.

SLUICE_BREAK_ flags are asked for in processor/lane/breaks.h and set in the
Makefile; what breaks.h gives is used at one place a break; nothing that
is packaged, installed or played names them.
"""

import re
import sys

from report import Report, files, read

HOME = "processor/lane/breaks.h"
SETS = {"Makefile", "tests/lint/breaks.py"}
USES = {"processor/lane/apply.c": {"BREAKS_PUT_AFTER_APPLY"},
        "processor/lane/rows.c": {"BREAKS_COUNT", "breaks_count"}}


def main():
    report = Report("breaks")
    for path in files(".c", ".h", ".lua", ".py", ".yml", ".service", ""):
        if path == HOME or path in SETS:
            continue
        text = read(path)
        report.check("SLUICE_BREAK_" not in text,
                     "%s: asks for a deliberate break" % path)
        if not path.startswith(("processor/", "ngx_module/")):
            continue
        used = set(re.findall(r"\b(?:BREAKS_\w+|breaks_\w+)", text))
        report.check(used <= USES.get(path, set()), "%s: uses %s of %s"
                     % (path, ", ".join(sorted(used)), HOME))
    for path in files(".yml", ".service", ".spec"):
        report.check("BREAK=" not in read(path),
                     "%s: builds a broken processor" % path)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
