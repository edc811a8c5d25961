//! Playback addresses that need no login: signed, for one profile, for a while.

use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::sealed;
use crate::rtsp::digest::hex;
use crate::tls::sha256;

/// The query parameter that carries it.
pub const PARAMETER: &str = "play=";
/// Longest time that an address may be good for.
pub const MAX_SECONDS: u64 = 7 * 86_400;
const LINK: &str = "lenscap-play-1";

/// What an address allows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    v: u8,
    /// Camera.
    c: String,
    /// Profile.
    p: String,
    /// Who made it: `admin` or a token's number. It holds for as long as that may see the camera.
    b: String,
    /// Stands for the camera's owner: the address ends with the ownership, whoever made it.
    #[serde(default)]
    o: String,
    /// Good until then, seconds since 1970.
    e: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("camera", &self.c)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// An address of `by`'s for one profile of a camera that is `account`'s.
    #[must_use]
    pub fn new(camera: &str, profile: &str, by: &str, account: &str, expires: u64) -> Self {
        Self {
            v: 1,
            c: camera.to_owned(),
            p: profile.to_owned(),
            b: by.to_owned(),
            o: owner_tag(account),
            e: expires,
        }
    }

    /// Who made it.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.b
    }

    /// What [`owner_tag`] was when it was made.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.o
    }

    /// Good until then, seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.e
    }

    /// The value of the query parameter.
    #[must_use]
    pub fn seal(&self, key: &hmac::Key) -> String {
        sealed::seal_with(key, LINK, self)
    }

    /// The link, if it is genuine, for this camera and profile, and not over.
    #[must_use]
    pub fn accept(text: &str, key: &hmac::Key, camera: &str, profile: &str, now: u64) -> Option<Self> {
        let link: Self = sealed::open_with(key, LINK, text)?;
        let fits = link.v == 1 && link.c == camera && link.p == profile && now <= link.e;
        fits.then_some(link)
    }
}

/// What stands for an account in addresses, which strangers read: the start of a hash, nothing for no account.
#[must_use]
pub fn owner_tag(account: &str) -> String {
    if account.is_empty() {
        return String::new();
    }
    hex(&sha256(format!("lenscap-owner-1\n{account}").as_bytes())[..8])
}

/// Takes the parameter out of what follows a profile in a URI: its value, and the rest without it.
#[must_use]
pub fn take(rest: &str) -> Option<(&str, String)> {
    let at = rest
        .match_indices(PARAMETER)
        .map(|(at, _)| at)
        .find(|at| *at > 0 && matches!(rest.as_bytes()[at - 1], b'?' | b'&'))?;
    let value = &rest[at + PARAMETER.len()..];
    // Players put control paths behind the query.
    let end = value
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .unwrap_or(value.len());
    let (value, after) = value.split_at(end);
    let before = &rest[..at - 1];
    let joint = &rest[at - 1..at];
    let left = match after.strip_prefix('&') {
        Some(more) => format!("{before}{joint}{more}"),
        None => format!("{before}{after}"),
    };
    Some((value, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_for_one_profile_and_a_while() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let text = Link::new("front", "main", "admin", "acme", 1000).seal(&key);
        let accept = |camera, profile, now| Link::accept(&text, &key, camera, profile, now).is_some();
        assert!(accept("front", "main", 1000));
        assert!(!accept("front", "main", 1001) && !accept("front", "sub", 1) && !accept("back", "main", 1));
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
        assert_eq!(Link::accept(&text, &other, "front", "main", 1), None);
    }

    #[test]
    fn the_parameter_is_cut_out_and_nothing_else() {
        for (rest, value, left) in [
            ("?play=a.b-_1", "a.b-_1", ""),
            ("?play=ab/trackID=1", "ab", "/trackID=1"),
            ("?x=1&play=ab&y=2", "ab", "?x=1&y=2"),
            ("?play=ab&y=2/track", "ab", "?y=2/track"),
            ("/track?play=ab", "ab", "/track"),
            ("?display=no&play=", "", "?display=no"),
        ] {
            assert_eq!(take(rest), Some((value, left.to_owned())), "{rest}");
        }
        for rest in ["", "?x=1", "/play=ab", "?display=ab", "play=ab"] {
            assert_eq!(take(rest), None, "{rest}");
        }
    }
}
