"""Assembles a camera's image: kernel, initramfs, and a disk with a squashfs root and an ext4 overlay.

Nothing here needs root: devices come from devtmpfs, ownership from mksquashfs.
"""

import hashlib
import json
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .debs import Archive
from .initramfs import Cpio, Modules
from .kernel import unpacked
from .variants import ARMV6, BUSYBOX, Variant

SECTOR = 512
MIB = 1024 * 1024
FIRST_PARTITION = 2048 * SECTOR
# SD cards in QEMU are a power of two in size.
DISK_BYTES = 64 * MIB
MEDIA_USER = "admin"

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "lib", "etc", "dev", "proc", "sys", "tmp", "run", "root", "rom",
           "overlay", "new", "mnt", "var", "usr/share/camera", "etc/config")


class BuildError(Exception):
    """The image cannot be built; the text says what is missing."""


@dataclass(frozen=True)
class Image:
    """What QEMU starts."""

    variant: Variant
    kernel: Path
    initramfs: Path
    disk: Path
    dtb: Path | None


def run(*command, **options) -> subprocess.CompletedProcess:
    """Runs a tool whose failure is ours to report."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise BuildError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done


def simcam(variant: Variant) -> Path:
    """The camera's RTSP server, built by packaging/toolchain: for the variant's CPU, or the newer one for ARMv6, which all run."""
    built = [paths.CROSS / target / target / "release" / "simcam" for target in (variant.target, ARMV6)]
    found = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    if not found:
        raise BuildError(f"{built[0]} is missing: make qemu-build, or "
                         f"LENSCAP_BIN='lenscap-tests simcam --no-default-features' packaging/toolchain/build.sh {variant.target}")
    return found[-1]


def media() -> Path:
    """Recorded video and a snapshot, made once."""
    folder = paths.CACHE / "media-1"
    if (folder / "image.jpg").exists():
        return folder
    scratch = folder.with_suffix(f".{os.getpid()}")
    scratch.mkdir(parents=True, exist_ok=True)
    for name, size, rate in (("main", "640x360", "500k"), ("sub", "320x180", "150k")):
        run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=15:duration=10",
            "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "0", "-g", "30", "-b:v", rate,
            "-maxrate", rate, "-bufsize", rate, "-pix_fmt", "yuv420p", "-threads", "1", "-f", "h264", scratch / f"{name}.h264")
    run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=1:duration=1", "-frames:v", "1",
        scratch / "image.jpg")
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    return folder


def applets(busybox: Path) -> list[str]:
    """What links to BusyBox the firmware has."""
    done = run("qemu-arm-static", busybox, "--list-full")
    return done.stdout.split()


class Rootfs:
    """The staging folder of the read-only root."""

    def __init__(self, variant: Variant, folder: Path, archive: Archive):
        self.variant = variant
        self.dir = folder
        self.archive = archive

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """A text file."""
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def build(self, modules: Modules) -> None:
        """Everything, from an empty folder."""
        for folder in FOLDERS:
            (self.dir / folder).mkdir(parents=True, exist_ok=True)
        self._busybox()
        for package in self.variant.packages:
            self._package(self.archive.unpack(package))
        self._filter_tools()
        shutil.copytree(paths.GUEST / "rootfs", self.dir, dirs_exist_ok=True, symlinks=True)
        self._accounts()
        self._camera()
        order = modules.ordered(self.variant.modules)
        for module in order:
            path = self.dir / "lib/modules" / f"{module}.ko"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(modules.read(module))
        self.write("lib/modules/order", "".join(f"{module}\n" for module in order))

    def _busybox(self) -> None:
        busybox = self.archive.unpack(BUSYBOX) / "bin/busybox"
        shutil.copy2(busybox, self.dir / "bin/busybox")
        for applet in applets(busybox):
            link = self.dir / applet
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists() and not link.is_symlink():
                link.symlink_to("/bin/busybox")
        if not (self.dir / "sbin/init").is_symlink():
            (self.dir / "sbin/init").symlink_to("/bin/busybox")

    def _package(self, package: Path) -> None:
        """Programs and libraries; a camera has no manuals, locales or examples."""
        for path in sorted(package.rglob("*")):
            name = path.relative_to(package)
            wanted = name.parts[0] in ("lib", "bin", "sbin") or name.parts[:2] in (("usr", "lib"), ("usr", "bin"), ("usr", "sbin"))
            if not wanted or "gconv" in name.parts or "audit" in name.parts or (path.is_dir() and not path.is_symlink()):
                continue
            target = self.dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink() or target.exists():
                target.unlink()
            shutil.copy2(path, target, follow_symlinks=False)

    def _filter_tools(self) -> None:
        """Debian's alternatives, by hand: iptables is the legacy one. There is no ip6tables, as there is no module."""
        legacy = self.dir / "usr/sbin/xtables-legacy-multi"
        if legacy.exists():
            for name in ("iptables", "iptables-save", "iptables-restore"):
                link = self.dir / "usr/sbin" / name
                link.unlink(missing_ok=True)
                link.symlink_to("xtables-legacy-multi")
            for path in (self.dir / "usr/sbin").glob("*"):
                if path.name.startswith(("ip6tables", "xtables-nft", "arptables", "ebtables")) or "nft" in path.name:
                    path.unlink()

    def _accounts(self) -> None:
        variant = self.variant
        self.write("etc/passwd", PASSWD)
        self.write("etc/group", GROUP)
        self.write("etc/shadow", f"root:{variant.password_hash}:0:0:99999:7:::\nnobody:*:0:0:99999:7:::\n", 0o600)
        self.write("etc/shells", "/bin/sh\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n10.0.2.100 gateway.lenscap.test\n")
        self.write("etc/profile", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='# '\n")
        self.write("etc/camera-release", f"{variant.name}: {variant.what}\n")
        (self.dir / "etc/resolv.conf").symlink_to("/tmp/resolv.conf")
        for name in ("log", "run", "tmp"):
            (self.dir / "var" / name).symlink_to("/tmp" if name != "run" else "/run")
        getty = "-/bin/sh" if variant.password is None else "/sbin/getty -L 115200 ttyAMA0 vt100"
        inittab = (self.dir / "etc/inittab").read_text(encoding="utf-8").replace("@GETTY@", getty)
        self.write("etc/inittab", inittab)
        if not variant.telnet:
            (self.dir / "etc/init.d/S40telnet").unlink()

    def _camera(self) -> None:
        shutil.copy2(simcam(self.variant), self.dir / "usr/bin/simcam")
        for name in ("main.h264", "sub.h264", "image.jpg"):
            shutil.copy2(media() / name, self.dir / "usr/share/camera" / name)
        password = self.variant.media_password
        if self.variant.prudynt:
            rtsp = {"auth_required": True, "password": password, "port": 554, "username": MEDIA_USER}
            self.write("etc/prudynt.json", json.dumps({"rtsp": rtsp}, indent=2) + "\n", 0o600)
        else:
            self.write("etc/camera/password", password + "\n", 0o600)
        self.write("etc/camera/watchdog", self.variant.watchdog + "\n")


def initramfs(variant: Variant, modules: Modules, archive: Archive, path: Path) -> None:
    """BusyBox, the modules that lead to the disk, and a script."""
    cpio = Cpio()
    cpio.file("bin/busybox", (archive.unpack(BUSYBOX) / "bin/busybox").read_bytes())
    cpio.link("bin/sh", "busybox")
    cpio.file("init", (paths.GUEST / "initramfs-init").read_bytes())
    order = modules.ordered(variant.boot_modules)
    for module in order:
        cpio.file(f"lib/modules/{module}.ko", modules.read(module), 0o644)
    cpio.file("lib/modules/order", "".join(f"{module}\n" for module in order).encode(), 0o644)
    cpio.write(path)


def partition_table(parts: list[tuple[int, int]]) -> bytes:
    """A master boot record; parts are (first byte, bytes)."""
    entries = b"".join(
        struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", start // SECTOR, size // SECTOR)
        for start, size in parts)
    return b"\0" * 446 + entries.ljust(64, b"\0") + b"\x55\xaa"


def disk(squashfs: Path, overlay_bytes: int, path: Path) -> None:
    """One disk: the read-only root, then an empty overlay."""
    root_bytes = -(-squashfs.stat().st_size // MIB) * MIB
    overlay_at = FIRST_PARTITION + root_bytes
    if overlay_at + overlay_bytes > DISK_BYTES:
        raise BuildError(f"the root of {root_bytes} bytes and the overlay do not fit {DISK_BYTES}")
    with path.open("wb") as out:
        out.truncate(DISK_BYTES)
        out.write(partition_table([(FIRST_PARTITION, root_bytes), (overlay_at, overlay_bytes)]))
        out.seek(FIRST_PARTITION)
        out.write(squashfs.read_bytes())
    run("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-J", "size=1", "-N", "512", "-E",
        f"offset={overlay_at},lazy_itable_init=0,nodiscard", path, f"{overlay_bytes // 1024}k")


def fingerprint(variant: Variant) -> str:
    """Changes whenever the image would."""
    digest = hashlib.sha256(repr(variant).encode())
    sources = [path for path in sorted(paths.GUEST.rglob("*")) if path.is_file()]
    own = [paths.QEMU / "lab" / name for name in ("image.py", "initramfs.py", "kernel.py")]
    for path in (*sources, *own, simcam(variant)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(variant: Variant) -> Image:
    """The variant's image, built unless the same one is there."""
    folder = paths.IMAGES / f"{variant.name}-{fingerprint(variant)}"
    image = Image(variant, folder / "kernel", folder / "initramfs.cpio", folder / "disk.img",
                  folder / variant.dtb if variant.dtb else None)
    if image.disk.exists():
        return image
    print(f"image: building {variant.name} ({variant.what})", flush=True)
    for old in paths.IMAGES.glob(f"{variant.name}-*"):
        shutil.rmtree(old, ignore_errors=True)
    archive = Archive(variant.debian_arch)
    kernel = archive.unpack(variant.kernel)
    scratch = folder.with_suffix(f".{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "root").mkdir(parents=True)
    modules = Modules(next((kernel / "lib/modules").iterdir()))
    initramfs(variant, modules, archive, scratch / "initramfs.cpio")
    Rootfs(variant, scratch / "root", archive).build(modules)
    run("mksquashfs", scratch / "root", scratch / "root.squashfs", "-all-root", "-noappend", "-no-progress", "-quiet",
        # Cameras have xz, which an emulated CPU takes longer for than for all else of a boot.
        "-comp", "lz4", "-no-xattrs")
    disk(scratch / "root.squashfs", variant.overlay_mib * MIB, scratch / "disk.img")
    (scratch / "kernel").write_bytes(unpacked(kernel, variant.memory_at))
    if variant.dtb:
        shutil.copy2(next(kernel.rglob(variant.dtb)), scratch / variant.dtb)
    shutil.rmtree(scratch / "root")
    (scratch / "root.squashfs").unlink()
    scratch.rename(folder)
    return image
