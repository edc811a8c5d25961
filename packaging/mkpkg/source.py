"""The source tarball with vendored crates, and the Buildroot tree that builds from it.

The tarball has the agent alone, without its tests and what only they need: the crates of the gateway and of the tests
would be ten times as many.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from . import cargo, contents, sbom, tar
from .model import DIRECTORY, LINK, Entry, PackageError

_TOP = ("LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md", "clippy.toml", "packaging/config/lenscap")
# Buildroot's download step leaves a tarball alone that has this folder.
_VENDOR = "VENDOR"
_BUILDROOT = "buildroot-ext"
# Where the agent is built for and on. What none of these needs is there by name only: cargo asks for every crate that
# Cargo.lock names, and those for Windows alone are four fifths of all bytes.
_TARGETS = (
    "armv7-unknown-linux-gnueabihf",
    "armv7-unknown-linux-musleabihf",
    "armv5te-unknown-linux-gnueabi",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-gnu",
)
_WORKSPACE = tomllib.loads((contents.ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]
_MEMBERS = tuple(member for member in _WORKSPACE["members"] if member.split("/")[0] == "agent")
_FOREIGN = re.compile(r"(windows|winapi)([-_].*)?")


def write(out, epoch, save):
    """Writes `lenscap-<version>.tar.xz` with its SBOM, and `buildroot-ext/` with that tarball and its hash inside."""
    version = contents.version().upstream
    folder = f"lenscap-{version}"
    name = f"{folder}.tar.xz"
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / folder
        _stage(tree)
        _vendor(tree, epoch)
        data = tar.pack_xz(_entries(tree, folder), epoch, prefix="")
    save(out / name, data)
    closure = cargo.closure(contents.ROOT, "armv7-unknown-linux-musleabihf")
    save(out / f"{name}.cdx.json", sbom.document(closure, name, data, epoch))
    _buildroot(out / _BUILDROOT, name, data)
    print(f"packages: {out / _BUILDROOT}, for BR2_EXTERNAL")


def refuse_foreign(out):
    """Raises where another Buildroot tree lies in the place of ours."""
    folder = out / _BUILDROOT
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    name = folder / "external.desc"
    if not name.is_file() or name.read_bytes() != (contents.ROOT / _BUILDROOT / "external.desc").read_bytes():
        raise PackageError(f"{folder} is not Lenscap's Buildroot tree: name a folder for Lenscap alone (LENSCAP_OUT), or take it away")


def _stage(tree):
    """The tracked files of the agent, as they are now, in a workspace of their own."""
    listed = _run(["git", "-C", str(contents.ROOT), "ls-files", "-z", "--", *_MEMBERS, *_TOP])
    for path in filter(None, listed.split("\0")):
        if re.match(r"agent/([a-z]+/)?(tests|benches|examples)/", path):
            continue
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((contents.ROOT / path).read_bytes())
    for member in _MEMBERS:
        manifest = tree / member / "Cargo.toml"
        manifest.write_text(_without_tables(manifest.read_text(), ("dev-dependencies", "[test", "[bench", "[example")))
    root = (contents.ROOT / "Cargo.toml").read_text()
    members = ", ".join(f'"{member}"' for member in _MEMBERS)
    root, count = re.subn(r"(?m)^members = .*$", f"members = [{members}]", root)
    if count != 1:
        raise PackageError("Cargo.toml: expected one line `members = [...]`")
    (tree / "Cargo.toml").write_text(re.sub(r"(?m)^exclude = .*\n", "", root))
    (tree / "Cargo.lock").write_bytes((contents.ROOT / "Cargo.lock").read_bytes())


def _without_tables(text, prefixes):
    """TOML text without the tables whose headers begin so."""
    kept, dropping = [], False
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            dropping = line[1:].startswith(prefixes)
        if not dropping:
            kept.append(line)
    return "".join(kept)


def _vendor(tree, epoch):
    # Drops from Cargo.lock what the smaller workspace does not need; versions stay.
    _run([cargo.program(), "metadata", "--format-version=1"], cwd=tree)
    config = _run([cargo.program(), "vendor", "--locked", _VENDOR], cwd=tree)
    _empty_foreign_crates(tree)
    # The build's time, unless the environment gives one: the agent believes no clock before it.
    config += f'\n[env]\nSOURCE_DATE_EPOCH = "{epoch}"\n'
    (tree / ".cargo").mkdir()
    (tree / ".cargo" / "config.toml").write_text(config)


def _empty_foreign_crates(tree):
    needed = set()
    for target in _TARGETS:
        command = [cargo.program(), "metadata", "--format-version=1", "--locked", "--filter-platform", target]
        nodes = json.loads(_run(command, cwd=tree))["resolve"]["nodes"]
        needed |= {re.split("[/#@]", node["id"])[-2] for node in nodes if "#" in node["id"] and "@" in node["id"]}
    for crate in (tree / _VENDOR).iterdir():
        name = tomllib.loads((crate / "Cargo.toml").read_text())["package"]["name"]
        if name in needed or not _FOREIGN.fullmatch(name):
            continue
        checksum = json.loads((crate / ".cargo-checksum.json").read_text())
        for path in sorted(crate.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
            elif path.name != "Cargo.toml" or path.parent != crate:
                path.unlink()
        manifest = tomllib.loads((crate / "Cargo.toml").read_text())
        library = crate / manifest.get("lib", {}).get("path", "src/lib.rs")
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_bytes(b"")
        if build := manifest["package"].get("build"):
            (crate / build).write_bytes(b"fn main() {}\n")
        (crate / ".cargo-checksum.json").write_text(json.dumps({"files": {}, "package": checksum["package"]}))


def _entries(tree, folder):
    entries = [Entry(folder, DIRECTORY, 0o755)]
    for path in sorted(tree.rglob("*"), key=lambda path: path.relative_to(tree).as_posix()):
        name = f"{folder}/{path.relative_to(tree).as_posix()}"
        if path.is_symlink():
            entries.append(Entry(name, LINK, 0o777, target=os.readlink(path)))
        elif path.is_dir():
            entries.append(Entry(name, DIRECTORY, 0o755))
        else:
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            entries.append(Entry(name, mode=mode, data=path.read_bytes()))
    return entries


def _buildroot(folder, name, data):
    """A copy of buildroot-ext/ that is complete: the tarball in dl/, and its hash where Buildroot looks for it. Of what lies
    there already, what is named after Lenscap goes: Buildroot would take an old patch for ours."""
    shutil.rmtree(folder / "package" / "lenscap", ignore_errors=True)
    for old in (folder / "dl").glob("lenscap-[0-9]*.tar.xz"):
        old.unlink()
    for path in filter(None, _run(["git", "-C", str(contents.ROOT), "ls-files", "-z", "--", _BUILDROOT]).split("\0")):
        source = contents.ROOT / path
        target = folder / Path(path).relative_to(_BUILDROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    (folder / "dl").mkdir(exist_ok=True)
    (folder / "dl" / name).write_bytes(data)
    hashes = folder / "package" / "lenscap" / "lenscap.hash"
    line = f"# Made together with this folder\nsha256  {hashlib.sha256(data).hexdigest()}  {name}\n"
    hashes.write_text(line + hashes.read_text())


def _run(command, cwd=None):
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if run.returncode:
        raise PackageError(f"{' '.join(command[:3])}: {run.stderr.strip()}")
    return run.stdout
