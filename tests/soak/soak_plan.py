"""What a soak posts: all of it a function of the seed.

A form holds one to eight files, a file is so many bytes that tell their own
number, and some forms are left by their client in the middle.  The clients and
the check work it out each for itself.
"""

import array
import itertools
import random

FILES_MAX = 8                  # in a form
BOUNDARY = b"sluicesoakboundary"
KIND = "multipart/form-data; boundary=" + BOUNDARY.decode()
TAG = b"sluice soak %016x\n"
TAG_SIZE = len(TAG % 0)
BLOCK = 1 << 20
WHOLE = 1 << 31                # "leaves at" of a client that stays


class Plan:
    """Forms are numbered from 0, files through all forms from 0."""

    def __init__(self, seed, files, size, aborts):
        if size < TAG_SIZE:
            raise ValueError("a file needs %d bytes" % TAG_SIZE)
        chance = random.Random(seed)
        self.files, self.size = files, size
        self.block = chance.randbytes(BLOCK + size)
        self.first = array.array("L")          # file that opens the form
        self.leaves = array.array("L")         # after so many bytes of it
        at = 0
        while at < files:
            n = min(chance.randint(1, FILES_MAX), files - at)
            self.first.append(at)
            self.leaves.append(chance.randrange(self.length(n))
                               if chance.random() < aborts else WHOLE)
            at += n
        self.first.append(at)
        self.forms = len(self.leaves)

    def numbers(self, form):
        return range(self.first[form], self.first[form + 1])

    def content(self, number):
        at = number * 2654435761 % BLOCK
        return TAG % number + self.block[at:at + self.size - TAG_SIZE]

    def number(self, value):
        """The number that a file tells; None: it is none of ours."""
        try:
            number = int(value[TAG_SIZE - 17:TAG_SIZE - 1], 16)
        except ValueError:
            return None
        if not 0 <= number < self.files or value != self.content(number):
            return None
        return number

    @staticmethod
    def head(number):
        return (b'--%s\r\nContent-Disposition: form-data; name="file"; '
                b'filename="%016x.bin"\r\n\r\n' % (BOUNDARY, number))

    def body(self, form):
        pieces = [(self.head(n), self.content(n), b"\r\n")
                  for n in self.numbers(form)]
        return b"".join(itertools.chain(*pieces)) + b"--%s--\r\n" % BOUNDARY

    def whole(self, sent):
        """How many files of a form are over after so many bytes: their
        delimiter has to have begun."""
        step = len(self.head(0)) + self.size + 2
        return min(FILES_MAX, max(0, sent - 2 - len(BOUNDARY)) // step)

    def length(self, files):
        return files * (len(self.head(0)) + self.size + 2) \
            + len(BOUNDARY) + 6
