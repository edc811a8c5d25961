//! An uplink of half the profile's bit rate: whole access units are dropped and counted, what arrives is fresh and
//! decodes, and the camera never notices.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use lenscap_tests::depacketize::{Depacketizer, Unit};
use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::gateway::{CameraKey, ONLINE_LIMIT, VIEWER};
use lenscap_tests::harness::netns::{Cable, GATEWAY_IP};
use lenscap_tests::harness::{
    Agent, AgentConfig, Camera, Codec, Gateway, GatewayConfig, Pki, Simcam, TestDir, players, stat,
};
use lenscap_tests::rtp::Header;
use lenscap_tests::rtspclient::{Client, Options};
use lenscap_tests::synthetic::{now_us, read_stamp};
use serde_json::Value;

/// Bit rate of the profile; the uplink gets half of it.
const BITRATE: u64 = 3_000_000;
/// How long the link stays open at first, and how long it is throttled.
const OPEN: Duration = Duration::from_secs(4);
const THROTTLED: Duration = Duration::from_secs(60);
/// Queue of the bottleneck, as a home router has it.
const QUEUE_MS: u32 = 100;
/// The oldest a picture may be when it arrives.
const MAX_AGE: Duration = Duration::from_secs(1);
/// In this time TCP finds out the new rate; the ages are shown apart.
const ONSET: Duration = Duration::from_secs(5);
/// From here on the agent's memory must not grow.
const SETTLED: Duration = Duration::from_secs(10);
/// What counts as flat: allocator noise.
const FLAT_KIB: u64 = 512;

/// Camera and agent on one side of a slow cable, gateway and viewer on the other.
struct Slow {
    agent: Agent,
    gateway: Gateway,
    camera: Camera,
    cable: Cable,
}

/// What the viewer saw while the link was throttled.
#[derive(Default)]
struct Seen {
    units: usize,
    torn: usize,
    missing_packets: u64,
    ages: Vec<Duration>,
    /// The oldest while TCP finds out the new rate.
    oldest_at_onset: Duration,
    /// The oldest of each ten seconds after that.
    oldest: Vec<Duration>,
    damaged: usize,
    rss_settled: u64,
    rss_end: u64,
    longest_pause: Duration,
}

fn arrange(dir: &TestDir, camera: &Simcam) -> Slow {
    let cable = Cable::new();
    let pki = Pki::new(dir);
    let client = pki.client("front");
    let camera = camera.start_on(dir, &cable);
    let mut config = GatewayConfig::new(&pki.leaf(Leaf::Good), CameraKey::Certificate(client.clone()));
    config.host = GATEWAY_IP.to_owned();
    let gateway = Gateway::start_on(dir, &config, &cable);
    let endpoint = format!("https://{GATEWAY_IP}:{}/onvif/uplink", gateway.uplink_port());
    let mut config = AgentConfig::new(&endpoint, &pki, &client).profile(camera.profile("main"));
    config.log_level = "info".to_owned();
    let agent = Agent::start_on(dir, &config, &cable);
    cable.at_gateway(|| gateway.wait_online("front", ONLINE_LIMIT));
    Slow {
        agent,
        gateway,
        camera,
        cable,
    }
}

/// Plays, throttles the link after a while, and looks at everything that arrives from then on. Every access unit of
/// the whole time goes to `record`.
fn watch(slow: &Slow, codec: Codec, record: &mut dyn FnMut(&Unit)) -> Seen {
    let url = slow.gateway.plain_url("front", "main");
    let options = Options::strict(&url, VIEWER, Duration::from_secs(20));
    let connected = slow.cable.at_gateway(|| Client::connect(options));
    let mut client = connected.expect("the gateway can be reached");
    client.describe().expect("DESCRIBE");
    client.setup_all().expect("SETUP");
    client.play().expect("PLAY");
    let (mut seen, mut depacketizer) = (Seen::default(), Depacketizer::new(codec));
    let (mut last_sequence, mut last_unit) = (None, Instant::now());
    let throttle_at = Instant::now() + OPEN;
    let end = throttle_at + THROTTLED;
    let mut throttled = false;
    loop {
        let now = Instant::now();
        if !throttled && now >= throttle_at {
            slow.cable.throttle(BITRATE / 2, QUEUE_MS);
            throttled = true;
        }
        if seen.rss_settled == 0 && now >= throttle_at + SETTLED {
            seen.rss_settled = stat::rss_kib(slow.agent.network_pid());
        }
        let deadline = if throttled { end } else { throttle_at };
        let Some(frame) = client.next_frame(deadline).expect("media goes on") else {
            if throttled {
                break;
            }
            continue;
        };
        if client.track_of(frame.channel) != Some(0) {
            continue;
        }
        let (header, payload) = Header::parse(&frame.data).expect("RTP");
        let missing = last_sequence.map_or(0, |last: u16| header.sequence.wrapping_sub(last).wrapping_sub(1));
        last_sequence = Some(header.sequence);
        seen.missing_packets += u64::from(missing);
        for unit in depacketizer.handle_payload(header.timestamp, header.marker, missing > 0, payload) {
            seen.torn += usize::from(unit.torn);
            record(&unit);
            if throttled {
                seen.units += 1;
                seen.longest_pause = seen.longest_pause.max(last_unit.elapsed());
                note_stamps(&mut seen, codec, &unit, throttle_at.elapsed());
            }
            last_unit = Instant::now();
        }
    }
    seen.rss_end = stat::rss_kib(slow.agent.network_pid());
    client.teardown().expect("TEARDOWN");
    seen
}

fn note_stamps(seen: &mut Seen, codec: Codec, unit: &Unit, since: Duration) {
    for stamp in unit.nals.iter().filter_map(|nal| read_stamp(codec, nal)) {
        seen.damaged += usize::from(!stamp.intact);
        let age = Duration::from_micros(now_us().saturating_sub(stamp.time_us));
        if since < ONSET {
            seen.oldest_at_onset = seen.oldest_at_onset.max(age);
            continue;
        }
        seen.ages.push(age);
        let ten = usize::try_from((since - ONSET).as_secs() / 10).unwrap_or_default();
        seen.oldest.resize(seen.oldest.len().max(ten + 1), Duration::ZERO);
        seen.oldest[ten] = seen.oldest[ten].max(age);
    }
}

/// The sum of all counts (not bytes) whose name has `drop` in it, wherever they are.
fn drops(value: &Value) -> u64 {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| match value.as_u64() {
                Some(count) if name.contains("drop") && !name.contains("bytes") => count,
                _ => drops(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(drops).sum(),
        _ => 0,
    }
}

#[track_caller]
fn assert_all_well(slow: &mut Slow, seen: &mut Seen) {
    let status = slow.cable.at_gateway(|| slow.gateway.agent_status("front"));
    let dropped = drops(&status["counters"]);
    seen.ages.sort();
    let age = |share: f64| {
        let index = (seen.ages.len() as f64 * share) as usize;
        seen.ages
            .get(index.min(seen.ages.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{} units arrived in {THROTTLED:?} of {} at half of {BITRATE} bit/s; {dropped} dropped as counted, {} packets \
         missing, {} torn; longest pause {:?}; agent RSS {} KiB after {SETTLED:?}, {} KiB at the end",
        seen.units,
        THROTTLED.as_secs() * 25,
        seen.missing_packets,
        seen.torn,
        seen.longest_pause,
        seen.rss_settled,
        seen.rss_end
    );
    if !seen.ages.is_empty() {
        println!(
            "age median {:?}, 95 % {:?}, most {:?} ({:?} by tens of seconds, {:?} in the first {ONSET:?})",
            age(0.5),
            age(0.95),
            age(1.0),
            seen.oldest,
            seen.oldest_at_onset
        );
    }
    assert!(
        dropped > 0,
        "nothing was dropped, or it was not counted: {status}"
    );
    assert!(
        seen.missing_packets > 0,
        "sequence numbers show no gap where units were dropped"
    );
    assert!(seen.units > 100, "hardly anything arrived: {} units", seen.units);
    assert_eq!(seen.torn, 0, "torn access units arrived");
    assert_eq!(seen.damaged, 0, "damaged pictures arrived");
    assert!(age(1.0) <= MAX_AGE, "media was {:?} old", age(1.0));
    assert!(
        seen.oldest_at_onset <= MAX_AGE,
        "media was {:?} old at first",
        seen.oldest_at_onset
    );
    assert!(
        seen.rss_end <= seen.rss_settled + FLAT_KIB,
        "{} then {} KiB",
        seen.rss_settled,
        seen.rss_end
    );
    slow.camera.wait_teardowns(1);
    slow.camera.wait_events("closed", 1, Duration::from_secs(10));
    assert_eq!(slow.camera.eagain_count(), 0, "the camera's socket was full");
    slow.agent.process.assert_running();
}

/// ffmpeg, which calls the codec `format`, has no word to say of what arrives.
fn decodes(codec: Codec, format: &str) {
    let dir = TestDir::new(&format!("throttle::{format}_decodes"));
    let mut slow = arrange(&dir, &Simcam::file(codec, BITRATE));
    let path = dir.join(&format!("arrived.{format}"));
    let mut file = File::create(&path).expect("a recording");
    let mut seen = watch(&slow, codec, &mut |unit| {
        for nal in &unit.nals {
            file.write_all(&[0, 0, 0, 1])
                .and_then(|()| file.write_all(nal))
                .expect("the recording");
        }
    });
    drop(file);
    assert_all_well(&mut slow, &mut seen);
    let said = players::decode_strictly(&dir, &path, format);
    assert_eq!(said, "", "ffmpeg complains about what arrived");
}

#[test]
fn h264_at_half_its_rate_decodes() {
    decodes(Codec::H264, "h264");
}

#[test]
fn h265_at_half_its_rate_decodes() {
    decodes(Codec::H265, "hevc");
}

#[test]
fn pictures_stay_fresh() {
    let dir = TestDir::new("throttle::fresh");
    let mut slow = arrange(&dir, &Simcam::synthetic(Codec::H264, BITRATE));
    let mut seen = watch(&slow, Codec::H264, &mut |_| {});
    assert!(seen.ages.len() > 100, "only {} stamped pictures", seen.ages.len());
    assert_all_well(&mut slow, &mut seen);
}
