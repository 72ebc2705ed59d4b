#!/usr/bin/python3
"""Proves the playbook on a Debian of its own: run by tests/ansible/run, inside.

Makes the host as an operator would have it (nginx with its default site,
Redis, PostgreSQL, all Debian's own, and a broker), then claims one thing after
the other.  Prints a line for each; the first that fails ends it.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

PACKAGES = ["ansible-core", "curl", "default-jre-headless", "maven", "nginx",
            "postgresql", "python3-confluent-kafka", "redis-server",
            "systemd"]
IMAGES = os.path.join(ROOT, "tests/data/images")
SETTINGS = "/root/settings.json"
OURS = ["/etc/nginx/modules-enabled/50-sluice-module.conf",
        "/etc/nginx/conf.d/sluice.conf", "/etc/nginx/snippets/sluice.conf",
        "/etc/nginx/sites-available/default", "/etc/sluice/processor.ini"]
UNITS = "/etc/systemd/system"
TIMER = UNITS + "/timers.target.wants/sluice-purge.timer"
SPOOL = "/srv/sluice-spool"
PROCESSOR = "127.0.0.1:9560"
REDIS = ["127.0.0.1:6379", "127.0.0.1:6380"]


class Wrong(Exception):
    pass


def say(text):
    print("ansible: " + text, flush=True)


def run(*command, check=True, **kw):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **kw)
    if check and done.returncode != 0:
        raise Wrong("%s: status %d\n%s" % (" ".join(command),
                                           done.returncode, done.stdout))
    return done


def until(condition, what, timeout=60):
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Wrong("not within %d s: %s" % (timeout, what))
        time.sleep(0.25)


def host():
    """A host with the services, before Sluice comes."""
    with open("/usr/sbin/policy-rc.d", "w") as f:
        f.write("#!/bin/sh\nexit 101\n")
    os.chmod("/usr/sbin/policy-rc.d", 0o755)
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run("apt-get", "-qy", "update", env=env)
    run("apt-get", "-qy", "install", "--no-install-recommends", *PACKAGES,
        env=env)
    version, cluster = run("pg_lsclusters", "-h").stdout.split()[:2]
    run("pg_ctlcluster", version, cluster, "start")
    for server in REDIS:
        start_redis(server.rpartition(":")[2])
    # By its path, as the unit does: a new master is started by the same name.
    run("/usr/sbin/nginx")
    from stack.kafka import Kafka
    return Kafka("/var/tmp/kafka").start()


def start_redis(port):
    """Each has a redis.conf of its own, which the playbook writes to."""
    path = "/etc/redis/redis-%s.conf" % port
    with open("/etc/redis/redis.conf") as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text + "\nport %s\ndir /var/lib/redis\nsave ''\n"
                "pidfile /run/redis/%s.pid\n" % (port, port))
    shutil.chown(path, "redis", "redis")
    run("runuser", "-u", "redis", "--", "redis-server", path,
        "--daemonize", "yes")


def playbook(*arguments, fails=False, **env):
    """Runs it; returns (changed tasks, output)."""
    done = run("ansible-playbook", "-i", "localhost,", "-c", "local",
               os.path.join(ROOT, "ansible/sluice.yml"), "-e",
               "@" + SETTINGS, *arguments, check=False,
               env=dict(os.environ, ANSIBLE_NOCOLOR="1",
                        ANSIBLE_FORCE_COLOR="0", **env))
    recap = re.search(r"ok=\d+ +changed=(\d+).*failed=(\d+)", done.stdout)
    if not recap or (recap.group(2) != "0") != fails:
        raise Wrong("ansible-playbook: status %d\n%s"
                    % (done.returncode, done.stdout[-12000:]))
    changed = re.findall(r"TASK \[([^\n]*)\] \*+\n(?:ok: [^\n]*\n)*changed:",
                         done.stdout)
    return changed, done.stdout


def contents():
    found = {}
    for path in OURS:
        with open(path) as f:
            found[path] = (f.read(), os.stat(path).st_mode & 0o7777,
                           os.stat(path).st_uid, os.stat(path).st_gid)
    return found


def get(path, host="127.0.0.1"):
    with urllib.request.urlopen("http://" + host + path, timeout=30) as r:
        return r.read()


def processor_command(*words):
    return ["setpriv", "--reuid=sluice", "--regid=sluice", "--clear-groups",
            "/usr/local/bin/sluice-processor", *words, "-c",
            "/etc/sluice/processor.ini"]


def start_processor():
    with open("/var/tmp/processor.log", "w") as log:
        return subprocess.Popen(processor_command(), cwd="/", stdout=log,
                                stderr=log)


def upload(*forms):
    words = [w for form in forms for w in ("-F", form)]
    return json.loads(run("curl", "-sS", "--fail-with-body", *words,
                          "http://127.0.0.1/upload").stdout)["files"]


def large_file(image):
    """(path, sha256) of a file that leaves nginx in pieces."""
    path = "/var/tmp/large.jpg"
    with open(image, "rb") as f:
        data = f.read() + os.urandom(1 << 20)
    with open(path, "wb") as f:
        f.write(data)
    return path, hashlib.sha256(data).hexdigest()


def units():
    """What systemd would have, where it isn't running."""
    _, output = playbook("-e", "sluice_systemd=true", SYSTEMD_OFFLINE="1")
    check(os.path.islink(TIMER), "the purge is enabled on the first host")
    for unit, needs in (("processor", [SPOOL, "/var/lib/sluice/store"]),
                        ("purge", ["/var/lib/sluice/store"])):
        with open("%s/sluice-%s.service.d/ansible.conf" % (UNITS, unit)) as f:
            paths = re.findall("^ReadWritePaths=(.*)$", f.read(), re.M)
        check(" ".join(paths).split() == sorted(needs, reverse=True),
              "the unit of the %s may write where it has to" % unit)
    done = run("systemd-analyze", "verify", "sluice-processor.service",
               "sluice-purge.service", "sluice-purge.timer", check=False)
    check(done.returncode == 0 and "sluice-" not in done.stdout,
          "systemd takes the units%s" % done.stdout)
    playbook("-e", "sluice_systemd=true", "-e", "sluice_purge=false",
             SYSTEMD_OFFLINE="1")
    check(not os.path.lexists(TIMER), "a host that shall not purge has no "
          "timer")


def check(condition, text):
    if not condition:
        raise Wrong("it is not so: " + text)
    say("ok: " + text)


def main():
    say("installing the host")
    kafka = host()
    site = get("/")
    with open(SETTINGS, "w") as f:
        json.dump({
            "sluice_kafka": {"bootstrap.servers": kafka.bootstrap},
            "sluice_topics_overrides": [
                s + ":" + v for s in ("", ".chunks", ".late", ".dead")
                for v in ("replication=1", "min.insync.replicas=1")],
            "sluice_page_path": "/send",
            "sluice_public_url": "http://127.0.0.1",
            "sluice_max_file_size": "2m",
            "sluice_redis_servers": REDIS,
            "sluice_spool_path": SPOOL,
            "sluice_processor_listen": PROCESSOR,
        }, f)

    say("the first run")
    changed, _ = playbook()
    check(len(changed) > 10, "the first run does its work")
    changed, _ = playbook()
    check(changed == [], "the second run changes nothing%s"
          % ("" if not changed else ": " + ", ".join(changed)))

    run("nginx", "-s", "reload")
    until(lambda: b"multipart/form-data" in got("/send"),
          "the page after the reload")
    check(get("/") == site, "the site's own page is as it was")
    check(b"{" in get("/sluice.css"), "the page has its style")
    for server in REDIS:
        port = server.rpartition(":")[2]
        check(" sluice " in run("redis-cli", "-p", port, "ACL", "LIST").stdout
              and "user sluice" in read("/etc/redis/redis-%s.conf" % port),
              "the Redis at %s has the user, and keeps it" % server)
    check(b"sluice_uploads" in get("/sluice/metrics"),
          "nginx tells its metrics to this host")
    until(lambda: got("/sluice/health"), "health of nginx")

    processor = start_processor()
    until(lambda: b"ready" in got("/readyz", PROCESSOR),
          "the processor's /readyz")
    check(b"sluice_processor_lag_messages" in get("/metrics", PROCESSOR),
          "the processor tells its metrics where monitors ask")
    image = sorted(glob.glob(IMAGES + "/*.jpg"))[0]
    with open(image, "rb") as f:
        sha256 = hashlib.sha256(f.read()).hexdigest()
    files = upload("file=@" + image, "file=@%s;filename=copy.jpg" % image)
    check([f["status"] for f in files] == ["accepted"] * 2,
          "both files of an upload are accepted")
    large, large_sha256 = large_file(image)
    check([f["status"] for f in upload("file=@" + large)] == ["accepted"],
          "a file in pieces is accepted")
    rows = until(lambda: rows_of(sha256), "the row in /summary", 90)
    check(len(rows) == 1 and rows[0]["count"] == 2,
          "the summary has one row with a count of 2")
    objects = run("find", "/var/lib/sluice/store", "-type", "f", "-name",
                  sha256 + ".*").stdout.split()
    check(len(objects) == 1, "the store has one object of its hash")
    until(lambda: rows_of(large_sha256), "the row of the file in pieces", 90)
    check(any(n.startswith("lane-") for n in os.listdir(SPOOL)),
          "the spool is where the settings put it")
    done = run(*processor_command("purge", "--dry-run"), check=False)
    check(done.returncode == 0, "the processor's login may purge: %s"
          % done.stdout)

    before = contents()
    _, output = playbook("-e", '{"sluice_upload_lines": ["no_such_word on;"]}',
                         fails=True)
    check("no_such_word" in output and contents() == before,
          "what nginx -t refuses is put back")
    run("nginx", "-t")
    _, output = playbook("-e", '{"sluice_processor": {"processor": '
                         '{"window": "never"}}}', fails=True)
    check("window" in output and contents() == before,
          "what sluice-processor -t refuses is put back")

    run("sh", "-c", "%s --set :retention.ms=60000 %s"
        % ("/usr/local/share/sluice/ansible/topics.py",
           "/usr/local/share/sluice/conf/topics.conf"),
        input="bootstrap.servers=%s\n" % kafka.bootstrap)
    changed, _ = playbook()
    check(changed == ["services : Create the topics and set their settings"],
          "a setting of a topic that drifted is set back, and nothing else")

    units()

    processor.terminate()
    check(processor.wait(60) == 0, "the processor ends in order")
    run("nginx", "-s", "quit")
    kafka.stop()


def read(path):
    with open(path) as f:
        return f.read()


def got(path, host="127.0.0.1"):
    try:
        return get(path, host)
    except OSError:
        return b""


def rows_of(sha256):
    return [f for f in json.loads(get("/summary"))["files"]
            if f["sha256"] == sha256]


if __name__ == "__main__":
    try:
        main()
    except Wrong as e:
        for path in ("/var/log/nginx/error.log", "/var/tmp/processor.log"):
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    print("---- %s\n%s" % (path, f.read()[-4000:]))
        print("ansible: FAILED: %s" % e)
        sys.exit(1)
