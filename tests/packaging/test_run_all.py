"""`make qemu-test`'s script with programs in the place of what it runs: no failure of any of them is lost."""

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 60
# Of each: how often it has run, in a file of its own, and what it does the first time and ever after.
SHELL = '#!/bin/sh\necho "{name} $*" >>calls\n[ "$(grep -c "^{name} " calls)" -gt 1 ] || {{ {first}; }}\n{later}\n'
PYTHON = "import os, subprocess, sys\nsys.exit(subprocess.call(['sh', 'qemu/stub-{name}.sh', *sys.argv[1:]]))\n"
# The shell that runs beside, as the kernel kills it when memory is short.
DIE_WITH_THE_SHELL = 'kill -9 "$(cut -d" " -f4 /proc/$PPID/stat)"; exit 1'


class RunAll(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "qemu").mkdir()
        shutil.copy(ROOT / "qemu/run-all.sh", self.root / "qemu")
        self.stub("build", later='case "$1" in targets) echo cpu ;; esac')
        self.stub("targets")
        for name in ("test", "firewall"):
            self.stub(name)
            (self.root / f"qemu/{name}.py").write_text(PYTHON.format(name=name))

    def stub(self, name, first=":", later="exit 0"):
        path = self.root / "qemu" / (f"{name}.sh" if name in ("build", "targets") else f"stub-{name}.sh")
        path.write_text(SHELL.format(name=name, first=first, later=later))
        path.chmod(0o755)

    def run_all(self, status, *variants):
        run = subprocess.run([self.root / "qemu/run-all.sh", "", *variants], cwd=self.root, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stdout + run.stderr

    def calls(self):
        return [line.split()[0] for line in (self.root / "calls").read_text().splitlines()]

    def test_all_is_well(self):
        said = self.run_all(0, "vendor", "v6")
        self.assertIn("test --variant vendor --variant v6\n", (self.root / "calls").read_text())
        self.assertNotIn("once more", said)
        # The first call of `test` only looks at the names.
        self.assertEqual(sorted(self.calls()), ["build", "build", "firewall", "targets", "test", "test"])

    def test_the_cameras_failure_is_the_scripts(self):
        self.stub("test", first="exit 0", later="exit 3")
        self.run_all(3)

    def test_what_fails_beside_is_run_once_more_before_it_has_logged_too(self):
        self.stub("firewall", first="exit 1")
        said = self.run_all(0)
        self.assertIn("once more, alone: firewall\n", said)
        self.assertIn("passed only alone: firewall", said)
        self.assertEqual(self.calls().count("targets"), 1)

    def test_the_first_consoles_are_kept(self):
        self.stub("firewall", first="echo first >out/qemu/firewall-bare.log; exit 1", later="echo later >out/qemu/firewall-bare.log")
        self.run_all(0)
        there = {path.name: path.read_text() for path in (self.root / "out/qemu").glob("firewall-*")}
        self.assertEqual(there, {"firewall-bare-first.log": "first\n", "firewall-bare.log": "later\n"})

    def test_what_fails_twice_fails(self):
        self.stub("targets", later="exit 1")
        self.assertIn("once more, alone: targets", self.run_all(1))

    def test_who_is_killed_has_not_passed(self):
        self.stub("firewall", first="kill -9 $$", later="exit 0")
        self.assertIn("once more, alone: firewall\n", self.run_all(0))

    def test_where_the_shell_beside_is_killed_nothing_has_passed(self):
        self.stub("firewall", first=DIE_WITH_THE_SHELL)
        said = self.run_all(0)
        self.assertIn("ended with status 137; not passed: firewall targets", said)
        self.assertIn("passed only alone: firewall targets", said)
        self.stub("targets", later="exit 1")
        (self.root / "calls").unlink()
        self.run_all(1)

    def test_a_variant_that_is_none_is_told_before_the_build(self):
        self.stub("test", first="echo 'invalid choice' >&2; exit 2")
        self.assertIn("invalid choice", self.run_all(2, "nosuch"))
        self.assertEqual(self.calls(), ["test"])
        # The real program's word for it.
        run = subprocess.run(["/usr/bin/python3", ROOT / "qemu/test.py", "--variant", "nosuch", "--list"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(run.returncode, 2)
        self.assertIn("invalid choice: 'nosuch'", run.stderr)


if __name__ == "__main__":
    unittest.main()
