//! A network interface whose other end is a descriptor: what is written there comes in as if from a network.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `struct ifreq` of the widest processors: a name of 16 bytes, and what is asked.
type Request = [u8; 40];
const NAME_BYTES: usize = 16;
/// `IFF_TUN` and `IFF_NO_PI`: whole IP packets and nothing before them.
const TUN: u16 = 0x0001 | 0x1000;
/// `IFF_UP` and `IFF_RUNNING`.
const UP: u16 = 0x0001 | 0x0040;
const SET_FLAGS: u32 = 0x8914;
const SET_ADDRESS: u32 = 0x8916;
const SET_MASK: u32 = 0x891c;

/// Makes the interface, with an address and a mask, and brings it up. It is gone when the file is closed.
/// Reads do not block.
///
/// # Errors
/// What the kernel says: without `/dev/net/tun` there are none.
pub fn tun(name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    ioctl(
        file.as_raw_fd(),
        libc::TUNSETIFF as u32,
        request(name, &TUN.to_ne_bytes()),
    )?;
    let inet = any_socket()?;
    for (number, address) in [(SET_ADDRESS, address), (SET_MASK, mask)] {
        let family = (libc::AF_INET as u16).to_ne_bytes();
        let socket_address = [&family[..], &[0, 0], &address.octets()].concat();
        ioctl(inet.as_raw_fd(), number, request(name, &socket_address))?;
    }
    ioctl(inet.as_raw_fd(), SET_FLAGS, request(name, &UP.to_ne_bytes()))?;
    Ok(file)
}

/// Brings the loopback interface of this process' network up.
///
/// # Errors
/// What the kernel says.
pub fn loopback_up() -> io::Result<()> {
    let inet = any_socket()?;
    ioctl(inet.as_raw_fd(), SET_FLAGS, request("lo", &UP.to_ne_bytes()))
}

/// A socket to name devices by.
fn any_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Inet, SockType::Datagram, flags, None)?)
}

fn request(name: &str, what: &[u8]) -> Request {
    let mut request = [0; 40];
    let name = &name.as_bytes()[..name.len().min(NAME_BYTES - 1)];
    request[..name.len()].copy_from_slice(name);
    request[NAME_BYTES..NAME_BYTES + what.len()].copy_from_slice(what);
    request
}

fn ioctl(fd: RawFd, number: u32, mut request: Request) -> io::Result<()> {
    // SAFETY: all these requests read, and some write, one `struct ifreq`, which is not longer than `Request`.
    if unsafe { libc::ioctl(fd, number as _, request.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
