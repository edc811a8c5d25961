//! How to come back to a streamer while the endpoint is down.

use crate::upgrade::Welcome;
use crate::url::Url;
use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64UrlUnpadded, Encoding};
use core::fmt;

/// Most addresses that a credential is shown at: the streamer's and its alternates'.
pub const MAX_RESUME_TARGETS: usize = 4;
/// A credential that is so much fresher than the kept one is worth writing to flash: it is good for 7 days.
const FRESHER: u64 = 86_400;

/// A streamer's credential, and where it may be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Resume {
    /// The credential, which says nothing to the camera but when it was made.
    pub credential: String,
    /// The last streamer first, then the others.
    pub addresses: Vec<Url>,
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resume {{ addresses: {:?} }}", self.addresses)
    }
}

impl Resume {
    /// What a 101 from `at` gave; `allows` judges the hosts.
    pub(super) fn of(welcome: &Welcome, at: &Url, allows: impl Fn(&Url) -> bool) -> Option<Self> {
        let credential = welcome.resume.clone()?;
        let own = without_ticket(at)?;
        let others = welcome.alternates.iter().filter_map(|text| at.join(text).ok());
        let mut addresses: Vec<Url> = Vec::new();
        for url in core::iter::once(own).chain(others.filter(|url| allows(url))) {
            if addresses.len() < MAX_RESUME_TARGETS && !addresses.contains(&url) {
                addresses.push(url);
            }
        }
        Some(Self {
            credential,
            addresses,
        })
    }

    /// Whether flash should have this instead of `kept`. The order of addresses is not worth a write.
    pub(super) fn is_news_to(&self, kept: &Self) -> bool {
        let same = self.addresses.len() == kept.addresses.len()
            && self.addresses.iter().all(|url| kept.addresses.contains(url));
        !same || self.issued().abs_diff(kept.issued()) >= FRESHER
    }

    /// When it was made, by the gateway's clock, for the camera may have none; 0 if it does not say.
    fn issued(&self) -> u64 {
        let read = || {
            let body = self.credential.split('.').next()?;
            let json = Base64UrlUnpadded::decode_vec(body).ok()?;
            let text = core::str::from_utf8(&json).ok()?;
            let (_, rest) = text.split_once("\"i\":")?;
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest.get(..digits)?.parse().ok()
        };
        read().unwrap_or(0)
    }
}

/// A streamer's own address: the endpoint has put the ticket behind it.
fn without_ticket(url: &Url) -> Option<Url> {
    let text = url.as_str();
    let end = ["?ticket=", "&ticket="]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    Url::parse(text.get(..end.unwrap_or(text.len()))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn resume(issued: u64, addresses: &[&str]) -> Resume {
        let json = format!("{{\"v\":1,\"k\":\"00\",\"i\":{issued},\"e\":9}}");
        Resume {
            credential: format!("{}.c2ln", Base64UrlUnpadded::encode_string(json.as_bytes())),
            addresses: addresses.iter().map(|text| url(text)).collect(),
        }
    }

    #[test]
    fn addresses_are_bare_allowed_and_few() {
        let welcome = Welcome {
            resume: Some("a.b".to_string()),
            alternates: vec![
                "https://s2.x/up".to_string(),
                "https://evil/up".to_string(),
                "/up".to_string(),
                "https://s3.x/up".to_string(),
                "https://s4.x/up".to_string(),
                "https://s5.x/up".to_string(),
            ],
            ..Welcome::default()
        };
        let at = url("https://s1.x/up?a=b&ticket=t.t");
        let allows = |url: &Url| url.host().ends_with(".x");
        let made = Resume::of(&welcome, &at, allows).unwrap();
        let expected = resume(
            0,
            &[
                "https://s1.x/up?a=b",
                "https://s2.x/up",
                "https://s1.x/up",
                "https://s3.x/up",
            ],
        );
        assert_eq!(made.addresses, expected.addresses);
        assert_eq!(Resume::of(&Welcome::default(), &at, allows), None);
        assert!(!format!("{made:?}").contains("a.b"));
    }

    #[test]
    fn only_what_is_worth_it_is_written() {
        let kept = resume(1000, &["https://s1.x/", "https://s2.x/"]);
        assert_eq!(kept.issued(), 1000);
        for (other, news) in [
            (resume(87_399, &["https://s2.x/", "https://s1.x/"]), false),
            (resume(87_400, &["https://s1.x/", "https://s2.x/"]), true),
            (resume(0, &["https://s1.x/", "https://s2.x/"]), false),
            // A gateway whose clock was wrong.
            (resume(4_000_000_000, &["https://s1.x/", "https://s2.x/"]), true),
            (resume(1001, &["https://s1.x/"]), true),
            (resume(1001, &["https://s1.x/", "https://s3.x/"]), true),
        ] {
            assert_eq!(other.is_news_to(&kept), news, "{other:?}");
        }
        for odd in ["", ".", "!.x", "bm9uZQ.x", "eyJpIjp9.x"] {
            let odd = Resume {
                credential: odd.to_string(),
                addresses: vec![],
            };
            assert_eq!(odd.issued(), 0);
        }
    }
}
