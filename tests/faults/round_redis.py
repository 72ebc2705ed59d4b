"""Redis as a round has it: a master, a replica, three sentinels.

Whoever connects to a server is told a port that leads through a link, also
the other server and the sentinels.  So a link that is cut takes a server away
that goes on living.
"""

import os
import types

import redis

from stack import wait
from stack.redis import Replicated

AGAIN = (redis.RedisError, OSError, LookupError)


class Pair(Replicated):
    def __init__(self, directory, link):
        """link(name, port) -> Link"""
        super().__init__(directory, replicas=1, sentinels=3)
        self.links = {"redis %d" % i: link("redis %d" % i, s.port)
                      for i, s in enumerate(self.servers)}
        ports = [made.port for made in self.links.values()]
        first, second = self.servers
        second.more = second.more.replace(
            "replicaof 127.0.0.1 %d" % first.port,
            "replicaof 127.0.0.1 %d" % ports[0])
        for server, port in zip(self.servers, ports):
            server.told = port
            server.more += ("\nreplica-announce-ip 127.0.0.1\n"
                            "replica-announce-port %d\n" % port)
        for sentinel in self.sentinels:
            # where it begins, and whom its ready() asks for replicas
            sentinel.master = types.SimpleNamespace(port=ports[0],
                                                    client=self.a_master)

    def asked(self, server):
        """A client that does not wait for a server that is frozen."""
        return redis.Redis(port=server.port, decode_responses=True,
                           socket_timeout=1, socket_connect_timeout=1)

    def a_master(self):
        return next(c for c in map(self.asked, self.servers)
                    if c.role()[0] == "master")

    def current(self):
        """The server that the sentinels name master."""
        for sentinel in self.sentinels:
            try:
                port = sentinel.says()
            except AGAIN:
                continue
            return next(s for s in self.servers if s.told == port)
        raise LookupError("no sentinel answers")

    def other(self, server):
        return self.servers[1 - self.servers.index(server)]

    def steady(self):
        """A master that answers, and a replica that has all it has."""
        for server in self.servers:
            self.asked(server).config_set("masterauth", "")
        master = self.current()
        return self.asked(master).role()[0] == "master" \
            and self.asked(self.other(master)).info("replication").get(
                "master_link_status") == "up"

    def wait_steady(self, timeout=90):
        wait.until(self.steady, timeout, "a master and its replica")

    def flush_master(self):
        self.asked(self.current()).flushall()

    def fail_over(self):
        """In order, by the sentinels' own hand."""
        for sentinel in self.sentinels:
            if sentinel.alive():
                redis.Redis(port=sentinel.port, socket_timeout=2
                            ).execute_command("SENTINEL", "FAILOVER",
                                              "sluice")
                return

    def leave_behind(self):
        """The replica gets no writes from now on.  Returns the master."""
        master = self.current()
        self.asked(self.other(master)).config_set("masterauth", "nobody's")
        self.asked(master).execute_command("CLIENT", "KILL", "TYPE",
                                           "replica")
        return master

    def catch_up(self):
        """What leave_behind() did is over."""
        for server in self.servers:
            try:
                self.asked(server).config_set("masterauth", "")
            except AGAIN:
                pass                   # steady() does it, at the latest


def make(directory, link):
    os.makedirs(directory, exist_ok=True)
    return Pair(directory, link)
