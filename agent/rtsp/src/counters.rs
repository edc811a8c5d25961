//! What a session counts.

/// Media dropped for one reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Access units, or single packets where there are no access units.
    pub units: u64,
    /// RTP or RTCP packets.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

impl Dropped {
    pub(crate) fn add_packet(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// Counters of one session, monotonic over its life.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// RTP packets taken from the camera.
    pub rtp_packets_in: u64,
    /// Bytes of those packets.
    pub rtp_bytes_in: u64,
    /// RTCP packets taken from the camera.
    pub rtcp_packets_in: u64,
    /// Packets queued for the viewer.
    pub packets_queued: u64,
    /// Bytes given to the viewer's side, messages included.
    pub viewer_bytes_out: u64,
    /// Viewer packets (talk-back, RTCP) forwarded to the camera.
    pub viewer_packets_in: u64,
    /// Viewer packets dropped because the camera's queue was full or the channel unknown.
    pub dropped_viewer: Dropped,
    /// Access units not started: no room for 1.5 times the recent largest.
    pub dropped_full: Dropped,
    /// Access units not started: the oldest queued byte was too old.
    pub dropped_late: Dropped,
    /// Access units passed over while waiting for a random access point.
    pub dropped_waiting: Dropped,
    /// RASL pictures after a CRA at which the stream was resumed.
    pub dropped_rasl: Dropped,
    /// Audio, metadata and RTCP packets dropped because their share of the queue was full.
    pub dropped_side: Dropped,
    /// Access units removed whole, or cut, at the hard bound.
    pub dropped_oversize: Dropped,
    /// Of those, units whose first bytes had already left: the only torn ones.
    pub torn_units: u64,
    /// Times the stream was resumed at a random access point after a drop.
    pub resumed_random_access: u64,
    /// Times it was resumed elsewhere, none having come in time.
    pub resumed_anywhere: u64,
    /// Times the camera's stream had to be searched for the next frame.
    pub camera_resyncs: u64,
    /// Bytes of the camera skipped in those searches.
    pub camera_skipped_bytes: u64,
    /// `$` frames of the camera that were cut short and thrown away.
    pub camera_cut_frames: u64,
    /// Times the viewer's stream had to be searched for the next frame.
    pub viewer_resyncs: u64,
    /// Bytes of the viewer skipped in those searches.
    pub viewer_skipped_bytes: u64,
    /// Requests sent again with an answer to the camera's challenge.
    pub auth_rounds: u64,
    /// Keep-alive requests sent by the agent itself.
    pub keep_alives: u64,
    /// Viewer requests forwarded to the camera.
    pub requests_forwarded: u64,
    /// Viewer requests answered by the agent alone.
    pub requests_answered: u64,
    /// Replies of the camera that matched no request.
    pub stray_replies: u64,
    /// Largest access unit seen, in bytes.
    pub largest_access_unit_bytes: u64,
    /// Most bytes ever queued for the viewer.
    pub queue_peak_bytes: u64,
}
