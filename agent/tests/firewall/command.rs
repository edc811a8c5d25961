//! `lenscap harden` with the firewall, as an owner and a start script run it, on a camera with a network.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lan::{CAMERA, FRIEND, Lan, STRANGER, with_lan};
use super::{output, run, without_root};

const CONFIG: &str = "config uplink 'main'
	option endpoint 'https://gw.example.net:8443/u'
config profile 'main'
	option rtsp 'rtsp://127.0.0.1/'
config harden
	list allow_lan '10.9.0.2:22'
";
pub(super) const BOOTS: [&str; 2] = [
    "6c1f4a0e-0000-0000-0000-000000000001",
    "6c1f4a0e-0000-0000-0000-000000000002",
];
const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const SSH: &str = "proc/7";
pub(super) const RECORD: &str = "etc/lenscap/harden/firewall";
const WAITING: &str = "etc/lenscap/harden/unconfirmed";

/// The program below a root of its own, with a `/proc` as the kernel would show it and a device for the probe.
pub(super) struct Camera(tempfile::TempDir);

impl Camera {
    pub(super) fn new() -> Self {
        let camera = Self(tempfile::tempdir().unwrap());
        camera.with_program(env!("CARGO_BIN_EXE_lenscap"), "/lenscap");
        for (path, text) in [
            ("etc/config/lenscap", CONFIG),
            ("etc/resolv.conf", "nameserver 10.9.0.2\n"),
            (
                "etc/passwd",
                "root:x:0:0::/root:/bin/sh\nlenscap:x:31200:31200::/:/bin/false\n",
            ),
            ("label", "label-7Q2M-9ZKD\n"),
            ("proc/mounts", "/dev/mtdblock3 / jffs2 rw 0 0\n"),
            ("dev/null", ""),
        ] {
            camera.write(path, text);
        }
        camera.boot(BOOTS[0]);
        run("mkdir", &["-p", &camera.path("dev/net")]);
        run("mknod", &[&camera.path("dev/net/tun"), "c", "10", "200"]);
        camera
    }

    /// Puts a program of this machine there, with the libraries that it needs.
    pub(super) fn with_program(&self, program: &str, place: &str) {
        let list = Command::new("ldd").arg(program).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        for file in list.split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(file, file);
        }
        self.copy(program, place);
    }

    pub(super) fn path(&self, path: &str) -> String {
        self.0
            .path()
            .join(path.trim_start_matches('/'))
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(super) fn copy(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(Path::new(&to).parent().unwrap()).unwrap();
        // By another process: whatever a test beside this one starts must not hold the new program open for writing.
        run("cp", &["-L", from, &to]);
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn has(&self, path: &str) -> bool {
        Path::new(&self.path(path)).exists()
    }

    /// Starts the camera again, which ends whatever ran there, such as one that waits for a confirmation.
    fn boot(&self, id: &str) {
        let root = fs::canonicalize(self.0.path()).unwrap();
        let runs_here = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            (fs::read_link(path.join("root")).ok()? == root).then(|| Pid::from_raw(pid))
        };
        loop {
            let mut left = fs::read_dir("/proc").unwrap().filter_map(runs_here).peekable();
            if left.peek().is_none() {
                break;
            }
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        self.write("proc/sys/kernel/random/boot_id", id);
    }

    pub(super) fn harden(&self, args: &[&str]) -> (i32, String) {
        self.show_network();
        let output = self.command(&[]).args(args).output().unwrap();
        answer(&output)
    }

    /// What this thread's network is like.
    fn show_network(&self) {
        for table in ["tcp", "tcp6", "fib_trie"] {
            let mut text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
            if table == "tcp" && self.has(SSH) {
                text.push_str(" 9: 00000000:0016 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n");
            }
            self.write(&format!("proc/net/{table}"), &text);
        }
    }

    /// An SSH server seems to listen, which takes a key.
    pub(super) fn lets_its_owner_in(&self) {
        self.write(&format!("{SSH}/cmdline"), "dropbear\0");
        fs::create_dir_all(self.path(&format!("{SSH}/fd"))).unwrap();
        std::os::unix::fs::symlink("socket:[77]", self.path(&format!("{SSH}/fd/3"))).unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoZSBvd25lcidzIGtleSBpbiB0aGVzZSB0ZXN0cy4u owner\n";
        self.write("root/.ssh/authorized_keys", key);
        self.write("etc/inittab", "::respawn:dropbear -F\n");
    }

    pub(super) fn command(&self, before: &[&str]) -> Command {
        let root = self.path("");
        let words = [before, &["chroot", &root, "/lenscap", "harden"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }
}

pub(super) fn answer(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

pub(super) fn table() -> String {
    let list = output("nft", &["list", "table", "inet", "lenscap"], "");
    String::from_utf8(list.stdout).unwrap()
}

/// The words that start a program on a camera that runs for so many seconds longer than this machine.
fn later(seconds: &str) -> [&str; 6] {
    [
        "unshare",
        "--time",
        "--fork",
        "--kill-child",
        "--monotonic",
        seconds,
    ]
}

pub(super) fn open_to_strangers(lan: &Lan) -> bool {
    lan.dial(STRANGER, CAMERA, 554).is_some()
}

/// What an audit in this network says of its filter.
fn audited() -> [String; 3] {
    let rules = ["network.firewall", "network.firewall6", "network.exposed"];
    let only = rules.join(",");
    // Alone: others here have networks of their own.
    let alone = ["--pid", "--fork", "--mount-proc", env!("CARGO_BIN_EXE_lenscap")];
    let args = ["audit", "--json", "--no-probe", "--only", &only];
    let said = output("unshare", &[&alone[..], &args].concat(), "").stdout;
    let report: serde_json::Value = serde_json::from_slice(&said).unwrap();
    rules.map(|id| {
        let rules = report["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["id"] == id).unwrap();
        rule["verdict"].as_str().unwrap().to_owned()
    })
}

const FIREWALL: &[&str] = &["--only", "firewall"];
pub(super) const APPLY: &[&str] = &["--only", "firewall", "--apply", "--password-file", "/label"];

#[test]
fn it_is_applied_confirmed_restored_and_taken_back() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        run("nft", &["add", "table", "inet", "vendor"]);

        let (code, plan) = camera.harden(FIREWALL);
        assert_eq!(code, 1, "{plan}");
        assert!(
            plan.contains("firewall     planned  will be closed by nf_tables"),
            "{plan}"
        );
        assert!(
            plan.contains("create       /etc/lenscap/harden/firewall"),
            "{plan}"
        );
        assert!(
            table().is_empty() && !camera.has(RECORD),
            "a plan changes nothing"
        );
        assert_eq!(audited(), ["fail", "fail", "fail"]);

        let (code, text) = camera.harden(APPLY);
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains("firewall     holds    closed by nf_tables"),
            "{text}"
        );
        assert!(
            text.contains("holds    packets from outside to port 554 are dropped"),
            "{text}"
        );
        assert!(
            text.contains("`lenscap harden --confirm` within 10 minutes"),
            "{text}"
        );
        assert!(table().contains("tcp dport 8443") && table().contains("meta skuid 31200"));
        assert!(table().contains("ip daddr 10.9.0.2 udp dport 53"));
        assert!(!open_to_strangers(lan) && camera.has(WAITING));
        assert_eq!(audited(), ["pass", "pass", "pass"]);
        let mode = fs::metadata(camera.path(RECORD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // Others' rules are loaded in the same boot: it comes back. In the next boot it waits for the owner.
        run("nft", &["flush", "ruleset"]);
        assert_eq!(camera.harden(&["--restore"]), (0, String::new()));
        assert!(!open_to_strangers(lan));
        run("nft", &["flush", "ruleset"]);
        camera.boot(BOOTS[1]);
        let (code, text) = camera.harden(&["--restore"]);
        assert!(
            code == 1 && text.contains("was not confirmed before the camera started again"),
            "{text}"
        );
        assert!(open_to_strangers(lan), "switching it off is a way out");
        // It runs for 30 seconds, however long this machine does.
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let since = 30 - uptime.split('.').next().unwrap().parse::<i64>().unwrap();
        let confirmed = camera
            .command(&later(&since.to_string()))
            .arg("--confirm")
            .output();
        assert_eq!(answer(&confirmed.unwrap()).0, 0);
        assert!(!open_to_strangers(lan));

        run("nft", &["flush", "ruleset"]);
        camera.boot(BOOTS[0]);
        let before = run("tar", &["--sort=name", "-cC", &camera.path("etc"), "."]);
        assert_eq!(camera.harden(&["--restore"]), (0, String::new()));
        assert_eq!(camera.harden(&["--restore"]), (0, String::new()));
        assert!(!open_to_strangers(lan));
        assert_eq!(camera.harden(APPLY).0, 0, "nothing to do");
        assert_eq!(
            run("tar", &["--sort=name", "-cC", &camera.path("etc"), "."]),
            before,
            "no file is written"
        );

        // Another network has other servers: they are let through, and no file is written.
        camera.write("etc/resolv.conf", "nameserver 10.9.0.3\n");
        let before = run("tar", &["--sort=name", "-cC", &camera.path("etc"), "."]);
        assert_eq!(camera.harden(&["--restore"]), (0, String::new()));
        assert!(
            table().contains("ip daddr 10.9.0.3 udp dport 53")
                && table().contains("ip daddr 10.9.0.2 udp dport 53")
        );
        assert_eq!(camera.harden(APPLY).0, 0);
        assert_eq!(
            run("tar", &["--sort=name", "-cC", &camera.path("etc"), "."]),
            before
        );

        // Somebody opens it behind our back.
        run("nft", &["insert", "rule", "inet", "lenscap", "in", "accept"]);
        let (code, text) = camera.harden(FIREWALL);
        assert!(
            code == 1 && text.contains("it was, and is not any more"),
            "{text}"
        );
        assert_eq!(camera.harden(&["--restore"]).0, 0);
        assert_eq!(camera.harden(FIREWALL).0, 0);

        run("nft", &["add", "table", "inet", "vendor"]);
        let (code, text) = camera.harden(&["--undo"]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("/etc/lenscap/harden/firewall  as it was"), "{text}");
        assert!(open_to_strangers(lan) && !camera.has(RECORD));
        assert_eq!(run("nft", &["list", "ruleset"]), "table inet vendor {\n}\n");
        assert_eq!(
            camera.harden(&["--restore"]),
            (0, String::new()),
            "nothing is to be restored"
        );
    });
}

#[test]
fn what_is_not_confirmed_in_time_is_taken_back() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        assert_eq!(camera.harden(APPLY).0, 0);
        assert!(!open_to_strangers(lan));
        // As if it had been applied when this machine started.
        let waiting = fs::read_to_string(camera.path(WAITING)).unwrap();
        let (_, paths) = waiting.split_once('\n').unwrap();
        camera.write(WAITING, &format!("{} 0\n{paths}", BOOTS[0]));
        // Ten minutes and more, however long this machine runs.
        camera.write("etc/lenscap/harden/stopped", "/usr/sbin/telnetd\0telnetd\n");
        let mut waiter = camera.command(&later("700")).arg("--roll-back").spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while camera.has(RECORD) || !table().is_empty() {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
        // However it ends from here on, while it waits for what was stopped to start by itself.
        assert!(waiter.try_wait().unwrap().is_none());
        assert!(waiter.wait().unwrap().success());
        assert!(open_to_strangers(lan) && !camera.has(RECORD) && !camera.has(WAITING));
        assert!(table().is_empty());
    });
}

/// Whoever is shut out cannot make room.
#[test]
fn a_full_disk_keeps_no_rules_that_nobody_confirmed() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        let etc = camera.path("etc");
        run("mv", &[&etc, &camera.path("brought")]);
        fs::create_dir(&etc).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &etc]);
        let _mounted = Unmounted(etc.clone());
        run("cp", &["-a", &camera.path("brought/."), &etc]);
        assert_eq!(camera.harden(APPLY).0, 0);
        assert!(!open_to_strangers(lan));
        let waiting = fs::read_to_string(camera.path(WAITING)).unwrap();
        let (_, paths) = waiting.split_once('\n').unwrap();
        camera.write(WAITING, &format!("{} 0\n{paths}", BOOTS[0]));
        let filler = camera.path("etc/filler");
        assert!(fs::write(&filler, vec![1; 2 << 20]).is_err(), "it is full");
        for action in ["--recheck", "--restore", "--recheck"] {
            let later = camera.command(&later("700")).arg(action).output();
            let (code, said) = answer(&later.unwrap());
            let why = if action == "--restore" {
                "was not confirmed in time: it is to be taken back"
            } else {
                "hardening    does not hold; what was not confirmed in time is not taken back"
            };
            assert!(code == 1 && said.contains(why), "{action}: {said}");
            assert!(open_to_strangers(lan) && camera.has(RECORD), "{action}");
        }
        fs::remove_file(filler).unwrap();
        let later = camera.command(&later("700")).args(["--roll-back"]).output();
        assert_eq!(answer(&later.unwrap()).0, 0);
        assert!(open_to_strangers(lan) && !camera.has(RECORD) && !camera.has(WAITING));
    });
}

/// Where something is mounted until it is dropped.
pub(super) struct Unmounted(pub(super) String);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn without_a_filter_for_ipv6_ipv4_is_closed_all_the_same() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        camera.write("proc/net/if_inet6", "");
        let kernel = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/firewall/ipv4_alone.py");
        let harden = |args: &[&str]| {
            camera.show_network();
            let mut command = camera.command(&["/usr/bin/python3", kernel]);
            answer(&command.args(args).output().unwrap())
        };
        let held = "holds    closed by iptables, IPv4 alone";
        let open = "fails    this kernel can neither filter IPv6 nor switch it off";
        for _ in 0..2 {
            let (code, text) = harden(APPLY);
            assert!(code == 1 && text.contains(held) && text.contains(open), "{text}");
            assert!(!open_to_strangers(lan));
        }
        // What is blocked for half of the world is not blocked.
        let _shell = TcpListener::bind("0.0.0.0:2323").unwrap();
        let (_, text) = harden(&["--only", "telnet"]);
        assert!(text.contains("port 2323 is open"), "{text}");
        assert!(!text.contains("the firewall blocks the port"), "{text}");
        assert_eq!(harden(&["--undo"]).0, 0);
        assert!(open_to_strangers(lan) && !camera.has(RECORD));

        // Where it can be switched off, it is, and is on again afterwards.
        let switch = "proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        camera.write(switch, "0");
        let (code, text) = harden(APPLY);
        assert!(code == 0 && text.contains(held), "{text}");
        assert!(!text.contains("neither filter"), "{text}");
        assert!(!open_to_strangers(lan));
        assert_eq!(fs::read_to_string(camera.path(switch)).unwrap(), "1");
        let (_, text) = harden(&["--only", "telnet"]);
        assert!(text.contains("the firewall blocks the port"), "{text}");
        assert_eq!(harden(&["--undo"]).0, 0);
        assert_eq!(fs::read_to_string(camera.path(switch)).unwrap(), "0");
    });
}

#[test]
fn whoever_watches_is_not_cut_off_without_a_decision() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        let _watching = lan.dial(STRANGER, CAMERA, 554).unwrap();
        let (code, text) = camera.harden(APPLY);
        assert_eq!(code, 1, "{text}");
        let waits = "waits: 10.9.0.3 is connected to port 554 (RTSP). `list allow_lan '10.9.0.3:554'` lets it stay, --cut cuts it off";
        assert!(text.contains(waits), "{text}");
        assert!(open_to_strangers(lan) && !camera.has(RECORD));
        // Allowed, it stays.
        camera.write(
            "etc/config/lenscap",
            &format!("{CONFIG}\tlist allow_lan '10.9.0.3:554/tcp'\n"),
        );
        let (code, text) = camera.harden(APPLY);
        assert_eq!(code, 0, "{text}");
        assert!(open_to_strangers(lan) && lan.dial(FRIEND, CAMERA, 554).is_none());
        assert_eq!(camera.harden(&["--undo"]).0, 0);
        // Cut, it is gone.
        camera.write("etc/config/lenscap", CONFIG);
        let (code, text) = camera.harden(&[APPLY, &["--cut"]].concat());
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains("10.9.0.3 is connected to port 554 (RTSP) and is cut off"),
            "{text}"
        );
        assert!(!open_to_strangers(lan));
        assert_eq!(camera.harden(&["--undo"]).0, 0);
        drop(_watching);

        // Where nothing filters, a streamer stays bound as it is for them, on whatever port the configuration names.
        let config = CONFIG.replace("127.0.0.1/", "127.0.0.1:7070/");
        camera.write("etc/config/lenscap", &config);
        camera.write("etc/mediamtx.yml", "rtspAddress: :7070\n");
        let _video = TcpListener::bind("0.0.0.0:7070").unwrap();
        let _watching = lan.dial(STRANGER, CAMERA, 7070).unwrap();
        let powerless = |args: &[&str]| {
            camera.harden(&["--undo"]);
            let before = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
            answer(&camera.command(&before).args(args).output().unwrap())
        };
        let bound = || fs::read_to_string(camera.path("etc/mediamtx.yml")).unwrap();
        let (code, text) = powerless(APPLY);
        assert!(
            code == 1 && text.contains("waits: 10.9.0.3 is connected to port 7070 (video)"),
            "{text}"
        );
        assert_eq!(bound(), "rtspAddress: :7070\n");
        let (_, text) = powerless(&[APPLY, &["--cut"]].concat());
        assert_eq!(bound(), "rtspAddress: 127.0.0.1:7070\n", "{text}");
    });
}

#[test]
fn without_an_owner_or_a_filter_nothing_is_pretended() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        // A key is no way in where no server reads it.
        camera.write(
            "root/.ssh/authorized_keys",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoZSBvd25lcidzIGtleSBpbiB0aGVzZSB0ZXN0cy4u owner\n",
        );
        let (code, text) = camera.harden(&["--only", "firewall", "--apply"]);
        assert!(
            code == 1 && text.contains("firewall is not changed: waiting for an owner"),
            "{text}"
        );
        // A label's password is no way in behind a firewall that lets nobody in.
        camera.write("etc/config/lenscap", CONFIG.split("\tlist").next().unwrap());
        let (code, text) = camera.harden(APPLY);
        assert!(
            code == 1 && text.contains("firewall is not changed: waiting for an owner"),
            "{text}"
        );
        camera.write("etc/config/lenscap", "config uplink\n");
        let (code, text) = camera.harden(FIREWALL);
        assert!(
            code == 1 && text.contains("fails    there is no configuration"),
            "{text}"
        );
        camera.write("etc/config/lenscap", CONFIG);

        // A kernel that refuses every rung.
        let powerless = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
        let (code, text) = answer(&camera.command(&powerless).args(APPLY).output().unwrap());
        assert_eq!(code, 1, "{text}");
        assert!(
            text.contains("fails    not enforceable here: this kernel has no filter that can be used"),
            "{text}"
        );
        assert!(open_to_strangers(lan) && !camera.has(RECORD));

        // Without the probe's device it is closed, and unproven.
        fs::remove_file(camera.path("dev/net/tun")).unwrap();
        let (code, text) = camera.harden(APPLY);
        assert_eq!(code, 2, "{text}");
        assert!(
            text.contains("unknown  whether packets from outside are dropped could not be tried"),
            "{text}"
        );
        assert!(!open_to_strangers(lan));
        assert_eq!(camera.harden(&["--undo"]).0, 0);
    });
}

#[test]
fn a_look_claims_no_more_than_a_packet_from_outside_has_shown() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        camera.write("var/run/lenscap/status", "");
        let video = TcpListener::bind("0.0.0.0:554").unwrap();
        let tun = camera.path("dev/net/tun");
        fs::remove_file(&tun).unwrap();
        assert_eq!(camera.harden(APPLY).0, 2);
        assert_eq!(camera.harden(&["--confirm"]).0, 0);
        let look = || camera.harden(&["--only", "firewall", "--recheck"]);
        let untried = "hardening    unknown; whether packets from outside are dropped could not be tried";
        // The second trusts the first, and nothing is put back for it.
        for _ in 0..2 {
            let (code, said) = look();
            assert!(code == 2 && said.starts_with(untried), "{said}");
        }
        // Where nothing listens yet, nothing is proven for later.
        drop(video);
        let proven = (0, "hardening    holds\n".to_owned());
        assert_eq!(look(), proven);
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        assert!(look().1.starts_with(untried));
        run("mknod", &[&tun, "c", "10", "200"]);
        assert_eq!(look(), proven);
        // It is known of these rules from then on, until they are others or were gone.
        fs::remove_file(&tun).unwrap();
        assert_eq!(look(), proven);
        run("nft", &["flush", "ruleset"]);
        let (code, said) = look();
        assert!(
            code == 2 && said.starts_with("hardening    unknown; closed again: 1 files"),
            "{said}"
        );
        assert!(!open_to_strangers(lan));
        assert!(look().1.starts_with(untried));
        // Five restores are enough; what was proven before then says nothing of rules that are gone.
        run("mknod", &[&tun, "c", "10", "200"]);
        for _ in 2..=5 {
            run("nft", &["flush", "ruleset"]);
            let (code, said) = look();
            assert!(
                code == 0 && said.starts_with("hardening    holds; closed again: 1 files"),
                "{said}"
            );
        }
        assert_eq!(look(), proven);
        run("nft", &["flush", "ruleset"]);
        for _ in 0..2 {
            let (code, said) = look();
            let gave_up = "hardening    does not hold; what was closed is opened again and again";
            assert!(code == 1 && said.starts_with(gave_up), "{said}");
            assert!(open_to_strangers(lan));
        }
        assert_eq!(camera.harden(&["--undo"]).0, 0);
    });
}

#[test]
fn the_firewall_alone_is_taken_back() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        let script = "#!/bin/sh\ntelnetd &\n";
        camera.write("etc/init.d/S45telnet", script);
        let text = || fs::read_to_string(camera.path("etc/init.d/S45telnet")).unwrap();
        camera.lets_its_owner_in();
        let label = ["--password-file", "/label"];
        let both = [&["--only", "telnet,firewall", "--apply"][..], &label].concat();
        assert_eq!(camera.harden(&both).0, 0);
        assert!(text() != script && !open_to_strangers(lan) && camera.has(WAITING));
        let (code, said) = camera.harden(&["--undo", "--only", "telnet"]);
        assert!(code == 64 && said.contains("are taken back together"), "{said}");
        let (code, said) = camera.harden(&["--undo", "--only", "firewall"]);
        assert_eq!(code, 0, "{said}");
        assert!(text() != script && open_to_strangers(lan) && !camera.has(RECORD));
        // What was closed beside it still waits for its owner.
        assert!(camera.has(WAITING));
        assert_eq!(camera.harden(APPLY).0, 0);
        assert_eq!(camera.harden(&["--undo", "--only", "telnet,credentials"]).0, 0);
        assert!(text() == script && !open_to_strangers(lan) && camera.has(RECORD));
        assert_eq!(camera.harden(&["--undo"]).0, 0);
        assert!(open_to_strangers(lan));
    });
}

#[test]
fn openwrts_own_firewall_restores_ours() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        camera.write("sbin/fw4", "#!/bin/sh\n");
        camera.write(
            "etc/config/firewall",
            "config defaults\n\toption input 'REJECT'\n",
        );
        let include = "usr/share/nftables.d/ruleset-post/50-lenscap.nft";
        assert_eq!(camera.harden(APPLY).0, 0);
        assert!(!camera.has(include), "what is not confirmed does not come back");
        assert_eq!(camera.harden(&["--confirm"]).0, 0);
        assert!(
            fs::metadata(camera.path(include)).unwrap().permissions().mode() & 0o444 == 0o444,
            "files that it cannot read it leaves out"
        );
        // What firewall 4 gives to nft: its own table, made anew, and behind it the files of this folder.
        let ruleset = format!(
            "table inet fw4\nflush table inet fw4\n\ntable inet fw4 {{\n\tchain input {{\n\t\ttype filter hook input priority filter; \
             policy accept;\n\t\tiifname \"lo\" accept\n\t}}\n}}\ninclude \"{}\"\n",
            camera.path(include)
        );
        let load = |options: &[&str]| {
            let loaded = output("nft", &[options, &["-f", "-"]].concat(), &ruleset);
            assert!(
                loaded.status.success(),
                "{}",
                String::from_utf8_lossy(&loaded.stderr)
            );
        };
        let ours = || {
            assert!(!open_to_strangers(lan));
            let (code, text) = camera.harden(FIREWALL);
            assert_eq!(code, 0, "it is known as ours: {text}");
        };
        // `start`, and `reload` twice: nothing is there two times.
        for _ in 0..3 {
            load(&[]);
            ours();
            assert_eq!(
                run("nft", &["list", "ruleset"])
                    .matches("table inet lenscap")
                    .count(),
                1
            );
        }
        // `stop` takes its own table alone, `restart` looks at the rules first.
        run("nft", &["delete", "table", "inet", "fw4"]);
        ours();
        load(&["-c"]);
        load(&[]);
        ours();
        // `flush` takes everything, also ours, until the next start.
        run("nft", &["flush", "ruleset"]);
        assert!(open_to_strangers(lan));
        load(&[]);
        ours();
        // Where it takes no files from this folder, that is said.
        camera.write(
            "etc/config/firewall",
            "config defaults\n\toption auto_includes '0'\n",
        );
        let (code, text) = camera.harden(FIREWALL);
        assert!(
            code == 0 && text.contains("notice   `option auto_includes '0'`"),
            "{text}"
        );
        assert_eq!(camera.harden(&["--undo"]).0, 0);
        assert!(!camera.has(include) && open_to_strangers(lan));
    });
}

/// Neither at once nor after a boot, with hardening on or off: nor by a file of an earlier, confirmed run.
#[test]
fn what_is_taken_back_leaves_nothing_with_openwrts_own_firewalls() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        let include = "usr/share/nftables.d/ruleset-post/50-lenscap.nft";
        let line = "/usr/sbin/lenscap harden --restore";
        for (program, boot) in [("sbin/fw4", 0), ("sbin/fw4", 1), ("sbin/fw3", 1)] {
            let camera = Camera::new();
            camera.write(program, "#!/bin/sh\n");
            camera.write("etc/firewall.user", "# own\n");
            let holds = |args: &[&str]| {
                let (code, text) = camera.harden(args);
                assert_eq!(code, 0, "{program} {boot}: {text}");
            };
            let kept = || {
                let user = fs::read_to_string(camera.path("etc/firewall.user")).unwrap();
                camera.has(include) || user.contains(line)
            };
            for confirmed in [false, true] {
                camera.boot(BOOTS[0]);
                if confirmed {
                    holds(APPLY);
                    assert!(!kept());
                    holds(&["--confirm"]);
                    assert!(kept(), "{program}");
                    let more = format!("{CONFIG}\tlist allow_lan '10.9.0.2:80'\n");
                    camera.write("etc/config/lenscap", &more);
                }
                holds(APPLY);
                assert_eq!(kept(), confirmed);
                if boot == 1 {
                    // What firewall 4 does when the camera starts.
                    run("nft", &["flush", "ruleset"]);
                    if camera.has(include) {
                        run("nft", &["-f", &camera.path(include)]);
                    }
                    let off = format!("{CONFIG}\toption mode 'off'\n");
                    camera.write("etc/config/lenscap", &off);
                    camera.boot(BOOTS[1]);
                    assert_ne!(camera.harden(&["--boot"]).0, 0);
                }
                holds(&["--roll-back", "--now"]);
                assert!(
                    !kept() && !camera.has(RECORD) && !camera.has(WAITING),
                    "{program}"
                );
                assert!(table().is_empty() && open_to_strangers(lan), "{program}");
                camera.write("etc/config/lenscap", CONFIG);
            }
        }
    });
}
