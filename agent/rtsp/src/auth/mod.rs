//! The client side of Digest (RFC 7616, RFC 2617) and Basic (RFC 7617) authentication, for RTSP and HTTP.

use core::fmt;

use crate::config::Credentials;

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
    _credentials: Credentials,
}

impl Authenticator {
    /// Keeps the credentials. `seed` makes the client nonces unpredictable.
    pub fn new(credentials: Credentials, _seed: [u8; 16]) -> Self {
        Self {
            _credentials: credentials,
        }
    }

    /// A new request begins: its first challenge may be answered again.
    pub fn start_request(&mut self) {}

    /// Takes all `WWW-Authenticate` values of a 401. `Ok` means: send the request once more.
    pub fn handle_challenge<'a>(
        &mut self,
        _values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), AuthError> {
        Err(AuthError::Unsupported)
    }

    /// The `Authorization` value for a request, or `None` while no challenge has been seen. `uri` is what
    /// stands on the request line, byte for byte.
    pub fn authorization(&mut self, _method: &str, _uri: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
