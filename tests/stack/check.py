"""./check: the steps, what each counts, and the last line.

A step is one command.  It counts the test cases its output tells of (cmocka,
pytest), or itself as one.  A step that fails counts at least one failure, and
so does one that should have run tests and ran none.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

from . import kafka, place

LOGS = os.path.join(place.ROOT, "build", "check")
FUZZ_SECONDS = 60
PYTEST_MINUTES = {False: 20, True: 70}
# Runs beside each other, each with services of its own: tests wait more than
# they work.  All take about as long.
TESTS = os.path.join(place.ROOT, "tests")
LANES = sorted(glob.glob(os.path.join(TESTS, "processor", "test_lane_*.py")))
RUNS = {
    "pytest module": [os.path.join(TESTS, "module")],
    "pytest lanes": LANES,
    "pytest others": [TESTS, "--ignore=" + os.path.join(TESTS, "module"),
                      *["--ignore=" + f for f in LANES]],
}


class Check:
    def __init__(self, full):
        self.full = full
        self.passed = 0
        self.failed = 0
        self.lock = threading.Lock()

    def step(self, name, command, count=None, env=None, minutes=15):
        """Runs command; count(text) gives (passed, failed) of its output."""
        began = time.monotonic()
        log = os.path.join(LOGS, name.replace(" ", "-") + ".log")
        with open(log, "w") as f:
            status = run(command, f, dict(os.environ, **(env or {})),
                         minutes * 60)
        with open(log, errors="replace") as f:
            text = f.read()
        if count is None:
            passed, failed = (1, 0) if status == 0 else (0, 1)
        else:
            passed, failed = count(text)
            if failed == 0 and (status != 0 or passed == 0):
                failed = 1
        with self.lock:
            self.passed += passed
            self.failed += failed
            print("== %s (%d s): %d passed, %d failed"
                  % (name, time.monotonic() - began, passed, failed))
            if failed:
                if passed == 0 and status == 0:
                    print("   no test was run")
                print(excerpt(text))
                print("   the whole of it is in %s"
                      % os.path.relpath(log, place.ROOT))
            sys.stdout.flush()

    def all(self):
        make = ["make", "-j2", "--output-sync=target"]
        self.step("build gcc", make + ["module", "processor"])
        self.step("build clang", make + [
            "CC=clang", "BUILD=build/clang", "module", "processor"])
        self.step("build sanitized", make + ["module-asan", "processor-asan"])
        self.step("unit", ["make", "unit"], cmocka)
        self.step("unit sanitized", ["make", "unit-asan"], cmocka)
        self.step("lint", ["bash", "-c", LINT], marks)
        self.step("clang-tidy", ["tests/stack/tidy"], marks)
        fuzzers = len(glob.glob(place.ROOT + "/tests/fuzz/fuzz_*.c"))
        self.step("fuzz", ["make", "fuzz", "FUZZ_SECONDS=%d" % max(
            10, FUZZ_SECONDS // max(1, fuzzers))], fuzzed)
        kafka.fetch()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            runs = [pool.submit(self.pytest, name, what)
                    for name, what in RUNS.items()]
            try:
                for done in runs:
                    done.result()
            except BaseException:
                for p in list(processes):
                    end(p)
                raise

    def pytest(self, name, what):
        report = os.path.join(LOGS, name.replace(" ", "-") + ".xml")
        if os.path.exists(report):
            os.unlink(report)
        command = ["/usr/bin/python3", "-m", "pytest", "-v", "-p",
                   "no:cacheprovider", "--durations=15",
                   "--junitxml=" + report, *what]
        if self.full:
            command.append("--full")
        self.step(name, command, lambda text: junit(report), {
            "SLUICE_MODULE": os.path.join(
                place.ROOT, "build/module-asan/ngx_http_sluice_module.so"),
            "SLUICE_PROCESSOR": os.path.join(
                place.ROOT, "build/processor-asan/sluice-processor"),
        }, PYTEST_MINUTES[self.full])


LINT = """\
status=0
for f in tests/lint/*.py; do
    if /usr/bin/python3 $f; then echo "PASS $f"
    else echo "FAIL $f"; status=1; fi
done
exit $status
"""


processes = []


def run(command, log, env, seconds):
    """Runs command to its end, or ends it with all it has started."""
    p = subprocess.Popen(command, cwd=place.ROOT, stdout=log,
                         stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                         env=env, start_new_session=True)
    processes.append(p)
    try:
        return p.wait(seconds)
    except subprocess.TimeoutExpired:
        end(p)
        log.write("\ncheck: ended after %d s\n" % seconds)
        return -1
    except BaseException:
        end(p)
        raise
    finally:
        processes.remove(p)


def end(p):
    """Servers under test have sessions of their own: who started them ends
    them when interrupted, and is given the time for it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(p.pid, number)
            p.wait(30)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def interrupted(number, frame):
    raise KeyboardInterrupt


def cmocka(text):
    return (sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", text))),
            sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", text))))


def marks(text):
    return (len(re.findall(r"(?m)^PASS ", text)),
            len(re.findall(r"(?m)^FAIL ", text)))


def fuzzed(text):
    """Every fuzzer that came to its end prints its statistics."""
    return (len(re.findall(r"(?m)^Done \d+ runs", text)),
            len(re.findall(r"(?m)^SUMMARY: ", text)))


def junit(path):
    if not os.path.exists(path):
        return 0, 1
    suite = next(xml.etree.ElementTree.parse(path).iter("testsuite"))
    total, failures, errors, skipped = (
        int(suite.get(k, 0))
        for k in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    return max(0, total - failed - skipped), failed


def excerpt(text, lines=150):
    return "\n".join("   | " + line for line in text.splitlines()[-lines:])


def main():
    parser = argparse.ArgumentParser(prog="check")
    parser.add_argument("--full", action="store_true")
    check = Check(parser.parse_args().full)
    os.makedirs(LOGS, exist_ok=True)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        check.all()
    except KeyboardInterrupt:
        print("check: interrupted")
        check.failed += 1
    except Exception as e:                           # noqa: it must be told
        print("check: %s" % e)
        check.failed += 1
    print("%d passed, %d failed" % (check.passed, check.failed))
    return 1 if check.failed or not check.passed else 0


if __name__ == "__main__":
    sys.exit(main())
