//! Splits a byte stream of RTSP messages and `$` frames (RFC 2326 section 10.12).
//!
//! Interleaved frames and bodies are passed on as slices of the input; only heads are collected. It neither
//! parses heads (see [`super::head`]) nor resynchronises: the camera side has been cleaned by the agent, and
//! a viewer that sends garbage is cut.

use bytes::Bytes;
use thiserror::Error;

use super::head::content_length;

/// Largest head, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Largest body, in bytes (SDP and parameters).
pub const MAX_BODY_BYTES: u64 = 1 << 20;

/// Why the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SplitError {
    /// Neither a `$` frame nor the beginning of a text message.
    #[error("neither an RTSP message nor an interleaved frame")]
    Garbage,
    /// Head above [`MAX_HEAD_BYTES`].
    #[error("message head above 16 KiB")]
    HeadTooLong,
    /// Content-Length that is no number, or above [`MAX_BODY_BYTES`].
    #[error("bad or too large Content-Length")]
    BadLength,
}

/// What [`Splitter::poll_piece`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of interleaved frames: any number of whole ones, or parts of them at the edges of the input.
    Frames(Bytes),
    /// A whole message head with its blank line.
    Head(Vec<u8>),
    /// Bytes of the body of the last head.
    Body(Bytes),
}

#[derive(Debug)]
enum State {
    Boundary,
    FrameHeader { bytes: [u8; 4], have: usize },
    Frame { remaining: usize },
    Head,
    Body { remaining: u64 },
}

/// The state between two inputs.
#[derive(Debug)]
pub struct Splitter {
    state: State,
    head: Vec<u8>,
    line_start: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            state: State::Boundary,
            head: Vec::new(),
            line_start: 0,
        }
    }
}

impl Splitter {
    /// A splitter at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True between messages, where something else may be written into the stream.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Boundary | State::Head)
    }

    /// Takes the next piece off the front of `input`; `None` once it is used up.
    ///
    /// # Errors
    /// The stream cannot be followed any further.
    pub fn poll_piece(&mut self, input: &mut Bytes) -> Result<Option<Piece>, SplitError> {
        loop {
            if input.is_empty() {
                return Ok(None);
            }
            match self.state {
                State::Boundary => match input[0] {
                    b'$' => return Ok(Some(Piece::Frames(self.take_frames(input)))),
                    b'\r' | b'\n' => {
                        let _ = input.split_to(1);
                    }
                    byte if byte.is_ascii_alphabetic() => self.state = State::Head,
                    _ => return Err(SplitError::Garbage),
                },
                State::FrameHeader { .. } | State::Frame { .. } => {
                    return Ok(Some(Piece::Frames(self.finish_frame(input))));
                }
                State::Head => {
                    if let Some(head) = self.take_head(input)? {
                        return Ok(Some(Piece::Head(head)));
                    }
                }
                State::Body { remaining } => {
                    let take = input.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
                    let left = remaining - take as u64;
                    self.state = if left == 0 {
                        State::Boundary
                    } else {
                        State::Body { remaining: left }
                    };
                    return Ok(Some(Piece::Body(input.split_to(take))));
                }
            }
        }
    }

    /// The longest run of frames from a boundary on.
    fn take_frames(&mut self, input: &mut Bytes) -> Bytes {
        let mut at = 0;
        while let Some(rest) = input.get(at..) {
            match *rest {
                [b'$', _, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if rest.len() - 4 < length {
                        self.state = State::Frame {
                            remaining: length - (rest.len() - 4),
                        };
                        return input.split_to(input.len());
                    }
                    at += 4 + length;
                }
                [b'$', ..] => {
                    let mut bytes = [0; 4];
                    bytes[..rest.len()].copy_from_slice(rest);
                    self.state = State::FrameHeader {
                        bytes,
                        have: rest.len(),
                    };
                    return input.split_to(input.len());
                }
                _ => break,
            }
        }
        input.split_to(at)
    }

    /// The rest of the frame that the last input cut, and no more: after it the stream is at a boundary.
    fn finish_frame(&mut self, input: &mut Bytes) -> Bytes {
        let mut at = 0;
        if let State::FrameHeader { mut bytes, mut have } = self.state {
            at = (4 - have).min(input.len());
            bytes[have..have + at].copy_from_slice(&input[..at]);
            have += at;
            self.state = if have < 4 {
                State::FrameHeader { bytes, have }
            } else {
                State::Frame {
                    remaining: usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
                }
            };
        }
        if let State::Frame { remaining } = self.state {
            let take = remaining.min(input.len() - at);
            at += take;
            self.state = match remaining - take {
                0 => State::Boundary,
                left => State::Frame { remaining: left },
            };
        }
        input.split_to(at)
    }

    /// Collects lines up to the blank one; bare LF is accepted.
    fn take_head(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, SplitError> {
        while !input.is_empty() {
            let line_end = input.iter().position(|byte| *byte == b'\n');
            let take = line_end.map_or(input.len(), |at| at + 1);
            if self.head.len() + take > MAX_HEAD_BYTES {
                return Err(SplitError::HeadTooLong);
            }
            self.head.extend_from_slice(&input.split_to(take));
            if line_end.is_none() {
                break;
            }
            let line = &self.head[self.line_start..];
            if matches!(line, [b'\n'] | [b'\r', b'\n']) {
                self.line_start = 0;
                let head = std::mem::take(&mut self.head);
                let remaining = content_length(&head).map_err(|()| SplitError::BadLength)?;
                if remaining > MAX_BODY_BYTES {
                    return Err(SplitError::BadLength);
                }
                self.state = if remaining == 0 {
                    State::Boundary
                } else {
                    State::Body { remaining }
                };
                return Ok(Some(head));
            }
            self.line_start = self.head.len();
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Result<Vec<Piece>, SplitError> {
        let mut splitter = Splitter::new();
        let mut out: Vec<Piece> = Vec::new();
        for chunk in chunks {
            let mut input = Bytes::copy_from_slice(chunk);
            while let Some(piece) = splitter.poll_piece(&mut input)? {
                match (out.last_mut(), piece) {
                    (Some(Piece::Frames(a)), Piece::Frames(b)) => *a = [&a[..], &b[..]].concat().into(),
                    (Some(Piece::Body(a)), Piece::Body(b)) => *a = [&a[..], &b[..]].concat().into(),
                    (_, piece) => out.push(piece),
                }
            }
        }
        Ok(out)
    }

    const WIRE: &[u8] =
        b"$\x00\x00\x03abc$\x01\x00\x00RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-length: 4\r\n\r\nv=0\n\
        \r\n$\x00\x00\x02hiRTSP/1.0 200 OK\nCSeq: 2\n\n$\x02\x00\x01z";

    #[test]
    fn the_same_at_every_split() {
        let whole = split(&[WIRE]).unwrap();
        assert_eq!(whole.len(), 6);
        assert_eq!(
            whole[0],
            Piece::Frames(Bytes::from_static(b"$\x00\x00\x03abc$\x01\x00\x00"))
        );
        assert_eq!(whole[2], Piece::Body(Bytes::from_static(b"v=0\n")));
        assert_eq!(whole[4], Piece::Head(b"RTSP/1.0 200 OK\nCSeq: 2\n\n".to_vec()));
        for at in 0..=WIRE.len() {
            assert_eq!(
                split(&[&WIRE[..at], &WIRE[at..]]).unwrap(),
                whole,
                "split at {at}"
            );
        }
        let bytewise: Vec<&[u8]> = WIRE.chunks(1).collect();
        assert_eq!(split(&bytewise).unwrap(), whole);
    }

    #[test]
    fn a_cut_frame_is_finished_alone() {
        let mut splitter = Splitter::new();
        let mut input = Bytes::from_static(b"$\x00\x00\x04ab");
        assert!(splitter.poll_piece(&mut input).unwrap().is_some());
        assert!(!splitter.at_boundary());
        let mut input = Bytes::from_static(b"cd$\x00\x00\x01x");
        assert_eq!(
            splitter.poll_piece(&mut input).unwrap(),
            Some(Piece::Frames(Bytes::from_static(b"cd")))
        );
        assert!(splitter.at_boundary());
    }

    #[test]
    fn bad_streams_are_refused() {
        assert_eq!(split(&[b"\x00\x01"]), Err(SplitError::Garbage));
        assert_eq!(
            split(&[&[b'A'; MAX_HEAD_BYTES + 1]]),
            Err(SplitError::HeadTooLong)
        );
        for length in [
            "99999999999",
            "-1",
            "+1",
            "x",
            "",
            "\r\n 5",
            "18446744073709551616",
            "1\r\nContent-Length: 2",
        ] {
            let head = format!("OPTIONS * RTSP/1.0\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(split(&[head.as_bytes()]), Err(SplitError::BadLength), "{length}");
        }
    }

    #[test]
    fn a_length_within_a_folded_line_is_none() {
        let head = b"OPTIONS * RTSP/1.0\r\nX: a\r\n Content-Length: 7\r\n\r\nOPTIONS * RTSP/1.0\r\n\r\n";
        let pieces = split(&[head]).unwrap();
        assert!(
            matches!(pieces[..], [Piece::Head(_), Piece::Head(_)]),
            "{pieces:?}"
        );
        let twice = b"OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\ncontent-length: 01\r\n\r\nx";
        assert_eq!(split(&[twice]).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn never_panics(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = split(&chunks);
        }
    }
}
