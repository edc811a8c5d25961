//! TCP socket facts and options that neither `std` nor mio offers.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::libc;

/// Bytes in a TCP socket's send queue that the peer has not acknowledged (`SIOCOUTQ` of tcp(7)).
///
/// # Errors
/// What the kernel says, for example that this is no socket.
pub fn out_queue(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call; SIOCOUTQ (TIOCOUTQ's other name) writes one int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Bytes in a TCP socket's send queue that have not been sent yet (`SIOCOUTQNSD`, Linux 2.6.39 and later): unlike
/// [`out_queue`] it does not grow with the round trip.
///
/// # Errors
/// What the kernel says, for example that this is no socket.
pub fn unsent(socket: impl AsFd) -> io::Result<usize> {
    /// The same number on every architecture (`include/uapi/linux/sockios.h`).
    const SIOCOUTQNSD: libc::c_int = 0x894b;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call; SIOCOUTQNSD writes one int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCOUTQNSD as _, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Limits what a TCP socket takes beyond what it has sent (`TCP_NOTSENT_LOWAT`, Linux 3.12 and later), so that a
/// slow link shows at once and not after a full send buffer.
///
/// # Errors
/// What the kernel says; older kernels do not know the option.
pub fn set_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is borrowed for the call, and the value is one int that outlives it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Asks for a socket option: `bytes` is the question, and then the answer.
///
/// # Errors
/// What the kernel says.
pub fn get_option(socket: impl AsFd, level: i32, name: i32, bytes: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).unwrap_or(0);
    // SAFETY: the descriptor is borrowed for the call; the kernel writes at most `length` bytes, all of them in `bytes`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn the_send_queue_is_counted_and_the_low_water_mark_set() {
        let (mut client, mut server) = pair();
        set_notsent_lowat(&client, 16 * 1024).unwrap();
        assert_eq!(out_queue(&client).unwrap(), 0);
        client.write_all(b"hello").unwrap();
        let mut got = [0; 5];
        server.read_exact(&mut got).unwrap();
        client.set_nonblocking(true).unwrap();
        let chunk = [0; 4096];
        while client.write(&chunk).is_ok() {}
        assert!(out_queue(&client).unwrap() > 0);
        assert!((1..=out_queue(&client).unwrap()).contains(&unsent(&client).unwrap()));
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(out_queue(&file).is_err());
        assert!(unsent(&file).is_err());
        assert!(set_notsent_lowat(&file, 1).is_err());
    }
}
