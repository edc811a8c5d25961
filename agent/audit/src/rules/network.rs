//! What the network reaches, and whom the camera talks to.

use core::net::IpAddr;

use crate::facts::{Allowed, Fact, Facts, Filter, Inbound, LISTEN, Proto, SYN_SENT, Socket, Sockets};
use crate::inventory::{is_peer, owner, program, sockets};
use crate::judge::Judge;

/// Ports below are services'; above, UDP sockets are clients' as a rule (`ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;
/// Protocols' numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
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
    source
}

/// The order of [`Facts::sockets`].
pub(crate) const ORDER: [Proto; 7] = [
    Proto::Tcp,
    Proto::Tcp6,
    Proto::Udp,
    Proto::Udp6,
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

/// Ports that answers to the camera's own questions come to.
fn is_client(socket: &Socket) -> bool {
    !socket.proto.is_tcp() && matches!(socket.local.1, 68 | 546)
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

/// Whether a rule lets packets to a socket's port in; from whom was not worked out.
fn lets_in(filter: &Fact<Filter>, socket: &Socket) -> bool {
    let protocol = if socket.proto.is_tcp() { TCP } else { UDP };
    let ports = filter.value().map_or(&[][..], |filter| &filter.lets_in);
    let mut fitting = ports.iter().filter(|(_, port)| *port == socket.local.1);
    fitting.any(|(have, _)| *have == 0 || *have == protocol)
}

/// Judges a service that waits: dropped from outside is well.
fn reached(facts: &Facts, judge: &mut Judge, socket: &Socket, what: &str) {
    let text = format!("{what}{}", describe(facts, socket));
    let (mut open, mut unknown) = (None, None);
    let mut source = "";
    for filter in filters_for(facts, socket) {
        source = &filter.source;
        match filter.value().map(|filter| &filter.inbound) {
            Some(Inbound::Dropped) if lets_in(filter, socket) => unknown = Some(source),
            Some(Inbound::Dropped | Inbound::Off) => {}
            Some(Inbound::Taken | Inbound::NoFilter) => open = Some(source),
            Some(Inbound::Rules) | None => unknown = Some(source),
        }
    }
    match (open, unknown) {
        (Some(source), _) => judge.fail(source, text),
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
        if !is_service(socket) {
            continue;
        }
        all += 1;
        if !socket.is_loopback() && !is_client(socket) {
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
    let source = tables(facts, judge, ports);
    for socket in sockets(facts) {
        if let Some(name) = waiting(CLEAR, socket) {
            judge.fail(&source, format!("{name}: {}", describe(facts, socket)));
        }
    }
    judge.pass_otherwise(&source, "none waits on the outside");
}

pub(super) fn filter4(facts: &Facts, judge: &mut Judge) {
    filter(&facts.filters[0], judge);
}

pub(super) fn filter6(facts: &Facts, judge: &mut Judge) {
    filter(&facts.filters[1], judge);
}

fn filter(fact: &Fact<Filter>, judge: &mut Judge) {
    let Some(Filter {
        how,
        inbound,
        lets_in,
    }) = judge.need(fact)
    else {
        return;
    };
    let source = &fact.source;
    match inbound {
        Inbound::Dropped => {
            let mut text = format!("{how}: dropped by default");
            for (n, (protocol, port)) in lets_in.iter().enumerate() {
                let name = match *protocol {
                    TCP => "tcp",
                    UDP => "udp",
                    _ => "any",
                };
                let before = if n == 0 { ", but for" } else { "," };
                text.push_str(&format!("{before} {name} port {port}"));
            }
            judge.pass(source, text);
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

pub(super) fn peers(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, ports);
    let baseline = facts.baseline.value().and_then(Option::as_ref);
    let mut known = 0;
    let mut all = sockets(facts);
    // Whoever answered first: a scan's other ends would leave no room for them.
    all.sort_by_key(|socket| socket.state == SYN_SENT);
    for socket in all {
        if socket.inode == 0 || !is_peer(facts, socket) {
            continue;
        }
        let (address, port) = (socket.remote.0.to_canonical(), socket.remote.1);
        let by = program(facts, socket);
        let (proto, file) = (socket.proto.name(), by);
        let line = format!("peer {proto} {address} {port} {file}");
        let text = format!("{proto} to {address} port {port} by {by}");
        if baseline.is_some_and(|lines| lines.contains(&line)) {
            known += 1;
            continue;
        }
        match &facts.allowed.value {
            Ok(allowed) if is_allowed(allowed, socket, address, by) => known += 1,
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

fn is_allowed(allowed: &Allowed, socket: &Socket, address: IpAddr, by: &str) -> bool {
    let port = socket.remote.1;
    let agent = by.rsplit('/').next() == Some("lenscap");
    let time_or_lease = !socket.proto.is_tcp() && matches!(port, 123 | 67 | 547);
    time_or_lease
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
        // The name alone is anybody's to choose; BusyBox' applets have nothing else.
        let file = owner.program.as_deref().unwrap_or_default();
        let file = file.rsplit('/').next().unwrap_or_default();
        let name = if file == "busybox" {
            owner.name.as_str()
        } else {
            file
        };
        if owner.image == crate::facts::Image::There && RAW_PROGRAMS.contains(&name) {
            known += 1;
        } else {
            let proto = socket.proto.name();
            let (pid, program) = (owner.pid, program(facts, socket));
            judge.fail(&source, format!("{proto}: process {pid} of {program}"));
        }
    }
    judge.pass_otherwise(&source, format!("{known} raw sockets, all of network services"));
}
