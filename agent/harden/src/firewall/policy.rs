//! What is wanted of the firewall, as text to keep, and the rules that follow.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::net::{Allowed, Net};
use super::rule::{ANY_PORT, Abilities, Flags, ICMP, ICMPV6, IGMP, Rule, Rules, TCP, UDP};

/// The most servers of a kind.
pub const MAX_SERVERS: usize = 8;
/// The most lines of a kept policy.
const MAX_LINES: usize = 256;
const HEADER: &str = "lenscap-firewall 1";
const DNS: u16 = 53;
const NTP: u16 = 123;
const DISCOVERY: u16 = 3702;
/// Ports that clients choose from, on the oldest kernels too.
const CLIENT: (u16, u16) = (1024, u16::MAX);
/// Where an NVR asks for video that is then sent over UDP.
const RTSP: &[u16] = &[554, 8554];

/// Packets a second, and at once.
const NEW_CONNECTIONS: (u16, u16) = (5, 20);
const NAME_QUERIES: (u16, u16) = (20, 40);
const TIME_QUERIES: (u16, u16) = (2, 8);
const LEASES: (u16, u16) = (5, 10);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Net {
    Net {
        addr: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix,
    }
}

const fn v6(first: u16, last: [u16; 2], prefix: u8) -> Net {
    Net {
        addr: IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, last[0], last[1])),
        prefix,
    }
}

/// Addresses that the internet does not carry (RFC 1918, 3927, 6598, 4291, 4193).
pub(super) const LAN: &[Net] = &[
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v4(169, 254, 0, 0, 16),
    v4(100, 64, 0, 0, 10),
    v6(0xfe80, [0, 0], 10),
    v6(0xfc00, [0, 0], 7),
];
const BROADCAST: Net = v4(255, 255, 255, 255, 32);
/// DHCPv6 servers and relays (RFC 8415, section 7.1).
const DHCPV6: Net = v6(0xff02, [1, 2], 128);
/// WS-Discovery, section 2.4.
const PROBES: &[Net] = &[v4(239, 255, 255, 250, 32), v6(0xff02, [0, 0xc], 128)];
/// Errors, without which no path's MTU is found (RFC 1191, RFC 4890 section 4.4.1).
const ERRORS: &[(u8, u8)] = &[
    (ICMP, 3),
    (ICMP, 11),
    (ICMP, 12),
    (ICMPV6, 1),
    (ICMPV6, 2),
    (ICMPV6, 3),
    (ICMPV6, 4),
];
/// Multicast listener queries, router and neighbour messages (RFC 4861, RFC 3810).
const NEIGHBOURS_IN: &[u8] = &[130, 134, 135, 136];
const NEIGHBOURS_OUT: &[u8] = &[131, 132, 133, 135, 136, 143];

/// What may pass. Everything else is dropped and counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The agent's user.
    pub uid: Option<u32>,
    /// Ports that the agent dials, anywhere.
    pub ports: Vec<u16>,
    /// Who may reach what here.
    pub allow_in: Vec<Allowed>,
    /// What may be reached from here.
    pub allow_out: Vec<Allowed>,
    /// Name servers; none: any on the local network, if the kernel tells answers from other packets.
    pub dns: Vec<IpAddr>,
    /// Time servers.
    pub ntp: Vec<IpAddr>,
    /// WS-Discovery, from and to the local network.
    pub discovery: bool,
    /// IPv6 is switched off, since this kernel cannot filter it.
    pub no_ipv6: bool,
    /// It was off before, and stays so.
    pub ipv6_was_off: bool,
    /// Routes that lead nowhere stand in for a filter.
    pub blackhole: bool,
}

impl Policy {
    /// The rules, as tight as the kernel can have them.
    #[must_use]
    pub fn rules(&self, can: Abilities) -> Rules {
        let mut build = Builder {
            can,
            rules: Rules::default(),
        };
        let mut loopback = rule(0, None, 0, 0);
        loopback.loopback = true;
        build.both(loopback);
        build.control_messages();
        build.leases();
        build.servers(self);
        build.uplink(self);
        self.allow_in.iter().for_each(|allowed| build.served(allowed));
        self.allow_out.iter().for_each(|allowed| build.used(allowed));
        if self.discovery {
            build.discovery();
        }
        build.both(Rule::DROP);
        build.rules
    }

    /// Lines for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        let mut line = |name: &str, value: &dyn core::fmt::Display| {
            let _ = writeln!(text, "{name} {value}");
        };
        self.uid.iter().for_each(|uid| line("uid", uid));
        self.ports.iter().for_each(|port| line("port", port));
        self.allow_in.iter().for_each(|allowed| line("in", allowed));
        self.allow_out.iter().for_each(|allowed| line("out", allowed));
        self.dns.iter().for_each(|server| line("dns", server));
        self.ntp.iter().for_each(|server| line("ntp", server));
        for (name, on) in [
            ("discovery", self.discovery),
            ("no_ipv6", self.no_ipv6),
            ("ipv6_was_off", self.ipv6_was_off),
            ("blackhole", self.blackhole),
        ] {
            if on {
                line(name, &1);
            }
        }
        text
    }

    /// Reads those lines. `None`: they are damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut policy = Self::default();
        let mut lines = text.lines().take(MAX_LINES);
        if lines.next() != Some(HEADER) {
            return None;
        }
        for line in lines {
            let (name, value) = line.split_once(' ')?;
            match name {
                "uid" => policy.uid = Some(value.parse().ok()?),
                "port" => policy.ports.push(value.parse().ok()?),
                "in" => policy.allow_in.push(Allowed::parse(value).ok()?),
                "out" => policy.allow_out.push(Allowed::parse(value).ok()?),
                "dns" => policy.dns.push(value.parse().ok()?),
                "ntp" => policy.ntp.push(value.parse().ok()?),
                "discovery" => policy.discovery = true,
                "no_ipv6" => policy.no_ipv6 = true,
                "ipv6_was_off" => policy.ipv6_was_off = true,
                "blackhole" => policy.blackhole = true,
                _ => return None,
            }
        }
        Some(policy)
    }

    /// Whether only the servers differ.
    #[must_use]
    pub fn same_but_servers(&self, other: &Self) -> bool {
        let with_servers = Self {
            dns: other.dns.clone(),
            ntp: other.ntp.clone(),
            ..self.clone()
        };
        with_servers == *other
    }

    /// Takes name and time servers that became known, the first of them first, and keeps those that were, as far as there
    /// is room.
    pub fn add_servers(&mut self, dns: &[IpAddr], ntp: &[IpAddr]) {
        for (have, new) in [(&mut self.dns, dns), (&mut self.ntp, ntp)] {
            let known = core::mem::take(have);
            for server in new.iter().chain(&known) {
                if !have.contains(server) && have.len() < MAX_SERVERS {
                    have.push(*server);
                }
            }
        }
    }
}

struct Builder {
    can: Abilities,
    rules: Rules,
}

/// A rule about a protocol, a remote side and ports; 0 stands for any of each.
#[inline(never)]
fn rule(protocol: u8, remote: Option<Net>, remote_port: u16, local_port: u16) -> Rule {
    let exactly = |port| if port == 0 { ANY_PORT } else { (port, port) };
    Rule {
        remote,
        protocol: Some(protocol).filter(|protocol| *protocol != 0),
        remote_port: exactly(remote_port),
        local_port: exactly(local_port),
        ..Rule::ACCEPT
    }
}

impl Builder {
    #[inline(never)]
    fn input(&mut self, mut rule: Rule) {
        rule.established &= self.can.established;
        rule.uid = None;
        rule.limit = None;
        self.rules.input.push(rule);
    }

    #[inline(never)]
    fn output(&mut self, mut rule: Rule) {
        rule.established = false;
        rule.uid = rule.uid.filter(|_| self.can.owner);
        rule.limit = rule.limit.filter(|_| self.can.limit);
        self.rules.output.push(rule);
    }

    fn both(&mut self, rule: Rule) {
        self.input(rule);
        self.output(rule);
    }

    fn control_messages(&mut self) {
        for (protocol, icmp) in ERRORS {
            let mut error = rule(*protocol, None, 0, 0);
            error.icmp = Some(*icmp);
            error.established = true;
            self.input(error);
        }
        let mut message = rule(ICMPV6, None, 0, 0);
        for icmp in NEIGHBOURS_IN {
            message.icmp = Some(*icmp);
            self.input(message);
        }
        for icmp in NEIGHBOURS_OUT {
            message.icmp = Some(*icmp);
            self.output(message);
        }
    }

    /// DHCP and DHCPv6, with servers of the local network.
    fn leases(&mut self) {
        for net in LAN.iter().chain([&BROADCAST, &DHCPV6]) {
            let (server, client) = if net.addr.is_ipv4() { (67, 68) } else { (547, 546) };
            let mut lease = rule(UDP, Some(*net), server, client);
            lease.limit = Some(LEASES);
            if LAN.contains(net) {
                self.input(lease);
            }
            self.output(lease);
        }
    }

    fn servers(&mut self, policy: &Policy) {
        let known: Vec<Net> = policy.dns.iter().copied().map(Net::host).collect();
        // Where nothing tells an answer from another packet, a whole network is not let in for a source port's sake.
        let any = known.is_empty() && self.can.established;
        let dns = if any { LAN } else { &known };
        for net in dns {
            self.queries(*net, DNS, NAME_QUERIES);
            self.connections(Some(*net), DNS, None);
        }
        for server in &policy.ntp {
            self.queries(Net::host(*server), NTP, TIME_QUERIES);
        }
    }

    /// Questions over UDP, all of them counted by the limit, and their answers.
    fn queries(&mut self, net: Net, port: u16, limit: (u16, u16)) {
        let mut query = rule(UDP, Some(net), port, 0);
        query.limit = Some(limit);
        query.established = true;
        self.output(query);
        if port == DNS && !self.can.established {
            // Nor is it to reach the services that have fixed ports. Time is asked for from such a port too.
            query.local_port = CLIENT;
        }
        self.input(query);
    }

    /// TCP connections from here.
    fn connections(&mut self, remote: Option<Net>, port: u16, uid: Option<u32>) {
        let mut tcp = rule(TCP, remote, port, 0);
        tcp.uid = uid;
        tcp.flags = Some(Flags::NEW);
        tcp.limit = Some(NEW_CONNECTIONS);
        self.output(tcp);
        tcp.flags = Some(Flags::NOT_NEW);
        tcp.limit = None;
        self.output(tcp);
        if uid.is_some() && self.can.owner {
            // The kernel ends a connection whose program is gone, and then it has no user.
            self.output(Rule {
                flags: Some(Flags::END),
                uid: None,
                ..tcp
            });
        }
        tcp.local_port = CLIENT;
        tcp.established = true;
        self.input(tcp);
    }

    fn uplink(&mut self, policy: &Policy) {
        for port in &policy.ports {
            self.connections(None, *port, policy.uid);
        }
    }

    /// Somebody reaches a port here.
    fn served(&mut self, allowed: &Allowed) {
        let remote = Some(allowed.net);
        if allowed.tcp {
            let mut tcp = rule(TCP, remote, 0, allowed.port);
            self.input(tcp);
            tcp.flags = Some(Flags::NOT_NEW);
            self.output(tcp);
            if RTSP.contains(&allowed.port) {
                let mut media = rule(UDP, remote, 0, 0);
                (media.remote_port, media.local_port) = (CLIENT, CLIENT);
                self.output(media);
            }
        }
        if allowed.udp {
            self.both(rule(UDP, remote, 0, allowed.port));
        }
    }

    /// Something is reached from here.
    fn used(&mut self, allowed: &Allowed) {
        if allowed.tcp {
            self.connections(Some(allowed.net), allowed.port, None);
        }
        if allowed.udp {
            let mut udp = rule(UDP, Some(allowed.net), allowed.port, 0);
            udp.established = true;
            self.both(udp);
        }
    }

    fn discovery(&mut self) {
        for net in LAN {
            self.both(rule(UDP, Some(*net), 0, DISCOVERY));
        }
        for net in PROBES {
            self.output(rule(UDP, Some(*net), DISCOVERY, 0));
        }
        // Joining the group (RFC 3376), and being asked whether one is still there.
        self.input(rule(IGMP, None, 0, 0));
        self.output(rule(IGMP, Some(v4(224, 0, 0, 0, 4)), 0, 0));
    }
}
