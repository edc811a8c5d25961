"""One variant under test: its machine, the gateway, the package, and what scenarios say of them."""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path

from . import package, paths
from .gateway import Gateway
from .image import MEDIA_USER, Image, build
from .machine import UPLINK_PORT, GuestError, Machine, Network, copy_disk
from .segment import Segment
from .variants import Variant

CONFIG = "/etc/config/lenscap"
STATE = "/etc/lenscap"
PROGRAM = "/usr/sbin/lenscap"
SERVICE = "/etc/init.d/S60lenscap"
GUEST_ADDRESS = "10.0.2.15"
LOG = "/tmp/messages"
FAKE_ENDPOINT = f"https://gateway.lenscap.test:{UPLINK_PORT}/onvif/uplink"


class Failed(AssertionError):
    """Something was looked at and is not as it must be."""


class Lab:
    """What the scenarios of one variant share."""

    def __init__(self, variant: Variant):
        self.variant = variant
        self.image: Image = build(variant)
        self.folder = Path(tempfile.mkdtemp(prefix=f"lenscap-lab-{variant.name}-"))
        self.gateway = Gateway(self.folder / "gateway")
        self.package = package.load(variant)
        self.payload = self.folder / "payload.tar"
        package.write_payload(self.payload, self.package)
        self.machine: Machine | None = None
        self.segment: Segment | None = None
        self.installed: Path | None = None
        self.fingerprint = ""
        self.evidence: list[str] = []
        self.scenario = ""

    def close(self) -> None:
        """Switches everything off."""
        if self.machine is not None:
            self.machine.__exit__()
            self.machine = None
        if self.segment is not None:
            self.segment.close()
            self.segment = None
        self.gateway.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What scenarios say.

    def say(self, text: str) -> None:
        """Evidence for the report."""
        self.evidence.append(text)

    def check(self, good: bool, what: str) -> None:
        """A condition that must hold."""
        if not good:
            raise Failed(what)

    # Machines.

    def beside(self) -> Segment:
        """The host beside the camera."""
        if self.segment is None:
            self.segment = Segment()
        return self.segment

    def log_path(self) -> Path:
        """The console log of the scenario that runs."""
        return paths.OUT / f"{self.variant.name}-{self.scenario}.log"

    def pcap_path(self) -> Path:
        """The capture of the scenario that runs."""
        return paths.OUT / f"{self.variant.name}-{self.scenario}.pcap"

    def new_machine(self, disk: Path | None = None, append: str = "", pcap: bool = False,
                    beside: bool = False, payload: Path | None = None, sealed: bool = False) -> Machine:
        """A machine with the variant's empty disk or a copy of `disk`; the one before is switched off. `beside` it is
        another host on its network then. It may fetch `payload`, or else the package, or nothing when it is `sealed`."""
        if self.machine is not None:
            self.machine.__exit__()
        paths.OUT.mkdir(parents=True, exist_ok=True)
        network = Network(uplink_port=self.gateway.port, payload=None if sealed else payload or self.payload,
                          pcap=self.pcap_path() if pcap else None, segment=self.beside() if beside else None)
        self.machine = Machine(self.image, self.log_path(), network, append=append, disk=disk)
        return self.machine

    def installed_machine(self, append: str = "", pcap: bool = False, beside: bool = False,
                          payload: Path | None = None, sealed: bool = False) -> Machine:
        """A machine on which the package is installed and configured, as `install` left it."""
        if self.installed is None:
            raise Failed("the scenario `install` has not left an installed camera")
        return self.new_machine(self.installed, append, pcap, beside, payload, sealed)

    def running(self) -> Machine:
        """The machine of the scenario before, or an installed one that is switched on now."""
        if self.machine is None or not self.machine.is_on():
            self.installed_machine().boot()
        return self.machine

    def keep_installed(self) -> None:
        """Switches the machine off orderly and keeps its disk for other scenarios."""
        self.machine.power_off()
        self.installed = self.folder / "installed.img"
        copy_disk(self.machine.disk, self.installed)

    # What is done in the guest again and again.

    def configuration(self, extra: str = "", endpoint: str = FAKE_ENDPOINT) -> str:
        """The camera's configuration, as its owner would write it."""
        profile = (
            "config profile '{name}'\n\toption rtsp 'rtsp://127.0.0.1:554/stream={number}'\n"
            "\toption snapshot 'http://127.0.0.1/image.jpg'\n\toption user '{user}'\n"
            "\toption password_file '/etc/lenscap/camera-password'\n\n")
        return (
            "# Changed by the owner.\nconfig agent\n\toption log 'syslog'\n\toption log_level 'info'\n\n"
            f"config uplink 'main'\n\toption endpoint '{endpoint}'\n\toption ca_file '{STATE}/ca.pem'\n\n"
            + profile.format(name="main", number=0, user=MEDIA_USER) + profile.format(name="sub", number=1, user=MEDIA_USER) + extra)

    def configure(self, machine: Machine, extra: str = "") -> None:
        """Writes configuration, authority and media password."""
        machine.check(f"mkdir -p {STATE}")
        machine.write_file(f"{STATE}/ca.pem", self.gateway.ca)
        machine.write_file(f"{STATE}/camera-password", self.variant.media_password + "\n", "600")
        machine.write_file(CONFIG, self.configuration(extra), "600")

    def identity(self, machine: Machine) -> str:
        """The camera's fingerprint."""
        text = machine.check(f"{PROGRAM} identity --json")
        return json.loads(text[text.index("{"):])["fingerprint"]

    def install(self, machine: Machine, which: str = "first") -> str:
        """Runs the package's installer, straight from where it was unpacked on tmpfs."""
        machine.fetch_payload("/tmp/package")
        return machine.check(f"sh /tmp/package/{which}/install.sh", 120)

    def processes(self, machine: Machine) -> list[int]:
        """The agent's processes, oldest first."""
        # Not the monitor's jobs, which come and go.
        listed = machine.run("for p in $(pidof lenscap); do echo \"$p $(tr '\\0' ' ' </proc/$p/cmdline)\"; done").output
        words = (line.split() for line in listed.splitlines())
        return sorted(int(line[0]) for line in words if len(line) > 2 and line[2] in ("run", "run-agent"))

    def watch_ok(self) -> str:
        """ffprobe through the gateway; gives what it saw."""
        seen = {profile: self.gateway.probe(profile) for profile in ("main", "sub")}
        self.check(seen == {"main": "h264,640,360", "sub": "h264,320,180"}, f"ffprobe sees {seen}")
        return f"ffprobe: main {seen['main']}, sub {seen['sub']}"

    def log_text(self, machine: Machine) -> str:
        """The guest's system log, as far as the agent wrote it."""
        return machine.run(f"grep lenscap {LOG} /tmp/lenscap.err 2>/dev/null | tail -n 40").output


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def kib(status: str, name: str) -> int:
    """A value of /proc/PID/status in KiB."""
    match = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    if not match:
        raise GuestError(f"no {name} in {status[:200]}")
    return int(match.group(1))
