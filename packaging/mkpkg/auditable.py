"""The list of crates inside the program itself, as cargo-auditable writes it: JSON under zlib in the section `.dep-v0`.
`cargo audit bin`, Syft and Trivy read it and know known faults by it, wherever the program ends up.

usage: python3 -m mkpkg.auditable RUST-TARGET FEATURES FILE     writes the section's contents
"""

import json
import sys
import zlib
from pathlib import Path

from . import cargo, contents, elf
from .model import PackageError

SECTION = ".dep-v0"


def pack(closure):
    """The section's contents for crates as `cargo.closure` gives them."""
    order = sorted(closure, key=lambda crate: (crate.name, crate.version))
    index = {crate.purl: number for number, crate in enumerate(order)}
    packages = []
    for crate in order:
        package = {"name": crate.name, "version": crate.version, "source": "crates.io" if crate.checksum else "local"}
        depends = sorted(index[purl] for purl in crate.depends if purl in index)
        if depends:
            package["dependencies"] = depends
        if crate is closure[0]:
            package["root"] = True
        packages.append(package)
    return zlib.compress(json.dumps({"packages": packages}, separators=(",", ":")).encode(), 9)


def unpack(program):
    """The packages that a program lists, as pairs of name and version. Raises when it lists none."""
    found = elf.contents(program, SECTION)
    if found is None:
        raise PackageError(f"the program has no list of its crates (section {SECTION})")
    try:
        packages = json.loads(zlib.decompress(found))["packages"]
        return {(one["name"], one["version"]) for one in packages}
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise PackageError(f"the program's list of crates cannot be read: {error}") from error


def main(arguments):
    """The command line."""
    target, features, path = arguments
    try:
        Path(path).write_bytes(pack(cargo.closure(contents.ROOT, target, features)))
    except PackageError as error:
        sys.exit(f"crates: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
