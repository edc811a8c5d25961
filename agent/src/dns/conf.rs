//! resolv.conf(5) and hosts(5). Lines that make no sense are passed over, as every resolver does.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::message::Name;

/// Name servers that are asked (`MAXNS` of resolv.conf(5)).
const MAX_SERVERS: usize = 3;
/// Domains that are tried after a name without dots.
const MAX_SEARCH: usize = 6;
/// Lines of either file that are read.
const MAX_LINES: usize = 4096;
/// Names kept from the hosts file.
const MAX_HOSTS: usize = 512;
const PORT: u16 = 53;

/// What resolv.conf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// At least one.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// How long one query is waited for.
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: usize,
}

pub(super) fn resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf {
        servers: Vec::new(),
        search: Vec::new(),
        timeout: Duration::from_secs(5),
        attempts: 2,
    };
    for line in text.lines().take(MAX_LINES) {
        let line = line.split(['#', ';']).next().unwrap_or("");
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().and_then(server);
                conf.servers
                    .extend(server.filter(|_| conf.servers.len() < MAX_SERVERS));
            }
            // The last of these lines counts.
            Some("search" | "domain") => {
                let known = words.filter(|domain| Name::parse(domain).is_some());
                conf.search = known.take(MAX_SEARCH).map(str::to_owned).collect();
            }
            Some("options") => words.for_each(|word| option(&mut conf, word)),
            _ => {}
        }
    }
    if conf.servers.is_empty() {
        conf.servers
            .push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    conf
}

fn option(conf: &mut ResolvConf, word: &str) {
    let Some((name, value)) = word.split_once(':') else {
        return;
    };
    let Ok(value) = value.parse::<u64>() else {
        return;
    };
    match name {
        "timeout" => conf.timeout = Duration::from_secs(value.clamp(1, 10)),
        "attempts" => conf.attempts = value.clamp(1, 5) as usize,
        _ => {}
    }
}

/// An address; a link-local one may have a numeric zone. The unspecified address means this machine, and this machine
/// answers from its loopback address.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let ip = match ip {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        return Some(SocketAddr::new(ip, PORT));
    }
    let (ip, zone) = text.split_once('%')?;
    Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, zone.parse().ok()?).into())
}

/// The names of the hosts file in lower case, with their addresses.
pub(super) fn hosts(text: &str) -> Vec<(String, IpAddr)> {
    let mut hosts = Vec::new();
    for line in text.lines().take(MAX_LINES) {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            if hosts.len() == MAX_HOSTS {
                return hosts;
            }
            hosts.push((name.to_ascii_lowercase(), ip));
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_resolv_conf() {
        let conf = resolv_conf(
            "# c\nnameserver 10.0.0.1 # x\n;x\nnameserver 2001:db8::1\nnameserver nonsense\nnameserver fe80::1%3\nnameserver 10.0.0.4\n\
             domain a.example\nsearch b.example c.example\noptions timeout:1 attempts:99 rotate ndots:x\n",
        );
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[2001:db8::1]:53", "[fe80::1%3]:53"]);
        assert_eq!(conf.search, ["b.example", "c.example"]);
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(1), 5));
    }

    #[test]
    fn an_empty_resolv_conf_means_this_machine() {
        for text in ["", "nameserver\n", "nameserver x\noptions timeout:0 attempts:0"] {
            let conf = resolv_conf(text);
            assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
            assert!(conf.timeout >= Duration::from_secs(1) && conf.attempts >= 1);
        }
    }

    #[test]
    fn the_unspecified_address_means_this_machine() {
        let conf = resolv_conf("nameserver 0.0.0.0\nnameserver ::\n");
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:53", "[::1]:53"]);
    }

    #[test]
    fn a_hosts_file() {
        let hosts =
            hosts("127.0.0.1 localhost\n10.0.0.5\tGW.example gw # x\n# 10.0.0.6 no\nbad gw\n::1 localhost\n");
        let expected = [
            ("localhost", "127.0.0.1"),
            ("gw.example", "10.0.0.5"),
            ("gw", "10.0.0.5"),
            ("localhost", "::1"),
        ];
        assert_eq!(
            hosts,
            expected.map(|(name, ip)| (name.to_owned(), ip.parse().unwrap()))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(nameserver|search|options|[0-9.:%a-f \\n#]|timeout:|attempts:|\\PC){0,60}") {
            let conf = resolv_conf(&text);
            prop_assert!((1..=MAX_SERVERS).contains(&conf.servers.len()));
            let _ = hosts(&text);
        }
    }
}
