//! RTSP message heads (RFC 2326 sections 4 to 7): lenient where clients and cameras are, bytes kept as they came.

use std::fmt::{self, Write as _};

use thiserror::Error;

/// Most header fields in one head.
pub const MAX_FIELDS: usize = 64;

/// Why a head cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// The first line is neither a request nor a status line.
    #[error("malformed first line")]
    FirstLine,
    /// A line without a colon, or a name that is no token.
    #[error("malformed header field")]
    Field,
    /// More than [`MAX_FIELDS`].
    #[error("too many header fields")]
    TooMany,
    /// Not `RTSP/1.0`.
    #[error("RTSP version not supported")]
    Version,
}

/// One header field.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// The name as written.
    pub name: String,
    /// The value without surrounding blanks; it need not be UTF-8.
    pub value: Vec<u8>,
}

/// Values may be answers to a login, or addresses that need none.
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The fields of one head, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<Field>);

impl Fields {
    /// The first value of `name`, compared without case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.as_slice())
    }

    /// The first value of `name`, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.value(name)?).ok()
    }

    /// Takes every field called `name` out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|field| !field.name.eq_ignore_ascii_case(name));
    }

    fn parse(lines: &[Vec<u8>]) -> Result<Self, HeadError> {
        if lines.len() > MAX_FIELDS {
            return Err(HeadError::TooMany);
        }
        let fields = lines.iter().map(|line| {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .ok_or(HeadError::Field)?;
            let (name, value) = line.split_at(colon);
            let name = std::str::from_utf8(name.trim_ascii()).map_err(|_| HeadError::Field)?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(HeadError::Field);
            }
            Ok(Field {
                name: name.to_owned(),
                value: value[1..].trim_ascii().to_vec(),
            })
        });
        Ok(Self(fields.collect::<Result<_, _>>()?))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for field in &self.0 {
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(&field.value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A request of a viewer, or (rarely) of a camera.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method as written; RTSP methods are case-sensitive.
    pub method: String,
    /// The request URI, visible ASCII.
    pub uri: String,
    /// Its header fields.
    pub fields: Fields,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A playback address has its right in the query, and some write a password before the host.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Serialises the head.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{} {} RTSP/1.0\r\n", self.method, self.uri).into_bytes();
        self.fields.encode(&mut out);
        out
    }
}

/// The head of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code, 100 to 599.
    pub status: u16,
    /// Reason phrase, possibly empty.
    pub reason: Vec<u8>,
    /// Its header fields.
    pub fields: Fields,
}

impl Reply {
    /// Serialises the head.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("RTSP/1.0 {} ", self.status).into_bytes();
        out.extend_from_slice(&self.reason);
        out.extend_from_slice(b"\r\n");
        self.fields.encode(&mut out);
        out
    }
}

/// A parsed head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A reply.
    Reply(Reply),
}

impl Message {
    /// Parses a head as [`super::splitter::Splitter`] gives it.
    ///
    /// # Errors
    /// See [`HeadError`]; the stream itself is still in step.
    pub fn parse(head: &[u8]) -> Result<Self, HeadError> {
        let lines = unfold(head);
        let (first, rest) = lines.split_first().ok_or(HeadError::FirstLine)?;
        let fields = Fields::parse(rest)?;
        if first.len() >= 5 && first[..5].eq_ignore_ascii_case(b"RTSP/") {
            return parse_status(first, fields).map(Message::Reply);
        }
        let text = std::str::from_utf8(first).map_err(|_| HeadError::FirstLine)?;
        let mut words = text.split_ascii_whitespace();
        let (Some(method), Some(uri), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(HeadError::FirstLine);
        };
        if !method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            || !uri.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(HeadError::FirstLine);
        }
        if version != "RTSP/1.0" {
            return Err(HeadError::Version);
        }
        Ok(Message::Request(Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
            fields,
        }))
    }
}

fn parse_status(line: &[u8], fields: Fields) -> Result<Reply, HeadError> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let _version = words.next();
    let status = words
        .next()
        .and_then(|word| std::str::from_utf8(word).ok())
        .and_then(|word| word.trim().parse::<u16>().ok())
        .filter(|status| (100..600).contains(status))
        .ok_or(HeadError::FirstLine)?;
    Ok(Reply {
        status,
        reason: words.next().unwrap_or_default().trim_ascii().to_vec(),
        fields,
    })
}

/// Lines without their ends; a line that begins with a blank continues the one before.
fn unfold(head: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.first(), lines.last_mut()) {
            (Some(b' ' | b'\t'), Some(last)) => {
                let more = line.trim_ascii();
                if !more.is_empty() {
                    last.push(b' ');
                    last.extend_from_slice(more);
                }
            }
            (Some(_), _) => lines.push(line.to_vec()),
            (None, _) => {}
        }
    }
    lines
}

/// The Content-Length of a raw head, 0 when it has none. Agent and gateway must not read two different lengths
/// out of one head, so several are refused unless they agree, and a folded line is none.
pub(super) fn content_length(head: &[u8]) -> Result<u64, ()> {
    let mut length = None;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if name.trim_ascii().eq_ignore_ascii_case(b"content-length") {
            let value = parse_length(value[1..].trim_ascii()).ok_or(())?;
            if length.replace(value).is_some_and(|other| other != value) {
                return Err(());
            }
        }
    }
    Ok(length.unwrap_or(0))
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    text.parse().ok()
}

/// A reply of the gateway's own, without a body.
#[must_use]
pub fn reply(status: u16, reason: &str, cseq: Option<&[u8]>, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in fields {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let mut out = format!("RTSP/1.0 {status} {reason}\r\n").into_bytes();
    if let Some(cseq) = cseq {
        out.extend_from_slice(b"CSeq: ");
        out.extend_from_slice(cseq);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"Server: lenscap\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_what_clients_send() {
        let head = b"SETUP rtsp://h/cam/main/track=1 RTSP/1.0\r\nCSeq:3\r\nTransport: RTP/AVP/TCP;\r\n interleaved=0-1\r\n\r\n";
        let Ok(Message::Request(request)) = Message::parse(head) else {
            panic!("no request")
        };
        assert_eq!(request.method, "SETUP");
        assert_eq!(request.fields.text("cseq"), Some("3"));
        assert_eq!(
            request.fields.text("transport"),
            Some("RTP/AVP/TCP; interleaved=0-1")
        );
        assert_eq!(
            request.encode(),
            b"SETUP rtsp://h/cam/main/track=1 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP; interleaved=0-1\r\n\r\n"
        );
    }

    #[test]
    fn parses_what_cameras_answer() {
        let Ok(Message::Reply(reply)) = Message::parse(b"RTSP/1.0 200\nCSeq: 1\nServer: \xff\xfe\n\n") else {
            panic!("no reply")
        };
        assert_eq!((reply.status, reply.reason.len()), (200, 0));
        assert_eq!(reply.fields.value("server"), Some(&b"\xff\xfe"[..]));
        assert!(Message::parse(b"RTSP/1.0 99 x\r\n\r\n").is_err());
    }

    #[test]
    fn refuses_malformed_requests() {
        for (head, error) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], HeadError::Version),
            (b"OPTIONS * RTSP/2.0\r\n\r\n", HeadError::Version),
            (b"OPTIONS *\r\n\r\n", HeadError::FirstLine),
            (b"OPTIONS a\x7f RTSP/1.0\r\n\r\n", HeadError::FirstLine),
            (b"options * RTSP/1.0\r\n\r\n", HeadError::FirstLine),
            (b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n", HeadError::Field),
            (b"OPTIONS * RTSP/1.0\r\n: x\r\n\r\n", HeadError::Field),
        ] {
            assert_eq!(
                Message::parse(head),
                Err(error),
                "{}",
                String::from_utf8_lossy(head)
            );
        }
        let many = format!("OPTIONS * RTSP/1.0\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(Message::parse(many.as_bytes()), Err(HeadError::TooMany));
    }

    proptest! {
        #[test]
        fn never_panics(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&head);
            let _ = content_length(&head);
        }
    }
}
