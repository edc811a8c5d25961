//! IPFIX messages (RFC 7011) with the information elements of RFC 7012. No socket, no clock.
//!
//! Each camera is an observation domain of its own: an options record says its name.

use std::net::{IpAddr, SocketAddr};

use crate::tls;

const VERSION: u16 = 10;
const HEADER_BYTES: usize = 16;
const SET_HEADER_BYTES: usize = 4;
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;
/// The first number that a template may have.
const FIRST_TEMPLATE: u16 = 256;
const OPTIONS_TEMPLATE: u16 = FIRST_TEMPLATE + 4;
/// A field's length when each record gives its own (RFC 7011, section 7).
const VARIABLE: u16 = 0xffff;
/// The smallest message that holds the templates and a domain's name, in bytes.
pub const MIN_MESSAGE_BYTES: usize = 400;
/// The largest message: its length has 16 bits.
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// Information elements (IANA's registry, first filled by RFC 7012).
mod element {
    pub(super) const OCTET_DELTA_COUNT: u16 = 1;
    pub(super) const PACKET_DELTA_COUNT: u16 = 2;
    pub(super) const PROTOCOL_IDENTIFIER: u16 = 4;
    pub(super) const SOURCE_TRANSPORT_PORT: u16 = 7;
    pub(super) const SOURCE_IPV4_ADDRESS: u16 = 8;
    pub(super) const DESTINATION_TRANSPORT_PORT: u16 = 11;
    pub(super) const DESTINATION_IPV4_ADDRESS: u16 = 12;
    pub(super) const SOURCE_IPV6_ADDRESS: u16 = 27;
    pub(super) const DESTINATION_IPV6_ADDRESS: u16 = 28;
    pub(super) const FLOW_DIRECTION: u16 = 61;
    pub(super) const OBSERVATION_DOMAIN_ID: u16 = 149;
    pub(super) const FLOW_START_MILLISECONDS: u16 = 152;
    pub(super) const FLOW_END_MILLISECONDS: u16 = 153;
    pub(super) const OBSERVATION_DOMAIN_NAME: u16 = 300;
}
use element as e;

/// What passed one way between two reports of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since 1970.
    pub start_ms: u64,
    /// Milliseconds since 1970, not before the start.
    pub end_ms: u64,
    /// Bytes of IP packets.
    pub octets: u64,
    /// Packets, where the camera can say.
    pub packets: Option<u64>,
    /// Where it came from; port 0 where many were used.
    pub source: SocketAddr,
    /// Where it went, of the same family.
    pub destination: SocketAddr,
    /// IANA's number.
    pub protocol: u8,
    /// True if it left the camera.
    pub egress: bool,
}

/// The four ways to write a record: IPv4 or IPv6, with or without packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    ipv6: bool,
    packets: bool,
}

impl Layout {
    const ALL: [Self; 4] = [
        Self::new(false, true),
        Self::new(false, false),
        Self::new(true, true),
        Self::new(true, false),
    ];

    const fn new(ipv6: bool, packets: bool) -> Self {
        Self { ipv6, packets }
    }

    fn of(record: &Record) -> Self {
        Self::new(record.source.is_ipv6(), record.packets.is_some())
    }

    fn template(self) -> u16 {
        FIRST_TEMPLATE + u16::from(self.ipv6) * 2 + u16::from(!self.packets)
    }

    /// Elements and their lengths, in the order in which [`Record::write`] writes them.
    fn fields(self) -> Vec<(u16, u16)> {
        let (address, source, destination) = if self.ipv6 {
            (16, e::SOURCE_IPV6_ADDRESS, e::DESTINATION_IPV6_ADDRESS)
        } else {
            (4, e::SOURCE_IPV4_ADDRESS, e::DESTINATION_IPV4_ADDRESS)
        };
        let mut fields = vec![
            (e::FLOW_START_MILLISECONDS, 8),
            (e::FLOW_END_MILLISECONDS, 8),
            (e::OCTET_DELTA_COUNT, 8),
        ];
        if self.packets {
            fields.push((e::PACKET_DELTA_COUNT, 8));
        }
        fields.extend([
            (source, address),
            (destination, address),
            (e::SOURCE_TRANSPORT_PORT, 2),
            (e::DESTINATION_TRANSPORT_PORT, 2),
            (e::PROTOCOL_IDENTIFIER, 1),
            (e::FLOW_DIRECTION, 1),
        ]);
        fields
    }

    fn record_bytes(self) -> usize {
        self.fields().iter().map(|(_, length)| usize::from(*length)).sum()
    }
}

impl Record {
    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.start_ms, self.end_ms, self.octets] {
            out.extend(number.to_be_bytes());
        }
        if let Some(packets) = self.packets {
            out.extend(packets.to_be_bytes());
        }
        for end in [self.source, self.destination] {
            match end.ip() {
                IpAddr::V4(ip) => out.extend(ip.octets()),
                IpAddr::V6(ip) => out.extend(ip.octets()),
            }
        }
        for end in [self.source, self.destination] {
            out.extend(end.port().to_be_bytes());
        }
        // 0 is ingress and 1 egress.
        out.extend([self.protocol, u8::from(self.egress)]);
    }
}

/// A camera as the collector knows it, and how far the numbering of its records has come.
#[derive(Clone, Debug)]
pub struct Domain {
    id: u32,
    name: String,
    /// Data records sent so far in this session (RFC 7011, section 3.1), modulo 2^32.
    sequence: u32,
}

impl Domain {
    /// The domain of a camera: its number comes from the name, so that it stays the same.
    #[must_use]
    pub fn new(camera: &str) -> Self {
        let [a, b, c, d, ..] = tls::sha256(camera.as_bytes());
        Self {
            // Zero would mean no domain in particular.
            id: u32::from_be_bytes([a, b, c, d]).max(1),
            name: camera.to_owned(),
            sequence: 0,
        }
    }

    /// The number in its messages.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Takes the next number: another camera has this one.
    pub fn step_aside(&mut self) {
        self.id = self.id.wrapping_add(1).max(1);
    }

    /// A new session with the collector counts from zero.
    pub fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Puts records into messages of at most `max_bytes`, the first with the templates and the camera's name if
    /// `announce`. Records whose ends are of different families are left out.
    #[must_use]
    pub fn messages(
        &mut self,
        records: &[Record],
        announce: bool,
        max_bytes: usize,
        export_time_s: u32,
    ) -> Vec<Vec<u8>> {
        let mut packer = Packer {
            domain: self,
            max_bytes: max_bytes.clamp(MIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES),
            export_time_s,
            done: Vec::new(),
            message: Vec::new(),
            set_at: None,
            records: 0,
        };
        if announce {
            packer.announce();
        }
        for layout in Layout::ALL {
            packer.end_set();
            let fits = |record: &&Record| {
                Layout::of(record) == layout && record.destination.is_ipv6() == layout.ipv6
            };
            for record in records.iter().filter(fits) {
                packer.reserve(layout.template(), layout.record_bytes());
                record.write(&mut packer.message);
                packer.records += 1;
            }
        }
        packer.finish()
    }
}

/// The message that is being filled.
struct Packer<'a> {
    domain: &'a mut Domain,
    max_bytes: usize,
    export_time_s: u32,
    done: Vec<Vec<u8>>,
    message: Vec<u8>,
    set_at: Option<usize>,
    records: u32,
}

impl Packer<'_> {
    fn announce(&mut self) {
        self.begin_set(TEMPLATE_SET);
        for layout in Layout::ALL {
            let fields = layout.fields();
            self.put(&[layout.template(), fields.len() as u16]);
            for (element, length) in fields {
                self.put(&[element, length]);
            }
        }
        self.begin_set(OPTIONS_TEMPLATE_SET);
        // Two fields, of which the first is the scope.
        self.put(&[OPTIONS_TEMPLATE, 2, 1]);
        self.put(&[e::OBSERVATION_DOMAIN_ID, 4, e::OBSERVATION_DOMAIN_NAME, VARIABLE]);
        self.begin_set(OPTIONS_TEMPLATE);
        self.message.extend(self.domain.id.to_be_bytes());
        let name = self.domain.name.as_bytes();
        // Names of cameras have at most 64 bytes, and one byte of length up to 254.
        let name = &name[..name.len().min(254)];
        self.message.push(name.len() as u8);
        self.message.extend(name);
        self.records += 1;
        self.end_set();
    }

    fn put(&mut self, words: &[u16]) {
        for word in words {
            self.message.extend(word.to_be_bytes());
        }
    }

    /// Makes room for a record of this template, in the message at hand or in another.
    fn reserve(&mut self, template: u16, bytes: usize) {
        let header = if self.set_at.is_some() {
            0
        } else {
            SET_HEADER_BYTES
        };
        if !self.message.is_empty() && self.message.len() + header + bytes > self.max_bytes {
            self.end_message();
        }
        if self.set_at.is_none() {
            self.begin_set(template);
        }
    }

    fn begin_set(&mut self, id: u16) {
        self.end_set();
        if self.message.is_empty() {
            self.message.resize(HEADER_BYTES, 0);
        }
        self.set_at = Some(self.message.len());
        self.put(&[id, 0]);
    }

    fn end_set(&mut self) {
        if let Some(at) = self.set_at.take() {
            let length = (self.message.len() - at) as u16;
            self.message[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn end_message(&mut self) {
        self.end_set();
        if self.message.is_empty() {
            return;
        }
        let length = self.message.len() as u16;
        let Domain { id, sequence, .. } = self.domain;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(VERSION.to_be_bytes());
        header.extend(length.to_be_bytes());
        for word in [self.export_time_s, *sequence, *id] {
            header.extend(word.to_be_bytes());
        }
        self.message[..HEADER_BYTES].copy_from_slice(&header);
        *sequence = sequence.wrapping_add(self.records);
        self.records = 0;
        self.done.push(std::mem::take(&mut self.message));
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        self.end_message();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(source: &str, destination: &str, packets: Option<u64>) -> Record {
        Record {
            start_ms: 1000,
            end_ms: 2000,
            octets: 77,
            packets,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            egress: true,
        }
    }

    fn number(bytes: &[u8]) -> usize {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Sets by their numbers, after checking every length.
    fn sets(message: &[u8]) -> Vec<(u16, &[u8])> {
        assert_eq!(number(&message[..2]), 10);
        assert_eq!(number(&message[2..4]), message.len());
        let (mut rest, mut sets) = (&message[HEADER_BYTES..], Vec::new());
        while !rest.is_empty() {
            let length = number(&rest[2..4]);
            sets.push((number(&rest[..2]) as u16, &rest[4..length]));
            rest = &rest[length..];
        }
        sets
    }

    #[test]
    fn templates_describe_the_records_that_follow() {
        let mut domain = Domain::new("front");
        let one = record("192.168.1.20:0", "203.0.113.7:8443", Some(3));
        let messages = domain.messages(&[one], true, 512, 99);
        assert_eq!(messages.len(), 1);
        let message = &messages[0];
        assert_eq!((number(&message[4..8]), number(&message[8..12])), (99, 0));
        assert_eq!(number(&message[12..16]), domain.id() as usize);
        let sets = sets(message);
        assert_eq!(
            sets.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [2, 3, 260, 256]
        );
        let first = sets[0].1;
        assert_eq!((number(&first[..2]), number(&first[2..4])), (256, 10));
        let lengths: usize = (0..10)
            .map(|field| number(&first[4 + field * 4 + 2..][..2]))
            .sum();
        assert_eq!(lengths, sets[3].1.len());
        assert!(sets[2].1.ends_with(b"\x05front"));
        let data = sets[3].1;
        assert_eq!(
            (number(&data[..8]), number(&data[8..16]), number(&data[16..24])),
            (1000, 2000, 77)
        );
        assert_eq!(
            data[24..],
            [
                0, 0, 0, 0, 0, 0, 0, 3, 192, 168, 1, 20, 203, 0, 113, 7, 0, 0, 0x20, 0xfb, 6, 1
            ]
        );
        // The options record counts as well.
        let next = domain.messages(&[one], false, 512, 99);
        assert_eq!(number(&next[0][8..12]), 2);
        domain.restart();
        assert_eq!(number(&domain.messages(&[one], false, 512, 99)[0][8..12]), 0);
    }

    #[test]
    fn announcements_fit_the_smallest_message() {
        let mut domain = Domain::new(&"x".repeat(64));
        let messages = domain.messages(&[], true, 0, 0);
        assert_eq!(messages.len(), 1);
        assert!(messages[0].len() <= MIN_MESSAGE_BYTES, "{}", messages[0].len());
        assert_eq!(domain.messages(&[], false, 512, 0), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn mixed_families_are_left_out() {
        let odd = record("192.168.1.20:0", "[2001:db8::1]:53", None);
        assert_eq!(
            Domain::new("a").messages(&[odd], false, 512, 0),
            Vec::<Vec<u8>>::new()
        );
    }

    proptest! {
        #[test]
        fn every_record_is_sent_once_in_messages_that_fit(kinds in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..80),
            max_bytes in 0..2000usize, announce: bool) {
            let records: Vec<Record> = kinds.iter().map(|(ipv6, packets)| {
                let packets = packets.then_some(1);
                if *ipv6 { record("[2001:db8::2]:0", "[2001:db8::1]:53", packets) } else { record("192.168.1.20:0", "203.0.113.7:53", packets) }
            }).collect();
            let mut domain = Domain::new("front");
            let (mut sequence, mut seen) = (0, 0);
            for message in domain.messages(&records, announce, max_bytes, 0) {
                prop_assert!(message.len() <= max_bytes.max(MIN_MESSAGE_BYTES));
                prop_assert_eq!(number(&message[8..12]), sequence);
                for (id, body) in sets(&message) {
                    let layout = Layout::ALL.into_iter().find(|layout| layout.template() == id);
                    if let Some(layout) = layout {
                        prop_assert_eq!(body.len() % layout.record_bytes(), 0);
                        seen += body.len() / layout.record_bytes();
                        sequence += body.len() / layout.record_bytes();
                    }
                    sequence += usize::from(id == OPTIONS_TEMPLATE);
                }
            }
            prop_assert_eq!(seen, records.len());
        }
    }
}
