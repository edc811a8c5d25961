"""The feed index that opkg reads: `Packages`, `Packages.gz`, and usign's signature over the uncompressed one."""

import hashlib

from . import ipk, tar


def text(packages):
    """`Packages` for pairs of a package and its file's bytes."""
    parts = []
    for package, data in sorted(packages, key=lambda pair: (pair[0].name, pair[0].arch)):
        lines = ipk.control(package).splitlines(keepends=True)
        extra = (
            f"Filename: {ipk.file_name(package)}\n"
            f"Size: {len(data)}\n"
            f"SHA256sum: {hashlib.sha256(data).hexdigest()}\n"
        )
        # opkg keeps what follows `Description` as part of it.
        parts.append("".join(lines[:-1]) + extra + lines[-1])
    return "\n".join(parts).encode() + b"\n"


def files(packages, key):
    """File name -> bytes of the whole index."""
    plain = text(packages)
    return {"Packages": plain, "Packages.gz": tar.compress(plain), "Packages.sig": key.sign(plain)}
