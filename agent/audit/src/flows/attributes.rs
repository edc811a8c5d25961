//! Attributes of netlink messages (`struct nlattr`): length, type and value, each padded to four bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The upper two bits of a type are flags.
const TYPE_MASK: u16 = 0x3fff;
const HEADER_BYTES: usize = 4;

/// The attributes in some bytes, as far as they can be read.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(array(self.0, 0)?));
        let kind = u16::from_ne_bytes(array(self.0, 2)?) & TYPE_MASK;
        let value = self.0.get(HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a type; empty without one.
    #[must_use]
    pub fn value(mut self, kind: u16) -> &'a [u8] {
        self.find(|(found, _)| *found == kind)
            .map_or(&[][..], |(_, value)| value)
    }

    /// The attributes inside the first one of a type.
    #[must_use]
    pub fn nested(self, kind: u16) -> Self {
        Self(self.value(kind))
    }
}

/// Some bytes of fixed number at an offset.
#[must_use]
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// An address in network order, of 4 or 16 bytes; one of IPv4 inside IPv6 becomes IPv4.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(array::<4>(bytes, 0)?).into()),
        16 => Some(IpAddr::from(Ipv6Addr::from(array::<16>(bytes, 0)?)).to_canonical()),
        _ => None,
    }
}
