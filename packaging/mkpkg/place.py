"""The folder that packages are written to: what in it is ours, of the runs before, and what is somebody else's.

Nothing of others is removed. What an index of ours would hide, since it names Lenscap's packages alone, is refused.
"""

import re

from . import contents
from .model import PackageError

_NAMES = "|".join(contents.VARIANTS.values())
_IPK = re.compile(rf"({_NAMES})_[^_]+_.+\.ipk")
_APK = re.compile(rf"({_NAMES})-[0-9][^-]*-r[0-9]+\.apk")
_FULL_TARBALL = re.compile(rf"{contents.VARIANTS['full']}-[0-9].*\.tar\.gz")
_BILL = ".cdx.json"
_APK_INDEX = "packages.adb"


def apk_folder(out, arch):
    """Where apk's packages of an architecture lie: their names do not say it."""
    return out / "apk" / arch


def refuse_foreign(out, architectures):
    """Raises where packages of others lie that the indexes to be written would not name."""
    if not architectures:
        return
    index = out / "Packages"
    named = re.findall(r"(?m)^Package: (.*)$", index.read_text(errors="replace")) if index.is_file() else ()
    foreign = sorted(set(named) - set(contents.VARIANTS.values())) + _others(out, "*.ipk", _IPK)
    for arch in architectures:
        foreign += _others(apk_folder(out, arch), "*.apk", _APK)
    if foreign:
        raise PackageError(
            f"{out} has packages of others, which the index would not name any more: {', '.join(foreign)}: "
            "name a folder for Lenscap alone (LENSCAP_OUT), or take them away"
        )


def forget(out):
    """Removes the packages of the runs before: the indexes name those of this one alone."""
    _remove(out, _IPK)
    _remove(out, _FULL_TARBALL)
    for folder in (out / "apk").glob("*"):
        if not _remove(folder, _APK) or _others(folder, "*.apk", _APK):
            continue
        (folder / _APK_INDEX).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _remove(folder, name):
    """Removes files of that name and their bills of materials; how many."""
    found = [path for path in folder.glob("*") if path.is_file() and name.fullmatch(path.name.removesuffix(_BILL))]
    for path in found:
        path.unlink()
    return len(found)


def _others(folder, pattern, ours):
    return sorted(path.name for path in folder.glob(pattern) if not ours.fullmatch(path.name))
