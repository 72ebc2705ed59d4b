"""Directories and users.

Started by root, PostgreSQL runs as another user and nginx's workers do too,
so their directories must be reachable for others.
"""

import os
import pwd
import shutil
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def is_root():
    return os.geteuid() == 0


def user(*names):
    """The first of the named users that exists."""
    for name in names + ("nobody",):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("no unprivileged user here")


def reachable(path):
    """Whether any user may enter path."""
    path = os.path.realpath(path)
    while path != "/":
        if os.path.exists(path) and not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


def temporary(prefix):
    path = tempfile.mkdtemp(prefix=prefix)
    os.chmod(path, 0o755)
    return path


def public_dir(path):
    """Makes path, empty and reachable for every user.

    Where a parent keeps others out (a checkout below /root), path becomes a
    link to a directory under /tmp.
    """
    remove(path)
    parent = os.path.dirname(os.path.abspath(path))
    if is_root() and not reachable(parent):
        os.symlink(temporary("sluice-run-"), path)
    else:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)
    return path


def remove(path):
    if os.path.islink(path):
        target = os.readlink(path)
        if os.path.basename(target).startswith("sluice-run-"):
            shutil.rmtree(target, ignore_errors=True)
        os.unlink(path)
    elif os.path.exists(path):
        shutil.rmtree(path)
