//! Asking the kernel for tables over netlink (netlink(7)).

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const FLAGS: u16 = 0x301;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
const HEADER_BYTES: usize = 16;
/// The kernel fills datagrams of at most 32 KiB, and of no more than the reader's buffer.
const BUFFER_BYTES: usize = 32 * 1024;
/// The most datagrams of one answer; a table of a million entries has more, and is then cut.
const MAX_DATAGRAMS: usize = 256;
/// How long the kernel may take for a datagram.
const WAIT_S: i64 = 2;

/// A netlink family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Netlink {
    /// `NETLINK_ROUTE`.
    Route,
    /// `NETLINK_SOCK_DIAG`.
    SockDiag,
    /// `NETLINK_NETFILTER`.
    Netfilter,
}

/// Asks for a table and gives each message's type and contents to `handle`, until it says `false`.
///
/// # Errors
/// What the kernel says, for example that it has no such table.
pub fn dump(
    family: Netlink,
    kind: u16,
    body: &[u8],
    handle: &mut dyn FnMut(u16, &[u8]) -> bool,
) -> io::Result<()> {
    let protocol = match family {
        Netlink::Route => SockProtocol::NetlinkRoute,
        Netlink::SockDiag => SockProtocol::NetlinkSockDiag,
        Netlink::Netfilter => SockProtocol::NetlinkNetFilter,
    };
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(WAIT_S))?;
    let length = u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(FLAGS.to_ne_bytes());
    // Sequence and port numbers tell answers apart; this socket has one.
    request.extend([0; 8]);
    request.extend(body);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    for _ in 0..MAX_DATAGRAMS {
        let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if !handle_datagram(buffer.get(..received).unwrap_or_default(), handle)? {
            break;
        }
    }
    Ok(())
}

/// Whether there is more.
fn handle_datagram(mut bytes: &[u8], handle: &mut dyn FnMut(u16, &[u8]) -> bool) -> io::Result<bool> {
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let [a, b, c, d, e, f, ..] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = bytes.get(HEADER_BYTES..length) else {
            break;
        };
        match u16::from_ne_bytes([e, f]) {
            DONE => return Ok(false),
            ERROR => {
                let number = body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
                return Err(io::Error::from_raw_os_error(number.wrapping_neg()));
            }
            kind if !handle(kind, body) => return Ok(false),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_with_addresses() {
        // RTM_GETADDR with `struct ifaddrmsg`; RTM_NEWADDR is 20.
        let mut seen = Vec::new();
        let mut take = |kind, body: &[u8]| {
            seen.push((kind, body.len()));
            true
        };
        dump(Netlink::Route, 22, &[0; 8], &mut take).unwrap();
        assert!(
            seen.iter().any(|(kind, length)| *kind == 20 && *length > 8),
            "{seen:?}"
        );
        let refused = dump(Netlink::Route, 999, &[0; 8], &mut |_, _| true);
        assert!(refused.is_err());
    }

    #[test]
    fn broken_datagrams_end_quietly() {
        let mut count = 0;
        let mut take = |_, _: &[u8]| {
            count += 1;
            true
        };
        for bytes in [
            &[][..],
            &[0; 16],
            &[255; 40],
            &[17, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert!(handle_datagram(bytes, &mut take).unwrap());
        }
        if cfg!(target_endian = "little") {
            assert_eq!(count, 1);
        }
    }
}
