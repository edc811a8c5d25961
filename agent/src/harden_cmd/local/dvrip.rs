//! DVRIP, the protocol of XiongMai's cameras and their kin, as far as its user's password goes: logging in and
//! ModifyPassword. Both carry a hash of eight characters, so that no more of a password than that counts.
//!
//! A message has a head of 20 bytes, little endian: 0xff, a version, the session (4), a counter (4), what it is (2 of 4)
//! and the length of what follows, which is JSON, a line's end and a zero.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use lenscap_harden::crypt::dvrip_hash;

use super::service::{TIMEOUT, USER, refused};
use crate::sys;

/// Where it is served.
pub(super) const PORT: u16 = 34567;
const MAGIC: u8 = 0xff;
const HEAD_BYTES: usize = 20;
/// The longest answer that is read.
const MAX_BYTES: usize = 4096;
const LOG_IN: u16 = 1000;
const MODIFY_PASSWORD: u16 = 1488;
/// It is done; and two ways to say that the password is wrong.
const DONE: u32 = 100;
const WRONG: [u32; 2] = [106, 203];

/// A session on one connection.
struct Session {
    stream: TcpStream,
    id: u32,
    count: u32,
}

/// Whether a password opens it.
pub(super) fn opens(address: SocketAddr, password: &str) -> io::Result<bool> {
    Ok(log_in(address, password)?.is_some())
}

/// Asks for another password.
pub(super) fn change(address: SocketAddr, from: &str, to: &str) -> io::Result<()> {
    let mut session = log_in(address, from)?.ok_or_else(|| refused("it does not take its password"))?;
    let (from, to, id) = (dvrip_hash(from), dvrip_hash(to), session.id);
    let body = format!(
        "{{\"EncryptType\":\"MD5\",\"NewPassWord\":\"{to}\",\"PassWord\":\"{from}\",\"SessionID\":\"0x{id:08X}\",\
         \"UserName\":\"{USER}\"}}"
    );
    match session.ask(MODIFY_PASSWORD, &body)? {
        DONE => Ok(()),
        other => Err(refused(&format!("it answers {other}"))),
    }
}

fn log_in(address: SocketAddr, password: &str) -> io::Result<Option<Session>> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let (id, count) = (0, 0);
    let mut session = Session { stream, id, count };
    let hash = dvrip_hash(password);
    let body = format!(
        "{{\"EncryptType\":\"MD5\",\"LoginType\":\"DVRIP-Web\",\"PassWord\":\"{hash}\",\"UserName\":\"{USER}\"}}"
    );
    match session.ask(LOG_IN, &body)? {
        DONE => Ok(Some(session)),
        wrong if WRONG.contains(&wrong) => Ok(None),
        other => Err(refused(&format!("it answers {other}"))),
    }
}

impl Session {
    /// One message and what is said to it: the number that `Ret` is.
    fn ask(&mut self, what: u16, body: &str) -> io::Result<u32> {
        let length = u32::try_from(body.len() + 2).unwrap_or(u32::MAX);
        let mut message = vec![MAGIC, 0, 0, 0];
        for number in [self.id, self.count, u32::from(what) << 16, length] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        message.extend_from_slice(body.as_bytes());
        message.extend_from_slice(b"\n\0");
        self.stream.write_all(&message)?;
        self.count += 1;
        let mut answer = Vec::new();
        let mut part = [0; 512];
        let deadline = sys::monotonic() + TIMEOUT;
        loop {
            if let Some((id, text)) = whole(&answer)? {
                self.id = id;
                return ret(text).ok_or_else(malformed);
            }
            if sys::monotonic() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.stream.read(&mut part)? {
                0 => return Err(malformed()),
                length => answer.extend_from_slice(part.get(..length).unwrap_or_default()),
            }
        }
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// An answer's session and text, once it is there whole.
fn whole(bytes: &[u8]) -> io::Result<Option<(u32, &[u8])>> {
    let number = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    if bytes.first().is_some_and(|first| *first != MAGIC) {
        return Err(malformed());
    }
    let (Some(id), Some(length)) = (number(4), number(HEAD_BYTES - 4)) else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_BYTES {
        return Err(malformed());
    }
    Ok(bytes.get(HEAD_BYTES..HEAD_BYTES + length).map(|text| (id, text)))
}

/// The number after `"Ret"`.
fn ret(text: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("\"Ret\"")?;
    let digits = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_none_is_believed_to_be_longer() {
        let answer = |length: u32, text: &str| {
            let mut bytes = vec![MAGIC, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe9, 3];
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
            bytes
        };
        let text = "{ \"Ret\" : 100, \"SessionID\" : \"0x7\" }\n\0";
        let good = answer(text.len().try_into().unwrap(), text);
        for end in 0..good.len() {
            assert_eq!(whole(&good[..end]).unwrap(), None);
        }
        let (id, said) = whole(&good).unwrap().unwrap();
        assert_eq!((id, ret(said)), (7, Some(100)));
        assert!(whole(&answer(u32::MAX, "")).is_err());
        assert!(whole(b"HTTP/1.1 400").is_err());
        for none in ["", "\"Ret\"", "\"Ret\":", "\"Ret\":\"x\"", "\"Ret\": 99999999999"] {
            assert_eq!(ret(none.as_bytes()), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(0..=255u8, 0..64)) {
            for bytes in [bytes.clone(), [vec![MAGIC], bytes].concat()] {
                if let Ok(Some((_, text))) = whole(&bytes) {
                    let _ = ret(text);
                }
            }
        }
    }
}
