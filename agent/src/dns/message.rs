//! DNS messages (RFC 1035, section 4; RFC 3596): one question out, one answer in. No EDNS, so 512 bytes by UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::MAX_ADDRESSES;

/// The longest name on the wire (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// Compression pointers followed for one name. Each must lead backwards as well.
const MAX_POINTERS: usize = 16;
/// Records of an answer that are looked at.
const MAX_RECORDS: usize = 64;
/// Aliases followed from the name asked for.
const MAX_ALIASES: usize = 8;

const TYPE_CNAME: u16 = 5;
const CLASS_IN: u16 = 1;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// A name in the form of the wire, in lower case, without compression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

/// What a server said to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// At least one.
    Addresses(Vec<IpAddr>),
    /// The name exists, without such an address.
    NoData,
    /// The name does not exist.
    NoName,
    /// The answer did not fit; ask by TCP.
    Truncated,
    /// The server cannot or will not say, or what it says makes no sense.
    Failure,
}

impl Name {
    /// A host name (RFC 1123, section 2.1, and `_`). `None` for anything else.
    pub(super) fn parse(host: &str) -> Option<Self> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut wire = Vec::with_capacity(host.len() + 2);
        for label in host.split('.') {
            let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if !(1..=63).contains(&label.len()) || !label.bytes().all(good) {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= MAX_NAME).then_some(Self(wire))
    }
}

/// A question with recursion desired.
pub(super) fn question(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut message = Vec::with_capacity(16 + name.0.len());
    message.extend(id.to_be_bytes());
    message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(&name.0);
    message.extend(kind.code().to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// Reads an answer. `None` when it answers another question: such a message is passed over, for anyone can send one.
pub(super) fn answer(message: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let header_id = reader.u16()?;
    let flags = reader.u16()?;
    let questions = reader.u16()?;
    let answers = reader.u16()?;
    reader.skip(4)?;
    let is_reply = flags & 0x8000 != 0;
    let opcode = flags >> 11 & 0xf;
    if header_id != id || !is_reply || opcode != 0 {
        return None;
    }
    let code = flags & 0xf;
    // Servers that cannot read a question may leave it out.
    if questions == 0 && code != 0 {
        return Some(Answer::Failure);
    }
    let repeats = questions == 1
        && reader.name()? == *name
        && reader.u16()? == kind.code()
        && reader.u16()? == CLASS_IN;
    if !repeats {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    Some(match code {
        0 => addresses(&mut reader, answers, name, kind).unwrap_or(Answer::Failure),
        3 => Answer::NoName,
        _ => Answer::Failure,
    })
}

/// Follows aliases, in whatever order the records come.
fn addresses(reader: &mut Reader<'_>, count: u16, name: &Name, kind: Kind) -> Option<Answer> {
    let mut aliases: Vec<(Name, Name)> = Vec::new();
    let mut found: Vec<(Name, IpAddr)> = Vec::new();
    for _ in 0..usize::from(count).min(MAX_RECORDS) {
        let owner = reader.name()?;
        let record_type = reader.u16()?;
        let class = reader.u16()?;
        reader.skip(4)?;
        let length = usize::from(reader.u16()?);
        let end = reader.at.checked_add(length)?;
        if class == CLASS_IN && record_type == TYPE_CNAME {
            aliases.push((owner, reader.name()?));
        } else if class == CLASS_IN && record_type == kind.code() {
            let data = reader.message.get(reader.at..end)?;
            found.push((owner, address(data, kind)?));
        }
        reader.message.get(..end)?;
        reader.at = end;
    }
    let mut target = name;
    for _ in 0..MAX_ALIASES {
        let Some((_, next)) = aliases.iter().find(|(owner, _)| owner == target) else {
            break;
        };
        target = next;
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (_, address) in found.iter().filter(|(owner, _)| owner == target) {
        if is_usable(*address) && !addresses.contains(address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(*address);
        }
    }
    Some(if addresses.is_empty() {
        Answer::NoData
    } else {
        Answer::Addresses(addresses)
    })
}

fn address(data: &[u8], kind: Kind) -> Option<IpAddr> {
    Some(match kind {
        Kind::A => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
        Kind::Aaaa => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
    })
}

/// Filters answer with 0.0.0.0, and a connection to it would reach this machine.
fn is_usable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.message.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(())
    }

    /// A name, with compression (RFC 1035, section 4.1.4). A pointer must lead to before the name it is in.
    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::new();
        let mut after: Option<usize> = None;
        let mut start = self.at;
        let mut pointers = 0;
        loop {
            let length = self.u8()?;
            match length {
                0 => break,
                1..=63 => {
                    let end = self.at.checked_add(usize::from(length))?;
                    let label = self.message.get(self.at..end)?;
                    wire.push(length);
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    self.at = end;
                    // The final zero needs room as well.
                    if wire.len() >= MAX_NAME {
                        return None;
                    }
                }
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(self.u8()?);
                    after.get_or_insert(self.at);
                    pointers += 1;
                    if target >= start || pointers > MAX_POINTERS {
                        return None;
                    }
                    start = target;
                    self.at = target;
                }
                _ => return None,
            }
        }
        wire.push(0);
        if let Some(after) = after {
            self.at = after;
        }
        Some(Name(wire))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn name(host: &str) -> Name {
        Name::parse(host).unwrap()
    }

    /// A reply to a question, with records given as (owner, type, data) and compression for the question's name.
    pub(in super::super) fn reply(
        question: &[u8],
        flags: u16,
        records: &[(Option<&str>, u16, Vec<u8>)],
    ) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (owner, record_type, data) in records {
            match owner {
                None => message.extend([0xc0, 12]),
                Some(owner) => message.extend(&name(owner).0),
            }
            message.extend(record_type.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        message
    }

    pub(in super::super) fn cname(host: &str) -> Vec<u8> {
        name(host).0
    }

    fn ask() -> Vec<u8> {
        question(7, &name("Gw.Example"), Kind::A)
    }

    fn read(message: &[u8]) -> Option<Answer> {
        answer(message, 7, &name("gw.example"), Kind::A)
    }

    #[test]
    fn a_question_on_the_wire() {
        assert_eq!(
            ask(),
            b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02gw\x07example\0\0\x01\0\x01"
        );
    }

    #[test]
    fn host_names() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        for good in ["a", "a.b.", "a_b.c-d", longest.as_str()] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "a b",
            "é.example",
            "a.b..",
            &format!("{longest}a"),
            &"a".repeat(64),
        ] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_the_name_alone_are_taken() {
        let message = reply(
            &ask(),
            0,
            &[
                (None, 1, vec![10, 0, 0, 1]),
                (Some("other.example"), 1, vec![10, 0, 0, 2]),
                (Some("GW.EXAMPLE"), 1, vec![10, 0, 0, 3]),
                (None, 1, vec![10, 0, 0, 1]),
                (None, 1, vec![0, 0, 0, 0]),
                (None, 28, vec![0; 16]),
                (None, 16, b"\x04text".to_vec()),
            ],
        );
        let expected = [[10, 0, 0, 1], [10, 0, 0, 3]].map(IpAddr::from).to_vec();
        assert_eq!(read(&message), Some(Answer::Addresses(expected)));
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_loops_end() {
        let mut records = vec![
            (Some("c.example"), 1, vec![10, 0, 0, 1]),
            (Some("b.example"), 5, cname("c.example")),
            (None, 5, cname("b.example")),
        ];
        let expected = Some(Answer::Addresses(vec![IpAddr::from([10, 0, 0, 1])]));
        assert_eq!(read(&reply(&ask(), 0, &records)), expected);
        records.reverse();
        assert_eq!(read(&reply(&ask(), 0, &records)), expected);
        let looped = [
            (None, 5, cname("b.example")),
            (Some("b.example"), 5, cname("gw.example")),
        ];
        assert_eq!(read(&reply(&ask(), 0, &looped)), Some(Answer::NoData));
    }

    #[test]
    fn other_answers() {
        assert_eq!(read(&reply(&ask(), 0, &[])), Some(Answer::NoData));
        assert_eq!(read(&reply(&ask(), 3, &[])), Some(Answer::NoName));
        assert_eq!(read(&reply(&ask(), 2, &[])), Some(Answer::Failure));
        assert_eq!(read(&reply(&ask(), 5, &[])), Some(Answer::Failure));
        assert_eq!(read(&reply(&ask(), 0x0200, &[])), Some(Answer::Truncated));
        assert_eq!(read(b"\0\x07\x81\x81\0\0\0\0\0\0\0\0"), Some(Answer::Failure));
        assert_eq!(
            read(&reply(&ask(), 0, &[(None, 1, vec![1, 2, 3])])),
            Some(Answer::Failure)
        );
    }

    #[test]
    fn answers_to_other_questions_are_passed_over() {
        let good = reply(&ask(), 0, &[]);
        assert_eq!(answer(&good, 8, &name("gw.example"), Kind::A), None);
        assert_eq!(answer(&good, 7, &name("gw.examplf"), Kind::A), None);
        assert_eq!(answer(&good, 7, &name("gw.example"), Kind::Aaaa), None);
        assert_eq!(read(&ask()), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn pointers_that_do_not_lead_back_are_refused() {
        for pointer in [[0xc0, 28], [0xc0, 29], [0xff, 0xff]] {
            let mut message = reply(&ask(), 0, &[(None, 1, vec![10, 0, 0, 1])]);
            message[28..30].copy_from_slice(&pointer);
            assert_eq!(read(&message), Some(Answer::Failure));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), patched in any::<bool>()) {
            if patched {
                let ask = reply(&ask(), 0, &[]);
                for (byte, known) in bytes.iter_mut().zip(&ask[..28]) {
                    *byte = *known;
                }
                if let Some(count) = bytes.get_mut(7) {
                    *count = 40;
                }
            }
            let _ = read(&bytes);
        }

        #[test]
        fn a_cut_or_damaged_answer_is_read_without_panic(end in 0usize..90, at in 0usize..90, byte in any::<u8>()) {
            let mut message = reply(&ask(), 0, &[(None, 5, cname("b.example")), (Some("b.example"), 1, vec![10, 0, 0, 1])]);
            let end = end.min(message.len());
            let cut = read(&message[..end]);
            let whole = read(&message);
            prop_assert!(end == message.len() || cut != whole);
            if let Some(target) = message.get_mut(at) {
                *target = byte;
            }
            let _ = read(&message);
        }
    }
}
