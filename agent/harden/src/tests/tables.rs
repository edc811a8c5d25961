//! Tables of accounts as vendors leave them: with odd bytes, behind links, too long, or not there yet.

use super::*;
use crate::accounts::MAX_ACCOUNTS;
use crate::report::Measure;

/// A camera whose `/etc/passwd` is a link, and another file if that is given.
fn linked(to: &str, table: Option<&str>) -> Camera {
    let camera = Camera::new("busybox");
    let path = |path: &str| camera.dir.path().join(path.trim_start_matches('/'));
    fs::remove_file(path("etc/passwd")).unwrap();
    symlink(to, path("etc/passwd")).unwrap();
    if let Some(table) = table {
        let target = path(to);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, table).unwrap();
    }
    camera
}

const OPEN: &str = "root::0:0:root:/root:/bin/sh\n";

#[track_caller]
fn told(run: &Run, status: Status, path: &str, what: &str) {
    let found = run.findings.iter().any(|finding| {
        finding.status == status && finding.path.as_deref() == Some(path) && finding.text.contains(what)
    });
    assert!(found, "{what}: {:?}", run.findings);
    let well = |finding: &Finding| (finding.measure, finding.status) == (Measure::Credentials, Status::Holds);
    assert!(!run.findings.iter().any(well), "{:?}", run.findings);
}

#[test]
fn bytes_of_other_alphabets_hide_no_account() {
    let mut camera = Camera::new("busybox");
    let path = camera.dir.path().join("etc/passwd");
    let table = b"root::0:0:Administrat\xf6r:/root:/bin/sh\ncam@home::8:8:\xe4:/:/bin/sh\n";
    fs::write(&path, table).unwrap();
    let run = camera.harden();
    told(&run, Status::Planned, "/etc/passwd", "root has no password");
    told(&run, Status::Planned, "/etc/passwd", "cam@home has no password");
    run.result.unwrap();
    let closed = fs::read(&path).unwrap();
    assert!(closed.starts_with(b"root:$") && !closed.starts_with(b"root::"));
    assert!(closed.ends_with(b":0:0:Administrat\xf6r:/root:/bin/sh\ncam@home:*:8:8:\xe4:/:/bin/sh\n"));
    assert!(camera.harden().changes.is_empty());
}

#[test]
fn what_a_login_reads_is_found_wherever_links_lead() {
    for to in [
        "/tmp/passwd",
        "/var/run/etc/passwd",
        "/etc/pw",
        "/mnt/mtd/acc.db",
        "/mnt/mtd/passwd",
    ] {
        let mut camera = linked(to, Some(OPEN));
        let before = camera.snapshot();
        let run = camera.harden();
        told(&run, Status::Planned, "/etc/passwd", "root has no password");
        assert!(run.changes.iter().any(|path| path == to), "{:?}", run.changes);
        run.result.unwrap();
        let field = camera.text(to);
        assert!(
            field.starts_with("root:$") && !field.starts_with("root::"),
            "{to}: {field}"
        );
        let link = fs::read_link(camera.dir.path().join("etc/passwd")).unwrap();
        assert_eq!(link.to_str(), Some(to));
        assert!(camera.harden().changes.is_empty(), "{to}");
        engine::undo(&camera.root, &camera.settings, true).unwrap();
        same(&own(&camera.snapshot()), &own(&before), to);
    }
}

#[test]
fn a_linked_table_tells_whose_a_hash_is() {
    // Without its number this one would be locked.
    let passwd = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0:root:/root:/bin/sh\n";
    for to in ["/etc/pw", "/mnt/mtd/passwd"] {
        let mut camera = linked(to, Some(passwd));
        fs::write(
            camera.dir.path().join("etc/shadow"),
            "root:*:::::::\ntoor::::::::\n",
        )
        .unwrap();
        camera.harden().result.unwrap();
        let shadow = camera.text("etc/shadow");
        assert!(shadow.contains("\ntoor:$"), "{to}: {shadow}");
    }
}

#[test]
fn what_is_not_looked_at_is_unknown() {
    // Made at boot, whether or not its folder is there before.
    for to in ["/tmp/passwd", "/tmp/etc/passwd", "passwd"] {
        let run = linked(to, None).harden();
        told(
            &run,
            Status::Unknown,
            "/etc/passwd",
            "is not there yet, or cannot be read",
        );
    }
    let mut camera = Camera::new("busybox");
    let path = camera.dir.path().join("etc/passwd");
    let table = |count: usize| "a:*:9:9::/:/bin/false\n".repeat(count);
    fs::write(&path, table(MAX_ACCOUNTS)).unwrap();
    let run = camera.harden();
    let in_table = |finding: &&Finding| finding.path.as_deref() == Some("/etc/passwd");
    assert_eq!(run.findings.iter().find(in_table), None);
    fs::write(&path, table(MAX_ACCOUNTS) + OPEN).unwrap();
    let run = camera.harden();
    told(
        &run,
        Status::Unknown,
        "/etc/passwd",
        "those that follow are not looked at",
    );
    let at = run
        .findings
        .iter()
        .find(in_table)
        .and_then(|finding| finding.line);
    assert_eq!(at, Some(257));
    // One that is too long is a reason to close the rest all the same.
    let mut camera = Camera::new("busybox");
    let big = camera.dir.path().join("home/passwd");
    fs::create_dir_all(big.parent().unwrap()).unwrap();
    fs::write(&big, vec![b'x'; 300_000]).unwrap();
    let run = camera.harden();
    told(&run, Status::Unknown, "/home/passwd", "cannot be read");
    told(&run, Status::Planned, "/etc/passwd", "root has no password");
}

#[test]
fn what_puts_a_weak_password_back_at_boot_is_not_passed_over() {
    const OWN: &str = "root:$1$abcdefgh$3LlPnYTSlkVBWLAGaGYxi/:0:0::/root:/bin/sh\n";
    for (path, text, expected) in [
        ("etc/init.d/S01p", "cp /etc/passwd.def /etc/passwd", 1),
        ("etc/init.d/S01p", "cd /etc; cp passwd.def passwd", 1),
        ("etc/init.d/S01p", "D=/etc/passwd\ncat $D.def >$D", 1),
        (
            "etc/init.d/S01p",
            "busybox mount --bind /etc/shadow- /etc/shadow",
            1,
        ),
        ("etc/init.d/S01p", "sh -c 'cp /etc/passwd.def /etc/passwd'", 1),
        ("usr/share/reset.sh", "ln -sf /etc/passwd.def /etc/passwd", 1),
        ("etc/crontabs/root", "0 0 * * * cp /etc/passwd.def /etc/passwd", 1),
        ("etc/inittab", "::sysinit:/bin/cp /etc/passwd.def /etc/passwd", 1),
        ("etc/network/interfaces", "  up cp /etc/passwd.def /etc/passwd", 1),
        (
            "usr/share/reset.sh",
            "sed -i 's#^root:[^:]*:#root::#' /etc/shadow",
            1,
        ),
        (
            "usr/share/reset.sh",
            "sed -i 's/^\\(root\\):[^:]*:/\\1::/' /etc/shadow",
            1,
        ),
        ("usr/share/reset.sh", "echo root::0:0::/:/bin/sh >/etc/passwd", 1),
        (
            "usr/share/reset.sh",
            "cat >/etc/passwd <<E\nroot::0:0::/:/bin/sh\nE",
            1,
        ),
        ("usr/share/reset.sh", "passwd -d root", 1),
        ("usr/share/reset.sh", "/bin/busybox passwd -d root", 1),
        ("usr/share/reset.sh", "echo root:12345 | chpasswd", 1),
        ("usr/share/reset.sh", "cat </etc/passwd.def >/etc/passwd", 1),
        ("usr/share/reset.sh", "dd if=/etc/passwd.def of=/etc/passwd", 1),
        ("usr/share/reset.sh", "cp /rom/etc/shadow /etc/shadow", 1),
        (
            "usr/share/reset.sh",
            "sed -i 's/^root:[^:]*/root:/' /etc/shadow",
            1,
        ),
        (
            "usr/share/reset.sh",
            "H=$(mkpasswd $1); sed -i \"s|^root:[^:]*:|root:$H:|\" /etc/shadow",
            0,
        ),
        ("www/cgi-bin/set", "#!/bin/sh\necho root:$P | chpasswd", 0),
        (
            "www/cgi-bin/set",
            "#!/bin/sh\n(echo $P; echo $P) | passwd root",
            0,
        ),
        (
            "etc/profile.d/first",
            "read -p New: P; echo root:$P | chpasswd",
            0,
        ),
        ("etc/profile.d/first", "echo root:admin | chpasswd", 1),
        ("etc/init.d/rcS", "sh -c \"echo root:admin | chpasswd\"", 1),
        (
            "etc/inittab",
            "::sysinit:/bin/sh -c 'echo root:admin | chpasswd'",
            1,
        ),
        ("usr/share/reset.sh", "su -c \"passwd -d root\"", 1),
        (
            "usr/share/reset.sh",
            "nohup sh -c \"sh -c 'passwd -d root'\" &",
            1,
        ),
        ("usr/share/reset.sh", "(echo admin; echo admin) | passwd root", 1),
        ("usr/share/reset.sh", "(echo admin; echo admin) | passwd", 1),
        ("usr/share/reset.sh", "usermod -p '' root", 1),
        (
            "usr/share/reset.sh",
            "awk -F: '{print}' /etc/shadow > /tmp/s; mv /tmp/s /etc/shadow",
            1,
        ),
        (
            "usr/share/reset.sh",
            "awk -F: '{print}' /etc/hosts >/etc/shadow",
            1,
        ),
        (
            "usr/share/reset.sh",
            "P=x; echo \"root:$(cat $P):0:0\" >/etc/passwd",
            1,
        ),
        // A way to ask, a person's command, tables that are looked at in any case, or that are well.
        (
            "usr/share/reset.sh",
            "grep -qs '^root::' /etc/shadow && reboot",
            0,
        ),
        ("usr/share/reset.sh", "passwd", 0),
        ("usr/share/reset.sh", "cut -d: -f1 /etc/passwd", 0),
        ("usr/share/reset.sh", "cp /etc/passwd /tmp/passwd", 0),
        ("usr/share/reset.sh", "cp /etc/passwd.own /etc/passwd", 0),
        ("usr/share/reset.sh", "cp /etc/hosts /etc/passwd", 0),
        (
            "usr/share/reset.sh",
            "sh -c 'cat /etc/passwd'; usermod -s /bin/sh x",
            0,
        ),
        (
            "usr/share/reset.sh",
            "echo 'root:$1$abcdefgh$3LlPnYTSlkVBWLAGaGYxi/:0:0::/:/bin/sh' >/etc/passwd",
            0,
        ),
        ("usr/share/reset.sh", "cp /etc/passwd.none /etc/passwd", 1),
        // What is said of it, what is only looked for, and the copy of a table that is known.
        (
            "usr/share/update.sh",
            "# a file there shadows that of the firmware, as passwd would\n`:`\n$(((((((((((((:)))))))))))))\n",
            0,
        ),
        (
            "usr/share/reset.sh",
            "sed -i 's|^root::|root:x:|g' /etc/passwd; sed -i 's|:/root:|:/tmp/sd:|g' /etc/passwd",
            0,
        ),
        (
            "usr/share/reset.sh",
            "sed -i 's|^root:x:|root::|g' /etc/passwd",
            1,
        ),
        (
            "usr/share/reset.sh",
            "sed -i 's|^root:x:|root:y:|;s|^root:y:|root::|' /etc/passwd",
            1,
        ),
        (
            "usr/share/reset.sh",
            "mount --bind /opt/wz_mini/tmp/.storage/shadow /etc/shadow",
            0,
        ),
        // The key of no firmware that is here.
        ("usr/share/reset.sh", "echo root:$SSH_PASSWORD | chpasswd", 1),
    ] {
        let mut camera = Camera::new("busybox");
        let write = |path: &str, text: &str| {
            let path = camera.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/passwd", OWN);
        write("etc/passwd.own", OWN);
        write("etc/passwd.def", OPEN);
        write("rom/etc/shadow", "root:::0:99999:7:::\n");
        write("etc/shadow-", "admin::0:0:99999:7:::\n");
        write("etc/hosts", "127.0.0.1 localhost\nfe80::1:2:3:4:5 root\n");
        write(path, text);
        let run = camera.harden();
        let place = format!("/{path}");
        let told = run.findings.iter().filter(|finding| {
            finding.measure == Measure::Credentials
                && finding.status == Status::Unknown
                && finding.path.as_deref() == Some(place.as_str())
        });
        assert_eq!(told.count(), expected, "{text}: {:?}", run.findings);
    }
}

#[test]
fn users_of_a_web_server_are_looked_at() {
    for (text, expected) in [
        ("/:admin:admin\n", Some(Status::Fails)),
        ("A:*\n/cgi-bin:root:\n", Some(Status::Fails)),
        ("/:admin:$1$abcdefgh$3LlPnYTSlkVBWLAGaGYxi/\n", None),
        ("/:admin:of-my-own-94\n# /:admin:admin\n", None),
        ("/:admin:*\nP:/x:10.0.0.1:80/x\n", None),
    ] {
        let mut camera = Camera::new("busybox");
        fs::write(camera.dir.path().join("etc/httpd.conf"), text).unwrap();
        let run = camera.harden();
        let mut found = run.findings.iter();
        let found = found.find(|finding| finding.path.as_deref() == Some("/etc/httpd.conf"));
        assert_eq!(found.map(|finding| finding.status), expected, "{text}");
    }
}
