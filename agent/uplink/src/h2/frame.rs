//! Frame layouts of RFC 9113, sections 4.1 and 6.

use super::ErrorCode;
use alloc::vec::Vec;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const HEADER_LEN: usize = 9;
/// What this side takes: SETTINGS_MAX_FRAME_SIZE is never raised.
pub(super) const MAX_FRAME: usize = 16_384;
pub(super) const MAX_WINDOW: i64 = 0x7fff_ffff;
pub(super) const DEFAULT_WINDOW: u32 = 65_535;

pub(super) mod kind {
    pub(in crate::h2) const DATA: u8 = 0x0;
    pub(in crate::h2) const HEADERS: u8 = 0x1;
    pub(in crate::h2) const PRIORITY: u8 = 0x2;
    pub(in crate::h2) const RST_STREAM: u8 = 0x3;
    pub(in crate::h2) const SETTINGS: u8 = 0x4;
    pub(in crate::h2) const PUSH_PROMISE: u8 = 0x5;
    pub(in crate::h2) const PING: u8 = 0x6;
    pub(in crate::h2) const GOAWAY: u8 = 0x7;
    pub(in crate::h2) const WINDOW_UPDATE: u8 = 0x8;
    pub(in crate::h2) const CONTINUATION: u8 = 0x9;
}

pub(super) mod flag {
    pub(in crate::h2) const ACK: u8 = 0x1;
    pub(in crate::h2) const END_STREAM: u8 = 0x1;
    pub(in crate::h2) const END_HEADERS: u8 = 0x4;
    pub(in crate::h2) const PADDED: u8 = 0x8;
    pub(in crate::h2) const PRIORITY: u8 = 0x20;
}

pub(super) mod setting {
    pub(in crate::h2) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(in crate::h2) const ENABLE_PUSH: u16 = 0x2;
    pub(in crate::h2) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(in crate::h2) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(in crate::h2) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(in crate::h2) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(in crate::h2) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
}

/// A connection error: what to put into GOAWAY and what the peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: ErrorCode,
    pub(super) reason: &'static str,
}

impl Violation {
    pub(super) fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(super) fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(super) fn size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    pub(super) fn calm(reason: &'static str) -> Self {
        Self::new(ErrorCode::ENHANCE_YOUR_CALM, reason)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// `None` while fewer than nine bytes are there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3, ..] = bytes else {
            return None;
        };
        Some(Self {
            len: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn encode(self) -> [u8; HEADER_LEN] {
        let [_, l0, l1, l2] = (self.len as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }
}

/// Removes padding, and the priority fields where the flag says so.
pub(super) fn strip(head: Head, payload: &[u8]) -> Result<&[u8], Violation> {
    let mut rest = payload;
    let mut padding = 0;
    if head.has(flag::PADDED) {
        let (first, after) = rest
            .split_first()
            .ok_or(Violation::size("a padded frame without a length"))?;
        padding = usize::from(*first);
        rest = after;
    }
    if head.kind == kind::HEADERS && head.has(flag::PRIORITY) {
        rest = rest
            .get(5..)
            .ok_or(Violation::size("HEADERS too short for its priority fields"))?;
    }
    let end = rest
        .len()
        .checked_sub(padding)
        .ok_or(Violation::protocol("more padding than payload"))?;
    Ok(rest.get(..end).unwrap_or(rest))
}

pub(super) fn be_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))
}

fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(
        &Head {
            len: payload.len(),
            kind,
            flags,
            stream,
        }
        .encode(),
    );
    out.extend_from_slice(payload);
}

pub(super) fn push_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let head = Head {
        len: settings.len() * 6,
        kind: kind::SETTINGS,
        flags: 0,
        stream: 0,
    };
    out.extend_from_slice(&head.encode());
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn push_settings_ack(out: &mut Vec<u8>) {
    push(out, kind::SETTINGS, flag::ACK, 0, &[]);
}

pub(super) fn push_ping(out: &mut Vec<u8>, ack: bool, payload: &[u8]) {
    push(out, kind::PING, if ack { flag::ACK } else { 0 }, 0, payload);
}

pub(super) fn push_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    push(out, kind::RST_STREAM, 0, stream, &code.0.to_be_bytes());
}

pub(super) fn push_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    push(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

pub(super) fn push_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode, debug: &str) {
    let head = Head {
        len: 8 + debug.len(),
        kind: kind::GOAWAY,
        flags: 0,
        stream: 0,
    };
    out.extend_from_slice(&head.encode());
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug.as_bytes());
}

/// HEADERS, and CONTINUATION for what does not fit into one frame.
pub(super) fn push_headers(out: &mut Vec<u8>, stream: u32, block: &[u8], end_stream: bool) {
    let mut kind = kind::HEADERS;
    let mut flags = if end_stream { flag::END_STREAM } else { 0 };
    let mut rest = block;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MAX_FRAME));
        rest = after;
        let end = if rest.is_empty() { flag::END_HEADERS } else { 0 };
        push(out, kind, flags | end, stream, piece);
        if rest.is_empty() {
            return;
        }
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}
