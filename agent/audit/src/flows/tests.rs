use std::net::SocketAddr;

use proptest::prelude::*;

use super::attributes::Attributes;
use super::*;

const CAMERA: &str = "192.168.1.20:40000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(local: &str, remote: &str, counts: [u64; 4]) -> Connection {
    Connection {
        protocol: sockets::TCP,
        local: at(local),
        remote: at(remote),
        opener: Opener::Camera,
        counts: Counts(counts.map(Some)),
        source: Source::Conntrack,
        program: None,
    }
}

fn sample(minute: u64, connections: Vec<Connection>, counters: [u64; 4]) -> Sample {
    Sample {
        time_ms: 1_700_000_000_000 + minute * 60_000,
        uptime_ms: 5_000 + minute * 60_000,
        connections,
        interfaces: vec![Interface {
            name: "eth0".into(),
            counters,
        }],
        blind: Vec::new(),
    }
}

fn ours(address: IpAddr) -> bool {
    address == at(CAMERA).ip() || address == at("[fd00::20]:1").ip()
}

#[test]
fn conntrack_lines_are_read_in_every_form() {
    let line = "ipv4     2 tcp      6 431999 ESTABLISHED src=192.168.1.20 dst=203.0.113.7 sport=40000 dport=8443 packets=10 bytes=1000 src=203.0.113.7 dst=192.168.1.20 sport=8443 dport=40000 packets=8 bytes=900 [ASSURED] mark=0 zone=0 use=2";
    let expected = connection(CAMERA, "203.0.113.7:8443", [1000, 900, 10, 8]);
    assert_eq!(conntrack::parse_line(line, ours), Some(expected.clone()));
    // Linux before 2.6.14 and some vendors' 3.x: /proc/net/ip_conntrack.
    let old = line.strip_prefix("ipv4     2 ").unwrap();
    assert_eq!(conntrack::parse_line(old, ours), Some(expected));
    // Without nf_conntrack_acct there are no counters, and no claim is made.
    let silent = "ipv4 2 udp 17 29 src=192.168.1.20 dst=192.168.1.1 sport=5353 dport=53 [UNREPLIED] src=192.168.1.1 dst=192.168.1.20 sport=53 dport=5353 mark=0 use=2";
    let found = conntrack::parse_line(silent, ours).unwrap();
    assert_eq!((found.protocol, found.counts), (sockets::UDP, Counts::default()));
    assert_eq!(found.source, Source::Proc);
    // Somebody calls the camera through a port that a router or the camera itself translates.
    let called = "ipv4 2 tcp 6 100 ESTABLISHED src=192.168.1.9 dst=192.168.1.20 sport=1234 dport=80 packets=1 bytes=52 src=192.168.1.20 dst=192.168.1.9 sport=8080 dport=1234 packets=2 bytes=2000 use=1";
    let found = conntrack::parse_line(called, ours).unwrap();
    assert_eq!(found.opener, Opener::Peer);
    assert_eq!(
        (found.local, found.remote),
        (at("192.168.1.20:8080"), at("192.168.1.9:1234"))
    );
    assert_eq!(found.counts, Counts::known(2000, 52, 2, 1));
    let icmp = "ipv6 10 icmpv6 58 29 src=fd00::20 dst=fd00::1 type=128 code=0 id=7 packets=3 bytes=312 src=fd00::1 dst=fd00::20 type=129 code=0 id=7 packets=3 bytes=312 use=1";
    let found = conntrack::parse_line(icmp, ours).unwrap();
    assert_eq!((found.protocol, found.remote), (58, at("[fd00::1]:0")));
    let forwarded = "ipv4 2 tcp 6 9 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 use=1";
    assert_eq!(conntrack::parse_line(forwarded, ours), None);
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn tuple(kind: u16, from: &str, to: &str) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    let (from, to) = (at(from), at(to));
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let first = if from.is_ipv4() { 1 } else { 3 };
    let ip = [
        attribute(first, &octets(from.ip())),
        attribute(first + 1, &octets(to.ip())),
    ]
    .concat();
    let proto = [
        attribute(1, &[6]),
        attribute(2, &from.port().to_be_bytes()),
        attribute(3, &to.port().to_be_bytes()),
    ]
    .concat();
    attribute(
        kind | NESTED,
        &[attribute(1 | NESTED, &ip), attribute(2 | NESTED, &proto)].concat(),
    )
}

#[test]
fn ctnetlink_messages_say_the_same() {
    for (camera, peer) in [
        (CAMERA, "203.0.113.7:8443"),
        ("[fd00::20]:1", "[2001:db8::7]:443"),
    ] {
        let count = |kind, count: u64| attribute(kind, &count.to_be_bytes());
        let message = [
            conntrack::DUMP_BODY.to_vec(),
            tuple(1, camera, peer),
            tuple(2, peer, camera),
            attribute(9, &[count(1, 10), count(2, 1000)].concat()),
            attribute(
                10,
                &[
                    attribute(3, &8u32.to_be_bytes()),
                    attribute(4, &900u32.to_be_bytes()),
                ]
                .concat(),
            ),
        ]
        .concat();
        let found = conntrack::parse_message(0x0100, &message, ours).unwrap();
        assert_eq!(found, connection(camera, peer, [1000, 900, 10, 8]));
        assert_eq!(conntrack::parse_message(0x0101, &message, ours), None);
        for length in 0..message.len() {
            let _ = conntrack::parse_message(0x0100, &message[..length], ours);
        }
    }
}

#[test]
fn sockets_are_read_from_proc_and_from_diag() {
    // The kernel prints addresses as numbers of this machine, so this line is one of a little-endian one.
    if cfg!(target_endian = "little") {
        let line = "   0: 1401A8C0:9C40 0771 00";
        assert_eq!(sockets::parse_line(sockets::TCP, line), None);
        let line = "   3: 1401A8C0:9C40 077100CB:20FB 01 00000000:00000000 02:000A 00000000  1000        0 54321 2 0 20 4 30 10 -1";
        let socket = sockets::parse_line(sockets::TCP, line).unwrap();
        assert_eq!(
            (socket.local, socket.remote),
            (at(CAMERA), at("203.0.113.7:8443"))
        );
        assert_eq!((socket.inode, socket.listening), (54321, false));
        let line = "   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 77 1";
        let socket = sockets::parse_line(sockets::TCP, line).unwrap();
        assert!(socket.listening && socket.connection(&[]).is_none());
        let line = "   1: 0000000000000000FFFF00001401A8C0:0050 0000000000000000FFFF0000077100CB:1000 01 0:0 0:0 0 0 0 78 1";
        let socket = sockets::parse_line(sockets::TCP, line).unwrap();
        let found = socket.connection(&[(6, 80)]).unwrap();
        assert_eq!((found.opener, found.local), (Opener::Peer, at("192.168.1.20:80")));
    }
    let info = |length: usize| {
        let mut info = vec![0; 232];
        info[5] = 1;
        for (offset, value) in [(120, 50_000u64), (128, 700), (200, 52_000)] {
            info[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        }
        info[136..140].copy_from_slice(&40u32.to_ne_bytes());
        info[140..144].copy_from_slice(&30u32.to_ne_bytes());
        info.truncate(length);
        info
    };
    let message = |length| {
        let mut message = vec![2, 1, 0, 0];
        message.extend(40_000u16.to_be_bytes());
        message.extend(8443u16.to_be_bytes());
        message.extend([192, 168, 1, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.extend([203, 0, 113, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.resize(68, 0);
        message.extend(99u32.to_ne_bytes());
        message.extend(attribute(2, &info(length)));
        message
    };
    let counts = |length| sockets::parse_message(20, &message(length)).unwrap().counts;
    // IPv4, TCP and time stamps are 52 bytes of each segment. Older kernels say less, and then so do we.
    assert_eq!(
        counts(232),
        Counts::known(52_000 + 40 * 52, 700 + 30 * 52, 40, 30)
    );
    assert_eq!(
        counts(160),
        Counts::known(50_000 + 40 * 52, 700 + 30 * 52, 40, 30)
    );
    assert_eq!(counts(136), Counts([Some(50_000), Some(700), None, None]));
    assert_eq!(counts(104), Counts::default());
    let socket = sockets::parse_message(20, &message(232)).unwrap();
    assert_eq!((socket.inode, socket.source), (99, Source::Diag));
    assert_eq!(socket.remote, at("203.0.113.7:8443"));
}

#[test]
fn interfaces_are_read() {
    let line = "  eth0:12345678      90    0    0    0     0          0         0  9876543      80    0    0    0     0       0          0";
    let found = interfaces::parse_line(line).unwrap();
    assert_eq!(found.name, "eth0");
    assert_eq!(found.counters, [9_876_543, 12_345_678, 80, 90]);
    assert_eq!(
        interfaces::parse_line(" face |bytes    packets errs drop fifo"),
        None
    );
}

#[test]
fn what_passes_between_samples_is_added_up_and_explained() {
    let mut state = State::new(1);
    let peer = "203.0.113.7:8443";
    // What was before the first sample belongs to the flow; the interfaces have seen it at times unknown.
    let first = vec![connection(CAMERA, peer, [1000, 100, 10, 5])];
    state.handle_sample(sample(0, first, [50_000, 9_000, 100, 100]), 2);
    assert_eq!(state.flows[0].counts, Counts::known(1000, 100, 10, 5));
    assert_eq!((state.carried, state.explained), ([0; 4], [0; 4]));
    let next = vec![
        connection(CAMERA, peer, [3000, 200, 14, 7]),
        connection("192.168.1.20:40001", peer, [500, 50, 2, 2]),
    ];
    state.handle_sample(sample(1, next, [54_000, 9_500, 110, 110]), 2);
    assert_eq!(state.flows.len(), 1);
    let flow = &state.flows[0];
    assert_eq!(flow.counts, Counts::known(3500, 250, 16, 9));
    assert_eq!((flow.connections, flow.port, flow.cursor), (2, 8443, 3));
    assert_eq!(flow.last_ms - flow.first_ms, 60_000);
    assert_eq!(state.explained, [2500, 150, 6, 4]);
    // Link headers of 14 bytes are no IP packet's.
    assert_eq!(state.carried, [4000 - 140, 500 - 140, 10, 10]);
    assert_eq!(state.unexplained(), [1360, 210, 4, 6]);
    // An idle connection is not active, and not news.
    let idle = vec![connection(CAMERA, peer, [3000, 200, 14, 7])];
    state.handle_sample(sample(2, idle, [54_000, 9_500, 110, 110]), 2);
    assert_eq!((state.cursor, state.flows[0].last_ms), (3, 1_700_000_060_000));
}

#[test]
fn counters_that_go_backwards_are_told_apart() {
    let peer = "203.0.113.7:8443";
    let mut state = State::new(1);
    let near_wrap = u64::from(u32::MAX) - 99;
    state.handle_sample(sample(0, Vec::new(), [near_wrap, 5000, 90, 80]), 2);
    // A counter of 32 bits wrapped.
    state.handle_sample(sample(1, Vec::new(), [2400, 5300, 91, 81]), 2);
    assert_eq!((state.carried, state.resets), ([2500 - 14, 300 - 14, 1, 1], 0));
    // The interface went down and came up again: its packets are fewer as well.
    state.handle_sample(sample(2, Vec::new(), [400, 300, 1, 1]), 2);
    assert_eq!((state.carried, state.resets), ([2886 - 14, 586 - 14, 2, 2], 1));
    // One of 64 bits does not wrap.
    let mut wide = State::new(1);
    wide.handle_sample(sample(0, Vec::new(), [5_000_000_000, 0, 9, 9]), 2);
    wide.handle_sample(sample(1, Vec::new(), [700, 0, 9, 9]), 2);
    assert_eq!((wide.resets, wide.carried[2]), (1, 9));
    let ports = |counts| vec![connection(CAMERA, peer, counts)];
    state.handle_sample(sample(3, ports([9000, 900, 9, 9]), [400, 300, 1, 1]), 2);
    // The same ports again, for another connection.
    state.handle_sample(sample(4, ports([70, 60, 1, 1]), [400, 300, 1, 1]), 2);
    assert_eq!(state.flows[0].counts, Counts::known(9070, 960, 10, 10));
    assert_eq!((state.flows[0].connections, state.resets), (2, 2));
    // The camera started anew: nothing of before means anything now.
    let mut fresh = sample(0, ports([5, 5, 1, 1]), [10, 10, 1, 1]);
    fresh.uptime_ms = 10;
    state.handle_sample(fresh, 77);
    assert_eq!((state.epoch, state.samples, state.cursor), (77, 1, 1));
    assert_eq!(state.flows[0].counts, Counts::known(5, 5, 1, 1));
}

#[test]
fn a_clock_that_is_set_takes_the_times_along() {
    let mut state = State::new(1);
    let mut first = sample(0, vec![connection(CAMERA, "203.0.113.7:1", [1; 4])], [0; 4]);
    first.time_ms = 9_000;
    first.uptime_ms = 9_000;
    state.handle_sample(first, 2);
    let mut next = sample(0, vec![connection(CAMERA, "203.0.113.7:1", [2; 4])], [0; 4]);
    next.uptime_ms = 69_000;
    state.handle_sample(next, 2);
    let flow = &state.flows[0];
    assert_eq!(flow.last_ms - flow.first_ms, 60_000);
    assert_eq!(state.started_ms, 1_700_000_000_000 - 60_000);
}

#[test]
fn what_has_no_counters_is_recorded_without_them() {
    let mut state = State::new(1);
    let mut silent = connection(CAMERA, "203.0.113.7:5060", [0; 4]);
    silent.protocol = sockets::UDP;
    silent.counts = Counts::default();
    silent.source = Source::Proc;
    silent.program = Some("/tmp/dvrHelper".into());
    for minute in 0..3 {
        state.handle_sample(sample(minute, vec![silent.clone()], [0; 4]), 2);
    }
    let flow = &state.flows[0];
    assert_eq!(flow.counts, Counts::default());
    assert_eq!(flow.program.as_deref(), Some("/tmp/dvrHelper"));
    assert_eq!((flow.connections, flow.last_ms), (1, 1_700_000_120_000));
    // A connection that was counted and is closing keeps what it had.
    let counted = connection(CAMERA, "203.0.113.7:443", [900, 90, 9, 9]);
    state.handle_sample(sample(3, vec![counted.clone()], [0; 4]), 2);
    let closing = Connection {
        counts: Counts::default(),
        source: Source::Proc,
        ..counted
    };
    state.handle_sample(sample(4, vec![closing], [0; 4]), 2);
    assert_eq!(state.flows.last().unwrap().counts, Counts::known(900, 90, 9, 9));
    assert_eq!(state.flows.last().unwrap().source, Source::Conntrack);
}

#[test]
fn the_camera_itself_is_no_peer() {
    let mut state = State::new(1);
    let inside = ["127.0.0.1:554", "[::1]:80", "0.0.0.0:68"].map(|peer| connection(CAMERA, peer, [1; 4]));
    state.handle_sample(sample(0, inside.to_vec(), [0; 4]), 2);
    assert_eq!(state.flows, []);
}

#[test]
fn a_scanner_fills_no_table_beyond_its_bound() {
    let mut state = State::new(1);
    let uplink = connection(CAMERA, "203.0.113.7:8443", [1000, 1000, 10, 10]);
    state.handle_sample(sample(0, vec![uplink.clone()], [0; 4]), 2);
    let mut all: Vec<Connection> = (0..2000u32)
        .map(|n| {
            connection(
                "192.168.1.20:50000",
                &format!("198.51.{}.{}:23", n / 250, n % 250),
                [60, 0, 1, 0],
            )
        })
        .collect();
    let mut grown = uplink;
    grown.counts = Counts::known(2000, 1000, 11, 10);
    all.push(grown);
    state.handle_sample(sample(1, all, [0; 4]), 2);
    assert_eq!(state.flows.len(), MAX_FLOWS);
    assert_eq!(state.connections.len(), MAX_CONNECTIONS);
    // The connection that was known before goes on being counted.
    assert_eq!(state.untracked, 2001 - MAX_CONNECTIONS as u64);
    assert_eq!(state.evicted, MAX_CONNECTIONS as u64 - MAX_FLOWS as u64);
    assert_eq!(state.explained, [1000 + 511 * 60, 0, 1 + 511, 0]);
    let text = state.to_text();
    assert!(text.len() <= saved::MAX_BYTES, "{}", text.len());
}

#[test]
fn full_tables_of_the_longest_fields_fit_the_file() {
    let mut state = State::new(u64::MAX);
    let name = "\u{fffd}".repeat(MAX_NAME_BYTES / 3);
    let longest = |n: u32| Connection {
        local: at("[2001:db8:1111:2222:3333:4444:5555:6666]:60000"),
        remote: at(&format!("[2001:db8:ffff:ffff:ffff:ffff:ffff:{n:x}]:60000")),
        program: Some(name.clone()),
        ..connection(CAMERA, CAMERA, [u64::MAX; 4])
    };
    let connections = (0x1000..0x1000 + 512).map(longest).collect();
    state.handle_sample(sample(0, connections, [u64::MAX; 4]), 2);
    state.cursor = u64::MAX;
    let text = state.to_text();
    assert!(text.len() <= saved::MAX_BYTES, "{}", text.len());
    assert_eq!(
        State::from_text(&text).as_ref(),
        Some(&{
            // What only a sample has is not kept.
            state
                .connections
                .iter_mut()
                .for_each(|kept| kept.source = Source::Proc);
            state
        })
    );
}

#[test]
fn damaged_files_are_refused() {
    let mut state = State::new(3);
    state.handle_sample(
        sample(0, vec![connection(CAMERA, "203.0.113.7:1", [1; 4])], [1; 4]),
        2,
    );
    let text = state.to_text();
    assert!(State::from_text(&text).is_some());
    for damaged in [
        "",
        "lenscap flows 2\n",
        &text[..text.len() - 1],
        &text.replace("\nf\t1\t", "\nf\t9\t"),
        &text.replace("\nf\t", "\nx\t"),
        &text.replace("192.168.1.20", "192.168.1.200.1"),
        &format!("{text}{}", "i\ta\t0\t0\t0\t0\n".repeat(MAX_INTERFACES)),
    ] {
        assert_eq!(State::from_text(damaged), None, "{damaged}");
    }
}

fn any_counts() -> impl Strategy<Value = Counts> {
    proptest::array::uniform4(proptest::option::of(0..1_000_000u64)).prop_map(Counts)
}

fn any_connection() -> impl Strategy<Value = Connection> {
    (0..3u8, 0..4u8, 0..4u16, 0..4u16, any_counts(), any::<bool>()).prop_map(
        |(protocol, host, local, remote, counts, called)| Connection {
            protocol,
            local: SocketAddr::from(([192, 168, 1, 20], local)),
            remote: SocketAddr::from(([203, 0, 113, host], remote)),
            opener: if called { Opener::Peer } else { Opener::Camera },
            counts,
            source: Source::Diag,
            program: called.then(|| "p".into()),
        },
    )
}

proptest! {
    /// Whatever is seen: cursors rise, no account shrinks, and the file gives back what was written.
    #[test]
    fn accounts_never_shrink(samples in proptest::collection::vec(
        (proptest::collection::vec(any_connection(), 0..20), any::<[u32; 4]>()), 1..12)) {
        let mut state = State::new(9);
        for (minute, (connections, counters)) in samples.into_iter().enumerate() {
            let before = state.clone();
            let counters = counters.map(u64::from);
            state.handle_sample(sample(minute as u64, connections, counters), 2);
            for (old, new) in before.carried.iter().chain(&before.explained).zip(state.carried.iter().chain(&state.explained)) {
                prop_assert!(old <= new);
            }
            for flow in &before.flows {
                let key = |flow: &Flow| (flow.protocol, flow.opener.as_str(), flow.peer, flow.port);
                let now = state.flows.iter().find(|now| key(now) == key(flow)).unwrap();
                for (old, new) in flow.counts.0.iter().zip(now.counts.0) {
                    prop_assert!(*old <= new);
                }
            }
            prop_assert!(state.flows.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
            let text = state.to_text();
            let read = State::from_text(&text).unwrap();
            prop_assert_eq!(&read.flows, &state.flows);
            state = read;
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,120}") {
        let _ = conntrack::parse_message(0x0100, &bytes, ours);
        let _ = sockets::parse_message(20, &bytes);
        let _ = Attributes(&bytes).count();
        let _ = conntrack::parse_line(&text, ours);
        let _ = sockets::parse_line(17, &text);
        let _ = interfaces::parse_line(&text);
        let _ = State::from_text(&text);
    }

    #[test]
    fn names_are_bounded_and_printable(name in ".{0,100}") {
        let clean = clean_name(&name);
        prop_assert!(clean.len() <= MAX_NAME_BYTES && !clean.contains(char::is_control));
    }
}
