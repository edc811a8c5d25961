"""What a stranger on the camera's network finds: open ports by nmap, and logins by the passwords that Mirai tries."""

import csv
import json
import xml.etree.ElementTree as xml
from dataclasses import dataclass

from . import paths
from .segment import CAMERA, Segment

SCAN_SECONDS = 1200
LOGIN_SECONDS = 1800
# The most common ones of nmap's list.
UDP_PORTS = 100
DEFAULTS = paths.ROOT / "agent/harden/data/default-credentials.csv"


@dataclass(frozen=True)
class Scan:
    """One look from outside."""

    # Port -> what nmap takes it for.
    tcp: dict[int, str]
    tcp_scanned: int
    # UDP ports that answered, if only to say that nobody is there.
    udp_answered: int
    udp_scanned: int

    def says(self) -> str:
        """In a line."""
        ports = ", ".join(f"{port} {name}" for port, name in sorted(self.tcp.items())) or "none"
        return f"TCP open of {self.tcp_scanned}: {ports}; UDP answering of {self.udp_scanned}: {self.udp_answered}"


def scan(segment: Segment, every_port: bool = True) -> Scan:
    """All TCP ports, or the usual ones, and the usual UDP ports."""
    tcp = _nmap(segment, "-sS", *(("-p-",) if every_port else ()), "--min-rate", "4000", "--max-retries", "1")
    udp = _nmap(segment, "-sU", "--top-ports", str(UDP_PORTS), "--min-rate", "50", "--max-retries", "2")
    states, total = _states(udp)
    answered = sum(count for state, count in states.items() if state in ("open", "closed"))
    found = {int(port.get("portid")): (port.find("service").get("name") if port.find("service") is not None else "?")
             for port in tcp.iter("port") if port.find("state").get("state") == "open"}
    return Scan(found, _states(tcp)[1], answered, total)


def _nmap(segment: Segment, *options: str) -> xml.Element:
    text = segment.run("nmap", "-n", "-Pn", "-T4", *options, "-oX", "-", CAMERA, seconds=SCAN_SECONDS)
    return xml.fromstring(text)


def _states(report: xml.Element) -> tuple[dict[str, int], int]:
    """How many ports are in each state. nmap names some and counts the rest."""
    states: dict[str, int] = {}
    for port in report.iter("port"):
        state = port.find("state").get("state")
        states[state] = states.get(state, 0) + 1
    for extra in report.iter("extraports"):
        states[extra.get("state")] = states.get(extra.get("state"), 0) + int(extra.get("count"))
    return states, sum(states.values())


def mirai_pairs() -> list[tuple[str, str]]:
    """User and password, as Mirai has them."""
    with DEFAULTS.open(encoding="utf-8") as rows:
        return [(row["user"], row["password"]) for row in csv.DictReader(rows) if row["source"] == "mirai"]


def logins(segment: Segment, service: str, pairs: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], str]:
    """Which of the pairs open `ssh` or `telnet`, and why the others do not: a word for all of them."""
    text = segment.run("/usr/bin/python3", str(paths.QEMU / "lab/logins.py"), service, CAMERA, seconds=LOGIN_SECONDS,
                       text=json.dumps(pairs))
    answers = json.loads(text)
    opened = [pair for pair, word in zip(pairs, answers) if word == "open"]
    others = sorted({word for word in answers if word != "open"})
    return opened, ", ".join(others)
