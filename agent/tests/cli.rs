//! The program as its users start it: output and exit codes.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

const GOOD: &str = "config uplink main\noption endpoint https://gw.example/\nconfig profile main\noption rtsp rtsp://127.0.0.1/\n";

fn lenscap(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lenscap"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn version_and_help() {
    let version = lenscap(&["--version"]);
    assert_eq!(
        (code(&version), text(&version.stdout)),
        (0, format!("lenscap {}\n", env!("CARGO_PKG_VERSION")))
    );
    let help = lenscap(&["--help"]);
    assert_eq!(code(&help), 0);
    for part in ["run", "check", "identity", "status", "/etc/config/lenscap", "78"] {
        assert!(text(&help.stdout).contains(part), "{}", text(&help.stdout));
    }
    for (command, part) in [
        ("run", "SIGTERM"),
        ("check", "--json"),
        ("identity", "fingerprint"),
        ("status", "Exits with 1"),
    ] {
        let help = lenscap(&[command, "--help"]);
        assert_eq!(code(&help), 0);
        assert!(text(&help.stdout).contains(part), "{}", text(&help.stdout));
        assert!(text(&help.stdout).contains("--config"));
    }
}

#[test]
fn every_command_has_its_help() {
    let help = text(&lenscap(&["--help"]).stdout);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for command in commands {
        let help = lenscap(&[command, "--help"]);
        let shown = text(&help.stdout);
        assert_eq!(code(&help), 0, "{command}: {help:?}");
        assert!(shown.starts_with(&format!("Usage: lenscap {command}")), "{shown}");
        assert!(help.stderr.is_empty(), "{help:?}");
    }
}

#[test]
fn wrong_command_lines() {
    for args in [
        &[][..],
        &["--nonsense"],
        &["walk"],
        &["check", "--config"],
        &["run", "extra"],
    ] {
        let output = lenscap(args);
        assert_eq!(code(&output), 64, "{args:?}");
        assert!(
            output.stdout.is_empty() && text(&output.stderr).contains("lenscap --help"),
            "{args:?}"
        );
    }
}

#[test]
fn check_judges_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lenscap");
    let shown = path.to_str().unwrap();
    std::fs::write(&path, GOOD).unwrap();
    let good = lenscap(&["check", "--config", shown]);
    assert_eq!(
        (code(&good), text(&good.stdout)),
        (0, format!("{shown}: the configuration is good\n"))
    );
    std::fs::write(&path, GOOD.replace("endpoint", "endpiont")).unwrap();
    let bad = lenscap(&["check", "--config", shown]);
    assert_eq!(code(&bad), 78);
    assert!(
        text(&bad.stdout).contains(&format!("{shown}:2:8: error: unknown option")),
        "{}",
        text(&bad.stdout)
    );
    assert!(text(&bad.stdout).contains("did you mean `endpoint`?"));
    let json = lenscap(&["check", "--json", "--config", shown]);
    assert_eq!(code(&json), 78);
    assert!(text(&json.stdout).starts_with("{\"file\":") && text(&json.stdout).contains("\"ok\":false"));
    let none = lenscap(&["check", "--config", "/nowhere/lenscap"]);
    assert_eq!(code(&none), 78);
    assert!(text(&none.stdout).contains("cannot read the configuration"));
}

#[test]
fn run_refuses_a_broken_file() {
    let output = lenscap(&["run", "--config", "/nowhere/lenscap"]);
    assert_eq!(code(&output), 78);
    assert!(text(&output.stderr).contains("/nowhere/lenscap: cannot read the configuration"));
}

#[test]
fn identity_makes_and_shows_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lenscap");
    let state = dir.path().join("state");
    std::fs::write(
        &path,
        format!("config agent\noption state_dir '{}'\n", state.display()),
    )
    .unwrap();
    let made = lenscap(&["identity", "--config", path.to_str().unwrap()]);
    assert_eq!(code(&made), 0, "{made:?}");
    let fingerprint = text(&made.stdout)
        .lines()
        .next()
        .unwrap()
        .replace("fingerprint  ", "");
    assert_eq!(fingerprint.len(), "sha256:".len() + 64);
    assert!(text(&made.stdout).contains("made just now"));
    let again = lenscap(&["identity", "--json", "--config", path.to_str().unwrap()]);
    let json = text(&again.stdout);
    assert!(
        json.contains(&format!("\"fingerprint\":\"{fingerprint}\"")) && json.contains("\"created\":false"),
        "{json}"
    );
    std::fs::write(state.join("identity.pem"), "").unwrap();
    let damaged = lenscap(&["identity", "--config", path.to_str().unwrap()]);
    assert_eq!(code(&damaged), 1);
    assert!(text(&damaged.stderr).contains("identity.pem"));
}
