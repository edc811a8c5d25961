"""Reads packages without the code that writes them: tarfile for .ipk, a walker of its own for .apk."""

import base64
import gzip
import hashlib
import io
import struct
import tarfile
import zlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519


def ipk(data):
    """(control fields, control members, data members); members are name -> (TarInfo, bytes)."""
    outer = members(data)
    assert list(outer) == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"], list(outer)
    assert outer["./debian-binary"][1] == b"2.0\n"
    control = members(outer["./control.tar.gz"][1])
    text = control["./control"][1].decode()
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    return fields, control, members(outer["./data.tar.gz"][1])


def members(data):
    """Members of a gzip tar that is in plain GNU or ustar form."""
    plain = gzip.decompress(data)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert not archive.pax_headers
        for member in archive:
            assert not member.pax_headers, f"{member.name} has pax headers"
            content = archive.extractfile(member).read() if member.isfile() else b""
            found[member.name] = (member, content)
    kinds = {plain[at + 156 : at + 157] for at in _headers(plain)}
    assert kinds <= {b"0", b"2", b"5"}, kinds
    return found


def _headers(plain):
    at = 0
    while plain[at : at + 512].strip(b"\0"):
        yield at
        size = int(plain[at + 124 : at + 136].rstrip(b"\0 ") or b"0", 8)
        at += 512 + (size + 511) // 512 * 512


class Adb:
    """A version 3 file of apk: its blocks, and its values by field number."""

    def __init__(self, data, schema):
        assert data[:4] == b"ADBd", data[:4]
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = inflate.decompress(data[4:]) + inflate.flush()
        assert inflate.eof and not inflate.unused_data
        assert plain[:4] == b"ADB." and plain[4:8] == schema
        self.schema = schema
        self.blocks = list(self._split(plain, 8))
        kinds = [kind for kind, _ in self.blocks]
        assert kinds[0] == 0 and kinds == sorted(kinds), kinds
        self.heap = self.blocks[0][1]
        compatible, version, reserved, root = struct.unpack_from("<BBHI", self.heap)
        assert (compatible, version, reserved) == (0, 0, 0)
        self.root = self.value(root)

    @staticmethod
    def _split(plain, at):
        while at < len(plain):
            word = struct.unpack_from("<I", plain, at)[0]
            kind, size = word >> 30, word & 0x3FFF_FFFF
            yield kind, plain[at + 4 : at + size]
            padded = (size + 7) // 8 * 8
            assert not any(plain[at + size : at + padded])
            at += padded
        assert at == len(plain)

    def value(self, word):
        """int, bytes, list or None; objects are lists as well, with None for missing fields."""
        kind, rest = word >> 28, word & 0x0FFF_FFFF
        if kind == 0:
            return None
        if kind == 1:
            return rest
        if kind in (2, 3):
            size = 4 if kind == 2 else 8
            assert rest % size == 0
            return int.from_bytes(self.heap[rest : rest + size], "little")
        if kind in (8, 9, 10):
            width = {8: 1, 9: 2, 10: 4}[kind]
            assert rest % width == 0
            size = int.from_bytes(self.heap[rest : rest + width], "little")
            data = self.heap[rest + width : rest + width + size]
            assert len(data) == size
            return data
        assert kind in (13, 14) and rest % 4 == 0, hex(word)
        count = struct.unpack_from("<I", self.heap, rest)[0]
        words = struct.unpack_from(f"<{count - 1}I", self.heap, rest + 4)
        assert not words or words[-1] != 0 or kind == 13, "trailing nulls must be trimmed"
        return [self.value(word) for word in words]

    def signatures(self):
        """The payloads of the signature blocks."""
        return [payload for kind, payload in self.blocks if kind == 1]

    def verify(self, public_pem):
        """Raises unless the first signature is by that key."""
        public = serialization.load_pem_public_key(public_pem)
        point = public.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        signature = self.signatures()[0]
        assert signature[:2] == b"\0\4"
        assert signature[2:18] == hashlib.sha512(point).digest()[:16]
        message = self.schema + signature[:18] + hashlib.sha512(self.heap).digest()
        public.verify(signature[18:], message, ec.ECDSA(hashes.SHA512()))


def field(record, number):
    """A field of an object; None when it is missing."""
    return record[number - 1] if record and number <= len(record) else None


def apk(data):
    """(Adb, info object, entries, scripts). Entries: path -> (mode, owner, group, mtime, content or link target or
    None for a folder). Every hash and size is checked on the way."""
    adb = Adb(data, b"pckg")
    contents = {}
    for kind, payload in adb.blocks:
        if kind == 2:
            folder, number = struct.unpack_from("<II", payload)
            assert (folder, number) not in contents
            contents[folder, number] = payload[8:]
    info, folders, scripts = (field(adb.root, number) for number in (1, 2, 3))
    names = [(field(folder, 1) or b"").decode() for folder in folders]
    assert names == sorted(names) and names[0] == "", names
    entries = {}
    for at, folder in enumerate(folders, 1):
        entries[names[at - 1]] = (*owner(field(folder, 2)), None, None)
        files = field(folder, 3) or []
        plain = [field(file, 1).decode() for file in files]
        assert plain == sorted(plain)
        for number, file in enumerate(files, 1):
            path = f"{names[at - 1]}/{plain[number - 1]}".lstrip("/")
            target = field(file, 6)
            content = contents.pop((at, number), b"")
            if target is None:
                assert field(file, 3) == len(content), path
                assert field(file, 5) == hashlib.sha256(content).digest(), path
            else:
                assert struct.unpack_from("<H", target)[0] == 0o120000
                content = target[2:].decode()
            entries[path] = (*owner(field(file, 2)), field(file, 4), content)
    assert not contents, "data without a file"
    check_unique_id(adb, field(info, 3))
    return adb, info, entries, scripts


def owner(acl):
    """(mode, owner, group)"""
    return field(acl, 1), field(acl, 2).decode(), field(acl, 3).decode()


def check_unique_id(adb, unique_id):
    """It is the hash of the metadata with itself zeroed."""
    assert len(unique_id) == 20 and adb.heap.count(unique_id) == 1
    zeroed = adb.heap.replace(unique_id, bytes(20))
    assert hashlib.sha256(zeroed).digest()[:20] == unique_id


def verify_usign(public_file, signature_file, data):
    """Raises unless the signature is by that key."""
    public = base64.b64decode(public_file.splitlines()[1])
    signature = base64.b64decode(signature_file.splitlines()[1])
    assert len(public) == 42 and len(signature) == 74
    assert public[:2] == signature[:2] == b"Ed" and public[2:10] == signature[2:10]
    ed25519.Ed25519PublicKey.from_public_bytes(public[10:]).verify(signature[10:], data)
