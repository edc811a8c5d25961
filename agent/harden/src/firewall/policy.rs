//! What is wanted of the firewall, as text to keep, and the rules that follow.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::net::{Allowed, Net};
use super::rule::{Abilities, Flags, ICMP, ICMPV6, IGMP, Rule, Rules, TCP, UDP};

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
const LAN: &[Net] = &[
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
    /// Name servers; none: any on the local network.
    pub dns: Vec<IpAddr>,
    /// Time servers.
    pub ntp: Vec<IpAddr>,
    /// WS-Discovery, from and to the local network.
    pub discovery: bool,
    /// IPv6 is switched off, since this kernel cannot filter it.
    pub no_ipv6: bool,
}

impl Policy {
    /// The rules, as tight as the kernel can have them.
    #[must_use]
    pub fn rules(&self, can: Abilities) -> Rules {
        let mut build = Builder {
            can,
            rules: Rules::default(),
        };
        build.both(Rule {
            loopback: true,
            ..Rule::ACCEPT
        });
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
        for (name, on) in [("discovery", self.discovery), ("no_ipv6", self.no_ipv6)] {
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

    /// Takes name and time servers that became known, and keeps those that were.
    pub fn add_servers(&mut self, dns: &[IpAddr], ntp: &[IpAddr]) {
        for (have, new) in [(&mut self.dns, dns), (&mut self.ntp, ntp)] {
            for server in new {
                if !have.contains(server) {
                    have.insert(0, *server);
                }
            }
            have.truncate(MAX_SERVERS);
        }
    }
}

struct Builder {
    can: Abilities,
    rules: Rules,
}

impl Builder {
    fn input(&mut self, rule: Rule) {
        let established = rule.established && self.can.established;
        self.rules.input.push(Rule { established, ..rule });
    }

    fn output(&mut self, rule: Rule) {
        self.rules.output.push(Rule {
            uid: rule.uid.filter(|_| self.can.owner),
            limit: rule.limit.filter(|_| self.can.limit),
            ..rule
        });
    }

    fn both(&mut self, rule: Rule) {
        self.input(rule);
        self.output(rule);
    }

    fn control_messages(&mut self) {
        let message = |protocol, icmp| Rule {
            protocol: Some(protocol),
            icmp: Some(icmp),
            ..Rule::ACCEPT
        };
        for (protocol, icmp) in ERRORS {
            self.input(Rule {
                established: true,
                ..message(*protocol, *icmp)
            });
        }
        for icmp in NEIGHBOURS_IN {
            self.input(message(ICMPV6, *icmp));
        }
        for icmp in NEIGHBOURS_OUT {
            self.output(message(ICMPV6, *icmp));
        }
    }

    /// DHCP and DHCPv6, with servers of the local network.
    fn leases(&mut self) {
        let lan = |v4: bool| LAN.iter().filter(move |net| net.addr.is_ipv4() == v4);
        for net in lan(true).chain([&BROADCAST]) {
            self.lease(*net, 67, 68);
        }
        for net in lan(false).chain([&DHCPV6]) {
            self.lease(*net, 547, 546);
        }
    }

    fn lease(&mut self, net: Net, server: u16, client: u16) {
        let rule = Rule {
            remote: Some(net),
            remote_port: (server, server),
            local_port: (client, client),
            ..udp()
        };
        if net != BROADCAST && net != DHCPV6 {
            self.input(rule);
        }
        self.output(Rule {
            limit: Some(LEASES),
            ..rule
        });
    }

    fn servers(&mut self, policy: &Policy) {
        let known: Vec<Net> = policy.dns.iter().copied().map(Net::host).collect();
        let dns = if known.is_empty() { LAN } else { &known };
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
        let rule = Rule {
            remote: Some(net),
            remote_port: (port, port),
            ..udp()
        };
        self.output(Rule {
            limit: Some(limit),
            ..rule
        });
        self.input(Rule {
            established: true,
            ..rule
        });
    }

    /// TCP connections from here.
    fn connections(&mut self, remote: Option<Net>, port: u16, uid: Option<u32>) {
        let rule = Rule {
            remote,
            protocol: Some(TCP),
            remote_port: (port, port),
            uid,
            ..Rule::ACCEPT
        };
        self.output(Rule {
            flags: Some(Flags::NEW),
            limit: Some(NEW_CONNECTIONS),
            ..rule
        });
        self.output(Rule {
            flags: Some(Flags::NOT_NEW),
            ..rule
        });
        if uid.is_some() && self.can.owner {
            // The kernel ends a connection whose program is gone, and then it has no user.
            self.output(Rule {
                flags: Some(Flags::END),
                uid: None,
                ..rule
            });
        }
        self.input(Rule {
            local_port: CLIENT,
            flags: Some(Flags::NOT_NEW),
            established: true,
            uid: None,
            ..rule
        });
    }

    fn uplink(&mut self, policy: &Policy) {
        for port in &policy.ports {
            self.connections(None, *port, policy.uid);
        }
    }

    /// Somebody reaches a port here.
    fn served(&mut self, allowed: &Allowed) {
        let rule = Rule {
            remote: Some(allowed.net),
            local_port: (allowed.port, allowed.port),
            ..udp()
        };
        if allowed.tcp {
            let tcp = Rule {
                protocol: Some(TCP),
                ..rule
            };
            self.input(tcp);
            self.output(Rule {
                flags: Some(Flags::NOT_NEW),
                ..tcp
            });
            if RTSP.contains(&allowed.port) {
                self.output(Rule {
                    remote_port: CLIENT,
                    local_port: CLIENT,
                    ..rule
                });
            }
        }
        if allowed.udp {
            self.both(rule);
        }
    }

    /// Something is reached from here.
    fn used(&mut self, allowed: &Allowed) {
        if allowed.tcp {
            self.connections(Some(allowed.net), allowed.port, None);
        }
        if allowed.udp {
            let rule = Rule {
                remote: Some(allowed.net),
                remote_port: (allowed.port, allowed.port),
                ..udp()
            };
            self.output(rule);
            self.input(Rule {
                established: true,
                ..rule
            });
        }
    }

    fn discovery(&mut self) {
        for net in LAN {
            self.both(Rule {
                remote: Some(*net),
                local_port: (DISCOVERY, DISCOVERY),
                ..udp()
            });
        }
        for net in PROBES {
            self.output(Rule {
                remote: Some(*net),
                remote_port: (DISCOVERY, DISCOVERY),
                ..udp()
            });
        }
        // Joining the group (RFC 3376), and being asked whether one is still there.
        let group = Rule {
            protocol: Some(IGMP),
            ..Rule::ACCEPT
        };
        self.input(group);
        self.output(Rule {
            remote: Some(v4(224, 0, 0, 0, 4)),
            ..group
        });
    }
}

fn udp() -> Rule {
    Rule {
        protocol: Some(UDP),
        ..Rule::ACCEPT
    }
}
