//! Replays the fuzz corpus on the stable compiler.

#![allow(clippy::unwrap_used, clippy::panic)]

// Public for the fuzz programs, which share the file.
#[allow(unreachable_pub)]
#[path = "../src/fuzz_programs.rs"]
mod fuzz_programs;

use fuzz_programs::PROGRAM_TARGETS;
use lenscap_tests::fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn fuzz_dir(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// Bytes of a seed that are damaged, one at a time.
const DAMAGED: usize = 256;

/// Each of the first bytes wrong in three ways: one bit, all of it, and gone.
fn damage(seed: &[u8], body: fn(&[u8])) {
    for at in 0..seed.len().min(DAMAGED) {
        let mut input = seed.to_vec();
        for wrong in [seed[at] ^ 1 << (at % 8), !seed[at]] {
            input[at] = wrong;
            body(&input);
        }
        input.remove(at);
        body(&input);
    }
}

#[test]
fn every_seed_is_survived() {
    for (name, body) in TARGETS.iter().chain(PROGRAM_TARGETS) {
        let folder = fuzz_dir("corpus").join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut seeds = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            // The name of the seed is printed when it fails.
            println!("{}", path.display());
            body(&input);
            for end in 0..input.len().min(512) {
                body(&input[..end]);
            }
            damage(&input, *body);
            seeds += 1;
        }
        assert!(seeds > 0, "{} holds no seeds", folder.display());
    }
}

#[test]
fn every_target_has_its_program_and_every_folder_its_target() {
    let manifest = fs::read_to_string(fuzz_dir("Cargo.toml")).unwrap();
    let mut names = BTreeSet::new();
    for (name, _) in TARGETS.iter().chain(PROGRAM_TARGETS) {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in tests/fuzz/Cargo.toml"
        );
        assert!(
            fuzz_dir("fuzz_targets").join(format!("{name}.rs")).is_file(),
            "{name}.rs is missing"
        );
        names.insert((*name).to_string());
    }
    for entry in fs::read_dir(fuzz_dir("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.contains(&name),
            "tests/fuzz/corpus/{name} belongs to no target"
        );
    }
}
