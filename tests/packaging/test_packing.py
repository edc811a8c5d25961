"""`packages.sh` itself, in a tree of its own, with programs that are none: what it refuses, and that it touches nothing then."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import fixture
from mkpkg import contents, keys, place, sizes, source
from mkpkg.model import PackageError

ROOT = Path(__file__).resolve().parents[2]
TARGET = "armv7-unknown-linux-musleabihf"
TIMEOUT = 120
# No budget refuses it, but what comes after does.
SMALL = bytes(1000)
AFTER_THE_BUDGET = "is no ELF program"


class Packing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        self.tree, self.out, self.keys = self.base / "tree", self.base / "out", self.base / "keys"
        shutil.copytree(ROOT / "packaging", self.tree / "packaging", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Cargo.toml", "Cargo.lock"):
            shutil.copy(ROOT / name, self.tree)

    def program(self, data, features="firewall", variant=""):
        built = self.tree / "dist" / TARGET / variant
        built.mkdir(parents=True, exist_ok=True)
        (built / "lenscap").write_bytes(data)
        (built / "features").write_text(f"{features}\n")

    def put(self, name, data="somebody's"):
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)

    def pack(self, **environment):
        """Refused in any case; what it said on stderr. Nothing in the folder for the packages is another than before."""
        before = self.there()
        environment = {**os.environ, "LENSCAP_BUILT": "1", "LENSCAP_OUT": str(self.out), "LENSCAP_KEYS": str(self.keys), **environment}
        run = subprocess.run([self.tree / "packaging/packages.sh", TARGET], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertNotIn("Traceback", run.stderr)
        self.stdout = run.stdout
        return run.stderr, before

    def there(self):
        return {str(path.relative_to(self.out)): path.is_file() and path.read_bytes() for path in self.out.rglob("*")}

    def refused(self, text, **environment):
        said, before = self.pack(**environment)
        self.assertIn(text, said)
        self.assertEqual(self.there(), before)
        return said

    def test_a_program_over_its_budget_is_not_packed(self):
        self.put("lenscap_0.0.9-r1_arm_cortex-a7_neon-vfpv4.ipk", "of the run before")
        self.program(bytes(sizes.LIMIT_BYTES + 1))
        for environment in ({}, {"LENSCAP_FEATURES": "firewall"}, {"LENSCAP_FEATURES": "qr"}):
            said = self.refused("nothing was packed", **environment)
            self.assertEqual(said.splitlines()[-1], (
                "packages: nothing was packed, and what lay there is as it was: "
                f"lenscap for {TARGET} is over its budget: 1,310,721 bytes stripped, 1,310,720 are the limit"))
            self.assertIn("OVER THE LIMIT", self.stdout)
        self.assertFalse(self.keys.exists())

    def test_lenscap_full_over_its_budget_is_not_packed(self):
        self.program(SMALL)
        self.program(bytes(sizes.LIMIT_BYTES + 1), "full", "full")
        self.refused(f"lenscap-full for {TARGET} is over its budget", LENSCAP_FULL="1")

    def test_a_program_with_more_in_it_has_no_budget(self):
        self.program(bytes(sizes.LIMIT_BYTES + 1), "firewall,qr")
        said, _ = self.pack()
        self.assertIn(AFTER_THE_BUDGET, said)
        self.assertIn("this has: firewall,qr", self.stdout)

    def test_a_damaged_key_is_told_before_anything_is_written(self):
        whole = {"lenscap-apk.key": fixture.APK.secret_file(), "lenscap-feed.sec": fixture.USIGN.secret_file()}
        self.program(SMALL)
        self.put("lenscap_0.0.9-r1_arm_cortex-a7_neon-vfpv4.ipk", "of the run before")
        self.keys.mkdir(mode=0o700)
        for name, data in whole.items():
            for damaged in (b"", data[:-40], b"\xff\xfe\n\xff"):
                for other, good in whole.items():
                    (self.keys / other).write_bytes(damaged if other == name else good)
                    (self.keys / other).chmod(0o600)
                said = self.refused(f"{self.keys / name}: ")
                self.assertIn("put your copy of it back", said)
        (self.keys / name).unlink()
        (self.keys / name).mkdir()
        (self.keys / name).chmod(0o700)
        self.refused(f"{self.keys / name}: Is a directory")

    def test_packages_of_others_are_not_hidden_by_an_index(self):
        self.program(SMALL)
        arch = "arm_cortex-a7_neon-vfpv4"
        for name, text in (
            ("other_1.0-r1_all.ipk", ""), ("lenscap-extras_1.0-r1_all.ipk", ""), (f"apk/{arch}/other-1.0-r1.apk", ""),
            ("Packages", "Package: lenscap\n\nPackage: other\nFilename: sub/other.ipk\n"),
        ):
            with self.subTest(name=name):
                self.put(name, text)
                self.assertIn("LENSCAP_OUT", self.refused("has packages of others, which the index would not name any more"))
                shutil.rmtree(self.out)

    def test_only_what_is_ours_is_removed(self):
        mine = ("notes", "mine.tar.gz", "apk/mine", "apk/empty/x", "apk/mips/other-1.0-r1.apk", "apk/mips/packages.adb", "lenscap-gateway_0.1.0-1_amd64.deb")
        ours = (
            "lenscap_0.0.9-r1_mips_24kc.ipk", "lenscap_0.0.9-r1_mips_24kc.ipk.cdx.json", "lenscap-full_0.1.0~rc1-r1_x.ipk",
            "lenscap-full-0.1.0-armv7.tar.gz", "apk/mips/lenscap-0.0.9-r1.apk", "apk/arm/lenscap-full-0.1.0_rc1-r1.apk",
            "apk/arm/lenscap-full-0.1.0_rc1-r1.apk.cdx.json", "apk/arm/packages.adb",
        )
        for name in (*mine, *ours):
            self.put(name)
        (self.out / "apk/empty/x").unlink()
        place.forget(self.out)
        self.assertEqual({name for name, data in self.there().items() if data}, set(mine) - {"apk/empty/x"})
        self.assertFalse((self.out / "apk/arm").exists())
        self.assertTrue((self.out / "apk/empty").is_dir())

    def test_buildroots_tree_takes_no_place_of_anothers(self):
        tree = self.out / "buildroot-ext"
        source.refuse_foreign(self.out)
        self.put("buildroot-ext/mine")
        with self.assertRaisesRegex(PackageError, "is not Lenscap's Buildroot tree"):
            source.refuse_foreign(self.out)
        self.put("buildroot-ext/external.desc", (ROOT / "buildroot-ext/external.desc").read_text())
        source.refuse_foreign(self.out)
        for name in ("package/lenscap/0001-old.patch", "package/other/other.mk", "dl/lenscap-0.0.9.tar.xz", "dl/other-1.tar.xz"):
            self.put(f"buildroot-ext/{name}")
        source._buildroot(tree, "lenscap-0.1.0.tar.xz", b"new")
        there = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
        self.assertLessEqual({"mine", "package/other/other.mk", "dl/other-1.tar.xz", "dl/lenscap-0.1.0.tar.xz", "package/lenscap/lenscap.mk"}, there)
        self.assertFalse(there & {"package/lenscap/0001-old.patch", "dl/lenscap-0.0.9.tar.xz"})


class Time(unittest.TestCase):
    """What time all files get, where git refuses: the program's build must say the same."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "Cargo.lock").touch()
        os.utime(self.root / "Cargo.lock", (fixture.EPOCH, fixture.EPOCH))
        self.enterContext(mock.patch.object(contents, "ROOT", self.root))

    def test_without_a_repository_it_is_that_of_cargo_lock(self):
        self.assertEqual(contents.epoch({}), fixture.EPOCH)
        self.assertEqual(contents.epoch({"SOURCE_DATE_EPOCH": "7"}), 7)
        with self.assertRaisesRegex(PackageError, "expected seconds"):
            contents.epoch({"SOURCE_DATE_EPOCH": "today"})

    def test_a_repository_that_git_refuses_is_an_error(self):
        (self.root / ".git").write_text("gitdir: nowhere\n")
        with self.assertRaisesRegex(PackageError, "(?s)not a git repository.*set SOURCE_DATE_EPOCH"):
            contents.epoch({})
        self.assertEqual(contents.epoch({"SOURCE_DATE_EPOCH": "7"}), 7)
        self.assertIn(contents.NO_COMMIT_TIME, (ROOT / "packaging/toolchain/build.sh").read_text())
        with mock.patch.dict(os.environ, {"PATH": str(self.root)}), self.assertRaisesRegex(PackageError, "set SOURCE_DATE_EPOCH"):
            contents.epoch({})


class Keys(unittest.TestCase):
    def test_each_is_read_once(self):
        with tempfile.TemporaryDirectory() as folder:
            one = keys.KeyFolder(folder)
            self.assertIs(one.apk(), one.apk())
            self.assertIs(one.usign(), one.usign())


if __name__ == "__main__":
    unittest.main()
