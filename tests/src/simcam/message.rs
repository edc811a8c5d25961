//! RTSP and HTTP messages as simcam reads and writes them.

use super::options::Quirks;

/// Largest request head and body; a client that sends more is cut off.
pub const MAX_REQUEST: usize = 64 << 10;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Request URI, as sent.
    pub uri: String,
    /// Header names in lower case with their values.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// A request of that many bytes, with its body.
    Request(Request, usize),
    /// An interleaved frame (RTCP of the client) of that many bytes.
    Interleaved(usize),
    /// Not RTSP, or too large.
    Invalid,
}

/// Reads one message from the front of `input`.
pub fn parse(input: &[u8]) -> Parsed {
    match input {
        [b'$', _, high, low, ..] => {
            let total = 4 + usize::from(u16::from_be_bytes([*high, *low]));
            return if input.len() < total {
                Parsed::Incomplete
            } else {
                Parsed::Interleaved(total)
            };
        }
        [] | [b'$', ..] => return Parsed::Incomplete,
        _ => {}
    }
    let Some(head_len) = input.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
        return if input.len() > MAX_REQUEST {
            Parsed::Invalid
        } else {
            Parsed::Incomplete
        };
    };
    let Some(request) = input.get(..head_len).and_then(parse_head) else {
        return Parsed::Invalid;
    };
    let body_len = request
        .header("content-length")
        .and_then(|v| v.parse::<usize>().ok())
        .unwrap_or(0);
    if body_len > MAX_REQUEST {
        return Parsed::Invalid;
    }
    if input.len() < head_len + body_len {
        return Parsed::Incomplete;
    }
    Parsed::Request(request, head_len + body_len)
}

fn parse_head(head: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.trim_end().split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("RTSP/1.") && !version.starts_with("HTTP/1.") {
        return None;
    }
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Request {
        method: method.to_owned(),
        uri: uri.to_owned(),
        headers,
    })
}

/// A reply.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers in order; CSeq and Content-Length are added.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// A reply without headers.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes of an RTSP reply, with the quirks of the head.
    pub fn encode(&self, cseq: Option<&str>, quirks: &Quirks) -> Vec<u8> {
        let mut lines = vec![if quirks.no_reason {
            format!("RTSP/1.0 {}", self.status)
        } else {
            format!("RTSP/1.0 {} {}", self.status, reason(self.status))
        }];
        lines.extend(cseq.map(|cseq| format!("CSeq: {cseq}")));
        lines.push("Server: simcam".to_owned());
        for (name, value) in &self.headers {
            match value.split_once(", ") {
                Some((first, rest)) if quirks.folded_header => {
                    lines.push(format!("{name}: {first},"));
                    lines.push(format!("\t{rest}"));
                }
                _ => lines.push(format!("{name}: {value}")),
            }
        }
        if quirks.folded_header {
            // An empty continuation line, as some cameras send it.
            lines.push("X-Note: folded".to_owned());
            lines.push(" ".to_owned());
        }
        if !self.body.is_empty() {
            lines.push(format!("Content-Length: {}", self.body.len()));
        }
        let end = if quirks.bare_lf { "\n" } else { "\r\n" };
        let mut bytes = lines.join(end).into_bytes();
        bytes.extend_from_slice(end.as_bytes());
        bytes.extend_from_slice(end.as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The reason phrase of a status code.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        461 => "Unsupported Transport",
        501 => "Not Implemented",
        551 => "Option not supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_frames_at_every_split() {
        let bytes = b"SETUP rtsp://a/b RTSP/1.0\r\nCSeq: 3\r\nContent-Length: 4\r\n\r\nbody";
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Parsed::Incomplete, "{cut}");
        }
        let Parsed::Request(request, used) = parse(bytes) else {
            panic!("no request")
        };
        assert_eq!(
            (request.method.as_str(), request.uri.as_str(), used),
            ("SETUP", "rtsp://a/b", bytes.len())
        );
        assert_eq!(request.header("cseq"), Some("3"));
        assert_eq!(parse(b"$\x01\x00\x02ab"), Parsed::Interleaved(6));
        assert_eq!(parse(b"$\x01\x00\x02a"), Parsed::Incomplete);
        assert_eq!(parse(b"hello\r\n\r\n"), Parsed::Invalid);
    }

    #[test]
    fn quirks_of_the_head() {
        let response = Response::new(200).with("Public", "OPTIONS, PLAY");
        let quirks = Quirks {
            bare_lf: true,
            no_reason: true,
            folded_header: true,
            ..Quirks::default()
        };
        assert_eq!(
            String::from_utf8(response.encode(Some("1"), &quirks)).unwrap(),
            "RTSP/1.0 200\nCSeq: 1\nServer: simcam\nPublic: OPTIONS,\n\tPLAY\nX-Note: folded\n \n\n"
        );
    }
}
