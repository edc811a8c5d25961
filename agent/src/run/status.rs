//! `GET /status`: what the agent says about itself, as JSON.

use std::path::Path;
use std::time::Duration;

use super::shared::{Media, Shared};
use super::uplink::Uplink;
use crate::clock::Clock;
use crate::files;
use crate::json::Writer;
use crate::monitor::Sandbox;

/// Facts about the process that do not change.
#[derive(Debug)]
pub(super) struct About {
    pub(super) started: Duration,
    pub(super) boot_id: String,
    pub(super) sandbox: Sandbox,
}

impl About {
    pub(super) fn new(now: Duration, sandbox: Sandbox) -> Self {
        const MAX_BOOT_ID_BYTES: u64 = 64;
        let boot_id = files::read(Path::new(super::BOOT_ID_PATH), MAX_BOOT_ID_BYTES).unwrap_or_default();
        Self {
            started: now,
            boot_id: String::from_utf8_lossy(&boot_id).trim().to_owned(),
            sandbox,
        }
    }
}

/// The sums of finished sessions and those that run.
pub(super) fn media<'a>(shared: &Shared, uplinks: impl Iterator<Item = &'a Uplink>) -> Media {
    let mut media = shared.totals.borrow().media;
    for relay in uplinks.flat_map(Uplink::relays) {
        media.add(&relay.counters());
    }
    media
}

/// The answer for a request that came in on one connection of `asked`.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a part of the agent that the answer tells of"
)]
pub(super) fn json(
    now: Duration,
    about: &About,
    shared: &Shared,
    clock: &Clock,
    uplinks: &[Uplink],
    asked: &Uplink,
    link: u32,
    hardening: Option<String>,
) -> String {
    let media = media(shared, uplinks.iter());
    let mut json = Writer::new();
    json.object(|o| {
        o.key("version").string(env!("CARGO_PKG_VERSION"));
        o.key("uptime_s")
            .number(now.saturating_sub(about.started).as_secs());
        o.key("boot_id").string(&about.boot_id);
        o.key("uplink").object(|o| {
            let link = asked.links().find(|candidate| candidate.id == link);
            o.key("name").string(&asked.config().name);
            o.key("level").string(asked.config().level.as_str());
            o.key("peer").optional(link.map(|link| link.peer.as_str()));
            o.key("phase").string(asked.phase());
            o.key("since_s")
                .number(link.map_or(0, |link| now.saturating_sub(link.since).as_secs()));
        });
        o.key("profiles").array(|a| {
            for profile in shared.profiles.borrow().iter() {
                a.item().string(&profile.name);
            }
        });
        o.key("sessions")
            .number(uplinks.iter().map(Uplink::sessions).sum::<usize>() as u64);
        o.key("counters").object(|o| {
            for (name, value) in counters(shared, &media) {
                o.key(name).number(value);
            }
        });
        o.key("last_error")
            .optional(shared.totals.borrow().last_error.as_deref());
        about.sandbox.write(o.key("sandbox"));
        o.key("clock").object(|o| {
            o.key("realtime").signed(clock.realtime());
            o.key("synchronised").bool(clock.synchronised());
            o.key("unset").bool(clock.is_unset());
        });
        match &hardening {
            Some(json) => o.key("hardening").raw(json.trim_end()),
            None => o.key("hardening").null(),
        }
        o.key("audit").null();
    });
    json.finish()
}

/// The counters by name, for `/status` and for the log.
pub(super) fn counters(shared: &Shared, media: &Media) -> [(&'static str, u64); 25] {
    let totals = shared.totals.borrow();
    [
        ("sessions", totals.sessions),
        ("sessions_refused", totals.sessions_refused),
        ("snapshots", totals.snapshots),
        ("snapshot_errors", totals.snapshot_errors),
        ("connections", totals.connections),
        ("reconnects", totals.connections.saturating_sub(1)),
        ("dial_failures", totals.dial_failures),
        ("moves", totals.moves),
        ("turns", totals.turns),
        ("received_bytes", totals.received_bytes),
        ("sent_bytes", totals.sent_bytes),
        ("rtp_packets_in", media.rtp_packets_in),
        ("rtp_bytes_in", media.rtp_bytes_in),
        ("viewer_bytes_out", media.viewer_bytes_out),
        ("dropped_units_full", media.dropped_full),
        ("dropped_units_late", media.dropped_late),
        ("dropped_units_waiting", media.dropped_waiting),
        ("dropped_units_rasl", media.dropped_rasl),
        ("dropped_packets_side", media.dropped_side),
        ("dropped_units_oversize", media.dropped_oversize),
        ("dropped_bytes", media.dropped_bytes),
        ("torn_units", media.torn_units),
        ("camera_resyncs", media.camera_resyncs),
        ("camera_skipped_bytes", media.camera_skipped_bytes),
        ("auth_rounds", media.auth_rounds),
    ]
}
