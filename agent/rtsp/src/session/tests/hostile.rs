//! What a hostile or careless camera or viewer may not bring about.

use super::*;

const INTERLEAVED: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

fn rejected_heads(count: usize) -> Vec<u8> {
    let head = [
        b"OPTIONS * RTSP/1.0\r\n".to_vec(),
        b"A: b\r\n".repeat(65),
        b"\r\n".to_vec(),
    ];
    head.concat().repeat(count)
}

#[test]
fn answers_to_malformed_heads_are_bounded() {
    let mut rig = Rig::new();
    rig.session.handle_viewer(rig.now, &rejected_heads(1));
    assert_eq!(rig.status(), 400);
    for _ in 0..100 {
        rig.session.handle_viewer(rig.now, &rejected_heads(100));
    }
    assert!(rig.session.is_finished());
    assert!(
        rig.session.viewer_pending() < 200_000,
        "{}",
        rig.session.viewer_pending()
    );
}

#[test]
fn large_bodies_of_viewers_are_refused() {
    let mut rig = Rig::new();
    let body = "x".repeat(100_000);
    let request =
        format!("SET_PARAMETER rtsp://gw/main RTSP/1.0\r\nCSeq: 5\r\nContent-Length: 100000\r\n\r\n{body}");
    rig.session.handle_viewer(rig.now, request.as_bytes());
    let (status, message) = rig.answer();
    assert_eq!((status, message.header("CSeq")), (413, Some(&b"5"[..])));
    let reason = FinishReason::ViewerProtocol;
    assert_eq!(
        rig.events(),
        [Event::Finished { reason }],
        "the camera is not bothered"
    );
}

#[test]
fn requests_to_a_camera_that_does_not_read_are_bounded() {
    let mut rig = Rig::new();
    rig.play();
    for _ in 0..50 {
        let body = "x".repeat(7000);
        rig.ask(
            "SET_PARAMETER",
            "rtsp://gw/main",
            &format!("Content-Length: 7000\r\n\r\n{body}"),
        );
        rig.now += 10 * SECOND;
        rig.camera(&frame(0, &rtp(1, 1, &[0x65])));
        rig.session.handle_timeout(rig.now);
        rig.viewer();
    }
    let queued = rig.session.poll_camera().len();
    assert!(queued <= Limits::default().camera_queue_bytes, "{queued}");
    assert!(rig.session.is_finished());
}

#[test]
fn closing_never_wants_to_be_woken_in_the_past() {
    let mut rig = Rig::new();
    rig.describe();
    rig.ask("SETUP", "rtsp://gw/main/track0", INTERLEAVED);
    rig.now += Duration::from_millis(9_500);
    rig.session.handle_viewer_closed(rig.now);
    rig.now += SECOND;
    rig.session.handle_timeout(rig.now);
    assert!(rig.session.poll_timeout().is_some_and(|at| at > rig.now));
    rig.now += SECOND;
    rig.session.handle_timeout(rig.now);
    assert!(rig.session.is_finished());
}

#[test]
fn closing_gives_the_sockets_of_a_second_setup_back() {
    let mut rig = Rig::new();
    rig.describe();
    rig.ask("SETUP", "rtsp://gw/main/track0", INTERLEAVED);
    rig.reply(461, "", "");
    rig.session.handle_udp_ready(rig.now, 0, 5000, 5001);
    rig.reply(200, "Session: 1\r\nTransport: RTP/AVP;server_port=6-7\r\n", "");
    rig.ask("SETUP", "rtsp://gw/main/track1", INTERLEAVED);
    rig.events();
    rig.session.handle_viewer_closed(rig.now);
    rig.now += 3 * SECOND;
    rig.session.handle_timeout(rig.now);
    let events = rig.events();
    for pair in [0, 1] {
        assert!(events.contains(&Event::CloseUdp { pair }), "{events:?}");
    }
}

#[test]
fn a_camera_that_gives_two_tracks_the_same_channels_does_not_mix_them() {
    for (answered, audio) in [("0-1", 2), ("5-5", 2), ("1-2", 2), ("8-9", 8)] {
        let mut rig = Rig::new();
        rig.describe();
        for (track, camera) in [(0, "0-1"), (1, answered)] {
            let channels = 2 * track;
            rig.ask(
                "SETUP",
                &format!("rtsp://gw/main/track{track}"),
                &format!(
                    "Transport: RTP/AVP/TCP;interleaved={channels}-{}\r\n",
                    channels + 1
                ),
            );
            rig.reply(
                200,
                &format!("Session: 1\r\nTransport: RTP/AVP/TCP;interleaved={camera}\r\n"),
                "",
            );
            assert_eq!(rig.status(), 200);
        }
        let (video, sound) = (rtp(1, 1, &[0x65, 0]), rtp(1, 1, &[1]));
        rig.camera(&[frame(0, &video), frame(audio, &sound)].concat());
        assert!(
            rig.viewer() == [frame(0, &video), frame(2, &sound)].concat(),
            "{answered}"
        );
    }
}

#[test]
fn rtcp_on_the_rtp_channel_does_not_cut_a_picture_in_two() {
    let mut rig = Rig::new();
    rig.play();
    let mut first = rtp(1, 1, &[0x7c, 0x85, 1]);
    first[1] = 0x60;
    let report = [0x80, 200, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    rig.camera(&[frame(0, &first), frame(0, &report)].concat());
    // Old enough that nothing new would be started, but the picture goes on.
    rig.now += SECOND;
    let last = rtp(2, 1, &[0x7c, 0x45, 2]);
    rig.camera(&frame(0, &last));
    let counters = rig.session.counters();
    assert_eq!((counters.rtcp_packets_in, counters.dropped_late.units), (1, 0));
    assert!(rig.viewer() == on_viewer_all(&[&first, &report, &last]));
}

fn on_viewer_all(packets: &[&[u8]]) -> Vec<u8> {
    packets.iter().flat_map(|packet| frame(4, packet)).collect()
}

#[test]
fn audio_does_not_hide_that_the_picture_stands_still() {
    let mut rig = Rig::new();
    rig.play();
    for _ in 0..10 {
        rig.now += SECOND;
        rig.camera(&frame(2, &rtp(1, 1, &[1])));
    }
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.events(), [Event::Notice(Notice::MediaStalled)]);
}

#[test]
fn a_setup_answered_with_udp_is_made_again_over_udp() {
    let mut rig = Rig::new();
    rig.describe();
    rig.events();
    rig.ask("SETUP", "rtsp://gw/main/track0", INTERLEAVED);
    rig.reply(
        200,
        "Session: 7\r\nTransport: RTP/AVP;unicast;client_port=0-1;server_port=6000-6001\r\n",
        "",
    );
    assert_eq!(
        rig.events(),
        [Event::Notice(Notice::UdpFallback), Event::OpenUdp { pair: 0 }]
    );
    rig.session.handle_udp_ready(rig.now, 0, 5000, 5001);
    let seen = rig.reply(
        200,
        "Session: 7\r\nTransport: RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001\r\n",
        "",
    );
    assert_eq!(seen.header("Transport"), "RTP/AVP;unicast;client_port=5000-5001");
    assert_eq!(seen.header("Session"), "7");
    assert_eq!(
        rig.answer().1.header("Transport"),
        Some(&b"RTP/AVP/TCP;unicast;interleaved=0-1"[..])
    );
}

#[test]
fn a_session_that_comes_too_late_is_torn_down() {
    let mut rig = Rig::new();
    rig.describe();
    rig.ask("SETUP", "rtsp://gw/main/track0", INTERLEAVED);
    let cseq = rig.seen().header("CSeq");
    rig.now += 10 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.status(), 504);
    rig.camera(format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: late;timeout=60\r\n\r\n").as_bytes());
    let seen = rig.seen();
    assert_eq!(
        (
            seen.method.as_str(),
            seen.uri.as_str(),
            seen.header("Session").as_str()
        ),
        ("TEARDOWN", "rtsp://192.168.1.64/live?a=1/", "late")
    );
    // Its answer disturbs nobody, and it is done once.
    rig.camera(format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: late\r\n\r\n").as_bytes());
    assert_eq!(rig.session.poll_camera(), b"");
    rig.set_up();
}

#[test]
fn a_camera_that_knows_no_backchannel_is_asked_without() {
    const REQUIRE: &str = "Require: www.onvif.org/ver20/backchannel\r\n";
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", REQUIRE);
    let seen = rig.reply(551, "Unsupported: www.onvif.org/ver20/backchannel\r\n", "");
    assert_eq!(seen.header("Require"), "www.onvif.org/ver20/backchannel");
    assert!(rig.reply(200, "", SDP).message.header("Require").is_none());
    assert_eq!(rig.status(), 200);

    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", REQUIRE);
    rig.seen();
    rig.now += 10 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert!(rig.reply(200, "", SDP).message.header("Require").is_none());
    assert_eq!(rig.status(), 200);
}

#[test]
fn setup_of_the_profile_itself_names_its_one_medium() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.reply(
        200,
        "",
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n",
    );
    rig.status();
    rig.ask("SETUP", "rtsp://gw/main", INTERLEAVED);
    assert_eq!(rig.seen().uri, "rtsp://127.0.0.1:8554/live?a=1/trackID=1");
}

#[test]
fn no_local_path_crosses_in_reason_or_description() {
    let mut rig = Rig::new();
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    let seen = rig.seen();
    let cseq = seen.header("CSeq");
    rig.camera(format!("RTSP/1.0 404 No /mnt/sd/live/hidden Here\r\nCSeq: {cseq}\r\n\r\n").as_bytes());
    let out = text(&rig.viewer());
    assert!(
        out.starts_with("RTSP/1.0 404 ") && !out.contains("hidden"),
        "{out}"
    );
    rig.ask("DESCRIBE", "rtsp://gw/main", "");
    rig.reply(
        200,
        "",
        "v=0\r\nk=clear:hidden\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 sprop-parameter-sets=/0IA,/M4g\r\na=label:/mnt/sd/hidden\r\na=X-file: \"/mnt/hidden\"\r\na=framerate:25\r\n",
    );
    let out = text(&rig.viewer());
    assert!(!out.contains("hidden"), "{out}");
    assert!(
        out.contains("a=fmtp:96 sprop-parameter-sets=/0IA,/M4g\r\n") && out.contains("a=framerate:25\r\n")
    );
}

#[test]
fn viewers_do_not_wait_for_a_keep_alive_that_the_camera_ignores() {
    let mut rig = Rig::new();
    rig.play();
    rig.now += 9 * SECOND;
    rig.camera(&frame(0, &rtp(1, 1, &[0x65])));
    rig.now += SECOND;
    rig.session.handle_timeout(rig.now);
    rig.viewer();
    let keep_alive = rig.seen();
    assert_eq!(keep_alive.method, "OPTIONS");
    rig.ask("PAUSE", "rtsp://gw/main/", "Session: abc\r\n");
    let pause = rig.seen();
    assert_eq!(pause.method, "PAUSE");
    for (cseq, viewer_sees) in [(keep_alive.header("CSeq"), false), (pause.header("CSeq"), true)] {
        rig.camera(format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n\r\n").as_bytes());
        assert_eq!(!rig.viewer().is_empty(), viewer_sees);
    }
}
