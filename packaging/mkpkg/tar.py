"""tar and gzip files whose bytes depend on their contents alone.

GNU tar headers, never pax ones: opkg silently extracts nothing from an archive with pax headers.
"""

import gzip
import io
import lzma
import tarfile

from .model import DIRECTORY, FILE, LINK

_TYPES = {FILE: tarfile.REGTYPE, DIRECTORY: tarfile.DIRTYPE, LINK: tarfile.SYMTYPE}


def pack(entries, epoch, prefix="./"):
    """An uncompressed archive of `entries` in the order given. `prefix` goes before every path."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
        for entry in entries:
            member = tarfile.TarInfo(prefix + entry.path)
            member.type = _TYPES[entry.kind]
            member.mode = entry.mode
            member.mtime = epoch
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.linkname = entry.target
            member.size = len(entry.data) if entry.kind == FILE else 0
            archive.addfile(member, io.BytesIO(entry.data) if entry.kind == FILE else None)
    return out.getvalue()


def compress(data):
    """gzip without a name and without a time, best compression."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as stream:
        stream.write(data)
    return out.getvalue()


def pack_gz(entries, epoch, prefix="./"):
    """`pack`, compressed."""
    return compress(pack(entries, epoch, prefix))


def pack_xz(entries, epoch, prefix="./"):
    """`pack`, compressed with xz."""
    return lzma.compress(pack(entries, epoch, prefix), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=6)
