"""The package that a scenario installs: the tarball for BusyBox cameras, and a changed one to upgrade to."""

import io
import os
import re
import subprocess
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



def load(variant: Variant) -> Package:
    """The newest tarball of the variant's target in dist/."""
    found = sorted(paths.DIST.glob(f"lenscap-[0-9]*-{variant.target}.tar.gz"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise PackageError(f"no dist/lenscap-[0-9]*-{variant.target}.tar.gz: make packages TARGETS={variant.target}")
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


def write_payload(path: Path, package: Package) -> None:
    """The archive that the guest fetches: the package, one to upgrade to, and tools of the tests."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
        for folder, files in (("first", package.files), ("second", upgraded(package).files),
                              ("tools", {name: (0o755, guest_tool(name).read_bytes()) for name in ("oldkernel", "setclock")})):
            for name, (mode, data) in sorted(files.items()):
                info = tarfile.TarInfo(f"{folder}/{name}")
                info.size, info.mode = len(data), mode
                out.addfile(info, io.BytesIO(data))


# zig's name of the machine, and of its CPU: what all variants run, and the agent's first target (packaging/toolchain/targets.sh).
ARMV6_C = ("arm-linux-musleabi", "arm1176jzf_s")
ARMV7_C = ("thumb-linux-musleabihf", "generic+v7a+vfp3d16-neon")


def guest_tool(name: str, *others: Path, machine: tuple[str, str] = ARMV6_C) -> Path:
    """A small C program of qemu/guest, with `others` that belong to it."""
    sources = (paths.GUEST / f"{name}.c", *others)
    program = paths.CACHE / (name if machine == ARMV6_C else f"{name}-{machine[0]}")
    if program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
        return program
    toolchain = paths.ROOT / "packaging/toolchain"
    versions = (toolchain / "versions.sh").read_text(encoding="utf-8")
    version = re.search(r"^ZIG_VERSION=(\S+)", versions, re.MULTILINE).group(1)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("LENSCAP_TOOLS", cache / "lenscap-toolchain"))
    env = dict(os.environ, LENSCAP_ZIG=str(tools / f"zig-{version}/bin/python"), LENSCAP_ZIG_TARGET=machine[0],
               LENSCAP_ZIG_CPU=machine[1], ZIG_GLOBAL_CACHE_DIR=str(tools / "zig-cache"))
    scratch = program.with_suffix(f".{os.getpid()}")
    done = subprocess.run([toolchain / "zigcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", scratch, *sources],
                          env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PackageError(f"{name}.c: {done.stderr[-600:]}")
    scratch.rename(program)
    return program
