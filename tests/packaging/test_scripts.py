"""The packages' scripts as opkg and apk run them: by BusyBox' shell, in a root file system of their own, with files in the
place of OpenWrt's functions.sh and rc.common that do what is known of those (openwrt/). What is installed is what a reader
that shares no code with the writers finds in the packages."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import device
import fixture
import reader
from mkpkg import apk, cargo, contents, ipk

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAM = b"""#!/bin/sh
[ "$1" = run ] || echo "program: $*" >>"${IPKG_INSTROOT}/calls"
"""
# What rc.common is told at each start.
STARTED = [
    "lenscap: instance",
    "lenscap: command /usr/sbin/lenscap run --config /etc/config/lenscap",
    "lenscap: respawn 3600 5 0",
    "lenscap: file /etc/config/lenscap /usr/sbin/lenscap",
    "lenscap: term_timeout 10",
    "lenscap: stderr 1",
]
OPENED = ["lenscap: stop", "program: harden --roll-back --now", "program: harden --undo --only firewall"]


class Device(device.Device):
    """With what OpenWrt's packages call."""

    def __init__(self, folder):
        super().__init__(folder)
        for path in ("etc/rc.d", "usr/lib/opkg/info"):
            (self.root / path).mkdir(parents=True)
        self.put("lib/functions.sh", (HERE / "openwrt/functions.sh").read_bytes())
        self.put("etc/rc.common", (HERE / "openwrt/rc.common.sh").read_bytes(), 0o755)
        self.put("etc/passwd", b"root:x:0:0:root:/root:/bin/ash\n")
        self.put("etc/group", b"root:x:0:\n")
        # Before BusyBox' own, whose lines a system log would take.
        self.put("usr/bin/logger", b"#!/bin/sh\ncat >>/logged\n", 0o755)

    def run(self, *words, **environment):
        """A command on the device itself; what it said must be nothing."""
        self._judge(super().run(*words, **environment))

    def run_outside(self, script):
        """A script as an image builder runs it, which has the device's tree as a folder."""
        environment = {"PATH": f"{self.root}/bin", "IPKG_INSTROOT": str(self.root)}
        words = [self.root / "bin/busybox", "ash", self.root / script.lstrip("/")]
        self._judge(subprocess.run(words, env=environment, capture_output=True, text=True, timeout=device.TIMEOUT, check=False))

    @staticmethod
    def _judge(run):
        if (run.returncode, run.stdout, run.stderr) != (0, "", ""):
            raise AssertionError(f"{run.args}: status {run.returncode}: {run.stdout}{run.stderr}")

    def calls(self):
        """What was noted since the last time."""
        notes = self.root / "calls"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines

    def has(self, path):
        return os.path.lexists(self.root / path)


class Scripts:
    """What holds for both tools and both packages of the agent."""

    variant = "base"

    @classmethod
    def setUpClass(cls):
        closure = cargo.closure(ROOT, "armv7-unknown-linux-musleabihf", "firewall")
        cls.package = contents.openwrt(PROGRAM, "arm_cortex-a7", closure, fixture.EPOCH, cls.variant)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.device = Device(folder.name)
        self.unpack()

    def enabled(self):
        return [self.device.has(f"etc/rc.d/{name}") for name in ("S96lenscap", "K10lenscap")] == [True, True]

    def users(self):
        return [(self.device.root / f"etc/{name}").read_text().count("lenscap:x:") for name in ("passwd", "group")]

    def test_installation(self):
        self.device.run(*self.installed)
        self.assertEqual(self.users(), [1, 1])
        self.assertEqual(self.device.calls(), ["lenscap: enable", *STARTED])
        self.assertTrue(self.enabled())
        self.assertFalse(self.device.has("etc/uci-defaults/80-lenscap"), "it has run and succeeded")
        self.assertEqual((self.device.root / "etc/config/lenscap").stat().st_mode & 0o777, 0o600)

    def test_upgrade_starts_again_what_its_owner_has_not_switched_off(self):
        self.device.run(*self.installed)
        self.device.run("/etc/init.d/lenscap", "disable")
        self.device.calls()
        for words, environment in self.upgraded:
            self.device.run(*words, **environment)
        calls = self.device.calls()
        self.assertEqual([call for call in calls if call != "lenscap: stop"], STARTED, "nothing is taken back")
        self.assertFalse(self.enabled())
        self.assertEqual(self.users(), [1, 1])

    def test_removal(self):
        self.device.run(*self.installed)
        self.device.calls()
        self.device.run(*self.removed)
        self.assertEqual(self.device.calls(), [*OPENED, "lenscap: disable", "lenscap: stop"])
        self.assertFalse(self.device.has("etc/rc.d/S96lenscap") or self.device.has("etc/rc.d/K10lenscap"))

    def test_an_image_builder_only_enables(self):
        self.device.run_outside(self.installed[0])
        self.assertEqual(self.device.calls(), ["lenscap: enable"])
        self.assertTrue(self.enabled() and self.device.has("etc/uci-defaults/80-lenscap"))
        self.assertEqual(self.users(), [1, 1])
        self.device.run_outside(self.removed[0])
        self.assertEqual(self.device.calls(), [], "there is nothing to take back, and nobody's service to stop")

    def test_without_scripts_and_without_functions_nothing_fails(self):
        self.device.run(*self.installed, IPKG_NO_SCRIPT="1")
        (self.device.root / "lib/functions.sh").unlink()
        self.device.run(*self.installed)
        self.assertEqual((self.device.calls(), self.users()), ([], [0, 0]))

    def test_boot_closes_before_it_starts(self):
        self.device.run("/etc/init.d/lenscap", "boot")
        self.assertEqual(self.device.calls(), ["program: harden --boot --config /etc/config/lenscap", *STARTED])

    def test_signals_go_to_what_runs(self):
        self.device.run("/etc/init.d/lenscap", "start")
        self.device.calls()
        self.device.run("/etc/init.d/lenscap", "reload")
        self.device.run("/etc/init.d/lenscap", "reconnect")
        self.assertEqual(self.device.calls(), ["lenscap: signal HUP", "lenscap: signal USR2"])
        self.device.run("/etc/init.d/lenscap", "stop")
        self.device.calls()
        self.device.run("/etc/init.d/lenscap", "reload")
        self.assertEqual(self.device.calls(), STARTED)


class Opkg(Scripts, unittest.TestCase):
    info = "/usr/lib/opkg/info/lenscap"
    installed = (f"{info}.postinst", "configure")
    removed = (f"{info}.prerm", "remove")
    # opkg removes the old before it configures the new.
    upgraded = ((removed, {"PKG_UPGRADE": "1"}), (installed, {"PKG_UPGRADE": "1"}))

    def unpack(self):
        _, control, members = reader.ipk(ipk.build(self.package))
        for name, (member, data) in members.items():
            if member.isdir():
                (self.device.root / name).mkdir(parents=True, exist_ok=True)
            else:
                self.device.put(name, data, member.mode)
        for name, (member, data) in control.items():
            self.device.put(f"{self.info}.{name[2:]}".lstrip("/"), data, member.mode)
        listed = "".join(f"{name[1:]}\n" for name, (member, _) in members.items() if member.isfile())
        self.device.put(f"{self.info}.list".lstrip("/"), listed.encode())


class Apk(Scripts, unittest.TestCase):
    installed = ("/tmp/post-install",)
    removed = ("/tmp/pre-deinstall",)
    upgraded = ((("/tmp/post-upgrade",), {}),)

    def unpack(self):
        _, _, entries, scripts = reader.apk(apk.build(self.package, None).data)
        for name, (mode, _, _, _, data) in entries.items():
            if data is None:
                (self.device.root / name).mkdir(parents=True, exist_ok=True)
            else:
                self.device.put(name, data, mode)
        for number, name in ((3, "post-install"), (4, "pre-deinstall"), (7, "post-upgrade")):
            self.device.put(f"tmp/{name}", reader.field(scripts, number), 0o755)


class OpkgFull(Opkg):
    """The package that takes the other's place."""

    variant = "full"
    info = "/usr/lib/opkg/info/lenscap-full"
    installed = (f"{info}.postinst", "configure")
    removed = (f"{info}.prerm", "remove")
    upgraded = ((removed, {"PKG_UPGRADE": "1"}), (installed, {"PKG_UPGRADE": "1"}))


class ApkFull(Apk):
    """The package that takes the other's place."""

    variant = "full"


if __name__ == "__main__":
    unittest.main()
