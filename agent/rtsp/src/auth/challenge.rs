//! `WWW-Authenticate` (RFC 9110 section 11.6.1): several challenges in one value or in several.

use super::digest::{Algorithm, Challenge};

/// Challenges and parameters looked at in one 401.
const MAX_TOKENS: usize = 128;

/// The scheme chosen from a server's offer.
#[derive(Debug)]
pub(super) enum Scheme {
    Digest(Challenge),
    Basic,
}

impl Scheme {
    fn strength(&self) -> u8 {
        match self {
            Self::Digest(challenge) if challenge.algorithm == Algorithm::Sha256 => 2,
            Self::Digest(_) => 1,
            Self::Basic => 0,
        }
    }
}

/// The strongest challenge we can answer; the first of equals.
pub(super) fn choose<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Scheme> {
    let mut best: Option<Scheme> = None;
    for value in values {
        for offer in split(value) {
            let Some(scheme) = understand(&offer) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|best| best.strength() < scheme.strength())
            {
                best = Some(scheme);
            }
        }
    }
    best
}

struct Offer<'a> {
    scheme: &'a [u8],
    params: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Offer<'a> {
    fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()))
            .map(|&(_, value)| value)
    }
}

fn understand(offer: &Offer<'_>) -> Option<Scheme> {
    if offer.scheme.eq_ignore_ascii_case(b"basic") {
        return Some(Scheme::Basic);
    }
    if !offer.scheme.eq_ignore_ascii_case(b"digest") {
        return None;
    }
    let named = offer.param("algorithm");
    let (algorithm, session) = match named {
        None | Some(b"") => (Algorithm::Md5, false),
        Some(name) => Algorithm::parse(name)?,
    };
    let qop_auth = match offer.param("qop") {
        None | Some(b"") => false,
        Some(options) => {
            if !options
                .split(|&b| b == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"auth"))
            {
                return None;
            }
            true
        }
    };
    Some(Scheme::Digest(Challenge {
        realm: offer.param("realm").unwrap_or_default().to_vec(),
        nonce: offer.param("nonce")?.to_vec(),
        opaque: offer.param("opaque").map(<[u8]>::to_vec),
        algorithm,
        algorithm_name: named.filter(|name| !name.is_empty()).map(<[u8]>::to_vec),
        session,
        qop_auth,
        stale: offer
            .param("stale")
            .is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
    }))
}

fn split(value: &[u8]) -> Vec<Offer<'_>> {
    let mut offers: Vec<Offer<'_>> = Vec::new();
    let mut rest = value;
    for _ in 0..MAX_TOKENS {
        rest = skip(rest, |b| b.is_ascii_whitespace() || b == b',');
        let (token, after) = split_at_first(rest, |b| b.is_ascii_whitespace() || matches!(b, b',' | b'='));
        if token.is_empty() && after.is_empty() {
            break;
        }
        let value_at = skip(after, |b| b.is_ascii_whitespace());
        let Some(value) = value_at.strip_prefix(b"=") else {
            offers.push(Offer {
                scheme: token,
                params: Vec::new(),
            });
            rest = after;
            continue;
        };
        let (value, after) = param_value(skip(value, |b| b.is_ascii_whitespace()));
        if let Some(offer) = offers.last_mut() {
            offer.params.push((token, value));
        }
        rest = after;
    }
    offers
}

/// A quoted or bare value. Escapes stay as they are: the digest is over the raw text, which is echoed.
fn param_value(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some(quoted) = bytes.strip_prefix(b"\"") else {
        return split_at_first(bytes, |b| b.is_ascii_whitespace() || b == b',');
    };
    let mut escaped = false;
    for (at, &byte) in quoted.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let (value, rest) = quoted.split_at(at);
                return (value, rest.get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (quoted, &[])
}

fn skip(bytes: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    let at = bytes.iter().position(|&b| !unwanted(b)).unwrap_or(bytes.len());
    bytes.split_at(at).1
}

fn split_at_first(bytes: &[u8], end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|&b| end(b)).unwrap_or(bytes.len()))
}
