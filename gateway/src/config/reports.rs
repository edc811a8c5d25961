//! `[reports]` and `[ipfix]`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::diagnostics::Collector;
use crate::ipfix::{IpfixConfig, Transport};
use crate::reports::ReportsConfig;

/// Longest interval, in seconds.
const MAX_INTERVAL_S: u64 = 7 * 86_400;
/// What a path carries whose MTU nobody knows (RFC 7011, section 10.3.3).
const DEFAULT_MTU: usize = 512;
const MAX_MTU: usize = 65_535;
/// Often enough for a collector that forgets templates after half an hour (RFC 7011, section 10.3.6).
const DEFAULT_TEMPLATE_REFRESH_S: u64 = 600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReports {
    state_dir: Option<Spanned<String>>,
    flows_every_s: Option<Spanned<u64>>,
    audit_every_s: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIpfix {
    collector: Spanned<String>,
    transport: Option<Spanned<String>>,
    mtu: Option<Spanned<usize>>,
    template_refresh_s: Option<Spanned<u64>>,
}

pub(super) fn check_reports(
    collect: &mut Collector,
    folder: &Path,
    raw: Option<&RawReports>,
) -> ReportsConfig {
    let mut config = ReportsConfig::default();
    if let Some(raw) = raw {
        config.state_dir = raw.state_dir.as_ref().map(|path| folder.join(path.get_ref()));
        config.flows_every = seconds(collect, raw.flows_every_s.as_ref(), config.flows_every);
        config.audit_every = seconds(collect, raw.audit_every_s.as_ref(), config.audit_every);
    }
    config
}

pub(super) fn check_ipfix(collect: &mut Collector, raw: &RawIpfix) -> IpfixConfig {
    let RawIpfix {
        collector,
        transport,
        mtu,
        template_refresh_s,
    } = raw;
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    let parts = collector.get_ref().rsplit_once(':');
    if !parts.is_some_and(|(host, port)| !host.is_empty() && is_port(port)) {
        collect.error(
            collector.span(),
            "must be HOST:PORT, as in \"flows.example.net:4739\"",
        );
    }
    let transport = match transport.as_ref().map(|text| (text, text.get_ref().as_str())) {
        None | Some((_, "udp")) => Transport::Udp,
        Some((_, "tcp")) => Transport::Tcp,
        Some((text, _)) => {
            collect.error(text.span(), "must be \"udp\" or \"tcp\"");
            Transport::Udp
        }
    };
    let size = mtu.as_ref().map_or(DEFAULT_MTU, |mtu| *mtu.get_ref());
    if let Some(mtu) = mtu
        && !(DEFAULT_MTU..=MAX_MTU).contains(mtu.get_ref())
    {
        collect.error(mtu.span(), format!("must be {DEFAULT_MTU} to {MAX_MTU}"));
    }
    let refresh = Duration::from_secs(DEFAULT_TEMPLATE_REFRESH_S);
    IpfixConfig {
        collector: collector.get_ref().clone(),
        transport,
        mtu: size,
        template_refresh: seconds(collect, template_refresh_s.as_ref(), refresh),
    }
}

fn seconds(collect: &mut Collector, given: Option<&Spanned<u64>>, default: Duration) -> Duration {
    let Some(given) = given else {
        return default;
    };
    if !(1..=MAX_INTERVAL_S).contains(given.get_ref()) {
        collect.error(given.span(), format!("must be 1 to {MAX_INTERVAL_S} seconds"));
    }
    Duration::from_secs(*given.get_ref())
}
