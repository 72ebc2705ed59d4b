"""How a fault is done to the services, and how it is ended.

All of it happens in the thread that calls step(), which must be the main one:
services that are started again must be its children (stack.service).
"""

import os
import signal
import time

import round_plan
import round_redis
from round_truth import claim

END_S = 40                     # for a processor to end when it is asked to
BROKER_END_S = 20              # for a broker, which may wait for the others
PROMOTE_S = 20                 # for the sentinels to agree on another master

LATER = object()


class Done:
    """An injection as it happened; times are of the monotonic clock."""

    def __init__(self, injection, hit, began):
        self.injection, self.hit, self.began = injection, hit, began
        self.ended = None


class Targets:
    """The services of a round, and whether one ended by itself."""

    def __init__(self, stage, nginx, processors):
        self.stage, self.kafka = stage, stage.kafka
        self.redis, self.postgres = stage.redis, stage.postgres
        self.nginx, self.processors = nginx, processors
        self.down = set()
        self.asked = {}                # when, those that end
        self.killed_workers = set()

    def everything(self):
        return self.stage.services() + [self.nginx] + self.processors

    def check(self):
        for s in self.everything():
            ours = s is self.nginx or s in self.processors
            text = "%s ended by itself with status %s\n%s"
            if s not in self.down and not s.alive():
                claim(not ours, text % (s.dir, s.process.returncode,
                                        s.tail()))
                raise RuntimeError(text % (s.dir, s.process.returncode,
                                           s.tail()))

    # What takes a service away and what brings it back.

    def kill(self, service):
        self.down.add(service)
        service.kill()

    def ask_to_end(self, service, number=None):
        self.down.add(service)
        self.asked[service] = time.monotonic()
        service.signal(number or service.stop_signal)

    def back(self, service, status=None, least=END_S):
        """Starts it again, unless it is still ending; then LATER."""
        if service.alive():
            waited = time.monotonic() - self.asked[service]
            if waited < least:
                return LATER
            claim(status is None, "%s did not end\n%s" % (
                service.dir, service.tail()))
            service.kill()
        ended = service.stop()
        claim(status is None or ended == status,
              "%s left with status %s\n%s" % (service.dir, ended,
                                              service.tail()))
        service.launch()
        self.down.discard(service)
        return None

    def all_back(self):
        for s in self.everything():
            s.thaw()
        self.stage.ready()
        self.check()


class Faults:
    """begin(injection) -> (what it hit, the call that ends it or None)."""

    def __init__(self, targets):
        self.targets = targets
        self.stage = targets.stage

    def begin(self, injection):
        track = injection.track.split(" ")[0]
        return getattr(self, "_" + track)(injection)

    def _common(self, service, kind, **back):
        """What every program suffers alike."""
        t = self.targets
        if kind.startswith(("frozen", "paused")):
            service.freeze()
            return service.thaw
        if kind.startswith("kill -9"):
            t.kill(service)
        else:
            t.ask_to_end(service, signal.SIGQUIT
                         if kind == "immediate stop" else None)
        return lambda: t.back(service, **back)

    def _kafka(self, i):
        brokers = self.targets.kafka.brokers
        if i.kind == "kill -9 of all":
            for b in brokers:
                self.targets.kill(b)

            def back():
                for b in brokers:
                    self.targets.back(b)
            return "brokers", back
        broker = brokers[i.pick % len(brokers)]
        return "broker %d" % broker.node, self._common(
            broker, i.kind, least=BROKER_END_S)

    def _redis(self, i):
        """Of the master, as the sentinels see it."""
        redis, t = self.targets.redis, self.targets
        try:
            if i.kind == "FLUSHALL":
                redis.flush_master()
                return "redis", None
            if i.kind == "failover":
                redis.fail_over()
                return "redis", None
            if i.kind == "sentinel kill -9":
                sentinel = redis.sentinels[i.pick % len(redis.sentinels)]
                t.kill(sentinel)
                return "redis", lambda: t.back(sentinel)
            if i.kind == "replica left behind, kill -9":
                return "redis", self._promoted(redis, redis.leave_behind())
            master = redis.current()
        except round_redis.AGAIN as e:
            print("         redis: %s" % e)
            return "redis, which was away", None
        return "redis", self._common(master, i.kind)

    def _promoted(self, redis, master):
        """The end of it: the master dies, and comes back when the other has
        become master."""
        died = []

        def end():
            if not died:
                died.append(time.monotonic())
                self.targets.kill(master)
            try:
                away = redis.current() is master
            except round_redis.AGAIN:
                away = True
            if away and time.monotonic() < died[0] + PROMOTE_S:
                return LATER
            redis.catch_up()
            return self.targets.back(master)
        return end

    def _postgres(self, i):
        postgres = self.targets.postgres
        if i.kind == "backends ended":
            self._end_backends(postgres)
            return "postgres", None
        return "postgres", self._common(postgres, i.kind)

    def _nginx(self, i):
        nginx = self.targets.nginx
        if i.kind == "reload":
            nginx.signal(signal.SIGHUP)
            return "nginx", None
        if i.kind == "worker kill -9":
            return self._kill_worker(nginx, i.pick), None
        if i.kind == "kill -9":
            self.targets.killed_workers.update(nginx.pids())
        return "nginx", self._common(nginx, i.kind)

    def _processor(self, i):
        p = self.targets.processors[int(i.track.split(" ")[1])]
        return i.track, self._common(
            p, i.kind, status=0 if i.kind == "SIGTERM" else None)

    def _link(self, i):
        groups = self.stage.groups()
        name, links = groups[i.pick % len(groups)]
        for link in links:
            if i.kind == "cut":
                link.cut()
            elif i.kind == "held":
                link.hold()
            else:
                link.slow(20 + i.pick % 400, 30 + i.pick % 300)

        def mend():
            for link in links:
                link.mend()
        return name, mend

    def _disk(self, i):
        if not self.stage.disk.mounted:
            return None, None
        self.stage.disk.fill()
        return "store", self.stage.disk.empty

    def _end_backends(self, postgres):
        """As a network would that forgets connections."""
        try:
            postgres.psql("SELECT pg_terminate_backend(pid) FROM "
                          "pg_stat_activity WHERE pid <> "
                          "pg_backend_pid() AND usename LIKE '%_login'",
                          "postgres")
        except RuntimeError:
            pass                       # it starts just now

    def _kill_worker(self, nginx, pick):
        workers = nginx.workers()
        if not workers:
            return "no worker"
        pid = sorted(workers)[pick % len(workers)]
        self.targets.killed_workers.add(pid)
        os.kill(pid, signal.SIGKILL)
        return "worker %d" % pid


class Track:
    """The faults of one service, one after another."""

    def __init__(self, faults, injections, done, left_out):
        self.faults, self.left, self.done = faults, injections, done
        self.left_out = left_out
        self.last = self.end = None

    def busy(self):
        return self.end or self.left

    def step(self, began):
        now = time.monotonic()
        if self.end:
            if now >= self.last.began + self.last.injection.lasts \
                    and self.end() is not LATER:
                self.end, self.last.ended = None, time.monotonic()
        elif self.left and now >= began + self.left[0].at:
            injection = self.left.pop(0)
            hit, self.end = self.faults.begin(injection)
            print("%s%s" % (round_plan.text(injection),
                            ": " + hit if hit else ": not done, needs root"),
                  flush=True)
            if hit:
                self.last = Done(injection, hit, now)
                self.last.ended = None if self.end else time.monotonic()
                self.done.append(self.last)
            else:
                self.left_out.append(injection)


def run(plan, targets, seconds, look, done, left_out, began):
    """Does what the plan says, and adds each Done to done, or the Injection
    to left_out, where it needs root.  look() is called in between."""
    faults = Faults(targets)
    tracks = [Track(faults, [i for i in plan if i.track == name], done,
                    left_out)
              for name in sorted({i.track for i in plan})]
    while time.monotonic() < began + seconds or any(t.busy() for t in tracks):
        for track in tracks:
            track.step(began)
        look()
        targets.check()
        time.sleep(0.1)
