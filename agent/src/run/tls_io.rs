//! A rustls client connection over a non-blocking socket.
//!
//! It knows nothing of what the plaintext means. Both buffers of rustls are bounded: plaintext is taken out after
//! every read, and nothing is put in while ciphertext is waiting.

use mio::net::TcpStream;
use rustls::{CipherSuite, ClientConnection, ProtocolVersion};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use super::flight::Look;
use super::net::Sock;
use crate::sys;

/// Unsent bytes the kernel may hold before it says the socket is not writable.
pub(super) const NOTSENT_LOWAT_BYTES: u32 = 16 * 1024;
/// Ciphertext and early plaintext rustls may hold.
const TLS_BUFFER_BYTES: usize = 128 * 1024;
/// Reads of the socket in one pass; what is left is found by the readiness bit.
const READS_PER_PASS: usize = 16;

macro_rules! suites {
    ($($(#[$when:meta])* $name:ident)*) => { &[$($(#[$when])* (CipherSuite::$name, stringify!($name))),*] };
}

/// The cipher suites that there are, as the log names them. What the library has for that names any version and suite.
const SUITES: &[(CipherSuite, &str)] = suites! {
    TLS13_AES_128_GCM_SHA256
    TLS13_AES_256_GCM_SHA384
    TLS13_CHACHA20_POLY1305_SHA256
    #[cfg(feature = "tls12")] TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    #[cfg(feature = "tls12")] TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
    #[cfg(feature = "tls12")] TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    #[cfg(feature = "tls12")] TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    #[cfg(feature = "tls12")] TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
    #[cfg(feature = "tls12")] TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
};

/// Why a TLS connection cannot go on.
#[derive(Debug)]
pub(super) enum TlsFailure {
    /// The socket failed.
    Io(io::Error),
    /// The peer broke TLS, or its certificate was not accepted.
    Tls(rustls::Error),
}

/// What a read pass found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadState {
    /// The connection is open.
    Open,
    /// The peer said close_notify.
    Closed,
    /// The connection ended without close_notify.
    Cut,
}

/// A TLS connection and its socket.
#[derive(Debug)]
pub(super) struct TlsIo {
    sock: Sock<TcpStream>,
    tls: ClientConnection,
    lowat: bool,
    received_bytes: u64,
    sent_bytes: u64,
}

impl TlsIo {
    /// Starts the handshake on an established connection.
    pub(super) fn new(sock: Sock<TcpStream>, mut tls: ClientConnection) -> io::Result<Self> {
        tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        sock.io().set_nodelay(true)?;
        let lowat = sys::set_notsent_lowat(sock.io().as_fd(), NOTSENT_LOWAT_BYTES).is_ok();
        Ok(Self {
            sock,
            tls,
            lowat,
            received_bytes: 0,
            sent_bytes: 0,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(super) fn is_readable(&self) -> bool {
        self.sock.is_readable()
    }

    pub(super) fn is_writable(&self) -> bool {
        self.sock.is_writable()
    }

    /// Ciphertext is waiting for the socket.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Protocol version and cipher suite, for the log.
    pub(super) fn describe(&self) -> String {
        let version = match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1_3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1_2",
            _ => "",
        };
        let suite = self.tls.negotiated_cipher_suite().map(|ours| ours.suite());
        let suite = SUITES
            .iter()
            .find(|(of, _)| Some(*of) == suite)
            .map_or("", |(_, name)| name);
        let resumed = matches!(self.tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        format!("{version} {suite}{}", if resumed { ", resumed" } else { "" })
    }

    /// Reads what is there, giving plaintext to `on_plain`; bounded for one pass.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        on_plain: &mut dyn FnMut(&mut [u8]),
    ) -> Result<ReadState, TlsFailure> {
        for _ in 0..READS_PER_PASS {
            if !self.sock.is_readable() {
                return Ok(ReadState::Open);
            }
            match self.tls.read_tls(&mut self.sock) {
                Ok(0) => return Ok(ReadState::Cut),
                Ok(n) => self.received_bytes += n as u64,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ReadState::Open),
                Err(e) => return Err(TlsFailure::Io(e)),
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(e) => {
                    // The alert tells the server why; it may be lost, for the connection is over either way.
                    let _ = self.tls.write_tls(&mut self.sock);
                    return Err(TlsFailure::Tls(e));
                }
            };
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                match self.tls.reader().read(scratch) {
                    Ok(0) => break,
                    Ok(n) => {
                        left = left.saturating_sub(n);
                        on_plain(scratch.get_mut(..n).unwrap_or_default());
                    }
                    Err(_) => break,
                }
            }
            if state.peer_has_closed() {
                return Ok(ReadState::Closed);
            }
        }
        Ok(ReadState::Open)
    }

    /// Encrypts `bytes`. The caller has seen [`TlsIo::wants_write`] false, so all of it fits.
    pub(super) fn write_plain(&mut self, bytes: &[u8]) -> Result<(), TlsFailure> {
        self.tls.writer().write_all(bytes).map_err(TlsFailure::Io)
    }

    /// Writes ciphertext until there is none or the socket refuses; true when there is none left.
    pub(super) fn flush(&mut self) -> Result<bool, TlsFailure> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.sock) {
                Ok(0) => return Err(TlsFailure::Io(io::ErrorKind::WriteZero.into())),
                Ok(n) => self.sent_bytes += n as u64,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(TlsFailure::Io(e)),
            }
        }
        Ok(true)
    }

    /// Bytes the kernel holds which it has not put on the wire yet.
    pub(super) fn unsent(&self) -> usize {
        sys::unsent(self.sock.io().as_fd()).unwrap_or(0)
    }

    /// What is on its way, if the kernel says so.
    pub(super) fn flight(&self) -> Option<Look> {
        let (outstanding_bytes, rtt) = sys::tcp_flight(self.sock.io().as_fd()).ok()?;
        Some(Look {
            sent_bytes: self.sent_bytes,
            outstanding_bytes,
            rtt,
        })
    }

    /// The kernel tells when unsent bytes fall below the mark (Linux 3.12 and later).
    pub(super) fn has_lowat(&self) -> bool {
        self.lowat
    }

    /// Asks for an event when the kernel can take more.
    pub(super) fn arm_writable(&mut self) -> Result<(), TlsFailure> {
        self.sock.arm_writable().map_err(TlsFailure::Io)
    }

    /// Says close_notify and closes the sending half; best effort.
    pub(super) fn close(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
        let _ = self.sock.io().shutdown(Shutdown::Write);
    }

    /// The socket, for a connection that is over.
    pub(super) fn into_socket(self) -> Sock<TcpStream> {
        self.sock
    }

    /// Ciphertext bytes received and sent.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.received_bytes, self.sent_bytes)
    }
}
