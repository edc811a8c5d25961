//! Frame headers, control frames, and frames whose payload is written in place behind a reserved header.

use super::{MAX_CONTROL_PAYLOAD, Opcode};
use alloc::vec::Vec;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// What `begin_frame` reserves: the header of a frame of 126 to 65535 bytes.
const RESERVED: usize = 4;
const RESERVED_MASKED: usize = 8;

/// Appends the header of an unfragmented frame of `len` payload bytes. With a mask, the caller masks the payload
/// with [`apply_mask`].
pub fn encode_header(out: &mut Vec<u8>, opcode: Opcode, len: usize, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(FIN | opcode.bits());
    match len {
        0..=125 => out.push(masked | len as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
}

/// Appends a control frame; payload beyond 125 bytes is cut.
pub fn encode_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    let payload = payload.get(..MAX_CONTROL_PAYLOAD).unwrap_or(payload);
    encode_header(out, opcode, payload.len(), mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let (Some(mask), Some(body)) = (mask, out.get_mut(start..)) {
        apply_mask(body, mask, 0);
    }
}

/// Appends a close frame with a code and no reason text.
pub fn encode_close(out: &mut Vec<u8>, code: u16, mask: Option<[u8; 4]>) {
    encode_control(out, Opcode::Close, &code.to_be_bytes(), mask);
}

/// Reserves a header for a binary frame at the end of `out` and returns its place for [`finish_frame`]. The
/// payload is appended in between.
pub fn begin_frame(out: &mut Vec<u8>, masked: bool) -> usize {
    let start = out.len();
    out.resize(start + if masked { RESERVED_MASKED } else { RESERVED }, 0);
    start
}

/// Completes the binary frame begun at `start` with `masked == mask.is_some()`; without payload it is taken back.
/// Returns the payload's length. Payload of 126 to 65,535 bytes is not moved.
pub fn finish_frame(out: &mut Vec<u8>, start: usize, mask: Option<[u8; 4]>) -> usize {
    let reserved = if mask.is_some() { RESERVED_MASKED } else { RESERVED };
    let Some(len) = out.len().checked_sub(start + reserved) else {
        return 0;
    };
    if len == 0 {
        out.truncate(start);
        return 0;
    }
    if let (Some(mask), Some(payload)) = (mask, out.get_mut(start + reserved..)) {
        apply_mask(payload, mask, 0);
    }
    let mut header = HeaderBytes::default();
    header.encode(len, mask);
    let header = header.as_slice();
    match header.len().cmp(&reserved) {
        core::cmp::Ordering::Equal => {}
        core::cmp::Ordering::Less => {
            out.copy_within(start + reserved.., start + header.len());
            out.truncate(start + header.len() + len);
        }
        core::cmp::Ordering::Greater => {
            let end = out.len();
            out.resize(end + header.len() - reserved, 0);
            out.copy_within(start + reserved..end, start + header.len());
        }
    }
    if let Some(place) = out.get_mut(start..start + header.len()) {
        place.copy_from_slice(header);
    }
    len
}

#[derive(Default)]
struct HeaderBytes {
    bytes: [u8; super::MAX_HEADER],
    len: usize,
}

impl HeaderBytes {
    fn push(&mut self, more: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + more.len()) {
            place.copy_from_slice(more);
            self.len += more.len();
        }
    }

    fn encode(&mut self, len: usize, mask: Option<[u8; 4]>) {
        let masked = if mask.is_some() { MASKED } else { 0 };
        self.push(&[FIN | Opcode::Binary.bits()]);
        match len {
            0..=125 => self.push(&[masked | len as u8]),
            126..=0xffff => {
                self.push(&[masked | 126]);
                self.push(&(len as u16).to_be_bytes());
            }
            _ => {
                self.push(&[masked | 127]);
                self.push(&(len as u64).to_be_bytes());
            }
        }
        if let Some(mask) = mask {
            self.push(&mask);
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// XORs `bytes`, which start `offset` bytes into their frame's payload, with the frame's mask (RFC 6455, section 5.3).
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut turned = mask;
    turned.rotate_left(offset % 4);
    let half = u32::from_ne_bytes(turned);
    let wide = (u64::from(half) << 32) | u64::from(half);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}
