#!/usr/bin/python3
"""Prepares a PostgreSQL server for Sluice: database, logins, public_url.

usage: postgres.py database|logins < WISHES

WISHES is JSON:
  admin       libpq's words for an administrator's connection, without
              dbname; "" is the local server, as its own user
  database    name of the database
  logins      [{"name", "group", "password_file"}]; password_file may be ""
  public_url  what the views put in front of a file's path, or null

"database" creates the database; "logins", once the schema is there, does the
rest.  Prints a line for each change, none when there is nothing to do.

A password reaches the server as a SCRAM verifier, so it is in no log of the
server, and is compared with the one that is there by the verifier's salt.
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys

ITERATIONS = 4096                # PostgreSQL's own default


def verifier(password, salt, iterations):
    """PostgreSQL's text form of RFC 5802's StoredKey and ServerKey."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt,
                                 iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (
        iterations, base64.b64encode(salt).decode(),
        base64.b64encode(hashlib.sha256(client).digest()).decode(),
        base64.b64encode(server).decode())


def matches(password, stored):
    try:
        _, numbers, _ = stored.split("$")
        iterations, salt = numbers.split(":")
        return hmac.compare_digest(
            stored, verifier(password, base64.b64decode(salt),
                             int(iterations)))
    except ValueError:
        return False                                   # none, or an old md5


def name(text):
    return '"%s"' % text.replace('"', '""')


def literal(text):
    return "'%s'" % text.replace("'", "''")


class Server:
    def __init__(self, admin, database):
        self.command = ["psql"]
        if not admin:
            self.command = ["runuser", "-u", "postgres", "--", "psql"]
        self.admin = admin
        self.database = database

    def ask(self, sql, database=None):
        """Runs sql, given by stdin; the rows as lines."""
        done = subprocess.run(
            self.command + ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1",
                            "-d", "%s dbname=%s" % (
                                self.admin,
                                literal(database or self.database))],
            cwd="/", input="SET standard_conforming_strings = on;\n" + sql, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            sys.exit("postgres.py: " + done.stderr.strip())
        return done.stdout.strip()


def database(server):
    if server.ask("SELECT 1 FROM pg_database WHERE datname = %s"
                  % literal(server.database), "postgres"):
        return
    server.ask("CREATE DATABASE %s ENCODING 'UTF8' TEMPLATE template0"
               % name(server.database), "postgres")
    print("created database " + server.database)


def login(server, wish):
    role, group = wish["name"], wish["group"]
    if not server.ask("SELECT 1 FROM pg_roles WHERE rolname = %s"
                      % literal(role)):
        server.ask("CREATE ROLE %s LOGIN" % name(role))
        print("created role " + role)
    if server.ask("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s"
                  % literal(role)) != "t":
        server.ask("ALTER ROLE %s LOGIN" % name(role))
        print("changed role %s: may log in" % role)
    if server.ask("SELECT pg_has_role(%s, %s, 'MEMBER')"
                  % (literal(role), literal(group))) != "t":
        server.ask("GRANT %s TO %s" % (name(group), name(role)))
        print("changed role %s: member of %s" % (role, group))
    timeout(server, role, group)
    if wish.get("password_file"):
        with open(wish["password_file"]) as f:
            password(server, role, f.read().rstrip("\r\n"))


def timeout(server, role, group):
    """A group doesn't pass its settings on to who is in it."""
    kept = server.ask(
        "SELECT s FROM pg_roles, unnest(rolconfig) s WHERE rolname = %s"
        " AND s LIKE 'statement_timeout=%%'" % literal(group))
    if not kept:
        return
    if kept in server.ask("SELECT unnest(rolconfig) FROM pg_roles WHERE"
                          " rolname = %s" % literal(role)).splitlines():
        return
    server.ask("ALTER ROLE %s SET statement_timeout = %s"
               % (name(role), literal(kept.partition("=")[2])))
    print("changed role %s: %s" % (role, kept))


def password(server, role, text):
    if not text.isascii() or not text:
        sys.exit("postgres.py: the password of %s is empty or not ASCII"
                 % role)
    stored = server.ask("SELECT rolpassword FROM pg_authid WHERE rolname = %s"
                        % literal(role))
    if matches(text, stored):
        return
    server.ask("ALTER ROLE %s PASSWORD %s" % (
        name(role), literal(verifier(text, os.urandom(16), ITERATIONS))))
    print("changed role %s: password" % role)


def public_url(server, url):
    if server.ask("SELECT value FROM sluice.settings"
                  " WHERE name = 'public_url'") == url:
        return
    server.ask("UPDATE sluice.settings SET value = %s"
               " WHERE name = 'public_url'" % literal(url))
    print("changed public_url to " + url)


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("database", "logins"):
        sys.exit(__doc__)
    wishes = json.load(sys.stdin)
    server = Server(wishes["admin"], wishes["database"])
    if sys.argv[1] == "database":
        database(server)
        return
    for wish in wishes["logins"]:
        login(server, wish)
    if wishes["public_url"] is not None:
        public_url(server, wishes["public_url"])


if __name__ == "__main__":
    main()
