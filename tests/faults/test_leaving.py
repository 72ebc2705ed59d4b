"""SIGTERM at bad moments: the processor ends by itself, and in time."""

import subprocess

import pytest

INI = """
[processor]
topic = @TOPIC@
instance = %d
window = 2s
allowed_lateness = 12s
spool = @DIR@/spool
[kafka]
bootstrap.servers = @KAFKA@
group.id = %s
session.timeout.ms = 6000
[redis]
address = @REDIS@
username = @REDIS_USER@
password_file = @REDIS_PASSWORD_FILE@
[postgres]
dsn = @POSTGRES_WRITER@
[store.file]
path = @DIR@
"""


def ended(p):
    """Its status, whatever else runs.  It gives itself 30 s."""
    try:
        return p.process.wait(40)
    except subprocess.TimeoutExpired:
        raise AssertionError("no end\n" + p.tail())


@pytest.mark.full
@pytest.mark.parametrize("attempt", range(3))
def test_sigterm_between_join_and_first_assignment(
        attempt, kafka, redis, topic, dsn, processor, until):
    """librdkafka before 2.3 fails an assertion there (sticky assignor)."""
    broker, = kafka.brokers
    both = [processor(INI % (i, "new"), start=False) for i in range(2)]
    for p in both:
        p.launch()
    until(lambda: "Preparing to rebalance group new" in broker.read_log())
    for p in both:
        p.signal(15)
    assert [ended(p) for p in both] == [0, 0], both[0].tail() + both[1].tail()


@pytest.mark.full
@pytest.mark.parametrize("redis_too", [False, True])
def test_sigterm_while_the_broker_hangs(redis_too, kafka, redis, topic, dsn,
                                        processor, until):
    """Each of four partitions would wait for it, one after another."""
    from confluent_kafka import Producer
    p = processor(INI % (0, "hangs"))
    until(lambda: p.read_log().count("mod=lane msg=taken") == 4,
          60)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for partition in range(4):
        producer.produce(topic, b"no file", partition=partition)
    assert producer.flush(30) == 0
    until(lambda: p.read_log().count("sent on") == 4)
    if redis_too:
        redis.stop()
        p.wait_log("msg=stalled")
    kafka.freeze()
    if redis_too:
        redis.start()          # partitions are taken again, if Kafka answers
    p.signal(15)
    assert ended(p) == 0, p.tail()
