//! A streamer in a network of its own, where the kernel filters nothing: started as a start script does, in real network
//! namespaces, reached by the agent's side and by nobody else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::command::{Camera, answer};
use super::lan::{CAMERA, FRIEND, Lan, STRANGER, with_lan};
use super::{run, without_root};

const PATIENCE: Duration = Duration::from_secs(30);
/// BusyBox by a name that begins with its own is told what to be by its first word.
const STREAMER: &str = "/usr/bin/busybox-cam";
const SCRIPT: &str = "etc/init.d/S95streamer";
const PLAIN: &str = "#!/bin/sh\nexec /usr/bin/busybox-cam nc -ll -p 554 -e /bin/cat\n";
const APART: &str =
    "#!/bin/sh\nexec $(/usr/sbin/lenscap apart 2>/dev/null) /usr/bin/busybox-cam nc -ll -p 554 -e /bin/cat\n";
const CUT: [&str; 6] = [
    "--only",
    "firewall",
    "--apply",
    "--cut",
    "--password-file",
    "/label",
];
const RELAY: &str = "var/run/lenscap/apart";
const CONFIG: &str = "config uplink 'main'
	option endpoint 'https://gw.example.net:8443/u'
config profile 'main'
	option rtsp 'rtsp://127.0.0.1:554/'
config harden
	list allow_lan '10.9.0.2:22'
";
const OPTION: &str = "\toption streamer '/usr/bin/busybox-cam'\n";

struct Streamer(Child);

impl Drop for Streamer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it as the firmware does, on the camera with the machine's own `/proc`.
fn start(camera: &Camera) -> Streamer {
    let root = camera.path("");
    let line = format!("mount --bind /proc {root}proc && exec chroot {root} /bin/sh /{SCRIPT}");
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &line])
        .stdin(Stdio::null())
        .spawn();
    Streamer(child.unwrap())
}

/// BusyBox's init as the first process, with what it reads.
fn boot(camera: &Camera) -> Streamer {
    let root = camera.path("");
    let line = format!(
        "mount -t proc proc {root}proc && mount --bind /dev {root}dev && exec chroot {root} /sbin/init"
    );
    let child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &line])
        .stdin(Stdio::null())
        .spawn();
    Streamer(child.unwrap())
}

/// What comes back from the camera's own side.
fn echoed(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = SocketAddr::from(([127, 0, 0, 1], 554));
    let mut socket = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = socket.try_clone().unwrap();
    let sent = bytes.to_vec();
    let sending = std::thread::spawn(move || {
        let _ = writer.write_all(&sent);
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    let mut all = Vec::new();
    let read = socket.read_to_end(&mut all);
    sending.join().unwrap();
    read.ok().filter(|_| !all.is_empty()).map(|_| all)
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn reached(lan: &Lan, from: &str) -> bool {
    lan.dial(from, CAMERA, 554).is_some()
}

/// Shows a process in the camera's own `/proc`, as the kernel has it.
fn show(camera: &Camera, pid: &str, real: &str, exe: &str) {
    let folder = camera.path(&format!("proc/{pid}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(format!("{folder}/ns")).unwrap();
    symlink(exe, format!("{folder}/exe")).unwrap();
    let network = fs::read_link(format!("/proc/{real}/ns/net")).unwrap();
    symlink(network, format!("{folder}/ns/net")).unwrap();
}

fn powerless(camera: &Camera, args: &[&str]) -> (i32, String) {
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        camera.write(&format!("proc/net/{table}"), &text);
    }
    // No rung but this one.
    let before = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    answer(&camera.command(&before).args(args).output().unwrap())
}

fn relay(camera: &Camera) -> String {
    let text = fs::read_to_string(camera.path(RELAY)).unwrap();
    text.trim().to_owned()
}

#[test]
fn init_starts_a_streamer_in_a_network_of_its_own() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        camera.with_program("/bin/busybox", STREAMER);
        for applet in ["bin/sh", "bin/cat", "sbin/init"] {
            fs::create_dir_all(camera.path(applet.split('/').next().unwrap())).unwrap();
            symlink(STREAMER, camera.path(applet)).unwrap();
        }
        fs::create_dir_all(camera.path("dev")).unwrap();
        camera.write("etc/config/lenscap", &format!("{CONFIG}{OPTION}"));
        let plain = "::respawn:/usr/bin/busybox-cam nc -ll -p 554 -e /bin/cat\n";
        camera.write("etc/inittab", plain);
        camera.copy(env!("CARGO_BIN_EXE_lenscap"), "/usr/sbin/lenscap");
        show(&camera, "self", "thread-self", "/lenscap");
        let before = boot(&camera);
        wait("the streamer", || reached(lan, STRANGER));
        let (_, text) = powerless(&camera, &CUT);
        let planned = "starts the streamer, which will live in a network of its own";
        assert!(text.contains(planned), "{text}");
        let apart = fs::read_to_string(camera.path("etc/inittab")).unwrap();
        assert!(
            apart.starts_with("::respawn:$(/usr/sbin/lenscap apart 2>/dev/null) /usr/bin/"),
            "{apart}"
        );
        drop(before);
        wait("its end", || !reached(lan, STRANGER));

        let after = boot(&camera);
        wait("the streamer through the relay", || {
            echoed(b"x").is_some_and(|back| back == b"x")
        });
        assert!(!reached(lan, STRANGER) && !reached(lan, FRIEND));
        // Killed, it is started again by init, and lives there again.
        let streamers = || {
            let table = run("ps", &["-e", "-o", "pid=,ppid=,args="]);
            let rows: Vec<Vec<&str>> = table
                .lines()
                .map(|line| line.split_whitespace().collect())
                .collect();
            let of = |parent: &str| {
                let children = rows.iter().filter(|row| row[1] == parent);
                children.map(|row| row[0].to_owned()).collect::<Vec<_>>()
            };
            let init = of(&after.0.id().to_string());
            let all = init.first().map(|init| of(init)).unwrap_or_default();
            let streams = |pid: &String| {
                let row = rows.iter().find(|row| row[0] == *pid);
                row.is_some_and(|row| row[2..].join(" ").starts_with("/usr/bin/busybox-cam nc"))
            };
            all.into_iter().filter(streams).collect::<Vec<_>>()
        };
        let first = &streamers()[0];
        run("kill", &["-9", first]);
        wait("another", || streamers().first().is_some_and(|pid| pid != first));
        wait("the streamer once more", || {
            echoed(b"y").is_some_and(|back| back == b"y")
        });
        assert!(!reached(lan, STRANGER));
        drop(after);
        assert_eq!(camera.harden(&["--undo"]).0, 0);
        assert_eq!(fs::read_to_string(camera.path("etc/inittab")).unwrap(), plain);
    });
}

#[test]
fn a_streamer_lives_in_a_network_of_its_own() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        camera.with_program("/bin/busybox", STREAMER);
        for applet in ["bin/sh", "bin/cat"] {
            fs::create_dir_all(camera.path("bin")).unwrap();
            symlink(STREAMER, camera.path(applet)).unwrap();
        }
        camera.write("etc/config/lenscap", &format!("{CONFIG}{OPTION}"));
        camera.write(SCRIPT, PLAIN);
        camera.copy(env!("CARGO_BIN_EXE_lenscap"), "/usr/sbin/lenscap");
        show(&camera, "self", "thread-self", "/lenscap");

        // As the vendor left it.
        let plain = start(&camera);
        wait("the streamer", || reached(lan, STRANGER));
        show(&camera, "4711", &plain.0.id().to_string(), STREAMER);
        // Whoever watches is not cut off without a decision.
        let watching = lan.dial(STRANGER, CAMERA, 554).unwrap();
        let (_, text) = powerless(
            &camera,
            &["--only", "firewall", "--apply", "--password-file", "/label"],
        );
        assert!(
            text.contains("waits: 10.9.0.3 is connected to port 554"),
            "{text}"
        );
        assert_eq!(fs::read_to_string(camera.path(SCRIPT)).unwrap(), PLAIN);
        let (code, text) = powerless(&camera, &CUT);
        assert_eq!(code, 1, "{text}");
        for line in [
            "fails    not enforceable here",
            "starts the streamer, which will live in a network of its own",
            "it still runs in the camera's own network, until it starts again",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(fs::read_to_string(camera.path(SCRIPT)).unwrap(), APART);
        assert_eq!(camera.harden(&["--confirm"]).0, 0);
        drop((plain, watching));

        let mut relays = Vec::new();
        for round in 0..2 {
            let streamer = start(&camera);
            let much: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
            wait("the streamer through the relay", || echoed(b"x").is_some());
            assert!(echoed(&much).is_some_and(|back| back == much), "round {round}");
            assert!(!reached(lan, STRANGER) && !reached(lan, FRIEND));
            let pid = streamer.0.id().to_string();
            let links = run("nsenter", &["-t", &pid, "-n", "ip", "-o", "link"]);
            assert_eq!(links.lines().count(), 1, "nothing but the loopback: {links}");
            let status = fs::read_to_string(format!("/proc/{}/status", relay(&camera))).unwrap();
            assert!(status.contains("Uid:\t61834\t61834\t61834\t61834\n"), "{status}");
            assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
            relays.push(relay(&camera));
            show(&camera, "4711", &pid, STREAMER);
            let (code, text) = powerless(&camera, &["--only", "firewall"]);
            assert!(
                code == 1 && text.contains("it lives in a network of its own, reached over the loopback"),
                "{text}"
            );
        }
        let first = relays[0].clone();
        assert_eq!(relays, [first.as_str(), first.as_str()], "one relay for both");

        // Who says nothing has no place for long: all are taken, and then they are not.
        let streamer = start(&camera);
        wait("the streamer once more", || echoed(b"x").is_some());
        let at = SocketAddr::from(([127, 0, 0, 1], 554));
        let silent: Vec<TcpStream> = (0..32).map(|_| TcpStream::connect(at).unwrap()).collect();
        wait("no place", || echoed(b"x").is_none());
        wait("a place", || echoed(b"x").is_some());
        drop(silent);
        // Whoever lives there keeps the relay, listening or not.
        let pid = streamer.0.id().to_string();
        let companion = Command::new("nsenter")
            .args(["-t", &pid, "-n", "sleep", "600"])
            .spawn();
        let companion = Streamer(companion.unwrap());
        wait("the companion", || {
            let at = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
            at(&companion.0.id().to_string()) == at(&pid)
        });
        drop(streamer);
        let alive = || std::path::Path::new(&format!("/proc/{first}/net")).exists();
        let looked = Instant::now() + Duration::from_secs(13);
        wait("two looks", || !alive() || Instant::now() > looked);
        assert!(alive());
        drop(companion);
        let end = Instant::now() + PATIENCE;
        while alive() {
            if Instant::now() > end {
                let inside = |words: &[&str]| run("nsenter", &[&["-t", &first, "-n"], words].concat());
                let lived = "for p in /proc/[0-9]*; do [ \"$(readlink $p/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ] && \
                    echo \"$p $(tr '\\0' ' ' <$p/cmdline) $(cat $p/wchan)\"; done";
                panic!(
                    "the relay still lives:\n{}{}",
                    inside(&["ss", "-tanp"]),
                    inside(&["sh", "-c", lived])
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let streamer = start(&camera);
        wait("the streamer by another relay", || echoed(b"x").is_some());
        let first = relay(&camera);
        drop(streamer);

        // Without the option it starts as ever, and nothing is in its way.
        camera.write("etc/config/lenscap", CONFIG);
        let _plain = start(&camera);
        wait("the streamer outside again", || reached(lan, STRANGER));
        assert!(!std::path::Path::new(&format!("/proc/{first}/fd/0")).exists());
        assert_eq!(camera.harden(&["--undo"]).0, 0);
        assert_eq!(fs::read_to_string(camera.path(SCRIPT)).unwrap(), PLAIN);
    });
}
