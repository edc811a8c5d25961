//! The dialling state machine: which address next, and when. It never connects; it decides.
//!
//! A *round* starts at an endpoint and follows redirects without waiting, at most [`MAX_DIALS`] times. Between two
//! rounds there is always a delay of at least [`MIN_DELAY`].

#[cfg(test)]
mod life;
mod machine;
mod pace;
mod resume;
#[cfg(test)]
mod tests;

pub use machine::Dialer;
pub use pace::{
    HOURLY, LIVED, MAX_BACKOFF, MIN_BACKOFF, MIN_DELAY, QUICK_DELAY, SLOW_DELAY, SLOW_TRIES, STABLE_AFTER,
};
pub use resume::{MAX_RESUME_TARGETS, Resume};

use crate::Now;
use crate::claim::{ClaimError, Operator};
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

/// What an address is to the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A configured address of a camera that nobody has claimed: it may lead to whoever will.
    Activation,
    /// The gateway that knows whose the camera is.
    Endpoint,
    /// A gateway that it was sent to for now.
    Streamer,
}

/// What is kept of an uplink over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The address of a 308, with its pin.
    pub endpoint: Option<(Url, Option<String>)>,
    /// The operator's key.
    pub operator: Option<Operator>,
    /// Whether the claim was ended at the device, and no operator's key was kept since.
    pub was_reset: bool,
    /// How to come back to a streamer.
    pub resume: Option<Resume>,
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
    /// What it is to the camera.
    pub role: Role,
    /// Whether the credential of [`Dialer::credential`] is to be shown.
    pub resumes: bool,
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
    /// The operator's key is new, or counts for more or less than before: to be kept. With one that is released, the
    /// credential is to be forgotten.
    OperatorChanged(Operator),
    /// A credential worth keeping: for other addresses than the last that was, or fresher by a day. `None`: there is
    /// none any more.
    ResumeChanged(Option<Resume>),
    /// What a gateway said of an operator does not count.
    ClaimRefused(ClaimError),
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
    /// It is for good, the camera is claimed, and its operator has not said so.
    Claimed(ClaimError),
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
            Self::Claimed(error) => write!(f, "a redirect for good, but {error}"),
        }
    }
}

impl core::error::Error for RedirectError {}
