//! URIs as bytes: the camera's configured URL, the viewer's request URI, control URLs.
//!
//! Nothing here normalises: Digest signs the bytes of the request line.

use core::fmt;

use crate::config::{Credentials, Secret};

const MAX_URL: usize = 2048;
const DEFAULT_PORT: u16 = 554;

/// Why a camera URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// It does not begin with `rtsp://`.
    Scheme,
    /// The host is missing or holds a character a host cannot have.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// It is longer than 2048 bytes, or holds a space or a control character.
    Characters,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with rtsp://, as in rtsp://127.0.0.1:554/stream=0",
            Self::Host => "needs a host, as in rtsp://127.0.0.1:554/stream=0",
            Self::Port => "the port must be a number from 1 to 65535",
            Self::Characters => "must be at most 2048 bytes, without spaces or control characters",
        })
    }
}

impl std::error::Error for UrlError {}

/// The camera's `rtsp://` URL of one profile. Its path and query stay byte for byte as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct CameraUrl {
    host: String,
    port: u16,
    request_uri: String,
}

impl fmt::Debug for CameraUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CameraUrl(..)")
    }
}

impl CameraUrl {
    /// Splits `rtsp://[user[:password]@]host[:port][/path][?query]`. Credentials in the URL come back apart,
    /// percent-decoded, and are never part of the request URI.
    pub fn parse(url: &str) -> Result<(Self, Option<Credentials>), UrlError> {
        if url.len() > MAX_URL || url.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(UrlError::Characters);
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("rtsp") {
            return Err(UrlError::Scheme);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        // A password may hold '@' unescaped; the host cannot.
        let (userinfo, hostport) = match authority.rsplit_once('@') {
            Some((userinfo, hostport)) => (Some(userinfo), hostport),
            None => (None, authority),
        };
        let (host, port) = split_host_port(hostport)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let request_uri = format!("rtsp://{hostport}{slash}{path}");
        let credentials = userinfo.map(|info| {
            let (user, password) = info.split_once(':').unwrap_or((info, ""));
            Credentials {
                user: String::from_utf8_lossy(&percent_decode(user)).into_owned(),
                password: Secret::new(percent_decode(password)),
            }
        });
        Ok((
            Self {
                host,
                port,
                request_uri,
            },
            credentials,
        ))
    }

    /// The host: an IP literal (IPv6 without brackets) or a name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, 554 unless the URL says otherwise.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URI for the camera's request line.
    pub fn request_uri(&self) -> &str {
        &self.request_uri
    }
}

fn split_host_port(hostport: &str) -> Result<(String, u16), UrlError> {
    let (host, port) = if let Some(rest) = hostport.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        if host.is_empty()
            || !host
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
        {
            return Err(UrlError::Host);
        }
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or(UrlError::Host)?),
        };
        (host, port)
    } else {
        let (host, port) = match hostport.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (hostport, None),
        };
        if host.is_empty()
            || !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        {
            return Err(UrlError::Host);
        }
        (host, port)
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or(UrlError::Port)?,
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host.to_owned(), port))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| Some((hex_digit(*bytes.get(at + 1)?)? << 4) | hex_digit(*bytes.get(at + 2)?)?))
            .flatten();
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}
