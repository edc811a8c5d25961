"""Starts an emulated camera and talks to it over its serial console, with deadlines.

Every wait is for text or for a process' end; nothing sleeps. The console is logged whole.
"""

import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .gateway import MORTAL, PATIENCE
from .image import Image
from .kernel import FAST
from .segment import CAMERA, PREFIX, Segment

BOOT_SECONDS = 150
COMMAND_SECONDS = 60
STOP_SECONDS = 60
CONNECT_SECONDS = 60
ENGINE_SECONDS = 2
KEPT_BYTES = 512 * 1024
# The one address that the guest reaches, and where it fetches packages during a test.
UPLINK_ADDRESS, UPLINK_PORT = "10.0.2.100", 8443
PAYLOAD_ADDRESS, PAYLOAD_PORT = "10.0.2.101", 8000
SHELL_READY = "lab-ready-"
SECOND_MAC = "52:54:00:5e:c0:02"
USB = "usb-net"


class GuestError(Exception):
    """The guest did not do what it had to; the text ends with what the console said."""


@dataclass
class Result:
    """What a command in the guest said and how it ended."""

    status: int
    output: str


@dataclass
class Network:
    """What lies behind the guest's cable."""

    uplink_port: int | None = None
    payload: Path | None = None
    pcap: Path | None = None
    # A host on a second network of the camera's, as Wi-Fi is beside a cable.
    segment: Segment | None = None

    def arguments(self, device: str) -> list[str]:
        """QEMU's arguments: user networking that reaches nothing but what is named here."""
        net = ["user", "id=n0", "restrict=on"]
        # One process a connection: with -tcp: QEMU would connect once and never again.
        if self.uplink_port:
            net.append(f"guestfwd=tcp:{UPLINK_ADDRESS}:{UPLINK_PORT}-cmd:socat -t 5 STDIO TCP4:127.0.0.1:{self.uplink_port}")
        if self.payload:
            net.append(f"guestfwd=tcp:{PAYLOAD_ADDRESS}:{PAYLOAD_PORT}-cmd:cat {self.payload}")
        arguments = ["-netdev", ",".join(net)]
        cables = [["-device", f"{device},netdev=n0"]]
        if self.segment:
            arguments += ["-netdev", f"tap,id=t0,fd={self.segment.tap}"]
            # Kernels count the devices of `virt` from the last, those of USB from the first.
            cables.insert(1 if device == USB else 0, ["-device", f"{device},netdev=t0,mac={SECOND_MAC}"])
        for cable in cables:
            arguments += cable
        if self.pcap:
            arguments += ["-object", f"filter-dump,id=dump0,netdev=n0,file={self.pcap}"]
        return arguments


def qemu_version() -> str:
    """The emulator's version line, for reports."""
    done = subprocess.run(["qemu-system-arm", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


class Console:
    """One end of the guest's serial line."""

    def __init__(self, path: Path, process: subprocess.Popen, log: Path):
        self.process = process
        self.log = log
        self.buffer = ""
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise GuestError("QEMU does not start") from None
                select.select([], [], [], 0.02)

    def close(self) -> None:
        """Lets go of the line."""
        self._socket.close()

    def send(self, text: str) -> None:
        """Types `text`."""
        self._socket.sendall(text.encode())

    def drain(self) -> None:
        """Forgets what was said so far."""
        while select.select([self._socket], [], [], 0)[0]:
            if not self._read():
                break
        self.buffer = ""

    def _read(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        with self.log.open("ab") as out:
            out.write(data.replace(b"\r\n", b"\n"))
        self.buffer = (self.buffer + data.decode("utf-8", "replace").replace("\r", ""))[-KEPT_BYTES:]
        return bool(data)

    def expect(self, pattern: str, seconds: float) -> re.Match:
        """Waits for `pattern`, so many seconds of a guest's; what came up to its end is taken out of the buffer."""
        seconds *= PATIENCE
        deadline = time.monotonic() + seconds
        compiled = re.compile(pattern, re.MULTILINE | re.DOTALL)
        while True:
            match = compiled.search(self.buffer)
            if match:
                self.buffer = self.buffer[match.end():]
                return match
            left = deadline - time.monotonic()
            if left <= 0:
                raise GuestError(f"no {pattern!r} within {seconds:.0f} s; the console ends: …{self.buffer[-800:]}")
            if select.select([self._socket], [], [], left)[0] and not self._read():
                raise GuestError(f"QEMU ended while waiting for {pattern!r}; the console ends: …{self.buffer[-800:]}")


class Machine:
    """A booted camera. Its disk is a copy, which survives `cut_power` and `boot`."""

    def __init__(self, image: Image, log: Path, network: Network, append: str = "", disk: Path | None = None):
        self.image = image
        self.variant = image.variant
        self.network = network
        self.append = append
        self.log = log
        self.boots = 0
        self.boot_seconds = 0.0
        self.scratch = Path(tempfile.mkdtemp(prefix="lenscap-qemu-"))
        self.disk = self.scratch / "disk.img"
        self._process: subprocess.Popen | None = None
        self.console: Console | None = None
        self._command = 0
        self.log_to(log)
        copy_disk(disk or image.disk, self.disk)

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_) -> None:
        self.cut_power()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def log_to(self, log: Path) -> None:
        """From now on the console is logged there, in a new file."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        self.log = log
        if self.console is not None:
            self.console.drain()
            self.console.log = log

    def _arguments(self) -> list[str]:
        variant = self.variant
        append = f"console=ttyAMA0 panic=-1 quiet {FAST} disk={variant.disk} {variant.append} {self.append}"
        arguments = [
            *MORTAL, "qemu-system-arm", *variant.machine, "-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs),
            "-append", append, "-display", "none", "-no-user-config", "-no-reboot",
            "-monitor", f"unix:{self.scratch}/monitor,server=on,wait=off",
            "-chardev", f"socket,id=c0,path={self.scratch}/console,server=on,wait=on",
            "-serial", "chardev:c0",
        ]
        if self.image.dtb:
            arguments += ["-dtb", str(self.image.dtb)]
        drive = f"file={self.disk},format=raw,cache=unsafe"
        if variant.raspi:
            arguments += ["-drive", f"if=sd,{drive}"]
            arguments += self.network.arguments(USB)
        else:
            arguments += ["-drive", f"if=none,id=d0,{drive}", "-device", "virtio-blk-device,drive=d0",
                          "-object", "rng-random,filename=/dev/urandom,id=r0", "-device", "virtio-rng-device,rng=r0"]
            arguments += self.network.arguments("virtio-net-device")
        return arguments

    def start(self) -> None:
        """Switches the camera on."""
        if self._process is not None:
            raise GuestError("the camera is on already")
        (self.scratch / "console").unlink(missing_ok=True)
        with open(self.scratch / "qemu.log", "ab") as errors:
            tap = (self.network.segment.tap,) if self.network.segment else ()
            self._process = subprocess.Popen(
                self._arguments(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=tap)
        try:
            self.console = Console(self.scratch / "console", self._process, self.log)
        except GuestError as error:
            text = (self.scratch / "qemu.log").read_text(encoding="utf-8", errors="replace")
            self.cut_power()
            raise GuestError(f"{error}: {text[-600:]}") from None

    def boot(self) -> None:
        """Switches the camera on and waits for a root shell on its console."""
        began = time.monotonic()
        self.start()
        self.log_in()
        self.boot_seconds = time.monotonic() - began

    def log_in(self) -> None:
        """Waits for the console's shell, logging in where the firmware asks."""
        self.boots += 1
        self._command = 0
        if self.variant.password is None:
            self.console.expect(r"^(# |~ # |/ # )", BOOT_SECONDS)
        else:
            self.console.expect(r"login: $", BOOT_SECONDS)
            self.console.send("root\n")
            self.console.expect(r"[Pp]assword: $", COMMAND_SECONDS)
            self.console.send(self.variant.password + "\n")
            self.console.expect(r"^(# |~ # )", COMMAND_SECONDS)
        # Written in two parts, so that the echo is not taken for the answer.
        self.console.send(f"stty -echo; dmesg -n 1; cd /; PS1=; PS2=; echo {SHELL_READY[:4]}'{SHELL_READY[4:]}'{self.boots}\n")
        self.console.expect(f"^{SHELL_READY}{self.boots}$", COMMAND_SECONDS)
        self.console.drain()
        if self.network.segment:
            self.check(f"i=$(grep -l {SECOND_MAC} /sys/class/net/*/address | cut -d/ -f5); "
                       f"ip addr add {CAMERA}/{PREFIX} dev $i && ip link set $i up")

    def emulator(self) -> int:
        """QEMU's process."""
        if self._process is None:
            raise GuestError("the camera is off")
        return self._process.pid

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> Result:
        """Runs a command line in the guest's shell and waits for its end."""
        self._command += 1
        mark = f"@{self.boots}.{self._command}@"
        self.console.drain()
        self.console.send(f"{{ {command}\n}} 2>&1; printf '\\n{mark}%d\\n' $?\n")
        match = self.console.expect(rf"(.*?)\n{re.escape(mark)}(\d+)\n", seconds)
        return Result(int(match.group(2)), match.group(1).strip("\n"))

    def check(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """Like `run`, for a command that must succeed; gives its output."""
        result = self.run(command, seconds)
        if result.status != 0:
            raise GuestError(f"`{command}` ended with {result.status}: {result.output[-1200:]}")
        return result.output

    def wait_for(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """Runs `command` again and again in the guest until it succeeds."""
        tries = max(1, int(seconds * 5))
        loop = (f"n={tries}; until {command}; do n=$((n - 1)); [ $n -gt 0 ] || break; usleep 200000; done; [ $n -gt 0 ]")
        result = self.run(loop, seconds * 3 + COMMAND_SECONDS)
        if result.status != 0:
            raise GuestError(f"`{command}` did not succeed within {seconds:.0f} s: {result.output[-800:]}")
        return result.output

    def write_file(self, path: str, text: str, mode: str = "644") -> None:
        """Writes a small text file in the guest."""
        self.check(f": >'{path}'; chmod {mode} '{path}'")
        for number in range(0, max(1, len(text)), 1500):
            part = text[number:number + 1500].encode()
            octal = "".join(f"\\0{byte:03o}" if byte in b"\\'%\n\r\t" or byte > 126 else chr(byte) for byte in part)
            self.check(f"printf '%b' '{octal}' >>'{path}'")

    def fetch_payload(self, folder: str, *files: str) -> None:
        """Unpacks the tar archive that the network offers, or some of its files."""
        self.check(f"mkdir -p {folder} && nc {PAYLOAD_ADDRESS} {PAYLOAD_PORT} </dev/null | tar -xf - -C {folder} {' '.join(files)}", 120)

    def reboot(self) -> None:
        """An orderly reboot from inside. QEMU ends when a machine restarts, so that one that does by itself is noticed."""
        self._end("reboot")
        self.boot()

    def power_off(self) -> None:
        """An orderly end from inside."""
        self._end("poweroff")

    def _end(self, command: str) -> None:
        self.console.drain()
        self.console.send(f"{command}\n")
        try:
            self.console.expect(r"(?!)", STOP_SECONDS)
        except GuestError as error:
            try:
                # Its end closes the console a moment before it is gone.
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                raise GuestError(f"{command}: {error}") from None
        self._forget()

    def cut_power(self) -> None:
        """Ends QEMU at once, as if the plug were pulled."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget()

    def kill(self) -> None:
        """Ends QEMU from another thread; whoever waits for the console learns of it."""
        process = self._process
        if process is not None:
            process.kill()

    def _forget(self) -> None:
        if self.console is not None:
            self.console.close()
        self.console = None
        self._process = None

    def engine_state(self) -> str:
        """What QEMU says of a machine whose console is silent, and how much it computes."""
        def ticks() -> int:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        said = b""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(ENGINE_SECONDS)
            try:
                before = ticks()
                monitor.connect(f"{self.scratch}/monitor")
                monitor.sendall(b"info status\ninfo registers\ninfo network\n")
                while chunk := monitor.recv(65536):
                    said += chunk
            except TimeoutError:
                pass
            except OSError as error:
                return f"QEMU says nothing: {error}"
        share = (ticks() - before) / (os.sysconf("SC_CLK_TCK") * ENGINE_SECONDS)
        return f"QEMU used {share:.0%} of a processor\n" + said.decode("utf-8", "replace")

    def wait(self) -> None:
        """Reads the console until QEMU ends."""
        try:
            self.console.expect(r"(?!)", float(10**9))
        except GuestError:
            return

    def is_on(self) -> bool:
        """Whether QEMU lives."""
        return self._process is not None and self._process.poll() is None


def copy_disk(source: Path, target: Path) -> None:
    """Copies a disk image, leaving its holes."""
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)
