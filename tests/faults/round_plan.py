"""What breaks when, by the seed.

Each service has a track of its own, so that outages of different services
overlap and those of one do not; the next fault of a service comes some
seconds after it serves again.  A fault is two calls, begin and end, both made
from one thread by Plan.run(): services that are started again must be
children of the main thread (stack.service).
"""

import os
import random
import shutil
import signal
import time

# The topic's clock bounds.  What is accepted is not late while the lateness
# is their sum and 5 s more (docs/design.md, 4.2).
BEFORE_MS = 6000
AFTER_MS = 1000
LATENESS_MS = BEFORE_MS + AFTER_MS + 5000
WINDOW_MS = 2000
SESSION_MS = 6000              # of the consumer group
END_S = 40                     # for a service to end when it is asked to

LATER = object()


class Fault:
    def __init__(self, name, begin, end=None, least=0.0, most=0.0):
        self.name = name
        self.begin = begin
        self.end = end
        self.least, self.most = least, most


class Targets:
    """The services of a round, and whether one ended by itself."""

    def __init__(self, kafka, redis, postgres, nginx, processors):
        self.kafka, self.redis, self.postgres = kafka, redis, postgres
        self.nginx, self.processors = nginx, processors
        self.down = set()
        self.asked = {}                # when, those that end
        self.killed_workers = set()

    def everything(self):
        return [self.kafka.brokers[0], self.redis, self.postgres, self.nginx,
                *self.processors]

    def check(self):
        for s in self.everything():
            assert s in self.down or s.alive(), \
                "%s ended by itself with status %s\n%s" % (
                    s.dir, s.process.returncode, s.tail())

    # Half faults: what takes a service away and what brings it back.

    def kill(self, service):
        self.down.add(service)
        service.kill()

    def ask_to_end(self, service, number=None):
        self.down.add(service)
        self.asked[service] = time.monotonic()
        service.signal(number or service.stop_signal)

    def back(self, service, status=None):
        """Starts it again, unless it is still ending; then LATER."""
        if service.alive():
            assert time.monotonic() - self.asked[service] < END_S, \
                "%s did not end\n%s" % (service.dir, service.tail())
            return LATER
        ended = service.stop()
        assert status is None or ended == status, \
            "%s left with status %s\n%s" % (service.dir, ended,
                                            service.tail())
        service.launch()
        self.down.discard(service)
        return None

    def faults(self, chance):
        """{track: [Fault]}, one of every kind."""
        broker = self.kafka.brokers[0]
        tracks = {
            "kafka": [
                Fault("frozen", broker.freeze, broker.thaw, 1, 9),
                Fault("restart", lambda: self.ask_to_end(broker),
                      lambda: self.back(broker), 0.2, 3),
                Fault("kill -9", lambda: self.kill(broker),
                      lambda: self.back(broker), 0, 3)],
            "redis": [
                Fault("FLUSHALL", self.flush_redis),
                Fault("frozen", self.redis.freeze, self.redis.thaw, 0.5, 5),
                Fault("stop", lambda: self.ask_to_end(self.redis),
                      lambda: self.back(self.redis), 0.2, 5),
                Fault("kill -9", lambda: self.kill(self.redis),
                      lambda: self.back(self.redis), 0, 3),
                Fault("kill -9, comes back older", self.remember_redis,
                      self.redis_comes_back_older, 0.5, 6)],
            "postgres": [
                Fault("immediate stop",
                      lambda: self.ask_to_end(self.postgres, signal.SIGQUIT),
                      lambda: self.back(self.postgres), 0.2, 6),
                Fault("frozen", self.postgres.freeze, self.postgres.thaw,
                      0.5, 8),
                Fault("backends killed", self.end_backends)],
            "nginx": [
                Fault("reload", lambda: self.nginx.signal(signal.SIGHUP)),
                Fault("worker kill -9", lambda: self.kill_worker(chance))],
        }
        for i, p in enumerate(self.processors):
            tracks["processor %d" % i] = [
                Fault("kill -9", lambda p=p: self.kill(p),
                      lambda p=p: self.back(p), 0, 4),
                Fault("frozen", p.freeze, p.thaw, 0.5,
                      SESSION_MS / 1000 + 4),
                Fault("SIGTERM", lambda p=p: self.ask_to_end(p),
                      lambda p=p: self.back(p, 0), 0, 2)]
        return tracks

    def flush_redis(self):
        if self.redis.alive() and self.redis not in self.down:
            try:
                self.redis.flush()
            except OSError:
                pass                   # still loading what it had

    def remember_redis(self):
        """What a replica knew that did not get the last writes."""
        shutil.rmtree(self.redis.dir + "/older", ignore_errors=True)
        shutil.copytree(self.redis.dir + "/appendonlydir",
                        self.redis.dir + "/older")

    def redis_comes_back_older(self):
        self.kill(self.redis)
        shutil.rmtree(self.redis.dir + "/appendonlydir")
        os.rename(self.redis.dir + "/older",
                  self.redis.dir + "/appendonlydir")
        return self.back(self.redis)

    def end_backends(self):
        """As a network would that forgets connections."""
        try:
            self.postgres.psql("SELECT pg_terminate_backend(pid) FROM "
                               "pg_stat_activity WHERE pid <> "
                               "pg_backend_pid() AND usename LIKE '%_login'",
                               "postgres")
        except RuntimeError:
            pass                       # it starts just now

    def kill_worker(self, chance):
        workers = self.nginx.workers()
        if workers:
            pid = chance.choice(workers)
            self.killed_workers.add(pid)
            os.kill(pid, signal.SIGKILL)

    def all_back(self, until):
        for s in self.everything():
            s.thaw()
        for s in (self.kafka.brokers[0], self.redis, self.postgres):
            until(s.ready, 120, s.dir + " ready", alive=s)
        self.check()


class Track:
    """The faults of one service, one after another."""

    def __init__(self, name, service, faults, chance):
        self.name, self.service = name, service
        self.faults, self.chance = faults, chance
        self.left = []                 # every kind once, then again
        self.at = chance.uniform(1, 9)
        self.end = None                # of the fault at hand
        self.healing = False
        self._next()

    def _next(self):
        self.left = self.left or self.chance.sample(self.faults,
                                                    len(self.faults))
        self.fault = self.left.pop()
        self.lasts = self.chance.uniform(self.fault.least, self.fault.most)

    def step(self, now, until):
        """What is due now; no fault begins that would end after until."""
        if now < self.at:
            return
        if self.end:
            if self.end() is LATER:
                self.at = now + 0.2
                return
            self.end, self.healing = None, True
        if self.healing:
            if not _serves(self.service):
                self.at = now + 0.5
                return
            self.healing = False
            self.at = now + self.chance.uniform(3, 9)
            return
        if now + self.lasts > until:
            self.at = float("inf")
            return
        print("%5.1f s  %s: %s%s" % (
            now, self.name, self.fault.name,
            " for %.1f s" % self.lasts if self.fault.end else ""))
        self.fault.begin()
        self.end, self.at = self.fault.end or (lambda: None), now + self.lasts
        self._next()


class Plan:
    def __init__(self, seed, targets):
        self.targets = targets
        services = {
            "kafka": targets.kafka.brokers[0], "redis": targets.redis,
            "postgres": targets.postgres, "nginx": targets.nginx}
        for i, p in enumerate(targets.processors):
            services["processor %d" % i] = p
        self.tracks = []
        for name, service in services.items():
            chance = random.Random("%s %s" % (seed, name))
            self.tracks.append(Track(
                name, service, targets.faults(chance)[name], chance))

    def run(self, look, seconds):
        """Lets all tracks go on; look() is called in between."""
        began, now = time.monotonic(), 0
        while now < seconds or any(t.end for t in self.tracks):
            now = time.monotonic() - began
            for track in self.tracks:
                track.step(now, seconds)
            look()
            self.targets.check()
            time.sleep(0.1)


def _serves(service):
    try:
        return service.ready()
    except OSError:
        return False
