"""How long a command takes in a camera, by the camera's own clock, and how long it would on a host with nothing else to do:
while QEMU waits for a processor, the camera believes that it works."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .machine import GuestError, Machine, Result

_UPTIME = re.compile(r"^uptime (\d+\.\d+) (\d+\.\d+)$", re.MULTILINE)
_SAY = "sed 's/^/uptime /' /proc/uptime"


@dataclass(frozen=True)
class Took:
    """Seconds: by the camera's clock from start to end, of these without anything to do, and of the host's processor."""

    real: float
    idle: float
    host: float

    def alone(self) -> float:
        """On a host with nothing else to do."""
        return self.idle + min(self.real - self.idle, self.host)

    def __str__(self) -> str:
        text = f"{self.alone():.1f} s"
        return text if self.real - self.alone() < 0.5 else f"{text} ({self.real:.1f} s while the host was busy)"


def timed(machine: Machine, command: str, seconds: float) -> tuple[Result, Took]:
    """Runs a command, and says what it said and how long it took."""
    before = _host_seconds(machine)
    done = machine.run(f"{_SAY}; {command}; status=$?; {_SAY}; (exit $status)", seconds)
    host = _host_seconds(machine) - before
    said = [(float(real), float(idle)) for real, idle in _UPTIME.findall(done.output)]
    if len(said) != 2:
        raise GuestError(f"no time is said around `{command}`: {done.output[-400:]}")
    (began, idle_before), (ended, idle_after) = said
    return Result(done.status, _UPTIME.sub("", done.output).strip()), Took(ended - began, idle_after - idle_before, host)


def _host_seconds(machine: Machine) -> float:
    """What QEMU has had of the host's processors (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{machine.emulator()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
