"""The services of a harness: started once, used by one round after another.

Three brokers, Redis with a replica and sentinels, PostgreSQL, a disk of a few
megabytes, and Toxiproxy: nginx and each processor have links of their own to
the brokers and PostgreSQL, each server of Redis has one, and the round's own
looks go past them.
"""

import os
import subprocess

import round_redis
from round_plan import BROKERS, PROCESSORS
from stack import place, wait
from stack.kafka import Kafka
from stack.postgres import Postgres
from stack.toxiproxy import Toxiproxy

DISK_MB = 256
CLIENTS = ["nginx"] + ["processor %d" % n for n in range(PROCESSORS)]


class Disk:
    """A file system of its own, so that it can be full; needs root."""

    def __init__(self, directory):
        self.dir = directory
        self.ballast = os.path.join(directory, "ballast")
        os.makedirs(directory, exist_ok=True)
        self.mounted = place.is_root() and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=%dm,mode=755" % DISK_MB,
             "sluice-faults", directory]).returncode == 0

    def fill(self):
        fd = os.open(self.ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        os.write(fd, bytes(size))
                except OSError:
                    pass               # that is the end of it
        finally:
            os.close(fd)

    def empty(self):
        os.unlink(self.ballast)

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.dir])


class Stage:
    def __init__(self, directory):
        self.dir = directory
        self.disk = Disk(os.path.join(directory, "disk"))
        self.proxy = Toxiproxy(os.path.join(directory, "toxiproxy"))
        self.kafka = Kafka(os.path.join(directory, "kafka"), brokers=BROKERS)
        self.redis = None
        self.postgres = Postgres(os.path.join(directory, "postgres"))
        self.links = {}                # "processor 0 to broker 2" -> Link

    def services(self):
        """Those that a round may break."""
        return [*self.kafka.brokers, *self.redis.all(), self.postgres]

    def start(self):
        self.proxy.start()
        for client in CLIENTS:
            listener = client.replace(" ", "").upper()
            for broker in self.kafka.brokers:
                broker.listener(listener, self._link(
                    client, "broker %d" % broker.node))
            self._link(client, "postgres")(self.postgres.port)
        self.redis = round_redis.make(
            os.path.join(self.dir, "redis"),
            lambda name, port: self._link("all", name)(port))
        for service in self.services():
            service.launch()
        self.ready()
        return self

    def _link(self, client, service):
        name = "%s to %s" % (client, service)

        def made(port):
            self.links[name] = self.proxy.link(name.replace(" ", "-"), port)
            return self.links[name]
        return made

    def ready(self, timeout=120):
        for service in self.services():
            wait.until(service.ready, timeout, service.dir + " ready",
                       alive=service)
        self.redis.wait_steady()

    def groups(self):
        """[(name, links)] that a fault of the network may hit together."""
        found = [(name, [link]) for name, link in sorted(self.links.items())]
        for client in CLIENTS:
            own = [link for name, link in sorted(self.links.items())
                   if name.startswith(client + " to broker")]
            found.append((client + " to all brokers", own))
        return found

    def addresses(self, client):
        """What a configuration calls KAFKA, and PostgreSQL's port."""
        def of(service):
            return self.links["%s to %s" % (client, service)]
        return {
            "KAFKA": ",".join(of("broker %d" % b.node).address
                              for b in self.kafka.brokers),
            "POSTGRES_PORT": of("postgres").port}

    def stop(self):
        found = self.services() if self.redis else []
        for service in found:
            service.thaw()
        for service in found:
            service.kill()
        self.proxy.kill()
        self.disk.remove()
