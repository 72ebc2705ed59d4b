"""CPU seconds and memory of processes and of the machine, from /proc."""

import os
import re

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def stat(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()


def tree(roots):
    """The processes and all that descends from them."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            children.setdefault(int(stat(int(name))[1]), []).append(int(name))
        except (OSError, IndexError):
            continue
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu(roots):
    """User and system time, with that of the children that have ended."""
    total = 0
    for pid in tree(roots):
        try:
            total += sum(int(x) for x in stat(pid)[11:15])
        except OSError:
            continue
    return total / TICK


def reset_peak(roots):
    for pid in tree(roots):
        with open("/proc/%d/clear_refs" % pid, "w") as f:
            f.write("5")


def peaks_mib(roots):
    """Peak resident memory of each process since reset_peak()."""
    found = []
    for pid in tree(roots):
        with open("/proc/%d/status" % pid) as f:
            m = re.search(r"VmHWM:\s+(\d+)", f.read())
        found.append(int(m[1]) / 1024 if m else 0)
    return found


def peak_mib(roots):
    return sum(peaks_mib(roots))


def rss(pid):
    """Bytes that are resident now."""
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * PAGE


class Machine:
    """How much of the machine others used since the object was made.

    What is neither idle nor used by those whose CPU time is given: neighbours,
    the kernel's own threads, time stolen by the host.
    """

    def __init__(self):
        self.idle, self.all = self.read()

    @staticmethod
    def read():
        with open("/proc/stat") as f:
            t = [int(x) for x in f.readline().split()[1:9]]
        return (t[3] + t[4]) / TICK, sum(t) / TICK

    def others(self, ours):
        idle, total = self.read()
        idle, total = idle - self.idle, total - self.all
        return max(0.0, 1 - (idle + ours) / total) if total else 0.0
