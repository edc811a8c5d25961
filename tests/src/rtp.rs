//! RTP headers (RFC 3550 section 5.1), sequence number extension (appendix A.1) and the
//! interleaved frames of RTSP (RFC 2326 section 10.12).

/// Bytes of an RTP header without CSRCs and extension.
pub const HEADER_LEN: usize = 12;

/// The fields of an RTP header that the test tools use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Set on the last packet of an access unit.
    pub marker: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp in clock units.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Appends the 12 header bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(0x80);
        out.push((u8::from(self.marker) << 7) | (self.payload_type & 0x7f));
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
    }

    /// Splits a packet into header and payload; `None` when it is not RTP version 2 or is cut.
    pub fn parse(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (head, mut rest) = packet.split_first_chunk::<HEADER_LEN>()?;
        if head[0] >> 6 != 2 {
            return None;
        }
        rest = rest.get(usize::from(head[0] & 0x0f) * 4..)?;
        if head[0] & 0x10 != 0 {
            let words = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
            rest = rest.get(4 + usize::from(words) * 4..)?;
        }
        if head[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        let header = Self {
            marker: head[1] & 0x80 != 0,
            payload_type: head[1] & 0x7f,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
        };
        Some((header, rest))
    }
}

/// Appends `$`, channel and length in front of `packet_len` bytes that the caller appends.
pub fn interleave(out: &mut Vec<u8>, channel: u8, packet_len: u16) {
    out.extend_from_slice(&[b'$', channel]);
    out.extend_from_slice(&packet_len.to_be_bytes());
}

/// Extends 16-bit sequence numbers to 64 bits and counts what is missing or out of order.
#[derive(Clone, Debug, Default)]
pub struct SequenceTracker {
    highest: Option<u64>,
    /// Packets seen.
    pub packets: u64,
    /// Times the next number was not the expected one.
    pub gaps: u64,
    /// Numbers skipped in all gaps together.
    pub lost: u64,
    /// Packets at or before the highest number seen.
    pub reordered: u64,
}

impl SequenceTracker {
    /// Counts one packet and returns its extended sequence number.
    pub fn handle_sequence(&mut self, sequence: u16) -> u64 {
        self.packets += 1;
        let Some(highest) = self.highest else {
            // One cycle up, so that a packet from before the first one extends too.
            let extended = 0x1_0000 + u64::from(sequence);
            self.highest = Some(extended);
            return extended;
        };
        let step = sequence.wrapping_sub(highest as u16) as i16;
        let extended = highest.saturating_add_signed(i64::from(step));
        if step <= 0 {
            self.reordered += 1;
            return extended;
        }
        if step > 1 {
            self.gaps += 1;
            self.lost += step as u64 - 1;
        }
        self.highest = Some(extended);
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip_with_csrc_extension_and_padding() {
        let header = Header {
            marker: true,
            payload_type: 96,
            sequence: 65_535,
            timestamp: 7,
            ssrc: 9,
        };
        let mut plain = Vec::new();
        header.encode(&mut plain);
        plain.extend_from_slice(b"body");
        assert_eq!(Header::parse(&plain), Some((header, &b"body"[..])));

        let mut full = plain[..HEADER_LEN].to_vec();
        full[0] = 0x80 | 0x20 | 0x10 | 1;
        full.extend_from_slice(&[1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0, 0, 0, 0]);
        full.extend_from_slice(b"body\x00\x02");
        assert_eq!(Header::parse(&full), Some((header, &b"body"[..])));
        for cut in 0..full.len() {
            let _ = Header::parse(&full[..cut]);
        }
    }

    #[test]
    fn sequence_wrap_is_no_gap() {
        let mut tracker = SequenceTracker::default();
        let extended: Vec<u64> = [65_534, 65_535, 0, 1, 4, 2]
            .iter()
            .map(|&s| tracker.handle_sequence(s))
            .collect();
        assert_eq!(extended, [131_070, 131_071, 131_072, 131_073, 131_076, 131_074]);
        assert_eq!(
            (tracker.gaps, tracker.lost, tracker.reordered, tracker.packets),
            (1, 2, 1, 6)
        );
    }
}
