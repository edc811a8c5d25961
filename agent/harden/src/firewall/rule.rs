//! One rule, and what it can ask of a packet.

use core::net::IpAddr;

use super::net::Net;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What TCP flags must be like: those of `mask` equal to `value`, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// The flags that are looked at.
    pub mask: u8,
    /// Those of them that are set.
    pub value: u8,
    /// Whether it must be otherwise.
    pub inverted: bool,
}

impl Flags {
    /// SYN of SYN and ACK. Whatever else is set: kernels before 3.2.24 open a connection for SYN and FIN too (CVE-2012-6638).
    const SYN_ALONE: (u8, u8) = (0x12, 0x02);
    /// A connection's first packet: SYN without ACK.
    pub const NEW: Self = Self::new(Self::SYN_ALONE.0, Self::SYN_ALONE.1, false);
    /// Any other.
    pub const NOT_NEW: Self = Self::new(Self::SYN_ALONE.0, Self::SYN_ALONE.1, true);
    /// A connection's end: FIN or RST.
    pub const END: Self = Self::new(0x05, 0, true);

    const fn new(mask: u8, value: u8, inverted: bool) -> Self {
        Self {
            mask,
            value,
            inverted,
        }
    }
}

/// All packets that fit every part are let pass, or dropped. *Remote* is the source of what comes in and the destination
/// of what goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Over the loopback interface alone.
    pub loopback: bool,
    /// The other side.
    pub remote: Option<Net>,
    /// The protocol's number.
    pub protocol: Option<u8>,
    /// First and last port of the other side.
    pub remote_port: (u16, u16),
    /// First and last port of this side.
    pub local_port: (u16, u16),
    /// Flags of TCP.
    pub flags: Option<Flags>,
    /// The type of an ICMP or ICMPv6 message.
    pub icmp: Option<u8>,
    /// It answers something, or belongs to something that does.
    pub established: bool,
    /// The user whose socket sends it.
    pub uid: Option<u32>,
    /// At most so many packets a second, and so many at once.
    pub limit: Option<(u16, u16)>,
    /// Let pass, or dropped.
    pub accept: bool,
}

/// Any port.
pub(super) const ANY_PORT: (u16, u16) = (0, u16::MAX);
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const IGMP: u8 = 2;
pub(super) const ICMPV6: u8 = 58;

impl Rule {
    /// All packets are let pass.
    pub const ACCEPT: Self = Self {
        loopback: false,
        remote: None,
        protocol: None,
        remote_port: ANY_PORT,
        local_port: ANY_PORT,
        flags: None,
        icmp: None,
        established: false,
        uid: None,
        limit: None,
        accept: true,
    };
    /// All packets are dropped.
    pub const DROP: Self = Self {
        accept: false,
        ..Self::ACCEPT
    };

    /// The one family that it is about, if it is about one.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        match (self.remote.map(|net| net.addr), self.protocol) {
            (Some(IpAddr::V4(_)), _) | (None, Some(ICMP | IGMP)) => Some(Family::V4),
            (Some(IpAddr::V6(_)), _) | (None, Some(ICMPV6)) => Some(Family::V6),
            (None, _) => None,
        }
    }
}

/// What a kernel's filter can ask beyond the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Whether a packet answers something (connection tracking).
    pub established: bool,
    /// Which user sends it.
    pub owner: bool,
    /// How many came before it.
    pub limit: bool,
}

impl Abilities {
    /// All of them.
    pub const ALL: Self = Self {
        established: true,
        owner: true,
        limit: true,
    };

    /// All combinations, those that protect most first.
    pub fn best_first() -> impl Iterator<Item = Self> {
        (0..8_u8).rev().map(|bits| Self {
            owner: bits & 4 != 0,
            established: bits & 2 != 0,
            limit: bits & 1 != 0,
        })
    }
}

/// Both directions. The first rule that fits counts; the last of each drops what is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What comes in.
    pub input: Vec<Rule>,
    /// What goes out.
    pub output: Vec<Rule>,
}
