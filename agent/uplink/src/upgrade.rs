//! skeleton
use crate::url::Url;
use alloc::{string::String, vec::Vec};
use core::time::Duration;

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
    /// Where to.
    pub url: &'a Url,
    /// Bearer token; only for the host it is configured for.
    pub bearer: Option<&'a str>,
    /// `lenscap/<version>`.
    pub user_agent: &'a str,
    /// Fresh random bytes for `Sec-WebSocket-Key`.
    pub ws_nonce: [u8; 16],
}

impl Request<'_> {
    /// The request's bytes and the state that waits for the reply.
    pub fn encode(&self) -> (Vec<u8>, ExpectReply) {
        (Vec::new(), ExpectReply { head: Vec::new() })
    }
}

/// Waits for the reply's head.
pub struct ExpectReply {
    head: Vec<u8>,
}

impl ExpectReply {
    /// Takes received bytes.
    pub fn handle_input(mut self, bytes: &[u8]) -> Result<Progress, UpgradeError> {
        self.head.extend_from_slice(bytes);
        Ok(Progress::NeedMore(self))
    }
}

/// What the received bytes amount to.
pub enum Progress {
    /// The head is not complete.
    NeedMore(ExpectReply),
    /// The head is complete; `rest` is what follows it.
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
    Switched,
    /// 307 or 308.
    Redirect(Redirect),
    /// 401 or 403.
    Unauthorized {
        /// 401 or 403.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
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

/// Where a 307 or 308 points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// 308.
    pub permanent: bool,
    /// `Location`, then `Link: <...>; rel=alternate` in order.
    pub targets: Vec<String>,
    /// `Lenscap-Pin`: `sha256/<base64>`.
    pub pin: Option<String>,
}

/// The reply breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// Longer than 16 KiB.
    TooLong,
}
