//! Whom the camera may talk to, by its configuration.

use std::path::Path;

use lenscap_audit::facts::{Allowed, Fact, Missing};
use lenscap_harden::firewall::{Allowed as Destination, name_servers};

use crate::config::{self, AgentConfig};
use crate::files;

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
    let mut allowed = Allowed::default();
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
    Fact::seen(source, allowed)
}
