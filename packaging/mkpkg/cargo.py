"""What Cargo knows of the agent: the crates that are linked into it, with versions, licences and checksums."""

import json
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .model import PackageError

# Used by a build script, which writes their data into the program.
_DATA = ("webpki-roots",)
_LICENCE_NAMES = ("license", "licence", "copying", "copyright", "notice")


@dataclass(frozen=True)
class Crate:
    """One crate. `checksum` is the SHA-256 of its archive as Cargo.lock has it; None for crates of this project."""

    name: str
    # As its symbols have it.
    library: str
    version: str
    licence: str
    checksum: str | None
    folder: str
    depends: tuple

    @property
    def purl(self):
        """Its package URL."""
        return f"pkg:cargo/{self.name}@{self.version}"


def program():
    """The cargo to run."""
    found = shutil.which("cargo") or os.path.expanduser("~/.cargo/bin/cargo")
    if not os.access(found, os.X_OK):
        raise PackageError("no cargo: install Rust from https://rustup.rs")
    return found


def closure(root, target, features=None, package="lenscap"):
    """All crates that `package` needs at run time on `target`, itself first, the others by name and version. `features` is
    the list it is built with, with commas; None is what its manifest has by default."""
    linked = _tree(root, target, features, package)
    metadata = json.loads(_ask(root, "metadata", "--format-version=1", "--filter-platform", target))
    crates = _reach(metadata, _checksums(root), package, linked)
    missed = linked - {(crate.name, crate.version) for crate in crates}
    if missed:
        raise PackageError(f"cargo metadata does not lead to {sorted(missed)}, which the program is built with")
    return crates


def licence_texts(crate):
    """The licence files in a crate's folder, in the order of their names."""
    found = []
    for path in sorted(Path(crate.folder).iterdir()):
        if path.is_file() and path.name.lower().startswith(_LICENCE_NAMES):
            found.append(path.read_text(errors="replace").replace("\r\n", "\n").strip())
    return found


def _ask(root, command, *options):
    run = subprocess.run([program(), command, "--locked", *options], cwd=root, capture_output=True, text=True, check=False)
    if run.returncode:
        raise PackageError(f"cargo {command}: {run.stderr.strip()}")
    return run.stdout


def _tree(root, target, features, package):
    """(name, version) of all that ends in the program, procedural macros aside. `cargo metadata` knows the features of the
    whole workspace together, `cargo tree` those that a build of this package has."""
    chosen = () if features is None else ("--no-default-features", f"--features={features}")
    edges = ("--edges=normal,no-proc-macro", "--prefix=none", "--format={p}")
    lines = _ask(root, "tree", "--package", package, "--target", target, *chosen, *edges).splitlines()
    return {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, filter(None, lines))}


def _reach(metadata, checksums, package, linked):
    packages = {one["id"]: one for one in metadata["packages"]}
    nodes = {node["id"]: list(_linked(node, packages, linked)) for node in metadata["resolve"]["nodes"]}
    start = next(one["id"] for one in metadata["packages"] if one["name"] == package)
    seen, waiting = {start}, [start]
    while waiting:
        for dependency in nodes[waiting.pop()]:
            if dependency not in seen:
                seen.add(dependency)
                waiting.append(dependency)
    crates = [_crate(packages[one], nodes[one], packages, checksums) for one in seen]
    return sorted(crates, key=lambda crate: (crate.name != package, crate.name, crate.version))


def _linked(node, packages, linked):
    """Dependencies that end in the program: not the code of build scripts and tests."""
    for dependency in node["deps"]:
        kinds = [kind["kind"] for kind in dependency["dep_kinds"]]
        one = packages[dependency["pkg"]]
        if (None in kinds and (one["name"], one["version"]) in linked) or one["name"] in _DATA:
            yield dependency["pkg"]


def _crate(one, dependencies, packages, checksums):
    return Crate(
        name=one["name"],
        library=next((target["name"] for target in one["targets"] if "lib" in target["kind"]), one["name"]).replace("-", "_"),
        version=one["version"],
        licence=(one["license"] or "").replace("/", " OR "),
        checksum=checksums.get((one["name"], one["version"])),
        folder=str(Path(one["manifest_path"]).parent),
        depends=tuple(sorted(f"pkg:cargo/{packages[d]['name']}@{packages[d]['version']}" for d in dependencies)),
    )


def _checksums(root):
    lock = tomllib.loads((Path(root) / "Cargo.lock").read_text())
    return {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
