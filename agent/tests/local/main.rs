//! `lenscap harden` on a running camera whose users are known to its own services alone: ONVIF and ISAPI, played by
//! `camera.py`, which checks every digest by itself.

#![allow(clippy::unwrap_used)]
// Not on a camera.
#![allow(clippy::disallowed_methods)]

mod locked;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use support::{BOOT_ID, ON_FLASH, authorise, code, in_camera, running, text, watches, without_root};

/// The longest that a service takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services; killed when dropped.
struct Services {
    child: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Services {
    fn new(args: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/local/camera.py"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(()) = sender.send(line.unwrap()) else {
                    return;
                };
            }
        });
        let port = lines.recv_timeout(PATIENCE).unwrap().parse().unwrap();
        Self { child, lines, port }
    }

    /// Has the camera do something else from now on. Changes so far are not asked for any more.
    fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{what}").unwrap();
        while self.lines.recv_timeout(PATIENCE).unwrap() != "done" {}
    }

    /// The next change: which service, and its new password.
    fn changed(&mut self) -> (String, String) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let (service, password) = line.split_once(' ').unwrap();
        (service.into(), password.into())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn camera(port: u16) -> tempfile::TempDir {
    let dir = running("busybox", ON_FLASH);
    configure(dir.path(), port);
    dir
}

fn configure(dir: &Path, port: u16) {
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("label", "label-7Q2M-9ZKD\n");
    write(
        "etc/config/lenscap",
        &format!(
            "config uplink 'main'\n\toption endpoint 'https://localhost:9/x'\nconfig profile 'main'\n\
             \toption rtsp 'rtsp://127.0.0.1:9/x'\n\toption snapshot 'http://127.0.0.1:{port}/x.jpg'\nconfig harden\n\toption firewall '0'\n\
             \tlist allow_lan '192.168.1.2:22'\n"
        ),
    );
}

fn stored(dir: &Path) -> String {
    fs::read_to_string(dir.join("etc/lenscap/camera-password")).unwrap_or_default()
}

const APPLY: &[&str] = &["--apply", "--password-file", "/label"];

/// Runs a test where nobody else has a port.
fn on_a_network_of_its_own(test: impl FnOnce() + Send) {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.unwrap().success(), "iproute2");
        test();
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap());
}

#[test]
fn users_of_services_get_the_media_password_and_it_is_taken_back() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["12345"]);
    let port = services.port;
    let dir = camera(port);
    let plan = in_camera(dir.path(), &[]);
    assert_eq!(code(&plan), 1);
    for name in ["ONVIF", "ISAPI"] {
        let line = format!("{name} on port {port}: admin has a password that everybody knows");
        assert!(text(&plan).contains(&line), "{}", text(&plan));
    }
    let closed = in_camera(dir.path(), APPLY);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    let new = stored(dir.path());
    let new = new.trim_end();
    // ISAPI takes no more.
    assert_eq!(new.len(), 16);
    let both = ["onvif", "isapi"].map(|name| (name.to_owned(), new.to_owned()));
    assert_eq!([services.changed(), services.changed()], both);
    assert!(!text(&closed).contains(new));
    let record = dir.path().join("etc/lenscap/harden/services");
    assert!(
        !fs::read_to_string(&record).unwrap().contains(new),
        "the password is in its own file alone"
    );
    // Nothing more to do, and nothing is known any more.
    assert!(!text(&in_camera(dir.path(), &[])).contains("admin has a password"));
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    assert_eq!(stored(dir.path()).trim_end(), new);

    let undone = in_camera(dir.path(), &["--undo", "--restore-insecure"]);
    assert_eq!(code(&undone), 0, "{}", text(&undone));
    let old = ["onvif", "isapi"].map(|name| (name.to_owned(), "12345".to_owned()));
    assert_eq!([services.changed(), services.changed()], old);
    assert!(!record.exists() && stored(dir.path()).is_empty());
}

/// Firmwares whose main applications keep these users: on a running camera the service that answers is what tells.
#[test]
fn firmwares_without_a_file_of_such_users_are_closed_by_their_services() {
    if without_root() {
        return;
    }
    for (name, firmware) in [
        (
            "hikvision",
            "firmware     Hikvision, known by /etc/app (tried: fixture)\n",
        ),
        (
            "onvif",
            "firmware     BusyBox, known by /bin/busybox (tried: emulated)\n",
        ),
    ] {
        let mut services = Services::new(&["12345"]);
        let dir = running(name, ON_FLASH);
        configure(dir.path(), services.port);
        fs::write(dir.path().join("etc/shells"), "/bin/sh\n/bin/psh\n").unwrap();
        let plan = in_camera(dir.path(), &[]);
        assert!(text(&plan).starts_with(firmware), "{}", text(&plan));
        for kind in ["ONVIF", "ISAPI"] {
            let line = format!(
                "{kind} on port {}: admin has a password that everybody knows",
                services.port
            );
            assert!(text(&plan).contains(&line), "{}", text(&plan));
        }
        let closed = in_camera(dir.path(), APPLY);
        assert_eq!(code(&closed), 0, "{}", text(&closed));
        let new = stored(dir.path());
        for kind in ["onvif", "isapi"] {
            assert_eq!(services.changed(), (kind.to_owned(), new.trim_end().to_owned()));
        }
        let undone = in_camera(dir.path(), &["--undo", "--restore-insecure"]);
        assert_eq!(code(&undone), 0, "{}", text(&undone));
        for kind in ["onvif", "isapi"] {
            assert_eq!(services.changed(), (kind.to_owned(), "12345".to_owned()));
        }
    }
    // As Hikvision has it: what is written beside the settings' own partition is gone after a reboot.
    let mut services = Services::new(&["12345"]);
    let dir = running(
        "hikvision",
        "rootfs / rootfs rw 0 0\n/dev/mtdblock6 /devinfo jffs2 rw 0 0\n",
    );
    configure(dir.path(), services.port);
    let output = in_camera(dir.path(), APPLY);
    let why = "credentials is not changed: what is written here is not known to survive a reboot";
    assert!(
        code(&output) == 1 && text(&output).contains(why),
        "{}",
        text(&output)
    );
    services.tell("keep");
    assert!(services.lines.try_recv().is_err() && stored(dir.path()).is_empty());
}

#[test]
fn whoever_watches_is_asked_first() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["12345"]);
    let dir = camera(services.port);
    watches(dir.path(), [192, 168, 1, 10], services.port);
    let waited = in_camera(dir.path(), APPLY);
    let waits = format!(
        "credentials  fails    waits: 192.168.1.10 is connected to port {} (video)",
        services.port
    );
    assert!(
        code(&waited) == 1 && text(&waited).contains(&waits),
        "{}",
        text(&waited)
    );
    assert!(!text(&waited).contains("verdict      holds"), "{}", text(&waited));
    assert!(services.lines.try_recv().is_err() && stored(dir.path()).is_empty());
    let closed = in_camera(dir.path(), &[APPLY, &["--cut"]].concat());
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    assert_eq!(services.changed().1, stored(dir.path()).trim_end());
}

#[test]
fn dahuas_user_gets_the_media_password() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["admin", "dahua"]);
    let dir = camera(services.port);
    let line = format!(
        "Dahua's interface on port {}: admin has a password that everybody knows",
        services.port
    );
    let plan = in_camera(dir.path(), &[]);
    assert!(text(&plan).contains(&line), "{}", text(&plan));
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    let new = stored(dir.path());
    assert_eq!(
        (new.trim_end().len(), services.changed().1.as_str()),
        (26, new.trim_end())
    );
    assert!(!text(&in_camera(dir.path(), &[])).contains("admin has a password"));
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(services.changed().1, "admin");
    // Others that ask for a password are none of Dahua's.
    let _other = Services::new(&["my-own-password"]);
    let dir = camera(_other.port);
    assert!(!text(&in_camera(dir.path(), &[])).contains("Dahua"));
}

/// Else no camera of the image would make one of its own.
#[test]
fn the_images_media_password_is_given_to_no_service() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["admin", "dahua"]);
    let dir = support::fixture("thingino");
    fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
    fs::write(dir.path().join("usr/sbin/lenscap"), "").unwrap();
    let tree = Command::new(env!("CARGO_BIN_EXE_lenscap"))
        .args(["harden", "--only", "credentials", "--root"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(code(&tree), 0, "{}", text(&tree));
    let of_image = stored(dir.path());
    support::run(dir.path(), ON_FLASH);
    configure(dir.path(), services.port);
    authorise(dir.path(), "root/.ssh");
    let apply = [APPLY, &["--only", "credentials"]].concat();
    let why = "services wait, for the media password is the image's still";
    for args in [&["--only", "credentials"][..], &apply] {
        assert_eq!(stored(dir.path()), of_image);
        let output = in_camera(dir.path(), args);
        assert_eq!(code(&output), 1, "{}", text(&output));
        assert!(text(&output).contains(why), "{}", text(&output));
        assert!(services.lines.try_recv().is_err());
    }
    let own = stored(dir.path());
    assert_ne!(own, of_image);
    let output = in_camera(dir.path(), &apply);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(services.changed().1, own.trim_end());
    assert_eq!(stored(dir.path()), own);
}

/// On a network of its own, so that nobody takes the port meanwhile.
#[test]
fn the_password_of_a_service_that_is_down_is_not_lost() {
    if without_root() {
        return;
    }
    on_a_network_of_its_own(|| {
        let services = Services::new(&["12345"]);
        let port = services.port;
        let dir = camera(port);
        let record = dir.path().join("etc/lenscap/harden/services");
        let unconfirmed = dir.path().join("etc/lenscap/harden/unconfirmed");
        let again = |password: &str| Services::new(&[password, "plain", &port.to_string()]);
        let old = ["onvif", "isapi"].map(|name| (name.to_owned(), "12345".to_owned()));

        assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
        let new = stored(dir.path());
        // The camera's app is down.
        drop(services);
        for _ in 0..2 {
            let output = in_camera(dir.path(), &["--undo", "--restore-insecure"]);
            assert_eq!(code(&output), 1);
            let said = String::from_utf8_lossy(&output.stderr);
            let why = "admin has the media password still, which is kept in /etc/lenscap/camera-password";
            assert!(said.contains(why), "{said}");
            assert_eq!(stored(dir.path()), new, "nobody else knows it");
            assert_eq!(fs::read_to_string(&record).unwrap().lines().count(), 2);
            assert_eq!(
                support::roots_hash(dir.path(), "etc/passwd"),
                "",
                "the files are as they were"
            );
        }
        let mut services = again(new.trim_end());
        assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
        assert_eq!([services.changed(), services.changed()], old);
        assert!(stored(dir.path()).is_empty() && !record.exists() && !unconfirmed.exists());

        // The same when nobody confirmed it in time.
        assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
        let new = stored(dir.path());
        drop(services);
        let waiting = fs::read_to_string(&unconfirmed).unwrap();
        let (_, paths) = waiting.split_once('\n').unwrap();
        let whole = unconfirmed.with_extension("new");
        fs::write(&whole, format!("{BOOT_ID} 0\n{paths}")).unwrap();
        fs::rename(&whole, &unconfirmed).unwrap();
        let mut waiter = support::later(support::OVERDUE)
            .arg("chroot")
            .arg(dir.path())
            .args(["/lenscap", "harden", "--roll-back"])
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !support::roots_hash(dir.path(), "etc/passwd").is_empty() {
            assert!(Instant::now() < deadline, "the files are not taken back");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(stored(dir.path()), new);
        assert!(record.exists() && unconfirmed.exists());
        // What is closed meanwhile without waiting for anybody stays closed.
        let script = dir.path().join("etc/rc.local");
        let open = fs::read(&script).unwrap();
        let output = support::in_camera_later(dir.path(), &["--only", "telnet", "--apply"]);
        assert!(
            text(&output).contains("change       /etc/rc.local"),
            "{}",
            text(&output)
        );
        let shut = fs::read(&script).unwrap();
        assert_ne!(shut, open);
        let mut services = again(new.trim_end());
        assert_eq!([services.changed(), services.changed()], old);
        assert!(waiter.wait().unwrap().success());
        assert_eq!(fs::read(&script).unwrap(), shut);
        assert!(stored(dir.path()).is_empty() && !record.exists() && !unconfirmed.exists());
        drop(services);

        // One that has a password of its owner's by now looks as if its user were locked: its owner says so.
        let services = again("12345");
        assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
        drop(services);
        let _services = again("my-own-password");
        let output = in_camera(dir.path(), &["--undo", "--restore-insecure"]);
        assert_eq!(code(&output), 1);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("remove /etc/lenscap/harden/services if it has another password by now"),
            "{said}"
        );
        assert!(!stored(dir.path()).is_empty());
        fs::remove_file(&record).unwrap();
        assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
        assert!(stored(dir.path()).is_empty());
    });
}

/// On a network of its own, for DVRIP has one port.
#[test]
fn dvrips_user_gets_the_media_password_unless_the_video_depends_on_it() {
    if without_root() {
        return;
    }
    on_a_network_of_its_own(|| {
        let mut services = Services::new(&["", "dvrip"]);
        let dir = camera(services.port);
        let table = dir.path().join("proc/net/tcp");
        let listening = format!(
            "{} 0: 00000000:{:04X} 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n",
            fs::read_to_string(&table).unwrap(),
            34567
        );
        fs::write(table, listening).unwrap();
        let password = dir.path().join("etc/lenscap/camera-password");
        fs::create_dir_all(password.parent().unwrap()).unwrap();
        fs::write(&password, "label-media-9ZKD\n").unwrap();
        // XiongMai's cameras have it in the address.
        let config = dir.path().join("etc/config/lenscap");
        let plain = fs::read_to_string(&config).unwrap();
        let held = plain.replace(
            "rtsp://127.0.0.1:9/x",
            "rtsp://127.0.0.1:9/user=admin&password=&channel=1",
        );
        assert_ne!(plain, held);
        fs::write(&config, held).unwrap();
        let output = in_camera(dir.path(), APPLY);
        assert_eq!(code(&output), 1);
        let why = "DVRIP on port 34567: admin has a password that everybody knows; it stays, as the address of profile main holds it";
        assert!(text(&output).contains(why), "{}", text(&output));

        fs::write(&config, plain).unwrap();
        assert_eq!(code(&in_camera(dir.path(), &[])), 1);
        let output = in_camera(dir.path(), APPLY);
        assert_eq!(code(&output), 0, "{}", text(&output));
        // Both ask for the same user: one is changed, and the other has the new one then.
        assert_eq!(services.changed().1, "label-media-9ZKD");
        assert!(!text(&in_camera(dir.path(), &[])).contains("admin has a password"));
        assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
        assert_eq!(services.changed().1, "");

        // Without ONVIF it is changed by its own messages.
        let record = dir.path().join("etc/lenscap/harden/services");
        fs::create_dir_all(record.parent().unwrap()).unwrap();
        fs::write(&password, "label-media-9ZKD\n").unwrap();
        let config_text = fs::read_to_string(&config).unwrap();
        let port = format!("127.0.0.1:{}", services.port);
        fs::write(&config, config_text.replace(&port, "127.0.0.1:9")).unwrap();
        let output = in_camera(dir.path(), APPLY);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(services.changed(), ("dvrip".into(), "label-media-9ZKD".into()));
        assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
        assert_eq!(services.changed(), ("dvrip".into(), String::new()));
    });
}

#[test]
fn what_is_not_confirmed_is_taken_back_from_services_too() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["admin"]);
    let dir = camera(services.port);
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    assert_eq!(services.changed().1, stored(dir.path()).trim_end());
    services.changed();
    // As if it had been applied in an earlier boot, whose time is over in this one.
    let unconfirmed = dir.path().join("etc/lenscap/harden/unconfirmed");
    let waiting = fs::read_to_string(&unconfirmed).unwrap();
    let (_, paths) = waiting.split_once('\n').unwrap();
    // At once, as the program writes it: whoever waits for the confirmation reads it too.
    let whole = unconfirmed.with_extension("new");
    fs::write(&whole, format!("{BOOT_ID} 0\n{paths}")).unwrap();
    fs::rename(&whole, &unconfirmed).unwrap();
    let output = support::in_camera_later(dir.path(), &["--roll-back"]);
    assert_eq!(code(&output), 0);
    assert_eq!([services.changed().1, services.changed().1], ["admin", "admin"]);
    assert!(stored(dir.path()).is_empty());
}

#[test]
fn a_camera_that_refuses_keeps_its_password_and_a_run_that_was_cut_short_is_finished() {
    if without_root() {
        return;
    }
    let services = Services::new(&["12345", "refuse"]);
    let dir = camera(services.port);
    let output = in_camera(dir.path(), APPLY);
    assert_eq!(code(&output), 1);
    assert!(text(&output).contains("the password of admin could not be changed: it answers 400"));
    assert_eq!(stored(dir.path()), "", "the agent's own stays as it was");
    assert!(!dir.path().join("etc/lenscap/harden/services").exists());
    drop(services);

    // The services have the new password, the file has it not: the power failed in between.
    let mut services = Services::new(&["not-yet-in-its-f"]);
    let dir = camera(services.port);
    let record = dir.path().join("etc/lenscap/harden/services");
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    let line = format!("onvif 127.0.0.1:{} 1\nnew not-yet-in-its-f\n", services.port);
    fs::write(&record, line).unwrap();
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    assert_eq!(stored(dir.path()), "not-yet-in-its-f\n");
    assert!(!fs::read_to_string(&record).unwrap().contains("new"));
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(services.changed(), ("onvif".into(), "12345".into()));
}

/// The camera has forgotten what was wrong, as it does within half an hour.
fn forget(dir: &Path) {
    let file = dir.join("var/run/lenscap/harden.tries");
    let text = fs::read_to_string(&file).unwrap();
    let forgotten = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        words[1] = "0";
        words.join(" ") + "\n"
    };
    fs::write(&file, text.lines().map(forgotten).collect::<String>()).unwrap();
}

#[test]
fn passwords_of_the_owners_stay_and_no_user_is_locked() {
    if without_root() {
        return;
    }
    for shared in ["plain", "shared"] {
        let mut services = Services::new(&["my-own-password", shared]);
        let dir = camera(services.port);
        // Four wrong ones at both together, and no more before half an hour is over.
        for args in [&[][..], APPLY, &[], APPLY] {
            let output = in_camera(dir.path(), args);
            assert!([1, 2].contains(&code(&output)), "{}", text(&output));
            for name in ["ONVIF", "ISAPI"] {
                let line = format!(
                    "{name} on port {}: not all that everybody knows is tried yet",
                    services.port
                );
                assert!(text(&output).contains(&line), "{}", text(&output));
            }
        }
        assert_eq!(code(&in_camera(dir.path(), APPLY)), 2);
        forget(dir.path());
        // The camera of this test counts on, as some may.
        services = {
            let port = services.port.to_string();
            drop(services);
            Services::new(&["my-own-password", shared, &port])
        };
        assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
        for _ in 0..3 {
            assert_eq!(code(&in_camera(dir.path(), APPLY)), 0, "each was tried once");
        }
        assert!(stored(dir.path()).is_empty());
        assert!(
            services.lines.try_recv().is_err(),
            "nothing is changed, nobody is locked"
        );
    }
}

#[test]
fn one_user_of_two_services_is_changed_once_and_never_locked() {
    if without_root() {
        return;
    }
    let mut services = Services::new(&["12345", "shared"]);
    let dir = camera(services.port);
    let new = || stored(dir.path()).trim_end().to_owned();
    for _ in 0..4 {
        assert_eq!(code(&in_camera(dir.path(), &[])), 1);
        let output = in_camera(dir.path(), APPLY);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(services.changed(), ("onvif".into(), new()));
        assert!(!text(&in_camera(dir.path(), &[])).contains("admin has a password"));
        assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
        assert_eq!(services.changed(), ("onvif".into(), "12345".into()));
    }
    assert!(services.lines.try_recv().is_err());
}

fn recheck(dir: &Path) -> (i32, serde_json::Value) {
    let output = in_camera(dir, &["--recheck", "--json"]);
    (code(&output), serde_json::from_str(&text(&output)).unwrap())
}

/// The power failed after the record was written: the services have the old password, the new one, or are not up yet.
#[test]
fn the_next_look_finishes_a_run_that_was_cut_short_among_services() {
    if without_root() {
        return;
    }
    const NEW: &str = "not-yet-in-its-f";
    on_a_network_of_its_own(|| {
        for has in ["12345", NEW] {
            let services = Services::new(&[has]);
            let port = services.port;
            let dir = camera(port);
            let state = dir.path().join("etc/lenscap/harden");
            let record = state.join("services");
            fs::create_dir_all(&state).unwrap();
            let lines = format!("onvif 127.0.0.1:{port} 1\nisapi 127.0.0.1:{port} 1\nnew {NEW}\n");
            fs::write(&record, &lines).unwrap();
            drop(services);
            let (status, said) = recheck(dir.path());
            assert_eq!((status, &said["verdict"]), (1, &"fails".into()), "{said}");
            let why = format!("ONVIF on port {port}: the password of admin could not be changed");
            assert!(said["reason"].as_str().unwrap().contains(&why), "{said}");
            assert_eq!(fs::read_to_string(&record).unwrap(), lines, "it waits for them");
            assert!(stored(dir.path()).is_empty() && !said.to_string().contains(NEW));

            let mut services = Services::new(&[has, "plain", &port.to_string()]);
            let (_, said) = recheck(dir.path());
            assert!(
                !said["reason"].as_str().unwrap().contains("could not be changed"),
                "{said}"
            );
            assert_eq!(stored(dir.path()), format!("{NEW}\n"));
            assert!(!fs::read_to_string(&record).unwrap().contains("new"));
            if has != NEW {
                assert_eq!(services.changed(), ("onvif".into(), NEW.into()));
                assert_eq!(services.changed(), ("isapi".into(), NEW.into()));
            }
            // It waits for its owner, as the run would have had it.
            assert_eq!(said["waiting_for_confirmation"], true, "{said}");
            let output = in_camera(dir.path(), &["--roll-back", "--now"]);
            assert_eq!(code(&output), 0, "{}", text(&output));
            assert_eq!(services.changed(), ("onvif".into(), "12345".into()));
            assert_eq!(services.changed(), ("isapi".into(), "12345".into()));
            assert!(stored(dir.path()).is_empty() && !record.exists() && !state.join("unconfirmed").exists());
        }
    });
}

#[test]
fn whoever_removes_the_program_gets_back_what_nobody_confirmed() {
    if without_root() {
        return;
    }
    let now = &["--roll-back", "--now"];
    let mut services = Services::new(&["12345"]);
    let dir = camera(services.port);
    assert_eq!(code(&in_camera(dir.path(), now)), 0, "nothing is there");
    // With a media password that was there before, no file tells of the services.
    let media = dir.path().join("etc/lenscap/camera-password");
    for given in ["", "label-media-9ZKD\n"] {
        if !given.is_empty() {
            fs::create_dir_all(media.parent().unwrap()).unwrap();
            fs::write(&media, given).unwrap();
            fs::set_permissions(&media, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
        let _ = (services.changed(), services.changed());
        assert_ne!(support::roots_hash(dir.path(), "etc/passwd"), "");
        let output = in_camera(dir.path(), now);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert!(text(&output).contains("what was not confirmed is taken back"));
        assert_eq!([services.changed().1, services.changed().1], ["12345", "12345"]);
        assert_eq!(support::roots_hash(dir.path(), "etc/passwd"), "");
        assert_eq!(stored(dir.path()), given);
        assert!(!dir.path().join("etc/lenscap/harden/unconfirmed").exists());
    }
    // What is confirmed stays closed.
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    assert_eq!(code(&in_camera(dir.path(), now)), 0);
    assert_ne!(support::roots_hash(dir.path(), "etc/passwd"), "");
    // What cannot be taken back is told.
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(code(&in_camera(dir.path(), APPLY)), 0);
    drop(services);
    let output = in_camera(dir.path(), now);
    assert_eq!(code(&output), 1);
    let said = String::from_utf8_lossy(&output.stderr);
    let why = "admin has the media password still, which is kept in /etc/lenscap/camera-password";
    assert!(said.contains(why), "{said}");
    assert_eq!(support::roots_hash(dir.path(), "etc/passwd"), "");
}
