//! The camera's own URLs. They may hold passwords, so that no error shows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lenscap_rtsp::CameraUrl;

use super::secret::Secret;
use super::types::SnapshotUrl;

/// The longest URL of a camera, in bytes.
const MAX_URL_BYTES: usize = 1024;

/// An `rtsp://` URL in its parts.
#[derive(Debug)]
pub(super) struct RtspUrl {
    /// Without user and password.
    pub(super) url: CameraUrl,
    pub(super) addr: SocketAddr,
    pub(super) login: Option<(String, Secret)>,
}

/// Any URL in its parts.
struct Parts<'a> {
    userinfo: Option<&'a str>,
    authority: &'a str,
    addr: SocketAddr,
    /// Path and query, as written.
    target: &'a str,
}

pub(super) fn rtsp(text: &str) -> Result<RtspUrl, String> {
    let parts = split(text, "rtsp", 554)?;
    let login = parts.userinfo.map(login).transpose()?;
    let bare = format!("rtsp://{}{}", parts.authority, parts.target);
    let (url, _) = CameraUrl::parse(&bare).map_err(|error| error.to_string())?;
    Ok(RtspUrl {
        url,
        addr: parts.addr,
        login,
    })
}

pub(super) fn snapshot(text: &str) -> Result<SnapshotUrl, String> {
    let parts = split(text, "http", 80)?;
    if parts.userinfo.is_some() {
        return Err("no user or password in this URL; use `option user` and `option password_file`".into());
    }
    let slash = if parts.target.starts_with('/') { "" } else { "/" };
    Ok(SnapshotUrl {
        addr: parts.addr,
        authority: parts.authority.to_owned(),
        target: format!("{slash}{}", parts.target),
    })
}

fn split<'a>(text: &'a str, scheme: &str, default_port: u16) -> Result<Parts<'a>, String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("the URL is longer than {MAX_URL_BYTES} bytes"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a URL has no spaces and only ASCII characters; write others as %XX".into());
    }
    if text.contains('#') {
        return Err("a camera's URL has no `#`; write it as %23".into());
    }
    let Some(rest) = strip_scheme(text, scheme) else {
        return Err(format!(
            "expected a URL like {scheme}://127.0.0.1/path; other schemes are not spoken on the camera"
        ));
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (before, target) = rest.split_at(end);
    // A password may hold `@`; a host never does.
    let (userinfo, authority) = match before.rsplit_once('@') {
        Some((userinfo, authority)) => (Some(userinfo), authority),
        None => (None, before),
    };
    let addr = address(authority, default_port)?;
    Ok(Parts {
        userinfo,
        authority,
        addr,
        target,
    })
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = text.split_once("://")?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The camera is this machine: an IP literal or `localhost`, so that no name server has a say.
fn address(authority: &str, default_port: u16) -> Result<SocketAddr, String> {
    const HOST: &str = "the host must be an IP address or `localhost`: the camera is this device";
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or("the IPv6 address has no closing `]`")?;
        let ip: Ipv6Addr = host
            .parse()
            .map_err(|_| "expected an IPv6 address in the brackets")?;
        (IpAddr::V6(ip), after)
    } else {
        let (host, after) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let ip = if host.eq_ignore_ascii_case("localhost") {
            Ipv4Addr::LOCALHOST
        } else {
            host.parse().map_err(|_| HOST)?
        };
        (IpAddr::V4(ip), after)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some("") => default_port,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("the port must be 1 to 65535")?,
        _ => return Err("expected `:` and a port after the host".into()),
    };
    Ok(SocketAddr::new(host, port))
}

fn login(userinfo: &str) -> Result<(String, Secret), String> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let user = percent_decode(user)?;
    if user.is_empty() {
        return Err("no user name before the `@`".into());
    }
    Ok((user, Secret::new(percent_decode(password)?)))
}

/// RFC 3986, section 2.1. A `%` that starts no escape stands for itself, as people write it.
fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if let (b'%', [high, low, tail @ ..]) = (first, after)
            && let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16))
        {
            bytes.push((high * 16 + low) as u8);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        _ => Err("user and password must be UTF-8 text without control characters".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rtsp_urls_are_split_and_otherwise_kept() {
        for (text, url, addr) in [
            ("rtsp://127.0.0.1", "rtsp://127.0.0.1/", "127.0.0.1:554"),
            (
                "RTSP://127.0.0.1:8554/a//b?c=%41",
                "rtsp://127.0.0.1:8554/a//b?c=%41",
                "127.0.0.1:8554",
            ),
            (
                "rtsp://localhost/stream=0",
                "rtsp://localhost/stream=0",
                "127.0.0.1:554",
            ),
            ("rtsp://[::1]:554/x", "rtsp://[::1]:554/x", "[::1]:554"),
            (
                "rtsp://u:p@127.0.0.1/a@b",
                "rtsp://127.0.0.1/a@b",
                "127.0.0.1:554",
            ),
            ("rtsp://192.168.1.9?x", "rtsp://192.168.1.9/?x", "192.168.1.9:554"),
        ] {
            let parsed = rtsp(text).unwrap();
            assert_eq!(
                (parsed.url.request_uri(), parsed.addr.to_string().as_str()),
                (url, addr),
                "{text}"
            );
        }
    }

    #[test]
    fn logins_are_split_off_and_decoded() {
        for (text, user, password) in [
            ("rtsp://admin:12345@127.0.0.1/", "admin", "12345"),
            ("rtsp://admin:p%40s:s@127.0.0.1/", "admin", "p@s:s"),
            ("rtsp://admin:p@ss@127.0.0.1/", "admin", "p@ss"),
            ("rtsp://admin@127.0.0.1/", "admin", ""),
            ("rtsp://ad%6Din:50%@127.0.0.1/", "admin", "50%"),
        ] {
            let (seen_user, seen_password) = rtsp(text).unwrap().login.unwrap();
            assert_eq!(
                (seen_user.as_str(), seen_password.expose()),
                (user, password),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_urls_say_what_to_do_and_show_nothing() {
        for (text, part) in [
            ("rtsps://s3cret@127.0.0.1/", "expected a URL like rtsp://"),
            ("127.0.0.1", "expected a URL like rtsp://"),
            ("rtsp://u:s3cret@camera.local/", "IP address or `localhost`"),
            ("rtsp://:s3cret@127.0.0.1/", "no user name"),
            ("rtsp://127.0.0.1:0/", "1 to 65535"),
            ("rtsp://127.0.0.1:65536/", "1 to 65535"),
            ("rtsp://127.0.0.1:+5/", "a port after the host"),
            ("rtsp://[::1/s3cret", "closing"),
            ("rtsp://[::1]5/", "a port after the host"),
            ("rtsp://[127.0.0.1]/", "IPv6 address"),
            ("rtsp://u:s3cret %00@127.0.0.1/", "no spaces"),
            ("rtsp://u:s3cret%00@127.0.0.1/", "control characters"),
            ("rtsp://127.0.0.1/#s3cret", "no `#`"),
        ] {
            let error = rtsp(text).unwrap_err();
            assert!(
                error.contains(part) && !error.contains("s3cret"),
                "{text}: {error}"
            );
        }
        assert!(
            rtsp(&format!("rtsp://127.0.0.1/{}", "a".repeat(MAX_URL_BYTES)))
                .unwrap_err()
                .contains("longer")
        );
    }

    #[test]
    fn snapshot_urls() {
        let url = snapshot("http://127.0.0.1/image.jpg?q=1").unwrap();
        assert_eq!(url.addr.to_string(), "127.0.0.1:80");
        assert_eq!(
            (url.authority.as_str(), url.target.as_str()),
            ("127.0.0.1", "/image.jpg?q=1")
        );
        assert_eq!(snapshot("http://[::1]:8080?x").unwrap().target, "/?x");
        assert_eq!(snapshot("http://localhost").unwrap().target, "/");
        assert!(
            snapshot("http://a:b@127.0.0.1/")
                .unwrap_err()
                .contains("password_file")
        );
        assert!(snapshot("https://127.0.0.1/").unwrap_err().contains("http://"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(rtsp|http|x)?(://)?[\\[\\]:@/%?a-z0-9.é]{0,60}|\\PC*") {
            if let Ok(parsed) = rtsp(&text) {
                prop_assert_eq!(rtsp(parsed.url.request_uri()).unwrap().addr, parsed.addr);
            }
            let _ = snapshot(&text);
        }
    }
}
