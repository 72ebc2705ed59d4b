#!/usr/bin/env python3
"""The reference says what the code says.

Every directive of the module's command table has an entry in docs/module.md
with the same context and default, and the other way round, and every variable
has a line there.  The settings in
docs/processor.md are what `sluice-processor --reference` prints; `docs.py
--write` puts them there.  What either logs for operators has a line there,
too.  Links between the pages lead somewhere.
"""

import os
import re
import subprocess
import sys

from report import ROOT, Report, files, read, strip_comments

MODULE_PAGE = "docs/module.md"
PROCESSOR_PAGE = "docs/processor.md"
PROCESSOR = "build/processor/sluice-processor"
BEGIN, END = "<!-- reference -->\n", "<!-- /reference -->\n"

CONTEXT = {"NGX_HTTP_MAIN_CONF": "http", "NGX_HTTP_SRV_CONF": "server",
           "NGX_HTTP_LOC_CONF": "location",
           "NGX_HTTP_LIF_CONF": "if in location"}
UNITS = {"": 1, "k": 1024, "m": 1024 ** 2, "g": 1024 ** 3,
         "ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000}


def c_number(text):
    """20 * 1024 -> 20480; None for what is no number."""
    text = re.sub(r"\(\s*\w+\s*\)|(?<=\d)[uUlL]+", "", text).strip()
    if not re.fullmatch(r"[\d\s*+()-]+", text):
        return None
    return eval(text)                           # digits and operators alone


def page_number(text):
    """300k -> 307200, 20s -> 20000; None for a word."""
    m = re.fullmatch(r"(\d+)(ms|min|[kmgshd])?", text.strip().lower())
    return int(m.group(1)) * UNITS[m.group(2) or ""] if m else None


def directives():
    """name -> (file, contexts, default or None)."""
    found = {}
    defaults = {}
    for path in files(".c", under="ngx_module"):
        raw = read(path)
        code = strip_comments(raw)
        # A set of contexts may have a name of its own.
        for m in re.finditer(r"^#define (\w+_CONF)\b[\s\\]+(NGX_[\w|]+)$",
                             code, re.M):
            raw = re.sub(r"\b%s\b(?=\|)" % m.group(1), m.group(2), raw)
        for m in re.finditer(r"ngx_conf_(?:merge|init)_(?:\w+_)?value\(\s*"
                             r"(?:\w+)->(\w+)\s*,([^;]*)\);", code):
            defaults[m.group(1)] = c_number(m.group(2).split(",")[-1])
        for m in re.finditer(r'\{\s*ngx_string\("(sluice_\w+)"\)\s*,([^{}]*)'
                             r"\}", raw):
            rest = m.group(2)
            contexts = {CONTEXT[f] for f in CONTEXT if f in rest}
            if not contexts:
                continue                        # a variable
            field = re.search(r"offsetof\(\s*\w+\s*,\s*(\w+)\s*\)", rest)
            found[m.group(1)] = (path, contexts, field and field.group(1))
    return {name: (path, contexts, defaults.get(field))
            for name, (path, contexts, field) in found.items()}


def entries():
    """name -> {row: text} of the ### sections of docs/module.md."""
    found = {}
    page = read(MODULE_PAGE)
    for m in re.finditer(r"^### (sluice_\w+)\n(.*?)(?=^#|\Z)", page,
                         re.M | re.S):
        rows = re.findall(r"^\| *(\w+) *\| *(.*?) *\|$", m.group(2), re.M)
        found[m.group(1)] = {k: v.replace("`", "") for k, v in rows}
    return found


def check_module(report):
    code, page = directives(), entries()
    report.check(code, "ngx_module/: no command table found")
    for name in sorted(set(page) - set(code)):
        report.check(False, "%s: %s is no directive of ours"
                     % (MODULE_PAGE, name))
    for name, (path, contexts, default) in sorted(code.items()):
        if not report.check(name in page, "%s: %s has no entry in %s"
                            % (path, name, MODULE_PAGE)):
            continue
        rows = page[name]
        for row in ("Syntax", "Default", "Context", "Since"):
            report.check(rows.get(row), "%s: %s: no row %s"
                         % (MODULE_PAGE, name, row))
        report.check(rows.get("Syntax", "").startswith(name),
                     "%s: %s: another directive's syntax" % (MODULE_PAGE,
                                                             name))
        said = {c.strip() for c in rows.get("Context", "").split(",")}
        report.check(said == contexts, "%s: %s: context is %s" % (
            MODULE_PAGE, name, ", ".join(sorted(contexts))))
        if default is not None:
            text = rows.get("Default", "").rstrip(";").split()[-1:]
            report.check(text and page_number(text[0]) == default,
                         "%s: %s: default is %d, the page says %s" % (
                             MODULE_PAGE, name, default,
                             text[0] if text else "nothing"))


def check_variables(report):
    page = read(MODULE_PAGE)
    for path in files(".c", under="ngx_module"):
        for name in re.findall(r'\{ *ngx_string\("(sluice_\w+)"\),\s*NULL,',
                               read(path)):
            report.check("`$%s" % name in page, "%s: $%s is not in %s"
                         % (path, name, MODULE_PAGE))


def check_processor(report, write):
    binary = os.path.join(ROOT, PROCESSOR)
    if not report.check(os.path.exists(binary), "%s is not built: run `make "
                        "processor`" % PROCESSOR):
        return
    done = subprocess.run([binary, "--reference"], text=True,
                          stdout=subprocess.PIPE)
    if not report.check(done.returncode == 0 and done.stdout,
                        "%s --reference fails" % PROCESSOR):
        return
    page = read(PROCESSOR_PAGE)
    head, begin, rest = page.partition(BEGIN)
    shown, end, tail = rest.partition(END)
    if not report.check(begin and end, "%s: no %s ... %s" % (
            PROCESSOR_PAGE, BEGIN.strip(), END.strip())):
        return
    text = done.stdout.rstrip("\n") + "\n"
    if write and shown != text:
        with open(os.path.join(ROOT, PROCESSOR_PAGE), "w") as f:
            f.write(head + begin + text + end + tail)
        shown = text
    said = set(shown.split("\n"))
    for line in filter(None, text.split("\n")):
        report.check(line in said, "%s: missing: %s (docs.py --write)"
                     % (PROCESSOR_PAGE, line))
    for line in sorted(said - set(text.split("\n"))):
        report.check(False, "%s: not in the binary: %s (docs.py --write)"
                     % (PROCESSOR_PAGE, line))


def check_logs(report):
    """What is logged from info on up, by its first words."""
    page = read(PROCESSOR_PAGE)
    for path in files(".c", under="processor"):
        code = re.sub(r"\s+", " ", read(path))
        for level, msg in re.findall(r"log_(error|warn|notice|info)\( ?"
                                     r'"\w+", "([^"]+)"', code):
            report.check("`%s`" % msg in page, "%s: %s \"%s\" is not in %s"
                         % (path, level, msg, PROCESSOR_PAGE))
    page = read(MODULE_PAGE)
    for path in files(".c", under="ngx_module"):
        code = re.sub(r'"\s+"', "", re.sub(r"\\\n", "", read(path)))
        for level, msg in re.findall(r"NGX_LOG_(\w+)[^;]*?\"sluice: ([^\"]+)",
                                     code):
            if level.startswith("DEBUG") or "()" in msg or "(%" in msg:
                continue
            words = max(re.split(r"\w+=|%\*?\w+|\\|[:,]", msg), key=len)
            words = words.strip()
            report.check(words in page, "%s: \"%s\" is not in %s"
                         % (path, words, MODULE_PAGE))


def anchors(page):
    """GitHub's names of a page's headings."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
            for h in re.findall(r"^#+ +(.*)$", page, re.M)}


def check_links(report):
    for path in files(".md"):
        page = re.sub(r"^```.*?^```", "", read(path), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", page):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            to = os.path.normpath(os.path.join(os.path.dirname(path), name)) \
                if name else path
            if not report.check(os.path.exists(os.path.join(ROOT, to)),
                                "%s: link to %s: no such file"
                                % (path, target)):
                continue
            if anchor:
                report.check(anchor in anchors(read(to)), "%s: link to %s: no "
                             "such heading" % (path, target))


def main():
    report = Report("docs")
    for page in (MODULE_PAGE, PROCESSOR_PAGE):
        if not report.check(os.path.exists(os.path.join(ROOT, page)),
                            "%s is missing" % page):
            return report.end()
    check_module(report)
    check_variables(report)
    check_processor(report, "--write" in sys.argv[1:])
    check_logs(report)
    check_links(report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
