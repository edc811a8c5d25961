//! The course of one lookup: which server is asked what, and when it is given up. All transitions are here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::conf::ResolvConf;
use super::message::{self, Answer, Kind, Name};
use super::{DnsError, MAX_ADDRESSES, Now, Protocol, QueryId, Transmit};

/// How long a whole lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the other family is waited for once one has addresses: some servers never answer for AAAA.
const OTHER_FAMILY_TIMEOUT: Duration = Duration::from_millis(500);
/// A message by TCP, with its length.
const MAX_STREAM_BYTES: usize = 2 + 65_535;

/// One question for the addresses of one host.
#[derive(Debug)]
pub struct Lookup {
    result: Option<Result<Vec<IpAddr>, DnsError>>,
    finished: bool,
    conf: Arc<ResolvConf>,
    /// Names to try, the last one first.
    names: Vec<Name>,
    halves: [Half; 2],
    deadline: Now,
    seed: [u8; 16],
    queries: u32,
}

/// The question for one family.
#[derive(Debug)]
struct Half {
    kind: Kind,
    state: State,
    outgoing: Option<Transmit>,
    /// Queries sent so far, over all servers.
    tries: usize,
    /// A server said that it cannot say.
    failed: bool,
}

#[derive(Debug)]
enum State {
    Asking(Query),
    Answered(Vec<IpAddr>),
    NoData,
    NoName,
    Failed(DnsError),
}

#[derive(Debug)]
struct Query {
    name: Name,
    id: u16,
    query: QueryId,
    server: SocketAddr,
    deadline: Now,
    /// What came by TCP so far; `None` by UDP.
    stream: Option<Vec<u8>>,
}

impl Half {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::NoData,
            outgoing: None,
            tries: 0,
            failed: false,
        }
    }

    fn query(&self) -> Option<&Query> {
        match &self.state {
            State::Asking(query) => Some(query),
            _ => None,
        }
    }
}

impl Lookup {
    /// A lookup that is over.
    pub(super) fn done(result: Result<Vec<IpAddr>, DnsError>, conf: Arc<ResolvConf>) -> Self {
        Self {
            result: Some(result),
            finished: true,
            conf,
            names: Vec::new(),
            halves: [Half::new(Kind::A), Half::new(Kind::Aaaa)],
            deadline: Now::MAX,
            seed: [0; 16],
            queries: 0,
        }
    }

    /// A lookup of the first of these names that exists.
    pub(super) fn asking(now: Now, mut names: Vec<Name>, conf: Arc<ResolvConf>, seed: [u8; 16]) -> Self {
        names.reverse();
        let mut lookup = Self {
            result: None,
            finished: false,
            names,
            deadline: now + LOOKUP_TIMEOUT,
            seed,
            ..Self::done(Err(DnsError::BadName), conf)
        };
        lookup.next_name(now);
        lookup
    }

    /// The next query to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.halves.iter_mut().find_map(|half| half.outgoing.take())
    }

    /// The outcome, once there is one: addresses with the families taking turns, at most [`MAX_ADDRESSES`].
    pub fn poll_result(&mut self) -> Option<Result<Vec<IpAddr>, DnsError>> {
        self.result.take()
    }

    /// Whether a query's socket is still of use. If not, close it.
    #[must_use]
    pub fn wants(&self, query: QueryId) -> bool {
        self.index_of(query).is_some()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let queries = self
            .halves
            .iter()
            .filter_map(Half::query)
            .map(|query| query.deadline);
        queries.chain([self.deadline]).min().filter(|_| !self.finished)
    }

    /// A datagram that arrived at a query's socket.
    pub fn handle_datagram(&mut self, now: Now, query: QueryId, from: SocketAddr, bytes: &[u8]) {
        let Some(index) = self.index_of(query) else {
            return;
        };
        let expected = self.halves[index].query();
        if expected.is_some_and(|query| query.stream.is_none() && same_server(query.server, from)) {
            self.handle_message(now, index, bytes);
        }
    }

    /// Bytes that arrived at a TCP query's socket, in any pieces.
    pub fn handle_stream(&mut self, now: Now, query: QueryId, bytes: &[u8]) {
        let Some(index) = self.index_of(query) else {
            return;
        };
        let State::Asking(Query {
            stream: Some(stream), ..
        }) = &mut self.halves[index].state
        else {
            return;
        };
        let room = MAX_STREAM_BYTES - stream.len().min(MAX_STREAM_BYTES);
        stream.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let Some((prefix, rest)) = stream.split_first_chunk::<2>() else {
            return;
        };
        let Some(message) = rest
            .get(..usize::from(u16::from_be_bytes(*prefix)))
            .map(<[u8]>::to_vec)
        else {
            return;
        };
        self.handle_message(now, index, &message);
        // What came was no answer, and nothing else will come.
        if self.wants(query) {
            self.handle_failure(now, query);
        }
    }

    /// A query's socket failed, or its connection ended.
    pub fn handle_failure(&mut self, now: Now, query: QueryId) {
        if let Some(index) = self.index_of(query) {
            self.halves[index].failed = true;
            self.ask_next(now, index);
            self.settle(now);
        }
    }

    /// Time went by.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.finished {
            return;
        }
        let is_over = now >= self.deadline;
        for index in 0..self.halves.len() {
            let half = &mut self.halves[index];
            let Some(query) = half.query() else {
                continue;
            };
            if is_over {
                half.state = State::Failed(DnsError::Timeout);
            } else if now >= query.deadline {
                self.ask_next(now, index);
            }
        }
        self.settle(now);
    }

    fn index_of(&self, query: QueryId) -> Option<usize> {
        self.halves
            .iter()
            .position(|half| half.query().is_some_and(|asked| asked.query == query))
    }

    fn handle_message(&mut self, now: Now, index: usize, bytes: &[u8]) {
        let half = &mut self.halves[index];
        let State::Asking(query) = &half.state else {
            return;
        };
        let by_stream = query.stream.is_some();
        match message::answer(bytes, query.id, &query.name, half.kind) {
            None => return,
            Some(Answer::Addresses(addresses)) => {
                half.state = State::Answered(addresses);
                self.deadline = self.deadline.min(now + OTHER_FAMILY_TIMEOUT);
            }
            Some(Answer::NoData) => half.state = State::NoData,
            Some(Answer::NoName) => half.state = State::NoName,
            Some(Answer::Truncated) if !by_stream => {
                let (name, server) = (query.name.clone(), query.server);
                self.ask(now, index, name, server, Protocol::Tcp);
            }
            Some(Answer::Truncated | Answer::Failure) => {
                half.failed = true;
                self.ask_next(now, index);
            }
        }
        self.settle(now);
    }

    /// Starts with the next name, if there is one.
    fn next_name(&mut self, now: Now) -> bool {
        let Some(name) = self.names.pop() else {
            return false;
        };
        for index in 0..self.halves.len() {
            self.halves[index] = Half::new(self.halves[index].kind);
            let server = self.conf.servers[0];
            self.ask(now, index, name.clone(), server, Protocol::Udp);
        }
        true
    }

    /// Asks the next server the same, or gives up.
    fn ask_next(&mut self, now: Now, index: usize) {
        let half = &mut self.halves[index];
        let State::Asking(query) = &half.state else {
            return;
        };
        let servers = &self.conf.servers;
        if half.tries >= servers.len() * self.conf.attempts {
            half.state = State::Failed(if half.failed {
                DnsError::ServerFailure
            } else {
                DnsError::Timeout
            });
            return;
        }
        let server = servers[half.tries % servers.len()];
        let name = query.name.clone();
        self.ask(now, index, name, server, Protocol::Udp);
    }

    fn ask(&mut self, now: Now, index: usize, name: Name, server: SocketAddr, protocol: Protocol) {
        let (query, id) = self.next_id();
        let half = &mut self.halves[index];
        let mut payload = message::question(id, &name, half.kind);
        let stream = match protocol {
            Protocol::Udp => {
                half.tries += 1;
                None
            }
            Protocol::Tcp => {
                // A question has at most 271 bytes.
                let length = payload.len() as u16;
                payload.splice(0..0, length.to_be_bytes());
                Some(Vec::new())
            }
        };
        let deadline = now + self.conf.timeout;
        half.outgoing = Some(Transmit {
            query,
            protocol,
            server,
            payload,
        });
        half.state = State::Asking(Query {
            name,
            id,
            query,
            server,
            deadline,
            stream,
        });
    }

    /// A number for the caller, and an id that only who knows the seed can foretell (RFC 5452, section 9.2).
    fn next_id(&mut self) -> (QueryId, u16) {
        self.queries = self.queries.wrapping_add(1);
        let mut input = [0; 20];
        input[..16].copy_from_slice(&self.seed);
        input[16..].copy_from_slice(&self.queries.to_be_bytes());
        let hash = digest(&SHA256, &input);
        let id = match hash.as_ref() {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        };
        (QueryId(self.queries), id)
    }

    /// Ends the lookup, or goes on with the next name, once both families are settled.
    fn settle(&mut self, now: Now) {
        if self.finished || self.halves.iter().any(|half| half.query().is_some()) {
            return;
        }
        let states = [&self.halves[0].state, &self.halves[1].state];
        let addresses = merge(states);
        let failure = states.into_iter().find_map(|state| match state {
            State::Failed(error) => Some(*error),
            _ => None,
        });
        let no_name = states.into_iter().any(|state| matches!(state, State::NoName));
        let result = match failure {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(error) if !no_name => Err(error),
            _ if self.next_name(now) => return,
            _ if no_name => Err(DnsError::NotFound),
            _ => Err(DnsError::NoAddress),
        };
        self.result = Some(result);
        self.finished = true;
        for half in &mut self.halves {
            half.outgoing = None;
        }
    }
}

/// The families take turns, IPv4 first.
fn merge(states: [&State; 2]) -> Vec<IpAddr> {
    let mut lists = states.map(|state| match state {
        State::Answered(addresses) => addresses.iter(),
        _ => [].iter(),
    });
    let mut merged = Vec::new();
    while merged.len() < MAX_ADDRESSES {
        let before = merged.len();
        for list in &mut lists {
            merged.extend(list.next());
        }
        if merged.len() == before {
            break;
        }
    }
    merged.truncate(MAX_ADDRESSES);
    merged
}

/// The zone of a link-local address may or may not come back from the kernel.
fn same_server(server: SocketAddr, from: SocketAddr) -> bool {
    server.ip() == from.ip() && server.port() == from.port()
}
