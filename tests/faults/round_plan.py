"""What breaks when: a pure function of the seed.

Each service has a track of its own, so that outages of different services
overlap and those of one mostly do not.  Nothing here touches a service:
round_faults.py does what stands in the plan.  A fault that can't begin yet,
because the one before it on its track has not ended, begins as soon as it
can; the report has the times as they were.
"""

import collections
import random

# The topic's clock bounds.  What is accepted is not late while the lateness
# is their sum and 5 s more (docs/design.md, 4.2).
BEFORE_MS = 6000
AFTER_MS = 1000
LATENESS_MS = BEFORE_MS + AFTER_MS + 5000
WINDOW_MS = 2000
SESSION_MS = 6000              # of the consumer group

BROKERS = 3
PROCESSORS = 2

# at and lasts: seconds; pick: which of several a fault hits, a number that
# means the same whatever the number of them
Injection = collections.namedtuple("Injection", "at track kind lasts pick")

# kind -> (least, most) seconds it lasts; None: it is over at once
KINDS = {
    "kafka": {
        "frozen": (1, 9),
        "restart": (0.2, 3),
        "kill -9": (0, 3),
        "kill -9 of all": (0, 2),
    },
    "redis": {
        "FLUSHALL": None,
        "failover": None,
        "frozen": (0.5, 8),
        "restart": (0.2, 4),
        "kill -9": (0, 5),
        # the sentinels promote what did not get the last writes
        "replica left behind, kill -9": (0.5, 4),
        "sentinel kill -9": (0.5, 4),
    },
    "postgres": {
        "immediate stop": (0.2, 6),
        "kill -9": (0, 3),
        "frozen": (0.5, 8),
        "backends ended": None,
    },
    "nginx": {
        "reload": None,
        "worker kill -9": None,
        "restart": (0, 1),
        "kill -9": (0, 2),
    },
    "link": {
        "cut": (0.5, 6),
        "held": (0.5, 9),
        "slow": (4, 10),
    },
    "disk": {
        "full": (1, 8),
    },
}
for _n in range(PROCESSORS):
    KINDS["processor %d" % _n] = {
        "kill -9": (0, 4),
        "paused": (0.5, 3),
        # its partitions go to others, and it wakes up not knowing
        "paused past its session": (SESSION_MS / 1000 + 1,
                                    SESSION_MS / 1000 + 5),
        "SIGTERM": (0, 2),
    }

# Seconds between two faults of a track.
GAP = {"kafka": (8, 14), "disk": (8, 20)}
OTHERS_GAP = (3, 9)
FIRST = (1, 8)


def plan(seed, seconds):
    """[Injection] in the order of time; none ends after so many seconds."""
    found = []
    for track, kinds in KINDS.items():
        # A generator of its own: another track's faults change nothing here.
        chance = random.Random("%s %s" % (seed, track))
        at, left = chance.uniform(*FIRST), []
        while True:
            left = left or chance.sample(sorted(kinds), len(kinds))
            kind = left.pop()
            lasts = chance.uniform(*(kinds[kind] or (0, 0)))
            pick = chance.randrange(2 ** 16)
            if at + lasts > seconds:
                break
            found.append(Injection(round(at, 1), track, kind,
                                   round(lasts, 1), pick))
            at += lasts + chance.uniform(*GAP.get(track, OTHERS_GAP))
    return sorted(found)


def text(injection):
    lasts = KINDS[injection.track][injection.kind]
    return "%5.1f s  %s: %s%s" % (
        injection.at, injection.track, injection.kind,
        " for %.1f s" % injection.lasts if lasts else "")
