//! What the running camera says: its servers, its addresses, and who is connected to it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Allowed;
use crate::edits::Edits;
use crate::report::{Measure, Status};

/// The most lines of a table that are read.
const MAX_LINES: usize = 4096;
/// The most peers and addresses that are kept.
const MAX_PEERS: usize = 32;
/// The longest table of the kernel that is read.
const MAX_TABLE_BYTES: u64 = 1 << 20;
/// `TCP_ESTABLISHED` in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
const SSH: &str = "SSH";
/// Where cameras give video or a login to others, and what it is.
const WATCHED_PORTS: &[(u16, &str)] = &[
    (22, SSH),
    (554, "RTSP"),
    (8554, "RTSP"),
    (80, "HTTP or ONVIF"),
    (8000, "HTTP or ONVIF"),
    (8080, "HTTP or ONVIF"),
    (8899, "ONVIF"),
    (34567, "DVRIP"),
];

/// Somebody who is connected to a port where this camera gives video or a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub addr: IpAddr,
    /// The port here.
    pub port: u16,
    /// What is spoken there.
    pub what: &'static str,
}

/// Who is asked before something closes that they may be using.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Who may stay.
    pub allowed: Vec<Allowed>,
    /// Where this camera gives video, beside the usual ports.
    pub ports: Vec<u16>,
    /// The others are cut off.
    pub cut: bool,
}

/// Names everybody who is connected where this camera gives video, and would lose it to a measure. Says whether it can go
/// on: else it waits for a decision.
pub fn watchers_agree(edits: &mut Edits<'_>, measure: Measure, watch: &Watch) -> bool {
    let root = edits.root();
    let mut ports = watch.ports.clone();
    for listener in edits.listeners().unwrap_or_default() {
        if listener.processes.iter().any(|process| process.vital.is_some()) {
            ports.push(listener.port);
        }
    }
    let firewall = measure == Measure::Firewall;
    let mut agree = true;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = root.head(table, MAX_TABLE_BYTES).unwrap_or_default();
        for Peer { addr, port, what } in peers(&String::from_utf8_lossy(&text), &ports) {
            let allowed = watch.allowed.iter().any(|allowed| allowed.covers(addr, port));
            // Whoever is logged in stays so with another password.
            let keeps = if firewall { allowed } else { what == SSH };
            if keeps {
                continue;
            }
            let who = format!("{addr} is connected to port {port} ({what})");
            let (status, text) = if !allowed && !watch.cut {
                agree = false;
                let place = SocketAddr::new(addr, port);
                let text =
                    format!("waits: {who}. `list allow_lan '{place}'` lets it stay, --cut cuts it off");
                (Status::Fails, text)
            } else {
                let becomes = if firewall {
                    "is cut off"
                } else {
                    "needs the new password"
                };
                (Status::Notice, format!("{who} and {becomes}"))
            };
            edits.find(measure, status, None, text);
        }
    }
    agree
}

/// The peers in the text of `/proc/net/tcp` or `/proc/net/tcp6`, on these ports too. Connections of this camera with itself
/// are none.
#[must_use]
pub fn peers(table: &str, ports: &[u16]) -> Vec<Peer> {
    let mut peers = Vec::new();
    for line in table.lines().skip(1).take(MAX_LINES) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(remote), Some(ESTABLISHED)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Some((own, port)), Some((addr, _))) = (socket(local), socket(remote)) else {
            continue;
        };
        let known = WATCHED_PORTS.iter().find(|(media, _)| *media == port);
        let other = || ports.contains(&port).then_some("video");
        let Some(what) = known.map(|(_, what)| *what).or_else(other) else {
            continue;
        };
        let peer = Peer { addr, port, what };
        if !addr.is_loopback() && addr != own && !peers.contains(&peer) && peers.len() < MAX_PEERS {
            peers.push(peer);
        }
    }
    peers
}

/// Numbers of 32 bits in the byte order of the machine. IPv4 inside IPv6 is IPv4.
pub(crate) fn socket(text: &str) -> Option<(IpAddr, u16)> {
    let (addr, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in addr.as_bytes().chunks(8) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let addr: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => Ipv4Addr::from(v4).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some((addr, u16::from_str_radix(port, 16).ok()?))
}

/// The servers of a resolv.conf(5) that are not on this camera.
#[must_use]
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    servers(text, &["nameserver"]).0
}

/// The time servers of ntp.conf or OpenWrt's `/etc/config/system` that are addresses, and the names of the others,
/// which no rule can have.
#[must_use]
pub fn time_servers(text: &str) -> (Vec<IpAddr>, Vec<&str>) {
    servers(text, &["server", "pool", "peer"])
}

fn servers<'a>(text: &'a str, words: &[&str]) -> (Vec<IpAddr>, Vec<&'a str>) {
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    for line in text.lines().take(MAX_LINES) {
        let mut fields = line.split_ascii_whitespace().skip_while(|word| *word == "list");
        let (Some(word), Some(server)) = (fields.next(), fields.next()) else {
            continue;
        };
        let server = server.trim_matches(['\'', '"']);
        if !words.contains(&word) || server.is_empty() {
            continue;
        }
        let bare = server.split('%').next().unwrap_or_default();
        match bare.parse::<IpAddr>() {
            Ok(addr) if addr.is_loopback() || addr.is_unspecified() || addresses.contains(&addr) => {}
            Ok(addr) if addresses.len() < super::MAX_SERVERS => addresses.push(addr),
            Err(_) if names.len() < super::MAX_SERVERS => names.push(server),
            _ => {}
        }
    }
    (addresses, names)
}

/// This camera's IPv4 addresses, from the text of `/proc/net/fib_trie`.
#[must_use]
pub fn own_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut last = None;
    for line in trie.lines().take(MAX_LINES) {
        let line = line.trim_start();
        if let Some(addr) = line.strip_prefix("|-- ") {
            last = addr.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(addr) = last
            && !addr.is_loopback()
            && !found.contains(&addr)
            && found.len() < MAX_PEERS
        {
            found.push(addr);
        }
    }
    found
}

/// This camera's IPv6 addresses but for `::1`, from the text of `/proc/net/if_inet6`.
#[must_use]
pub fn own_addresses6(table: &str) -> Vec<Ipv6Addr> {
    let addresses = table.lines().take(MAX_LINES).filter_map(|line| {
        let hex = line
            .split_ascii_whitespace()
            .next()
            .filter(|hex| hex.len() == 32)?;
        u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from)
    });
    addresses
        .filter(|addr| !addr.is_loopback())
        .take(MAX_PEERS)
        .collect()
}
