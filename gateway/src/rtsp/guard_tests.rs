use super::super::digest::Algorithm;
use super::*;

const NOW: Duration = Duration::from_secs(1000);

fn policy() -> Arc<Policy> {
    let viewer = |user: &str, cameras: Option<&[&str]>| {
        let cameras = cameras.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        (
            user.to_owned(),
            Viewer {
                ha1: Ha1::from_password(user, "lenscap", "pw"),
                cameras,
            },
        )
    };
    Arc::new(Policy {
        digest: DigestServer::new(&[1; 32], "lenscap", &[Algorithm::Sha256, Algorithm::Md5]),
        viewers: [viewer("alice", None), viewer("bob", Some(&["back"]))].into(),
        cameras: ["front".to_owned(), "back".to_owned()].into(),
        link_key: hmac::Key::new(hmac::HMAC_SHA256, &[5; 32]),
        link_issuers: [
            ("admin".to_owned(), None),
            ("8".to_owned(), Some(["front".to_owned()].into())),
        ]
        .into(),
        owners: BTreeMap::new(),
        unix_start: 1_000_000,
    })
}

fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reply { bytes, .. } => String::from_utf8(bytes.clone()).unwrap(),
        Verdict::Forward { head, .. } => String::from_utf8(head.clone()).unwrap(),
        Verdict::Ignore => String::new(),
    }
}

fn nonce_of(verdict: &Verdict) -> String {
    text(verdict)
        .split("nonce=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned()
}

fn signed(
    method: &str,
    uri: &str,
    signed_uri: &str,
    user: &str,
    password: &str,
    nonce: &str,
    more: &str,
) -> Vec<u8> {
    let ha1 = Ha1::from_password(user, "lenscap", password).sha256.unwrap();
    let ha2 = Algorithm::Sha256.hex(format!("{method}:{signed_uri}").as_bytes());
    let response = Algorithm::Sha256.hex(format!("{ha1}:{nonce}:{ha2}").as_bytes());
    format!(
        "{method} {uri} RTSP/1.0\r\nCSeq: 7\r\n{more}Authorization: Digest username=\"{user}\", realm=\"lenscap\", \
         nonce=\"{nonce}\", uri=\"{signed_uri}\", algorithm=SHA-256, response=\"{response}\"\r\n\r\n"
    )
    .into_bytes()
}

fn describe(guard: &mut Guard, user: &str, password: &str, uri: &str) -> Verdict {
    let plain = format!("DESCRIBE {uri} RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    let nonce = nonce_of(&guard.handle_viewer(NOW, plain.as_bytes(), None));
    guard.handle_viewer(
        NOW,
        &signed("DESCRIBE", uri, uri, user, password, &nonce, ""),
        None,
    )
}

#[test]
fn options_needs_no_password() {
    let mut guard = Guard::new(policy(), 1);
    let verdict = guard.handle_viewer(NOW, b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", None);
    assert!(text(&verdict).starts_with("RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE"));
}

#[test]
fn a_good_login_is_forwarded_without_its_password() {
    let mut guard = Guard::new(policy(), 1);
    let verdict = describe(&mut guard, "alice", "pw", "rtsp://gw:8554/front/main?a=b");
    assert_eq!(
        verdict,
        Verdict::Forward {
            camera: "front".into(),
            head: b"DESCRIBE rtsp://lenscap/main?a=b RTSP/1.0\r\nCSeq: 7\r\n\r\n".to_vec(),
            cseq: b"7".to_vec()
        }
    );
    assert_eq!(guard.user(), Some("alice"));
}

#[test]
fn wrong_passwords_and_unknown_users_look_the_same() {
    let mut guard = Guard::new(policy(), 1);
    for (user, password) in [("alice", "no"), ("mallory", "pw")] {
        let verdict = describe(&mut guard, user, password, "rtsp://gw/front/main");
        assert!(
            matches!(
                &verdict,
                Verdict::Reply {
                    failed_login: true,
                    close: false,
                    ..
                }
            ),
            "{verdict:?}"
        );
        assert!(text(&verdict).starts_with("RTSP/1.0 401"));
    }
}

#[test]
fn a_camera_that_is_not_allowed_does_not_exist() {
    let mut guard = Guard::new(policy(), 1);
    let hidden = text(&describe(&mut guard, "bob", "pw", "rtsp://gw/front/main"));
    let unknown = text(&describe(&mut guard, "bob", "pw", "rtsp://gw/nothere/main"));
    assert!(hidden.starts_with("RTSP/1.0 404"));
    assert_eq!(hidden, unknown);
    let verdict = describe(&mut guard, "bob", "pw", "rtsp://gw/back/main");
    assert!(matches!(verdict, Verdict::Forward { .. }));
}

#[test]
fn without_login_every_camera_looks_the_same() {
    for uri in ["rtsp://gw/front/main", "rtsp://gw/nothere/main", "rtsp://gw/"] {
        let mut guard = Guard::new(policy(), 1);
        let verdict = guard.handle_viewer(NOW, format!("DESCRIBE {uri} RTSP/1.0\r\n\r\n").as_bytes(), None);
        assert!(text(&verdict).starts_with("RTSP/1.0 401"), "{uri}");
        assert!(matches!(
            verdict,
            Verdict::Reply {
                failed_login: false,
                ..
            }
        ));
    }
}

#[test]
fn an_established_nonce_outlives_its_time_and_a_foreign_one_is_stale() {
    let mut guard = Guard::new(policy(), 1);
    let uri = "rtsp://gw/front/main";
    let nonce = guard.policy.digest.nonce(NOW, 1);
    let request = signed("PLAY", uri, uri, "alice", "pw", &nonce, "");
    assert!(matches!(
        guard.handle_viewer(NOW, &request, None),
        Verdict::Forward { .. }
    ));
    let later = NOW + Duration::from_secs(86_400);
    assert!(matches!(
        guard.handle_viewer(later, &request, None),
        Verdict::Forward { .. }
    ));
    let mut other = Guard::new(policy(), 2);
    let verdict = other.handle_viewer(NOW, &request, None);
    assert!(text(&verdict).contains("stale=true"));
    assert!(matches!(
        verdict,
        Verdict::Reply {
            failed_login: false,
            ..
        }
    ));
}

#[test]
fn the_signed_uri_must_be_for_the_same_profile() {
    let mut guard = Guard::new(policy(), 1);
    let nonce = guard.policy.digest.nonce(NOW, 1);
    let (uri, base) = ("rtsp://gw/front/main/track=1", "rtsp://gw/front/main/");
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let good = signed("SETUP", uri, base, "alice", "pw", &nonce, transport);
    assert!(matches!(
        guard.handle_viewer(NOW, &good, None),
        Verdict::Forward { .. }
    ));
    let bad = signed(
        "SETUP",
        uri,
        "rtsp://gw/back/main/",
        "alice",
        "pw",
        &nonce,
        transport,
    );
    assert!(matches!(
        guard.handle_viewer(NOW, &bad, None),
        Verdict::Reply {
            failed_login: true,
            ..
        }
    ));
}

#[test]
fn only_interleaved_transports_pass() {
    let mut guard = Guard::new(policy(), 1);
    let nonce = guard.policy.digest.nonce(NOW, 1);
    let uri = "rtsp://gw/front/main/t";
    let udp = signed(
        "SETUP",
        uri,
        uri,
        "alice",
        "pw",
        &nonce,
        "Transport: RTP/AVP;unicast;client_port=1-2\r\n",
    );
    assert!(text(&guard.handle_viewer(NOW, &udp, None)).starts_with("RTSP/1.0 461"));
    let both = "Transport: RTP/AVP/UDP;unicast;client_port=1-2, RTP/AVP/TCP;interleaved=0-1\r\n";
    let both = signed("SETUP", uri, uri, "alice", "pw", &nonce, both);
    let forwarded = text(&guard.handle_viewer(NOW, &both, None));
    assert!(
        forwarded.contains("Transport: RTP/AVP/TCP;interleaved=0-1\r\n"),
        "{forwarded}"
    );
}

#[test]
fn one_connection_is_for_one_camera() {
    let mut guard = Guard::new(policy(), 1);
    describe(&mut guard, "alice", "pw", "rtsp://gw/front/main");
    guard.handle_bound("front");
    assert!(text(&describe(&mut guard, "alice", "pw", "rtsp://gw/back/main")).starts_with("RTSP/1.0 455"));
}

#[test]
fn a_blocked_address_is_cut() {
    let mut guard = Guard::new(policy(), 1);
    let verdict = guard.handle_viewer(
        NOW,
        b"DESCRIBE rtsp://gw/front/main RTSP/1.0\r\n\r\n",
        Some(Duration::from_secs(9)),
    );
    assert!(text(&verdict).contains("Retry-After: 10\r\n"));
    assert!(matches!(verdict, Verdict::Reply { close: true, .. }));
}

#[test]
fn replies_get_the_public_address_and_no_challenge() {
    let mut guard = Guard::new(policy(), 1);
    describe(&mut guard, "alice", "pw", "rtsp://gw:8554/front/main");
    let out = guard
        .handle_agent(
            b"RTSP/1.0 200 OK\r\nCSeq: 7\r\nContent-Base: rtsp://lenscap/main/\r\nContent-Length: 2\r\n\r\n",
        )
        .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "RTSP/1.0 200 OK\r\nCSeq: 7\r\nContent-Base: rtsp://gw:8554/front/main/\r\nContent-Length: 2\r\n\r\n"
    );
    let out = guard
        .handle_agent(b"RTSP/1.0 401 No\r\nCSeq: 7\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n")
        .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "RTSP/1.0 502 Camera Refused The Agent\r\nCSeq: 7\r\n\r\n"
    );
    assert!(guard.handle_agent(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
}

#[test]
fn unknown_methods_and_garbage() {
    let mut guard = Guard::new(policy(), 1);
    assert!(
        text(&guard.handle_viewer(NOW, b"RECORD rtsp://h/a/b RTSP/1.0\r\nCSeq: 2\r\n\r\n", None))
            .contains("405")
    );
    assert!(matches!(
        guard.handle_viewer(NOW, b"GET / HTTP/1.1\r\n\r\n", None),
        Verdict::Reply { close: true, .. }
    ));
}

#[test]
fn a_blocked_address_keeps_the_sessions_it_has() {
    let mut guard = Guard::new(policy(), 1);
    let uri = "rtsp://gw/front/main";
    let nonce = guard.policy.digest.nonce(NOW, 1);
    let blocked = Some(Duration::from_secs(9));
    let request = |user, password| signed("GET_PARAMETER", uri, uri, user, password, &nonce, "");
    let verdict = guard.handle_viewer(NOW, &request("alice", "pw"), blocked);
    assert!(text(&verdict).contains("503"), "not logged in yet: {verdict:?}");
    guard.handle_viewer(NOW, &request("alice", "pw"), None);
    let verdict = guard.handle_viewer(NOW, &request("alice", "pw"), blocked);
    assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
    // But nobody else's password can be tried there.
    for password in ["pw", "no"] {
        let verdict = guard.handle_viewer(NOW, &request("bob", password), blocked);
        assert!(text(&verdict).contains("503"), "{verdict:?}");
    }
}

#[test]
fn a_reply_of_the_viewer_is_ignored() {
    let mut guard = Guard::new(policy(), 1);
    let verdict = guard.handle_viewer(NOW, b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", None);
    assert_eq!(verdict, Verdict::Ignore);
}

fn link(by: &str, expires: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[5; 32]);
    Link::new("front", "main", by, "", expires).seal(&key)
}

#[test]
fn a_playback_address_needs_no_login_and_opens_one_profile() {
    let at = 1_000_000 + NOW.as_secs();
    let mut guard = Guard::new(policy(), 1);
    let ask = |guard: &mut Guard, method: &str, uri: &str, blocked| {
        guard.handle_viewer(
            NOW,
            format!("{method} {uri} RTSP/1.0\r\nCSeq: 1\r\n\r\n").as_bytes(),
            blocked,
        )
    };
    let uri = format!("rtsp://gw/front/main?play={}", link("admin", at));
    // Of an address with failed logins too: nothing can be guessed this way.
    let verdict = ask(&mut guard, "DESCRIBE", &uri, Some(Duration::from_secs(9)));
    assert!(
        matches!(&verdict, Verdict::Forward { camera, .. } if camera == "front"),
        "{verdict:?}"
    );
    assert!(
        text(&verdict).starts_with("DESCRIBE rtsp://lenscap/main RTSP/1.0\r\n"),
        "{verdict:?}"
    );
    assert_eq!((guard.user(), guard.profile()), (Some("link:admin"), "main"));
    // What follows on the connection has only the base that DESCRIBE gave.
    let verdict = ask(&mut guard, "PLAY", "rtsp://gw/front/main/", None);
    assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
    for other in ["rtsp://gw/front/sub", "rtsp://gw/back/main"] {
        assert!(
            text(&ask(&mut guard, "DESCRIBE", other, None)).starts_with("RTSP/1.0 401"),
            "{other}"
        );
    }
    for (bad, uri) in [
        (
            "expired",
            format!("rtsp://gw/front/main?play={}", link("admin", at - 1)),
        ),
        ("revoked", format!("rtsp://gw/front/main?play={}", link("7", at))),
        (
            "other profile",
            format!("rtsp://gw/front/sub?play={}", link("admin", at)),
        ),
        ("forged", "rtsp://gw/front/main?play=abc.def".to_owned()),
    ] {
        let mut guard = Guard::new(policy(), 1);
        let verdict = ask(&mut guard, "DESCRIBE", &uri, None);
        assert!(text(&verdict).starts_with("RTSP/1.0 403"), "{bad}: {verdict:?}");
        assert!(
            matches!(
                verdict,
                Verdict::Reply {
                    failed_login: true,
                    ..
                }
            ),
            "{bad}"
        );
    }
}

#[test]
fn new_rules_end_what_they_forbid() {
    let uri = "rtsp://gw/back/main";
    let mut bob = Guard::new(policy(), 1);
    describe(&mut bob, "bob", "pw", uri);
    bob.handle_bound("back");
    let mut by_link = Guard::new(policy(), 2);
    let address = format!(
        "DESCRIBE rtsp://gw/front/main?play={} RTSP/1.0\r\n\r\n",
        link("admin", u64::MAX)
    );
    by_link.handle_viewer(NOW, address.as_bytes(), None);
    by_link.handle_bound("front");
    assert!(bob.handle_policy(NOW, policy()) && by_link.handle_policy(NOW, policy()));
    let mut strict = Policy::clone(&policy());
    strict.viewers.remove("bob");
    strict.link_issuers.clear();
    let mut handed_on = Policy::clone(&policy());
    handed_on.owners.insert("front".to_owned(), "acme".to_owned());
    assert!(
        !by_link.handle_policy(NOW, Arc::new(handed_on)),
        "it has another owner"
    );
    assert!(by_link.handle_policy(NOW, policy()));
    let strict = Arc::new(strict);
    assert!(!bob.handle_policy(NOW, Arc::clone(&strict)) && !by_link.handle_policy(NOW, strict));
    let mut nobody = Guard::new(policy(), 3);
    assert!(nobody.handle_policy(NOW, policy()), "not bound to any camera yet");
}

#[test]
fn a_playback_address_holds_while_it_lasts_and_its_issuer_sees_the_camera() {
    let at = 1_000_000 + NOW.as_secs();
    let by = |issuer: &str, guard: &mut Guard| {
        let uri = format!("rtsp://gw/front/main?play={}", link(issuer, at + 600));
        let verdict = guard.handle_viewer(NOW, format!("DESCRIBE {uri} RTSP/1.0\r\n\r\n").as_bytes(), None);
        guard.handle_bound("front");
        matches!(verdict, Verdict::Forward { .. })
    };
    let mut guard = Guard::new(policy(), 1);
    assert!(by("8", &mut guard));
    // The camera went to somebody else: its issuer sees others now.
    let mut handed_on = Policy::clone(&policy());
    handed_on
        .link_issuers
        .insert("8".to_owned(), Some(["back".to_owned()].into()));
    let handed_on = Arc::new(handed_on);
    assert!(!guard.handle_policy(NOW, Arc::clone(&handed_on)));
    assert!(!by("8", &mut Guard::new(handed_on, 2)));

    let mut guard = Guard::new(policy(), 3);
    assert_eq!(guard.time_left(NOW), None);
    assert!(by("8", &mut guard));
    assert_eq!(guard.time_left(NOW), Some(Duration::from_secs(601)));
    let late = NOW + Duration::from_secs(601);
    assert_eq!(guard.time_left(late), Some(Duration::ZERO));
    let play = b"PLAY rtsp://gw/front/main/ RTSP/1.0\r\n\r\n";
    let verdict = guard.handle_viewer(late - Duration::from_secs(1), play, None);
    assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
    assert!(text(&guard.handle_viewer(late, play, None)).starts_with("RTSP/1.0 401"));
    assert!(!guard.handle_policy(late, policy()));
}
