"""Looking for leaks in a worker that ends: LeakSanitizer, or valgrind.

nginx unloads its modules before it ends, and then everything that a library
keeps in its globals looks lost, in a place without a name.  So dlclose() is
made to do nothing.  A few bytes are lost on purpose, so that a search that
finds nothing at all is noticed.  What remains of nginx itself, the arrays of connections
and events, has only its own frames: nothing is suppressed, each finding is
judged by the objects on its stack.
"""

import glob
import os
import re
import subprocess
import xml.etree.ElementTree

from .nginx import Nginx

KEEP = """
#include <stdlib.h>

void *volatile  place;

int
dlclose(void *handle)
{
    (void) handle;
    return 0;
}

static void __attribute__((constructor))
probe(void)
{
    place = malloc(%d);
    place = NULL;
}
"""
PROBE = 7919                   # bytes, lost on purpose: to be found
# What we answer for.  nginx's and libc's frames are on every stack.
OURS = ("ngx_http_sluice_module", "ngx_http_sluice_", "sluice_", "librdkafka",
        "libpq", "libssl", "libcrypto")


def keep_loaded(directory):
    path = os.path.join(directory, "keep_loaded.so")
    source = path[:-2] + "c"
    with open(source, "w") as f:
        f.write(KEEP % PROBE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True)
    return path


class LeakNginx(Nginx):
    """With a module built with AddressSanitizer."""

    def environment(self):
        env = super().environment()
        env["ASAN_OPTIONS"] = env["ASAN_OPTIONS"].replace(
            "detect_leaks=0", "detect_leaks=1") \
            + ":fast_unwind_on_malloc=0:malloc_context_size=30:exitcode=0"
        env["LD_PRELOAD"] += ":" + keep_loaded(self.dir)
        return env

    def findings(self):
        """Leaks that are not nginx's own."""
        text = self.reports.read()
        assert "leak of %d byte" % PROBE in text, "nobody looked for leaks"
        found = re.findall(r"(?ms)^(?:Direct|Indirect) leak of.*?(?=^\s*$)",
                           text)
        return [f for f in found if any(word in f for word in OURS)]

    def sanitizer_reports(self):
        """Errors; leaks are findings()."""
        text = re.sub(r"SUMMARY: .* leaked in .*", "", self.reports.read())
        return text if "Sanitizer: " in text.replace("LeakSanitizer: ", "") \
            or "runtime error" in text else ""


class ValgrindNginx(Nginx):
    """With the module as it is shipped."""
    stop_timeout = 120

    def __init__(self, *a, **kw):
        super().__init__(*a, **dict(kw, plain=True))
        self.reports_dir = os.path.join(self.dir, "valgrind")
        os.makedirs(self.reports_dir, exist_ok=True)
        os.chmod(self.reports_dir, 0o1777)

    def command(self):
        return ["valgrind", "--trace-children=yes", "--leak-check=full",
                "--show-leak-kinds=definite,indirect", "--num-callers=40",
                "--keep-debuginfo=yes", "--xml=yes",
                "--xml-file=%s/%%p.xml" % self.reports_dir,
                *super().command()]

    def environment(self):
        return {"LD_PRELOAD": keep_loaded(self.dir)}

    def workers(self, leaving=False):
        """The master is valgrind's own process, as its workers are."""
        return [p for p in self.pids()[1:]
                if not os.path.exists("/proc/%d/exe" % p)
                or "valgrind" in os.readlink("/proc/%d/exe" % p)]

    def findings(self):
        """Errors and leaks with one of our objects on the stack."""
        found, probed = [], False
        for path in glob.glob(self.reports_dir + "/*.xml"):
            with open(path) as f:
                text = f.read()
            if "</valgrindoutput>" not in text:
                text += "</valgrindoutput>"
            probed = probed or "<leakedbytes>%d<" % PROBE in text
            for error in xml.etree.ElementTree.fromstring(text).iter("error"):
                frames = [(i.findtext("obj") or "", i.findtext("fn") or "")
                          for i in error.iter("frame")]
                if any(w in obj or w in fn for obj, fn in frames
                       for w in OURS):
                    found.append("%s: %s" % (
                        error.findtext("kind"), " < ".join(
                            fn or os.path.basename(obj)
                            for obj, fn in frames)))
        assert probed, "nobody looked for leaks"
        return found
