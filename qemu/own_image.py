#!/usr/bin/env python3
"""Boots an image of your own, OpenWrt's or Buildroot's, and checks what can be checked on any camera.

usage: qemu/own_image.py PATH

PATH is a kernel with its root inside (OpenWrt: *-initramfs-kernel.bin, *-initramfs.itb is not one), or a folder like
Buildroot's output/images: zImage, a root file system (rootfs.ext2, rootfs.ext4, rootfs.squashfs or rootfs.cpio.gz) and,
for boards that need one, a .dtb.

IMAGE_MACHINE   QEMU's machine (virt; vexpress-a9 or versatilepb where the folder has their .dtb)
IMAGE_APPEND    more kernel arguments
IMAGE_LOGIN     user[:password] for an image that asks (root, no password)
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import paths
from lab.gateway import free_port
from lab.machine import Console, GuestError, Network, copy_disk

BOOT_SECONDS = 240
COMMAND_SECONDS = 60
ZIMAGE_MAGIC, ZIMAGE_MAGIC_AT = b"\x18\x28\x6f\x01", 0x24
ROOTS = ("rootfs.ext4", "rootfs.ext2", "rootfs.squashfs", "rootfs.cpio.gz")
INITRAMFS = ".cpio.gz"
# .dtb in the folder: machine, CPU or None, console, disk's device, network device.
BOARDS = {
    "vexpress-v2p-ca9.dtb": ("vexpress-a9", None, "ttyAMA0", "mmcblk0", "lan9118"),
    "versatile-pb.dtb": ("versatilepb", None, "ttyAMA0", "sda", "rtl8139"),
}
VIRT = ("virt", "cortex-a15", "ttyAMA0", "vda", "virtio-net-device")
# BusyBox asks the terminal where its cursor is.
SHELL = r"(?:^|\n)[^\n]*[#$] (?:\x1b\[6n)?$"


class OwnImage:
    """What PATH holds, as QEMU's arguments."""

    def __init__(self, path: Path, scratch: Path):
        self.root = self.dtb = None
        self.board = VIRT
        if path.is_dir():
            self.kernel = self._first(path, ("zImage", "Image"))
            self.root = next((path / name for name in ROOTS if (path / name).exists()), None)
            for name, board in BOARDS.items():
                if (path / name).exists():
                    self.dtb, self.board = path / name, board
        else:
            self.kernel = path
        head = self.kernel.read_bytes()[:64]
        if head[ZIMAGE_MAGIC_AT:ZIMAGE_MAGIC_AT + 4] != ZIMAGE_MAGIC:
            sys.exit(f"{self.kernel} is no ARM zImage: give a kernel that boots with -kernel, or a folder with one")
        if self.root and not self.root.name.endswith(INITRAMFS):
            # SD cards in QEMU are a power of two in size.
            disk = scratch / "root.img"
            copy_disk(self.root, disk)
            size = 1 << max(24, (disk.stat().st_size - 1).bit_length())
            os.truncate(disk, size)
            self.disk = disk

    @staticmethod
    def _first(folder: Path, names) -> Path:
        for name in names:
            if (folder / name).exists():
                return folder / name
        sys.exit(f"no {' or '.join(names)} in {folder}")

    def arguments(self, console: Path) -> list[str]:
        """QEMU's command line."""
        machine, cpu, tty, device, net = self.board
        machine = os.environ.get("IMAGE_MACHINE", machine)
        append = f"console={tty},115200 panic=-1 {os.environ.get('IMAGE_APPEND', '')}"
        command = ["qemu-system-arm", "-M", machine, "-m", "128M", "-kernel", str(self.kernel), "-display", "none", "-monitor",
                   "none", "-no-reboot", "-chardev", f"socket,id=c0,path={console},server=on,wait=on", "-serial", "chardev:c0"]
        if cpu:
            command += ["-cpu", cpu]
        if self.dtb:
            command += ["-dtb", str(self.dtb)]
        if self.root and self.root.name.endswith(INITRAMFS):
            command += ["-initrd", str(self.root)]
        elif self.root:
            kind = self.root.name.split(".")[1]
            append += f" root=/dev/{device} rootwait rootfstype={kind} " + ("ro" if kind == "squashfs" else "rw")
            drive = f"file={self.disk},format=raw"
            if machine.startswith("vexpress"):
                command += ["-drive", f"if=sd,{drive}"]
            elif machine.startswith("versatile"):
                command += ["-drive", f"if=scsi,{drive}"]
            else:
                command += ["-drive", f"if=none,id=d0,{drive}", "-device", "virtio-blk-device,drive=d0"]
        command += Network(uplink_port=free_port()).arguments(net)
        return command + ["-append", append]


def log_in(console: Console) -> None:
    """To a root shell: OpenWrt asks for Enter, Buildroot for a name."""
    user, _, password = os.environ.get("IMAGE_LOGIN", "root").partition(":")
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        left = max(1.0, deadline - time.monotonic())
        match = console.expect(rf"Please press Enter|login: $|[Pp]assword: $|{SHELL}", left)
        said = match.group(0)
        if "Enter" in said:
            console.send("\n")
        elif said == "login: ":
            console.send(user + "\n")
        elif "assword" in said:
            console.send(password + "\n")
        else:
            break
    console.send("stty -echo 2>/dev/null; PS1=; PS2=; dmesg -n 1; echo own-'ready'\n")
    console.expect(r"^own-ready$", COMMAND_SECONDS)
    console.drain()


# The lines of /proc/net/tcp that are listening sockets of lenscap.
LISTENING = (
    "for p in $(pidof lenscap); do for f in /proc/$p/fd/*; do readlink $f; done; done | sed -n 's/socket:.\\([0-9]*\\).*/\\1/p' | "
    "while read i; do awk -v i=$i '$4 == \"0A\" && $10 == i' /proc/net/tcp /proc/net/tcp6 2>/dev/null; done")
numbers = itertools.count(1)


def run(console: Console, command: str) -> tuple[int, str]:
    """A command's status and output."""
    number = next(numbers)
    console.send(f"{{ {command}\n}} 2>&1; printf '\\n@%d.%d@\\n' {number} $?\n")
    match = console.expect(rf"(.*?)\n@{number}\.(\d+)@\n", COMMAND_SECONDS)
    return int(match.group(2)), match.group(1).strip("\n")


def checks(console: Console) -> list[tuple[bool, str, str]]:
    """(good, what, what was seen)."""
    found = [(True, "boots to a root shell", run(console, "uname -srm")[1])]
    status, version = run(console, "lenscap --version")
    found.append((status == 0, "lenscap runs on this CPU", version))
    if status != 0:
        return found
    status, said = run(console, "lenscap check --json")
    found.append((status == 0, "lenscap check finds no error in the configuration", said[:200]))
    status, pids = run(console, "pidof lenscap")
    found.append((status == 0, "the service was started at boot", f"processes {pids or 'none'}"))
    status, said = run(console, "lenscap identity --json")
    found.append((status == 0 and "sha256:" in said, "the camera has a key", re.sub(r"\s+", " ", said)[:160]))
    listening = run(console, LISTENING)[1]
    found.append((not listening, "lenscap listens on nothing", listening or "no listening socket"))
    return found


def main() -> int:
    """Boots, looks, says."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    if not path.exists():
        sys.exit(f"{path} does not exist")
    log = paths.OUT / "own-image.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="lenscap-own-") as name:
        scratch = Path(name)
        image = OwnImage(path, scratch)
        process = subprocess.Popen(image.arguments(scratch / "console"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            console = Console(scratch / "console", process, log)
            log_in(console)
            found = checks(console)
        except GuestError as error:
            found = [(False, "boots to a root shell", str(error))]
        finally:
            process.kill()
            process.wait()
    for good, what, seen in found:
        print(f"{'ok  ' if good else 'FAIL'} {what}: {seen}")
    print(f"console: {log}")
    return 0 if all(good for good, _, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
