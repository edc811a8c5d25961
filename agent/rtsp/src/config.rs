//! What a session is told at its start: profiles, credentials and bounds.

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

use crate::uri::CameraUrl;

/// A password. Its `Debug` form is redacted and its bytes are overwritten when it is dropped (best effort:
/// the allocator may have moved them before).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the secret's bytes.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Never log it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the stores above from being judged dead.
        core::hint::black_box(&mut self.0);
    }
}

/// A camera account.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account's name.
    pub user: String,
    /// The account's password.
    pub password: Secret,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// One media profile of the camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name viewers use as the first path segment.
    pub name: String,
    /// Where the camera serves it.
    pub rtsp: CameraUrl,
    /// How the camera wants to be asked.
    pub credentials: Option<Credentials>,
}

/// Bounds of one session. `Default` holds the values Lenscap runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// No access unit is started past this many queued bytes.
    pub queue_bytes: usize,
    /// An access unit that outgrows its reservation is still completed up to this many queued bytes.
    pub queue_hard_bytes: usize,
    /// No access unit is started while the oldest queued byte is older than this.
    pub queue_age: Duration,
    /// Queued bytes of audio, metadata and RTCP together.
    pub side_queue_bytes: usize,
    /// Bytes waiting for the camera's socket (requests, talk-back, RTCP).
    pub camera_queue_bytes: usize,
    /// Viewer requests waiting for their turn.
    pub pending_requests: usize,
    /// Time a camera has to accept a connection or to answer a request.
    pub response_timeout: Duration,
    /// Time without RTP while playing after which the session ends.
    pub media_timeout: Duration,
    /// Time a camera has to answer the TEARDOWN.
    pub teardown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 220 ms of 50 Mbit/s; a slower profile meets the bound on age first.
            queue_bytes: 1536 << 10,
            queue_hard_bytes: 3 << 20,
            queue_age: Duration::from_millis(220),
            side_queue_bytes: 64 << 10,
            camera_queue_bytes: 64 << 10,
            pending_requests: 16,
            response_timeout: Duration::from_secs(10),
            media_timeout: Duration::from_secs(10),
            teardown_timeout: Duration::from_secs(2),
        }
    }
}

/// What a session needs to know. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The profiles a viewer may name.
    pub profiles: Rc<[Profile]>,
    /// Bounds.
    pub limits: Limits,
    /// `User-Agent` towards the camera, such as `lenscap/0.1.0`.
    pub user_agent: String,
}
