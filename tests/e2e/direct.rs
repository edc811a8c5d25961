//! The tools themselves. The viewers on the cameras with nothing of ours in between: when these fail, look at the tools first.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lenscap_tests::harness::camera::{PASSWORD, USER};
use lenscap_tests::harness::netns::{Cable, GATEWAY_IP};
use lenscap_tests::harness::{Camera, Codec, Simcam, TestDir, media, players};

/// How long each viewer plays.
const SECONDS: u64 = 2;

/// Of a recording, in that time.
const RECORDED: u64 = media::FPS * SECONDS * 8 / 10;
/// Of an encoder, which gives as many as a busy machine lets it: more than one picture of its own.
const ENCODED: u64 = 2;

fn all_viewers(test: &str, least: u64, camera: impl FnOnce(&TestDir) -> Camera) {
    let dir = TestDir::new(test);
    let camera = camera(&dir);
    let login = (USER, PASSWORD);
    let seen = [
        ("ffprobe", players::ffprobe(&dir, &camera.direct_url(), SECONDS)),
        ("ffmpeg", players::ffmpeg(&dir, &camera.direct_url(), SECONDS)),
        (
            "gstreamer",
            players::gstreamer(&dir, &camera.direct_url(), SECONDS),
        ),
        (
            "retina",
            players::retina(&dir, &camera.plain_url(), login, SECONDS),
        ),
        (
            "rtp-sink",
            players::rtp_sink(&dir, &camera.plain_url(), login, SECONDS),
        ),
    ];
    for (viewer, played) in &seen {
        println!("{viewer}: {played:?}");
        assert!(played.video >= least, "{viewer}: {played:?}");
        assert_eq!((played.gaps, played.torn), (0, 0), "{viewer}: {played:?}");
    }
    // ffmpeg and ffprobe close right after their TEARDOWN without reading on: a camera that is writing
    // just then learns of the reset alone.
    camera.wait_teardowns(seen.len() - 2);
}

#[test]
fn simcam_h264() {
    all_viewers("direct::simcam_h264", RECORDED, |dir| {
        Simcam::playing(Codec::H264).start(dir)
    });
}

#[test]
fn simcam_h265() {
    all_viewers("direct::simcam_h265", RECORDED, |dir| {
        Simcam::playing(Codec::H265).start(dir)
    });
}

#[test]
fn gstreamer_h264() {
    all_viewers("direct::gstreamer_h264", ENCODED, |dir| {
        Camera::gstreamer(dir, Codec::H264)
    });
}

#[test]
fn gstreamer_h265() {
    all_viewers("direct::gstreamer_h265", ENCODED, |dir| {
        Camera::gstreamer(dir, Codec::H265)
    });
}

#[test]
fn what_ffmpeg_decodes_it_decodes_strictly() {
    let dir = TestDir::new("direct::strict");
    for (codec, format) in [(Codec::H264, "h264"), (Codec::H265, "hevc")] {
        assert_eq!(
            players::decode_strictly(&dir, &media::video(codec, 3_000_000), format),
            ""
        );
    }
    let broken = std::fs::read(media::video(Codec::H264, 3_000_000)).expect("the file");
    let cut: Vec<u8> = broken[..200_000]
        .iter()
        .chain(&broken[230_000..600_000])
        .copied()
        .collect();
    let path = dir.write("broken.h264", cut);
    assert_ne!(
        players::decode_strictly(&dir, &path, "h264"),
        "",
        "a torn stream must be noticed"
    );
}

#[test]
fn the_cable_is_as_slow_as_it_says() {
    const BITS_PER_SECOND: u64 = 2_000_000;
    let cable = Cable::new();
    cable.throttle(BITS_PER_SECOND, 100);
    let listener = cable.at_gateway(|| TcpListener::bind((GATEWAY_IP, 0)).expect("the cable's end"));
    let address = listener.local_addr().expect("it has an address");
    let (bits, took) = std::thread::scope(|scope| {
        scope.spawn(|| {
            cable.at_camera(|| {
                let mut stream = TcpStream::connect(address).expect("the cable carries");
                let end = Instant::now() + Duration::from_secs(5);
                // Ends as well when the reader has seen enough and goes.
                while Instant::now() < end && stream.write_all(&[0; 4096]).is_ok() {}
            });
        });
        let (mut stream, _) = listener.accept().expect("the camera connects");
        let (begin, mut bytes, mut buffer) = (Instant::now(), 0_u64, [0; 16384]);
        while begin.elapsed() < Duration::from_secs(4) {
            bytes += stream.read(&mut buffer).expect("the cable carries") as u64;
        }
        (bytes as f64 * 8.0, begin.elapsed())
    });
    let rate = bits / took.as_secs_f64();
    println!("{rate:.0} bit/s over a cable of {BITS_PER_SECOND}");
    assert!(
        (0.8..1.1).contains(&(rate / BITS_PER_SECOND as f64)),
        "{rate:.0} bit/s"
    );
}
