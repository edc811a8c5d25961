//! Resume credentials: how a camera comes back to the streamers while the endpoint is down.

use std::collections::BTreeMap;
use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sealed;
use crate::config::Sha256Hash;
use crate::rtsp::digest::hex;

/// How long a credential is good: 7 days.
pub const RESUME_SECONDS: u64 = 7 * 86_400;
/// A credential of this age is renewed over the live uplink, so that a loss at any time leaves six days at least.
pub const RENEW_SECONDS: u64 = 86_400;
/// How far a streamer's clock may be ahead of another's.
const MAX_AHEAD_SECONDS: u64 = 86_400;
const RESUME: &str = "lenscap-resume-1";

/// What a credential says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    v: u8,
    k: String,
    c: String,
    o: String,
    i: u64,
    e: u64,
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume")
            .field("camera", &self.c)
            .finish_non_exhaustive()
    }
}

/// Why a credential is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ResumeError {
    /// Not made by this fleet.
    #[error("the resume credential is forged or damaged")]
    Forged,
    /// Made by a clock that was ahead.
    #[error("the resume credential was made in the future")]
    Future,
    /// Too old.
    #[error("the resume credential has expired")]
    Expired,
    /// Shown with another key.
    #[error("the resume credential belongs to another camera's key")]
    Key,
    /// The camera was released since.
    #[error("the resume credential was revoked")]
    Revoked,
}

impl Resume {
    /// For the camera with this key.
    #[must_use]
    pub fn new(key: &Sha256Hash, camera: &str, proof: Option<&[u8; 32]>, now: u64) -> Self {
        Self {
            v: 1,
            k: hex(key),
            c: camera.to_owned(),
            o: proof.map(|proof| sealed::encode(proof)).unwrap_or_default(),
            i: now,
            e: now + RESUME_SECONDS,
        }
    }

    /// What this fleet gave to a camera whose uplink has been up since, for another week; `None` if it was released.
    /// Whether it has expired does not matter: the uplink has outlived it.
    #[must_use]
    pub fn renewed(
        text: &str,
        fleet: &hmac::Key,
        revoked: &BTreeMap<Sha256Hash, u64>,
        now: u64,
    ) -> Option<Self> {
        let old: Self = sealed::open_with(fleet, RESUME, text)?;
        let void = revoked
            .iter()
            .any(|(key, until)| old.i <= *until && old.k == hex(key));
        (old.v == 1 && !void).then(|| Self {
            i: now,
            e: now + RESUME_SECONDS,
            ..old
        })
    }

    /// The camera's key, in hex.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.k
    }

    /// The camera's name.
    #[must_use]
    pub fn camera(&self) -> &str {
        &self.c
    }

    /// What shows the camera that the PIN was known.
    #[must_use]
    pub fn proof(&self) -> Option<[u8; 32]> {
        sealed::decode(&self.o)?.try_into().ok()
    }

    /// As the camera keeps it.
    #[must_use]
    pub fn seal(&self, fleet: &hmac::Key) -> String {
        sealed::seal_with(fleet, RESUME, self)
    }

    /// Judges a credential. `revoked`: per key, until when what was issued is void.
    ///
    /// # Errors
    /// See [`ResumeError`].
    pub fn accept(
        text: &str,
        fleet: &hmac::Key,
        key: &Sha256Hash,
        revoked: &BTreeMap<Sha256Hash, u64>,
        now: u64,
    ) -> Result<Self, ResumeError> {
        let resume: Self = sealed::open_with(fleet, RESUME, text).ok_or(ResumeError::Forged)?;
        if resume.v != 1 {
            return Err(ResumeError::Forged);
        }
        if resume.k != hex(key) {
            return Err(ResumeError::Key);
        }
        if resume.i > now + MAX_AHEAD_SECONDS {
            return Err(ResumeError::Future);
        }
        if resume.e < now {
            return Err(ResumeError::Expired);
        }
        if revoked.get(key).is_some_and(|until| resume.i <= *until) {
            return Err(ResumeError::Revoked);
        }
        Ok(resume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_for_its_key_and_a_week_unless_revoked() {
        let fleet = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let text = Resume::new(&[1; 32], "front", None, 1000).seal(&fleet);
        let accept = |key: u8, revoked: &[(Sha256Hash, u64)], now| {
            let revoked = revoked.iter().copied().collect();
            Resume::accept(&text, &fleet, &[key; 32], &revoked, now).map(|resume| resume.c)
        };
        let week = 1000 + 7 * 86_400;
        assert_eq!(accept(1, &[], week), Ok("front".to_owned()));
        assert_eq!(accept(1, &[], week + 1), Err(ResumeError::Expired));
        assert_eq!(accept(2, &[], 1000), Err(ResumeError::Key));
        assert_eq!(
            accept(1, &[([1; 32], 999), ([2; 32], 5000)], 1000),
            Ok("front".to_owned())
        );
        assert_eq!(accept(1, &[([1; 32], 1000)], 1000), Err(ResumeError::Revoked));
        // Of a streamer whose clock was at 2040: it is not good until then.
        assert_eq!(accept(1, &[], 999), Ok("front".to_owned()));
        let ahead = Resume::new(&[1; 32], "front", None, 1001 + MAX_AHEAD_SECONDS).seal(&fleet);
        let judged = Resume::accept(&ahead, &fleet, &[1; 32], &BTreeMap::new(), 1000);
        assert_eq!(judged, Err(ResumeError::Future));
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
        let foreign = Resume::accept(&text, &other, &[1; 32], &BTreeMap::new(), 1000);
        assert_eq!(foreign, Err(ResumeError::Forged));
    }
}
