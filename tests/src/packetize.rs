//! RTP payload formats, sending side: H.264 (RFC 6184, non-interleaved mode: single NAL unit,
//! STAP-A, FU-A) and H.265 (RFC 7798: single NAL unit, AP, FU).
//!
//! Parameter sets that follow each other are aggregated, larger NAL units are fragmented, all
//! others travel alone.

use crate::annexb::{Codec, NalKind, nal_kind};

/// Splits one access unit into RTP payloads of at most `mtu` bytes. The caller sets the marker on
/// the last of them.
pub fn packetize(codec: Codec, nals: &[&[u8]], mtu: usize) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut sets: Vec<&[u8]> = Vec::new();
    for nal in nals.iter().filter(|nal| nal.len() > nal_header_len(codec)) {
        let aggregated = aggregate_len(codec, &sets) + 2 + nal.len();
        let is_set = nal_kind(codec, nal) == NalKind::ParameterSet;
        if !is_set || aggregated > mtu {
            flush_sets(codec, &mut sets, mtu, &mut payloads);
        }
        if is_set {
            sets.push(nal);
        } else {
            push_nal(codec, nal, mtu, &mut payloads);
        }
    }
    flush_sets(codec, &mut sets, mtu, &mut payloads);
    payloads
}

fn nal_header_len(codec: Codec) -> usize {
    match codec {
        Codec::H264 => 1,
        Codec::H265 => 2,
    }
}

fn aggregate_len(codec: Codec, sets: &[&[u8]]) -> usize {
    nal_header_len(codec) + sets.iter().map(|nal| nal.len() + 2).sum::<usize>()
}

fn flush_sets(codec: Codec, sets: &mut Vec<&[u8]>, mtu: usize, payloads: &mut Vec<Vec<u8>>) {
    match sets.as_slice() {
        [] => {}
        [only] => push_nal(codec, only, mtu, payloads),
        many => {
            let mut payload = match codec {
                // STAP-A, type 24; NRI of a parameter set is 3.
                Codec::H264 => vec![0x60 | 24],
                // AP, type 48; layer 0, temporal id 0 (plus 1).
                Codec::H265 => vec![48 << 1, 1],
            };
            for nal in many {
                payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
                payload.extend_from_slice(nal);
            }
            payloads.push(payload);
        }
    }
    sets.clear();
}

fn push_nal(codec: Codec, nal: &[u8], mtu: usize, payloads: &mut Vec<Vec<u8>>) {
    if nal.len() <= mtu {
        payloads.push(nal.to_vec());
        return;
    }
    let (head, body) = nal.split_at(nal_header_len(codec));
    let chunk_len = mtu.saturating_sub(head.len() + 1).max(1);
    let chunks = body.len().div_ceil(chunk_len);
    for (index, chunk) in body.chunks(chunk_len).enumerate() {
        let start = u8::from(index == 0) << 7;
        let end = u8::from(index + 1 == chunks) << 6;
        let mut payload = Vec::with_capacity(chunk.len() + 3);
        match (codec, head) {
            (Codec::H264, &[h]) => payload.extend_from_slice(&[(h & 0xe0) | 28, start | end | (h & 0x1f)]),
            (Codec::H265, &[h, layer]) => {
                payload.extend_from_slice(&[(h & 0x81) | (49 << 1), layer, start | end | ((h >> 1) & 0x3f)]);
            }
            _ => continue,
        }
        payload.extend_from_slice(chunk);
        payloads.push(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depacketize::Depacketizer;

    fn round_trip(codec: Codec, nals: &[&[u8]], mtu: usize) -> Vec<Vec<u8>> {
        let payloads = packetize(codec, nals, mtu);
        assert!(
            payloads.iter().all(|p| p.len() <= mtu),
            "a payload over {mtu} bytes"
        );
        let mut depacketizer = Depacketizer::new(codec);
        let last = payloads.len() - 1;
        let mut units: Vec<_> = payloads
            .iter()
            .enumerate()
            .flat_map(|(index, payload)| depacketizer.handle_payload(90, index == last, false, payload))
            .collect();
        assert_eq!(units.len(), 1);
        let unit = units.remove(0);
        assert!(!unit.torn);
        unit.nals
    }

    #[test]
    fn h264_sets_are_aggregated_and_large_nals_fragmented() {
        let slice: Vec<u8> = [0x65, 0x88]
            .into_iter()
            .chain((0..5000).map(|i| i as u8))
            .collect();
        let nals: Vec<&[u8]> = vec![&[0x67, 1, 2], &[0x68, 3], &slice];
        let payloads = packetize(Codec::H264, &nals, 1400);
        assert_eq!(payloads[0], [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert_eq!(payloads[1][..2], [0x7c, 0x85], "FU-A with S and type 5");
        assert_eq!(payloads[4][..2], [0x7c, 0x45], "FU-A with E");
        assert_eq!(payloads.len(), 5);
        assert_eq!(round_trip(Codec::H264, &nals, 1400), nals);
    }

    #[test]
    fn h265_sets_are_aggregated_and_large_nals_fragmented() {
        let slice: Vec<u8> = [0x26, 1, 0xaf]
            .into_iter()
            .chain((0..3000).map(|i| i as u8))
            .collect();
        let nals: Vec<&[u8]> = vec![&[0x40, 1, 9], &[0x42, 1, 8], &[0x44, 1, 7], &slice];
        let payloads = packetize(Codec::H265, &nals, 1200);
        assert_eq!(payloads[0][..2], [0x60, 1]);
        assert_eq!(payloads[1][..3], [0x62, 1, 0x80 | 19]);
        assert_eq!(round_trip(Codec::H265, &nals, 1200), nals);
    }

    #[test]
    fn every_size_around_the_mtu_survives() {
        for codec in [Codec::H264, Codec::H265] {
            let head: &[u8] = if codec == Codec::H264 { &[0x41] } else { &[0x02, 1] };
            for len in 1..400 {
                let nal: Vec<u8> = head
                    .iter()
                    .copied()
                    .chain((0..len).map(|i| (i % 251) as u8))
                    .collect();
                assert_eq!(round_trip(codec, &[&nal], 100), [nal], "{codec:?} {len}");
            }
        }
    }
}
