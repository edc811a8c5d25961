"""What an owner does to close a camera, and what a stranger on its network finds before and after."""

import os
from dataclasses import replace

from . import knock
from .image import MEDIA_USER
from .lab import PROGRAM, SERVICE, STATE, Lab
from .machine import PAYLOAD_ADDRESS, PAYLOAD_PORT, Machine, Result
from .segment import CAMERA, SegmentError
from .stopwatch import Took, timed

# The host whose SSH the owner keeps. The stranger's address is another.
OWNER = "10.0.2.2:22"
# Where the test's package comes from stays reachable.
HARDEN = f"""config harden
	option mode 'enforce'
	list allow_lan '{OWNER}'
	list allow_out '{PAYLOAD_ADDRESS}:{PAYLOAD_PORT}'
"""
SECRET = "/tmp/secret"
HARDEN_SECONDS = 300
# What is left holds, does not hold, or could not be told: `lenscap harden` says of all, not of the firewall alone.
UNDONE = (0, 1, 2)
# What `lenscap harden` may take on an emulated camera whose host has nothing else to do, whatever it is asked.
CLOSE_SECONDS = 10


class Owner:
    """Who has the camera, with a password that nobody else knows."""

    def __init__(self, lab: Lab, machine: Machine):
        self.lab = lab
        self.machine = machine
        self.password = os.urandom(12).hex()
        # What the camera took for each `lenscap harden`.
        self.took: dict[str, Took] = {}

    def wait_streaming(self) -> None:
        """Until the camera's own RTSP server is there."""
        self.machine.wait_for("netstat -ltn | grep -q ':554 '", 30)

    def look(self, every_port: bool = True) -> knock.Scan:
        """What a stranger finds."""
        # Kernels answer a scan of closed UDP ports once a second.
        self.machine.check("echo 0 >/proc/sys/net/ipv4/icmp_ratelimit")
        return knock.scan(self.lab.beside(), every_port)

    def close(self) -> tuple[int, str]:
        """`lenscap harden --apply` with the configuration for it: its exit status and what it says."""
        machine = self.machine
        self.lab.configure(machine, HARDEN)
        machine.check(f"{SERVICE} reload")
        machine.write_file(SECRET, self.password + "\n", "600")
        self.harden("a plan", "--dry-run")
        done = self.harden("closing", f"--apply --cut --password-file {SECRET}")
        if machine.variant.password is not None:
            machine.variant = replace(machine.variant, password=self.password)
        # It takes its new password when it starts.
        machine.check("/etc/init.d/S50camera stop")
        machine.wait_for("! kill -0 $(cat /run/camera-app.pid) 2>/dev/null", 20)
        machine.check("/etc/init.d/S50camera start")
        self.wait_streaming()
        self.harden("closing once more", f"--apply --cut --password-file {SECRET}")
        self.harden("a look of the service", "--recheck")
        return done.status, done.output

    def harden(self, what: str, words: str) -> Result:
        """One run of `lenscap harden`, timed."""
        done, self.took[what] = timed(self.machine, f"{PROGRAM} harden {words}", HARDEN_SECONDS)
        return done

    def times(self) -> str:
        """What was timed, in a line."""
        return "; ".join(f"{what} {took}" for what, took in self.took.items())

    def too_slow(self) -> list[str]:
        """What took longer than it may."""
        return [f"{what}: {took}" for what, took in self.took.items() if took.alone() > CLOSE_SECONDS]

    def media_password(self) -> str:
        """The one that the camera's RTSP server and the agent have."""
        kept = self.machine.check(f"cat {STATE}/camera-password").strip()
        if self.lab.variant.prudynt:
            self.machine.check(f"grep -q '\"password\": \"{kept}\"' /etc/prudynt.json")
        return kept

    def try_media_password(self, password: str) -> bool:
        """Whether a stranger watches with it."""
        url = f"rtsp://{MEDIA_USER}:{password}@{CAMERA}/stream=0"
        probe = ("ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-timeout", "10000000", "-show_entries", "stream=codec_name",
                 "-of", "csv=p=0", url)
        try:
            return "h264" in self.lab.beside().run(*probe, seconds=60)
        except SegmentError as error:
            self.lab.check("401" in str(error), f"RTSP neither opens nor refuses: {error}")
            return False

    def try_known_passwords(self) -> dict[str, tuple[list, str]]:
        """All pairs of Mirai, and the firmware's own, on SSH and telnet, with the firewall taken down meanwhile."""
        machine = self.machine
        pairs = knock.mirai_pairs()
        factory = ("root", self.lab.variant.password)
        if factory[1] is not None and factory not in pairs:
            pairs.append(factory)
        since = self.lab.gateway.camera().get("since")
        # The service would put it back.
        machine.check(f"{SERVICE} stop", 60)
        done = machine.run(f"{PROGRAM} harden --undo --only firewall", HARDEN_SECONDS)
        self.lab.check(done.status in UNDONE, f"the firewall is not taken down: {done.output[-800:]}")
        if factory[1] is not None:
            # That the owner comes in is what makes the refusals mean something.
            mine = [("root", self.password)]
            opened, why = knock.logins(self.lab.beside(), "ssh", mine)
            self.lab.check(opened == mine, f"the owner's password does not open SSH: {why}")
        tried = {service: knock.logins(self.lab.beside(), service, pairs) for service in ("ssh", "telnet")}
        if self.lab.variant.prudynt:
            self.lab.check(not self.try_media_password(self.lab.variant.media_password), "RTSP opens to the factory's password")
        # It lies in memory, and may be gone.
        machine.write_file(SECRET, self.password + "\n", "600")
        machine.run(f"{PROGRAM} harden --apply --cut --only firewall --password-file {SECRET}", HARDEN_SECONDS)
        machine.check(f"{SERVICE} start", 60)
        self.lab.gateway.wait_online(after=since)
        for service, (_, others) in tried.items():
            # A try that got no answer says nothing, but that hardening has ended telnet.
            wanted = ("", "refused") if service == "ssh" else ("", "refused", "unreachable")
            self.lab.check(others in wanted, f"{service} was not tried with every password: {others}")
        return tried
