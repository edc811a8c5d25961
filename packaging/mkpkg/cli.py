"""`make packages`: everything that is shipped, from what was built, into dist/."""

import argparse
import os
import sys
from pathlib import Path

from . import apk, auditable, cargo, checks, contents, index, ipk, keys, place, sbom, sizes, source, tar
from .model import PackageError


def main(arguments=None):
    """Runs the program; the exit status."""
    options = _parse(arguments)
    try:
        return _run(options)
    except PackageError as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="packages.sh", description=__doc__)
    parser.add_argument("builds", nargs="*", metavar="RUST-TARGET=OPENWRT-ARCH", help="what to pack")
    parser.add_argument("--source", action="store_true", help="the source tarball and the Buildroot tree as well")
    parser.add_argument("--full", action="store_true", help="lenscap-full as well")
    parser.add_argument("--out", type=Path, default=contents.ROOT / "dist", help="where to (dist/)")
    parser.add_argument("--keys", type=Path, default=_default_keys(), help="folder of the signing keys (%(default)s)")
    options = parser.parse_args(arguments)
    for build in options.builds:
        if build.count("=") != 1:
            parser.error(f"{build}: expected RUST-TARGET=OPENWRT-ARCH")
    return options


def _default_keys():
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "lenscap" / "keys"


def _run(options):
    os.umask(0o022)
    epoch = contents.epoch(os.environ)
    folder = keys.KeyFolder(options.keys)
    variants = ("base", "full") if options.full else ("base",)
    builds = [build.split("=") for build in options.builds]
    # Whatever can refuse does so before the first file is written or removed.
    place.refuse_foreign(options.out, [arch for _, arch in builds])
    if options.source:
        source.refuse_foreign(options.out)
    over = [fault for target, _ in builds for variant in variants for fault in _budget(target, variant)]
    if over:
        raise PackageError("nothing was packed, and what lay there is as it was: " + "; ".join(over))
    if builds:
        folder.usign()
        folder.apk()
        place.forget(options.out)
    packed = []
    options.out.mkdir(parents=True, exist_ok=True)
    for target, arch in builds:
        packed += _pack(options.out, target, arch, variants, epoch, folder)
    if packed:
        _feed(options.out, packed, folder)
    if options.source:
        source.write(options.out, epoch, _write)
    return 0


def _pack(out, target, arch, variants, epoch, folder):
    """Packages of one target; gives each package for the feed with its bytes."""
    # apk's file names do not say the architecture, so each has a folder.
    apk_folder = place.apk_folder(out, arch)
    apk_folder.mkdir(parents=True, exist_ok=True)
    packed, as_apks = [], []
    for variant in variants:
        name = os.path.relpath(contents.built(target, variant) / "lenscap", contents.ROOT)
        program = contents.binary(target, variant)
        checks.check_program(name, program, contents.ROOT)
        closure = cargo.closure(contents.ROOT, target, _fact(target, variant, "features").decode().strip())
        checks.check_crates(name, _fact(target, variant, "lenscap.symbols"), closure)
        if auditable.unpack(program) != {(crate.name, crate.version) for crate in closure}:
            raise PackageError(f"{name} lists other crates than Cargo.lock has now: make packages builds it anew")
        package = contents.openwrt(program, arch, closure, epoch, variant)
        as_ipk, as_apk = ipk.build(package), apk.build(package, folder.apk())
        plain = tar.pack_gz(contents.tarball(program, closure), epoch, prefix="")
        for path, data in (
            (out / ipk.file_name(package), as_ipk),
            (apk_folder / apk.file_name(package), as_apk.data),
            (out / f"{package.name}-{package.version.upstream}-{target}.tar.gz", plain),
        ):
            _write(path, data)
            bill = sbom.document(closure, path.name, data, epoch, _toolchain(target, variant))
            _write(path.with_name(path.name + ".cdx.json"), bill)
        packed.append((package, as_ipk))
        as_apks.append(as_apk)
    _write(apk_folder / "packages.adb", apk.index(as_apks, f"lenscap {arch}", folder.apk()))
    return packed


def _feed(out, packed, folder):
    for name, data in index.files(packed, folder.usign()).items():
        _write(out / name, data)
    _write(out / "lenscap-feed.pub", folder.usign().public_file())
    _write(out / "lenscap-apk.pem", folder.apk().public_file())


def _budget(target, variant):
    """Prints what the program costs; gives what is over its limits, as words."""
    lines, over = sizes.verdict(contents.binary(target, variant), variant)
    features = _fact(target, variant, "features").decode().strip()
    counted = sizes.counted(target, variant, features)
    why = f"the budget counts for {sizes.BUDGET_TARGET} with its usual features; this has: {features or 'none'}"
    print(f"{contents.VARIANTS[variant]}, {target}{'' if counted else f' ({why})'}")
    print("\n".join(lines))
    symbols = contents.built(target, variant) / "lenscap.symbols"
    if symbols.is_file():
        spent = sizes.by_crate(symbols.read_bytes())
        print("\n".join(sizes.table(spent, sum(size for _, size in spent))))
    return [f"{contents.VARIANTS[variant]} for {target} is over its budget: {fault}" for fault in over] if counted else []


def _fact(target, variant, name):
    """What the build says of the program that lies beside it."""
    path = contents.built(target, variant) / name
    if not path.is_file():
        raise PackageError(f"{path} is missing: make packages builds it")
    return path.read_bytes()


def _toolchain(target, variant):
    path = contents.built(target, variant) / "toolchain"
    if not path.is_file():
        return ()
    return tuple(tuple(line.split()) for line in path.read_text().splitlines())


def _write(path, data):
    path.write_bytes(data)
    path.chmod(0o644)
    shown = os.path.relpath(path, contents.ROOT)
    print(f"packages: {path if shown.startswith('..') else shown}, {len(data):,} bytes")


if __name__ == "__main__":
    sys.exit(main())
