//! What passes and what does not, as two hosts on a cable see it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use lenscap::firewall::Rung;
use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::{Abilities, Policy};

use super::lan::{
    CAMERA, CAMERA6, FRIEND, FRIEND6, Lan, STRANGER, STRANGER6, connect, count, flood, socket, with_lan,
};
use super::{addresses, allowed, run, without_root};

const NONE: Abilities = Abilities {
    established: false,
    owner: false,
    limit: false,
};
/// The agent's user.
const AGENT: u32 = 31_200;
/// A flood.
const PACKETS: usize = 1000;

fn policy() -> Policy {
    Policy {
        uid: Some(AGENT),
        ports: vec![8443],
        allow_in: allowed(&["10.9.0.2:554", "[fd00::2]:554"]),
        allow_out: allowed(&["10.9.0.2:7000"]),
        dns: addresses(&[FRIEND]),
        ntp: addresses(&[FRIEND]),
        ..Policy::default()
    }
}

/// What a camera has open.
fn services() -> Vec<TcpListener> {
    let all = ["0.0.0.0:554", "0.0.0.0:23", "0.0.0.0:80", "[::]:8554"];
    let listen = |at| {
        let listener = TcpListener::bind(at).unwrap();
        let socket = socket2::SockRef::from(&listener);
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        listener
    };
    all.map(listen).into()
}

/// Connects as a user of the camera. Says whether somebody answered.
fn dial_as(uid: u32, to: &str, port: u16) -> bool {
    let uid = format!("--reuid={uid}");
    let dial = format!("exec 3<>/dev/tcp/{to}/{port}");
    let status = Command::new("timeout")
        .args(["0.5", "setpriv", &uid, "--clear-groups", "bash", "-c", &dial])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    status.success()
}

#[test]
fn nf_tables_closes_and_leaves_the_owner_in() {
    if without_root() {
        return;
    }
    for can in [Abilities::ALL, NONE] {
        with_lan(|lan| closes(lan, Rung::Nft, can));
    }
}

#[test]
fn iptables_closes_and_leaves_the_owner_in() {
    if without_root() {
        return;
    }
    for can in [Abilities::ALL, NONE] {
        with_lan(|lan| closes(lan, Rung::Iptables { v6: true }, can));
    }
}

fn closes(lan: &Lan, rung: Rung, can: Abilities) {
    let services = services();
    let doors = [
        (STRANGER, CAMERA, 554),
        (STRANGER, CAMERA, 23),
        (FRIEND, CAMERA, 80),
        (STRANGER6, "2001:db8::1", 8554),
    ];
    // Everything is open before, or what follows shows nothing.
    for (from, to, port) in doors {
        assert!(lan.dial(from, to, port).is_some(), "{from} {to} {port}");
    }
    let mut watching = lan.dial(STRANGER, CAMERA, 554).unwrap();
    let mut friend = lan.dial(FRIEND, CAMERA, 554).unwrap();
    let mut here: Vec<_> = services[0].incoming().take(3).map(Result::unwrap).collect();
    let rules = policy().rules(can);
    rung.put(&rules).unwrap();

    for (from, to, port) in doors {
        assert!(lan.dial(from, to, port).is_none(), "{from} {to} {port}");
    }
    assert!(lan.dial(FRIEND, CAMERA, 554).is_some());
    assert!(
        connect(None, socket("127.0.0.1", 554)).is_some(),
        "the agent's own way"
    );
    assert!(
        connect(None, socket(CAMERA, 23)).is_some(),
        "which is why this proves nothing"
    );
    // Who was connected before: the friend stays, the stranger is cut off in both directions.
    let friends = here
        .iter_mut()
        .find(|stream| stream.peer_addr().unwrap() == friend.local_addr().unwrap());
    friends.unwrap().write_all(b"video").unwrap();
    let mut bytes = [0; 5];
    friend.read_exact(&mut bytes).unwrap();
    watching.write_all(b"DESCRIBE").unwrap();
    for stream in &mut here {
        let _ = stream.write(b"video");
    }
    assert!(watching.read(&mut bytes).is_err());

    // Neighbours are found anew: over IPv6 that takes ICMPv6 both ways.
    run("ip", &["neigh", "flush", "all"]);
    assert!(lan.dial(FRIEND6, CAMERA6, 554).is_none(), "nobody listens there");
    let video6 = TcpListener::bind("[fd00::1]:554").unwrap();
    assert!(lan.dial(FRIEND6, CAMERA6, 554).is_some());
    assert!(lan.dial(STRANGER6, CAMERA6, 554).is_none());
    drop(video6);

    let Ok(Found::Same { dropped_in, .. }) = rung.find(&rules) else {
        panic!("the rules are gone");
    };
    assert!(dropped_in >= 5, "{dropped_in}");
    uplink(lan, can);
    datagrams(lan, rung, can);
}

/// The agent's user reaches the uplink's port, and nobody else does where the kernel can tell.
fn uplink(lan: &Lan, can: Abilities) {
    let _gateway = lan.listen(STRANGER, 8443);
    let _other = lan.listen(STRANGER, 6667);
    let _probe = lan.listen(FRIEND, 7000);
    assert!(dial_as(AGENT, STRANGER, 8443));
    assert_eq!(dial_as(1000, STRANGER, 8443), !can.owner);
    assert!(!dial_as(AGENT, STRANGER, 6667) && !dial_as(0, STRANGER, 6667));
    assert!(dial_as(1000, FRIEND, 7000), "allow_out");
    assert!(!dial_as(1000, STRANGER, 7000));
}

/// Floods of a program that does not own the rules.
fn datagrams(lan: &Lan, rung: Rung, can: Abilities) {
    let closed: Vec<(&str, u16)> = vec![
        (STRANGER, 53),
        (STRANGER, 123),
        (STRANGER, 9999),
        (FRIEND, 999),
        (STRANGER6, 53),
        (STRANGER6, 9999),
    ];
    let sinks: Vec<UdpSocket> = closed.iter().map(|(at, port)| lan.receive(at, *port)).collect();
    let names = lan.receive(FRIEND, 53);
    let targets: Vec<_> = closed.iter().map(|(at, port)| socket(at, *port)).collect();
    let rules = policy().rules(can);
    let dropped = || match rung.find(&rules) {
        Ok(Found::Same { dropped_out, .. }) => dropped_out,
        other => panic!("{other:?}"),
    };
    let before = dropped();
    flood(&targets, PACKETS);
    assert_eq!(sinks.iter().map(count).collect::<Vec<_>>(), vec![0; sinks.len()]);
    assert!(dropped() - before >= (PACKETS * sinks.len()) as u64);

    let start = Instant::now();
    flood(&[socket(FRIEND, 53)], PACKETS);
    let seconds = start.elapsed().as_secs() as usize + 1;
    let arrived = count(&names);
    if can.limit {
        assert!(
            (40..=40 + 20 * seconds).contains(&arrived),
            "{arrived} in {seconds} s"
        );
    } else {
        assert!(arrived > 0);
    }
    // Answers come back, and nothing else does.
    let asking = UdpSocket::bind((CAMERA, 0)).unwrap();
    asking.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let from = loop {
        // The limit gives one back every 50 ms.
        let _ = asking.send_to(b"question", (FRIEND, 53));
        let mut bytes = [0; 64];
        if let Ok((8, from)) = names.recv_from(&mut bytes) {
            break from;
        }
        assert!(Instant::now() < deadline, "no question passes");
    };
    names.send_to(b"answer", from).unwrap();
    let mut bytes = [0; 64];
    assert_eq!(asking.recv(&mut bytes).unwrap(), 6);
    sinks[0].send_to(b"forged", from).unwrap();
    sinks[3].send_to(b"forged", from).unwrap();
    assert!(asking.recv(&mut bytes).is_err());

    // Taken away, the same flood leaves: the sinks do see packets.
    lenscap::firewall::remove(&policy()).unwrap();
    flood(&targets, 5);
    assert_eq!(sinks.iter().map(count).collect::<Vec<_>>(), vec![5; sinks.len()]);
    assert!(lan.dial(STRANGER, CAMERA, 23).is_some());
}

#[test]
fn scans_find_nothing() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let _services = services();
        let _udp = UdpSocket::bind("0.0.0.0:5000").unwrap();
        let scan = |ports: &'static str| {
            lan.run(move || {
                run(
                    "nmap",
                    &[
                        "-n",
                        "-Pn",
                        "-S",
                        STRANGER,
                        "-e",
                        "eth0",
                        "-p",
                        ports,
                        "-sSU",
                        "--max-retries",
                        "1",
                        "--host-timeout",
                        "60s",
                        CAMERA,
                    ],
                )
            })
        };
        let is_open = |scan: &str, port: &str| {
            scan.lines().any(|line| {
                let mut words = line.split_ascii_whitespace();
                words.next() == Some(port) && words.next() == Some("open")
            })
        };
        let before = scan("T:23,80,554,U:5000");
        for port in ["23/tcp", "80/tcp", "554/tcp"] {
            assert!(is_open(&before, port), "{before}");
        }
        Rung::Nft.put(&policy().rules(Abilities::ALL)).unwrap();
        let after = scan("T:23,80,554,8554,U:53,67,123,3702,5000");
        assert!(after.contains("filtered") && !after.contains("closed"), "{after}");
        assert!(!after.contains(" open "), "{after}");
    });
}

#[test]
fn a_camera_is_discovered_by_its_neighbours_only_if_it_should() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = UdpSocket::bind("0.0.0.0:3702").unwrap();
        camera.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
        let asked = |from: &'static str| {
            let client = lan.receive(from, 0);
            client.send_to(b"Probe", (CAMERA, 3702)).unwrap();
            let mut bytes = [0; 64];
            let Ok((5, back)) = camera.recv_from(&mut bytes) else {
                return false;
            };
            camera.send_to(b"Match", back).is_ok() && client.recv(&mut bytes).is_ok()
        };
        assert!(asked(STRANGER));
        Rung::Nft.put(&policy().rules(Abilities::ALL)).unwrap();
        assert!(!asked(STRANGER));
        let open = Policy {
            discovery: true,
            ..policy()
        };
        Rung::Nft.put(&open.rules(Abilities::ALL)).unwrap();
        assert!(asked(STRANGER));
        // Nobody on the internet makes it answer.
        lan.run(|| run("ip", &["addr", "add", "203.0.113.9/32", "dev", "eth0"]));
        assert!(!asked("203.0.113.9"));
    });
}
