//! Shells that something starts again, on a camera that BusyBox's init has started: real processes, in namespaces of
//! their own.

use super::*;

const SHELLS: u16 = 23;
const SSH: &str = "::respawn:/usr/sbin/dropbear -F -B -R\n";
const LOOP: &str = "etc/init.d/S60shells";

/// A camera that runs; its processes end with it.
struct Booted {
    dir: tempfile::TempDir,
    parent: Child,
    init: String,
}

impl Drop for Booted {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

fn mknod(path: &Path, minor: &str) {
    let _ = fs::remove_file(path);
    let made = Command::new("mknod").arg(path).args(["c", "1", minor]).status();
    assert!(made.unwrap().success());
}

impl Booted {
    /// With a line of init's table, and with a script.
    fn new(line: &str, script: &str) -> Self {
        let dir = open("busybox", ON_FLASH, "");
        let path = |name: &str| dir.path().join(name);
        let server = "/usr/sbin/dropbear";
        assert!(
            Path::new(server).exists(),
            "dropbear is in Debian's package dropbear-bin"
        );
        support::install(dir.path(), server, "usr/sbin/dropbear");
        // In the place of one that is no program.
        fs::remove_file(path("bin/busybox")).unwrap();
        support::install(dir.path(), "/bin/busybox", "bin/busybox");
        fs::create_dir_all(path("etc/dropbear")).unwrap();
        for name in ["bin/sh", "bin/sleep", "sbin/init", "usr/sbin/telnetd"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            let _ = fs::remove_file(path(name));
            symlink("/bin/busybox", path(name)).unwrap();
        }
        mknod(&path("dev/null"), "3");
        mknod(&path("dev/urandom"), "9");
        fs::write(path("dev/watchdog"), "").unwrap();
        fs::write(path("mounts"), ON_FLASH).unwrap();
        fs::write(path("etc/inittab"), format!("{SSH}{line}")).unwrap();
        fs::create_dir_all(path("etc/init.d")).unwrap();
        fs::write(path(LOOP), script).unwrap();
        fs::set_permissions(path(LOOP), fs::Permissions::from_mode(0o755)).unwrap();
        let start = "ip link set lo up && mount -t proc proc \"$0/proc\" && exec chroot \"$0\" /sbin/init";
        let parent = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--fork", "--kill-child"])
            .args(["sh", "-c", start])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut camera = Self {
            dir,
            parent,
            init: String::new(),
        };
        let children = format!("/proc/{0}/task/{0}/children", camera.parent.id());
        camera.wait("init", |camera| {
            let text = fs::read_to_string(&children).unwrap_or_default();
            text.trim().clone_into(&mut camera.init);
            !camera.init.is_empty() && camera.listens(22) && camera.listens(SHELLS)
        });
        camera
    }

    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listens(&self, port: u16) -> bool {
        let tables = ["tcp", "tcp6"]
            .map(|table| fs::read_to_string(format!("/proc/{}/net/{table}", self.init)).unwrap_or_default());
        let lines = tables.iter().flat_map(|table| table.lines());
        let local = format!(":{port:04X}");
        let mut listening = lines.filter(|line| line.split_whitespace().nth(3) == Some("0A"));
        listening.any(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|at| at.ends_with(&local))
        })
    }

    /// Who runs there, by their command lines, with their numbers on this machine.
    fn runs(&self, words: &str) -> Vec<i32> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let here = fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|root| root == self.dir.path());
            let said = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let said = String::from_utf8_lossy(&said).replace('\0', " ");
            (here && said.contains(words)).then_some(pid)
        });
        pids.collect()
    }

    /// With a table of mounts that a camera has, where the program looks.
    fn harden(&self, args: &[&str]) -> std::process::Output {
        let run =
            "mount --bind \"$0/mounts\" \"$0/proc/$$/mounts\" && exec chroot \"$0\" /lenscap harden \"$@\"";
        Command::new("nsenter")
            .args(["-t", &self.init, "-m", "-p", "-n", "sh", "-c", run])
            .arg(self.dir.path())
            .args(args)
            .output()
            .unwrap()
    }

    /// It stays away, longer than what starts it again takes.
    #[track_caller]
    fn stays_closed(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            assert!(!self.listens(SHELLS));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

const TELNET: &[&str] = &["--only", "telnet", "--apply"];

#[test]
fn init_is_told_that_its_table_is_another() {
    if without_root() {
        return;
    }
    let camera = Booted::new("::respawn:/usr/sbin/telnetd -F -l /bin/sh\n", "");
    let ssh = camera.runs("dropbear -F");
    let started = Instant::now();
    let output = camera.harden(TELNET);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "nothing is waited for: {:?}",
        started.elapsed()
    );
    camera.stays_closed();
    assert_eq!(
        (ssh.len(), camera.runs("dropbear -F")),
        (1, ssh),
        "all else runs on"
    );
}

#[test]
fn a_loop_that_starts_a_shell_again_is_ended() {
    if without_root() {
        return;
    }
    let script = "#!/bin/sh\nwhile :; do\n\ttelnetd -l /bin/sh\n\tsleep 4\ndone &\n";
    let camera = Booted::new(&format!("::once:/{LOOP}\n"), script);
    assert_eq!(camera.runs(LOOP).len(), 1);
    let output = camera.harden(TELNET);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(camera.runs(LOOP).is_empty());
    camera.stays_closed();
}

#[test]
fn a_loop_that_the_camera_depends_on_is_left_and_told() {
    if without_root() {
        return;
    }
    // It holds the watchdog, feeds it at each round, or has another program run.
    for script in [
        "#!/bin/sh\nexec 3</dev/watchdog\nwhile :; do\n\ttelnetd -l /bin/sh 3<&-\n\tsleep 4\ndone &\n",
        "#!/bin/sh\nwhile :; do\n\ttelnetd -l /bin/sh\n\techo >/dev/watchdog\n\tsleep 4\ndone &\n",
        "#!/bin/sh\n{\nbusybox tail -f /dev/null &\nwhile :; do\n\ttelnetd -l /bin/sh\n\tsleep 4\ndone\n} &\n",
    ] {
        let camera = Booted::new(&format!("::once:/{LOOP}\n"), script);
        let before = camera.runs(LOOP);
        let output = camera.harden(TELNET);
        assert_eq!(code(&output), 1, "{script}: {}", text(&output));
        let why = "what was stopped is started again, by something that runs until the camera starts again";
        assert!(text(&output).contains(why), "{}", text(&output));
        assert_eq!((before.len(), camera.runs(LOOP)), (1, before), "{script}");
    }
}
