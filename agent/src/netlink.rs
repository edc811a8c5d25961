//! Questions to the kernel by netlink(7), and their answers.

use std::io;
use std::os::fd::AsRawFd as _;

use lenscap_harden::firewall::nft::{End, end};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// The most bytes of one answer, and of a datagram of it.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const DATAGRAM_BYTES: usize = 64 * 1024;

/// Sends a question and takes the whole answer. The kernel has put its beginning in place when the question is sent.
pub(crate) fn ask(whom: SockProtocol, question: &[u8]) -> io::Result<Vec<u8>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        whom,
    )?;
    send(netlink.as_raw_fd(), question, MsgFlags::empty())?;
    let mut answer = Vec::new();
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let mut done = false;
    while answer.len() < MAX_ANSWER_BYTES {
        let length = match recv(netlink.as_raw_fd(), &mut datagram, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length,
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let part = datagram.get(..length).unwrap_or_default();
        match end(part) {
            End::Refused(code) => return Err(io::Error::from_raw_os_error(code)),
            End::Done => done = true,
            End::Open => {}
        }
        answer.extend_from_slice(part);
    }
    if done {
        Ok(answer)
    } else {
        Err(io::Error::other("the kernel did not answer"))
    }
}
