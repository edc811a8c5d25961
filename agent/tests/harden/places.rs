//! Where files lie on a running camera: on an overlay, on memory cards, on a network, in folders of anybody's.

use super::*;

const STARTER: &str = "#!/bin/sh\ntelnetd -p 24 &\n";
const CLOSED: &str = "#!/bin/sh\n: telnetd -p 24 &\n";

/// A camera that lets its owner in with a key, with these files.
fn owned(mounts: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = running("busybox", &format!("{ON_FLASH}{mounts}"));
    authorise(dir.path(), ".ssh");
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn read(dir: &tempfile::TempDir, path: &str) -> String {
    std::fs::read_to_string(dir.path().join(path)).unwrap()
}

const TELNET: &[&str] = &["--apply", "--only", "telnet"];

#[test]
fn what_an_overlay_writes_to_is_seen_where_it_is_mounted_alone() {
    if without_root() {
        return;
    }
    let upper = "userdata/overlay/upper/etc/init.d/S90vendor";
    let mounts = "/dev/mtdblock4 /userdata jffs2 rw 0 0\noverlay / overlay \
        rw,lowerdir=/rom,upperdir=/userdata/overlay/upper,workdir=/userdata/overlay/work 0 0\n";
    let dir = owned(mounts, &[("etc/init.d/S90vendor", STARTER), (upper, STARTER)]);
    let closed = in_camera(dir.path(), TELNET);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    assert_eq!(read(&dir, "etc/init.d/S90vendor"), CLOSED);
    assert_eq!(read(&dir, upper), STARTER);
    assert!(!text(&closed).contains("/userdata"), "{}", text(&closed));
}

/// As dafang-hacks does it.
#[test]
fn a_folder_that_is_bound_over_etc_keeps_what_undo_needs() {
    if without_root() {
        return;
    }
    let dir = running("dafang-hacks", ON_FLASH);
    let script = "system/sdcard/run.sh";
    let before = read(&dir, script);
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    let bound = |args: &[&str]| {
        let run =
            "mount --bind \"$0/system/sdcard/etc\" \"$0/etc\" && exec chroot \"$0\" /lenscap harden \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", run]).arg(dir.path());
        command.args(args).output().unwrap()
    };
    for _ in 0..2 {
        let closed = bound(TELNET);
        assert_eq!(code(&closed), 0, "{}", text(&closed));
        assert_ne!(read(&dir, script), before);
        bound(&["--confirm"]);
    }
    let undone = bound(&["--undo", "--restore-insecure"]);
    assert_eq!(code(&undone), 0, "{}", text(&undone));
    assert_eq!(read(&dir, script), before);
}

#[test]
fn a_script_that_waits_is_believed_where_nobody_else_can_have_written_it() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if without_root() {
        return;
    }
    let waits = "#!/bin/sh\nuntil pidof telnetd; do sleep 1; done; telnetd\n";
    for (path, uid, mode, believed) in [
        ("home/ftp/x", 1000, 0o644, false),
        ("home/ftp/x", 0, 0o666, false),
        ("home/ftp/x", 0, 0o755, true),
        ("etc/init.d/S99wait", 0, 0o777, true),
        ("etc/init.d/S99wait", 1000, 0o755, false),
    ] {
        let dir = owned("", &[(path, waits)]);
        let file = dir.path().join(path);
        chown(&file, Some(uid), None).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let closed = text(&in_camera(dir.path(), TELNET));
        let what = format!("{path} {uid} {mode:o}: {closed}");
        assert_eq!(
            closed.contains("nothing that starts it is changed"),
            believed,
            "{what}"
        );
        assert_eq!(
            read(&dir, "etc/inittab").contains("#lenscap"),
            !believed,
            "{what}"
        );
    }
}

#[test]
fn what_others_fill_is_changed_only_where_the_camera_runs_it() {
    if without_root() {
        return;
    }
    let mounts = "10.0.0.1:/x /mnt/nas nfs rw 0 0\n/dev/mmcblk0p1 /mnt/card vfat rw 0 0\n\
        /dev/sda1 /media/usb vfat rw 0 0\n";
    let runs = "#!/bin/sh\n[ -x /mnt/card/run.sh ] && /mnt/card/run.sh &\nsh /mnt/nas/run\n";
    let files = [
        ("etc/init.d/S95card", runs),
        ("mnt/card/run.sh", STARTER),
        ("mnt/card/more.sh", STARTER),
        ("media/usb/x.sh", STARTER),
        ("mnt/nas/x.sh", STARTER),
        ("mnt/nas/run", STARTER),
    ];
    let dir = owned(mounts, &files);
    let closed = in_camera(dir.path(), TELNET);
    let said = text(&closed);
    assert_eq!(code(&closed), 2, "{said}");
    for (path, text) in [("mnt/card/run.sh", CLOSED), ("mnt/card/more.sh", CLOSED)] {
        assert_eq!(read(&dir, path), text, "{path}: {said}");
    }
    for path in ["media/usb/x.sh", "mnt/nas/x.sh", "mnt/nas/run"] {
        assert_eq!(read(&dir, path), STARTER, "{path}: {said}");
    }
    assert!(said.contains("unknown  /mnt/nas/run: left as it is"), "{said}");
    assert!(!said.contains("x.sh"), "{said}");
}

/// An update of the firmware keeps the overlay, and what was closed in it.
#[test]
fn what_an_update_brings_below_an_overlay_is_closed_anew() {
    const V1: &str = "#!/bin/sh\n# 1\ntelnetd &\n";
    const V2: &str = "#!/bin/sh\n# 2\ntelnetd -p 25 &\n";
    const OWN: &str = "#!/bin/sh\n# own\ntelnetd &\n";
    const MOUNTS: &str = "overlay / overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0\n\
        /dev/root /rom squashfs ro 0 0\n/dev/mtdblock3 /overlay jffs2 rw 0 0\n";
    if without_root() {
        return;
    }
    let dir = owned(
        "",
        &[
            ("etc/init.d/S90vendor", V1),
            ("etc/init.d/S91own", V1),
            ("label", "label-7Q2M-9ZKD\n"),
        ],
    );
    let at = |path: &str| dir.path().join(path);
    let config = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
        \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\toption firewall '0'\n\toption mode 'enforce'\n\
        \tlist allow_lan '192.168.1.2:22'\n";
    configure(dir.path(), config);
    std::fs::write(at("proc/mounts"), MOUNTS).unwrap();
    for folder in ["rom", "overlay", "tmp"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    let table = "root::0:0:root:/:/bin/sh\nnew:$1$gu$x2gFlYY3YNyqMHApn217S0:7:7::/:/bin/sh\n";
    let work = tempfile::tempdir().unwrap();
    for (path, text) in [("S90vendor", V2), ("S91own", V2), ("passwd", table), ("own", OWN)] {
        std::fs::write(work.path().join(path), text).unwrap();
    }
    // What is below is another only while nothing is mounted over it.
    let script = r#"
        lower=$0 work=$1
        cd "$work" && mkdir m && mount -t tmpfs none m && mkdir m/upper m/work m/root && cd m || exit
        up() {
            mount -t overlay none -o "lowerdir=$lower,upperdir=upper,workdir=work" root &&
                mount --bind "$lower" root/rom || exit
        }
        run() { echo "@ $*"; chroot root /lenscap harden "$@"; echo "@ $?"; }
        show() { for file; do echo "@file $file"; cat "root/etc/$file"; done; }
        up
        cp "$work/own" root/etc/init.d/S91own
        run --apply --password-file /label
        show init.d/S90vendor
        run --recheck
        umount root/rom root
        cp "$work/S90vendor" "$work/S91own" "$lower/etc/init.d/" && cp "$work/passwd" "$lower/etc/passwd" || exit
        up
        run --recheck
        show init.d/S90vendor
        run --apply --password-file /label
        show init.d/S90vendor init.d/S91own passwd
        run --recheck
        run --undo --restore-insecure
        show init.d/S90vendor init.d/S91own passwd
        umount root/rom root
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([dir.path(), work.path()])
        .output()
        .unwrap();
    let said = text(&output);
    let parts: Vec<&str> = said.split("@ ").collect();
    let codes: Vec<&str> = parts.iter().filter_map(|part| part.lines().next()).collect();
    let codes: Vec<&str> = codes
        .into_iter()
        .filter(|line| line.parse::<i32>().is_ok())
        .collect();
    assert_eq!(codes, ["0", "0", "1", "0", "0", "0"], "{said}");
    let files = |path: &str| -> Vec<String> {
        let shown = said.split("@file ").filter_map(|part| part.strip_prefix(path));
        let own = shown.map(|part| part.split("@ ").next().unwrap().trim_start().to_owned());
        own.collect()
    };
    let shut = |text: &str| text.replace("telnetd", ": telnetd");
    assert_eq!(
        files("init.d/S90vendor\n"),
        [shut(V1), shut(V1), shut(V2), V2.to_owned()],
        "{said}"
    );
    // What was somebody's own is theirs still.
    assert_eq!(files("init.d/S91own\n"), [shut(OWN), OWN.to_owned()], "{said}");
    let tables = files("passwd\n");
    assert!(
        tables[0].contains("new:*:7:7:") && !tables[0].contains("root::"),
        "{said}"
    );
    assert_eq!(tables[1], table);
    let looked = parts
        .iter()
        .filter(|part| part.starts_with("--recheck"))
        .nth(1)
        .unwrap();
    assert!(
        looked.contains("an update of the firmware brought another file below this one"),
        "{said}"
    );
}
