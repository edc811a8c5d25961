"""The Buildroot tree against the rules that Buildroot's own utils/check-package enforces; it is no part of any
package registry, so the rules are checked here once more."""

import hashlib
import re
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "buildroot-ext"
PACKAGE = TREE / "package" / "lenscap"
RULER = "#" * 80


def lines(path):
    return path.read_text().split("\n")


class EveryFile(unittest.TestCase):
    def test_whitespace(self):
        for path in TREE.rglob("*"):
            if not path.is_file() or path.suffix == ".csv" or "dl" in path.parts:
                continue
            text = path.read_text()
            self.assertTrue(text.endswith("\n") and not text.endswith("\n\n"), path)
            self.assertNotRegex(text, r"(?m)[ \t]$", path)
            self.assertNotIn("\n\n\n", text, path)
            self.assertNotIn("\r", text, path)


class Makefile(unittest.TestCase):
    def setUp(self):
        self.lines = lines(PACKAGE / "lenscap.mk")
        self.text = "\n".join(self.lines)

    def test_header(self):
        self.assertEqual(self.lines[:6], [RULER, "#", "# lenscap", "#", RULER, ""])

    def test_variables_begin_with_the_packages_name(self):
        for name in re.findall(r"(?m)^(?:define )?([A-Z][A-Z0-9_]+)(?: [:+?]?=|$)", self.text):
            self.assertTrue(name.startswith(("LENSCAP_", "HOST_LENSCAP_")), name)

    def test_assignments_have_spaces_and_continuations_tabs(self):
        self.assertNotRegex(self.text, r"(?m)^[A-Z_]+[:+?]?=|^[A-Z_]+ [:+?]?=\S")
        self.assertNotRegex(self.text, r"(?m)^ +\S")
        self.assertNotRegex(self.text, r"(?m)[^ \t]\\$")
        for before, after in zip(self.lines, self.lines[1:]):
            if before.endswith("\\"):
                self.assertTrue(after.startswith("\t"), after)

    def test_order(self):
        wanted = ["VERSION", "SOURCE", "SITE", "SITE_METHOD", "LICENSE", "LICENSE_FILES"]
        found = [name for name in re.findall(r"(?m)^LENSCAP_(\w+) = ", self.text) if name in wanted]
        self.assertEqual(found, wanted)
        self.assertTrue(self.text.endswith("\n$(eval $(cargo-package))\n$(eval $(host-cargo-package))\n"))

    def test_line_length_of_comments(self):
        for line in self.lines:
            self.assertLessEqual(len(line.expandtabs(8)), 80 + 8, line)


class ConfigIn(unittest.TestCase):
    def test_indentation_and_order(self):
        text = (PACKAGE / "Config.in").read_text()
        self.assertNotRegex(text, r"(?m)^ ")
        for help_text in re.findall(r"\thelp\n((?:\t  .*\n)+)", text):
            for line in help_text.splitlines():
                self.assertLessEqual(len(line.expandtabs(8)), 72, line)
        order = {"bool": 1, "prompt": 1, "default": 2, "depends": 3, "select": 4, "help": 5}
        blocks = re.findall(r"(?m)^(?:config \w+|choice)\n((?:(?:\t.*)?\n)+)", text)
        self.assertEqual(len(blocks), 7)
        for block in blocks:
            keys = re.findall(r"(?m)^\t(bool|prompt|default|depends|select|help)\b", block)
            self.assertEqual(keys, sorted(keys, key=order.get), block)

    def test_the_choice_of_cas_is_one_that_the_build_script_knows(self):
        known = set(re.findall(r'"(\w+)" => Ok\(', (ROOT / "agent" / "build.rs").read_text()))
        self.assertEqual(known, {"all", "common", "none"})
        self.assertEqual(set(re.findall(r"(?m)^LENSCAP_ROOTS = (\w+)$", (PACKAGE / "lenscap.mk").read_text())), known)
        feed = (ROOT / "openwrt-feed" / "lenscap" / "Makefile").read_text()
        chosen = re.search(r"export LENSCAP_ROOTS:=\$\(strip \\\n(.*)\)\n", feed)[1]
        self.assertEqual(set(re.findall(r"[,(]([a-z]+)(?=[,)])", chosen)), known)

    def test_what_is_built_in_is_what_the_agent_knows(self):
        features = tomllib.loads((ROOT / "agent" / "Cargo.toml").read_text())["features"]
        makefile = (PACKAGE / "lenscap.mk").read_text()
        full, base = re.search(r"--no-default-features .*\n\t--features \$\(if \$\(BR2_PACKAGE_LENSCAP_FULL\),(\w+),(\w+)\)\n", makefile).groups()
        self.assertEqual(set(features[full]), set(features) - {"default", full})
        self.assertIn(base, features)
        # The package that `make packages` makes has the same.
        self.assertIn(f"LENSCAP_FEATURES-{base}}}", (ROOT / "packaging/toolchain/build.sh").read_text())

    def test_external_files(self):
        self.assertRegex((TREE / "external.desc").read_text(), r"\Aname: LENSCAP\ndesc: .+\n\Z")
        for path in re.findall(r'source "\$BR2_EXTERNAL_LENSCAP_PATH/(.*)"', (TREE / "Config.in").read_text()):
            self.assertTrue((TREE / path).is_file(), path)


class Hashes(unittest.TestCase):
    def test_licence_hashes(self):
        found = dict(re.findall(r"(?m)^sha256  ([0-9a-f]{64})  (\S+)$", (PACKAGE / "lenscap.hash").read_text()))
        found = {name: value for value, name in found.items()}
        wanted = re.search(r"LENSCAP_LICENSE_FILES = (.*)", (PACKAGE / "lenscap.mk").read_text())[1].split()
        self.assertEqual(sorted(found), sorted(wanted))
        for name, value in found.items():
            self.assertEqual(hashlib.sha256((ROOT / name).read_bytes()).hexdigest(), value)


class InitScript(unittest.TestCase):
    def setUp(self):
        self.path = PACKAGE / "S60lenscap"
        self.text = self.path.read_text()

    def test_shape(self):
        self.assertTrue(self.text.startswith('#!/bin/sh\n\nDAEMON="lenscap"\nPIDFILE="/var/run/$DAEMON.pid"\n'))
        self.assertNotRegex(self.text, r"(?m)^\t* ", "indented with spaces")
        self.assertIn('[ -r "/etc/default/$DAEMON" ] && . "/etc/default/$DAEMON"\n', self.text)
        for name in ("start", "stop", "restart", "reload"):
            self.assertIn(f"\n{name}() {{\n", self.text)
        self.assertFalse(self.path.stat().st_mode & 0o111, "the .mk file sets the mode")

    def test_the_boot_goes_on_whatever_hardening_says(self):
        path = PACKAGE / "S34lenscap"
        self.assertTrue(path.read_text().startswith('#!/bin/sh\n\nDAEMON="lenscap"\n'))
        self.assertFalse(path.stat().st_mode & 0o111, "the .mk file sets the mode")
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "lenscap")
            script = path.read_text().replace("/usr/sbin/$DAEMON", str(program)).replace("/etc/default/", f"{folder}/default-")
            for status, word in ((0, "OK"), (1, "not as it should be"), (2, "not known yet")):
                program.write_text(f'#!/bin/sh\necho "$*" >{folder}/args\nexit {status}\n')
                program.chmod(0o755)
                run = subprocess.run(["sh", "-c", script, "S34", "start"], capture_output=True, text=True, timeout=20, check=True)
                self.assertIn(word, run.stdout)
                args = Path(folder, "args").read_text()
                self.assertEqual(args, "harden --boot --config /etc/config/lenscap\n")
            for command, status in (("stop", 0), ("reload", 0), ("what", 1)):
                run = subprocess.run(["sh", "-c", script, "S34", command], capture_output=True, timeout=20, check=False)
                self.assertEqual(run.returncode, status)

    def test_shellcheck(self):
        run = subprocess.run(["shellcheck", self.path, PACKAGE / "S34lenscap"], capture_output=True, text=True, check=False)
        self.assertEqual(run.stdout, "")


class Defconfigs(unittest.TestCase):
    def test_each_is_closed_and_has_lenscap(self):
        found = sorted(TREE.glob("configs/*_defconfig"))
        self.assertEqual(len(found), 2)
        for path in found:
            config = lines(path)
            self.assertIn("BR2_PACKAGE_LENSCAP=y", config)
            self.assertIn("# BR2_TARGET_ENABLE_ROOT_LOGIN is not set", config)
            self.assertIn("BR2_TOOLCHAIN_BUILDROOT_GLIBC=y", config)
            hook = next(line for line in config if line.startswith("BR2_ROOTFS_POST_FAKEROOT_SCRIPT="))
            script = TREE / re.search(r"\$\(BR2_EXTERNAL_LENSCAP_PATH\)/([^\"]*)", hook)[1]
            self.assertTrue(script.stat().st_mode & 0o100, script)


if __name__ == "__main__":
    unittest.main()
