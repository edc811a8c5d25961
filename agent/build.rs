//! Fixes the build time, the floor below which the agent believes no clock.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=build.rs");
    let epoch = from_env().or_else(from_git).unwrap_or_else(from_clock);
    println!("cargo:rustc-env=LENSCAP_BUILD_EPOCH={epoch}");
}

/// Reproducible builds name their time (reproducible-builds.org, SOURCE_DATE_EPOCH).
fn from_env() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()
}

fn from_git() -> Option<u64> {
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn from_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
