#!/usr/bin/python3
"""conf/processor.ini shows every setting of the reference, and no other.

The reference is what `sluice-processor --reference` prints.  A line that is
commented out shows the default; one that isn't has none, and must be set.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SAMPLE = "conf/processor.ini"
BINARY = "build/processor/sluice-processor"


def reference():
    """{section: {setting: default}}; a default of None: required.  A section
    that takes any key is None."""
    text = subprocess.run([os.path.join(ROOT, BINARY), "--reference"],
                          text=True, check=True,
                          stdout=subprocess.PIPE).stdout
    found, section = {}, None
    for line in text.splitlines():
        if line.startswith("## ["):
            section = line[4:line.index("]")]
            found[section] = {}
        elif line.startswith("## "):
            break                              # metrics
        elif line.startswith("| `"):
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            name, default = cells[0].strip("`"), cells[2].strip("`")
            if default == "none":
                found[section] = None
                continue
            found[section][name] = {"required": None,
                                    "empty": ""}.get(default, default)
    return found


def sample():
    """{section: {setting: (commented out, value)}}"""
    found, section = {}, None
    with open(os.path.join(ROOT, SAMPLE)) as f:
        for line in f:
            head = re.match(r"\[(.+)\]$", line)
            row = re.match(r"(;?)([a-z_.]+) =(.*)$", line)
            if head:
                section = found.setdefault(head.group(1), {})
            elif row:
                section[row.group(2)] = (row.group(1) == ";",
                                         row.group(3).strip())
    return found


def differences(wanted, shown):
    for section in sorted(set(wanted) | set(shown)):
        if section not in wanted or section not in shown:
            yield "[%s] is only in %s" % (
                section, "the sample" if section in shown else "the reference")
            continue
        if wanted[section] is None:
            continue
        for name in sorted(set(wanted[section]) | set(shown[section])):
            where = "[%s] %s" % (section, name)
            if name not in shown[section]:
                yield where + " is only in the reference"
                continue
            if name not in wanted[section]:
                yield where + " is only in the sample"
                continue
            default = wanted[section][name]
            commented, value = shown[section][name]
            if commented != (default is not None):
                yield where + (" is required" if commented
                               else " has a default and isn't commented out")
            elif commented and value != default:
                yield "%s: the default is %r, the sample says %r" % (
                    where, default, value)


def main():
    if not os.path.exists(os.path.join(ROOT, BINARY)):
        print("%s isn't built: make processor" % BINARY)
        return 1
    found = list(differences(reference(), sample()))
    for line in found:
        print("%s: %s" % (SAMPLE, line))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
