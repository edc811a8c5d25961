//! Annex B elementary streams (H.264 and H.265): splitting into NAL units and access units.
//!
//! It does not decode: pictures are told apart by NAL unit types and the first bit of the slice
//! header (Rec. ITU-T H.264 clause 7.4.1.2.3, H.265 clause 7.4.2.4.4). Streams must have no
//! B pictures, since decoding order is taken as presentation order.

use std::ops::Range;

/// A video codec carried by the test tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// H.264, RFC 6184.
    H264,
    /// H.265, RFC 7798.
    H265,
}

impl Codec {
    /// The encoding name in `a=rtpmap`.
    pub fn rtp_name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
        }
    }

    /// Reads `h264` or `h265` (any case; `hevc` too).
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "h264" | "264" => Some(Self::H264),
            "h265" | "265" | "hevc" => Some(Self::H265),
            _ => None,
        }
    }
}

/// What a NAL unit is, as far as packetising and comparing need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// VPS, SPS or PPS.
    ParameterSet,
    /// A slice of a picture; `first` says that it begins a picture, `random_access` that
    /// decoding may begin there (IDR, or IRAP in H.265).
    Slice {
        /// First slice of its picture.
        first: bool,
        /// Belongs to a random access picture.
        random_access: bool,
    },
    /// Access unit delimiter, prefix SEI and others that begin an access unit.
    Prefix,
    /// Anything that stays with the picture before it.
    Suffix,
}

/// The kind of a NAL unit (without start code). Empty input is a [`NalKind::Suffix`].
pub fn nal_kind(codec: Codec, nal: &[u8]) -> NalKind {
    let Some(&head) = nal.first() else {
        return NalKind::Suffix;
    };
    match codec {
        Codec::H264 => {
            let first = nal.get(1).is_some_and(|b| b & 0x80 != 0);
            match head & 0x1f {
                1..=5 => NalKind::Slice {
                    first,
                    random_access: head & 0x1f == 5,
                },
                7 | 8 => NalKind::ParameterSet,
                6 | 9 | 14..=18 => NalKind::Prefix,
                _ => NalKind::Suffix,
            }
        }
        Codec::H265 => {
            let first = nal.get(2).is_some_and(|b| b & 0x80 != 0);
            match (head >> 1) & 0x3f {
                kind @ 0..=31 => NalKind::Slice {
                    first,
                    random_access: (16..=23).contains(&kind),
                },
                32..=34 => NalKind::ParameterSet,
                35 | 39 | 41..=44 | 48..=55 => NalKind::Prefix,
                _ => NalKind::Suffix,
            }
        }
    }
}

/// The NAL units of an Annex B stream, as ranges into it, without start codes and trailing zeros.
pub fn split_nals(stream: &[u8]) -> Vec<Range<usize>> {
    let mut nals = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(window) = stream.get(at..at + 3) {
        if window == [0, 0, 1] {
            if let Some(begin) = start {
                push_trimmed(&mut nals, stream, begin, at);
            }
            start = Some(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    if let Some(begin) = start {
        push_trimmed(&mut nals, stream, begin, stream.len());
    }
    nals
}

fn push_trimmed(nals: &mut Vec<Range<usize>>, stream: &[u8], begin: usize, end: usize) {
    let body = stream.get(begin..end).unwrap_or_default();
    let kept = body.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    if kept > 0 {
        nals.push(begin..begin + kept);
    }
}

/// Groups the NAL units of a stream into access units, in order.
pub fn access_units(codec: Codec, stream: &[u8]) -> Vec<Vec<Range<usize>>> {
    let mut units: Vec<Vec<Range<usize>>> = Vec::new();
    let mut picture_seen = true;
    for nal in split_nals(stream) {
        let kind = nal_kind(codec, stream.get(nal.clone()).unwrap_or_default());
        let begins = match kind {
            NalKind::Slice { first, .. } => first,
            NalKind::ParameterSet | NalKind::Prefix => true,
            NalKind::Suffix => false,
        };
        if (begins && picture_seen) || units.is_empty() {
            units.push(Vec::new());
            picture_seen = false;
        }
        picture_seen |= matches!(kind, NalKind::Slice { .. });
        if let Some(unit) = units.last_mut() {
            unit.push(nal);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nals_lose_start_codes_and_trailing_zeros() {
        let stream = [0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 0x88];
        let nals: Vec<&[u8]> = split_nals(&stream).into_iter().map(|r| &stream[r]).collect();
        assert_eq!(nals, [&[0x67, 1][..], &[0x68, 2], &[0x65, 0x88]]);
    }

    #[test]
    fn access_units_begin_at_parameter_sets_and_first_slices() {
        let mut stream = Vec::new();
        // SPS, PPS, IDR in two slices; P; P in two slices; SPS, IDR.
        for nal in [
            &[0x67, 1][..],
            &[0x68, 1],
            &[0x65, 0x88],
            &[0x65, 0x40],
            &[0x41, 0x9a],
            &[0x41, 0x9a],
            &[0x41, 0x40],
            &[0x67, 1],
            &[0x65, 0x88],
        ] {
            stream.extend_from_slice(&[0, 0, 1]);
            stream.extend_from_slice(nal);
        }
        let sizes: Vec<usize> = access_units(Codec::H264, &stream).iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 1, 2, 2]);
    }

    #[test]
    fn h265_kinds() {
        assert_eq!(nal_kind(Codec::H265, &[0x40, 1]), NalKind::ParameterSet);
        assert_eq!(
            nal_kind(Codec::H265, &[0x26, 1, 0xaf]),
            NalKind::Slice {
                first: true,
                random_access: true
            }
        );
        assert_eq!(
            nal_kind(Codec::H265, &[0x02, 1, 0x50]),
            NalKind::Slice {
                first: false,
                random_access: false
            }
        );
        assert_eq!(nal_kind(Codec::H265, &[]), NalKind::Suffix);
    }
}
