//! What the network reaches: ports that a filter lets in, UDP sockets that may be servers, raw sockets.

use super::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn udp(address: &str, port: u16, owner: usize) -> Socket {
    socket(Proto::Udp, (address, port), ("0.0.0.0", 0), 7, owner)
}

/// Nobody waits on the outside, and nothing is filtered.
fn unfiltered() -> Facts {
    let mut facts = good();
    facts.sockets[0].value.as_mut().unwrap().list[1].local.0 = ip("127.0.0.1");
    for filter in &mut facts.filters {
        filter.value.as_mut().unwrap().inbound = Inbound::NoFilter;
    }
    assert_eq!(of(&facts, "network.exposed"), Verdict::Pass);
    facts
}

fn of(facts: &Facts, id: &str) -> Verdict {
    verdict(&audit(facts, &[]), id)
}

fn evidence(facts: &Facts, id: &str) -> String {
    let report = audit(facts, &[id]);
    let outcome = report.outcomes.iter().find(|outcome| outcome.rule.id == id);
    let texts = outcome.unwrap().evidence.iter().map(|one| one.text.as_ref());
    texts.collect::<Vec<&str>>().join("; ")
}

#[test]
fn a_udp_socket_on_a_clients_port_may_be_a_servers() {
    for (address, owner, expected) in [
        ("0.0.0.0", Some(0), Verdict::Unknown),
        ("10.0.0.2", Some(0), Verdict::Unknown),
        // Nobody knows whose it is.
        ("0.0.0.0", None, Verdict::Unknown),
        ("127.0.0.1", Some(0), Verdict::Pass),
        // The agent's own, and BusyBox' udhcpc.
        ("0.0.0.0", Some(1), Verdict::Pass),
        ("0.0.0.0", Some(2), Verdict::Pass),
    ] {
        let mut facts = unfiltered();
        let socket = Socket {
            owner,
            ..udp(address, 40_123, 0)
        };
        push(&mut facts, socket);
        assert_eq!(of(&facts, "network.exposed"), expected, "{address} {owner:?}");
        let told = evidence(&facts, "network.exposed").contains("port 40123");
        assert_eq!(told, expected == Verdict::Unknown);
        // Behind a filter it is reached by nobody.
        facts.filters[0].value.as_mut().unwrap().inbound = Inbound::Dropped;
        assert_eq!(of(&facts, "network.exposed"), Verdict::Pass);
    }
    // One that has a peer asks.
    let mut facts = unfiltered();
    let asks = socket(
        Proto::Udp,
        ("10.0.0.2", 40_123),
        ("192.0.2.53", 53),
        ESTABLISHED,
        0,
    );
    push(&mut facts, asks);
    assert_eq!(of(&facts, "network.exposed"), Verdict::Pass);
    // A known client's name on a file that is gone is no such client.
    let mut facts = unfiltered();
    push(&mut facts, udp("0.0.0.0", 40_123, 1));
    facts.processes.value.as_mut().unwrap().list[1].image = Image::Deleted;
    assert_eq!(of(&facts, "network.exposed"), Verdict::Unknown);
}

/// A port that a rule lets in, who listens there, what the configuration wants: network.firewall and network.exposed.
#[test]
fn a_rule_that_lets_whoever_comes_in_to_a_service_drops_nothing() {
    use Verdict::{Fail, Pass, Unknown};
    let tcp = |port, for_all| Opening {
        protocol: TCP,
        port,
        for_all,
    };
    let any = Opening {
        protocol: 0,
        ..tcp(8080, true)
    };
    let wide = Some(tcp(8080, true));
    let network = Some(tcp(8080, false));
    for (opening, listens, wanted, firewall, exposed) in [
        (tcp(8080, true), true, None, Fail, Fail),
        (tcp(8080, false), true, None, Unknown, Unknown),
        (any, true, None, Fail, Fail),
        // Nobody is there.
        (tcp(8080, true), false, None, Pass, Pass),
        (tcp(8081, true), true, None, Pass, Pass),
        (
            Opening {
                protocol: UDP,
                ..tcp(8080, true)
            },
            true,
            None,
            Pass,
            Pass,
        ),
        // The owner wants it; whether somebody reaches it is another question.
        (tcp(8080, false), true, network, Pass, Unknown),
        (tcp(8080, true), true, wide, Pass, Fail),
        (tcp(8080, true), true, network, Fail, Fail),
        (any, true, wide, Fail, Fail),
    ] {
        let mut facts = good();
        facts.filters[0].value.as_mut().unwrap().lets_in.push(opening);
        facts.allowed.value.as_mut().unwrap().lan[0].extend(wanted);
        if listens {
            push(&mut facts, listener("0.0.0.0", 8080));
            push(&mut facts, listener("127.0.0.1", 8081));
        }
        assert_eq!(of(&facts, "network.firewall"), firewall, "{opening:?} {wanted:?}");
        assert_eq!(of(&facts, "network.exposed"), exposed, "{opening:?} {wanted:?}");
        assert_eq!(of(&facts, "network.firewall6"), Pass);
        let told = evidence(&facts, "network.firewall");
        assert!(told.contains(&format!("port {}", opening.port)), "{told}");
    }
}

#[test]
fn who_listens_behind_an_opening_must_be_seen() {
    let opening = Opening {
        protocol: TCP,
        port: 8080,
        for_all: true,
    };
    let mut facts = good();
    facts.filters[1].value.as_mut().unwrap().lets_in.push(opening);
    assert_eq!(of(&facts, "network.firewall6"), Verdict::Pass);
    facts.sockets[1] = Fact::default();
    assert_eq!(of(&facts, "network.firewall6"), Verdict::Unknown);
    // Whoever takes IPv6 of all kinds takes IPv4 too, behind the filter of each.
    let mut facts = good();
    facts.filters[0].value.as_mut().unwrap().lets_in.push(opening);
    push(
        &mut facts,
        socket(Proto::Tcp6, ("::", 8080), ("::", 0), LISTEN, 0),
    );
    assert_eq!(of(&facts, "network.firewall"), Verdict::Fail);
    assert_eq!(of(&facts, "network.firewall6"), Verdict::Pass);
    // Nobody can say that a UDP socket on a client's port waits.
    let mut facts = good();
    let opening = Opening {
        protocol: UDP,
        port: 40_123,
        for_all: true,
    };
    facts.filters[0].value.as_mut().unwrap().lets_in.push(opening);
    push(&mut facts, udp("0.0.0.0", 40_123, 0));
    assert_eq!(of(&facts, "network.firewall"), Verdict::Unknown);
    assert_eq!(of(&facts, "network.exposed"), Verdict::Unknown);
    // Leases are answers.
    let mut facts = good();
    for port in [68, 546] {
        let opening = Opening { port, ..opening };
        facts.filters[0].value.as_mut().unwrap().lets_in.push(opening);
    }
    assert_eq!(of(&facts, "network.firewall"), Verdict::Pass);
}

#[test]
fn raw_sockets_are_told_with_their_owner_and_kind() {
    for (proto, protocol, what) in [
        (
            Proto::Raw,
            255,
            "process 100 of /usr/bin/majestic, for packets that it makes itself",
        ),
        (Proto::Raw6, 58, "process 100 of /usr/bin/majestic, protocol 58"),
        (
            Proto::Packet,
            3,
            "process 100 of /usr/bin/majestic, below IP, of all packets",
        ),
        (
            Proto::Packet,
            0x806,
            "process 100 of /usr/bin/majestic, below IP, EtherType 0x0806",
        ),
    ] {
        let mut facts = good();
        push(
            &mut facts,
            socket(proto, ("0.0.0.0", protocol), ("0.0.0.0", 0), 7, 0),
        );
        assert_eq!(of(&facts, "network.raw"), Verdict::Fail, "{proto:?}");
        let told = evidence(&facts, "network.raw");
        assert!(told.contains(what), "{told}");
        // Whose it is was not seen.
        let table = facts.sockets[proto as usize].value.as_mut().unwrap();
        table.list.last_mut().unwrap().owner = None;
        assert_eq!(of(&facts, "network.raw"), Verdict::Unknown, "{proto:?}");
    }
}

/// A camera whose streamer sends packets to a port of somebody on the network.
fn streams(from: (&str, u16), to: (&str, u16), owner: usize) -> Facts {
    let mut facts = good();
    push(&mut facts, socket(Proto::Udp, from, to, ESTABLISHED, owner));
    facts
}

#[test]
fn whoever_watches_is_no_stranger() {
    let session = |remote: &str| socket(Proto::Tcp, ("10.0.0.2", 554), (remote, 51_000), ESTABLISHED, 0);
    let rtp = |owner| streams(("10.0.0.2", 6970), ("10.0.0.9", 50_000), owner);
    for (mut facts, remote, expected) in [
        // The streamer, to one who has a session; to one who has none; another program to one who has.
        (rtp(0), Some("10.0.0.9"), Verdict::Pass),
        (rtp(0), Some("::ffff:10.0.0.9"), Verdict::Pass),
        (rtp(0), None, Verdict::Unknown),
        (rtp(0), Some("10.0.0.8"), Verdict::Unknown),
        (rtp(2), Some("10.0.0.9"), Verdict::Unknown),
        (rtp(2), None, Verdict::Fail),
        // Whatever a streamer has to ask there.
        (
            streams(("10.0.0.2", 6970), ("10.0.0.9", 53), 0),
            Some("10.0.0.9"),
            Verdict::Fail,
        ),
    ] {
        facts.sockets[0].value.as_mut().unwrap().list[0].local.0 = ip("0.0.0.0");
        if let Some(remote) = remote {
            push(&mut facts, session(remote));
        }
        assert_eq!(of(&facts, "network.peer"), expected, "{remote:?}");
        assert_eq!(of(&facts, "network.peer-drift"), expected, "{remote:?}");
    }
    // A port that said it is RTSP's, whatever its number.
    let mut facts = rtp(0);
    push(&mut facts, listener("0.0.0.0", 7070));
    push(
        &mut facts,
        socket(
            Proto::Tcp,
            ("10.0.0.2", 7070),
            ("10.0.0.9", 51_000),
            ESTABLISHED,
            0,
        ),
    );
    let rtsp = &mut facts.sockets[0].value.as_mut().unwrap().list[0];
    rtsp.local.1 = 81;
    assert_eq!(of(&facts, "network.peer"), Verdict::Fail);
    facts.probes.push(probe(
        "rtsp://127.0.0.1:7070/ch0",
        Service::Rtsp,
        Answer::AsksLogin,
    ));
    assert_eq!(of(&facts, "network.peer"), Verdict::Pass);
}

#[test]
fn who_came_in_before_the_listener_closed_may_be_no_stranger() {
    for (local, remote, expected) in [
        (8080, 51_000, Verdict::Unknown),
        (34_567, 51_000, Verdict::Unknown),
        // A client's port, and a server's at the other end.
        (40_009, 51_000, Verdict::Fail),
        (8080, 443, Verdict::Fail),
    ] {
        let mut facts = good();
        let came = socket(
            Proto::Tcp,
            ("10.0.0.2", local),
            ("10.0.0.9", remote),
            ESTABLISHED,
            0,
        );
        push(&mut facts, came);
        assert_eq!(of(&facts, "network.peer"), expected, "{local} {remote}");
        assert_eq!(of(&facts, "network.peer-drift"), expected, "{local} {remote}");
        keep(&mut facts, true);
        assert_eq!(of(&facts, "network.peer"), Verdict::Pass);
    }
    // What one of two sockets to the same end is known to be, the end is.
    let mut facts = good();
    for port in [8080, 40_009] {
        let one = socket(
            Proto::Tcp,
            ("10.0.0.2", port),
            ("10.0.0.9", 51_000),
            ESTABLISHED,
            0,
        );
        push(&mut facts, one);
    }
    assert_eq!(of(&facts, "network.peer-drift"), Verdict::Fail);
}

#[test]
fn udp_lite_is_a_protocol_too() {
    let mut facts = good();
    push(
        &mut facts,
        socket(Proto::UdpLite, ("0.0.0.0", 5000), ("0.0.0.0", 0), 7, 0),
    );
    assert_eq!(of(&facts, "network.exposed"), Verdict::Pass, "dropped");
    assert_eq!(of(&facts, "network.drift"), Verdict::Fail);
    facts.filters[0].value.as_mut().unwrap().inbound = Inbound::NoFilter;
    assert_eq!(of(&facts, "network.exposed"), Verdict::Fail);
    assert!(evidence(&facts, "network.exposed").contains("udplite 0.0.0.0 port 5000"));
    facts.sockets[Proto::UdpLite6 as usize] = Fact::default();
    assert_eq!(of(&facts, "trace.port"), Verdict::Unknown);
}

/// UDP to a stranger's port for time or addresses, and TCP to the uplink's port, by program: what network.peer says.
#[test]
fn a_port_or_a_name_makes_no_stranger_known() {
    use Verdict::{Fail, Pass, Unknown};
    for (proto, port, program, name, words, image, expected) in [
        (
            Proto::Udp,
            123,
            "/bin/busybox",
            "ntpd",
            "ntpd",
            Image::There,
            Pass,
        ),
        (
            Proto::Udp,
            123,
            "/bin/busybox",
            "busybox",
            "busybox ntpd -n",
            Image::There,
            Pass,
        ),
        (
            Proto::Udp,
            123,
            "/usr/bin/socat",
            "ntpd",
            "ntpd",
            Image::There,
            Unknown,
        ),
        (
            Proto::Udp,
            123,
            "/bin/busybox",
            "nc",
            "nc -u",
            Image::There,
            Unknown,
        ),
        (
            Proto::Udp,
            67,
            "/sbin/udhcpc",
            "udhcpc",
            "udhcpc",
            Image::There,
            Pass,
        ),
        (
            Proto::Udp,
            67,
            "/sbin/udhcpc",
            "udhcpc",
            "udhcpc",
            Image::Deleted,
            Unknown,
        ),
        (
            Proto::Tcp,
            123,
            "/bin/busybox",
            "ntpd",
            "ntpd",
            Image::There,
            Fail,
        ),
        (
            Proto::Tcp,
            443,
            "/usr/bin/lenscap",
            "lenscap",
            "lenscap run",
            Image::There,
            Pass,
        ),
        (
            Proto::Tcp,
            443,
            "/usr/bin/lenscap",
            "lenscap",
            "lenscap run",
            Image::Elsewhere,
            Fail,
        ),
        (
            Proto::Tcp,
            443,
            "/root/lenscap",
            "lenscap",
            "lenscap run",
            Image::There,
            Fail,
        ),
    ] {
        let mut facts = good();
        let process = Process {
            image,
            words: words.into(),
            ..process(900, name, program)
        };
        let list = &mut facts.processes.value.as_mut().unwrap().list;
        list.push(process);
        let owner = list.len() - 1;
        let remote = ("198.18.0.66", port);
        push(
            &mut facts,
            socket(proto, ("10.0.0.2", 40_000), remote, ESTABLISHED, owner),
        );
        assert_eq!(
            of(&facts, "network.peer"),
            expected,
            "{proto:?} {port} {program} {words} {image:?}"
        );
    }
}

#[test]
fn a_new_lease_and_a_port_of_the_kernels_choice_are_no_drift() {
    let lines = |address: &str, port: u16| {
        let mut facts = good();
        push(&mut facts, listener(address, port));
        crate::inventory::take(&facts).lines
    };
    assert_eq!(lines("192.168.9.2", 6000), lines("192.168.9.77", 6000));
    assert_eq!(lines("0.0.0.0", 49_537), lines("0.0.0.0", 42_849));
    assert_ne!(lines("192.168.9.2", 6000), lines("127.0.0.1", 6000));
    assert_ne!(lines("192.168.9.2", 6000), lines("0.0.0.0", 6000));
    assert_ne!(lines("192.168.9.2", 6000), lines("192.168.9.2", 6001));
    // A vendor's port or a botnet's is no choice of the kernel's.
    for port in [37_777, 48_101] {
        assert_ne!(lines("0.0.0.0", port), lines("0.0.0.0", 42_849));
    }
}
