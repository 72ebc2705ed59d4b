"""Python packages that Debian has not, for tests that compare with them."""

import hashlib
import os
import shutil
import subprocess

from . import place

FOLDER = os.path.join(place.ROOT, "build", "venv")


def python(requirements):
    """The interpreter of an environment with just these packages.

    Made once for each content of the file, below build/.  Where packages
    cannot be had this raises: a comparison that did not take place must not
    look like one that did.
    """
    with open(requirements, "rb") as f:
        name = hashlib.sha256(f.read()).hexdigest()[:16]
    path = os.path.join(FOLDER, name)
    interpreter = os.path.join(path, "bin", "python3")
    if os.path.exists(interpreter):
        return interpreter
    os.makedirs(FOLDER, exist_ok=True)
    # Made beside its place and moved there: two runs may want it at once.
    making = "%s.%d" % (path, os.getpid())
    try:
        run("/usr/bin/python3", "-m", "venv", making)
        run(os.path.join(making, "bin", "python3"), "-m", "pip", "install",
            "-q", "--disable-pip-version-check", "--no-deps",
            "--require-hashes", "-r", requirements)
        try:
            os.rename(making, path)
        except OSError:
            if not os.path.exists(interpreter):
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return interpreter


def run(*command):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError("%s:\n%s" % (" ".join(command), done.stdout))
