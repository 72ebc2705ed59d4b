"""What breaks when: drawn from the seed before the round begins.

Each service has a track of its own, so that outages of different services
overlap and those of one do not.  A fault is two calls, begin and end, both
made from one thread by Plan.run(): services that are started again must be
children of the main thread (stack.service).
"""

import heapq
import os
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


class Plan:
    """What is called when: [(second, number, call)]."""

    def __init__(self, chance, targets, seconds):
        self.targets = targets
        self.steps = []
        self.lines = []
        for track, faults in sorted(targets.faults(chance).items()):
            self._draw(chance, track, faults, seconds)
        heapq.heapify(self.steps)

    def _draw(self, chance, track, faults, seconds):
        """Every kind once before one comes again."""
        at, left = chance.uniform(1, 9), []
        while True:
            left = left or chance.sample(faults, len(faults))
            fault = left.pop()
            lasts = chance.uniform(fault.least, fault.most)
            if at + lasts > seconds:
                return
            what = "%s: %s" % (track, fault.name)
            self.steps.append((at, len(self.steps), fault.begin))
            if fault.end:
                self.steps.append((at + lasts, len(self.steps), fault.end))
            self.lines.append("%5.1f s  %s%s" % (
                at, what, " for %.1f s" % lasts if fault.end else ""))
            # A service that starts gets time to, most of the times.
            at += lasts + chance.uniform(3, 9)

    def __str__(self):
        return "\n".join(sorted(self.lines))

    def run(self, look, seconds):
        """Takes every step at its time; look() is called in between."""
        began = time.monotonic()
        now = 0
        while self.steps or now < seconds:
            now = time.monotonic() - began
            if self.steps and self.steps[0][0] <= now:
                _, number, call = heapq.heappop(self.steps)
                if call() is LATER:
                    heapq.heappush(self.steps, (now + 0.2, number, call))
                continue
            look()
            self.targets.check()
            time.sleep(0.1)
