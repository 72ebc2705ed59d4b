#!/usr/bin/env python3
"""What the module's .so exports: nginx's four tables, nothing of ours.

nginx opens modules with RTLD_GLOBAL, so that an exported name can meet the
same name of another module, of nginx or of a library.  Needs the module to
be built.
"""

import os
import re
import subprocess
import sys

from report import ROOT, Report

MODULE = "build/module/ngx_http_sluice_module.so"

# The loader looks for the first three (ngx_load_module).
NEEDED = {"ngx_modules", "ngx_module_names", "ngx_module_order"}
ALLOWED = NEEDED | {"ngx_http_sluice_module", "_init", "_fini"}

# A sanitizer's own: only in builds made for tests.
SANITIZER = re.compile(r"^(__asan|__ubsan|___asan|__odr_asan|__sancov)")


def main():
    report = Report("symbols")
    path = os.environ.get("SLUICE_MODULE", os.path.join(ROOT, MODULE))
    if not report.check(os.path.exists(path),
                        "%s is not built: run `make module`" % MODULE):
        return report.end()

    nm = subprocess.run(["nm", "-D", "--defined-only", path], text=True,
                        stdout=subprocess.PIPE, check=True).stdout
    names = {line.split()[-1] for line in nm.splitlines() if line.strip()}

    for name in sorted(names):
        if not SANITIZER.match(name):
            report.check(name in ALLOWED, "%s: exports %s" % (MODULE, name))
    for name in sorted(NEEDED - names):
        report.check(False, "%s: does not export %s, nginx can't load it"
                     % (MODULE, name))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
