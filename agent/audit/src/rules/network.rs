//! What the network reaches, and whom the camera talks to.

use core::net::IpAddr;

use crate::facts::{
    Allowed, Fact, Facts, Filter, Image, Inbound, LISTEN, Opening, Process, Proto, SYN_SENT, Socket, Sockets,
};
use crate::inventory::{Peer, owner, peer, peer_line, program, sockets};
use crate::judge::Judge;

/// Ports below are services'; above, UDP sockets are clients' as a rule (`ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;
/// DHCP's and DHCPv6's clients, over UDP.
const CLIENT_PORTS: [u16; 2] = [68, 546];
/// Protocols' numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_LITE: u8 = 136;
/// Vendors' control and discovery: protocol, port, name.
const VENDOR: &[(bool, u16, &str)] = &[
    (true, 34567, "DVRIP"),
    (true, 34599, "DVRIP"),
    (true, 9530, "XiongMai"),
    (true, 37777, "Dahua"),
    (true, 8000, "Hikvision"),
    (true, 5000, "vendor's control or UPnP"),
    (true, 32100, "P2P"),
    (true, 23000, "HiChip"),
    (false, 34569, "DVRIP discovery"),
    (false, 37020, "Hikvision discovery"),
    (false, 37810, "Dahua discovery"),
    (false, 3702, "WS-Discovery"),
    (false, 1900, "UPnP"),
    (false, 32108, "P2P discovery"),
    (false, 5353, "mDNS"),
];
/// Protocols that carry passwords in clear.
const CLEAR: &[(bool, u16, &str)] = &[
    (true, 21, "FTP"),
    (false, 69, "TFTP"),
    (true, 512, "rexec"),
    (true, 513, "rlogin"),
    (true, 514, "rsh"),
];
/// Programs whose UDP sockets wait for answers alone, beside those that need raw sockets: names, time, logs.
const CLIENTS: &[&str] = &[
    "ntpclient",
    "sntp",
    "chronyd",
    "ntpdate",
    "rdate",
    "systemd-resolved",
    "systemd-timesyncd",
    "nslookup",
    "avahi-daemon",
    "umdns",
    "syslogd",
    "logread",
];
/// Programs that ask for the time or an address, whoever they ask.
const ASKERS: &[&str] = &[
    "ntpd",
    "ntpclient",
    "sntp",
    "chronyd",
    "ntpdate",
    "systemd-timesyncd",
    "udhcpc",
    "udhcpc6",
    "dhcpcd",
    "dhclient",
    "odhcp6c",
    "systemd-networkd",
    "NetworkManager",
];
/// Raw sockets' protocol that takes nothing and sends whatever it is given (raw(7)).
const IPPROTO_RAW: u16 = 255;
/// Programs that need raw sockets.
const RAW_PROGRAMS: &[&str] = &[
    "udhcpc",
    "udhcpc6",
    "dhcpcd",
    "dhclient",
    "odhcp6c",
    "odhcpd",
    "dnsmasq",
    "wpa_supplicant",
    "hostapd",
    "lldpd",
    "rdisc6",
    "ping",
    "ping6",
    "arping",
    "zcip",
    "systemd-networkd",
    "NetworkManager",
    "lenscap",
    "wpad",
    "netifd",
    "udhcpd",
    "ntpd",
];

/// Adds what keeps the tables of sockets, those that `wanted` names, from being whole. Says where they are.
pub(super) fn tables(facts: &Facts, judge: &mut Judge, wanted: fn(Proto) -> bool) -> String {
    let mut source = String::new();
    for (n, table) in facts.sockets.iter().enumerate() {
        // The collector gives the tables in the order of the protocols.
        if !ORDER.get(n).is_some_and(|proto| wanted(*proto)) {
            continue;
        }
        let Some(Sockets { left_out, odd, .. }) = judge.need(table) else {
            continue;
        };
        if *left_out > 0 {
            judge.unknown(
                &table.source,
                format!("{left_out} or more sockets were not looked at"),
            );
        }
        if *odd > 0 {
            judge.say(
                crate::Verdict::Error,
                table.source.clone(),
                format!("{odd} lines make no sense"),
            );
        }
        if !source.is_empty() {
            source.push(' ');
        }
        source.push_str(&table.source);
    }
    if facts.sockets.is_empty() {
        judge.unknown("/proc/net", "no table of sockets was looked at");
    }
    apart(facts, judge);
    source
}

/// Adds who has sockets that no table shows.
pub(super) fn apart(facts: &Facts, judge: &mut Judge) {
    let list = facts.processes.value().map_or(&[][..], |all| &all.list);
    for process in list.iter().filter(|process| process.network.is_some()) {
        let Process { pid, name, .. } = process;
        let text = format!("process {pid} ({name}) has a network of its own; its sockets were not seen");
        judge.unknown(&format!("/proc/{pid}/ns/net"), text);
    }
}

/// The order of [`Facts::sockets`].
pub(crate) const ORDER: [Proto; 9] = [
    Proto::Tcp,
    Proto::Tcp6,
    Proto::Udp,
    Proto::Udp6,
    Proto::UdpLite,
    Proto::UdpLite6,
    Proto::Raw,
    Proto::Raw6,
    Proto::Packet,
];

fn ports(proto: Proto) -> bool {
    proto < Proto::Raw
}

/// Whether it waits for whoever comes, and is no client's.
pub(crate) fn is_service(socket: &Socket) -> bool {
    let port = socket.local.1;
    socket.waits()
        && (socket.proto.is_tcp() || port != 0 && port < FIRST_CLIENT_PORT || named(VENDOR, socket).is_some())
}

/// Whether its port is one that servers have, and no client gets from the kernel.
pub(crate) fn is_servers_port(socket: &Socket) -> bool {
    socket.local.1 < FIRST_CLIENT_PORT || named(VENDOR, socket).is_some()
}

/// Whether it may wait for whoever comes: UDP on a port that clients get from the kernel, and of no program that is known
/// to be one. The kernel's tables do not tell the two apart.
fn may_serve(facts: &Facts, socket: &Socket) -> bool {
    let client = |owner: &Process| {
        let name = known_name(owner);
        owner.image == Image::There && (CLIENTS.contains(&name) || RAW_PROGRAMS.contains(&name))
    };
    socket.waits() && !is_service(socket) && socket.local.1 != 0 && !owner(facts, socket).is_some_and(client)
}

/// A program by the name of its file. The name that it goes by is anybody's to choose; BusyBox' applets have nothing else.
/// A BusyBox that is told which applet to be goes by its own.
fn known_name(owner: &Process) -> &str {
    let file = owner.program.as_deref().unwrap_or_default();
    match file.rsplit('/').next().unwrap_or_default() {
        "busybox" if owner.name == "busybox" => owner.words.split(' ').nth(1).unwrap_or_default(),
        "busybox" => &owner.name,
        name => name,
    }
}

fn named(list: &[(bool, u16, &'static str)], socket: &Socket) -> Option<&'static str> {
    let found = list
        .iter()
        .find(|(tcp, port, _)| *tcp == socket.proto.is_tcp() && *port == socket.local.1);
    found.map(|(_, _, name)| *name)
}

/// The name of a listed port that waits on the outside.
fn waiting(list: &[(bool, u16, &'static str)], socket: &Socket) -> Option<&'static str> {
    if socket.waits() && !socket.is_loopback() {
        named(list, socket)
    } else {
        None
    }
}

/// Whether answers to the camera's own questions come to it.
fn is_client(socket: &Socket) -> bool {
    !socket.proto.is_tcp() && CLIENT_PORTS.contains(&socket.local.1)
}

pub(super) fn describe(facts: &Facts, socket: &Socket) -> String {
    let (address, port) = socket.local;
    let proto = socket.proto.name();
    let program = program(facts, socket);
    match owner(facts, socket) {
        Some(owner) => format!(
            "{proto} {address} port {port}: process {} of {program}",
            owner.pid
        ),
        None => format!("{proto} {address} port {port}: process not seen"),
    }
}

/// The filters that a packet to a socket has to pass.
fn filters_for<'f>(facts: &'f Facts, socket: &Socket) -> &'f [Fact<Filter>] {
    match socket.local.0 {
        IpAddr::V4(_) => &facts.filters[..1],
        // Whoever waits there takes IPv4 too.
        IpAddr::V6(any) if any.is_unspecified() => &facts.filters,
        IpAddr::V6(_) => &facts.filters[1..],
    }
}

/// Whether a rule is about a socket's port.
fn fits(opening: &Opening, socket: &Socket) -> bool {
    let protocol = match socket.proto {
        Proto::Tcp | Proto::Tcp6 => TCP,
        Proto::UdpLite | Proto::UdpLite6 => UDP_LITE,
        _ => UDP,
    };
    opening.port == socket.local.1 && (opening.protocol == 0 || opening.protocol == protocol)
}

/// Whether a rule lets packets to a socket's port in, and whether from whoever comes.
fn lets_in(filter: &Filter, socket: &Socket) -> Option<bool> {
    let mut fitting = filter.lets_in.iter().filter(|opening| fits(opening, socket));
    let first = fitting.next()?.for_all;
    Some(first || fitting.any(|opening| opening.for_all))
}

/// Judges what waits: dropped from outside is well. Of what may be a client's, nobody knows.
fn reached(facts: &Facts, judge: &mut Judge, socket: &Socket, what: &str) {
    let text = format!("{what}{}", describe(facts, socket));
    let (mut open, mut unknown) = (None, None);
    let mut source = "";
    for filter in filters_for(facts, socket) {
        source = &filter.source;
        match filter
            .value()
            .map(|filter| (&filter.inbound, lets_in(filter, socket)))
        {
            Some((Inbound::Dropped, Some(true)) | (Inbound::Taken | Inbound::NoFilter, _)) => {
                open = Some(source)
            }
            Some((Inbound::Dropped, None) | (Inbound::Off, _)) => {}
            Some((Inbound::Dropped, Some(false)) | (Inbound::Rules, _)) | None => unknown = Some(source),
        }
    }
    match (open, unknown) {
        (Some(source), _) if is_service(socket) => judge.fail(source, text),
        (Some(source), _) => judge.unknown(
            source,
            format!("{text}; whether it serves or asks could not be told"),
        ),
        (None, Some(source)) => {
            judge.unknown(source, format!("{text}; whether it is reached could not be told"))
        }
        (None, None) => judge.pass(source, format!("{text}; dropped by default")),
    }
}

pub(super) fn exposed(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, ports);
    let mut all = 0;
    for socket in sockets(facts) {
        let service = is_service(socket);
        all += usize::from(service);
        if (service || may_serve(facts, socket)) && !socket.is_loopback() && !is_client(socket) {
            reached(facts, judge, socket, "");
        }
    }
    judge.pass_otherwise(&source, format!("{all} services, the others on loopback"));
}

fn listed(facts: &Facts, judge: &mut Judge, list: &'static [(bool, u16, &'static str)]) {
    let source = tables(facts, judge, ports);
    for socket in sockets(facts) {
        if let Some(name) = waiting(list, socket) {
            reached(facts, judge, socket, &format!("{name} by its port: "));
        }
    }
    judge.pass_otherwise(
        &source,
        format!("none of {} ports waits on the outside", list.len()),
    );
}

pub(super) fn vendor(facts: &Facts, judge: &mut Judge) {
    listed(facts, judge, VENDOR);
}

pub(super) fn clear_text(facts: &Facts, judge: &mut Judge) {
    for probe in &facts.probes {
        let Some(found) = probe.value() else { continue };
        if found.service == crate::facts::Service::Ftp {
            judge.fail(&probe.source, "answers as FTP");
        }
    }
    super::access::unasked(facts, judge);
    let source = tables(facts, judge, ports);
    for socket in sockets(facts) {
        if let Some(name) = waiting(CLEAR, socket) {
            judge.fail(&source, format!("{name}: {}", describe(facts, socket)));
        }
    }
    judge.pass_otherwise(&source, "none waits on the outside");
}

pub(super) fn filter4(facts: &Facts, judge: &mut Judge) {
    filter(facts, judge, false);
}

pub(super) fn filter6(facts: &Facts, judge: &mut Judge) {
    filter(facts, judge, true);
}

fn filter(facts: &Facts, judge: &mut Judge, v6: bool) {
    let fact = &facts.filters[usize::from(v6)];
    let Some(filter) = judge.need(fact) else {
        return;
    };
    let (source, how) = (&fact.source, &filter.how);
    match filter.inbound {
        Inbound::Dropped => {
            let mut text = format!("{how}: dropped by default");
            for (n, Opening { protocol, port, .. }) in filter.lets_in.iter().enumerate() {
                let name = match *protocol {
                    TCP => "tcp",
                    UDP => "udp",
                    _ => "any",
                };
                let before = if n == 0 { ", but for" } else { "," };
                text.push_str(&format!("{before} {name} port {port}"));
            }
            openings(facts, judge, filter, v6);
            judge.pass_otherwise(source, text);
        }
        Inbound::Off => judge.pass(source, format!("{how}: off")),
        Inbound::Taken => judge.fail(source, format!("{how}: takes everything")),
        Inbound::NoFilter => judge.fail(source, format!("{how}: nothing is filtered")),
        Inbound::Rules => judge.unknown(
            source,
            format!("{how}: what its rules take and drop was not worked out"),
        ),
    }
}

/// What waits behind the ports that rules let in, other than what the configuration opens.
fn openings(facts: &Facts, judge: &mut Judge, filter: &Filter, v6: bool) {
    let family = usize::from(v6);
    let fact = &facts.filters[family];
    let wanted = facts
        .allowed
        .value()
        .map_or(&[][..], |allowed| &allowed.lan[family]);
    let is_wanted = |opening: &Opening| {
        wanted.iter().any(|wanted| {
            let same = (wanted.protocol, wanted.port) == (opening.protocol, opening.port);
            same && (wanted.for_all || !opening.for_all)
        })
    };
    let lease = |opening: &Opening| opening.protocol == UDP && CLIENT_PORTS.contains(&opening.port);
    let left = filter.lets_in.iter();
    let left: Vec<&Opening> = left
        .filter(|opening| !is_wanted(opening) && !lease(opening))
        .collect();
    if left.is_empty() {
        return;
    }
    // What was not seen may wait there.
    let _ = tables(facts, judge, ports);
    for socket in sockets(facts) {
        let passes = filters_for(facts, socket)
            .iter()
            .any(|one| core::ptr::eq(one, fact));
        let serves = is_service(socket) || may_serve(facts, socket);
        let mut fitting = left.iter().filter(|opening| fits(opening, socket));
        let Some(first) = fitting.next().filter(|_| passes && serves) else {
            continue;
        };
        if socket.is_loopback() || is_client(socket) {
            continue;
        }
        let for_all = first.for_all || fitting.any(|opening| opening.for_all);
        let text = format!("{}: {}", filter.how, describe(facts, socket));
        if for_all && is_service(socket) {
            judge.fail(
                &fact.source,
                format!("{text}; a rule lets whoever comes in to it"),
            );
        } else {
            judge.unknown(
                &fact.source,
                format!("{text}; whom a rule lets in to it was not worked out"),
            );
        }
    }
}

pub(super) fn peers(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, ports);
    // What was kept because nothing else was wrong is no reason to know a stranger; what the owner accepted is.
    let accepted = facts.baseline.value().and_then(Option::as_ref);
    let accepted = accepted.filter(|baseline| baseline.accepted);
    let mut known = 0;
    let mut all = sockets(facts);
    // Whoever answered first: a scan's other ends would leave no room for them.
    all.sort_by_key(|socket| socket.state == SYN_SENT);
    for socket in all {
        let peer = peer(facts, socket);
        if socket.inode == 0 || peer == Peer::No {
            continue;
        }
        let (address, port) = (socket.remote.0.to_canonical(), socket.remote.1);
        let by = program(facts, socket);
        let proto = socket.proto.name();
        let text = format!("{proto} to {address} port {port} by {by}");
        let line = || peer_line(facts, socket);
        if accepted.is_some_and(|baseline| baseline.lines.contains(&line())) {
            known += 1;
            continue;
        }
        match &facts.allowed.value {
            Ok(allowed) if is_allowed(facts, allowed, socket, address) => known += 1,
            Ok(_) if !socket.proto.is_tcp() && matches!(port, 123 | 67 | 547) => judge.unknown(
                &source,
                format!(
                    "{text}; it may ask for the time or an address, and is no program that is known for it"
                ),
            ),
            Ok(_) if peer == Peer::Maybe => judge.unknown(
                &source,
                format!("{text}; it may have come in, or get the video that it asked for"),
            ),
            Ok(_) => judge.fail(&source, text),
            Err(_) => judge.unknown(&source, format!("{text}; what is allowed is not known")),
        }
    }
    judge.pass_otherwise(&source, format!("{known} connections, all to known peers"));
    for entry in facts.allowed.value().map_or(&[][..], |allowed| &allowed.odd) {
        judge.unknown(
            &facts.allowed.source,
            format!("list allow_out: {entry} is no address"),
        );
    }
}

fn is_allowed(facts: &Facts, allowed: &Allowed, socket: &Socket, address: IpAddr) -> bool {
    let port = socket.remote.1;
    // The file's place counts: a name is anybody's to choose.
    let by = owner(facts, socket).filter(|owner| owner.image == Image::There);
    let agent = by.is_some_and(|by| by.program.as_deref() == Ok(allowed.agent.as_str()));
    let asks = by.is_some_and(|by| ASKERS.contains(&known_name(by)));
    asks && !socket.proto.is_tcp() && matches!(port, 123 | 67 | 547)
        || agent && socket.proto.is_tcp() && allowed.uplink_ports.contains(&port)
        || matches!(port, 53 | 853) && allowed.servers.contains(&address)
        || allowed.out.iter().any(|(network, bits, wanted)| {
            (*wanted == 0 || *wanted == port) && in_network(address, *network, *bits)
        })
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            (a.to_bits() ^ n.to_bits()) & keep == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            (a.to_bits() ^ n.to_bits()) & keep == 0
        }
        _ => false,
    }
}

pub(super) fn owners(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, |_| true);
    let Some(processes) = judge.need(&facts.processes) else {
        return;
    };
    let closed = processes.list.iter().filter(|process| !process.open).count();
    if closed > 0 {
        let text = format!("the descriptors of {closed} processes could not be seen (root may)");
        judge.unknown(&facts.processes.source, text);
    }
    let doubt = processes.doubt();
    if let Some(doubt) = &doubt {
        judge.unknown(&facts.processes.source, doubt.clone());
    }
    // The kernel's own services wait without a process: those of NFS do on cameras.
    let mounts = facts.mounts.value();
    let no_nfs = mounts.is_some_and(|mounts| !mounts.iter().any(|mount| mount.kind.starts_with("nfs")));
    let all_seen = closed == 0 && doubt.is_none() && no_nfs;
    let all = sockets(facts);
    for socket in &all {
        if !socket.hidden && (socket.inode == 0 || socket.owner.is_some()) {
            continue;
        }
        let text = describe(facts, socket);
        if socket.hidden {
            judge.fail(
                &source,
                format!("{text}; the kernel tells it when it is asked, and leaves it out here"),
            );
        } else if all_seen && socket.state == LISTEN && socket.proto.is_tcp() {
            judge.fail(&source, format!("{text}, though every process was looked at"));
        } else {
            judge.unknown(&source, text);
        }
    }
    judge.pass_otherwise(&source, format!("{} sockets, each with its process", all.len()));
}

pub(super) fn raw(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, |proto| proto >= Proto::Raw);
    let mut known = 0;
    for socket in sockets(facts) {
        if socket.proto < Proto::Raw {
            continue;
        }
        let Some(owner) = owner(facts, socket) else {
            judge.unknown(&source, describe(facts, socket));
            continue;
        };
        if owner.image == Image::There && RAW_PROGRAMS.contains(&known_name(owner)) {
            known += 1;
        } else {
            let (proto, number) = (socket.proto.name(), socket.local.1);
            let (pid, program) = (owner.pid, program(facts, socket));
            let kind = match (socket.proto, number) {
                (Proto::Packet, 3) => ", below IP, of all packets".into(),
                (Proto::Packet, _) => format!(", below IP, EtherType {number:#06x}"),
                (_, IPPROTO_RAW) => ", for packets that it makes itself".into(),
                _ => format!(", protocol {number}"),
            };
            judge.fail(&source, format!("{proto}: process {pid} of {program}{kind}"));
        }
    }
    judge.pass_otherwise(&source, format!("{known} raw sockets, all of network services"));
}
