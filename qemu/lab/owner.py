"""What an owner does to close a camera, and what a stranger on its network finds before and after."""

import os
from dataclasses import replace

from . import knock
from .lab import PROGRAM, SERVICE, Lab
from .machine import PAYLOAD_ADDRESS, PAYLOAD_PORT, Machine

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


class Owner:
    """Who has the camera, with a password that nobody else knows."""

    def __init__(self, lab: Lab, machine: Machine):
        self.lab = lab
        self.machine = machine
        self.password = os.urandom(12).hex()

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
        done = machine.run(f"{PROGRAM} harden --apply --cut --password-file {SECRET}", HARDEN_SECONDS)
        if machine.variant.password is not None:
            machine.variant = replace(machine.variant, password=self.password)
        return done.status, done.output

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
        tried = {service: knock.logins(self.lab.beside(), service, pairs) for service in ("ssh", "telnet")}
        machine.run(f"{PROGRAM} harden --apply --cut --only firewall --password-file {SECRET}", HARDEN_SECONDS)
        machine.check(f"{SERVICE} start", 60)
        self.lab.gateway.wait_online(after=since)
        for service, (_, others) in tried.items():
            # A try that got no answer says nothing, but that hardening has ended telnet.
            wanted = ("", "refused") if service == "ssh" else ("", "refused", "unreachable")
            self.lab.check(others in wanted, f"{service} was not tried with every password: {others}")
        return tried
