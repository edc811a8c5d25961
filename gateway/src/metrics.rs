//! Prometheus metrics, without labels that grow with the fleet.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// Why an uplink was refused before it carried anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refused {
    /// TLS did not come about, or not in time.
    Tls,
    /// No proper upgrade request, or not in time.
    Request,
    /// Unknown certificate or token.
    Unauthorized,
    /// HTTP/2 did not start as agreed.
    Http2,
    /// Too many uplinks.
    Limit,
    /// Nobody has claimed the camera.
    Pending,
    /// Sent on to another gateway.
    Redirected,
}

/// Label set with a [`Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// Why.
    pub reason: Refused,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum SnapshotResult {
    /// Delivered.
    Ok,
    /// No such profile.
    NotFound,
    /// No uplink.
    Offline,
    /// The agent or the camera failed.
    Error,
    /// No answer in time.
    Timeout,
}

/// Label set with a [`SnapshotResult`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SnapshotLabels {
    /// What became of it.
    pub result: SnapshotResult,
}

/// Where bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Direction {
    /// From cameras to viewers.
    Down,
    /// From viewers to cameras.
    Up,
}

/// Label set with a [`Direction`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabels {
    /// Which way.
    pub direction: Direction,
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Uplinks that are up.
    pub uplinks: Gauge,
    /// Uplinks that came up since the start.
    pub uplinks_accepted: Counter,
    /// Uplinks refused, by reason.
    pub uplinks_refused: Family<RefusedLabels, Counter>,
    /// Cameras that wait to be claimed.
    pub pending: Gauge,
    /// Cameras that were claimed.
    pub claims: Counter,
    /// Times that the rules for cameras and viewers were made anew: once a change.
    pub rules_made: Counter,
    /// Wrong PINs.
    pub wrong_pins: Counter,
    /// Cameras whose key two devices use.
    pub clones: Counter,
    /// The clock of this machine cannot be right: 1.
    pub clock_wrong: Gauge,
    /// When the certificate that is shown ends, in seconds since 1970.
    pub certificate_end: Gauge,
    /// When the own CA ends, in seconds since 1970; 0 without one.
    pub ca_end: Gauge,
    /// Views that could not be written down.
    pub views_lost: Counter,
    /// RTSP connections of viewers.
    pub viewers: Gauge,
    /// RTSP sessions through uplinks.
    pub sessions: Gauge,
    /// RTSP sessions opened since the start.
    pub sessions_opened: Counter,
    /// Failed logins of viewers and of HTTP clients.
    pub auth_failures: Counter,
    /// Bytes of RTSP and media, by direction.
    pub bytes: Family<DirectionLabels, Counter>,
    /// Snapshots, by result.
    pub snapshots: Family<SnapshotLabels, Counter>,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lenscap_gateway");
        let all = &mut registry;
        Self {
            uplinks: register(all, "uplinks", "Uplinks that are up"),
            uplinks_accepted: register(all, "uplinks_accepted", "Uplinks that came up"),
            uplinks_refused: register(all, "uplinks_refused", "Uplinks refused"),
            pending: register(all, "pending", "Cameras that wait to be claimed"),
            claims: register(all, "claims", "Cameras claimed"),
            rules_made: register(all, "rules_made", "Times that the rules were made anew"),
            wrong_pins: register(all, "wrong_pins", "Wrong PINs"),
            clones: register(all, "clones", "Cameras whose key two devices use"),
            clock_wrong: register(all, "clock_wrong", "The clock cannot be right"),
            certificate_end: register(
                all,
                "certificate_end_seconds",
                "When the certificate that is shown ends, in seconds since 1970",
            ),
            ca_end: register(
                all,
                "ca_end_seconds",
                "When the own CA ends, in seconds since 1970; 0 without one",
            ),
            views_lost: register(all, "views_lost", "Views not written down"),
            viewers: register(all, "viewers", "RTSP connections of viewers"),
            sessions: register(all, "sessions", "RTSP sessions through uplinks"),
            sessions_opened: register(all, "sessions_opened", "RTSP sessions opened"),
            auth_failures: register(all, "auth_failures", "Failed logins"),
            bytes: register(all, "bytes", "Bytes of RTSP and media"),
            snapshots: register(all, "snapshots", "Snapshots"),
            registry,
        }
    }

    /// Counts a refused uplink.
    pub fn refused(&self, reason: Refused) {
        self.uplinks_refused
            .get_or_create(&RefusedLabels { reason })
            .inc();
    }

    /// Counts a snapshot.
    pub fn snapshot(&self, result: SnapshotResult) {
        self.snapshots.get_or_create(&SnapshotLabels { result }).inc();
    }

    /// The counter of one direction; keep it, the look-up takes a lock.
    #[must_use]
    pub fn byte_counter(&self, direction: Direction) -> Counter<u64, AtomicU64> {
        self.bytes.get_or_create(&DirectionLabels { direction }).clone()
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_with(&Registry::default())
    }

    /// OpenMetrics text, with metrics of another registry.
    #[must_use]
    pub fn encode_with(&self, more: &Registry) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = encode_registry(&mut out, &self.registry);
        let _ = encode_registry(&mut out, more);
        let _ = encode_eof(&mut out);
        out
    }
}

/// A metric at zero that the registry knows.
fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alerts_that_ship_name_metrics_that_are() {
        let alerts = include_str!("../../packaging/gateway/alerts.yml");
        let metrics = Metrics::new();
        metrics.refused(Refused::Tls);
        let text = metrics.encode();
        let is_there = |name: &str| {
            let of_it = |line: &str| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            };
            text.lines().any(of_it)
        };
        let words = alerts.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
        let names: Vec<&str> = words
            .filter(|word| word.starts_with("lenscap_gateway_"))
            .collect();
        assert!(names.len() >= 8, "{names:?}");
        for name in names {
            assert!(is_there(name), "{name}");
        }
    }
}
