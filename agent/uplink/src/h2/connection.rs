//! The connection: its public face, what it sends, and time. What it receives is in `receive`.

use super::frame::{self, DEFAULT_WINDOW, HEADER_LEN, Head, MAX_WINDOW, Violation, flag, kind, setting};
use super::headers;
use super::limits::Limits;
use super::stream::{Ended, Recent, Send, Stream};
use super::{Bodies, Body, BodyRead, Config, Error, ErrorCode, Event, Request, Stats, StreamGone, StreamId};
use crate::Now;
use crate::hpack;
use crate::table::Table;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A DATA frame and its header fit one TLS record of 16,384 bytes, and so every peer's SETTINGS_MAX_FRAME_SIZE.
pub(super) const MAX_DATA: usize = 16_384 - HEADER_LEN;
/// A DATA frame is not begun for less room than this, unless it is the first of a call.
const MIN_DATA: usize = 256;
/// Control frames that wait because the peer does not read.
const MAX_CONTROL: usize = 64 * 1024;
/// Buffers that grew beyond this are given back when they are empty.
const KEEP_CAPACITY: usize = 2048;
const LIVENESS_PING: [u8; 8] = *b"lens-alv";
pub(super) const DRAIN_PING: [u8; 8] = *b"lens-drn";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// That many bytes of the preface have come.
    Preface(usize),
    /// The first frame must be SETTINGS.
    FirstSettings,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// GOAWAY with the highest id is out; at the latest then the real one follows.
    Announced {
        until: Now,
    },
    /// Streams above this one are ignored.
    Final {
        last: u32,
    },
}

/// A header block that CONTINUATION frames complete.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
}

/// One HTTP/2 connection in the server role.
#[derive(Debug)]
pub struct Connection {
    pub(super) config: Config,
    pub(super) phase: Phase,
    /// The start of a frame that has not come whole.
    pub(super) input: Vec<u8>,
    pub(super) block: Option<Block>,
    pub(super) decoder: hpack::Decoder,
    encoder: hpack::Encoder,
    control: Vec<u8>,
    control_at: usize,
    pub(super) events: VecDeque<Event>,
    pub(super) streams: Table<u32, Stream>,
    ready: VecDeque<u32>,
    pub(super) recent: Recent,
    /// The highest stream the peer has opened.
    pub(super) highest: u32,
    pub(super) send_window: i64,
    pub(super) recv_window: i64,
    pub(super) recv_credit: u32,
    pub(super) peer_initial_window: u32,
    /// When the peer must have acknowledged SETTINGS; `None` once it has.
    pub(super) settings_due: Option<Now>,
    pub(super) limits: Limits,
    last_received: Now,
    probing: bool,
    pub(super) drain: Drain,
    pub(super) stats: Stats,
}

impl Connection {
    /// Starts a connection; its SETTINGS are queued at once.
    pub fn new(config: Config, now: Now) -> Self {
        let connection_window = config.connection_window.max(DEFAULT_WINDOW);
        let mut control = Vec::new();
        frame::push_settings(
            &mut control,
            &[
                (setting::ENABLE_CONNECT_PROTOCOL, 1),
                (setting::INITIAL_WINDOW_SIZE, config.stream_window),
                (setting::MAX_CONCURRENT_STREAMS, config.max_streams),
                (setting::MAX_HEADER_LIST_SIZE, config.max_header_list),
            ],
        );
        if connection_window > DEFAULT_WINDOW {
            frame::push_window_update(&mut control, 0, connection_window - DEFAULT_WINDOW);
        }
        Self {
            phase: Phase::Preface(0),
            input: Vec::new(),
            block: None,
            decoder: hpack::Decoder::new(hpack::DEFAULT_TABLE_SIZE),
            encoder: hpack::Encoder::new(),
            control,
            control_at: 0,
            events: VecDeque::new(),
            streams: Table::new(),
            ready: VecDeque::new(),
            recent: Recent::default(),
            highest: 0,
            send_window: i64::from(DEFAULT_WINDOW),
            recv_window: i64::from(connection_window),
            recv_credit: 0,
            peer_initial_window: DEFAULT_WINDOW,
            settings_due: Some(now + config.settings_timeout),
            limits: Limits::new(now),
            last_received: now,
            probing: false,
            drain: Drain::No,
            stats: Stats {
                last_received: now,
                ..Stats::default()
            },
            config,
        }
    }

    /// Takes received bytes, split anywhere. Never fails: a violation queues GOAWAY or RST_STREAM, and
    /// [`Event::Closed`] follows the former.
    pub fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        if self.phase == Phase::Closed || bytes.is_empty() {
            return;
        }
        self.last_received = now;
        self.stats.last_received = now;
        self.probing = false;
        self.stats.bytes_received += bytes.len() as u64;
        if let Err(violation) = self.receive(now, bytes) {
            self.fail(violation);
        }
        self.return_credit();
        if self.control.len() - self.control_at > MAX_CONTROL {
            self.fail(Violation::calm("the answers are not read"));
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Appends `budget` bytes at most to `out` and says how many. Control frames go first, then streams take turns,
    /// a DATA frame each. A budget of 16,384 bytes is one TLS record; less than 16 bytes carry no DATA.
    pub fn poll_output(
        &mut self,
        now: Now,
        out: &mut Vec<u8>,
        budget: usize,
        bodies: &mut dyn Bodies,
    ) -> usize {
        let start = out.len();
        loop {
            self.flush_control(out, budget.saturating_sub(out.len() - start));
            let left = budget.saturating_sub(out.len() - start);
            let least = if out.len() == start { 1 } else { MIN_DATA };
            if !self.control.is_empty() || left < HEADER_LEN + least || self.send_window <= 0 {
                break;
            }
            let Some(id) = self.ready.pop_front() else { break };
            self.send_data(now, id, out, left - HEADER_LEN, bodies);
        }
        let sent = out.len() - start;
        self.stats.bytes_sent += sent as u64;
        sent
    }

    /// Whether [`Connection::poll_output`] would give bytes, as far as is known without asking the bodies.
    pub fn wants_output(&self) -> bool {
        !self.control.is_empty() || (self.send_window > 0 && !self.ready.is_empty())
    }

    /// When [`Connection::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Now> {
        if self.phase == Phase::Closed {
            return None;
        }
        let silence = if self.probing {
            self.config.dead_after
        } else {
            self.config.ping_after
        };
        let drain = match self.drain {
            Drain::Announced { until } => Some(until),
            Drain::No | Drain::Final { .. } => None,
        };
        let lingering = self.streams.values().filter_map(|stream| stream.linger_until);
        [Some(self.last_received + silence), self.settings_due, drain]
            .into_iter()
            .flatten()
            .chain(lingering)
            .min()
    }

    /// Liveness, the acknowledgement of SETTINGS, the second step of a drain, lingering streams.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.phase == Phase::Closed {
            return;
        }
        if now >= self.last_received + self.config.dead_after {
            return self.close(Error::Timeout);
        }
        if self.settings_due.is_some_and(|due| now >= due) {
            let reason = "SETTINGS were not acknowledged";
            return self.fail(Violation::new(ErrorCode::SETTINGS_TIMEOUT, reason));
        }
        if !self.probing && now >= self.last_received + self.config.ping_after {
            self.probing = true;
            frame::push_ping(&mut self.control, false, &LIVENESS_PING);
        }
        if matches!(self.drain, Drain::Announced { until } if now >= until) {
            self.finish_drain();
        }
        let due = |(id, stream): (&u32, &Stream)| stream.linger_until.filter(|at| now >= *at).map(|_| *id);
        let overdue: Vec<u32> = self.streams.iter().filter_map(due).collect();
        for id in overdue {
            self.reset_stream(id, ErrorCode::CANCEL, true);
        }
    }

    /// Answers a request. Field names must be lower case. With [`Body::Streaming`], call
    /// [`Connection::set_body_ready`] when there is something to pull.
    pub fn respond(
        &mut self,
        stream: StreamId,
        status: u16,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<(), StreamGone> {
        let id = stream.0;
        let known = self
            .streams
            .get_mut(&id)
            .filter(|stream| stream.send == Send::Awaiting);
        let Some(stream) = known else {
            return Err(StreamGone);
        };
        if !(200..300).contains(&status) {
            stream.tunnel = false;
        }
        stream.send = Send::Streaming;
        self.push_response(id, status, headers, body == Body::None);
        if body == Body::None {
            self.finish_send(None, id);
        }
        Ok(())
    }

    /// The stream's body has bytes, or its end, again. Unknown streams are ignored.
    pub fn set_body_ready(&mut self, stream: StreamId) {
        if let Some(known) = self.streams.get_mut(&stream.0) {
            known.body_ready = true;
        }
        self.queue_if_ready(stream.0);
    }

    /// Ends a stream with RST_STREAM; nothing more is reported of it. Unknown streams are ignored.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.reset_stream(stream.0, code, false);
    }

    /// Starts a graceful end (RFC 9113, section 6.8): GOAWAY with the highest possible stream, and after a PING
    /// round trip GOAWAY with the last stream taken. Requests up to that one are served.
    pub fn drain(&mut self, now: Now) {
        if self.drain == Drain::No && self.phase != Phase::Closed {
            self.drain = Drain::Announced {
                until: now + self.config.drain_ping_timeout,
            };
            frame::push_goaway(&mut self.control, MAX_WINDOW as u32, ErrorCode::NO_ERROR, "");
            frame::push_ping(&mut self.control, false, &DRAIN_PING);
        }
    }

    /// The drain is announced, every stream has ended and nothing is left to send; or the connection is over.
    pub fn is_drained(&self) -> bool {
        let announced = matches!(self.drain, Drain::Final { .. });
        self.is_closed() || (announced && self.streams.is_empty() && self.control.is_empty())
    }

    /// The connection is over; what [`Connection::poll_output`] still gives is a GOAWAY to flush.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            live_streams: self.streams.len() as u32,
            ..self.stats
        }
    }

    fn flush_control(&mut self, out: &mut Vec<u8>, room: usize) {
        let waiting = self.control.get(self.control_at..).unwrap_or(&[]);
        let piece = waiting.get(..room).unwrap_or(waiting);
        out.extend_from_slice(piece);
        self.control_at += piece.len();
        if self.control_at >= self.control.len() {
            self.control_at = 0;
            empty(&mut self.control);
        }
    }

    /// One DATA frame of `id`, if it has a body and credit. `room` is what the frame's payload may take.
    fn send_data(&mut self, now: Now, id: u32, out: &mut Vec<u8>, room: usize, bodies: &mut dyn Bodies) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.queued = false;
        if !stream.can_send() {
            return;
        }
        let window = stream.send_window.min(self.send_window);
        let max = MAX_DATA.min(room).min(usize::try_from(window).unwrap_or(0));
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        let left = bodies.read(StreamId(id), out, max);
        let len = out.len().saturating_sub(start + HEADER_LEN);
        if len > max {
            // Bytes beyond the credit cannot be sent and must not be lost: the stream is of no more use.
            out.truncate(start);
            self.reset_stream(id, ErrorCode::INTERNAL_ERROR, true);
            return;
        }
        stream.body_ready = left == BodyRead::Bytes && len > 0;
        let end = left == BodyRead::End;
        if len == 0 && !end {
            out.truncate(start);
            return;
        }
        let head = Head {
            len,
            kind: kind::DATA,
            flags: if end { flag::END_STREAM } else { 0 },
            stream: id,
        };
        if let Some(place) = out.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&head.encode());
        }
        stream.send_window -= len as i64;
        self.send_window -= len as i64;
        self.stats.data_bytes_sent += len as u64;
        self.stats.data_frames_sent += 1;
        self.limits.earn_for_data_frame();
        if end {
            self.finish_send(Some(now), id);
        } else {
            self.queue_if_ready(id);
        }
    }

    /// This side's half has ended. A tunnel's peer may go on until the linger time is over; a request whose answer
    /// is complete needs no more of its body (RFC 9113, section 8.1).
    fn finish_send(&mut self, now: Option<Now>, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.send = Send::Ended;
        match (stream.recv_open, stream.tunnel, now) {
            (false, _, _) => self.forget(id, Ended::ByPeer),
            (true, true, Some(now)) => stream.linger_until = Some(now + self.config.linger),
            (true, _, _) => self.reset_stream(id, ErrorCode::NO_ERROR, false),
        }
    }

    pub(super) fn queue_if_ready(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.can_send()
            && !stream.queued
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    pub(super) fn push_response(&mut self, id: u32, status: u16, headers: &[(&str, &str)], end: bool) {
        let mut block = Vec::new();
        self.encoder.encode(status, headers, &mut block);
        frame::push_headers(&mut self.control, id, &block, end);
    }

    pub(super) fn push_pong(&mut self, payload: &[u8]) {
        frame::push_ping(&mut self.control, true, payload);
    }

    pub(super) fn push_settings_ack(&mut self) {
        frame::push_settings_ack(&mut self.control);
    }

    pub(super) fn handle_peer_table_size(&mut self) {
        self.encoder.handle_table_size();
    }

    /// RST_STREAM for a stream that is not kept, or not any more.
    pub(super) fn push_reset(&mut self, id: u32, code: ErrorCode) {
        self.stats.resets_sent += 1;
        self.recent.push(id, Ended::Here);
        frame::push_reset(&mut self.control, id, code);
    }

    /// Ends a live stream with RST_STREAM.
    pub(super) fn reset_stream(&mut self, id: u32, code: ErrorCode, report: bool) {
        if self.streams.contains_key(&id) {
            self.remove(id);
            self.push_reset(id, code);
            if report {
                self.events.push_back(Event::Reset {
                    stream: StreamId(id),
                    code,
                });
            }
        }
    }

    pub(super) fn forget(&mut self, id: u32, how: Ended) {
        self.remove(id);
        self.recent.push(id, how);
    }

    fn remove(&mut self, id: u32) {
        self.streams.remove(&id);
        self.ready.retain(|queued| *queued != id);
    }

    pub(super) fn open(&mut self, id: u32, parsed: headers::Parsed, end_stream: bool) {
        let request: Request = parsed.request;
        let recv_window = if self.settings_due.is_none() {
            self.config.stream_window
        } else {
            DEFAULT_WINDOW
        };
        let stream = Stream {
            recv_open: !end_stream,
            recv_window: i64::from(recv_window),
            recv_credit: 0,
            expected: parsed.content_length,
            tunnel: request.protocol.is_some(),
            send: Send::Awaiting,
            send_window: i64::from(self.peer_initial_window),
            body_ready: false,
            queued: false,
            linger_until: None,
        };
        self.streams.insert(id, stream);
        self.stats.requests += 1;
        self.events.push_back(Event::Request {
            stream: StreamId(id),
            request,
            end_stream,
        });
    }

    /// Credit goes back once a quarter of a window has come in, so a sender always sees most of it.
    fn return_credit(&mut self) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.recv_credit >= self.config.connection_window.max(DEFAULT_WINDOW) / 4 {
            self.recv_window += i64::from(self.recv_credit);
            frame::push_window_update(&mut self.control, 0, self.recv_credit);
            self.recv_credit = 0;
        }
        for (id, stream) in &mut self.streams {
            if stream.recv_open
                && stream.recv_credit > 0
                && stream.recv_credit >= self.config.stream_window / 4
            {
                stream.recv_window += i64::from(stream.recv_credit);
                frame::push_window_update(&mut self.control, *id, stream.recv_credit);
                stream.recv_credit = 0;
            }
        }
    }

    pub(super) fn finish_drain(&mut self) {
        self.drain = Drain::Final { last: self.highest };
        frame::push_goaway(&mut self.control, self.highest, ErrorCode::NO_ERROR, "");
    }

    pub(super) fn fail(&mut self, violation: Violation) {
        if self.phase == Phase::Closed {
            return;
        }
        let Violation { code, reason } = violation;
        let last = match self.drain {
            Drain::Final { last } => last,
            Drain::No | Drain::Announced { .. } => self.highest,
        };
        frame::push_goaway(&mut self.control, last, code, reason);
        self.close(Error::Violation { code, reason });
    }

    fn close(&mut self, error: Error) {
        self.phase = Phase::Closed;
        self.streams.clear();
        self.ready.clear();
        self.input = Vec::new();
        self.block = None;
        self.events.push_back(Event::Closed(error));
    }
}

/// Clears a buffer, and gives back what a rare burst made it grow to.
pub(super) fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEEP_CAPACITY {
        *buffer = Vec::new();
    }
}
