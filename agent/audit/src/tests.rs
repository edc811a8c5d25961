//! Facts made by hand, judged: each rule passes, fails and is unknown.

mod baseline;
mod hostile;
mod network;
mod provisions;
mod rules;

use core::net::IpAddr;

use crate::facts::*;
use crate::{Report, Verdict, audit};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn socket(proto: Proto, local: (&str, u16), remote: (&str, u16), state: u8, owner: usize) -> Socket {
    Socket {
        proto,
        local: (ip(local.0), local.1),
        remote: (ip(remote.0), remote.1),
        state,
        inode: 100 + u64::from(local.1),
        owner: Some(owner),
        hidden: false,
    }
}

fn listener(address: &str, port: u16) -> Socket {
    socket(Proto::Tcp, (address, port), ("0.0.0.0", 0), LISTEN, 0)
}

fn process(pid: u32, name: &str, program: &str) -> Process {
    Process {
        pid,
        name: name.into(),
        program: Ok(program.into()),
        image: Image::There,
        place: Place::Firmware,
        script: None,
        words: name.into(),
        uid: Some(0),
        open: true,
        watchdog: false,
        network: None,
        unmapped: None,
    }
}

const TABLES: [&str; 9] = [
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/net/udp",
    "/proc/net/udp6",
    "/proc/net/udplite",
    "/proc/net/udplite6",
    "/proc/net/raw",
    "/proc/net/raw6",
    "/proc/net/packet",
];

fn probe(at: &'static str, service: Service, answer: Answer) -> Fact<Probe> {
    let answer = Ok(answer);
    Fact::seen(at, Probe { service, answer })
}

/// A camera of which nothing bad can be said.
fn good() -> Facts {
    let mut facts = Facts {
        about: About {
            live: true,
            root: "/".into(),
            firmwares: vec!["OpenIPC".into()],
            version: "0.1.0".into(),
            time: 1_790_000_000,
            device: None,
        },
        sockets: TABLES
            .into_iter()
            .map(|table| Fact::seen(table, Sockets::default()))
            .collect(),
        processes: Fact::seen(
            "/proc",
            Processes {
                hidden: None,
                mapped: vec![],
                list: vec![
                    process(100, "majestic", "/usr/bin/majestic"),
                    process(200, "lenscap", "/usr/bin/lenscap"),
                    process(300, "udhcpc", "/bin/busybox"),
                ],
                left_out: 0,
            },
        ),
        allowed: Fact::seen(
            "/etc/config/lenscap",
            Allowed {
                agent: "/usr/bin/lenscap".into(),
                uplink_ports: vec![443],
                servers: vec![ip("192.0.2.53")],
                out: vec![(ip("198.51.100.0"), 24, 0)],
                odd: vec![],
                lan: [vec![], vec![]],
            },
        ),
        filters: [0, 1].map(|_| {
            let how = "nf_tables inet lenscap input".into();
            Fact::seen(
                "nfnetlink",
                Filter {
                    how,
                    inbound: Inbound::Dropped,
                    lets_in: Vec::new(),
                },
            )
        }),
        probes: vec![
            probe("rtsp://127.0.0.1:554", Service::Rtsp, Answer::AsksLogin),
            probe(
                "http://127.0.0.1:80/image.jpg",
                Service::Snapshot,
                Answer::AsksLogin,
            ),
            probe("http://127.0.0.1:80", Service::Web, Answer::AsksLogin),
            probe("http://127.0.0.1:80/onvif", Service::Onvif, Answer::AsksLogin),
        ],
        accounts: Fact::seen("/etc/shadow", vec![account("root", 0, Strength::Own)]),
        findings: Fact::seen("9 scripts", vec![]),
        partial: vec![],
        starts: Fact::seen(
            "/etc/init.d",
            vec![start("/etc/init.d/S95majestic", "1f2e", false)],
        ),
        layers: Fact::seen("/proc/mounts", ()),
        files: Fact::seen("modes", vec![file("/etc/shadow", 0o600, true)]),
        droppings: Fact::seen("/tmp", vec![]),
        rights: Fact::seen("setuid", vec![]),
        preload: Fact::seen("/etc/ld.so.preload", None),
        keys: Fact::seen("/etc", vec![key(Origin::Own)]),
        modules: Fact::seen("/proc/modules", vec![module("sensor", ModuleFile::Found)]),
        strays: Fact::seen("*.ko", vec![]),
        mounts: Fact::seen("/proc/mounts", vec![mount(false)]),
        logs: vec![Fact::seen(
            "/dev/kmsg",
            Log {
                lines: 99,
                ..Log::default()
            },
        )],
        kernel: Fact::seen("/proc/version", "6.12.41".into()),
        busybox: Fact::seen("/bin/busybox", Some("1.36.1".into())),
        clock: Fact::seen(
            "adjtimex",
            Clock {
                now: 1_790_000_000,
                built: 1_780_000_000,
                kept: true,
            },
        ),
        memory: Fact::seen("/proc/meminfo", (60_000, 20_000)),
        storage: Fact::seen("/etc/lenscap", (Storage::Persistent, Some(400_000))),
        sandbox: Fact::seen(
            "/proc",
            Some(Sandbox {
                pid: 200,
                user: true,
                capabilities: true,
                no_new_privs: true,
                seccomp: false,
            }),
        ),
        unconfirmed: Fact::seen("/etc/lenscap/harden/unconfirmed", false),
        ssh_passwords: Fact::seen("/proc/1/cmdline", Some(false)),
        packages: Fact::seen("/usr/lib/opkg/status", vec![]),
        baseline: Fact::default(),
        salt: String::new(),
        authorised: Fact::seen(
            "authorized_keys",
            vec![content("/root/.ssh/authorized_keys", "5d1f")],
        ),
        programs: Fact::seen("programs", vec![content("/usr/bin/majestic", "77aa")]),
    };
    push(
        &mut facts,
        socket(Proto::Tcp, ("127.0.0.1", 554), ("0.0.0.0", 0), LISTEN, 0),
    );
    push(&mut facts, listener("0.0.0.0", 80));
    push(
        &mut facts,
        socket(
            Proto::Tcp,
            ("10.0.0.2", 40_001),
            ("203.0.113.1", 443),
            ESTABLISHED,
            1,
        ),
    );
    push(
        &mut facts,
        socket(
            Proto::Udp,
            ("10.0.0.2", 40_002),
            ("192.0.2.53", 53),
            ESTABLISHED,
            1,
        ),
    );
    push(
        &mut facts,
        socket(Proto::Udp, ("0.0.0.0", 68), ("0.0.0.0", 0), 7, 2),
    );
    push(
        &mut facts,
        socket(Proto::Packet, ("0.0.0.0", 0x800), ("0.0.0.0", 0), 7, 2),
    );
    keep(&mut facts, false);
    facts
}

/// What is there becomes the baseline.
fn keep(facts: &mut Facts, accepted: bool) {
    let mut inventory = audit(facts, &[]).inventory;
    inventory.lines.append(&mut inventory.logins);
    let lines = inventory.lines;
    facts.baseline = Fact::seen("/etc/lenscap/audit.baseline", Some(Baseline { lines, accepted }));
}

fn content(place: &str, hash: &str) -> Content {
    Content {
        place: place.into(),
        hash: hash.into(),
    }
}

fn push(facts: &mut Facts, socket: Socket) {
    let table = &mut facts.sockets[socket.proto as usize];
    table.value.as_mut().unwrap().list.push(socket);
}

fn account(user: &str, uid: u32, strength: Strength) -> Account {
    Account {
        user: user.into(),
        uid: Some(uid),
        place: "/etc/shadow:1".into(),
        strength,
        login: "c0ffee".into(),
    }
}

fn start(place: &str, what: &str, added: bool) -> Start {
    Start {
        place: place.into(),
        what: what.into(),
        added,
        changed: false,
        own: false,
    }
}

fn file(path: &str, mode: u32, secret: bool) -> FileState {
    FileState {
        path: path.into(),
        mode,
        uid: 0,
        secret,
    }
}

fn key(origin: Origin) -> Key {
    Key {
        path: "/etc/dropbear/dropbear_rsa_host_key".into(),
        origin,
    }
}

fn module(name: &str, file: ModuleFile) -> Module {
    Module {
        name: name.into(),
        file,
    }
}

fn mount(exec: bool) -> Mount {
    Mount {
        point: "/mnt/mmcblk0p1".into(),
        device: "/dev/mmcblk0p1".into(),
        kind: "vfat".into(),
        exec,
    }
}

fn finding(topic: Topic, certain: bool) -> Finding {
    Finding {
        topic,
        certain,
        place: "/etc/init.d/rcS:3".into(),
        text: "does it".into(),
    }
}

#[track_caller]
fn verdict(report: &Report<'_>, id: &str) -> Verdict {
    let outcome = report.outcomes.iter().find(|outcome| outcome.rule.id == id);
    outcome.unwrap_or_else(|| panic!("no rule {id}")).verdict
}
