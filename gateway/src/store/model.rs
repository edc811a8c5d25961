//! The things that are kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Sha256Hash;
use crate::rtsp::digest::Ha1;

/// Views that are kept; older ones are forgotten.
pub const MAX_VIEWS: u64 = 100_000;

/// How far a camera belongs to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Expected by serial; its key is not known yet.
    Reserved,
    /// Bound to a key.
    Claimed,
}

/// How a claim was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// With the PIN of the label.
    Pin,
    /// By the key's fingerprint.
    Fingerprint,
    /// By serial alone, in an operator's import.
    Serial,
    /// By the operator's own system, over the callback.
    Callback,
}

/// What an operator's system knows of a camera; nothing here is acted upon.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// The operator's own id.
    pub agent_id: Option<String>,
    /// Main stream, as the operator's system names it.
    pub stream: Option<String>,
    /// Second stream.
    pub substream: Option<String>,
    /// Snapshot URL.
    pub snapshot: Option<String>,
    /// ONVIF URL.
    pub onvif_url: Option<String>,
    /// Whether it moves.
    pub ptz: Option<bool>,
}

/// Addresses of cameras often have a password in them.
impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Details")
            .field("agent_id", &self.agent_id)
            .finish_non_exhaustive()
    }
}

/// An address for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// `https:` or `wss:`.
    pub url: String,
    /// `sha256/<base64>` of the next host's key.
    pub pin: Option<String>,
}

/// A camera that is reserved or claimed.
#[derive(Clone, PartialEq, Eq)]
pub struct Camera {
    /// The store's number; 0 before it is stored.
    pub id: i64,
    /// Unique; the first segment of its URLs.
    pub name: String,
    /// Whose it is; empty for the operator's own.
    pub account: String,
    /// As on the label.
    pub serial: Option<String>,
    /// As on the label.
    pub model: Option<String>,
    /// SHA-256 over the key's SubjectPublicKeyInfo.
    pub fingerprint: Option<Sha256Hash>,
    /// Reserved or claimed.
    pub state: CameraState,
    /// How it is or is to be claimed.
    pub method: Method,
    /// What a reserved camera's PIN is compared with (docs/protocol.md, 4). A secret.
    pub pin_key: Option<[u8; 32]>,
    /// Shows the camera that the PIN was known. A secret.
    pub operator_proof: Option<[u8; 32]>,
    /// Since its claim the camera has shown the operator's key, or that nobody had reset it: a reset ends the claim.
    pub confirmed: bool,
    /// The number of the reset that came before the claim: the camera goes on showing it until it has the operator's key.
    pub reset_before: Option<u32>,
    /// Whether anybody may watch; off keeps the uplink and refuses media.
    pub media: bool,
    /// The operator's own system has said no to it.
    pub suspended: bool,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub claimed: Option<u64>,
    /// What the operator's system knows.
    pub details: Details,
}

impl Camera {
    /// A claimed camera with nothing but its key.
    #[must_use]
    pub fn claimed(name: &str, account: &str, fingerprint: Sha256Hash, method: Method, now: u64) -> Self {
        Self {
            id: 0,
            name: name.to_owned(),
            account: account.to_owned(),
            serial: None,
            model: None,
            fingerprint: Some(fingerprint),
            state: CameraState::Claimed,
            method,
            pin_key: None,
            operator_proof: None,
            confirmed: false,
            reset_before: None,
            media: true,
            suspended: false,
            created: now,
            claimed: Some(now),
            details: Details::default(),
        }
    }
}

impl fmt::Debug for Camera {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Camera")
            .field("name", &self.name)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A user of RTSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewerRow {
    /// Login name.
    pub user: String,
    /// Hashes of the password.
    pub ha1: Ha1,
    /// Whose cameras it may see; empty for every account's.
    pub account: String,
    /// Only these; `None` for all of the account.
    pub cameras: Option<Vec<String>>,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub expires: Option<u64>,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything.
    Admin,
    /// Pending cameras, claims, releases, transfers.
    Claim,
    /// List cameras, snapshots, playback addresses.
    View,
    /// `/metrics`.
    Metrics,
}

impl Scope {
    /// Every scope with its name.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Admin, "admin"),
        (Self::Claim, "claim"),
        (Self::View, "view"),
        (Self::Metrics, "metrics"),
    ];
}

/// An API token; the token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The store's number; 0 before it is stored.
    pub id: i64,
    /// For people; unique.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: Sha256Hash,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Only this account's cameras; empty for every account's.
    pub account: String,
    /// Only these cameras.
    pub cameras: Option<Vec<String>>,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub expires: Option<u64>,
}

/// Somebody watching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// Its own number, by time.
    pub id: i64,
    /// Which camera.
    pub camera: String,
    /// Which profile.
    pub profile: String,
    /// User, `token:<name>` or `link:<token>`.
    pub user: String,
    /// `rtsp`, `rtsps` or `snapshot`.
    pub by: String,
    /// From where.
    pub address: String,
    /// Seconds since 1970.
    pub began: u64,
    /// Seconds since 1970; absent while it goes on. Of a view that a killed process left, the last time it is known
    /// to have lived.
    pub ended: Option<u64>,
    /// Bytes given to the viewer.
    pub bytes: u64,
}

/// Which views.
#[derive(Clone, Debug, Default)]
pub struct ViewFilter {
    /// Of one camera.
    pub camera: Option<String>,
    /// Of one user.
    pub user: Option<String>,
    /// Only with a smaller id, for the next page.
    pub before: Option<i64>,
    /// Most at a time.
    pub limit: u32,
}

/// Bytes that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
