"""Services of a round's own: they are killed, which others should not see."""

import os

import pytest

from round_plan import BEFORE_MS, AFTER_MS
from stack.kafka import Kafka
from stack.postgres import Postgres
from stack.redis import Redis


@pytest.fixture
def kafka(place_of):
    k = Kafka(os.path.join(place_of, "kafka"))
    for broker in k.brokers:
        broker.launch()
    yield k
    k.thaw()
    k.kill()


@pytest.fixture
def redis(place_of):
    r = Redis(os.path.join(place_of, "redis")).start()
    yield r
    r.thaw()
    r.kill()


@pytest.fixture
def postgres(place_of):
    p = Postgres(os.path.join(place_of, "postgres")).start()
    yield p
    p.thaw()
    p.kill()


@pytest.fixture
def topic(kafka, redis, postgres, until):
    """Clock bounds low enough that a round sees its windows close."""
    broker, = kafka.brokers            # it starts while the others do
    until(broker.ready, 120, "kafka ready", alive=broker)
    return kafka.create_uploads("uploads", 4,
                                message_timestamp_before_max_ms=BEFORE_MS,
                                message_timestamp_after_max_ms=AFTER_MS)
