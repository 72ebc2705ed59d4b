"""What the clients of a soak were told: one record a form, in binary.

A million lines of JSON would take the check longer than the log does.
"""

import collections
import struct
import uuid

ACCEPTED, REJECTED, UNKNOWN, NONE = range(4)
STATES = {"accepted": ACCEPTED, "rejected": REJECTED, "unknown": UNKNOWN}
NAMES = {v: k for k, v in STATES.items()}

LEFT, RESET, ODD = 1, 2, 3     # instead of an HTTP status

HEAD = struct.Struct("<IHI16sB")

# sent: bytes of the body at most; upload: 16 bytes, zero when not told;
# states: one for each file of the form, in order
Answer = collections.namedtuple("Answer", "form status sent upload states")

NOBODY = bytes(16)


def write(out, answer):
    out.write(HEAD.pack(answer.form, answer.status, answer.sent,
                        answer.upload, len(answer.states)))
    out.write(bytes(answer.states))


def read(path):
    with open(path, "rb") as f:
        while True:
            head = f.read(HEAD.size)
            if not head:
                return
            form, status, sent, upload, n = HEAD.unpack(head)
            yield Answer(form, status, sent, upload, f.read(n))


def from_reply(plan, form, status, sent, reply):
    """reply: the parsed JSON.  Raises ValueError at what no client should
    ever see."""
    upload = NOBODY
    numbers = plan.numbers(form)
    states = bytearray([NONE] * len(numbers))
    if "upload" in reply:
        upload = uuid.UUID(reply["upload"]).bytes
    for entry in reply.get("files", []):
        index = int(entry["name"].split(".")[0], 16) - numbers[0]
        if not 0 <= index < len(numbers) or states[index] != NONE:
            raise ValueError("an entry too many: %r" % entry)
        if entry["id"] != "%s/%d" % (reply["upload"], index + 1):
            raise ValueError("an entry of another id: %r" % entry)
        if entry.get("reason") not in (None, "unavailable", "incomplete"):
            raise ValueError("refused for no reason of ours: %r" % entry)
        states[index] = STATES[entry["status"]]
    if status == 202 and set(states) != {ACCEPTED}:
        raise ValueError("202 and not all accepted: %r" % reply)
    return Answer(form, status, sent, upload, bytes(states))
