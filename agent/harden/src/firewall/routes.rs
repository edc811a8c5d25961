//! Where nothing filters, and the owner wants it: routes that lead nowhere for all but the local network and what is
//! allowed. Strangers on the internet get no answer and are not reached. Whoever is on the local network still is.
//!
//! Messages of `NETLINK_ROUTE` (rtnetlink(7)). Ours are known by the number of who made them. Two halves of all
//! addresses are more than a default route, so that one need not be touched, and less than any other.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::net::Net;
use super::nft::{ACK, Attributes, CREATE, DUMP, Messages, attributes, messages};
use super::policy::Policy;

/// A number of `rtm_protocol` that nobody uses (`/etc/iproute2/rt_protos`).
const OURS: u8 = 112;
const REPLACE: u16 = 0x100;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
/// The length of `struct rtmsg`.
const HEAD_BYTES: usize = 12;
const MAIN_TABLE: u8 = 254;
const UNICAST: u8 = 1;
const BLACKHOLE: u8 = 6;
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
/// IPv6 routes to nowhere name the loopback interface.
const LOOPBACK_INDEX: u32 = 1;
/// The most routes that are read.
const MAX_ROUTES: usize = 256;

/// A route: to a gateway, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub net: Net,
    /// By whom; `None`: nowhere.
    pub via: Option<IpAddr>,
}

/// The routes that follow from a policy and the default gateways of both families.
#[must_use]
pub fn routes(policy: &Policy, gateways: &[IpAddr]) -> Vec<Route> {
    let halves = [
        Net::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1),
        Net::new(IpAddr::V4(Ipv4Addr::new(128, 0, 0, 0)), 1),
        Net::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1),
        Net::new(IpAddr::V6(Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0)), 1),
    ];
    let mut routes: Vec<Route> = Vec::new();
    let servers = policy.dns.iter().chain(&policy.ntp).copied().map(Net::host);
    let allowed = policy.allow_out.iter().chain(&policy.allow_in);
    for net in servers.chain(allowed.map(|allowed| allowed.net)) {
        let near = super::policy::LAN.iter().any(|lan| lan.contains(net.addr));
        let via = gateways
            .iter()
            .find(|gateway| gateway.is_ipv4() == net.addr.is_ipv4());
        let route = Route {
            net,
            via: via.copied(),
        };
        if route.via.is_some() && !near && net.prefix > 1 && !routes.contains(&route) {
            routes.push(route);
        }
    }
    // Last, so that what is allowed is never cut off.
    routes.extend(halves.map(|net| Route { net, via: None }));
    routes
}

/// Messages that add routes, or delete them.
#[must_use]
pub fn change(routes: &[Route], add: bool) -> Vec<u8> {
    let mut all = Messages::default();
    for (at, Route { net, via }) in routes.iter().enumerate() {
        let mut attributes = Attributes::default();
        let (address, _) = net.bytes();
        attributes.put(DESTINATION, &address);
        match via {
            Some(IpAddr::V4(gateway)) => attributes.put(GATEWAY, &gateway.octets()),
            Some(IpAddr::V6(gateway)) => attributes.put(GATEWAY, &gateway.octets()),
            None if net.addr.is_ipv6() => attributes.put(INTERFACE, &LOOPBACK_INDEX.to_ne_bytes()),
            None => {}
        }
        let kind = if via.is_some() { UNICAST } else { BLACKHOLE };
        let head = head(net.addr.is_ipv6(), net.prefix, OURS, kind);
        let (message, flags) = if add {
            (NEW_ROUTE, CREATE | REPLACE)
        } else {
            (DELETE_ROUTE, 0)
        };
        let last = if at + 1 == routes.len() { ACK } else { 0 };
        all.push(message, flags | last, &head, &attributes.0);
    }
    all.bytes
}

/// A question for all routes of a family.
#[must_use]
pub fn question(v6: bool) -> Vec<u8> {
    let mut messages = Messages::default();
    messages.push(GET_ROUTE, DUMP, &head(v6, 0, 0, 0), &[]);
    messages.bytes
}

/// Our routes in the answer.
#[must_use]
pub fn read(answer: &[u8]) -> Vec<Route> {
    let mut found = Vec::new();
    for (message, body) in messages(answer) {
        let (NEW_ROUTE, Some((head, rest))) = (message, body.split_at_checked(HEAD_BYTES)) else {
            continue;
        };
        if head[5] != OURS || found.len() == MAX_ROUTES {
            continue;
        }
        let address = |kind| {
            let (_, bytes) = attributes(rest).find(|(have, _)| *have == kind)?;
            match *bytes {
                [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
                _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
            }
        };
        // The kernel leaves an unspecified destination out.
        let any = if head[0] == 2 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        found.push(Route {
            net: Net::new(address(DESTINATION).unwrap_or(any), head[1]),
            via: address(GATEWAY),
        });
    }
    found
}

/// `struct rtmsg`.
fn head(v6: bool, prefix: u8, protocol: u8, kind: u8) -> [u8; HEAD_BYTES] {
    let family = if v6 { 10 } else { 2 };
    [family, prefix, 0, 0, MAIN_TABLE, protocol, 0, kind, 0, 0, 0, 0]
}

/// The default gateways in the texts of `/proc/net/route` and `/proc/net/ipv6_route`.
#[must_use]
pub fn gateways(route: &str, ipv6_route: &str) -> Vec<IpAddr> {
    let v4 = route.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (words.next()?, words.next()?);
        let mask = words.nth(4)?;
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && mask == "00000000" && gateway != 0)
            .then(|| IpAddr::from(gateway.to_ne_bytes()))
    });
    let v6 = ipv6_route.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (destination, prefix) = (words.next()?, words.next()?);
        let gateway = u128::from_str_radix(words.nth(2)?, 16).ok()?;
        let is_default = prefix == "00" && destination.bytes().all(|byte| byte == b'0');
        (is_default && gateway != 0).then(|| IpAddr::V6(gateway.into()))
    });
    v4.into_iter().chain(v6).collect()
}
