//! Packets as they pass an interface (packet(7)), without the link's header and without changing the interface.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Every protocol, in network order.
const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// What was read of a packet and of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Bytes read into the buffer.
    pub read: usize,
    /// Bytes that the packet has.
    pub length: usize,
    /// `PACKET_HOST`, `PACKET_OUTGOING` and so on.
    pub kind: u8,
    /// `ARPHRD_`.
    pub hardware: u16,
    /// The sender's link address, and how many of its bytes count.
    pub address: ([u8; 8], u8),
    /// The EtherType.
    pub protocol: u16,
}

/// A socket that sees the packets of one interface, or of all.
#[derive(Debug)]
pub struct Packets {
    fd: OwnedFd,
}

impl Packets {
    /// Starts to listen. Nothing is switched to promiscuous mode. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// What the kernel says; `NotFound` for an interface that is not there.
    pub fn new(interface: Option<&str>) -> io::Result<Self> {
        let kind = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Bound from the start, or packets of other interfaces would come in between.
        let first = if interface.is_some() {
            None
        } else {
            Some(SockProtocol::EthAll)
        };
        let fd = socket(AddressFamily::Packet, SockType::Datagram, kind, first)?;
        let packets = Self { fd };
        if let Some(name) = interface {
            packets.bind(name)?;
        }
        Ok(packets)
    }

    fn bind(&self, interface: &str) -> io::Result<()> {
        let name = CString::new(interface)?;
        // SAFETY: the name ends with a NUL and is only read.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        // SAFETY: `sockaddr_ll` is plain numbers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL;
        address.sll_ifindex = index.cast_signed();
        // SAFETY: the descriptor is open; the address is a whole `sockaddr_ll` that outlives the call.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// The next packet, from its network header on; what the buffer cannot hold is left out.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; what the kernel says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Packet> {
        // SAFETY: `sockaddr_ll` is plain numbers, for which zero is a value.
        let mut link: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
        let mut link_length = size_of_val(&link) as libc::socklen_t;
        // With MSG_TRUNC the length is the packet's and not what was read of it.
        // SAFETY: the kernel writes at most the buffer's length to the buffer, and at most `link_length` bytes to `link`.
        let length = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_TRUNC,
                (&raw mut link).cast(),
                &raw mut link_length,
            )
        };
        let Ok(length) = usize::try_from(length) else {
            return Err(io::Error::last_os_error());
        };
        Ok(Packet {
            read: length.min(buffer.len()),
            length,
            kind: link.sll_pkttype,
            hardware: link.sll_hatype,
            address: (link.sll_addr, link.sll_halen.min(8)),
            protocol: u16::from_be(link.sll_protocol),
        })
    }

    /// Packets that the kernel had no room for since the last call.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        // `struct tpacket_stats`: seen and dropped.
        let mut stats = [0u32; 2];
        let mut length = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: the descriptor is open; the kernel writes at most `length` bytes to the array.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                stats.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result < 0 { 0 } else { stats[1] }
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
