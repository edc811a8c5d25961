//! The session's state and all its transitions: connection, exchanges, keep-alive, watchdog, end.

use core::time::Duration;
use std::collections::VecDeque;

use rtsp_types::Method;

use super::exchange::{Exchange, Origin, Outbox, Setup};
use super::media::{Channels, Track};
use crate::auth::Authenticator;
use crate::message::{Message, Writer};
use crate::queue::{Kind, Queue};
use crate::sdp;
use crate::{CameraError, Counters, Datagram, Event, FinishReason, Notice, Now, Profile, SessionConfig};

/// Times the connection is made again for a request whose answer did not come.
const MAX_RECONNECTS: u8 = 2;
/// RTSP's own default (RFC 2326 section 12.37).
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// A camera's shortest and longest session timeout that is believed.
pub(super) const TIMEOUT_RANGE: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(3600));
/// The viewer's next request waits while this many bytes of answers are queued.
const MAX_ANSWER_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    Connecting,
    Up,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The TEARDOWN, or the SETUP before it, is with the camera.
    Closing {
        reason: FinishReason,
        deadline: Now,
    },
    Finished,
}

/// The camera's RTSP session.
#[derive(Debug)]
pub(super) struct RtspSession {
    pub(super) id: Vec<u8>,
    pub(super) timeout: Duration,
}

/// What the camera's description said.
#[derive(Debug)]
pub(super) struct Described {
    /// The URI for PLAY, PAUSE and TEARDOWN of everything.
    pub(super) aggregate: Vec<u8>,
    pub(super) media: Vec<Medium>,
}

#[derive(Debug)]
pub(super) struct Medium {
    /// The camera's own control URL.
    pub(super) uri: Vec<u8>,
    pub(super) kind: sdp::Kind,
    pub(super) from_camera: bool,
}

/// What the camera's `Public` said, and what became of keep-alives since.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) known: bool,
    pub(super) get_parameter: bool,
    pub(super) set_parameter: bool,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: SessionConfig,
    pub(super) counters: Counters,
    seed: [u8; 16],
    phase: Phase,
    pub(super) link: Link,
    reconnects: u8,
    pub(super) events: VecDeque<Event>,
    pub(super) queue: Queue,
    pub(super) outbox: Outbox,
    pub(super) datagrams: VecDeque<Datagram>,
    profile: Option<usize>,
    pub(super) auth: Option<Authenticator>,
    pending: VecDeque<Message>,
    pub(super) exchange: Option<Exchange>,
    /// The CSeq of a first SETUP whose answer did not come in time.
    pub(super) late_setup: Option<u32>,
    cseq: u32,
    pub(super) abilities: Abilities,
    pub(super) rtsp: Option<RtspSession>,
    pub(super) described: Option<Described>,
    pub(super) redirected: Option<Vec<u8>>,
    pub(super) tracks: Vec<Track>,
    pub(super) channels: Channels,
    pub(super) udp_pairs: u8,
    pub(super) udp_only: bool,
    /// When the last RTP came, or PLAY was answered; `None` while not playing.
    pub(super) media_at: Option<Now>,
    /// When the camera last got a request that keeps its session alive.
    asked_at: Now,
    /// The time of the call at hand.
    pub(super) now: Now,
}

impl Core {
    pub(super) fn new(config: SessionConfig, now: Now, seed: [u8; 16]) -> Self {
        Self {
            config,
            counters: Counters::default(),
            seed,
            phase: Phase::Open,
            link: Link::Down,
            reconnects: 0,
            events: VecDeque::new(),
            queue: Queue::default(),
            outbox: Outbox::default(),
            datagrams: VecDeque::new(),
            profile: None,
            auth: None,
            pending: VecDeque::new(),
            exchange: None,
            late_setup: None,
            cseq: 0,
            abilities: Abilities::default(),
            rtsp: None,
            described: None,
            redirected: None,
            tracks: Vec::new(),
            channels: Channels::default(),
            udp_pairs: 0,
            udp_only: false,
            media_at: None,
            asked_at: now,
            now,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    pub(super) fn profile(&self) -> Option<&Profile> {
        self.config.profiles.get(self.profile?)
    }

    pub(super) fn profile_name(&self) -> String {
        self.profile()
            .map(|profile| profile.name.clone())
            .unwrap_or_default()
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.events.push_back(Event::Notice(notice));
    }

    /// Binds the session to a profile. False when it is bound to another one by a SETUP.
    pub(super) fn select_profile(&mut self, index: usize) -> bool {
        if self.profile == Some(index) {
            return true;
        }
        if self.rtsp.is_some() {
            return false;
        }
        self.drop_link();
        self.late_setup = None;
        self.profile = Some(index);
        self.described = None;
        self.redirected = None;
        self.abilities = Abilities::default();
        let credentials = self.profile().and_then(|profile| profile.credentials.clone());
        self.auth = credentials.map(|credentials| Authenticator::new(credentials, self.seed));
        true
    }

    /// The URI of the profile at the camera.
    pub(super) fn camera_uri(&self) -> Vec<u8> {
        match &self.redirected {
            Some(uri) => uri.clone(),
            None => self
                .profile()
                .map(|p| p.rtsp.request_uri().as_bytes().to_vec())
                .unwrap_or_default(),
        }
    }

    /// The URI of everything that was described.
    fn aggregate_uri(&self) -> Vec<u8> {
        match &self.described {
            Some(described) => described.aggregate.clone(),
            None => self.camera_uri(),
        }
    }

    /// A request of the viewer takes its place in the line.
    pub(super) fn queue_request(&mut self, now: Now, request: Message) {
        if self.pending.len() >= self.config.limits.pending_requests {
            self.close(now, FinishReason::ViewerProtocol);
            return;
        }
        self.pending.push_back(request);
        // Some cameras leave a keep-alive unanswered; nobody waits for that.
        if self
            .exchange
            .as_ref()
            .is_some_and(|exchange| matches!(exchange.origin, Origin::KeepAlive))
        {
            self.exchange = None;
        }
        self.pump(now);
    }

    /// Deals with waiting requests while nothing is with the camera.
    pub(super) fn pump(&mut self, now: Now) {
        while self.is_open() && self.exchange.is_none() && self.queue.message_bytes() < MAX_ANSWER_BYTES {
            let Some(request) = self.pending.pop_front() else {
                return;
            };
            self.handle_request(now, request);
        }
    }

    pub(super) fn start_exchange(&mut self, now: Now, exchange: Exchange) {
        if let Some(auth) = &mut self.auth {
            auth.start_request();
        }
        self.exchange = Some(exchange);
        self.send_exchange(now);
    }

    /// Sends the exchange at hand, after connecting if need be.
    pub(super) fn send_exchange(&mut self, now: Now) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        exchange.cseq = None;
        match self.link {
            Link::Connecting => return,
            Link::Down => return self.connect(),
            // The SETUP waits for its UDP ports.
            Link::Up if exchange.setup.as_ref().is_some_and(Setup::lacks_ports) => return,
            Link::Up => {}
        }
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let session = self.rtsp.as_ref().map(|rtsp| rtsp.id.clone());
        if session.is_some() {
            self.asked_at = now;
        }
        let (cseq, bytes) = self.encode(&exchange, session.as_deref());
        self.exchange = Some(Exchange {
            cseq: Some(cseq),
            ..exchange
        });
        if self.outbox.len() + bytes.len() > self.config.limits.camera_queue_bytes {
            self.fail_exchange(504, "Camera Takes No Requests");
            return self.finish(FinishReason::CameraUnreachable(CameraError::TimedOut));
        }
        self.outbox.push(&bytes);
    }

    /// A request with the agent's own headers and its CSeq.
    fn encode(&mut self, exchange: &Exchange, session: Option<&[u8]>) -> (u32, Vec<u8>) {
        self.cseq = self.cseq.wrapping_add(1) % 1_000_000_000;
        let cseq = self.cseq.to_string();
        let authorization = self
            .auth
            .as_mut()
            .and_then(|auth| auth.authorization((&exchange.method).into(), &exchange.uri));
        let mut own: Vec<(&str, &[u8])> = vec![
            ("CSeq", cseq.as_bytes()),
            ("User-Agent", self.config.user_agent.as_bytes()),
        ];
        if let Some(authorization) = &authorization {
            own.push(("Authorization", authorization));
        }
        if let Some(session) = session {
            own.push(("Session", session));
        }
        (self.cseq, exchange.encode(&own))
    }

    /// Ends a session that nobody waits for any more; its answer is not waited for either.
    pub(super) fn tear_down_late(&mut self, now: Now, session: &[u8]) {
        let exchange = Exchange::new(Origin::Teardown, Method::Teardown, self.aggregate_uri(), now);
        let (_, bytes) = self.encode(&exchange, Some(session));
        if self.outbox.len() + bytes.len() <= self.config.limits.camera_queue_bytes {
            self.outbox.push(&bytes);
        }
    }

    fn connect(&mut self) {
        let Some(profile) = self.profile() else { return };
        let event = Event::Connect {
            host: profile.rtsp.host().to_owned(),
            port: profile.rtsp.port(),
        };
        self.link = Link::Connecting;
        self.events.push_back(event);
    }

    pub(super) fn drop_link(&mut self) {
        if self.link != Link::Down {
            self.link = Link::Down;
            self.outbox.reset(false);
            self.events.push_back(Event::Disconnect);
        }
    }

    pub(super) fn handle_camera_connected(&mut self, now: Now) {
        if self.link != Link::Connecting || self.is_finished() {
            return;
        }
        self.link = Link::Up;
        self.late_setup = None;
        self.outbox.reset(true);
        if self
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.cseq.is_none())
        {
            self.send_exchange(now);
        }
    }

    pub(super) fn handle_camera_closed(&mut self, now: Now, error: CameraError) {
        if self.is_finished() || self.link == Link::Down {
            return;
        }
        let was = core::mem::replace(&mut self.link, Link::Down);
        self.outbox.reset(false);
        if let Phase::Closing { reason, .. } = self.phase {
            return self.finish(reason);
        }
        if was == Link::Connecting {
            self.fail_exchange(502, "Camera Unreachable");
            return self.finish(FinishReason::CameraUnreachable(error));
        }
        if self.rtsp.is_none() {
            // Some cameras close after each 401, or between requests.
            if self.exchange.is_none() {
                return;
            }
            if self.reconnects < MAX_RECONNECTS {
                self.reconnects += 1;
                return self.send_exchange(now);
            }
        }
        self.fail_exchange(502, "Camera Closed The Connection");
        self.finish(FinishReason::CameraClosed);
    }

    /// Answers the viewer for an exchange that cannot be brought to its end.
    pub(super) fn fail_exchange(&mut self, status: u16, reason: &str) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        self.release_pair(&exchange);
        if let Origin::Viewer { cseq, .. } = exchange.origin {
            self.answer(cseq.as_deref(), status, reason, &[], b"");
        }
    }

    /// Queues a response for the viewer.
    pub(super) fn answer(
        &mut self,
        cseq: Option<&[u8]>,
        status: u16,
        reason: &str,
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) {
        let mut writer = Writer::response(status, reason.as_bytes());
        if let Some(cseq) = cseq {
            writer.header("CSeq", cseq);
        }
        for (name, value) in headers {
            writer.header(name, value);
        }
        let bytes = writer.finish(body);
        self.queue.push(self.now, Kind::Message, &bytes, b"");
    }

    /// An exchange is over: what comes next.
    pub(super) fn exchange_done(&mut self, now: Now) {
        if let Phase::Closing { reason, .. } = self.phase {
            return self.teardown_or_finish(now, reason);
        }
        self.pump(now);
    }

    pub(super) fn close(&mut self, now: Now, reason: FinishReason) {
        if !self.is_open() {
            return;
        }
        self.pending.clear();
        self.phase = Phase::Closing {
            reason,
            deadline: now + self.config.limits.teardown_timeout,
        };
        let setting_up = self.rtsp.is_none()
            && self.link == Link::Up
            && self
                .exchange
                .as_ref()
                .is_some_and(|exchange| exchange.method == Method::Setup);
        if !setting_up {
            if let Some(exchange) = self.exchange.take() {
                self.release_pair(&exchange);
            }
            self.teardown_or_finish(now, reason);
        }
    }

    fn teardown_or_finish(&mut self, now: Now, reason: FinishReason) {
        if self.rtsp.is_none() || self.link != Link::Up {
            return self.finish(reason);
        }
        self.media_at = None;
        let uri = self.aggregate_uri();
        let deadline = now + self.config.limits.teardown_timeout;
        self.start_exchange(
            now,
            Exchange::new(Origin::Teardown, Method::Teardown, uri, deadline),
        );
    }

    pub(super) fn finish(&mut self, reason: FinishReason) {
        if self.is_finished() {
            return;
        }
        self.phase = Phase::Finished;
        self.exchange = None;
        self.pending.clear();
        self.media_at = None;
        self.rtsp = None;
        self.close_all_udp();
        if self.link != Link::Down {
            self.link = Link::Down;
            self.events.push_back(Event::Disconnect);
        }
        self.events.push_back(Event::Finished { reason });
    }

    /// Which method keeps the session alive (RFC 2326 leaves it open; cameras differ).
    fn keep_alive_method(&self) -> Method {
        if self.abilities.get_parameter {
            Method::GetParameter
        } else if self.abilities.set_parameter {
            Method::SetParameter
        } else {
            // Also the way to learn `Public` when the viewer never asked.
            Method::Options
        }
    }

    pub(super) fn keep_alive_refused(&mut self, method: &Method) {
        let method = match method {
            Method::GetParameter => {
                self.abilities.get_parameter = false;
                "GET_PARAMETER"
            }
            Method::SetParameter => {
                self.abilities.set_parameter = false;
                "SET_PARAMETER"
            }
            // There is nothing left to change to.
            _ => return,
        };
        self.notice(Notice::KeepAliveRefused { method });
    }

    /// The session was made just now.
    pub(super) fn keep_alive_from(&mut self, now: Now) {
        self.asked_at = now;
    }

    fn keep_alive_at(&self) -> Option<Now> {
        let rtsp = self.rtsp.as_ref()?;
        (self.is_open() && self.exchange.is_none() && self.link == Link::Up)
            .then(|| self.asked_at + rtsp.timeout / 2)
    }

    fn watchdog_at(&self) -> Option<Now> {
        let expects_media = self.tracks.iter().any(|track| track.expects_media);
        self.media_at
            .filter(|_| expects_media && self.is_open())
            .map(|at| at + self.config.limits.media_timeout)
    }

    /// While closing, the end of all counts alone.
    fn exchange_at(&self) -> Option<Now> {
        let exchange = self.exchange.as_ref().filter(|_| self.is_open())?;
        Some(exchange.deadline)
    }

    fn closing_at(&self) -> Option<Now> {
        match self.phase {
            Phase::Closing { deadline, .. } => Some(deadline),
            Phase::Open | Phase::Finished => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Now> {
        if self.is_finished() {
            return None;
        }
        [
            self.exchange_at(),
            self.keep_alive_at(),
            self.watchdog_at(),
            self.closing_at(),
            self.queue.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        let due = |at: Option<Now>| at.is_some_and(|at| at <= now);
        self.queue.shrink(now);
        if let Phase::Closing { reason, deadline } = self.phase {
            if deadline <= now {
                self.finish(reason);
            }
            return;
        }
        if due(self.watchdog_at()) {
            self.notice(Notice::MediaStalled);
            return self.close(now, FinishReason::MediaStalled);
        }
        if due(self.exchange_at()) {
            self.handle_response_timeout(now);
        }
        if due(self.keep_alive_at()) {
            self.counters.keep_alives += 1;
            let uri = self.aggregate_uri();
            let deadline = now + self.config.limits.response_timeout;
            let exchange = Exchange::new(Origin::KeepAlive, self.keep_alive_method(), uri, deadline);
            self.start_exchange(now, exchange);
        }
    }

    fn handle_response_timeout(&mut self, now: Now) {
        if self.link == Link::Up && self.ask_without_backchannel(now) {
            return;
        }
        let Some(exchange) = &self.exchange else { return };
        let method = exchange.method.clone();
        if method == Method::Setup && self.rtsp.is_none() {
            self.late_setup = exchange.cseq;
        }
        if exchange.is_viewers() {
            let method = <&str>::from(&method).to_owned();
            self.notice(Notice::ResponseTimeout { method });
            self.fail_exchange(504, "Camera Did Not Answer");
            if self.link == Link::Connecting {
                return self.finish(FinishReason::CameraUnreachable(CameraError::TimedOut));
            }
        } else {
            // Cameras that ignore a keep-alive go on sending; the watchdog judges them.
            self.exchange = None;
            self.keep_alive_refused(&method);
        }
        self.pump(now);
    }

    pub(super) fn poll_viewer(&mut self, now: Now, out: &mut Vec<u8>, max: usize) -> usize {
        let n = self.queue.read(out, max);
        self.counters.viewer_bytes_out += n as u64;
        self.queue.shrink(now);
        if n > 0 {
            self.pump(now);
        }
        n
    }
}
