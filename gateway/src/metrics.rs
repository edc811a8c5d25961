//! Prometheus metrics, without labels that grow with the fleet.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
    /// Wrong PINs.
    pub wrong_pins: Counter,
    /// Cameras whose key two devices use.
    pub clones: Counter,
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
        let mut metrics = Self {
            registry: Registry::with_prefix("lenscap_gateway"),
            uplinks: Gauge::default(),
            uplinks_accepted: Counter::default(),
            uplinks_refused: Family::default(),
            pending: Gauge::default(),
            claims: Counter::default(),
            wrong_pins: Counter::default(),
            clones: Counter::default(),
            views_lost: Counter::default(),
            viewers: Gauge::default(),
            sessions: Gauge::default(),
            sessions_opened: Counter::default(),
            auth_failures: Counter::default(),
            bytes: Family::default(),
            snapshots: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("uplinks", "Uplinks that are up", metrics.uplinks.clone());
        registry.register(
            "uplinks_accepted",
            "Uplinks that came up",
            metrics.uplinks_accepted.clone(),
        );
        registry.register(
            "uplinks_refused",
            "Uplinks refused",
            metrics.uplinks_refused.clone(),
        );
        registry.register(
            "pending",
            "Cameras that wait to be claimed",
            metrics.pending.clone(),
        );
        registry.register("claims", "Cameras claimed", metrics.claims.clone());
        registry.register("wrong_pins", "Wrong PINs", metrics.wrong_pins.clone());
        registry.register(
            "clones",
            "Cameras whose key two devices use",
            metrics.clones.clone(),
        );
        registry.register("views_lost", "Views not written down", metrics.views_lost.clone());
        registry.register("viewers", "RTSP connections of viewers", metrics.viewers.clone());
        registry.register(
            "sessions",
            "RTSP sessions through uplinks",
            metrics.sessions.clone(),
        );
        registry.register(
            "sessions_opened",
            "RTSP sessions opened",
            metrics.sessions_opened.clone(),
        );
        registry.register("auth_failures", "Failed logins", metrics.auth_failures.clone());
        registry.register("bytes", "Bytes of RTSP and media", metrics.bytes.clone());
        registry.register("snapshots", "Snapshots", metrics.snapshots.clone());
        metrics
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

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
