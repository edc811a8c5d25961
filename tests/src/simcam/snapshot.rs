//! The HTTP side of simcam: one JPEG behind the same authentication as the video.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::Shared;
use super::guard::Verdict;
use super::message::{Parsed, Request, parse, reason};

/// An idle connection is closed after so long.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of one piece of the quirk `snapshot-oversize`; pieces follow until the client closes.
const PIECE: usize = 64 << 10;
const CHUNK: usize = 4096;

/// Serves one HTTP/1.1 connection to its end.
pub(super) fn serve(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut input = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match parse(&input) {
            Parsed::Request(request, len) => {
                input.drain(..len);
                let close = request
                    .header("connection")
                    .is_some_and(|v| v.eq_ignore_ascii_case("close"));
                answer(shared, &mut stream, &request)?;
                if close {
                    return Ok(());
                }
            }
            Parsed::Incomplete => {
                let n = stream.read(&mut buffer)?;
                if n == 0 {
                    return Ok(());
                }
                input.extend_from_slice(buffer.get(..n).unwrap_or_default());
            }
            Parsed::Interleaved(_) | Parsed::Invalid => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn answer(shared: &Shared, stream: &mut TcpStream, request: &Request) -> io::Result<()> {
    let verdict = shared.guard.check(request);
    let path = request
        .uri
        .split_once("://")
        .map_or(request.uri.as_str(), |(_, rest)| {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        });
    let status = match (&shared.jpeg, verdict) {
        _ if request.method != "GET" => 405,
        (_, Verdict::Missing | Verdict::Bad | Verdict::Stale) => 401,
        (Some(_), Verdict::Ok) if path == shared.options.snapshot_path => 200,
        (_, Verdict::Ok) => 404,
    };
    let fields =
        json!({"method": request.method, "uri": request.uri, "auth": verdict.name(), "status": status});
    shared.events.write("snapshot", fields);
    let mut head = format!("HTTP/1.1 {status} {}\r\nServer: simcam\r\n", reason(status));
    if status == 401 {
        head.push_str(&format!(
            "WWW-Authenticate: {}\r\n",
            shared.guard.challenge(verdict)
        ));
    }
    match (&shared.jpeg, status) {
        (Some(jpeg), 200) => send_picture(shared, stream, head, jpeg),
        _ => stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()),
    }
}

fn send_picture(shared: &Shared, stream: &mut TcpStream, head: String, jpeg: &[u8]) -> io::Result<()> {
    let quirks = &shared.quirks;
    let head = format!("{head}Content-Type: image/jpeg\r\n");
    if quirks.snapshot_stall {
        let mut byte = [0];
        let _ = stream.read(&mut byte)?;
        return Err(ErrorKind::TimedOut.into());
    }
    if quirks.snapshot_oversize {
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        let piece = vec![0xff; PIECE];
        while !shared.is_stopping() {
            stream.write_all(&piece)?;
        }
        return Err(ErrorKind::ConnectionAborted.into());
    }
    if quirks.snapshot_chunked {
        stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
        for chunk in jpeg.chunks(CHUNK) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            stream.write_all(chunk)?;
            stream.write_all(b"\r\n")?;
        }
        return stream.write_all(b"0\r\n\r\n");
    }
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", jpeg.len()).as_bytes())?;
    stream.write_all(jpeg)
}
