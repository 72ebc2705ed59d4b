"""One candidate measured once, and all of them in turns.

Each repetition begins with another candidate, so that a machine that becomes
slower or faster hits all alike.  A run can't pass for what it isn't: its
messages are counted in Kafka, their sizes looked at, and everything that is
wrong with it stands in its "faults", for which the tables flag it.
"""

import os

from . import load, usage

# A run in which others used this share of the machine is remarked on; it is
# not wrong for that.
BUSY = 0.10


def side_by_side(candidates, workload, broker, directory, reps, secs,
                 say=print):
    """{name: [run, ...]} and {name: why it is left out}."""
    rows, left_out, ready = {}, {}, []
    topics = []
    try:
        for c in candidates:
            why = c.missing(workload)
            if why:
                left_out[c.name] = why
                continue
            topic = broker.topic("%s-%d" % (workload.name, len(topics)))
            topics.append(topic)
            c.start(os.path.join(directory, workload.name), broker, topic)
            ready.append((c, topic))
            if hasattr(c, "url"):
                load.wrk(c.url(workload), workload, max(1, secs * 3 // 5))
        for rep in range(reps):
            first = rep % len(ready) if ready else 0
            for c, topic in ready[first:] + ready[:first]:
                run = measure(c, topic, workload, broker, secs)
                rows.setdefault(c.name, []).append(run)
                say("%s %d/%d %s: %s" % (workload.name, rep + 1, reps, c.name,
                                         brief(run)))
    finally:
        for c, _ in ready:
            said = c.said().strip()
            if said:
                say("%s said:\n%s" % (c.name, said[-2000:]))
            c.stop()
        if topics:
            broker.delete(topics)
    return {c.name: rows[c.name] for c, _ in ready}, left_out


def brief(run):
    text = "%.2f CPU-s/GB, %.0f/s" % (run["cpu_gb"], run["per_s"])
    if busy(run):
        text += ", others used %.0f %% of the machine" % (100 * run["others"])
    return text + "".join("; " + f for f in run["faults"])


def busy(run):
    return run.get("others", 0) > BUSY


def measure(c, topic, workload, broker, secs):
    if hasattr(c, "url"):
        return server(c, topic, workload, broker, secs)
    return library(c, workload)


def library(c, workload):
    # About a second of the slowest.
    got = c.run(workload.size, int(1e9 / workload.size))
    return {
        "cpu_gb": got["cpu"] / got["bytes"] * 1e9,
        "cpu_1k": got["cpu"] / got["files"] * 1000,
        "mb_s": got["bytes"] / 1e6 / got["wall"],
        "per_s": got["files"] / got["wall"],
        "faults": [],
    }


def server(c, topic, workload, broker, secs):
    before = broker.settled(topic) if c.kafka else 0
    usage.reset_peak(c.roots())
    workers = c.workers()
    machine = usage.Machine()
    used, broker_used = usage.cpu(c.roots()), broker.cpu()
    client = os.times()
    got = load.wrk(c.url(workload), workload, secs)
    client = client_cpu(client)
    # What arrives late has cost CPU, too, and is counted below.
    after = broker.settled(topic) if c.kafka else 0
    used = usage.cpu(c.roots()) - used
    broker_used = broker.cpu() - broker_used
    others = machine.others(used + broker_used + client)

    run = {"requests": got["requests"], "bad": got["bad_status"],
           "failed": got["failed"],
           "answered": (got["requests"] - got["bad_status"]) * workload.files,
           "stored": after - before if c.kafka else None}
    run["faults"] = faults(run, workload)
    if c.workers() != workers:
        run["faults"].append("a process ended")
    if c.kafka:
        sizes, run["hashed"] = broker.sample(topic)
        if sizes - {workload.size}:
            run["faults"].append("messages of %s B in Kafka"
                                 % ", ".join(map(str, sorted(sizes))))
    # Requests that were cut off when the client ended are work, too.
    done = max(run["answered"], run["stored"] or 0)
    if done == 0:
        raise load.Failed("%s did nothing: %s" % (c.name, run))
    gb = done * workload.size / 1e9
    secs = got["seconds"]
    peaks = dict(zip(usage.tree(c.roots()), usage.peaks_mib(c.roots())))
    return dict(
        run, cpu_gb=used / gb, cpu_1k=used / done * 1000,
        broker_gb=broker_used / gb, client_gb=client / gb,
        mb_s=run["answered"] * workload.size / 1e6 / secs,
        per_s=run["answered"] / secs, p50=got["p50_ms"], p99=got["p99_ms"],
        mib=sum(peaks.values()),
        worker_mib=max(peaks.get(pid, 0) for pid in c.workers()),
        others=others)


def faults(run, workload):
    """What makes a run one that proves nothing."""
    found = []
    if run["bad"]:
        found.append("%d replies were no 2xx" % run["bad"])
    if run["failed"]:
        found.append("%d connections failed" % run["failed"])
    if run["stored"] is None:
        return found
    if run["stored"] < run["answered"]:
        found.append("%d answered but not in Kafka"
                     % (run["answered"] - run["stored"]))
    # Each connection may have had one request under way at the end.
    if run["stored"] > run["answered"] + run["bad"] * workload.files \
            + (workload.conns + run["failed"]) * workload.files:
        found.append("%d more in Kafka than was answered"
                     % (run["stored"] - run["answered"]))
    return found


def client_cpu(before):
    now = os.times()
    return now.children_user + now.children_system \
        - before.children_user - before.children_system
