""".ipk, as opkg takes it: a gzip tar of `debian-binary`, `data.tar.gz` and `control.tar.gz` (an ar archive, as Debian's
own packages are, it calls malformed)."""

from . import scripts, tar
from .model import Entry


def file_name(package):
    """OpenWrt's name for the file."""
    return f"{package.name}_{package.version.ipk()}_{package.arch}.ipk"


def control(package):
    """The control file's text; `Description` comes last, as indexes want it."""
    fields = [
        ("Package", package.name),
        ("Version", package.version.ipk()),
        ("Provides", package.stands_for),
        ("Conflicts", package.excludes),
        ("Replaces", package.excludes),
        ("Source", package.origin),
        ("SourceName", package.name),
        ("License", package.licence),
        ("Section", package.section),
        ("Require-User", package.user_ids()),
        ("SourceDateEpoch", str(package.epoch)),
        ("URL", package.url),
        ("Maintainer", package.maintainer),
        ("Architecture", package.arch),
        ("Installed-Size", str(package.installed_size())),
        ("Description", package.summary),
    ]
    return "".join(f"{name}: {value}\n" for name, value in fields if value)


def build(package):
    """The package's bytes."""
    members = [Entry("control", mode=0o644, data=control(package).encode())]
    if package.conffiles:
        text = "".join(f"/{path}\n" for path in package.conffiles)
        members.append(Entry("conffiles", mode=0o644, data=text.encode()))
    for name, text in scripts.ipk(package).items():
        members.append(Entry(name, mode=0o755, data=text.encode()))
    members.sort(key=lambda entry: entry.path)
    outer = [
        Entry("debian-binary", data=b"2.0\n"),
        Entry("data.tar.gz", data=tar.pack_gz(package.tree(), package.epoch)),
        Entry("control.tar.gz", data=tar.pack_gz(members, package.epoch)),
    ]
    return tar.pack_gz(outer, package.epoch)
