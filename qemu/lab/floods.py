"""Floods that malware on the camera would start, and how much of them leaves it, in packets: counted in QEMU's own capture of
the cable, so what the camera says of itself does not matter."""

import socket
import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .machine import UPLINK_ADDRESS, UPLINK_PORT, Machine
from .pcap import ETHERNET_ARP, ETHERNET_IPV4, ETHERNET_IPV6, frames

USER, ROOT = "an ordinary user", "root, who leaves the rules alone"
# Programs at once for each flood, and how long each tries. BusyBox's tftp sends again and again, its nc what the kernel does.
PROGRAMS = 4
SECONDS = 3
RUN_SECONDS = 120
TCP, UDP = 6, 17
# Whom the camera has no reason to know (RFC 5737, RFC 3849); the last number says who sends.
NETWORK, NETWORK6 = "203.0.113", "2001:db8::"
SENDERS = {USER: 71, ROOT: 72}
UNUSED_NEIGHBOUR = "10.0.2.77"
# QEMU's restricted network offers no way out by DHCP.
ROUTE = "ip route | grep -q ^default || ip route add default via 10.0.2.2"


@dataclass(frozen=True)
class Flood:
    """A kind of flood."""

    what: str
    protocol: int
    port: int
    ipv6: bool = False
    # The gateway itself, instead of somebody unknown.
    to_gateway: bool = False
    # The camera's kernel cannot tell the agent from others, so that this passes.
    may_pass: bool = False

    def target(self, sender: str) -> str:
        """The address that is flooded."""
        if self.to_gateway:
            return UPLINK_ADDRESS
        return f"{NETWORK6}{SENDERS[sender]}" if self.ipv6 else f"{NETWORK}.{SENDERS[sender]}"

    def command(self, sender: str) -> str:
        """One program of it."""
        target = f"{self.target(sender)} {self.port}"
        program = f"tftp -g -r x -l /dev/null {target}" if self.protocol == UDP else f"nc {target}"
        return f"su -s /bin/sh nobody -c 'exec {program}'" if sender == USER else program


FLOODS = (
    Flood("UDP, port 9999", UDP, 9999),
    Flood("UDP, port 53", UDP, 53),
    Flood("UDP, port 123", UDP, 123),
    Flood("UDP over IPv6, port 9999", UDP, 9999, ipv6=True),
    Flood("TCP SYN, port 6667", TCP, 6667),
    Flood("TCP SYN, the uplink's port, to anybody", TCP, UPLINK_PORT, may_pass=True),
    Flood("TCP SYN, the uplink itself", TCP, UPLINK_PORT, to_gateway=True, may_pass=True),
)


@dataclass(frozen=True)
class Row:
    """What left of one flood by one sender."""

    what: str
    sender: str
    packets: int
    may_pass: bool
    # Why it was not tried.
    off: str = ""


IPV6_OFF = "IPv6 is switched off"


class Floods:
    """Starts floods in a machine whose cable is captured."""

    def __init__(self, machine: Machine, capture: Path):
        self.machine = machine
        self.capture = capture

    def has_ipv6(self) -> bool | None:
        """Whether the kernel has it; then it gets an address and a way out. `None`: it is switched off."""
        if self.machine.run("[ -e /proc/net/if_inet6 ]").status != 0:
            return False
        # Hardening does that where it cannot be filtered; no address can be given then.
        if self.machine.run("grep -qx 1 /proc/sys/net/ipv6/conf/eth0/disable_ipv6").status == 0:
            return None
        # An address that may be used at once, as nobody else has it.
        self.machine.check("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; "
                           "ip -6 addr show dev eth0 | grep -q fec0::15/ || ip -6 addr add fec0::15/64 dev eth0; "
                           "ip -6 route show | grep -q ^default || ip -6 route add default via fec0::2 dev eth0")
        return True

    def run(self) -> list[Row]:
        """All of them, by both senders."""
        self.machine.check(ROUTE)
        ipv6 = self.has_ipv6()
        rows = []
        for sender in SENDERS:
            started = [flood for flood in FLOODS if ipv6 or not flood.ipv6]
            programs = "; ".join(f"timeout {SECONDS} {flood.command(sender)} </dev/null >/dev/null 2>&1 &" for flood in started)
            sent = self._sent(f"( for i in {' '.join('x' * PROGRAMS)}; do {programs.replace('&;', '&')} done; wait )")
            rows += [Row(flood.what, sender, sum(flood_counts(flood, sender, frame) for frame in sent), flood.may_pass)
                     for flood in started]
            if ipv6 is None:
                rows += [Row(flood.what, sender, 0, flood.may_pass, IPV6_OFF) for flood in FLOODS if flood.ipv6]
        return rows

    def raw(self) -> int:
        """Root sends past all rules (AF_PACKET): ARP, which no filter of IP sees."""
        sent = self._sent(f"arping -c 5 -w {SECONDS} -I eth0 {UNUSED_NEIGHBOUR} >/dev/null 2>&1")
        target = socket.inet_aton(UNUSED_NEIGHBOUR)
        return sum(1 for frame in sent if _kind(frame) == ETHERNET_ARP and frame[38:42] == target)

    def without_rules(self, remove: str) -> int:
        """Root removes the rules first."""
        flood = FLOODS[0]
        sent = self._sent(f"{remove}; timeout {SECONDS} {flood.command(ROOT)} </dev/null >/dev/null 2>&1")
        return sum(flood_counts(flood, ROOT, frame) for frame in sent)

    def _sent(self, command: str) -> list[bytes]:
        """The frames of the cable while a command runs."""
        before = sum(1 for _ in frames(self.capture))
        self.machine.run(command, RUN_SECONDS)
        return list(islice(frames(self.capture), before, None))


def _kind(frame: bytes) -> int:
    return struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 42 else 0


def flood_counts(flood: Flood, sender: str, frame: bytes) -> bool:
    """Whether a frame is a packet of this flood. Of TCP, first packets alone: the agent's own connection goes on."""
    if flood.ipv6:
        target, at, next_header = socket.inet_pton(socket.AF_INET6, flood.target(sender)), 54, frame[20:21]
        if _kind(frame) != ETHERNET_IPV6 or frame[38:54] != target:
            return False
    else:
        target, at, next_header = socket.inet_aton(flood.target(sender)), 14 + (frame[14] & 15) * 4, frame[23:24]
        if _kind(frame) != ETHERNET_IPV4 or frame[30:34] != target:
            return False
    if next_header != bytes([flood.protocol]) or len(frame) < at + 14:
        # A fragment of UDP that is this short has no other ports either.
        return False
    first = flood.protocol == UDP or frame[at + 13] & 0x12 == 0x02
    return first and struct.unpack_from("!H", frame, at + 2)[0] == flood.port
