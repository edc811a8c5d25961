//! What a later boot shows of the owner's way in, where more than one run, or more than SSH, is there.

use super::*;

const ENFORCED: &str = "\toption mode 'enforce'\n";
const NOTE: &str = "etc/lenscap/harden/unproven";

fn later(dir: &Path) -> Value {
    let output = support::in_camera_later(dir, &["--recheck", "--json"]);
    serde_json::from_str(&text(&output)).unwrap()
}

fn boot(dir: &Path, number: u32) {
    end_waiters(dir);
    set_boot(dir, number);
}

fn note(dir: &Path) -> String {
    fs::read_to_string(dir.join(NOTE)).unwrap_or_default()
}

/// A run within the minutes in which a boot is to show what another has closed waits for the next boot, and holds up none.
#[test]
fn a_boot_shows_what_was_applied_before_it() {
    if without_root() {
        return;
    }
    for shown in [true, false] {
        let dir = open("busybox", ON_FLASH, &[ALLOWED, ENFORCED].concat());
        authorise(dir.path(), KEYS);
        let is_closed = || {
            let same = |name: &str| fs::read(dir.path().join(name)).unwrap() == original("busybox", name);
            ["etc/inittab", "etc/passwd"].map(|name| !same(name))
        };
        let output = in_camera(dir.path(), &["--apply", "--only", "telnet"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        boot(dir.path(), 2);
        let args = ["--apply", "--only", "credentials", "--password", "lock"];
        let output = just_started(dir.path(), &args);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(is_closed(), [true, true]);
        let running = dir.path().join("proc").join(support::SSH_SERVER.to_string());
        let away = dir.path().join("away");
        if !shown {
            fs::rename(&running, &away).unwrap();
        }
        let said = later(dir.path());
        assert_eq!(is_closed(), [shown, true], "{said}");
        assert_eq!(said["waiting_for_boot"], true, "{said}");
        assert!(!note(dir.path()).contains("/etc/inittab"), "{}", note(dir.path()));
        boot(dir.path(), 3);
        if shown {
            fs::rename(&running, &away).unwrap();
        } else {
            fs::rename(&away, &running).unwrap();
        }
        let said = later(dir.path());
        // Now that SSH is back, the mode has telnet closed once more.
        assert_eq!(is_closed(), [true, !shown], "{said}");
        assert_eq!(said["waiting_for_boot"], !shown, "{said}");
        assert!(!note(dir.path()).contains("/etc/passwd"), "{}", note(dir.path()));
    }
}

/// Where two are overdue at once, what neither was about stays.
#[test]
fn what_two_runs_closed_goes_back_together_and_nothing_else() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, &[ALLOWED, ENFORCED].concat());
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--password", "lock"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let parts = "boot1 key\n/etc/inittab\nboot2 password\n/etc/rc.local\n";
    fs::write(dir.path().join(NOTE), parts).unwrap();
    without_ssh(dir.path());
    let said = later(dir.path());
    for (name, back) in [
        ("etc/inittab", true),
        ("etc/rc.local", true),
        ("etc/passwd", false),
    ] {
        let same = fs::read(dir.path().join(name)).unwrap() == original("busybox", name);
        assert_eq!(same, back, "{name}: {said}");
    }
    assert_eq!(said["waiting_for_boot"], false, "{said}");
}

/// Part of what closed telnet was shown by an earlier boot, and stays; what was started again is not ended again.
#[test]
fn telnet_that_is_taken_back_is_not_ended_by_the_next_look() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, ALLOWED);
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--only", "telnet"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let mut shell = Command::new("sleep").arg("1000").spawn().unwrap();
    let listens = || listens(dir.path(), shell.id(), 23, "telnetd -l /bin/sh", "/dev/null");
    fs::write(dir.path().join(NOTE), "boot1 key\n/etc/rc.local\n").unwrap();
    without_ssh(dir.path());
    later(dir.path());
    let script = fs::read(dir.path().join("etc/rc.local")).unwrap();
    assert!(script == original("busybox", "etc/rc.local"));
    let inittab = fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
    assert!(inittab.contains("#lenscap"));
    listens();
    let (_, said) = recheck(dir.path());
    assert_eq!(said["stopped"], 0, "{said}");
    assert!(shell.try_wait().unwrap().is_none());
    assert_ne!(said["verdict"], "holds", "{said}");
    shell.kill().unwrap();
    shell.wait().unwrap();
}

/// It is a way in at any time, where a boot finds what it needs.
#[test]
fn a_claimed_uplink_shows_the_way_in_at_once() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, &[ALLOWED, ENFORCED].concat());
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--password", "lock"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    claim(dir.path(), CLAIMED);
    uplink_up_since(dir.path(), 0);
    let (_, said) = recheck(dir.path());
    assert_eq!(said["waiting_for_boot"], true, "{said}");
    uplink_up_since(dir.path(), 1);
    let mounts = dir.path().join("proc/mounts");
    fs::write(&mounts, format!("{ON_FLASH}tmpfs /etc/config tmpfs rw 0 0\n")).unwrap();
    let (_, said) = recheck(dir.path());
    assert_eq!(
        said["waiting_for_boot"], true,
        "its configuration is in memory: {said}"
    );
    fs::write(&mounts, ON_FLASH).unwrap();
    let (_, said) = recheck(dir.path());
    assert_eq!(said["waiting_for_boot"], false, "{said}");
    assert_eq!(note(dir.path()), "");
}

#[test]
fn whoever_removes_the_program_hears_that_no_boot_has_shown_the_way_in() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, ALLOWED);
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--only", "telnet"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    for noted in [true, false] {
        let output = in_camera(dir.path(), &["--roll-back", "--now"]);
        assert_eq!(code(&output), 0);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            said.contains("no boot has shown yet that SSH lets you in"),
            noted,
            "{said}"
        );
        let inittab = fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
        assert!(inittab.contains("#lenscap"));
        let _ = fs::remove_file(dir.path().join(NOTE));
    }
}

/// A camera that is off again before ten minutes are over would wait for ever.
#[test]
fn boots_that_do_not_last_show_what_they_can() {
    if without_root() {
        return;
    }
    for (mode, shown) in [(ENFORCED, true), (ENFORCED, false), ("", false)] {
        let dir = open("busybox", ON_FLASH, &[ALLOWED, mode].concat());
        authorise(dir.path(), KEYS);
        let output = in_camera(dir.path(), &["--apply", "--password", "lock"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        if !shown {
            without_ssh(dir.path());
        }
        let look = |seconds| {
            let output = started_before(dir.path(), seconds, &["--recheck", "--json"]);
            let said: Value = serde_json::from_str(&text(&output)).unwrap();
            let inittab = fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
            let waits = said["waiting_for_boot"] == true || said["waiting_for_confirmation"] == true;
            (waits, inittab.contains("#lenscap"))
        };
        // One that ends within the last minute has not lasted either.
        let last = if mode.is_empty() || shown { 590 } else { 650 };
        for number in 2..=4 {
            boot(dir.path(), number);
            assert_eq!(look(30), (true, true));
            assert_eq!(look(last), (true, true), "boot {number}");
        }
        boot(dir.path(), 5);
        assert_eq!(look(30), (true, true), "a server takes its time");
        if shown {
            let running = dir.path().join("proc").join(support::SSH_SERVER.to_string());
            let away = dir.path().join("away");
            assert_eq!(look(125), (true, true));
            // It was seen: that it is away for a moment loses nothing.
            fs::rename(&running, &away).unwrap();
            assert_eq!(look(300), (true, true));
            fs::rename(&away, &running).unwrap();
        }
        assert_eq!(look(590), (shown, shown));
        boot(dir.path(), 6);
        later(dir.path());
        assert_eq!(note(dir.path()), "");
        assert!(!dir.path().join("etc/lenscap/harden/short-boots").exists());
    }
}

/// Nor does one that lasts count among them, whatever waits on.
#[test]
fn boots_that_last_are_not_short() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, &[ALLOWED, ENFORCED].concat());
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--password", "lock"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    for number in 2..=5 {
        boot(dir.path(), number);
        let now = format!("6c1f4a0e-0000-0000-0000-{number:012}");
        let parts = format!("another key\n/etc/inittab\n{now} key\n/etc/rc.local\n");
        fs::write(dir.path().join(NOTE), parts).unwrap();
        let said = later(dir.path());
        assert_eq!(note(dir.path()), format!("{now} key\n/etc/rc.local\n"), "{said}");
    }
    boot(dir.path(), 6);
    without_ssh(dir.path());
    let output = started_before(dir.path(), 590, &["--recheck", "--json"]);
    let said: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(said["waiting_for_boot"], true, "{said}");
    assert!(!note(dir.path()).is_empty());
}

/// It waits for ever for a service that is gone: nothing else waits for that.
#[test]
fn a_service_that_does_not_answer_holds_up_no_login() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, ALLOWED);
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--password", "lock"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    let state = dir.path().join("etc/lenscap/harden");
    fs::write(state.join("services"), "onvif 127.0.0.1:9 0 1\n").unwrap();
    let waits = "/etc/lenscap/camera-password\n";
    fs::write(state.join("unconfirmed"), format!("{BOOT_ID} 0\n{waits}")).unwrap();
    boot(dir.path(), 2);
    without_ssh(dir.path());
    let said = later(dir.path());
    for name in ["etc/inittab", "etc/passwd"] {
        let is = fs::read(dir.path().join(name)).unwrap();
        assert!(is == original("busybox", name), "{name}: {said}");
    }
    let unconfirmed = fs::read_to_string(state.join("unconfirmed")).unwrap();
    assert!(
        unconfirmed.ends_with(waits),
        "the service waits on: {unconfirmed}"
    );
    assert_eq!(note(dir.path()), "");
}
