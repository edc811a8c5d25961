"""What a package is, whatever its format."""

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

FILE = "file"
DIRECTORY = "directory"
LINK = "link"

# What apk takes as a version; opkg's rules are laxer.
_VERSION = re.compile(r"\d+(\.\d+)*[a-z]?(_(alpha|beta|pre|rc|p)\d*)*-r\d+")
_CARGO_VERSION = re.compile(r"(\d+\.\d+\.\d+)(?:-(alpha|beta|pre|rc)\.?(\d*))?")


class PackageError(Exception):
    """Something about the package to be made is wrong; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """A file, folder or symbolic link. Always owned by root; `path` has no leading slash."""

    path: str
    kind: str = FILE
    mode: int = 0o644
    data: bytes = b""
    target: str = ""

    def __post_init__(self):
        parts = PurePosixPath(self.path).parts
        if not parts or self.path != "/".join(parts) or "/" in parts or ".." in parts:
            raise PackageError(f"not a clean relative path: {self.path!r}")


@dataclass(frozen=True)
class Version:
    """A version as Cargo writes it, and the package's own release number."""

    upstream: str
    release: int = 1

    def _parts(self):
        match = _CARGO_VERSION.fullmatch(self.upstream)
        if not match:
            raise PackageError(f"version {self.upstream!r}: expected 1.2.3 or 1.2.3-rc.1")
        return match.groups()

    def apk(self):
        """`0.1.0-r1`, `0.1.0_rc1-r1`."""
        number, stage, count = self._parts()
        text = f"{number}{f'_{stage}{count}' if stage else ''}-r{self.release}"
        if not _VERSION.fullmatch(text):
            raise PackageError(f"apk takes no version {text!r}")
        return text

    def ipk(self):
        """`0.1.0-r1`, `0.1.0~rc1-r1`: to opkg a tilde sorts before the end."""
        number, stage, count = self._parts()
        return f"{number}{f'~{stage}{count}' if stage else ''}-r{self.release}"


@dataclass(frozen=True)
class Package:
    """A package with everything that goes into it. `epoch` is the time of all files, in seconds since 1970."""

    name: str
    version: Version
    arch: str
    summary: str
    licence: str
    entries: tuple
    epoch: int
    maintainer: str = "Lenscap"
    section: str = "net"
    origin: str = ""
    url: str = ""
    # A package that is never there beside it: whichever comes takes the other's place.
    excludes: str = ""
    # A package that it counts as.
    stands_for: str = ""
    # `name:group` pairs that must exist on the device.
    users: tuple = ()
    conffiles: tuple = field(default=())
    # Lines of shell that run on the device before the package is removed, and before it is upgraded.
    before_removal: tuple = ()

    def __post_init__(self):
        files = {entry.path for entry in self.entries if entry.kind == FILE}
        for path in self.conffiles:
            if path not in files:
                raise PackageError(f"{path} is to be a conffile, but is not in the package")
        if len({entry.path for entry in self.entries}) != len(self.entries):
            raise PackageError("a path is in the package twice")

    def tree(self):
        """All entries with the folders they lie in, sorted by path."""
        known = {entry.path: entry for entry in self.entries}
        for path in list(known):
            for parent in PurePosixPath(path).parents:
                if str(parent) != ".":
                    known.setdefault(str(parent), Entry(str(parent), DIRECTORY, 0o755))
        return [known[path] for path in sorted(known)]

    def installed_size(self):
        """Bytes of all files."""
        return sum(len(entry.data) for entry in self.entries)

    def user_ids(self):
        """OpenWrt's USERID notation: ids are chosen on the device."""
        return " ".join(f"{user}=:{group}=" for user, group in self.users)
