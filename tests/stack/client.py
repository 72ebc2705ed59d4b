"""A small HTTP client: one form post, one GET.  Stdlib only."""

import http.client
import json
import urllib.parse
import uuid


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def form(files, field="file"):
    """(content type, body) of multipart/form-data; files: (name, bytes)."""
    boundary = "sluice" + uuid.uuid4().hex
    parts = []
    for name, data in files:
        quoted = name.replace("\\", "\\\\").replace('"', "%22")
        parts.append(("--%s\r\nContent-Disposition: form-data; name=\"%s\"; "
                      "filename=\"%s\"\r\nContent-Type: "
                      "application/octet-stream\r\n\r\n"
                      % (boundary, field, quoted)).encode() + data + b"\r\n")
    parts.append(("--%s--\r\n" % boundary).encode())
    return "multipart/form-data; boundary=" + boundary, b"".join(parts)


def request(method, url, body=None, headers=None, timeout=60):
    u = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(u.hostname, u.port,
                                            timeout=timeout)
    try:
        path = u.path + ("?" + u.query if u.query else "")
        connection.request(method, path, body,
                           dict({"Accept": "application/json"},
                                **(headers or {})))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def get(url, headers=None, timeout=60):
    return request("GET", url, None, headers, timeout)


def post(url, files, headers=None, timeout=60):
    kind, body = form(files)
    return request("POST", url, body,
                   dict({"Content-Type": kind}, **(headers or {})), timeout)
