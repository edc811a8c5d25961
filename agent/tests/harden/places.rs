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
