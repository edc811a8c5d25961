"""install.sh and S60lenscap as a camera runs them, with a made-up program."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL = shutil.which("dash") or "sh"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nvideo:x:900:44::/:/bin/false\n"
TIMEOUT = 20


class Case(unittest.TestCase):
    shell = (SHELL,)
    path = os.environ["PATH"]

    def which(self, tool):
        return shutil.which(tool, path=self.path)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        self.archive, self.root = self.base / "archive", self.base / "root"
        (self.archive / "licenses").mkdir(parents=True)
        self.put(self.archive / "lenscap", "#!/bin/sh\necho lenscap 0.1.0\n", 0o755)
        self.put(self.archive / "lenscap.conf", "config agent\n", 0o600)
        self.put(self.archive / "licenses/LICENSE-MIT", "MIT\n")
        for source in ("packaging/busybox/install.sh", "buildroot-ext/package/lenscap/S34lenscap", "buildroot-ext/package/lenscap/S60lenscap"):
            shutil.copy(ROOT / source, self.archive)
        (self.root / "etc/init.d").mkdir(parents=True)
        self.put(self.root / "etc/passwd", PASSWD)
        self.put(self.root / "etc/group", "root:x:0:\n")
        self.put(self.root / "etc/shadow", "root:*:::::::\n", 0o640)
        self.put(self.root / "etc/init.d/rcS", "for i in /etc/init.d/S??*; do $i start; done\n", 0o755)

    @staticmethod
    def put(path, text, mode=0o644):
        path.write_text(text)
        path.chmod(mode)

    def install(self, *arguments, status=0, path=None, **options):
        run = subprocess.run(
            [*self.shell, self.archive / "install.sh", "--root", self.root, *arguments],
            env={"PATH": path or self.path, **options.pop("environment", {})},
            **options,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        self.assertEqual(run.returncode, status, run.stderr)
        return run

    def tree(self):
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode & 0o777, path.read_bytes() if path.is_file() else None)
            for path in self.root.rglob("*")
        }


class Installer(Case):
    def test_installs_everything_with_its_mode(self):
        run = self.install()
        self.assertRegex(run.stdout, r"needs \d+ KiB in .*, \d+ KiB are free")
        tree = self.tree()
        for path, mode in (
            ("usr/sbin/lenscap", 0o755),
            ("etc/init.d/S34lenscap", 0o755),
            ("etc/init.d/S60lenscap", 0o755),
            ("etc/config/lenscap", 0o600),
            ("etc/lenscap", 0o700),
            ("usr/share/licenses/lenscap/LICENSE-MIT", 0o644),
            ("etc/shadow", 0o640),
        ):
            self.assertEqual(oct(tree[path][0]), oct(mode), path)
        self.assertFalse([path for path in tree if path.endswith(".new")])

    def test_says_where_the_network_comes_before_hardening(self):
        note = "runs before /etc/init.d/S34lenscap: at boot the network is up before hardening has looked"
        for name, told in (("S34network", False), ("S40network", False), ("S33wifi-network", True), ("S20network", True)):
            script = self.root / "etc/init.d" / name
            self.put(script, "#!/bin/sh\n", 0o755)
            said = self.install().stdout
            self.assertEqual(f"note: /etc/init.d/{name} {note}\n" in said, told, said)
            self.assertEqual(note in said, told, said)
            script.unlink()

    def test_makes_a_user_that_nobody_can_log_in_as(self):
        self.install()
        self.install()
        passwd = (self.root / "etc/passwd").read_text()
        self.assertEqual(passwd.count("lenscap:"), 1)
        # 900 is taken.
        self.assertIn("lenscap:x:901:901:Lenscap agent:/:/bin/false\n", passwd)
        self.assertIn("lenscap:x:901:\n", (self.root / "etc/group").read_text())
        self.assertIn("lenscap:*:", (self.root / "etc/shadow").read_text())

    def test_upgrade_keeps_a_changed_configuration(self):
        self.install()
        config = self.root / "etc/config/lenscap"
        config.write_text("config agent\n\toption serial 'X1'\n")
        self.put(self.archive / "lenscap", "#!/bin/sh\necho lenscap 0.2.0\n", 0o755)
        run = self.install()
        self.assertIn("kept", run.stdout)
        self.assertIn("X1", config.read_text())
        self.assertEqual((self.root / "etc/config/lenscap.default").read_text(), "config agent\n")
        self.assertIn("0.2.0", (self.root / "usr/sbin/lenscap").read_text())

    def test_uninstall_leaves_the_configuration_and_purge_nothing(self):
        before = self.tree()
        self.install()
        (self.root / "etc/lenscap/key").write_text("secret")
        self.install("--uninstall")
        left = set(self.tree()) - set(before)
        self.assertEqual({p for p in left if (self.root / p).is_file()}, {"etc/config/lenscap", "etc/lenscap/key"})
        self.assertEqual((self.root / "etc/passwd").read_text(), PASSWD)
        self.install("--uninstall", "--purge")
        after = self.tree()
        self.assertEqual({p for p in after if (self.root / p).is_file()}, {p for p in before if (self.root / p).is_file()})
        for path in ("etc/passwd", "etc/group", "etc/shadow"):
            self.assertEqual(after[path], before[path])

    def accounts(self, passwd="", group="", shadow=""):
        """The account files with more lines; what they are then."""
        for name, text in (("passwd", passwd), ("group", group), ("shadow", shadow)):
            file = self.root / "etc" / name
            file.write_text(file.read_text() + text)
        return self.files()

    def files(self):
        return {name: (self.root / "etc" / name).read_text() for name in ("passwd", "group", "shadow")}

    def test_an_account_that_was_there_stays(self):
        owners = {"passwd": "lenscap:x:1000:1000:owner:/home:/bin/sh\n", "group": "lenscap:x:1000:owner\n", "shadow": "lenscap:$6$x:1::::::\n"}
        first = self.files()
        for names in (("passwd", "group", "shadow"), ("passwd", "group"), ("passwd",), ("group",), ("shadow",)):
            with self.subTest(names=names):
                for name, text in first.items():
                    (self.root / "etc" / name).write_text(text)
                before = self.accounts(**{name: owners[name] for name in names})
                self.install()
                # Nobody's account gets a password's line, or another one.
                self.assertEqual({name: self.files()[name] for name in names}, {name: before[name] for name in names})
                run = self.install("--uninstall", "--purge")
                # A password's line goes with the user that it is for.
                expected = first if names == ("shadow",) else before
                self.assertEqual(self.files(), expected)
                self.assertEqual("is not as it was made here, and stays" in run.stdout, names != ("shadow",), run.stdout)

    def test_an_account_that_somebody_has_changed_stays(self):
        self.install()
        made = self.files()
        for name, old, new in (
            ("passwd", "agent:/:/bin/false", "agent:/:/bin/sh"), ("passwd", "agent:/:", "agent:/home:"), ("passwd", "lenscap:x:901:", "lenscap:x:1901:"),
            ("passwd", "lenscap:x:", "lenscap:$1$x:"), ("group", "lenscap:x:901:", "lenscap:x:901:admin"),
        ):
            with self.subTest(new=new):
                changed = {**made, name: made[name].replace(old, new)}
                self.assertNotEqual(changed, made)
                for other, text in changed.items():
                    (self.root / "etc" / other).write_text(text)
                self.install("--uninstall")
                self.assertEqual(self.files()[name], changed[name])

    def test_a_group_that_others_have_stays(self):
        self.install()
        before = self.accounts(passwd="other:x:12:901::/:/bin/sh\n")
        self.install("--uninstall")
        self.assertEqual(self.files()["group"], before["group"])
        self.assertNotIn("lenscap:", self.files()["passwd"])

    def test_account_files_with_bytes_of_any_kind(self):
        """Of a name in Latin-1 a grep that knows UTF-8 shows no line, and nothing after it."""
        passwd = self.root / "etc/passwd"
        before = b"root:x:0:0:root:/root:/bin/sh\nvideo:x:900:44:K\xe4mera:/:/bin/false\nlast:x:12:12::/:/bin/sh\n"
        passwd.write_bytes(before)
        for locale in ("C.UTF-8", "C"):
            self.install(environment={"LC_ALL": locale})
            self.assertEqual(passwd.read_bytes(), before + b"lenscap:x:901:901:Lenscap agent:/:/bin/false\n")
            self.install("--uninstall", environment={"LC_ALL": locale})
            self.assertEqual(passwd.read_bytes(), before)

    def refused(self, text, *arguments, **options):
        before = self.tree()
        run = self.install(*arguments, status=1, **options)
        self.assertIn(text, run.stderr)
        self.assertIn("nothing was changed", run.stderr)
        self.assertEqual(self.tree(), before)

    def test_odd_roots_are_refused_before_the_first_byte(self):
        for path, is_folder in (
            ("usr/sbin/lenscap", True), ("usr/sbin/lenscap.new", True), ("etc/init.d/S60lenscap", True), ("etc/config/lenscap", True),
            ("usr/share/licenses/lenscap/LICENSE-MIT", True), ("etc/passwd.new", True),
            ("etc/config", False), ("etc/lenscap", False), ("usr", False), ("usr/share/licenses", False),
        ):
            with self.subTest(path=path):
                odd = self.root / path
                odd.parent.mkdir(parents=True, exist_ok=True)
                if is_folder:
                    odd.mkdir()
                    self.refused(f"{odd} is a folder, where a file belongs")
                else:
                    odd.write_text("odd")
                    self.refused(f"{odd} is a file, where a folder belongs")
                if is_folder and "licenses" not in path:
                    self.refused(f"{odd} is a folder", "--uninstall", "--purge")
                shutil.rmtree(odd) if is_folder else odd.unlink()
                shutil.rmtree(self.root / "usr", ignore_errors=True)
                shutil.rmtree(self.root / "etc/config", ignore_errors=True)

    def test_account_files_with_a_nul_are_refused_before_the_first_byte(self):
        self.install()
        for name in ("passwd", "group", "shadow"):
            file = self.root / "etc" / name
            good = file.read_bytes()
            file.write_bytes(good + b"vendor\0:x:\n")
            for arguments in ((), ("--uninstall",), ("--uninstall", "--purge")):
                self.refused(f"{file} has NUL bytes in it", *arguments)
            file.write_bytes(good)

    def as_somebody(self):
        """Options of subprocess's for a user who is not root; root's files are somebody else's then, a user's own read-only."""
        for path in (self.base, self.archive, self.archive / "lenscap.conf"):
            path.chmod(0o755)
        return {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}

    def test_who_has_no_right_is_told_so(self):
        self.install()
        somebody = self.as_somebody()
        (self.root / "etc/lenscap").chmod(0o700 if somebody else 0)
        for arguments in ((), ("--uninstall",)):
            self.refused(f"has no right to look into {self.root}/etc/lenscap: run this as root", *arguments, **somebody)
        (self.root / "etc/lenscap").chmod(0o755)
        (self.root / "etc/shadow").chmod(0)
        for arguments in ((), ("--uninstall",)):
            self.refused("etc/shadow cannot be read: run this as root", *arguments, **somebody)
        (self.root / "etc/shadow").chmod(0o644)
        (self.root / "usr/sbin").chmod(0o555)
        self.addCleanup((self.root / "usr/sbin").chmod, 0o755)
        for arguments in ((), ("--uninstall",), ("--uninstall", "--purge")):
            self.refused(f"has no right to write to {self.root}/usr/sbin: run this as root, or as its owner", *arguments, **somebody)

    def test_who_owns_a_tree_needs_not_be_root(self):
        somebody = self.as_somebody()
        if somebody:
            for path in (self.archive / "lenscap.conf", self.root, *self.root.rglob("*")):
                os.chown(path, 65534, 65534)
        before = self.tree()
        self.install(**somebody)
        self.install("--uninstall", "--purge", **somebody)
        self.assertEqual({path for path in self.tree() if (self.root / path).is_file()}, {path for path in before if (self.root / path).is_file()})

    def test_what_hardening_saved_outlives_even_a_purge(self):
        """The only copies of the vendor's files are not ours to throw away."""
        self.install()
        state = self.root / "etc/lenscap"
        (state / "harden/saved").mkdir(parents=True)
        (state / "harden/journal").write_text("1\n")
        (state / "harden/saved/inittab").write_text("vendor's\n")
        for name in ("identity.pem", ".hidden"):
            (state / name).write_text("secret")
        run = self.install("--uninstall", "--purge")
        self.assertIn("harden --undo --restore-insecure", run.stdout)
        left = {str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()}
        self.assertEqual(left, {"harden/journal", "harden/saved/inittab"})
        self.assertFalse((self.root / "etc/config/lenscap").exists())
        # Nobody else knows what a service's user has.
        (state / "harden/journal").write_text("")
        (state / "harden/services").write_text("onvif 127.0.0.1:80 1\n")
        (state / "camera-password").write_text("secret")
        self.install("--uninstall", "--purge")
        self.assertTrue((state / "harden/services").exists() and (state / "camera-password").exists())
        # Nothing is left to take back.
        (state / "harden/services").unlink()
        self.install("--uninstall", "--purge")
        self.assertFalse(state.exists())

    def test_says_when_nothing_starts_it_at_boot(self):
        (self.root / "etc/init.d/rcS").write_text("/usr/bin/vendor &\n")
        self.assertIn("/etc/init.d/S60lenscap start", self.install().stdout)

    def test_incomplete_archive(self):
        (self.archive / "S60lenscap").unlink()
        before = self.tree()
        self.assertIn("S60lenscap is missing", self.install(status=1).stderr)
        self.assertEqual(self.tree(), before)

    def test_accounts_survive_a_file_without_a_last_newline(self):
        """Vendors write such files; a line stuck to root's would take root its shell."""
        for name in ("passwd", "group", "shadow"):
            file = self.root / "etc" / name
            file.write_text(file.read_text().rstrip("\n"))
        self.install()
        self.assertEqual((self.root / "etc/passwd").read_text().splitlines()[:2], PASSWD.splitlines())
        self.assertEqual((self.root / "etc/group").read_text().splitlines()[0], "root:x:0:")
        self.assertEqual((self.root / "etc/shadow").read_text().splitlines()[0], "root:*:::::::")
        self.assertIn("\nlenscap:x:901:", (self.root / "etc/passwd").read_text())

    def test_account_files_behind_links_stay_there(self):
        """An absolute link in an image means the image's own file, never this machine's."""
        away = self.root / "mnt/mtd"
        away.mkdir(parents=True)
        (self.root / "etc/passwd").rename(away / "passwd")
        (self.root / "etc/passwd").symlink_to("/mnt/mtd/passwd")
        (self.root / "etc/group").rename(away / "group")
        (self.root / "etc/group").symlink_to("../mnt/mtd/group")
        self.install()
        self.assertTrue((self.root / "etc/passwd").is_symlink() and (self.root / "etc/group").is_symlink())
        self.assertIn("lenscap:x:901:901:", (away / "passwd").read_text())
        self.assertIn("lenscap:x:901:", (away / "group").read_text())
        self.install("--uninstall")
        self.assertEqual((away / "passwd").read_text(), PASSWD)
        self.assertTrue((self.root / "etc/passwd").is_symlink())

    def test_never_leaves_the_root(self):
        outside = self.base / "outside"
        outside.mkdir()
        (self.root / "etc/config").symlink_to(outside)
        before = self.tree()
        for arguments in ((), ("--uninstall", "--purge")):
            self.assertIn("leads out of", self.install(*arguments, status=1).stderr)
        self.assertEqual((self.tree(), list(outside.iterdir())), (before, []))
        self.assertIn("this machine itself", self.install("--root", "//", status=1).stderr)

    def test_incomplete_archive_without_licences(self):
        (self.archive / "licenses/LICENSE-MIT").unlink()
        before = self.tree()
        self.assertIn("unpack the whole archive", self.install(status=1).stderr)
        self.assertEqual(self.tree(), before)

    def test_uninstall_removes_what_the_service_has_kept_for_itself(self):
        self.install()
        for name in ("config.good", "uplinks", "identity.pem", "camera-password"):
            (self.root / "etc/lenscap" / name).write_text("x")
        self.install("--uninstall")
        self.assertEqual({path.name for path in (self.root / "etc/lenscap").iterdir()}, {"identity.pem", "camera-password", "uplinks"})

    def test_usage_errors(self):
        self.install("--what", status=2)
        self.assertIn("--purge goes with --uninstall", self.install("--purge", status=1).stderr)
        self.assertIn("no folder", self.install("--root", "/nowhere/at/all", status=1).stderr)
        self.assertIn("usage: ./install.sh", self.install("--help").stdout)


class InstallerWithOtherTools(Case):
    """With tools that lack, lie or fail. BusyBox' shell on this machine would take its own."""

    def test_links_need_a_tool_more(self):
        tools = self.base / "bin"
        tools.mkdir()
        for tool in ("sh", "awk", "cat", "chmod", "cmp", "cp", "cut", "df", "dirname", "grep", "id", "mkdir", "mv", "rm", "rmdir", "sed", "sync", "tr", "wc"):
            (tools / tool).symlink_to(self.which(tool))
        (self.root / "etc/passwd").rename(self.root / "etc/passwd.real")
        (self.root / "etc/passwd").symlink_to("passwd.real")
        before = self.tree()
        self.assertIn("this system has no readlink", self.install(status=1, path=str(tools)).stderr)
        self.assertEqual(self.tree(), before)

    def test_refuses_before_the_first_byte_when_flash_is_full(self):
        tools = self.base / "bin"
        tools.mkdir()
        self.put(tools / "df", "#!/bin/sh\necho 'Filesystem 1K-blocks Used Available Use% Mounted on'\necho 'overlay'\necho '   300 232 68 78% /'\n", 0o755)
        before = self.tree()
        with open(self.archive / "lenscap", "ab") as program:
            program.write(bytes(100_000))
        run = self.install(status=1, path=f"{tools}:{self.path}")
        self.assertRegex(run.stdout, "needs 1[78][0-9] KiB in .*, 68 KiB are free")
        self.assertIn("not enough space; nothing was changed", run.stderr)
        self.assertEqual(self.tree(), before)

    def test_accounts_survive_a_flash_that_fills_up_at_the_removal(self):
        self.install()
        before = self.tree()
        tools = self.base / "bin"
        tools.mkdir()
        real = self.which("grep")
        self.put(tools / "grep", f'#!/bin/sh\n[ "$1" != -v ] || {{ echo half; echo "no space" >&2; exit 2; }}\nexec {real} "$@"\n', 0o755)
        self.install("--uninstall", status=1, path=f"{tools}:{self.path}")
        for name in ("etc/passwd", "etc/group", "etc/shadow"):
            self.assertEqual(self.tree()[name], before[name])

    def test_space_on_a_file_system_whose_name_has_blanks(self):
        tools = self.base / "bin"
        tools.mkdir()
        self.put(tools / "df", "#!/bin/sh\necho 'Filesystem 1K-blocks Used Available Use% Mounted on'\necho '/dev/sdb1 900000 1 899999 1% /media/My Disk'\n", 0o755)
        self.assertIn("899999 KiB are free", self.install(path=f"{tools}:{self.path}").stdout)

    def test_a_file_system_that_does_not_say_what_is_free_has_nothing(self):
        tools = self.base / "bin"
        tools.mkdir()
        self.put(tools / "df", "#!/bin/sh\necho 'Filesystem 1K-blocks Used Available Use% Mounted on'\necho 'none 0 0 0 - /'\n", 0o755)
        before = self.tree()
        run = self.install(status=1, path=f"{tools}:{self.path}")
        self.assertIn(", 0 KiB are free", run.stdout)
        self.assertEqual(run.stderr, "install: not enough space; nothing was changed\n")
        self.assertEqual(self.tree(), before)

    def test_refuses_before_the_first_byte_when_there_is_no_room_for_files(self):
        tools = self.base / "bin"
        tools.mkdir()
        real = self.which("df")
        self.put(tools / "df", f"""#!/bin/sh
[ "$1" = -i ] || exec {real} "$@"
echo 'Filesystem Inodes IUsed IFree IUse% Mounted on'
echo "/dev/mtdblock4 64 61 $(cat {self.base}/free) 96% /"
""", 0o755)
        before = self.tree()
        self.put(self.base / "free", "3\n")
        run = self.install(status=1, path=f"{tools}:{self.path}")
        self.assertRegex(run.stderr, r"room for 3 more files, \d+ are needed; nothing was changed")
        self.assertEqual(self.tree(), before)
        self.put(self.base / "free", "300\n")
        self.install(path=f"{tools}:{self.path}")

    def test_a_link_with_a_temporary_name_leads_nowhere(self):
        outside = self.base / "outside"
        self.put(outside, "mine")
        for name in ("etc/passwd.new", "etc/shadow.new", "usr/sbin/lenscap.new", "etc/config/lenscap.new"):
            link = self.root / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(outside)
        self.install()
        self.install("--uninstall")
        self.assertEqual(outside.read_text(), "mine")

    def test_missing_tools_are_named_before_the_first_byte(self):
        tools = self.base / "bin"
        tools.mkdir()
        for tool in ("sh", "awk", "cat", "chmod", "cmp", "cp", "df", "dirname", "grep", "id", "mkdir", "mv", "rm", "rmdir", "sed", "sync", "wc"):
            (tools / tool).symlink_to(self.which(tool))
        before = self.tree()
        self.assertIn("this system has no cut", self.install(status=1, path=str(tools)).stderr)
        self.assertEqual(self.tree(), before)

    def test_an_upgrade_that_fails_leaves_the_old_service_running(self):
        """As on the camera itself: the paths are moved into the folder, and root is believed."""
        self.install()
        for init in (self.root / "etc/init.d/S60lenscap", self.archive / "S60lenscap"):
            self.put(init, f'#!/bin/sh\necho "$1" >>{self.base}/calls\n', 0o755)
        script = (self.archive / "install.sh").read_text()
        script = script.replace("\nroot=\n", f"\nroot=\ntop={self.root}\n").replace("=$root/", "=$top/").replace('"$root/etc', '"$top/etc')
        self.put(self.archive / "live.sh", script.replace('"$(id -u)" = 0', "0 = 0").replace("tmpfs* | ramfs* | rootfs*", "none"))
        tools = self.base / "bin"
        tools.mkdir()
        real = self.which("cp")
        self.put(tools / "cp", f'#!/bin/sh\ncase $2 in */sbin/lenscap.new) exit 1;; esac\nexec {real} "$@"\n', 0o755)
        run = subprocess.run([*self.shell, self.archive / "live.sh"], env={"PATH": f"{tools}:{self.path}"},
                             capture_output=True, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertIn("cannot write", run.stderr)
        self.assertEqual((self.base / "calls").read_text().split(), ["stop", "start"])


class InstallerInBusyBox(Installer):
    """The same with BusyBox' shell and nothing but its applets, as on a camera."""

    shell = ("busybox", "ash")

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        busybox = shutil.which("busybox")
        if busybox is None:
            raise AssertionError("no busybox: apt-get install busybox-static")
        cls.shell = (busybox, "ash")
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            Path(folder.name, applet).symlink_to(busybox)
        cls.path = folder.name


def words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class InitScript(unittest.TestCase):
    """S60lenscap with its paths moved into a folder, and a program that notes its signals."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        # start-stop-daemon -x looks at the executable, so the program cannot be a script.
        program = os.path.realpath(sys.executable)
        script = (ROOT / "buildroot-ext/package/lenscap/S60lenscap").read_text()
        script = script.replace("/var/run/", f"{self.base}/").replace('"/usr/sbin/$DAEMON"', f'"{program}"')
        script = script.replace("/etc/default/", f"{self.base}/default-").replace('"/etc/init.d/', f'"{self.base}/')
        (self.base / "S60lenscap").write_text(script)
        (self.base / "default-lenscap").write_text(f'LENSCAP_ARGS="{self.base}/agent.py {self.base}"\n')
        (self.base / "agent.py").write_text(
            "import signal, sys, pathlib\n"
            "log = pathlib.Path(sys.argv[1], 'log')\n"
            "note = lambda text: log.open('a').write(text + '\\n')\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM})\n"
            "note('started')\n"
            "while (got := signal.sigwait({signal.SIGHUP, signal.SIGTERM})) == signal.SIGHUP: note('hup')\n"
            "note('term')\n"
        )
        self.addCleanup(self.kill)

    def kill(self):
        for name in ("lenscap", "lenscap-monitor"):
            try:
                os.kill(self.pid(name), signal.SIGKILL)
            except (OSError, ValueError):
                pass

    def pid(self, name):
        return int((self.base / f"{name}.pid").read_text())

    def call(self, command):
        return subprocess.run(
            [SHELL, self.base / "S60lenscap", command], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )

    def wait_for(self, *lines):
        deadline = time.monotonic() + TIMEOUT
        log = self.base / "log"
        while time.monotonic() < deadline:
            if log.exists() and log.read_text().split() == list(lines):
                return
            time.sleep(0.02)
        self.fail(log.read_text() if log.exists() else "no log")

    def test_life_of_the_service(self):
        self.assertEqual(self.call("start").stdout, "Starting lenscap: OK\n")
        self.wait_for("started")
        self.assertEqual(self.call("start").returncode, 1, "it runs already")
        self.assertEqual(self.call("reload").stdout, "Reloading lenscap: OK\n")
        self.wait_for("started", "hup")
        self.assertEqual(self.call("restart").returncode, 0)
        self.wait_for("started", "hup", "term", "started")
        self.assertEqual(self.call("stop").stdout, "Stopping lenscap: OK\n")
        self.assertFalse((self.base / "lenscap.pid").exists())
        self.assertEqual(self.call("stop").returncode, 1)
        self.assertEqual(self.call("status").returncode, 1)

    def test_a_stop_right_after_the_start_is_no_failure(self):
        for _ in range(10):
            self.assertEqual(self.call("start").returncode, 0)
            self.assertEqual(self.call("stop").returncode, 0)

    def test_a_program_that_ends_is_started_again(self):
        self.call("start")
        self.wait_for("started")
        supervisor, monitor = self.pid("lenscap"), self.pid("lenscap-monitor")
        os.kill(monitor, signal.SIGKILL)
        self.wait_for("started", "started")
        self.assertEqual(self.pid("lenscap"), supervisor)
        self.assertNotEqual(self.pid("lenscap-monitor"), monitor)
        self.assertEqual(self.call("stop").returncode, 0)
        self.wait_for("started", "started", "term")
        self.assertFalse((self.base / "lenscap-monitor.pid").exists())

    def test_stop_while_it_waits_to_start_again(self):
        self.call("start")
        self.wait_for("started")
        monitor = self.pid("lenscap-monitor")
        os.kill(monitor, signal.SIGKILL)
        deadline = time.monotonic() + TIMEOUT
        while (self.base / "lenscap-monitor.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.call("reload").returncode, 1, "nothing runs")
        began = time.monotonic()
        self.assertEqual(self.call("stop").returncode, 0)
        self.assertLess(time.monotonic() - began, 4)
        self.wait_for("started")

    def test_an_old_pid_file_keeps_nothing_from_starting(self):
        """After a reboot, where /var/run is on flash: the number is some other shell's."""
        other = subprocess.Popen([SHELL, "-c", "sleep 60; :"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        (self.base / "lenscap.pid").write_text(f"{other.pid}\n")
        self.assertEqual(self.call("start").returncode, 0)
        self.wait_for("started")
        self.assertEqual(self.call("stop").returncode, 0)
        self.assertIsNone(other.poll())

    def test_a_program_without_its_supervisor_is_stopped_and_replaced(self):
        self.call("start")
        self.wait_for("started")
        supervisor = self.pid("lenscap")
        os.kill(supervisor, signal.SIGKILL)
        deadline = time.monotonic() + TIMEOUT
        # A signal takes a moment, and until then it has its words still.
        while words_of(supervisor) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.call("start").returncode, 0)
        log = self.base / "log"
        while sorted(log.read_text().split()) != ["started", "started", "term"] and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(sorted(log.read_text().split()), ["started", "started", "term"])


if __name__ == "__main__":
    unittest.main()
