//! A pair of sockets that carries whole messages and descriptors between two processes of this program.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt, recvmsg,
    sendmsg, socketpair, sockopt,
};

/// Two ends of a `SOCK_SEQPACKET` pair: neither blocks, neither outlives an exec.
///
/// # Errors
/// What the kernel says.
pub fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Whether a descriptor is an end of a pair as [`channel`] makes them.
#[must_use]
pub fn is_channel(fd: impl AsFd) -> bool {
    getsockopt(&fd, sockopt::SockType).is_ok_and(|kind| kind == SockType::SeqPacket)
}

/// Sends one message, with a file's descriptor if there is one.
///
/// # Errors
/// `WouldBlock` when the other side does not read; what the kernel says.
pub fn send(fd: impl AsFd, bytes: &[u8], file: Option<&File>) -> io::Result<()> {
    let raw = [file.map_or(-1, |file| file.as_raw_fd())];
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if file.is_some() { &rights[..] } else { &[] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        fd.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )?;
    Ok(())
}

/// Receives one message: its length, which is 0 once the other side is gone, and the descriptor that came with it.
/// Without `files` the kernel closes what descriptors a message has.
///
/// # Errors
/// `WouldBlock` when there is none; what the kernel says.
pub fn receive(fd: impl AsFd, bytes: &mut [u8], files: bool) -> io::Result<(usize, Option<File>)> {
    let mut space = cmsg_space!([RawFd; 1]);
    let control = files.then_some(space.as_mut_slice());
    let mut slices = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(fd.as_fd().as_raw_fd(), &mut slices, control, flags)?;
    let mut file = None;
    if files {
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                for raw in raw {
                    // SAFETY: the kernel has just made this descriptor for this process, and nothing else knows it.
                    file = Some(unsafe { File::from_raw_fd(raw) });
                }
            }
        }
    }
    Ok((message.bytes, file))
}

/// Which of the descriptors can be read, after at most `wait`, or for ever. An interrupted wait is an empty answer.
///
/// # Errors
/// What the kernel says.
pub fn wait_readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    wait: Option<Duration>,
) -> io::Result<[bool; N]> {
    wait_for(fds.map(|fd| fd.map(|fd| (fd, PollFlags::POLLIN))), wait)
}

/// Whether a descriptor can be written, after at most `wait`.
///
/// # Errors
/// What the kernel says.
pub fn wait_writable(fd: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    Ok(wait_for([Some((fd, PollFlags::POLLOUT))], Some(wait))?[0])
}

/// Whether the first can be read, and whether the second can be written, after at most `wait`.
///
/// # Errors
/// What the kernel says.
#[cfg(feature = "flows")]
pub fn wait_either(read: BorrowedFd<'_>, write: BorrowedFd<'_>, wait: Duration) -> io::Result<[bool; 2]> {
    let fds = [(read, PollFlags::POLLIN), (write, PollFlags::POLLOUT)];
    wait_for(fds.map(Some), Some(wait))
}

fn wait_for<const N: usize>(
    fds: [Option<(BorrowedFd<'_>, PollFlags)>; N],
    wait: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut answers = [false; N];
    poll(&fds, wait, &mut answers)?;
    Ok(answers)
}

/// The same of any number, for which this is there once.
fn poll(
    fds: &[Option<(BorrowedFd<'_>, PollFlags)>],
    wait: Option<Duration>,
    answers: &mut [bool],
) -> io::Result<()> {
    let wanted = fds.iter().flatten();
    let mut polled: Vec<PollFd<'_>> = wanted.map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
    // Rounded up, or the caller would look again just before it is due.
    let timeout = wait.map_or(PollTimeout::NONE, |wait| {
        let ms = wait.saturating_add(Duration::from_nanos(999_999)).as_millis();
        PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
    });
    match nix::poll::poll(&mut polled, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut polled = polled.iter();
    for (fd, answer) in fds.iter().zip(answers) {
        *answer = fd.is_some() && polled.next().and_then(PollFd::any).unwrap_or(false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn messages_keep_their_bounds_and_bring_files() {
        let (a, b) = channel().unwrap();
        assert!(is_channel(&a) && !is_channel(File::open("/dev/null").unwrap()));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "contents").unwrap();
        let file = File::open(dir.path().join("f")).unwrap();
        send(&a, b"one", None).unwrap();
        send(&a, b"second", Some(&file)).unwrap();
        send(&a, b"third", Some(&file)).unwrap();
        let mut bytes = [0; 16];
        let (n, none) = receive(&b, &mut bytes, true).unwrap();
        assert!(&bytes[..n] == b"one" && none.is_none());
        let (n, file) = receive(&b, &mut bytes, true).unwrap();
        assert_eq!(&bytes[..n], b"second");
        let mut text = String::new();
        file.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "contents");
        // Who does not want files gets none, and the message all the same.
        assert!(matches!(receive(&b, &mut bytes, false), Ok((5, None))));
        assert_eq!(
            receive(&b, &mut bytes, true).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(a);
        assert!(matches!(receive(&b, &mut bytes, true), Ok((0, None))));
    }

    #[test]
    fn waiting_ends_with_what_is_readable_or_with_the_time() {
        let (a, b) = channel().unwrap();
        let (c, _d) = channel().unwrap();
        let soon = Some(Duration::from_millis(1));
        let fds = || [Some(c.as_fd()), None, Some(b.as_fd())];
        assert_eq!(wait_readable(fds(), soon).unwrap(), [false, false, false]);
        send(&a, b"x", None).unwrap();
        assert_eq!(wait_readable(fds(), None).unwrap(), [false, false, true]);
        assert!(wait_writable(a.as_fd(), Duration::from_secs(1)).unwrap());
    }
}
