"""Our multipart parser beside two others, on forms by seed.

Where a form is well-formed all three find the same parts.  Where it is damaged
ours may refuse what the others take, but what ours takes both others take, too,
and find the same parts in it: else somebody in between, which looks at uploads
with another parser, could be shown another form.  Where ours is not as strict
there is a reason, listed below, and each is met, so that the list stays true.
"""

import collections
import os
import re
import subprocess

import pytest

from multipart_forms import Forms
from stack import place, venv

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = ("multipart", "python-multipart")
WELL_FORMED, DAMAGED = 2000, 8000


@pytest.fixture(scope="module")
def parsers(ground):
    """name -> command of a filter: ours and the two others."""
    build = os.path.join(ground, "parser-build")
    driver = os.path.join(build, "parser", "multipart_driver")
    made = subprocess.run(["make", "-s", "BUILD=" + build, driver],
                          cwd=place.ROOT, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert made.returncode == 0, made.stdout
    python = venv.python(os.path.join(HERE, "requirements.txt"))
    peers = os.path.join(HERE, "multipart_peers.py")
    return {"ours": [driver],
            **{name: [python, "-I", peers, name] for name in PEERS}}


def block(data):
    return len(data).to_bytes(4, "little") + data


def run(parsers, forms):
    """For each form name -> parts, or None where it was refused."""
    fed = b"".join(block(f.kind) + block(f.body) for f in forms)
    found = []
    for name, command in parsers.items():
        done = subprocess.run(command, input=fed, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()
        lines = done.stdout.decode().splitlines()
        assert len(lines) == len(forms), (name, done.stderr.decode())
        found.append([parse(line) for line in lines])
    return [dict(zip(parsers, results)) for results in zip(*found)]


def parse(line):
    state, *parts = line.split(" ")
    if state != "END":
        return None
    return [tuple(None if text == "-" else bytes.fromhex(text)
                  for text in part.split(":")) for part in parts]


def boundary(form):
    """As ours reads it; only for forms that ours has taken."""
    found = re.search(rb';[; \t]*boundary=(?:"([^"]*)"|([^; \t]*))', form.kind,
                      re.I)
    return found.group(1) or found.group(2)


def headers(form):
    """The lines of all parts' headers."""
    delimiter = b"\r\n--" + boundary(form)
    for part in (b"\r\n" + form.body).split(delimiter)[1:]:
        yield from part.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]


def dispositions(form):
    return [line for line in headers(form)
            if line.lower().startswith(b"content-disposition")]


def plain(form):
    """The form without what RFC 2046 5.1.1 allows and the others do not know.

    A preamble (we skip up to 1 KB of it), blanks behind a boundary, and a part
    without a body, where the empty line's CR LF is the delimiter's, too.
    """
    dashes = b"--" + boundary(form)
    body = form.body
    at = 0 if body.startswith(dashes) else body.index(b"\r\n" + dashes) + 2
    out = b""
    while True:
        at += len(dashes)
        if body[at:at + 2] == b"--":
            return form._replace(body=out + dashes + body[at:])
        line = body.index(b"\r\n", at) + 2
        data = body.index(b"\r\n\r\n", line - 2) + 4
        out += dashes + b"\r\n" + body[line:data]
        at = body.index(b"\r\n" + dashes, data - 2)
        out += body[data:at] + b"\r\n"
        at += 2


def has_unquoted_boundary(form, peer):
    """Some clients leave out the quotes that RFC 2045 5.1 asks for."""
    return re.search(rb'boundary=[^"; ]*[^\w;"!#$%&\'*+.^`|~-]', form.kind,
                     re.I | re.ASCII) is not None


def has_other_bytes(form, peer):
    """No UTF-8: kept as it is, and cleaned before it goes anywhere."""
    if peer != "multipart":
        return False
    try:
        b"".join(headers(form)).decode()
    except UnicodeDecodeError:
        return True
    return False


def has_backslashes(form, peer):
    """Ours reads escapes from left to right, the others replace one kind after
    the other; and they cut Windows' paths, which ours does later."""
    return any(b"\\" in line for line in dispositions(form))


def has_escapes_elsewhere(form, peer):
    """%22, %0D and %0A count within quotes only, and in lower case, too."""
    return any(re.search(rb"%(22|0[AaDd])", line)
               for line in dispositions(form))


def has_odd_header_name(form, peer):
    """RFC 9110's token, of which one of them allows fewer characters."""
    return any(not re.match(rb"[\w-]+:", line, re.ASCII)
               for line in headers(form))


REASONS = [has_unquoted_boundary, has_other_bytes, has_backslashes,
           has_escapes_elsewhere, has_odd_header_name]


def differing(results):
    """The peers that do not read what ours takes as ours does."""
    if results["ours"] is None:
        return []
    return [p for p in PEERS if results[p] != results["ours"]]


def show(form, results):
    return "\n".join([repr(form.kind), repr(form.body)]
                     + ["%s: %r" % r for r in results.items()])


def test_all_three_find_the_same_in_well_formed_forms(parsers):
    made = Forms(1)
    forms = [made.valid() for _ in range(WELL_FORMED)]
    for form, results in zip(forms, run(parsers, forms)):
        for name, parts in results.items():
            assert parts == form.parts, name + "\n" + show(form, results)


def test_ours_takes_no_damaged_form_that_another_refuses_or_reads_otherwise(
        parsers):
    made = Forms(2)
    forms = [made.damaged() for _ in range(DAMAGED)]
    found = run(parsers, forms)
    taken = sum(r["ours"] is not None for r in found)
    # The comparison is about something: many were taken, many refused.
    assert DAMAGED / 10 < taken < DAMAGED * 9 / 10

    odd = [form for form, results in zip(forms, found) if differing(results)]
    forms = [plain(form) for form in odd]
    met = collections.Counter()
    for form, results in zip(forms, run(parsers, forms)):
        assert results["ours"] is not None, show(form, results)
        for peer in differing(results):
            reason = next((r for r in REASONS if r(form, peer)), None)
            assert reason, peer + "\n" + show(form, results)
            met[reason] += 1
    assert set(met) == set(REASONS)
