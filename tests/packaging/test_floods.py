"""The demonstration's floods on a camera whose IPv6 hardening has switched off: a real kernel's, in a network of its own."""

import subprocess
import sys
import unittest
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "qemu"))

from lab import page  # noqa: E402
from lab.floods import FLOODS, IPV6_OFF, SENDERS, Floods  # noqa: E402


@dataclass
class Result:
    """What a command did."""

    status: int
    output: str


class Network:
    """A shell in a network of its own, in the place of an emulated machine's."""

    def __init__(self):
        self.shell = subprocess.Popen(["unshare", "--net", "--map-root-user", "sh"], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.check("ip link add eth0 type veth peer name cable && ip link set cable up && ip link set eth0 up && "
                   "ip addr add 10.0.2.15/24 dev eth0")

    def run(self, command, _seconds=0):
        """One command, to its end."""
        self.shell.stdin.write(f"( {command} ) 2>&1; status=$?; echo; echo status $status\n")
        self.shell.stdin.flush()
        said = []
        for line in self.shell.stdout:
            if line.startswith("status "):
                return Result(int(line.split()[1]), "".join(said))
            said.append(line)
        raise AssertionError("the shell has ended")

    def check(self, command):
        """One command that must succeed."""
        result = self.run(command)
        if result.status != 0:
            raise AssertionError(f"{command}: status {result.status}: {result.output}")

    def close(self):
        """Ends it."""
        self.shell.stdin.close()
        self.shell.wait(10)
        self.shell.stdout.close()


class Silent(Floods):
    """Nothing leaves."""

    def _sent(self, command):
        return []


class WithoutIPv6(unittest.TestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.floods = Silent(self.network, Path("/nonexistent"))

    def test_floods_of_ipv6_are_rows_that_say_so(self):
        before = self.floods.run()
        self.assertEqual([row.off for row in before], [""] * len(FLOODS) * len(SENDERS))
        self.network.check("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        after = self.floods.run()
        self.assertEqual(sorted((row.what, row.sender) for row in after), sorted((row.what, row.sender) for row in before))
        self.assertEqual({row.what for row in after if row.off == IPV6_OFF}, {flood.what for flood in FLOODS if flood.ipv6})
        self.assertEqual(page.floods({"before": before, "after": after}, [], "").count(f"({IPV6_OFF})"), len(SENDERS))


if __name__ == "__main__":
    unittest.main()
