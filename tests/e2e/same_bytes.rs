//! What a viewer gets through the uplink is what the camera sent: the same RTP payloads, byte for byte.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lenscap_tests::harness::camera::{PASSWORD, USER};
use lenscap_tests::harness::gateway::VIEWER;
use lenscap_tests::harness::{Camera, Codec, Simcam, Stand, TestDir};
use lenscap_tests::rtp::Header;
use lenscap_tests::rtspclient::{Client, Options};

/// How long each side is pulled.
const PULL: Duration = Duration::from_secs(5);
/// Packets of a track that must have been compared for the comparison to mean anything.
const ENOUGH: usize = 150;

/// Payloads of each track by sequence number, with marker and timestamp. In some seconds no number comes twice.
type Tracks = Vec<BTreeMap<u16, (bool, u32, Vec<u8>)>>;

#[track_caller]
fn pull(url: &str, login: (&str, &str)) -> Tracks {
    let options = Options::strict(url, login, Duration::from_secs(10));
    let mut client = Client::connect(options).expect("the server can be reached");
    client.describe().expect("DESCRIBE");
    client.setup_all().expect("SETUP");
    client.play().expect("PLAY");
    let mut tracks = vec![BTreeMap::new(); client.tracks.len()];
    let deadline = Instant::now() + PULL;
    while let Some(frame) = client.next_frame(deadline).expect("media") {
        let Some(track) = client.track_of(frame.channel) else {
            continue;
        };
        let (header, payload) = Header::parse(&frame.data).expect("RTP");
        tracks[track].insert(
            header.sequence,
            (header.marker, header.timestamp, payload.to_vec()),
        );
    }
    client.teardown().expect("TEARDOWN");
    tracks
}

#[track_caller]
fn compare(direct: &Tracks, uplink: &Tracks) {
    assert_eq!(direct.len(), uplink.len(), "the number of tracks");
    assert!(!direct.is_empty());
    for (number, (direct, uplink)) in direct.iter().zip(uplink).enumerate() {
        let mut compared = 0;
        for (sequence, packet) in uplink {
            let Some(expected) = direct.get(sequence) else {
                continue;
            };
            assert!(
                packet.2 == expected.2,
                "track {number}: packet {sequence} differs"
            );
            assert_eq!(
                packet.0, expected.0,
                "track {number}: marker of packet {sequence}"
            );
            compared += 1;
        }
        println!("track {number}: {compared} packets are the same");
        assert!(
            compared >= ENOUGH,
            "track {number}: only {compared} packets in common"
        );
    }
}

fn simcam(test: &str, codec: Codec) {
    let dir = TestDir::new(test);
    // The same seed gives the same packets to everyone who asks.
    let stand = Stand::new(&dir, Simcam::playing(codec).arg("--seed").arg("7").start(&dir));
    let direct = pull(&stand.camera.plain_url(), (USER, PASSWORD));
    let uplink = pull(&stand.gateway.plain_url("front", "main"), VIEWER);
    compare(&direct, &uplink);
}

#[test]
fn simcam_h264() {
    simcam("same_bytes::simcam_h264", Codec::H264);
}

#[test]
fn simcam_h265() {
    simcam("same_bytes::simcam_h265", Codec::H265);
}

#[test]
fn gstreamer_h264() {
    let dir = TestDir::new("same_bytes::gstreamer_h264");
    let stand = Stand::new(&dir, Camera::gstreamer(&dir, Codec::H264));
    // One encoder serves both at once.
    let (direct, uplink) = std::thread::scope(|scope| {
        let direct = scope.spawn(|| pull(&stand.camera.plain_url(), (USER, PASSWORD)));
        let uplink = pull(&stand.gateway.plain_url("front", "main"), VIEWER);
        (direct.join().expect("the direct pull"), uplink)
    });
    compare(&direct, &uplink);
}
