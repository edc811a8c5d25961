//! Rules as `nft` reads them, for firewalls that load files.

use core::fmt::Write as _;

use super::NAME;
use super::nft::PRIORITY;
use super::rule::{ANY_PORT, Family, ICMP, Rule, Rules, TCP};

/// A file that replaces our table, and no other.
#[must_use]
pub fn to_nft_text(rules: &Rules) -> String {
    let mut text = format!("table inet {NAME} {{\n}}\ndelete table inet {NAME}\ntable inet {NAME} {{\n");
    for (chain, hook, list) in [("in", "input", &rules.input), ("out", "output", &rules.output)] {
        let _ = write!(
            text,
            "\tchain {chain} {{\n\t\ttype filter hook {hook} priority {PRIORITY}; policy drop;\n"
        );
        for rule in list {
            text.push_str("\t\t");
            text.push_str(&line(rule, chain == "in"));
            text.push('\n');
        }
        text.push_str("\t}\n");
    }
    text + "}\n"
}

fn line(rule: &Rule, input: bool) -> String {
    let mut words = String::new();
    let (interface, side) = if input { ("iif", "saddr") } else { ("oif", "daddr") };
    let mut word = |text: &dyn core::fmt::Display| {
        let _ = write!(words, "{text} ");
    };
    if rule.loopback {
        word(&format_args!("{interface} \"lo\""));
    }
    let (family, address) = match rule.family() {
        Some(Family::V4) => ("meta nfproto ipv4", "ip"),
        Some(Family::V6) => ("meta nfproto ipv6", "ip6"),
        None => ("", ""),
    };
    if !family.is_empty() {
        word(&family);
    }
    if let Some(protocol) = rule.protocol {
        word(&format_args!("meta l4proto {protocol}"));
    }
    if let Some(net) = rule.remote.filter(|net| net.prefix > 0) {
        word(&format_args!("{address} {side} {net}"));
    }
    let ports = if input {
        [rule.remote_port, rule.local_port]
    } else {
        [rule.local_port, rule.remote_port]
    };
    let transport = if rule.protocol == Some(TCP) { "tcp" } else { "udp" };
    for ((first, last), port) in ports.into_iter().zip(["sport", "dport"]) {
        match (first, last) {
            ANY_PORT => {}
            (first, last) if first == last => word(&format_args!("{transport} {port} {first}")),
            (first, u16::MAX) => word(&format_args!("{transport} {port} >= {first}")),
            (first, last) => word(&format_args!("{transport} {port} {first}-{last}")),
        }
    }
    if let Some(flags) = rule.flags {
        let operator = if flags.inverted { "!=" } else { "==" };
        word(&format_args!(
            "tcp flags & {} {operator} {}",
            flags.mask, flags.value
        ));
    }
    if let Some(icmp) = rule.icmp {
        let name = if rule.protocol == Some(ICMP) {
            "icmp"
        } else {
            "icmpv6"
        };
        word(&format_args!("{name} type {icmp}"));
    }
    if rule.established {
        word(&"ct state established,related");
    }
    if let Some(uid) = rule.uid {
        word(&format_args!("meta skuid {uid}"));
    }
    if let Some((rate, burst)) = rule.limit {
        word(&format_args!("limit rate {rate}/second burst {burst} packets"));
    }
    let verdict = if rule.accept { "accept" } else { "drop" };
    words + "counter " + verdict
}
