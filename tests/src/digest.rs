//! HTTP authentication as RTSP uses it, both sides: challenges and answers of Basic (RFC 7617) and
//! Digest (RFC 7616; RFC 2069 style when no `qop` is offered), and a tolerant header parser.

use base64ct::{Base64, Encoding};
use sha2::{Digest as _, Sha256};

/// Hash of a Digest challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `MD5`, the default when a challenge names none.
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    /// The name in a challenge.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Lower-case hexadecimal hash.
    pub fn hex(self, data: &[u8]) -> String {
        match self {
            Self::Md5 => format!("{:x}", md5::compute(data)),
            Self::Sha256 => hex(&Sha256::digest(data)),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// User and password; the password is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl Credentials {
    /// Reads the password from a file; a line end at its end does not count.
    pub fn from_file(user: &str, password_file: &std::path::Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(password_file)?;
        Ok(Self {
            user: user.to_owned(),
            password: text.trim_end_matches(['\r', '\n']).to_owned(),
        })
    }

    /// The value of an `Authorization: Basic` header.
    pub fn basic(&self) -> String {
        format!(
            "Basic {}",
            Base64::encode_string(format!("{}:{}", self.user, self.password).as_bytes())
        )
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What goes into a Digest `response` besides the credentials.
#[derive(Clone, Copy, Debug)]
pub struct DigestInput<'a> {
    /// Hash.
    pub algorithm: Algorithm,
    /// Realm of the challenge.
    pub realm: &'a str,
    /// Nonce of the challenge.
    pub nonce: &'a str,
    /// Request method.
    pub method: &'a str,
    /// The `uri` parameter, which must be the request URI byte by byte.
    pub uri: &'a str,
    /// `(nc, cnonce)` with `qop=auth`.
    pub qop_auth: Option<(&'a str, &'a str)>,
}

impl DigestInput<'_> {
    /// The `response` parameter (RFC 7616 section 3.4.1, RFC 2069 section 2.1.2 without `qop`).
    pub fn response(&self, credentials: &Credentials) -> String {
        let ha1 = self
            .algorithm
            .hex(format!("{}:{}:{}", credentials.user, self.realm, credentials.password).as_bytes());
        let ha2 = self
            .algorithm
            .hex(format!("{}:{}", self.method, self.uri).as_bytes());
        let joined = match self.qop_auth {
            Some((nc, cnonce)) => format!("{ha1}:{}:{nc}:{cnonce}:auth:{ha2}", self.nonce),
            None => format!("{ha1}:{}:{ha2}", self.nonce),
        };
        self.algorithm.hex(joined.as_bytes())
    }
}

/// The scheme (lower case) and the parameters (names in lower case) of one challenge or answer.
pub fn parse_header(value: &str) -> (String, Vec<(String, String)>) {
    let value = value.trim();
    let (scheme, mut rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let mut params = Vec::new();
    while let Some((name, tail)) = rest.split_once('=') {
        let tail = tail.trim_start();
        let (text, after) = if let Some(quoted) = tail.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = tail.find(',').unwrap_or(tail.len());
            let (token, after) = tail.split_at(end);
            (token.trim().to_owned(), after)
        };
        params.push((name.trim_matches([' ', ',', '\t']).to_ascii_lowercase(), text));
        rest = after.trim_start_matches([' ', ',', '\t']);
    }
    (scheme.to_ascii_lowercase(), params)
}

fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, text.get(at + 1..).unwrap_or_default()),
            '\\' => out.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => out.push(c),
        }
    }
    (out, "")
}

/// The value of a parameter found by [`parse_header`].
pub fn param<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 section 3.9.1.
    #[test]
    fn rfc7616_example() {
        let credentials = Credentials {
            user: "Mufasa".into(),
            password: "Circle of Life".into(),
        };
        let mut input = DigestInput {
            algorithm: Algorithm::Md5,
            realm: "http-auth@example.org",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            method: "GET",
            uri: "/dir/index.html",
            qop_auth: Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
        };
        assert_eq!(input.response(&credentials), "8ca523f5e9506fed4657c9700eebdbec");
        input.algorithm = Algorithm::Sha256;
        assert_eq!(
            input.response(&credentials),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn headers_with_commas_quotes_and_tokens() {
        let (scheme, params) =
            parse_header(r#"Digest realm="a, \"b\"", nonce=abc ,stale=TRUE,qop="auth,auth-int""#);
        assert_eq!(scheme, "digest");
        assert_eq!(param(&params, "realm"), Some("a, \"b\""));
        assert_eq!(param(&params, "nonce"), Some("abc"));
        assert_eq!(param(&params, "stale"), Some("TRUE"));
        assert_eq!(param(&params, "qop"), Some("auth,auth-int"));
        assert_eq!(parse_header("Basic").0, "basic");
    }
}
