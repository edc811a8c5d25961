#!/usr/bin/env python3
"""Tries the firewall on 32-bit kernels with different filters: from outside, from inside, and by the kernel's own tools.

usage: qemu/firewall.py [NAME]...

Each guest is a kernel, an initramfs and the agent of dist/, and lasts half a minute. It does what guest/firewall-init
says; this side knocks on its port 80 all the while and captures what it sends.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lab import paths
from lab.debs import Archive
from lab.initramfs import Cpio, Modules
from lab.kernel import FAST, VIRT_MEMORY, unpacked
from lab.pcap import conversations
from lab.variants import BUSYBOX, IPTABLES, KERNEL_6_1, KERNEL_6_12, LIBC, NFTABLES

TARGET = "armv7-unknown-linux-musleabihf"
GUEST_SECONDS = 240
BOOT_MODULES = ("crc32c_generic", "ext4", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "tun", "ipv6")
CONFIG = """config uplink 'main'
	option endpoint 'https://10.0.2.100:8443/uplink'
config profile 'main'
	option rtsp 'rtsp://127.0.0.1/'
config harden
	list allow_lan '10.0.2.9:22'
"""
FILES = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:99:99::/:/bin/sh\nlenscap:x:312:312::/:/bin/sh\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/config/lenscap": CONFIG,
    "etc/label": "label-7Q2M-9ZKD\n",
}
VENDORS_RULE = "-A INPUT -p tcp -m tcp --dport 9999 -j DROP"


@dataclass(frozen=True)
class Kernel:
    """A kernel, and what is expected of it."""

    wanted: object
    modules: tuple
    rung: str | None
    # Whether the kernel can tell the agent's user from others.
    owner: bool


KERNELS = {
    "bare": Kernel(KERNEL_6_1, (), None, False),
    "stateless": Kernel(KERNEL_6_1, ("iptable_filter", "xt_tcpudp"), "iptables, IPv4 alone", False),
    "iptables": Kernel(KERNEL_6_1, ("iptable_filter", "ip6table_filter", "xt_tcpudp", "xt_owner", "xt_limit",
                                    "nf_conntrack", "xt_conntrack"), "iptables", True),
    "nftables": Kernel(KERNEL_6_12, ("nf_tables", "nf_conntrack", "nft_ct", "nft_limit"), "nf_tables", True),
}


def initramfs(kernel: Kernel, package: Path, archive: Archive, path: Path) -> None:
    """The guest's whole file system."""
    program = paths.DIST / TARGET / "lenscap"
    if not program.exists():
        raise SystemExit(f"no {program}: packaging/toolchain/build.sh {TARGET}")
    modules = Modules(next((package / "lib/modules").iterdir()))
    cpio = Cpio()
    cpio.file("bin/busybox", (archive.unpack(BUSYBOX) / "bin/busybox").read_bytes())
    cpio.file("init", (paths.GUEST / "firewall-init").read_bytes())
    cpio.file("sbin/lenscap", program.read_bytes())
    order = modules.ordered([name for name in BOOT_MODULES if name in modules.paths] + list(kernel.modules))
    for name in order:
        cpio.file(f"lib/modules/{name}.ko", modules.read(name))
    cpio.file("lib/modules/order", "".join(f"{name}\n" for name in order).encode(), 0o644)
    for package in sorted(set(LIBC + IPTABLES + NFTABLES), key=lambda package: package.name):
        root = archive.unpack(package)
        for file in sorted(root.rglob("*")):
            name = str(file.relative_to(root))
            if name.startswith(("etc/", "usr/share/")) or "gconv" in name:
                continue
            if file.is_symlink():
                cpio.link(name, os.readlink(file))
            elif file.is_file():
                cpio.file(name, file.read_bytes())
    for name, text in FILES.items():
        cpio.file(name, text.encode(), 0o600)
    cpio.write(path)


class Guest:
    """A running guest: its console, and whether its port answers."""

    def __init__(self, name: str, kernel: Kernel):
        paths.OUT.mkdir(parents=True, exist_ok=True)
        base = paths.OUT / f"firewall-{name}"
        self.capture = base.with_suffix(".pcap")
        self.log = base.with_suffix(".log")
        disk, initrd, image = (base.with_suffix(ending) for ending in (".img", ".cpio", ".kernel"))
        archive = Archive("armhf")
        package = archive.unpack(kernel.wanted)
        initramfs(kernel, package, archive, initrd)
        image.write_bytes(unpacked(package, VIRT_MEMORY))
        disk.write_bytes(b"")
        os.truncate(disk, 8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.outside: dict[str, list[bool]] = {}
        self.phase = "-"
        self.lines: list[str] = []
        self.command = [
            "timeout", str(GUEST_SECONDS), "qemu-system-arm", "-M", "virt", "-cpu", "cortex-a7", "-m", "96M", "-nographic",
            "-no-reboot", "-kernel", str(image), "-initrd", str(initrd),
            "-append", f"console=ttyAMA0 quiet {FAST}", "-drive", f"file={disk},format=raw,if=none,id=disk",
            "-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:80",
            "-device", "virtio-net-device,netdev=net", "-object", f"filter-dump,id=dump,netdev=net,file={self.capture}",
        ]

    def run(self) -> None:
        """Boots it, and returns when it has switched itself off."""
        with self.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT)
            knocking = threading.Thread(target=self._knock, args=(process,), daemon=True)
            knocking.start()
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                log.write(line + "\n")
                self.lines.append(line)
                if line.startswith("@outside "):
                    self.phase = line.split(" ", 1)[1]
            process.wait()
            knocking.join()

    def _knock(self, process: subprocess.Popen) -> None:
        while process.poll() is None:
            phase = self.phase
            if phase != "-":
                answered = self._is_answered()
                if phase == self.phase:
                    self.outside.setdefault(phase, []).append(answered)
            time.sleep(0.2)

    def _is_answered(self) -> bool:
        """QEMU takes every connection; only the guest knows the page."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as tcp:
                tcp.settimeout(1)
                tcp.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b""
                while chunk := tcp.recv(4096):
                    answer += chunk
                return b"open" in answer
        except OSError:
            return False

    def section(self, mark: str) -> list[str]:
        """The lines from a mark to the next."""
        if mark not in self.lines:
            return []
        start = self.lines.index(mark) + 1
        rest = self.lines[start:]
        end = next((at for at, line in enumerate(rest) if line.startswith("@")), len(rest))
        return rest[:end]

    def status(self, step: str) -> int | None:
        """How a step ended."""
        if f"@step {step}" not in self.lines:
            return None
        rest = self.lines[self.lines.index(f"@step {step}"):]
        return next((int(line.split()[1]) for line in rest if line.startswith("@status ")), None)


# What malware sends, as the capture tells it; each must be seen to leave before it counts that none does.
KINDS = ("udp 203.0.113.71:53", "udp 203.0.113.71:123", "udp 203.0.113.71:9999", "tcp 203.0.113.71:6667 syn",
         "tcp 203.0.113.71:8443 syn", "ipv6 udp 2001:db8::71")


def sent(capture: Path) -> dict[str, int]:
    """Packets that left, by what sent them and when."""
    counts = {**dict.fromkeys(KINDS, 0), "after": 0, "agent": 0, "ipv6 after": 0, "uplink port after": 0}
    for what, packets in conversations(capture, "10.0.2.15").items():
        if "203.0.113.72:8443" in what:
            counts["uplink port after"] += packets
        elif what in KINDS:
            counts[what] += packets
        elif "203.0.113.72" in what:
            counts["after"] += packets
        elif "2001:db8::72" in what:
            counts["ipv6 after"] += packets
        elif "198.51.100.72:8443" in what:
            counts["agent"] += packets
    return counts


def judge(guest: Guest, kernel: Kernel) -> list[str]:
    """What is wrong."""
    wrong = []

    def check(holds: bool, what: str) -> None:
        if not holds:
            wrong.append(what)

    steps = ["lenscap harden --only firewall --apply --password-file /etc/label", "lenscap harden --confirm",
             "lenscap harden --restore", "lenscap harden --only firewall", "lenscap harden --undo"]
    statuses = [guest.status(step) for step in steps]
    report = "\n".join(guest.section("@step " + steps[0]))
    packets = sent(guest.capture)
    for phase in ("open", "again"):
        check(any(guest.outside.get(phase, [])), f"port 80 does not answer while it is {phase}")
    check(all(packets[kind] for kind in KINDS), f"malware does not send everything before: {packets}")
    check(guest.section("@rules before") == guest.section("@rules undone"), "the firmware's own rules are others after undo")
    closed = guest.outside.get("closed", [])
    if kernel.rung is None:
        check(statuses == [1, 1, 0, 1, 0], f"exit statuses {statuses}")
        check("fails    not enforceable here" in report and any(closed), "success is pretended")
        return wrong
    check(statuses == [0] * 5, f"exit statuses {statuses}")
    check(f"closed by {kernel.rung};" in report, f"not closed by {kernel.rung}")
    check("packets from outside to port 80, 554 are dropped" in report, "the probe does not say dropped")
    check(bool(closed) and not any(closed), f"port 80 answers from outside: {closed}")
    check(packets["after"] == packets["ipv6 after"] == 0, f"malware sends: {packets}")
    check((packets["uplink port after"] == 0) == kernel.owner, f"the uplink's port for others: {packets}")
    check(packets["agent"] > 0, "the agent's user does not reach the uplink's port")
    rules = guest.section("@rules applied")
    if kernel.rung == "nf_tables":
        check(any("policy drop;" in line for line in rules), "nft does not show the table")
    else:
        check("-A INPUT -j lenscap-in" in rules and "-A lenscap-out -j DROP" in rules, "iptables does not show the chains")
        check(VENDORS_RULE in rules, "the firmware's own rule is gone")
    return wrong


def main() -> int:
    """Runs the named kernels, or all."""
    status = 0
    for name in sys.argv[1:] or KERNELS:
        kernel = KERNELS[name]
        guest = Guest(name, kernel)
        guest.run()
        wrong = judge(guest, kernel)
        status |= bool(wrong)
        knocks = {phase: f"{sum(answers)} of {len(answers)}" for phase, answers in guest.outside.items()}
        print(f"{'FAIL' if wrong else 'ok  '} {name:10} {kernel.rung or 'no filter'}; answered from outside: {knocks}; "
              f"sent: {sent(guest.capture)}", flush=True)
        for line in wrong:
            print(f"       {line}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
