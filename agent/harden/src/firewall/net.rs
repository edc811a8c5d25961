//! Addresses, networks, and what the configuration allows.

use core::fmt;
use core::net::IpAddr;

/// An address, or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    /// The address; bits behind the prefix are zero.
    pub addr: IpAddr,
    /// How many bits count.
    pub prefix: u8,
}

impl Net {
    /// One address.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        let prefix = if addr.is_ipv4() { 32 } else { 128 };
        Self { addr, prefix }
    }

    /// A network. Bits behind the prefix are cleared, a prefix that is too long is cut.
    #[must_use]
    pub fn new(addr: IpAddr, prefix: u8) -> Self {
        match addr {
            IpAddr::V4(v4) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                let addr = IpAddr::V4((u32::from(v4) & mask).into());
                Self { addr, prefix }
            }
            IpAddr::V6(v6) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                let addr = IpAddr::V6((u128::from(v6) & mask).into());
                Self { addr, prefix }
            }
        }
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.addr.is_ipv4() && Self::new(addr, self.prefix).addr == self.addr
    }

    /// The address' bytes in network order, and the mask's.
    #[must_use]
    pub fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let addr = match self.addr {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let bits = usize::from(self.prefix);
        let mask = (0..addr.len())
            .map(|at| (0xff00_u16 >> bits.saturating_sub(at * 8).min(8)) as u8)
            .collect();
        (addr, mask)
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::host(self.addr) {
            return self.addr.fmt(f);
        }
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// Somebody who may reach a port here, or whose port may be reached from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Who.
    pub net: Net,
    /// The port.
    pub port: u16,
    /// Over TCP.
    pub tcp: bool,
    /// Over UDP.
    pub udp: bool,
}

impl Allowed {
    /// Reads `192.168.1.10:554`, `192.168.1.0/24:554` or `[fd00::1]:554`; `/tcp` or `/udp` may follow, else it is both.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected an address and a port: 192.168.1.10:554, 192.168.1.0/24:554 or [fd00::1]:554, \
                                and /tcp or /udp behind it if it is only one of them";
        let (place, tcp, udp) = match (text.strip_suffix("/tcp"), text.strip_suffix("/udp")) {
            (Some(place), _) => (place, true, false),
            (_, Some(place)) => (place, false, true),
            (None, None) => (text, true, true),
        };
        let (host, port) = place.rsplit_once(':').ok_or(EXPECTED)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let (ip, prefix) = host
            .split_once('/')
            .map_or((host, None), |(ip, prefix)| (ip, Some(prefix)));
        let ip: IpAddr = ip.parse().map_err(|_| EXPECTED)?;
        let whole = Net::host(ip);
        let prefix = prefix
            .map_or(Ok(whole.prefix), str::parse)
            .map_err(|_| EXPECTED)?;
        let port = port.parse().map_err(|_| EXPECTED)?;
        if prefix > whole.prefix || port == 0 || bare.is_some() != ip.is_ipv6() {
            return Err(EXPECTED.into());
        }
        let net = Net::new(ip, prefix);
        Ok(Self { net, port, tcp, udp })
    }

    /// Those of a list that can be read.
    #[must_use]
    pub fn parse_all(list: &[String]) -> Vec<Self> {
        list.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }

    /// Whether it lets an address in, over TCP, to a port.
    #[must_use]
    pub fn covers(&self, addr: IpAddr, port: u16) -> bool {
        self.tcp && self.port == port && self.net.contains(addr)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.net.addr.is_ipv6() {
            ("[", "]")
        } else {
            ("", "")
        };
        let kind = match (self.tcp, self.udp) {
            (true, false) => "/tcp",
            (false, true) => "/udp",
            _ => "",
        };
        write!(f, "{open}{}{close}:{}{kind}", self.net, self.port)
    }
}
