"""As much of ELF as counting bytes takes: sections and symbols of a static program."""

import struct
from dataclasses import dataclass

_ALLOCATED = 0x2
_NOBITS = 8
_SYMTAB = 2
_OBJECT, _FUNCTION = 1, 2


@dataclass(frozen=True)
class Section:
    """A section that is loaded; `size` is its bytes in the file."""

    name: str
    address: int
    size: int


@dataclass(frozen=True)
class Symbol:
    """A function or object with its address and size."""

    name: str
    address: int
    size: int


def read(data):
    """(loaded sections that take room in the file, symbols)."""
    if data[:4] != b"\x7fELF":
        raise ValueError("not an ELF file")
    wide = data[4] == 2
    end = "<" if data[5] == 1 else ">"
    headers = _section_headers(data, wide, end)
    names = headers[struct.unpack_from(end + "H", data, 62 if wide else 50)[0]]
    sections, symbols = [], []
    for header in headers:
        name = _string(data, names["offset"] + header["name"])
        if header["flags"] & _ALLOCATED and header["type"] != _NOBITS and header["size"]:
            sections.append(Section(name, header["address"], header["size"]))
        if header["type"] == _SYMTAB:
            symbols += _symbols(data, header, headers[header["link"]], wide, end)
    return sections, symbols


def contents(data, name):
    """The bytes of a section; None if there is none."""
    wide = data[4] == 2
    end = "<" if data[5] == 1 else ">"
    headers = _section_headers(data, wide, end)
    names = headers[struct.unpack_from(end + "H", data, 62 if wide else 50)[0]]
    for header in headers:
        if _string(data, names["offset"] + header["name"]) == name:
            return data[header["offset"] : header["offset"] + header["size"]]
    return None


def _section_headers(data, wide, end):
    offset = struct.unpack_from(end + ("Q" if wide else "I"), data, 40 if wide else 32)[0]
    size, count = struct.unpack_from(end + "HH", data, 58 if wide else 46)
    layout = end + ("IIQQQQIIQQ" if wide else "10I")
    keys = ("name", "type", "flags", "address", "offset", "size", "link")
    return [dict(zip(keys, struct.unpack_from(layout, data, offset + i * size)[:7])) for i in range(count)]


def _symbols(data, table, strings, wide, end):
    layout = struct.Struct(end + ("IBBHQQ" if wide else "IIIBBH"))
    for offset in range(table["offset"], table["offset"] + table["size"], layout.size):
        fields = layout.unpack_from(data, offset)
        if wide:
            name, info, _, _, address, size = fields
        else:
            name, address, size, info, _, _ = fields
        if size and info & 0xF in (_OBJECT, _FUNCTION):
            yield Symbol(_string(data, strings["offset"] + name), address, size)


def _string(data, offset):
    return data[offset : data.index(b"\0", offset)].decode("utf-8", "replace")
