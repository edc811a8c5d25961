//! As much of HTTP/1.0 as a few questions need, and RTSP's heads, which look alike.

use core::net::SocketAddr;

use lenscap_rtsp::auth::Authenticator;
use lenscap_rtsp::{Credentials, Secret};

/// A status line, headers and what of the body came.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    head: &'a [u8],
    pub(super) body: &'a [u8],
}

impl<'a> Reply<'a> {
    pub(super) fn parse(answer: &'a [u8]) -> Option<Self> {
        let (head, body) = split(answer);
        let line = head.split(|byte| *byte == b'\n').next()?;
        let line = str::from_utf8(line).ok()?;
        let status = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self { status, head, body })
    }

    /// Whether a header's value begins so.
    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        values(self.head, name).any(|have| have.starts_with(value.as_bytes()))
    }
}

fn split(answer: &[u8]) -> (&[u8], &[u8]) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    match end {
        Some(at) => (&answer[..at], &answer[at + 4..]),
        None => (answer, &[]),
    }
}

/// The values of all headers of a name.
fn values<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.split(|byte| *byte == b'\n').filter_map(move |line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (have, value) = line.split_at(colon);
        have.eq_ignore_ascii_case(name.as_bytes())
            .then(|| value[1..].trim_ascii())
    })
}

/// Whether the body is as long as the head says.
pub(super) fn is_whole(answer: &[u8]) -> bool {
    let (head, body) = split(answer);
    if head.len() == answer.len() {
        return false;
    }
    let length = values(head, "content-length")
        .next()
        .and_then(|value| str::from_utf8(value).ok()?.parse::<usize>().ok());
    match length {
        Some(length) => body.len() >= length,
        // RTSP's answers without a body; HTTP/1.0's end with the connection.
        None => head.starts_with(b"RTSP/"),
    }
}

pub(super) fn get(at: SocketAddr, path: &str, authorization: Option<&str>) -> String {
    let mut question = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\nConnection: close\r\n");
    if let Some(value) = authorization {
        question.push_str(&format!("Authorization: {value}\r\n"));
    }
    question + "\r\n"
}

/// An ONVIF operation without an argument, and without WS-UsernameToken.
pub(super) fn soap(at: SocketAddr, path: &str, operation: &str) -> String {
    let body = format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body>\
         <{operation} xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></s:Body></s:Envelope>"
    );
    format!(
        "POST {path} HTTP/1.0\r\nHost: {at}\r\nContent-Type: application/soap+xml; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The answer to a 401's challenge; `None`: it is no 401, or of a kind that is not known.
#[inline(never)]
pub(super) fn authorization(answer: &[u8], path: &str, user: &str, password: &str) -> Option<String> {
    let reply = Reply::parse(answer).filter(|reply| reply.status == 401)?;
    let credentials = Credentials {
        user: user.to_owned(),
        password: Secret::new(password),
    };
    // A password that everybody knows needs no secrecy: the nonce may be anything.
    let mut authenticator = Authenticator::new(credentials, [7; 16]);
    authenticator
        .handle_challenge(values(reply.head, "www-authenticate"))
        .ok()?;
    String::from_utf8(authenticator.authorization("GET", path.as_bytes())?).ok()
}
