"""Tokens as an application server would mint them, and as nobody should."""

import base64
import hashlib
import hmac
import json
import os
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import (ec, ed25519, padding,
                                                       rsa)
from cryptography.hazmat.primitives.asymmetric.utils import \
    decode_dss_signature

SECRET = b"0123456789abcdef0123456789abcdef"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n, size):
    return b64(n.to_bytes(size, "big"))


class Hs256:
    alg = "HS256"

    def __init__(self, secret=SECRET):
        self.secret = secret

    def sign(self, text):
        return hmac.new(self.secret, text, hashlib.sha256).digest()

    def file(self):
        return self.secret + b"\n"

    def jwk(self):
        return {"kty": "oct", "k": b64(self.secret)}


class Public:
    def file(self):
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo)


class Rs256(Public):
    alg = "RS256"

    def __init__(self):
        self.key = rsa.generate_private_key(65537, 2048)

    def sign(self, text):
        return self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def jwk(self):
        n = self.key.public_key().public_numbers().n
        return {"kty": "RSA", "n": number(n, 256), "e": "AQAB",
                "use": "sig"}


class Es256(Public):
    alg = "ES256"

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())

    def sign(self, text):
        r, s = decode_dss_signature(
            self.key.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def jwk(self):
        n = self.key.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": number(n.x, 32),
                "y": number(n.y, 32)}


class EdDsa(Public):
    alg = "EdDSA"

    def __init__(self):
        self.key = ed25519.Ed25519PrivateKey.generate()

    def sign(self, text):
        return self.key.sign(text)

    def jwk(self):
        return {"kty": "OKP", "crv": "Ed25519",
                "x": b64(self.key.public_key().public_bytes(
                    serialization.Encoding.Raw,
                    serialization.PublicFormat.Raw))}


ALL = [Hs256, Rs256, Es256, EdDsa]


def mint(key, header=None, **claims):
    """A token with sub acme for ten minutes, unless the claims say else; a
    claim that is None is left out."""
    claims = dict({"sub": "acme", "exp": int(time.time()) + 600}, **claims)
    claims = {k: v for k, v in claims.items() if v is not None}
    text = "%s.%s" % (
        b64(json.dumps(dict({"alg": key.alg}, **(header or {}))).encode()),
        b64(json.dumps(claims).encode()))
    return text + "." + b64(key.sign(text.encode()))


def upload(key, header=None, **claims):
    """An upload token."""
    return mint(key, dict({"typ": "upload+jwt"}, **(header or {})),
                **dict({"jti": "job-17"}, **claims))


def bearer(token):
    return {"Authorization": "Bearer " + token}


def write(path, data):
    """Puts a key file in place at once, as a careful operator does."""
    if isinstance(data, dict):
        data = json.dumps(data).encode()
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.chmod(path + ".new", 0o644)
    os.rename(path + ".new", path)
    return path
