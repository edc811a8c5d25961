//! One live connection to a gateway: TLS, perhaps a WebSocket around everything, HTTP/2, and the streams in it.
//!
//! Its life is decided by its [`Uplink`](super::Uplink); it never dials.

use std::collections::VecDeque;
use std::time::Duration;

use lenscap_rtsp::Session;
use lenscap_uplink::h2::{self, Body, Connection, Request, StreamId};
use lenscap_uplink::upgrade::Welcome;
use lenscap_uplink::ws::{self, close_code};
use mio::net::TcpStream;

use super::exchange::{Exchange, Exchanges, MAX_REQUEST_BODY_BYTES, Pull};
use crate::run::camera::Camera;
use crate::run::net::Sock;
use crate::run::pace::{Next, Pace};
use crate::run::relay::{Relay, RelayNote};
use crate::run::routes::{RTSP_SUBPROTOCOL, Route, route};
use crate::run::shared::{Scratch, Shared};
use crate::run::slots::{Slot, Slots};
use crate::run::snapshot::{Fetch, SnapshotError};
use crate::run::tls_io::{ReadState, TlsFailure, TlsIo};
use crate::sys;

/// How long a gateway may keep its half of a session open after the agent has ended its own.
const LINGER: Duration = Duration::from_secs(2);
/// How long the gateway may take to fetch a large answer: 4 MiB at half a Mbit/s.
const FETCH_TIMEOUT: Duration = Duration::from_secs(64);
/// Pulls in one pass; what is left waits for the next turn.
const PULLS_PER_PASS: usize = 4;

/// What a stream asks of those above.
pub(crate) enum Ask {
    /// `GET /status`.
    Status { stream: StreamId },
    /// `GET /audit`.
    Audit { stream: StreamId, again: bool },
    /// `GET /flows`.
    Flows { stream: StreamId, since: u64 },
    /// `POST /uplink/move`.
    Move {
        stream: StreamId,
        target: Option<String>,
    },
    /// `POST /uplink/resume`.
    Resume { stream: StreamId, welcome: Welcome },
    /// The gateway sent GOAWAY.
    GoAway,
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The gateway said close_notify, or closed the WebSocket.
    Closed,
    /// The TCP connection ended without close_notify.
    Cut,
    /// The socket or TLS failed.
    Failed(TlsFailure),
    /// HTTP/2 ended it.
    Http2(h2::Error),
    /// The WebSocket around it was broken.
    WebSocket(ws::WsError),
    /// This side is done with it.
    Done,
}

/// A live connection.
pub(crate) struct Link {
    pub(crate) id: u32,
    pub(crate) peer: String,
    pub(crate) since: Duration,
    /// The gateway has announced the end of this connection.
    pub(crate) leaving: bool,
    io: TlsIo,
    carrier: Option<ws::Carrier>,
    h2: Connection,
    exchanges: Exchanges,
    sessions: Slots,
    pace: Pace,
    asks: VecDeque<Ask>,
    ended: Option<Ended>,
    orphans: Vec<Relay>,
    counted: (u64, u64),
}

impl Link {
    /// Takes over a connection behind its 101; `rest` is what came behind that.
    pub(super) fn new(
        shared: &Shared,
        now: Duration,
        io: TlsIo,
        carrier: Option<ws::Carrier>,
        peer: String,
        sessions: Slots,
        rest: &mut [u8],
    ) -> Self {
        let id = shared.next_link.get();
        shared.next_link.set(id.wrapping_add(1));
        let mut link = Self {
            id,
            peer,
            since: now,
            leaving: false,
            io,
            carrier,
            h2: Connection::new(
                h2::Config {
                    linger: LINGER,
                    ..h2::Config::default()
                },
                now,
            ),
            exchanges: Exchanges::default(),
            sessions,
            pace: Pace::new(),
            asks: VecDeque::new(),
            ended: None,
            orphans: Vec::new(),
            counted: (0, 0),
        };
        let mut inner = Vec::new();
        link.ended = feed(now, rest, &mut link.carrier, &mut link.h2, &mut inner);
        link
    }

    pub(crate) fn poll_ask(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    pub(super) fn take_ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    pub(crate) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.exchanges.relays().chain(&self.orphans)
    }

    /// Sessions whose stream has gone but which still owe the camera a TEARDOWN.
    pub(super) fn take_orphans(&mut self) -> Vec<Relay> {
        std::mem::take(&mut self.orphans)
    }

    /// Ends the connection: every session becomes an orphan, and the socket waits for the gateway's end.
    pub(super) fn into_remains(mut self, now: Duration) -> (Vec<Relay>, Sock<TcpStream>) {
        for (_, exchange) in std::mem::take(&mut self.exchanges.streams) {
            if let Exchange::Relay(mut relay) = exchange {
                relay.handle_gone(now);
                self.orphans.push(*relay);
            }
        }
        (self.orphans, self.io.into_socket())
    }

    /// Reads the gateway and the cameras. True when there is more to do at once.
    pub(super) fn work(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        self.read_gateway(now, scratch);
        self.take_events(now, shared);
        let more = self.work_streams(now, shared, scratch);
        more || self.io.is_readable()
    }

    fn read_gateway(&mut self, now: Duration, scratch: &mut Scratch) {
        if self.ended.is_some() || !self.io.is_readable() {
            return;
        }
        let Self { io, carrier, h2, .. } = self;
        let mut broken = None;
        let inner = &mut scratch.inner;
        let read = io.read(&mut scratch.read, &mut |bytes| {
            if broken.is_none() {
                broken = feed(now, bytes, carrier, h2, inner);
            }
        });
        self.ended = broken.or(match read {
            Ok(ReadState::Open) => None,
            Ok(ReadState::Closed) => Some(Ended::Closed),
            Ok(ReadState::Cut) => Some(Ended::Cut),
            Err(failure) => Some(Ended::Failed(failure)),
        });
    }

    fn take_events(&mut self, now: Duration, shared: &Shared) {
        while let Some(event) = self.h2.poll_event() {
            match event {
                h2::Event::Request {
                    stream,
                    request,
                    end_stream,
                } => {
                    self.handle_request(now, shared, stream, &request, end_stream);
                }
                h2::Event::Data {
                    stream,
                    data,
                    end_stream,
                } => self.handle_data(now, stream, data, end_stream),
                h2::Event::Reset { stream, .. } => {
                    if let Some(Exchange::Relay(mut relay)) = self.exchanges.streams.remove(&stream) {
                        relay.handle_gone(now);
                        self.orphans.push(*relay);
                    }
                }
                h2::Event::PeerGoAway { code } => {
                    log::debug!("the gateway sent GOAWAY, {}", code.name());
                    self.asks.push_back(Ask::GoAway);
                }
                h2::Event::Closed(error) => {
                    // What is queued (a GOAWAY that says why) goes out first, as far as the socket takes it.
                    self.ended.get_or_insert(Ended::Http2(error));
                }
            }
        }
    }

    fn handle_request(
        &mut self,
        now: Duration,
        shared: &Shared,
        stream: StreamId,
        request: &Request,
        end_stream: bool,
    ) {
        match route(request) {
            Route::Rtsp if end_stream => self.answer_text(stream, 400, "a session needs an open stream"),
            Route::Rtsp => self.start_session(now, shared, stream),
            Route::Snapshot(profile) => self.start_snapshot(now, shared, stream, profile),
            Route::Status => self.asks.push_back(Ask::Status { stream }),
            Route::Audit { again } => self.asks.push_back(Ask::Audit { stream, again }),
            Route::Flows { since } => self.asks.push_back(Ask::Flows { stream, since }),
            Route::Move => {
                let target = request
                    .header("location")
                    .map(|v| String::from_utf8_lossy(v).trim().to_owned());
                if end_stream {
                    self.asks.push_back(Ask::Move { stream, target });
                } else {
                    self.exchanges.streams.insert(
                        stream,
                        Exchange::Move {
                            target,
                            body: Vec::new(),
                        },
                    );
                }
            }
            Route::Resume => {
                let welcome = Welcome::of_request(&request.headers);
                self.asks.push_back(Ask::Resume { stream, welcome });
            }
            Route::MethodNotAllowed(allow) => {
                self.answer(stream, 405, &[("allow", allow)], Vec::new());
            }
            Route::BadWebSocket(why) => self.answer_text(stream, 400, why),
            Route::NotFound => self.answer_text(stream, 404, "no such resource"),
        }
    }

    fn start_session(&mut self, now: Duration, shared: &Shared, stream: StreamId) {
        let (slot, seed) = match (self.sessions.take(), sys::random()) {
            (Some(slot), Ok(seed)) => (slot, seed),
            (None, _) => {
                shared.totals.borrow_mut().sessions_refused += 1;
                return self.answer_text(stream, 503, "as many sessions as one uplink may have are open");
            }
            (Some(_), Err(_)) => return self.answer_text(stream, 500, "the system gives no random bytes"),
        };
        let headers = [("sec-websocket-protocol", RTSP_SUBPROTOCOL)];
        if self.h2.respond(stream, 200, &headers, Body::Streaming).is_err() {
            return;
        }
        shared.totals.borrow_mut().sessions += 1;
        let session = Session::new(shared.session_config(now), now, seed);
        let relay = Relay::new(session, Camera::new(&shared.net), now, slot);
        self.exchanges
            .streams
            .insert(stream, Exchange::Relay(Box::new(relay)));
    }

    fn start_snapshot(&mut self, now: Duration, shared: &Shared, stream: StreamId, name: &str) {
        let Some(profile) = shared.profile(name) else {
            return self.answer_text(stream, 404, "no such profile");
        };
        let Some(url) = &profile.snapshot else {
            return self.answer_text(stream, 404, "the profile has no option snapshot");
        };
        let Some(slot) = shared.snapshots.take() else {
            return self.answer_text(stream, 503, "as many snapshots as may be are on their way");
        };
        shared.totals.borrow_mut().snapshots += 1;
        let credentials = shared.credentials(now, name, profile.login.as_ref());
        let credentials = credentials.zip(sys::random().ok());
        match Fetch::new(&shared.net, now, name, url, credentials, slot) {
            Ok(fetch) => {
                self.exchanges
                    .streams
                    .insert(stream, Exchange::Snapshot(Box::new(fetch)));
            }
            Err(error) => self.refuse_snapshot(now, shared, stream, name, error),
        }
    }

    fn refuse_snapshot(
        &mut self,
        now: Duration,
        shared: &Shared,
        stream: StreamId,
        profile: &str,
        error: SnapshotError,
    ) {
        shared.totals.borrow_mut().snapshot_errors += 1;
        shared.fault(now, format!("profile {profile}: no snapshot: {error}"));
        self.answer_text(stream, error.status(), &error.to_string());
    }

    fn handle_data(&mut self, now: Duration, stream: StreamId, mut data: Vec<u8>, end_stream: bool) {
        match self.exchanges.streams.get_mut(&stream) {
            Some(Exchange::Relay(relay)) => {
                relay.handle_data(now, &mut data);
                if end_stream {
                    relay.handle_end(now);
                }
            }
            Some(Exchange::Move { target, body }) => {
                if body.len() + data.len() > MAX_REQUEST_BODY_BYTES {
                    self.exchanges.streams.remove(&stream);
                    return self.answer_text(stream, 413, "the body is too long");
                }
                body.append(&mut data);
                if end_stream {
                    let text = String::from_utf8_lossy(body).trim().to_owned();
                    let target = target.take().or((!text.is_empty()).then_some(text));
                    self.exchanges.streams.remove(&stream);
                    self.asks.push_back(Ask::Move { stream, target });
                }
            }
            // A body nobody asked for.
            Some(Exchange::Snapshot(_) | Exchange::Answer { .. }) | None => {}
        }
    }

    fn work_streams(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        let mut more = false;
        let mut fetched = Vec::new();
        for (&stream, exchange) in &mut self.exchanges.streams {
            match exchange {
                Exchange::Relay(relay) => {
                    more |= work_relay(relay, now, shared, scratch);
                    if relay.wants_output() {
                        self.h2.set_body_ready(stream);
                    }
                }
                Exchange::Snapshot(fetch) => {
                    if let Some(result) = fetch.advance(now, &mut scratch.read) {
                        fetched.push((stream, fetch.profile().to_owned(), result));
                    } else {
                        more |= fetch.is_readable();
                    }
                }
                Exchange::Move { .. } | Exchange::Answer { .. } => {}
            }
        }
        for (stream, profile, result) in fetched {
            let fetch = self.exchanges.streams.remove(&stream);
            match (result, fetch) {
                (Ok(image), Some(Exchange::Snapshot(fetch))) => {
                    let headers = [("content-type", "image/jpeg"), ("cache-control", "no-store")];
                    self.answer_large(now, stream, &headers, image, fetch.into_slot());
                }
                (Ok(_), _) => {}
                (Err(error), _) => self.refuse_snapshot(now, shared, stream, &profile, error),
            }
        }
        more
    }

    /// Answers with one line of text.
    pub(crate) fn answer_text(&mut self, stream: StreamId, status: u16, line: &str) {
        self.answer(
            stream,
            status,
            &[("content-type", "text/plain")],
            format!("{line}\n").into_bytes(),
        );
    }

    /// Answers with a small body.
    pub(crate) fn answer(&mut self, stream: StreamId, status: u16, headers: &[(&str, &str)], body: Vec<u8>) {
        self.respond(stream, status, headers, body, None);
    }

    /// Answers with a body that counts: `slot` is given back when the gateway has it, or does not fetch it in time.
    pub(crate) fn answer_large(
        &mut self,
        now: Duration,
        stream: StreamId,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        slot: Slot,
    ) {
        self.respond(stream, 200, headers, body, Some((slot, now + FETCH_TIMEOUT)));
    }

    fn respond(
        &mut self,
        stream: StreamId,
        status: u16,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        held: Option<(Slot, Duration)>,
    ) {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        let kind = if body.is_empty() {
            Body::None
        } else {
            Body::Streaming
        };
        if self.h2.respond(stream, status, &all, kind).is_ok() && !body.is_empty() {
            self.exchanges
                .streams
                .insert(stream, Exchange::Answer { body, sent: 0, held });
            self.h2.set_body_ready(stream);
        }
    }

    /// Takes bytes from the bodies as late as the connection allows, and writes them. True when there is more.
    pub(super) fn write(&mut self, now: Duration, scratch: &mut Scratch) -> bool {
        let more = self.pump(now, scratch).unwrap_or_else(|failure| {
            self.ended.get_or_insert(Ended::Failed(failure));
            false
        });
        self.sweep();
        more
    }

    /// Takes out the sessions that are over, so that their memory is given back at once.
    fn sweep(&mut self) {
        let is_over = |exchange: &Exchange| matches!(exchange, Exchange::Relay(relay) if relay.is_over());
        while let Some(stream) = self
            .exchanges
            .streams
            .iter()
            .find_map(|(stream, exchange)| is_over(exchange).then_some(*stream))
        {
            if let Some(Exchange::Relay(relay)) = self.exchanges.streams.remove(&stream) {
                self.orphans.push(*relay);
            }
        }
    }

    fn pump(&mut self, now: Duration, scratch: &mut Scratch) -> Result<bool, TlsFailure> {
        for _ in 0..PULLS_PER_PASS {
            if self.io.wants_write() && (!self.io.is_writable() || !self.io.flush()?) {
                self.pace.handle_refused();
                return Ok(false);
            }
            let (pace, io) = (&mut self.pace, &self.io);
            let Some(pull) = pace.poll_pull(now, io.is_writable(), || io.flight()) else {
                return Ok(false);
            };
            let plain = &mut scratch.plain;
            plain.clear();
            self.gather(now, plain, pull);
            if plain.is_empty() {
                return Ok(false);
            }
            self.io.write_plain(plain)?;
            if !self.io.flush()? {
                self.pace.handle_refused();
                return Ok(false);
            }
            let Self { io, pace, .. } = self;
            match pace.handle_written(now, plain.len(), io.has_lowat(), || io.unsent(), || io.flight()) {
                Next::Go => {}
                Next::Arm => {
                    self.io.arm_writable()?;
                    return Ok(false);
                }
                Next::Wait => return Ok(false),
            }
        }
        Ok(self.h2.wants_output())
    }

    fn gather(&mut self, now: Duration, plain: &mut Vec<u8>, pull: usize) {
        let Self {
            carrier,
            h2,
            exchanges,
            ..
        } = self;
        let mut bodies = Pull { now, exchanges };
        match carrier {
            None => {
                if h2.wants_output() {
                    h2.poll_output(now, plain, pull, &mut bodies);
                }
            }
            Some(carrier) => {
                carrier.poll_output(plain);
                if h2.wants_output() {
                    let frame = carrier.begin(plain);
                    h2.poll_output(now, plain, pull, &mut bodies);
                    carrier.finish(plain, frame);
                }
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        [
            self.h2.poll_timeout(),
            self.exchanges.poll_timeout(),
            self.pace.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due, and what the sessions then ask for. True when there is more to do at once.
    pub(super) fn handle_timeout(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        if self.h2.poll_timeout().is_some_and(|at| at <= now) {
            self.h2.handle_timeout(now);
            self.take_events(now, shared);
        }
        for stream in self.exchanges.overdue(now) {
            self.exchanges.streams.remove(&stream);
            self.h2.reset(stream, h2::ErrorCode::CANCEL);
        }
        for relay in self.exchanges.relays_mut() {
            relay.handle_timeout(now);
        }
        self.work_streams(now, shared, scratch)
    }

    /// Announces that no new requests are taken (RFC 9113, section 6.8).
    pub(super) fn drain(&mut self, now: Duration) {
        self.h2.drain(now);
    }

    /// Ends every session in good order.
    pub(super) fn close_sessions(&mut self, now: Duration) {
        for relay in self.exchanges.relays_mut() {
            relay.close(now);
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.h2.is_drained() && !self.io.wants_write()
    }

    /// Says goodbye on every layer; best effort.
    pub(super) fn close(&mut self, now: Duration, scratch: &mut Scratch) {
        // What the link is slow for is media; the goodbye goes out as far as the socket takes it.
        self.pace.open();
        let _ = self.pump(now, scratch);
        if let Some(carrier) = &mut self.carrier {
            carrier.close(close_code::NORMAL);
            scratch.plain.clear();
            carrier.poll_output(&mut scratch.plain);
            let _ = self.io.write_plain(&scratch.plain);
        }
        self.io.close();
        self.ended.get_or_insert(Ended::Done);
    }

    /// Ciphertext bytes received and sent since the last call.
    pub(super) fn take_traffic(&mut self) -> (u64, u64) {
        let (received, sent) = self.io.traffic();
        let since = (received - self.counted.0, sent - self.counted.1);
        self.counted = (received, sent);
        since
    }
}

/// Reads the camera of one session and logs what is worth it.
pub(super) fn work_relay(relay: &mut Relay, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
    let mut notes = Vec::new();
    let more = relay.work(now, &mut scratch.read, &mut |note| notes.push(note));
    for note in notes {
        let profile = relay.profile().unwrap_or("none").to_owned();
        match note {
            RelayNote::Notice(notice) => shared.fault(now, notice.to_string()),
            RelayNote::Finished(reason) => {
                log::debug!(
                    "session of profile {profile} over after {} s: {reason}",
                    relay.age(now).as_secs()
                );
                if is_fault(reason) {
                    shared.fault(now, format!("profile {profile}: session ended: {reason}"));
                }
            }
        }
    }
    more
}

fn is_fault(reason: lenscap_rtsp::FinishReason) -> bool {
    use lenscap_rtsp::FinishReason as R;
    match reason {
        R::ViewerClosed | R::Closed | R::ViewerProtocol => false,
        R::CameraUnreachable(_) | R::CameraClosed | R::CameraProtocol | R::MediaStalled | R::SessionLost => {
            true
        }
    }
}

fn feed(
    now: Duration,
    bytes: &mut [u8],
    carrier: &mut Option<ws::Carrier>,
    h2: &mut Connection,
    inner: &mut Vec<u8>,
) -> Option<Ended> {
    let Some(carrier) = carrier else {
        h2.handle_input(now, bytes);
        return None;
    };
    inner.clear();
    let result = carrier.handle_input(bytes, inner);
    h2.handle_input(now, inner);
    match result {
        Err(error) => Some(Ended::WebSocket(error)),
        Ok(()) if carrier.is_peer_closed() => Some(Ended::Closed),
        Ok(()) => None,
    }
}
