#!/usr/bin/python3
"""conf/redis-sluice.acl allows what the processor calls, and nothing else.

A script that meets a command it may not call ends in the middle of its work,
so one that is missing is worse than an outage.
"""

import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
# Redis asks no permission for AUTH; a sentinel is another server.
ALWAYS = {"auth", "sentinel"}
CONTAINERS = {"SCRIPT", "CLUSTER"}


def read(path):
    with open(path) as f:
        return f.read()


def called():
    """Commands in the scripts, and those io/redis*.c and the commands send to
    servers; what goes to sentinels is theirs to allow."""
    sent = [read(p) for p in glob.glob(ROOT + "/processor/io/redis*.c")
            + glob.glob(ROOT + "/processor/tool/*.c")]
    scripts = sent + [read(p) for p in
                      glob.glob(ROOT + "/processor/lane/*.lua")]
    found = {name.lower() for text in scripts
             for name in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    for text in sent:
        found.update(w.lower() for w in re.findall(
            r'redis_args_str\([^,]+, "([A-Z]+)"\)', text))
        for first, second in re.findall(
                r'redis_link_words\(\w+, "([A-Z]+)", (\S+),', text):
            if first in CONTAINERS:
                first += "|" + second.strip('"')
            found.add(first.lower())
    return found - ALWAYS


def allowed():
    words = read(ROOT + "/conf/redis-sluice.acl").split()
    return {w[1:] for w in words if w.startswith("+")}


def main():
    need, have = called(), allowed()
    for name in sorted(need - have):
        print("conf/redis-sluice.acl: +%s is missing" % name)
    for name in sorted(have - need):
        print("conf/redis-sluice.acl: +%s is never called" % name)
    return 1 if need != have else 0


if __name__ == "__main__":
    sys.exit(main())
