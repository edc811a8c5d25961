//! The upgrade request of an agent (RFC 9110 section 7.8), judged without input or output.

use std::fmt;

use thiserror::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Largest request head, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;
/// Protocol name of the direct carrier, and subprotocol of the other one.
pub const H2C_REVERSE: &str = "h2c-reverse";

/// How HTTP/2 travels after the 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Directly.
    H2cReverse,
    /// In binary messages of a WebSocket; the value is for `Sec-WebSocket-Accept`.
    WebSocket {
        /// Derived from the request's key (RFC 6455 section 4.2.2).
        accept: String,
    },
}

/// A bearer token, kept out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(String);

impl Bearer {
    /// The token itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(redacted)")
    }
}

/// A well-formed upgrade request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The carrier that the agent chose.
    pub carrier: Carrier,
    /// Its token, if it shows one.
    pub bearer: Option<Bearer>,
    /// Version out of `User-Agent: lenscap/<version>`.
    pub agent_version: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No HTTP/1.1 request.
    #[error("malformed request")]
    Malformed,
    /// Head above [`MAX_HEAD_BYTES`] or too many fields.
    #[error("request head too large")]
    TooLarge,
    /// Another method than GET.
    #[error("only GET is for uplinks")]
    Method,
    /// Another path.
    #[error("no uplink at this path")]
    Path,
    /// No upgrade, or to something else.
    #[error("an uplink needs Upgrade: h2c-reverse or websocket")]
    NoUpgrade,
    /// WebSocket of another version, without key, or without the subprotocol.
    #[error("the WebSocket must be version 13, have a key and the subprotocol h2c-reverse")]
    WebSocket,
    /// Unknown or missing certificate or token.
    #[error("unknown camera")]
    Unauthorized,
    /// No room for more uplinks.
    #[error("too many uplinks")]
    Full,
}

impl Refusal {
    fn status(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("400 Bad Request", ""),
            Self::TooLarge => ("431 Request Header Fields Too Large", ""),
            Self::Method => ("405 Method Not Allowed", "Allow: GET\r\n"),
            Self::Path => ("404 Not Found", ""),
            Self::NoUpgrade => ("426 Upgrade Required", "Upgrade: h2c-reverse, websocket\r\n"),
            Self::WebSocket => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
            Self::Unauthorized => ("401 Unauthorized", "WWW-Authenticate: Bearer\r\n"),
            Self::Full => ("503 Service Unavailable", "Retry-After: 30\r\n"),
        }
    }

    /// The whole HTTP/1.1 response.
    #[must_use]
    pub fn response(self) -> Vec<u8> {
        let (status, fields) = self.status();
        let connection = if fields.contains("Upgrade:") {
            "close, Upgrade"
        } else {
            "close"
        };
        let body = format!("{self}\n");
        format!(
            "HTTP/1.1 {status}\r\n{fields}Connection: {connection}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// The 101 for a carrier.
#[must_use]
pub fn switching(carrier: &Carrier) -> Vec<u8> {
    match carrier {
        Carrier::H2cReverse => {
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n"
                .to_vec()
        }
        Carrier::WebSocket { accept } => format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {H2C_REVERSE}\r\n\r\n"
        )
        .into_bytes(),
    }
}

/// Judges the bytes received so far; `None` while the head is not whole.
///
/// # Errors
/// The refusal to answer with. Bytes after the head are refused too: an agent waits for the 101.
pub fn handle_head(bytes: &[u8], path: &str) -> Result<Option<Upgrade>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD_BYTES => return Err(Refusal::TooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge),
        Err(_) => return Err(Refusal::Malformed),
    };
    if length != bytes.len() || request.version != Some(1) {
        return Err(Refusal::Malformed);
    }
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let target = request.path.unwrap_or_default();
    if target.split('?').next() != Some(path) {
        return Err(Refusal::Path);
    }
    let head = Head(request.headers);
    if head.values("host").count() != 1 {
        return Err(Refusal::Malformed);
    }
    Ok(Some(Upgrade {
        carrier: head.carrier()?,
        bearer: head.bearer()?,
        agent_version: head.agent_version(),
    }))
}

struct Head<'a>(&'a [httparse::Header<'a>]);

impl<'a> Head<'a> {
    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// True if a comma-separated list has `token`, without case.
    fn lists(&self, name: &'a str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn carrier(&self) -> Result<Carrier, Refusal> {
        if !self.lists("connection", "upgrade") {
            return Err(Refusal::NoUpgrade);
        }
        if self.lists("upgrade", H2C_REVERSE) {
            return Ok(Carrier::H2cReverse);
        }
        if !self.lists("upgrade", "websocket") {
            return Err(Refusal::NoUpgrade);
        }
        let key = self.values("sec-websocket-key").next().map(<[u8]>::trim_ascii);
        match key {
            Some(key)
                if key.len() == 24
                    && self.lists("sec-websocket-version", "13")
                    && self.lists("sec-websocket-protocol", H2C_REVERSE) =>
            {
                Ok(Carrier::WebSocket {
                    accept: derive_accept_key(key),
                })
            }
            _ => Err(Refusal::WebSocket),
        }
    }

    fn bearer(&self) -> Result<Option<Bearer>, Refusal> {
        let mut values = self.values("authorization");
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let text = std::str::from_utf8(value).map_err(|_| Refusal::Malformed)?;
        match text.trim().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && values.next().is_none() => {
                Ok(Some(Bearer(token.trim().to_owned())))
            }
            _ => Err(Refusal::Unauthorized),
        }
    }

    fn agent_version(&self) -> Option<String> {
        let agent = std::str::from_utf8(self.values("user-agent").next()?).ok()?;
        let version = agent.strip_prefix("lenscap/")?.split(' ').next()?;
        let plain = version.len() <= 32 && version.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && !version.is_empty()).then(|| version.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "/onvif/uplink";

    fn judge(head: &str) -> Result<Option<Upgrade>, Refusal> {
        handle_head(head.replace('\n', "\r\n").as_bytes(), PATH)
    }

    #[test]
    fn accepts_both_carriers() {
        let direct = judge(
            "GET /onvif/uplink?ticket=1 HTTP/1.1\nHost: h\nConnection: keep-alive, upgrade\nUpgrade: H2C-Reverse\n\
             User-Agent: lenscap/0.1.0\nAuthorization: Bearer abc\n\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!(direct.carrier, Carrier::H2cReverse);
        assert_eq!(direct.agent_version.as_deref(), Some("0.1.0"));
        assert_eq!(direct.bearer.as_ref().unwrap().as_bytes(), b"abc");
        assert!(!format!("{direct:?}").contains("abc"));
        let websocket = judge(
            "GET /onvif/uplink HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: h2c-reverse\n\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!(
            websocket.carrier,
            Carrier::WebSocket {
                accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into()
            }
        );
    }

    #[test]
    fn refuses_the_rest() {
        let up = "Host: h\nConnection: Upgrade\nUpgrade: h2c-reverse\n\n";
        for (head, refusal) in [
            (format!("GET /other HTTP/1.1\n{up}"), Refusal::Path),
            (format!("POST {PATH} HTTP/1.1\n{up}"), Refusal::Method),
            (format!("GET {PATH} HTTP/1.0\n{up}"), Refusal::Malformed),
            (format!("GET {PATH} HTTP/1.1\n{up}x"), Refusal::Malformed),
            (
                format!("GET {PATH} HTTP/1.1\nConnection: Upgrade\nUpgrade: h2c-reverse\n\n"),
                Refusal::Malformed,
            ),
            (format!("GET {PATH} HTTP/1.1\nHost: h\n\n"), Refusal::NoUpgrade),
            (
                format!("GET {PATH} HTTP/1.1\nHost: h\nUpgrade: h2c-reverse\n\n"),
                Refusal::NoUpgrade,
            ),
            (
                format!("GET {PATH} HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: h2c\n\n"),
                Refusal::NoUpgrade,
            ),
            (
                format!("GET {PATH} HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: websocket\n\n"),
                Refusal::WebSocket,
            ),
            (
                format!("GET {PATH} HTTP/1.1\nAuthorization: Basic x\n{up}"),
                Refusal::Unauthorized,
            ),
            (
                format!("GET {PATH} HTTP/1.1\n{}{up}", "A: b\n".repeat(70)),
                Refusal::TooLarge,
            ),
            ("\x16\x03\x01 \n\n".to_owned(), Refusal::Malformed),
        ] {
            assert_eq!(judge(&head), Err(refusal), "{head}");
            let response = String::from_utf8(refusal.response()).unwrap();
            assert!(response.starts_with("HTTP/1.1 4") && response.contains("Connection: close"));
        }
        let endless = format!("GET {PATH} HTTP/1.1\nA: {}", "b".repeat(MAX_HEAD_BYTES));
        assert_eq!(judge(&endless), Err(Refusal::TooLarge));
        assert_eq!(judge("GET /onvif/uplink HT"), Ok(None));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = handle_head(&bytes, PATH);
        }
    }
}
