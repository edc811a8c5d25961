//! Talks netlink with nf_tables.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use lenscap_harden::firewall::Rules;
use lenscap_harden::firewall::nft::{self, End, Found};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// The most bytes of one answer, and of a datagram of it.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const DATAGRAM_BYTES: usize = 64 * 1024;

/// Whether the kernel would take the rules. Nothing is changed.
pub(super) fn judge(rules: &Rules) -> io::Result<()> {
    ask(&nft::replace(rules, false)).map(|_| ())
}

/// Replaces our table.
pub(super) fn put(rules: &Rules) -> io::Result<()> {
    ask(&nft::replace(rules, true)).map(|_| ())
}

/// Removes our table.
pub(super) fn remove() -> io::Result<()> {
    ask(&nft::remove()).map(|_| ())
}

/// What is there.
pub(super) fn find(rules: &Rules) -> io::Result<Found> {
    let [chains, dumped] = nft::questions();
    // Without chains there is no table to ask the rules of.
    let chains = ask(&chains)?;
    let dumped = match ask(&dumped) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Vec::new(),
        other => other?,
    };
    Ok(nft::read(&chains, &dumped, rules))
}

/// Sends a question and takes the whole answer. The kernel has put it in place when the question is sent.
fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    let netlink: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
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
        match nft::end(part) {
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
