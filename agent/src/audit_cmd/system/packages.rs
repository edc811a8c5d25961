//! Installed packages, for the list of components.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};

use lenscap_audit::facts::{Fact, Missing, Package};
use lenscap_harden::root::Root;

use super::super::{is_absent, missing};

/// The most packages.
const MAX_PACKAGES: usize = 1024;
/// The longest line of a package database that is looked at.
const MAX_LINE_BYTES: u64 = 1024;
/// The most bytes of a package database.
const MAX_DATABASE_BYTES: u64 = 4 * 1024 * 1024;
/// Package databases: of opkg and of apk, old places and new.
const DATABASES: &[&str] = &[
    "/usr/lib/opkg/status",
    "/var/lib/opkg/status",
    "/lib/apk/db/installed",
    "/usr/lib/apk/db/installed",
];

pub(super) fn read(root: &Root) -> Fact<Vec<Package>> {
    for path in DATABASES {
        let file = match root.reader(path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Fact::missing(*path, missing(&error)),
        };
        return match read_packages(file) {
            Ok(packages) => Fact::seen(*path, packages),
            Err(error) => Fact::missing(*path, missing(&error)),
        };
    }
    Fact::missing(
        "packages",
        Missing::because("there is no database of opkg or apk"),
    )
}

/// `Package: name` and so on (opkg), or `P:name` (apk): paragraphs with an empty line between.
fn read_packages(file: File) -> io::Result<Vec<Package>> {
    let mut text = BufReader::new(file.take(MAX_DATABASE_BYTES));
    let mut packages: Vec<Package> = Vec::new();
    let mut line = Vec::new();
    let mut begun = false;
    loop {
        line.clear();
        if (&mut text).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(packages);
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            begun = false;
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().to_owned();
        if matches!(key, "Package" | "P") {
            begun = packages.len() < MAX_PACKAGES;
            if begun {
                packages.push(Package {
                    name: value,
                    version: String::new(),
                    licence: String::new(),
                });
            }
            continue;
        }
        let Some(package) = packages.last_mut().filter(|_| begun) else {
            continue;
        };
        match key {
            "Version" | "V" => package.version = value,
            "License" | "L" => package.licence = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    #[test]
    fn both_databases_of_packages_are_read() {
        let opkg = "Package: dropbear\nVersion: 2024.86-r1\nStatus: install\nLicense: MIT\n\nPackage: odd\nDescription: x\n";
        let apk = "C:Q1\nP:musl\nV:1.2.5-r0\nL:MIT\nF:lib\nR:x\n\nP:busybox\nV:1.36.1-r2\nL:GPL-2.0-only\n";
        let opkg = read_packages(file(opkg.as_bytes())).unwrap();
        assert_eq!(
            (opkg.len(), opkg[0].version.as_str(), opkg[1].version.as_str()),
            (2, "2024.86-r1", "")
        );
        let apk = read_packages(file(apk.as_bytes())).unwrap();
        assert_eq!(
            (apk[1].name.as_str(), apk[1].licence.as_str()),
            ("busybox", "GPL-2.0-only")
        );
        let many = "P:x\n\n".repeat(5000);
        assert_eq!(read_packages(file(many.as_bytes())).unwrap().len(), MAX_PACKAGES);
    }
}
