"""What the benches share: who is measured, with what load, and the judging.

usage       CPU and memory of processes
load        the workloads, and wrk
broker      a Kafka broker in memory, and what lies in it
candidates  the servers under test and the parts of the floor
turns       one candidate measured once, and all of them in turns
spread, slow, far, parser    the separate parts of `tests/bench/ingest`
verdict     targets against figures
report      the tables

Nothing here decides what is run: `tests/bench/run` and `tests/bench/ingest`
do.
"""

import os
import sys

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(BENCH))
BUILD = os.path.abspath(os.path.join(
    os.environ.get("BUILD", os.path.join(ROOT, "build")), "bench"))

sys.path.insert(0, os.path.join(ROOT, "tests"))     # for stack
