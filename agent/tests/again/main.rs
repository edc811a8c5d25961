//! `lenscap harden --recheck` and `--boot`, and the monitor that starts the former, on a camera whose firmware puts things
//! back: in a changed root with a `/proc` of its own.

#![allow(clippy::unwrap_used)]

#[path = "../support/changes.rs"]
mod changes;
mod loops;
mod owner;
mod service;
mod shown;
#[path = "../support/mod.rs"]
mod support;
mod telnet;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use changes::Changes;
use serde_json::Value;
use support::{
    BOOT_ID, ON_FLASH, OWNERS_KEY, authorise, code, fits, in_camera, listens, roots_hash, running,
    starts_ssh, text, without_root, without_ssh,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LABEL: &str = "label-7Q2M-9ZKD";

/// A camera that was closed with its owner's password, and confirmed.
fn closed(name: &str, harden: &str) -> tempfile::TempDir {
    let dir = open(name, ON_FLASH, harden);
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    in_camera(dir.path(), &["--confirm"]);
    dir
}

fn open(name: &str, mounts: &str, harden: &str) -> tempfile::TempDir {
    let dir = running(name, mounts);
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("label", &format!("{LABEL}\n"));
    write(
        "etc/config/lenscap",
        &format!(
            "config agent\n\toption run_dir '/run/lenscap'\n\toption user '4711'\n\toption group '4711'\n\
             config uplink 'main'\n\toption endpoint 'https://localhost:9/x'\n\
             config profile 'main'\n\toption rtsp 'rtsp://127.0.0.1:9/x'\n\
             config harden\n\toption firewall '0'\n\toption recheck '30'\n{harden}"
        ),
    );
    fs::create_dir_all(dir.path().join("run/lenscap")).unwrap();
    fs::create_dir_all(dir.path().join("tmp")).unwrap();
    dir
}

fn original(name: &str, path: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fs::read(fixtures.join(name).join(path)).unwrap()
}

fn recheck(dir: &Path) -> (i32, Value) {
    let output = in_camera(dir, &["--recheck", "--json"]);
    (code(&output), serde_json::from_str(&text(&output)).unwrap())
}

#[test]
fn what_is_put_back_is_closed_again_and_five_times_are_enough() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    let path = |name: &str| dir.path().join(name);
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (0, &"holds".into()), "{said}");
    assert_eq!(said["restored"], "");
    let names = ["etc/passwd", "etc/rc.local"];
    let shut = names.map(|name| fs::read(path(name)).unwrap());
    for round in 1..=2 {
        // A boot script writes the old hash; an update brings the old script.
        for name in names {
            fs::write(path(name), original("busybox", name)).unwrap();
        }
        let (status, said) = recheck(dir.path());
        assert_eq!((status, &said["verdict"]), (0, &"holds".into()), "{said}");
        for (name, shut) in names.iter().zip(&shut) {
            assert!(said["restored"].as_str().unwrap().contains(name), "{said}");
            assert_eq!(&fs::read(path(name)).unwrap(), shut, "{name}");
        }
        assert!(
            fits(LABEL, &roots_hash(dir.path(), "etc/passwd")),
            "the owner's own password"
        );
        // Telnet and credentials are two measures.
        assert_eq!(said["restores_last_hour"], 2 * round);
    }
    fs::write(path("etc/rc.local"), original("busybox", "etc/rc.local")).unwrap();
    assert_eq!(recheck(dir.path()).0, 0);
    fs::write(path("etc/rc.local"), original("busybox", "etc/rc.local")).unwrap();
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (1, &"fails".into()));
    assert_eq!(
        (&said["gave_up"], &said["restored"]),
        (&true.into(), &"".into()),
        "{said}"
    );
    assert_eq!(
        fs::read(path("etc/rc.local")).unwrap(),
        original("busybox", "etc/rc.local")
    );
    let output = in_camera(dir.path(), &["--recheck"]);
    assert!(text(&output).contains("does not hold; what was closed is opened again and again"));
}

#[test]
fn a_script_that_was_none_of_ours_is_looked_at_when_it_changes() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let script = dir.path().join("etc/init.d/S80vendor");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    fs::write(&script, "#!/bin/sh\necho vendor\n").unwrap();
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    in_camera(dir.path(), &["--confirm"]);
    assert_eq!(recheck(dir.path()).0, 0);
    fs::write(&script, "#!/bin/sh\necho vendor\ntelnetd\n").unwrap();
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (1, &"fails".into()), "{said}");
}

#[test]
fn what_nobody_asked_for_is_only_told() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let before = fs::read(dir.path().join("etc/passwd")).unwrap();
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (1, &"fails".into()));
    assert!(
        said["reason"]
            .as_str()
            .unwrap()
            .contains("never tried on a device"),
        "{said}"
    );
    assert_eq!(fs::read(dir.path().join("etc/passwd")).unwrap(), before);
    assert!(!dir.path().join("etc/lenscap").exists());

    // An image that says so goes ahead, but locks nobody out.
    let dir = open("busybox", ON_FLASH, "\toption mode 'enforce'\n");
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["waiting_for_owner"]), (1, &true.into()), "{said}");
    assert_eq!(fs::read(dir.path().join("etc/passwd")).unwrap(), before);
    assert!(
        fs::read_to_string(dir.path().join("etc/inittab"))
            .unwrap()
            .contains("#lenscap")
    );
    // What is no key, or what others may write, lets nobody in.
    let config = dir.path().join("etc/config/lenscap");
    let allowed = fs::read_to_string(&config).unwrap() + "\tlist allow_lan '192.168.1.2:22'\n";
    fs::write(&config, allowed).unwrap();
    fs::create_dir_all(dir.path().join(KEYS)).unwrap();
    let keys = dir.path().join(KEYS).join("authorized_keys");
    for (line, mode) in [
        ("ssh-ed25519 AAAA owner\n", 0o600),
        ("owner's key\n", 0o600),
        (OWNERS_KEY, 0o666),
    ] {
        fs::write(&keys, line).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            recheck(dir.path()).1["waiting_for_owner"],
            true,
            "{line} {mode:o}"
        );
    }
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    // With a way in, and nobody who could be told a password: keys alone.
    fs::write(&keys, OWNERS_KEY).unwrap();
    let (status, said) = recheck(dir.path());
    assert_eq!(status, 0, "{said}");
    assert_eq!(roots_hash(dir.path(), "etc/passwd"), "*");

    // In memory nothing is closed.
    let memory = "overlay / overlay rw,upperdir=/tmp/root/upper 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
    let dir = open("busybox", memory, "\toption mode 'enforce'\n");
    let output = in_camera(dir.path(), &["--boot", "--json"]);
    let said: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(code(&output), 1);
    assert!(
        said["reason"].as_str().unwrap().contains("survive a reboot"),
        "{said}"
    );
    assert!(!dir.path().join("etc/lenscap").exists());
}

/// Where a key is a way in: root's home is `/` there.
const KEYS: &str = ".ssh";
const ALLOWED: &str = "\tlist allow_lan '192.168.1.2:22'\n";

/// What a claim leaves.
const CLAIMED: &str = "main - operator BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= 1 0\n";

fn claim(dir: &Path, operators: &str) {
    fs::create_dir_all(dir.join("etc/lenscap")).unwrap();
    fs::write(dir.join("etc/lenscap/uplinks"), operators).unwrap();
}

/// As the agent says it, for which this process stands in as the monitor; 0: it is not.
fn uplink_up_since(dir: &Path, seconds: u64) {
    let pid = std::process::id();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let started = fields.split_whitespace().nth(19).unwrap();
    fs::create_dir_all(dir.join(format!("proc/{pid}/fd"))).unwrap();
    fs::write(dir.join(format!("proc/{pid}/stat")), &stat).unwrap();
    let text =
        format!("{{\n\"monitor_pid\": {pid},\n\"monitor_start\": {started},\n\"all_up_s\": {seconds}\n}}\n");
    fs::write(dir.join("run/lenscap/status.json"), text).unwrap();
}

#[test]
fn a_claimed_uplink_is_a_way_in_and_confirms_when_it_comes_back() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let now: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    // Nobody's, another uplink's, and one that is down.
    for (operator, since) in [
        ("", 1),
        (
            "main - operator BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= 2 9\n",
            1,
        ),
        (CLAIMED, 0),
    ] {
        uplink_up_since(dir.path(), since);
        claim(dir.path(), operator);
        let output = in_camera(dir.path(), &["--apply"]);
        assert!(
            text(&output).contains("credentials is not changed: waiting for an owner"),
            "{operator}"
        );
        assert_eq!(roots_hash(dir.path(), "etc/passwd"), "");
    }
    uplink_up_since(dir.path(), 1);
    let output = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let closed = roots_hash(dir.path(), "etc/passwd");
    assert_ne!(closed, "");
    // The connection that was there proves nothing.
    let (_, said) = recheck(dir.path());
    assert_eq!(said["waiting_for_confirmation"], true, "{said}");
    assert_eq!(said["waiting_for_uplink"], true, "{said}");
    uplink_up_since(dir.path(), now + 1000);
    let (_, said) = recheck(dir.path());
    assert_eq!(said["waiting_for_confirmation"], false, "{said}");
    assert_eq!(said["waiting_for_uplink"], false, "{said}");
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 1, "nothing waits");
    assert_eq!(roots_hash(dir.path(), "etc/passwd"), closed);
    // A service that is down keeps what was not confirmed in time from being taken back: nothing confirms it later.
    let state = dir.path().join("etc/lenscap/harden");
    let unconfirmed = state.join("unconfirmed");
    fs::write(state.join("services"), "onvif 127.0.0.1:9 0 1\n").unwrap();
    let waits = format!("{BOOT_ID} 0\n/etc/lenscap/camera-password\n");
    fs::write(&unconfirmed, &waits).unwrap();
    let output = support::in_camera_later(dir.path(), &["--recheck", "--json"]);
    let said: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(said["waiting_for_confirmation"], true, "{said}");
    assert_eq!(
        said["waiting_for_uplink"], false,
        "it is not dialled anew: {said}"
    );
    let output = support::in_camera_later(dir.path(), &["--confirm"]);
    assert_eq!(code(&output), 1);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(why.contains("it was not confirmed in time"), "{why}");
    assert_eq!(fs::read_to_string(&unconfirmed).unwrap(), waits);
}

fn set_boot(dir: &Path, number: u32) {
    let id = format!("6c1f4a0e-0000-0000-0000-{number:012}\n");
    fs::write(dir.join("proc/sys/kernel/random/boot_id"), id).unwrap();
    // Memory is empty after a boot.
    let _ = fs::remove_file(dir.join("run/lenscap/harden.look"));
}

#[test]
fn three_bad_boots_and_it_stands_aside_until_somebody_asks() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    let script = dir.path().join("etc/rc.local");
    let put_back = || fs::write(&script, original("busybox", "etc/rc.local")).unwrap();
    let boot = |number| {
        set_boot(dir.path(), number);
        let output = in_camera(dir.path(), &["--boot", "--json"]);
        let said: Value = serde_json::from_str(&text(&output)).unwrap();
        (code(&output), said)
    };
    for number in 1..=3 {
        put_back();
        let (status, said) = boot(number);
        assert_eq!(status, 0, "{said}");
        assert_eq!(said["restored"], "/etc/rc.local");
        // The same boot again counts once.
        assert_eq!(boot(number).0, 0);
    }
    put_back();
    for (status, said) in [boot(4), recheck(dir.path()), boot(5)] {
        assert_eq!((status, &said["standing_aside"]), (1, &true.into()), "{said}");
        assert!(
            said["reason"].as_str().unwrap().contains("three boots in a row"),
            "{said}"
        );
        assert_eq!(fs::read(&script).unwrap(), original("busybox", "etc/rc.local"));
    }
    let output = in_camera(dir.path(), &["--apply", "--only", "telnet"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    put_back();
    assert_eq!(boot(6).0, 0);
    assert_ne!(fs::read(&script).unwrap(), original("busybox", "etc/rc.local"));
}

#[test]
fn what_was_not_confirmed_is_waited_for_after_a_boot_even_if_hardening_is_off() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let config = dir.path().join("etc/config/lenscap");
    let whole = fs::read_to_string(&config).unwrap();
    let (without, _) = whole.split_once("config harden").unwrap();
    let off = format!("{without}config harden\n\toption mode 'off'\n");
    for (number, lines) in [(2, off.as_str()), (3, without)] {
        end_waiters(dir.path());
        fs::write(&config, lines).unwrap();
        set_boot(dir.path(), number);
        let output = just_started(dir.path(), &["--boot", "--json"]);
        assert_eq!(code(&output), 2, "nothing is looked at: {}", text(&output));
        assert_eq!(waiters(dir.path()).len(), 1, "boot {number}");
    }
    // Nor does it for this boot to show the owner's way in.
    fs::remove_file(dir.path().join("etc/lenscap/harden/unproven")).unwrap();
    assert_eq!(code(&just_started(dir.path(), &["--confirm"])), 0);
    let deadline = Instant::now() + PATIENCE;
    while !waiters(dir.path()).is_empty() {
        assert!(Instant::now() < deadline, "it waits for nothing");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// On a camera that runs for 30 seconds, however long this machine does.
fn just_started(dir: &Path, args: &[&str]) -> std::process::Output {
    started_before(dir, 30, args)
}

fn started_before(dir: &Path, seconds: i64, args: &[&str]) -> std::process::Output {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: i64 = uptime.split('.').next().unwrap().parse().unwrap();
    support::later(seconds - uptime)
        .arg("chroot")
        .arg(dir)
        .args(["/lenscap", "harden"])
        .args(args)
        .output()
        .unwrap()
}

/// Processes of a camera that wait for a confirmation.
fn waiters(dir: &Path) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        let here = fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|root| root == dir);
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let waits = words.split(|byte| *byte == 0).any(|word| word == b"--roll-back");
        (here && waits).then_some(pid)
    });
    pids.collect()
}

/// As a boot does.
fn end_waiters(dir: &Path) {
    for pid in waiters(dir) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while !waiters(dir).is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_hangs_at_boot_does_not_hold_up_the_boot() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    fs::write(
        dir.path().join("etc/rc.local"),
        original("busybox", "etc/rc.local"),
    )
    .unwrap();
    set_boot(dir.path(), 2);
    let started = Instant::now();
    let boot = Command::new("chroot")
        .arg(dir.path())
        .args(["/lenscap", "harden", "--boot"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", boot.id());
    // Until it is this program: before that its parent waits for it, and nothing hangs yet.
    let works = |child: &i32| {
        fs::read(format!("/proc/{child}/cmdline"))
            .is_ok_and(|words| words.ends_with(b"--config\0/etc/config/lenscap\0"))
    };
    let child: i32 = loop {
        let text = fs::read_to_string(&children).unwrap_or_default();
        let child = text.split_whitespace().next().and_then(|word| word.parse().ok());
        if let Some(child) = child.filter(works) {
            break child;
        }
        assert!(started.elapsed() < PATIENCE);
    };
    // As if it waited for a device that does not answer.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child),
        nix::sys::signal::Signal::SIGSTOP,
    )
    .unwrap();
    let output = boot.wait_with_output().unwrap();
    let took = started.elapsed();
    assert!(
        (Duration::from_secs(19)..Duration::from_secs(25)).contains(&took),
        "{took:?}"
    );
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("took longer than 20 s; the boot goes on"), "{said}");
    // It is gone, and the next look does the rest.
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (0, &"holds".into()), "{said}");
}

#[test]
fn a_shell_that_comes_back_and_a_vendors_program_are_told_apart() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    let start = || Command::new("sleep").arg("1000").spawn().unwrap();
    let mut shell = start();
    listens(dir.path(), shell.id(), 23, "telnetd -l /bin/sh", "/dev/null");
    let (_, said) = recheck(dir.path());
    assert_eq!(said["stopped"], 1, "{said}");
    assert!(!shell.wait().unwrap().success());
    // The camera's own program has the port and feeds the watchdog: ending it would restart the camera.
    let dir = closed("xiongmai", "");
    let mut vendor = start();
    listens(dir.path(), vendor.id(), 9527, "telnetd", "/dev/watchdog");
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["stopped"]), (1, &0.into()), "{said}");
    assert!(
        said["reason"].as_str().unwrap().contains("it feeds the watchdog"),
        "{said}"
    );
    assert!(vendor.try_wait().unwrap().is_none());
    vendor.kill().unwrap();
    vendor.wait().unwrap();
}

#[test]
fn whoever_applies_over_telnet_is_waited_for() {
    if without_root() {
        return;
    }
    // Its telnetd takes the run's terminal with it; and a run that dies then has a waiter already.
    for (signal, ends) in [("HUP", true), ("KILL", false)] {
        let dir = open("busybox", ON_FLASH, "");
        let pid = dir.path().join("run/pid");
        let script = "trap 'until [ -s \"$1\" ]; do :; done; kill -$0 $(cat \"$1\"); exit' TERM; echo; while :; do sleep 0.05; done";
        let mut shell = Command::new("sh")
            .args(["-c", script, signal])
            .arg(&pid)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is set up.
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        listens(dir.path(), shell.id(), 23, "telnetd -l /bin/sh", "/dev/null");
        let run = Command::new("chroot")
            .arg(dir.path())
            .args(["/lenscap", "harden", "--apply", "--password-file", "/label"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        fs::write(&pid, run.id().to_string()).unwrap();
        let output = run.wait_with_output().unwrap();
        shell.wait().unwrap();
        if ends {
            // The process is gone, though not from this `/proc`.
            assert!(output.status.code().is_some(), "{signal}: {}", output.status);
            assert!(text(&output).contains("within 10 minutes"), "{}", text(&output));
        } else {
            assert_eq!(output.status.code(), None);
        }
        assert_eq!(waiters(dir.path()).len(), 1, "{signal}");
        end_waiters(dir.path());
    }
}

#[test]
fn a_table_that_the_firmware_binds_over_is_reported_as_not_persistent() {
    if without_root() {
        return;
    }
    let mounts = format!("{ON_FLASH}/dev/mtdblock3 /etc/shadow jffs2 rw 0 0\n");
    let dir = open("wz_mini", &mounts, "");
    // What the boot script binds over it.
    let bound = "opt/wz_mini/etc/shadow";
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 1);
    assert!(text(&output).contains("/etc/shadow: the firmware mounts another file over this one"));
    assert!(fits(LABEL, &roots_hash(dir.path(), bound)));
    assert!(!fits(LABEL, &roots_hash(dir.path(), "etc/shadow")));
    in_camera(dir.path(), &["--confirm"]);
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (1, &"fails".into()));
    // After the next boot the changed one is there.
    fs::copy(dir.path().join(bound), dir.path().join("etc/shadow")).unwrap();
    set_boot(dir.path(), 2);
    assert_eq!(recheck(dir.path()).0, 0);
}

/// Whatever lies there, and wherever what is bound over it comes from: it cannot be replaced, and media not by halves.
#[test]
fn what_is_bound_over_any_file_is_told_and_nothing_that_belongs_to_it_is_changed() {
    if without_root() {
        return;
    }
    const APPLY: &[&str] = &["--apply", "--password-file", "/label"];
    for (name, bound, from) in [
        ("busybox", "etc/passwd", "mnt/mtd/passwd"),
        ("busybox", "etc/rc.local", "mnt/mtd/rc.local"),
        ("thingino", "etc/prudynt.json", "mnt/mtd/prudynt.json"),
    ] {
        let mounts = format!("{ON_FLASH}/dev/mtdblock3 /{bound} jffs2 rw 0 0\n");
        let dir = open(name, &mounts, ALLOWED);
        authorise(dir.path(), KEYS);
        fs::create_dir_all(dir.path().join("mnt/mtd")).unwrap();
        fs::copy(dir.path().join(bound), dir.path().join(from)).unwrap();
        let output = in_camera(dir.path(), APPLY);
        let said = text(&output);
        assert_eq!(code(&output), 1, "{said}");
        let why = format!("fails    /{bound}: the firmware mounts another file over this one");
        assert!(said.contains(&why), "{said}");
        if bound.ends_with(".json") {
            assert!(!dir.path().join("etc/lenscap/camera-password").exists());
        }
        assert_eq!(
            fs::read(dir.path().join(bound)).unwrap(),
            original(name, bound),
            "{bound}"
        );
        if from.ends_with("passwd") {
            // Nobody knows that a login reads that one.
            assert_eq!(fs::read(dir.path().join(from)).unwrap(), original(name, bound));
            assert!(
                said.contains(&format!("unknown  /{from}:1: a weak password is left")),
                "{said}"
            );
        }
        assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
        assert_eq!(recheck(dir.path()).0, 1);
        assert_eq!(
            fs::read(dir.path().join(bound)).unwrap(),
            original(name, bound),
            "{bound}"
        );
    }
}

#[test]
fn a_host_key_of_the_image_is_replaced_and_one_of_its_own_stays() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let program = "/usr/bin/dropbearkey";
    assert!(
        Path::new(program).exists(),
        "dropbearkey is in Debian's package dropbear-bin"
    );
    support::install(dir.path(), program, "usr/bin/dropbearkey");
    let path = |name: &str| dir.path().join(name);
    for folder in ["etc/dropbear", "rom/etc/dropbear"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    let make = |kind: &str| {
        let name = format!("etc/dropbear/dropbear_{kind}_host_key");
        let made = Command::new(program)
            .args(["-t", kind, "-f"])
            .arg(path(&name))
            .output()
            .unwrap();
        assert!(made.status.success());
        name
    };
    let (shared, own) = (make("rsa"), make("ed25519"));
    fs::copy(path(&shared), path(&format!("rom/{shared}"))).unwrap();
    let before = (fs::read(path(&shared)).unwrap(), fs::read(path(&own)).unwrap());
    let plan = in_camera(dir.path(), &[]);
    assert!(text(&plan).contains("the SSH host key is shared: it is part of the firmware's image"));
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_ne!(fs::read(path(&shared)).unwrap(), before.0);
    assert_eq!(fs::read(path(&own)).unwrap(), before.1);
    let shown = Command::new(program)
        .args(["-y", "-f"])
        .arg(path(&shared))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("ssh-rsa"));
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(fs::read(path(&shared)).unwrap(), before.0);
}

#[test]
fn who_waits_for_the_confirmation_sees_it() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(recheck(dir.path()).1["waiting_for_confirmation"], true);
    let mut waiting = Command::new("chroot")
        .arg(dir.path())
        .args(["/lenscap", "harden", "--roll-back"])
        .spawn()
        .unwrap();
    // It has the folder watched.
    let watched = format!("/proc/{}/fdinfo", waiting.id());
    let watches = || {
        let infos = fs::read_dir(&watched).unwrap();
        let mut texts = infos.filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
        texts.any(|text| text.contains("inotify wd:"))
    };
    let started = Instant::now();
    while !watches() {
        assert!(started.elapsed() < PATIENCE);
    }
    let started = Instant::now();
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    assert!(waiting.wait().unwrap().success());
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(recheck(dir.path()).1["waiting_for_confirmation"], false);
    assert!(fits(LABEL, &roots_hash(dir.path(), "etc/passwd")));
}
