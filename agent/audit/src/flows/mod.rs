//! Who the camera talks to: samples of its connections go in, records by peer, protocol and port come out.
//!
//! A sample is what the kernel shows at one moment. Connections that begin and end between two samples are not in it;
//! their bytes are in the interfaces' counters alone, and so come out as *unexplained*.
//!
//! It reads nothing itself: [`conntrack`], [`sockets`] and [`interfaces`] understand bytes that others have read.

pub mod attributes;
pub mod conntrack;
pub mod interfaces;
pub mod saved;
pub mod sockets;
mod state;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub use state::{Flow, State};

/// The most records that are kept; the one that was idle longest makes room.
pub const MAX_FLOWS: usize = 256;
/// The most connections whose counters are remembered until the next sample.
pub const MAX_CONNECTIONS: usize = 512;
/// The most interfaces that are counted.
pub const MAX_INTERFACES: usize = 16;
/// The longest name of a program or an interface, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The most sentences on what could not be seen.
pub const MAX_BLIND: usize = 8;

/// Names of the four counters, in the order of [`Counts`].
pub const COUNTERS: [&str; 4] = ["bytes_out", "bytes_in", "packets_out", "packets_in"];

/// Bytes out and in, packets out and in; `None` where the source cannot say. Bytes are those of IP packets, headers
/// included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts(pub [Option<u64>; 4]);

impl Counts {
    /// All four.
    #[must_use]
    pub fn known(bytes_out: u64, bytes_in: u64, packets_out: u64, packets_in: u64) -> Self {
        Self([bytes_out, bytes_in, packets_out, packets_in].map(Some))
    }

    /// Adds what is known of `more`.
    pub fn add(&mut self, more: &Self) {
        for (total, more) in self.0.iter_mut().zip(more.0) {
            if let Some(more) = more {
                *total = Some(total.unwrap_or(0).saturating_add(more));
            }
        }
    }

    /// The four numbers, what is not known as 0.
    #[must_use]
    pub fn or_zero(&self) -> [u64; 4] {
        self.0.map(|count| count.unwrap_or(0))
    }

    /// Whether anything was counted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.or_zero() != [0; 4]
    }
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// The camera: the peer's port says what for.
    Camera,
    /// The peer: the camera's port says what for.
    Peer,
}

impl Opener {
    /// `out` or `in`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "out",
            Self::Peer => "in",
        }
    }
}

/// What a connection's counters, if it has any, come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `/proc/net`: no counters.
    Proc,
    /// `tcp_info` of INET_DIAG: payload and segments, from which the bytes of IP packets are reckoned.
    Diag,
    /// Connection tracking: bytes and packets as they passed.
    Conntrack,
}

impl Source {
    /// The name in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Diag => "tcp_info",
            Self::Conntrack => "conntrack",
        }
    }
}

/// One connection at the moment of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// IANA's number: 6 is TCP, 17 is UDP.
    pub protocol: u8,
    /// The camera's end.
    pub local: SocketAddr,
    /// The peer's end; port 0 for protocols without ports.
    pub remote: SocketAddr,
    /// Who opened it.
    pub opener: Opener,
    /// What passed since it was opened.
    pub counts: Counts,
    /// Where the counters come from.
    pub source: Source,
    /// The program on the camera.
    pub program: Option<String>,
}

impl Connection {
    fn same(&self, other: &Self) -> bool {
        (self.protocol, self.local, self.remote) == (other.protocol, other.local, other.remote)
    }
}

/// An interface and its counters since it came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes out and in, packets out and in, link headers included.
    pub counters: [u64; 4],
}

/// What the kernel shows at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Milliseconds since 1970, by the camera's clock.
    pub time_ms: u64,
    /// Milliseconds since the camera started.
    pub uptime_ms: u64,
    /// Connections, each once.
    pub connections: Vec<Connection>,
    /// Interfaces that lead outside.
    pub interfaces: Vec<Interface>,
    /// What could not be seen, in sentences.
    pub blind: Vec<String>,
}

/// The protocol's name, or its number.
#[must_use]
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        other => other.to_string(),
    }
}

/// A name that is safe to show: no control characters, of bounded length.
#[must_use]
pub fn clean_name(name: &str) -> String {
    let mut clean = String::new();
    for c in name.chars() {
        if clean.len() + c.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        clean.push(if c.is_control() { '?' } else { c });
    }
    clean
}

/// Whether an address is nobody else's: loopback or none.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}
