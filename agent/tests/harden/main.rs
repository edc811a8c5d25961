//! `lenscap harden` as its users start it, on copies of the fixtures: trees and command lines here, running cameras beside.

#![allow(clippy::unwrap_used)]

mod media;
mod owner;
mod places;
mod services;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Child, Command, Output};

use serde_json::Value;

use support::{
    BOOT_ID, ON_FLASH, authorise, code, fits, fixture, in_camera, in_camera_later, listens, roots_hash,
    running, starts_ssh, text, watches, without_root, without_ssh,
};

fn harden(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lenscap"))
        .arg("harden")
        .arg("--root")
        .arg(dir)
        .args(args)
        .output()
        .unwrap()
}

/// A tree that becomes an image with this program, as far as a tree tells.
fn with_program(name: &str) -> tempfile::TempDir {
    let dir = fixture(name);
    std::fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
    std::fs::write(dir.path().join("usr/sbin/lenscap"), "").unwrap();
    dir
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

#[test]
fn a_tree_is_shown_closed_and_taken_back() {
    let dir = fixture("busybox");
    let before = archive(dir.path());

    let shown = harden(dir.path(), &["--dry-run"]);
    assert_eq!(code(&shown), 1);
    let plan = text(&shown);
    for line in [
        "firmware     BusyBox, known by /bin/busybox (tried: emulated)",
        "telnet       planned  /etc/rc.local:4: starts a shell on a port: `telnetd -l /bin/sh -p 2323`",
        "credentials  planned  /etc/passwd:1: root has no password: is locked; keys work",
        "credentials  planned  /etc/passwd:3: guest has a password that everybody knows (list: mirai): is locked",
        "verdict      does not hold",
    ] {
        assert!(plan.lines().any(|have| have == line), "{line}\n{plan}");
    }
    assert_eq!(archive(dir.path()), before);

    let closed = harden(dir.path(), &["--password", "random"]);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    let report = text(&closed);
    assert!(report.contains("notice   every camera of this image has the new login password"));
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
    let dir = with_program("thingino");
    let output = harden(dir.path(), &["--json", "--password", "random"]);
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
    let dir = with_program("yi-hack");
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
    assert_eq!(roots_hash(dir.path(), "home/yi-hack/etc/passwd"), "*");
}

#[test]
fn what_cannot_be_told_is_no_success() {
    let dir = fixture("xiongmai");
    let output = harden(dir.path(), &[]);
    assert_eq!(code(&output), 2);
    assert!(text(&output).ends_with("verdict      unknown\n"));
}

/// It holds the names of servers, to find those that start them.
#[test]
fn this_program_in_a_tree_is_no_server() {
    let dir = with_program("openmiko");
    std::fs::copy(env!("CARGO_BIN_EXE_lenscap"), dir.path().join("usr/sbin/lenscap")).unwrap();
    let output = harden(dir.path(), &["--password", "lock"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(!text(&output).contains("/usr/sbin/lenscap"), "{}", text(&output));
}

#[test]
fn the_image_hook_refuses_what_would_be_changed() {
    let hook =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildroot-ext/board/common/refuse-open-image.pl");
    let run = |dir: &Path| {
        let program = env!("CARGO_BIN_EXE_lenscap");
        let output = Command::new(&hook).arg(dir).env("LENSCAP_HOST", program).output();
        output.unwrap_or_else(|error| panic!("{}: {error}; Debian's package perl", hook.display()))
    };
    let dir = fixture("busybox");
    let before = archive(dir.path());
    let refused = run(dir.path());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(code(&refused), 1, "{said}");
    // The hook itself does not look into this one.
    assert!(said.contains("lenscap harden: telnet"), "{said}");
    assert_eq!(archive(dir.path()), before);

    let dir = tempfile::tempdir().unwrap();
    for (path, contents) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/shadow", "root:*:::::::\n"),
        ("etc/inittab", "::sysinit:/etc/init.d/rcS\n"),
    ] {
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join(path), contents).unwrap();
    }
    let passed = run(dir.path());
    assert_eq!(code(&passed), 0, "{}", String::from_utf8_lossy(&passed.stderr));
}

/// A process that ends with its test, whatever becomes of that.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CLOSES: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
    \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\toption firewall '0'\n\tlist close 'ftp'\n\tlist close 'dvrip'\n";

fn configure(dir: &Path, config: &str) {
    std::fs::create_dir_all(dir.join("etc/config")).unwrap();
    std::fs::write(dir.join("etc/config/lenscap"), config).unwrap();
}

const ROOTS_SCRIPT: &str = "etc/init.d/S91root";

/// Has a script write a hash into root's field at each boot. Gives its text.
fn writes_roots_hash(dir: &Path, hash: &str) -> String {
    let script = format!("#!/bin/sh\nsed -i 's,^root:[^:]*,root:{hash},' /etc/shadow\n");
    std::fs::write(dir.join(ROOTS_SCRIPT), &script).unwrap();
    script
}

#[test]
fn a_trees_own_options_say_how_logins_are_made() {
    let keys = tempfile::tempdir().unwrap();
    let identity = keys.path().join("identity");
    let age = |program: &str, args: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(args).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; Debian's package age"));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    age("age-keygen", &["-o".as_ref(), identity.as_ref()]);
    let recipient = age("age-keygen", &["-y".as_ref(), identity.as_ref()]);
    let label = keys.path().join("label");
    std::fs::write(&label, "label-7Q2M-9ZKD\n").unwrap();
    let tree = |options: &str| {
        let dir = fixture("busybox");
        configure(dir.path(), &format!("{CLOSES}{options}"));
        dir
    };
    let hash = |dir: &tempfile::TempDir| roots_hash(dir.path(), "etc/passwd");
    // The same password in every camera of an image is no default.
    for options in ["", "\toption password 'lock'\n"] {
        let dir = tree(options);
        let closed = harden(dir.path(), &[]);
        assert_eq!(
            (code(&closed), hash(&dir).as_str()),
            (0, "*"),
            "{}",
            text(&closed)
        );
        assert!(text(&closed).contains("root has no password: is locked; keys work"));
    }
    let dir = tree(&format!("\toption owner_key '{}'\n", recipient.trim()));
    let closed = harden(dir.path(), &[]);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    assert!(!text(&closed).contains("shown only now"), "{}", text(&closed));
    let sealed = dir.path().join("etc/lenscap/login.age");
    let password = age(
        "age",
        &["-d".as_ref(), "-i".as_ref(), identity.as_ref(), sealed.as_ref()],
    );
    assert!(fits(&password, &hash(&dir)));
    // Where the uplink leads another file may say.
    let dir = fixture("busybox");
    configure(dir.path(), "config harden\n\toption password 'secret'\n");
    let before = archive(dir.path());
    let planned = text(&harden(dir.path(), &["--dry-run"]));
    assert!(
        planned.contains("planned  /etc/passwd:1: root has no password"),
        "{planned}"
    );
    let refused = harden(dir.path(), &[]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        code(&refused) == 1 && why.contains("the configuration wants a given login password"),
        "{why}"
    );
    assert_eq!(archive(dir.path()), before, "nothing is changed");
    let given = harden(dir.path(), &["--password-file", label.to_str().unwrap()]);
    assert_eq!(code(&given), 0, "{}", text(&given));
    assert!(fits("label-7Q2M-9ZKD", &hash(&dir)));
    // Nothing is missing where nothing is to be replaced.
    assert_eq!(code(&harden(dir.path(), &[])), 0);
}

#[test]
fn a_trees_firewall_waits_for_the_first_boot() {
    let dir = fixture("openwrt");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("sbin/fw4", "#!/bin/sh\n");
    let config = "config uplink 'main'\n\toption endpoint 'https://gw.example.net:8443/u'\nconfig profile 'main'\n\
        \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\tlist allow_lan '192.168.1.10:22/tcp'\n";
    write("etc/config/lenscap", config);
    let before = archive(dir.path());
    let closed = harden(dir.path(), &[]);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    assert!(
        text(&closed).contains("firewall     notice   each boot closes it with `lenscap harden --restore`")
    );
    let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
    let record = read("etc/lenscap/harden/firewall");
    assert!(
        record.contains("port 8443\n") && record.contains("in 192.168.1.10:22/tcp\n"),
        "{record}"
    );
    let include = read("usr/share/nftables.d/ruleset-post/50-lenscap.nft");
    assert!(
        include.starts_with("table inet lenscap {\n}\ndelete table inet lenscap\n"),
        "{include}"
    );
    assert!(
        include.contains("ip saddr 192.168.1.10 tcp dport 22 counter accept\n"),
        "{include}"
    );
    let after = archive(dir.path());
    assert_eq!(code(&harden(dir.path(), &[])), 0);
    assert_eq!(archive(dir.path()), after);
    assert_eq!(code(&harden(dir.path(), &["--undo", "--restore-insecure"])), 0);
    // Folders that were made for the file stay.
    std::fs::remove_dir_all(dir.path().join("usr/share/nftables.d")).unwrap();
    let _ = std::fs::remove_dir(dir.path().join("usr/share"));
    let _ = std::fs::remove_dir(dir.path().join("usr"));
    assert_eq!(archive(dir.path()), before);
    // Without a configuration that wants it, or with the measure off, nothing is planned.
    for config in ["", &config.replace("\tlist", "\toption firewall '0'\n\tlist")] {
        write("etc/config/lenscap", config);
        assert!(!text(&harden(dir.path(), &["--dry-run"])).contains("firewall"));
    }
    let alone = harden(dir.path(), &["--only", "firewall"]);
    assert_eq!(code(&alone), 0);
    assert!(
        dir.path().join("etc/lenscap/harden/firewall").exists(),
        "named, it is taken"
    );
}

#[test]
fn wrong_command_lines() {
    let dir = fixture("busybox");
    let before = archive(dir.path());
    for args in [
        &["--only", "nothing"][..],
        &["--only", ""],
        &["--dry-run", "--undo"],
        &["--restore-insecure"],
        &["--confirm"],
        &["--roll-back"],
        &["--restore"],
        &["--apply", "--undo"],
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
