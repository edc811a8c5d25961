//! Services whose user somebody has locked, that two passwords open, or that hang: nobody loses a password by it, and no
//! run says more than it has seen.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::{BOOT_ID, code, in_camera, in_camera_later, text, without_root};
use super::{APPLY, Services, camera, on_a_network_of_its_own, recheck, stored};

const UNDO: &[&str] = &["--undo", "--restore-insecure"];
const RECORD: &str = "etc/lenscap/harden/services";
const UNCONFIRMED: &str = "etc/lenscap/harden/unconfirmed";
/// Far below what a hanging service would cost if each request to it were waited for.
const IN_TIME: Duration = Duration::from_secs(25);

fn up_for(seconds: u64) -> bool {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let (whole, _) = uptime.split_once('.').unwrap();
    whole.parse::<u64>().unwrap() > seconds
}

/// As if half an hour had passed since the last try. A machine that is not up for so long cannot be told so.
fn half_an_hour_later(dir: &Path) -> bool {
    let file = dir.join("var/run/lenscap/harden.tries");
    let earlier = |line: &str| {
        let (at, rest) = line.split_once(' ').unwrap();
        format!("{} {rest}\n", at.parse::<u64>().unwrap().saturating_sub(1801))
    };
    let text = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, text.lines().map(earlier).collect::<String>()).unwrap();
    up_for(1900)
}

fn record(dir: &Path) -> String {
    fs::read_to_string(dir.join(RECORD)).unwrap_or_default()
}

fn write_record(dir: &Path, text: &str) {
    fs::create_dir_all(dir.join(RECORD).parent().unwrap()).unwrap();
    fs::write(dir.join(RECORD), text).unwrap();
}

/// Has what waits for a confirmation be overdue.
fn overdue(dir: &Path, paths: &str) {
    fs::write(
        dir.join(UNCONFIRMED),
        format!("6c1f4a0e-0000-0000-0000-00000000000f 0\n{paths}"),
    )
    .unwrap();
    let text = fs::read_to_string(dir.join(UNCONFIRMED)).unwrap();
    assert!(!text.contains(BOOT_ID));
}

#[test]
fn the_password_of_a_locked_user_is_not_lost_when_it_is_taken_back() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["admin", "dahua"]);
    let dir = camera(services.port);
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    let new = stored(dir.path());
    services.tell("lock");
    let refused = |why: &str| {
        let output = in_camera(dir.path(), UNDO);
        assert_eq!(code(&output), 1);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{said}");
        assert!(said.contains("is kept in /etc/lenscap/camera-password"), "{said}");
        assert_eq!(stored(dir.path()), new, "nobody else knows it");
        assert_eq!(record(dir.path()).lines().count(), 1);
    };
    refused("it takes neither password");
    // Within half an hour it is not tried again.
    let tries = || fs::read_to_string(dir.path().join("var/run/lenscap/harden.tries")).unwrap();
    let before = tries();
    refused("try again in half an hour");
    assert_eq!(tries(), before);
    // It is never given up: the services have taken that password.
    if half_an_hour_later(dir.path()) {
        refused("it takes neither password");
        half_an_hour_later(dir.path());
    } else {
        fs::remove_file(dir.path().join("var/run/lenscap/harden.tries")).unwrap();
    }
    services.tell("unlock");
    let output = in_camera(dir.path(), UNDO);
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(services.changed(), ("isapi".into(), "admin".into()));
    assert!(stored(dir.path()).is_empty() && record(dir.path()).is_empty());
}

#[test]
fn a_user_that_is_locked_after_the_change_does_not_lose_it() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["admin", "dahua"]);
    let dir = camera(services.port);
    services.tell("lock-next");
    let output = in_camera(dir.path(), APPLY);
    assert_eq!(code(&output), 1, "{}", text(&output));
    let (_, new) = services.changed();
    assert!(stored(dir.path()).is_empty());
    let line = format!("dahua 127.0.0.1:{} 0 1\nnew {new}\n", services.port);
    assert_eq!(record(dir.path()), line);
    // It stays whatever is seen later, but for that password or the old one.
    for _ in 0..2 {
        half_an_hour_later(dir.path());
        let (status, said) = recheck(dir.path());
        assert_eq!((status, &said["verdict"]), (1, &"fails".into()), "{said}");
        assert_eq!(record(dir.path()), line);
    }
    let now = ["--roll-back", "--now"];
    assert_eq!(code(&in_camera(dir.path(), &now)), 0);
    assert_eq!(
        record(dir.path()),
        line,
        "a service that is locked keeps its record"
    );
    services.tell("unlock");
    fs::remove_file(dir.path().join("var/run/lenscap/harden.tries")).unwrap();
    let (_, said) = recheck(dir.path());
    let reason = said["reason"].as_str().unwrap();
    assert!(!reason.contains("could not be changed"), "{said}");
    assert_eq!(stored(dir.path()), format!("{new}\n"));
    assert_eq!(
        record(dir.path()),
        format!("dahua 127.0.0.1:{} 0 1\n", services.port)
    );
}

/// A password that no service has taken is given up once it is sure that none waits for it.
#[test]
fn an_owners_password_ends_a_run_that_was_cut_short_after_half_an_hour() {
    if without_root() {
        return;
    }
    let services = Services::new(&["my-own-password"]);
    let dir = camera(services.port);
    for (mark, stays) in [("", false), (" 1", true)] {
        let lines = format!(
            "onvif 127.0.0.1:{} 1{mark}\nnew not-yet-in-its-f\n",
            services.port
        );
        write_record(dir.path(), &lines);
        let (_, said) = recheck(dir.path());
        let reason = said["reason"].as_str().unwrap();
        assert!(reason.contains("it takes neither password"), "{said}");
        assert_eq!(record(dir.path()), lines);
        if half_an_hour_later(dir.path()) {
            let _ = recheck(dir.path());
            assert_eq!(record(dir.path()), if stays { lines } else { String::new() });
        }
        assert!(stored(dir.path()).is_empty());
        let _ = fs::remove_file(dir.path().join("var/run/lenscap/harden.tries"));
    }
    drop(services);
}

#[test]
fn a_service_that_two_passwords_open_never_holds() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["12345"]);
    let dir = camera(services.port);
    services.tell("keep");
    let may_be_open = "the old password of admin may still open it";
    for _ in 0..2 {
        let output = in_camera(dir.path(), APPLY);
        assert_eq!(code(&output), 1, "{}", text(&output));
        assert!(
            text(&output).contains("the old password may still open it"),
            "{}",
            text(&output)
        );
        in_camera(dir.path(), &["--confirm"]);
        let plan = in_camera(dir.path(), &[]);
        assert_eq!(code(&plan), 1, "{}", text(&plan));
        assert!(text(&plan).contains("admin has a password that everybody knows"));
        let (status, said) = recheck(dir.path());
        assert_eq!((status, &said["verdict"]), (1, &"fails".into()), "{said}");
        assert!(said["reason"].as_str().unwrap().contains(may_be_open), "{said}");
    }
    // Nor while it cannot be looked at: it is locked, or down.
    services.tell("lock");
    let plan = in_camera(dir.path(), &[]);
    assert_eq!(code(&plan), 1);
    assert!(text(&plan).contains(may_be_open), "{}", text(&plan));
    services.tell("unlock");
    fs::remove_file(dir.path().join("var/run/lenscap/harden.tries")).unwrap();
    // Once its owner has removed the other user, the next run sees it.
    services.tell("drop");
    let output = in_camera(dir.path(), APPLY);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(code(&in_camera(dir.path(), &[])), 0);
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["verdict"]), (0, &"holds".into()), "{said}");
    // Where both open it, it is taken back: the old one does.
    services.tell("keep");
    assert_eq!(code(&in_camera(dir.path(), UNDO)), 0);
    assert!(stored(dir.path()).is_empty() && record(dir.path()).is_empty());
}

#[test]
fn a_service_that_hangs_holds_up_nothing_else() {
    if without_root() {
        return;
    }
    on_a_network_of_its_own(|| {
        let mut services = Services::new(&["12345"]);
        let dir = camera(services.port);
        assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
        in_camera(dir.path(), &["--confirm"]);
        let (status, said) = recheck(dir.path());
        assert_eq!((status, &said["verdict"]), (0, &"holds".into()), "{said}");
        let script = dir.path().join("etc/rc.local");
        let shut = fs::read(&script).unwrap();
        let media = stored(dir.path());
        services.tell("hang");
        let began = Instant::now();
        let plan = in_camera(dir.path(), &[]);
        assert_eq!(code(&plan), 2, "{}", text(&plan));
        for name in ["ONVIF", "ISAPI"] {
            let line = format!("{name} on port {}: it does not answer", services.port);
            assert!(text(&plan).contains(&line), "{}", text(&plan));
        }
        assert!(began.elapsed() < IN_TIME);
        for apply in [false, true] {
            overdue(dir.path(), "/etc/lenscap/camera-password\n");
            let fixture = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../tests/fixtures/busybox/etc/rc.local"
            );
            fs::write(&script, fs::read(fixture).unwrap()).unwrap();
            let began = Instant::now();
            let why = "admin has the media password still, which is kept in /etc/lenscap/camera-password";
            if apply {
                let output = in_camera_later(dir.path(), APPLY);
                assert_eq!(code(&output), 1);
                assert!(text(&output).contains(why), "{}", text(&output));
                // What waits has its time anew: it would be taken back at once.
                let waiting = fs::read_to_string(dir.path().join(UNCONFIRMED)).unwrap();
                assert!(waiting.starts_with(BOOT_ID), "{waiting}");
            } else {
                let output = in_camera_later(dir.path(), &["--recheck", "--json"]);
                let said: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
                assert_eq!(
                    (code(&output), &said["verdict"]),
                    (2, &"unknown".into()),
                    "{said}"
                );
                assert!(said["reason"].as_str().unwrap().contains(why), "{said}");
                assert_eq!(said["restored"], "/etc/rc.local");
            }
            assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
            assert_eq!(fs::read(&script).unwrap(), shut);
            assert_eq!(stored(dir.path()), media);
        }
        assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    });
}
