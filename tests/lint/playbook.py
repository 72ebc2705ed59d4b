#!/usr/bin/python3
"""The playbook parses, and every variable of a role is in its argument spec."""

import glob
import os
import subprocess
import sys

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILTIN = "ansible.builtin."
# Words of a task that are no module.
WORDS = {"name", "when", "register", "loop", "notify", "no_log", "vars",
         "changed_when", "failed_when", "run_once", "block", "rescue",
         "always", "tags", "loop_control", "listen"}


def load(path):
    with open(path) as f:
        return yaml.safe_load(f) or {}


def syntax():
    done = subprocess.run(
        ["ansible-playbook", "--syntax-check", "-i", "localhost,",
         os.path.join(ROOT, "ansible/sluice.yml")], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, LC_ALL="C.UTF-8"))
    return [] if done.returncode == 0 else [done.stdout]


def specs(role):
    defaults = load(role + "/defaults/main.yml")
    options = load(role + "/meta/argument_specs.yml")[
        "argument_specs"]["main"]["options"]
    with open(role + "/README.md") as f:
        readme = f.read()
    name = os.path.basename(role)
    found = ["role %s: %s is in %s only" % (name, v, where)
             for where, values in (
                 ("defaults", set(defaults) - set(options)),
                 ("argument_specs", set(options) - set(defaults)))
             for v in sorted(values)]
    found += ["role %s: %s is not in README.md" % (name, v)
              for v in sorted(defaults) if "`%s`" % v not in readme]
    return found


def modules(path, tasks):
    """Only ansible.builtin, by its full name."""
    found = []
    for task in tasks:
        for part in ("block", "rescue", "always"):
            found += modules(path, task.get(part, []))
        found += ["%s: %s is not of ansible.builtin" % (path, key)
                  for key in task
                  if key not in WORDS and not key.startswith(BUILTIN)]
    return found


def main():
    found = syntax()
    roles = sorted(glob.glob(ROOT + "/ansible/roles/*"))
    for role in roles:
        found += specs(role)
        for path in glob.glob(role + "/tasks/*.yml") + glob.glob(
                role + "/handlers/*.yml"):
            found += modules(os.path.relpath(path, ROOT), load(path))
    for line in found:
        print(line)
    return 1 if found or not roles else 0


if __name__ == "__main__":
    sys.exit(main())
