"""Forms by seed: well-formed ones as clients write them, and damaged ones.

A form is a Content-Type value, a body, and, where it is well-formed, the parts
that it must come to as (name, filename or None, bytes).
"""

import collections
import random

Form = collections.namedtuple("Form", "kind body parts")

BCHARS = ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
          "'()+_,-./:=?")
WORDS = ["file", "upload[]", "a", "Ünï", "名前", "x y", "a;b", "a=b", "name=\"",
         "filename=x", "a,b", "--", ": ", "a'b", "(c)", "🙂", "%", "%2", "50%",
         "line\r\nend", "\r", "\n", "\"quoted\"", "a\tb", "<b>", "&amp;"]
BAD_BYTES = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"-", b"--", b"\"",
             b"\\", b";", b":", b"=", b"%", b"\xff", b"a", b"\r\n\r\n"]


def quoted(text, legacy):
    """A parameter as browsers write it, or as clients before them did."""
    if legacy:
        return '"%s"' % text.replace('"', '\\"')
    return '"%s"' % (text.replace("\r", "%0D").replace("\n", "%0A")
                     .replace('"', "%22"))


class Forms:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, chars, least, most):
        return "".join(self.random.choice(chars)
                       for _ in range(self.random.randint(least, most)))

    def boundary(self):
        r = self.random
        text = r.choice([
            lambda: "-" * r.randint(1, 29) + self.some("0123456789", 1, 30),
            lambda: "----WebKitFormBoundary" + self.some("abcXYZ09", 16, 16),
            lambda: self.some("ab", 1, 70),
            lambda: self.some(BCHARS, 1, 70),
            lambda: self.some(BCHARS + " ", 0, 60) + "x"])()
        return text

    def kind(self, boundary):
        # By RFC 2046 quotes are needed for some of the characters.
        plain = all(c.isalnum() or c in "-_.+'" for c in boundary)
        r = self.random
        value = boundary if plain and r.random() < 0.7 else '"%s"' % boundary
        more = r.choice(["", "", "; charset=utf-8", '; x="a;b"'])
        first = "multipart/form-data"
        if r.random() < 0.5:
            return "%s%s; boundary=%s" % (first, more, value)
        return "%s; boundary=%s%s" % (first, value, more)

    def word(self, legacy):
        text = "".join(self.random.choice(WORDS)
                       for _ in range(self.random.randint(1, 3)))
        if legacy:
            # One way of escaping at a time: what both at once mean nobody
            # agrees on.
            text = text.replace("\r", "").replace("\n", "").replace("%", "")
        return text or "f"

    def data(self, delimiter):
        r = self.random
        pieces = [b"\r\n", b"\r", b"\n", b"--", b"\0", b"text ", b"\xff\xd8",
                  delimiter[:-1], delimiter[:r.randrange(len(delimiter))],
                  delimiter[2:], delimiter[2:-1]]
        data = b"".join(r.choice(pieces) for _ in range(r.choice(
            [0, 1, 2, 10, 40])))
        if r.random() < 0.2:
            data += r.randbytes(r.choice([1, 100, 2000]))
        # Whole delimiters are for the form itself, and a part that begins
        # with one lacking its CR LF is the odd case of a part without a body.
        while delimiter in b"\r\n" + data:
            data = (b"\r\n" + data).replace(delimiter, b"")[2:]
        # Nor may the data's end make one with what follows.
        whole = b"\r\n" + data + delimiter
        return data if whole.find(delimiter) == len(whole) - len(delimiter) \
            else b"x"

    def headers(self, name, filename, legacy):
        r = self.random
        fields = ["name=" + quoted(name, legacy)]
        if filename is not None:
            fields.append("filename=" + quoted(filename, legacy))
        if r.random() < 0.1:
            fields.reverse()
        lines = ["Content-Disposition: form-data; " + "; ".join(fields)]
        if filename is not None or r.random() < 0.2:
            lines.append(r.choice(["Content-Type: image/jpeg",
                                   "content-type: text/plain; charset=utf-8",
                                   "Content-Type: application/octet-stream"]))
        if r.random() < 0.2:
            lines.append(r.choice(["X-Extra: a b; c=\"d\"",
                                   "Content-Transfer-Encoding: binary",
                                   "X-Empty: "]))
        if r.random() < 0.2:
            r.shuffle(lines)
        return "".join(line + "\r\n" for line in lines).encode()

    def valid(self):
        r = self.random
        boundary = self.boundary()
        delimiter = b"\r\n--" + boundary.encode()
        parts, body = [], b""
        for _ in range(r.choice([1, 1, 2, 3, 8])):
            legacy = r.random() < 0.2
            name = self.word(legacy)
            filename = self.word(legacy) if r.random() < 0.6 else None
            if filename and r.random() < 0.05:
                filename = ""
            data = self.data(delimiter)
            parts.append((name.encode(),
                          filename if filename is None else filename.encode(),
                          data))
            body += delimiter + b"\r\n" + self.headers(
                name, filename, legacy) + b"\r\n" + data
        body += delimiter + b"--" + r.choice([b"\r\n", b"\r\n", b""])
        return Form(self.kind(boundary).encode(), body[2:], parts)

    def damaged(self):
        """A well-formed one with one to three bytes amiss, or its type."""
        r = self.random
        form = self.valid()
        kind, body = form.kind, bytearray(form.body)
        if r.random() < 0.1:
            kind = r.choice([
                kind + b"; boundary=x", kind + b"; Boundary=\"y\"",
                kind.replace(b"boundary=", b"boundary ="),
                kind.replace(b"boundary=", b"boundary= "),
                kind.replace(b"form-data", b"mixed"),
                kind.replace(b"\"", b""), kind.rstrip(b"\""),
                kind.replace(b"; b", b" b"), kind.replace(b"; ", b";"),
                kind.replace(b"boundary", b"BOUNDARY"),
                b"multipart/form-data"])
        if r.random() < 0.03:
            path = r.choice([rb"C:\dir\a.jpg", rb"\\\\host\dir", rb"a\\\"b"])
            body = body.replace(b'filename="', b'filename="' + path, 1)
        for _ in range(r.choice([0, 1, 1, 2, 3])):
            # Most often where it hurts: in what is no data.
            marks = [i for i in range(len(body))
                     if body[i:i + 1] in (b"\r", b"-", b"\"", b":", b";",
                                          b"=")] or [0]
            at = r.choice(marks) if r.random() < 0.8 \
                else r.randrange(len(body) + 1)
            how = r.random()
            if how < 0.35:
                body[at:at + r.choice([1, 1, 2])] = b""
            elif how < 0.7:
                body[at:at] = r.choice(BAD_BYTES)
            elif how < 0.9:
                body[at:at + 1] = r.choice(BAD_BYTES)
            elif how < 0.95:
                del body[at:]
            else:
                body[:0] = r.choice([b"junk", b"\r\n", b"junk\r\n"])
        return Form(kind, bytes(body), None)
