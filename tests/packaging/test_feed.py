"""The OpenWrt feed's packages as make reads them, with files in the place of OpenWrt's own make files (openwrt/): what they
would install, beside what `make packages` packs. No OpenWrt tree has built them here."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import fixture
from mkpkg import cargo, contents, scripts
from mkpkg.model import DIRECTORY, FILE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FEED = ROOT / "openwrt-feed"
PROGRAM = b"what cargo has built"


class Feed(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.stage = Path(folder.name)

    def make(self, feed, goal, *words):
        command = ["make", "--no-print-directory", "-C", FEED / feed, f"TOPDIR={HERE / 'openwrt'}", f"STAGE={self.stage}", goal, *words]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run

    def staged(self, package, feed, *words):
        """What a package of a folder of the feed would install: path -> (mode, content or None for a folder); standard folders aside."""
        built = self.stage / "built/bin" / feed
        for folder in (built.parent, self.stage / "root", self.stage / "control"):
            folder.mkdir(parents=True)
        built.write_bytes(PROGRAM)
        self.make(feed, f"stage-{package}", *words)
        root = self.stage / "root"
        found = {str(path.relative_to(root)): (path.stat().st_mode & 0o777, path.read_bytes() if path.is_file() else None)
                 for path in root.rglob("*")}
        return {path: entry for path, entry in found.items() if entry != (0o755, None)}

    def control(self, name):
        return (self.stage / "control" / name).read_text()

    def facts(self):
        return dict(zip(("name", "version", "licence", "users", "depends", "roots"), self.control("facts").strip().split("|"), strict=True))

    def test_the_agents_packages_are_those_that_are_packed(self):
        closure = cargo.closure(ROOT, "armv7-unknown-linux-musleabihf", "firewall")
        base = self.stage
        for variant, name in contents.VARIANTS.items():
            with self.subTest(package=name):
                self.stage = base / variant
                self.compare(name, contents.openwrt(PROGRAM, "arm_cortex-a7", closure, fixture.EPOCH, variant))

    def compare(self, name, packed):
        expected = {entry.path: (entry.mode, entry.data if entry.kind == FILE else None) for entry in packed.entries}
        # Packages of an OpenWrt tree carry no licence texts, and what is to be kept is told by the conffiles.
        kept = expected.pop("lib/upgrade/keep.d/lenscap")[1].decode()
        expected = {path: entry for path, entry in expected.items() if not path.startswith("usr/share/licenses/")}
        self.assertEqual(expected["etc/lenscap"], (0o700, None))
        self.assertEqual([entry.path for entry in packed.entries if entry.kind == DIRECTORY], ["etc/lenscap"])
        self.assertEqual(self.staged(name, "lenscap"), expected)
        conffiles = "".join(f"/{path}\n" for path in packed.conffiles)
        self.assertEqual(self.control("conffiles"), conffiles + kept)
        facts = self.facts()
        self.assertEqual((facts["name"], facts["version"], facts["licence"]), ("lenscap", packed.version.ipk(), packed.licence))
        self.assertEqual((facts["users"], facts["depends"], facts["roots"]), (packed.user_ids(), "@RUST", "common"))
        # OpenWrt puts its own default_prerm behind it.
        prerm = self.control("prerm")
        self.assertTrue(prerm.startswith("#!/bin/sh\n"))
        self.assertTrue(scripts.ipk(packed)["prerm"].startswith(prerm), prerm)
        self.assertIn("--roll-back", prerm)
        self.assertEqual(self.control("postinst").strip(), "")

    def test_the_choice_of_cas_reaches_the_build(self):
        for number, (word, roots) in enumerate((("CONFIG_LENSCAP_ROOTS_ALL=y", "all"), ("CONFIG_LENSCAP_ROOTS_NONE=y", "none"))):
            self.stage = self.stage / str(number)
            self.staged("lenscap", "lenscap", word)
            self.assertEqual(self.facts()["roots"], roots)

    def test_the_gateways_package(self):
        self.assertEqual(self.staged("lenscap-gateway", "lenscap-gateway"), {
            "usr/sbin/lenscap-gateway": (0o755, PROGRAM),
            "etc/lenscap-gateway/gateway.toml": (0o644, (ROOT / "packaging/gateway/gateway.toml").read_bytes()),
            "etc/init.d/lenscap-gateway": (0o755, (FEED / "lenscap-gateway/files/lenscap-gateway.init").read_bytes()),
        })
        self.assertEqual(self.control("conffiles"), "/etc/lenscap-gateway/\n")
        facts = self.facts()
        self.assertEqual((facts["name"], facts["version"]), ("lenscap-gateway", contents.version().ipk()))
        self.assertEqual((facts["users"], facts["depends"]), ("lenscap-gateway=:lenscap-gateway=", "@RUST"))

    def test_what_is_built_is_the_tree_without_what_was_built_in_it(self):
        tree = self.stage / "tree"
        kept = ("Cargo.toml", "agent/src/main.rs", "agent/target/kept")
        for path in (*kept, ".git/HEAD", "target/debug/x", "dist/x", "out/x", ".venv/x"):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(path)
        for package in ("lenscap", "lenscap-gateway"):
            build = self.stage / package
            self.make(package, "prepare", f"LENSCAP_TREE={tree}", f"PKG_BUILD_DIR={build}")
            self.assertEqual({str(path.relative_to(build)) for path in build.rglob("*") if path.is_file()}, set(kept))


if __name__ == "__main__":
    unittest.main()
