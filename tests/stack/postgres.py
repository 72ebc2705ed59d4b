"""A PostgreSQL server with Sluice's schema.

Runs without fsync: a killed server loses nothing by that, only a machine that
loses power would.
"""

import glob
import os
import shutil
import signal
import subprocess

from . import place, ports
from .service import Service

LOGINS = {"writer": "processor_login", "reader": "nginx_login",
          "purger": "purger_login"}


def binary(name):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name),
                   key=lambda p: int(p.split("/")[4]))
    path = found[-1] if found else shutil.which(name)
    if not path:
        raise RuntimeError("no PostgreSQL server (%s) here" % name)
    return path


class Postgres(Service):
    name = "postgres"
    stop_signal = signal.SIGINT                      # fast shutdown

    def __init__(self, directory, database="sluice"):
        super().__init__(directory)
        self.port = ports.free()
        self.database = database
        self.data = os.path.join(self.dir, "data")
        self.dsn = self.dsn_of(database)

    def dsn_of(self, database, user="postgres"):
        return "host=127.0.0.1 port=%d dbname=%s user=%s" % (
            self.port, database, user)

    def run_as(self):
        return place.user("postgres") if place.is_root() else None

    def command(self):
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):
            self._init()
        return [binary("postgres"), "-D", self.data]

    def _init(self):
        os.makedirs(self.data, exist_ok=True)
        command = [binary("initdb"), "-D", self.data, "-U", "postgres",
                   "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                   "--no-sync"]
        user = self.run_as()
        if user is not None:
            os.chown(self.dir, user.pw_uid, user.pw_gid)
            os.chown(self.data, user.pw_uid, user.pw_gid)
            command = ["setpriv", "--reuid=%d" % user.pw_uid,
                       "--regid=%d" % user.pw_gid, "--clear-groups"] + command
        done = subprocess.run(command, cwd=self.dir, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError("initdb failed:\n" + done.stdout)
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a") as f:
            f.write("port = %d\nlisten_addresses = '127.0.0.1'\n"
                    "unix_socket_directories = '%s'\n"
                    "fsync = off\nfull_page_writes = off\n"
                    "max_connections = 200\nshared_buffers = 32MB\n"
                    "timezone = 'UTC'\nlog_timezone = 'UTC'\n"
                    "log_line_prefix = '%%m [%%p] %%q%%u@%%d '\n"
                    % (self.port, self.dir))

    def ready(self):
        return subprocess.run(
            [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p",
             str(self.port), "-U", "postgres"]).returncode == 0

    # databases

    def psql(self, sql, database=None):
        """Runs sql; returns the rows as psql -At prints them."""
        return self._psql(["-c", sql], database)

    def psql_file(self, path, database=None):
        return self._psql(["-1", "-f", path], database)

    def _psql(self, arguments, database):
        done = subprocess.run(
            [binary("psql"), "-X", "-At", "-q", "-v", "ON_ERROR_STOP=1",
             "-d", self.dsn_of(database or self.database)] + arguments,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError("psql: " + done.stderr)
        return done.stdout.rstrip("\n")

    def create_database(self, name):
        self.psql('CREATE DATABASE "%s"' % name, "postgres")
        return self.dsn_of(name)

    def create_sluice(self, name):
        """A database with the schema; returns its DSN."""
        dsn = self.create_database(name)
        self.migrate(name)
        return dsn

    def drop_database(self, name):
        self.psql('DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name,
                  "postgres")

    def migrate(self, database=None):
        """Brings a database to the newest schema, as an operator would, and
        lets a user log in for each of the roles that read and write."""
        database = database or self.database
        done = subprocess.run(
            [os.path.join(place.ROOT, "sql", "migrate"),
             self.dsn_of(database)], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError("sql/migrate failed:\n" + done.stdout)
        for role, user in LOGINS.items():
            if not self.psql("SELECT 1 FROM pg_roles WHERE rolname = '%s'"
                             % user, database):
                self.psql("CREATE ROLE %s LOGIN IN ROLE sluice_%s"
                          % (user, role), database)

    def dsn_as(self, role, dsn=None):
        """The DSN of the login with Sluice's role writer or reader."""
        return (dsn or self.dsn).replace("user=postgres",
                                         "user=" + LOGINS[role])

    def connect(self, database=None, autocommit=True):
        import psycopg2
        c = psycopg2.connect(self.dsn_of(database or self.database))
        c.autocommit = autocommit
        return c
