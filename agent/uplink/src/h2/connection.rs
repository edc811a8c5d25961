use super::{Bodies, Body, Config, ErrorCode, Event, Stats, StreamGone, StreamId};
use crate::Now;
use alloc::vec::Vec;

/// One HTTP/2 connection in the server role.
pub struct Connection {
    stats: Stats,
}

impl Connection {
    /// Starts a connection; its SETTINGS are queued at once.
    pub fn new(_config: Config, _now: Now) -> Self {
        Self {
            stats: Stats::default(),
        }
    }
    /// Takes received bytes. Never fails: a violation queues GOAWAY or RST_STREAM.
    pub fn handle_input(&mut self, _now: Now, _bytes: &[u8]) {}
    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// Appends about `budget` bytes at most to `out` and says how many. Control frames go first, streams take turns.
    pub fn poll_output(
        &mut self,
        _now: Now,
        _out: &mut Vec<u8>,
        _budget: usize,
        _bodies: &mut dyn Bodies,
    ) -> usize {
        0
    }
    /// Whether `poll_output` would give bytes, as far as is known without asking the bodies.
    pub fn wants_output(&self) -> bool {
        false
    }
    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Now> {
        None
    }
    /// Liveness, the SETTINGS acknowledgement, drains.
    pub fn handle_timeout(&mut self, _now: Now) {}
    /// Answers a request.
    pub fn respond(
        &mut self,
        _stream: StreamId,
        _status: u16,
        _headers: &[(&str, &str)],
        _body: Body,
    ) -> Result<(), StreamGone> {
        Err(StreamGone)
    }
    /// The stream's body has bytes, or its end, again.
    pub fn set_body_ready(&mut self, _stream: StreamId) {}
    /// Ends a stream with RST_STREAM.
    pub fn reset(&mut self, _stream: StreamId, _code: ErrorCode) {}
    /// Two-step GOAWAY.
    pub fn drain(&mut self, _now: Now) {}
    /// The drain is announced, every stream has ended and nothing is left to send.
    pub fn is_drained(&self) -> bool {
        false
    }
    /// The connection is over.
    pub fn is_closed(&self) -> bool {
        false
    }
    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
