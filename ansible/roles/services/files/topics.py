#!/usr/bin/python3
"""Creates the topics of a pipeline, and sets their settings back.

usage: topics.py [--topic NAME] [--set SUFFIX:KEY=VALUE]... [--check]
                 TOPICS.CONF < PROPERTIES

TOPICS.CONF is conf/topics.conf.  PROPERTIES are librdkafka's, one key=value a
line; they come by stdin because a password may be among them.  --set changes
one value of the file (SUFFIX is "", ".chunks", ".late" or ".dead"); an empty
VALUE leaves the setting to the broker.  Settings that the file doesn't name
are left as they are; partitions are added, never taken away.

Prints a line for each change, none when there is nothing to do.  --check only
prints.
"""

import argparse
import configparser
import sys
import time

from confluent_kafka import KafkaException
from confluent_kafka import admin as ck

TIMEOUT_S = 30
BASE = "uploads"                  # what the file calls the pipeline's topic
OURS = ("partitions", "replication")
DYNAMIC_TOPIC = 1                 # where a setting's value comes from


class Failed(Exception):
    pass


def wanted(path, topic, changes):
    """{topic: {"partitions", "replication", setting: value}}"""
    ini = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    with open(path) as f:
        ini.read_file(f)
    found = {}
    for section in ini.sections():
        if section != BASE and not section.startswith(BASE + "."):
            raise Failed("%s: section [%s] is not [%s] or [%s.*]"
                         % (path, section, BASE, BASE))
        found[section[len(BASE):]] = dict(ini[section])
    for change in changes:
        suffix, _, setting = change.partition(":")
        key, equals, value = setting.partition("=")
        if suffix not in found or not key or not equals:
            raise Failed("--set %s: not SUFFIX:KEY=VALUE" % change)
        found[suffix][key] = value
        if value == "":
            del found[suffix][key]
    return {topic + suffix: settings for suffix, settings in found.items()}


def properties(lines):
    found = {}
    for line in lines:
        line = line.strip()
        if line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            if not equals:
                raise Failed("stdin: a line without '='")
            found[key.strip()] = value.strip()
    return found


def one(futures):
    """The result of a call about one thing."""
    (future,) = futures.values()
    return future.result(TIMEOUT_S)


def create(admin, name, settings):
    config = {k: v for k, v in settings.items() if k not in OURS}
    new = ck.NewTopic(name, num_partitions=int(settings["partitions"]),
                      replication_factor=int(settings["replication"]),
                      config=config)
    one(admin.create_topics([new], request_timeout=TIMEOUT_S))
    # Created is not yet known to the broker that will be asked next.
    deadline = time.monotonic() + TIMEOUT_S
    while name not in admin.list_topics(timeout=TIMEOUT_S).topics:
        if time.monotonic() > deadline:
            raise Failed("topic %s was created and can't be seen" % name)
        time.sleep(0.2)


def grow(admin, name, settings, topic, check):
    partitions = len(topic.partitions)
    replicas = {len(p.replicas) for p in topic.partitions.values()}
    if min(replicas) < int(settings["replication"]):
        print("warning: topic %s has %d replicas of the %s wanted; moving "
              "them is the operator's" % (name, min(replicas),
                                          settings["replication"]),
              file=sys.stderr)
    more = int(settings["partitions"])
    if partitions >= more:
        return
    if not check:
        one(admin.create_partitions([ck.NewPartitions(name, more)],
                                    request_timeout=TIMEOUT_S))
    print("changed topic %s partitions %d -> %d" % (name, partitions, more))


def configure(admin, name, settings, check):
    resource = ck.ConfigResource(ck.RESOURCE_TOPIC, name)
    entries = one(admin.describe_configs([resource],
                                         request_timeout=TIMEOUT_S))
    changes = {}
    for key, value in settings.items():
        if key in OURS:
            continue
        if key not in entries:
            raise Failed("the brokers know no topic setting %s; leave it out "
                         "with --set" % key)
        if entries[key].value != value:
            changes[key] = value
    if not changes:
        return
    if not check:
        alter(admin, name, entries, changes)
    for key in sorted(changes):
        print("changed topic %s %s %s -> %s"
              % (name, key, entries[key].value, changes[key]))


def alter(admin, name, entries, changes):
    """Changes some settings and keeps the others."""
    if hasattr(admin, "incremental_alter_configs"):
        resource = ck.ConfigResource(
            ck.RESOURCE_TOPIC, name, incremental_configs=[
                ck.ConfigEntry(
                    k, v,
                    incremental_operation=ck.AlterConfigOpType.SET)
                for k, v in changes.items()])
        one(admin.incremental_alter_configs([resource],
                                            request_timeout=TIMEOUT_S))
        return
    # python3-confluent-kafka 1.7 (Debian 12) has the older call, which takes
    # away what isn't given.
    config = {e.name: e.value for e in entries.values()
              if int(e.source) == DYNAMIC_TOPIC}
    config.update(changes)
    one(admin.alter_configs([ck.ConfigResource(ck.RESOURCE_TOPIC, name,
                                               set_config=config)],
                            request_timeout=TIMEOUT_S))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--topic", default=BASE)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("conf")
    args = parser.parse_args()
    try:
        topics = wanted(args.conf, args.topic, args.set)
        admin = ck.AdminClient(dict({"log_level": "4"},
                                    **properties(sys.stdin)))
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        for name, settings in topics.items():
            if name in known:
                grow(admin, name, settings, known[name], args.check)
                configure(admin, name, settings, args.check)
                continue
            if not args.check:
                create(admin, name, settings)
            print("created topic " + name)
    except (Failed, KafkaException, OSError, configparser.Error) as e:
        sys.exit("topics.py: %s" % e)


if __name__ == "__main__":
    main()
