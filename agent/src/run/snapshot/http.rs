//! One HTTP/1.1 response of a camera, read with bounds (RFC 9112): Content-Length, chunked, or until close.
//!
//! It does not keep connections, follow redirects or decode any content coding.

/// Longest response head.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Largest image passed on; an 8 MP JPEG of a camera is around 2 MiB.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Header fields a camera may send.
const MAX_HEADERS: usize = 64;
/// Longest chunk-size line, extensions included.
const MAX_CHUNK_LINE: usize = 256;
/// Interim (1xx) responses before the real one.
const MAX_INTERIM: u8 = 4;

/// What is wrong with a response; the camera is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not an HTTP/1 response head, or too long a one.
    Head,
    /// Chunked framing is broken, or the length is not a number.
    Framing,
    /// The body is larger than [`MAX_BODY_BYTES`].
    TooLarge,
    /// The connection ended before the response did.
    Truncated,
}

/// A complete response.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Values of `WWW-Authenticate`, in order.
    pub challenges: Vec<Vec<u8>>,
    /// Its body, without transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Debug)]
enum State {
    Head { interim: u8 },
    Length(usize),
    UntilClose,
    ChunkSize,
    ChunkData(usize),
    ChunkEnd,
    Trailer,
    Done,
}

/// Reads one response.
#[derive(Debug)]
pub struct Reader {
    state: State,
    pending: Vec<u8>,
    /// Bytes of `pending` that have been dealt with: taken out together, or many small chunks would move all the others
    /// again and again.
    used: usize,
    response: Response,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// One of which nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Head { interim: 0 },
            pending: Vec::new(),
            used: 0,
            response: Response::default(),
        }
    }

    /// Takes bytes; `Ok(true)` once the response is complete.
    ///
    /// # Errors
    /// The response cannot be read on.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        match self.state {
            State::Length(_) | State::UntilClose if self.pending.is_empty() => self.take_plain(bytes)?,
            _ => {
                self.pending.extend_from_slice(bytes);
                self.advance()?;
                self.pending.drain(..self.used);
                self.used = 0;
            }
        }
        Ok(matches!(self.state, State::Done))
    }

    /// The camera closed; only a response without a length may end like this.
    ///
    /// # Errors
    /// The response was not complete.
    pub fn handle_end(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformed::Truncated),
        }
    }

    /// What was read; once it is complete, the response.
    #[must_use]
    pub fn into_response(self) -> Response {
        self.response
    }

    fn take_plain(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        match self.state {
            State::Length(left) => {
                let n = left.min(bytes.len());
                self.append(bytes.get(..n).unwrap_or_default())?;
                self.state = if n == left {
                    State::Done
                } else {
                    State::Length(left - n)
                };
                Ok(())
            }
            _ => self.append(bytes),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.response.body.len() + bytes.len() > MAX_BODY_BYTES {
            return Err(Malformed::TooLarge);
        }
        self.response.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Every turn consumes input or changes the state, so it ends with the input.
    fn advance(&mut self) -> Result<(), Malformed> {
        loop {
            match self.state {
                State::Head { interim } => {
                    if !self.take_head(interim)? {
                        return Ok(());
                    }
                }
                State::Length(_) | State::UntilClose => {
                    let pending = std::mem::take(&mut self.pending);
                    let used = std::mem::take(&mut self.used);
                    return self.take_plain(pending.get(used..).unwrap_or_default());
                }
                State::ChunkSize => {
                    let Some(line) = self.take_line(MAX_CHUNK_LINE)? else {
                        return Ok(());
                    };
                    let size = chunk_size(&line).ok_or(Malformed::Framing)?;
                    if size > MAX_BODY_BYTES {
                        return Err(Malformed::TooLarge);
                    }
                    self.state = if size == 0 {
                        State::Trailer
                    } else {
                        State::ChunkData(size)
                    };
                }
                State::ChunkData(left) => {
                    let chunk = self.pending.get(self.used..).unwrap_or_default();
                    if chunk.is_empty() {
                        return Ok(());
                    }
                    let n = left.min(chunk.len());
                    let chunk = chunk.get(..n).unwrap_or_default().to_vec();
                    self.used += n;
                    self.append(&chunk)?;
                    self.state = if n == left {
                        State::ChunkEnd
                    } else {
                        State::ChunkData(left - n)
                    };
                }
                State::ChunkEnd => match self.take_line(MAX_CHUNK_LINE)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => self.state = State::ChunkSize,
                    Some(_) => return Err(Malformed::Framing),
                },
                State::Trailer => match self.take_line(MAX_HEAD_BYTES)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => self.state = State::Done,
                    Some(_) => {}
                },
                State::Done => return Ok(()),
            }
        }
    }

    fn take_line(&mut self, max: usize) -> Result<Option<Vec<u8>>, Malformed> {
        let rest = self.pending.get(self.used..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return if rest.len() > max {
                Err(Malformed::Framing)
            } else {
                Ok(None)
            };
        };
        if end > max {
            return Err(Malformed::Framing);
        }
        let mut line = rest.get(..end).unwrap_or_default().to_vec();
        self.used += end + 1;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }

    /// `Ok(false)` asks for more bytes.
    fn take_head(&mut self, interim: u8) -> Result<bool, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let rest = self.pending.get(self.used..).unwrap_or_default();
        let used = match head.parse(rest) {
            // As it is when the same head comes in pieces.
            Ok(httparse::Status::Complete(used)) if used <= MAX_HEAD_BYTES => used,
            Ok(httparse::Status::Partial) if rest.len() <= MAX_HEAD_BYTES => return Ok(false),
            Ok(_) | Err(_) => return Err(Malformed::Head),
        };
        let status = head.code.unwrap_or(0);
        let framing = take_fields(&mut self.response, status, head.headers)?;
        self.used += used;
        self.state = if (100..200).contains(&status) {
            if interim >= MAX_INTERIM {
                return Err(Malformed::Head);
            }
            self.response = Response::default();
            State::Head { interim: interim + 1 }
        } else {
            framing
        };
        Ok(true)
    }
}

fn take_fields(
    response: &mut Response,
    status: u16,
    headers: &[httparse::Header<'_>],
) -> Result<State, Malformed> {
    response.status = status;
    let mut length = None;
    let mut chunked = false;
    for header in headers {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let parsed: usize = value.parse().map_err(|_| Malformed::Framing)?;
            if length.is_some_and(|known| known != parsed) {
                return Err(Malformed::Framing);
            }
            length = Some(parsed);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked |= value.to_ascii_lowercase().ends_with("chunked");
        } else if header.name.eq_ignore_ascii_case("www-authenticate") {
            response.challenges.push(header.value.to_vec());
        }
    }
    Ok(match (chunked, length) {
        _ if status == 204 || status == 304 => State::Done,
        (true, _) => State::ChunkSize,
        (false, Some(n)) if n > MAX_BODY_BYTES => return Err(Malformed::TooLarge),
        (false, Some(0)) => State::Done,
        (false, Some(n)) => State::Length(n),
        (false, None) => State::UntilClose,
    })
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|&b| b == b';').next()?;
    usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_split(bytes: &[u8], at: usize) -> Result<Option<Response>, Malformed> {
        let mut reader = Reader::new();
        let mut done = reader.handle_input(&bytes[..at])?;
        done |= reader.handle_input(&bytes[at..])?;
        if !done {
            reader.handle_end()?;
        }
        Ok(Some(reader.into_response()))
    }

    #[test]
    fn every_framing_at_every_split_point() {
        let cases: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Type: image/JPEG\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: x\r\n\r\n",
            b"HTTP/1.0 200 OK\nContent-Type: image/jpeg\n\nhello",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 5\r\n\r\nhello",
        ];
        for case in cases {
            for at in 0..=case.len() {
                let response = read_split(case, at).unwrap().unwrap();
                assert_eq!(response.status, 200);
                assert_eq!(response.body, b"hello", "split at {at}");
            }
        }
    }

    #[test]
    fn challenges_are_kept_apart() {
        let bytes = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"a\"\r\nwww-authenticate: Digest realm=\"a\", nonce=\"b\"\r\nContent-Length: 0\r\n\r\n";
        let response = read_split(bytes, 10).unwrap().unwrap();
        assert_eq!(response.challenges.len(), 2);
    }

    #[test]
    fn bounds_and_garbage_are_errors() {
        let mut reader = Reader::new();
        assert_eq!(reader.handle_input(b"\x00\x01\x02\r\n\r\n"), Err(Malformed::Head));
        let long_head = format!("HTTP/1.1 204 No\r\nX: {}\r\n\r\n", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(
            Reader::new().handle_input(long_head.as_bytes()),
            Err(Malformed::Head)
        );
        let mut reader = Reader::new();
        let long = [b'a'; 1024];
        reader.handle_input(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
        assert!((0..32).any(|_| reader.handle_input(&long).is_err()));
        let mut reader = Reader::new();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            MAX_BODY_BYTES + 1
        );
        assert_eq!(reader.handle_input(head.as_bytes()), Err(Malformed::TooLarge));
        let mut reader = Reader::new();
        reader.handle_input(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let block = vec![0u8; 64 * 1024];
        assert_eq!(
            (0..=64).find_map(|_| reader.handle_input(&block).err()),
            Some(Malformed::TooLarge)
        );
        let mut reader = Reader::new();
        reader
            .handle_input(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            .unwrap_err();
        let mut reader = Reader::new();
        reader
            .handle_input(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            .unwrap();
        assert_eq!(reader.handle_end(), Err(Malformed::Truncated));
        let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(Reader::new().handle_input(twice), Err(Malformed::Framing));
    }
}
