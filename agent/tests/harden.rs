//! `lenscap harden` as its users start it, on copies of the fixtures.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn fixture(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(copied.success());
    dir
}

fn harden(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lenscap"))
        .arg("harden")
        .arg("--root")
        .arg(dir)
        .args(args)
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// All names and contents, as tar sees them; times left out.
fn archive(dir: &Path) -> Vec<u8> {
    let tar = Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "-cf", "-", "-C"])
        .arg(dir)
        .arg(".")
        .output()
        .unwrap();
    assert!(tar.status.success());
    tar.stdout
}

/// What crypt(3) of the build machine says, as the camera's would.
fn fits(password: &str, hash: &str) -> bool {
    let script = "exit(crypt($ENV{P}, $ENV{H}) eq $ENV{H} ? 0 : 1)";
    let perl = Command::new("perl")
        .args(["-e", script])
        .env("P", password)
        .env("H", hash)
        .status();
    perl.unwrap().success()
}

fn roots_hash(dir: &Path, table: &str) -> String {
    let table = std::fs::read_to_string(dir.join(table)).unwrap();
    table
        .lines()
        .next()
        .unwrap()
        .split(':')
        .nth(1)
        .unwrap()
        .to_owned()
}

#[test]
fn a_tree_is_shown_closed_and_taken_back() {
    let dir = fixture("busybox");
    let before = archive(dir.path());

    let shown = harden(dir.path(), &["--dry-run"]);
    assert_eq!(code(&shown), 1);
    let plan = text(&shown);
    for line in [
        "firmware     BusyBox, known by /bin/busybox (tried: fixture)",
        "telnet       planned  /etc/rc.local:4: starts a shell on a port: `telnetd -l /bin/sh -p 2323`",
        "credentials  planned  /etc/passwd:1: root has no password: gets the new login password",
        "credentials  planned  /etc/passwd:3: guest has a password that everybody knows (list: mirai): is locked",
        "verdict      does not hold",
    ] {
        assert!(plan.lines().any(|have| have == line), "{line}\n{plan}");
    }
    assert_eq!(archive(dir.path()), before);

    let closed = harden(dir.path(), &[]);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    let report = text(&closed);
    let password = report
        .lines()
        .find_map(|line| line.strip_prefix("root's new login password, shown only now: "));
    assert!(fits(password.unwrap(), &roots_hash(dir.path(), "etc/passwd")));
    assert!(!fits("", &roots_hash(dir.path(), "etc/passwd")));
    assert!(report.ends_with("verdict      holds\n"), "{report}");
    let after = archive(dir.path());
    let again = harden(dir.path(), &[]);
    assert_eq!(code(&again), 0);
    assert!(!text(&again).contains("shown only now"));
    assert_eq!(archive(dir.path()), after);

    let undone = harden(dir.path(), &["--undo"]);
    assert_eq!(code(&undone), 1);
    assert!(
        text(&undone)
            .contains("/etc/passwd  holds default or empty passwords: --restore-insecure brings it back")
    );
    assert!(text(&undone).contains("/etc/rc.local  as it was"));
    let undone = harden(dir.path(), &["--undo", "--restore-insecure"]);
    assert_eq!(code(&undone), 0);
    assert_eq!(archive(dir.path()), before);
}

#[test]
fn machines_read_one_object_for_each_event() {
    let dir = fixture("thingino");
    let output = harden(dir.path(), &["--json"]);
    assert_eq!(code(&output), 0);
    let text = text(&output);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["planned", "login_password", "verified"]);
    assert_eq!(events[0]["firmwares"][0]["name"], "thingino");
    assert_eq!(events[0]["verdict"], "does not hold");
    assert_eq!(events[2]["verdict"], "holds");
    assert!(fits(
        events[1]["password"].as_str().unwrap(),
        &roots_hash(dir.path(), "etc/shadow")
    ));
    // The media password is in its file, and in no output.
    let media = std::fs::read_to_string(dir.path().join("etc/lenscap/camera-password")).unwrap();
    assert!(media.trim().len() == 26 && !text.contains(media.trim()));
}

#[test]
fn a_measure_alone_leaves_the_other() {
    let dir = fixture("yi-hack");
    assert_eq!(code(&harden(dir.path(), &["--only", "telnet"])), 0);
    let conf = std::fs::read_to_string(dir.path().join("home/yi-hack/etc/system.conf")).unwrap();
    assert!(conf.contains("TELNETD=no\n") && conf.contains("USERNAME=\n"));
    assert_eq!(
        code(&harden(
            dir.path(),
            &["--only", "credentials", "--password", "lock"]
        )),
        0
    );
    assert_eq!(roots_hash(dir.path(), "home/yi-hack/etc/passwd"), "!");
}

#[test]
fn what_cannot_be_told_is_no_success() {
    let dir = fixture("xiongmai");
    let output = harden(dir.path(), &[]);
    assert_eq!(code(&output), 2);
    assert!(text(&output).ends_with("verdict      unknown\n"));
}

#[test]
fn wrong_command_lines() {
    let dir = fixture("busybox");
    let before = archive(dir.path());
    for args in [
        &["--only", "firewall"][..],
        &["--only", ""],
        &["--dry-run", "--undo"],
        &["--restore-insecure"],
        &["--password", "secret"],
        &["--password-file", "/nonexistent"],
        &["--password", "lock", "--password-file", "/dev/null"],
    ] {
        let output = harden(dir.path(), args);
        assert_eq!(code(&output), 64, "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(code(&harden(Path::new("/nonexistent"), &[])), 64);
    assert_eq!(archive(dir.path()), before);
}

#[test]
fn two_runs_do_not_meet() {
    let dir = fixture("busybox");
    let held = std::fs::File::open(dir.path()).unwrap();
    held.lock().unwrap();
    let output = harden(dir.path(), &[]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("another run is at work here"));
}
