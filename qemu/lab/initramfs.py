"""Writes an initramfs (cpio, newc form, RFC-less but documented in the kernel's buffer-format.rst) without root,
and finds the kernel modules that a list of modules needs, in loading order."""

import lzma
import os
import re
import stat
from pathlib import Path

PLAIN_FOLDERS = ("dev", "proc", "sys", "tmp", "run", "etc", "root", "mnt", "lib", "lib/modules")


def read_module(path: Path) -> bytes:
    """A module's bytes, uncompressed."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


class Modules:
    """The modules of one unpacked kernel package."""

    def __init__(self, folder: Path):
        self.paths = {}
        for path in folder.rglob("*.ko*"):
            self.paths[path.name.split(".ko")[0].replace("-", "_")] = path
        builtin = (folder / "modules.builtin").read_text(encoding="ascii").split()
        self.builtin = {os.path.basename(line)[: -len(".ko")].replace("-", "_") for line in builtin}

    def ordered(self, names) -> list[str]:
        """`names` and all they depend on, each after what it needs; what is built in is left out."""
        order: list[str] = []
        for name in names:
            self._add(name.replace("-", "_"), order)
        return order

    def _add(self, name: str, order: list[str]) -> None:
        if name in order or name in self.builtin:
            return
        if name not in self.paths:
            raise KeyError(f"the kernel has no module {name}")
        depends = re.search(rb"\0depends=([^\0]*)\0", read_module(self.paths[name]))
        for needed in depends.group(1).decode().split(",") if depends else []:
            if needed:
                self._add(needed.replace("-", "_"), order)
        order.append(name)

    def read(self, name: str) -> bytes:
        """The bytes of module `name`."""
        return read_module(self.paths[name])


class Cpio:
    """Collects entries; folders above an entry are made as needed."""

    def __init__(self):
        self._chunks: list[bytes] = []
        self._seen: set[str] = set()
        self._inode = 0
        for name in PLAIN_FOLDERS:
            self.folder(name)
        self._add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        self._add("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))

    def _add(self, name: str, mode: int, data: bytes = b"", device=(0, 0)) -> None:
        self._inode += 1
        self._seen.add(name)
        raw = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % value for value in fields) + raw
        head += b"\0" * (-len(head) % 4)
        self._chunks.append(head + data + b"\0" * (-len(data) % 4))

    def folder(self, name: str) -> None:
        """A folder with its parents."""
        if name and name not in self._seen:
            self.folder(os.path.dirname(name))
            self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o755) -> None:
        """A regular file."""
        self.folder(os.path.dirname(name))
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self.folder(os.path.dirname(name))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def write(self, path: Path) -> None:
        """Writes the archive, the same bytes each time; not compressed, since an emulated CPU would have to unpack it."""
        self._add("TRAILER!!!", 0)
        path.write_bytes(b"".join(self._chunks))
