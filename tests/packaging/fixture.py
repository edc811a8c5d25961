"""A package that never changes, with fixed keys: its files' hashes are pinned in test_formats.py."""

from mkpkg import apk, index, ipk, keys, tar
from mkpkg.model import DIRECTORY, LINK, Entry, Package, Version

EPOCH = 1_700_000_000
USIGN = keys.UsignKey.from_seed(bytes(range(32)), b"lenscap\0")
APK = keys.ApkKey.from_secret(0x4C656E73636170)


def package(**changes):
    facts = {
        "name": "fixture",
        "version": Version("1.2.3"),
        "arch": "arm_cortex-a7",
        "summary": "A package for tests",
        "licence": "MIT",
        "entries": (
            Entry("usr/sbin/fixture", mode=0o755, data=bytes(range(256)) * 300),
            Entry("usr/bin/fixture", LINK, target="../sbin/fixture"),
            Entry("etc/config/fixture", mode=0o600, data=b"config fixture\n"),
            Entry("etc/init.d/fixture", mode=0o755, data=b"#!/bin/sh /etc/rc.common\n"),
            Entry("etc/fixture", DIRECTORY, 0o700),
            Entry("usr/share/fixture/empty"),
            Entry("usr/share/fixture/ümlaut", data=b"x"),
        ),
        "epoch": EPOCH,
        "users": (("fixture", "fixture"),),
        "conffiles": ("etc/config/fixture",),
    }
    return Package(**(facts | changes))


def files():
    """File name -> bytes of everything that is made of the fixture."""
    one = package()
    as_ipk = ipk.build(one)
    as_apk = apk.build(one, APK)
    return {
        ipk.file_name(one): as_ipk,
        **index.files([(one, as_ipk)], USIGN),
        apk.file_name(one): as_apk.data,
        "packages.adb": apk.index([as_apk], "fixture", APK),
        "fixture.tar.gz": tar.pack_gz(one.tree(), EPOCH, prefix=""),
    }
