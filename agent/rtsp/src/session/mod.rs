//! One session between a viewer and a camera.

use crate::{CameraError, Counters, Datagram, Event, Now, SessionConfig, UdpId};

/// Stands between one viewer's RTSP byte stream and one camera's RTSP connection.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    counters: Counters,
}

impl Session {
    /// A session that waits for its first request. `seed` feeds client nonces.
    pub fn new(config: SessionConfig, _now: Now, _seed: [u8; 16]) -> Self {
        Self {
            config,
            counters: Counters::default(),
        }
    }

    /// Takes bytes from the viewer.
    pub fn handle_viewer(&mut self, _now: Now, _bytes: &[u8]) {}

    /// The viewer's side has ended.
    pub fn handle_viewer_closed(&mut self, now: Now) {
        self.close(now);
    }

    /// The connection asked for by [`Event::Connect`] is up.
    pub fn handle_camera_connected(&mut self, _now: Now) {}

    /// Takes bytes from the camera's TCP connection.
    pub fn handle_camera(&mut self, _now: Now, _bytes: &[u8]) {}

    /// The camera's connection ended or could not be made.
    pub fn handle_camera_closed(&mut self, _now: Now, _error: CameraError) {}

    /// The pair of sockets asked for by [`Event::OpenUdp`] is bound to these ports.
    pub fn handle_udp_ready(&mut self, _now: Now, _pair: u8, _rtp_port: u16, _rtcp_port: u16) {}

    /// The pair of sockets could not be opened.
    pub fn handle_udp_failed(&mut self, _now: Now, _pair: u8) {}

    /// Takes one datagram.
    pub fn handle_udp(&mut self, _now: Now, _socket: UdpId, _bytes: &[u8]) {}

    /// Appends up to about `max` bytes for the viewer, whole messages and `$` frames; one that is larger than
    /// `max` is split. Returns how many bytes were appended.
    pub fn poll_viewer(&mut self, _now: Now, _out: &mut Vec<u8>, _max: usize) -> usize {
        0
    }

    /// Bytes queued for the viewer.
    pub fn viewer_pending(&self) -> usize {
        0
    }

    /// Bytes for the camera's TCP connection; empty when there are none.
    pub fn poll_camera(&self) -> &[u8] {
        &[]
    }

    /// The first `n` bytes of [`poll_camera`](Self::poll_camera) were written.
    pub fn advance_camera(&mut self, _n: usize) {}

    /// The next datagram for the camera.
    pub fn poll_udp(&mut self) -> Option<Datagram> {
        None
    }

    /// The next thing to do or to log.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Now> {
        None
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// Ends the session in good order: TEARDOWN to the camera, then [`Event::Finished`].
    pub fn close(&mut self, _now: Now) {}

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The profile the session is bound to, once a request named one.
    pub fn profile(&self) -> Option<&str> {
        self.config.profiles.first().map(|profile| profile.name.as_str())
    }

    /// Whether [`Event::Finished`] has been given out or is queued.
    pub fn is_finished(&self) -> bool {
        false
    }
}
