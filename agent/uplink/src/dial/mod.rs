//! The dialling state machine: which address next, and when. It never connects; it decides.
//!
//! A *round* starts at an endpoint and follows redirects without waiting, at most [`MAX_DIALS`] times. Between two
//! rounds there is always a delay of at least [`MIN_DELAY`].

mod machine;
mod pace;
#[cfg(test)]
mod tests;

pub use machine::Dialer;
pub use pace::{HOURLY, MAX_BACKOFF, MIN_BACKOFF, MIN_DELAY, SLOW_DELAY, SLOW_TRIES, STABLE_AFTER};

use crate::Now;
use crate::upgrade::Reply;
use crate::url::{HostPattern, ParseError, Url};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Most redirects followed in a row.
pub const MAX_HOPS: u8 = 3;
/// Most addresses dialled in one round, alternates included.
pub const MAX_DIALS: u32 = 8;

/// What to dial and where redirects may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialConfig {
    /// The configured addresses, in order of preference.
    pub endpoints: Vec<Url>,
    /// Hosts that redirects and moves may name, beside the endpoints' own hosts.
    pub redirect_to: Vec<HostPattern>,
}

/// What the caller is to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Dial this, once, and report with [`Dialer::handle_outcome`].
    Dial(Target),
    /// An attempt that was handed out is under way.
    InProgress,
    /// Nothing until then.
    Wait {
        /// When to poll again.
        until: Now,
        /// Why.
        why: Waiting,
    },
    /// The uplink is up.
    Connected,
}

/// Why the dialler waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// After a failure or a lost connection.
    Backoff,
    /// After 401 or 403.
    Unauthorized,
    /// The gateway asked for it with `Retry-After`.
    RetryAfter,
    /// Moves come faster than they may.
    MovePaced,
    /// No endpoint is configured.
    NoEndpoint,
}

/// One address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub url: Url,
    /// Whether the configured bearer token may be sent there.
    pub send_bearer: bool,
    /// The server's SPKI pin (`sha256/<base64>`), from a 308; it holds for this host alone.
    pub pin: Option<String>,
    /// Redirects followed to get here, 0 to 3.
    pub hop: u8,
}

/// How an attempt, or a connection, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The attempt failed before an HTTP reply.
    Failed(FailureKind),
    /// The server replied. `Reply::Switched` counts as [`Outcome::Established`].
    Reply(Reply),
    /// The uplink is up.
    Established,
    /// The uplink that was up is gone. While a move is under way this is the old uplink; after the move's
    /// `Established` the end of the old one is not reported.
    Lost,
}

/// What failed before an HTTP reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The name did not resolve.
    Resolve,
    /// TCP did not connect.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// It took too long.
    Timeout,
    /// The reply was not HTTP, or broke the upgrade.
    Protocol,
}

/// Something to log or to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A 308: this is the endpoint from now on.
    EndpointMoved {
        /// The new endpoint.
        url: Url,
        /// Its pin.
        pin: Option<String>,
    },
    /// A redirect was not followed.
    RedirectRefused(RedirectError),
    /// A round of a move did not succeed; the old uplink stays. A move without a target goes on after a delay.
    MoveFailed,
}

/// Why a redirect or a move is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectError {
    /// The address is malformed, or not `https:`/`wss:`.
    Malformed(ParseError),
    /// `redirect_to` does not allow the host.
    Forbidden,
    /// The address was visited already in this attempt.
    Loop,
    /// More than three hops.
    TooManyHops,
    /// No address was given.
    NoTarget,
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed redirect address: {error}"),
            Self::Forbidden => {
                f.write_str("redirect_to does not allow the host; add it there if it is right")
            }
            Self::Loop => f.write_str("the redirects form a loop"),
            Self::TooManyHops => f.write_str("more than 3 redirects in a row"),
            Self::NoTarget => f.write_str("the redirect names no address"),
        }
    }
}

impl core::error::Error for RedirectError {}
