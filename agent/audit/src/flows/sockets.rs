//! Sockets: lines of `/proc/net/tcp` and its relatives, and messages of INET_DIAG.

use std::net::{IpAddr, SocketAddr};

use super::attributes::{Attributes, address, array};
use super::{Connection, Counts, Opener, Source};

/// IANA's number of TCP.
pub const TCP: u8 = 6;
/// IANA's number of UDP.
pub const UDP: u8 = 17;

/// `SOCK_DIAG_BY_FAMILY`: what to ask for a dump with.
pub const DUMP: u16 = 20;
/// `TCP_LISTEN`.
const LISTEN: u8 = 10;
/// `INET_DIAG_INFO`.
const INFO: u16 = 2;
/// `struct inet_diag_msg`.
const MESSAGE_BYTES: usize = 72;
/// Headers of a TCP segment: IPv4's and TCP's without options.
const TCP_HEADERS_BYTES: u64 = 40;
/// What IPv6's header has more.
const IPV6_MORE_BYTES: u64 = 20;
/// The time stamps that most segments carry, with their padding.
const TIMESTAMPS_BYTES: u64 = 12;
/// `TCPI_OPT_TIMESTAMPS`.
const OPTION_TIMESTAMPS: u8 = 1;

/// A socket of the camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// IANA's number.
    pub protocol: u8,
    /// The camera's end.
    pub local: SocketAddr,
    /// The peer's; unspecified where there is none.
    pub remote: SocketAddr,
    /// Whether it waits for connections.
    pub listening: bool,
    /// By which its process is found; 0 if it has none any more.
    pub inode: u64,
    /// What its connection carried.
    pub counts: Counts,
    /// Where that comes from.
    pub source: Source,
}

/// A line of `/proc/net/{tcp,tcp6,udp,udp6}`; `None` for its heading and for what cannot be read.
#[must_use]
pub fn parse_line(protocol: u8, line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = end(words.next()?)?;
    let remote = end(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    Some(Socket {
        protocol,
        local,
        remote,
        listening: protocol == TCP && state == LISTEN,
        inode: words.nth(5)?.parse().ok()?,
        counts: Counts::default(),
        source: Source::Proc,
    })
}

/// Words of 32 bits in the machine's own order, and the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (hex, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    let mut length = 0;
    for (word, digits) in bytes.chunks_mut(4).zip(hex.as_bytes().chunks(8)) {
        let digits = core::str::from_utf8(digits).ok()?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
        length += digits.len() / 2;
    }
    (length * 2 == hex.len()).then_some(())?;
    Some(SocketAddr::new(
        address(bytes.get(..length)?)?,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

/// All states, to [`request`].
pub const EVERY_STATE: u32 = u32::MAX;

/// `struct inet_diag_req_v2`: the TCP sockets of an address family in some states (a bit each), with `tcp_info`.
#[must_use]
pub fn request(family: u8, states: u32) -> [u8; 56] {
    let mut request = [0; 56];
    request[0] = family;
    request[1] = TCP;
    request[2] = 1 << (INFO - 1);
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    request
}

/// A message of a dump: its type, and what follows its header.
#[must_use]
pub fn parse_message(kind: u16, message: &[u8]) -> Option<Socket> {
    if kind != DUMP {
        return None;
    }
    /// `AF_INET`; anything else here is `AF_INET6`.
    const INET: u8 = 2;
    let length = if *message.first()? == INET { 4 } else { 16 };
    let port = |at| array(message, at).map(u16::from_be_bytes);
    let ip = |at: usize| address(message.get(at..at + length)?);
    let local = SocketAddr::new(ip(8)?, port(4)?);
    let remote = SocketAddr::new(ip(24)?, port(6)?);
    let info = Attributes(message.get(MESSAGE_BYTES..)?).value(INFO);
    let counts = counts(info, local.is_ipv6());
    Some(Socket {
        protocol: TCP,
        local,
        remote,
        listening: *message.get(1)? == LISTEN,
        inode: u32::from_ne_bytes(array(message, 68)?).into(),
        counts,
        source: if counts == Counts::default() {
            Source::Proc
        } else {
            Source::Diag
        },
    })
}

/// Out of `struct tcp_info`, which grew at its end from kernel to kernel: payload (Linux 4.1), segments (4.2), and all
/// that was sent, repeats included (4.19).
fn counts(info: &[u8], ipv6: bool) -> Counts {
    let wide = |at| array(info, at).map(u64::from_ne_bytes);
    let narrow = |at| array(info, at).map(|count| u64::from(u32::from_ne_bytes(count)));
    let (payload_out, payload_in) = (wide(200).or_else(|| wide(120)), wide(128));
    let (segments_out, segments_in) = (narrow(136), narrow(140));
    let stamps = info
        .get(5)
        .is_some_and(|options| options & OPTION_TIMESTAMPS != 0);
    let headers = TCP_HEADERS_BYTES
        + if ipv6 { IPV6_MORE_BYTES } else { 0 }
        + if stamps { TIMESTAMPS_BYTES } else { 0 };
    let bytes = |payload: Option<u64>, segments: Option<u64>| {
        payload.map(|payload| payload.saturating_add(segments.unwrap_or(0).saturating_mul(headers)))
    };
    Counts([
        bytes(payload_out, segments_out),
        bytes(payload_in, segments_in),
        segments_out,
        segments_in,
    ])
}

impl Socket {
    /// As a connection; `None` for a socket without a peer. Who opened it is seen from what listens.
    #[must_use]
    pub fn connection(&self, listening: &[(u8, u16)]) -> Option<Connection> {
        let called = listening.contains(&(self.protocol, self.local.port()));
        (!self.listening && self.remote.port() != 0).then_some(Connection {
            protocol: self.protocol,
            local: self.local,
            remote: self.remote,
            opener: if called { Opener::Peer } else { Opener::Camera },
            counts: self.counts,
            source: self.source,
            program: None,
        })
    }

    /// Whether a connection is this socket's.
    #[must_use]
    pub fn carries(&self, connection: &Connection) -> bool {
        let any = |ip: IpAddr| ip.is_unspecified();
        self.protocol == connection.protocol
            && self.local.port() == connection.local.port()
            && (any(self.local.ip()) || self.local.ip() == connection.local.ip())
            && (self.remote == connection.remote
                || self.protocol != TCP && any(self.remote.ip()) && self.remote.port() == 0)
    }
}
