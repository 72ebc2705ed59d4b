#!/usr/bin/env python3
"""Dependencies go one way, and each library has one door.

Reads the #include lines of both halves, and in the module, where one header
serves all files, the names that a file calls.  The rules are those of
docs/style.md, section 2; this file is where they are exact.
"""

import os
import re
import sys

from report import ROOT, Report, files, read, strip_comments

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)

# Library header (its beginning) -> who may include it.  A directory or a
# file without suffix stands for all that begins so.
DOORS = {
    "librdkafka/": ["ngx_module/ngx_http_sluice_kafka", "processor/io/kafka",
                    "tests/"],
    "libpq-fe.h": ["ngx_module/ngx_http_sluice_pg", "processor/io/pg",
                   "tests/"],
    "hiredis/": ["processor/io/redis", "tests/"],
    "microhttpd.h": ["processor/io/http", "tests/"],
    "ini.h": ["processor/base/conf", "tests/"],
    "openssl/": ["ngx_module/ngx_http_sluice_part",
                 "ngx_module/ngx_http_sluice_record", "processor/core/",
                 "ngx_module/ngx_http_sluice.h", "ngx_module/jwk_key",
                 "ngx_module/ngx_http_sluice_apikey",
                 "processor/io/redis_tls", "tests/"],
    "jansson.h": ["ngx_module/jw", "processor/tool/print", "tests/"],
    "systemd/": ["processor/main", "tests/"],
    "pthread.h": ["processor/main", "processor/base/", "processor/lane/",
                  "processor/io/", "tests/"],
    "ngx_": ["ngx_module/ngx_http_sluice", "tests/"],
}

# directory of the processor -> directories whose headers it may include
PROCESSOR = {
    "main": {"assemble", "tool", "lane", "store", "io", "core", "base"},
    "tool": {"tool", "lane", "store", "io", "core", "base"},
    "assemble": {"assemble", "lane", "store", "io", "core", "base"},
    "lane": {"lane", "store", "io", "core", "base"},
    "store": {"io", "core", "base"},
    "io": {"core", "base"},
    "core": {"core", "base"},
    "base": {"base"},
}

# The module's files, the higher calling the lower.  Names begin with their
# file's, so a call tells its target.
RANK = {"module": 0, "form": 1, "event": 1, "jwt": 1, "apikey": 1, "scrape": 1,
        "health": 1, "conf": 2, "upload": 3, "summary": 3, "part": 3,
        "token": 3, "origin": 4, "tenant": 4, "pg": 4, "record": 4, "drain": 4,
        "store": 5, "auth": 5, "reply": 5, "kafka": 5, "variables": 6,
        "metrics": 7}
# What module.c lends to all: the module's own struct.
LENT = {"ngx_http_sluice_module"}
CALL = re.compile(r"\b(ngx_http_sluice_([a-z0-9]+)[a-z0-9_]*)\s*\(")


def area(path):
    """processor/io/kafka.c -> io; processor/main.c -> main."""
    rest = path[len("processor/"):]
    return rest.split("/")[0] if "/" in rest else "main"


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def family(path):
    """The first word of a file's name."""
    return stem(path).split("_")[0]


def table(path):
    """The one file of a directory that names all its siblings."""
    return stem(path) == "table"


def check_includes(report, path, text):
    for m in INCLUDE.finditer(text):
        where = "%s:%d" % (path, text.count("\n", 0, m.start()) + 1)
        name = m.group(2)
        for begin, doors in DOORS.items():
            if name.startswith(begin) and not name.startswith("ngx_http_slu"):
                report.check(any(path.startswith(d) for d in doors),
                             "%s: %s is included only by %s"
                             % (where, name, ", ".join(doors)))
        if m.group(1) == "<":
            continue
        if path.startswith("processor/"):
            check_processor(report, path, name, where)
        elif path.startswith("ngx_module/"):
            check_module(report, path, name, where)


def check_processor(report, path, name, where):
    if name in ("sluice_wire.h", "lane_scripts.h"):
        report.check(name != "lane_scripts.h" or area(path) == "lane",
                     "%s: the scripts are lane's" % where)
        return
    if not report.check(os.path.exists(os.path.join(ROOT, "processor", name)),
                        "%s: include project headers by their path under "
                        "processor/, not %s" % (where, name)):
        return
    own, other = area(path), area("processor/" + name)
    allowed = other in PROCESSOR.get(own, set())
    if own == other and own in ("io", "store"):
        # kafka.c and kafka_group.c are one: they share kafka_local.h.
        allowed = table(path) or family(path) == family(name)
    report.check(allowed, "%s: %s may not depend on %s" % (where, own, name))


def check_module(report, path, name, where):
    # What isn't named ngx_ is plain C: no nginx in it.
    plain = not stem(path).startswith("ngx_")
    report.check(not (plain and name.startswith("ngx_")), "%s: %s may not depend on %s" % (where, path, name))


def check_calls(report, path, text):
    own = stem(path)[len("ngx_http_sluice_"):].split("_")[0]
    if not report.check(own in RANK, "%s: has no rank in %s: say whom it may "
                        "call" % (path, os.path.relpath(__file__, ROOT))):
        return
    for m in CALL.finditer(strip_comments(text)):
        name, other = m.group(1), m.group(2)
        if name in LENT or other == own or other not in RANK:
            continue
        report.check(RANK[own] < RANK[other],
                     "%s: calls %s(): %s may not depend on %s"
                     % (path, name, own, other))


def main():
    report = Report("layers")
    for path in files(".c", ".h"):
        text = read(path)
        check_includes(report, path, text)
        if path.startswith("ngx_module/ngx_http_sluice_") \
                and path.endswith(".c"):
            check_calls(report, path, text)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
