//! Each quirk of real cameras, through the uplink: it plays without a gap, or ends in the documented way.

use std::time::{Duration, Instant};

use lenscap_tests::harness::camera::{PASSWORD, USER};
use lenscap_tests::harness::gateway::VIEWER;
use lenscap_tests::harness::players::{Played, played_of, rtp_sink_report};
use lenscap_tests::harness::{Codec, Simcam, Stand, TestDir};
use lenscap_tests::rtspclient::{Client, Options};

use crate::support::agent_says;

/// How long a quirky camera is played: long enough for two keep-alives.
const SECONDS: u64 = 8;
/// The session timeout that makes keep-alives come that early.
const SESSION_TIMEOUT: &str = "6";
/// The media watchdog is 10 s; the viewer must know a little later.
const STALL_BOUND: Duration = Duration::from_secs(20);

#[track_caller]
fn start(test: &str, quirks: &[&str], args: &[&str]) -> Stand {
    let dir = TestDir::new(test);
    let mut camera = Simcam::playing(Codec::H264);
    for quirk in quirks {
        camera = camera.quirk(quirk);
    }
    for arg in args {
        camera = camera.arg(arg);
    }
    Stand::new(&dir, camera.start(&dir))
}

#[track_caller]
fn play(stand: &Stand) -> Played {
    let seconds = SECONDS.to_string();
    let report = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--seconds", &seconds]);
    assert_eq!(report["ok"], true, "{report}");
    played_of(&report)
}

#[track_caller]
fn plays(test: &str, quirks: &[&str], args: &[&str]) -> Stand {
    let stand = start(test, quirks, args);
    let played = play(&stand);
    println!("{quirks:?}: {played:?}");
    assert!(
        played.video >= SECONDS * 25 * 8 / 10,
        "{quirks:?}: too few pictures: {played:?}"
    );
    assert!(
        played.audio >= SECONDS * 50 * 8 / 10,
        "{quirks:?}: too little audio: {played:?}"
    );
    assert_eq!((played.gaps, played.torn), (0, 0), "{quirks:?}: {played:?}");
    stand.camera.wait_teardowns(1);
    stand
}

#[test]
fn absolute_control() {
    let stand = plays("quirks::absolute_control", &["absolute-control"], &[]);
    let description = |url: String, login: (&str, &str)| {
        let reply = Client::connect(Options::strict(&url, login, Duration::from_secs(10)))
            .and_then(|mut client| client.describe())
            .expect("DESCRIBE");
        format!("{:?}\n{}", reply.headers, String::from_utf8_lossy(&reply.body))
    };
    // The LAN address the camera names never leaves it.
    let direct = description(stand.camera.plain_url(), (USER, PASSWORD));
    assert!(direct.contains("192.168."), "the quirk does nothing: {direct}");
    let uplink = description(stand.plain_url(), VIEWER);
    assert!(
        !uplink.contains("192.168."),
        "a LAN address reached the viewer: {uplink}"
    );
}

#[test]
fn no_session_timeout() {
    plays("quirks::no_session_timeout", &["no-session-timeout"], &[]);
}

#[test]
fn nonce_change_announced_as_stale() {
    plays(
        "quirks::nonce_stale",
        &["nonce-change"],
        &["--session-timeout", SESSION_TIMEOUT],
    );
}

#[test]
fn nonce_change_not_announced() {
    plays(
        "quirks::nonce_fresh",
        &["nonce-change=fresh"],
        &["--session-timeout", SESSION_TIMEOUT],
    );
}

#[test]
fn text_between_frames() {
    let stand = plays("quirks::text", &["text-between-frames"], &[]);
    let counters = &stand.gateway.agent_status("front")["counters"];
    for name in ["camera_resyncs", "camera_skipped_bytes"] {
        assert!(
            counters[name].as_u64() > Some(0),
            "{name} is not counted: {counters}"
        );
    }
}

#[test]
fn partial_write_corruption() {
    // The agent always drains the camera, so the camera's socket never blocks and nothing is torn.
    let stand = plays("quirks::partial_write", &["partial-write-corruption"], &[]);
    stand.camera.wait_events("closed", 1, Duration::from_secs(10));
    assert_eq!(stand.camera.eagain_count(), 0);
}

#[test]
fn no_interleaved() {
    plays("quirks::no_interleaved", &["no-interleaved"], &[]);
}

#[test]
fn other_channels() {
    plays("quirks::other_channels", &["other-channels"], &[]);
}

#[test]
fn bare_lf() {
    plays("quirks::bare_lf", &["bare-lf"], &[]);
}

#[test]
fn folded_header() {
    plays("quirks::folded_header", &["folded-header"], &[]);
}

#[test]
fn no_reason() {
    plays("quirks::no_reason", &["no-reason"], &[]);
}

#[test]
fn udp_only() {
    plays("quirks::udp_only", &["udp-only"], &[]);
}

#[test]
fn get_parameter_closes_and_is_not_offered() {
    // The keep-alive is what `Public` names, so this camera never sees the one it cannot bear.
    let quirks = ["get-parameter-closes", "public-without-get-parameter"];
    plays(
        "quirks::get_parameter",
        &quirks,
        &["--session-timeout", SESSION_TIMEOUT],
    );
}

#[test]
fn get_parameter_closes_though_it_is_offered() {
    // The first session finds out; it ends with a word in the log, and the agent goes on.
    let args = ["--session-timeout", SESSION_TIMEOUT];
    let mut stand = start("quirks::get_parameter_offered", &["get-parameter-closes"], &args);
    rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--seconds", "15"]);
    agent_says(&mut stand.agent, &["camera closed the connection"]);
    let again = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--packets", "50"]);
    assert_eq!(again["ok"], true, "{again}");
}

#[test]
fn public_without_get_parameter() {
    let args = ["--session-timeout", SESSION_TIMEOUT];
    plays("quirks::public", &["public-without-get-parameter"], &args);
}

#[test]
fn short_session_timeout_is_kept_alive() {
    let stand = plays("quirks::keepalive", &[], &["--session-timeout", "4"]);
    assert!(
        !stand.camera.events("keepalive").is_empty(),
        "the camera saw no keep-alive"
    );
}

#[test]
fn all_that_mangle_heads_at_once() {
    let quirks = [
        "absolute-control",
        "bare-lf",
        "folded-header",
        "no-reason",
        "no-interleaved",
        "text-between-frames",
    ];
    plays("quirks::mangled", &quirks, &[]);
}

#[test]
fn basic_and_digest_sha256() {
    for auth in ["basic", "digest-sha256", "none"] {
        let dir = TestDir::new(&format!("quirks::auth_{auth}"));
        let stand = Stand::new(&dir, Simcam::playing(Codec::H264).auth(auth).start(&dir));
        let report = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--packets", "100"]);
        assert_eq!(report["ok"], true, "{auth}: {report}");
    }
}

#[test]
fn stale_sessions_need_a_teardown() {
    // One place only, and a session without TEARDOWN keeps it for 65 s: the second viewer proves the TEARDOWN.
    let stand = start(
        "quirks::stale_sessions",
        &["stale-sessions"],
        &["--max-sessions", "1"],
    );
    for viewer in 1..=3_usize {
        let args: &[&str] = if viewer == 2 {
            &["--packets", "100", "--no-teardown"]
        } else {
            &["--packets", "100"]
        };
        let report = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, args);
        assert_eq!(report["ok"], true, "viewer {viewer}: {report}");
        stand.camera.wait_teardowns(viewer);
    }
}

#[test]
fn close_midstream_ends_the_viewer() {
    let mut stand = start("quirks::close_midstream", &["close-midstream=2"], &[]);
    let begin = Instant::now();
    let report = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--seconds", "30"]);
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "the viewer was told only after {:?}",
        begin.elapsed()
    );
    assert!(report["packets"].as_u64() > Some(50), "{report}");
    assert_eq!(report["error"], "the server closed the connection", "{report}");
    agent_says(
        &mut stand.agent,
        &["session ended", "the camera closed the connection"],
    );
    stand.agent.process.assert_running();
    // The next viewer gets a session of its own.
    let again = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--packets", "50"]);
    assert_eq!(again["ok"], true, "{again}");
}

#[test]
fn stall_is_noticed() {
    let mut stand = start("quirks::stall", &["stall=1"], &[]);
    let begin = Instant::now();
    let report = rtp_sink_report(&stand.dir, &stand.plain_url(), VIEWER, &["--seconds", "60"]);
    assert!(
        begin.elapsed() < STALL_BOUND,
        "the viewer was told only after {:?}",
        begin.elapsed()
    );
    assert!(report["packets"].as_u64() > Some(20), "{report}");
    agent_says(&mut stand.agent, &["stopped sending media"]);
    stand.camera.wait_teardowns(1);
    stand.agent.process.assert_running();
}
