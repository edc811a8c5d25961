//! RTSP heads: a tolerant parser over bytes and a strict writer (RFC 2326 sections 4-7).
//!
//! Tolerated: bare LF, a missing reason phrase, bytes that are not UTF-8, folded lines, spaces before the
//! colon. Not tolerated: more than [`MAX_HEADERS`] headers, a first line that is no RTSP start line.

use rtsp_types::StatusCode;

/// Header lines a head may have.
pub const MAX_HEADERS: usize = 64;

/// The first line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A request line.
    Request {
        /// The method, as sent.
        method: String,
        /// The request URI, byte for byte.
        uri: Vec<u8>,
    },
    /// A status line.
    Response {
        /// The status code.
        status: u16,
        /// The reason phrase; may be empty.
        reason: Vec<u8>,
    },
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: Start,
    /// Header names as sent, and their unfolded, trimmed values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Parses a head (with or without its blank line) and takes the body as it is.
    pub fn parse(head: &[u8], body: &[u8]) -> Option<Self> {
        let mut lines = head
            .split(|&b| b == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let start = parse_start(lines.next()?)?;
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in lines {
            if line.is_empty() {
                break;
            }
            if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
                if let Some((_, value)) = headers.last_mut() {
                    let more = line.trim_ascii();
                    if !more.is_empty() {
                        value.push(b' ');
                        push_clean(value, more);
                    }
                }
                continue;
            }
            let Some(colon) = line.iter().position(|&b| b == b':') else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            if headers.len() == MAX_HEADERS {
                return None;
            }
            let mut clean = Vec::with_capacity(value.len());
            push_clean(&mut clean, value.get(1..).unwrap_or_default().trim_ascii());
            headers.push((String::from_utf8_lossy(name.trim_ascii()).into_owned(), clean));
        }
        Some(Self {
            start,
            headers,
            body: body.to_vec(),
        })
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// All values of a header.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }
}

/// A stray CR inside a line would split a line for some receivers.
fn push_clean(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(
        value
            .iter()
            .map(|&b| if matches!(b, b'\r' | 0) { b' ' } else { b }),
    );
}

fn parse_start(line: &[u8]) -> Option<Start> {
    if let Some(rest) = line.strip_prefix(b"RTSP/") {
        let space = rest.iter().position(|&b| b == b' ')?;
        if !rest.first()?.is_ascii_digit() {
            return None;
        }
        let rest = rest.get(space..)?.trim_ascii();
        let digits = rest.get(..3)?;
        if rest.get(3).is_some_and(|&b| b != b' ') || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let status = digits.iter().fold(0u16, |sum, &b| sum * 10 + u16::from(b - b'0'));
        let reason = rest.get(3..).unwrap_or_default().trim_ascii();
        return (status >= 100).then(|| Start::Response {
            status,
            reason: reason.to_vec(),
        });
    }
    let line = line.trim_ascii();
    let first = line.iter().position(|&b| b == b' ')?;
    let last = line.iter().rposition(|&b| b == b' ')?;
    let version = line.get(last + 1..)?;
    let method = line.get(..first)?;
    if !version.starts_with(b"RTSP/") || !is_method(method) {
        return None;
    }
    let uri = line.get(first + 1..last).unwrap_or_default().trim_ascii();
    if uri.is_empty() {
        return None;
    }
    Some(Start::Request {
        method: String::from_utf8_lossy(method).into_owned(),
        uri: uri.to_vec(),
    })
}

/// Longest method name taken for one.
pub(crate) const MAX_METHOD: usize = 24;

pub(crate) fn is_method(token: &[u8]) -> bool {
    (3..=MAX_METHOD).contains(&token.len()) && token.iter().all(|b| b.is_ascii_uppercase() || *b == b'_')
}

/// Whether a line could be the first of a message.
pub(crate) fn is_start_line(line: &[u8]) -> bool {
    parse_start(line.strip_suffix(b"\r").unwrap_or(line)).is_some()
}

/// Writes one message.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins a request.
    pub fn request(method: &str, uri: &[u8]) -> Self {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend(uri.iter().filter(|b| !matches!(b, b'\r' | b'\n')));
        out.extend_from_slice(b" RTSP/1.0\r\n");
        Self(out)
    }

    /// Begins a response; an empty reason is replaced by the usual one.
    pub fn response(status: u16, reason: &[u8]) -> Self {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(format!("RTSP/1.0 {status} ").as_bytes());
        if reason.is_empty() {
            out.extend_from_slice(usual_reason(status).as_bytes());
        } else {
            out.extend(reason.iter().filter(|b| !b.is_ascii_control()));
        }
        out.extend_from_slice(b"\r\n");
        Self(out)
    }

    /// Adds a header. Line breaks in the value are left out.
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0
            .extend(value.iter().filter(|b| !matches!(b, b'\r' | b'\n')));
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// Ends the head and adds the body, with its Content-Length when there is one.
    pub fn finish(mut self, body: &[u8]) -> Vec<u8> {
        if !body.is_empty() {
            self.header("Content-Length", body.len().to_string().as_bytes());
        }
        self.0.extend_from_slice(b"\r\n");
        self.0.extend_from_slice(body);
        self.0
    }
}

fn usual_reason(status: u16) -> String {
    match status {
        200 => String::from("OK"),
        // Not in RFC 2326; sent by cameras out of sessions.
        429..=450 | 466..=499 | 506..=550 => String::from("Error"),
        _ => StatusCode::from(status).to_string(),
    }
}

/// Parses an unsigned decimal of at most nine digits, as in CSeq and Content-Length.
pub fn parse_number(value: &[u8]) -> Option<u32> {
    let value = value.trim_ascii();
    if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, &b| sum * 10 + u32::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerates_what_cameras_send() {
        let head =
            b"RTSP/1.0 200\nCSeq : 3\nX-Name: caf\xe9\nPublic: OPTIONS,\n DESCRIBE\n \r\nSession:  1 \n\n";
        let message = Message::parse(head, b"").unwrap();
        assert_eq!(
            message.start,
            Start::Response {
                status: 200,
                reason: Vec::new()
            }
        );
        assert_eq!(message.header("cseq"), Some(&b"3"[..]));
        assert_eq!(message.header("x-name"), Some(&b"caf\xe9"[..]));
        assert_eq!(message.header("PUBLIC"), Some(&b"OPTIONS, DESCRIBE"[..]));
        assert_eq!(message.header("session"), Some(&b"1"[..]));
    }

    #[test]
    fn refuses_what_is_no_start_line() {
        for head in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"RTSP/1.0 2 OK\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\r\n",
            b"ABC RTSP/1.0\r\n",
        ] {
            assert_eq!(Message::parse(head, b""), None);
        }
        let many = [
            b"RTSP/1.0 200 OK\r\n".to_vec(),
            b"A: b\r\n".repeat(MAX_HEADERS + 1),
        ]
        .concat();
        assert_eq!(Message::parse(&many, b""), None);
    }

    #[test]
    fn writes_what_it_parses() {
        let mut writer = Writer::request("DESCRIBE", b"rtsp://h/\xff?a=1");
        writer.header("CSeq", b"1").header("X", b"a\r\nb");
        let bytes = writer.finish(b"body");
        let text =
            b"DESCRIBE rtsp://h/\xff?a=1 RTSP/1.0\r\nCSeq: 1\r\nX: ab\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(bytes, text);
        let start = Message::parse(&bytes, b"").unwrap().start;
        assert_eq!(
            start,
            Start::Request {
                method: "DESCRIBE".into(),
                uri: b"rtsp://h/\xff?a=1".to_vec()
            }
        );
    }
}
