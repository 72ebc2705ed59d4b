#!/usr/bin/python3
"""Gives a Redis server the user of conf/redis-sluice.acl.

usage: redis_user.py < WISHES

WISHES is JSON:
  address              host:port or unix:/path
  tls                  true to speak TLS
  admin_user           "" for the default user
  admin_password_file  "" for none
  acl_file             conf/redis-sluice.acl
  password_file        the password of the user

Prints a line when the user changed, and keeps the change over a restart of
the server, in its aclfile or its redis.conf.  Refuses a server that evicts
keys.  Speaks to Redis by itself: a password on redis-cli's command line or in
its environment is seen by others.
"""

import hashlib
import json
import socket
import ssl
import sys

TIMEOUT_S = 10


class Refused(Exception):
    pass


class Redis:
    def __init__(self, address, tls):
        if address.startswith("unix:"):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(TIMEOUT_S)
            s.connect(address[5:])
        else:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            s = socket.create_connection((host, int(port)), TIMEOUT_S)
            if tls:
                s = ssl.create_default_context().wrap_socket(
                    s, server_hostname=host)
        self.socket = s
        self.file = s.makefile("rb")

    def __call__(self, *words):
        out = b"*%d\r\n" % len(words)
        for word in words:
            word = word.encode()
            out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.socket.sendall(out)
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Refused("the connection was closed")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise Refused(rest)
        if kind in (b"+", b":"):
            return rest
        if rest == "-1":
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2].decode()
        return [self.reply() for _ in range(int(rest))]


def read(path):
    with open(path) as f:
        return f.read().rstrip("\r\n")


def rules(path, password):
    """(user, rules): the file's line with the password's hash in it."""
    words = read(path).split()
    if len(words) < 3 or words[0] != "user":
        raise Refused("%s is no ACL line" % path)
    found = [w for w in words[2:] if w[0] not in "><#!"]
    digest = hashlib.sha256(password.encode()).hexdigest()
    return words[1], ["reset", "#" + digest] + found


def line_of(redis, user):
    for line in redis("ACL", "LIST"):
        if line.split()[1] == user:
            return line
    return None


def keep(redis):
    aclfile = redis("CONFIG", "GET", "aclfile")
    if len(aclfile) == 2 and aclfile[1]:
        redis("ACL", "SAVE")
    else:
        redis("CONFIG", "REWRITE")


def policy(redis):
    for line in redis("INFO", "memory").splitlines():
        key, _, value = line.partition(":")
        if key == "maxmemory_policy":
            return value
    return "unknown"


def main():
    wishes = json.load(sys.stdin)
    try:
        redis = Redis(wishes["address"], wishes["tls"])
        if wishes["admin_password_file"]:
            redis("AUTH", wishes["admin_user"] or "default",
                  read(wishes["admin_password_file"]))
        if policy(redis) != "noeviction":
            raise Refused("maxmemory-policy is %s and must be noeviction"
                          % policy(redis))
        user, words = rules(wishes["acl_file"],
                            read(wishes["password_file"]))
        before = line_of(redis, user)
        redis("ACL", "SETUSER", user, *words)
        if line_of(redis, user) == before:
            return
        print("changed user " + user)
        keep(redis)
    except (Refused, OSError, ValueError) as e:
        sys.exit("redis_user.py: %s" % e)


if __name__ == "__main__":
    main()
