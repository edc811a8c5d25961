//! One RTSP session: a WebSocket inside an HTTP/2 stream on one side, the camera's sockets on the other, and
//! [`lenscap_rtsp::Session`] between them.
//!
//! It outlives its stream: a viewer that is gone still owes the camera a TEARDOWN.

use std::time::Duration;

use lenscap_rtsp::{Counters, Event, FinishReason, Session};
use lenscap_uplink::h2::BodyRead;
use lenscap_uplink::ws::{self, Decoder, Opcode, Role, close_code};

use super::camera::Camera;
use super::slots::Slot;

/// Pongs and a close frame that wait for the stream; further pings are not answered until they are gone.
const MAX_CONTROL_BYTES: usize = 4096;
/// Events taken from the session in one pass.
const EVENTS_PER_PASS: usize = 64;
/// Room kept for the frame header.
const HEADER_BYTES: usize = 4;
/// How long a camera may take to read what it was sent last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How far the viewer's side has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Viewer {
    /// Bytes go both ways.
    Open,
    /// A close frame is queued; the stream ends behind it.
    Closing,
    /// The stream is gone.
    Gone,
}

/// A session and its sockets.
#[derive(Debug)]
pub(super) struct Relay {
    session: Session,
    camera: Camera,
    decoder: Decoder,
    control: Vec<u8>,
    viewer: Viewer,
    finished: Option<FinishReason>,
    /// The camera's connection is to be closed once what is queued for it has been written, or at this time.
    disconnect_by: Option<Duration>,
    started: Duration,
    _slot: Slot,
}

/// Something worth a line in the log.
#[derive(Debug)]
pub(super) enum RelayNote {
    /// The session said it.
    Notice(lenscap_rtsp::Notice),
    /// The session is over.
    Finished(FinishReason),
}

impl Relay {
    pub(super) fn new(session: Session, camera: Camera, now: Duration, slot: Slot) -> Self {
        Self {
            session,
            camera,
            decoder: Decoder::new(Role::Server, ws::Limits::default()),
            control: Vec::new(),
            viewer: Viewer::Open,
            finished: None,
            disconnect_by: None,
            started: now,
            _slot: slot,
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    pub(super) fn profile(&self) -> Option<&str> {
        self.session.profile()
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started)
    }

    /// Bytes of the stream, which are unmasked in place.
    pub(super) fn handle_data(&mut self, now: Duration, bytes: &mut [u8]) {
        let Self {
            session,
            decoder,
            control,
            viewer,
            ..
        } = self;
        if *viewer != Viewer::Open {
            return;
        }
        let mut closed = None;
        let result = decoder.handle_input(bytes, &mut |event| match event {
            ws::Event::Data(data) => session.handle_viewer(now, data),
            ws::Event::Ping(payload) => {
                if control.len() < MAX_CONTROL_BYTES {
                    ws::encode_control(control, Opcode::Pong, payload, None);
                }
            }
            ws::Event::Pong(_) => {}
            ws::Event::Close { code } => closed = Some(code.unwrap_or(close_code::NORMAL)),
        });
        if let Err(error) = result {
            log::debug!("session: {error}");
            closed = Some(error.close_code);
        }
        if let Some(code) = closed {
            self.start_closing(code);
            self.session.handle_viewer_closed(now);
        }
    }

    /// The gateway ended its half of the stream.
    pub(super) fn handle_end(&mut self, now: Duration) {
        self.start_closing(close_code::NORMAL);
        self.session.handle_viewer_closed(now);
    }

    /// The stream or its connection is gone.
    pub(super) fn handle_gone(&mut self, now: Duration) {
        self.viewer = Viewer::Gone;
        self.control = Vec::new();
        self.session.handle_viewer_closed(now);
    }

    /// Ends the session in good order.
    pub(super) fn close(&mut self, now: Duration) {
        self.session.close(now);
    }

    /// Reads the camera and does what the session asks for. True when there is more to read.
    pub(super) fn work(
        &mut self,
        now: Duration,
        scratch: &mut [u8],
        on_note: &mut dyn FnMut(RelayNote),
    ) -> bool {
        let mut more = self.camera.read(now, scratch, &mut self.session);
        for _ in 0..EVENTS_PER_PASS {
            let Some(event) = self.session.poll_event() else {
                break;
            };
            self.handle_event(now, event, on_note);
        }
        self.camera.write(now, &mut self.session);
        if let Some(until) = self.disconnect_by
            && (now >= until || self.session.poll_camera().is_empty())
        {
            self.disconnect_by = None;
            self.camera.disconnect();
        }
        if self.finished.is_some() && self.viewer == Viewer::Open && self.session.viewer_pending() == 0 {
            self.start_closing(close_code::NORMAL);
            more = true;
        }
        more
    }

    fn handle_event(&mut self, now: Duration, event: Event, on_note: &mut dyn FnMut(RelayNote)) {
        match event {
            Event::Connect { host, port } => {
                self.disconnect_by = None;
                self.camera.connect(now, &host, port, &mut self.session);
            }
            Event::Disconnect => self.disconnect_by = Some(now + LAST_WORDS),
            Event::OpenUdp { pair } => self.camera.open_udp(now, pair, &mut self.session),
            Event::CloseUdp { pair } => self.camera.close_udp(pair),
            Event::Notice(notice) => on_note(RelayNote::Notice(notice)),
            Event::Finished { reason } => {
                self.finished = Some(reason);
                on_note(RelayNote::Finished(reason));
            }
        }
    }

    /// The stream has bytes to give, or its end.
    pub(super) fn wants_output(&self) -> bool {
        match self.viewer {
            Viewer::Open => !self.control.is_empty() || self.session.viewer_pending() > 0,
            Viewer::Closing => true,
            Viewer::Gone => false,
        }
    }

    /// Appends at most `max` bytes of the stream: control frames first, then media as late as this.
    pub(super) fn poll_body(&mut self, now: Duration, out: &mut Vec<u8>, max: usize) -> BodyRead {
        let start = out.len();
        let control = self.control.len().min(max);
        out.extend(self.control.drain(..control));
        if !self.control.is_empty() {
            return BodyRead::Bytes;
        }
        if self.viewer != Viewer::Open {
            self.viewer = Viewer::Gone;
            return BodyRead::End;
        }
        let room = max - control;
        if room > HEADER_BYTES {
            let frame = ws::begin_frame(out, false);
            self.session.poll_viewer(now, out, room - HEADER_BYTES);
            ws::finish_frame(out, frame, None);
        }
        if self.session.viewer_pending() == 0 {
            if self.finished.is_some() {
                self.start_closing(close_code::NORMAL);
                return if out.len() > start {
                    BodyRead::Bytes
                } else {
                    self.poll_body(now, out, max)
                };
            }
            return BodyRead::Drained;
        }
        if out.len() > start {
            BodyRead::Bytes
        } else {
            BodyRead::Drained
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let timeouts = [
            self.session.poll_timeout(),
            self.camera.poll_timeout(),
            self.disconnect_by,
        ];
        timeouts.into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
    }

    /// Nothing is left to do on either side.
    pub(super) fn is_over(&self) -> bool {
        self.finished.is_some() && self.viewer == Viewer::Gone && self.disconnect_by.is_none()
    }

    fn start_closing(&mut self, code: u16) {
        if self.viewer == Viewer::Open {
            self.viewer = Viewer::Closing;
            ws::encode_close(&mut self.control, code, None);
        }
    }
}
