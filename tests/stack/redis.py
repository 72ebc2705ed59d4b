"""A Redis server with an ACL, as Sluice wants it."""

import os
import socket

from . import ports
from .service import Service

USER = "sluice"
PASSWORD = "redis-secret"

# The default user stays open for the tests' own looks.  ~sluice:* is all the
# processor may touch.
ACL = """\
user default on nopass ~* &* +@all
user {user} on >{password} resetkeys ~sluice:* resetchannels -@all \
+@read +@write +@connection +@transaction +@scripting +info -@dangerous \
+info
"""


class Redis(Service):
    name = "redis"

    def __init__(self, directory, acl=ACL):
        super().__init__(directory)
        self.port = ports.free()
        self.acl = acl.format(user=USER, password=PASSWORD)
        self.url = "redis://%s:%s@127.0.0.1:%d/0" % (USER, PASSWORD,
                                                     self.port)
        self.admin_url = "redis://127.0.0.1:%d/0" % self.port

    def command(self):
        acl = os.path.join(self.dir, "users.acl")
        conf = os.path.join(self.dir, "redis.conf")
        with open(acl, "w") as f:
            f.write(self.acl)
        with open(conf, "w") as f:
            f.write("bind 127.0.0.1\nport %d\ndir %s\naclfile %s\n"
                    "save \"\"\nappendonly yes\nappendfsync everysec\n"
                    "maxmemory 256mb\nmaxmemory-policy noeviction\n"
                    % (self.port, self.dir, acl))
        return ["redis-server", conf]

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
