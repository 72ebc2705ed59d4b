"""What the log says of a soak, beside what its clients were told.

Every accepted file is in the log, once; none is in it under two ids or twice
under one; every record is a whole file that was posted, and no refused one.
What no rule explains is listed, with its rule.
"""

import collections
import hashlib
import uuid

from soak_answers import (ACCEPTED, LEFT, NAMES, NOBODY, ODD, REJECTED, RESET)

SHOWN = 20                     # of each kind


class Truth:
    def __init__(self, plan):
        self.plan = plan
        self.unexplained = collections.Counter()
        self.examples = []
        self.forms = collections.Counter()     # by answer
        self.files = collections.Counter()     # by state and whether stored
        self.records = 0
        self.state = bytearray(plan.files)     # 0: not heard of; else + 1
        self.seen = bytearray(plan.files)
        self.upload = [None] * plan.forms      # 16 bytes, once known
        self.sent = [0] * plan.forms

    def wrong(self, rule, what):
        self.unexplained[rule] += 1
        if self.unexplained[rule] <= SHOWN:
            self.examples.append("%s: %s" % (rule, what))

    # what the clients say

    def answers(self, found):
        for a in found:
            if self.sent[a.form]:
                self.wrong("posted twice", "form %d" % a.form)
            self.sent[a.form] = a.sent + 1
            if a.upload != NOBODY:
                self.upload[a.form] = a.upload
            for number, state in zip(self.plan.numbers(a.form), a.states):
                self.state[number] = state + 1
            self.forms[{LEFT: "left", RESET: "reset", ODD: "odd"}.get(
                a.status, a.status)] += 1
            if a.status == RESET:
                self.wrong("cut off", "form %d" % a.form)
            elif a.status == ODD:
                self.wrong("a reply no client should see", "form %d" % a.form)

    # what the log says

    def record(self, where, headers, key, value):
        """headers: {name: text}; where: for a reader."""
        self.records += 1
        number = self.plan.number(value)
        if number is None:
            return self.wrong("a record nobody posted", where)
        digest = hashlib.sha256(value).hexdigest()
        if key != digest.encode() or headers["ce_sha256"] != digest \
                or headers["ce_subject"] != "%016x.bin" % number:
            self.wrong("a record that tells another file", where)
        form = self.form_of(number)
        upload, _, part = headers["ce_id"].partition("/")
        upload = uuid.UUID(upload).bytes
        index = number - self.plan.first[form]
        if not self.sent[form]:
            self.wrong("stored and not posted", where)
        elif self.plan.whole(self.sent[form] - 1) <= index:
            self.wrong("stored and not sent to its end", where)
        if self.upload[form] is None:
            self.upload[form] = upload
        if self.upload[form] != upload or int(part) != index + 1:
            self.wrong("stored under another id", "%s %s" % (
                where, headers["ce_id"]))
        if self.seen[number]:
            self.wrong("stored twice", "%s %s" % (where, headers["ce_id"]))
        else:
            self.seen[number] = 1
        if self.state[number] == REJECTED + 1:
            self.wrong("rejected and stored", "%s %s" % (
                where, headers["ce_id"]))

    def form_of(self, number):
        first, low, high = self.plan.first, 0, self.plan.forms
        while high - low > 1:
            mid = (low + high) // 2
            if first[mid] <= number:
                low = mid
            else:
                high = mid
        return low

    # both

    def finish(self):
        """The number of what is unexplained."""
        for number in range(self.plan.files):
            state, seen = self.state[number], self.seen[number]
            self.files[NAMES.get(state - 1, "not told"),
                       "stored" if seen else "not stored"] += 1
            if state == ACCEPTED + 1 and not seen:
                self.wrong("accepted and lost", "file %d" % number)
        known = [u for u in self.upload if u is not None]
        if len(set(known)) != len(known):
            self.wrong("an upload's id given twice",
                       "%d of %d" % (len(set(known)), len(known)))
        return sum(self.unexplained.values())

    def report(self):
        lines = ["forms    %s" % ", ".join(
            "%s %d" % (k, n) for k, n in sorted(
                self.forms.items(), key=lambda i: str(i[0])))]
        lines += ["files    %s, %s: %d" % (*k, n)
                  for k, n in sorted(self.files.items())]
        lines += ["records  %d" % self.records]
        lines += ["WRONG    %s: %d" % i for i in self.unexplained.items()]
        lines += ["         " + e for e in self.examples]
        lines += ["unexplained = %d" % sum(self.unexplained.values())]
        return "\n".join(lines)
