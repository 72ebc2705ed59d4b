"""The workloads, and wrk, which sends them."""

import collections
import json
import os
import re
import subprocess

from . import BENCH

# kind: form (multipart), raw (a body of bytes) or json.  A "file" below is
# also an event: what becomes one message.
Workload = collections.namedtuple("Workload", "name kind files size conns")

WORKLOADS = {w.name: w for w in (
    Workload("W1", "form", 20, 100000, 16),
    Workload("W2", "form", 1, 250000, 32),
    Workload("W3", "raw", 1, 100000, 32),
    Workload("W4", "json", 1, 300, 64),
)}


class Failed(RuntimeError):
    pass


def describe(w):
    what = {"form": "form of %d file%s of {:,} B"
                    % (w.files, "s"[:w.files > 1]),
            "raw": "raw body of {:,} B", "json": "JSON body of {:,} B"}
    return what[w.kind].format(w.size) + ", %d connections" % w.conns


def wrk(url, workload, secs):
    """Loads url; {requests, seconds, failed, bad_status, p50_ms, p99_ms}."""
    done = subprocess.run(
        ["wrk", "-t2", "-c%d" % workload.conns, "-d%ds" % secs,
         "--timeout", "30s", "--latency",
         "-s", os.path.join(BENCH, "load.lua"), url],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=dict(os.environ, KIND=workload.kind, FILES=str(workload.files),
                 SIZE=str(workload.size)))
    found = re.search(r"^RESULT (.*)$", done.stdout, re.M)
    if done.returncode or not found:
        raise Failed("wrk at %s said\n%s" % (url, done.stdout))
    return json.loads(found[1])
