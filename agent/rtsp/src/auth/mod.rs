//! The client side of Digest (RFC 7616, RFC 2617) and Basic (RFC 7617) authentication, for RTSP and HTTP.
//!
//! Not here: `auth-int`, `userhash`, `Authentication-Info` (the camera's answers are not verified).

mod challenge;
mod digest;

use core::fmt;

use base64ct::{Base64, Encoding};

use crate::config::Credentials;
use challenge::Scheme;
use digest::{Algorithm, Response};

/// Times one request is sent again for the sake of authentication.
const MAX_ROUNDS: u8 = 2;

/// Why a challenge cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// The server refused the credential itself.
    Refused,
    /// No challenge that we can answer: unknown scheme, algorithm or quality of protection.
    Unsupported,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the server refused the user and password",
            Self::Unsupported => "the server asked for a kind of authentication that is not supported",
        })
    }
}

impl std::error::Error for AuthError {}

/// Answers one server's challenges, request after request.
///
/// For each request: [`start_request`](Self::start_request), send it with
/// [`authorization`](Self::authorization) if there is one; on 401 give the `WWW-Authenticate` values to
/// [`handle_challenge`](Self::handle_challenge), and on `Ok` send the request again.
#[derive(Debug)]
pub struct Authenticator {
    credentials: Credentials,
    seed: [u8; 16],
    scheme: Option<Scheme>,
    nonce_count: u32,
    cnonces: u32,
    rounds: u8,
}

impl Authenticator {
    /// Keeps the credentials. `seed` makes the client nonces unpredictable.
    pub fn new(credentials: Credentials, seed: [u8; 16]) -> Self {
        Self {
            credentials,
            seed,
            scheme: None,
            nonce_count: 0,
            cnonces: 0,
            rounds: 0,
        }
    }

    /// A new request begins: its first challenge may be answered again.
    pub fn start_request(&mut self) {
        self.rounds = 0;
    }

    /// Takes all `WWW-Authenticate` values of a 401. `Ok` means: send the request once more.
    ///
    /// The first challenge of a request is always answered, for a nonce may lapse in mid-session; a second
    /// one only when it says `stale`.
    pub fn handle_challenge<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), AuthError> {
        let scheme = challenge::choose(values).ok_or(AuthError::Unsupported)?;
        let stale = matches!(&scheme, Scheme::Digest(digest) if digest.stale);
        if self.rounds >= if stale { MAX_ROUNDS } else { 1 } {
            return Err(AuthError::Refused);
        }
        self.rounds += 1;
        let same_nonce = match (&self.scheme, &scheme) {
            (Some(Scheme::Digest(old)), Scheme::Digest(new)) => old.nonce == new.nonce,
            _ => false,
        };
        if !same_nonce {
            self.nonce_count = 0;
        }
        self.scheme = Some(scheme);
        Ok(())
    }

    /// The `Authorization` value for a request, or `None` while no challenge has been seen. `uri` is what
    /// stands on the request line, byte for byte.
    pub fn authorization(&mut self, method: &str, uri: &[u8]) -> Option<Vec<u8>> {
        match self.scheme.as_ref()? {
            Scheme::Basic => {
                let pair = [
                    self.credentials.user.as_bytes(),
                    b":",
                    self.credentials.password.expose(),
                ]
                .concat();
                Some(format!("Basic {}", Base64::encode_string(&pair)).into_bytes())
            }
            Scheme::Digest(challenge) => {
                self.nonce_count = self.nonce_count.wrapping_add(1);
                self.cnonces = self.cnonces.wrapping_add(1);
                let counter = self.cnonces.to_be_bytes();
                let cnonce = Algorithm::Sha256.hex(&[&self.seed, &counter]);
                let response = Response {
                    user: self.credentials.user.as_bytes(),
                    password: self.credentials.password.expose(),
                    method: method.as_bytes(),
                    uri,
                    cnonce: cnonce.as_bytes().get(..16).unwrap_or_default(),
                    nonce_count: self.nonce_count,
                };
                Some(response.header(challenge))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn authenticator() -> Authenticator {
        Authenticator::new(
            Credentials {
                user: "admin".into(),
                password: Secret::new("pw"),
            },
            [7; 16],
        )
    }

    fn text(value: Option<Vec<u8>>) -> String {
        String::from_utf8(value.unwrap()).unwrap()
    }

    #[test]
    fn nothing_before_a_challenge() {
        assert_eq!(authenticator().authorization("OPTIONS", b"*"), None);
    }

    #[test]
    fn basic() {
        let mut auth = authenticator();
        auth.start_request();
        auth.handle_challenge([&b"Basic realm=\"x\""[..]]).unwrap();
        assert_eq!(text(auth.authorization("OPTIONS", b"*")), "Basic YWRtaW46cHc=");
        assert_eq!(
            auth.handle_challenge([&b"Basic realm=\"x\""[..]]),
            Err(AuthError::Refused)
        );
    }

    #[test]
    fn strongest_scheme_wins_wherever_it_stands() {
        let mut auth = authenticator();
        auth.handle_challenge([
            &b"Basic realm=\"a, b\", Digest realm=\"r\", nonce=\"n1\""[..],
            b"Digest realm=\"r\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"",
        ])
        .unwrap();
        let value = text(auth.authorization("DESCRIBE", b"rtsp://h/"));
        assert!(
            value.contains("nonce=\"n2\"") && value.contains("algorithm=SHA-256"),
            "{value}"
        );
        assert!(
            value.contains("nc=00000001") && value.contains("qop=auth"),
            "{value}"
        );
    }

    #[test]
    fn counts_uses_of_a_nonce_and_starts_anew_with_another() {
        let mut auth = authenticator();
        auth.handle_challenge([&b"Digest realm=\"r\", nonce=\"a\", qop=\"auth\""[..]])
            .unwrap();
        assert!(text(auth.authorization("A", b"u")).contains("nc=00000001"));
        auth.start_request();
        assert!(text(auth.authorization("A", b"u")).contains("nc=00000002"));
        auth.handle_challenge([&b"Digest realm=\"r\", nonce=\"b\", qop=\"auth\""[..]])
            .unwrap();
        assert!(text(auth.authorization("A", b"u")).contains("nc=00000001"));
    }

    #[test]
    fn second_challenge_is_a_refusal_unless_stale() {
        let mut auth = authenticator();
        auth.start_request();
        auth.handle_challenge([&b"Digest realm=\"r\", nonce=\"a\""[..]])
            .unwrap();
        auth.handle_challenge([&b"Digest realm=\"r\", nonce=\"b\", stale=TRUE"[..]])
            .unwrap();
        let third = auth.handle_challenge([&b"Digest realm=\"r\", nonce=\"c\", stale=true"[..]]);
        assert_eq!(third, Err(AuthError::Refused));
    }

    #[test]
    fn unsupported_challenges() {
        for value in [
            &b""[..],
            b"Negotiate",
            b"Digest realm=\"r\"",
            b"Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512",
            b"Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
        ] {
            assert_eq!(
                authenticator().handle_challenge([value]),
                Err(AuthError::Unsupported)
            );
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", authenticator());
        assert!(!text.contains("pw") && !text.contains("admin"), "{text}");
    }
}
