"""The two other parsers, behind the interface of multipart_driver.c.

    multipart_peers.py multipart|python-multipart < FORMS

Runs in an environment of its own that has just these two packages.  The first
is used in its strict mode; the second as starlette does, which reads
Content-Disposition by the package's function and asks for a name.
"""

import sys

import multipart
import python_multipart.multipart as kludex

HEADER_BYTES, HEADERS = 4096, 16              # our limits, for both


class Refused(Exception):
    pass


def by_multipart(kind, body):
    kind, options = multipart.parse_options_header(kind.decode("latin-1"))
    if kind != "multipart/form-data" or "boundary" not in options:
        raise Refused("TYPE")
    parts = []
    try:
        with multipart.PushMultipartParser(
                options["boundary"].encode("latin-1"), strict=True,
                max_header_size=HEADER_BYTES,
                max_header_count=HEADERS) as parser:
            for event in parser.parse(body) if body else ():
                if isinstance(event, multipart.MultipartSegment):
                    parts.append([event.name.encode(),
                                  event.filename is not None
                                  and event.filename.encode(), b""])
                elif event is not None:
                    parts[-1][2] += event
    except multipart.MultipartError:
        raise Refused("BAD")
    return parts


def browsers_escapes(value):
    """What starlette leaves to its users, and ours and the other undo."""
    for code, char in ((b"%22", b'"'), (b"%0D", b"\r"), (b"%0A", b"\n"),
                       (b"%0d", b"\r"), (b"%0a", b"\n")):
        value = value.replace(code, char)
    return value


class ByPythonMultipart:
    def __init__(self, boundary):
        self.parts, self.over = [], False
        self.parser = kludex.MultipartParser(boundary, {
            "on_part_begin": self.begin, "on_part_data": self.data,
            "on_header_field": self.field, "on_header_value": self.value,
            "on_header_end": self.header, "on_headers_finished": self.body,
            "on_end": self.end}, max_header_size=HEADER_BYTES,
            max_header_count=HEADERS)

    def begin(self):
        self.headers, self.key, self.val = {}, b"", b""

    def field(self, data, start, end):
        self.key += data[start:end]

    def value(self, data, start, end):
        self.val += data[start:end]

    def header(self):
        self.headers[self.key.lower()] = self.val
        self.key, self.val = b"", b""

    def body(self):
        kind, options = kludex.parse_options_header(
            self.headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise Refused("BAD")
        name = options.get(b"filename")
        self.parts.append([browsers_escapes(options[b"name"]),
                           name is not None and browsers_escapes(name), b""])

    def data(self, data, start, end):
        self.parts[-1][2] += data[start:end]

    def end(self):
        self.over = True


def by_python_multipart(kind, body):
    kind, options = kludex.parse_options_header(kind.decode("latin-1"))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise Refused("TYPE")
    try:
        run = ByPythonMultipart(options[b"boundary"])
        run.parser.write(body)
        run.parser.finalize()
    except kludex.FormParserError:
        raise Refused("BAD")
    if not run.over:
        raise Refused("BAD")
    return run.parts


PARSERS = {"multipart": by_multipart, "python-multipart": by_python_multipart}


def blocks(stream):
    while True:
        size = stream.read(4)
        if not size:
            return
        yield stream.read(int.from_bytes(size, "little"))


def main():
    parse = PARSERS[sys.argv[1]]
    found = blocks(sys.stdin.buffer)
    for kind in found:
        try:
            parts = parse(kind, next(found))
            print("END" + "".join(" %s:%s:%s" % (
                name.hex(), "-" if filename is False else filename.hex(),
                data.hex()) for name, filename, data in parts))
        except Refused as e:
            print(e)


if __name__ == "__main__":
    main()
