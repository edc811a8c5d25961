#!/usr/bin/env python3
"""Counts the instructions per byte of whatever relays a camera's video on ARMv7. See docs/benchmarks.md.

usage: qemu/bench.py [--only NAME,...] [--bulk-mib N] [--paced-mib N]
"""

import argparse
import hashlib
import json
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchpeers import PEERS, CipherError
from lab import paths
from lab.debs import Archive, Wanted
from lab.gateway import Gateway, openssl
from lab.image import Image
from lab.initramfs import Cpio, Modules
from lab.machine import GuestError, Machine, Network, qemu_version
from lab.package import guest_tool
from lab.variants import BUSYBOX, DROPBEAR, KERNEL_6_1, LIBC, Variant

TARGET = "armv7-unknown-linux-musleabihf"
OUT = paths.ROOT / "out" / "bench"
# Emulation with every instruction counted is slow, and the machine may be busy.
STEP_SECONDS = 1800
# One nanosecond of the guest is one instruction; idle time costs none of ours.
COUNTING = ("-icount", "shift=0,sleep=off")
MACHINE = ("-M", "virt", "-cpu", "cortex-a7", "-m", "256M", *COUNTING)
STUNNEL = tuple(Wanted(name, "") for name in (
    "stunnel4", "libssl3", "libwrap0", "libnsl2", "libtirpc3", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3",
    "libkrb5support0", "libcom-err2", "libkeyutils1"))
SYSTEMD = tuple(Wanted(name, "") for name in (
    "libsystemd0", "libcap2", "libgcrypt20", "libgpg-error0", "liblzma5", "libzstd1", "liblz4-1"))
OPENVPN = tuple(Wanted(name, "") for name in (
    "openvpn", "libcap-ng0", "liblzo2-2", "libnl-3-200", "libnl-genl-3-200", "libpkcs11-helper1"))
COUNTER = Variant(
    name="bench", what="instructions counted, everything in memory", kernel=KERNEL_6_1, machine=MACHINE,
    boot_modules=("crc32c_generic", "virtio_mmio", "virtio_rng", "tun"), packages=LIBC + DROPBEAR + STUNNEL + SYSTEMD + OPENVPN,
    append="")
PROGRAMS = ("lenscap-gateway", "simcam", "rtp-sink", "aead")
# Instructions between two samples that divide a sum into user and system; a prime.
SAMPLE_PERIOD = 20011
# Pulled first, so that connecting and the first pages are in neither of the two that are compared.
WARM_UP_MIB = 1


@dataclass
class Cost:
    """Instructions of a control group for so many bytes."""

    instructions: int
    received: int = 0

    def per_byte_since(self, short: "Cost") -> float:
        """Instructions per byte of what was pulled beyond `short`."""
        return (self.instructions - short.instructions) / (self.received - short.received)


def programs() -> dict[str, Path]:
    """What this project brings, built for the guest."""
    found = {"lenscap": paths.DIST / TARGET / "lenscap"}
    found |= {name: paths.CROSS / TARGET / TARGET / "release" / name for name in PROGRAMS}
    missing = [str(path) for path in found.values() if not path.exists()]
    if missing:
        raise GuestError(f"not built: {', '.join(missing)}; qemu/bench.sh builds them")
    return found | {"shares": guest_tool("shares")}


class Rig:
    """The guest, and what is needed to measure a peer in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.keys = Gateway(folder / "keys")
        self._self_signed()
        self.machine = Machine(self._image(), OUT / "arm-console.log", Network())
        self.machine.boot()
        self.machine.check(f"date -s @{int(time.time())}; chmod 700 /root /root/.ssh; mkdir -p /etc/lenscap")

    def _self_signed(self) -> None:
        openssl(self.keys.dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=camera", "-keyout", "camera.key", "-out", "camera.pem")

    def certificate_digest(self, name: str) -> str:
        """SHA-256 of a certificate as OpenVPN writes it."""
        der = ssl.PEM_cert_to_DER_cert((self.keys.dir / name).read_text(encoding="ascii"))
        return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())

    def _image(self) -> Image:
        archive = Archive(COUNTER.debian_arch)
        kernel = archive.unpack(COUNTER.kernel)
        modules = Modules(next((kernel / "lib/modules").iterdir()))
        cpio = Cpio()
        cpio.file("bin/busybox", (archive.unpack(BUSYBOX) / "bin/busybox").read_bytes())
        cpio.link("bin/sh", "busybox")
        cpio.file("init", (paths.GUEST / "bench-init").read_bytes())
        order = modules.ordered(COUNTER.boot_modules)
        for module in order:
            cpio.file(f"lib/modules/{module}.ko", modules.read(module), 0o644)
        cpio.file("lib/modules/order", "".join(f"{module}\n" for module in order).encode(), 0o644)
        for package in COUNTER.packages:
            self._package(cpio, archive.unpack(package))
        for name, path in programs().items():
            cpio.file(f"usr/bin/{name}", path.read_bytes())
        for name in ("ca.pem", "gateway.pem", "gateway.key", "camera.pem", "camera.key", "viewer.password"):
            cpio.file(f"keys/{name}", (self.keys.dir / name).read_bytes(), 0o600)
        cpio.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)
        cpio.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        cpio.file("etc/shells", b"/bin/sh\n", 0o644)
        cpio.file("etc/hosts", b"127.0.0.1 localhost\n", 0o644)
        cpio.folder("root/.ssh")
        cpio.folder("sys/fs/cgroup")
        cpio.write(self.folder / "initramfs.cpio")
        shutil.copy2(next((kernel / "boot").glob("vmlinuz-*")), self.folder / "kernel")
        (self.folder / "no-disk.img").write_bytes(b"\0" * 512)
        return Image(COUNTER, self.folder / "kernel", self.folder / "initramfs.cpio", self.folder / "no-disk.img", None)

    @staticmethod
    def _package(cpio: Cpio, package: Path) -> None:
        """Programs and libraries alone."""
        for path in sorted(package.rglob("*")):
            name = path.relative_to(package)
            is_library = "lib" in name.parts and ".so" in path.name and not {"gconv", "audit", "ossl-modules", "plugins"} & set(name.parts)
            is_program = name.parent.name in ("bin", "sbin")
            if path.is_symlink() and (is_library or is_program):
                cpio.link(str(name), str(path.readlink()))
            elif path.is_file() and (is_library or is_program):
                cpio.file(str(name), path.read_bytes())

    def secret(self, path: str, text: str) -> str:
        """A file in the guest for its owner alone."""
        self.machine.write_file(path, text, "600")
        return path

    def start(self, name: str, command: str) -> None:
        """Starts a program beside; its output goes to a log."""
        self.machine.check(f"{command} >/tmp/{name}.log 2>&1 </dev/null & echo $! >/tmp/{name}.pid")

    def start_counted(self, name: str, command: str) -> None:
        """Starts a program, with all its children, in a control group of its own: the kernel keeps its account."""
        group = f"/sys/fs/cgroup/{name}"
        self.machine.check(f"mkdir -p {group}")
        script = f"echo $$ >{group}/cgroup.procs; exec {command}"
        self.start(name, f"sh -c '{script}'")

    def log(self, name: str) -> str:
        """The log of a program that `start` started."""
        return self.machine.run(f"cat /tmp/{name}.log").output

    def stop(self, *names: str) -> None:
        """Ends programs."""
        for name in names:
            self.machine.run(f"kill $(cat /tmp/{name}.pid); n=50; while [ -d /proc/$(cat /tmp/{name}.pid) ] && "
                             "[ $n -gt 0 ]; do n=$((n-1)); usleep 100000; done")

    def account(self, name: str) -> int:
        """The instructions that a control group has used so far, in thousands as the kernel tells them."""
        text = self.machine.check(f"cat /sys/fs/cgroup/{name}/cpu.stat")
        return int(re.search(r"^usage_usec (\d+)$", text, re.MULTILINE).group(1)) * 1000

    def user_share(self, name: str, work) -> float:
        """Which part of a control group's time while `work` runs is its own, and not the kernel's."""
        self.start("shares", f"shares {SAMPLE_PERIOD} $(cat /sys/fs/cgroup/{name}/cgroup.procs)")
        self.machine.check("usleep 300000")
        work()
        self.stop("shares")
        found = re.search(r"user (\d+) kernel (\d+)", self.log("shares"))
        if not found:
            raise GuestError(f"shares: {self.log('shares')}")
        user, kernel = (int(number) for number in found.groups())
        return user / (user + kernel)

    def pull(self, url: str, wanted: int, credit: str | None = None, login: bool = False) -> dict:
        """Plays a URL until so many bytes have come."""
        words = f"rtp-sink {url} --bytes {wanted} --seconds 7200 --timeout 20"
        words += f" --bulk-control {credit}" if credit else ""
        words += " --user viewer --password-file /keys/viewer.password" if login else ""
        text = self.machine.check(words, STEP_SECONDS)
        report = json.loads(text[text.index("{"):])
        if not report["ok"]:
            raise GuestError(f"rtp-sink: {report}")
        return report

    def cost_of_pull(self, name: str, mib: float, **how) -> tuple[Cost, dict]:
        """What the control group uses for one pull."""
        before = self.account(name)
        report = self.pull(wanted=int(mib * (1 << 20)), **how)
        # What is still on its way belongs to this pull: the session's end comes behind it.
        self.machine.check("usleep 500000")
        return Cost(self.account(name) - before, report["bytes"]), report

    def per_byte(self, name: str, mib: float, **how) -> tuple[float, float]:
        """User and system instructions per byte of a steady stream: a long pull less a short one."""
        short, _ = self.cost_of_pull(name, mib / 8, **how)
        long, report = self.cost_of_pull(name, mib * 9 / 8, **how)
        lost = sum(track["lost"] for track in report["tracks"])
        if lost:
            print(f"  {name}: {lost} packets were left out", flush=True)
        total = long.per_byte_since(short)
        # Sampling costs instructions itself, so it is done apart.
        share = self.user_share(name, lambda: self.pull(wanted=int(mib / 2 * (1 << 20)), **how))
        return total * share, total * (1 - share)


@dataclass
class Options:
    """How much is pulled."""

    bulk_mib: float
    paced_mib: float
    only: list[str] = field(default_factory=list)


def measure(rig: Rig, peer, options: Options) -> dict:
    """The row of one peer."""
    running = peer.start(rig)
    try:
        for path in (running.bulk, running.paced):
            rig.machine.wait_for(f"rtp-sink {path} {running.login_words()} --packets 1 --seconds 5 --timeout 5 >/tmp/ready.log 2>&1",
                                 60)
        rig.pull(running.bulk, WARM_UP_MIB << 20, running.credit, running.login)
        user, system = rig.per_byte(peer.NAME, options.bulk_mib, url=running.bulk, credit=running.credit, login=running.login)
        paced_user, paced_system = rig.per_byte(peer.NAME, options.paced_mib, url=running.paced, login=running.login)
        proof = peer.cipher(rig)
    except GuestError as error:
        raise GuestError(f"{error}\n{rig.log(peer.NAME)[-1500:]}") from None
    finally:
        rig.stop(*running.programs)
    return {"name": peer.NAME, "user_insn_per_byte": round(user, 2), "system_insn_per_byte": round(system, 2),
            "paced_user_insn_per_byte": round(paced_user, 2), "paced_system_insn_per_byte": round(paced_system, 2),
            "cipher": proof}


def aead(rig: Rig, mib: int) -> dict:
    """The limit: ring's ChaCha20-Poly1305 and nothing else. Its system calls are few and fall away in the difference."""
    costs = []
    for name, amount in (("aead-short", mib // 8), ("aead-long", mib + mib // 8)):
        rig.start_counted(name, f"aead {amount}")
        rig.machine.check(f"while [ -d /proc/$(cat /tmp/{name}.pid) ]; do usleep 100000; done", STEP_SECONDS)
        costs.append(Cost(rig.account(name), amount << 20))
    return {"name": "ring seal alone", "user_insn_per_byte": round(costs[1].per_byte_since(costs[0]), 2),
            "system_insn_per_byte": 0.0, "paced_user_insn_per_byte": None, "paced_system_insn_per_byte": None,
            "cipher": "ChaCha20-Poly1305"}


def table(rows: list[dict]) -> str:
    """For the screen."""
    lines = ["instructions per byte    bulk: user  system   total    4 Mbit/s: user  system   total"]
    for row in rows:
        text = f"{row['name']:22}"
        for prefix, width in (("", 12), ("paced_", 18)):
            user, system = row[f"{prefix}user_insn_per_byte"], row[f"{prefix}system_insn_per_byte"]
            text += f"{'-':>{width}}{'-':>8}{'-':>8}" if user is None else f"{user:{width}.2f}{system:8.2f}{user + system:8.2f}"
        lines.append(text)
    return "\n".join(lines)


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names, with commas")
    parser.add_argument("--bulk-mib", type=float, default=24)
    parser.add_argument("--paced-mib", type=float, default=6)
    parsed = parser.parse_args()
    options = Options(parsed.bulk_mib, parsed.paced_mib, [name for name in parsed.only.split(",") if name])
    OUT.mkdir(parents=True, exist_ok=True)
    began, rows, failed = time.monotonic(), [], []
    folder = Path(tempfile.mkdtemp(prefix="lenscap-bench-arm-"))
    print(f"{qemu_version()}, {' '.join(COUNTING)}; console in out/bench/arm-console.log", flush=True)
    rig = None
    try:
        rig = Rig(folder)
        print(f"guest up after {rig.machine.boot_seconds:.0f} s", flush=True)
        if not options.only or "aead" in options.only:
            rows.append(aead(rig, int(options.bulk_mib)))
        for peer in PEERS:
            if options.only and peer.NAME not in options.only:
                continue
            try:
                rows.append(measure(rig, peer, options))
                print(f"[{time.monotonic() - began:4.0f} s] {json.dumps(rows[-1])}", flush=True)
            except (GuestError, CipherError) as error:
                failed.append(peer.NAME)
                print(f"no row for {peer.NAME}: {error}", flush=True)
    finally:
        if rig is not None:
            rig.machine.__exit__()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + table(rows) + "\n")
    (OUT / "arm.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return verdict(rows, failed, bool(options.only))


def verdict(rows: list[dict], failed: list[str], some: bool) -> int:
    """Whether Lenscap costs no more than a plain TLS forwarder of the same bytes; of `some` peers only if that was tried."""
    totals = {row["name"]: [row[f"{prefix}user_insn_per_byte"] + row[f"{prefix}system_insn_per_byte"] for prefix in ("", "paced_")]
              for row in rows if row["paced_user_insn_per_byte"] is not None}
    met = True
    compared = "lenscap" in totals and "stunnel4" in totals
    if compared:
        for what, own, plain in zip(("bulk", "4 Mbit/s"), totals["lenscap"], totals["stunnel4"]):
            print(f"{'met' if own <= plain else 'NOT MET':8} {what}: {own:.2f} per byte, stunnel4 {plain:.2f}")
            met &= own <= plain
    print("figures: out/bench/arm.json")
    if failed or not (compared or some):
        print(f"not compared with {', '.join(failed) or 'stunnel4'}")
    return 0 if met and (compared or some) and not failed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (GuestError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench-arm: {error}")
