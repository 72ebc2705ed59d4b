"""Commands of sluice-processor on a configuration of the test's."""

import json
import os
import subprocess

from stack import processor


class Commands:
    """run("purge", "--dry-run"): what it answered.  A fact of its JSON is
    .facts[name], its list .rows."""

    def __init__(self, directory, text):
        self.dir = directory
        self.ini = os.path.join(directory, "commands.ini")
        with open(self.ini, "w") as f:
            f.write(text)

    def argv(self, name, *arguments):
        return [processor.binary(), name, "-c", self.ini, "--json"] \
            + list(arguments)

    def run(self, name, *arguments, timeout=120):
        done = subprocess.run(self.argv(name, *arguments), text=True,
                              cwd=self.dir, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout)
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, name, *arguments):
        """The process; the test ends it."""
        return subprocess.Popen(self.argv(name, *arguments), text=True,
                                cwd=self.dir, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)


class Answer:
    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err
        self.facts = json.loads(out) if out.strip() else {}
        self.rows = next((v for v in self.facts.values()
                          if isinstance(v, list)), [])

    def __repr__(self):
        return "status %d\n%s%s" % (self.code, self.out, self.err)
