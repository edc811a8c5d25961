//! What a look does about telnet beside files.

use std::os::unix::process::ExitStatusExt as _;

use super::*;

#[test]
fn a_note_that_cannot_be_kept_ends_no_look() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    fs::create_dir_all(dir.path().join("etc/lenscap/harden/inetd.new/in-its-place")).unwrap();
    let inetd = Command::new("env")
        .args(["--default-signal=HUP", "sleep", "1000"])
        .spawn();
    let mut inetd = inetd.unwrap();
    listens(dir.path(), inetd.id(), 23, "/usr/sbin/inetd", "/dev/null");
    for name in ["etc/inetd.conf", "etc/passwd"] {
        fs::write(dir.path().join(name), original("busybox", name)).unwrap();
    }
    let (status, said) = recheck(dir.path());
    assert_eq!(said["restored"], "/etc/inetd.conf /etc/passwd", "{said}");
    assert_eq!((status, &said["verdict"]), (2, &"unknown".into()), "{said}");
    assert!(
        said["reason"].as_str().unwrap().contains("it could not be told"),
        "{said}"
    );
    assert!(fits(LABEL, &roots_hash(dir.path(), "etc/passwd")));
    // It is told all the same, and this one ends by it.
    assert_eq!(inetd.wait().unwrap().signal(), Some(1));
}

#[test]
fn telnet_that_was_confirmed_does_not_come_back_with_logins_that_were_not() {
    if without_root() {
        return;
    }
    for (waits, noted) in [("/etc/passwd", false), ("/etc/passwd\n/etc/rc.local", true)] {
        let dir = closed("busybox", "");
        let mut shell = Command::new("sleep").arg("1000").spawn().unwrap();
        listens(dir.path(), shell.id(), 23, "telnetd -l /bin/sh", "/dev/null");
        let status = dir.path().join(format!("proc/{}/status", shell.id()));
        fs::write(status, "Name:\ttelnetd\nUid:\t0\t0\t0\t0\n").unwrap();
        let state = dir.path().join("etc/lenscap/harden");
        // As after a boot that has shown the way in.
        fs::remove_file(state.join("unproven")).unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let (now, _) = uptime.split_once('.').unwrap();
        fs::write(state.join("unconfirmed"), format!("{BOOT_ID} {now}\n{waits}\n")).unwrap();
        let (_, said) = recheck(dir.path());
        assert_eq!(said["stopped"], 1, "{said}");
        assert!(!shell.wait().unwrap().success());
        assert_eq!(state.join("stopped").exists(), noted, "{waits}");
    }
}

/// Nobody confirmed, and one file stays as somebody else left it: what was applied once is not any more.
#[test]
fn what_was_taken_back_is_not_closed_again_unasked() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, "");
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let script = dir.path().join("etc/rc.local");
    let table = dir.path().join("etc/passwd");
    let theirs = String::from_utf8(original("busybox", "etc/rc.local")).unwrap() + "# theirs\n";
    fs::write(&script, &theirs).unwrap();
    let changed = fs::read_to_string(&table).unwrap() + "new:*:1001:1001::/:/bin/false\n";
    fs::write(&table, changed).unwrap();
    assert_eq!(
        in_camera(dir.path(), &["--roll-back", "--now"]).status.code(),
        Some(1)
    );
    // A firmware's boot script writes the old one: root's new password was taken back.
    fs::write(&table, original("busybox", "etc/passwd")).unwrap();
    for _ in 0..2 {
        let (status, said) = recheck(dir.path());
        assert_eq!((status, &said["restored"]), (1, &"".into()), "{said}");
        assert_eq!(fs::read_to_string(&script).unwrap(), theirs);
        assert_eq!(fs::read(&table).unwrap(), original("busybox", "etc/passwd"));
    }
    // Somebody asks, and confirms: from then on it is as ever.
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    fs::write(&script, &theirs).unwrap();
    let (status, said) = recheck(dir.path());
    assert_eq!(
        (status, &said["restored"]),
        (0, &"/etc/rc.local".into()),
        "{said}"
    );
}
