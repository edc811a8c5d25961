"""The source tarball that Buildroot builds from, unpacked as Buildroot unpacks it: cargo must be content with it and the
crates inside it, without a network."""

import hashlib
import io
import json
import lzma
import os
import re
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import fixture
from mkpkg import cargo, contents, source, tar

TARGETS = ("armv7-unknown-linux-gnueabihf", "armv5te-unknown-linux-gnueabi", "x86_64-unknown-linux-gnu")


class Source(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.base = Path(folder.name)
        cls.saved = {}
        out = cls.base / "dist"
        out.mkdir()
        source.write(out, fixture.EPOCH, lambda path, data: cls.saved.update({path.name: data}))
        cls.name = f"lenscap-{contents.version().upstream}.tar.xz"
        cls.tree = cls.base / "build"
        with tarfile.open(fileobj=io.BytesIO(cls.saved[cls.name])) as archive:
            cls.members = archive.getmembers()
            archive.extractall(cls.tree)
        cls.tree = cls.tree / cls.name.removesuffix(".tar.xz")
        cls.buildroot = out / "buildroot-ext"

    def cargo(self, *words):
        """As Buildroot calls it, with a home of its own: what is not in the tarball is not there."""
        environment = {**os.environ, "CARGO_HOME": str(self.base / "home"), "CARGO_NET_OFFLINE": "true"}
        run = subprocess.run([cargo.program(), *words], cwd=self.tree, env=environment, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 0, run.stderr[-2000:])
        return run.stdout

    def test_cargo_resolves_it_with_its_own_crates_alone(self):
        for target in TARGETS:
            words = ("metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", target)
            packages = json.loads(self.cargo(*words))["packages"]
            for one in packages:
                path = Path(one["manifest_path"])
                self.assertTrue(path.is_relative_to(self.tree), one["manifest_path"])
            members = {one["name"] for one in packages if one["source"] is None}
            self.assertEqual(members, {f"lenscap-{name}" for name in ("audit", "harden", "md5", "rtsp", "uplink")} | {"lenscap"})

    def test_all_that_is_linked_is_whole(self):
        """What other systems need is emptied; nothing of what the agent is built of may be, and Cargo.lock stays the tree's."""
        crates = [crate for crate in cargo.closure(contents.ROOT, TARGETS[0]) if crate.checksum]
        self.assertGreater(len(crates), 30)
        there = {}
        for manifest in (self.tree / "VENDOR").glob("*/Cargo.toml"):
            name, version = re.search(r'(?m)^name = "(.*)"\nversion = "(.*)"$', re.sub(r"(?m)^(edition|rust-version) .*\n", "", manifest.read_text())).groups()
            there[name, version] = manifest.parent
        for crate in crates:
            folder = there[crate.name, crate.version]
            sums = json.loads((folder / ".cargo-checksum.json").read_text())
            self.assertEqual(sums["package"], crate.checksum, crate.name)
            self.assertGreater(len(sums["files"]), 2, crate.name)
            for path, digest in sums["files"].items():
                self.assertEqual(hashlib.sha256((folder / path).read_bytes()).hexdigest(), digest, f"{crate.name}: {path}")

    def test_the_build_knows_its_time(self):
        self.assertIn(f'SOURCE_DATE_EPOCH = "{fixture.EPOCH}"', (self.tree / ".cargo/config.toml").read_text())
        for path in ("packaging/config/lenscap", "agent/data/common-roots", "agent/harden/data/default-credentials.csv", "LICENSE-MIT"):
            self.assertEqual((self.tree / path).read_bytes(), (contents.ROOT / path).read_bytes(), path)

    def test_every_member_is_roots_and_as_old_as_the_commit(self):
        for member in self.members:
            self.assertEqual((member.uid, member.gid, member.mtime), (0, 0, fixture.EPOCH), member.name)
            self.assertIn(member.mode, (0o644, 0o755, 0o777), member.name)

    def test_buildroots_tree_has_the_tarball_and_its_hash(self):
        data = self.saved[self.name]
        self.assertEqual((self.buildroot / "dl" / self.name).read_bytes(), data)
        hashes = (self.buildroot / "package/lenscap/lenscap.hash").read_text()
        self.assertIn(f"sha256  {hashlib.sha256(data).hexdigest()}  {self.name}\n", hashes)
        for name in re.findall(r"(?m)^sha256  [0-9a-f]{64}  (LICENSE\S*)$", hashes):
            self.assertTrue((self.tree / name).is_file(), name)
        bill = json.loads(self.saved[f"{self.name}.cdx.json"])
        self.assertEqual(bill["metadata"]["component"]["hashes"][0]["content"], hashlib.sha256(data).hexdigest())

    def test_made_again_it_is_the_same(self):
        again = {}
        out = self.base / "again"
        out.mkdir()
        # Compressing takes longest, and is the same for the same bytes.
        with mock.patch.object(tar, "pack_xz", tar.pack):
            source.write(out, fixture.EPOCH, lambda path, data: again.update({path.name: data}))
        self.assertEqual(hashlib.sha256(lzma.decompress(self.saved[self.name])).hexdigest(), hashlib.sha256(again[self.name]).hexdigest())


if __name__ == "__main__":
    unittest.main()
