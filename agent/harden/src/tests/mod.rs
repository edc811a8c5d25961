//! Whole runs over the root file systems in `tests/fixtures`.

mod faults;
mod fixtures;
mod logins;
mod putback;
mod reached;
mod servers;
mod started;
mod tables;
mod waits;

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::credentials::Secrets;
use crate::defaults::Checker;
use crate::engine::{self, Settings};
use crate::report::{Finding, Status};
use crate::root::Root;
use crate::transaction::Failure;

/// What a file is: its mode, and its contents or where it leads.
type Snapshot = BTreeMap<String, (u32, Vec<u8>)>;

const FIXTURES: &[&str] = &[
    "busybox",
    "dafang-hacks",
    "hikvision",
    "onvif",
    "openipc",
    "openmiko",
    "openwrt",
    "thingino",
    "wz_mini",
    "xiongmai",
    "yi-hack",
];

const PROGRAM: &str = "usr/sbin/lenscap";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn snapshot(dir: &Path) -> Snapshot {
    fn add(dir: &Path, prefix: &str, all: &mut Snapshot) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
            let metadata = entry.path().symlink_metadata().unwrap();
            let mode = metadata.permissions().mode();
            if metadata.is_dir() {
                all.insert(name.clone(), (mode, Vec::new()));
                add(&entry.path(), &name, all);
            } else if metadata.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                all.insert(name, (mode, target.to_str().unwrap().into()));
            } else {
                all.insert(name, (mode, fs::read(entry.path()).unwrap()));
            }
        }
    }
    let mut all = Snapshot::new();
    add(dir, "", &mut all);
    all
}

/// The firmware's own files, without folders and without what the hardener keeps.
fn own(all: &Snapshot) -> Snapshot {
    let keep = |path: &String, mode: u32| {
        mode & 0o170_000 != 0o040_000
            && !path.starts_with("/etc/lenscap/harden")
            && !path.contains("/.lenscap-")
    };
    all.iter()
        .filter(|(path, (mode, _))| keep(path, *mode))
        .map(|(path, file)| (path.clone(), file.clone()))
        .collect()
}

/// Fails with the names of the files that differ.
#[track_caller]
fn same(left: &Snapshot, right: &Snapshot, what: &str) {
    let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let differ: Vec<_> = names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .collect();
    assert!(differ.is_empty(), "{what}: {differ:?}");
}

/// A copy of a fixture, and what is known of it.
struct Camera {
    dir: tempfile::TempDir,
    root: Root,
    settings: Settings,
    /// Verdicts of earlier runs: the hashes of a fixture are always the same.
    memory: String,
    seed: u64,
    applied_at: Option<(&'static str, Duration)>,
}

/// What a run did.
struct Run {
    findings: Vec<Finding>,
    changes: Vec<String>,
    secrets: Secrets,
    disclosed: bool,
    result: Result<(), Failure>,
}

impl Run {
    fn has(&self, status: Status) -> bool {
        self.findings.iter().any(|finding| finding.status == status)
    }
}

impl Camera {
    fn new(name: &str) -> Self {
        Self::remembering(name, "")
    }

    fn remembering(name: &str, memory: &str) -> Self {
        // Thousands of files are brought to the disk: memory is faster.
        let memory_disk = Path::new("/dev/shm");
        let dir = if memory_disk.is_dir() {
            tempfile::tempdir_in(memory_disk).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        copy(&fixture(name), dir.path());
        // The program is part of the image.
        fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
        fs::write(dir.path().join(PROGRAM), "").unwrap();
        let root = Root::tree(dir.path()).unwrap();
        Self {
            dir,
            root,
            settings: Settings::default(),
            memory: memory.to_owned(),
            seed: 7,
            applied_at: None,
        }
    }

    fn snapshot(&self) -> Snapshot {
        snapshot(self.dir.path())
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path.trim_start_matches('/'))).unwrap()
    }

    fn harden(&mut self) -> Run {
        let mut checker = Checker::with_memory(u64::MAX, &self.memory);
        let mut seed = self.seed;
        // Not random, so that two runs can be compared.
        let mut random = |bytes: &mut [u8]| -> io::Result<()> {
            for byte in bytes {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 40) as u8;
            }
            Ok(())
        };
        let plan = engine::plan(&self.root, &self.settings, &mut checker, &mut random).unwrap();
        let mut disclosed = false;
        let result = engine::apply(&plan, &self.settings, self.applied_at, &mut |_| {
            disclosed = true;
            Ok(())
        });
        if let Some(memory) = checker.memory() {
            self.memory = memory;
        }
        Run {
            findings: plan.findings().to_vec(),
            changes: plan.edits.files().map(|(path, _)| path.to_owned()).collect(),
            secrets: plan.secrets.clone(),
            disclosed,
            result,
        }
    }
}
