//! Socket options of `ip_tables` and `ip6_tables`: whole tables in and out of the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Where `struct ipt_replace` says how many counters the kernel writes, and where to.
const COUNTERS_AT: usize = 84;
const ADDRESS_AT: usize = 88;
/// The length of `struct xt_counters`.
const COUNTER_BYTES: usize = 16;
/// `IPT_SO_SET_REPLACE`, for IPv6 as well.
const REPLACE: libc::c_int = 64;

/// A raw socket of IPv4 or IPv6 that receives nothing: tables are asked for and set on it.
///
/// # Errors
/// What the kernel says; `CAP_NET_RAW` is needed.
pub fn raw_socket(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    Ok(socket(
        family,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )?)
}

/// Asks for an option: `bytes` is the question, and then the answer.
///
/// # Errors
/// What the kernel says.
pub fn socket_option(fd: impl AsFd, level: i32, name: i32, bytes: &mut [u8]) -> io::Result<()> {
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call; the kernel writes at most `length` bytes, all of them in `bytes`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    outcome(result)
}

/// Sets an option that holds no address of memory.
///
/// # Errors
/// What the kernel says, or that this option holds one.
pub fn set_socket_option(fd: impl AsFd, level: i32, name: i32, bytes: &[u8]) -> io::Result<()> {
    if name == REPLACE {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set(fd, level, name, bytes)
}

/// Replaces a table by `struct ipt_replace` in `block`, and gives the old table's counters in `counters`.
///
/// # Errors
/// What the kernel says, or that there is no room for so many counters.
pub fn replace_table(fd: impl AsFd, level: i32, block: &mut [u8], counters: &mut [u8]) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (head, rest) = block.split_at_mut_checked(ADDRESS_AT).ok_or_else(invalid)?;
    let count = head[COUNTERS_AT..].first_chunk().ok_or_else(invalid)?;
    let needed = (u32::from_ne_bytes(*count) as usize).checked_mul(COUNTER_BYTES);
    if needed != Some(counters.len()) {
        return Err(invalid());
    }
    let address = (counters.as_mut_ptr() as usize).to_ne_bytes();
    let place = rest.get_mut(..address.len()).ok_or_else(invalid)?;
    place.copy_from_slice(&address);
    // The kernel writes `counters`, whose length was checked and which is borrowed until the call is over.
    set(fd, level, REPLACE, block)
}

fn set(fd: impl AsFd, level: i32, name: i32, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call; the kernel reads `length` bytes, all of them in `bytes`, and if
    // they hold an address, `replace_table` has checked what is there.
    let result =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, bytes.as_ptr().cast(), length) };
    outcome(result)
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
