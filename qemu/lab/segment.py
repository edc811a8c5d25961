"""A host beside the camera on a network of the camera's: a network namespace with one end of a tap device. Needs root.

It is a second network, as Wi-Fi is beside a cable: on the first one QEMU's own user network answers whatever is sent.
"""

import fcntl
import itertools
import os
import signal
import struct
import subprocess

ADDRESS, CAMERA = "10.0.3.50", "10.0.3.15"
PREFIX = 24
NAMESPACES = "/run/netns"
PREFIX_OF_NAMES = "lenscap-lab-"
_COUNT = itertools.count()
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


class SegmentError(Exception):
    """The namespace or its device cannot be made."""


def _sweep() -> None:
    """Takes away what a run that was killed has left."""
    for name in os.listdir(NAMESPACES) if os.path.isdir(NAMESPACES) else ():
        if name.startswith(PREFIX_OF_NAMES):
            pid = name.removeprefix(PREFIX_OF_NAMES).partition("-")[0]
            if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


class Segment:
    """The host. Closed, nothing is left of it."""

    def __init__(self):
        self._running: subprocess.Popen | None = None
        _sweep()
        number = next(_COUNT)
        self.name = f"{PREFIX_OF_NAMES}{os.getpid()}-{number}"
        device = f"lab{os.getpid() % 1000000}x{number}"
        if os.geteuid() != 0:
            raise SegmentError("root is needed for a network namespace and a tap device: run it with sudo")
        try:
            self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise SegmentError(f"/dev/net/tun: {error.strerror}; is the module tun there?") from error
        try:
            fcntl.ioctl(self.tap, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TAP | _IFF_NO_PI))
            self._ip("netns", "add", self.name)
            self._ip("link", "set", device, "netns", self.name)
            self._ip("-n", self.name, "addr", "add", f"{ADDRESS}/{PREFIX}", "dev", device)
            for link in ("lo", device):
                self._ip("-n", self.name, "link", "set", link, "up")
        except (SegmentError, OSError) as error:
            self.close()
            raise SegmentError(f"a host beside the camera: {error}") from error

    def close(self) -> None:
        """Takes the host away."""
        if self.tap >= 0:
            os.close(self.tap)
            self.tap = -1
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL, check=False)

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SegmentError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def run(self, *command: str, seconds: float, text: str | None = None) -> str:
        """What a program says that runs on this host."""
        self._running = subprocess.Popen(["ip", "netns", "exec", self.name, *command], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        try:
            said, complaint = self._running.communicate(text, seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            self._running.communicate()
            raise SegmentError(f"{command[0]} took longer than {seconds:.0f} s") from error
        if self._running.returncode != 0:
            raise SegmentError(f"{command[0]} ended with {self._running.returncode}: {complaint.strip()[-400:]}")
        return said

    def kill(self) -> None:
        """Ends the program that runs on this host, from another thread too, with all that it has started."""
        running = self._running
        if running is not None and running.returncode is None:
            try:
                os.killpg(running.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
