//! The `Transport` header (RFC 2326 section 12.39), read tolerantly: cameras leave out, misspell and reorder.

/// Alternatives looked at in a viewer's offer.
const MAX_ALTERNATIVES: usize = 16;

/// One transport specification.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Transport {
    /// `RTP/AVP/TCP`, or any other profile over TCP.
    pub tcp: bool,
    /// `multicast` was named.
    pub multicast: bool,
    /// `interleaved=`: the RTP and RTCP channels.
    pub interleaved: Option<(u8, u8)>,
    /// `server_port=`: the RTP and RTCP ports.
    pub server_port: Option<(u16, u16)>,
    /// `mode=`, when it is PLAY or RECORD.
    pub mode: Option<Mode>,
    /// `ssrc=`, as sent.
    pub ssrc: Option<Vec<u8>>,
}

/// Which way media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From the camera.
    Play,
    /// To the camera.
    Record,
}

impl Transport {
    /// All alternatives of a header value, in order.
    pub fn parse(value: &[u8]) -> Vec<Self> {
        value
            .split(|&b| b == b',')
            .take(MAX_ALTERNATIVES)
            .filter_map(Self::parse_one)
            .collect()
    }

    fn parse_one(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let protocol = parts.next()?.to_ascii_uppercase();
        if !protocol.starts_with(b"RTP/") {
            return None;
        }
        let mut transport = Self {
            tcp: protocol.ends_with(b"/TCP"),
            ..Self::default()
        };
        for part in parts {
            let cut = part.iter().position(|&b| b == b'=').unwrap_or(part.len());
            let (name, value) = part.split_at(cut);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"multicast" => transport.multicast = true,
                b"interleaved" => transport.interleaved = parse_pair(value),
                b"server_port" => transport.server_port = parse_pair(value),
                b"mode" => transport.mode = parse_mode(value),
                b"ssrc" if value.len() <= 16 && value.iter().all(u8::is_ascii_alphanumeric) => {
                    transport.ssrc = Some(value.to_vec());
                }
                _ => {}
            }
        }
        // `RTP/AVP;unicast;interleaved=0-1` is seen too.
        transport.tcp |= transport.interleaved.is_some();
        Some(transport)
    }

    /// The value that says `interleaved=`, without any address.
    pub fn interleaved_value(channels: (u8, u8), mode: Option<Mode>, ssrc: Option<&[u8]>) -> Vec<u8> {
        let mut value = format!("RTP/AVP/TCP;unicast;interleaved={}-{}", channels.0, channels.1).into_bytes();
        if let Some(ssrc) = ssrc {
            value.extend_from_slice(b";ssrc=");
            value.extend_from_slice(ssrc);
        }
        push_mode(&mut value, mode);
        value
    }

    /// The value that asks for RTP over UDP to these ports.
    pub fn udp_value(ports: (u16, u16), mode: Option<Mode>) -> Vec<u8> {
        let mut value = format!("RTP/AVP;unicast;client_port={}-{}", ports.0, ports.1).into_bytes();
        push_mode(&mut value, mode);
        value
    }
}

fn push_mode(value: &mut Vec<u8>, mode: Option<Mode>) {
    match mode {
        None => {}
        Some(Mode::Play) => value.extend_from_slice(b";mode=PLAY"),
        Some(Mode::Record) => value.extend_from_slice(b";mode=RECORD"),
    }
}

fn parse_mode(value: &[u8]) -> Option<Mode> {
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let value = value.strip_suffix(b"\"").unwrap_or(value);
    if value.eq_ignore_ascii_case(b"play") {
        Some(Mode::Play)
    } else if value.eq_ignore_ascii_case(b"record") || value.eq_ignore_ascii_case(b"receive") {
        Some(Mode::Record)
    } else {
        None
    }
}

/// `a-b`, or `a` alone for `a-(a+1)`.
fn parse_pair<T: TryFrom<u32>>(value: &[u8]) -> Option<(T, T)> {
    let cut = value.iter().position(|&b| b == b'-').unwrap_or(value.len());
    let (first, second) = value.split_at(cut);
    let first = crate::message::parse_number(first)?;
    let second = match second.strip_prefix(b"-") {
        Some(second) => crate::message::parse_number(second)?,
        None => first.checked_add(1)?,
    };
    Some((T::try_from(first).ok()?, T::try_from(second).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_sent() {
        let all = Transport::parse(
            b"RTP/AVP;multicast, rtp/avp/tcp; unicast;destination=192.168.1.9;interleaved=4-5;mode=\"play\";ssrc=1F",
        );
        assert_eq!(all.len(), 2);
        assert!(all[0].multicast && !all[0].tcp);
        let tcp = &all[1];
        assert_eq!(
            (tcp.tcp, tcp.interleaved, tcp.mode),
            (true, Some((4, 5)), Some(Mode::Play))
        );
        assert_eq!(
            Transport::interleaved_value((0, 1), tcp.mode, tcp.ssrc.as_deref()),
            b"RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=1F;mode=PLAY"
        );
        let udp = &Transport::parse(b"RTP/AVP/UDP;unicast;client_port=1-2;server_port=6970")[0];
        assert_eq!((udp.tcp, udp.server_port), (false, Some((6970, 6971))));
        assert!(Transport::parse(b"RTP/AVP;unicast;interleaved=2-3")[0].tcp);
    }

    #[test]
    fn nonsense_is_left_out() {
        assert_eq!(Transport::parse(b"x,,;;=,RAW/RAW/UDP"), []);
        let odd = &Transport::parse(b"RTP/AVP/TCP;interleaved=300-301;server_port=99999;=;mode")[0];
        assert_eq!(
            *odd,
            Transport {
                tcp: true,
                ..Transport::default()
            }
        );
    }
}
