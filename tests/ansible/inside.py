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
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

PACKAGES = ["ansible-core", "curl", "default-jre-headless", "maven", "nginx",
            "postgresql", "python3-confluent-kafka", "redis-server"]
IMAGES = os.path.join(ROOT, "tests/data/images")
SETTINGS = "/root/settings.json"
OURS = ["/etc/nginx/modules-enabled/50-sluice-module.conf",
        "/etc/nginx/conf.d/sluice.conf", "/etc/nginx/snippets/sluice.conf",
        "/etc/nginx/sites-available/default", "/etc/sluice/processor.ini"]


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
    run("runuser", "-u", "redis", "--", "redis-server",
        "/etc/redis/redis.conf", "--daemonize", "yes")
    run("nginx")
    from stack.kafka import Kafka
    return Kafka("/var/tmp/kafka").start()


def playbook(*arguments, fails=False):
    """Runs it; returns (changed tasks, output)."""
    done = run("ansible-playbook", "-i", "localhost,", "-c", "local",
               os.path.join(ROOT, "ansible/sluice.yml"), "-e",
               "@" + SETTINGS, *arguments, check=False,
               env=dict(os.environ, ANSIBLE_NOCOLOR="1",
                        ANSIBLE_FORCE_COLOR="0"))
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


def get(path):
    with urllib.request.urlopen("http://127.0.0.1" + path, timeout=30) as r:
        return r.read()


def start_processor():
    with open("/var/tmp/processor.log", "w") as log:
        return subprocess.Popen(
            ["setpriv", "--reuid=sluice", "--regid=sluice", "--clear-groups",
             "/usr/local/bin/sluice-processor", "-c",
             "/etc/sluice/processor.ini"], cwd="/", stdout=log, stderr=log)


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
    processor = start_processor()
    image = sorted(glob.glob(IMAGES + "/*.jpg"))[0]
    with open(image, "rb") as f:
        sha256 = hashlib.sha256(f.read()).hexdigest()
    answer = json.loads(run(
        "curl", "-sS", "--fail-with-body", "-F", "file=@%s" % image, "-F",
        "file=@%s;filename=copy.jpg" % image, "http://127.0.0.1/upload"
        ).stdout)
    check([f["status"] for f in answer["files"]] == ["accepted"] * 2,
          "both files of an upload are accepted")
    rows = until(lambda: rows_of(sha256), "the row in /summary", 90)
    check(len(rows) == 1 and rows[0]["count"] == 2,
          "the summary has one row with a count of 2")
    objects = run("find", "/var/lib/sluice/store", "-type", "f", "-name",
                  sha256 + ".*").stdout.split()
    check(len(objects) == 1, "the store has one object of its hash")

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

    processor.terminate()
    check(processor.wait(60) == 0, "the processor ends in order")
    run("nginx", "-s", "quit")
    kafka.stop()


def got(path):
    try:
        return get(path)
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
