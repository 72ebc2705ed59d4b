"""Waiting for conditions, never for time."""

import time


class Timeout(AssertionError):
    pass


def until(condition, timeout=30.0, what=None, pause=0.05, alive=None):
    """Calls condition() until it returns something true, and returns that.

    Exceptions of condition() count as "not yet"; the last one is quoted when
    the deadline passes.  alive, a service, ends the wait at once when its
    process is gone.
    """
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except Exception as e:                      # noqa: not yet
            last = e
        if alive is not None and alive.process.poll() is not None:
            raise Timeout("%s ended with status %d while waiting for %s\n%s"
                          % (alive.name, alive.process.returncode,
                             what or "a condition", alive.tail()))
        if time.monotonic() > deadline:
            raise Timeout("no %s after %g s; last seen: %r"
                          % (what or "true condition", timeout, last))
        time.sleep(pause)
