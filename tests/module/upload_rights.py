"""A broker on which the right to write can be taken away and given back.

Debian 12's confluent_kafka knows no ACLs yet, hence librdkafka by ctypes.
"""

import ctypes
import ctypes.util

from stack.kafka import Kafka

TOPIC, CLUSTER = 2, 4                       # resource types
LITERAL = 3
ALL, WRITE, DESCRIBE_CONFIGS, IDEMPOTENT_WRITE = 2, 4, 10, 12  # operations
DENY, ALLOW = 2, 3

CREATE_ACLS, DELETE_ACLS = 0x400, 0x1000    # RD_KAFKA_EVENT_*_RESULT

EVERYTHING = [
    (TOPIC, b"*", ALL, ALLOW), (CLUSTER, b"kafka-cluster", ALL, ALLOW),
]
NO_WRITING = [
    (TOPIC, b"*", WRITE, DENY),
    (CLUSTER, b"kafka-cluster", IDEMPOTENT_WRITE, DENY),
]
NO_DESCRIBING = [(TOPIC, b"*", DESCRIBE_CONFIGS, DENY)]


class Guarded(Kafka):

    def _broker(self, node, controller_port):
        broker = super()._broker(node, controller_port)
        plain = broker.properties
        broker.properties = lambda: dict(plain(), **{
            "authorizer.class.name":
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true"})
        return broker

    def deny_writing(self):
        self._create(EVERYTHING + NO_WRITING)

    def allow_writing(self):
        self._call("rd_kafka_DeleteAcls", "rd_kafka_AclBindingFilter_new",
                   NO_WRITING)

    def deny_describing(self):
        self._create(EVERYTHING + NO_DESCRIBING)

    def _create(self, rules):
        self._call("rd_kafka_CreateAcls", "rd_kafka_AclBinding_new", rules)

    def _call(self, call, new, rules):
        lib = ctypes.CDLL(ctypes.util.find_library("rdkafka"))
        pointer = ctypes.c_void_p
        for name in ("rd_kafka_conf_new", "rd_kafka_new", new,
                     "rd_kafka_queue_new", "rd_kafka_queue_poll"):
            getattr(lib, name).restype = pointer
        error = ctypes.create_string_buffer(256)

        conf = pointer(lib.rd_kafka_conf_new())
        lib.rd_kafka_conf_set(conf, b"bootstrap.servers",
                              self.bootstrap.encode(), error, 256)
        rk = pointer(lib.rd_kafka_new(0, conf, error, 256))
        queue = pointer(lib.rd_kafka_queue_new(rk))
        made = (pointer * len(rules))(*[
            getattr(lib, new)(kind, name, LITERAL, b"User:ANONYMOUS", b"*",
                              operation, permission, error, 256)
            for kind, name, operation, permission in rules])
        assert all(made), error.value
        getattr(lib, call)(rk, made, ctypes.c_size_t(len(rules)), None, queue)
        event = pointer(lib.rd_kafka_queue_poll(queue, 30000))
        assert event.value, "no answer"
        assert lib.rd_kafka_event_error(event) == 0
        lib.rd_kafka_event_destroy(event)
        lib.rd_kafka_queue_destroy(queue)
        lib.rd_kafka_destroy(rk)
