""".apk of version 3 (OpenWrt 25.12 and later), and its index."""

import hashlib
import struct
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from . import adb, scripts
from .model import DIRECTORY, FILE, LINK, Entry

SCHEMA_PACKAGE = b"pckg"
SCHEMA_INDEX = b"indx"

_UNIQUE_ID_BYTES = 20
_INFO = {
    "name": 1,
    "version": 2,
    "unique_id": 3,
    "description": 4,
    "arch": 5,
    "license": 6,
    "origin": 7,
    "maintainer": 8,
    "url": 9,
    "build_time": 11,
    "installed_size": 12,
    "file_size": 13,
    "provider_priority": 14,
    "provides": 16,
    "replaces": 17,
}
# Whoever asks for a name without saying more gets the package of that name, as OpenWrt's default variants are got.
_DEFAULT_PRIORITY, _OTHER_PRIORITY = 100, 1
_SCRIPT = {"post-install": 3, "pre-deinstall": 4, "post-upgrade": 7}
_LINK_MODE = 0o120000


@dataclass(frozen=True)
class Built:
    """A finished package and what its index says of it."""

    data: bytes
    info: dict


def file_name(package):
    """The name that apk looks for beside the index."""
    return f"{package.name}-{package.version.apk()}.apk"


def index(built, description, key):
    """The bytes of `packages.adb` for the given packages."""
    heap = adb.Heap()
    entries = []
    for one in sorted(built, key=lambda one: (one.info["name"], one.info["version"])):
        entries.append(_info(heap, one.info | {"file_size": len(one.data)}))
    payload = heap.finish(heap.object({1: heap.blob(description), 2: heap.array(entries)}))
    return adb.container(SCHEMA_INDEX, _signed(SCHEMA_INDEX, payload, key))


def build(package, key):
    """The package, signed with `key` (keys.ApkKey), or unsigned with None."""
    package = replace(package, entries=package.entries + _registry(package))
    folders = _folders(package)
    heap = adb.Heap()
    info = {
        "name": package.name,
        "version": package.version.apk(),
        "unique_id": bytes(_UNIQUE_ID_BYTES),
        "description": package.summary,
        "arch": package.arch,
        "license": package.licence,
        "origin": package.origin,
        "maintainer": package.maintainer,
        "url": package.url,
        "build_time": package.epoch,
        "installed_size": package.installed_size(),
        "provider_priority": _OTHER_PRIORITY if package.stands_for else _DEFAULT_PRIORITY,
    }
    if package.stands_for:
        # A name that two packages provide with a version is never there twice.
        info["provides"] = (package.stands_for, info["version"])
    if package.excludes:
        # Whose files it may overwrite.
        info["replaces"] = (package.excludes,)
    # Twenty zero bytes are stored under their own offset, which the id then takes.
    placeholder = heap.offset_of(heap.blob(info["unique_id"])) + 1
    fields = {
        1: _info(heap, info),
        2: heap.array(_folder(heap, name, folder, package.epoch) for name, folder in folders),
        3: heap.object({_SCRIPT[name]: heap.blob(text) for name, text in scripts.apk(package).items()}),
    }
    payload = bytearray(heap.finish(heap.object(fields)))
    unique_id = hashlib.sha256(payload).digest()[:_UNIQUE_ID_BYTES]
    payload[placeholder : placeholder + _UNIQUE_ID_BYTES] = unique_id
    info["unique_id"] = unique_id
    blocks = _signed(SCHEMA_PACKAGE, bytes(payload), key) + _data_blocks(folders)
    return Built(adb.container(SCHEMA_PACKAGE, blocks), info)


def _info(heap, info):
    fields = {}
    for name, value in info.items():
        if value or value == 0:
            fields[_INFO[name]] = _value(heap, value)
    return heap.object(fields)


def _value(heap, value):
    if isinstance(value, int):
        return heap.integer(value)
    if isinstance(value, tuple):
        # One dependency: a name, and the version if it is a matter of one.
        return heap.array([heap.object({at: heap.blob(part) for at, part in enumerate(value, 1)})])
    return heap.blob(value)


def _registry(package):
    """What OpenWrt's scripts read of an installed package: its files, its users, its configuration files."""
    base = f"lib/apk/packages/{package.name}"
    extra = []
    if package.users:
        extra.append(Entry(f"{base}.rusers", data=f"{package.user_ids()}\n".encode()))
    listed = sorted([f"/{e.path}" for e in package.entries if e.kind != DIRECTORY] + [f"/{e.path}" for e in extra])
    extra.append(Entry(f"{base}.list", data="".join(f"{path}\n" for path in listed).encode()))
    if package.conffiles:
        data = {entry.path: entry.data for entry in package.entries}
        names = "".join(f"/{path}\n" for path in package.conffiles)
        static = "".join(f"/{path} {hashlib.sha256(data[path]).hexdigest()}\n" for path in package.conffiles)
        extra.append(Entry(f"{base}.conffiles", data=names.encode()))
        extra.append(Entry(f"{base}.conffiles_static", data=static.encode()))
    return tuple(extra)


def _folders(package):
    """(path, [folder's own entry, its files sorted]) for every folder, the root first."""
    folders = {"": [None]}
    tree = package.tree()
    for entry in tree:
        if entry.kind == DIRECTORY:
            folders[entry.path] = [entry]
    for entry in tree:
        if entry.kind != DIRECTORY:
            parent = str(PurePosixPath(entry.path).parent)
            folders["" if parent == "." else parent].append(entry)
    return sorted(folders.items())


def _folder(heap, name, members, epoch):
    own, *files = members
    fields = {1: heap.blob(name), 3: heap.array(_file(heap, entry, epoch) for entry in files)}
    fields[2] = _owner(heap, own.mode if own else 0o755)
    return heap.object(fields)


def _file(heap, entry, epoch):
    fields = {
        1: heap.blob(PurePosixPath(entry.path).name),
        2: _owner(heap, entry.mode if entry.kind == FILE else 0o777),
        3: heap.integer(len(entry.data)),
        4: heap.integer(epoch),
    }
    if entry.kind == LINK:
        fields[6] = heap.blob(struct.pack("<H", _LINK_MODE) + entry.target.encode())
    else:
        fields[5] = heap.blob(hashlib.sha256(entry.data).digest())
    return heap.object(fields)


def _owner(heap, mode):
    return heap.object({1: heap.integer(mode), 2: heap.blob("root"), 3: heap.blob("root")})


def _data_blocks(folders):
    blocks = []
    for folder, (_, (_own, *files)) in enumerate(folders, 1):
        for number, entry in enumerate(files, 1):
            if entry.kind == FILE and entry.data:
                blocks.append(adb.block(adb.BLOCK_DATA, struct.pack("<II", folder, number) + entry.data))
    return blocks


def _signed(schema, payload, key):
    blocks = [adb.block(adb.BLOCK_ADB, payload)]
    if key:
        blocks.append(adb.block(adb.BLOCK_SIGNATURE, key.signature(schema, payload)))
    return blocks
