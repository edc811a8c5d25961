"""The keys that sign packages and feeds: Ed25519 in usign's files for opkg, EC P-256 for apk.

Both are made at first use and kept outside the tree, readable by their owner alone. Both kinds of signature are
deterministic, so signed files are as reproducible as unsigned ones.
"""

import base64
import hashlib
import os
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from .model import PackageError

_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
_SIGN_VERSION = 0
_SHA512 = 4


class UsignKey:
    """An Ed25519 key in the layout of signify and usign."""

    def __init__(self, private, key_number):
        self._private = private
        self.key_number = key_number

    @classmethod
    def from_seed(cls, seed, key_number):
        """A key from its 32 secret bytes and the 8 bytes that name it."""
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed), key_number)

    @classmethod
    def parse(cls, text):
        """Reads a secret key file that is not protected by a password."""
        raw = _payload(text)
        if len(raw) != 104 or raw[:4] != b"EdBK" or raw[4:8] != bytes(4):
            raise PackageError("not a usign secret key without a password")
        key = cls.from_seed(raw[40:72], raw[32:40])
        if hashlib.sha512(raw[40:]).digest()[:8] != raw[24:32] or key._public() != raw[72:]:
            raise PackageError("the usign secret key is damaged")
        return key

    def secret_file(self):
        """The secret key's file."""
        seed = self._private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        secret = seed + self._public()
        head = b"EdBK" + struct.pack(">I", 0) + bytes(16) + hashlib.sha512(secret).digest()[:8]
        return _commented("Lenscap feed secret key", head + self.key_number + secret)

    def public_file(self):
        """The public key's file; on a device it lies in `/etc/opkg/keys/` under the key number's name."""
        return _commented("Lenscap feed public key", b"Ed" + self.key_number + self._public())

    def sign(self, data):
        """The signature file for `data`."""
        comment = f"signed by key {self.key_number.hex()}"
        return _commented(comment, b"Ed" + self.key_number + self._private.sign(data))

    def _public(self):
        return self._private.public_key().public_bytes(*_RAW)


def usign_verifies(public_file, signature_file, data):
    """Whether a signature file is by that key and over that data."""
    public, signature = _payload(public_file), _payload(signature_file)
    if public[:10] != signature[:10]:
        return False
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public[10:]).verify(signature[10:], data)
    except InvalidSignature:
        return False
    return True


class ApkKey:
    """An EC P-256 key, in PEM."""

    def __init__(self, private):
        self._private = private
        point = private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self.key_id = hashlib.sha512(point).digest()[:16]

    @classmethod
    def from_secret(cls, number):
        """A key from its secret number."""
        return cls(ec.derive_private_key(number, ec.SECP256R1()))

    @classmethod
    def parse(cls, pem):
        """Reads a secret key file."""
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise PackageError("not a secret key in PEM without a password, or a damaged one") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise PackageError("the key for apk must be EC P-256")
        return cls(private)

    def secret_file(self):
        """The secret key's file."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_file(self):
        """The public key's file; on a device it lies in `/etc/apk/keys/`."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def signature(self, schema, payload):
        """The payload of a signature block over an ADB block's payload."""
        head = bytes((_SIGN_VERSION, _SHA512)) + self.key_id
        message = schema + head + hashlib.sha512(payload).digest()
        return head + self._private.sign(message, ec.ECDSA(hashes.SHA512(), deterministic_signing=True))


class KeyFolder:
    """Where the project's keys lie. Makes those that are missing."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._loaded = {}

    def usign(self):
        """The feed's key for opkg."""
        return self._load("lenscap-feed.sec", UsignKey.parse, lambda: UsignKey.from_seed(os.urandom(32), os.urandom(8)))

    def apk(self):
        """The key for apk's packages and indexes."""
        return self._load(
            "lenscap-apk.key", ApkKey.parse, lambda: ApkKey(ec.generate_private_key(ec.SECP256R1()))
        )

    def _load(self, name, parse, make):
        if name not in self._loaded:
            path = self.folder / name
            try:
                self._loaded[name] = _read(path, parse) if os.path.lexists(path) else _make(path, make)
            except OSError as error:
                raise PackageError(f"{path}: {error.strerror}") from error
        return self._loaded[name]


def _read(path, parse):
    if path.stat().st_mode & 0o077:
        raise PackageError(f"{path} can be read by others: chmod 600 {path}")
    try:
        return parse(path.read_bytes())
    except PackageError as error:
        hint = "put your copy of it back, or remove it for a new one, which devices must be given before they trust it"
        raise PackageError(f"{path}: {error}: {hint}") from error


def _make(path, make):
    key = make()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key.secret_file())
    print(f"packages: made a signing key, keep it safe: {path}", file=sys.stderr)
    return key


def _commented(comment, raw):
    return f"untrusted comment: {comment}\n{base64.b64encode(raw).decode()}\n".encode()


def _payload(text):
    lines = text.splitlines()
    if len(lines) < 2 or not lines[0].startswith(b"untrusted comment: "):
        raise PackageError("not a file of usign")
    try:
        return base64.b64decode(lines[1], validate=True)
    except ValueError as error:
        raise PackageError("a damaged file of usign") from error
