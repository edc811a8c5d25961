//! The upgrade request of an agent (RFC 9110 section 7.8), judged without input or output.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::fleet::import::is_label;
use crate::fleet::sealed;
use crate::roles::{CONTROL_PATH, CONTROL_PROTOCOL};
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

    /// The token itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(redacted)")
    }
}

/// Which operator's key a camera holds (docs/protocol.md, section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeldKey {
    /// The agent knows nothing of claims.
    #[default]
    Unsaid,
    /// None: it was never claimed, or could not keep the key.
    None,
    /// None: its owner reset it.
    Reset,
    /// The id of the key.
    Id(String),
}

/// What the agent says of its camera (docs/protocol.md, section 4). Nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// On the label.
    pub serial: Option<String>,
    /// On the label.
    pub model: Option<String>,
    /// New at each boot: 32 hex digits.
    pub boot: Option<String>,
    /// Shows that it has the PIN.
    pub proof: Option<[u8; 32]>,
    /// Which operator it obeys.
    pub operator: HeldKey,
    /// Its owner's last reset, if there ever was one and the agent says which.
    pub reset: Option<u32>,
    /// A streamer's resume credential.
    pub resume: Option<Bearer>,
    /// The endpoint's ticket, from the address.
    pub ticket: Option<Bearer>,
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
    /// What it says of its camera.
    pub introduction: Introduction,
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
    /// The operator's system said no.
    #[error("this camera is suspended")]
    Suspended,
    /// Claimed by nobody; it may ask again after so many seconds.
    #[error("nobody has claimed this camera yet")]
    Pending(u64),
    /// No room for more uplinks.
    #[error("too many uplinks")]
    Full,
}

impl Refusal {
    fn status(self) -> (&'static str, Cow<'static, str>) {
        let (status, fields) = match self {
            Self::Pending(seconds) => {
                let fields = format!("Retry-After: {seconds}\r\nLenscap-Claim: pending\r\n");
                return ("503 Service Unavailable", fields.into());
            }
            other => other.fixed_status(),
        };
        (status, fields.into())
    }

    fn fixed_status(self) -> (&'static str, &'static str) {
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
            Self::Suspended => ("403 Forbidden", "Retry-After: 300\r\n"),
            Self::Full | Self::Pending(_) => ("503 Service Unavailable", "Retry-After: 30\r\n"),
        }
    }

    /// The whole HTTP/1.1 response; `more` are whole lines of fields.
    #[must_use]
    pub fn response(self, more: &str) -> Vec<u8> {
        let (status, fields) = self.status();
        let connection = if fields.contains("Upgrade:") {
            "close, Upgrade"
        } else {
            "close"
        };
        let body = format!("{self}\n");
        format!(
            "HTTP/1.1 {status}\r\n{fields}{more}Connection: {connection}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// The 101 for a carrier; `more` are whole lines of fields.
#[must_use]
pub fn switching(carrier: &Carrier, more: &str) -> Vec<u8> {
    match carrier {
        Carrier::H2cReverse => format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n{more}\r\n"
        ),
        Carrier::WebSocket { accept } => format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {H2C_REVERSE}\r\n{more}\r\n"
        ),
    }
    .into_bytes()
}

/// A 307 or 308; `fields` are whole lines with at least `Location`.
#[must_use]
pub fn redirect(permanent: bool, fields: &str) -> Vec<u8> {
    let status = if permanent {
        "308 Permanent Redirect"
    } else {
        "307 Temporary Redirect"
    };
    format!("HTTP/1.1 {status}\r\n{fields}Connection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
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
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    if target != path {
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
        introduction: head.introduction(query),
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

    fn introduction(&self, query: &str) -> Introduction {
        let operator = match self.text("lenscap-operator") {
            None => HeldKey::Unsaid,
            Some("none") => HeldKey::None,
            Some("reset") => HeldKey::Reset,
            Some(id) if is_hex(id, 16) => HeldKey::Id(id.to_ascii_lowercase()),
            Some(_) => HeldKey::Unsaid,
        };
        let ticket = query.split('&').find_map(|part| part.strip_prefix("ticket="));
        let label = |name| self.text(name).filter(|text| is_label(text)).map(str::to_owned);
        Introduction {
            serial: label("lenscap-serial"),
            model: label("lenscap-model"),
            boot: self
                .text("lenscap-boot")
                .filter(|boot| is_boot(boot))
                .map(str::to_ascii_lowercase),
            proof: self
                .text("lenscap-pin-proof")
                .and_then(sealed::decode)
                .and_then(|proof| proof.try_into().ok()),
            operator,
            reset: self.reset_number(),
            resume: self.text("lenscap-resume").map(|text| Bearer(text.to_owned())),
            ticket: ticket.map(|text| Bearer(text.to_owned())),
        }
    }

    fn reset_number(&self) -> Option<u32> {
        let number = self.text("lenscap-reset").filter(|text| is_hex(text, 8))?;
        u32::from_str_radix(number, 16).ok()
    }

    /// A field that is there once and is text.
    fn text(&self, name: &'a str) -> Option<&'a str> {
        let mut values = self.values(name);
        let value = std::str::from_utf8(values.next()?).ok()?.trim();
        values.next().is_none().then_some(value)
    }

    fn agent_version(&self) -> Option<String> {
        let agent = std::str::from_utf8(self.values("user-agent").next()?).ok()?;
        let version = agent.strip_prefix("lenscap/")?.split(' ').next()?;
        let plain = version.len() <= 32 && version.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && !version.is_empty()).then(|| version.to_owned())
    }
}

/// True if this may be a streamer's request (see [`crate::roles`]).
#[must_use]
pub fn is_control(head: &[u8]) -> bool {
    head.starts_with(format!("GET {CONTROL_PATH} HTTP/1.1\r\n").as_bytes())
}

/// The join token in a streamer's whole request.
#[must_use]
pub fn control_token(head: &[u8]) -> Option<Bearer> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) | Err(_) => return None,
    }
    let head = Head(request.headers);
    let upgrades = head.lists("connection", "upgrade") && head.lists("upgrade", CONTROL_PROTOCOL);
    head.bearer().ok().flatten().filter(|_| upgrades)
}

/// True for what names a boot of a device.
#[must_use]
pub fn is_boot(text: &str) -> bool {
    is_hex(text, 32)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
    fn reads_what_a_camera_says_of_itself() {
        let head = format!(
            "GET {PATH}?a=b&ticket=t.s HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: h2c-reverse\n\
             Lenscap-Serial: SN1\nLenscap-Model: \nLenscap-Boot: {}\nLenscap-Pin-Proof: {}\n\
             Lenscap-Operator: 0123456789ABCDEF\nLenscap-Resume: r.m\n\n",
            "aB".repeat(16),
            sealed::encode(&[7; 32])
        );
        let said = judge(&head).unwrap().unwrap().introduction;
        assert_eq!(said.serial.as_deref(), Some("SN1"));
        assert_eq!(said.model, None);
        assert_eq!(said.boot, Some("ab".repeat(16)));
        assert_eq!(said.proof, Some([7; 32]));
        assert_eq!(said.operator, HeldKey::Id("0123456789abcdef".into()));
        assert!(!format!("{said:?}").contains("t.s") && !format!("{said:?}").contains("r.m"));
        assert_eq!(said.ticket.unwrap().as_str(), "t.s");
        assert_eq!(said.resume.unwrap().as_str(), "r.m");
        let odd = head
            .replace("Lenscap-Serial: SN1", "Lenscap-Serial: a\nLenscap-Serial: b")
            .replace("Boot: ab", "Boot: x")
            .replace("0123456789ABCDEF", "none");
        let said = judge(&odd).unwrap().unwrap().introduction;
        assert_eq!((said.serial, said.operator), (None, HeldKey::None));
        for (number, read) in [
            ("", None),
            ("Lenscap-Reset: 00C0ffee\n", Some(0xC0_FFEE)),
            ("Lenscap-Reset: c0ffee\n", None),
            ("Lenscap-Reset: +0c0ffee\n", None),
            ("Lenscap-Reset: 00c0ffee\nLenscap-Reset: 00c0ffee\n", None),
        ] {
            let head = head.replace(
                "Lenscap-Operator: 0123456789ABCDEF\n",
                &format!("Lenscap-Operator: reset\n{number}"),
            );
            let said = judge(&head).unwrap().unwrap().introduction;
            assert_eq!((said.operator, said.reset), (HeldKey::Reset, read), "{number:?}");
        }
    }

    #[test]
    fn who_waits_is_told_for_how_long() {
        let shown = String::from_utf8(Refusal::Pending(12).response("X: y\r\n")).unwrap();
        assert!(shown.starts_with("HTTP/1.1 503 "), "{shown}");
        assert!(
            shown.contains("Retry-After: 12\r\nLenscap-Claim: pending\r\nX: y\r\n"),
            "{shown}"
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
            let response = String::from_utf8(refusal.response("")).unwrap();
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
