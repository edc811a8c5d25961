//! A stub resolver without sockets (RFC 1034, 1035, 3596): the caller carries the datagrams.
//!
//! Every [`Transmit`] wants a new socket of its own, connected to its server: random ports come from the kernel,
//! random ids from the seed. The caller closes a query's socket when [`Lookup::wants`] turns false.

use core::fmt;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

/// Monotonic time since an arbitrary fixed start.
pub type Now = Duration;

/// Knows the name servers and the hosts file.
#[derive(Debug, Clone)]
pub struct Resolver {}

/// One question for the addresses of one host.
#[derive(Debug)]
pub struct Lookup {}

/// One query that the caller sent, and its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueryId(u32);

/// How a query travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One datagram.
    Udp,
    /// A connection, after an answer that did not fit a datagram. The payload carries its length prefix.
    Tcp,
}

/// Bytes to send from a new socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Names the socket in later calls.
    pub query: QueryId,
    /// Datagram or connection.
    pub protocol: Protocol,
    /// Where to.
    pub server: SocketAddr,
    /// What.
    pub payload: Vec<u8>,
}

/// Why there are no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsError {
    /// Not a host name.
    BadName,
    /// The name does not exist.
    NotFound,
    /// The name exists and has no address.
    NoAddress,
    /// No name server could answer.
    ServerFailure,
    /// No name server answered in time.
    Timeout,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadName => "not a host name",
            Self::NotFound => "the name does not exist; check its spelling in the configuration",
            Self::NoAddress => "the name exists but has no address",
            Self::ServerFailure => "no name server could answer; check the name servers in resolv.conf",
            Self::Timeout => "no name server answered; check the network and the name servers in resolv.conf",
        })
    }
}

impl std::error::Error for DnsError {}

impl Resolver {
    /// Takes the texts of resolv.conf(5) and hosts(5). Lines that make no sense are passed over.
    #[must_use]
    pub fn new(resolv_conf: &str, hosts: &str) -> Self {
        let _ = (resolv_conf, hosts);
        unimplemented!()
    }

    /// Starts a lookup. `seed` must be random: the ids of the queries come from it.
    #[must_use]
    pub fn start(&self, now: Now, host: &str, seed: [u8; 16]) -> Lookup {
        let _ = (now, host, seed);
        unimplemented!()
    }
}

impl Lookup {
    /// The next query to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        unimplemented!()
    }

    /// A datagram that arrived at a query's socket.
    pub fn handle_datagram(&mut self, now: Now, query: QueryId, from: SocketAddr, bytes: &[u8]) {
        let _ = (now, query, from, bytes);
        unimplemented!()
    }

    /// Bytes that arrived at a TCP query's socket, in any pieces.
    pub fn handle_stream(&mut self, now: Now, query: QueryId, bytes: &[u8]) {
        let _ = (now, query, bytes);
        unimplemented!()
    }

    /// A query's socket failed, or its connection ended.
    pub fn handle_failure(&mut self, now: Now, query: QueryId) {
        let _ = (now, query);
        unimplemented!()
    }

    /// Time went by.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
        unimplemented!()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        unimplemented!()
    }

    /// Whether a query's socket is still of use. If not, close it.
    #[must_use]
    pub fn wants(&self, query: QueryId) -> bool {
        let _ = query;
        unimplemented!()
    }

    /// The outcome, once there is one: addresses with the families taking turns, at most [`MAX_ADDRESSES`].
    pub fn poll_result(&mut self) -> Option<Result<Vec<IpAddr>, DnsError>> {
        unimplemented!()
    }
}

/// The most addresses a lookup gives.
pub const MAX_ADDRESSES: usize = 16;
