//! Fetches one JPEG from the camera's own snapshot URL: bounded in bytes, time and rounds of authentication.
//!
//! Nothing is cached, and a redirect of the camera is not followed: the agent opens no other connection than the
//! configured one.

pub mod http;

use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use lenscap_rtsp::Credentials;
use lenscap_rtsp::auth::Authenticator;
use mio::net::TcpStream;

use self::http::{Malformed, Reader, Response};
use super::net::{Net, Sock};
use super::slots::Slot;
use crate::config::SnapshotUrl;

/// How long one image may take, authentication included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the connection alone may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests sent for one image: without credentials, with them, with a fresh nonce.
const MAX_ROUNDS: u8 = 3;
/// Reads in one pass.
const READS_PER_PASS: usize = 16;
/// First bytes of a JPEG: start of image (ITU-T T.81, B.2.1).
const JPEG_SOI: [u8; 2] = [0xff, 0xd8];

/// Why there is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotError {
    /// Nothing accepts connections there.
    Unreachable,
    /// The camera closed or broke the connection.
    Lost,
    /// The camera refuses the configured user or password, or wants one and none is configured.
    Unauthorized,
    /// Another status than 200.
    Status(u16),
    /// What came is no HTTP.
    Garbage,
    /// The image is larger than 4 MiB.
    TooLarge,
    /// What came is no JPEG.
    NotJpeg,
    /// It took longer than 10 seconds.
    Timeout,
}

impl SnapshotError {
    /// The status for the gateway.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Timeout => 504,
            Self::Unreachable
            | Self::Lost
            | Self::Unauthorized
            | Self::Status(_)
            | Self::Garbage
            | Self::TooLarge
            | Self::NotJpeg => 502,
        }
    }
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => {
                f.write_str("the camera's web server does not answer; check option snapshot")
            }
            Self::Lost => f.write_str("the camera closed the connection"),
            Self::Unauthorized => {
                f.write_str("the camera refuses user or password; check options user and password_file")
            }
            Self::Status(status) => write!(f, "the camera answered {status}; check option snapshot"),
            Self::Garbage => f.write_str("the camera's answer is no HTTP"),
            Self::TooLarge => f.write_str("the camera's image is larger than 4 MiB"),
            Self::NotJpeg => f.write_str("the camera sent no JPEG; check option snapshot"),
            Self::Timeout => f.write_str("the camera took longer than 10 s"),
        }
    }
}

/// One fetch under way.
#[derive(Debug)]
pub(super) struct Fetch {
    profile: String,
    url: SnapshotUrl,
    auth: Option<Authenticator>,
    net: Rc<Net>,
    sock: Sock<TcpStream>,
    connected: bool,
    unsent: Vec<u8>,
    reader: Reader,
    rounds: u8,
    connect_by: Duration,
    deadline: Duration,
    slot: Slot,
}

impl Fetch {
    /// Connects to the camera.
    pub(super) fn new(
        net: &Rc<Net>,
        now: Duration,
        profile: &str,
        url: &SnapshotUrl,
        credentials: Option<(Credentials, [u8; 16])>,
        slot: Slot,
    ) -> Result<Self, SnapshotError> {
        let sock = net.connect(url.addr).map_err(|_| SnapshotError::Unreachable)?;
        let mut fetch = Self {
            profile: profile.to_owned(),
            url: url.clone(),
            auth: credentials.map(|(credentials, seed)| Authenticator::new(credentials, seed)),
            net: Rc::clone(net),
            sock,
            connected: false,
            unsent: Vec::new(),
            reader: Reader::new(),
            rounds: 0,
            connect_by: now + CONNECT_TIMEOUT,
            deadline: now + FETCH_TIMEOUT,
            slot,
        };
        if let Some(auth) = &mut fetch.auth {
            auth.start_request();
        }
        fetch.queue_request();
        Ok(fetch)
    }

    pub(super) fn profile(&self) -> &str {
        &self.profile
    }

    /// There is more to read at once.
    pub(super) fn is_readable(&self) -> bool {
        self.connected && self.sock.is_readable()
    }

    /// The permit, for the time until the image has been sent.
    pub(super) fn into_slot(self) -> Slot {
        self.slot
    }

    pub(super) fn poll_timeout(&self) -> Duration {
        if self.connected {
            self.deadline
        } else {
            self.connect_by.min(self.deadline)
        }
    }

    /// Moves bytes both ways; `Some` once there is an image or an error.
    pub(super) fn advance(
        &mut self,
        now: Duration,
        scratch: &mut [u8],
    ) -> Option<Result<Vec<u8>, SnapshotError>> {
        match self.step(scratch) {
            Ok(None) if now >= self.poll_timeout() => Some(Err(if self.connected {
                SnapshotError::Timeout
            } else {
                SnapshotError::Unreachable
            })),
            Ok(None) => None,
            Ok(Some(image)) => Some(Ok(image)),
            Err(error) => Some(Err(error)),
        }
    }

    fn step(&mut self, scratch: &mut [u8]) -> Result<Option<Vec<u8>>, SnapshotError> {
        if !self.connected {
            self.connected = self
                .sock
                .poll_connected()
                .map_err(|_| SnapshotError::Unreachable)?;
            if !self.connected {
                return Ok(None);
            }
        }
        while !self.unsent.is_empty() && self.sock.is_writable() {
            match self.sock.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(SnapshotError::Lost),
            }
        }
        for _ in 0..READS_PER_PASS {
            if !self.sock.is_readable() {
                break;
            }
            let complete = match self.sock.read(scratch) {
                Ok(0) => self.reader.handle_end().map(|()| true).map_err(explain)?,
                Ok(n) => self
                    .reader
                    .handle_input(scratch.get(..n).unwrap_or_default())
                    .map_err(explain)?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(SnapshotError::Lost),
            };
            if complete {
                let reader = std::mem::take(&mut self.reader);
                return self.take_response(reader.into_response());
            }
        }
        Ok(None)
    }

    fn take_response(&mut self, response: Response) -> Result<Option<Vec<u8>>, SnapshotError> {
        match response.status {
            200 if response.body.starts_with(&JPEG_SOI) => Ok(Some(response.body)),
            200 => Err(SnapshotError::NotJpeg),
            401 => self.retry(&response.challenges).map(|()| None),
            status => Err(SnapshotError::Status(status)),
        }
    }

    /// Answers a challenge on a new connection, as many cameras close the old one.
    fn retry(&mut self, challenges: &[Vec<u8>]) -> Result<(), SnapshotError> {
        let auth = self.auth.as_mut().ok_or(SnapshotError::Unauthorized)?;
        auth.handle_challenge(challenges.iter().map(Vec::as_slice))
            .map_err(|_| SnapshotError::Unauthorized)?;
        if self.rounds >= MAX_ROUNDS {
            return Err(SnapshotError::Unauthorized);
        }
        self.sock = self
            .net
            .connect(self.url.addr)
            .map_err(|_| SnapshotError::Unreachable)?;
        self.connected = false;
        self.connect_by = self.deadline;
        self.queue_request();
        Ok(())
    }

    fn queue_request(&mut self) {
        let SnapshotUrl {
            authority, target, ..
        } = &self.url;
        self.unsent = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: lenscap/{}\r\nAccept: image/jpeg\r\n\
             Connection: close\r\n",
            env!("CARGO_PKG_VERSION"),
        )
        .into_bytes();
        if let Some(value) = self
            .auth
            .as_mut()
            .and_then(|auth| auth.authorization("GET", target.as_bytes()))
        {
            self.unsent.extend_from_slice(b"Authorization: ");
            self.unsent.extend_from_slice(&value);
            self.unsent.extend_from_slice(b"\r\n");
        }
        self.unsent.extend_from_slice(b"\r\n");
        self.rounds += 1;
    }
}

fn explain(malformed: Malformed) -> SnapshotError {
    match malformed {
        Malformed::Head | Malformed::Framing => SnapshotError::Garbage,
        Malformed::TooLarge => SnapshotError::TooLarge,
        Malformed::Truncated => SnapshotError::Lost,
    }
}
