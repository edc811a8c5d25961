//! Reads the negotiated cipher suite off the wire: TLS's ServerHello is in clear, also in 1.3
//! (RFC 8446 section 4.1.3), so what two peers agreed on can be proven without asking them.

/// The cipher suite, if this IPv4 or IPv6 packet starts with a TLS ServerHello.
pub(crate) fn server_hello_cipher(packet: &[u8]) -> Option<String> {
    let payload = tcp_payload(packet)?;
    // Record header: handshake, version 3.x; then a ServerHello with a legacy version.
    let [0x16, 3, _, _, _, 2, _, _, _, 3, _, rest @ ..] = payload else {
        return None;
    };
    let after_random = rest.get(32..)?;
    let (&session_id_len, after_len) = after_random.split_first()?;
    let suite = after_len.get(usize::from(session_id_len)..)?.get(..2)?;
    Some(name(u16::from_be_bytes([suite[0], suite[1]])))
}

fn tcp_payload(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let (protocol, header_len) = match first >> 4 {
        4 => (*packet.get(9)?, usize::from(first & 0x0f) * 4),
        6 => (*packet.get(6)?, 40),
        _ => return None,
    };
    if protocol != 6 {
        return None;
    }
    let segment = packet.get(header_len..)?;
    let data_offset = usize::from(*segment.get(12)? >> 4) * 4;
    segment.get(data_offset..)
}

fn name(suite: u16) -> String {
    match suite {
        0x1301 => "TLS13_AES_128_GCM_SHA256".to_owned(),
        0x1302 => "TLS13_AES_256_GCM_SHA384".to_owned(),
        0x1303 => "TLS13_CHACHA20_POLY1305_SHA256".to_owned(),
        0xcca8 => "TLS12_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256".to_owned(),
        0xcca9 => "TLS12_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_hello(suite: [u8; 2]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6];
        packet.resize(20, 0);
        packet.extend([0; 12]);
        packet.push(0x50);
        packet.resize(40, 0);
        packet.extend([0x16, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3]);
        packet.extend([7; 32]);
        packet.push(32);
        packet.extend([9; 32]);
        packet.extend(suite);
        packet
    }

    #[test]
    fn the_suite_is_read() {
        let packet = server_hello([0x13, 0x03]);
        assert_eq!(
            server_hello_cipher(&packet).as_deref(),
            Some("TLS13_CHACHA20_POLY1305_SHA256")
        );
    }

    #[test]
    fn a_cut_packet_is_no_hello() {
        let packet = server_hello([0x13, 0x03]);
        for len in 0..packet.len() {
            assert_eq!(server_hello_cipher(&packet[..len]), None, "{len} bytes");
        }
    }
}
