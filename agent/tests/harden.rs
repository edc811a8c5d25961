//! `lenscap harden` as its users start it, on copies of the fixtures.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use support::{
    BOOT_ID, ON_FLASH, authorise, code, fits, fixture, in_camera, in_camera_later, listens, roots_hash,
    running, text, watches, without_root, without_ssh,
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

#[test]
fn a_running_camera_waits_for_its_owner() {
    if without_root() {
        return;
    }
    // Where telnet is the only login, it is one that is closed.
    let last = running("busybox", ON_FLASH);
    without_ssh(last.path());
    let before = std::fs::read(last.path().join("etc/inittab")).unwrap();
    let closed = in_camera(last.path(), &["--apply"]);
    assert_eq!(code(&closed), 1);
    assert!(text(&closed).contains("telnet is not changed: waiting for an owner"));
    assert_eq!(std::fs::read(last.path().join("etc/inittab")).unwrap(), before);

    // So it is where a server runs that lets nobody in: root's password is empty, and Dropbear takes none of those.
    for options in ["dropbear", "dropbear -Bs", "dropbear -B -g", "sshd"] {
        let last = running("busybox", ON_FLASH);
        std::fs::write(last.path().join("etc/passwd"), "root::0:0::/root:/bin/sh\n").unwrap();
        let cmdline = last.path().join("proc/1/cmdline");
        std::fs::write(cmdline, options.replace(' ', "\0")).unwrap();
        let closed = in_camera(last.path(), &["--apply"]);
        assert!(
            text(&closed).contains("telnet is not changed: waiting for an owner"),
            "{options}: {}",
            text(&closed)
        );
    }

    let dir = running("busybox", ON_FLASH);
    let shadow = |dir: &tempfile::TempDir| roots_hash(dir.path(), "etc/passwd");
    assert_eq!(code(&in_camera(dir.path(), &[])), 1);
    let closed = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&closed), 1);
    assert!(text(&closed).contains("credentials is not changed: waiting for an owner"));
    assert_eq!(shadow(&dir), "", "no login is closed");
    let inittab = std::fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
    assert!(
        inittab.contains("#lenscap: ::respawn:/usr/sbin/telnetd"),
        "telnet is"
    );
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 1, "nothing waits");
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);

    // With a password that the owner has.
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let with_owner = ["--apply", "--password-file", "/label"];
    let closed = in_camera(dir.path(), &with_owner);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    assert!(text(&closed).contains("`lenscap harden --confirm` within 10 minutes"));
    assert!(fits("label-7Q2M-9ZKD", &shadow(&dir)));
    let unconfirmed = dir.path().join("etc/lenscap/harden/unconfirmed");
    // As if it had been applied when this machine started, ten minutes ago and more.
    let waiting = std::fs::read_to_string(&unconfirmed).unwrap();
    let (_, paths) = waiting.split_once('\n').unwrap();
    std::fs::write(&unconfirmed, format!("{BOOT_ID} 0\n{paths}")).unwrap();
    assert_eq!(code(&in_camera_later(dir.path(), &["--roll-back"])), 0);
    assert_eq!(shadow(&dir), "", "every login works as before");
    assert!(!unconfirmed.exists());

    assert_eq!(code(&in_camera(dir.path(), &with_owner)), 0);
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    assert!(!unconfirmed.exists());
    assert_eq!(code(&in_camera(dir.path(), &["--roll-back"])), 0);
    assert!(fits("label-7Q2M-9ZKD", &shadow(&dir)));
}

#[test]
fn what_waits_for_its_owner_does_not_hold() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    without_ssh(dir.path());
    let mut shell = Ended(Command::new("sleep").arg("1000").spawn().unwrap());
    listens(dir.path(), shell.0.id(), 2323, "telnetd -l /bin/sh", "/dev/null");
    let before = archive(dir.path());
    let output = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&output), 1);
    assert_eq!(text(&output).matches("\nverdict      does not hold\n").count(), 2);
    let output = in_camera(dir.path(), &["--apply", "--json"]);
    assert_eq!(code(&output), 1);
    let said = text(&output);
    let events: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event["verdict"], "does not hold", "{event}");
        assert_eq!(event["changes"].as_array().unwrap().len(), 0);
        for (measure, status, what) in [
            ("telnet", "fails", "port 2323 gives a shell"),
            ("telnet", "fails", "telnet is not changed: waiting for an owner"),
            ("credentials", "planned", "root has no password"),
            (
                "credentials",
                "fails",
                "credentials is not changed: waiting for an owner",
            ),
        ] {
            let mut findings = event["findings"].as_array().unwrap().iter();
            let told = findings.any(|finding| {
                finding["measure"] == measure
                    && finding["status"] == status
                    && finding["text"].as_str().unwrap().contains(what)
            });
            assert!(told, "{what}: {event}");
        }
    }
    assert!(shell.0.try_wait().unwrap().is_none());
    assert_eq!(archive(dir.path()), before);
}

/// Whether the owner knows a password that SSH asks for, nobody says.
#[test]
fn telnet_waits_for_a_confirmation_where_a_password_is_all_that_is_left() {
    if without_root() {
        return;
    }
    const ENFORCE: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
        \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\toption firewall '0'\n\toption mode 'enforce'\n";
    for (key, config, waits) in [
        (false, None, true),
        (true, None, false),
        (false, Some(ENFORCE), false),
    ] {
        let dir = running("busybox", ON_FLASH);
        std::fs::write(dir.path().join("proc/1/cmdline"), "dropbear\0-R\0").unwrap();
        let table = "root:$1$gu$x2gFlYY3YNyqMHApn217S0:0:0:root:/root:/bin/sh\n";
        std::fs::write(dir.path().join("etc/passwd"), table).unwrap();
        if key {
            authorise(dir.path(), "root/.ssh");
        }
        if let Some(config) = config {
            configure(dir.path(), config);
        }
        let inittab = || std::fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
        let before = inittab();
        let output = in_camera(dir.path(), &["--apply"]);
        assert_eq!(code(&output), 1, "credentials wait for an owner");
        assert!(inittab().contains("#lenscap"), "{}", text(&output));
        assert_eq!(
            text(&output).contains("within 10 minutes"),
            waits,
            "{}",
            text(&output)
        );
        let unconfirmed = dir.path().join("etc/lenscap/harden/unconfirmed");
        assert_eq!(unconfirmed.exists(), waits);
        assert_eq!(code(&in_camera(dir.path(), &["--roll-back", "--now"])), 0);
        assert_eq!(inittab() == before, waits, "{key}");
    }
}

#[test]
fn what_somebody_else_changed_is_named_when_it_is_not_taken_back() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let with_owner = ["--apply", "--password-file", "/label"];
    assert_eq!(code(&in_camera(dir.path(), &with_owner)), 0);
    let table = dir.path().join("etc/passwd");
    let changed = std::fs::read_to_string(&table).unwrap() + "new:!:1001:1001::/:/bin/false\n";
    std::fs::write(&table, &changed).unwrap();
    let output = in_camera(dir.path(), &["--roll-back", "--now"]);
    assert_eq!(code(&output), 1);
    let why = "not confirmed, and not taken back, since somebody else changed it meanwhile: /etc/passwd";
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why), "{said}");
    assert_eq!(std::fs::read_to_string(&table).unwrap(), changed);
    // A process in the background tells nobody: looks do, until somebody asks for something.
    for _ in 0..2 {
        let output = in_camera(dir.path(), &["--recheck", "--json"]);
        let said: Value = serde_json::from_str(&text(&output)).unwrap();
        assert_eq!(
            (code(&output), &said["verdict"], &said["reason"]),
            (1, &"fails".into(), &why.into())
        );
    }
    let output = in_camera(dir.path(), &with_owner);
    assert!(
        code(&output) == 0 && text(&output).contains(why),
        "{}",
        text(&output)
    );
    let output = in_camera(dir.path(), &["--recheck"]);
    assert!(!text(&output).contains(why), "{}", text(&output));
}

/// Whoever may put another file, or a link, in the place of one while a run is at work would have it written.
#[test]
fn files_that_others_than_root_could_swap_are_told_and_left_alone() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let theirs = dir.path().join("home/u/a");
    let roots = dir.path().join("opt/backup");
    let table = "root::0:0::/root:/bin/sh\nmine:x:0:0::/:/bin/sh\n";
    for folder in [&theirs, &roots] {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in [("passwd", table), ("go.sh", "#!/bin/sh\ntelnetd -p 24 &\n")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let owned = Command::new("chown")
        .args(["-R", "99:99"])
        .arg(theirs.parent().unwrap())
        .status();
    assert!(owned.unwrap().success());

    let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    let report = text(&closed);
    assert_eq!(code(&closed), 2, "{report}");
    for line in [
        "credentials  unknown  /home/u/a/passwd:1: a weak password is left as it is: ",
        "credentials  unknown  /opt/backup/passwd:1: a weak password is left as it is: ",
        "telnet       unknown  /home/u/a/go.sh:2: starts a shell on a port",
        "telnet       unknown  /home/u/a/go.sh: left as it is: others than root own",
    ] {
        assert!(
            report.lines().any(|have| have.starts_with(line)),
            "{line}\n{report}"
        );
    }
    assert!(fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/passwd")));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&theirs.join("passwd")), table);
    assert_eq!(read(&roots.join("passwd")), table);
    assert_eq!(read(&theirs.join("go.sh")), "#!/bin/sh\ntelnetd -p 24 &\n");
    assert_eq!(read(&roots.join("go.sh")), "#!/bin/sh\n: telnetd -p 24 &\n");
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(read(&roots.join("go.sh")), "#!/bin/sh\ntelnetd -p 24 &\n");
}

#[test]
fn inetd_reads_its_table_again_and_is_not_believed() {
    if without_root() {
        return;
    }
    // One that does, one that does not.
    for obeys in [true, false] {
        let dir = running("busybox", ON_FLASH);
        let sockets = dir.path().join("proc/net/tcp");
        let ready = dir.path().join("ready");
        let act = format!(
            "grep -v '0017\\|2537' {0} >{0}.new; mv {0}.new {0}",
            sockets.display()
        );
        let act = if obeys { act } else { ":".into() };
        let script = format!(
            "trap \"{act}\" HUP; : >{}; while :; do sleep 0.05; done",
            ready.display()
        );
        // A shell does not trap what was ignored when it came (nohup), and what it says is not waited for.
        let inetd = Command::new("env")
            .args(["--default-signal=HUP", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut inetd = Ended(inetd.unwrap());
        while !ready.exists() {
            assert!(inetd.0.try_wait().unwrap().is_none());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        listens(dir.path(), inetd.0.id(), 23, "inetd", "/dev/null");
        let fds = dir.path().join(format!("proc/{}/fd", inetd.0.id()));
        for port in [9527, 13] {
            std::os::unix::fs::symlink(format!("socket:[{port}]"), fds.join(port.to_string())).unwrap();
            use std::io::Write as _;
            let mut table = std::fs::OpenOptions::new().append(true).open(&sockets).unwrap();
            writeln!(
                table,
                " 0: 00000000:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 {port} 1"
            )
            .unwrap();
        }
        let output = in_camera(dir.path(), &["--only", "telnet", "--apply"]);
        assert_eq!(code(&output), if obeys { 0 } else { 2 }, "{}", text(&output));
        let still = "inetd still listens on port 13, 23, 9527, though lines of its table are gone";
        assert_eq!(text(&output).contains(still), !obeys, "{}", text(&output));
        assert!(inetd.0.try_wait().unwrap().is_none(), "it serves others");
        let note = dir.path().join("etc/lenscap/harden/inetd");
        assert!(note.exists());
        if obeys {
            continue;
        }
        // Nor later, when nothing is left to remove, until it is another process or has closed what it should.
        let plan = |told: bool| {
            let output = in_camera(dir.path(), &["--only", "telnet"]);
            assert_eq!(
                text(&output).contains("inetd still listens"),
                told,
                "{}",
                text(&output)
            );
            code(&output)
        };
        assert_eq!(plan(true), 2);
        let again = in_camera(dir.path(), &["--only", "telnet", "--apply"]);
        assert!(
            text(&again).contains(still) && code(&again) == 2,
            "{}",
            text(&again)
        );
        let fakes = dir.path().join("proc");
        let (old, new) = (fakes.join(inetd.0.id().to_string()), fakes.join("4000000"));
        std::fs::rename(&old, &new).unwrap();
        plan(false);
        std::fs::rename(&new, &old).unwrap();
        plan(true);
        // Two lines went: telnet's, and that of a shell.
        let table = std::fs::read_to_string(&sockets).unwrap();
        let first = table.replace(":0017 ", ":0018 ");
        std::fs::write(&sockets, &first).unwrap();
        assert_eq!(plan(true), 2);
        std::fs::write(&sockets, first.replace(":2537 ", ":0019 ")).unwrap();
        assert_eq!(plan(false), 0);
        std::fs::write(&sockets, &table).unwrap();
        plan(true);
        assert_eq!(code(&in_camera(dir.path(), &["--undo"])), 0);
        assert!(!note.exists());
    }
}

/// What it runs is made to leave a trace.
const TELNETD: &str = "telnetd /started";

#[test]
fn what_was_stopped_starts_again_when_nobody_confirms() {
    if without_root() {
        return;
    }
    for (user, mode, starts) in [(0, 0o755, true), (1000, 0o755, false), (0, 0o757, false)] {
        let dir = running("busybox", ON_FLASH);
        std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
        support::install(dir.path(), "/usr/bin/touch", "bin/busybox");
        let busybox = dir.path().join("bin/busybox");
        std::fs::set_permissions(&busybox, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let mut shell = Ended(Command::new("sleep").arg("1000").spawn().unwrap());
        let pid = shell.0.id();
        listens(dir.path(), pid, 23, TELNETD, "/dev/null");
        let fake = dir.path().join(format!("proc/{pid}"));
        let status = format!("Name:\ttelnetd\nUid:\t{user}\t{user}\t{user}\t{user}\n");
        std::fs::write(fake.join("status"), status).unwrap();
        let hups = dir.path().join("hups");
        let script = format!(
            "trap 'echo >>{0}' HUP; : >{0}; while :; do sleep 0.05; done",
            hups.display()
        );
        let inetd = Command::new("env")
            .args(["--default-signal=HUP", "sh", "-c", &script])
            .stderr(Stdio::null())
            .spawn();
        let inetd = Ended(inetd.unwrap());
        let wait = |what: &dyn Fn() -> bool| {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while !what() {
                assert!(std::time::Instant::now() < deadline);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        };
        wait(&|| hups.exists());
        // It has no socket left, and is found by its name.
        let table = dir.path().join(format!("proc/{}", inetd.0.id()));
        std::fs::create_dir_all(&table).unwrap();
        std::fs::write(table.join("cmdline"), "/usr/sbin/inetd\0").unwrap();
        let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
        assert_eq!(code(&closed), 1, "its `/proc` still shows it: {}", text(&closed));
        assert!(!shell.0.wait().unwrap().success());
        let stopped = dir.path().join("etc/lenscap/harden/stopped");
        assert_eq!(stopped.exists(), user == 0);
        std::fs::remove_dir_all(&fake).unwrap();
        let output = in_camera(dir.path(), &["--roll-back", "--now"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        let started = dir.path().join("started");
        if starts {
            wait(&|| started.exists());
        }
        assert_eq!(started.exists(), starts, "{user} {mode:o}");
        wait(&|| !std::fs::read(&hups).unwrap().is_empty());
        assert!(!stopped.exists());
    }
}

#[test]
fn init_reads_its_table_again() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    support::install(dir.path(), "/bin/sh", "bin/sh");
    // A namespace of processes has a first one of its own.
    for (name, hups) in [("init", 2), ("systemd", 0)] {
        std::fs::write(dir.path().join("proc/1/cmdline"), format!("{name}\0")).unwrap();
        std::fs::write(dir.path().join("proc/1/stat"), format!("1 ({name}) S 0 1 1 0\n")).unwrap();
        let script = "trap 'echo hup' HUP; /lenscap harden --apply --password-file /label >/dev/null; \
                      /lenscap harden --roll-back --now >/dev/null; :";
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "chroot"])
            .arg(dir.path())
            .args(["/bin/sh", "-c", script])
            .output()
            .unwrap();
        assert_eq!(text(&output), "hup\n".repeat(hups), "{name}");
    }
}

/// A process that ends with its test, whatever becomes of that.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_camera_keeps_nothing_in_memory() {
    if without_root() {
        return;
    }
    let dir = running(
        "busybox",
        "overlay / overlay rw,upperdir=/tmp/root/upper 0 0\ntmpfs /tmp tmpfs rw 0 0\n",
    );
    let before = archive(dir.path());
    let output = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&output), 1);
    assert!(
        text(&output)
            .contains("telnet is not changed: what is written here is not known to survive a reboot")
    );
    assert_eq!(archive(dir.path()), before);

    // One file of a measure in memory is enough against that measure, and against no other.
    let dir = running(
        "busybox",
        &format!("{ON_FLASH}tmpfs /etc/crontabs tmpfs rw 0 0\n"),
    );
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let output = text(&in_camera(dir.path(), &["--apply", "--password-file", "/label"]));
    assert!(
        output.contains("telnet is not changed") && !output.contains("credentials is not changed"),
        "{output}"
    );
    assert!(fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/passwd")));
    assert!(dir.path().join("etc/lenscap/harden/verdicts").exists());
}

#[test]
fn shells_are_stopped_and_the_watchdogs_keeper_is_not() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    let start = || Command::new("sleep").arg("1000").spawn().unwrap();
    let (mut shell, mut vendor) = (start(), start());
    listens(dir.path(), shell.id(), 23, "telnetd -l /bin/sh", "/dev/null");
    listens(dir.path(), vendor.id(), 9527, "telnetd", "/dev/watchdog");
    let plan = text(&in_camera(dir.path(), &["--only", "telnet"]));
    assert!(plan.contains("port 23 gives a shell"), "{plan}");
    assert!(shell.try_wait().unwrap().is_none(), "a plan stops nothing");
    let closed = in_camera(dir.path(), &["--only", "telnet", "--apply"]);
    assert_eq!(code(&closed), 1);
    assert!(text(&closed).contains("it must not be stopped: it feeds the watchdog"));
    assert!(vendor.try_wait().unwrap().is_none());
    vendor.kill().unwrap();
    vendor.wait().unwrap();
    // The signal was sent before the program ended; without it this waits for a thousand seconds.
    assert!(!shell.wait().unwrap().success());
}

const CLOSES: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
    \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\toption firewall '0'\n\tlist close 'ftp'\n\tlist close 'dvrip'\n";

fn configure(dir: &Path, config: &str) {
    std::fs::create_dir_all(dir.join("etc/config")).unwrap();
    std::fs::write(dir.join("etc/config/lenscap"), config).unwrap();
}

/// The firewall is off: a recorder that lost the password would be cut off all the same.
#[test]
fn whoever_watches_keeps_the_media_password_until_somebody_decides() {
    if without_root() {
        return;
    }
    const PLAIN: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
        \toption rtsp 'rtsp://127.0.0.1:7070/'\nconfig harden\n\toption firewall '0'\n";
    let label = ["--only", "credentials", "--apply", "--password-file", "/label"];
    let camera = |name: &str, port: u16| {
        let dir = running(name, ON_FLASH);
        configure(dir.path(), PLAIN);
        std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
        // The owner's own login, and the camera's connection with itself.
        watches(dir.path(), [192, 168, 1, 30], 22);
        watches(dir.path(), [192, 168, 1, 20], 554);
        watches(dir.path(), [192, 168, 1, 10], port);
        dir
    };
    let read = |dir: &tempfile::TempDir, path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
    // The usual port, that of the configuration, and any other of what holds the camera.
    for (port, what) in [(554, "RTSP"), (7070, "video"), (6000, "video")] {
        let dir = camera("thingino", port);
        listens(dir.path(), 4711, 6000, "streamer", "/dev/video0");
        let before = read(&dir, "etc/prudynt.json");
        let plan = text(&in_camera(dir.path(), &["--only", "credentials"]));
        let waits = format!(
            "credentials  fails    waits: 192.168.1.10 is connected to port {port} ({what}). `list allow_lan \
             '192.168.1.10:{port}'` lets it stay, --cut cuts it off\n"
        );
        assert!(plan.contains(&waits), "{plan}");
        assert!(
            !plan.contains("192.168.1.30") && !plan.contains("192.168.1.20 "),
            "{plan}"
        );
        let waited = in_camera(dir.path(), &label);
        assert!(
            code(&waited) == 1 && text(&waited).contains(&waits),
            "{}",
            text(&waited)
        );
        assert_eq!(read(&dir, "etc/prudynt.json"), before);
        assert!(!dir.path().join("etc/lenscap/camera-password").exists());
        assert!(
            fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/shadow")),
            "logins do not wait"
        );
        let allowed = format!("{PLAIN}\tlist allow_lan '192.168.1.10:{port}'\n");
        let (config, args) = if port == 554 {
            (allowed.as_str(), &label[..])
        } else {
            (PLAIN, &[&label[..], &["--cut"]].concat()[..])
        };
        configure(dir.path(), config);
        let closed = in_camera(dir.path(), args);
        assert_eq!(code(&closed), 0, "{}", text(&closed));
        let told = format!("192.168.1.10 is connected to port {port} ({what}) and needs the new password");
        assert!(text(&closed).contains(&told), "{}", text(&closed));
        let media = read(&dir, "etc/lenscap/camera-password");
        assert!(read(&dir, "etc/prudynt.json").contains(media.trim()));
        // What was decided is put back without another question.
        configure(dir.path(), PLAIN);
        std::fs::write(dir.path().join("etc/prudynt.json"), &before).unwrap();
        assert_eq!(code(&in_camera(dir.path(), &label)), 0);
        assert!(read(&dir, "etc/prudynt.json").contains(media.trim()));
    }
    // Where RTSP asks for root's own password, that one waits, and no script makes it a worse one.
    let dir = camera("openipc", 554);
    let shadow = read(&dir, "etc/shadow");
    let known = roots_hash(dir.path(), "etc/shadow");
    for before in [known.as_str(), ""] {
        std::fs::write(dir.path().join("etc/shadow"), shadow.replace(&known, before)).unwrap();
        let script = writes_roots_hash(dir.path(), &known);
        let waited = text(&in_camera(dir.path(), &label));
        assert!(
            waited.contains("waits: 192.168.1.10 is connected to port 554"),
            "{waited}"
        );
        let told = format!("fails    /{ROOTS_SCRIPT}:2: writes the hash of a password that everybody knows");
        assert!(waited.contains(&told), "{waited}");
        assert_eq!(roots_hash(dir.path(), "etc/shadow"), before);
        assert_eq!(read(&dir, ROOTS_SCRIPT), script);
    }
    assert_eq!(
        code(&in_camera(dir.path(), &[&label[..], &["--cut"]].concat())),
        0
    );
    let own = roots_hash(dir.path(), "etc/shadow");
    assert!(fits(read(&dir, "etc/lenscap/camera-password").trim(), &own));
    assert!(read(&dir, ROOTS_SCRIPT).contains(&own));
}

const ROOTS_SCRIPT: &str = "etc/init.d/S91root";

/// Has a script write a hash into root's field at each boot. Gives its text.
fn writes_roots_hash(dir: &Path, hash: &str) -> String {
    let script = format!("#!/bin/sh\nsed -i 's,^root:[^:]*,root:{hash},' /etc/shadow\n");
    std::fs::write(dir.join(ROOTS_SCRIPT), &script).unwrap();
    script
}

#[test]
fn ftp_and_dvrip_are_told_and_closed_by_option() {
    for (name, told, path, closed) in [
        (
            "yi-hack",
            "telnet       notice   /home/yi-hack/etc/system.conf:4: switches FTP on",
            "home/yi-hack/etc/system.conf",
            "\nFTPD=no\n",
        ),
        (
            "yi-hack",
            "telnet       notice   /home/yi-hack/script/system.sh:22: starts FTP: `pure-ftpd -B`",
            "home/yi-hack/script/system.sh",
            "\n\t: pure-ftpd -B\n",
        ),
        (
            "busybox",
            "telnet       notice   /etc/inetd.conf:4: starts FTP for whoever connects: `ftp",
            "etc/inetd.conf",
            "\n#lenscap: ftp\t",
        ),
        (
            "openipc",
            "telnet       notice   /etc/majestic.yaml: switches DVRIP on",
            "etc/majestic.yaml",
            "netip:\n  enabled: false\n",
        ),
    ] {
        let dir = with_program(name);
        let read = || std::fs::read_to_string(dir.path().join(path)).unwrap();
        let plan = text(&harden(dir.path(), &["--dry-run"]));
        assert!(plan.lines().any(|line| line.starts_with(told)), "{told}\n{plan}");
        harden(dir.path(), &[]);
        assert!(!read().contains(closed), "nobody asked: {path}");
        configure(dir.path(), CLOSES);
        let output = harden(dir.path(), &[]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert!(read().contains(closed), "{path}: {}", read());
        let before = archive(dir.path());
        assert_eq!(code(&harden(dir.path(), &[])), 0);
        assert_eq!(archive(dir.path()), before);
        assert_eq!(code(&harden(dir.path(), &["--undo", "--restore-insecure"])), 0);
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        assert_eq!(
            read(),
            std::fs::read_to_string(original.join(name).join(path)).unwrap()
        );
    }
}

#[test]
fn ftp_is_stopped_and_the_camera_behind_dvrip_is_not() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    let start = || Command::new("sleep").arg("1000").spawn().unwrap();
    let (mut ftp, mut vendor) = (start(), start());
    listens(dir.path(), ftp.id(), 21, "tcpsvd -E 0 21 ftpd /", "/dev/null");
    listens(dir.path(), vendor.id(), 34567, "Sofia", "/dev/watchdog");
    let told = text(&in_camera(dir.path(), &["--only", "telnet", "--apply"]));
    assert!(
        told.contains("notice   port 21 (FTP) is open") && told.contains("`list close 'dvrip'` closes it"),
        "{told}"
    );
    assert!(ftp.try_wait().unwrap().is_none());
    configure(dir.path(), CLOSES);
    let output = in_camera(dir.path(), &["--only", "telnet", "--apply"]);
    assert_eq!(code(&output), 1);
    let told = text(&output);
    assert!(
        told.contains("fails    port 34567 (DVRIP) is open")
            && told.contains("it feeds the watchdog; not enforceable without the firewall"),
        "{told}"
    );
    assert!(vendor.try_wait().unwrap().is_none());
    vendor.kill().unwrap();
    vendor.wait().unwrap();
    assert!(!ftp.wait().unwrap().success());
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

/// No two cameras of an image have the same one for long.
#[test]
fn the_first_boot_makes_another_media_password_than_the_images() {
    if without_root() {
        return;
    }
    for name in ["thingino", "openipc", "yi-hack"] {
        let dir = with_program(name);
        configure(dir.path(), CLOSES);
        if name == "thingino" {
            let given = dir.path().join("etc/lenscap/camera-password");
            std::fs::create_dir_all(given.parent().unwrap()).unwrap();
            std::fs::write(&given, "image-media-9ZKD\n").unwrap();
            std::fs::set_permissions(given, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        if name == "openipc" {
            writes_roots_hash(dir.path(), &roots_hash(dir.path(), "etc/shadow"));
        }
        let stored = || std::fs::read_to_string(dir.path().join("etc/lenscap/camera-password")).unwrap();
        let credentials = ["--only", "credentials"];
        let closed = harden(dir.path(), &credentials);
        assert_eq!(code(&closed), 0, "{}", text(&closed));
        let told = "notice   the media password is part of the image: the first boot makes another";
        assert!(text(&closed).contains(told), "{}", text(&closed));
        let of_image = stored();
        let holders = |password: &str| {
            let grep = Command::new("grep")
                .args(["-rlF", password.trim(), "--exclude-dir=harden", "etc", "home"])
                .current_dir(dir.path())
                .output();
            let mut files: Vec<String> = String::from_utf8(grep.unwrap().stdout)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect();
            files.sort();
            files
        };
        let before = holders(&of_image);
        support::run(dir.path(), ON_FLASH);
        assert!(before.len() > 1, "{name}: {before:?}");
        let boot = [&credentials[..], &["--boot"]].concat();
        if name == "thingino" {
            // Whoever made the image chose it, and a recorder has it: it waits, and is not taken for renewed.
            let connections = dir.path().join("proc/net/tcp");
            let nobody = std::fs::read(&connections).unwrap();
            watches(dir.path(), [192, 168, 1, 10], 554);
            assert_eq!(code(&in_camera(dir.path(), &boot)), 1);
            assert_eq!((stored(), holders(&of_image)), (of_image.clone(), before.clone()));
            std::fs::write(connections, nobody).unwrap();
        }
        let booted = in_camera(dir.path(), &boot);
        assert_eq!(code(&booted), 0, "{name}: {}", text(&booted));
        let own = stored();
        assert_ne!(own, of_image);
        assert_eq!(
            (holders(&own), holders(&of_image)),
            (before, Vec::new()),
            "{name}"
        );
        if name != "yi-hack" {
            let shadow = std::fs::read_to_string(dir.path().join("etc/shadow")).unwrap();
            let user = if name == "thingino" { "thingino:" } else { "root:" };
            let line = shadow.lines().find(|line| line.starts_with(user)).unwrap();
            let hash = line.split(':').nth(1).unwrap();
            assert!(fits(own.trim(), hash), "{line}");
            if name == "openipc" {
                let script = std::fs::read_to_string(dir.path().join(ROOTS_SCRIPT)).unwrap();
                assert!(script.contains(hash), "{script}");
            }
        }
        // Once.
        assert_eq!(code(&in_camera(dir.path(), &boot)), 0);
        assert_eq!(stored(), own);
    }
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
