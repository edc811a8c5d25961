"""ADB, the container of apk's version 3 files: a heap of tagged values, in blocks.

A value is a 32-bit word: 4 bits of type, 28 bits of either the value itself or the offset of it in the heap. Offsets
count from the start of the ADB block's payload.
"""

import struct
import zlib

_INT, _INT32, _INT64 = 0x1, 0x2, 0x3
_BLOB8, _BLOB16, _BLOB32 = 0x8, 0x9, 0xA
_ARRAY, _OBJECT = 0xD, 0xE
_DIRECT_MAX = 0x0FFF_FFFF

BLOCK_ADB, BLOCK_SIGNATURE, BLOCK_DATA = 0, 1, 2
_BLOCK_MAX = 0x3FFF_FFFF

# Compatible version, version, two reserved bytes, then the root's value.
_HEADER_BYTES = 8
NULL = 0


class Heap:
    """Collects values; equal ones are stored once. `finish` gives the ADB block's payload."""

    def __init__(self):
        self._bytes = bytearray(_HEADER_BYTES)
        self._known = {}

    def integer(self, value):
        """A whole number that is not negative."""
        if value <= _DIRECT_MAX:
            return _INT << 28 | value
        if value <= 0xFFFF_FFFF:
            return self._store(_INT32, struct.pack("<I", value), 4)
        return self._store(_INT64, struct.pack("<Q", value), 8)

    def blob(self, data):
        """Bytes or text; empty is null."""
        if isinstance(data, str):
            data = data.encode()
        if not data:
            return NULL
        if len(data) < 1 << 8:
            return self._store(_BLOB8, struct.pack("<B", len(data)) + data, 1)
        if len(data) < 1 << 16:
            return self._store(_BLOB16, struct.pack("<H", len(data)) + data, 2)
        return self._store(_BLOB32, struct.pack("<I", len(data)) + data, 4)

    def array(self, values):
        """A sequence of values of one kind, in the order given."""
        return self._sequence(_ARRAY, list(values))

    def object(self, fields):
        """A record: field number (from 1) -> value. Missing fields are null."""
        values = [NULL] * max(fields, default=0)
        for number, value in fields.items():
            values[number - 1] = value
        while values and values[-1] == NULL:
            values.pop()
        return self._sequence(_OBJECT, values)

    def finish(self, root):
        """The payload of the ADB block, with `root` as its root value."""
        struct.pack_into("<BBHI", self._bytes, 0, 0, 0, 0, root)
        return bytes(self._bytes)

    def offset_of(self, value):
        """Where a stored value lies in the payload."""
        return value & _DIRECT_MAX

    def _sequence(self, kind, values):
        if not values:
            return NULL
        words = struct.pack(f"<{len(values) + 1}I", len(values) + 1, *values)
        return self._store(kind, words, 4)

    def _store(self, kind, data, alignment):
        key = (alignment, data)
        if key not in self._known:
            self._bytes.extend(bytes(-len(self._bytes) % alignment))
            self._known[key] = len(self._bytes)
            self._bytes.extend(data)
        offset = self._known[key]
        if offset > _DIRECT_MAX:
            raise ValueError("more metadata than an ADB can hold")
        return kind << 28 | offset


def block(kind, payload):
    """One block of a file, padded to 8 bytes."""
    size = 4 + len(payload)
    if size > _BLOCK_MAX:
        raise ValueError("a file is too large for an ADB block")
    return struct.pack("<I", kind << 30 | size) + payload + bytes(-size % 8)


def container(schema, blocks):
    """A whole file: deflated, as apk's own files are."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = b"ADB." + schema + b"".join(blocks)
    return b"ADBd" + deflate.compress(plain) + deflate.flush()
