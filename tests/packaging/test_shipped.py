"""shipped.py, which judges what `make packages` made, on a small dist/ of which one thing at a time is wrong."""

import contextlib
import io
import json
import shutil
import struct
import tempfile
import unittest
from pathlib import Path

import fixture
import shipped
from mkpkg import apk, contents, index, ipk, sbom, tar
from mkpkg.cargo import Crate

TARGET = "armv7-unknown-linux-musleabihf"
ARCH = "arm_cortex-a7_neon-vfpv4"


def elf(machine, text):
    """A file that begins as an ELF program does."""
    head = bytearray(52)
    head[:7] = b"\x7fELF\1\1\1"
    struct.pack_into("<H", head, 18, machine)
    return bytes(head) + text


class Shipped(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dist = Path(folder.name)
        self.program = self.dist / TARGET / "lenscap"
        self.program.parent.mkdir()
        self.program.write_bytes(elf(40, b"program"))
        self.pack(self.program.read_bytes())

    def pack(self, program):
        closure = [Crate("lenscap", "lenscap", "0.1.0", "MIT", None, "", ())]
        package = contents.openwrt(program, ARCH, closure, fixture.EPOCH)
        as_ipk, as_apk = ipk.build(package), apk.build(package, fixture.APK)
        self.apk = self.dist / "apk" / ARCH
        self.apk.mkdir(parents=True, exist_ok=True)
        self.ipk = self.dist / ipk.file_name(package)
        self.apk_name = apk.file_name(package)
        self.tarball = self.dist / f"lenscap-{contents.version().upstream}-{TARGET}.tar.gz"
        archive = tar.pack_gz(contents.tarball(program, closure), fixture.EPOCH, prefix="")
        for path, data in ((self.ipk, as_ipk), (self.apk / self.apk_name, as_apk.data), (self.tarball, archive)):
            path.write_bytes(data)
            path.with_name(path.name + ".cdx.json").write_bytes(sbom.document(closure, path.name, data, fixture.EPOCH))
        for name, data in index.files([(package, as_ipk)], fixture.USIGN).items():
            (self.dist / name).write_bytes(data)
        (self.apk / "packages.adb").write_bytes(apk.index([as_apk], "x", fixture.APK))
        (self.dist / "lenscap-feed.pub").write_bytes(fixture.USIGN.public_file())
        (self.dist / "lenscap-apk.pem").write_bytes(fixture.APK.public_file())

    def judge(self, *targets):
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            status = shipped.main(["--dist", str(self.dist), *targets])
        return status, said.getvalue() + complained.getvalue()

    def refused(self, text):
        status, said = self.judge(TARGET)
        self.assertEqual(status, 1)
        self.assertIn(text, said)

    def test_good(self):
        status, said = self.judge(TARGET)
        self.assertEqual(status, 0, said)
        for name in (self.ipk.name, f"{ARCH}/lenscap-", self.tarball.name):
            self.assertIn(name, said)

    def test_all_targets_are_wanted_by_default(self):
        status, said = self.judge()
        self.assertEqual(status, 1)
        self.assertIn("Packages names none for arm_arm1176jzf-s_vfp", said)

    def test_another_program(self):
        self.program.write_bytes(elf(40, b"progra!"))
        self.refused("byte for byte")
        # The three that carry it, each alone.
        good = {path: path.read_bytes() for path in self.dist.rglob("*") if path.is_file()}
        self.pack(self.program.read_bytes())
        new = {path: path.read_bytes() for path in good}
        self.assertEqual(self.judge(TARGET)[0], 0)
        for names, text in (((self.tarball.name,), self.tarball.name), ((self.apk_name, "packages.adb"), f"{ARCH}/lenscap-"),
                            ((self.ipk.name, "Packages", "Packages.gz", "Packages.sig"), self.ipk.name)):
            names = {*names, *(f"{name}.cdx.json" for name in names)}
            for path in good:
                path.write_bytes((good if path.name in names else new)[path])
            self.refused(f"the program in {text}")

    def test_a_program_for_another_cpu(self):
        self.program.write_bytes(elf(8, b"program"))
        self.pack(self.program.read_bytes())
        self.refused(f"is not for {ARCH}")

    def test_signatures_of_others(self):
        for name, text in (("lenscap-feed.pub", "Packages.sig"), ("lenscap-apk.pem", f"{ARCH}/packages.adb")):
            with self.subTest(name=name):
                self.setUp()
                path = self.dist / name
                other = fixture.keys.ApkKey.from_secret(12345) if name.endswith("pem") else fixture.keys.UsignKey.from_seed(bytes(32), b"lenscap\0")
                path.write_bytes(other.public_file())
                self.refused(text)

    def test_damaged_and_missing_files(self):
        for path, text in ((self.ipk, "says other things of"), (self.apk / "packages.adb", "packages.adb cannot be read"),
                           (self.apk / self.apk_name, "cannot be read"), (self.tarball, "cannot be read"),
                           (self.dist / "Packages", "another index")):
            with self.subTest(path=path.name):
                good = path.read_bytes()
                path.write_bytes(good[:-9])
                self.refused(text)
                path.unlink()
                self.refused(path.name)
                path.write_bytes(good)
        self.assertEqual(self.judge(TARGET)[0], 0)
        shutil.copy(self.ipk, self.dist / "lenscap_0.0.9-r1_x.ipk")
        self.refused("no index names ['lenscap_0.0.9-r1_x.ipk']")

    def test_a_bill_of_another_file(self):
        path = self.ipk.with_name(self.ipk.name + ".cdx.json")
        bill = json.loads(path.read_text())
        bill["metadata"]["component"]["hashes"][0]["content"] = "0" * 64
        path.write_text(json.dumps(bill))
        self.refused("is the bill of another file")


if __name__ == "__main__":
    unittest.main()
