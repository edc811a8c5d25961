//! Requests to a camera's own ONVIF service (with the digest of WS-UsernameToken at the camera's own time), to Hikvision's
//! ISAPI and to Dahua's interface (with HTTP Digest), and what is read out of the answers.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use base64ct::{Base64, Encoding as _};
use lenscap_rtsp::Credentials;
use lenscap_rtsp::auth::Authenticator;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::service::{TIMEOUT, USER};
use crate::run::http::{Reader, Response};
use crate::sys;

/// Without credentials, with them, with a fresh nonce.
const MAX_ROUNDS: usize = 3;
const ONVIF: &str = "/onvif/device_service";
pub(super) const ISAPI: &str = "/ISAPI/Security/users";
pub(super) const DAHUA: &str = "/cgi-bin/userManager.cgi?action=";
pub(super) const SCHEMA: &str = "http://www.onvif.org/ver10/schema";
pub(super) const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const WSS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-";

pub(super) fn date_request() -> String {
    format!("<GetSystemDateAndTime xmlns=\"{DEVICE}\"/>")
}

/// The list of users, if the password opens it.
pub(super) fn onvif_users(address: SocketAddr, password: &str) -> io::Result<Option<String>> {
    let answer = soap(
        address,
        &format!("<GetUsers xmlns=\"{DEVICE}\"/>"),
        Some(password),
    )?;
    let text = answer.text();
    Ok((answer.status == 200 && text.contains("GetUsersResponse")).then_some(text))
}

pub(super) fn isapi_users(address: SocketAddr, password: &str) -> io::Result<Option<String>> {
    let answer = send(address, "GET", ISAPI, "", "", Some(password))?;
    let text = answer.text();
    Ok((answer.status == 200 && text.contains("<UserList")).then_some(text))
}

/// What Dahua's interface says of the user, if the password opens it.
pub(super) fn dahua_user(address: SocketAddr, password: &str) -> io::Result<Option<String>> {
    let answer = send(address, "GET", &dahua_request(), "", "", Some(password))?;
    let text = answer.text();
    Ok((answer.status == 200 && text.contains("Name=")).then_some(text))
}

pub(super) fn dahua_request() -> String {
    format!("{DAHUA}getUserInfo&name={USER}")
}

/// Percent-encoded, but for letters and digits (RFC 3986, section 2.1).
pub(super) fn encoded(text: &str) -> String {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(letter).collect()
}

/// The level of the user in a list.
pub(super) fn levels(users: &str) -> Option<&str> {
    let levels = values(users, "UserLevel").zip(values(users, "Username"));
    let (level, _) = levels.into_iter().find(|(_, user)| *user == USER)?;
    level
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then_some(level)
}

pub(super) fn isapi_id(users: &str) -> Option<u32> {
    let mut ids = values(users, "id").zip(values(users, "userName"));
    ids.find(|(_, user)| *user == USER)?.0.parse().ok()
}

/// The texts of all elements of a name, whatever their prefix.
fn values<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split('<').filter_map(move |piece| {
        let (tag, text) = piece.split_once('>')?;
        let tag = tag.split_ascii_whitespace().next()?;
        let local = tag.rsplit_once(':').map_or(tag, |(_, local)| local);
        (local == name && !tag.starts_with('/')).then(|| text.trim())
    })
}

/// Asks an ONVIF service. With a password, by the digest of WS-UsernameToken at the camera's own time.
pub(super) fn soap(address: SocketAddr, body: &str, password: Option<&str>) -> io::Result<Response> {
    let header = match password {
        Some(password) => {
            let date = send_soap(address, "", &date_request())?.text();
            let field = |part: &str| utc(&date, part);
            let created = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                field("Year"),
                field("Month"),
                field("Day"),
                field("Hour"),
                field("Minute"),
                field("Second")
            );
            let nonce: [u8; 16] = sys::random()?;
            let hashed = [nonce.as_slice(), created.as_bytes(), password.as_bytes()].concat();
            let hashed = digest(&SHA1_FOR_LEGACY_USE_ONLY, &hashed);
            format!(
                "<Security s:mustUnderstand=\"1\" xmlns=\"{WSS}wssecurity-secext-1.0.xsd\"><UsernameToken><Username>{USER}</Username>\
                 <Password Type=\"{WSS}username-token-profile-1.0#PasswordDigest\">{}</Password>\
                 <Nonce EncodingType=\"{WSS}soap-message-security-1.0#Base64Binary\">{}</Nonce>\
                 <Created xmlns=\"{WSS}wssecurity-utility-1.0.xsd\">{created}</Created></UsernameToken></Security>",
                Base64::encode_string(hashed.as_ref()),
                Base64::encode_string(&nonce)
            )
        }
        None => String::new(),
    };
    send_soap(address, &header, body)
}

fn send_soap(address: SocketAddr, header: &str, body: &str) -> io::Result<Response> {
    let envelope = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
         <s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    );
    send(
        address,
        "POST",
        ONVIF,
        "application/soap+xml; charset=utf-8",
        &envelope,
        None,
    )
}

/// A part of the camera's UTC time; 0 if it says none.
fn utc(date: &str, part: &str) -> u32 {
    let utc = date.split_once("UTCDateTime").map_or(date, |(_, utc)| utc);
    values(utc, part)
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// One request, and its answer to the camera's challenge if there is a password.
pub(super) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
    password: Option<&str>,
) -> io::Result<Response> {
    let mut auth = match password {
        Some(password) => {
            let credentials = Credentials {
                user: USER.into(),
                password: lenscap_rtsp::Secret::new(password.as_bytes()),
            };
            Some(Authenticator::new(credentials, sys::random()?))
        }
        None => None,
    };
    let mut answer = Response::default();
    for _ in 0..MAX_ROUNDS {
        let authorization = auth
            .as_mut()
            .and_then(|auth| auth.authorization(method, path.as_bytes()));
        answer = exchange(address, method, path, kind, body, authorization.as_deref())?;
        let again = auth.as_mut().is_some_and(|auth| {
            answer.status == 401
                && auth
                    .handle_challenge(answer.challenges.iter().map(Vec::as_slice))
                    .is_ok()
        });
        if !again {
            break;
        }
    }
    Ok(answer)
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
    authorization: Option<&[u8]>,
) -> io::Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !kind.is_empty() {
        head.push_str(&format!(
            "Content-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    let mut request = head.into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(&[b"Authorization: ", value, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body.as_bytes());
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&request)?;
    let mut reader = Reader::new();
    let mut bytes = [0; 4096];
    let deadline = sys::monotonic() + TIMEOUT;
    let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
    loop {
        if sys::monotonic() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stream.read(&mut bytes)? {
            0 => {
                reader.handle_end().map_err(malformed)?;
                break;
            }
            length => {
                if reader
                    .handle_input(bytes.get(..length).unwrap_or_default())
                    .map_err(malformed)?
                {
                    break;
                }
            }
        }
    }
    Ok(reader.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_lists() {
        assert_eq!(encoded("a9&'%/"), "a9%26%27%25%2F");
        let users = "<tds:GetUsersResponse><tds:User><tt:Username>guest</tt:Username><tt:UserLevel>User</tt:UserLevel></tds:User>\
                     <tds:User>\n <tt:Username>admin</tt:Username>\n<tt:UserLevel>Operator</tt:UserLevel></tds:User>";
        assert_eq!(levels(users), Some("Operator"));
        assert_eq!(levels(&users.replace("Operator", "a<b")), Some("a"));
        assert_eq!(levels("<x/>"), None);
        let users = "<UserList version=\"1.0\"><User><id>2</id><userName>x</userName></User><User><id>1</id><userName>admin</userName>";
        assert_eq!(isapi_id(users), Some(1));
        let date =
            "<a:LocalDateTime><a:Hour>9</a:Hour></a:LocalDateTime><a:UTCDateTime><a:Time><a:Hour>7</a:Hour>";
        assert_eq!((utc(date, "Hour"), utc(date, "Year")), (7, 0));
    }
}
