//! The HTTP/1.1 exchange that turns a dialled connection into an uplink: the request, and the reply's verdict.
//!
//! It does not follow redirects or wait: that is [`crate::dial`].

mod fields;
#[cfg(test)]
mod tests;

use crate::url::Url;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::fmt;
use core::time::Duration;

/// Longest reply head, interim replies not included.
pub const MAX_HEAD: usize = 16 * 1024;
/// Most addresses taken from one redirect.
pub const MAX_TARGETS: usize = 8;
const MAX_FIELDS: usize = 64;
const MAX_INTERIM: u8 = 8;
const PROTOCOL: &str = "h2c-reverse";
/// RFC 6455, section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How HTTP/2 travels after the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `Upgrade: h2c-reverse`: HTTP/2 bytes directly on the connection.
    H2cReverse,
    /// `Upgrade: websocket` with the subprotocol `h2c-reverse`: HTTP/2 bytes in masked binary messages.
    WebSocket,
}

/// The upgrade request to encode.
pub struct Request<'a> {
    /// Where to; its scheme chooses the carrier.
    pub url: &'a Url,
    /// Bearer token; only for the host it is configured for.
    pub bearer: Option<&'a str>,
    /// `lenscap/<version>`.
    pub user_agent: &'a str,
    /// Fresh random bytes for `Sec-WebSocket-Key`.
    pub ws_nonce: [u8; 16],
    /// More fields, by name: what the camera says of itself (docs/protocol.md, section 4).
    pub fields: &'a [(&'static str, String)],
}

impl Request<'_> {
    /// The request's bytes (RFC 9112, section 3; for `wss:` RFC 6455, section 4.1) and the state that awaits the
    /// reply. Characters that a field must not hold are left out of the token and the other values.
    pub fn encode(&self) -> (Vec<u8>, ExpectReply) {
        let url = self.url;
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n",
            url.path_and_query(),
            url.authority()
        );
        text += "Connection: Upgrade\r\n";
        let accept = match url.carrier() {
            Carrier::H2cReverse => {
                text += &format!("Upgrade: {PROTOCOL}\r\n");
                None
            }
            Carrier::WebSocket => {
                let key = Base64::encode_string(&self.ws_nonce);
                text += "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
                text += &format!("Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n");
                Some(accept_of(&key))
            }
        };
        push_field(&mut text, "User-Agent", self.user_agent);
        for (name, value) in self.fields {
            push_field(&mut text, name, value);
        }
        if let Some(token) = self.bearer {
            text += "Authorization: Bearer ";
            text.extend(token.chars().filter(char::is_ascii_graphic));
            text += "\r\n";
        }
        text += "\r\n";
        (
            text.into_bytes(),
            ExpectReply {
                accept,
                head: Vec::new(),
                interim: 0,
            },
        )
    }
}

fn push_field(text: &mut String, name: &str, value: &str) {
    *text += name;
    *text += ": ";
    text.extend(value.chars().filter(|c| c.is_ascii_graphic() || *c == ' '));
    *text += "\r\n";
}

fn accept_of(key: &str) -> String {
    let text = format!("{key}{ACCEPT_GUID}");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    Base64::encode_string(digest.as_ref())
}

/// Waits for the reply's head.
pub struct ExpectReply {
    /// What `Sec-WebSocket-Accept` must say, on the WebSocket carrier.
    accept: Option<String>,
    head: Vec<u8>,
    interim: u8,
}

/// What the received bytes amount to.
pub enum Progress {
    /// The head is not complete.
    NeedMore(ExpectReply),
    /// The head is complete.
    Done {
        /// The verdict.
        reply: Reply,
        /// Bytes behind the head: after 101 the start of HTTP/2.
        rest: Vec<u8>,
    },
}

/// The gateway's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 101: the roles turn.
    Switched(Welcome),
    /// 307 or 308.
    Redirect(Redirect),
    /// 401 or 403.
    Unauthorized {
        /// 401 or 403.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// 503 with `Lenscap-Claim: pending`: nobody has claimed this camera.
    Pending {
        /// `Retry-After`.
        retry_after: Option<Duration>,
        /// `Lenscap-Release`.
        release: Option<String>,
    },
    /// 429 or 5xx.
    Unavailable {
        /// The status.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Any other final status.
    Refused {
        /// The status.
        status: u16,
    },
}

/// What comes with a 101 (docs/protocol.md, section 4). `Debug` shows no credential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Welcome {
    /// `Lenscap-Operator`: the key that the camera is to obey.
    pub operator: Option<String>,
    /// `Lenscap-Resume`: the credential to come back with.
    pub resume: Option<String>,
    /// `Link: <...>; rel=alternate`: where else the credential may be shown, [`MAX_TARGETS`] at most.
    pub alternates: Vec<String>,
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Welcome {{ resume: {} }}", self.resume.is_some())
    }
}

impl Welcome {
    /// The same fields in a request over an uplink that is up (docs/protocol.md, section 4).
    pub fn of_request(headers: &[(String, Vec<u8>)]) -> Self {
        let given = headers
            .iter()
            .map(|(name, value)| httparse::Header { name, value });
        fields::Fields(&given.collect::<Vec<_>>()).welcome()
    }
}

/// Where a 307 or 308 points. Addresses may hold tickets, so `Debug` only counts them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redirect {
    /// 308: the address is to be kept.
    pub permanent: bool,
    /// `Location`, then `Link: <...>; rel=alternate` in order, [`MAX_TARGETS`] at most. Empty when there was none.
    pub targets: Vec<String>,
    /// `Lenscap-Pin`: `sha256/<base64>`, for the host in `Location`.
    pub pin: Option<String>,
    /// `Lenscap-Signature`, of a 308.
    pub signature: Option<String>,
    /// `Lenscap-Release`, with a 308.
    pub release: Option<String>,
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            permanent,
            targets,
            pin,
            ..
        } = self;
        write!(
            f,
            "Redirect {{ permanent: {permanent}, targets: {}, pin: {} }}",
            targets.len(),
            pin.is_some()
        )
    }
}

/// The reply breaks the protocol: the peer is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The head is longer than [`MAX_HEAD`], or has too many fields.
    TooLong,
    /// The bytes are not an HTTP/1.1 reply.
    NotHttp,
    /// Interim replies without end.
    TooManyInterim,
    /// 101, but `Upgrade` or `Connection` do not say what was asked for.
    WrongUpgrade,
    /// 101, but `Sec-WebSocket-Accept` is missing or wrong.
    WrongAccept,
    /// 101, but not with the subprotocol `h2c-reverse`, or with an extension.
    WrongProtocol,
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the server's reply is longer than 16 KiB or has more than 64 fields",
            Self::NotHttp => "the server does not answer in HTTP/1.1; check the endpoint's port",
            Self::TooManyInterim => "the server sends interim replies without end",
            Self::WrongUpgrade => "the server switches to another protocol; check the endpoint's path",
            Self::WrongAccept => {
                "Sec-WebSocket-Accept is wrong; something between here and the gateway answers"
            }
            Self::WrongProtocol => "the server does not take the WebSocket subprotocol h2c-reverse",
        })
    }
}

impl core::error::Error for UpgradeError {}

impl ExpectReply {
    /// Takes received bytes, split anywhere.
    pub fn handle_input(mut self, bytes: &[u8]) -> Result<Progress, UpgradeError> {
        let mut scanned = self.head.len().saturating_sub(2);
        self.head.extend_from_slice(bytes);
        loop {
            if !starts_like_http(&self.head) {
                return Err(UpgradeError::NotHttp);
            }
            let end = head_end(&self.head, scanned);
            if end.unwrap_or(self.head.len()) > MAX_HEAD {
                return Err(UpgradeError::TooLong);
            }
            let Some(end) = end else {
                return Ok(Progress::NeedMore(self));
            };
            let rest = self.head.split_off(end);
            match self.judge()? {
                Some(reply) => return Ok(Progress::Done { reply, rest }),
                None => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Err(UpgradeError::TooManyInterim);
                    }
                    self.head = rest;
                    scanned = 0;
                }
            }
        }
    }

    /// The verdict of a whole head; `None` for an interim reply.
    fn judge(&self) -> Result<Option<Reply>, UpgradeError> {
        let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut storage);
        match response.parse(&self.head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(UpgradeError::NotHttp),
            Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::TooLong),
            Err(_) => return Err(UpgradeError::NotHttp),
        }
        if response.version != Some(1) {
            return Err(UpgradeError::NotHttp);
        }
        let status = response.code.ok_or(UpgradeError::NotHttp)?;
        let fields = fields::Fields(response.headers);
        Ok(Some(match status {
            101 => {
                self.check_switch(&fields)?;
                Reply::Switched(fields.welcome())
            }
            100..=199 => return Ok(None),
            307 | 308 => Reply::Redirect(fields.redirect(status == 308)),
            401 | 403 => Reply::Unauthorized {
                status,
                retry_after: fields.retry_after(),
            },
            503 if fields.has_token("lenscap-claim", "pending") => Reply::Pending {
                retry_after: fields.retry_after(),
                release: fields.short_text("lenscap-release"),
            },
            429 | 500..=599 => Reply::Unavailable {
                status,
                retry_after: fields.retry_after(),
            },
            200..=999 => Reply::Refused { status },
            _ => return Err(UpgradeError::NotHttp),
        }))
    }

    fn check_switch(&self, fields: &fields::Fields<'_>) -> Result<(), UpgradeError> {
        let protocol = if self.accept.is_some() {
            "websocket"
        } else {
            PROTOCOL
        };
        if !fields.has_token("upgrade", protocol) || !fields.has_token("connection", "upgrade") {
            return Err(UpgradeError::WrongUpgrade);
        }
        let Some(accept) = &self.accept else { return Ok(()) };
        if fields.only("sec-websocket-accept") != Some(accept.as_bytes()) {
            return Err(UpgradeError::WrongAccept);
        }
        let agreed = fields.only("sec-websocket-protocol") == Some(PROTOCOL.as_bytes());
        if !agreed || fields.has("sec-websocket-extensions") {
            return Err(UpgradeError::WrongProtocol);
        }
        Ok(())
    }
}

/// Whether the bytes may become a status line. Empty lines in front are what some servers send.
fn starts_like_http(head: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let blank = head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let line = head.get(blank..).unwrap_or(&[]);
    START.starts_with(line) || line.starts_with(START)
}

/// The end of the first head, empty lines before it skipped.
fn head_end(head: &[u8], from: usize) -> Option<usize> {
    let blank = head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let from = from.max(blank);
    let tail = head.get(from..)?;
    tail.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .find_map(|(at, _)| match tail.get(at + 1..)? {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        })
}
