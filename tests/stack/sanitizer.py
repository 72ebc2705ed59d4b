"""What AddressSanitizer and UBSan need around a program, and their findings.

The programs under test are ours, the servers and libraries around them are
not instrumented: leak detection is therefore off unless SLUICE_LEAKS=1.
"""

import functools
import glob
import os
import subprocess


@functools.lru_cache(maxsize=None)
def runtime_of(path):
    """The libasan that the object at path was linked with, or None."""
    try:
        text = subprocess.run(["ldd", path], text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout
    except OSError:
        return None
    for line in text.splitlines():
        words = line.split()
        if words and words[0].startswith("libasan.so") and len(words) > 2:
            return words[2]
    return None


class Reports:
    """Writable for any user: nginx's workers have given root up."""

    def __init__(self, directory):
        self.dir = os.path.join(directory, "sanitizer")
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o1777)

    def environment(self, preload_for=None):
        path = os.path.join(self.dir, "report")
        leaks = os.environ.get("SLUICE_LEAKS", "0")
        env = {
            "ASAN_OPTIONS": "detect_leaks=%s:halt_on_error=1:log_path=%s"
                            % (leaks, path),
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:log_path=%s"
                             % path,
        }
        runtime = preload_for and runtime_of(preload_for)
        if runtime:
            env["LD_PRELOAD"] = runtime
        return env

    def read(self):
        texts = []
        for path in sorted(glob.glob(os.path.join(self.dir, "report*"))):
            with open(path, errors="replace") as f:
                texts.append(f.read())
        return "\n".join(texts)
