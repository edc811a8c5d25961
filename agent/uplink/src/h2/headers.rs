//! Which header lists make a request (RFC 9113, section 8; RFC 8441, section 4).

use super::Request;
use alloc::string::String;
use alloc::vec::Vec;

/// Why a request or its trailers are malformed.
pub(super) type Malformed = &'static str;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
}

/// Gathers the fields of one block; the first broken rule is kept.
#[derive(Debug, Default)]
pub(super) struct Builder {
    method: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    protocol: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    content_length: Option<u64>,
    malformed: Option<Malformed>,
}

/// A valid request, and the `content-length` it announced.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) request: Request,
    pub(super) content_length: Option<u64>,
}

impl Builder {
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.malformed.is_none() {
            self.malformed = self.try_field(name, value).err();
        }
    }

    fn try_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        let name = field_name(name)?;
        check_value(value)?;
        check_connection_specific(name, value)?;
        if name == "content-length" {
            self.set_content_length(value)?;
        }
        self.headers.push((name.into(), value.into()));
        Ok(())
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let which = match name {
            b":method" => Pseudo::Method,
            b":scheme" => Pseudo::Scheme,
            b":authority" => Pseudo::Authority,
            b":path" => Pseudo::Path,
            b":protocol" => Pseudo::Protocol,
            _ => return Err("a pseudo-header that is not for requests"),
        };
        if !self.headers.is_empty() {
            return Err("a pseudo-header behind a regular field");
        }
        if !value.iter().all(u8::is_ascii_graphic) {
            return Err("a character that a pseudo-header must not hold");
        }
        let place = match which {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
            Pseudo::Protocol => &mut self.protocol,
        };
        if place.is_some() {
            return Err("a pseudo-header twice");
        }
        *place = Some(String::from_utf8_lossy(value).into_owned());
        Ok(())
    }

    fn set_content_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let text = core::str::from_utf8(value).unwrap_or("");
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let length = text
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or("a content-length that is no number")?;
        match self.content_length.replace(length) {
            Some(before) if before != length => Err("two different content-lengths"),
            _ => Ok(()),
        }
    }

    pub(super) fn into_request(mut self) -> Result<Parsed, Malformed> {
        if let Some(why) = self.malformed {
            return Err(why);
        }
        self.unify_host()?;
        let method = self
            .method
            .filter(|m| is_token(m.as_bytes()))
            .ok_or("no valid :method")?;
        let connect = method == "CONNECT";
        if !connect && self.protocol.is_some() {
            return Err(":protocol without CONNECT");
        }
        if connect && self.protocol.is_none() {
            if self.scheme.is_some() || self.path.is_some() || self.authority.is_none() {
                return Err("a CONNECT with :scheme or :path, or without :authority");
            }
        } else {
            check_target(&method, self.scheme.as_deref(), self.path.as_deref())?;
        }
        if connect && self.protocol.is_some() && self.authority.is_none() {
            return Err("an extended CONNECT without :authority");
        }
        if self.protocol.as_deref().is_some_and(str::is_empty) {
            return Err("an empty :protocol");
        }
        let request = Request {
            method,
            scheme: self.scheme.unwrap_or_default(),
            authority: self.authority.unwrap_or_default(),
            path: self.path.unwrap_or_default(),
            protocol: self.protocol,
            headers: self.headers,
        };
        Ok(Parsed {
            request,
            content_length: self.content_length.filter(|_| !connect),
        })
    }

    /// `host` stands in for a missing `:authority` and must not contradict one (section 8.3.1).
    fn unify_host(&mut self) -> Result<(), Malformed> {
        for (_, value) in self.headers.iter().filter(|(name, _)| name == "host") {
            let host = core::str::from_utf8(value).map_err(|_| "a host that is not text")?;
            let authority = self.authority.get_or_insert_with(|| host.into());
            if !authority.eq_ignore_ascii_case(host) {
                return Err("host and :authority differ");
            }
        }
        if self
            .authority
            .as_deref()
            .is_some_and(|authority| authority.contains('@'))
        {
            return Err("user information in :authority");
        }
        Ok(())
    }

    /// Trailers hold no pseudo-headers (section 8.1).
    pub(super) fn check_trailers(self) -> Result<(), Malformed> {
        if let Some(why) = self.malformed {
            return Err(why);
        }
        let pseudo = [self.method, self.scheme, self.authority, self.path, self.protocol];
        if pseudo.iter().any(Option::is_some) {
            Err("a pseudo-header in trailers")
        } else {
            Ok(())
        }
    }
}

fn check_target(method: &str, scheme: Option<&str>, path: Option<&str>) -> Result<(), Malformed> {
    let (Some(scheme), Some(path)) = (scheme, path) else {
        return Err("no :scheme or no :path");
    };
    if scheme.is_empty() {
        return Err("an empty :scheme");
    }
    if path.starts_with('/') || (path == "*" && method == "OPTIONS") {
        Ok(())
    } else {
        Err("a :path that does not start with a slash")
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn field_name(name: &[u8]) -> Result<&str, Malformed> {
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err("an upper-case field name");
    }
    if !is_token(name) {
        return Err("a field name with a forbidden character");
    }
    core::str::from_utf8(name).map_err(|_| "a field name that is not text")
}

fn check_value(value: &[u8]) -> Result<(), Malformed> {
    if value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
        return Err("a field value with NUL, CR or LF");
    }
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return Err("a field value that starts or ends with a blank");
    }
    Ok(())
}

fn check_connection_specific(name: &str, value: &[u8]) -> Result<(), Malformed> {
    match name {
        "connection" | "proxy-connection" | "keep-alive" | "transfer-encoding" | "upgrade" => {
            Err("a connection-specific field")
        }
        "te" if !value.eq_ignore_ascii_case(b"trailers") => Err("te with another value than trailers"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<Parsed, Malformed> {
        let mut builder = Builder::default();
        for (name, value) in fields {
            builder.field(name.as_bytes(), value.as_bytes());
        }
        builder.into_request()
    }

    const GET: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "https"), (":path", "/status")];

    fn with(extra: &[(&'static str, &'static str)]) -> Result<Parsed, Malformed> {
        parse(&[&GET[..], extra].concat())
    }

    #[test]
    fn valid_requests() {
        let parsed = with(&[
            (":authority", "cam"),
            ("host", "CAM"),
            ("te", "trailers"),
            ("content-length", "7"),
        ]);
        let parsed = parsed.unwrap();
        assert_eq!(
            (parsed.request.path.as_str(), parsed.content_length),
            ("/status", Some(7))
        );
        assert_eq!(parsed.request.header("te"), Some(&b"trailers"[..]));
        assert_eq!(with(&[("host", "cam")]).unwrap().request.authority, "cam");
        let connect = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/rtsp"),
            (":authority", "cam"),
        ];
        assert_eq!(
            parse(&connect).unwrap().request.protocol.as_deref(),
            Some("websocket")
        );
        parse(&[(":method", "CONNECT"), (":authority", "cam:80")]).unwrap();
        parse(&[(":method", "OPTIONS"), (":scheme", "https"), (":path", "*")]).unwrap();
    }

    #[test]
    fn malformed_requests() {
        for extra in [
            (":status", "200"),
            (":method", "GET"),
            (":protocol", "websocket"),
            (":authority", "user@cam"),
            ("Accept", "x"),
            ("a b", "x"),
            ("", "x"),
            ("a:", "x"),
            ("x", "a\0"),
            ("x", "a\nb"),
            ("x", " a"),
            ("x", "a\t"),
            ("connection", "close"),
            ("proxy-connection", "close"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("content-length", "-1"),
            ("content-length", "+1"),
            ("content-length", "99999999999999999999"),
        ] {
            assert!(with(&[extra]).is_err(), "{extra:?}");
        }
        assert!(with(&[("x", "y"), (":authority", "cam")]).is_err());
        assert!(with(&[("content-length", "1"), ("content-length", "2")]).is_err());
        assert!(with(&[(":authority", "a"), ("host", "b")]).is_err());
        for fields in [
            &[(":method", "GET"), (":scheme", "https")][..],
            &[(":method", "GET"), (":path", "/")],
            &[(":scheme", "https"), (":path", "/")],
            &[(":method", "GET"), (":scheme", "https"), (":path", "")],
            &[(":method", "GET"), (":scheme", "https"), (":path", "x")],
            &[(":method", "GET"), (":scheme", "https"), (":path", "*")],
            &[(":method", "G T"), (":scheme", "https"), (":path", "/")],
            &[(":method", "CONNECT"), (":path", "/"), (":authority", "a")],
            &[(":method", "CONNECT")],
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":authority", "a"),
            ],
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https"),
                (":path", "/"),
            ],
        ] {
            assert!(parse(fields).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn trailers_hold_no_pseudo_headers() {
        let mut trailers = Builder::default();
        trailers.field(b"x", b"y");
        trailers.check_trailers().unwrap();
        let mut trailers = Builder::default();
        trailers.field(b":path", b"/");
        assert!(trailers.check_trailers().is_err());
    }
}
