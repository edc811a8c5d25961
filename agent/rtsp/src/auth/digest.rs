//! The Digest computation (RFC 7616 section 3.4, RFC 2617 section 3.2.2).

use ring::digest::{Context, SHA256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// The algorithm and whether it is its `-sess` variant.
    pub(super) fn parse(name: &[u8]) -> Option<(Self, bool)> {
        const SESS: &[u8] = b"-sess";
        let cut = name.len().saturating_sub(SESS.len());
        let (base, session) = match name.split_at(cut) {
            (base, sess) if sess.eq_ignore_ascii_case(SESS) => (base, true),
            _ => (name, false),
        };
        if base.eq_ignore_ascii_case(b"md5") {
            Some((Self::Md5, session))
        } else if base.eq_ignore_ascii_case(b"sha-256") {
            Some((Self::Sha256, session))
        } else {
            None
        }
    }

    /// The lower-case hexadecimal hash of the parts, one after another.
    pub(super) fn hex(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => to_hex(&lenscap_md5::md5(&parts.concat())),
            Self::Sha256 => {
                let mut context = Context::new(&SHA256);
                parts.iter().for_each(|part| context.update(part));
                to_hex(context.finish().as_ref())
            }
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    hex
}

/// A Digest challenge. Quoted values are kept raw.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) realm: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) opaque: Option<Vec<u8>>,
    pub(super) algorithm: Algorithm,
    /// As the server spelled it; echoed only when it was there.
    pub(super) algorithm_name: Option<Vec<u8>>,
    pub(super) session: bool,
    pub(super) qop_auth: bool,
    pub(super) stale: bool,
}

/// What a response is computed from, besides the challenge.
pub(super) struct Response<'a> {
    pub(super) user: &'a [u8],
    pub(super) password: &'a [u8],
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) cnonce: &'a [u8],
    pub(super) nonce_count: u32,
}

impl Response<'_> {
    fn compute(&self, challenge: &Challenge) -> String {
        let hash = challenge.algorithm;
        let mut ha1 = hash.hex(&[self.user, b":", &challenge.realm, b":", self.password]);
        if challenge.session {
            ha1 = hash.hex(&[ha1.as_bytes(), b":", &challenge.nonce, b":", self.cnonce]);
        }
        let ha2 = hash.hex(&[self.method, b":", self.uri]);
        if !challenge.qop_auth {
            return hash.hex(&[ha1.as_bytes(), b":", &challenge.nonce, b":", ha2.as_bytes()]);
        }
        let count = format!("{:08x}", self.nonce_count);
        hash.hex(&[
            ha1.as_bytes(),
            b":",
            &challenge.nonce,
            b":",
            count.as_bytes(),
            b":",
            self.cnonce,
            b":auth:",
            ha2.as_bytes(),
        ])
    }

    /// The whole `Authorization` value.
    pub(super) fn header(&self, challenge: &Challenge) -> Vec<u8> {
        let mut out = b"Digest username=\"".to_vec();
        for &byte in self.user {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        let mut quoted = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
            out.push(b'"');
        };
        quoted("\", realm=\"", &challenge.realm);
        quoted(", nonce=\"", &challenge.nonce);
        quoted(", uri=\"", self.uri);
        quoted(", response=\"", self.compute(challenge).as_bytes());
        if let Some(opaque) = &challenge.opaque {
            quoted(", opaque=\"", opaque);
        }
        if challenge.qop_auth || challenge.session {
            quoted(", cnonce=\"", self.cnonce);
        }
        if challenge.qop_auth {
            out.extend_from_slice(format!(", nc={:08x}, qop=auth", self.nonce_count).as_bytes());
        }
        if let Some(name) = &challenge.algorithm_name {
            out.extend_from_slice(b", algorithm=");
            out.extend_from_slice(name);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(algorithm: Algorithm, realm: &[u8], nonce: &[u8], qop_auth: bool) -> Challenge {
        Challenge {
            realm: realm.to_vec(),
            nonce: nonce.to_vec(),
            opaque: None,
            algorithm,
            algorithm_name: None,
            session: false,
            qop_auth,
            stale: false,
        }
    }

    fn mufasa<'a>(password: &'a [u8], cnonce: &'a [u8]) -> Response<'a> {
        Response {
            user: b"Mufasa",
            password,
            method: b"GET",
            uri: b"/dir/index.html",
            cnonce,
            nonce_count: 1,
        }
    }

    #[test]
    fn rfc_2617_section_3_5() {
        let challenge = challenge(
            Algorithm::Md5,
            b"testrealm@host.com",
            b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            true,
        );
        let response = mufasa(b"Circle Of Life", b"0a4f113b").compute(&challenge);
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn rfc_2069_style_without_qop() {
        let challenge = challenge(
            Algorithm::Md5,
            b"testrealm@host.com",
            b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            false,
        );
        let response = mufasa(b"Circle Of Life", b"").compute(&challenge);
        assert_eq!(response, "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn rfc_7616_section_3_9_1() {
        let nonce = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let md5 = challenge(Algorithm::Md5, b"http-auth@example.org", nonce, true);
        assert_eq!(
            mufasa(b"Circle of Life", cnonce).compute(&md5),
            "8ca523f5e9506fed4657c9700eebdbec"
        );
        let sha = challenge(Algorithm::Sha256, b"http-auth@example.org", nonce, true);
        assert_eq!(
            mufasa(b"Circle of Life", cnonce).compute(&sha),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn session_variant() {
        let mut md5 = challenge(Algorithm::Md5, b"r", b"n", true);
        md5.session = true;
        let ha1 = Algorithm::Md5.hex(&[b"Mufasa:r:pw"]);
        let ha1 = Algorithm::Md5.hex(&[ha1.as_bytes(), b":n:c"]);
        let ha2 = Algorithm::Md5.hex(&[b"GET:/dir/index.html"]);
        let expected = Algorithm::Md5.hex(&[ha1.as_bytes(), b":n:00000001:c:auth:", ha2.as_bytes()]);
        assert_eq!(mufasa(b"pw", b"c").compute(&md5), expected);
        assert_eq!(Algorithm::parse(b"sha-256-SESS"), Some((Algorithm::Sha256, true)));
        assert_eq!(Algorithm::parse(b"sha"), None);
    }

    #[test]
    fn header_keeps_the_uri_bytes_and_escapes_the_user() {
        let mut response = mufasa(b"pw", b"c");
        response.user = b"a\"b";
        response.uri = b"rtsp://h/\xff?x=1&y=%2F";
        let header = response.header(&challenge(Algorithm::Md5, b"r", b"n", false));
        assert!(header.starts_with(
            b"Digest username=\"a\\\"b\", realm=\"r\", nonce=\"n\", uri=\"rtsp://h/\xff?x=1&y=%2F\""
        ));
        assert!(!header.windows(5).any(|w| w == b", nc="));
    }
}
