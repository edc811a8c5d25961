//! Of real video: agent and monitor on the camera's side of a cable, gateway and viewer on the other. The account that the
//! monitor's own jobs keep of the uplink goes through the gateway's IPFIX into nfcapd, and is what tcpdump counted.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lenscap_tests::harness::gateway::ONLINE_LIMIT;
use lenscap_tests::harness::netns::{Cable, GATEWAY_IP};
use lenscap_tests::harness::{Agent, AgentConfig, Codec, Pki, Simcam, TestDir, media, players, tools, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    FAMILIES, LIMIT, Sum, assert_close, assert_explained, counted_by_nfdump, counted_by_tcpdump,
    end_counting, start_gateway, start_nfcapd, start_tcpdump, track_connections,
};
use crate::support::play_seconds;

/// Bit rate of the video.
const BITRATE: u64 = 3_000_000;
/// Of the pictures and the bytes that the time allows, the share that must have passed: a viewer loses some while it starts.
const SHARE: f64 = 0.9;
/// How often the monitor looks. Video that is as long is looked at in its midst.
const SAMPLE_SECONDS: u64 = 60;
/// The second look may have to wait for the audit that the first one went before.
const FLOWS_LIMIT: Duration = Duration::from_secs(240);

/// What both sides say of the uplink's connection.
struct Carried {
    tcpdump: PathBuf,
    nfcapd: PathBuf,
    port: u16,
    seconds: u64,
    /// The gateway's word on the flows, of a look after the end of the video.
    flows: Value,
}

impl Carried {
    /// To the gateway's port, or from it.
    fn by_tcpdump(&self, way: &str) -> Sum {
        // The uplink is used after the look too, if only to ask for the flows.
        let looked = Duration::from_millis(self.flows["time_ms"].as_u64().unwrap());
        counted_by_tcpdump(
            &self.tcpdump,
            &format!("ip && tcp.{way}port == {}", self.port),
            looked,
        )
    }

    fn record(&self) -> &Value {
        let flows = self.flows["flows"].as_array().unwrap();
        let of_it = |flow: &&Value| flow["port"] == self.port && flow["peer"] == GATEWAY_IP;
        flows.iter().find(of_it).unwrap()
    }
}

fn carry(test: &str, with_conntrack: bool) -> Carried {
    let dir = TestDir::new(test);
    let cable = Cable::new();
    cable.send_single_segments();
    if with_conntrack {
        track_connections(&cable);
    }
    let nfcapd_dir = dir.subdir("nfcapd").path().to_owned();
    let mut nfcapd = start_nfcapd(&dir, &cable, &nfcapd_dir);
    let pki = Pki::new(&dir);
    let client = pki.client("front");
    let camera = Simcam::file(Codec::H264, BITRATE).start_on(&dir, &cable);
    let gateway = start_gateway(&dir, &cable, &pki, &client);
    let port = gateway.uplink_port();
    let tcpdump_file = dir.join("tcpdump.pcap");
    // Before the camera dials: an account begins with its connection.
    let mut tcpdump = start_tcpdump(&dir, &cable, &tcpdump_file, &format!("tcp port {port}"));

    let seconds = play_seconds();
    let endpoint = format!("https://{GATEWAY_IP}:{port}/onvif/uplink");
    let mut config = AgentConfig::new(&endpoint, &pki, &client).profile(camera.profile("main"));
    config.reports = seconds >= SAMPLE_SECONDS;
    let agent = Agent::start_on(&dir, &config, &cable);
    cable.at_gateway(|| gateway.wait_online("front", ONLINE_LIMIT));
    let played = players::ffmpeg_on(&dir, &gateway.viewer_url("front", "main"), seconds, &cable);
    println!("{} pictures in {seconds} s", played.video);
    assert!(played.video as f64 >= (media::FPS * seconds) as f64 * SHARE);
    assert_eq!(played.complaints, "", "ffmpeg saw an error");
    camera.wait_teardowns(1);
    let ended = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    if !config.reports {
        // The first look is some seconds after reports are switched on, all others a minute apart.
        config.reports = true;
        config.write(&dir);
        agent.process.signal(Signal::SIGHUP);
    }

    let flows = || {
        let answer = cable.at_gateway(|| gateway.get("/cameras/front/flows"));
        (answer.status == 200).then(|| answer.json())
    };
    let flows_after = wait::until("a look after the video, at the gateway", FLOWS_LIMIT, || {
        flows().filter(|flows| flows["time_ms"].as_u64().map(u128::from) >= Some(ended.as_millis()))
    });
    // What a gateway shows it exports before it asks again.
    wait::until("the gateway asks again", LIMIT, || {
        flows().filter(|again| again["received_s"] != flows_after["received_s"])
    });
    end_counting(&mut tcpdump, &mut nfcapd);
    Carried {
        tcpdump: tcpdump_file,
        nfcapd: nfcapd_dir,
        port,
        seconds,
        flows: flows_after,
    }
}

#[track_caller]
fn assert_counted(carried: &Carried, source: &str) {
    let video = BITRATE as f64 / 8.0 * carried.seconds as f64;
    let out = carried.by_tcpdump("dst");
    assert!(
        out.bytes as f64 >= video * SHARE,
        "{out:?} is no video of {} s",
        carried.seconds
    );
    for way in ["dst", "src"] {
        let filter = format!(
            "{} and proto tcp and {way} port {}",
            FAMILIES[0].nfdump, carried.port
        );
        assert_close(
            &format!("uplink {way}, by {source}"),
            counted_by_nfdump(&carried.nfcapd, &filter),
            carried.by_tcpdump(way),
        );
    }
    let record = carried.record();
    assert_eq!(
        (&record["source"], &record["direction"], &record["connections"]),
        (&source.into(), &"out".into(), &1.into())
    );
    // Names are cut to 64 bytes.
    let program = tools::own("lenscap").display().to_string();
    assert!(
        program.starts_with(record["program"].as_str().unwrap()),
        "{record}"
    );
    println!("{} looks at it", carried.flows["samples"]);
    if carried.flows["samples"].as_u64() > Some(1) {
        assert_explained(&carried.flows);
    }
}

/// As on nearly all cameras: no connection tracking, the kernel's own account of the socket (INET_DIAG).
#[test]
fn video_is_counted_by_its_socket_as_tcpdump_counts_it() {
    assert_counted(&carry("flows::video_diag", false), "tcp_info");
}

#[test]
fn video_is_counted_by_connection_tracking_as_tcpdump_counts_it() {
    assert_counted(&carry("flows::video_conntrack", true), "conntrack");
}
