"""The shipped samples of conf/, fitted to one run.

What an operator is told to edit is edited here, and nothing else: every
change must find its line, so a sample that changed its shape is noticed.
"""

import configparser
import os
import re

from . import place
from .nginx import module_path

CONF = os.path.join(place.ROOT, "conf")
REDIS_USER = "sluice"

FRONT = """\
# A front as it may stand before Sluice comes, and the three lines it adds.
daemon off;
{user}
worker_processes {workers};
pid {dir}/nginx.pid;
error_log {error_log} {level};
include {dir}/50-sluice-module.conf;

events {{
    worker_connections 1024;
}}

http {{
    include /etc/nginx/mime.types;
    access_log {access_log};
    client_body_temp_path {dir}/tmp/body;
    proxy_temp_path {dir}/tmp/proxy;
    fastcgi_temp_path {dir}/tmp/fastcgi;
    uwsgi_temp_path {dir}/tmp/uwsgi;
    scgi_temp_path {dir}/tmp/scgi;
    server_tokens off;
    include {dir}/sluice-http.conf;

    server {{
        listen 127.0.0.1:{port};
        {listen_h2}
        server_name localhost;
        include {dir}/sluice.conf;
    }}
}}
"""


def sample(name):
    with open(os.path.join(CONF, name)) as f:
        return f.read()


def edit(text, *changes):
    """Each change is (regular expression of a line, the new line)."""
    for pattern, line in changes:
        text, n = re.subn("(?m)^[ \t]*" + pattern + "$",
                          lambda _: line, text)
        if n != 1:
            raise RuntimeError("conf/: %d lines match %r" % (n, pattern))
    return text


def topics(name, replicas, **over):
    """[(topic, partitions, config)] for a pipeline whose topic is name."""
    parser = configparser.ConfigParser(delimiters="=", interpolation=None)
    parser.read_string(sample("topics.conf"))
    found = []
    for section in parser.sections():
        config = dict(parser[section])
        partitions = int(config.pop("partitions"))
        del config["replication"]
        config["min.insync.replicas"] = str(min(
            int(config["min.insync.replicas"]), max(1, replicas - 1)))
        topic = section.replace("uploads", name, 1)
        if topic in (name, name + ".chunks"):
            config.update(over)
        found.append((topic, partitions, config))
    return found


def redis_acl(password):
    """The sample's user beside an open default user, for looks from
    outside."""
    user = sample("redis-sluice.acl")
    if user.count(">change-me") != 1:
        raise RuntimeError("conf/redis-sluice.acl: no >change-me")
    return ("user default on nopass ~* &* +@all\n"
            + user.replace(">change-me", ">" + password))


def nginx(ground):
    """Writes the sample's files beside nginx.conf; returns its text."""
    n = ground.nginx
    write(n.dir, "50-sluice-module.conf", edit(
        sample("nginx/50-sluice-module.conf"),
        (r"load_module .*", "load_module %s;" % module_path())))
    write(n.dir, "sluice-http.conf", edit(
        sample("nginx/sluice-http.conf"),
        (r"bootstrap\.servers .*",
         "    bootstrap.servers  %s;" % ground.kafka.bootstrap),
        (r"sluice_postgres .*",
         'sluice_postgres  "%s";' % ground.postgres.dsn_as("reader"))))
    write(n.dir, "sluice.conf", edit(
        sample("sluice.conf"),
        (r"root .*", "    root       %s;" % ground.html)))
    return FRONT.format(
        user=n.user_line(), workers=n.workers_wanted, dir=n.dir,
        error_log=n.error_log, access_log=n.access_log, level=n.level,
        port=n.port, listen_h2=n.listen_h2())


def processor(ground):
    return edit(
        sample("processor.ini"),
        (r";lanes = .*", "lanes = %d" % (2 if ground.prod else 1)),
        (r";log_level = .*",
         "log_level = " + ("info" if ground.prod else "debug")),
        (r"bootstrap\.servers = .*",
         "bootstrap.servers = " + ground.kafka.bootstrap),
        (r";address = .*", "address = " + ground.redis.address),
        (r";username =", "username = " + REDIS_USER),
        (r"dsn = .*", "dsn = " + ground.postgres.dsn_as("writer")),
        (r";spool = .*",
         "spool = " + os.path.join(os.path.dirname(ground.store), "spool")),
        (r"path = .*", "path = " + ground.store)).replace(
            "username = %s\n;password_file =" % REDIS_USER,
            "username = %s\npassword_file = %s"
            % (REDIS_USER, ground.redis.password_file), 1)


def write(directory, name, text):
    with open(os.path.join(directory, name), "w") as f:
        f.write(text)
