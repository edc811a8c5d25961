//! Splits an RTSP byte stream into messages and `$` frames (RFC 2326 section 10.12), and finds its way back
//! after garbage.
//!
//! A camera whose socket blocks may cut a frame and begin the next one. So a frame whose end is followed by
//! something that cannot follow is searched for a frame inside it, known by channel, length, RTP version and
//! SSRC; from there the stream goes on. The look beyond a frame's end uses what has arrived and never waits.

mod splitter;
#[cfg(test)]
mod tests;

pub use splitter::Splitter;

use crate::message;

/// Largest head, start line and headers together.
pub const MAX_HEAD: usize = 16 << 10;
/// Largest body.
pub const MAX_BODY: usize = 128 << 10;
/// Bytes of a `$` frame before its payload.
pub const FRAME_HEAD: usize = 4;
/// Smallest RTP packet.
const MIN_RTP: usize = 12;
/// Smallest RTCP packet.
const MIN_RTCP: usize = 4;

/// What travels on an interleaved channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelUse {
    /// RTP; the SSRC last seen there, if any.
    Rtp {
        /// Synchronisation source.
        ssrc: Option<u32>,
    },
    /// RTCP.
    Rtcp,
}

/// Takes what a [`Splitter`] finds.
pub trait Sink {
    /// What the channel carries; `None` when it was not set up.
    fn channel(&self, channel: u8) -> Option<ChannelUse>;
    /// One `$` frame's payload.
    fn handle_frame(&mut self, channel: u8, payload: &[u8]);
    /// One message: its head up to and with the blank line, and its body.
    fn handle_message(&mut self, head: &[u8], body: &[u8]);
    /// The stream made no sense and is searched from here.
    fn handle_resync(&mut self);
    /// Bytes that belong to nothing.
    fn handle_skipped(&mut self, bytes: usize);
    /// A frame was cut short by its sender: this many of its bytes were thrown away.
    fn handle_cut_frame(&mut self, bytes: usize);
    /// A message beyond [`MAX_HEAD`] or [`MAX_BODY`]. The splitter takes nothing more.
    fn handle_oversize(&mut self);
}

/// How sure we are that something begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Yes,
    No,
    /// More bytes are needed to tell.
    Maybe,
}

/// Whether a `$` frame may begin at `bytes`. `strict` is for places where a frame is not expected.
fn looks_like_frame<S: Sink>(bytes: &[u8], sink: &S, strict: bool) -> Looks {
    let Some(&channel) = bytes.get(1) else {
        return Looks::Maybe;
    };
    let Some(channel) = sink.channel(channel) else {
        return Looks::No;
    };
    let (Some(&high), Some(&low)) = (bytes.get(2), bytes.get(3)) else {
        return Looks::Maybe;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let min = match channel {
        ChannelUse::Rtp { .. } => MIN_RTP,
        ChannelUse::Rtcp => MIN_RTCP,
    };
    if len < min {
        return Looks::No;
    }
    match bytes.get(4) {
        None if strict => return Looks::Maybe,
        None => return Looks::Yes,
        Some(first) if first >> 6 != 2 => return Looks::No,
        Some(_) if !strict => return Looks::Yes,
        Some(_) => {}
    }
    match channel {
        ChannelUse::Rtp { ssrc: None } => Looks::Yes,
        ChannelUse::Rtp { ssrc: Some(ssrc) } => match bytes.get(12..16) {
            Some(have) if have == ssrc.to_be_bytes() => Looks::Yes,
            Some(_) => Looks::No,
            None => Looks::Maybe,
        },
        ChannelUse::Rtcp => match bytes.get(5) {
            Some(200..=207) => Looks::Yes,
            Some(_) => Looks::No,
            None => Looks::Maybe,
        },
    }
}

const STARTS: [&[u8]; 12] = [
    b"RTSP/",
    b"OPTIONS ",
    b"DESCRIBE ",
    b"SETUP ",
    b"PLAY ",
    b"PAUSE ",
    b"TEARDOWN ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"ANNOUNCE ",
    b"RECORD ",
    b"REDIRECT ",
];

/// Whether a head may begin at `bytes`. `strict` takes the methods of RFC 2326 only.
fn looks_like_head(bytes: &[u8], strict: bool) -> Looks {
    let starts = |word: &[u8]| bytes.iter().zip(word).all(|(a, b)| a == b);
    if strict {
        let mut words = STARTS.iter().filter(|word| starts(word));
        return match words.next() {
            None => Looks::No,
            Some(word) if bytes.len() >= word.len() => Looks::Yes,
            Some(_) => Looks::Maybe,
        };
    }
    if starts(b"RTSP/") {
        return if bytes.len() >= 5 {
            Looks::Yes
        } else {
            Looks::Maybe
        };
    }
    let token = bytes
        .iter()
        .take_while(|b| b.is_ascii_uppercase() || **b == b'_')
        .count();
    match bytes.get(token) {
        None if token <= message::MAX_METHOD => Looks::Maybe,
        Some(b' ') if bytes.get(..token).is_some_and(message::is_method) => Looks::Yes,
        _ => Looks::No,
    }
}

/// Whether `bytes` can follow a whole frame or message.
fn may_follow<S: Sink>(bytes: &[u8], sink: &S) -> bool {
    match bytes.first() {
        None | Some(b'\r' | b'\n') => true,
        Some(b'$') => looks_like_frame(bytes, sink, false) != Looks::No,
        Some(_) => looks_like_head(bytes, true) != Looks::No,
    }
}

/// The first place at or after `from` where a frame or head begins, or may begin.
fn find_resume<S: Sink>(bytes: &[u8], from: usize, sink: &S) -> Option<(usize, Looks)> {
    (from..bytes.len()).find_map(|at| {
        let rest = bytes.get(at..)?;
        let looks = match rest.first()? {
            b'$' => looks_like_frame(rest, sink, true),
            b'A'..=b'Z' => looks_like_head(rest, true),
            _ => Looks::No,
        };
        (looks != Looks::No).then_some((at, looks))
    })
}

/// How far a head reaches.
enum HeadScan {
    /// Up to here, the blank line included.
    End(usize),
    /// Not all of it has come.
    More,
    /// It is none.
    Bad,
}

/// Looks for the blank line, from `scanned` on.
fn scan_head(bytes: &[u8], scanned: usize) -> HeadScan {
    let from = scanned.saturating_sub(3);
    let window = bytes.get(from..).unwrap_or_default();
    for (i, &byte) in window.iter().enumerate() {
        let at = from + i;
        match byte {
            b'\n' => {
                let before = bytes.get(..at).unwrap_or_default();
                let before = before.strip_suffix(b"\r").unwrap_or(before);
                if before.ends_with(b"\n") {
                    return HeadScan::End(at + 1);
                }
            }
            // Binary data: a text that was cut short by a frame.
            0..=8 | 11 | 12 | 14..=31 => return HeadScan::Bad,
            _ => {}
        }
    }
    match bytes.iter().position(|&b| b == b'\n') {
        Some(end) if !message::is_start_line(bytes.get(..end).unwrap_or_default()) => HeadScan::Bad,
        _ => HeadScan::More,
    }
}

/// The Content-Length of a head: 0 when absent, `None` when it is no number.
fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length";
    for line in head.split(|&b| b == b'\n') {
        let Some((name, value)) = line.split_at_checked(NAME.len()) else {
            continue;
        };
        if !name.eq_ignore_ascii_case(NAME) {
            continue;
        }
        let Some(value) = value.trim_ascii().strip_prefix(b":") else {
            continue;
        };
        return message::parse_number(value).and_then(|length| usize::try_from(length).ok());
    }
    Some(0)
}
