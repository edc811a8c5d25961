//! What runs on a camera: it is stopped, starts again where nobody confirms, and is left alone where the camera needs it.

use std::process::Stdio;

use super::*;

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
    listens(dir.path(), 2, 2222, "dropbear", "/dev/null");
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
