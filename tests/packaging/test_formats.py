"""The package formats, read back by readers that share no code with the writers."""

import gzip
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature

import fixture
import reader
from mkpkg import apk, index, ipk, keys, model, tar

# Of the fixture package. They change only when a format is meant to change; the tools that took these very files are
# named in packaging/README.md.
PINNED = {
    "fixture_1.2.3-r1_arm_cortex-a7.ipk": "8cf98e5ce96be55f56812baf8e97ff2ab3550c549b1bdc26fd65282b2dddfad7",
    "Packages": "4e03d8a4d2491f482fea6efb68c162334e8b86c808221898a8d6a05df7ca1191",
    "Packages.gz": "e6371a45d0ac431dd025213352fc6c0293918869a46f435cf044bb977833c553",
    "Packages.sig": "24d30ea796be86f1d18b0025ee49988a2c193eafdf5f96ba37bf7269c48411b4",
    "fixture-1.2.3-r1.apk": "219bb6dc4457453bee637f4fd673f3143b9da2b078c798709bae7455dabf9a49",
    "packages.adb": "40064bf09a6ab24ca6eba845437fd3497bb230758a7a006c0cbb644eaae69c26",
    "fixture.tar.gz": "e45aa97e5d316a7090c987f640125067163574e1ca9c18c34ad982fd1db285f7",
}

SCRIPT_START = "#!/bin/sh\n"


class Ipk(unittest.TestCase):
    def setUp(self):
        self.package = fixture.package()
        self.fields, self.control, self.data = reader.ipk(ipk.build(self.package))

    def test_control_says_what_opkg_needs(self):
        self.assertEqual(self.fields["Package"], "fixture")
        self.assertEqual(self.fields["Version"], "1.2.3-r1")
        self.assertEqual(self.fields["Architecture"], "arm_cortex-a7")
        self.assertEqual(self.fields["Require-User"], "fixture=:fixture=")
        self.assertEqual(int(self.fields["Installed-Size"]), 256 * 300 + 15 + 25 + 1)
        self.assertEqual(list(self.fields)[-1], "Description")

    def test_conffiles_and_scripts(self):
        self.assertEqual(self.control["./conffiles"][1], b"/etc/config/fixture\n")
        for name in ("./postinst", "./prerm"):
            member, text = self.control[name]
            self.assertEqual(member.mode, 0o755)
            self.assertTrue(text.decode().startswith(SCRIPT_START))
        self.assertIn(b'default_postinst "$0"', self.control["./postinst"][1])
        self.assertIn(b'default_prerm "$0"', self.control["./prerm"][1])

    def test_every_member_belongs_to_root_and_has_its_mode(self):
        expected = {f"./{entry.path}": entry for entry in self.package.tree()}
        self.assertEqual(list(self.data), list(expected))
        for name, (member, content) in self.data.items():
            self.assertEqual((member.uid, member.gid, member.uname, member.gname), (0, 0, "", ""), name)
            self.assertEqual(member.mtime, fixture.EPOCH)
            self.assertEqual(member.mode, expected[name].mode)
            self.assertEqual(content, expected[name].data)
        self.assertEqual(self.data["./usr/bin/fixture"][0].linkname, "../sbin/fixture")


class OpkgIndex(unittest.TestCase):
    def test_entries_match_files_and_the_signature_holds(self):
        one = fixture.package()
        data = ipk.build(one)
        files = index.files([(one, data)], fixture.USIGN)
        self.assertEqual(gzip.decompress(files["Packages.gz"]), files["Packages"])
        fields = dict(line.split(": ", 1) for line in files["Packages"].decode().splitlines() if line)
        self.assertEqual(fields["Filename"], "fixture_1.2.3-r1_arm_cortex-a7.ipk")
        self.assertEqual(int(fields["Size"]), len(data))
        self.assertEqual(fields["SHA256sum"], hashlib.sha256(data).hexdigest())
        self.assertEqual(list(fields)[-1], "Description")
        public = fixture.USIGN.public_file()
        reader.verify_usign(public, files["Packages.sig"], files["Packages"])
        self.assertTrue(keys.usign_verifies(public, files["Packages.sig"], files["Packages"]))
        with self.assertRaises(InvalidSignature):
            reader.verify_usign(public, files["Packages.sig"], files["Packages"] + b"\n")
        self.assertFalse(keys.usign_verifies(public, files["Packages.sig"], files["Packages"] + b"\n"))

    def test_packages_are_sorted_and_apart(self):
        two = [fixture.package(arch=arch) for arch in ("mipsel_24kc", "aarch64_generic")]
        text = index.text([(one, ipk.build(one)) for one in two]).decode()
        parts = text.strip().split("\n\n")
        self.assertEqual(len(parts), 2)
        self.assertIn("aarch64_generic", parts[0])


class Apk(unittest.TestCase):
    def setUp(self):
        self.built = apk.build(fixture.package(), fixture.APK)
        self.adb, self.info, self.entries, self.scripts = reader.apk(self.built.data)

    def test_info(self):
        names = {1: b"fixture", 2: b"1.2.3-r1", 5: b"arm_cortex-a7", 6: b"MIT", 11: fixture.EPOCH}
        for number, value in names.items():
            self.assertEqual(reader.field(self.info, number), value)

    def test_a_package_that_stands_for_another(self):
        """apk takes it for the other by its version, and so has never both (`apk add` tries it in packaging/README.md)."""
        self.assertEqual([reader.field(self.info, number) for number in (14, 16, 17)], [100, None, None])
        other = apk.build(fixture.package(name="fixture-full", stands_for="fixture", excludes="fixture"), fixture.APK)
        _, info, _, _ = reader.apk(other.data)
        self.assertEqual(reader.field(info, 14), 1)
        self.assertEqual(reader.field(info, 16), [[b"fixture", b"1.2.3-r1"]])
        self.assertEqual(reader.field(info, 17), [[b"fixture"]])
        listed = reader.Adb(apk.index([other, self.built], "both", fixture.APK), b"indx")
        names = [(reader.field(one, 1), reader.field(one, 16)) for one in reader.field(listed.root, 2)]
        self.assertEqual(names, [(b"fixture", None), (b"fixture-full", [[b"fixture", b"1.2.3-r1"]])])

    def test_files_modes_and_owners(self):
        for entry in fixture.package().tree():
            mode, owner, group, mtime, content = self.entries[entry.path]
            self.assertEqual((owner, group), ("root", "root"), entry.path)
            if entry.kind == model.LINK:
                self.assertEqual(content, entry.target)
                continue
            self.assertEqual(mode, entry.mode, entry.path)
            if entry.kind == model.FILE:
                self.assertEqual((mtime, content), (fixture.EPOCH, entry.data))
        self.assertEqual(self.entries[""][0], 0o755)

    def test_registry_that_openwrt_reads(self):
        base = "lib/apk/packages/fixture"
        content = {name: entry[4] for name, entry in self.entries.items()}
        listed = content[f"{base}.list"].decode().splitlines()
        self.assertIn("/etc/init.d/fixture", listed)
        self.assertIn("/usr/bin/fixture", listed)
        self.assertEqual(listed, sorted(listed))
        self.assertEqual(content[f"{base}.rusers"], b"fixture=:fixture=\n")
        self.assertEqual(content[f"{base}.conffiles"], b"/etc/config/fixture\n")
        digest = hashlib.sha256(b"config fixture\n").hexdigest()
        self.assertEqual(content[f"{base}.conffiles_static"], f"/etc/config/fixture {digest}\n".encode())

    def test_scripts(self):
        install, remove, upgrade = (reader.field(self.scripts, n).decode() for n in (3, 4, 7))
        for text in (install, remove, upgrade):
            self.assertTrue(text.startswith(SCRIPT_START))
            self.assertIn('pkgname="fixture"', text)
        self.assertIn("add_group_and_user\ndefault_postinst\n", install)
        self.assertIn("export PKG_UPGRADE=1\n", upgrade)
        self.assertIn("default_postinst\n", upgrade)
        self.assertIn("default_prerm\n", remove)

    def test_signature(self):
        self.adb.verify(fixture.APK.public_file())
        other = keys.ApkKey.from_secret(12345)
        with self.assertRaises(AssertionError):
            self.adb.verify(other.public_file())
        self.adb.heap = self.adb.heap[:-1] + b"!"
        with self.assertRaises(InvalidSignature):
            self.adb.verify(fixture.APK.public_file())

    def test_unsigned(self):
        adb, *_ = reader.apk(apk.build(fixture.package(), None).data)
        self.assertEqual(adb.signatures(), [])

    def test_index(self):
        data = apk.index([self.built], "a feed", fixture.APK)
        adb = reader.Adb(data, b"indx")
        adb.verify(fixture.APK.public_file())
        self.assertEqual(reader.field(adb.root, 1), b"a feed")
        (entry,) = reader.field(adb.root, 2)
        self.assertEqual(reader.field(entry, 3), reader.field(self.info, 3))
        self.assertEqual(reader.field(entry, 13), len(self.built.data))

    def test_many_and_large_files(self):
        entries = tuple(model.Entry(f"f/{n:04}", data=bytes([n & 255]) * n) for n in range(600))
        large = model.Entry("f/large", data=os.urandom(1 << 20))
        _, _, found, _ = reader.apk(apk.build(fixture.package(entries=(*entries, large), conffiles=()), None).data)
        self.assertEqual(found["f/0599"][4], bytes([599 & 255]) * 599)
        self.assertEqual(found["f/large"][4], large.data)


class Reproducible(unittest.TestCase):
    def test_pinned(self):
        # It compresses to other bytes than the zlib that the hashes are pinned for.
        self.assertNotIn("ng", zlib.ZLIB_RUNTIME_VERSION, "this Python has zlib-ng; Debian's has zlib: apt-get install python3")
        found = {name: hashlib.sha256(data).hexdigest() for name, data in fixture.files().items()}
        self.assertEqual(found, PINNED)

    def test_whatever_the_environment(self):
        """Same bytes for another user, umask, time zone, locale, hash seed and folder."""
        program = "import sys, fixture; [sys.stdout.buffer.write(d) for d in fixture.files().values()]"
        here = Path(__file__).resolve().parent
        path = os.pathsep.join([str(here), *sys.path])
        found = set()
        for umask, zone, seed, locale in ((0o022, "UTC", "0", "C"), (0o077, "Asia/Tokyo", "7", "C.UTF-8")):
            with tempfile.TemporaryDirectory() as folder:
                run = subprocess.run(
                    [sys.executable, "-c", program],
                    cwd=folder,
                    env={"PYTHONPATH": path, "TZ": zone, "PYTHONHASHSEED": seed, "LC_ALL": locale, "HOME": folder},
                    umask=umask,
                    user=65534 if os.geteuid() == 0 and umask == 0o077 and _readable_by_all(here) else None,
                    capture_output=True,
                    check=False,
                )
            self.assertEqual(run.returncode, 0, run.stderr.decode())
            found.add(hashlib.sha256(run.stdout).hexdigest())
        self.assertEqual(len(found), 1)


def _readable_by_all(path):
    """Whether another user could read the code: a checkout below /root cannot be."""
    needed = [path, *path.parents, Path(sys.executable).resolve(), *map(Path, sys.path[1:])]
    folders = {folder for one in needed for folder in (one, *one.parents)}
    return all(not folder.exists() or folder.stat().st_mode & stat.S_IROTH for folder in folders)


class Model(unittest.TestCase):
    def test_versions(self):
        for upstream, as_apk, as_ipk in (
            ("0.1.0", "0.1.0-r1", "0.1.0-r1"),
            ("0.1.0-rc.1", "0.1.0_rc1-r1", "0.1.0~rc1-r1"),
            ("1.0.0-beta", "1.0.0_beta-r1", "1.0.0~beta-r1"),
        ):
            version = model.Version(upstream)
            self.assertEqual((version.apk(), version.ipk()), (as_apk, as_ipk))
        for upstream in ("0.1", "0.1.0-nightly", "v0.1.0", "0.1.0+build"):
            with self.assertRaises(model.PackageError):
                model.Version(upstream).apk()

    def test_bad_packages_are_refused(self):
        with self.assertRaises(model.PackageError):
            fixture.package(conffiles=("etc/config/nothing",))
        entry = model.Entry("a")
        with self.assertRaises(model.PackageError):
            fixture.package(entries=(entry, entry), conffiles=())
        for path in ("/etc/x", "../x", "a/../x", "a//b", "", "./a"):
            with self.assertRaises(model.PackageError):
                model.Entry(path)

    def test_tar_has_no_name_and_no_time(self):
        data = tar.compress(b"x")
        self.assertEqual(data[3], 0)
        self.assertEqual(data[4:8], bytes(4))


class Keys(unittest.TestCase):
    def test_made_once_and_kept_private(self):
        with tempfile.TemporaryDirectory() as folder:
            first = keys.KeyFolder(Path(folder) / "keys")
            public = first.usign().public_file(), first.apk().public_file()
            again = keys.KeyFolder(Path(folder) / "keys")
            self.assertEqual((again.usign().public_file(), again.apk().public_file()), public)
            for path in (Path(folder) / "keys").iterdir():
                self.assertEqual(path.stat().st_mode & 0o777, 0o600)
                path.chmod(0o644)
            with self.assertRaisesRegex(model.PackageError, "chmod 600"):
                keys.KeyFolder(Path(folder) / "keys").usign()

    def test_damaged_keys_are_refused(self):
        good = fixture.USIGN.secret_file()
        self.assertEqual(keys.UsignKey.parse(good).public_file(), fixture.USIGN.public_file())
        for bad in (b"", b"untrusted comment: x\nAAAA\n", good.replace(b"Ed", b"", 1)[:80]):
            with self.assertRaises(model.PackageError):
                keys.UsignKey.parse(bad)


if __name__ == "__main__":
    unittest.main()
