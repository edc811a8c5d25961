"""What of this source tree goes into which package."""

import gzip
import io
import re
import subprocess
import tomllib
from pathlib import Path

from . import cargo
from .model import DIRECTORY, Entry, Package, PackageError, Version

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = "Keeps an IP camera out of botnets and its video reachable, over one outbound connection"
# What the program is built as, and the package that it makes: `full` has what most cameras' flash has no room for.
VARIANTS = {"base": "lenscap", "full": "lenscap-full"}
FULL_SUMMARY = f"{SUMMARY}; with audit, flows and capture"
LICENCE = "MIT OR Apache-2.0"
USER = ("lenscap", "lenscap")
FEED = ROOT / "openwrt-feed" / "lenscap" / "files"
BUILDROOT = ROOT / "buildroot-ext" / "package" / "lenscap"
# What hardening closed stays closed, but for what nobody has confirmed yet: without the program nothing would take that back.
# It says what it could not reach. A firewall that nobody looks after would keep the owner from the video. The service first:
# it would put the firewall back.
OPEN_FIREWALL = (
    '[ "${PKG_UPGRADE}" = "1" ] || [ -n "${IPKG_INSTROOT}" ] || { /etc/init.d/lenscap stop >/dev/null 2>&1; '
    "/usr/sbin/lenscap harden --roll-back --now >/dev/null; "
    "/usr/sbin/lenscap harden --undo --only firewall >/dev/null 2>&1; } || true"
)
CONFIG = "etc/config/lenscap"
NO_COMMIT_TIME = "git does not say when the last commit was: set SOURCE_DATE_EPOCH"


def version():
    """The workspace's version."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    return Version(manifest["workspace"]["package"]["version"])


def epoch(environ):
    """The time of all files: SOURCE_DATE_EPOCH, else the last commit's; outside of a git repository Cargo.lock's. As
    toolchain/build.sh has it for the program: the two must not differ."""
    given = environ.get("SOURCE_DATE_EPOCH", "").strip()
    if given:
        if not re.fullmatch("[0-9]+", given):
            raise PackageError(f"SOURCE_DATE_EPOCH is {given!r}: expected seconds since 1970")
        return int(given)
    if not (ROOT / ".git").exists():
        return int((ROOT / "Cargo.lock").stat().st_mtime)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PackageError(f"{NO_COMMIT_TIME} (git: {error.strerror})") from error
    if git.returncode or not git.stdout.strip():
        raise PackageError(f"{git.stderr.strip()}\n{NO_COMMIT_TIME}".lstrip())
    return int(git.stdout)


def built(target, variant):
    """Where the agent lies that was built for a Rust target."""
    return ROOT / "dist" / target / ("" if variant == "base" else variant)


def binary(target, variant):
    """The agent built for a Rust target."""
    path = built(target, variant) / "lenscap"
    if not path.is_file():
        raise PackageError(f"{path} is missing: packaging/toolchain/build.sh {target}, with LENSCAP_VARIANT={variant}")
    return path.read_bytes()


def openwrt(program, arch, closure, when, variant="base"):
    """The package for OpenWrt."""
    entries = (
        Entry("usr/sbin/lenscap", mode=0o755, data=program),
        Entry(CONFIG, mode=0o600, data=_read(ROOT / "packaging/config/lenscap")),
        Entry("etc/init.d/lenscap", mode=0o755, data=_read(FEED / "lenscap.init")),
        Entry("etc/hotplug.d/iface/95-lenscap", data=_read(FEED / "lenscap.hotplug")),
        Entry("etc/uci-defaults/80-lenscap", mode=0o755, data=_read(FEED / "lenscap.defaults")),
        # The camera's key and the endpoint it was sent to survive a firmware update.
        Entry("lib/upgrade/keep.d/lenscap", data=_read(FEED / "lenscap.keep")),
        Entry("etc/lenscap", DIRECTORY, 0o700),
        *licences("usr/share/licenses/lenscap", closure),
    )
    return Package(
        name=VARIANTS[variant],
        excludes=VARIANTS["full" if variant == "base" else "base"],
        stands_for="" if variant == "base" else VARIANTS["base"],
        version=version(),
        arch=arch,
        summary=SUMMARY if variant == "base" else FULL_SUMMARY,
        licence=LICENCE,
        entries=entries,
        epoch=when,
        origin="lenscap",
        users=(USER,),
        conffiles=(CONFIG,),
        before_removal=(OPEN_FIREWALL,),
    )


def tarball(program, closure):
    """The entries of the tarball for BusyBox cameras, below its own folder."""
    installer = ROOT / "packaging" / "busybox"
    entries = [
        Entry("lenscap", mode=0o755, data=program),
        Entry("lenscap.conf", mode=0o600, data=_read(ROOT / "packaging/config/lenscap")),
        Entry("S34lenscap", mode=0o755, data=_read(BUILDROOT / "S34lenscap")),
        Entry("S60lenscap", mode=0o755, data=_read(BUILDROOT / "S60lenscap")),
        Entry("install.sh", mode=0o755, data=_read(installer / "install.sh")),
        Entry("README.md", data=_read(installer / "README.md")),
        Entry("VERSION", data=f"{version().upstream}\n".encode()),
        *licences("licenses", closure),
    ]
    folder = f"lenscap-{version().upstream}"
    return [Entry(folder, DIRECTORY, 0o755), Entry(f"{folder}/licenses", DIRECTORY, 0o755)] + [
        Entry(f"{folder}/{entry.path}", entry.kind, entry.mode, entry.data) for entry in entries
    ]


def licences(folder, closure):
    """Lenscap's own licences, and those of all that is linked into it, every text once."""
    yield Entry(f"{folder}/LICENSE-MIT", data=_read(ROOT / "LICENSE-MIT"))
    yield Entry(f"{folder}/LICENSE-APACHE", data=_read(ROOT / "LICENSE-APACHE"))
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as stream:
        stream.write(_third_party(closure).encode())
    yield Entry(f"{folder}/third-party.txt.gz", data=out.getvalue())


def _third_party(closure):
    parts = ["Linked into lenscap, and under which terms:\n"]
    parts += [f"  {crate.name} {crate.version}: {crate.licence}\n" for crate in closure if crate.checksum]
    texts = {}
    for crate in closure:
        for text in cargo.licence_texts(crate) if crate.checksum else ():
            texts.setdefault(text, []).append(crate.name)
    for text, names in sorted(texts.items(), key=lambda pair: pair[1]):
        parts.append(f"\n---- {', '.join(dict.fromkeys(names))}\n\n{text}\n")
    return "".join(parts)


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror}") from error
