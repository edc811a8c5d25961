//! Synthetic video: structurally valid NAL units whose slices carry a counter, their length and
//! the time they were made, so that a receiver can measure age, loss and tearing without decoding.
//!
//! Slice layout behind the NAL header and one byte of slice header, in printable ASCII so that no
//! emulation prevention is ever needed: `LCSM`, counter (8 hex digits), microseconds since the
//! Unix epoch (16), length of the whole NAL unit (8), then filler derived from the counter.
//! The pictures do not decode.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::annexb::Codec;

const MAGIC: &[u8; 4] = b"LCSM";
const FIXED_LEN: usize = MAGIC.len() + 8 + 16 + 8;

/// 1280x720 at 25 frames per second, constrained baseline, level 3.1.
const H264_SETS: [&[u8]; 2] = [
    &[
        0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
        0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x24, 0x80,
    ],
    &[0x68, 0xcb, 0x8c, 0xb2],
];

/// 1280x720 at 25 frames per second, main profile, level 3.1.
const H265_SETS: [&[u8]; 3] = [
    &[
        0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00,
        0x00, 0x03, 0x00, 0x5d, 0x92, 0x80, 0x90,
    ],
    &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00,
        0x5d, 0xa0, 0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x2a, 0x49, 0x32, 0xbc, 0x05, 0xa0, 0x20, 0x00, 0x00,
        0x03, 0x00, 0x20, 0x00, 0x00, 0x03, 0x03, 0x21,
    ],
    &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40],
];

/// Parameter sets for a synthetic stream.
pub fn parameter_sets(codec: Codec) -> &'static [&'static [u8]] {
    match codec {
        Codec::H264 => &H264_SETS,
        Codec::H265 => &H265_SETS,
    }
}

/// Microseconds since the Unix epoch.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn slice_head(codec: Codec, key: bool) -> &'static [u8] {
    match (codec, key) {
        // IDR slice: first_mb_in_slice 0, slice_type 7 (I).
        (Codec::H264, true) => &[0x65, 0x88],
        // Non-IDR slice: first_mb_in_slice 0, slice_type 5 (P).
        (Codec::H264, false) => &[0x41, 0x9a],
        // IDR_W_RADL and TRAIL_R, first_slice_segment_in_pic_flag set.
        (Codec::H265, true) => &[0x26, 0x01, 0xaf],
        (Codec::H265, false) => &[0x02, 0x01, 0xd0],
    }
}

fn filler(counter: u32, index: usize) -> u8 {
    // 0x40..=0x7f: never zero.
    0x40 | (counter.wrapping_add(index as u32).wrapping_mul(0x9d) >> 2 & 0x3f) as u8
}

/// One slice NAL unit of about `len` bytes (never below its fixed part).
pub fn slice(codec: Codec, key: bool, counter: u32, time_us: u64, len: usize) -> Vec<u8> {
    let head = slice_head(codec, key);
    let len = len.max(head.len() + FIXED_LEN);
    let mut nal = Vec::with_capacity(len);
    nal.extend_from_slice(head);
    nal.extend_from_slice(MAGIC);
    nal.extend_from_slice(format!("{counter:08x}{time_us:016x}{len:08x}").as_bytes());
    let filled = nal.len();
    nal.extend((0..len - filled).map(|index| filler(counter, index)));
    nal
}

/// What a received slice says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the access unit, from 0.
    pub counter: u32,
    /// When it was made, microseconds since the Unix epoch.
    pub time_us: u64,
    /// Its length and filler are as they were made.
    pub intact: bool,
    /// It is a random access picture.
    pub key: bool,
}

/// Reads the stamp of a slice NAL unit; `None` when it carries none.
pub fn read_stamp(codec: Codec, nal: &[u8]) -> Option<Stamp> {
    let key = nal.starts_with(slice_head(codec, true));
    let head_len = slice_head(codec, key).len();
    let body = nal.get(head_len..)?.strip_prefix(MAGIC)?;
    let field =
        |from: usize, to: usize| u64::from_str_radix(std::str::from_utf8(body.get(from..to)?).ok()?, 16).ok();
    let counter = field(0, 8)? as u32;
    let time_us = field(8, 24)?;
    let len = field(24, 32)?;
    let tail = body.get(32..)?;
    let intact = len == nal.len() as u64
        && tail
            .iter()
            .enumerate()
            .all(|(index, &byte)| byte == filler(counter, index));
    Some(Stamp {
        counter,
        time_us,
        intact,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annexb::{NalKind, nal_kind};

    #[test]
    fn stamps_survive_and_damage_shows() {
        for codec in [Codec::H264, Codec::H265] {
            for key in [true, false] {
                let nal = slice(codec, key, 0xfffe, 1_234_567, 4000);
                assert_eq!(nal.len(), 4000);
                assert!(nal[2..].iter().all(|&b| b != 0));
                assert_eq!(
                    nal_kind(codec, &nal),
                    NalKind::Slice {
                        first: true,
                        random_access: key
                    }
                );
                let stamp = Stamp {
                    counter: 0xfffe,
                    time_us: 1_234_567,
                    intact: true,
                    key,
                };
                assert_eq!(read_stamp(codec, &nal), Some(stamp));
                assert_eq!(read_stamp(codec, &nal[..3999]).map(|s| s.intact), Some(false));
                let mut damaged = nal.clone();
                damaged.remove(2000);
                damaged.push(0x41);
                assert_eq!(read_stamp(codec, &damaged).map(|s| s.intact), Some(false));
            }
        }
    }

    #[test]
    fn short_slices_keep_their_stamp() {
        let nal = slice(Codec::H264, false, 1, 2, 0);
        assert_eq!(read_stamp(Codec::H264, &nal).map(|s| s.intact), Some(true));
        assert_eq!(read_stamp(Codec::H264, &nal[..20]), None);
    }
}
