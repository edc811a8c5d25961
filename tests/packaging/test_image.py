"""The hook that refuses an image a botnet could log in to, on made-up target trees."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOOK = ROOT / "buildroot-ext/board/common/refuse-open-image.pl"

LOCKED = "root:*:::::::\nlenscap:*:::::::\n"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nlenscap:x:900:900::/:/bin/false\n"


def crypt(password, salt):
    """The host's crypt(3), as the hook has it."""
    run = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt], capture_output=True, text=True, check=True
    )
    return run.stdout


class RefuseOpenImage(unittest.TestCase):
    def setUp(self):
        self.assertTrue(shutil.which("perl"), "the hook is Perl: apt-get install perl")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name)
        self.write("etc/passwd", PASSWD)
        self.write("etc/shadow", LOCKED)
        self.write("etc/inittab", "::sysinit:/etc/init.d/rcS\n#::respawn:/usr/sbin/telnetd -F\n")
        self.write("bin/busybox", "\x7fELF\0sh\0telnet\0tftp\0")
        self.write("usr/bin/telnet", "a client is no server")

    def write(self, path, text):
        file = self.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def shadow(self, user, field):
        self.write("etc/shadow", f"{LOCKED}{user}:{field}:19000:0:99999:7:::\n".replace(f"{user}:*:::::::\n", ""))

    def run_hook(self):
        return subprocess.run([HOOK, self.tree, "qemu_arm_vexpress_defconfig"], capture_output=True, text=True, check=False)

    def refused(self, *reasons):
        run = self.run_hook()
        self.assertEqual(run.returncode, 1, run.stderr)
        for reason in reasons:
            self.assertIn(reason, run.stderr)

    def passes(self):
        run = self.run_hook()
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_good_tree_passes(self):
        self.passes()

    def test_strong_passwords_and_locked_accounts_pass(self):
        for field in ("!", "*", "!!", "!" + crypt("admin", "ab"), crypt("Ohx3eeK1-thaeb7Ie", "$6$abcdefgh$"),
                      crypt("Ohx3eeK1-thaeb7Ie", "$1$abcdefgh$"), crypt("q9Z.rX2m", "ab")):
            with self.subTest(field=field):
                self.shadow("root", field)
                self.passes()

    def test_empty_root_password(self):
        self.shadow("root", "")
        self.refused("root has an empty password: set one")

    def test_empty_password_in_passwd_itself(self):
        self.write("etc/passwd", PASSWD.replace("root:x:", "root::"))
        self.refused("root has an empty password")

    def test_hash_of_the_empty_password(self):
        self.shadow("root", crypt("", "$6$abcdefgh$"))
        self.refused("empty password, hashed")

    def test_known_passwords_of_every_kind_of_hash(self):
        for password, salt in (("xc3511", "ab"), ("Zte521", "$1$abcdefgh$"), ("admin", "$5$abcdefgh$"),
                               ("hi3518", "$6$abcdefgh$"), ("7ujMko0vizxv", "ab")):
            with self.subTest(password=password, salt=salt):
                self.shadow("root", crypt(password, salt))
                self.refused("root has a well-known password", "botnets try it first")

    def test_des_cuts_at_eight_characters(self):
        """"7ujMko0vizxv" and what begins like it are the same to DES."""
        self.shadow("root", crypt("7ujMko0v", "ab"))
        self.refused("root has a well-known password")

    def test_the_user_name_as_password(self):
        self.write("etc/passwd", PASSWD + "operatorx:x:1000:1000::/:/bin/sh\n")
        self.shadow("operatorx", crypt("operatorx", "$6$abcdefgh$"))
        self.refused("operatorx has a well-known password")

    def test_services_of_openwrt_pass(self):
        self.shadow("lenscap", "x")
        self.passes()

    def test_hashes_that_cannot_be_judged(self):
        self.shadow("root", "plaintext")
        self.refused("hash of an unknown kind")
        self.shadow("root", "$9$what$ever")
        self.refused("cannot be judged")

    def test_shadow_entry_without_account(self):
        self.shadow("ghost", "")
        self.refused("ghost has an empty password")

    def test_no_accounts_at_all(self):
        (self.tree / "etc/passwd").unlink()
        self.refused("/etc/passwd is missing")

    def test_telnet_servers(self):
        for path in ("usr/sbin/telnetd", "usr/sbin/in.telnetd", "usr/sbin/utelnetd", "sbin/telnetd"):
            with self.subTest(path=path):
                self.write(path, "x")
                self.refused(f"/{path} is a telnet server")
                (self.tree / path).unlink()

    def test_telnetd_link(self):
        (self.tree / "usr/sbin").mkdir(parents=True)
        (self.tree / "usr/sbin/telnetd").symlink_to("../../bin/busybox")
        self.refused("/usr/sbin/telnetd is a telnet server")

    def test_telnetd_in_busybox(self):
        self.write("bin/busybox", "\x7fELF\0telnet\0telnetd\0tftp\0")
        self.refused("/bin/busybox can be a telnet server", "CONFIG_TELNETD=n")

    def test_starters(self):
        for path, line in (
            ("etc/inittab", "::respawn:/usr/sbin/telnetd -F"),
            ("etc/inetd.conf", "telnet stream tcp nowait root /bin/telnetd telnetd"),
            ("etc/init.d/S50telnet", "start-stop-daemon -S -x /usr/sbin/telnetd"),
            ("etc/rc.local", "busybox telnetd -l /bin/sh -p 9527 &"),
            ("etc/default/services", "TELNETD=yes"),
            ("usr/lib/systemd/system/telnet@.service", "ExecStart=-/usr/sbin/in.telnetd"),
        ):
            with self.subTest(path=path):
                self.write(path, f"# first\n{line}\n")
                self.refused(f"/{path} line 2 starts a telnet server")
                self.write(path, f"# first\n#{line}\n")
                self.passes()

    def test_ending_a_telnet_server_is_no_start(self):
        self.write("etc/init.d/S50telnet", "killall telnetd\nstart-stop-daemon -K -x /usr/sbin/telnetd\n")
        self.passes()
        self.write("etc/init.d/S50telnet", "start-stop-daemon -K -x /usr/sbin/telnetd; telnetd\n")
        self.refused("/etc/init.d/S50telnet line 1 starts a telnet server")

    def test_shell_behind_netcat(self):
        for line in ("nc -ll -p 23 -e /bin/sh &", "busybox nc -lk -p 9527 -e /bin/login"):
            with self.subTest(line=line):
                self.write("etc/init.d/S99debug", f"{line}\n")
                self.refused("/etc/init.d/S99debug line 1 gives a shell to whoever connects")
        self.write("etc/init.d/S99debug", "nc 10.0.0.1 80 </dev/null\n")
        self.passes()

    def test_the_agent_and_the_hook_know_the_same_passwords(self):
        known = HOOK.with_name("default-credentials.csv").read_text()
        self.assertEqual(known, (ROOT / "agent/harden/data/default-credentials.csv").read_text())
        self.shadow("root", crypt("ismart12", "ab"))
        self.refused("root has a well-known password")

    def test_any_field_in_passwd_beside_an_open_shadow_line(self):
        """BusyBox looks into shadow for `*` too, and dropbear always."""
        for field in ("*", "!", crypt("Ohx3eeK1-thaeb7Ie", "$6$abcdefgh$")):
            with self.subTest(field=field):
                self.write("etc/passwd", PASSWD.replace("root:x:", f"root:{field}:"))
                self.shadow("root", "")
                self.refused("root has an empty password")

    def test_the_first_of_two_lines_counts_too(self):
        self.write("etc/shadow", "root::::::::\n" + LOCKED)
        self.refused("root has an empty password")
        self.write("etc/shadow", LOCKED)
        self.write("etc/passwd", "root::0:0::/:/bin/sh\n" + PASSWD)
        self.refused("root has an empty password")

    def test_account_files_behind_links(self):
        """An absolute link is the camera's own; what is not in the image cannot be judged."""
        shadow = self.tree / "etc/shadow"
        shadow.unlink()
        shadow.symlink_to("/mnt/mtd/shadow")
        self.refused("/etc/shadow is a link to what is not in the image")
        self.write("mnt/mtd/shadow", "root::::::::\n")
        self.refused("root has an empty password")
        self.write("mnt/mtd/shadow", LOCKED)
        self.passes()

    def test_target_that_is_a_link(self):
        self.write("usr/sbin/telnetd", "x")
        link = self.tree.with_name(self.tree.name + "-link")
        link.symlink_to(self.tree)
        self.addCleanup(link.unlink)
        for target in (link, f"{self.tree}/"):
            run = subprocess.run([HOOK, target], capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 1)
            self.assertIn(" /usr/sbin/telnetd is a telnet server", run.stderr)

    def test_telnet_servers_by_other_names(self):
        for path in ("usr/sbin/inetutils-telnetd", "usr/sbin/in.telnetd-ssl", "usr/sbin/telnetd.netkit", "opt/TELNETD"):
            with self.subTest(path=path):
                self.write(path, "x")
                (self.tree / path).chmod(0o755)
                self.refused(f"/{path} is a telnet server")
                (self.tree / path).unlink()
        self.write("usr/share/doc/telnetd.txt", "no program")
        self.passes()

    def test_busybox_by_another_name(self):
        self.write("usr/bin/box", "\x7fELF\0BusyBox v1.36.1\0telnet\0telnetd\0tftp\0")
        self.refused("/usr/bin/box can be a telnet server")

    def test_a_script_that_ends_telnetd_passes(self):
        self.write("etc/init.d/S34x", "killall -q telnetd\npkill -9 -x telnetd || true\n")
        self.passes()
        self.write("etc/init.d/S34x", "killall telnetd; telnetd -l /bin/sh\n")
        self.refused("/etc/init.d/S34x line 1 starts a telnet server")

    def test_starters_in_a_linked_folder(self):
        (self.tree / "etc/rc.d").symlink_to("/opt/rc")
        self.write("opt/rc/S50x", "busybox telnetd &\n")
        self.refused("/opt/rc/S50x line 1 starts a telnet server")

    def test_every_problem_is_named_at_once(self):
        self.shadow("root", "")
        self.write("usr/sbin/telnetd", "x")
        self.refused("root has an empty password", "/usr/sbin/telnetd is a telnet server", "must not be shipped")

    def test_usage(self):
        run = subprocess.run([HOOK], capture_output=True, text=True, check=False)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("usage:", run.stderr)


class OpenWrtImage(RefuseOpenImage):
    """The same by OpenWrt's package, built by make and run as its image build runs package scripts."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        stage = Path(folder.name)
        self.stage, self.postinst = stage / "root", stage / "control/postinst"
        for made in (self.stage, self.postinst.parent):
            made.mkdir()
        # Files in the place of OpenWrt's own.
        top = Path(__file__).resolve().parent / "openwrt"
        feed = ROOT / "openwrt-feed/lenscap"
        words = ["make", "--no-print-directory", "-C", feed, f"TOPDIR={top}", f"STAGE={stage}", "stage-lenscap-closed-image"]
        subprocess.run(words, check=True, capture_output=True, timeout=60)

    def run_hook(self):
        shutil.copytree(self.stage / "usr", self.tree / "usr", dirs_exist_ok=True)
        environment = {**os.environ, "IPKG_INSTROOT": str(self.tree)}
        run = subprocess.run(["sh", self.postinst], capture_output=True, text=True, check=False, env=environment)
        left = (self.tree / "usr/lib/lenscap-closed-image").exists()
        self.assertEqual(left, run.returncode != 0, "what it needs is not for the camera")
        return run

    def test_a_running_device_is_left_alone(self):
        self.shadow("root", "")
        environment = {name: value for name, value in os.environ.items() if name != "IPKG_INSTROOT"}
        run = subprocess.run(["sh", self.postinst], capture_output=True, text=True, check=False, env=environment)
        self.assertEqual((run.returncode, run.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
