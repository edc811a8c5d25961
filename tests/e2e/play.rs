//! ffmpeg, ffprobe, GStreamer and retina play both cameras in both codecs through gateway and agent.

use lenscap_tests::harness::gateway::VIEWER;
use lenscap_tests::harness::{Camera, Codec, Simcam, Stand, TestDir, media, players};

use crate::support::play_seconds;

/// Of the pictures and the sound that the time allows, the share a viewer must show: it loses some while it starts.
const SHARE: f64 = 0.9;
/// The same of pictures that are encoded live: a busy machine makes fewer. That none is lost is seen by the gaps.
const LIVE_SHARE: f64 = 0.3;

#[derive(Clone, Copy)]
enum Source {
    Gstreamer(Codec),
    Simcam(Codec),
}

fn stand(test: &str, source: Source) -> Stand {
    let dir = TestDir::new(test);
    let camera = match source {
        Source::Gstreamer(codec) => Camera::gstreamer(&dir, codec),
        Source::Simcam(codec) => Simcam::playing(codec).start(&dir),
    };
    Stand::new(&dir, camera)
}

fn codec_of(source: Source) -> Codec {
    match source {
        Source::Gstreamer(codec) | Source::Simcam(codec) => codec,
    }
}

#[track_caller]
fn assert_pictures(seen: u64, seconds: u64, source: Source) {
    let share = match source {
        Source::Gstreamer(_) => LIVE_SHARE,
        Source::Simcam(_) => SHARE,
    };
    let enough = (media::FPS * seconds) as f64 * share;
    println!("{seen} pictures in {seconds} s");
    assert!(
        seen as f64 >= enough,
        "{seen} pictures in {seconds} s, at least {enough} expected"
    );
}

#[track_caller]
fn assert_sound(seen: u64, seconds: u64, source: Source) {
    // 20 ms of G.711 in a packet; 1024 samples of AAC at 16 kHz.
    let per_second = match source {
        Source::Gstreamer(Codec::H265) => 16_000.0 / 1024.0,
        Source::Gstreamer(Codec::H264) | Source::Simcam(_) => 50.0,
    };
    let enough = per_second * seconds as f64 * SHARE;
    println!("{seen} frames of sound in {seconds} s");
    assert!(
        seen as f64 >= enough,
        "{seen} frames of sound in {seconds} s, at least {enough} expected"
    );
}

fn ffmpeg(test: &str, source: Source) {
    let stand = stand(test, source);
    let seconds = play_seconds();
    let played = players::ffmpeg(&stand.dir, &stand.url(), seconds);
    assert_pictures(played.video, seconds, source);
    assert_eq!(played.complaints, "", "ffmpeg saw an error");
    stand.camera.wait_teardowns(1);
}

fn ffprobe(test: &str, source: Source) {
    let stand = stand(test, source);
    let seconds = play_seconds();
    let played = players::ffprobe(&stand.dir, &stand.url(), seconds);
    assert_pictures(played.video, seconds, source);
    let codec = if codec_of(source) == Codec::H264 {
        "h264"
    } else {
        "hevc"
    };
    assert_eq!(played.video_codec, codec);
    assert_sound(played.audio, seconds, source);
    assert_eq!(played.complaints, "", "ffprobe saw an error");
    stand.camera.wait_teardowns(1);
}

fn gstreamer(test: &str, source: Source) {
    let stand = stand(test, source);
    let seconds = play_seconds();
    let played = players::gstreamer(&stand.dir, &stand.url(), seconds);
    assert_pictures(played.video, seconds, source);
    assert_sound(played.audio, seconds, source);
    assert_eq!(played.complaints, "");
    assert_eq!(played.gaps, 0, "RTP sequence gaps: {played:?}");
    stand.camera.wait_teardowns(1);
}

fn retina(test: &str, source: Source) {
    let stand = stand(test, source);
    let seconds = play_seconds();
    let played = players::retina(&stand.dir, &stand.plain_url(), VIEWER, seconds);
    assert_pictures(played.video, seconds, source);
    assert_sound(played.audio, seconds, source);
    assert_eq!(played.gaps, 0, "RTP sequence gaps: {played:?}");
    stand.camera.wait_teardowns(1);
}

/// Every RTP packet, looked at one by one: no gap, nothing torn, nothing reordered.
fn rtp_sink(test: &str, source: Source) {
    let stand = stand(test, source);
    let seconds = play_seconds();
    let played = players::rtp_sink(&stand.dir, &stand.plain_url(), VIEWER, seconds);
    assert_pictures(played.video, seconds, source);
    assert_sound(played.audio, seconds, source);
    assert_eq!(played.gaps, 0, "RTP sequence gaps: {played:?}");
    assert_eq!(played.torn, 0, "torn access units: {played:?}");
    stand.camera.wait_teardowns(1);
}

macro_rules! plays {
    ($($viewer:ident)*) => {$(
        mod $viewer {
            use super::{Codec, Source};

            #[test]
            fn gstreamer_h264() {
                super::$viewer(concat!("play::", stringify!($viewer), "::gst_h264"), Source::Gstreamer(Codec::H264));
            }

            #[test]
            fn gstreamer_h265() {
                super::$viewer(concat!("play::", stringify!($viewer), "::gst_h265"), Source::Gstreamer(Codec::H265));
            }

            #[test]
            fn simcam_h264() {
                super::$viewer(concat!("play::", stringify!($viewer), "::sim_h264"), Source::Simcam(Codec::H264));
            }

            #[test]
            fn simcam_h265() {
                super::$viewer(concat!("play::", stringify!($viewer), "::sim_h265"), Source::Simcam(Codec::H265));
            }
        }
    )*};
}

plays! { ffmpeg ffprobe gstreamer retina rtp_sink }
