//! HTTP/2 (RFC 9113) in the server role, with extended CONNECT (RFC 8441), over a connection this side dialled.
//!
//! [`Connection`] takes bytes and time and gives events and bytes. Bodies are pulled through [`Bodies`] as late as
//! possible, so that what a slow link delays is decided by the owner of the media and not by a queue in here.
//! Server push, priorities and trailers in responses are not offered.

mod connection;
mod frame;
mod headers;
mod limits;
mod receive;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::Connection;

use crate::Now;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Bounds and times of a connection. The defaults are the ones of the uplink protocol.
#[derive(Clone, Debug)]
pub struct Config {
    /// SETTINGS_INITIAL_WINDOW_SIZE: receive credit per stream, in bytes.
    pub stream_window: u32,
    /// Receive credit of the connection, in bytes; at least 65,535.
    pub connection_window: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, in bytes as RFC 9113 section 6.5.2 counts them.
    pub max_header_list: u32,
    /// Silence after which this side sends a PING.
    pub ping_after: Duration,
    /// Silence after which the connection counts as dead.
    pub dead_after: Duration,
    /// How long the peer may take to acknowledge SETTINGS.
    pub settings_timeout: Duration,
    /// How long the peer may keep its half of a CONNECT stream open after this side has ended its own.
    pub linger: Duration,
    /// How long `drain` waits for the PING round trip before it sends the final GOAWAY.
    pub drain_ping_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window: 32_768,
            connection_window: 65_535,
            max_streams: 32,
            max_header_list: 16_384,
            ping_after: Duration::from_secs(22),
            dead_after: Duration::from_secs(30),
            settings_timeout: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            drain_ping_timeout: Duration::from_secs(5),
        }
    }
}

/// A stream's number on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number on the wire.
    pub fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An error code of RFC 9113, section 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Graceful.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer broke a rule that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// This side failed.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// A flow-control window was exceeded or overflowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame on a stream that was closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// Not processed; may be tried again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// No longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// The HPACK state is broken.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection behind a CONNECT was reset.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not secure enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// Use HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name of RFC 9113, `UNKNOWN` for others.
    pub fn name(self) -> &'static str {
        match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => "UNKNOWN",
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:#x})", self.name(), self.0)
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer broke the protocol; a GOAWAY with this code is queued.
    Violation {
        /// The code sent.
        code: ErrorCode,
        /// What the peer did.
        reason: &'static str,
    },
    /// Nothing was received for [`Config::dead_after`].
    Timeout,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation { code, reason } => {
                write!(f, "the gateway broke HTTP/2: {reason} ({})", code.name())
            }
            Self::Timeout => f.write_str("the gateway has been silent for too long"),
        }
    }
}

impl core::error::Error for Error {}

/// The stream is closed, was reset, or has been answered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamGone;

impl fmt::Display for StreamGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream no longer waits for an answer")
    }
}

impl core::error::Error for StreamGone {}

/// Whether a response has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The header block ends the stream.
    None,
    /// DATA follows, pulled through [`Bodies`] after [`Connection::set_body_ready`].
    Streaming,
}

/// Where a connection pulls the bytes of response bodies from.
pub trait Bodies {
    /// Appends at most `max` bytes (never 0) of the stream's body to `out`.
    ///
    /// Whoever knows that the appended bytes are the last ones says [`BodyRead::End`] with them, not in a later call.
    fn read(&mut self, stream: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead;
}

/// What a body has left after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRead {
    /// Bytes were appended, and there may be more at once.
    Bytes,
    /// Some or no bytes were appended; nothing more until [`Connection::set_body_ready`].
    Drained,
    /// The last bytes were appended, if any: the stream ends.
    End,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A valid request arrived. Answer it with [`Connection::respond`] or [`Connection::reset`].
    Request {
        /// Its stream.
        stream: StreamId,
        /// The request.
        request: Request,
        /// It has no body.
        end_stream: bool,
    },
    /// Bytes of a request body or of a CONNECT stream. Their credit has been returned.
    Data {
        /// Their stream.
        stream: StreamId,
        /// The bytes.
        data: Vec<u8>,
        /// They are the last ones.
        end_stream: bool,
    },
    /// The stream is gone: reset by the peer, or by this side after the peer broke a rule on it.
    Reset {
        /// The stream.
        stream: StreamId,
        /// The code received or sent.
        code: ErrorCode,
    },
    /// The peer sent GOAWAY: it will open no more streams.
    PeerGoAway {
        /// Its code.
        code: ErrorCode,
    },
    /// The connection is over; flush what [`Connection::poll_output`] still has, then close the transport.
    Closed(Error),
}

/// A request's head, validated after RFC 9113 section 8.3 and RFC 8441 section 4.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `:method`.
    pub method: String,
    /// `:scheme`; empty for a plain CONNECT.
    pub scheme: String,
    /// `:authority`, or `host` in its place; may be empty.
    pub authority: String,
    /// `:path`; empty for a plain CONNECT.
    pub path: String,
    /// `:protocol` of an extended CONNECT.
    pub protocol: Option<String>,
    /// The other fields, names in lower case, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The fields may have a credential in them.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)
    }
}

impl Request {
    /// The first field of a name (lower case).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_slice())
    }
}

/// Counters of a connection since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// HTTP/2 bytes received.
    pub bytes_received: u64,
    /// HTTP/2 bytes given out.
    pub bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// DATA payload received, padding included.
    pub data_bytes_received: u64,
    /// DATA payload sent.
    pub data_bytes_sent: u64,
    /// DATA frames sent.
    pub data_frames_sent: u64,
    /// Requests taken.
    pub requests: u64,
    /// Streams refused or reset by this side.
    pub resets_sent: u64,
    /// RST_STREAM frames received.
    pub resets_received: u64,
    /// Streams that are open now.
    pub live_streams: u32,
    /// When bytes were last received.
    pub last_received: Now,
}
