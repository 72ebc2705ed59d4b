"""A Redis server with the shipped ACL.

The user of conf/redis-sluice.acl is what the processor logs in as; the
default user stays open for the tests' own looks."""

import os
import socket

from . import conf, ports
from .service import Service

PASSWORD = "redis-secret"


class Redis(Service):
    name = "redis"

    def __init__(self, directory):
        super().__init__(directory)
        self.port = ports.free()
        self.address = "127.0.0.1:%d" % self.port
        self.user = conf.REDIS_USER
        self.password_file = os.path.join(self.dir, "password")
        with open(self.password_file, "w") as f:
            os.chmod(self.password_file, 0o600)
            f.write(PASSWORD + "\n")
        self.admin_url = "redis://127.0.0.1:%d/0" % self.port

    def command(self):
        acl = os.path.join(self.dir, "users.acl")
        settings = os.path.join(self.dir, "redis.conf")
        with open(acl, "w") as f:
            f.write(conf.redis_acl(PASSWORD))
        with open(settings, "w") as f:
            f.write("bind 127.0.0.1\nport %d\ndir %s\naclfile %s\n"
                    "include %s\nsave \"\"\nmaxmemory 256mb\n"
                    % (self.port, self.dir, acl,
                       os.path.join(conf.CONF, "redis-sluice.conf")))
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
