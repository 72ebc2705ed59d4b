"""The command line: -t, bad settings, --reference, SIGHUP."""

import os
import signal
import subprocess

import pytest

from stack.processor import binary


def run(*arguments):
    done = subprocess.run([binary()] + list(arguments), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60)
    return done.returncode, done.stdout


def test_the_check_names_every_connection(processor, ini):
    status, said = processor(ini(), start=False).check()
    assert status == 0, said
    assert [line.split(":")[0].split(",")[0] for line in said.splitlines()] \
        == ["ok kafka", "ok redis", "ok postgres", "ok store"]


def test_the_check_warns_of_a_lateness_below_the_topics_bounds(processor,
                                                               ini):
    status, said = processor(ini(), start=False).check()
    assert status == 0
    assert "allowed_lateness" in said.splitlines()[0]
    _, said = processor(ini(allowed_lateness="55s"), start=False).check()
    assert said.splitlines()[0] == "ok kafka"


WRONG = {
    "kafka": lambda text, e: text.replace(e["kafka"].bootstrap,
                                          "127.0.0.1:1"),
    "redis": lambda text, e: text.replace(e["redis"].address, "127.0.0.1:1"),
    "postgres": lambda text, e: text.replace(
        e["dsn"], e["dsn"].replace("dbname=", "dbname=no_")),
    "store": lambda text, e: text.replace(e["store"], e["store"] + "/no"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_check_says_which_connection_fails_and_why(what, processor, ini,
                                                       kafka, redis, dsn):
    text = WRONG[what](ini(), dict(kafka=kafka, redis=redis, dsn=dsn,
                                   store=ini.store))
    status, said = processor(text, start=False).check()
    assert status == 1
    failed = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1, said
    assert failed[0].startswith("FAIL %s: " % what)
    assert len(failed[0]) > len("FAIL %s: " % what) + 10


def test_the_check_refuses_a_topic_that_is_not_there(processor, ini, topic):
    status, said = processor(ini(late_topic=topic + ".no"),
                             start=False).check()
    assert status == 1
    assert "FAIL kafka" in said and topic + ".no" in said


def test_the_check_refuses_a_user_who_may_not_write(processor, ini, postgres,
                                                    dsn, request):
    postgres.psql("DROP ROLE IF EXISTS bystander; CREATE ROLE bystander LOGIN",
                  "postgres")
    request.addfinalizer(lambda: postgres.psql("DROP ROLE bystander",
                                               "postgres"))
    status, said = processor(ini(postgres=dsn.replace(
        "user=postgres", "user=bystander")), start=False).check()
    assert status == 1
    assert "FAIL postgres" in said


BAD = {
    "window = 1500ms": "whole seconds",
    "window = 0s": "window",
    "allowed_lateness = 1d": "windows open",
    "pipeline = a/b": "pipeline",
    "store = tape": "tape",
    "store_prefix = ../up": "store_prefix",
    "store_prefix = /up": "store_prefix",
    "lanes = 0": "lanes",
    "late_topic = a b": "late_topic",
    "batch_record = 5": "batch_record",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_setting_is_refused_by_name(line, processor, ini):
    name = line.split(" = ")[0]
    text = "\n".join(old for old in ini().split("\n")
                     if not old.startswith(name + " ="))
    text = text.replace("[processor]\n", "[processor]\n%s\n" % line)
    status, said = processor(text, start=False).check()
    assert status == 1
    assert BAD[line] in said
    assert len(said.splitlines()) == 1


def test_no_configuration_is_a_usage_error():
    assert run()[0] == 2
    assert run("-c", "/nowhere/processor.ini")[0] == 1
    assert run("--version")[0] == 0


def test_the_reference_names_every_section():
    status, text = run("--reference")
    assert status == 0
    for section in ("processor", "kafka", "redis", "postgres", "store.file"):
        assert "[%s]" % section in text


def test_hangup_takes_over_the_log_level_and_nothing_else(lane, uploads,
                                                          settled):
    p = lane()
    with open(p.ini) as f:
        text = f.read()
    p.write(text.replace("[processor]\n", "[processor]\nlog_level = debug\n"))
    p.signal(signal.SIGHUP)
    p.wait_log("msg=reloaded")
    uploads.send("seen")
    uploads.flush()
    p.wait_log("msg=applied")
    settled()


def test_hangup_with_a_broken_file_changes_nothing(lane, uploads, settled):
    p = lane()
    p.write("[processor]\nwindow = never\n")
    p.signal(signal.SIGHUP)
    p.wait_log("not taken over")
    uploads.send("goes on")
    uploads.flush()
    settled()


def test_a_store_that_is_not_there_is_said_at_once(processor, ini):
    p = processor(ini(), start=False)
    os.rmdir(ini.store)
    p.launch()
    assert p.process.wait(30) == 1
    assert "can't start" in p.read_log()
