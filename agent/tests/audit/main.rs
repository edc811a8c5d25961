//! `lenscap audit` as its users start it: on the fixtures, in a changed root with a `/proc` of its own, and on this machine
//! in namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod fixtures;
mod hiding;
mod live;
mod places;
mod running;
mod unseen;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const LENSCAP: &str = env!("CARGO_BIN_EXE_lenscap");

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn fixture(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = workspace().join("tests/fixtures").join(name);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(copied.success());
    // Git keeps no modes but one.
    for table in ["etc/shadow", "system/sdcard/etc/shadow", "opt/wz_mini/etc/shadow"] {
        let table = dir.path().join(table);
        if table.exists() {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(table, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    dir
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

#[track_caller]
fn report(output: &Output) -> Value {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The verdict of a rule.
#[track_caller]
fn verdict<'r>(report: &'r Value, id: &str) -> &'r str {
    rule(report, id)["verdict"].as_str().unwrap()
}

#[track_caller]
fn rule<'r>(report: &'r Value, id: &str) -> &'r Value {
    let rules = report["rules"].as_array().unwrap();
    rules
        .iter()
        .find(|rule| rule["id"] == id)
        .unwrap_or_else(|| panic!("no rule {id}"))
}

/// All evidence of a rule, as text.
fn evidence(report: &Value, id: &str) -> String {
    rule(report, id)["evidence"].to_string()
}

/// Has readers that are not ours judge a folder of reports.
#[track_caller]
fn validate(folder: &Path, options: &[&str]) {
    let python = workspace().join(".venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: tests/install-deps.sh test (Debian's package python3-venv, then tests/audit/requirements.txt)",
        python.display()
    );
    let script = workspace().join("tests/audit/validate.py");
    let args = [script.to_str().unwrap(), folder.to_str().unwrap()];
    let judged = run(python.to_str().unwrap(), &[&args[..], options].concat());
    let said = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{said}");
}

/// Namespaces and a changed root need root. Whoever cannot be says so.
fn without_root() -> bool {
    let unprivileged = std::env::var_os("LENSCAP_TEST_UNPRIVILEGED").is_some();
    assert!(
        unprivileged || nix::unistd::Uid::effective().is_root(),
        "this test needs root; LENSCAP_TEST_UNPRIVILEGED=1 leaves it out"
    );
    unprivileged
}
