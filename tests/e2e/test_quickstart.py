"""What the README promises: ./quickstart, as somebody new would use it."""

import os
import re
import subprocess

from stack import place, wait

VARIABLES = ["UPLOAD_URL", "SUMMARY_URL", "PAGE_URL", "KAFKA_BOOTSTRAP",
             "TOPIC", "REDIS_URL", "POSTGRES_DSN", "STORE", "NGINX_PID",
             "PROCESSOR_PIDS"]


def test_once_stores_and_counts_what_it_posted(quickstart):
    q = quickstart("--once")
    q.launch()
    status = q.process.wait(300)
    assert status == 0, q.read_log()
    assert "12 rows, counts right; 12 objects" in q.read_log()


def test_the_commands_it_prints_work(quickstart):
    q = quickstart()
    q.start(300)
    env = q.env()
    assert list(env) == VARIABLES
    q.wait_log("Ctrl-C stops everything")
    text = re.search(r"in another shell:\n\n(.*?)\n\n", q.read_log(),
                     re.S).group(1)
    text = text.replace("\\\n", " ")
    commands = [c.strip() for c in text.splitlines()]
    load, upload, summary, psql, redis, kcat, find, windows = commands

    def sh(command):
        done = subprocess.run(
            ["bash", "-euc", load + "\n" + command], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert sh(upload).count('"accepted"') == 2
    wait.until(lambda: '"count":2' in re.sub(r"\s", "", sh(summary)), 60,
               "the summary")
    assert "image-cat.jpg" in sh(psql)
    assert "sluice:" in sh(redis)
    assert "ce_subject=copy.jpg" in sh(kcat)
    assert sh(find).count(".jpg") == 1
    assert "partition" in sh(windows).lower()


def test_interrupt_stops_everything_it_started(quickstart):
    q = quickstart()
    q.start(300)
    pids = q.pids()
    assert len(pids) > 5
    q.wait_log("Ctrl-C stops everything")
    assert q.stop() == 0, q.read_log()
    left = [p for p in pids if os.path.exists("/proc/%d" % p)]
    assert not left
    assert not os.path.exists(os.path.join(q.run, "env"))
