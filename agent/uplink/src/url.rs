//! Addresses an uplink may dial: `https:` and `wss:` URLs, and patterns of allowed hosts.
//!
//! This is not a general URL library: no user information, no other scheme, no normalisation of paths.

use crate::upgrade::Carrier;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

/// Longest address accepted, in bytes.
pub const MAX_URL: usize = 2048;
const MAX_HOST: usize = 253;
const DEFAULT_PORT: u16 = 443;

/// An absolute `https:` or `wss:` URL. Its query may hold a ticket, so `Debug` and `Display` leave it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    carrier: Carrier,
    host: String,
    port: u16,
    path_at: usize,
}

/// Why an address cannot be used; the text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Longer than [`MAX_URL`].
    TooLong,
    /// The scheme is neither `https:` nor `wss:`.
    Scheme,
    /// A user name or a password stands before the host.
    UserInfo,
    /// The host is empty or not a host name, an IPv4 or a bracketed IPv6 address.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// A blank, a control character or a byte that is not ASCII.
    Character,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the address is longer than 2048 bytes; shorten it",
            Self::Scheme => "the address must start with https:// or wss://",
            Self::UserInfo => {
                "the address must not hold a user name or password; use a client certificate or token_file"
            }
            Self::Host => {
                "the host is not valid; write a DNS name, an IPv4 address or an IPv6 address in [brackets]"
            }
            Self::Port => "the port must be a number from 1 to 65535",
            Self::Character => {
                "the address holds a blank, a control or a non-ASCII character; percent-encode it (%20 for a blank)"
            }
        })
    }
}

impl core::error::Error for ParseError {}

impl Url {
    /// Parses an absolute URL (RFC 3986). A fragment is dropped, an empty path becomes `/`, the host becomes lower case.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_URL {
            return Err(ParseError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ParseError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ParseError::Scheme)?;
        let carrier = match () {
            () if scheme.eq_ignore_ascii_case("https") => Carrier::H2cReverse,
            () if scheme.eq_ignore_ascii_case("wss") => Carrier::WebSocket,
            () => return Err(ParseError::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(ParseError::UserInfo);
        }
        let (host, port) = split_authority(authority)?;
        Ok(Self::build(carrier, host.to_ascii_lowercase(), port, path))
    }

    fn build(carrier: Carrier, host: String, port: u16, path: &str) -> Self {
        let scheme = match carrier {
            Carrier::H2cReverse => "https",
            Carrier::WebSocket => "wss",
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let prefix = format!("{scheme}://{}", authority_text(&host, port));
        let path_at = prefix.len();
        Self {
            text: format!("{prefix}{slash}{path}"),
            carrier,
            host,
            port,
            path_at,
        }
    }

    /// Resolves a reference against this URL (RFC 3986, section 5): an absolute URL, `//host/path`, or a path that
    /// starts with `/`. Other relative references are refused, for no gateway needs them.
    pub fn join(&self, reference: &str) -> Result<Self, ParseError> {
        if reference.len() > MAX_URL {
            return Err(ParseError::TooLong);
        }
        let scheme_end = self.text.find("//").unwrap_or(0);
        if reference.starts_with("//") {
            Self::parse(&format!(
                "{}{reference}",
                self.text.get(..scheme_end).unwrap_or("")
            ))
        } else if reference.starts_with('/') {
            Self::parse(&format!(
                "{}{reference}",
                self.text.get(..self.path_at).unwrap_or("")
            ))
        } else {
            Self::parse(reference)
        }
    }

    /// The host in lower case, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 when the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the request line carries: the path, `?` and the query. It may hold a ticket.
    pub fn path_and_query(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or("/")
    }

    /// What the `Host` field carries: the host, in brackets where it is IPv6, and the port unless it is 443.
    pub fn authority(&self) -> String {
        authority_text(&self.host, self.port)
    }

    /// Which carrier the scheme asks for: `https:` is h2c-reverse, `wss:` the WebSocket.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The whole URL, the query included.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.split_once('?') {
            Some((visible, _)) => write!(f, "{visible}?..."),
            None => f.write_str(&self.text),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

fn authority_text(host: &str, port: u16) -> String {
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_string()
    };
    if port == DEFAULT_PORT {
        bracketed
    } else {
        format!("{bracketed}:{port}")
    }
}

fn split_authority(authority: &str) -> Result<(&str, u16), ParseError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(ParseError::Host)?;
        host.parse::<core::net::Ipv6Addr>()
            .map_err(|_| ParseError::Host)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, parse_port(port)?)),
            None if after.is_empty() => Ok((host, DEFAULT_PORT)),
            None => Err(ParseError::Host),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, DEFAULT_PORT),
    };
    if is_host_name(host) {
        Ok((host, port))
    } else {
        Err(ParseError::Host)
    }
}

fn parse_port(text: &str) -> Result<u16, ParseError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    match text.parse::<u16>() {
        Ok(port) if port != 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(ParseError::Port),
    }
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63 bytes; one final dot is allowed.
fn is_host_name(host: &str) -> bool {
    let bare = host.strip_suffix('.').unwrap_or(host);
    !bare.is_empty()
        && bare.len() <= MAX_HOST
        && bare.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// A host that `redirect_to` allows: an exact name or address, or `*.suffix`.
///
/// A wildcard stands for one or more whole labels left of its suffix and never for the bare suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    suffix: String,
    wildcard: bool,
}

impl HostPattern {
    /// Parses `*.example.net`, `gw.example.net`, an IPv4 address or an IPv6 address (brackets optional).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if let Ok(v6) = text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<core::net::Ipv6Addr>()
        {
            return Ok(Self {
                suffix: v6.to_string(),
                wildcard: false,
            });
        }
        let (suffix, wildcard) = match text.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (text, false),
        };
        if !is_host_name(suffix) {
            return Err(ParseError::Host);
        }
        Ok(Self {
            suffix: canonical_host(suffix),
            wildcard,
        })
    }

    /// Whether a URL's host is covered; letter case and a final dot do not matter.
    pub fn matches(&self, host: &str) -> bool {
        let host = canonical_host(host);
        if !self.wildcard {
            return host == self.suffix;
        }
        host.strip_suffix(self.suffix.as_str())
            .and_then(|labels| labels.strip_suffix('.'))
            .is_some_and(|labels| !labels.is_empty() && is_host_name(labels))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.suffix)
    }
}

/// One spelling for hosts that are the same: lower case, no final dot, IPv6 compressed.
pub(crate) fn canonical_host(host: &str) -> String {
    if let Ok(v6) = host.parse::<core::net::Ipv6Addr>() {
        return v6.to_string();
    }
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn parts() {
        let url = Url::parse("HTTPS://GW.Example.net:8443/up/link?t=1#x").unwrap();
        assert_eq!(
            (url.host(), url.port(), url.carrier()),
            ("gw.example.net", 8443, Carrier::H2cReverse)
        );
        assert_eq!(
            (url.path_and_query(), url.authority().as_str()),
            ("/up/link?t=1", "gw.example.net:8443")
        );
        assert_eq!(url.as_str(), "https://gw.example.net:8443/up/link?t=1");
        assert_eq!(url.to_string(), "https://gw.example.net:8443/up/link?...");
        assert!(!alloc::format!("{url:?}").contains("t=1"));
        let url = Url::parse("wss://[2001:DB8::1]?q").unwrap();
        assert_eq!(
            (url.host(), url.port(), url.carrier()),
            ("2001:db8::1", 443, Carrier::WebSocket)
        );
        assert_eq!(
            (url.path_and_query(), url.authority().as_str()),
            ("/?q", "[2001:db8::1]")
        );
        assert_eq!(Url::parse("https://10.0.0.1").unwrap().path_and_query(), "/");
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("http://a/", ParseError::Scheme),
            ("a/b", ParseError::Scheme),
            ("", ParseError::Scheme),
            ("https://u:p@a/", ParseError::UserInfo),
            ("https:///x", ParseError::Host),
            ("https://a..b/", ParseError::Host),
            ("https://-a/", ParseError::Host),
            ("https://[::1/", ParseError::Host),
            ("https://[nonsense]/", ParseError::Host),
            ("https://[::1]x/", ParseError::Host),
            ("https://a:0/", ParseError::Port),
            ("https://a:65536/", ParseError::Port),
            ("https://a:+1/", ParseError::Port),
            ("https://a/b c", ParseError::Character),
            ("https://a/\r\nX: y", ParseError::Character),
            ("https://ä/", ParseError::Character),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            Url::parse(&alloc::format!("https://a/{}", "x".repeat(MAX_URL))),
            Err(ParseError::TooLong)
        );
    }

    #[test]
    fn references() {
        let base = Url::parse("wss://a.net:99/x?y").unwrap();
        assert_eq!(base.join("/z?1").unwrap().as_str(), "wss://a.net:99/z?1");
        assert_eq!(base.join("//b.net/z").unwrap().as_str(), "wss://b.net/z");
        assert_eq!(base.join("https://c.net").unwrap().as_str(), "https://c.net/");
        assert_eq!(base.join("z"), Err(ParseError::Scheme));
    }

    #[test]
    fn patterns() {
        let wild = HostPattern::parse("*.Example.net").unwrap();
        assert!(wild.matches("a.example.net") && wild.matches("A.B.example.NET."));
        assert!(!wild.matches("example.net") && !wild.matches(".example.net"));
        assert!(!wild.matches("badexample.net") && !wild.matches("a.example.net.evil"));
        let exact = HostPattern::parse("gw.example.net").unwrap();
        assert!(exact.matches("GW.example.net") && !exact.matches("x.gw.example.net"));
        assert!(
            HostPattern::parse("[2001:db8::1]")
                .unwrap()
                .matches("2001:DB8:0::1")
        );
        for bad in ["", "*", "*.", "a.*.b", "**.a", "a b", "https://a"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(wild.to_string(), "*.example.net");
    }

    proptest! {
        #[test]
        fn what_parses_parses_again(text in "(https|wss)://[a-z0-9.:@\\[\\]-]{0,20}[/?#]?[ -~]{0,20}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(url.as_str()), Ok(url));
            }
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,60}") {
            let _ = Url::parse(&text).is_ok();
            let _ = HostPattern::parse(&text).is_ok();
        }
    }
}
