"""Debian packages of another architecture, downloaded through a private apt directory and unpacked.

The system's own dpkg gets no foreign architecture: apt is told of a world of its own, with an empty
status file, and is asked for names. Nothing is installed on this machine by this module.
"""

import fcntl
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import paths

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "bookworm-updates", "bookworm-backports")
DOWNLOAD_SECONDS = 600


class PackageError(Exception):
    """A package is not to be had; the text says what was looked for."""


@dataclass(frozen=True)
class Wanted:
    """A package by name, or by pattern of which the newest is taken, and how its version must start."""

    name: str
    version: str

    @property
    def pattern(self) -> re.Pattern:
        """`*` stands for a version: linux-image-6.1.0-*-armmp is not to find the rt kernels."""
        return re.compile(re.escape(self.name).replace(r"\*", "[0-9a-z.+]+"))


@functools.cache
def mirror() -> str:
    """Where packages come from: LENSCAP_DEBIAN_MIRROR, or what this machine itself installs Debian from."""
    if chosen := os.environ.get("LENSCAP_DEBIAN_MIRROR"):
        return chosen.rstrip("/")
    command = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages")
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    for uri in done.stdout.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    raise PackageError("apt on this machine knows no Debian mirror; name one in LENSCAP_DEBIAN_MIRROR")


def natural(text: str) -> list:
    """Sorts 6.1.0-50 after 6.1.0-9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


class Archive:
    """One architecture of Debian 12."""

    def __init__(self, arch: str):
        self.arch = arch
        self.dir = paths.CACHE / arch
        self.debs = self.dir / "debs"
        self._updated = False

    def _run(self, *command: str) -> str:
        env = dict(os.environ, APT_CONFIG=str(self.dir / "apt.conf"), LC_ALL="C")
        done = subprocess.run(
            command, cwd=self.debs, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=DOWNLOAD_SECONDS, check=False,
        )
        if done.returncode != 0:
            raise PackageError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def _set_up(self) -> None:
        for part in ("lists/partial", "cache/archives/partial", "etc", "debs", "unpacked"):
            (self.dir / part).mkdir(parents=True, exist_ok=True)
        (self.dir / "status").touch()
        (self.dir / "etc/sources.list").write_text(
            "".join(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n" for suite in SUITES), encoding="ascii")
        (self.dir / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{self.dir}/etc/sources.list";\nDir::Etc::sourceparts "-";\n'
            f'Dir::State::lists "{self.dir}/lists";\nDir::State::status "{self.dir}/status";\n'
            f'Dir::Cache "{self.dir}/cache";\nAPT::Architecture "{self.arch}";\n'
            f'APT::Architectures {{ "{self.arch}"; }};\nAPT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
            'Acquire::Retries "3";\n', encoding="ascii")

    def _update(self) -> None:
        if self._updated:
            return
        print(f"debs: reading Debian's package lists for {self.arch}", flush=True)
        self._set_up()
        self._run("apt-get", "-q", "update")
        self._updated = True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Programs that run at the same time share the folder."""
        self.dir.mkdir(parents=True, exist_ok=True)
        with (self.dir / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _cached(self, wanted: Wanted) -> Path | None:
        """The newest downloaded package that fits."""
        found = []
        for deb in self.debs.glob("*.deb"):
            name, version, _ = deb.name.split("_", 2)
            version = version.replace("%3a", ":").split(":")[-1]
            if wanted.pattern.fullmatch(name) and version.startswith(wanted.version):
                found.append((natural(name), natural(version), deb))
        return max(found)[2] if found else None

    def _resolve(self, wanted: Wanted) -> str:
        if "*" not in wanted.name:
            return wanted.name
        lines = self._run("apt-cache", "search", "--names-only", "^" + wanted.name.split("*", 1)[0]).splitlines()
        names = [name for name in (line.split(" ")[0] for line in lines) if wanted.pattern.fullmatch(name)]
        if not names:
            raise PackageError(f"no package {wanted.name} for {self.arch} in {', '.join(SUITES)} of {mirror()}")
        return max(names, key=natural)

    def fetch(self, wanted: Wanted) -> Path:
        """The .deb, downloaded unless it is here already."""
        with self._alone():
            return self._fetch(wanted)

    def _fetch(self, wanted: Wanted) -> Path:
        deb = self._cached(wanted)
        if deb:
            return deb
        self._update()
        name = self._resolve(wanted)
        print(f"debs: downloading {name}:{self.arch}", flush=True)
        self._run("apt-get", "-q", "download", name)
        deb = self._cached(wanted)
        if not deb:
            got = [found.name for found in self.debs.glob(f"{name}_*.deb")]
            raise PackageError(f"{name}: wanted version {wanted.version}*, the archive has {got}")
        return deb

    def unpack(self, wanted: Wanted) -> Path:
        """The folder with the package's files."""
        with self._alone():
            deb = self._fetch(wanted)
            folder = self.dir / "unpacked" / deb.stem
            if not folder.exists():
                scratch = folder.with_suffix(".new")
                shutil.rmtree(scratch, ignore_errors=True)
                subprocess.run(["dpkg-deb", "-x", str(deb), str(scratch)], check=True)
                scratch.rename(folder)
            return folder
