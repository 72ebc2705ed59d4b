"""Redis with the shipped ACL: one server, one behind Sentinel, a cluster.

The user of conf/redis-sluice.acl is what the processor logs in as; the
default user stays open for the tests' own looks.

Redis(dir)          a server; .client() is the administrator's
Replicated(dir)     a master, replicas and their sentinels
Cluster(dir)        masters with a replica each

Both have start(), stop(), addresses (what `address` of the processor lists),
servers, master(...), replicas_of(master), wait_promoted(server), flush() and
client(); each server of them is a Redis, to be killed, frozen and restarted.
"""

import os
import socket

from . import conf, ports, wait
from .service import Service

PASSWORD = "redis-secret"
DOWN_MS = 2000            # after which a server that is silent counts as down

# Enough against a kill -9, and a group starts in seconds on a busy disk.
LIGHT = "appendfsync no\nrepl-diskless-load on-empty-db\n"


def write_password(directory):
    path = os.path.join(directory, "password")
    with open(path, "w") as f:
        os.chmod(path, 0o600)
        f.write(PASSWORD + "\n")
    return path


class Redis(Service):
    """more: lines for redis.conf."""
    name = "redis"

    def __init__(self, directory, more=""):
        super().__init__(directory)
        self.more = more
        self.written = False
        self.port = ports.free()
        self.address = "127.0.0.1:%d" % self.port
        self.user = conf.REDIS_USER
        self.password_file = write_password(self.dir)
        self.admin_url = "redis://127.0.0.1:%d/0" % self.port

    def command(self):
        acl = os.path.join(self.dir, "users.acl")
        settings = os.path.join(self.dir, "redis.conf")
        with open(acl, "w") as f:
            f.write(conf.redis_acl(PASSWORD))
        # What a failover has written into it is kept over a restart.
        if not self.written:
            self.written = True
            with open(settings, "w") as f:
                f.write("bind 127.0.0.1\nport %d\ndir %s\naclfile %s\n"
                        "include %s\nsave \"\"\nmaxmemory 256mb\n"
                        "repl-diskless-sync-delay 0\n%s\n"
                        % (self.port, self.dir, acl,
                           os.path.join(conf.CONF, "redis-sluice.conf"),
                           self.more))
        return ["redis-server", settings]

    def ready(self):
        return self.command_line("PING") == b"+PONG"

    def command_line(self, line):
        """Sends one inline command; returns the first line of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as s:
            s.sendall(line.encode() + b"\r\n")
            return s.makefile("rb").readline().rstrip()

    def flush(self):
        """Everything Redis knew is gone, as after a failover without data."""
        assert self.command_line("FLUSHALL") == b"+OK"

    def client(self):
        """A redis.Redis of the administrator, text in and out."""
        import redis
        return redis.Redis(port=self.port, decode_responses=True)

    def role(self):
        """master, slave, or None while it doesn't say."""
        import redis
        try:
            return self.client().role()[0]
        except redis.RedisError:
            return None

    def in_step(self):
        """A replica that holds all that its master has sent."""
        return self.client().info("replication").get(
            "master_link_status") == "up"

    def stop_following(self):
        """A replica is left behind: it can't log in to its master again.
        Returns once its master has no link to it."""
        info = self.client().info("replication")
        self.client().config_set("masterauth", "nobody's")
        import redis
        master = redis.Redis(port=info["master_port"], decode_responses=True)
        for c in master.client_list(_type="replica"):
            if c["addr"].rpartition(":")[0]:
                master.client_kill(c["addr"])
        wait.until(lambda: not self.in_step(), 10, self.name + " is behind")

    def follow_again(self):
        self.client().config_set("masterauth", "")


class Sentinel(Service):
    """Watches master, by the name "sluice"; acl: lines like `user ...`."""
    name = "sentinel"

    def __init__(self, directory, master, quorum=1, acl="", more=""):
        super().__init__(directory)
        self.master = master
        self.quorum = quorum
        self.acl = acl
        self.more = more
        self.written = False
        self.port = ports.free()
        self.address = "127.0.0.1:%d" % self.port

    def command(self):
        settings = os.path.join(self.dir, "sentinel.conf")
        if not self.written:
            self.written = True
            with open(settings, "w") as f:
                f.write("bind 127.0.0.1\nport %d\ndir %s\n%s\n"
                        "sentinel monitor sluice 127.0.0.1 %d %d\n"
                        "sentinel down-after-milliseconds sluice %d\n"
                        "sentinel failover-timeout sluice 6000\n%s\n"
                        % (self.port, self.dir, self.acl, self.master.port,
                           self.quorum, DOWN_MS, self.more))
        return ["redis-server", settings, "--sentinel"]

    def client(self):
        import redis
        return redis.Redis(port=self.port, decode_responses=True)

    def ready(self):
        """It answers, and knows the replicas there are."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as c:
            c.sendall(b"PING\r\n")
            answer = c.makefile("rb").readline()
        if not answer.startswith(b"+PONG"):
            return answer.startswith(b"-NOAUTH")
        return (len(self.client().sentinel_slaves("sluice"))
                >= len(self.master.client().role()[2]))

    def says(self):
        """The port of the master, as this sentinel believes."""
        return int(self.client().sentinel_get_master_addr_by_name(
            "sluice")[1])


class Group:
    """What Replicated and Cluster share."""

    def all(self):
        return list(self.servers)

    def stop(self):
        for s in reversed(self.all()):
            s.thaw()
            s.kill()

    @property
    def user(self):
        return self.servers[0].user

    @property
    def password_file(self):
        return self.servers[0].password_file

    def masters(self):
        return [s for s in self.servers if s.alive() and s.role() == "master"]

    def replicas_of(self, master):
        found = []
        for s in self.servers:
            if s is not master and s.alive():
                role = s.client().role()
                if role[0] == "slave" and role[2] == master.port:
                    found.append(s)
        return found

    def wait_promoted(self, server, timeout=30):
        wait.until(lambda: server.role() == "master", timeout,
                   "%s a master" % server.address)

    def wait_in_step(self, timeout=30):
        for m in self.masters():
            for r in self.replicas_of(m):
                wait.until(r.in_step, timeout, "%s in step" % r.address)
                m.client().wait(1, 5000)

    def flush(self):
        for m in self.masters():
            m.flush()


class Replicated(Group):
    """A master, its replicas, and sentinels that watch them."""

    def __init__(self, directory, replicas=1, sentinels=1, quorum=None,
                 acl="", more=""):
        self.servers = [Redis(os.path.join(directory, "redis-0"),
                              LIGHT + more)]
        for i in range(replicas):
            self.servers.append(Redis(
                os.path.join(directory, "redis-%d" % (i + 1)),
                "%s%s\nreplicaof 127.0.0.1 %d"
                % (LIGHT, more, self.servers[0].port)))
        self.sentinels = [
            Sentinel(os.path.join(directory, "sentinel-%d" % i),
                     self.servers[0], quorum or sentinels // 2 + 1, acl)
            for i in range(sentinels)]
        self.addresses = ",".join(s.address for s in self.sentinels)

    def all(self):
        return self.servers + self.sentinels

    def start(self):
        for s in self.servers:
            s.start()
        for s in self.servers[1:]:
            wait.until(s.in_step, 30, "%s in step" % s.address)
        for s in self.sentinels:
            s.start()
        return self

    def master(self):
        return self.masters()[0]

    def client(self):
        return self.master().client()

    def failover(self):
        """Sentinel's own, in order; returns the new master."""
        old = self.master()
        new = self.replicas_of(old)[0]
        self.sentinels[0].client().execute_command("SENTINEL", "FAILOVER",
                                                   "sluice")
        self.wait_promoted(new)
        return new


class Cluster(Group):
    """masters with replicas each; slots shared out evenly."""

    def __init__(self, directory, masters=3, replicas=1, more=""):
        self.nmasters = masters
        self.servers = []
        for i in range(masters * (1 + replicas)):
            self.servers.append(Redis(
                os.path.join(directory, "redis-%d" % i),
                LIGHT + "cluster-enabled yes\ncluster-port %d\n"
                "cluster-node-timeout %d\ncluster-replica-validity-factor 0\n"
                "cluster-migration-barrier 99\n%s"
                % (ports.free(), DOWN_MS, more)))
        # Two of them: the others are found by asking.
        self.addresses = ",".join(s.address for s in self.servers[:2])

    def start(self, timeout=60):
        for s in self.servers:
            s.start()
        first = self.servers[0]
        n = self.nmasters
        for i, s in enumerate(self.servers[:n]):
            s.client().execute_command(
                "CLUSTER", "ADDSLOTSRANGE", 16384 * i // n,
                16384 * (i + 1) // n - 1)
            # Two that begin with the same epoch must quarrel about it first.
            s.client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for s in self.servers[1:]:
            bus = [line.split()[1] for line in s.more.splitlines()
                   if line.startswith("cluster-port")][0]
            first.client().execute_command("CLUSTER", "MEET", "127.0.0.1",
                                           s.port, bus)
        wait.until(lambda: all(self.known(s) == len(self.servers)
                               for s in self.servers), timeout,
                   "nodes that know each other")
        for i, s in enumerate(self.servers[n:]):
            s.client().execute_command("CLUSTER", "REPLICATE",
                                       self.id(self.servers[i % n]))
        wait.until(self.whole, timeout, "a whole cluster")
        return self

    def known(self, server):
        return len(server.client().execute_command("CLUSTER NODES"))

    def id(self, server):
        return server.client().execute_command("CLUSTER", "MYID")

    def whole(self):
        """Every live server says so, and replicas are in step."""
        for s in self.servers:
            if not s.alive():
                continue
            info = s.client().execute_command("CLUSTER INFO")
            if info["cluster_state"] != "ok":
                return False
            if s.role() == "slave" and not s.in_step():
                return False
        return len(self.masters()) == self.nmasters

    def slot(self, key):
        return self.masters()[0].client().execute_command(
            "CLUSTER", "KEYSLOT", key)

    def master(self, key):
        """Who has the key's slot."""
        slot = self.slot(key)
        for m in self.masters():
            for start, end, owner, *_ in slots(m):
                if start <= slot <= end and owner == m.port:
                    return m
        raise LookupError(slot)

    def client(self):
        import redis
        return redis.RedisCluster("127.0.0.1", self.masters()[0].port,
                                  decode_responses=True)

    def begin_move(self, slot, source, target):
        """The slot is migrating: what the source lacks is asked for there."""
        target.client().execute_command("CLUSTER", "SETSLOT", slot,
                                        "IMPORTING", self.id(source))
        source.client().execute_command("CLUSTER", "SETSLOT", slot,
                                        "MIGRATING", self.id(target))

    def move_keys(self, slot, source, target, most=1000):
        """Returns how many it moved."""
        r = source.client()
        keys = r.execute_command("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            r.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0,
                              5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot, source, target):
        for s in [target, source] + self.masters():
            s.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE",
                                       self.id(target))


def slots(server):
    """[(first, last, port of the master)]"""
    return [(int(a), int(b), int(m[1])) for a, b, m, *_ in
            _raw(server, "CLUSTER SLOTS")]


def _raw(server, line):
    """The reply as it comes, without redis-py's ideas of its shape."""
    def read(f):
        head = f.readline().rstrip().decode()
        kind, rest = head[0], head[1:]
        if kind == "*":
            return [read(f) for _ in range(int(rest))]
        if kind == "$":
            if rest == "-1":
                return None
            return f.read(int(rest) + 2)[:-2].decode()
        if kind == "-":
            raise RuntimeError(rest)
        return int(rest) if kind == ":" else rest
    with socket.create_connection(("127.0.0.1", server.port), 5) as s:
        s.sendall(line.encode() + b"\r\n")
        with s.makefile("rb") as f:
            return read(f)
