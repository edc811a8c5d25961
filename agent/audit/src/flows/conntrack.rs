//! Connection tracking: lines of `/proc/net/nf_conntrack` (or the older `ip_conntrack`), and messages of ctnetlink.

use std::net::{IpAddr, SocketAddr};

use super::attributes::{Attributes, address, array};
use super::{Connection, Counts, Opener, Source};

/// `IPCTNL_MSG_CT_GET` of `NFNL_SUBSYS_CTNETLINK`: what to ask for a dump with.
pub const DUMP: u16 = 0x0101;
/// `struct nfgenmsg`: every family, version 0.
pub const DUMP_BODY: [u8; 4] = [0; 4];
/// `IPCTNL_MSG_CT_NEW`: what a dump answers with.
const ENTRY: u16 = 0x0100;

/// One direction of an entry.
#[derive(Debug, Clone, Copy)]
struct Way {
    from: SocketAddr,
    to: SocketAddr,
    packets: Option<u64>,
    bytes: Option<u64>,
}

/// A line of `/proc`. `None` for what is not a connection of an address that `is_ours`.
#[must_use]
pub fn parse_line(line: &str, is_ours: impl Fn(IpAddr) -> bool) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace();
    // The older file leaves the family out.
    let protocol = match words.next()? {
        "ipv4" | "ipv6" => words.nth(2)?,
        _ => words.next()?,
    };
    let nowhere = SocketAddr::from(([0; 4], 0));
    let mut ways = [Way {
        from: nowhere,
        to: nowhere,
        packets: None,
        bytes: None,
    }; 2];
    let mut seen = 0;
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            continue;
        };
        seen += usize::from(name == "src");
        let Some(way) = seen.checked_sub(1).and_then(|index| ways.get_mut(index)) else {
            continue;
        };
        match name {
            "src" => way.from.set_ip(value.parse().ok()?),
            "dst" => way.to.set_ip(value.parse().ok()?),
            "sport" => way.from.set_port(value.parse().ok()?),
            "dport" => way.to.set_port(value.parse().ok()?),
            "packets" => way.packets = value.parse().ok(),
            "bytes" => way.bytes = value.parse().ok(),
            _ => {}
        }
    }
    (seen >= 2).then(|| connection(protocol.parse().ok()?, ways, is_ours))?
}

/// A message of a dump: its type, and what follows its header. `None` as in [`parse_line`].
#[must_use]
pub fn parse_message(kind: u16, message: &[u8], is_ours: impl Fn(IpAddr) -> bool) -> Option<Connection> {
    if kind != ENTRY {
        return None;
    }
    let entry = Attributes(message.get(DUMP_BODY.len()..)?);
    // CTA_TUPLE_ORIG with CTA_COUNTERS_ORIG, and the same of the replies.
    let (protocol, original) = way(entry, 1, 9)?;
    let (_, reply) = way(entry, 2, 10)?;
    connection(protocol, [original, reply], is_ours)
}

fn way(entry: Attributes<'_>, tuple: u16, counters: u16) -> Option<(u8, Way)> {
    let tuple = entry.nested(tuple);
    // CTA_TUPLE_IP has addresses of 4 bytes (1, 2) or of 16 (3, 4).
    let ip = tuple.nested(1);
    let end = |v4, v6| address(ip.value(v4)).or_else(|| address(ip.value(v6)));
    let (from, to) = (end(1, 3)?, end(2, 4)?);
    // CTA_TUPLE_PROTO: number and ports.
    let proto = tuple.nested(2);
    let port = |kind| array(proto.value(kind), 0).map_or(0, u16::from_be_bytes);
    let counters = entry.nested(counters);
    // 64 bits (1, 2), or 32 (3, 4) before Linux 3.0.
    let count = |wide, narrow| {
        array(counters.value(wide), 0)
            .map(u64::from_be_bytes)
            .or_else(|| array(counters.value(narrow), 0).map(|count| u32::from_be_bytes(count).into()))
    };
    let way = Way {
        from: SocketAddr::new(from, port(2)),
        to: SocketAddr::new(to, port(3)),
        packets: count(1, 3),
        bytes: count(2, 4),
    };
    Some((*proto.value(1).first()?, way))
}

fn connection(protocol: u8, ways: [Way; 2], is_ours: impl Fn(IpAddr) -> bool) -> Option<Connection> {
    let [original, reply] = ways;
    // The reply's source is where a translated connection really ended.
    let (opener, local, remote, out, into) = if is_ours(original.from.ip()) {
        (Opener::Camera, original.from, original.to, original, reply)
    } else if is_ours(reply.from.ip()) {
        (Opener::Peer, reply.from, original.from, reply, original)
    } else {
        return None;
    };
    Some(Connection {
        protocol,
        local,
        remote,
        opener,
        counts: Counts([out.bytes, into.bytes, out.packets, into.packets]),
        source: if out.bytes.is_some() {
            Source::Conntrack
        } else {
            Source::Proc
        },
        program: None,
    })
}
