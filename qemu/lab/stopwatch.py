"""How long a command takes in a camera, by the camera's own clock, and how long it would on a host with nothing else to do:
while QEMU waits for a processor, the camera believes that it works."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .machine import GuestError, Machine, Result

_LINE = re.compile(r"^(real|user|sys)\s+(?:(\d+)m\s*)?(\d+(?:\.\d+)?)s?$", re.MULTILINE)


@dataclass(frozen=True)
class Took:
    """Seconds: by the camera's clock from start to end, of its processor, and of the host's in the same time."""

    real: float
    processor: float
    host: float

    def alone(self) -> float:
        """On a host with nothing else to do."""
        return self.real - max(0.0, self.processor - self.host)

    def __str__(self) -> str:
        text = f"{self.alone():.1f} s"
        return text if self.real - self.alone() < 0.5 else f"{text} ({self.real:.1f} s while the host was busy)"


def timed(machine: Machine, command: str, seconds: float) -> tuple[Result, Took]:
    """Runs one program with its words, and says what it said and how long it took."""
    before = _host_seconds(machine)
    done = machine.run(f"time {command}", seconds)
    host = _host_seconds(machine) - before
    found = {name: float(minutes or 0) * 60 + float(rest) for name, minutes, rest in _LINE.findall(done.output)}
    if set(found) != {"real", "user", "sys"}:
        raise GuestError(f"`time` says nothing about `{command}`: {done.output[-400:]}")
    return Result(done.status, _LINE.sub("", done.output).strip()), Took(found["real"], found["user"] + found["sys"], host)


def _host_seconds(machine: Machine) -> float:
    """What QEMU has had of the host's processors (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{machine.emulator()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
