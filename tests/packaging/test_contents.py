"""What goes into Lenscap's own packages, their bills of materials, and the checks of the program."""

import gzip
import json
import random
import re
import shutil
import struct
import subprocess
import tempfile
import tomllib
import unittest
import zlib
from pathlib import Path

import fixture
import reader
from mkpkg import apk, auditable, cargo, checks, contents, elf, ipk, sbom, sizes, source, tar
from mkpkg.model import PackageError

ROOT = Path(__file__).resolve().parents[2]
TARGET = "armv7-unknown-linux-musleabihf"


class Contents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.closure = cargo.closure(ROOT, TARGET, "firewall")
        cls.package = contents.openwrt(b"program", "arm_cortex-a7", cls.closure, fixture.EPOCH)

    def test_both_formats_carry_the_same_files(self):
        _, _, as_ipk = reader.ipk(ipk.build(self.package))
        _, _, as_apk, _ = reader.apk(apk.build(self.package, None).data)
        ipk_files = {name[2:]: (m.mode, data) for name, (m, data) in as_ipk.items() if m.isfile()}
        apk_files = {name: (e[0], e[4]) for name, e in as_apk.items() if isinstance(e[4], bytes)}
        self.assertEqual(ipk_files, {n: e for n, e in apk_files.items() if not n.startswith("lib/apk/")})
        self.assertEqual(
            {name: mode for name, (mode, _) in ipk_files.items() if not name.startswith("usr/share/")},
            {
                "usr/sbin/lenscap": 0o755,
                "etc/config/lenscap": 0o600,
                "etc/hotplug.d/iface/95-lenscap": 0o644,
                "etc/init.d/lenscap": 0o755,
                "etc/uci-defaults/80-lenscap": 0o755,
                "lib/upgrade/keep.d/lenscap": 0o644,
            },
        )

    def test_the_full_package_takes_the_place_of_the_other(self):
        full = contents.openwrt(b"program with more", "arm_cortex-a7", self.closure, fixture.EPOCH, "full")
        paths = [{entry.path for entry in one.entries} for one in (self.package, full)]
        self.assertEqual(*paths)
        # opkg would have both beside each other, if not each of them said so.
        for package, provides, other in ((self.package, None, "lenscap-full"), (full, "lenscap", "lenscap")):
            fields, _, _ = reader.ipk(ipk.build(package))
            self.assertEqual([fields.get(name) for name in ("Provides", "Conflicts", "Replaces")], [provides, other, other])
        _, _, entries, _ = reader.apk(apk.build(full, None).data)
        self.assertIn("lib/apk/packages/lenscap-full.list", entries)
        self.assertEqual((full.name, full.before_removal), ("lenscap-full", self.package.before_removal))

    def test_the_feed_builds_both(self):
        """The Makefile as make reads it, in the place of OpenWrt's own files some that print."""
        with tempfile.TemporaryDirectory() as folder:
            rust = Path(folder, "feeds/packages/lang/rust")
            rust.mkdir(parents=True)
            for path in (Path(folder, "rules.mk"), Path(folder, "package.mk")):
                path.touch()
            Path(folder, "package.mk").write_text(
                "define BuildPackage\n$(eval $(Package/$(1)))\n"
                "$(info $(1)|$(VARIANT)|$(DEFAULT_VARIANT)|$(PROVIDES)|$(CONFLICTS)|$(USERID)|$(Package/$(1)/conffiles))\n"
                "$(info $(call Package/$(1)/install,ROOT)$(Package/$(1)/prerm))\n"
                "$(foreach one,VARIANT DEFAULT_VARIANT PROVIDES CONFLICTS USERID,$(eval $(one):=))\nendef\n"
            )
            (rust / "rust-package.mk").write_text("Build/Compile/Cargo=cargo [$(1)] $(RUST_PKG_FEATURES) $(2)\n")
            said = {}
            for variant in ("base", "full"):
                command = ["make", "-s", "-C", ROOT / "openwrt-feed/lenscap", f"TOPDIR={folder}", f"INCLUDE_DIR={folder}"]
                command += [f"BUILD_VARIANT={variant}", "--eval=print: ; @: $(info $(Build/Compile))", "print"]
                said[variant] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for variant, features in (("base", "firewall"), ("full", "full")):
            self.assertIn(f"cargo [] {features} --no-default-features", said[variant])
        text = said["full"]
        users = self.package.user_ids()
        kept = "/etc/config/lenscap\n/etc/lenscap/"
        self.assertIn(f"lenscap|base|1|||{users}|{kept}\n", text)
        self.assertIn(f"lenscap-full|full||lenscap|lenscap|{users}|{kept}\n", text)
        bodies = re.findall(r"(?s)/etc/lenscap/\n(.*?ROOT/usr/sbin/.*?)\nlenscap", text)
        self.assertEqual(len(bodies), 2)
        self.assertEqual(*bodies)
        self.assertIn("harden --undo --only firewall", bodies[0])

    def test_removal_takes_back_what_is_not_confirmed_and_says_what_it_cannot(self):
        makefile = (ROOT / "openwrt-feed/lenscap/Makefile").read_text()
        self.assertIn(contents.OPEN_FIREWALL, makefile.replace("$$", "$"))
        (script,) = (line for line in ipk.scripts.ipk(self.package)["prerm"].splitlines() if "--roll-back" in line)
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "program"
            program.write_text('#!/bin/sh\necho "$*" >>"$0.log"\necho said\necho why >&2\nexit 1\n')
            program.chmod(0o755)
            for name in ("/etc/init.d/lenscap", "/usr/sbin/lenscap"):
                script = script.replace(f"{name} ", f"{program} {name} ")
            for upgrade, calls in (("", 3), ("1", 0)):
                run = subprocess.run(["sh", "-c", script], env={"PKG_UPGRADE": upgrade, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
                log = Path(f"{program}.log")
                said = log.read_text().splitlines() if log.exists() else []
                log.unlink(missing_ok=True)
                self.assertEqual((len(said), run.stdout, run.stderr), (calls, "", "why\n" if calls else ""))
                self.assertEqual(
                    said,
                    [
                        "/etc/init.d/lenscap stop",
                        "/usr/sbin/lenscap harden --roll-back --now",
                        "/usr/sbin/lenscap harden --undo --only firewall",
                    ][:calls],
                )

    def test_version_is_cargos_everywhere(self):
        version = contents.version().upstream
        for path, pattern in (
            ("openwrt-feed/lenscap/Makefile", r"(?m)^PKG_VERSION:=(.*)$"),
            ("openwrt-feed/lenscap-gateway/Makefile", r"(?m)^PKG_VERSION:=(.*)$"),
            ("buildroot-ext/package/lenscap/lenscap.mk", r"(?m)^LENSCAP_VERSION = (.*)$"),
        ):
            self.assertEqual(re.search(pattern, (ROOT / path).read_text())[1], version, path)

    def test_the_feed_installs_what_the_packages_have(self):
        makefile = (ROOT / "openwrt-feed/lenscap/Makefile").read_text()
        for path in ("/usr/sbin/", "/etc/config/lenscap", "/etc/init.d/lenscap", "/etc/hotplug.d/iface/95-lenscap", "/etc/uci-defaults/80-lenscap"):
            self.assertIn(f"$(1){path}", makefile)
        self.assertIn(f"USERID:={self.package.user_ids()}\n", makefile)
        # What an OpenWrt tree keeps through sysupgrade: conffiles that are no file in the package.
        keep = next(e.data.decode() for e in self.package.entries if e.path.startswith("lib/upgrade/keep.d/"))
        self.assertIn(f"/etc/config/lenscap\n{keep}endef", makefile)

    def test_closure_is_what_is_linked(self):
        names = {crate.name for crate in self.closure}
        self.assertEqual(self.closure[0].name, "lenscap")
        self.assertLessEqual({"rustls", "ring", "mio", "lenscap-uplink", "lenscap-rtsp"}, names)
        self.assertFalse(names & {"cc", "tokio", "proptest", "lenscap-gateway", "syn", "windows-sys"})
        for crate in self.closure:
            self.assertTrue(crate.licence, crate.name)
            self.assertEqual(crate.checksum is None, crate.name.startswith("lenscap"), crate.name)

    def test_closure_is_of_the_features_that_the_program_is_built_with(self):
        """Features of Lenscap's own, and of others' crates: the gateway makes `url` want serde, the agent does not."""
        default = re.search(r"LENSCAP_FEATURES-(\w+)}", (ROOT / "packaging/toolchain/build.sh").read_text())[1]
        for features, with_qr in ((default, False), (f"{default},qr", True), (None, True)):
            closure = cargo.closure(ROOT, TARGET, features)
            names = {crate.name for crate in closure}
            self.assertEqual("qrcodegen" in names, with_qr, features)
            self.assertFalse(names & {"serde", "serde_core"}, features)
            listed = json.loads(zlib.decompress(auditable.pack(closure)))["packages"]
            self.assertEqual({one["name"] for one in listed}, names)
        with self.assertRaisesRegex(PackageError, "nonesuch"):
            cargo.closure(ROOT, TARGET, "nonesuch")

    def test_third_party_licences_name_every_crate(self):
        entry = next(e for e in self.package.entries if e.path.endswith("third-party.txt.gz"))
        text = gzip.decompress(entry.data).decode()
        for crate in self.closure:
            if crate.checksum:
                self.assertIn(f"  {crate.name} {crate.version}: {crate.licence}\n", text)
        self.assertIn("Permission is hereby granted", text)

    def test_tarball(self):
        folder = f"lenscap-{contents.version().upstream}"
        found = reader.members(tar.pack_gz(contents.tarball(b"program", self.closure), fixture.EPOCH, prefix=""))
        modes = {name.removeprefix(folder + "/"): member.mode for name, (member, _) in found.items()}
        for name, mode in (("lenscap", 0o755), ("install.sh", 0o755), ("S34lenscap", 0o755), ("S60lenscap", 0o755), ("lenscap.conf", 0o600)):
            self.assertEqual(modes[name], mode)
        self.assertTrue(all(name.split("/")[0] == folder for name in found))

    def test_sbom(self):
        data = b"artifact"
        bom = json.loads(sbom.document(self.closure, "x.ipk", data, fixture.EPOCH, (("musl", "zig-1"),)))
        self.assertEqual((bom["bomFormat"], bom["specVersion"]), ("CycloneDX", "1.5"))
        self.assertEqual(bom["metadata"]["timestamp"], "2023-11-14T22:13:20Z")
        lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
        checksums = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
        refs = {bom["metadata"]["component"]["bom-ref"]}
        for component in bom["components"]:
            refs.add(component["bom-ref"])
            if component["name"] == "musl":
                continue
            self.assertEqual(component["purl"], f"pkg:cargo/{component['name']}@{component['version']}")
            hashes = [one["content"] for one in component.get("hashes", ())]
            self.assertEqual(hashes, [h] if (h := checksums[component["name"], component["version"]]) else [])
        self.assertEqual(len(refs), len(self.closure) + 1)
        for dependency in bom["dependencies"]:
            self.assertIn(dependency["ref"], refs)
            self.assertLessEqual(set(dependency["dependsOn"]), refs)
        again = sbom.document(self.closure, "x.ipk", data, fixture.EPOCH, (("musl", "zig-1"),))
        self.assertEqual(json.loads(again), bom)


    def test_list_of_crates_in_the_program(self):
        """As cargo-auditable's PARSING.md describes it: zlib, JSON, dependencies as indexes, one root."""
        packed = auditable.pack(self.closure)
        packages = json.loads(zlib.decompress(packed))["packages"]
        self.assertEqual(packages, sorted(packages, key=lambda one: (one["name"], one["version"])))
        self.assertEqual([one["name"] for one in packages if one.get("root")], ["lenscap"])
        by_purl = {crate.purl: crate for crate in self.closure}
        for one in packages:
            crate = by_purl[f"pkg:cargo/{one['name']}@{one['version']}"]
            depends = {packages[index]["name"] for index in one.get("dependencies", ())}
            self.assertEqual(depends, {by_purl[purl].name for purl in crate.depends if purl in by_purl})
            self.assertEqual(one["source"], "crates.io" if crate.checksum else "local")
        # An ELF file with a table of names and one section.
        names = b"\0.names\0.dep-v0\0"
        head = bytearray(52)
        head[:7] = b"\x7fELF\1\1\1"
        table = 52 + len(names) + len(packed)
        struct.pack_into("<I", head, 32, table)
        struct.pack_into("<HHH", head, 46, 40, 3, 1)
        sections = struct.pack("<40x") + struct.pack("<10I", 1, 3, 0, 0, 52, len(names), 0, 0, 0, 0)
        sections += struct.pack("<10I", 8, 1, 2, 0, 52 + len(names), len(packed), 0, 0, 0, 0)
        program = bytes(head) + names + packed + sections
        self.assertEqual(auditable.unpack(program), {(crate.name, crate.version) for crate in self.closure})
        for broken in (program.replace(b".dep-v0", b".dep-v1"), program.replace(packed, bytes(len(packed)))):
            with self.assertRaises(PackageError):
                auditable.unpack(broken)


class Program(unittest.TestCase):
    """On made-up ELF files."""

    @staticmethod
    def make(segments=(1,), sections=(), text=b""):
        head = bytearray(52)
        head[:7] = b"\x7fELF\1\1\1"
        body = bytes(head) + text
        table = len(body)
        body += b"".join(struct.pack("<8I", kind, 0, 0, 0, 0, 0, 0, 0) for kind in segments)
        section_table = len(body)
        body += b"".join(struct.pack("<10I", 0, kind, 0, 0, 0, 0, 0, 0, 0, 0) for kind in sections)
        body = bytearray(body)
        struct.pack_into("<II", body, 28, table, section_table)
        struct.pack_into("<HHHHH", body, 42, 32, len(segments), 40, len(sections), 0)
        return bytes(body)

    def test_static_and_stripped_passes(self):
        text = b"/lenscap/agent/src/main.rs /cargo/registry/src /etc/lenscap/harden /home/app/agent/x /home/initrun.sh /home/yi-hack-v5/etc/system.confthe /rom/root/etc/root/root/.ssh"
        for root in ("/nowhere", "/lenscap", "/app", "/etc"):
            checks.check_program("x", self.make(text=text), root)

    def test_faults_are_named(self):
        for program, text in (
            (self.make(text=b"/home/someone/lenscap/agent/src/main.rs"), "path of the build machine"),
            (self.make(text=b"/rom/etc/root/.cargo/x"), "path of the build machine"),
            (self.make(text=b"see /srv/tree/agent/src"), "path of the build machine"),
            (self.make(segments=(1, 3)), "linked dynamically"),
            (self.make(sections=(0, 2)), "not stripped"),
            (b"#!/bin/sh\n", "no ELF"),
        ):
            with self.assertRaisesRegex(PackageError, text):
                checks.check_program("x", program, "/srv/tree")

    def test_budget(self):
        lines, over = sizes.verdict(bytes(1000))
        self.assertEqual(over, [])
        self.assertIn("within the target", lines[0])
        lines, over = sizes.verdict(bytes(sizes.TARGET_BYTES + 1))
        self.assertEqual(over, [])
        self.assertIn("over the target", lines[0])
        lines, over = sizes.verdict(bytes(sizes.LIMIT_BYTES + 1))
        self.assertEqual(over, ["1,310,721 bytes stripped, 1,310,720 are the limit"])
        self.assertIn("OVER THE LIMIT", lines[0])

    def test_the_budget_is_for_the_usual_features(self):
        default = re.search(r"LENSCAP_FEATURES-(\w+)}", (ROOT / "packaging/toolchain/build.sh").read_text())[1]
        for variant, features, counted in (
            ("base", default, True), ("base", "", True), ("base", f"{default},{default}", True), ("full", "full", True),
            ("base", f"{default},qr", False), ("base", "full", False),
        ):
            self.assertEqual(sizes.counted(TARGET, variant, features), counted, features)
        self.assertFalse(sizes.counted("arm-unknown-linux-musleabi", "base", default))

    def test_the_full_program_has_a_budget_of_its_own(self):
        """Bytes that xz finds nothing in, between the two limits."""
        program = random.Random(7).randbytes((sizes.LIMIT_XZ_BYTES + sizes.FULL_LIMIT_XZ_BYTES) // 2)
        self.assertEqual([len(sizes.verdict(program, variant)[1]) for variant in ("base", "full")], [1, 0])
        self.assertEqual(len(sizes.verdict(program + random.Random(8).randbytes(120_000), "full")[1]), 1)

    def test_crate_of_symbols(self):
        for name, crate in (
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core"),
            ("_ZN12lenscap_rtsp7session7Session4poll17h0123456789abcdefE", "lenscap_rtsp"),
            ("_ZN71_$LT$lenscap_rtsp..auth..Secret$u20$as$u20$core..fmt..Debug$GT$3fmt17h0E", "lenscap_rtsp"),
            ("_ZN49_$LT$$RF$T$u20$as$u20$core..fmt..Display$GT$3fmt17h0E", "core"),
            ("_RNvNtCs1234_6rustls6client4dial", "rustls"),
            ("_RNvXs_NtCsabc_7lenscap3runNtB4_5AgentNtNtCs9_4core3fmt5Debug3fmt", "lenscap"),
            ("ring_core_0_17_14__x25519_NEON", "ring (C)"),
            ("memcpy", "libc (musl)"),
        ):
            self.assertEqual(sizes.crate_of(name), crate)

    def test_bytes_add_up(self):
        """Of a program made on the spot: what symbols cover and what is left is each section's size."""
        rustc = shutil.which("rustc") or Path.home() / ".cargo/bin/rustc"
        self.assertTrue(Path(rustc).is_file(), "no rustc: install Rust from https://rustup.rs")
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "program")
            source = b'pub fn main() { println!("{:?}", std::env::args().collect::<Vec<_>>()); }'
            command = [rustc, "--crate-name", "measured", "-C", "opt-level=1", "-o", program, "-"]
            subprocess.run(command, input=source, check=True)
            data = program.read_bytes()
        sections, _ = elf.read(data)
        total = sum(section.size for section in sections)
        spent = dict(sizes.by_crate(data))
        self.assertEqual(sum(spent.values()), total)
        self.assertLessEqual({"measured", "std", "core", "alloc"}, set(spent))
        # The same symbols tell of a crate that nobody listed.
        crate = cargo.Crate("measured-one", "measured", "1.0.0", "MIT", None, folder, ())
        checks.check_crates("x", data, [crate])
        with self.assertRaisesRegex(PackageError, "x has code of measured, which"):
            checks.check_crates("x", data, [])


class Source(unittest.TestCase):
    def test_tables_are_cut_out(self):
        text = '[package]\nname = "x"\n\n[dev-dependencies]\ntokio = "1"\n\n[dev-dependencies.h2]\nversion = "0"\n[lints]\na = 1\n'
        cut = source._without_tables(text, ("dev-dependencies",))
        self.assertEqual(tomllib.loads(cut), {"package": {"name": "x"}, "lints": {"a": 1}})


class Scripts(unittest.TestCase):
    def test_openwrt_scripts_are_clean(self):
        files = sorted([*ROOT.glob("openwrt-feed/*/files/*.init"), *ROOT.glob("openwrt-feed/*/files/*.defaults")])
        self.assertEqual(len(files), 3)
        run = subprocess.run(["shellcheck", "-s", "dash", *files], capture_output=True, text=True, check=False)
        self.assertEqual(run.stdout, "")
        for file in files:
            self.assertNotRegex(file.read_text(), r"(?m)^ +", f"{file} is indented with spaces")

    def test_serial_number_of_the_board_goes_into_the_configuration(self):
        script = (ROOT / "openwrt-feed/lenscap/files/lenscap.defaults").read_text()
        default = (ROOT / "packaging/config/lenscap").read_text()
        with tempfile.TemporaryDirectory() as folder:
            config, serial = Path(folder, "lenscap"), Path(folder, "serial-number")
            script = script.replace("/etc/config/lenscap", str(config))
            script = script.replace("/proc/device-tree/serial-number", str(serial))

            def run(given, text):
                config.write_text(text)
                serial.write_bytes(given)
                subprocess.run(["sh", "-euc", script], check=True, timeout=20)
                self.assertEqual(config.stat().st_mode & 0o777, 0o600)
                return config.read_text()

            wanted = default.replace("\t#option serial 'SN12345678'\n", "\toption serial 'AB-12.3'\n")
            self.assertNotEqual(wanted, default)
            self.assertEqual(run(b"AB-12.3\0", default), wanted)
            self.assertEqual(run(b"';reboot;'\0", default).count("serial 'reboot'"), 1)
            self.assertEqual(run(b"\0", default), default)
            # The owner's own stays.
            self.assertEqual(run(b"AB\0", "config agent\n\toption serial 'X'\n"), "config agent\n\toption serial 'X'\n")

    def test_service_is_as_procd_needs_it(self):
        text = (ROOT / "openwrt-feed/lenscap/files/lenscap.init").read_text()
        self.assertTrue(text.startswith("#!/bin/sh /etc/rc.common\n"))
        self.assertIn("USE_PROCD=1\n", text)
        self.assertGreater(int(re.search(r"(?m)^START=(\d+)$", text)[1]), 95)
        self.assertIn("procd_set_param respawn 3600 5 0\n", text)
        self.assertIn('procd_set_param file "$CONF" "$PROG"\n', text)

    def test_an_interface_that_comes_up_makes_uplinks_dial(self):
        script = ROOT / "openwrt-feed/lenscap/files/lenscap.hotplug"
        with tempfile.TemporaryDirectory() as folder:
            service, calls = Path(folder, "lenscap"), Path(folder, "calls")
            service.write_text(f'#!/bin/sh\necho "$1" >>{calls}\n')
            service.chmod(0o755)
            text = script.read_text().replace("/etc/init.d/lenscap", str(service))
            for action, interface in (("ifdown", "lan"), ("ifup", "loopback"), ("ifup", "lan")):
                env = {"ACTION": action, "INTERFACE": interface}
                subprocess.run(["sh", "-euc", text], env=env, check=True, timeout=20)
            self.assertEqual(calls.read_text().split(), ["enabled", "reconnect"])


if __name__ == "__main__":
    unittest.main()
