//! Connections that have said goodbye and wait for the gateway's end.
//!
//! A socket closed with unread bytes in it, or written to by the peer afterwards, is reset, and a reset can take our
//! last words (GOAWAY, close_notify) out of the peer's receive buffer. So the sending half is closed first, and what
//! still comes is read and thrown away, for a while.

use std::io::{self, Read};
use std::time::Duration;

use mio::net::TcpStream;

use super::net::Sock;

/// How long the gateway may take to close its half.
const LINGER: Duration = Duration::from_secs(2);
/// Reads in one pass; what is left is found by the readiness bit.
const READS_PER_PASS: usize = 16;
/// Connections in this state at one time; one more ends the oldest.
const MAX_CLOSING: usize = 4;

/// Sockets whose sending half is closed.
#[derive(Debug, Default)]
pub(super) struct Closing {
    sockets: Vec<(Sock<TcpStream>, Duration)>,
}

impl Closing {
    /// Takes over a socket that nothing more is sent on.
    pub(super) fn push(&mut self, now: Duration, sock: Sock<TcpStream>) {
        if self.sockets.len() == MAX_CLOSING {
            self.sockets.remove(0);
        }
        self.sockets.push((sock, now + LINGER));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.sockets.iter().map(|(_, deadline)| *deadline).min()
    }

    /// Reads what came, and drops the sockets that are over or late. True when there is more to do at once.
    pub(super) fn work(&mut self, now: Duration, scratch: &mut [u8]) -> bool {
        let mut more = false;
        self.sockets.retain_mut(|(sock, deadline)| {
            let open = now < *deadline && discard(sock, scratch);
            more |= open && sock.is_readable();
            open
        });
        more
    }
}

/// False once the peer has ended its half.
fn discard(sock: &mut Sock<TcpStream>, scratch: &mut [u8]) -> bool {
    for _ in 0..READS_PER_PASS {
        if !sock.is_readable() {
            return true;
        }
        match sock.read(scratch) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}
