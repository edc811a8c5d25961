//! Digest authentication, the server's side (RFC 7616 with MD5 and SHA-256, RFC 2069 for clients without `qop`).
//!
//! A nonce is an HMAC over its time and the connection it was given on, so nothing is stored and a nonce seen
//! on one connection is worth nothing on another. Within its connection a nonce that once authenticated stays
//! good: many clients cannot take a new challenge in mid-session. For the same reason `nc` is not counted.

use std::fmt;
use std::time::Duration;

use ring::hmac;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How long a nonce may wait for its first use.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Longest Authorization value that is looked at, in bytes.
pub const MAX_AUTHORIZATION_BYTES: usize = 4096;

const NONCE_HEAD_BYTES: usize = 16;
const NONCE_TAG_BYTES: usize = 16;

/// A hash that Digest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, for the clients that know nothing else.
    Md5,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The hash of `text` in lower-case hex.
    #[must_use]
    pub fn hex(self, text: &[u8]) -> String {
        match self {
            Self::Md5 => format!("{:x}", md5::compute(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// What is kept of a viewer's password: the hashes of `user:realm:password`, in hex.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ha1 {
    /// With MD5.
    pub md5: Option<String>,
    /// With SHA-256.
    pub sha256: Option<String>,
}

impl Ha1 {
    /// Both hashes of a password.
    #[must_use]
    pub fn from_password(user: &str, realm: &str, password: &str) -> Self {
        let text = format!("{user}:{realm}:{password}");
        Self {
            md5: Some(Algorithm::Md5.hex(text.as_bytes())),
            sha256: Some(Algorithm::Sha256.hex(text.as_bytes())),
        }
    }

    fn value(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Md5 => self.md5.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(redacted)")
    }
}

/// A parsed `Authorization: Digest` value.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The user's name.
    pub username: String,
    /// The URI that was signed.
    pub uri: String,
    /// The nonce that was signed.
    pub nonce: String,
    realm: String,
    response: String,
    algorithm: Algorithm,
    /// `nc` and `cnonce` when `qop=auth`.
    qop: Option<(String, String)>,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Authorization {
    /// Parses a header value; `None` for other schemes, missing parameters and unknown algorithms.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() > MAX_AUTHORIZATION_BYTES {
            return None;
        }
        let (scheme, rest) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let params = parse_params(rest);
        let param = |name: &str| {
            params
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let algorithm = match param("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let qop = match param("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((param("nc")?, param("cnonce")?)),
            Some(_) => return None,
        };
        Some(Self {
            username: param("username")?,
            uri: param("uri")?,
            nonce: param("nonce")?,
            realm: param("realm")?,
            response: param("response")?,
            algorithm,
            qop,
        })
    }

    fn expected(&self, ha1: &str, method: &str) -> String {
        let ha2 = self.algorithm.hex(format!("{method}:{}", self.uri).as_bytes());
        let text = match &self.qop {
            Some((nc, cnonce)) => format!("{ha1}:{}:{nc}:{cnonce}:auth:{ha2}", self.nonce),
            None => format!("{ha1}:{}:{ha2}", self.nonce),
        };
        self.algorithm.hex(text.as_bytes())
    }
}

/// `name=value` and `name="quoted \" value"`, separated by commas; names in lower case.
fn parse_params(text: &str) -> Vec<(String, String)> {
    let mut params = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && *c != ',') {
            name.push(c.to_ascii_lowercase());
        }
        if chars.next_if_eq(&'=').is_none() {
            if chars.peek().is_none() {
                return params;
            }
            continue;
        }
        let mut value = String::new();
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
            value.truncate(value.trim_end().len());
        }
        params.push((name.trim().to_owned(), value));
    }
}

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// Ours, for this connection, young enough.
    Fresh,
    /// Ours once, or for another connection, or never: the client should try again with a new one.
    Stale,
}

/// Makes challenges and judges answers.
#[derive(Clone)]
pub struct DigestServer {
    key: hmac::Key,
    realm: String,
    algorithms: Vec<Algorithm>,
}

impl fmt::Debug for DigestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestServer")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl DigestServer {
    /// A server for one realm. `key` must be random; nonces made with another key are stale.
    #[must_use]
    pub fn new(key: &[u8; 32], realm: &str, algorithms: &[Algorithm]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self {
            key,
            realm: realm.to_owned(),
            algorithms: algorithms.to_vec(),
        }
    }

    /// A nonce for one connection. `connection` is a random number of the connection's own.
    #[must_use]
    pub fn nonce(&self, now: Duration, connection: u64) -> String {
        let mut head = [0; NONCE_HEAD_BYTES];
        head[..8].copy_from_slice(&now.as_secs().to_be_bytes());
        // The public half of the connection's number only keeps nonces of two connections apart.
        head[8..12].copy_from_slice(&connection.to_be_bytes()[..4]);
        head[12..].copy_from_slice(&now.subsec_nanos().to_be_bytes());
        hex(&head) + &hex(&self.tag(&head, connection))
    }

    fn tag(&self, head: &[u8], connection: u64) -> [u8; NONCE_TAG_BYTES] {
        let tag = hmac::sign(&self.key, &[head, &connection.to_be_bytes()[..]].concat());
        let mut out = [0; NONCE_TAG_BYTES];
        out.copy_from_slice(&tag.as_ref()[..NONCE_TAG_BYTES]);
        out
    }

    /// Judges a nonce that has not authenticated anything yet.
    #[must_use]
    pub fn nonce_state(&self, now: Duration, connection: u64, nonce: &str) -> NonceState {
        let Some((head, tag)) = decode_nonce(nonce) else {
            return NonceState::Stale;
        };
        let mut secs = [0; 8];
        secs.copy_from_slice(&head[..8]);
        let age = now.as_secs().checked_sub(u64::from_be_bytes(secs));
        let genuine = bool::from(self.tag(&head, connection).ct_eq(&tag));
        match age {
            Some(age) if genuine && age <= NONCE_LIFETIME.as_secs() => NonceState::Fresh,
            _ => NonceState::Stale,
        }
    }

    /// `WWW-Authenticate` values, the strongest first: clients that know only MD5 keep the last one they see.
    #[must_use]
    pub fn challenges(&self, nonce: &str, stale: bool) -> Vec<String> {
        let stale = if stale { ", stale=true" } else { "" };
        let line = |algorithm: &Algorithm| {
            format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
                self.realm,
                algorithm.as_str()
            )
        };
        self.algorithms.iter().map(line).collect()
    }

    /// True if the answer proves the password. `ha1` is `None` for an unknown user, which takes as long.
    #[must_use]
    pub fn verify(&self, answer: &Authorization, method: &str, ha1: Option<&Ha1>) -> bool {
        let known = ha1.and_then(|ha1| ha1.value(answer.algorithm));
        let expected = answer.expected(known.unwrap_or("00000000000000000000000000000000"), method);
        let given = answer.response.to_ascii_lowercase();
        let equal = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
        equal && known.is_some() && answer.realm == self.realm && self.algorithms.contains(&answer.algorithm)
    }
}

fn decode_nonce(nonce: &str) -> Option<([u8; NONCE_HEAD_BYTES], [u8; NONCE_TAG_BYTES])> {
    let mut bytes = [0; NONCE_HEAD_BYTES + NONCE_TAG_BYTES];
    if nonce.len() != bytes.len() * 2 || !nonce.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(nonce.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    let (head, tag) = bytes.split_at(NONCE_HEAD_BYTES);
    Some((head.try_into().ok()?, tag.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server() -> DigestServer {
        DigestServer::new(
            &[7; 32],
            "http-auth@example.org",
            &[Algorithm::Sha256, Algorithm::Md5],
        )
    }

    /// RFC 7616 section 3.9.1.
    fn rfc7616(algorithm: &str, response: &str) -> Authorization {
        Authorization::parse(&format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
             algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        ))
        .unwrap()
    }

    #[test]
    fn verifies_the_examples_of_rfc_7616() {
        let ha1 = Ha1::from_password("Mufasa", "http-auth@example.org", "Circle of Life");
        let md5 = rfc7616("MD5", "8ca523f5e9506fed4657c9700eebdbec");
        let sha = rfc7616(
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        );
        for answer in [&md5, &sha] {
            assert!(server().verify(answer, "GET", Some(&ha1)));
            assert!(!server().verify(answer, "PUT", Some(&ha1)));
            assert!(!server().verify(answer, "GET", None));
            let other = Ha1::from_password("Mufasa", "http-auth@example.org", "Hakuna Matata");
            assert!(!server().verify(answer, "GET", Some(&other)));
        }
        let only_sha = DigestServer::new(&[7; 32], "http-auth@example.org", &[Algorithm::Sha256]);
        assert!(
            !only_sha.verify(&md5, "GET", Some(&ha1)),
            "an algorithm that was not offered"
        );
    }

    #[test]
    fn verifies_clients_without_qop() {
        let ha1 = Ha1::from_password("u", "http-auth@example.org", "p");
        let ha2 = Algorithm::Md5.hex(b"DESCRIBE:rtsp://h/a/b");
        let response = Algorithm::Md5.hex(format!("{}:n:{ha2}", ha1.md5.as_ref().unwrap()).as_bytes());
        let answer = Authorization::parse(&format!(
            "Digest username=\"u\", realm=\"http-auth@example.org\", nonce=\"n\", uri=\"rtsp://h/a/b\", response=\"{response}\""
        ))
        .unwrap();
        assert!(server().verify(&answer, "DESCRIBE", Some(&ha1)));
    }

    #[test]
    fn a_nonce_is_bound_to_time_and_connection() {
        let (server, at) = (server(), Duration::from_secs(1000));
        let nonce = server.nonce(at, 42);
        assert_eq!(server.nonce_state(at, 42, &nonce), NonceState::Fresh);
        assert_eq!(
            server.nonce_state(at + NONCE_LIFETIME, 42, &nonce),
            NonceState::Fresh
        );
        assert_eq!(
            server.nonce_state(at + NONCE_LIFETIME * 2, 42, &nonce),
            NonceState::Stale
        );
        assert_eq!(server.nonce_state(at, 43, &nonce), NonceState::Stale);
        assert_eq!(server.nonce_state(Duration::ZERO, 42, &nonce), NonceState::Stale);
        let forged = DigestServer::new(&[8; 32], "http-auth@example.org", &[]).nonce(at, 42);
        assert_eq!(server.nonce_state(at, 42, &forged), NonceState::Stale);
        assert_eq!(server.nonce_state(at, 42, "zz"), NonceState::Stale);
        assert_eq!(server.nonce_state(at, 42, &"é".repeat(32)), NonceState::Stale);
    }

    #[test]
    fn offers_md5_last() {
        let lines = server().challenges("n", true);
        assert!(lines[0].contains("algorithm=SHA-256") && lines[1].contains("algorithm=MD5"));
        assert!(lines.iter().all(|line| line.ends_with("stale=true")));
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let ha1 = Ha1::from_password("u", "r", "p");
        let shown = format!("{ha1:?} {:?} {:?}", rfc7616("MD5", "8ca523"), server());
        assert!(!shown.contains(&ha1.md5.unwrap()) && !shown.contains("8ca523"));
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,200}", nonce in ".{0,80}") {
            let _ = Authorization::parse(&format!("Digest {text}"));
            let _ = Authorization::parse(&text);
            let _ = server().nonce_state(Duration::from_secs(5), 1, &nonce);
        }
    }
}
