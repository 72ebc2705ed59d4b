"""The lane protocol as a state machine, searched whole.

One partition, two lanes of which one may be a zombie, Redis, PostgreSQL, the
log, the clock.  World.steps() gives everything that can happen next; search()
visits all of it, breadth first, and returns the first history that breaks a
promise, or after which the work can't be finished any more.

The steps are named and cut as in processor/lane/: a step is what one script,
one transaction or one answer of Kafka does at once; between two steps of a
lane anything else may happen.  A window is a number, its size 1, and so is
the allowed lateness: window w is due at time w + 2.

Each rule of the protocol can be taken away.  A rule whose absence changes
nothing here would be a superstition; test_lane_model.py holds that there is
none.  (The check of Redis once a second is none of them: a window that is
open leads to a close, and that would find out.  It finds out earlier.)
"""

import collections

RULES = {
    "fence":       "apply refuses when next is not what the lane believes",
    "closed":      "apply refuses when closed is not what the lane believes",
    "recheck-pg":  "a lane compares closed_through, also when nothing comes",
    "page-fence":  "a page of a close is of the state the lane believes in",
    "one-next":    "pages of a window that more may come into are of one next",
    "close-cas":   "a close compares closed_through before it moves it",
    "behind":      "a close waits while a row of its window knows more",
    "forget-fence": "closed windows leave Redis only if next has not moved",
    "settle":      "a state ahead of a close it does not know is dropped",
    "pg-lost":     "a state that knows a close PostgreSQL lost is dropped",
    "past":        "records below next_offset were counted or sent on",
    "start-time":  "without state, begin at the first record after the "
                   "closed windows",
    "start-next":  "but no later than next_offset",
    "prefix-late": "late is decided by the records before",
    "clock-first": "idle: first the time has passed, then Kafka is asked",
    "final":       "a final row is not written again",
    "through":     "a row does not go back to an earlier count",
    "flush-guard": "a flush compares closed_through",
    "fresh":       "a window that is opened begins empty",
    "send-first":  "late records are sent on before next moves past them",
}

Record = collections.namedtuple("Record", "window file straggler",
                                defaults=(False,))

# Redis.  kept: counts of windows closed before, not yet expired.
State = collections.namedtuple("State", "next closed watermark open counts "
                                        "kept")

# PostgreSQL.  rows: (window, file) -> (count, through, final)
Tables = collections.namedtuple("Tables", "rows closed next")

# A lane.  phase: out (to be taken), taking (knows PostgreSQL's word), on.
# busy: None, or what it is in the middle of.  closing: None, or (window, pages
# so far, next they are of), with other steps between the pages; next is None
# when the window is due by the log, and whatever comes is late for it.
Lane = collections.namedtuple("Lane", "phase pos next closed closed_next "
                                      "watermark open dirty idle busy closing")

World = collections.namedtuple("World", "redis older tables oldtables lanes "
                                        "owner end clock sent faults")

OUT = Lane("out", 0, None, -1, 0, -1, (), (), -1, None, None)
FAULTS = ("crash", "steal", "flush", "rollback", "pgloss", "retry")


def pairs(d):
    return tuple(sorted(d.items()))


class Model:
    def __init__(self, log, without=(), end=0, clock=0, **faults):
        """end records are there, and it is clock, when all begins; the more
        of both, the fewer states."""
        self.log = [Record(*r) for r in log]
        self.begin = (end, clock)
        self.rules = set(RULES) - set(without)
        self.faults = tuple(faults.get(f, 0) for f in FAULTS)
        self.files = sorted({r.file for r in self.log})
        self.last = max(r.window for r in self.log) + 2
        # A straggler breaks what the broker's clock bounds promise.
        self.prompt = not any(r.straggler for r in self.log)

    def has(self, rule):
        return rule in self.rules

    def start(self):
        return World(None, None, Tables((), -1, 0), None, (None, None), -1,
                     *self.begin, frozenset(), self.faults)

    # what can happen

    def steps(self, w):
        yield from self.surroundings(w)
        for i in (0, 1):
            lane = w.lanes[i]
            if lane is None:
                continue
            if lane.phase == "out":
                yield self.take_progress(w, i)
            elif lane.phase == "taking":
                yield self.take_state(w, i)
            elif lane.busy is None:
                yield from self.idle_lane(w, i)
            else:
                yield self.go_on(w, i)

    def spend(self, w, fault):
        at = FAULTS.index(fault)
        return w._replace(faults=w.faults[:at] + (w.faults[at] - 1,)
                          + w.faults[at + 1:])

    def left(self, w, fault):
        return w.faults[FAULTS.index(fault)] > 0

    def surroundings(self, w):
        if w.end < len(self.log):
            yield "append", w._replace(end=w.end + 1)
        # Time passes a record's lateness only when the record is there.
        if w.clock < self.last and all(
                i < w.end or r.straggler or r.window + 2 > w.clock + 1
                for i, r in enumerate(self.log)):
            yield "tick", w._replace(clock=w.clock + 1)
        for i in (0, 1):
            if w.owner == -1:
                yield "assign%d" % i, self.own(w, i)
            elif w.owner != i and self.left(w, "steal"):
                yield "steal%d!" % i, self.own(self.spend(w, "steal"), i)
            if w.lanes[i] is not None and self.left(w, "crash"):
                yield "crash%d!" % i, self.set(
                    self.spend(w, "crash"), i, None)._replace(
                        owner=-1 if w.owner == i else w.owner)
            if w.lanes[i] is not None and w.lanes[i].phase == "on" \
                    and self.left(w, "retry"):
                yield "retry%d!" % i, self.set(self.spend(w, "retry"), i, OUT)
        if w.redis is not None and self.left(w, "flush"):
            yield "flush!", self.spend(w, "flush")._replace(redis=None,
                                                            older=None)
        if w.older is not None and w.older != w.redis \
                and self.left(w, "rollback"):
            yield "rollback!", self.spend(w, "rollback")._replace(
                redis=w.older, older=None)
        if w.oldtables is not None and w.oldtables != w.tables \
                and self.left(w, "pgloss"):
            yield "pgloss!", self.spend(w, "pgloss")._replace(
                tables=w.oldtables, oldtables=None)

    def own(self, w, i):
        return self.set(w, i, OUT)._replace(owner=i)

    def set(self, w, i, lane):
        lanes = (lane, w.lanes[1]) if i == 0 else (w.lanes[0], lane)
        return w._replace(lanes=lanes)

    def store(self, w, redis):
        return w._replace(redis=redis, older=w.redis if self.left(
            w, "rollback") else None)

    def commit(self, w, tables):
        return w._replace(tables=tables, oldtables=w.tables if self.left(
            w, "pgloss") else None)

    def fenced(self, w, i):
        """A zombie that learns it is one is gone, the owner takes again."""
        return self.set(w, i, OUT if w.owner == i else None)

    # take

    def take_progress(self, w, i):
        return "take%d-progress" % i, self.set(w, i, OUT._replace(
            phase="taking", closed=w.tables.closed,
            closed_next=w.tables.next))

    def take_state(self, w, i):
        lane, state = w.lanes[i], self.live(w)
        if state is not None and state.closed > lane.closed \
                and self.has("pg-lost"):
            w, state = self.drop(w), None
        if state is not None and state.closed < lane.closed:
            if state.next > lane.closed_next and self.has("settle"):
                w, state = self.drop(w), None
            else:
                state = self.without(state, lane.closed)
                w = self.store(w, state)
        if state is None:
            lane = lane._replace(phase="on", pos=self.replay_from(w, lane))
        else:
            lane = lane._replace(
                phase="on", pos=state.next, next=state.next,
                watermark=state.watermark,
                open=tuple(o for o, _ in state.open),
                dirty=tuple(k for k, _ in state.counts))
        return "take%d-state" % i, self.set(w, i, lane)

    def drop(self, w):
        # What was kept of closed windows is not found through the state.
        kept = w.redis.kept
        return self.store(w, State(None, None, -1, (), (), kept)
                          if kept else None)

    def without(self, state, closed):
        kept = dict(state.kept)
        kept.update({k: n for k, n in state.counts if k[0] <= closed})
        return state._replace(
            closed=closed, kept=pairs(kept),
            open=tuple(o for o in state.open if o[0] > closed),
            counts=tuple(c for c in state.counts if c[0][0] > closed))

    def replay_from(self, w, lane):
        at = w.end
        if self.has("start-time"):
            for offset in range(w.end):
                if self.log[offset].window > lane.closed:
                    at = offset
                    break
        if lane.closed == -1:
            return 0
        if self.has("start-next") or not self.has("start-time"):
            at = min(at, lane.closed_next)
        return at

    # a lane between two steps

    def idle_lane(self, w, i):
        lane = w.lanes[i]
        # The recheck, and what any other step would find.
        if lane.next is not None and not self.believes(w, lane):
            yield "recheck%d" % i, self.fenced(w, i)
        if w.tables.closed != lane.closed and self.has("recheck-pg"):
            yield "recheck%d-pg" % i, self.fenced(w, i)
        if lane.pos < w.end:
            yield self.judge(w, i)
        if self.flushable(lane):
            yield self.flush_read(w, i)
        if lane.closing is not None:
            yield self.close_page(w, i)
            return
        for window in lane.open[:1]:
            if max(lane.watermark, lane.idle) >= window + 2:
                at = None if lane.watermark >= window + 2 else lane.next
                yield "close%d-begin(%d)" % (i, window), self.set(
                    w, i, lane._replace(closing=(window, (), at)))
            else:
                yield from self.ask(w, i, window)

    def believes(self, w, lane):
        state = self.live(w)
        return state is not None and state.next == lane.next \
            and state.closed == lane.closed

    def live(self, w):
        """The state, without what only waits to expire."""
        return w.redis if w.redis is not None and w.redis.next is not None \
            else None

    def ask(self, w, i, window):
        """Time, then the end: two steps, for either may change between."""
        lane = w.lanes[i]
        if self.has("clock-first"):
            if w.clock >= window + 2:
                yield "clock%d" % i, self.set(w, i, lane._replace(
                    busy=("ask", w.clock)))
        elif lane.pos == w.end:
            yield "ask%d" % i, self.set(w, i, lane._replace(busy=("clock",)))

    # apply

    def verdict(self, lane, offset):
        window = self.log[offset].window
        if window <= lane.closed:
            return "past" if offset < lane.closed_next else "late"
        if self.has("prefix-late") and window + 2 <= lane.watermark:
            return "late"
        return "count"

    def judge(self, w, i):
        lane = w.lanes[i]
        verdict = self.verdict(lane, lane.pos)
        if verdict == "past" and not self.has("past"):
            verdict = "late"
        elif verdict == "late" and lane.pos < lane.closed_next:
            verdict = "past"
        if verdict == "late" and self.has("send-first"):
            return "send%d(%d)" % (i, lane.pos), self.set(
                w, i, lane._replace(busy=("apply", verdict)))._replace(
                    sent=w.sent | {lane.pos})
        return self.apply(w, i, verdict)

    def apply(self, w, i, verdict):
        lane, state, name = w.lanes[i], self.live(w), "apply%d(%d)" % (
            i, w.lanes[i].pos)
        if lane.next is None and state is not None \
                or lane.next is not None and state is None:
            if self.has("fence") or state is not None:
                return name + "-fenced", self.fenced(w, i)
        if state is not None and state.next != lane.next:
            if self.has("fence"):
                return name + "-fenced", self.fenced(w, i)
            if lane.pos < state.next:
                return name + "-skipped", self.set(w, i, lane._replace(
                    pos=lane.pos + 1, next=state.next, busy=None))
        if state is not None and state.closed != lane.closed \
                and self.has("closed"):
            return name + "-fenced", self.fenced(w, i)
        if state is None:
            kept = w.redis.kept if w.redis is not None else ()
            state = State(lane.pos, lane.closed, -1, (), (), kept)
        return name, self.applied(w, i, state, verdict)

    def applied(self, w, i, state, verdict):
        lane, record = w.lanes[i], self.log[w.lanes[i].pos]
        counts, opened, dirty = dict(state.counts), dict(state.open), lane.dirty
        kept = dict(state.kept)
        if verdict == "count":
            key = (record.window, record.file)
            if record.window not in opened:
                opened[record.window] = lane.pos
                old = {k: n for k, n in kept.items()
                       if k[0] == record.window}
                for k, n in old.items():
                    del kept[k]
                    if not self.has("fresh"):
                        counts[k] = n
            counts[key] = counts.get(key, 0) + 1
            lane = lane._replace(open=tuple(sorted(
                set(lane.open) | {record.window})))
            dirty = tuple(sorted(set(dirty) | {key}))
        watermark = max(state.watermark, record.window)
        w = self.store(w, State(lane.pos + 1, max(lane.closed, state.closed),
                                watermark, pairs(opened), pairs(counts),
                                pairs(kept)))
        busy = None
        if verdict == "late" and not self.has("send-first"):
            busy = ("send", lane.pos)
        return self.set(w, i, lane._replace(
            pos=lane.pos + 1, next=lane.pos + 1, idle=-1, busy=busy,
            watermark=max(lane.watermark, record.window), dirty=dirty))

    # flush

    def flushable(self, lane):
        """Rows of a window that is being closed are the close's."""
        return tuple(k for k in lane.dirty
                     if lane.closing is None or k[0] != lane.closing[0])

    def flush_read(self, w, i):
        lane = w.lanes[i]
        if not self.believes(w, lane):
            return "flush%d-fenced" % i, self.fenced(w, i)
        counts = dict(w.redis.counts)
        dirty = self.flushable(lane)
        rows = tuple((k, counts[k]) for k in dirty if k in counts)
        return "flush%d-read" % i, self.set(w, i, lane._replace(
            dirty=tuple(k for k in lane.dirty if k not in dirty),
            busy=("flush", rows)))

    def flush_write(self, w, i):
        lane = w.lanes[i]
        if w.tables.closed != lane.closed and self.has("flush-guard"):
            return "flush%d-fenced" % i, self.fenced(w, i)
        rows = self.upsert(w.tables.rows, lane.busy[1], lane.next, False)
        return "flush%d-write" % i, self.set(
            self.commit(w, w.tables._replace(rows=rows)), i,
            lane._replace(busy=None))

    def upsert(self, rows, news, through, final):
        rows = dict(rows)
        for key, count in news:
            old = rows.get(key)
            if old is not None:
                if old[2] and self.has("final"):
                    continue
                if not final and old[1] > through and self.has("through"):
                    continue
            rows[key] = (count, through, final)
        return pairs(rows)

    # close

    def close_page(self, w, i):
        lane = w.lanes[i]
        window, items, at = lane.closing
        if not self.believes(w, lane) and self.has("page-fence"):
            return "close%d-fenced" % i, self.fenced(w, i)
        if at is not None and at != lane.next and self.has("one-next"):
            return "close%d-moved" % i, self.set(w, i, lane._replace(
                closing=None))
        file = self.files[len(items)]
        counts = dict(w.redis.counts) if w.redis is not None else {}
        items += (((window, file), counts.get((window, file), 0)),)
        # After the last page the fence is asked once more.
        last = len(items) == len(self.files)
        return "close%d-page" % i, self.set(w, i, lane._replace(
            closing=(window, items, at), busy=("check",) if last else None))

    def close_check(self, w, i):
        lane = w.lanes[i]
        if not self.believes(w, lane) and self.has("page-fence"):
            return "close%d-fenced" % i, self.fenced(w, i)
        return "close%d-check" % i, self.set(w, i, lane._replace(
            busy=("commit",)))

    def close_commit(self, w, i):
        lane = w.lanes[i]
        window, items, at = lane.closing
        t = w.tables
        if t.closed != lane.closed and self.has("close-cas"):
            return "close%d-fenced" % i, self.fenced(w, i)
        if at is not None and self.has("behind") and any(
                k[0] == window and row[1] > lane.next for k, row in t.rows):
            return "close%d-behind" % i, self.set(w, i, lane._replace(
                busy=None, closing=None))
        rows = self.upsert(t.rows, [item for item in items if item[1]],
                           lane.next, True)
        return "close%d-commit(%d)" % (i, window), self.set(
            self.commit(w, Tables(rows, window, max(t.next, lane.next))), i,
            lane._replace(busy=("forget", window), closing=None))

    def close_forget(self, w, i):
        lane, state = w.lanes[i], self.live(w)
        window = lane.busy[1]
        if state is None or self.has("forget-fence") and (
                state.next != lane.next or state.closed != lane.closed):
            return "forget%d-fenced" % i, self.fenced(w, i)
        return "forget%d(%d)" % (i, window), self.set(
            self.store(w, self.without(state, window)), i, lane._replace(
                closed=window, closed_next=max(lane.closed_next, lane.next),
                open=lane.open[1:], busy=None,
                dirty=tuple(k for k in lane.dirty if k[0] != window)))

    def go_on(self, w, i):
        lane = w.lanes[i]
        what = lane.busy[0]
        if what == "apply":
            return self.apply(w, i, lane.busy[1])
        if what == "send":
            return "send%d(%d)" % (i, lane.busy[1]), self.set(
                w, i, lane._replace(busy=None))._replace(
                    sent=w.sent | {lane.busy[1]})
        if what == "flush":
            return self.flush_write(w, i)
        if what == "check":
            return self.close_check(w, i)
        if what == "commit":
            return self.close_commit(w, i)
        if what == "forget":
            return self.close_forget(w, i)
        if what == "ask":
            idle = lane.busy[1] if lane.pos == w.end else -1
            return "ask%d" % i, self.set(w, i, lane._replace(idle=idle,
                                                             busy=None))
        return "clock%d" % i, self.set(w, i, lane._replace(idle=w.clock,
                                                           busy=None))

    # what must never be

    def broken(self, before, step, w):
        """A sentence, or None."""
        if self.prompt and w.sent:
            return "a record in time was called late"
        lost = step == "pgloss!"
        rows = dict(w.tables.rows)
        for key, (count, through, final) in before.tables.rows:
            if lost:
                break
            now = rows[key]
            if final and now != (count, through, final):
                return "the final row %s moved to %s" % (key, now)
            if now[0] < count:
                return "the count of %s went back to %s" % (key, now)
        if w.tables is before.tables:
            return None
        for (window, file), (count, _, final) in rows.items():
            if window <= w.tables.closed and not final:
                return "the closed window %d has an open row" % window
        for window in range(w.tables.closed + 1):
            for file in self.files:
                seen = [o for o in range(w.tables.next)
                        if self.log[o][:2] == (window, file)]
                row = rows.get((window, file), (0, 0, True))
                if row[0] + len(w.sent.intersection(seen)) != len(seen):
                    return "closed window %d, file %s: row %s of %d" % (
                        window, file, row, len(seen))
        return None

    def unfinished(self, w):
        """Nothing more happens by itself.  A sentence, or None."""
        if w.end < len(self.log) or w.clock < self.last:
            return "the world stopped"
        rows = dict(w.tables.rows)
        for key in {r[:2] for r in self.log}:
            mine = {o for o, r in enumerate(self.log) if r[:2] == key}
            row = rows.get(key, (0, 0, False))
            if row[0] + len(mine & w.sent) != len(mine):
                return "%s is counted %d times of %d" % (key, row[0],
                                                         len(mine))
            if row[0] and not row[2]:
                return "%s never became final" % (key,)
        return None


def search(model, limit=10 ** 6):
    """(None, how many states) when all promises hold, else (sentence,
    history)."""
    first = model.start()
    number = {first: 0}
    worlds = [first]
    came = [None]                       # (number of the one before, step)
    back = [[]]                         # by steps that are no faults
    done = []

    def history(n, *more):
        steps = list(more)
        while came[n] is not None:
            n, step = came[n]
            steps.append(step)
        return " ".join(reversed(steps))

    at = 0
    while at < len(worlds):
        w = worlds[at]
        quiet = True
        for step, then in model.steps(w):
            if then == w:
                continue
            why = model.broken(w, step, then)
            if why is not None:
                return why, history(at, step)
            n = number.setdefault(then, len(worlds))
            if n == len(worlds):
                worlds.append(then)
                came.append((at, step))
                back.append([])
            if not step.endswith("!"):
                quiet = False
                back[n].append(at)
        if quiet:
            why = model.unfinished(w)
            if why is not None:
                return why, history(at)
            done.append(at)
        if len(worlds) > limit:
            raise AssertionError("more than %d states" % limit)
        at += 1

    # Without another fault every world must be able to finish.
    can = set(done)
    while done:
        for n in back[done.pop()]:
            if n not in can:
                can.add(n)
                done.append(n)
    for n in range(len(worlds)):
        if n not in can:
            return "the work can't be finished any more", history(n)
    return None, len(worlds)
