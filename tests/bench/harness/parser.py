"""The multipart parser alone; see parser_bench.c."""

import os
import re
import subprocess

from . import BUILD

ORDINARY = 5.0          # GB/s, one core
WORST = 2.5
BODIES = ("random bytes, parts of 100 kB", "text with CR LF")


def measure(secs):
    """{row: GB/s}."""
    out = subprocess.run([os.path.join(BUILD, "parser_bench"), str(secs)],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = dict((name.strip(), float(rate)) for name, rate in
                re.findall(r"^(.*?) +([\d.]+) GB/s", out, re.M))
    missing = [b for b in BODIES if b not in rows]
    if missing:
        raise RuntimeError("parser_bench has no row %s" % missing)
    return rows


def ordinary(rows):
    return min(rows[b] for b in BODIES)


def worst(rows):
    return min(rows.values())
