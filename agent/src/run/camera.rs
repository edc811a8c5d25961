//! The sockets of one session towards the camera: a TCP connection, and pairs of UDP sockets where a camera offers
//! nothing else.
//!
//! The camera is always read until it has nothing more, whatever the uplink does: cheap cameras corrupt their
//! stream when their socket blocks. What is read goes into the session's bounded queue.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use lenscap_rtsp::{CameraError, Datagram, Session, UdpId};
use mio::net::{TcpStream, UdpSocket};

use super::net::{Net, Sock};

/// How long a camera may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Datagrams read from one socket in one pass.
const DATAGRAMS_PER_PASS: usize = 64;
/// Attempts at an even port with a free odd one above it.
const PORT_ATTEMPTS: usize = 32;
/// Pairs of sockets of one session.
const MAX_PAIRS: usize = 8;

/// The camera's side of one session.
#[derive(Debug)]
pub(super) struct Camera {
    net: Rc<Net>,
    tcp: Tcp,
    host: IpAddr,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
enum Tcp {
    Down,
    Connecting {
        sock: Sock<TcpStream>,
        deadline: Duration,
        fallback: Option<SocketAddr>,
    },
    Up(Sock<TcpStream>),
}

#[derive(Debug)]
struct Pair {
    id: u8,
    rtp: Sock<UdpSocket>,
    rtcp: Sock<UdpSocket>,
}

impl Camera {
    pub(super) fn new(net: &Rc<Net>) -> Self {
        Self {
            net: Rc::clone(net),
            tcp: Tcp::Down,
            host: Ipv4Addr::LOCALHOST.into(),
            pairs: Vec::new(),
        }
    }

    /// Starts a connection to an IP literal, or to `localhost` on whichever family answers.
    pub(super) fn connect(&mut self, now: Duration, host: &str, port: u16, session: &mut Session) {
        let (ip, fallback) = match host.parse::<IpAddr>() {
            Ok(ip) => (ip, None),
            Err(_) => (
                Ipv4Addr::LOCALHOST.into(),
                Some(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)),
            ),
        };
        self.start(now, SocketAddr::new(ip, port), fallback, session);
    }

    fn start(&mut self, now: Duration, to: SocketAddr, fallback: Option<SocketAddr>, session: &mut Session) {
        self.host = to.ip();
        match self.net.connect(to) {
            Ok(sock) => {
                self.tcp = Tcp::Connecting {
                    sock,
                    deadline: now + CONNECT_TIMEOUT,
                    fallback,
                }
            }
            Err(e) => {
                log::debug!("camera at {to}: {e}");
                session.handle_camera_closed(now, camera_error(&e));
            }
        }
    }

    /// Closes the connection.
    pub(super) fn disconnect(&mut self) {
        self.tcp = Tcp::Down;
    }

    pub(super) fn open_udp(&mut self, now: Duration, id: u8, session: &mut Session) {
        let opened = if self.pairs.len() < MAX_PAIRS {
            bind_pair(&self.net, self.host)
        } else {
            None
        };
        let Some((rtp, rtcp, port)) = opened else {
            session.handle_udp_failed(now, id);
            return;
        };
        self.pairs.push(Pair { id, rtp, rtcp });
        session.handle_udp_ready(now, id, port, port + 1);
    }

    pub(super) fn close_udp(&mut self, id: u8) {
        self.pairs.retain(|pair| pair.id != id);
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match &self.tcp {
            Tcp::Connecting { deadline, .. } => Some(*deadline),
            Tcp::Down | Tcp::Up(_) => None,
        }
    }

    /// One pass: at most one read of the connection and some datagrams. True when there is more to read.
    pub(super) fn read(&mut self, now: Duration, scratch: &mut [u8], session: &mut Session) -> bool {
        self.advance_connect(now, session);
        let mut more = self.read_tcp(now, scratch, session);
        for pair in &self.pairs {
            more |= read_datagrams(
                &pair.rtp,
                self.host,
                now,
                scratch,
                session,
                UdpId {
                    pair: pair.id,
                    rtcp: false,
                },
            );
            more |= read_datagrams(
                &pair.rtcp,
                self.host,
                now,
                scratch,
                session,
                UdpId {
                    pair: pair.id,
                    rtcp: true,
                },
            );
        }
        more
    }

    /// Writes what the session has for the camera.
    pub(super) fn write(&mut self, now: Duration, session: &mut Session) {
        while let Some(Datagram {
            socket,
            port,
            payload,
        }) = session.poll_udp()
        {
            let Some(pair) = self.pairs.iter().find(|pair| pair.id == socket.pair) else {
                continue;
            };
            let sock = if socket.rtcp { &pair.rtcp } else { &pair.rtp };
            // A lost datagram is UDP's ordinary fate.
            let _ = sock.io().send_to(&payload, SocketAddr::new(self.host, port));
        }
        let Tcp::Up(sock) = &mut self.tcp else { return };
        while !session.poll_camera().is_empty() {
            match sock.write(session.poll_camera()) {
                Ok(n) => session.advance_camera(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    self.tcp = Tcp::Down;
                    session.handle_camera_closed(now, camera_error(&e));
                    return;
                }
            }
        }
    }

    fn advance_connect(&mut self, now: Duration, session: &mut Session) {
        let (error, fallback) = match &self.tcp {
            Tcp::Down | Tcp::Up(_) => return,
            Tcp::Connecting {
                sock,
                deadline,
                fallback,
            } => match sock.poll_connected() {
                Ok(true) => {
                    if let Tcp::Connecting { sock, .. } = std::mem::replace(&mut self.tcp, Tcp::Down) {
                        // Requests are small and waited for; Nagle would only hold them back.
                        let _ = sock.io().set_nodelay(true);
                        self.tcp = Tcp::Up(sock);
                        session.handle_camera_connected(now);
                    }
                    return;
                }
                Ok(false) if now < *deadline => return,
                Ok(false) => (CameraError::TimedOut, None),
                Err(e) => (camera_error(&e), *fallback),
            },
        };
        self.tcp = Tcp::Down;
        match fallback {
            Some(to) => self.start(now, to, None, session),
            None => session.handle_camera_closed(now, error),
        }
    }

    fn read_tcp(&mut self, now: Duration, scratch: &mut [u8], session: &mut Session) -> bool {
        let Tcp::Up(sock) = &mut self.tcp else {
            return false;
        };
        if !sock.is_readable() {
            return false;
        }
        let error = match sock.read(scratch) {
            Ok(0) => CameraError::Closed,
            Ok(n) => {
                let more = sock.is_readable();
                session.handle_camera(now, scratch.get(..n).unwrap_or_default());
                return more;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            Err(e) => camera_error(&e),
        };
        self.tcp = Tcp::Down;
        session.handle_camera_closed(now, error);
        false
    }
}

fn read_datagrams(
    sock: &Sock<UdpSocket>,
    host: IpAddr,
    now: Duration,
    scratch: &mut [u8],
    session: &mut Session,
    id: UdpId,
) -> bool {
    for _ in 0..DATAGRAMS_PER_PASS {
        if !sock.is_readable() {
            return false;
        }
        match sock.recv_from(scratch) {
            Ok((n, from)) if from.ip() == host => {
                session.handle_udp(now, id, scratch.get(..n).unwrap_or_default());
            }
            // Nothing but the camera has business here. Errors are those of earlier sends (port unreachable).
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => {}
        }
    }
    true
}

/// RTP on an even port, RTCP on the next (RFC 3550, section 11), on the address family of the camera.
fn bind_pair(net: &Rc<Net>, host: IpAddr) -> Option<(Sock<UdpSocket>, Sock<UdpSocket>, u16)> {
    let local = local_for(host);
    for _ in 0..PORT_ATTEMPTS {
        let first = UdpSocket::bind(SocketAddr::new(local, 0)).ok()?;
        let port = first.local_addr().ok()?.port();
        let Ok(second) = UdpSocket::bind(SocketAddr::new(local, port ^ 1)) else {
            continue;
        };
        let (rtp, rtcp) = if port % 2 == 0 {
            (first, second)
        } else {
            (second, first)
        };
        return Some((net.add(rtp).ok()?, net.add(rtcp).ok()?, port & !1));
    }
    None
}

fn local_for(host: IpAddr) -> IpAddr {
    match host {
        host if host.is_loopback() => host,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn camera_error(error: &io::Error) -> CameraError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CameraError::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            CameraError::Closed
        }
        io::ErrorKind::TimedOut => CameraError::TimedOut,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => CameraError::Unreachable,
        _ => CameraError::Io,
    }
}
