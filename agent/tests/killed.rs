//! The program itself, killed (SIGKILL) before each of its steps in the file system: applying, confirming and undoing on a
//! running camera, by a library that is loaded before all others and counts.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// Not on a camera.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{BOOT_ID, ON_FLASH, code, fits, install, listens, roots_hash, without_root};

/// What changes a file system, as a program calls it. Files alone are counted: standard output is none.
const COUNTER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static int left = -1;
/* Whether the next step is the last. */
static int last(void) {
	const char *at = getenv("KILL_AT");
	if (left < 0) left = at ? atoi(at) : 0;
	return left == 1;
}
static void step(void) {
	if (last()) kill(getpid(), SIGKILL);
	if (left > 0) --left;
}
#define STEP(name, parameters, arguments) \
	int name parameters { \
		static int (*real) parameters; \
		if (!real) real = dlsym(RTLD_NEXT, #name); \
		step(); \
		return real arguments; \
	}
STEP(renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
STEP(unlinkat, (int a, const char *b, int c), (a, b, c))
STEP(mkdirat, (int a, const char *b, mode_t c), (a, b, c))
STEP(fchmod, (int a, mode_t b), (a, b))
STEP(fchown, (int a, uid_t b, gid_t c), (a, b, c))
STEP(fsync, (int a), (a))
ssize_t write(int fd, const void *bytes, size_t length) {
	static ssize_t (*real)(int, const void *, size_t);
	if (!real) real = dlsym(RTLD_NEXT, "write");
	if (fd > 2) {
		/* Half of it is there when the power fails. */
		if (last()) real(fd, bytes, length / 2);
		step();
	}
	return real(fd, bytes, length);
}
int openat(int dir, const char *path, int flags, ...) {
	static int (*real)(int, const char *, int, ...);
	va_list rest;
	va_start(rest, flags);
	mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	if (!real) real = dlsym(RTLD_NEXT, "openat");
	if (flags & O_CREAT) step();
	return real(dir, path, flags, mode);
}
"#;
const LABEL: &str = "label-7Q2M-9ZKD";
const TABLE: &str = "etc/passwd";
const UNCONFIRMED: &str = "etc/lenscap/harden/unconfirmed";
const PATIENCE: Duration = Duration::from_secs(60);
/// More steps than any of these takes.
const MAX_STEPS: usize = 400;

/// A small camera, so that a run takes no time: an open login, a started telnetd, and the counter.
fn camera() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in [
        (
            TABLE,
            "root::0:0:root:/root:/bin/sh\nguest::1000:1000::/:/bin/sh\n",
        ),
        (
            "etc/inittab",
            "::sysinit:/etc/init.d/rcS\n::respawn:/usr/sbin/telnetd -F\n::respawn:dropbear -F\n",
        ),
        ("etc/init.d/rcS", "#!/bin/sh\ntelnetd -l /bin/sh &\n"),
        ("etc/group", "root:x:0:\n"),
        ("bin/busybox", ""),
        ("dev/null", ""),
        ("proc/mounts", ON_FLASH),
        ("proc/net/tcp", "  sl  local_address\n"),
        ("proc/sys/kernel/random/boot_id", BOOT_ID),
        ("label", LABEL),
        ("counter.c", COUNTER),
    ] {
        write(path, text);
    }
    install(dir.path(), env!("CARGO_BIN_EXE_lenscap"), "lenscap");
    listens(dir.path(), 1, 22, "dropbear", "/dev/null");
    let path = |name: &str| dir.path().join(name);
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([path("counter.so"), path("counter.c")])
        .arg("-ldl")
        .status();
    assert!(built.expect("cc, of Debian's package gcc").success());
    install(dir.path(), "/usr/bin/env", "env");
    dir
}

/// By links: whatever is changed gets a new file.
fn copy(of: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-al")
        .arg(of.join("."))
        .arg(dir.path())
        .status();
    assert!(copied.unwrap().success());
    dir
}

/// Runs it; it is killed before its step of this number.
fn harden(dir: &Path, args: &[&str], kill_at: Option<usize>) -> Output {
    let mut command = Command::new("chroot");
    command.arg(dir);
    if let Some(step) = kill_at {
        command.args(["/env", "LD_PRELOAD=/counter.so"]);
        command.arg(format!("KILL_AT={step}"));
    }
    command.args(["/lenscap", "harden"]).args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

/// The firmware's own files: their modes and contents.
fn files(dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    fn add(dir: &Path, top: &Path, all: &mut BTreeMap<String, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            if data.is_dir() && name != "etc/lenscap" {
                add(&path, top, all);
            } else if data.is_file() {
                all.insert(name, (data.permissions().mode(), fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = BTreeMap::new();
    add(&dir.join("etc"), dir, &mut all);
    all
}

/// Ends what waits for a confirmation there, as a power failure does.
fn end_waiters(dir: &Path) {
    let waiters = || -> Vec<i32> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            fs::read_link(format!("/proc/{pid}/root"))
                .ok()
                .filter(|root| root == dir)?;
            Some(pid)
        });
        pids.collect()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = waiters();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline);
        for pid in left {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The owner gets in: root has no password still, or the owner's.
#[track_caller]
fn owner_gets_in(dir: &Path, what: &str) -> bool {
    let hash = roots_hash(dir, TABLE);
    assert!(hash.is_empty() || fits(LABEL, &hash), "{what}: {hash}");
    !hash.is_empty()
}

/// Kills it at one step after the other, each time on a fresh copy, until a run comes to its end; then `check`s.
fn at_every_step(of: &Path, least: usize, args: &[&str], check: impl Fn(&Path, &str) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(1);
    let ended = std::sync::atomic::AtomicUsize::new(MAX_STEPS);
    let order = std::sync::atomic::Ordering::Relaxed;
    let work = || {
        loop {
            let step = next.fetch_add(1, order);
            if step >= ended.load(order) {
                return;
            }
            let dir = copy(of);
            let output = harden(dir.path(), args, Some(step));
            end_waiters(dir.path());
            let what = format!("{args:?} killed at step {step}");
            if output.status.code().is_some() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(code(&output), 0, "{what}: {said}");
                ended.fetch_min(step, order);
            }
            owner_gets_in(dir.path(), &what);
            check(dir.path(), &what);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    let steps = ended.load(order);
    println!("{args:?}: {steps} steps");
    assert!(least < steps && steps < MAX_STEPS, "{args:?}: {steps} steps");
}

const APPLY: &[&str] = &["--apply", "--password-file", "/label"];
const UNDO: &[&str] = &["--undo", "--restore-insecure"];

#[test]
fn killed_at_any_step_the_owner_gets_in_and_the_next_run_finishes() {
    if without_root() {
        return;
    }
    let open = camera();
    let original = files(open.path());
    let finishes = |dir: &Path, args: &[&str], what: &str| {
        let output = harden(dir, args, None);
        end_waiters(dir);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(code(&output), 0, "{what}: {said}");
    };

    at_every_step(open.path(), 40, APPLY, |dir, what| {
        // What waits is taken back as it is, or the run is finished.
        let waits = dir.join(UNCONFIRMED).exists();
        assert!(!waits || owner_gets_in(dir, what));
        finishes(dir, APPLY, what);
        assert!(owner_gets_in(dir, what));
        finishes(dir, UNDO, what);
        assert_eq!(files(dir), original, "{what}");
    });

    let closed = copy(open.path());
    finishes(closed.path(), APPLY, "closing");
    let shut = files(closed.path());
    at_every_step(closed.path(), 1, &["--confirm"], |dir, what| {
        assert_eq!(files(dir), shut, "{what}");
        let waits = dir.join(UNCONFIRMED).exists();
        assert_eq!(
            code(&harden(dir, &["--confirm"], None)),
            i32::from(!waits),
            "{what}"
        );
        assert!(!dir.join(UNCONFIRMED).exists() && owner_gets_in(dir, what));
    });
    for args in [UNDO, &["--roll-back", "--now"]] {
        at_every_step(closed.path(), 20, args, |dir, what| {
            finishes(dir, UNDO, what);
            assert_eq!(files(dir), original, "{what}");
            assert!(!dir.join(UNCONFIRMED).exists(), "{what}");
        });
    }
}
