//! The fuzz targets of the RTSP core; see `fuzz.rs` for how targets are added.

use std::rc::Rc;
use std::time::Duration;

use lenscap_rtsp::auth::Authenticator;
use lenscap_rtsp::framing::{ChannelUse, MAX_BODY, MAX_HEAD, Sink, Splitter};
use lenscap_rtsp::message::Message;
use lenscap_rtsp::{
    CameraError, CameraUrl, Credentials, Event, Limits, Profile, Secret, Session, SessionConfig, UdpId, sdp,
};

const TEARDOWN_DEADLINE: Duration = Duration::from_secs(3);

/// What a splitter found: lengths, and how many bytes it gave up.
#[derive(Default)]
struct Found {
    accounted: usize,
    oversize: bool,
}

impl Sink for Found {
    fn channel(&self, channel: u8) -> Option<ChannelUse> {
        match channel {
            0 => Some(ChannelUse::Rtp {
                ssrc: Some(0x0909_0909),
            }),
            2 => Some(ChannelUse::Rtp { ssrc: None }),
            1 | 3 => Some(ChannelUse::Rtcp),
            _ => None,
        }
    }

    fn handle_frame(&mut self, channel: u8, payload: &[u8]) {
        assert!(channel < 4 && payload.len() >= 4);
        self.accounted += payload.len() + 4;
    }

    fn handle_message(&mut self, head: &[u8], body: &[u8]) {
        assert!(head.len() <= MAX_HEAD && body.len() <= MAX_BODY);
        let _ = Message::parse(head, body);
        self.accounted += head.len() + body.len();
    }

    fn handle_resync(&mut self) {}

    fn handle_skipped(&mut self, bytes: usize) {
        self.accounted += bytes;
    }

    fn handle_cut_frame(&mut self, bytes: usize) {
        self.accounted += bytes;
    }

    fn handle_oversize(&mut self) {
        self.oversize = true;
    }
}

/// The length of the pieces in the first byte, then one direction of an RTSP connection.
pub fn rtsp_framing(input: &[u8]) {
    let Some((&piece, stream)) = input.split_first() else {
        return;
    };
    for size in [usize::from(piece.max(1)), stream.len().max(1)] {
        let mut found = Found::default();
        let mut splitter = Splitter::new();
        for piece in stream.chunks(size) {
            splitter.handle_input(piece, &mut found);
            assert!(splitter.buffered() <= MAX_HEAD + MAX_BODY + 65_540);
        }
        // Line ends between messages are the only bytes that nobody is told of.
        let line_ends = stream.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        let told = found.accounted + splitter.buffered();
        assert!(told <= stream.len() && (found.oversize || told + line_ends >= stream.len()));
    }
}

fn config() -> Option<SessionConfig> {
    let (rtsp, _) = CameraUrl::parse("rtsp://127.0.0.1:8554/live?a=1").ok()?;
    let credentials = Some(Credentials {
        user: "admin".into(),
        password: Secret::new("hunter2"),
    });
    let profile = Profile {
        name: "main".into(),
        rtsp,
        credentials,
    };
    Some(SessionConfig {
        profiles: Rc::new([profile]),
        limits: Limits::default(),
        user_agent: "lenscap/fuzz".into(),
    })
}

/// Steps of one session, each a kind, a length in two bytes and that many bytes: 0 viewer, 1 camera, 2 RTP from the
/// camera on channel 0, 3 time passes, 4 the uplink takes some, 5 a datagram, 6 the camera closes, 7 the session is
/// closed.
pub fn rtsp_session(input: &[u8]) {
    let Some(config) = config() else { return };
    let mut now = Duration::from_secs(1);
    let mut session = Session::new(config, now, [3; 16]);
    let mut out = Vec::new();
    let mut rest = input;
    while let Some((&[kind, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (bytes, after) = after.split_at(length.min(after.len()));
        rest = after;
        match kind % 8 {
            0 => session.handle_viewer(now, bytes),
            1 => session.handle_camera(now, bytes),
            2 => session.handle_camera(now, &rtp_frame(bytes)),
            3 => {
                now += Duration::from_millis(length as u64);
                if session.poll_timeout().is_some_and(|due| due <= now) {
                    session.handle_timeout(now);
                }
            }
            4 => {
                let taken = session.poll_viewer(now, &mut out, length);
                assert!(taken <= length);
            }
            5 => session.handle_udp(
                now,
                UdpId {
                    pair: 0,
                    rtcp: length % 2 == 1,
                },
                bytes,
            ),
            6 => session.handle_camera_closed(now, CameraError::Closed),
            _ => session.close(now),
        }
        settle(&mut session, now);
    }
    session.close(now);
    now += TEARDOWN_DEADLINE;
    session.handle_timeout(now);
    assert!(session.is_finished());
    while session.poll_viewer(now, &mut out, 16_000) > 0 {}
    assert_eq!(session.viewer_pending(), 0);
    check_viewer(&out);
}

fn rtp_frame(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0xe0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];
    packet.extend(payload.iter().take(60_000));
    let [high, low] = (packet.len() as u16).to_be_bytes();
    [&[b'$', 0, high, low], packet.as_slice()].concat()
}

/// Does what the session asks for, and checks its bounds.
fn settle(session: &mut Session, now: Duration) {
    let limits = Limits::default();
    while let Some(event) = session.poll_event() {
        match event {
            Event::Connect { .. } => session.handle_camera_connected(now),
            Event::OpenUdp { pair } if pair % 2 == 0 => session.handle_udp_ready(now, pair, 5000, 5001),
            Event::OpenUdp { pair } => session.handle_udp_failed(now, pair),
            Event::Disconnect | Event::CloseUdp { .. } | Event::Notice(_) | Event::Finished { .. } => {}
        }
    }
    while session.poll_udp().is_some() {}
    let pending = session.poll_camera().len();
    assert!(pending <= limits.camera_queue_bytes + 2 * (MAX_HEAD + MAX_BODY));
    session.advance_camera(pending.min(20_000));
    assert!(session.viewer_pending() <= limits.queue_hard_bytes + MAX_BODY * 4);
}

/// What the viewer gets must be whole frames and responses, without the camera's challenges.
fn check_viewer(mut out: &[u8]) {
    while let Some(&first) = out.first() {
        if first == b'$' {
            let length = usize::from(u16::from_be_bytes([out[2], out[3]]));
            out = &out[4 + length..];
            continue;
        }
        assert!(out.starts_with(b"RTSP/1.0 "));
        let end = out
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .map_or(out.len(), |at| at + 4);
        let (head, rest) = out.split_at(end);
        assert!(
            !head
                .windows(16)
                .any(|word| word.eq_ignore_ascii_case(b"www-authenticate"))
        );
        let length = Message::parse(head, b"")
            .and_then(|message| lenscap_rtsp::message::parse_number(message.header("Content-Length")?))
            .unwrap_or(0);
        out = &rest[length as usize..];
    }
}

/// A session description.
pub fn rtsp_sdp(input: &[u8]) {
    let Some(description) = sdp::rewrite(input, "main") else {
        return;
    };
    assert!(description.media.len() <= sdp::MAX_MEDIA);
    assert!(!description.text.windows(3).any(|word| word == b"://"));
    // What the viewer gets is a description with the same media, and rewriting it changes nothing more.
    let again = sdp::rewrite(&description.text, "main").map(|again| again.text);
    assert_eq!(again.as_ref(), Some(&description.text));
}

/// `WWW-Authenticate` values, one in a line.
pub fn rtsp_auth(input: &[u8]) {
    let credentials = Credentials {
        user: "ad\"min".into(),
        password: Secret::new("hunter2"),
    };
    let mut authenticator = Authenticator::new(credentials, [5; 16]);
    for value in input.split(|&byte| byte == b'\n') {
        if authenticator.handle_challenge([value]).is_err() {
            authenticator.start_request();
        }
        if let Some(answer) = authenticator.authorization("DESCRIBE", b"rtsp://h/\xff") {
            assert!(answer.starts_with(b"Basic ") || answer.starts_with(b"Digest username=\"ad\\\"min\""));
            assert!(!answer.windows(7).any(|word| word == b"hunter2"));
        }
    }
}
