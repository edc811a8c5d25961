//! A stub resolver without sockets (RFC 1034, 1035, 3596): the caller carries the datagrams.
//!
//! Every [`Transmit`] wants a new socket of its own, connected to its server: random ports come from the kernel,
//! random ids from the seed. The caller closes a query's socket when [`Lookup::wants`] turns false.

mod conf;
mod lookup;
mod message;

use core::fmt;
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use conf::ResolvConf;
pub use lookup::Lookup;
use message::Name;

/// Monotonic time since an arbitrary fixed start.
pub type Now = Duration;

/// Knows the name servers and the hosts file.
#[derive(Debug, Clone)]
pub struct Resolver {
    conf: Arc<ResolvConf>,
    hosts: Vec<(String, IpAddr)>,
}

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

/// The most addresses a lookup gives.
pub const MAX_ADDRESSES: usize = 16;

impl Resolver {
    /// Takes the texts of resolv.conf(5) and hosts(5). Lines that make no sense are passed over. Without a name
    /// server in it the one on this machine is asked, as resolv.conf(5) says.
    #[must_use]
    pub fn new(resolv_conf: &str, hosts: &str) -> Self {
        Self {
            conf: Arc::new(conf::resolv_conf(resolv_conf)),
            hosts: conf::hosts(hosts),
        }
    }

    /// Starts a lookup. `seed` must be random: the ids of the queries come from it. Addresses, names of the hosts
    /// file and `localhost` (RFC 6761, section 6.3) are answered without a query.
    #[must_use]
    pub fn start(&self, now: Now, host: &str, seed: [u8; 16]) -> Lookup {
        let known = self.known(host);
        if !known.is_empty() {
            return Lookup::done(Ok(known), Arc::clone(&self.conf));
        }
        let names = self.names(host);
        if names.is_empty() {
            return Lookup::done(Err(DnsError::BadName), Arc::clone(&self.conf));
        }
        Lookup::asking(now, names, Arc::clone(&self.conf), seed)
    }

    fn known(&self, host: &str) -> Vec<IpAddr> {
        if let Ok(ip) = host.parse() {
            return vec![ip];
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let of_host = self.hosts.iter().filter(|(name, _)| *name == host);
        let addresses: Vec<IpAddr> = of_host.map(|(_, ip)| *ip).take(MAX_ADDRESSES).collect();
        if addresses.is_empty() && host == "localhost" {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        addresses
    }

    /// A name with a dot in it is taken as it is; one without is tried in the search domains first.
    fn names(&self, host: &str) -> Vec<Name> {
        let mut names = Vec::new();
        if !host.contains('.') {
            let search = self.conf.search.iter();
            names.extend(search.filter_map(|domain| Name::parse(&format!("{host}.{domain}"))));
        }
        names.extend(Name::parse(host));
        names
    }
}

#[cfg(test)]
mod tests;
