"""The package that a scenario installs: the tarball for BusyBox cameras, and a changed one to upgrade to."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .variants import Variant

# Makes another program of the same one: a loader ignores what follows the last segment.
MARK = b"\nlenscap-upgraded\n"


class PackageError(Exception):
    """There is no package to install."""


@dataclass(frozen=True)
class Package:
    """A tarball's files by name below its folder."""

    folder: str
    files: dict

    def with_program(self, data: bytes) -> "Package":
        """The same package with another program."""
        mode, _ = self.files["lenscap"]
        return Package(self.folder, {**self.files, "lenscap": (mode, data)})

    def write(self, path: Path, name: str) -> None:
        """Adds the package to an archive that the guest fetches, below `name`."""
        with tarfile.open(path, "a" if path.exists() else "w", format=tarfile.USTAR_FORMAT) as out:
            for entry, (mode, data) in sorted(self.files.items()):
                info = tarfile.TarInfo(f"{name}/{entry}")
                info.size, info.mode = len(data), mode
                out.addfile(info, io.BytesIO(data))


def load(variant: Variant) -> Package:
    """The newest tarball of the variant's target in dist/."""
    found = sorted(paths.DIST.glob(f"lenscap-*-{variant.target}.tar.gz"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise PackageError(f"no dist/lenscap-*-{variant.target}.tar.gz: make packages TARGET={variant.target}")
    files = {}
    folder = ""
    with tarfile.open(found[-1]) as tar:
        for member in tar:
            folder, _, name = member.name.removeprefix("./").partition("/")
            if member.isfile() and name:
                files[name] = (member.mode, tar.extractfile(member).read())
    return Package(folder, files)


def upgraded(package: Package) -> Package:
    """A package whose program is another file that behaves the same."""
    return package.with_program(package.files["lenscap"][1] + MARK)
