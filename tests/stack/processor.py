"""sluice-processor, one instance.  SLUICE_PROCESSOR names another build."""

import os
import subprocess

from . import place, sanitizer
from .service import Service

DEFAULT_BINARY = os.path.join(place.ROOT, "build/processor/sluice-processor")


def binary():
    return os.path.abspath(os.environ.get("SLUICE_PROCESSOR",
                                          DEFAULT_BINARY))


class Processor(Service):
    """ini is the configuration's text; @DIR@ and the keys of values, as
    @KEY@, are replaced."""
    name = "processor"
    stop_timeout = 40              # it gives itself 30

    def __init__(self, directory, ini, values=None):
        super().__init__(directory)
        self.ini = os.path.join(self.dir, "processor.ini")
        self.values = dict(values or {})
        self.reports = sanitizer.Reports(self.dir)
        self.write(ini)

    def write(self, ini):
        for key, value in dict(self.values, DIR=self.dir).items():
            ini = ini.replace("@%s@" % key, str(value))
        with open(self.ini, "w") as f:
            f.write(ini)

    def command(self):
        return [binary(), "-c", self.ini]

    def environment(self):
        return self.reports.environment()

    def check(self):
        """sluice-processor -t: its exit status and what it said."""
        done = subprocess.run(
            [binary(), "-t", "-c", self.ini], text=True, cwd=self.dir,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
            env=dict(os.environ, **self.environment()))
        return done.returncode, done.stdout

    def sanitizer_reports(self):
        return self.reports.read()
