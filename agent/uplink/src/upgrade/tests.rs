use super::*;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn request(url: &str) -> (String, ExpectReply) {
    let url = Url::parse(url).unwrap();
    // The nonce of RFC 6455, section 1.3.
    let request = Request {
        url: &url,
        bearer: Some("t0k\r\nen"),
        user_agent: "lenscap/1",
        ws_nonce: *b"the sample nonce",
        fields: &[("Lenscap-Serial", "SN\r\n1".to_string())],
    };
    let (bytes, expect) = request.encode();
    (String::from_utf8(bytes).unwrap(), expect)
}

fn reply(url: &str, bytes: &[u8]) -> Result<Option<(Reply, Vec<u8>)>, UpgradeError> {
    match request(url).1.handle_input(bytes)? {
        Progress::Done { reply, rest } => Ok(Some((reply, rest))),
        Progress::NeedMore(_) => Ok(None),
    }
}

const HTTPS: &str = "https://gw.example.net:8443/onvif/uplink?ticket=1";
const WSS: &str = "wss://gw.example.net/up";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\nUpgrade: H2C-Reverse\r\n\r\n";
const WS_SWITCH: &str = "HTTP/1.1 101 ok\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: h2c-reverse\r\n\r\n";

#[test]
fn requests_of_both_carriers() {
    assert_eq!(
        request(HTTPS).0,
        "GET /onvif/uplink?ticket=1 HTTP/1.1\r\nHost: gw.example.net:8443\r\nConnection: Upgrade\r\n\
         Upgrade: h2c-reverse\r\nUser-Agent: lenscap/1\r\nLenscap-Serial: SN1\r\nAuthorization: Bearer t0ken\r\n\r\n"
    );
    assert_eq!(
        request(WSS).0,
        "GET /up HTTP/1.1\r\nHost: gw.example.net\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: h2c-reverse\r\nUser-Agent: lenscap/1\r\nLenscap-Serial: SN1\r\nAuthorization: Bearer t0ken\r\n\r\n"
    );
}

#[test]
fn switches_and_keeps_what_follows() {
    let (verdict, rest) = reply(HTTPS, format!("{SWITCH}PRI * HTTP/2.0").as_bytes())
        .unwrap()
        .unwrap();
    assert_eq!(
        (verdict, rest.as_slice()),
        (Reply::Switched(Welcome::default()), &b"PRI * HTTP/2.0"[..])
    );
    assert_eq!(
        reply(WSS, WS_SWITCH.as_bytes()).unwrap().unwrap().0,
        Reply::Switched(Welcome::default())
    );
    let interim = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n{SWITCH}");
    assert_eq!(
        reply(HTTPS, interim.as_bytes()).unwrap().unwrap().0,
        Reply::Switched(Welcome::default())
    );
}

#[test]
fn wrong_switches() {
    for (url, text, error) in [
        (
            HTTPS,
            SWITCH.replace("H2C-Reverse", "h2c"),
            UpgradeError::WrongUpgrade,
        ),
        (HTTPS, SWITCH.replace(", Upgrade", ""), UpgradeError::WrongUpgrade),
        (HTTPS, WS_SWITCH.into(), UpgradeError::WrongUpgrade),
        (WSS, SWITCH.into(), UpgradeError::WrongUpgrade),
        (WSS, WS_SWITCH.replace("s3p", "s3q"), UpgradeError::WrongAccept),
        (
            WSS,
            WS_SWITCH.replace("Sec-WebSocket-Accept", "X"),
            UpgradeError::WrongAccept,
        ),
        (
            WSS,
            WS_SWITCH.replace("h2c-reverse", "chat"),
            UpgradeError::WrongProtocol,
        ),
        (
            WSS,
            WS_SWITCH.replace("Connection", "Sec-WebSocket-Extensions: x\r\nConnection"),
            UpgradeError::WrongProtocol,
        ),
        (
            HTTPS,
            SWITCH.replace("HTTP/1.1", "HTTP/1.0"),
            UpgradeError::NotHttp,
        ),
    ] {
        assert_eq!(reply(url, text.as_bytes()), Err(error), "{text}");
    }
}

#[test]
fn other_verdicts() {
    let secs = |s| Some(Duration::from_secs(s));
    assert_eq!(
        verdict("401 No", ""),
        Reply::Unauthorized {
            status: 401,
            retry_after: None
        }
    );
    assert_eq!(
        verdict("403 No", "Retry-After: 9\r\n"),
        Reply::Unauthorized {
            status: 403,
            retry_after: secs(9)
        }
    );
    assert_eq!(
        verdict("503 No", "Retry-After: 120\r\n"),
        Reply::Unavailable {
            status: 503,
            retry_after: secs(120)
        }
    );
    assert_eq!(
        verdict("429", "Retry-After: soon\r\n"),
        Reply::Unavailable {
            status: 429,
            retry_after: None
        }
    );
    let dated = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n";
    assert_eq!(
        verdict("503 No", dated),
        Reply::Unavailable {
            status: 503,
            retry_after: secs(60)
        }
    );
    assert_eq!(verdict("200 OK", ""), Reply::Refused { status: 200 });
    assert_eq!(
        verdict("302 Found", "Location: https://b/\r\n"),
        Reply::Refused { status: 302 }
    );
    let fields =
        "location: https://b/?t=1\r\nLink: <https://c/>; rel=alternate\r\nLenscap-Pin: sha256/AAAA\r\n";
    let expected = Redirect {
        permanent: true,
        targets: vec!["https://b/?t=1".to_string(), "https://c/".to_string()],
        pin: Some("sha256/AAAA".to_string()),
        ..Redirect::default()
    };
    assert!(!format!("{expected:?}").contains("t=1"));
    assert_eq!(verdict("308 Moved", fields), Reply::Redirect(expected));
    assert_eq!(verdict("307 Moved", ""), Reply::Redirect(Redirect::default()));
}

fn verdict(status: &str, fields: &str) -> Reply {
    reply(HTTPS, format!("HTTP/1.1 {status}\r\n{fields}\r\nbody").as_bytes())
        .unwrap()
        .unwrap()
        .0
}

#[test]
fn what_gateways_say_of_claims() {
    let fields = "Lenscap-Operator: p256/AA==, proof=x\r\nLenscap-Resume: a.b\r\nLink: <https://s2/>; rel=alternate\r\n";
    let switch = SWITCH.replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
    let welcome = Welcome {
        operator: Some("p256/AA==, proof=x".to_string()),
        resume: Some("a.b".to_string()),
        alternates: vec!["https://s2/".to_string()],
    };
    assert!(!format!("{welcome:?}").contains("a.b"));
    let (said, _) = reply(HTTPS, switch.as_bytes()).unwrap().unwrap();
    assert_eq!(said, Reply::Switched(welcome));
    let twice = switch.replace(
        "Lenscap-Resume: a.b",
        "Lenscap-Resume: a.b\r\nLenscap-Resume: c.d",
    );
    let long = switch.replace("a.b", &"x".repeat(1025));
    let [tab, control] = ["a\tb", "a\u{85}b"].map(|text| switch.replace("a.b", text));
    for odd in [twice, long, tab, control] {
        let (said, _) = reply(HTTPS, odd.as_bytes()).unwrap().unwrap();
        assert!(matches!(said, Reply::Switched(Welcome { resume: None, .. })));
    }
    let pending = "Retry-After: 10\r\nLenscap-Claim: pending\r\nLenscap-Release: key=1\r\n";
    assert_eq!(
        verdict("503 Service Unavailable", pending),
        Reply::Pending {
            retry_after: Some(Duration::from_secs(10)),
            release: Some("key=1".to_string()),
        }
    );
    let signed = "Location: https://b/\r\nLenscap-Signature: key=1\r\nLenscap-Release: key=2\r\n";
    let Reply::Redirect(redirect) = verdict("308 Moved", signed) else {
        panic!("no redirect");
    };
    assert_eq!(redirect.signature.as_deref(), Some("key=1"));
    assert_eq!(redirect.release.as_deref(), Some("key=2"));
}

#[test]
fn garbage_and_oversize() {
    assert_eq!(reply(HTTPS, b"SSH-2.0-x\r\n"), Err(UpgradeError::NotHttp));
    assert_eq!(reply(HTTPS, b"\x15\x03\x01"), Err(UpgradeError::NotHttp));
    assert_eq!(reply(HTTPS, b"HTTP/2 200\r\n\r\n"), Err(UpgradeError::NotHttp));
    assert_eq!(reply(HTTPS, b"HTTP/1.1 abc\r\n\r\n"), Err(UpgradeError::NotHttp));
    assert_eq!(reply(HTTPS, b"\r\n\r\nHTTP/1."), Ok(None));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
    assert_eq!(reply(HTTPS, long.as_bytes()), Err(UpgradeError::TooLong));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(65));
    assert_eq!(reply(HTTPS, many.as_bytes()), Err(UpgradeError::TooLong));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(9);
    assert_eq!(
        reply(HTTPS, interim.as_bytes()),
        Err(UpgradeError::TooManyInterim)
    );
}

/// Feeds the pieces between cuts and returns the verdict with all bytes behind the head.
fn in_pieces(url: &str, bytes: &[u8], cuts: &[usize]) -> Result<Option<(Reply, Vec<u8>)>, UpgradeError> {
    let mut expect = request(url).1;
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let piece = &bytes[from..cut];
        from = cut;
        match expect.handle_input(piece)? {
            Progress::NeedMore(next) => expect = next,
            Progress::Done { reply, mut rest } => {
                rest.extend_from_slice(&bytes[from..]);
                return Ok(Some((reply, rest)));
            }
        }
    }
    Ok(None)
}

#[test]
fn every_split_point_gives_the_same() {
    let bytes = format!("\r\nHTTP/1.1 100 Continue\r\n\r\n{WS_SWITCH}PRI");
    let whole = reply(WSS, bytes.as_bytes());
    assert!(matches!(whole, Ok(Some((Reply::Switched(_), _)))));
    for cut in 0..bytes.len() {
        assert_eq!(in_pieces(WSS, bytes.as_bytes(), &[cut]), whole);
    }
    let each: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(in_pieces(WSS, bytes.as_bytes(), &each), whole);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces(tail in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), start in 0usize..4) {
        let mut bytes = [&b""[..], b"HTTP/1.1 ", b"HTTP/1.1 307 x\r\nLocation: ", b"HTTP/1.1 101 x\r\nUpgrade: h2c-reverse\r\n"][start].to_vec();
        bytes.extend(tail);
        let cut = at.index(bytes.len() + 1);
        prop_assert_eq!(in_pieces(HTTPS, &bytes, &[cut]), reply(HTTPS, &bytes));
    }
}
