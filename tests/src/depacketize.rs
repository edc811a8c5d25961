//! RTP payload formats, receiving side: puts access units together again and says whether one is
//! torn. The counterpart of [`crate::packetize`]; it does not reorder packets.

use crate::annexb::Codec;

/// Upper bound of one access unit; more than any test stream has.
const MAX_UNIT_BYTES: usize = 16 << 20;

/// One access unit as it came out of the RTP stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// RTP timestamp.
    pub timestamp: u32,
    /// NAL units without start codes.
    pub nals: Vec<Vec<u8>>,
    /// A packet or a fragment is missing, or the marker never came.
    pub torn: bool,
}

/// Collects RTP payloads of one video track.
#[derive(Debug)]
pub struct Depacketizer {
    codec: Codec,
    unit: Option<Unit>,
    fragment: Option<Vec<u8>>,
    bytes: usize,
}

impl Depacketizer {
    /// A collector that waits for the first packet of an access unit.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            unit: None,
            fragment: None,
            bytes: 0,
        }
    }

    /// Takes the payload of one packet. `lost_before` says that sequence numbers are missing in
    /// front of it. Gives the access units that this packet ended: none, the one its marker
    /// completes, and in front of it the torn one that its timestamp cuts off.
    pub fn handle_payload(
        &mut self,
        timestamp: u32,
        marker: bool,
        lost_before: bool,
        payload: &[u8],
    ) -> impl Iterator<Item = Unit> + use<> {
        let cut = match &self.unit {
            Some(unit) if unit.timestamp != timestamp => self.finish(true),
            Some(_) | None => None,
        };
        let fresh = self.unit.is_none();
        let unit = self.unit.get_or_insert_with(|| Unit {
            timestamp,
            ..Unit::default()
        });
        // A loss in front of a unit's first packet is a gap between units unless a fragment shows it.
        unit.torn |= lost_before && !fresh;
        if !self.take(payload) {
            self.tear();
        }
        let complete = if marker { self.finish(false) } else { None };
        cut.into_iter().chain(complete)
    }

    fn tear(&mut self) {
        if let Some(unit) = &mut self.unit {
            unit.torn = true;
        }
    }

    fn finish(&mut self, cut_off: bool) -> Option<Unit> {
        let open = self.fragment.take().is_some();
        self.bytes = 0;
        let mut unit = self.unit.take()?;
        unit.torn |= open || cut_off;
        Some(unit)
    }

    fn take(&mut self, payload: &[u8]) -> bool {
        self.bytes += payload.len();
        let Some(&head) = payload.first() else {
            return false;
        };
        if self.bytes > MAX_UNIT_BYTES {
            return false;
        }
        let kind = match self.codec {
            Codec::H264 => head & 0x1f,
            Codec::H265 => (head >> 1) & 0x3f,
        };
        match (self.codec, kind) {
            (Codec::H264, 24) => self.take_aggregate(payload.get(1..).unwrap_or_default()),
            (Codec::H265, 48) => self.take_aggregate(payload.get(2..).unwrap_or_default()),
            (Codec::H264, 28) => match payload {
                [_, fu, body @ ..] => self.take_fragment(*fu, &[(head & 0xe0) | (fu & 0x1f)], body),
                _ => false,
            },
            (Codec::H265, 49) => match payload {
                [_, layer, fu, body @ ..] => {
                    self.take_fragment(*fu, &[(head & 0x81) | ((fu & 0x3f) << 1), *layer], body)
                }
                _ => false,
            },
            _ => {
                let whole = self.fragment.take().is_none();
                self.push(payload.to_vec());
                whole
            }
        }
    }

    fn take_aggregate(&mut self, mut rest: &[u8]) -> bool {
        let whole = self.fragment.take().is_none();
        while let Some((len, tail)) = rest.split_first_chunk::<2>() {
            let Some((nal, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len))) else {
                return false;
            };
            self.push(nal.to_vec());
            rest = tail;
        }
        whole && rest.is_empty()
    }

    fn take_fragment(&mut self, fu: u8, head: &[u8], body: &[u8]) -> bool {
        let start = fu & 0x80 != 0;
        let mut whole = true;
        if start {
            whole = self.fragment.replace(head.to_vec()).is_none();
        }
        let Some(fragment) = &mut self.fragment else {
            return false;
        };
        fragment.extend_from_slice(body);
        if fu & 0x40 != 0
            && let Some(nal) = self.fragment.take()
        {
            self.push(nal);
        }
        whole
    }

    fn push(&mut self, nal: Vec<u8>) {
        if let Some(unit) = &mut self.unit {
            unit.nals.push(nal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(depacketizer: &mut Depacketizer, packets: &[(u32, bool, bool, &[u8])]) -> Vec<(bool, usize)> {
        packets
            .iter()
            .flat_map(|&(ts, marker, lost, payload)| depacketizer.handle_payload(ts, marker, lost, payload))
            .map(|unit| (unit.torn, unit.nals.len()))
            .collect()
    }

    #[test]
    fn a_missing_fragment_tears_the_unit() {
        let mut h264 = Depacketizer::new(Codec::H264);
        let packets: &[(u32, bool, bool, &[u8])] = &[
            (1, false, false, &[0x7c, 0x85, 1]),
            (1, true, true, &[0x7c, 0x45, 3]),
        ];
        assert_eq!(units(&mut h264, packets), [(true, 1)]);
    }

    #[test]
    fn a_missing_start_tears_the_unit() {
        let mut h265 = Depacketizer::new(Codec::H265);
        assert_eq!(
            units(&mut h265, &[(1, true, true, &[0x62, 1, 0x40 | 19, 3])]),
            [(true, 0)]
        );
    }

    #[test]
    fn a_missing_end_tears_the_unit_and_keeps_the_next() {
        let mut h264 = Depacketizer::new(Codec::H264);
        let packets: &[(u32, bool, bool, &[u8])] = &[
            (1, false, false, &[0x7c, 0x85, 1]),
            (2, true, true, &[0x41, 0x9a]),
            (3, false, false, &[0x41, 0x9a]),
            (3, true, false, &[0x41, 0x40]),
        ];
        assert_eq!(units(&mut h264, packets), [(true, 0), (false, 1), (false, 2)]);
    }

    #[test]
    fn loss_between_units_tears_nothing() {
        let mut h264 = Depacketizer::new(Codec::H264);
        let packets: &[(u32, bool, bool, &[u8])] =
            &[(1, true, false, &[0x41, 0x9a]), (9, true, true, &[0x65, 0x88])];
        assert_eq!(units(&mut h264, packets), [(false, 1), (false, 1)]);
    }

    #[test]
    fn no_bytes_panic() {
        for codec in [Codec::H264, Codec::H265] {
            for head in 0..=255u8 {
                for len in 0..6 {
                    let mut depacketizer = Depacketizer::new(codec);
                    let _ = units(&mut depacketizer, &[(1, true, false, &vec![head; len])]);
                }
            }
        }
    }
}
