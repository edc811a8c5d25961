//! WebSocket frames (RFC 6455 section 5) as the client of a session with the agent.
//!
//! The payload is handed on as slices of what came in, never copied and never reassembled: RTSP has its own
//! framing and does not care for message boundaries. Text messages and extensions are not supported.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// Largest frame that is accepted from the agent, in bytes. It is not buffered, so this only catches nonsense.
pub const MAX_FRAME_BYTES: u64 = 16 << 20;
/// Largest payload of a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;
/// Largest header that [`encode_frame`] writes.
pub const MAX_HEADER_BYTES: usize = 14;

/// Opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a pong.
pub const PONG: u8 = 0xA;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const PING: u8 = 0x9;

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WsError {
    /// A server must not mask (RFC 6455 section 5.1).
    #[error("masked frame from the server side")]
    Masked,
    /// Reserved bits or opcodes.
    #[error("reserved bits or opcode")]
    Reserved,
    /// Only binary messages carry RTSP.
    #[error("text message where only binary is allowed")]
    Text,
    /// Continuation without a start, or a start within a message.
    #[error("fragments out of order")]
    Fragment,
    /// Fragmented or oversized control frame.
    #[error("malformed control frame")]
    Control,
    /// Frame length above [`MAX_FRAME_BYTES`].
    #[error("frame too long")]
    TooLong,
}

impl WsError {
    /// The close code that tells the peer (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::TooLong => 1009,
            Self::Masked | Self::Reserved | Self::Fragment | Self::Control => 1002,
        }
    }
}

/// What [`Decoder::poll_piece`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes of a binary message.
    Data(Bytes),
    /// A ping; answer with a pong of the same payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// The peer ends the session, with its code if it gave one.
    Close(Option<u16>),
}

/// Decodes unmasked frames, however the bytes are split.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; 10],
    header_len: usize,
    /// Payload bytes of the current frame still to come; `None` while a header is read.
    remaining: Option<u64>,
    /// Opcode of a control frame under way; `None` within a data frame.
    control: Option<u8>,
    control_payload: Vec<u8>,
    in_message: bool,
}

impl Decoder {
    /// A decoder at the start of a session.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece off the front of `input`; `None` once `input` is used up.
    ///
    /// # Errors
    /// The peer broke RFC 6455; the session is of no further use.
    pub fn poll_piece(&mut self, input: &mut Bytes) -> Result<Option<Piece>, WsError> {
        loop {
            let Some(remaining) = self.remaining else {
                if !self.read_header(input)? {
                    return Ok(None);
                }
                continue;
            };
            let take = input.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
            if remaining > 0 && take == 0 {
                return Ok(None);
            }
            let part = input.split_to(take);
            let left = remaining - take as u64;
            self.remaining = (left > 0).then_some(left);
            match self.control {
                None if part.is_empty() => {}
                None => return Ok(Some(Piece::Data(part))),
                Some(opcode) => {
                    self.control_payload.extend_from_slice(&part);
                    if left == 0 {
                        return Ok(Some(self.finish_control(opcode)));
                    }
                }
            }
        }
    }

    /// Collects header bytes; true once a whole header was read and judged.
    fn read_header(&mut self, input: &mut Bytes) -> Result<bool, WsError> {
        loop {
            let need = match (self.header_len, self.header[1] & 0x7F) {
                (0 | 1, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if self.header_len >= need {
                break;
            }
            if input.is_empty() {
                return Ok(false);
            }
            let take = (need - self.header_len).min(input.len());
            let bytes = input.split_to(take);
            self.header[self.header_len..self.header_len + take].copy_from_slice(&bytes);
            self.header_len += take;
        }
        self.header_len = 0;
        self.judge_header()?;
        Ok(true)
    }

    fn judge_header(&mut self) -> Result<(), WsError> {
        let [first, second, ..] = self.header;
        if second & 0x80 != 0 {
            return Err(WsError::Masked);
        }
        if first & 0x70 != 0 {
            return Err(WsError::Reserved);
        }
        let length = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => {
                let [_, _, a, b, c, d, e, f, g, h] = self.header;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            short => u64::from(short),
        };
        if length > MAX_FRAME_BYTES {
            return Err(WsError::TooLong);
        }
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        self.control = match opcode {
            CONTINUATION if !self.in_message => return Err(WsError::Fragment),
            BINARY if self.in_message => return Err(WsError::Fragment),
            CONTINUATION | BINARY => {
                self.in_message = !fin;
                None
            }
            TEXT => return Err(WsError::Text),
            CLOSE | PING | PONG => {
                if !fin || length > MAX_CONTROL_BYTES as u64 {
                    return Err(WsError::Control);
                }
                Some(opcode)
            }
            _ => return Err(WsError::Reserved),
        };
        self.remaining = Some(length);
        Ok(())
    }

    fn finish_control(&mut self, opcode: u8) -> Piece {
        let payload = std::mem::take(&mut self.control_payload);
        match opcode {
            CLOSE => Piece::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            PING => Piece::Ping(payload),
            _ => Piece::Pong,
        }
    }
}

/// Appends one masked frame (RFC 6455 section 5.3).
pub fn encode_frame(out: &mut BytesMut, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    out.reserve(MAX_HEADER_BYTES + payload.len());
    out.extend_from_slice(&[0x80 | opcode]);
    if payload.len() < 126 {
        out.extend_from_slice(&[0x80 | payload.len() as u8]);
    } else if let Ok(length) = u16::try_from(payload.len()) {
        out.extend_from_slice(&[0x80 | 126]);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.extend_from_slice(&[0x80 | 127]);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    for (byte, key) in out[start..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a masked close frame with `code`.
pub fn encode_close(out: &mut BytesMut, code: u16, mask: [u8; 4]) {
    encode_frame(out, CLOSE, &code.to_be_bytes(), mask);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(chunks: &[&[u8]]) -> Result<(Vec<u8>, Vec<Piece>), WsError> {
        let mut decoder = Decoder::new();
        let (mut data, mut others) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let mut input = Bytes::copy_from_slice(chunk);
            while let Some(piece) = decoder.poll_piece(&mut input)? {
                match piece {
                    Piece::Data(bytes) => data.extend_from_slice(&bytes),
                    other => others.push(other),
                }
            }
        }
        Ok((data, others))
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode_frame(&mut out, first & 0x0F, payload, [0; 4]);
        let header = out.len() - payload.len() - 4;
        let mut out = out.to_vec();
        out.drain(header..header + 4);
        out[0] = first;
        out[1] &= 0x7F;
        out
    }

    #[test]
    fn fragments_controls_and_lengths_at_every_split() {
        let mut wire = frame(0x02, b"abc");
        wire.extend(frame(0x89, b"hi"));
        wire.extend(frame(0x00, b""));
        wire.extend(frame(0x80, &[7; 300]));
        wire.extend(frame(0x82, &vec![9; 70_000]));
        wire.extend(frame(0x88, &[0x03, 0xE8]));
        let mut expected = b"abc".to_vec();
        expected.extend([7; 300]);
        expected.extend(vec![9; 70_000]);
        for split in (0..400).chain([wire.len() - 3, wire.len()]) {
            let (data, others) = decode_all(&[&wire[..split], &wire[split..]]).unwrap();
            assert_eq!(data, expected);
            assert_eq!(others, [Piece::Ping(b"hi".to_vec()), Piece::Close(Some(1000))]);
        }
    }

    #[test]
    fn violations_have_their_close_codes() {
        for (wire, error, code) in [
            (vec![0x82, 0x81, 0, 0, 0, 0, 1], WsError::Masked, 1002),
            (vec![0xC2, 0x00], WsError::Reserved, 1002),
            (vec![0x83, 0x00], WsError::Reserved, 1002),
            (vec![0x81, 0x00], WsError::Text, 1003),
            (vec![0x80, 0x00], WsError::Fragment, 1002),
            (vec![0x02, 0x00, 0x82, 0x00], WsError::Fragment, 1002),
            (vec![0x09, 0x00], WsError::Control, 1002),
            (vec![0x89, 126, 0, 126], WsError::Control, 1002),
            (vec![0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], WsError::TooLong, 1009),
        ] {
            assert_eq!(decode_all(&[&wire]), Err(error), "{wire:x?}");
            assert_eq!(error.close_code(), code);
        }
    }

    #[test]
    fn masks_as_rfc_6455_section_5_7() {
        let mut out = BytesMut::new();
        encode_frame(&mut out, 0x1, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            &out[..],
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
    }

    proptest! {
        #[test]
        fn never_panics(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = decode_all(&chunks);
        }
    }
}
