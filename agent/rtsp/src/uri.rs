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

/// Resolves an `a=control` value (RFC 2326 appendix C.1.1) as cameras mean it: an absolute URL is used as it
/// is, `*` and nothing are the base, anything else is appended to the base, queries and all.
pub fn resolve_control(base: &[u8], control: Option<&[u8]>) -> Vec<u8> {
    match control {
        None | Some(b"" | b"*") => base.to_vec(),
        Some(control) if control.windows(3).any(|w| w == b"://") => control.to_vec(),
        Some(control) => {
            let control = control.strip_prefix(b"/").unwrap_or(control);
            let slash: &[u8] = if base.ends_with(b"/") { b"" } else { b"/" };
            [base, slash, control].concat()
        }
    }
}

/// The path of an absolute URI, with its query; empty when there is none.
pub(crate) fn path_and_query(uri: &[u8]) -> &[u8] {
    let Some(authority) = uri
        .windows(3)
        .position(|w| w == b"://")
        .and_then(|at| uri.get(at + 3..))
    else {
        return uri;
    };
    let path = authority
        .iter()
        .position(|&b| matches!(b, b'/' | b'?'))
        .unwrap_or(authority.len());
    authority.split_at(path).1
}

/// A viewer's request URI, `rtsp://<any authority>/<profile>[/<control>][?query]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewerUri<'a> {
    /// The first path segment; empty for `*` and for a URI without a path.
    pub profile: &'a [u8],
    /// The last segment after the profile; empty for the profile itself.
    pub control: &'a [u8],
    /// Everything before the control: the base for `Content-Base`, without query and without a slash at its end.
    pub base: &'a [u8],
}

impl<'a> ViewerUri<'a> {
    /// Splits a request URI.
    pub fn parse(uri: &'a [u8]) -> Self {
        let tail = path_and_query(uri);
        let before = uri.len() - tail.len();
        let Some(path) = tail.strip_prefix(b"/").filter(|_| uri != b"*") else {
            return Self {
                profile: &[],
                control: &[],
                base: uri,
            };
        };
        let end = path
            .iter()
            .position(|&b| matches!(b, b'/' | b'?'))
            .unwrap_or(path.len());
        let (profile, rest) = path.split_at(end);
        let base = uri.get(..before + 1 + end).unwrap_or(uri);
        // Players that append to a URI with a query put the control behind the query.
        let control = match rest.iter().rposition(|&b| b == b'/') {
            None => &[][..],
            Some(slash) => rest.get(slash + 1..).unwrap_or_default(),
        };
        let control = control.split(|&b| b == b'?').next().unwrap_or_default();
        let nested = rest.split(|&b| b == b'?').next().unwrap_or_default();
        // A path below the profile that ends in a slash is still not the profile.
        let control = if control.is_empty() && nested.len() > 1 {
            nested
        } else {
            control
        };
        Self {
            profile,
            control,
            base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_urls() {
        let (url, credentials) =
            CameraUrl::parse("rtsp://a%40b:p@ss:w@127.0.0.1:8554/stream=0?x=%2F").unwrap();
        assert_eq!((url.host(), url.port()), ("127.0.0.1", 8554));
        assert_eq!(url.request_uri(), "rtsp://127.0.0.1:8554/stream=0?x=%2F");
        let credentials = credentials.unwrap();
        assert_eq!(
            (credentials.user.as_str(), credentials.password.expose()),
            ("a@b", &b"p@ss:w"[..])
        );
        let (url, none) = CameraUrl::parse("RTSP://[::1]/live").unwrap();
        assert_eq!(
            (url.host(), url.port(), url.request_uri()),
            ("::1", 554, "rtsp://[::1]/live")
        );
        assert_eq!(none, None);
        assert_eq!(
            CameraUrl::parse("rtsp://localhost").unwrap().0.request_uri(),
            "rtsp://localhost/"
        );
        for (bad, why) in [
            ("http://h/", UrlError::Scheme),
            ("h/", UrlError::Scheme),
            ("rtsp:///x", UrlError::Host),
            ("rtsp://a:b:c/", UrlError::Port),
            ("rtsp://h:0/", UrlError::Port),
            ("rtsp://h:99999/", UrlError::Port),
            ("rtsp://[::1/", UrlError::Host),
            ("rtsp://h/a b", UrlError::Characters),
            ("rtsp://h/\r\nX", UrlError::Characters),
        ] {
            assert_eq!(CameraUrl::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn controls() {
        let base = b"rtsp://h/live?x=1";
        assert_eq!(resolve_control(base, Some(b"*")), base);
        assert_eq!(resolve_control(base, None), base);
        assert_eq!(
            resolve_control(base, Some(b"trackID=1")),
            b"rtsp://h/live?x=1/trackID=1"
        );
        assert_eq!(resolve_control(b"rtsp://h/a/", Some(b"/t?y")), b"rtsp://h/a/t?y");
        assert_eq!(
            resolve_control(base, Some(b"rtsp://10.0.0.1/z")),
            b"rtsp://10.0.0.1/z"
        );
    }

    #[test]
    fn viewer_uris() {
        let parse = |uri: &'static str| {
            let uri = ViewerUri::parse(uri.as_bytes());
            [uri.profile, uri.control, uri.base].map(|part| String::from_utf8_lossy(part).into_owned())
        };
        assert_eq!(parse("rtsp://x:1/main"), ["main", "", "rtsp://x:1/main"]);
        assert_eq!(parse("rtsp://x/main/"), ["main", "", "rtsp://x/main"]);
        assert_eq!(
            parse("rtsp://x/main/track0?q"),
            ["main", "track0", "rtsp://x/main"]
        );
        assert_eq!(
            parse("rtsp://x/main?q=1/track1"),
            ["main", "track1", "rtsp://x/main"]
        );
        assert_eq!(
            parse("rtsp://x/main/../etc/"),
            ["main", "/../etc/", "rtsp://x/main"]
        );
        assert_eq!(parse("/main/track0"), ["main", "track0", "/main"]);
        assert_eq!(parse("rtsp://x"), ["", "", "rtsp://x"]);
        assert_eq!(parse("*"), ["", "", "*"]);
    }
}
