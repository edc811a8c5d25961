//! Cameras for tests of `lenscap harden`: copies of the fixtures, still or running.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn fixture(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name);
    let copied = Command::new("cp")
        // Its files are root's, whoever has the sources.
        .args(["-a", "--no-preserve=ownership"])
        .arg(from.join("."))
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(copied.success());
    dir
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What crypt(3) of the build machine says, as the camera's would.
pub(crate) fn fits(password: &str, hash: &str) -> bool {
    let script = "exit(crypt($ENV{P}, $ENV{H}) eq $ENV{H} ? 0 : 1)";
    let perl = Command::new("perl")
        .args(["-e", script])
        .env("P", password)
        .env("H", hash)
        .status();
    perl.unwrap().success()
}

pub(crate) fn roots_hash(dir: &Path, table: &str) -> String {
    let table = std::fs::read_to_string(dir.join(table)).unwrap();
    table
        .lines()
        .next()
        .unwrap()
        .split(':')
        .nth(1)
        .unwrap()
        .to_owned()
}

/// Puts a program of this machine into a camera, with the libraries that it needs.
pub(crate) fn install(dir: &Path, program: &str, place: &str) {
    let list = Command::new("ldd").arg(program).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
    let libraries = libraries.map(|file| (file, file.trim_start_matches('/')));
    for (file, target) in libraries.chain([(program, place)]) {
        let target = dir.join(target);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        // By another process: what a test beside this one starts must not hold the new program open for writing.
        let copied = Command::new("cp").arg("-L").arg(file).arg(target).status();
        assert!(copied.unwrap().success());
    }
}

/// A running camera: the program, the libraries it needs, and a `/proc` as the kernel would show it, below a new root.
pub(crate) fn running(name: &str, mounts: &str) -> tempfile::TempDir {
    let dir = fixture(name);
    run(dir.path(), mounts);
    dir
}

/// Makes a tree a running camera.
pub(crate) fn run(dir: &Path, mounts: &str) {
    let program = env!("CARGO_BIN_EXE_lenscap");
    install(dir, program, "lenscap");
    for (path, text) in [
        ("proc/mounts", mounts),
        ("proc/net/tcp", "  sl  local_address\n"),
        (
            "proc/sys/kernel/random/boot_id",
            "6c1f4a0e-0000-0000-0000-000000000001\n",
        ),
    ] {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir_all(dir.join("dev")).unwrap();
    std::fs::write(dir.join("dev/null"), "").unwrap();
    listens(dir, SSH_SERVER, 22, "dropbear -B", "/dev/null");
    starts_ssh(dir, "#!/bin/sh\n[ \"$1\" = start ] && dropbear -B\n");
}

/// The process of a running camera that lets its owner in.
pub(crate) const SSH_SERVER: u32 = 1;

/// Has a camera start an SSH server by a script of its own.
pub(crate) fn starts_ssh(dir: &Path, script: &str) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (folder, links) = (dir.join("etc/init.d"), dir.join("etc/rc.d"));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("S50ssh");
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    if dir.join("etc/openwrt_release").exists() {
        std::fs::create_dir_all(&links).unwrap();
        let _ = symlink("../init.d/S50ssh", links.join("S50S50ssh"));
    }
}

/// Leaves a running camera without SSH.
pub(crate) fn without_ssh(dir: &Path) {
    std::fs::remove_dir_all(dir.join("proc").join(SSH_SERVER.to_string())).unwrap();
}

pub(crate) fn in_camera(dir: &Path, args: &[&str]) -> Output {
    Command::new("chroot")
        .arg(dir)
        .args(["/lenscap", "harden"])
        .args(args)
        .output()
        .unwrap()
}

/// The words that start a program on a camera that runs for so many seconds longer than this machine.
pub(crate) fn later(seconds: i64) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--time", "--fork", "--kill-child", "--monotonic"]);
    command.arg(seconds.to_string());
    command
}

/// What was applied when this machine started was not confirmed in time then, however short that is ago.
pub(crate) const OVERDUE: i64 = 700;

pub(crate) fn in_camera_later(dir: &Path, args: &[&str]) -> Output {
    let mut command = later(OVERDUE);
    command.arg("chroot").arg(dir).args(["/lenscap", "harden"]);
    command.args(args).output().unwrap()
}

/// A line of `authorized_keys`.
pub(crate) const OWNERS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoZSBvd25lcidzIGtleSBpbiB0aGVzZSB0ZXN0cy4u owner\n";

/// Authorises it.
pub(crate) fn authorise(dir: &Path, folder: &str) {
    std::fs::create_dir_all(dir.join(folder)).unwrap();
    std::fs::write(dir.join(folder).join("authorized_keys"), OWNERS_KEY).unwrap();
}

/// Changing a root needs root. Whoever cannot be says so.
pub(crate) fn without_root() -> bool {
    let unprivileged = std::env::var_os("LENSCAP_TEST_UNPRIVILEGED").is_some();
    assert!(
        unprivileged || nix::unistd::Uid::effective().is_root(),
        "this test needs root; LENSCAP_TEST_UNPRIVILEGED=1 leaves it out"
    );
    unprivileged
}

pub(crate) const BOOT_ID: &str = "6c1f4a0e-0000-0000-0000-000000000001";
pub(crate) const ON_FLASH: &str = "/dev/mtdblock3 / jffs2 rw 0 0\n";

/// Shows a real process in the camera's `/proc` as one that listens.
pub(crate) fn listens(dir: &Path, pid: u32, port: u16, cmdline: &str, also: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    let proc = dir.join("proc");
    let folder = proc.join(pid.to_string());
    std::fs::create_dir_all(folder.join("fd")).unwrap();
    std::fs::write(folder.join("cmdline"), cmdline.replace(' ', "\0")).unwrap();
    let program = "00010000-00020000 r-xp 00000000 1f:02 77         /bin/busybox\n";
    std::fs::write(folder.join("maps"), program).unwrap();
    symlink("/bin/busybox", folder.join("exe")).unwrap();
    symlink(format!("socket:[{port}]"), folder.join("fd/3")).unwrap();
    symlink(also, folder.join("fd/4")).unwrap();
    let mut table = std::fs::OpenOptions::new()
        .append(true)
        .open(proc.join("net/tcp"))
        .unwrap();
    writeln!(
        table,
        " 0: 00000000:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 {port} 1"
    )
    .unwrap();
}

/// Shows somebody else's connection to a port of the camera in its `/proc`.
pub(crate) fn watches(dir: &Path, from: [u8; 4], port: u16) {
    use std::io::Write as _;
    let [from, here] = [from, [192, 168, 1, 20]].map(u32::from_ne_bytes);
    let table = std::fs::OpenOptions::new()
        .append(true)
        .open(dir.join("proc/net/tcp"));
    writeln!(
        table.unwrap(),
        " 0: {here:08X}:{port:04X} {from:08X}:9C40 01 0:0 0:0 0 0 0 9{port} 1"
    )
    .unwrap();
}
