//! The program itself, killed at each of its steps in the file system: strace(1) ends it as the kernel would.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// Not on a camera.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{code, fits, fixture, roots_hash};

/// What changes a file system; what comes between two of these changes a file that nobody uses yet.
const STEPS: &[&str] = &["write", "fsync", "renameat", "mkdirat"];
const LABEL: &str = "label-7Q2M-9ZKD";
const TABLE: &str = "etc/passwd";

fn harden(dir: &Path, label: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lenscap"));
    command.args(["harden", "--root"]).arg(dir).args(args);
    if args.is_empty() {
        command.arg("--password-file").arg(label);
    }
    command
}

/// The same below strace, which tells each step or does something at one.
fn traced(dir: &Path, label: &Path, options: &[String]) -> Output {
    let plain = harden(dir, label, &[]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options).arg(plain.get_program());
    command
        .args(plain.get_args())
        .output()
        .expect("strace, of the package of that name")
}

/// The firmware's own files: their modes and contents.
fn files(dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    fn add(dir: &Path, top: &Path, all: &mut BTreeMap<String, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            if data.is_dir() {
                if name != "etc/lenscap" {
                    add(&path, top, all);
                }
            } else if data.is_file() {
                all.insert(name, (data.permissions().mode(), fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = BTreeMap::new();
    add(dir, dir, &mut all);
    all
}

/// How often each step comes in a whole run.
fn steps(label: &Path) -> Vec<(&'static str, usize)> {
    let dir = fixture("busybox");
    let list = dir.path().with_extension("trace");
    let options = [
        format!("--trace={}", STEPS.join(",")),
        format!("--output={}", list.display()),
    ];
    let output = traced(dir.path(), label, &options);
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&list).unwrap();
    fs::remove_file(&list).unwrap();
    let count = |step: &&str| text.matches(&format!(" {step}(")).count();
    STEPS.iter().map(|step| (*step, count(step))).collect()
}

#[test]
fn killed_at_any_step_the_owner_gets_in_and_the_next_run_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let label = folder.path().join("label");
    fs::write(&label, format!("{LABEL}\n")).unwrap();
    let original = files(fixture("busybox").path());
    let all: Vec<(&str, usize)> = steps(&label)
        .into_iter()
        .flat_map(|(step, count)| (1..=count).map(move |at| (step, at)))
        .collect();
    assert!(all.len() > 60, "{} steps", all.len());
    let next = AtomicUsize::new(0);
    let (label, all, next, original) = (&label, &all, &next, &original);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(move || {
                while let Some((step, at)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(label, step, *at, original);
                }
            });
        }
    });
}

fn one(label: &Path, step: &str, at: usize, original: &BTreeMap<String, (u32, Vec<u8>)>) {
    let what = format!("killed at {step} {at}");
    let dir = fixture("busybox");
    let kill = format!("--inject={step}:signal=SIGKILL:when={at}");
    let output = traced(dir.path(), label, &[format!("--trace={step}"), kill]);
    // strace ends as what it watches does.
    assert_ne!(output.status.code(), Some(0), "{what}: it ended by itself");
    let hash = roots_hash(dir.path(), TABLE);
    // As the vendor left it root has no password.
    assert!(hash.is_empty() || fits(LABEL, &hash), "{what}: {hash}");
    let finished = harden(dir.path(), label, &[]).output().unwrap();
    assert_eq!(
        code(&finished),
        0,
        "{what}: {}",
        String::from_utf8_lossy(&finished.stdout)
    );
    assert!(fits(LABEL, &roots_hash(dir.path(), TABLE)), "{what}");
    let undone = harden(dir.path(), label, &["--undo", "--restore-insecure"])
        .output()
        .unwrap();
    assert_eq!(code(&undone), 0, "{what}");
    assert!(&files(dir.path()) == original, "{what}: undone, it is another");
}
