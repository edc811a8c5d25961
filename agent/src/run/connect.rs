//! A TCP connection to the first of several addresses that answers (RFC 8305, in small: families take turns, and
//! a further attempt starts when the last one is slow). No names and no TLS here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mio::net::TcpStream;

use super::net::{Net, Sock};

/// How long all attempts together may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one attempt is waited for before the next address is tried beside it (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried for one name.
const MAX_ADDRESSES: usize = 8;

/// Attempts under way.
#[derive(Debug)]
pub(super) struct Connecting {
    net: Rc<Net>,
    waiting: Vec<SocketAddr>,
    attempts: Vec<(SocketAddr, Sock<TcpStream>)>,
    next_at: Duration,
    deadline: Duration,
    last_error: Option<io::Error>,
}

/// What has become of the attempts.
#[derive(Debug)]
pub(super) enum Connect {
    /// Still trying.
    Pending(Connecting),
    /// One address answered.
    Connected(SocketAddr, Sock<TcpStream>),
    /// None did; the error is the last one.
    Failed(io::Error),
}

impl Connecting {
    pub(super) fn new(net: &Rc<Net>, now: Duration, addresses: &[IpAddr], port: u16) -> Self {
        let mut waiting = in_turns(addresses, port);
        // Taken from the end.
        waiting.reverse();
        Self {
            net: Rc::clone(net),
            waiting,
            attempts: Vec::new(),
            next_at: now,
            deadline: now + CONNECT_TIMEOUT,
            last_error: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Duration {
        if self.waiting.is_empty() {
            self.deadline
        } else {
            self.next_at.min(self.deadline)
        }
    }

    /// Looks at what is under way and starts what is due.
    pub(super) fn advance(mut self, now: Duration) -> Connect {
        let mut index = 0;
        while let Some((_, sock)) = self.attempts.get(index) {
            match sock.poll_connected() {
                Ok(true) => {
                    let (address, sock) = self.attempts.swap_remove(index);
                    return Connect::Connected(address, sock);
                }
                Ok(false) => index += 1,
                Err(e) => {
                    let (address, _) = self.attempts.swap_remove(index);
                    log::debug!("connecting to {address}: {e}");
                    self.last_error = Some(e);
                    self.next_at = now;
                }
            }
        }
        while now >= self.next_at
            && let Some(address) = self.waiting.pop()
        {
            match self.net.connect(address) {
                Ok(sock) => {
                    log::debug!("connecting to {address}");
                    self.attempts.push((address, sock));
                    self.next_at = now + ATTEMPT_DELAY;
                }
                Err(e) => {
                    log::debug!("connecting to {address}: {e}");
                    self.last_error = Some(e);
                }
            }
        }
        if now >= self.deadline {
            return Connect::Failed(io::ErrorKind::TimedOut.into());
        }
        if self.attempts.is_empty() && self.waiting.is_empty() {
            return Connect::Failed(self.last_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
        }
        Connect::Pending(self)
    }
}

/// The families take turns, beginning with that of the first address.
fn in_turns(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|a| a.is_ipv6() == six_first);
    first.reverse();
    second.reverse();
    let mut ordered = Vec::new();
    while ordered.len() < MAX_ADDRESSES && !(first.is_empty() && second.is_empty()) {
        ordered.extend(first.pop());
        ordered.extend(second.pop());
    }
    ordered.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let given = [ip("::1"), ip("::2"), ip("127.0.0.1"), ip("::3")];
        let ordered: Vec<_> = in_turns(&given, 1).into_iter().map(|a| a.ip()).collect();
        assert_eq!(ordered, [ip("::1"), ip("127.0.0.1"), ip("::2"), ip("::3")]);
    }

    /// Runs attempts on the real clock until they end.
    fn finish(addresses: &[IpAddr], port: u16) -> Connect {
        let mut poll = mio::Poll::new().unwrap();
        let net = Net::new(poll.registry().try_clone().unwrap());
        let start = std::time::Instant::now();
        let mut connecting = Connecting::new(&net, start.elapsed(), addresses, port);
        let mut events = mio::Events::with_capacity(8);
        loop {
            connecting = match connecting.advance(start.elapsed()) {
                Connect::Pending(connecting) => connecting,
                ended => return ended,
            };
            let wait = connecting.poll_timeout().saturating_sub(start.elapsed());
            poll.poll(&mut events, Some(wait)).unwrap();
            events.iter().for_each(|event| net.handle_event(event));
        }
    }

    #[test]
    fn a_dead_address_does_not_hide_a_live_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ended = finish(&[ip("127.1.2.3"), ip("127.0.0.1")], port);
        assert!(
            matches!(ended, Connect::Connected(a, _) if a.ip() == ip("127.0.0.1")),
            "{ended:?}"
        );
    }

    #[test]
    fn refused_everywhere_is_an_error() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let ended = finish(&[ip("127.0.0.1")], port);
        assert!(matches!(ended, Connect::Failed(ref e) if e.kind() == io::ErrorKind::ConnectionRefused));
        assert!(matches!(finish(&[], port), Connect::Failed(_)));
    }
}
