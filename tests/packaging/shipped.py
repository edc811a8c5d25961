#!/usr/bin/env python3
"""Opens what `make packages` made, with the readers of these tests: every package must be there, be signed, and carry the
very program that was built. The tests themselves read packages of their own making.

usage: packaging/python.sh tests/packaging/shipped.py [--dist FOLDER] [rust-target ...]     default: every target
"""

import argparse
import gzip
import hashlib
import json
import struct
import subprocess
import sys
import tarfile
import tomllib
import zlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature

import reader

ROOT = Path(__file__).resolve().parents[2]
# e_machine of ELF, by the beginning of OpenWrt's name of the architecture.
_MACHINES = {"arm_": 40, "aarch64_": 183, "mipsel_": 8}
_PROGRAM, _CONFIG = "usr/sbin/lenscap", "etc/config/lenscap"
# Fields of apk's information on a package (src/apk_adb.h in apk-tools).
_NAME, _VERSION, _UNIQUE_ID, _ARCH, _FILE_SIZE = 1, 2, 3, 5, 13


class Fault(Exception):
    """A package is not what it should be."""


def need(condition, text):
    """Raises unless the condition holds."""
    if not condition:
        raise Fault(text)


def architectures():
    """OpenWrt's name of the architecture by target, from the toolchain's own table."""
    script = '. packaging/toolchain/targets.sh; for t in $LENSCAP_TARGETS; do target_facts $t; echo $t $openwrt_arch; done'
    run = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(line.split() for line in run.stdout.splitlines())


class Dist:
    """The folder, and the programs that were built into it."""

    def __init__(self, folder, targets, programs):
        self.folder = folder
        self.programs = programs
        self.targets = targets
        self.version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        self.seen = []

    def check(self):
        """Raises at the first fault; gives a line for each file."""
        feed = self._feed()
        for target, arch in self.targets.items():
            self._ipks(arch, target, {name: fields for name, fields in feed.items() if fields["Architecture"] == arch})
            self._apks(arch, target)
            packages = {fields["Package"] for fields in feed.values() if fields["Architecture"] == arch}
            for package in sorted(packages):
                self._tarball(package, target)
        strangers = {path.name for path in self.folder.glob("*.ipk")} - feed.keys()
        need(not strangers, f"no index names {sorted(strangers)}")
        return self.seen

    def _read(self, path):
        need(path.is_file(), f"{path} is missing")
        return path.read_bytes()

    def _feed(self):
        """opkg's index: file name -> fields."""
        plain = self._read(self.folder / "Packages")
        unpacked = judge("Packages.gz", gzip.decompress, self._read(self.folder / "Packages.gz"))
        need(unpacked == plain, "Packages.gz is another index than Packages")
        public, signature = (self._read(self.folder / name) for name in ("lenscap-feed.pub", "Packages.sig"))
        judge("Packages.sig", reader.verify_usign, public, signature, plain)
        entries = [dict(line.split(": ", 1) for line in part.splitlines()) for part in plain.decode().strip().split("\n\n")]
        return {fields["Filename"]: fields for fields in entries}

    def _ipks(self, arch, target, feed):
        need(feed, f"Packages names none for {arch}")
        for name, fields in feed.items():
            data = self._read(self.folder / name)
            need((int(fields["Size"]), fields["SHA256sum"]) == (len(data), sha256(data)), f"Packages says other things of {name}")
            control, members, files = judge(name, reader.ipk, data)
            need(control["Architecture"] == arch, f"{name} is for {control['Architecture']}")
            need("./postinst" in members and "./prerm" in members, f"{name} lacks scripts")
            need(members["./conffiles"][1] == f"/{_CONFIG}\n".encode(), f"{name}: conffiles are {members['./conffiles'][1]}")
            found = {path.removeprefix("./"): (member.mode, content) for path, (member, content) in files.items()}
            self._program(name, control["Package"], target, arch, found)
            self._bill(self.folder / name, data)

    def _apks(self, arch, target):
        folder = self.folder / "apk" / arch
        key = self._read(self.folder / "lenscap-apk.pem")
        index = judge("packages.adb", reader.Adb, self._read(folder / "packages.adb"), b"indx")
        judge(f"{folder.name}/packages.adb", index.verify, key)
        listed = {}
        for entry in reader.field(index.root, 2) or ():
            name, version = (reader.field(entry, number).decode() for number in (_NAME, _VERSION))
            listed[f"{name}-{version}.apk"] = entry
        there = {path.name for path in folder.glob("*.apk")}
        need(there and there == listed.keys(), f"{folder}: there are {sorted(there)}, and the index has {sorted(listed)}")
        for name, entry in listed.items():
            data = self._read(folder / name)
            adb, info, entries, scripts = judge(name, reader.apk, data)
            judge(name, adb.verify, key)
            need(reader.field(info, _ARCH).decode() == arch, f"{name} is for {reader.field(info, _ARCH)}")
            same = all(reader.field(entry, number) == reader.field(info, number) for number in (_NAME, _VERSION, _UNIQUE_ID))
            need(same and reader.field(entry, _FILE_SIZE) == len(data), f"packages.adb says other things of {name}")
            need(all(reader.field(scripts, number) for number in (3, 4, 7)), f"{name} lacks scripts")
            found = {path: (mode, content) for path, (mode, _, _, _, content) in entries.items()}
            self._program(f"{arch}/{name}", reader.field(info, _NAME).decode(), target, arch, found)
            self._bill(folder / name, data)

    def _tarball(self, package, target):
        path = self.folder / f"{package}-{self.version}-{target}.tar.gz"
        data = self._read(path)
        members = judge(path.name, reader.members, data)
        files = {name.partition("/")[2]: (member.mode, content) for name, (member, content) in members.items()}
        self._program(path.name, package, target, None, {_PROGRAM: files.get("lenscap"), _CONFIG: files.get("lenscap.conf")})
        self._bill(path, data)

    def _program(self, name, package, target, arch, files):
        built = self.programs / target / ("full" if package == "lenscap-full" else "") / "lenscap"
        program = self._read(built)
        need(files.get(_PROGRAM) == (0o755, program), f"the program in {name} is not {built}, byte for byte and mode 755")
        config = (ROOT / "packaging/config/lenscap").read_bytes()
        need(files.get(_CONFIG) == (0o600, config), f"the configuration in {name} is not packaging/config/lenscap with mode 600")
        if arch:
            wanted = next(number for start, number in _MACHINES.items() if arch.startswith(start))
            need(program[:4] == b"\x7fELF" and struct.unpack_from("<H", program, 18)[0] == wanted, f"{built} is not for {arch}")
        self.seen.append(name)

    def _bill(self, path, data):
        bill = judge(f"{path.name}.cdx.json", json.loads, self._read(path.with_name(path.name + ".cdx.json")))
        hashes = [one["content"] for one in bill["metadata"]["component"]["hashes"]]
        need(hashes == [sha256(data)], f"{path.name}.cdx.json is the bill of another file")


def judge(name, function, *arguments):
    """What a reader finds; its complaint becomes a fault that names the file."""
    try:
        return function(*arguments)
    except InvalidSignature:
        raise Fault(f"{name}: the signature is not by the key that lies beside it, or not over this file") from None
    except (AssertionError, EOFError, OSError, LookupError, ValueError, struct.error, tarfile.TarError, zlib.error) as error:
        raise Fault(f"{name} cannot be read: {error!r}") from error


def sha256(data):
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def main(arguments=None):
    """Runs the program; the exit status."""
    table = architectures()
    parser = argparse.ArgumentParser(prog="shipped.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="rust-target", help="which must be there (all)")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the packages lie (dist/)")
    parser.add_argument("--programs", type=Path, help="where the programs lie that were built (as the packages)")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - table.keys()
    if unknown:
        parser.error(f"unknown targets: {' '.join(sorted(unknown))}")
    try:
        programs = options.programs or options.dist
        seen = Dist(options.dist, {target: table[target] for target in options.targets or table}, programs).check()
    except Fault as fault:
        print(f"shipped: {fault}", file=sys.stderr)
        return 1
    print(f"shipped: {len(seen)} packages and archives carry the programs in {options.dist}, and are signed: {', '.join(seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
