"""A quickstart of the test's own, stopped when the test ends."""

import os
import shlex
import signal

import pytest

from stack import place
from stack.service import Service


class Quickstart(Service):
    name = "quickstart"
    stop_signal = signal.SIGINT
    stop_timeout = 90

    def __init__(self, directory, *options):
        super().__init__(directory)
        self.run = os.path.join(self.dir, "run")
        self.options = list(options)

    def command(self):
        # The user's build, not the sanitized one that may be under test.
        return ["env", "-u", "SLUICE_MODULE", "-u", "SLUICE_PROCESSOR",
                "SLUICE_RUN=" + self.run,
                os.path.join(place.ROOT, "quickstart"), *self.options]

    def ready(self):
        return os.path.exists(os.path.join(self.run, "env"))

    def env(self):
        with open(os.path.join(self.run, "env")) as f:
            return dict(word.split("=", 1)
                        for word in shlex.split(f.read()))


@pytest.fixture
def quickstart(place_of, request):
    started = []
    request.node.sluice_ended = started

    def make(*options):
        q = Quickstart(place_of, *options)
        started.append(q)
        return q
    yield make
    for q in started:
        q.kill()
