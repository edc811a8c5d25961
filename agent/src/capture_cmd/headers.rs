//! Where a packet's headers end and what it carries begins.

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLANS: [u16; 2] = [0x8100, 0x88a8];
/// The most VLAN tags, and the most extension headers of IPv6.
const MAX_TAGS: usize = 2;
const MAX_EXTENSIONS: usize = 8;
/// IPv4's and IPv6's headers without options.
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;

/// The EtherType of what a packet begins with. Where two tags were before it (802.1ad), the kernel takes off the outer, names
/// what follows the inner, and leaves that inner tag in front. What may be read both ways has no type.
pub(super) fn begins_with(ethertype: u16, packet: &[u8]) -> u16 {
    let named = |kind: u16, packet: &[u8]| {
        let version = byte(packet, 0) >> 4;
        // Of a header with its least length; only this is believed.
        (kind == IPV4 && version == 4 && byte(packet, 0) & 0x0f >= 5) || (kind == IPV6 && version == 6)
    };
    match packet {
        [_, _, a, b, rest @ ..] if [*a, *b] == ethertype.to_be_bytes() && named(ethertype, rest) => {
            if named(ethertype, packet) { 0 } else { VLANS[0] }
        }
        _ => ethertype,
    }
}

/// How many bytes from the start of a packet are headers, up to the transport's. `packet` begins with the header
/// that its EtherType names. What is not understood has none: nothing of it may be shown.
pub(super) fn header_bytes(mut ethertype: u16, packet: &[u8]) -> usize {
    let mut start = 0;
    for _ in 0..MAX_TAGS {
        if let (true, Some([_, _, a, b])) = (VLANS.contains(&ethertype), packet.get(start..start + 4)) {
            ethertype = u16::from_be_bytes([*a, *b]);
            start += 4;
        }
    }
    let rest = packet.get(start..).unwrap_or_default();
    let length = match ethertype {
        IPV4 => ipv4(rest),
        IPV6 => ipv6(rest),
        // Ethernet's and IPv4's addresses of sender and target.
        ARP => match rest {
            // Of other lengths, anything may be in it.
            [_, _, _, _, 6, 4, ..] => 28,
            _ => 0,
        },
        _ => 0,
    };
    (start + length).min(packet.len())
}

fn byte(bytes: &[u8], at: usize) -> usize {
    bytes.get(at).copied().unwrap_or(0).into()
}

fn ipv4(packet: &[u8]) -> usize {
    let length = (byte(packet, 0) & 0x0f) * 4;
    if byte(packet, 0) >> 4 != 4 || length < IPV4_BYTES {
        return 0;
    }
    let fragment = (byte(packet, 6) & 0x1f) << 8 | byte(packet, 7);
    if fragment != 0 {
        return length;
    }
    length + transport(byte(packet, 9), packet.get(length..).unwrap_or_default())
}

fn ipv6(packet: &[u8]) -> usize {
    if byte(packet, 0) >> 4 != 6 {
        return 0;
    }
    let (mut next, mut length) = (byte(packet, 6), IPV6_BYTES);
    for _ in 0..MAX_EXTENSIONS {
        let rest = packet.get(length..).unwrap_or_default();
        let extension = match next {
            // Hop-by-hop, routing, destination options, mobility.
            0 | 43 | 60 | 135 => (byte(rest, 1) + 1) * 8,
            // Authentication.
            51 => (byte(rest, 1) + 2) * 4,
            44 => {
                let fragment = byte(rest, 2) << 5 | byte(rest, 3) >> 3;
                if fragment != 0 {
                    return length + 8;
                }
                8
            }
            other => return length + transport(other, rest),
        };
        next = byte(rest, 0);
        length += extension;
    }
    length
}

/// Of what follows, the transport's header.
fn transport(protocol: usize, rest: &[u8]) -> usize {
    match protocol {
        6 => ((byte(rest, 12) >> 4) * 4).max(20),
        // ICMP, IGMP, UDP, ESP, ICMPv6, UDP-Lite.
        1 | 2 | 17 | 50 | 58 | 136 => 8,
        // SCTP.
        132 => 12,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip4(protocol: u8, options: usize, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x40 | u8::try_from(5 + options / 4).unwrap();
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.extend(rest);
        packet
    }

    fn tcp(words: u8) -> Vec<u8> {
        let mut segment = vec![0xEE; 600];
        segment[12] = words << 4;
        segment
    }

    #[test]
    fn payload_is_never_part_of_it() {
        let udp = [0xEE; 60];
        for (expected, ethertype, packet) in [
            (20 + 32, IPV4, ip4(6, 0, 0, &tcp(8))),
            (24 + 20, IPV4, ip4(6, 4, 0, &tcp(5))),
            // A segment that says it has less header than the least has the least.
            (20 + 20, IPV4, ip4(6, 0, 0, &tcp(0))),
            (20 + 8, IPV4, ip4(17, 0, 0, &udp)),
            (20 + 8, IPV4, ip4(1, 0, 0x2000, &udp)),
            // Later fragments begin with payload.
            (20, IPV4, ip4(17, 0, 0x2001, &udp)),
            (20, IPV4, ip4(99, 0, 0, &udp)),
            (0, 0x888e, vec![0xEE; 90]),
            // What is no header of its kind.
            (0, IPV4, vec![0xEE; 90]),
            (0, IPV4, [&[0x44; 20][..], &udp].concat()),
            (0, IPV6, vec![0x45; 90]),
            (0, ARP, [&[0, 1, 8, 0, 255, 255][..], &udp].concat()),
        ] {
            assert_eq!(header_bytes(ethertype, &packet), expected);
        }
        let mut tagged = vec![0, 5, 8, 0];
        tagged.extend(ip4(17, 0, 0, &udp));
        assert_eq!(header_bytes(0x8100, &tagged), 4 + 20 + 8);
        let arp = [0, 1, 8, 0, 6, 4, 0, 1];
        assert_eq!(header_bytes(ARP, &[&arp[..], &[7; 60]].concat()), 28);
    }

    #[test]
    fn of_two_tags_the_inner_is_stepped_over() {
        for tag in [[0x00, 0x05], [0x0f, 0x06], [0x4f, 0x06]] {
            let mut packet = tag.to_vec();
            packet.extend(IPV4.to_be_bytes());
            packet.extend(ip4(17, 0, 0, &[0xEE; 60]));
            let kind = begins_with(IPV4, &packet);
            let expected = if tag[0] == 0x4f { 0 } else { 4 + 20 + 8 };
            assert_eq!(header_bytes(kind, &packet), expected, "{tag:?}");
        }
        let plain = ip4(17, 0, 0, &[0xEE; 60]);
        assert_eq!(begins_with(IPV4, &plain), IPV4);
        assert_eq!(begins_with(0x8100, &[0, 5, 0x81, 0, 0, 6, 8, 0]), 0x8100);
    }

    #[test]
    fn ipv6_extensions_are_followed() {
        let packet = |next: u8, rest: &[&[u8]]| {
            let mut packet = vec![0; 40];
            packet[0] = 0x60;
            packet[6] = next;
            packet.extend(rest.concat());
            packet.extend(tcp(8));
            packet
        };
        let hop = [43, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let routing = [6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(header_bytes(IPV6, &packet(6, &[])), 40 + 32);
        assert_eq!(
            header_bytes(IPV6, &packet(0, &[&hop, &routing])),
            40 + 16 + 8 + 32
        );
        let first = [6, 0, 0, 1, 0, 0, 0, 9];
        let later = [6, 0, 0, 9, 0, 0, 0, 9];
        assert_eq!(header_bytes(IPV6, &packet(44, &[&first])), 40 + 8 + 32);
        assert_eq!(header_bytes(IPV6, &packet(44, &[&later])), 48);
        let again = [60u8, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            header_bytes(IPV6, &packet(60, &[&again[..]; 20])),
            40 + 8 * MAX_EXTENSIONS
        );
    }

    proptest! {
        #[test]
        fn any_packet_has_a_length_within_it(kind in prop_oneof![Just(IPV4), Just(IPV6), Just(ARP), Just(0x8100), any::<u16>()],
            packet in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(header_bytes(kind, &packet) <= packet.len());
        }
    }
}
