//! The rules as a packet meets them, and the bytes as a kernel reads them. `agent/tests/firewall` asks a real kernel.

use core::net::IpAddr;

use proptest::prelude::*;

use super::nft::{self, End, Found};
use super::rule::{ICMPV6, TCP, UDP};
use super::xt::{self, Layout, Table};
use super::*;

const NONE: Abilities = Abilities {
    established: false,
    owner: false,
    limit: false,
};
/// The processors that cameras have, this one among them, and i386.
const LAYOUTS: [Layout; 3] = [
    Layout { align: 8, long: 8 },
    Layout { align: 8, long: 4 },
    Layout { align: 4, long: 4 },
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allowed(text: &str) -> Allowed {
    Allowed::parse(text).unwrap()
}

fn policy() -> Policy {
    Policy {
        uid: Some(312),
        ports: vec![443],
        allow_in: vec![allowed("192.168.1.10:554/tcp"), allowed("192.168.1.0/24:22")],
        allow_out: vec![allowed("[2001:db8::5]:8883/tcp")],
        dns: vec![ip("192.168.1.1")],
        ntp: vec![ip("192.168.1.1")],
        ..Policy::default()
    }
}

/// A packet as the rules see it.
#[derive(Debug, Clone, Copy)]
struct Packet {
    remote: IpAddr,
    protocol: u8,
    remote_port: u16,
    local_port: u16,
    flags: u8,
    icmp: u8,
    established: bool,
    uid: Option<u32>,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn tcp(remote: &str, remote_port: u16, local_port: u16, flags: u8) -> Packet {
    Packet {
        remote: ip(remote),
        protocol: TCP,
        remote_port,
        local_port,
        flags,
        icmp: 0,
        established: false,
        uid: Some(0),
    }
}

fn udp(remote: &str, remote_port: u16, local_port: u16) -> Packet {
    Packet {
        protocol: UDP,
        ..tcp(remote, remote_port, local_port, 0)
    }
}

fn fits(rule: &Rule, packet: &Packet) -> bool {
    let family = if packet.remote.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let within = |(first, last): (u16, u16), port| (first..=last).contains(&port);
    !rule.loopback
        && rule.family().is_none_or(|have| have == family)
        && rule.remote.is_none_or(|net| net.contains(packet.remote))
        && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && within(rule.remote_port, packet.remote_port)
        && within(rule.local_port, packet.local_port)
        && rule
            .flags
            .is_none_or(|flags| (packet.flags & flags.mask == flags.value) != flags.inverted)
        && rule.icmp.is_none_or(|icmp| icmp == packet.icmp)
        && (!rule.established || packet.established)
        && rule.uid.is_none_or(|uid| packet.uid == Some(uid))
}

fn passes(rules: &[Rule], packet: &Packet) -> bool {
    rules
        .iter()
        .find(|rule| fits(rule, packet))
        .is_some_and(|rule| rule.accept)
}

#[test]
fn networks_hold_what_they_should() {
    let net = Net::new(ip("192.168.1.77"), 24);
    assert_eq!(net.to_string(), "192.168.1.0/24");
    assert!(net.contains(ip("192.168.1.255")) && !net.contains(ip("192.168.2.1")));
    assert!(!net.contains(ip("::ffff:192.168.1.1")));
    assert!(Net::new(ip("1.2.3.4"), 0).contains(ip("255.255.255.255")));
    assert_eq!(Net::new(ip("fe80::1"), 200), Net::host(ip("fe80::1")));
    assert_eq!(Net::new(ip("fe80::1"), 10).bytes().1[..3], [0xff, 0xc0, 0]);
    assert_eq!(Net::new(ip("10.0.0.0"), 0).bytes().1, [0; 4]);
}

#[test]
fn what_is_allowed_is_read_and_written() {
    for text in [
        "192.168.1.10:554",
        "192.168.1.0/24:22/tcp",
        "[fd00::1]:123/udp",
        "[fd00::/8]:80",
        "0.0.0.0/0:8883/tcp",
    ] {
        assert_eq!(allowed(text).to_string(), text);
    }
    assert_eq!(allowed("192.168.1.9/24:22").to_string(), "192.168.1.0/24:22");
    for text in [
        "",
        "192.168.1.10",
        "192.168.1.10:0",
        "192.168.1.10:65536",
        "10.0.0.0/33:1",
        "fd00::1:554",
        "[1.2.3.4]:5",
        "a:1",
        "1.2.3.4:5/sctp",
        "[fd00::1:5",
        "[fd00::/129]:1",
    ] {
        let error = Allowed::parse(text).unwrap_err();
        assert!(error.starts_with("expected an address and a port"), "{text}");
    }
}

#[test]
fn strangers_stay_out_and_the_agent_gets_out() {
    for can in Abilities::best_first() {
        let rules = policy().rules(can);
        let enters = |packet| passes(&rules.input, &packet);
        let leaves = |packet| passes(&rules.output, &packet);
        let agent = |packet| Packet {
            uid: Some(312),
            ..packet
        };
        let answer = |packet| Packet {
            established: true,
            ..packet
        };
        for port in [22, 23, 80, 554, 8554, 34567] {
            for flags in [SYN, SYN | FIN, SYN | RST, SYN | FIN | RST] {
                for from in [443, 40_000] {
                    assert!(!enters(tcp("203.0.113.9", from, port, flags)), "{port} {flags}");
                }
            }
            let known = port < 1024 || can.established;
            assert!(!known || !enters(tcp("203.0.113.9", 443, port, ACK)), "{port}");
            assert!(!enters(udp("203.0.113.9", 53, port)), "{port}");
        }
        assert!(
            enters(tcp("192.168.1.10", 40_000, 554, SYN))
                && leaves(tcp("192.168.1.10", 40_000, 554, SYN | ACK))
        );
        assert!(
            !enters(tcp("192.168.1.11", 40_000, 554, SYN)) && !leaves(tcp("192.168.1.10", 40_000, 554, SYN))
        );
        assert!(enters(tcp("192.168.1.99", 40_000, 22, SYN)));
        assert!(
            leaves(udp("192.168.1.10", 50_000, 6970)),
            "RTP to whoever may ask for video"
        );

        assert!(
            leaves(agent(tcp("198.51.100.1", 443, 40_000, SYN)))
                && leaves(agent(tcp("198.51.100.1", 443, 40_000, ACK)))
        );
        assert_eq!(leaves(tcp("198.51.100.1", 443, 40_000, SYN)), !can.owner);
        assert_eq!(
            leaves(tcp("198.51.100.1", 443, 40_000, ACK)),
            !can.owner,
            "what malware has open is cut off"
        );
        let gone = Packet {
            uid: None,
            ..tcp("198.51.100.1", 443, 40_000, 0x11)
        };
        assert!(leaves(gone), "the kernel may say goodbye");
        assert!(!leaves(agent(tcp("198.51.100.1", 80, 40_000, SYN))));
        assert!(enters(answer(tcp("198.51.100.1", 443, 40_000, SYN | ACK))));
        assert_eq!(enters(tcp("198.51.100.1", 443, 40_000, ACK)), !can.established);
        assert!(!enters(answer(tcp("198.51.100.1", 443, 40_000, SYN))));

        assert!(leaves(udp("192.168.1.1", 53, 40_000)) && !leaves(udp("8.8.8.8", 53, 40_000)));
        assert!(
            enters(answer(udp("192.168.1.1", 53, 40_000))) && !enters(answer(udp("8.8.8.8", 53, 40_000)))
        );
        assert!(leaves(udp("192.168.1.1", 123, 123)) && !leaves(udp("8.8.8.8", 123, 123)));
        assert!(
            leaves(udp("192.168.7.7", 67, 68))
                && leaves(udp("255.255.255.255", 67, 68))
                && !leaves(udp("8.8.8.8", 67, 68))
        );
        assert!(
            leaves(tcp("2001:db8::5", 8883, 40_000, SYN)) && !leaves(tcp("2001:db8::6", 8883, 40_000, SYN))
        );
        let neighbour = |icmp| Packet {
            protocol: ICMPV6,
            icmp,
            ..udp("fe80::1", 0, 0)
        };
        assert!(
            enters(neighbour(135))
                && enters(neighbour(136))
                && enters(neighbour(134))
                && !enters(neighbour(128))
        );
        assert!(leaves(neighbour(135)) && leaves(neighbour(133)) && !leaves(neighbour(128)));
        assert!(enters(answer(neighbour(2))), "packet too big");
        assert!(!enters(udp("192.168.1.5", 40_000, 3702)) && !leaves(udp("239.255.255.250", 3702, 40_000)));
        for list in [&rules.input, &rules.output] {
            assert_eq!(list.last(), Some(&Rule::DROP));
            assert!(list.iter().all(|rule| can.limit || rule.limit.is_none()));
            assert!(list.iter().all(|rule| can.owner || rule.uid.is_none()));
            assert!(list.iter().all(|rule| can.established || !rule.established));
        }
    }
}

#[test]
fn without_name_servers_only_neighbours_are_asked() {
    let policy = Policy {
        dns: Vec::new(),
        ..policy()
    };
    for can in Abilities::best_first() {
        let rules = policy.rules(can);
        let neighbour = udp("10.3.2.1", 53, 40_000);
        assert_eq!(passes(&rules.output, &neighbour), can.established);
        let answer = Packet {
            established: true,
            ..neighbour
        };
        assert_eq!(passes(&rules.input, &answer), can.established);
        assert!(!passes(&rules.input, &neighbour), "a service of this camera");
        assert!(!passes(&rules.output, &udp("9.9.9.9", 53, 40_000)));
    }
}

#[test]
fn a_name_server_reaches_no_service_with_a_fixed_port() {
    for can in Abilities::best_first() {
        let rules = policy().rules(can);
        let enters = |packet| passes(&rules.input, &packet);
        let answer = Packet {
            established: true,
            ..udp("192.168.1.1", 53, 40_000)
        };
        assert!(enters(answer) && passes(&rules.output, &answer));
        for port in [69, 161, 514, 1023] {
            assert!(!enters(udp("192.168.1.1", 53, port)), "{port}");
        }
    }
}

#[test]
fn servers_that_were_known_stay_and_are_few() {
    let before = policy();
    let mut policy = policy();
    policy.add_servers(&[ip("192.168.1.1"), ip("9.9.9.9")], &[]);
    assert!(policy != before && policy.same_but_servers(&before));
    assert!(
        !Policy {
            uid: None,
            ..policy.clone()
        }
        .same_but_servers(&before)
    );
    assert_eq!(policy.dns, [ip("192.168.1.1"), ip("9.9.9.9")]);
    policy.add_servers(&[ip("9.9.9.9")], &[]);
    assert_eq!(policy.dns, [ip("9.9.9.9"), ip("192.168.1.1")]);
    // Those that are named last, or were before, go first.
    let many: Vec<IpAddr> = (0..20_u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    policy.add_servers(&many, &many);
    assert_eq!(
        (policy.dns.as_slice(), policy.ntp.len()),
        (&many[..MAX_SERVERS], MAX_SERVERS)
    );
}

#[test]
fn a_policy_is_kept_as_text() {
    let policy = Policy {
        discovery: true,
        no_ipv6: true,
        ipv6_was_off: true,
        blackhole: true,
        ..policy()
    };
    let text = policy.to_text();
    assert!(
        text.starts_with("lenscap-firewall 1\nuid 312\nport 443\nin 192.168.1.10:554/tcp\n"),
        "{text}"
    );
    assert_eq!(Policy::parse(&text), Some(policy));
    assert_eq!(Policy::parse("lenscap-firewall 1\n"), Some(Policy::default()));
    for damaged in [
        "",
        "lenscap-firewall 2\n",
        "lenscap-firewall 1\nport\n",
        "lenscap-firewall 1\nport x\n",
        "lenscap-firewall 1\nbad 1\n",
        "lenscap-firewall 1\nin \n",
    ] {
        assert_eq!(Policy::parse(damaged), None, "{damaged:?}");
    }
}

#[test]
fn peers_are_those_that_take_video() {
    // Addresses are numbers of 32 bits of this machine.
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let own = word([192, 168, 1, 20]);
    let (nvr, loopback) = (word([192, 168, 1, 10]), word([127, 0, 0, 1]));
    let mapped = format!(
        "{}{}{}{nvr}",
        word([0; 4]),
        word([0; 4]),
        word([0, 0, 0xff, 0xff])
    );
    let table = format!(
        "  sl  local_address rem_address st\n 0: {own}:022A {nvr}:9C40 01 0\n 1: {own}:022A {nvr}:9C41 01 0\n 2: {loopback}:022A {loopback}:9C42 01 0\n \
         3: {own}:022A {own}:9C43 01 0\n 4: {own}:9C44 {nvr}:022A 01 0\n 5: {own}:022A {nvr}:9C45 06 0\n 6: {own}:8707 {nvr}:9C46 01 0\n 8: {own}:0017 {nvr}:9C47 01 0\n nonsense\n 7: x:y z\n"
    );
    let peer = |port, what| Peer {
        addr: ip("192.168.1.10"),
        port,
        what,
    };
    assert_eq!(peers(&table, &[]), [peer(554, "RTSP"), peer(34567, "DVRIP")]);
    let also = [peer(554, "RTSP"), peer(34567, "DVRIP"), peer(23, "video")];
    assert_eq!(peers(&table, &[23, 554]), also);
    let table = format!(
        "head\n 0: {mapped}:0050 {mapped}:9C40 01 0\n 1: {0}{0}{0}{0}:0050 {mapped}:9C40 01 0\n",
        word([0; 4])
    );
    assert_eq!(peers(&table, &[]), [peer(80, "HTTP or ONVIF")]);
}

#[test]
fn servers_and_addresses_are_found_in_files() {
    assert_eq!(
        name_servers(
            "# c\nnameserver 127.0.0.1\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\nsearch lan\nnameserver 192.168.1.1\nnameserver x\n"
        ),
        [ip("192.168.1.1"), ip("fe80::1")]
    );
    let openwrt = "config timeserver 'ntp'\n\toption enabled '1'\n\tlist server '192.168.1.1'\n\tlist server '0.openwrt.pool.ntp.org'\n";
    assert_eq!(
        time_servers(openwrt),
        (vec![ip("192.168.1.1")], vec!["0.openwrt.pool.ntp.org"])
    );
    assert_eq!(
        time_servers("driftfile /x\nserver 10.0.0.1 iburst\npool ntp.example.org\n"),
        (vec![ip("10.0.0.1")], vec!["ntp.example.org"])
    );
    let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.168.1.0\n        /24 link UNICAST\n     |-- 192.168.1.20\n        /32 host LOCAL\nLocal:\n     |-- 192.168.1.20\n        /32 host LOCAL\n";
    assert_eq!(own_addresses(trie), [core::net::Ipv4Addr::new(192, 168, 1, 20)]);
}

/// Little-endian, as all processors that this is built for.
#[test]
fn a_rule_for_nf_tables_is_these_bytes() {
    let rules = Rules {
        input: vec![Rule {
            protocol: Some(TCP),
            local_port: (554, 554),
            ..Rule::ACCEPT
        }],
        output: Vec::new(),
    };
    let batch = nft::replace(&rules, true);
    // The last message but one; the last says that the batch is whole.
    let rule = &batch[batch.len() - 20 - 288..batch.len() - 20];
    let hex: String = rule.iter().map(|byte| format!("{byte:02x}")).collect();
    let element = |name: &str, data: &str| {
        let data = data.replace(' ', "");
        let padded = name.len().next_multiple_of(8);
        let name_length = 4 + name.len() / 2;
        let inner = 4 + data.len() / 2;
        format!(
            "{:02x}000180{name_length:02x}000100{name:0<padded$}{inner:02x}000280{data}",
            4 + 4 + padded / 2 + inner
        )
    };
    let (meta, cmp, payload) = ("6d65746100", "636d7000", "7061796c6f616400");
    let expected = [
        // Length, NFT_MSG_NEWRULE of subsystem 10, request | ack | create | append, sequence, inet.
        "20010000060a050c0700000000000000 01000000",
        // Table and chain.
        "0c0001006c656e7363617000 07000200696e0000 f8000480",
        &element(meta, "0800010000000001 0800020000000010"),
        &element(cmp, "0800010000000001 0800020000000000 0c0003800500010006000000"),
        &element(
            payload,
            "0800010000000001 0800020000000002 0800030000000002 0800040000000002",
        ),
        &element(cmp, "0800010000000001 0800020000000000 0c00038006000100022a0000"),
        &element("636f756e74657200", ""),
        &element(
            "696d6d65646961746500",
            "0800010000000000 1000028 00c000280 0800010000000001",
        ),
    ];
    assert_eq!(hex, expected.concat().replace(' ', ""));
    assert_eq!(batch[batch.len() - 16..][..2], [0x11, 0], "NFNL_MSG_BATCH_END");
    let judged = nft::replace(&rules, false);
    assert_eq!(judged, batch[..batch.len() - 20]);
}

#[test]
fn answers_end_and_are_refused() {
    let error = |code: i32| {
        let mut bytes = vec![20, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes
    };
    assert_eq!(nft::end(&error(0)), End::Done);
    assert_eq!(nft::end(&[error(0), error(-2)].concat()), End::Refused(2));
    assert_eq!(nft::end(&[]), End::Open);
    assert_eq!(nft::read(&[], &[], &policy().rules(NONE)), Found::Absent);
}

/// A table as a kernel has it after it was loaded: a policy for each hook, and the end.
fn fresh(family: Family, layout: Layout) -> (Vec<u8>, Vec<u8>) {
    let (ip, head) = match (family, layout.align) {
        (Family::V4, _) => (84, 112),
        (Family::V6, 8) => (136, 168),
        (Family::V6, _) => (136, 164),
    };
    let standard = (32_usize + 4).next_multiple_of(layout.align);
    let mut entries = Vec::new();
    let mut offsets = Vec::new();
    for (size, name, data) in [
        (standard, "", -2_i32),
        (standard, "", -2),
        (standard, "", -2),
        (64, "ERROR", 0),
    ] {
        offsets.push(entries.len() as u32);
        let mut entry = vec![0; head + size];
        entry[ip + 4..ip + 6].copy_from_slice(&(head as u16).to_ne_bytes());
        entry[ip + 6..ip + 8].copy_from_slice(&((head + size) as u16).to_ne_bytes());
        entry[head..head + 2].copy_from_slice(&(size as u16).to_ne_bytes());
        entry[head + 2..][..name.len()].copy_from_slice(name.as_bytes());
        if name.is_empty() {
            entry[head + 32..head + 36].copy_from_slice(&data.to_ne_bytes());
        } else {
            entry[head + 32..head + 37].copy_from_slice(b"ERROR");
        }
        entries.extend_from_slice(&entry);
    }
    let mut info = xt::info_request();
    let hooks = [0, offsets[0], offsets[1], offsets[2], 0];
    let words = [&[0xe][..], &hooks, &hooks, &[4, entries.len() as u32]].concat();
    for (at, word) in words.into_iter().enumerate() {
        info[32 + 4 * at..36 + 4 * at].copy_from_slice(&word.to_ne_bytes());
    }
    let mut answer = xt::entries_request(&info, layout).unwrap();
    let at = layout.entries_at();
    answer[at..].copy_from_slice(&entries);
    (info, answer)
}

/// What the kernel would show of a table that was put in place.
fn shown(block: &[u8], header: usize, layout: Layout) -> (Vec<u8>, Vec<u8>) {
    let word = |at: usize| u32::from_ne_bytes(block[at..at + 4].try_into().unwrap());
    let mut info = xt::info_request();
    info[32..36].copy_from_slice(&block[32..36]);
    info[36..76].copy_from_slice(&block[44..84]);
    info[76..84].copy_from_slice(&block[36..44]);
    let mut answer = xt::entries_request(&info, layout).unwrap();
    assert_eq!(word(40) as usize, block.len() - header);
    answer[layout.entries_at()..].copy_from_slice(&block[header..]);
    (info, answer)
}

#[test]
fn iptables_tables_are_laid_out_as_each_processor_wants_them() {
    let rules = policy().rules(Abilities::ALL);
    for layout in LAYOUTS {
        // struct ipt_replace: 96 bytes where 64 bits are aligned to 8.
        let header = if layout.align == 8 { 96 } else { 92 };
        for family in [Family::V4, Family::V6] {
            let (info, answer) = fresh(family, layout);
            let table = Table::parse(family, layout, &info, &answer).unwrap();
            assert_eq!(table.find(&rules), Found::Absent);
            let new = table.with(Some(&rules));
            assert_eq!(new.old_counter_bytes(), 4 * 16);
            let (info, answer) = shown(&new.block, header, layout);
            let put = Table::parse(family, layout, &info, &answer).unwrap();
            assert_eq!(
                put.find(&rules),
                Found::Same {
                    dropped_in: 0,
                    dropped_out: 0
                }
            );
            assert_eq!(put.find(&policy().rules(NONE)), Found::Different);
            // Again is the same, and back is what was.
            assert_eq!(put.with(Some(&rules)).block, put_again(&new.block, &put));
            let (first_info, first) = fresh(family, layout);
            assert_eq!(shown(&put.with(None).block, header, layout), (first_info, first));
            // Four counters, of which the kernel had counted some.
            let counted: Vec<u8> = (0..64).collect();
            let counters = new.counters(&counted);
            let start = 36_usize.next_multiple_of(layout.align);
            let own = counters.len() - start;
            assert_eq!(
                own / 16,
                u32::from_ne_bytes(new.block[36..40].try_into().unwrap()) as usize
            );
            assert_eq!(counters[start..start + 16], [0; 16], "our jump is new");
            assert_eq!(
                counters[start + 16..start + 32],
                counted[..16],
                "the firmware's first entry"
            );
            assert_eq!(counters[counters.len() - 16..], counted[48..]);
        }
    }
}

/// All but the number of old counters.
fn put_again(block: &[u8], table: &Table) -> Vec<u8> {
    let mut block = block.to_vec();
    let again = table.with(None).old_counter_bytes() / 16;
    block[84..88].copy_from_slice(&(again as u32).to_ne_bytes());
    block
}

#[test]
fn a_rule_for_iptables_is_these_bytes() {
    // The second user of structures that differ: a limit has a pointer and a long in it.
    let rule = Rule {
        remote: Some(Net::new(ip("10.1.0.0"), 16)),
        protocol: Some(UDP),
        remote_port: (53, 53),
        limit: Some((20, 40)),
        ..Rule::ACCEPT
    };
    let rules = Rules {
        input: Vec::new(),
        output: vec![rule],
    };
    for (layout, limit) in LAYOUTS.into_iter().zip([72_u16, 64, 60]) {
        let (info, answer) = fresh(Family::V4, layout);
        let block = Table::parse(Family::V4, layout, &info, &answer)
            .unwrap()
            .with(Some(&rules))
            .block;
        let udp = (32_u16 + 10).next_multiple_of(layout.align as u16);
        let size = 112 + usize::from(udp + limit) + 36_usize.next_multiple_of(layout.align);
        // Before the end of the chain and of the table.
        let behind = 112 + 36_usize.next_multiple_of(layout.align) + 112 + 64;
        let entry = &block[block.len() - behind - size..block.len() - behind];
        let half = |at: usize| u16::from_ne_bytes(entry[at..at + 2].try_into().unwrap());
        let number = |at: usize| u32::from_ne_bytes(entry[at..at + 4].try_into().unwrap());
        assert_eq!(entry[..16], [0, 0, 0, 0, 10, 1, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0]);
        assert_eq!(
            (half(80), half(88), half(90)),
            (17, 112 + udp + limit, size as u16)
        );
        assert_eq!((half(112), &entry[114..118]), (udp, &b"udp\0"[..]));
        assert_eq!([half(144), half(146), half(148), half(150)], [0, 65535, 53, 53]);
        let at = usize::from(112 + udp);
        assert_eq!((half(at), &entry[at + 2..at + 8]), (limit, &b"limit\0"[..]));
        assert_eq!((number(at + 32), number(at + 36)), (500, 40));
        let target = usize::from(112 + udp + limit);
        assert_eq!(number(target + 32) as i32, -5, "RETURN");
    }
}

#[test]
fn routes_lead_nowhere_but_where_they_should() {
    use super::routes::{Route, gateways, routes};
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let table = format!(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t{}\t00000000\t0001\t0\t0\t0\t00FFFFFF\neth0\t00000000\t{}\t0003\t0\t0\t0\t00000000\n",
        word([192, 168, 1, 0]),
        word([192, 168, 1, 1])
    );
    let table6 = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 1 0 3 eth0\n";
    let by = gateways(&table, table6);
    assert_eq!(by, [ip("192.168.1.1"), ip("fe80::1")]);
    assert!(gateways("", "").is_empty() && gateways("x\ny\n", "z\n").is_empty());
    let policy = Policy {
        dns: vec![ip("9.9.9.9"), ip("192.168.1.1")],
        allow_out: vec![
            allowed("198.51.100.0/24:443"),
            allowed("0.0.0.0/0:80"),
            allowed("10.1.1.1:5"),
        ],
        ..policy()
    };
    let list: Vec<String> = routes(&policy, &by[..1])
        .iter()
        .map(|Route { net, via }| via.map_or(format!("{net}"), |via| format!("{net} {via}")))
        .collect();
    let (near, far) = ("192.168.1.1", "192.168.1.1");
    assert_eq!(
        list,
        [
            &format!("9.9.9.9 {near}"),
            &format!("198.51.100.0/24 {far}"),
            "0.0.0.0/1",
            "128.0.0.0/1",
            "::/1",
            "8000::/1"
        ]
    );
}

#[test]
fn streamers_are_bound_to_the_loopback_interface_where_nothing_filters() {
    use crate::edits::Edits;
    use crate::report::Status;
    use crate::root::Root;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join("etc").join(name), text).unwrap();
    write(
        "go2rtc.yaml",
        "api:\n  listen: \"127.0.0.1:1984\"\nrtsp:\n  listen: \":8553\"\n",
    );
    write("mediamtx.yml", "# x\nrtspAddress: :8554\nrtpAddress: :8000\n");
    let root = Root::tree(dir.path()).unwrap();
    let mut edits = Edits::new(&root);
    rebind(&mut edits, &|port| port == 8554).unwrap();
    let planned: Vec<_> = edits
        .files()
        .map(|(path, edit)| (path, String::from_utf8_lossy(&edit.contents)))
        .collect();
    let expected = "api:\n  listen: \"127.0.0.1:1984\"\nrtsp:\n  listen: \"127.0.0.1:8553\"\n";
    assert_eq!(
        planned,
        [("/etc/go2rtc.yaml", expected.into())],
        "a port that somebody may reach stays"
    );
    let statuses: Vec<Status> = edits.findings.iter().map(|finding| finding.status).collect();
    assert_eq!(statuses, [Status::Planned, Status::Holds]);
    let mut edits = Edits::new(&root);
    rebind(&mut edits, &|_| false).unwrap();
    let changed = edits.read("/etc/mediamtx.yml").unwrap().unwrap();
    assert_eq!(changed, b"# x\nrtspAddress: 127.0.0.1:8554\nrtpAddress: :8000\n");
}

proptest! {
    #[test]
    fn any_bytes_are_no_danger(info in proptest::collection::vec(any::<u8>(), 0..100), bytes in proptest::collection::vec(any::<u8>(), 0..600), marked in any::<bool>()) {
        let rules = policy().rules(Abilities::ALL);
        let _ = nft::end(&bytes);
        let _ = nft::read(&bytes, &info, &rules);
        let _ = Policy::parse(&String::from_utf8_lossy(&bytes));
        let _ = peers(&String::from_utf8_lossy(&bytes), &[]);
        for layout in LAYOUTS {
            for family in [Family::V4, Family::V6] {
                let _ = xt::entries_request(&info, layout);
                // Bytes of a real table, some of them others'.
                let (real_info, mut answer) = fresh(family, layout);
                if marked {
                    for (at, byte) in info.iter().enumerate() {
                        let length = answer.len();
                        answer[(at * 37) % length] = *byte;
                    }
                } else {
                    answer.truncate(40);
                    answer.extend_from_slice(&bytes);
                }
                if let Some(table) = Table::parse(family, layout, &real_info, &answer) {
                    let _ = table.find(&rules);
                    let new = table.with(Some(&rules));
                    let _ = new.counters(&bytes);
                    let _ = table.with(None);
                }
            }
        }
    }

    /// However the kernel and the policy are: a stranger's first packet does not come in.
    #[test]
    fn no_stranger_ever_comes_in(port in any::<u16>(), from in any::<u32>(), source in any::<u16>(), bits in 0..8_usize) {
        let can = Abilities::best_first().nth(bits).unwrap();
        let rules = policy().rules(can);
        let remote = IpAddr::V4(from.into());
        let packet = Packet { remote, ..tcp("0.0.0.0", source, port, SYN) };
        let invited = policy().allow_in.iter().any(|allowed| allowed.covers(remote, port));
        prop_assert_eq!(passes(&rules.input, &packet), invited);
        let sent = Packet { uid: Some(1000), ..packet };
        let out = passes(&rules.output, &sent);
        let to_dns = remote == ip("192.168.1.1") && source == 53;
        prop_assert_eq!(out, to_dns || !can.owner && source == 443);
    }
}
