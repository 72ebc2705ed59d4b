"""`memory` bounds what a backlog takes, and settings beyond it are refused."""

import os
import subprocess

import pytest

from stack.processor import binary
from uploads import now_ms

BESIDES = 64                       # MiB; docs/processor.md, `memory`


def peak_mib(process):
    with open("/proc/%d/status" % process.pid) as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


@pytest.mark.full
@pytest.mark.parametrize("lanes, memory", [(1, 32), (4, 64)])
def test_a_large_backlog_is_read_within_memory(
        unsanitized, lane, uploads, until, summary, lanes, memory):
    """Half of it late, which takes memory in a producer as well."""
    size, n = 100000, 2400
    now = now_ms()
    for i in range(n):
        uploads.send(b"%08d" % i + os.urandom(1000) * ((size - 8) // 1000),
                     partition=i % 4, customer="k%d" % (i % 2),
                     ts=now - (20000 if i % 2 and i > 8 else 0))
        if i % 100 == 0:
            uploads.flush()
    uploads.flush()

    p = lane(lanes=lanes, memory="%dm" % memory)
    until(lambda: sum(r.count for r in summary.rows()) >= n // 2, 120,
          "all rows")
    peak = peak_mib(p.process)
    print("peak", lanes, memory, peak)
    assert peak < memory + BESIDES


@pytest.mark.parametrize("settings, why", [
    ({"memory": "16m", "lanes": "4"}, "too little for 4 lanes"),
    ({"memory": "64m", "fetch_bytes": "64m"}, "lower those or raise memory"),
    ({"lanes": "8", "batch_bytes": "16m"}, "lower those or raise memory"),
    ({"memory": "1m"}, "memory"),
])
def test_what_memory_does_not_hold_is_refused(ini, place_of, settings, why):
    path = os.path.join(place_of, "processor.ini")
    with open(path, "w") as f:
        f.write(ini(**settings))
    done = subprocess.run([binary(), "-c", path], text=True, timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1 and why in done.stdout
