"""The gateway's Debian package, made of the program that the other tests use, and taken apart again."""

import gzip
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("LENSCAP_GATEWAY", ROOT / "target/debug/lenscap-gateway"))
SCRIPTS = ("postinst", "prerm", "postrm")


def run(*command):
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class GatewayDeb(unittest.TestCase):
    """One package for all."""

    @classmethod
    def setUpClass(cls):
        assert PROGRAM.exists(), f"{PROGRAM} is missing: cargo build --workspace"
        cls.folder = tempfile.TemporaryDirectory()
        cls.place = Path(cls.folder.name)
        cls.package = run(ROOT / "packaging/gateway/deb.sh", PROGRAM, cls.place / "out").strip()
        cls.tree, cls.control = cls.place / "tree", cls.place / "control"
        run("dpkg-deb", "--extract", cls.package, cls.tree)
        run("dpkg-deb", "--control", cls.package, cls.control)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def field(self, name):
        """A field of its control file."""
        return run("dpkg-deb", "--field", self.package, name).strip()

    def test_it_says_what_it_is_and_needs(self):
        version = run(PROGRAM, "--version").split()[1]
        self.assertEqual(self.field("Package"), "lenscap-gateway")
        self.assertEqual(self.field("Version"), f"{version}-1")
        self.assertEqual(self.field("Architecture"), run("dpkg", "--print-architecture").strip())
        self.assertRegex(self.field("Depends"), r"libc6 \(>= 2\.\d+\), adduser, init-system-helpers")

    def test_what_is_in_it_belongs_to_root_and_runs(self):
        listed = run("dpkg-deb", "--contents", self.package).splitlines()
        self.assertTrue(all(line.split()[1] == "root/root" for line in listed), listed)
        program = self.tree / "usr/bin/lenscap-gateway"
        self.assertEqual(program.stat().st_mode & 0o777, 0o755)
        self.assertEqual(run(program, "--version"), run(PROGRAM, "--version"))
        files = {str(path.relative_to(self.tree)) for path in self.tree.rglob("*") if path.is_file()}
        doc = "usr/share/doc/lenscap-gateway"
        self.assertLessEqual({f"{doc}/copyright", f"{doc}/changelog.gz", f"{doc}/gateway.md", f"{doc}/examples/gateway.toml",
                              f"{doc}/examples/alerts.yml"}, files)
        for section in ("1", "5"):
            page = gzip.decompress((self.tree / f"usr/share/man/man{section}/lenscap-gateway.{section}.gz").read_bytes())
            self.assertIn(b"\n.SH NAME", page)
        # Whoever has a configuration put it there; an upgrade leaves it alone.
        self.assertEqual(list((self.tree / "etc/lenscap-gateway").iterdir()), [])

    def test_the_unit_starts_what_is_there_as_the_user_that_is_made(self):
        unit = (self.tree / "usr/lib/systemd/system/lenscap-gateway.service").read_text()
        command = re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE)
        self.assertTrue((self.tree / command[1].lstrip("/")).exists(), command[1])
        user = re.search(r"^User=(\S+)", unit, re.MULTILINE)[1]
        self.assertRegex((self.control / "postinst").read_text(), rf"adduser .*--system --group .* {user}\n")
        for line in ("StateDirectory=lenscap-gateway", "LimitNOFILE=65536", "NoNewPrivileges=yes", "ProtectSystem=strict"):
            self.assertIn(f"{line}\n", unit)

    def test_its_scripts_are_sound_and_a_purge_keeps_the_claims(self):
        scripts = [self.control / name for name in SCRIPTS]
        self.assertTrue(all(script.stat().st_mode & 0o111 for script in scripts))
        run("shellcheck", "--shell=sh", *scripts)
        purge = (self.control / "postrm").read_text()
        self.assertNotIn("rm ", purge)


if __name__ == "__main__":
    unittest.main()
