//! A session against a scripted camera and viewer: one test for each row of what real cameras do.

use core::time::Duration;
use std::rc::Rc;

mod hostile;
mod properties;

use crate::message::{Message, Start};
use crate::{
    CameraError, CameraUrl, Credentials, Event, FinishReason, Limits, Notice, Now, Profile, Secret, Session,
    SessionConfig, UdpId,
};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.168.1.64\r\ns=x\r\nt=0 0\r\na=control:rtsp://192.168.1.64/live?a=1/\r\n\
m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:rtsp://192.168.1.64/live?a=1/trackID=1\r\n\
m=audio 0 RTP/AVP 0\r\na=control:trackID=2\r\n";
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    session: Session,
    now: Now,
    cseq: u32,
}

/// A request as the camera saw it.
struct Seen {
    method: String,
    uri: String,
    message: Message,
}

impl Seen {
    fn header(&self, name: &str) -> String {
        text(self.message.header(name).unwrap_or_default())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Rig {
    fn new() -> Self {
        let profile = |name: &str, url: &str| Profile {
            name: name.into(),
            rtsp: CameraUrl::parse(url).unwrap().0,
            credentials: Some(Credentials {
                user: "admin".into(),
                password: Secret::new("hunter2"),
            }),
        };
        let config = SessionConfig {
            profiles: Rc::new([
                profile("main", "rtsp://127.0.0.1:8554/live?a=1"),
                profile("sub", "rtsp://127.0.0.1/sub"),
            ]),
            limits: Limits::default(),
            user_agent: "lenscap/test".into(),
        };
        Self {
            session: Session::new(config, SECOND, [1; 16]),
            now: SECOND,
            cseq: 10,
        }
    }

    fn ask(&mut self, method: &str, uri: &str, headers: &str) {
        self.cseq += 1;
        let request = format!("{method} {uri} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.cseq);
        self.session.handle_viewer(self.now, request.as_bytes());
        if matches!(self.session.core.link, super::core::Link::Connecting) {
            self.session.handle_camera_connected(self.now);
        }
    }

    fn seen(&mut self) -> Seen {
        let bytes = self.session.poll_camera().to_vec();
        self.session.advance_camera(bytes.len());
        let message = Message::parse(&bytes, b"").unwrap_or_else(|| panic!("no request: {}", text(&bytes)));
        match &message.start {
            Start::Request { method, uri } => Seen {
                method: method.clone(),
                uri: text(uri),
                message,
            },
            Start::Response { .. } => panic!("a response"),
        }
    }

    /// The camera sees one request and answers it.
    fn reply(&mut self, status: u16, headers: &str, body: &str) -> Seen {
        let seen = self.seen();
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let reply = format!(
            "RTSP/1.0 {status} X\r\nCSeq: {}\r\n{headers}{length}\r\n{body}",
            seen.header("CSeq")
        );
        self.session.handle_camera(self.now, reply.as_bytes());
        seen
    }

    fn viewer(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.session.poll_viewer(self.now, &mut out, 16_000) > 0 {}
        out
    }

    /// The viewer sees one answer.
    fn answer(&mut self) -> (u16, Message) {
        let bytes = self.viewer();
        let head = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("an answer")
            + 4;
        let message = Message::parse(&bytes[..head], &bytes[head..]).unwrap();
        assert!(message.header("WWW-Authenticate").is_none());
        assert!(!text(&bytes).contains("192.168"), "{}", text(&bytes));
        match message.start {
            Start::Response { status, .. } => (status, message),
            Start::Request { .. } => panic!("a request"),
        }
    }

    fn status(&mut self) -> u16 {
        self.answer().0
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn describe(&mut self) {
        self.ask("DESCRIBE", "rtsp://gw/main", "");
        self.reply(200, "Content-Base: rtsp://192.168.1.64/live?a=1/\r\n", SDP);
        assert_eq!(self.status(), 200);
    }

    /// Describes and sets both tracks up on viewer channels 4-5 and 6-7, camera channels 0-1 and 2-3.
    fn set_up(&mut self) {
        self.describe();
        for (track, channels) in [(0, "4-5"), (1, "6-7")] {
            let uri = format!("rtsp://gw/main/track{track}");
            self.ask(
                "SETUP",
                &uri,
                &format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n"),
            );
            let camera = format!("interleaved={}-{}", 2 * track, 2 * track + 1);
            self.reply(
                200,
                &format!("Session: abc;timeout=20\r\nTransport: RTP/AVP/TCP;unicast;{camera}\r\n"),
                "",
            );
            assert_eq!(self.status(), 200);
        }
    }

    fn play(&mut self) {
        self.set_up();
        self.ask("PLAY", "rtsp://gw/main/", "Session: abc\r\n");
        self.reply(200, "Session: abc\r\n", "");
        assert_eq!(self.status(), 200);
        self.events();
    }

    fn camera(&mut self, bytes: &[u8]) {
        self.session.handle_camera(self.now, bytes);
    }
}

/// An RTP packet of one slice.
fn rtp(sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0xe0];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([9, 9, 9, 9]);
    packet.extend(payload);
    packet
}

fn frame(channel: u8, packet: &[u8]) -> Vec<u8> {
    let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
    [&[b'$', channel, len[0], len[1]], packet].concat()
}

/// A frame of the video track as the viewer gets it after `play`.
fn on_viewer(mut frame: Vec<u8>) -> Vec<u8> {
    frame[1] = 4;
    frame
}

#[test]
fn describe_setup_play_teardown() {
    let mut rig = Rig::new();
    rig.ask("OPTIONS", "*", "");
    let (status, message) = rig.answer();
    assert!(status == 200 && text(message.header("Public").unwrap()).contains("DESCRIBE"));
    rig.ask(
        "DESCRIBE",
        "rtsp://any:1/main",
        "Authorization: Basic Zm9v\r\nX-Forwarded-For: 10.1.1.1\r\n",
    );
    assert_eq!(
        rig.events(),
        [Event::Connect {
            host: "127.0.0.1".into(),
            port: 8554
        }]
    );
    let seen = rig.reply(200, "", SDP);
    assert_eq!(
        (seen.method.as_str(), seen.uri.as_str()),
        ("DESCRIBE", "rtsp://127.0.0.1:8554/live?a=1")
    );
    assert_eq!(seen.header("Accept"), "application/sdp");
    assert!(
        seen.message.header("Authorization").is_none() && seen.message.header("X-Forwarded-For").is_none()
    );
    let (_, message) = rig.answer();
    assert_eq!(message.header("Content-Base"), Some(&b"rtsp://any:1/main/"[..]));
    assert_eq!(message.header("CSeq"), Some(&b"12"[..]));

    rig.ask(
        "SETUP",
        "rtsp://any:1/main/track0",
        "Transport: RTP/AVP/TCP;unicast;interleaved=8-9\r\n",
    );
    let seen = rig.reply(
        200,
        "Session: s1\r\nTransport: RTP/AVP/TCP;unicast;source=192.168.1.64;destination=192.168.1.9;interleaved=0-1;ssrc=AB\r\n",
        "",
    );
    assert_eq!(seen.uri, "rtsp://192.168.1.64/live?a=1/trackID=1");
    assert_eq!(seen.header("Transport"), "RTP/AVP/TCP;unicast;interleaved=0-1");
    let (_, message) = rig.answer();
    assert_eq!(
        message.header("Transport"),
        Some(&b"RTP/AVP/TCP;unicast;interleaved=8-9;ssrc=AB"[..])
    );
    assert_eq!(message.header("Session"), Some(&b"s1;timeout=60"[..]));

    rig.ask("PLAY", "rtsp://any:1/main/", "Session: s1\r\nRange: npt=0-\r\n");
    let seen = rig.reply(
        200,
        "RTP-Info: url=rtsp://192.168.1.64/live?a=1/trackID=1;seq=7\r\n",
        "",
    );
    assert_eq!(
        (seen.uri.as_str(), seen.header("Session").as_str()),
        ("rtsp://192.168.1.64/live?a=1/", "s1")
    );
    assert_eq!(seen.header("Range"), "npt=0-");
    let (_, message) = rig.answer();
    assert_eq!(
        message.header("RTP-Info"),
        Some(&b"url=rtsp://any:1/main/track0;seq=7"[..])
    );

    let packet = rtp(7, 1, &[0x65, 1, 2, 3]);
    rig.camera(&frame(0, &packet));
    assert_eq!(rig.viewer(), frame(8, &packet));

    rig.ask("TEARDOWN", "rtsp://any:1/main/", "Session: s1\r\n");
    assert_eq!(rig.reply(200, "", "").method, "TEARDOWN");
    assert_eq!(rig.status(), 200);
    rig.session.handle_viewer_closed(rig.now);
    rig.events();
    assert!(rig.session.is_finished());
}

#[test]
fn method_policy_and_profiles() {
    let mut rig = Rig::new();
    for (method, uri, expected) in [
        ("ANNOUNCE", "rtsp://gw/main", 405),
        ("RECORD", "rtsp://gw/main", 405),
        ("FROBNICATE", "rtsp://gw/main", 501),
        ("DESCRIBE", "rtsp://gw/other", 404),
        ("DESCRIBE", "rtsp://gw/", 404),
        ("SETUP", "rtsp://gw/main/track0", 455),
        ("PLAY", "rtsp://gw/main", 454),
    ] {
        rig.ask(method, uri, "");
        let (status, message) = rig.answer();
        assert_eq!(status, expected, "{method} {uri}");
        assert_eq!(message.header("Allow").is_some(), matches!(expected, 405 | 501));
    }
    assert_eq!(rig.events(), []);
    rig.set_up();
    for uri in [
        "rtsp://gw/main/track9",
        "rtsp://gw/main/../sub",
        "rtsp://gw/sub/track0",
        "rtsp://gw/main/trackID=1",
    ] {
        rig.ask("SETUP", uri, "Transport: RTP/AVP/TCP;interleaved=0-1\r\n");
        assert_eq!(rig.status(), 404, "{uri}");
    }
    rig.ask(
        "SETUP",
        "rtsp://gw/main/track0",
        "Transport: RTP/AVP;unicast;client_port=1-2\r\n",
    );
    assert_eq!(rig.status(), 461);
}

#[test]
fn digest_is_answered_with_the_uri_of_the_request_line() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    assert_eq!(
        rig.reply(
            401,
            "WWW-Authenticate: Digest realm=\"r\", nonce=\"one\", qop=\"auth\"\r\n",
            ""
        )
        .header("CSeq"),
        "1"
    );
    let seen = rig.reply(200, "", SDP);
    let authorization = seen.header("Authorization");
    assert!(
        authorization.contains("uri=\"rtsp://127.0.0.1:8554/live?a=1\""),
        "{authorization}"
    );
    assert_eq!(seen.header("CSeq"), "2");
    assert_eq!(rig.status(), 200);
    // The nonce changes in mid-session.
    rig.ask(
        "SETUP",
        "rtsp://gw/main/track0",
        "Transport: RTP/AVP/TCP;interleaved=0-1\r\n",
    );
    let seen = rig.reply(
        401,
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"two\", stale=true\r\n",
        "",
    );
    assert!(seen.header("Authorization").contains("nonce=\"one\""));
    let seen = rig.reply(200, "Session: 1\r\n", "");
    let authorization = seen.header("Authorization");
    assert!(authorization.contains("nonce=\"two\"") && authorization.contains("live?a=1/trackID=1\""));
    assert_eq!(rig.status(), 200);
    assert_eq!(rig.session.counters().auth_rounds, 2);
}

#[test]
fn refused_credential_is_a_502_and_a_notice() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.reply(401, "WWW-Authenticate: Basic realm=\"r\"\r\n", "");
    rig.reply(401, "WWW-Authenticate: Basic realm=\"r\"\r\n", "");
    let (status, message) = rig.answer();
    assert_eq!(status, 502);
    let Start::Response { reason, .. } = message.start else {
        panic!()
    };
    assert_eq!(reason, b"Camera Refused Its Credential");
    assert!(rig.events().contains(&Event::Notice(Notice::CredentialRefused {
        profile: "main".into()
    })));
}

#[test]
fn camera_that_closes_after_its_401_is_asked_again() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.events();
    rig.reply(401, "WWW-Authenticate: Basic realm=\"r\"\r\n", "");
    rig.session.handle_camera_closed(rig.now, CameraError::Closed);
    assert!(matches!(rig.events()[..], [Event::Connect { .. }]));
    rig.session.handle_camera_connected(rig.now);
    assert!(
        rig.reply(200, "", SDP)
            .header("Authorization")
            .starts_with("Basic ")
    );
    assert_eq!(rig.status(), 200);
}

#[test]
fn setup_without_interleaved_and_other_channel_numbers() {
    let mut rig = Rig::new();
    rig.describe();
    rig.ask(
        "SETUP",
        "rtsp://gw/main/track0",
        "Transport: RTP/AVP/TCP;unicast\r\n",
    );
    rig.reply(
        200,
        "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=6-7\r\n",
        "",
    );
    assert_eq!(
        rig.answer().1.header("Transport"),
        Some(&b"RTP/AVP/TCP;unicast;interleaved=0-1"[..])
    );
    // The camera leaves `interleaved` out: it uses what it was asked for.
    rig.ask(
        "SETUP",
        "rtsp://gw/main/track1",
        "Transport: RTP/AVP/TCP;unicast\r\n",
    );
    rig.reply(200, "Session: 1\r\nTransport: RTP/AVP/TCP;unicast\r\n", "");
    assert_eq!(
        rig.answer().1.header("Transport"),
        Some(&b"RTP/AVP/TCP;unicast;interleaved=2-3"[..])
    );
    let (video, audio) = (rtp(1, 1, &[0x65, 0]), rtp(1, 1, &[1]));
    rig.camera(&[frame(6, &video), frame(2, &audio)].concat());
    assert_eq!(rig.viewer(), [frame(0, &video), frame(2, &audio)].concat());
    // And back: the viewer's receiver report.
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    rig.session.handle_viewer(rig.now, &frame(1, &report));
    assert_eq!(rig.session.poll_camera(), frame(7, &report));
}

#[test]
fn udp_only_camera() {
    for refusal in [461, 406] {
        let mut rig = Rig::new();
        rig.describe();
        rig.events();
        rig.ask(
            "SETUP",
            "rtsp://gw/main/track0",
            "Transport: RTP/AVP/TCP;interleaved=0-1\r\n",
        );
        rig.reply(refusal, "", "");
        assert_eq!(
            rig.events(),
            [Event::Notice(Notice::UdpFallback), Event::OpenUdp { pair: 0 }]
        );
        rig.session.handle_udp_ready(rig.now, 0, 5000, 5001);
        let seen = rig.reply(
            200,
            "Session: 1\r\nTransport: RTP/AVP;unicast;server_port=6000-6001\r\n",
            "",
        );
        assert_eq!(seen.header("Transport"), "RTP/AVP;unicast;client_port=5000-5001");
        assert_eq!(
            rig.answer().1.header("Transport"),
            Some(&b"RTP/AVP/TCP;unicast;interleaved=0-1"[..])
        );
        let packet = rtp(1, 1, &[0x65, 0]);
        let report = [0x80, 200, 0, 1, 0, 0, 0, 1];
        rig.session
            .handle_udp(rig.now, UdpId { pair: 0, rtcp: false }, &packet);
        rig.session
            .handle_udp(rig.now, UdpId { pair: 0, rtcp: true }, &report);
        assert_eq!(rig.viewer(), [frame(0, &packet), frame(1, &report)].concat());
        rig.session.handle_viewer(rig.now, &frame(1, &report));
        let datagram = rig.session.poll_udp().unwrap();
        assert_eq!(
            (datagram.socket, datagram.port),
            (UdpId { pair: 0, rtcp: true }, 6001)
        );
        // The second track goes to UDP at once.
        rig.ask(
            "SETUP",
            "rtsp://gw/main/track1",
            "Transport: RTP/AVP/TCP;interleaved=2-3\r\n",
        );
        assert_eq!(rig.events(), [Event::OpenUdp { pair: 1 }]);
        rig.session.handle_udp_failed(rig.now, 1);
        assert_eq!(rig.status(), 502);
        assert_eq!(rig.events(), [Event::CloseUdp { pair: 1 }]);
    }
}

#[test]
fn keep_alive_follows_public_and_refusals() {
    for (public, expected) in [
        (
            "OPTIONS, GET_PARAMETER, SET_PARAMETER",
            ["GET_PARAMETER", "SET_PARAMETER", "OPTIONS"],
        ),
        ("OPTIONS, SET_PARAMETER", ["SET_PARAMETER", "OPTIONS", "OPTIONS"]),
        ("OPTIONS, DESCRIBE", ["OPTIONS", "OPTIONS", "OPTIONS"]),
    ] {
        let mut rig = Rig::new();
        rig.ask("OPTIONS", "rtsp://gw/main", "");
        rig.reply(200, &format!("Public: {public}\r\n"), "");
        rig.status();
        rig.play();
        for method in expected {
            // timeout=20, so after ten seconds; media goes on.
            rig.now += 9 * SECOND;
            rig.camera(&frame(0, &rtp(1, 1, &[0x65])));
            rig.now += SECOND;
            rig.session.handle_timeout(rig.now);
            rig.viewer();
            let seen = rig.reply(451, "", "");
            assert_eq!(
                (seen.method.as_str(), seen.header("Session").as_str()),
                (method, "abc")
            );
            assert_eq!(rig.viewer(), b"", "swallowed");
        }
    }
}

#[test]
fn missing_timeout_is_sixty_seconds() {
    let mut rig = Rig::new();
    rig.describe();
    rig.ask(
        "SETUP",
        "rtsp://gw/main/track0",
        "Transport: RTP/AVP/TCP;interleaved=0-1\r\n",
    );
    rig.reply(200, "Session: 1\r\n", "");
    rig.status();
    assert_eq!(rig.session.poll_timeout(), Some(rig.now + 30 * SECOND));
}

#[test]
fn viewers_keep_alive_is_answered_here() {
    let mut rig = Rig::new();
    rig.play();
    rig.ask("GET_PARAMETER", "rtsp://gw/main/", "Session: abc\r\n");
    assert_eq!(rig.status(), 200);
    assert_eq!(rig.session.poll_camera(), b"");
}

#[test]
fn watchdog_ends_a_silent_session() {
    let mut rig = Rig::new();
    rig.play();
    rig.now += 5 * SECOND;
    rig.camera(&frame(0, &rtp(1, 1, &[0x65])));
    rig.now += 10 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.events(), [Event::Notice(Notice::MediaStalled)]);
    assert_eq!(rig.reply(200, "", "").method, "TEARDOWN");
    assert_eq!(
        rig.events(),
        [
            Event::Disconnect,
            Event::Finished {
                reason: FinishReason::MediaStalled
            }
        ]
    );
}

#[test]
fn teardown_before_closing_with_a_deadline_and_authentication() {
    let mut rig = Rig::new();
    rig.play();
    rig.session.handle_viewer_closed(rig.now);
    rig.reply(401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", "");
    let seen = rig.seen();
    assert_eq!(
        (seen.method.as_str(), seen.header("Session").as_str()),
        ("TEARDOWN", "abc")
    );
    assert!(seen.message.header("Authorization").is_some());
    assert_eq!(rig.events(), []);
    assert_eq!(rig.session.poll_timeout(), Some(rig.now + 2 * SECOND));
    rig.now += 2 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert_eq!(
        rig.events(),
        [
            Event::Disconnect,
            Event::Finished {
                reason: FinishReason::ViewerClosed
            }
        ]
    );
    assert_eq!(rig.session.poll_timeout(), None);
}

#[test]
fn viewer_that_leaves_during_setup_leaves_no_session_behind() {
    let mut rig = Rig::new();
    rig.describe();
    rig.ask(
        "SETUP",
        "rtsp://gw/main/track0",
        "Transport: RTP/AVP/TCP;interleaved=0-1\r\n",
    );
    rig.session.handle_viewer_closed(rig.now);
    rig.reply(200, "Session: 1\r\n", "");
    assert_eq!(rig.reply(200, "", "").method, "TEARDOWN");
    assert!(rig.session.is_finished());
}

#[test]
fn limits_and_refusals_pass() {
    for status in [453, 503, 551] {
        let mut rig = Rig::new();
        rig.ask("DESCRIBE", "rtsp://gw/main", "Require: com.example.option\r\n");
        let seen = rig.reply(status, "Unsupported: com.example.option\r\n", "");
        assert_eq!(seen.header("Require"), "com.example.option");
        assert_eq!(rig.status(), status);
    }
}

#[test]
fn camera_redirect_is_followed_within_the_camera_only() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.events();
    rig.reply(302, "Location: rtsp://192.168.1.64/other\r\n", "");
    assert_eq!(
        rig.reply(302, "Location: rtsp://192.168.1.64/again\r\n", "").uri,
        "rtsp://192.168.1.64/other"
    );
    assert_eq!(rig.status(), 502);
    assert_eq!(rig.events(), [Event::Notice(Notice::Redirected)]);
}

#[test]
fn unreachable_silent_and_lost_cameras() {
    let mut rig = Rig::new();
    rig.session
        .handle_viewer(rig.now, b"DESCRIBE rtsp://gw/main RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    rig.session.handle_camera_closed(rig.now, CameraError::Refused);
    assert_eq!(rig.status(), 502);
    let refused = FinishReason::CameraUnreachable(CameraError::Refused);
    assert_eq!(rig.events().last(), Some(&Event::Finished { reason: refused }));

    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.now = rig.session.poll_timeout().unwrap();
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.status(), 504);
    assert!(rig.events().contains(&Event::Notice(Notice::ResponseTimeout {
        method: "DESCRIBE".into()
    })));
    rig.camera(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n");
    assert_eq!(
        (rig.viewer(), rig.session.counters().stray_replies),
        (Vec::new(), 1)
    );

    let mut rig = Rig::new();
    rig.play();
    rig.session.handle_camera_closed(rig.now, CameraError::Closed);
    assert_eq!(
        rig.events(),
        [Event::Finished {
            reason: FinishReason::CameraClosed
        }]
    );
}

#[test]
fn pipelined_requests_go_one_at_a_time_and_are_bounded() {
    let mut rig = Rig::new();
    rig.ask("OPTIONS", "rtsp://gw/main", "");
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    assert_eq!(rig.reply(200, "Public: OPTIONS\r\n", "").method, "OPTIONS");
    assert_eq!(rig.reply(200, "", SDP).method, "DESCRIBE");
    let out = text(&rig.viewer());
    assert!(out.find("CSeq: 11").unwrap() < out.find("CSeq: 12").unwrap());
    for _ in 0..40 {
        rig.ask("DESCRIBE", "rtsp://gw/main", "");
    }
    let finished = rig.events();
    assert_eq!(
        finished.last(),
        Some(&Event::Finished {
            reason: FinishReason::ViewerProtocol
        })
    );
}

#[test]
fn text_and_garbage_between_frames_are_skipped_and_counted() {
    let mut rig = Rig::new();
    rig.play();
    let (a, b) = (frame(0, &rtp(1, 1, &[0x65, 1])), frame(0, &rtp(2, 2, &[0x41, 2])));
    let text = b"[warn] encoder $\x00 restarted\n";
    rig.camera(&[&a[..], text, &b[..]].concat());
    assert!(rig.viewer() == [on_viewer(a), on_viewer(b)].concat());
    let counters = rig.session.counters();
    assert_eq!(
        (counters.camera_resyncs, counters.camera_skipped_bytes),
        (1, text.len() as u64)
    );
}

#[test]
fn frame_cut_by_a_blocked_socket_costs_only_itself() {
    let mut rig = Rig::new();
    rig.play();
    let frames: Vec<Vec<u8>> = (0..6)
        .map(|n| frame(0, &rtp(n, n.into(), &[0x41; 900])))
        .collect();
    let stream = [
        &frames[0][..],
        &frames[1][..500],
        &frames[2],
        &frames[3],
        &frames[4],
        &frames[5],
    ]
    .concat();
    rig.camera(&stream);
    let expected: Vec<u8> = [0, 2, 3, 4, 5]
        .into_iter()
        .flat_map(|n: usize| on_viewer(frames[n].clone()))
        .collect();
    assert!(rig.viewer() == expected);
    assert_eq!(rig.session.counters().camera_cut_frames, 1);
}

#[test]
fn camera_requests_are_answered_here() {
    let mut rig = Rig::new();
    rig.play();
    rig.camera(b"OPTIONS * RTSP/1.0\r\nCSeq: 77\r\n\r\nANNOUNCE rtsp://x/ RTSP/1.0\r\nCSeq: 78\r\n\r\n");
    let out = text(rig.session.poll_camera());
    assert_eq!(
        out,
        "RTSP/1.0 200 OK\r\nCSeq: 77\r\n\r\nRTSP/1.0 501 Not Implemented\r\nCSeq: 78\r\n\r\n"
    );
    assert_eq!(rig.viewer(), b"");
}

#[test]
fn talk_back_is_dropped_and_counted_when_the_camera_does_not_read() {
    let mut rig = Rig::new();
    rig.play();
    let packet = frame(6, &rtp(1, 1, &[0; 1000]));
    for _ in 0..200 {
        rig.session.handle_viewer(rig.now, &packet);
    }
    let limit = Limits::default().camera_queue_bytes;
    assert!(rig.session.poll_camera().len() <= limit);
    let counters = rig.session.counters();
    assert_eq!(counters.viewer_packets_in + counters.dropped_viewer.packets, 200);
    assert!(counters.dropped_viewer.packets > 100);
}

#[test]
fn oversize_messages_end_the_session() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.camera(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n");
    assert_eq!(rig.status(), 502);
    assert!(rig.session.is_finished());
    let mut rig = Rig::new();
    rig.session.handle_viewer(
        rig.now,
        &[b"OPTIONS * RTSP/1.0\r\n".to_vec(), b"A: b\r\n".repeat(4000)].concat(),
    );
    assert!(rig.session.is_finished());
}
