"""install.sh on a camera itself, in a root file system of its own: what it refuses to be installed on. In an image there is
no telling."""

import shutil
import tempfile
import unittest
from pathlib import Path

from device import Device

ROOT = Path(__file__).resolve().parents[2]
# The installation, between two looks at all files there are, in whatever is mounted.
RUN = """
look() {
	find /bin /etc /overlay /usr | sort
	find /etc /overlay /usr -type f -exec cksum {} + | sort
}
look >/tmp/before
sh /tmp/archive/install.sh $ARGUMENTS
status=$?
look >/tmp/after
cmp -s /tmp/before /tmp/after && echo "nothing was written"
exit $status
"""


class Live(unittest.TestCase):
    def setUp(self):
        # Not /tmp, which is memory on many machines.
        folder = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.addCleanup(folder.cleanup)
        self.device = Device(folder.name)
        (self.device.root / "overlay").mkdir()
        for name, text in (("passwd", "root:x:0:0::/:/bin/sh\n"), ("group", "root:x:0:\n"), ("init.d/rcS", "for i in /etc/init.d/S*; do $i start; done\n")):
            self.device.put(f"etc/{name}", text.encode())
        self.device.put("usr/sbin/vendor", b"x")
        archive = self.device.root / "tmp/archive"
        self.device.put("tmp/archive/lenscap", b"#!/bin/sh\necho lenscap 0.1.0\n", 0o755)
        self.device.put("tmp/archive/lenscap.conf", b"config agent\n", 0o600)
        self.device.put("tmp/archive/licenses/LICENSE-MIT", b"MIT\n")
        for source in ("packaging/busybox/install.sh", "buildroot-ext/package/lenscap/S34lenscap", "buildroot-ext/package/lenscap/S60lenscap"):
            shutil.copy(ROOT / source, archive)

    def install(self, mounts, arguments="--no-start"):
        """After shell commands that mount what the camera has mounted."""
        # /tmp is memory and writable in any case.
        prepare = "set -e\ncp -a /tmp/archive /overlay\nmount -t tmpfs none /tmp\nmv /overlay/archive /tmp\n"
        return self.device.run("/bin/busybox", "ash", "-c", f"{prepare}{mounts}\nset +e\n{RUN}", ARGUMENTS=arguments)

    def refused(self, mounts, text, arguments="--no-start"):
        run = self.install(mounts, arguments)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertIn(text, run.stderr)
        self.assertIn("nothing was written\n", run.stdout)
        # As the caller's trap would show: neither the service nor the program was asked for anything.
        self.assertNotIn("stop\n", run.stdout)
        self.assertNotIn("roll-back", run.stdout)

    def test_what_can_be_written_and_stays_is_taken(self):
        run = self.install("")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertNotIn("nothing was written", run.stdout)
        self.assertTrue((self.device.root / "usr/sbin/lenscap").is_file())

    def test_a_read_only_root(self):
        self.refused("mount -o remount,bind,ro /", "is on a read-only file system: bake Lenscap into the image instead")

    def test_a_read_only_place_of_the_program_alone(self):
        self.refused("mount --bind /usr /usr\nmount -o remount,bind,ro /usr", "/usr/sbin is on a read-only file system")

    def test_a_removal_from_a_read_only_place_stops_and_takes_back_nothing(self):
        self.assertEqual(self.install("").returncode, 0)
        self.device.put("usr/sbin/lenscap", b"#!/bin/sh\necho $* >>/tmp/calls\n", 0o755)
        self.device.put("etc/init.d/S60lenscap", b"#!/bin/sh\necho $* >>/tmp/calls\n", 0o755)
        self.device.put("etc/lenscap/harden/journal", b"1\n")
        self.device.put("etc/lenscap/harden/services", b"")
        for place in ("/", "/usr", "/usr/share", "/etc", "/etc/init.d"):
            ro = f"mount --bind {place} {place}\nmount -o remount,bind,ro {place}" if place != "/" else "mount -o remount,bind,ro /"
            for arguments in ("--uninstall", "--uninstall --purge"):
                self.refused(f"{ro}\ntrap 'cat /tmp/calls' EXIT", "is on a read-only file system: remount it with rw first", arguments)
        run = self.install("trap 'cat /tmp/calls' EXIT", "--uninstall")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("stop\nharden --roll-back --now", run.stdout)
        self.assertFalse((self.device.root / "usr/sbin/lenscap").exists())

    def test_without_proc_nothing_is_known(self):
        for arguments in ("--no-start", "--uninstall"):
            self.refused("umount -l /proc", "/proc is not mounted: mount -t proc proc /proc", arguments)

    def test_a_root_in_memory(self):
        self.refused("cp -a /etc /overlay\nmount -t tmpfs none /etc\nmv /overlay/etc/* /etc", "/etc is in memory (tmpfs) and is forgotten at power-off")
        self.refused("mount -t ramfs none /usr", "/usr is in memory (ramfs)")

    def test_an_overlay_that_writes_to_memory(self):
        self.refused(
            "mount -t tmpfs none /overlay\nmkdir /overlay/upper /overlay/work\n"
            "mount -t overlay -o lowerdir=/etc,upperdir=/overlay/upper,workdir=/overlay/work none /etc",
            "/etc is in memory (tmpfs)")


if __name__ == "__main__":
    unittest.main()
