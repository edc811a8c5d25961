//! Just enough of RTP (RFC 3550), H.264 (RFC 6184) and H.265 (RFC 7798) payloads to find access units and
//! random access points. No bitstream is parsed beyond NAL unit headers.

/// Aggregated NAL units looked at in one packet.
const MAX_AGGREGATED: usize = 64;

/// A video coding whose random access points we can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC.
    H265,
    /// Any other video: every access unit counts as a random access point.
    Other,
}

/// The parts of an RTP packet that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtp<'a> {
    /// Last packet of its access unit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The payload, without CSRCs, extension and padding.
    pub payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    /// Parses an RTP packet (RFC 3550 section 5.1).
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let &[b0, b1, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ..] = packet else {
            return None;
        };
        if b0 >> 6 != 2 {
            return None;
        }
        let mut start = 12 + 4 * usize::from(b0 & 0x0f);
        if b0 & 0x10 != 0 {
            let &[high, low] = packet.get(start + 2..start + 4)? else {
                return None;
            };
            start += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        }
        let padding = if b0 & 0x20 != 0 {
            usize::from(*packet.last()?)
        } else {
            0
        };
        let payload = packet.get(start..packet.len().checked_sub(padding)?)?;
        Some(Self {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }
}

/// Where decoding can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomAccess {
    /// Everything after it decodes: H.264 IDR, H.265 IDR.
    Clean,
    /// Everything but the RASL pictures that follow: H.265 CRA and BLA.
    SkipRasl,
}

/// What one packet of video holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// A slice, or a part of one: the packet tells what picture this is.
    pub slice: bool,
    /// The first bytes of a picture at which decoding can begin.
    pub random_access: Option<RandomAccess>,
    /// A part of a RASL picture (H.265).
    pub rasl: bool,
}

impl Contents {
    /// Looks into an RTP payload.
    pub fn inspect(codec: Codec, payload: &[u8]) -> Self {
        match codec {
            Codec::H264 => inspect_h264(payload),
            Codec::H265 => inspect_h265(payload),
            Codec::Other => Self {
                slice: true,
                random_access: Some(RandomAccess::Clean),
                rasl: false,
            },
        }
    }

    fn merge(&mut self, other: Self) {
        // The first slice names the picture; parameter sets and SEI do not.
        if !self.slice {
            *self = other;
        }
    }
}

fn h264_nal(kind: u8, start: bool) -> Contents {
    Contents {
        slice: (1..=5).contains(&kind),
        random_access: (kind == 5 && start).then_some(RandomAccess::Clean),
        rasl: false,
    }
}

fn inspect_h264(payload: &[u8]) -> Contents {
    let Some(&first) = payload.first() else {
        return Contents::default();
    };
    match first & 0x1f {
        24 => inspect_aggregate(payload.get(1..), 0, |nal| {
            Some(h264_nal(nal.first()? & 0x1f, true))
        }),
        25 => inspect_aggregate(payload.get(3..), 0, |nal| {
            Some(h264_nal(nal.first()? & 0x1f, true))
        }),
        // MTAP: each unit is preceded by its decoding order and timestamp offset.
        26 => inspect_aggregate(payload.get(3..), 3, |nal| {
            Some(h264_nal(nal.first()? & 0x1f, true))
        }),
        27 => inspect_aggregate(payload.get(3..), 4, |nal| {
            Some(h264_nal(nal.first()? & 0x1f, true))
        }),
        28 | 29 => payload
            .get(1)
            .map_or_else(Contents::default, |fu| h264_nal(fu & 0x1f, fu & 0x80 != 0)),
        kind => h264_nal(kind, true),
    }
}

fn h265_nal(kind: u8, start: bool) -> Contents {
    Contents {
        slice: kind < 32,
        random_access: match kind {
            19 | 20 if start => Some(RandomAccess::Clean),
            16..=23 if start => Some(RandomAccess::SkipRasl),
            _ => None,
        },
        rasl: matches!(kind, 8 | 9),
    }
}

fn inspect_h265(payload: &[u8]) -> Contents {
    let Some(&first) = payload.first() else {
        return Contents::default();
    };
    match (first >> 1) & 0x3f {
        48 => inspect_aggregate(payload.get(2..), 0, |nal| {
            Some(h265_nal((nal.first()? >> 1) & 0x3f, true))
        }),
        49 => h265_fragment(payload.get(2)),
        50 => inspect_paci(payload).unwrap_or_default(),
        kind => h265_nal(kind, true),
    }
}

fn h265_fragment(header: Option<&u8>) -> Contents {
    header.map_or_else(Contents::default, |fu| h265_nal(fu & 0x3f, fu & 0x80 != 0))
}

/// A PACI packet (RFC 7798 section 4.4.4) carries a NAL unit or a fragment behind its extension.
fn inspect_paci(payload: &[u8]) -> Option<Contents> {
    let &[_, _, high, low, ref rest @ ..] = payload else {
        return None;
    };
    let extension = usize::from(u16::from_be_bytes([high, low]) >> 4 & 0x1f);
    Some(match (high >> 1) & 0x3f {
        49 => h265_fragment(rest.get(extension)),
        kind => h265_nal(kind, true),
    })
}

/// Walks NAL units that are preceded by a 16-bit size and have `skip` bytes before their header.
fn inspect_aggregate(
    units: Option<&[u8]>,
    skip: usize,
    look: impl Fn(&[u8]) -> Option<Contents>,
) -> Contents {
    let mut found = Contents::default();
    let mut rest = units.unwrap_or_default();
    for _ in 0..MAX_AGGREGATED {
        let Some((&[high, low], after)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let size = usize::from(u16::from_be_bytes([high, low]));
        let Some(unit) = after.get(skip..) else { break };
        if let Some(contents) = look(unit.get(..size.min(unit.len())).unwrap_or_default()) {
            found.merge(contents);
        }
        let Some(next) = after.get(skip + size..) else {
            break;
        };
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(payload: &[u8]) -> Contents {
        Contents::inspect(Codec::H264, payload)
    }

    fn h265(payload: &[u8]) -> Contents {
        Contents::inspect(Codec::H265, payload)
    }

    #[test]
    fn h264_random_access_points() {
        assert_eq!(h264(&[0x65, 0x88]).random_access, Some(RandomAccess::Clean));
        assert!(!h264(&[0x67, 1, 2]).slice);
        assert_eq!(
            h264(&[0x41, 0x9a]),
            Contents {
                slice: true,
                ..Contents::default()
            }
        );
        let stap = [0x78, 0, 2, 0x67, 1, 0, 1, 0x68, 0, 2, 0x65, 0x88];
        assert_eq!(h264(&stap).random_access, Some(RandomAccess::Clean));
        let stap_p = [0x78, 0, 2, 0x67, 1, 0, 2, 0x41, 0x9a];
        assert_eq!(
            h264(&stap_p),
            Contents {
                slice: true,
                ..Contents::default()
            }
        );
        assert_eq!(h264(&[0x7c, 0x85, 9]).random_access, Some(RandomAccess::Clean));
        assert_eq!(
            h264(&[0x7c, 0x45, 9]),
            Contents {
                slice: true,
                ..Contents::default()
            }
        );
        assert_eq!(h264(&[0x7c, 0x81, 9]).random_access, None);
        assert_eq!(h264(&[]), Contents::default());
        assert_eq!(h264(&[0x78, 0xff, 0xff]), Contents::default());
    }

    #[test]
    fn h265_random_access_points() {
        assert_eq!(h265(&[19 << 1, 1]).random_access, Some(RandomAccess::Clean));
        assert_eq!(h265(&[21 << 1, 1]).random_access, Some(RandomAccess::SkipRasl));
        assert!(h265(&[8 << 1, 1]).rasl);
        assert!(!h265(&[32 << 1, 1]).slice);
        let ap = [48 << 1, 1, 0, 3, 33 << 1, 1, 0, 0, 3, 20 << 1, 1, 0];
        assert_eq!(h265(&ap).random_access, Some(RandomAccess::Clean));
        assert_eq!(
            h265(&[49 << 1, 1, 0x80 | 19, 0]).random_access,
            Some(RandomAccess::Clean)
        );
        assert_eq!(h265(&[49 << 1, 1, 19, 0]).random_access, None);
        assert!(h265(&[49 << 1, 1, 0x80 | 9, 0]).rasl);
    }

    #[test]
    fn rtp_header_with_extension_csrc_and_padding() {
        let mut packet = vec![0xb1, 0xe0, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
        packet.extend([0; 4]);
        packet.extend([0xbe, 0xde, 0, 1, 1, 1, 1, 1]);
        packet.extend([0x65, 0x88, 0, 2]);
        let rtp = Rtp::parse(&packet).unwrap();
        assert_eq!(
            (rtp.marker, rtp.payload_type, rtp.sequence, rtp.timestamp),
            (true, 96, 7, 9)
        );
        assert_eq!((rtp.ssrc, rtp.payload), (0x0102_0304, &[0x65, 0x88][..]));
        for cut in 0..packet.len() - 2 {
            let _ = Rtp::parse(&packet[..cut]);
        }
        assert_eq!(Rtp::parse(&[0; 12]), None);
    }
}
