//! Whom the camera may talk to, by its configuration.

use std::path::Path;

use lenscap_audit::facts::{Allowed, Fact, Missing, Opening};
use lenscap_harden::credentials::PROGRAM;
use lenscap_harden::firewall::{Allowed as Destination, Net, name_servers};
use nix::libc::{IPPROTO_TCP, IPPROTO_UDP};

use crate::config::{self, AgentConfig};
use crate::files;

const TCP: u8 = IPPROTO_TCP as u8;
const UDP: u8 = IPPROTO_UDP as u8;
/// WS-Discovery.
const DISCOVERY: u16 = 3702;
/// The longest resolv.conf(5).
const MAX_RESOLV_BYTES: u64 = 16 * 1024;

#[inline(never)]
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
    let mut allowed = Allowed {
        // This program is the agent too.
        agent: std::env::current_exe().map_or(PROGRAM.into(), |own| own.to_string_lossy().into_owned()),
        ..Allowed::default()
    };
    let endpoints = loaded.config.uplinks.iter().flat_map(|uplink| &uplink.endpoints);
    allowed.uplink_ports = endpoints.map(|endpoint| endpoint.port()).collect();
    let resolv = files::read(&agent.resolv_conf, MAX_RESOLV_BYTES).unwrap_or_default();
    allowed.servers = name_servers(&String::from_utf8_lossy(&resolv));
    for entry in &loaded.config.harden.allow_out {
        match Destination::parse(entry) {
            Ok(to) => allowed.out.push((to.net.addr, to.net.prefix, to.port)),
            Err(_) => allowed.odd.push(entry.clone()),
        }
    }
    let harden = &loaded.config.harden;
    for from in harden
        .allow_lan
        .iter()
        .filter_map(|entry| Destination::parse(entry).ok())
    {
        // A rule for one address lets nobody else in, and is not told.
        if from.net == Net::host(from.net.addr) {
            continue;
        }
        let for_all = from.net.prefix == 0;
        for (protocol, on) in [(TCP, from.tcp), (UDP, from.udp)] {
            if on {
                let (port, family) = (from.port, usize::from(from.net.addr.is_ipv6()));
                allowed.lan[family].push(Opening {
                    protocol,
                    port,
                    for_all,
                });
            }
        }
    }
    if harden.discovery {
        for family in &mut allowed.lan {
            family.push(Opening {
                protocol: UDP,
                port: DISCOVERY,
                for_all: false,
            });
        }
    }
    Fact::seen(source, allowed)
}
