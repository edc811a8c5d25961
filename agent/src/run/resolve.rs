//! Carries the queries of one lookup: a new socket, and so a new random port, for each.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use lenscap_uplink::table::Table;
use mio::net::{TcpStream, UdpSocket};

use super::net::{Net, Sock};
use crate::dns::{DnsError, Lookup, Protocol, QueryId, Transmit};

/// Queries with an open socket at one time.
const MAX_QUERIES: usize = 16;
/// Datagrams read from one socket in one pass.
const DATAGRAMS_PER_PASS: usize = 8;
/// Reads of one TCP answer in one pass.
const READS_PER_PASS: usize = 8;

#[derive(Debug)]
enum Query {
    Udp(Sock<UdpSocket>),
    Tcp { sock: Sock<TcpStream>, unsent: Vec<u8> },
}

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Resolving {
    lookup: Lookup,
    queries: Table<QueryId, Query>,
    net: Rc<Net>,
}

impl Resolving {
    pub(super) fn new(net: &Rc<Net>, lookup: Lookup) -> Self {
        Self {
            lookup,
            queries: Table::new(),
            net: Rc::clone(net),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.lookup.poll_timeout()
    }

    /// Moves bytes both ways; `Some` once the lookup has ended.
    pub(super) fn advance(
        &mut self,
        now: Duration,
        scratch: &mut [u8],
    ) -> Option<Result<Vec<IpAddr>, DnsError>> {
        if self.lookup.poll_timeout().is_some_and(|at| at <= now) {
            self.lookup.handle_timeout(now);
        }
        self.read_answers(now, scratch);
        while let Some(transmit) = self.lookup.poll_transmit() {
            let query = transmit.query;
            if self.queries.len() >= MAX_QUERIES || self.send(transmit).is_err() {
                self.lookup.handle_failure(now, query);
            }
        }
        self.queries.retain(|&id, _| self.lookup.wants(id));
        self.lookup.poll_result()
    }

    fn read_answers(&mut self, now: Duration, scratch: &mut [u8]) {
        let mut failed = Vec::new();
        for (&id, query) in &mut self.queries {
            let alive = match query {
                Query::Udp(sock) => read_datagrams(sock, &mut self.lookup, now, id, scratch),
                Query::Tcp { sock, unsent } => carry_stream(sock, unsent, &mut self.lookup, now, id, scratch),
            };
            if let Err(e) = alive {
                log::debug!("name server: {e}");
                failed.push(id);
            }
        }
        for id in failed {
            self.queries.remove(&id);
            self.lookup.handle_failure(now, id);
        }
    }

    fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        let Transmit {
            query,
            protocol,
            server,
            payload,
        } = transmit;
        let opened = match protocol {
            Protocol::Udp => {
                let any: IpAddr = if server.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
                socket.connect(server)?;
                let sock = self.net.add(socket)?;
                sock.io().send(&payload)?;
                Query::Udp(sock)
            }
            Protocol::Tcp => Query::Tcp {
                sock: self.net.connect(server)?,
                unsent: payload,
            },
        };
        self.queries.insert(query, opened);
        Ok(())
    }
}

fn read_datagrams(
    sock: &Sock<UdpSocket>,
    lookup: &mut Lookup,
    now: Duration,
    id: QueryId,
    scratch: &mut [u8],
) -> io::Result<()> {
    for _ in 0..DATAGRAMS_PER_PASS {
        if !sock.is_readable() {
            break;
        }
        match sock.recv_from(scratch) {
            Ok((n, from)) => lookup.handle_datagram(now, id, from, scratch.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn carry_stream(
    sock: &mut Sock<TcpStream>,
    unsent: &mut Vec<u8>,
    lookup: &mut Lookup,
    now: Duration,
    id: QueryId,
    scratch: &mut [u8],
) -> io::Result<()> {
    if !unsent.is_empty() && sock.poll_connected()? {
        match sock.write(unsent) {
            Ok(n) => drop(unsent.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    for _ in 0..READS_PER_PASS {
        if !sock.is_readable() {
            break;
        }
        match sock.read(scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => lookup.handle_stream(now, id, scratch.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
