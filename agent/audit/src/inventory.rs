//! What is on a camera, one line a thing, so that two audits can be compared: what listens, who has an account, what
//! starts by itself, who is talked to, which modules are loaded.
//!
//! A line begins with its class. Lines hold what stays the same from one boot to the next: no process numbers and no ports
//! that the kernel chose.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::facts::{BOTNET_PORTS, ESTABLISHED, Facts, Process, Proto, Service, Socket, is_loopback};
use crate::judge::{MAX_TEXT, clean};
use crate::rules::network;

/// The most lines.
pub const MAX_LINES: usize = 1024;

/// A class of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A port that waits for whoever comes.
    Listen,
    /// An account.
    Account,
    /// Something that starts by itself.
    Start,
    /// An address that the camera talks to.
    Peer,
    /// A loaded module.
    Module,
    /// What an account's line holds.
    Login,
    /// A key that logs in.
    Key,
    /// A program that a start entry names.
    Program,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Listen,
        Self::Account,
        Self::Start,
        Self::Peer,
        Self::Module,
        Self::Login,
        Self::Key,
        Self::Program,
    ];

    /// The first word of its lines.
    #[must_use]
    pub fn word(self) -> &'static str {
        [
            "listen ", "account ", "start ", "peer ", "module ", "login ", "key ", "program ",
        ][self as usize]
    }
}

/// What is on a camera.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Sorted, each once.
    pub lines: Vec<String>,
    /// The lines of [`Class::Login`], which no report shows.
    pub logins: Vec<String>,
    /// Those of [`lines`](Self::lines) about peers that may be none.
    pub doubtful: Vec<String>,
    /// Whether there was room for all of them as they are.
    fits: bool,
}

/// The inventory of a camera.
#[must_use]
#[inline(never)]
pub fn take(facts: &Facts) -> Inventory {
    #[cfg(test)]
    TAKEN.set(TAKEN.get() + 1);
    let mut inventory = Inventory {
        fits: true,
        ..Inventory::default()
    };
    let mut sure: Vec<String> = Vec::new();
    for socket in sockets(facts) {
        let program = program(facts, socket);
        let proto = socket.proto.name();
        if network::is_service(socket) {
            inventory.add(Class::Listen, format!("{proto} {} {program}", place(socket)));
        } else if socket.inode != 0 {
            let list = match peer(facts, socket) {
                Peer::No => continue,
                Peer::Maybe => &mut inventory.doubtful,
                Peer::Yes => &mut sure,
            };
            if list.len() < MAX_LINES {
                list.push(peer_line(facts, socket));
            }
            inventory.add(Class::Peer, peer_text(facts, socket));
        }
    }
    inventory.doubtful.retain(|line| !sure.contains(line));
    let mut add = |class: Class, text: String| inventory.add(class, text);
    for account in facts.accounts.value().into_iter().flatten() {
        let uid = account.uid.map_or(String::new(), |uid| format!(" {uid}"));
        let table = account.place.split(':').next().unwrap_or_default();
        add(Class::Account, format!("{table} {}{uid}", account.user));
        add(
            Class::Login,
            format!("{table} {} {}", account.user, account.login),
        );
    }
    for start in facts
        .starts
        .value()
        .into_iter()
        .flatten()
        .filter(|start| !start.own)
    {
        add(Class::Start, format!("{} {}", start.place, start.what));
    }
    for module in facts.modules.value().into_iter().flatten() {
        add(Class::Module, module.name.clone());
    }
    for (class, found) in [(Class::Key, &facts.authorised), (Class::Program, &facts.programs)] {
        for content in found.value().into_iter().flatten() {
            add(class, format!("{} {}", content.place, content.hash));
        }
    }
    inventory
}

/// Where a service waits, as it stays: an address of the camera's own may be a lease, and a high port the kernel's choice.
fn place(socket: &Socket) -> String {
    let (address, port) = (socket.local.0.to_canonical(), socket.local.1);
    let address = if address.is_unspecified() || address.is_multicast() || is_loopback(address) {
        socket.local.0.to_string()
    } else {
        "own".into()
    };
    if network::is_servers_port(socket) || BOTNET_PORTS.contains(&port) {
        format!("{address} {port}")
    } else {
        format!("{address} high")
    }
}

fn peer_text(facts: &Facts, socket: &Socket) -> String {
    let ((address, port), proto) = (socket.remote, socket.proto.name());
    let program = program(facts, socket);
    format!("{proto} {} {port} {program}", address.to_canonical())
}

/// The line of a socket's other end.
pub(crate) fn peer_line(facts: &Facts, socket: &Socket) -> String {
    clean((Class::Peer.word().to_owned() + &peer_text(facts, socket)).into()).into_owned()
}

#[cfg(test)]
std::thread_local! {
    /// How many times this thread has taken one.
    pub(crate) static TAKEN: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
}

impl Inventory {
    fn add(&mut self, class: Class, text: String) {
        let line = class.word().to_owned() + &text;
        self.fits &= line.len() <= MAX_TEXT;
        let line = clean(line.into()).into_owned();
        let lines = match class {
            Class::Login => &mut self.logins,
            _ => &mut self.lines,
        };
        // Sorted, and each once.
        let at = lines.partition_point(|have| *have < line);
        if lines.get(at) == Some(&line) {
            return;
        }
        self.fits &= lines.len() < MAX_LINES;
        if lines.len() < MAX_LINES {
            lines.insert(at, line);
        }
    }

    /// Whether everything that the lines of some classes are made of was seen in `facts`, and is in them.
    #[must_use]
    pub fn is_whole(&self, facts: &Facts, classes: &[Class]) -> bool {
        // A tree does not run.
        let live = facts.about.live;
        let seen = |class: &Class| match class {
            Class::Listen | Class::Peer => !live || has_sockets(facts),
            Class::Account | Class::Login => facts.accounts.value.is_ok() && facts.findings.value.is_ok(),
            Class::Start => facts.starts.value.is_ok(),
            Class::Module => !live || facts.modules.value.is_ok(),
            Class::Key => facts.authorised.value.is_ok(),
            Class::Program => facts.programs.value.is_ok(),
        };
        self.fits && classes.iter().all(seen)
    }
}

fn has_sockets(facts: &Facts) -> bool {
    let tables = facts.sockets.iter().all(|table| {
        table
            .value()
            .is_some_and(|table| table.left_out == 0 && table.odd == 0)
    });
    let processes = facts.processes.value().is_some_and(|processes| {
        let mut list = processes.list.iter();
        processes.doubt().is_none() && list.all(|process| process.open && process.network.is_none())
    });
    !facts.sockets.is_empty() && tables && processes
}

/// All sockets of all tables that were seen.
#[must_use]
pub fn sockets(facts: &Facts) -> Vec<&Socket> {
    let mut all = Vec::new();
    for table in &facts.sockets {
        if let Ok(table) = &table.value {
            all.extend(&table.list);
        }
    }
    all
}

/// Where a service that waits is asked: one that takes whatever address, on loopback; by IPv6 where IPv4 has another.
#[must_use]
pub fn asked_at(facts: &Facts, socket: &Socket) -> (IpAddr, u16) {
    let (address, port) = (socket.local.0.to_canonical(), socket.local.1);
    let any = |other: &Socket| {
        other.proto == Proto::Tcp && other.waits() && other.local == (Ipv4Addr::UNSPECIFIED.into(), port)
    };
    let address = match address {
        IpAddr::V6(all) if all.is_unspecified() && sockets(facts).into_iter().any(any) => {
            Ipv6Addr::LOCALHOST.into()
        }
        all if all.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        own => own,
    };
    (address, port)
}

/// Whether the camera opened a connection to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// It has no other end, or somebody came in, or is sent the video that he asked for.
    No,
    /// It may be either.
    Maybe,
    /// It did.
    Yes,
}

/// Ports from here on are for everybody to take.
const FIRST_USER_PORT: u16 = 1024;
/// Ports that are RTSP's as a rule.
const RTSP_PORTS: &[u16] = &[554, 8554, 10554, 5543];

/// Whether the camera opened this connection to somebody else.
#[must_use]
pub fn peer(facts: &Facts, socket: &Socket) -> Peer {
    if socket.proto >= Proto::Raw || socket.remote.1 == 0 || is_loopback(socket.remote.0) {
        return Peer::No;
    }
    // Whoever came in is on an address and port that waits.
    let own = socket.local.0.to_canonical();
    for table in &facts.sockets {
        for other in table.value().map_or(&[][..], |table| &table.list) {
            let address = other.local.0.to_canonical();
            if other.local.1 == socket.local.1
                && (address.is_unspecified() || address == own)
                && other.waits()
                && other.proto.is_tcp() == socket.proto.is_tcp()
            {
                return Peer::No;
            }
        }
    }
    if socket.remote.1 < FIRST_USER_PORT {
        Peer::Yes
    } else if !socket.proto.is_tcp() {
        viewer(facts, socket)
    } else if network::is_servers_port(socket) {
        // Whoever it was that waited there may have stopped since.
        Peer::Maybe
    } else {
        Peer::Yes
    }
}

/// Whether packets go to somebody who watches (RFC 2326, 12.39): the process waits for RTSP, and he has a session of it. One
/// of the two alone tells little.
fn viewer(facts: &Facts, socket: &Socket) -> Peer {
    let mut ports = RTSP_PORTS.to_vec();
    for probe in &facts.probes {
        if probe.value().is_some_and(|probe| probe.service == Service::Rtsp) {
            let address = probe.source.strip_prefix("rtsp://").unwrap_or_default();
            let address = address.split('/').next().unwrap_or_default();
            let port: Option<u16> = address.rsplit(':').next().and_then(|port| port.parse().ok());
            ports.extend(port);
        }
    }
    let remote = socket.remote.0.to_canonical();
    let (mut serves, mut watches) = (false, false);
    for other in sockets(facts) {
        if other.proto.is_tcp() && ports.contains(&other.local.1) {
            serves |= other.waits() && other.owner.is_some() && other.owner == socket.owner;
            watches |= other.state == ESTABLISHED && other.remote.0.to_canonical() == remote;
        }
    }
    match (serves, watches) {
        (true, true) => Peer::No,
        (false, false) => Peer::Yes,
        _ => Peer::Maybe,
    }
}

/// The process that has a socket.
#[must_use]
pub fn owner<'f>(facts: &'f Facts, socket: &Socket) -> Option<&'f Process> {
    facts.processes.value()?.list.get(socket.owner?)
}

/// The file of the program that has a socket, or `-`.
#[must_use]
pub fn program<'f>(facts: &'f Facts, socket: &Socket) -> &'f str {
    owner(facts, socket).map_or("-", |owner| owner.program.as_deref().unwrap_or(&owner.name))
}
