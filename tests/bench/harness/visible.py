"""How long after an upload's answer its row stands in the summary.

nginx with the module and the processor on the bench's stack.  A thread posts
forms of one file at a steady rate; another reads /summary again and again and
notes when it first sees each name.
"""

import os
import threading
import time
import uuid

from stack import client, nginx
from stack.processor import Processor

from . import catchup

SECS = 10
THREADS = 8

HTTP = """
sluice_kafka main { bootstrap.servers @KAFKA@; }
sluice_postgres "@READER@";
"""

SERVER = """
location = /upload { sluice_upload main topic=@TOPIC@; }
location = /summary { sluice_summary; sluice_customer all; }
"""


class Poster(threading.Thread):
    """Every THREADS'th of the files."""

    def __init__(self, url, rate, number, answered, failed):
        super().__init__(daemon=True)
        self.url, self.rate, self.number = url, rate, number
        self.answered, self.failed = answered, failed

    def run(self):
        began = time.monotonic()
        for i in range(self.number, self.rate * SECS, THREADS):
            wait = began + i / self.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            name = "v-%06d.png" % i
            answer = client.post(self.url, [(
                name, b"\x89PNG\r\n\x1a\n" + uuid.uuid4().bytes * 60)])
            if answer.status == 202:
                self.answered[name] = time.monotonic()
            else:
                self.failed.append(answer.status)


def measure(directory, stack, rate, say):
    topic = "visible-%d" % rate
    stack.kafka.create_uploads(topic, 4)
    where = catchup.Place(directory, 10000 + rate, stack, topic)
    server = nginx.Nginx(os.path.join(where.dir, "nginx"))
    server.values.update({
        "KAFKA": stack.kafka.bootstrap, "TOPIC": topic,
        "READER": stack.postgres.dsn_as("reader", where.dsn)})
    server.write(http=HTTP, server=SERVER)
    worker = catchup.Sluice(2).service(where)
    answered, failed, seen = {}, [], {}
    try:
        server.start()
        worker.start()
        client.post(server.url + "/upload", [("first.png", b"first")])
        posters = [Poster(server.url + "/upload", rate, n, answered, failed)
                   for n in range(THREADS)]
        for p in posters:
            p.start()
        watch(server.url + "/summary?limit=1000", posters, answered, seen)
    finally:
        worker.stop()
        server.stop()
        where.close()
    late = sorted(1000 * (seen[n] - t) for n, t in answered.items()
                  if n in seen)
    lost = len(answered) - len(late)
    say("visible at %d/s: %d answered, %d failed, %d not seen" % (
        rate, len(answered), len(failed), lost))
    return {"n": len(late), "p50": late[len(late) // 2],
            "p99": late[len(late) * 99 // 100],
            "faults": ["%d files were not seen in the summary" % lost] * bool(
                lost) + ["%d uploads failed" % len(failed)] * bool(failed)}


def watch(url, posters, answered, seen):
    """Reads until every file that was answered was seen, or 30 s after the
    last post."""
    end = None
    while end is None or time.monotonic() < end:
        if end is None and not any(p.is_alive() for p in posters):
            end = time.monotonic() + 30
        read_all(url, seen, end is not None)
        if end is not None and answered.keys() <= seen.keys():
            return
        time.sleep(0.02)


def read_all(url, seen, to_the_end):
    """Pages until one has nothing new: new rows come first.  In the end all
    of them: one may have come behind a page that had nothing."""
    page = url
    while True:
        answer = client.get(page)
        now = time.monotonic()
        if answer.status != 200:
            return
        found = answer.json()
        names = [f["file"] for f in found["files"]]
        fresh = [n for n in names if n not in seen]
        for name in fresh:
            seen[name] = now
        if not (fresh or to_the_end) or not found.get("next"):
            return
        page = "%s&cursor=%s" % (url, found["next"])
