//! One session between a viewer and a camera: the public face and the two byte streams.

mod camera;
mod core;
mod exchange;
mod media;
mod rewrite;
#[cfg(test)]
mod tests;
mod viewer;

use self::core::Core;
use crate::framing::{ChannelUse, Sink, Splitter};
use crate::{CameraError, Counters, Datagram, Event, FinishReason, Notice, Now, SessionConfig, UdpId};

/// Stands between one viewer's RTSP byte stream and one camera's RTSP connection.
#[derive(Debug)]
pub struct Session {
    viewer_in: Splitter,
    camera_in: Splitter,
    core: Core,
}

impl Session {
    /// A session that waits for its first request. `seed` feeds client nonces.
    pub fn new(config: SessionConfig, now: Now, seed: [u8; 16]) -> Self {
        Self {
            viewer_in: Splitter::new(),
            camera_in: Splitter::new(),
            core: Core::new(config, now, seed),
        }
    }

    /// Takes bytes from the viewer.
    pub fn handle_viewer(&mut self, now: Now, bytes: &[u8]) {
        self.core.now = now;
        if self.core.is_open() {
            self.viewer_in.handle_input(
                bytes,
                &mut ViewerSink {
                    core: &mut self.core,
                    now,
                },
            );
        }
    }

    /// The viewer's side has ended.
    pub fn handle_viewer_closed(&mut self, now: Now) {
        self.core.now = now;
        self.core.close(now, FinishReason::ViewerClosed);
    }

    /// The connection asked for by [`Event::Connect`] is up.
    pub fn handle_camera_connected(&mut self, now: Now) {
        self.core.now = now;
        self.camera_in = Splitter::new();
        self.core.handle_camera_connected(now);
    }

    /// Takes bytes from the camera's TCP connection.
    pub fn handle_camera(&mut self, now: Now, bytes: &[u8]) {
        self.core.now = now;
        if !self.core.is_finished() {
            self.camera_in.handle_input(
                bytes,
                &mut CameraSink {
                    core: &mut self.core,
                    now,
                },
            );
        }
    }

    /// The camera's connection ended or could not be made.
    pub fn handle_camera_closed(&mut self, now: Now, error: CameraError) {
        self.core.now = now;
        self.core.handle_camera_closed(now, error);
    }

    /// The pair of sockets asked for by [`Event::OpenUdp`] is bound to these ports.
    pub fn handle_udp_ready(&mut self, now: Now, pair: u8, rtp_port: u16, rtcp_port: u16) {
        self.core.now = now;
        self.core.handle_udp_ready(now, pair, (rtp_port, rtcp_port));
    }

    /// The pair of sockets could not be opened.
    pub fn handle_udp_failed(&mut self, now: Now, pair: u8) {
        self.core.now = now;
        self.core.handle_udp_failed(now, pair);
    }

    /// Takes one datagram.
    pub fn handle_udp(&mut self, now: Now, socket: UdpId, bytes: &[u8]) {
        self.core.now = now;
        self.core.handle_datagram(now, socket, bytes);
    }

    /// Appends up to about `max` bytes for the viewer, whole messages and `$` frames; one that is larger than
    /// `max` is split. Returns how many bytes were appended.
    pub fn poll_viewer(&mut self, now: Now, out: &mut Vec<u8>, max: usize) -> usize {
        self.core.now = now;
        self.core.poll_viewer(now, out, max)
    }

    /// Bytes queued for the viewer.
    pub fn viewer_pending(&self) -> usize {
        self.core.queue.len()
    }

    /// Bytes for the camera's TCP connection; empty when there are none.
    pub fn poll_camera(&self) -> &[u8] {
        self.core.outbox.bytes()
    }

    /// The first `n` bytes of [`poll_camera`](Self::poll_camera) were written.
    pub fn advance_camera(&mut self, n: usize) {
        self.core.outbox.advance(n);
    }

    /// The next datagram for the camera.
    pub fn poll_udp(&mut self) -> Option<Datagram> {
        self.core.datagrams.pop_front()
    }

    /// The next thing to do or to log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Now> {
        self.core.poll_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.core.now = now;
        self.core.handle_timeout(now);
        if self.core.queue.is_empty() {
            self.camera_in.shrink();
            self.viewer_in.shrink();
        }
    }

    /// Ends the session in good order: TEARDOWN to the camera, then [`Event::Finished`].
    pub fn close(&mut self, now: Now) {
        self.core.now = now;
        self.core.close(now, FinishReason::Closed);
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.core.counters
    }

    /// The profile the session is bound to, once a request named one.
    pub fn profile(&self) -> Option<&str> {
        self.core.profile().map(|profile| profile.name.as_str())
    }

    /// Whether [`Event::Finished`] has been given out or is queued.
    pub fn is_finished(&self) -> bool {
        self.core.is_finished()
    }
}

struct ViewerSink<'a> {
    core: &'a mut Core,
    now: Now,
}

impl Sink for ViewerSink<'_> {
    fn channel(&self, channel: u8) -> Option<ChannelUse> {
        self.core.viewer_channel(channel)
    }

    fn handle_frame(&mut self, channel: u8, payload: &[u8]) {
        self.core.handle_viewer_frame(channel, payload);
    }

    fn handle_message(&mut self, head: &[u8], body: &[u8]) {
        self.core.handle_viewer_message(self.now, head, body);
    }

    fn handle_resync(&mut self) {
        self.core.counters.viewer_resyncs += 1;
    }

    fn handle_skipped(&mut self, bytes: usize) {
        self.core.counters.viewer_skipped_bytes += bytes as u64;
    }

    fn handle_cut_frame(&mut self, bytes: usize) {
        self.core.counters.viewer_skipped_bytes += bytes as u64;
    }

    fn handle_oversize(&mut self) {
        self.core.close(self.now, FinishReason::ViewerProtocol);
    }
}

struct CameraSink<'a> {
    core: &'a mut Core,
    now: Now,
}

impl Sink for CameraSink<'_> {
    fn channel(&self, channel: u8) -> Option<ChannelUse> {
        self.core.camera_channel(channel)
    }

    fn handle_frame(&mut self, channel: u8, payload: &[u8]) {
        self.core.handle_camera_frame(self.now, channel, payload);
    }

    fn handle_message(&mut self, head: &[u8], body: &[u8]) {
        self.core.handle_camera_message(self.now, head, body);
    }

    fn handle_resync(&mut self) {
        self.core.counters.camera_resyncs += 1;
    }

    fn handle_skipped(&mut self, bytes: usize) {
        self.core.counters.camera_skipped_bytes += bytes as u64;
    }

    fn handle_cut_frame(&mut self, bytes: usize) {
        self.core.counters.camera_cut_frames += 1;
        self.core.counters.camera_skipped_bytes += bytes as u64;
    }

    fn handle_oversize(&mut self) {
        self.core.notice(Notice::CameraOversize);
        self.core.fail_exchange(502, "Camera Sent Too Large A Message");
        self.core.finish(FinishReason::CameraProtocol);
    }
}
