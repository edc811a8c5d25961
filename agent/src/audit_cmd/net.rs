//! Whom the camera may talk to, by its configuration.

use core::net::IpAddr;
use std::path::Path;

use lenscap_audit::facts::{Allowed, Fact, Missing};

use crate::config::{self, AgentConfig};
use crate::files;

/// The longest resolv.conf(5).
const MAX_RESOLV_BYTES: u64 = 16 * 1024;

pub(super) fn allowed(path: &Path, agent: &AgentConfig) -> Fact<Allowed> {
    let source = path.display().to_string();
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(errors) => {
            let first = errors.to_string();
            let first = first.lines().next().unwrap_or_default().to_owned();
            return Fact::missing(source, Missing::because(first));
        }
    };
    let mut allowed = Allowed::default();
    let endpoints = loaded.config.uplinks.iter().flat_map(|uplink| &uplink.endpoints);
    allowed.uplink_ports = endpoints.map(|endpoint| endpoint.port()).collect();
    let resolv = files::read(&agent.resolv_conf, MAX_RESOLV_BYTES).unwrap_or_default();
    let resolv = String::from_utf8_lossy(&resolv);
    for line in resolv.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(Ok(address)) = words.next().map(str::parse)
        {
            allowed.servers.push(address);
        }
    }
    for entry in &loaded.config.harden.allow_out {
        match destination(entry) {
            Some(parsed) => allowed.out.push(parsed),
            None => allowed.odd.push(entry.clone()),
        }
    }
    Fact::seen(source, allowed)
}

/// `address:port`, `network/bits:port`, `[address]:port` or an address alone.
fn destination(text: &str) -> Option<(IpAddr, u8, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            let port = if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':')?)
            };
            (host, port)
        }
        None if text.matches(':').count() == 1 => {
            let (host, port) = text.split_once(':')?;
            (host, Some(port))
        }
        None => (text, None),
    };
    let port = match port {
        Some("*") | None => 0,
        Some(port) => port.parse().ok()?,
    };
    let (address, bits) = match host.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (host, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some((address, bits, port))
}

#[cfg(test)]
mod tests {
    use super::destination;

    #[test]
    fn destinations_are_read() {
        let ip = |text: &str| text.parse().unwrap();
        for (text, expected) in [
            ("192.168.1.10:554", Some((ip("192.168.1.10"), 32, 554))),
            ("192.168.1.0/24:554", Some((ip("192.168.1.0"), 24, 554))),
            ("[fd00::1]:554", Some((ip("fd00::1"), 128, 554))),
            ("[fd00::]/64:1", None),
            ("fd00::/8", Some((ip("fd00::"), 8, 0))),
            ("10.0.0.1", Some((ip("10.0.0.1"), 32, 0))),
            ("10.0.0.1/33:1", None),
            ("example.net:443", None),
            ("10.0.0.1:x", None),
            ("", None),
        ] {
            assert_eq!(destination(text), expected, "{text}");
        }
    }
}
