//! The accounts: what each sample adds to the records.

use std::net::IpAddr;

use super::{
    Connection, Counts, Interface, MAX_BLIND, MAX_CONNECTIONS, MAX_FLOWS, MAX_INTERFACES, Opener, Sample,
    Source, is_local,
};

/// A clock that is set by less is taken to run as before, in milliseconds.
const CLOCK_STEP_MS: i64 = 2000;
/// Ethernet's header, which interfaces count and connections do not.
const LINK_HEADER_BYTES: u64 = 14;

/// What one peer and one service have exchanged, over all their connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Grows whenever the record changes.
    pub cursor: u64,
    /// IANA's number.
    pub protocol: u8,
    /// Who opened the connections.
    pub opener: Opener,
    /// The peer.
    pub peer: IpAddr,
    /// The port of whoever was called: the peer's, or the camera's.
    pub port: u16,
    /// The camera's address, as seen last.
    pub local: IpAddr,
    /// When it was first seen, in milliseconds since 1970.
    pub first_ms: u64,
    /// When it was last active.
    pub last_ms: u64,
    /// Connections seen.
    pub connections: u64,
    /// What passed.
    pub counts: Counts,
    /// The best source of counters so far.
    pub source: Source,
    /// The program on the camera, as seen last.
    pub program: Option<String>,
}

/// Everything that is known from one sample to the next. [`saved`](super::saved) turns it into text and back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Tells one run of the accounts from another: counters of different epochs have nothing to do with each other.
    pub epoch: u64,
    /// The highest cursor given out.
    pub cursor: u64,
    /// When the accounts began, in milliseconds since 1970.
    pub started_ms: u64,
    /// The last sample's time.
    pub time_ms: u64,
    /// The last sample's time since the camera started.
    pub uptime_ms: u64,
    /// Samples taken.
    pub samples: u64,
    /// Records that had to make room.
    pub evicted: u64,
    /// Connections that were seen and not counted, since the table was full.
    pub untracked: u64,
    /// Counters that went backwards without having wrapped.
    pub resets: u64,
    /// What the interfaces carried between the first sample and the last, as IP packets.
    pub carried: [u64; 4],
    /// What of that belongs to known connections.
    pub explained: [u64; 4],
    /// What the last sample could not see.
    pub blind: Vec<String>,
    /// The records, the one that changed last at the end.
    pub flows: Vec<Flow>,
    /// Connections of the last sample.
    pub(super) connections: Vec<Connection>,
    /// Interfaces of the last sample.
    pub(super) interfaces: Vec<Interface>,
}

impl State {
    /// Accounts that have seen nothing.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Takes a sample into account. After a restart of the camera the accounts begin anew, with `new_epoch`.
    pub fn handle_sample(&mut self, sample: Sample, new_epoch: u64) {
        if sample.uptime_ms < self.uptime_ms {
            *self = Self::new(new_epoch);
        }
        if self.samples == 0 {
            self.started_ms = sample.time_ms;
        } else {
            self.follow_clock(&sample);
        }
        self.time_ms = sample.time_ms;
        self.uptime_ms = sample.uptime_ms;
        self.handle_interfaces(sample.interfaces);
        self.handle_connections(sample.connections);
        self.blind = sample.blind;
        self.blind.truncate(MAX_BLIND);
        self.blind
            .iter_mut()
            .for_each(|sentence| sentence.retain(|c| !c.is_control()));
        self.samples += 1;
    }

    /// What the interfaces carried and no known connection accounts for.
    #[must_use]
    pub fn unexplained(&self) -> [u64; 4] {
        let mut rest = self.carried;
        for (rest, explained) in rest.iter_mut().zip(self.explained) {
            *rest = rest.saturating_sub(explained);
        }
        rest
    }

    /// When the clock is set, times from before are moved with it: cameras start in 1970.
    fn follow_clock(&mut self, sample: &Sample) {
        let offset =
            |time_ms: u64, uptime_ms: u64| time_ms.cast_signed().wrapping_sub(uptime_ms.cast_signed());
        let step =
            offset(sample.time_ms, sample.uptime_ms).wrapping_sub(offset(self.time_ms, self.uptime_ms));
        if step.unsigned_abs() < CLOCK_STEP_MS.unsigned_abs() {
            return;
        }
        self.started_ms = self.started_ms.saturating_add_signed(step);
        for flow in &mut self.flows {
            flow.first_ms = flow.first_ms.saturating_add_signed(step);
            flow.last_ms = flow.last_ms.saturating_add_signed(step);
        }
    }

    fn handle_interfaces(&mut self, mut interfaces: Vec<Interface>) {
        interfaces.truncate(MAX_INTERFACES);
        for interface in &interfaces {
            let before = self
                .interfaces
                .iter()
                .find(|before| before.name == interface.name);
            // One that appeared since the last sample has counted from zero; before the first, nobody looked.
            let before = match before {
                Some(before) => before.counters,
                None if self.samples > 0 => [0; 4],
                None => continue,
            };
            let (mut delta, is_reset) = advance(before, interface.counters);
            self.resets += u64::from(is_reset);
            for way in 0..2 {
                let headers = delta[way + 2].saturating_mul(LINK_HEADER_BYTES);
                delta[way] = delta[way].saturating_sub(headers);
            }
            add(&mut self.carried, delta);
        }
        self.interfaces = interfaces;
    }

    fn handle_connections(&mut self, connections: Vec<Connection>) {
        let mut kept: Vec<Connection> = Vec::new();
        let earlier = core::mem::take(&mut self.connections);
        // Those that were counted before go first, so that a full table loses no account.
        let (known, new): (Vec<_>, Vec<_>) = connections
            .into_iter()
            .filter(|connection| !is_local(connection.remote.ip()))
            .partition(|connection| earlier.iter().any(|before| before.same(connection)));
        for connection in known.into_iter().chain(new) {
            if kept.len() == MAX_CONNECTIONS {
                self.untracked += 1;
                continue;
            }
            let before = earlier.iter().find(|before| before.same(&connection));
            let kept_counts = self.handle_connection(&connection, before);
            kept.push(Connection {
                counts: kept_counts,
                program: None,
                ..connection
            });
        }
        self.connections = kept;
    }

    /// Gives what is to be remembered of the connection's counters.
    fn handle_connection(&mut self, connection: &Connection, before: Option<&Connection>) -> Counts {
        let mut remembered = before.map_or(Counts::default(), |before| before.counts);
        let mut delta = Counts::default();
        let mut began_anew = false;
        for index in 0..4 {
            let Some(new) = connection.counts.0[index] else {
                // A connection that is closing shows no counters any more.
                continue;
            };
            let old = remembered.0[index].unwrap_or(0);
            // These have 64 bits: going backwards means another connection with the same ports.
            began_anew |= new < old;
            delta.0[index] = Some(if new < old { new } else { new - old });
            remembered.0[index] = Some(new);
        }
        self.resets += u64::from(began_anew);
        let is_new = before.is_none() || began_anew;
        if before.is_some() || self.samples > 0 {
            add(&mut self.explained, delta.or_zero());
        }
        let counted = connection.counts != Counts::default();
        if is_new || !counted || delta.is_active() {
            self.touch(connection, &delta, is_new);
        }
        remembered
    }

    /// Brings the connection's record up to date and to the end of the list.
    fn touch(&mut self, connection: &Connection, delta: &Counts, is_new: bool) {
        let (peer, port) = match connection.opener {
            Opener::Camera => (connection.remote.ip(), connection.remote.port()),
            Opener::Peer => (connection.remote.ip(), connection.local.port()),
        };
        let key = (connection.protocol, connection.opener, peer, port);
        let place = self
            .flows
            .iter()
            .position(|flow| (flow.protocol, flow.opener, flow.peer, flow.port) == key);
        let mut flow = match place {
            Some(place) => self.flows.remove(place),
            None => {
                if self.flows.len() == MAX_FLOWS {
                    self.flows.remove(0);
                    self.evicted += 1;
                }
                Flow {
                    cursor: 0,
                    protocol: connection.protocol,
                    opener: connection.opener,
                    peer,
                    port,
                    local: connection.local.ip(),
                    first_ms: self.time_ms,
                    last_ms: self.time_ms,
                    connections: 0,
                    counts: Counts::default(),
                    source: Source::Proc,
                    program: None,
                }
            }
        };
        self.cursor += 1;
        flow.cursor = self.cursor;
        flow.last_ms = self.time_ms;
        flow.local = connection.local.ip();
        flow.connections += u64::from(is_new);
        flow.counts.add(delta);
        flow.source = flow.source.max(connection.source);
        if connection.program.is_some() {
            flow.program.clone_from(&connection.program);
        }
        self.flows.push(flow);
    }
}

fn add(totals: &mut [u64; 4], more: [u64; 4]) {
    for (total, more) in totals.iter_mut().zip(more) {
        *total = total.saturating_add(more);
    }
}

/// How far an interface's counters have come, and whether they began anew: then bytes and packets go back together.
/// Bytes alone that go back have wrapped, as those of 32-bit kernels do.
fn advance(old: [u64; 4], new: [u64; 4]) -> ([u64; 4], bool) {
    let is_back = |index: usize| new[index] < old[index];
    let has_wrapped = |index: usize| is_back(index) && old[index] <= u64::from(u32::MAX);
    let together = (0..2).any(|way| is_back(way) && is_back(way + 2));
    let is_reset = together || (0..4).any(|index| is_back(index) && !has_wrapped(index));
    if is_reset {
        return (new, true);
    }
    let mut delta = [0; 4];
    for (index, delta) in delta.iter_mut().enumerate() {
        *delta = new[index].wrapping_sub(old[index]);
        if has_wrapped(index) {
            *delta &= u64::from(u32::MAX);
        }
    }
    (delta, false)
}
