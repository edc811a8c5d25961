//! `docs/gateway.md` with the camera's own program: from nothing to video, a streamer that is killed, and a fleet that
//! loses its power.

use std::process::Command;
use std::time::{Duration, Instant};

use lenscap_tests::harness::fleet::{
    CLAIMED_LIMIT, Fleet, JOIN_TOKEN, Member, VIEWER, add_viewer, ask, camera, camera_config, camera_program,
    claim_by_pin, on_camera,
};
use lenscap_tests::harness::gateway::{BACK_LIMIT, port_of};
use lenscap_tests::harness::netns::Cable;
use lenscap_tests::harness::process::{Process, START_LIMIT};
use lenscap_tests::harness::{Codec, Simcam, TestDir, discreet, players, tools, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// From the death of a streamer's process to media from another, endpoint up or down.
const TAKEN_OVER_LIMIT: Duration = Duration::from_secs(5);
/// Watched across the death of the endpoint for so long.
const WATCHED_SECONDS: u64 = 8;
/// From its silence.
const SILENT_LIMIT: Duration = Duration::from_secs(35);

/// How tickets, credentials and playback addresses begin: `{"v":1` in base64.
const SEALED: &str = "eyJ2Ijox";

#[test]
fn from_nothing_to_video() {
    let dir = TestDir::new("claims::from_nothing_to_video");
    let data = dir.join("data").display().to_string();
    let place = ["--data", data.as_str()];
    let any = "127.0.0.1:0";
    let mut command = Command::new(tools::own("lenscap-gateway"));
    command
        .args(["run", "--host", "localhost", "--log-level", "debug"])
        .args(place);
    command.args([
        "--uplink-listen",
        any,
        "--rtsp-listen",
        any,
        "--rtsps-listen",
        any,
        "--http-listen",
        any,
    ]);
    let mut gateway = Process::start(&dir, "gateway", &command);
    let listening = gateway.wait_event("listening", START_LIMIT);
    let line = gateway.wait_log("the line for a camera", START_LIMIT, |line| {
        line.contains("config uplink 'main'")
    });

    let simcam = Simcam::playing(Codec::H264).auth("none").start(&dir);
    let config = camera_config(&dir, "SN-0042", line.trim(), &simcam.profile("main").rtsp);
    let label: Value = serde_json::from_str(&on_camera(&config, "enroll --json")).unwrap();
    let pin = label["pin"].as_str().unwrap();
    let agent = camera_program(&dir, &config);
    let pending = wait::until("the camera to wait", CLAIMED_LIMIT, || {
        Some(camera(&place, "SN-0042")).filter(|camera| !camera.is_null())
    });
    let fingerprint = pending["fingerprint"].as_str().unwrap();
    assert_eq!(pending["fingerprint"], label["fingerprint"]);
    assert_eq!(pending["pin"], true);
    claim_by_pin(&place, "SN-0042", "porch", pin);
    wait::until("the claimed camera to come", CLAIMED_LIMIT, || {
        (camera(&place, "porch")["online"] == true).then_some(())
    });
    let password = add_viewer(&place, " --account home");
    let rtsp = listening["rtsp"].as_str().unwrap();
    let played = players::ffmpeg(&dir, &format!("rtsp://{VIEWER}:{password}@{rtsp}/porch/main"), 3);
    assert!(played.video > 40 && played.complaints.is_empty(), "{played:?}");

    let obeys = || agent.log().contains("obeys an operator that knows its PIN");
    wait::until("the operator's key", CLAIMED_LIMIT, || obeys().then_some(()));

    ask(&place, "camera release porch");
    wait::until("the released camera to wait again", CLAIMED_LIMIT, || {
        (camera(&place, "SN-0042")["fingerprint"] == fingerprint).then_some(())
    });
    wait::until("the camera to know", CLAIMED_LIMIT, || {
        agent.log().contains("was released by its operator").then_some(())
    });
    // The same label again, and then a reset at the device.
    wait::until("the proof of the PIN again", CLAIMED_LIMIT, || {
        (camera(&place, "SN-0042")["pin"] == true).then_some(())
    });
    claim_by_pin(&place, "SN-0042", "porch", pin);
    wait::until("the camera to come again", CLAIMED_LIMIT, || {
        (camera(&place, "porch")["online"] == true).then_some(())
    });
    let kept = dir.join("agent/state/uplinks");
    let obeys = || {
        let kept = std::fs::read_to_string(&kept).unwrap_or_default();
        kept.contains(" 1 ").then_some(())
    };
    let claim_again = || {
        wait::until("the proof of the PIN once more", CLAIMED_LIMIT, || {
            (camera(&place, "SN-0042")["pin"] == true).then_some(())
        });
        claim_by_pin(&place, "SN-0042", "porch", pin);
        wait::until("the camera to come once more", CLAIMED_LIMIT, || {
            (camera(&place, "porch")["online"] == true).then_some(())
        });
        wait::until("the camera to obey once more", CLAIMED_LIMIT, obeys);
    };
    let ends = |how: &str| {
        wait::until(
            &format!("the camera that was reset {how} to wait"),
            CLAIMED_LIMIT,
            || (camera(&place, "SN-0042")["fingerprint"] == fingerprint).then_some(()),
        );
        assert_eq!(camera(&place, "porch"), Value::Null, "{how}");
        assert!(obeys().is_none(), "{how}: nobody's key was handed out again");
        let again: Value = serde_json::from_str(&on_camera(&config, "enroll --json")).unwrap();
        assert_eq!(again, label, "the label stays true");
    };
    let url = format!("rtsp://{VIEWER}:{password}@{rtsp}/porch/main");
    wait::until("the camera to obey again", CLAIMED_LIMIT, obeys);
    assert!(players::ffprobe(&dir, &url, 1).video > 0);
    // On the uplink of the claim, twice; the second time the camera shows a reset when it is claimed, too.
    for how in ["on its first uplink", "on its first uplink once more"] {
        on_camera(&config, "enroll --reset");
        agent.signal(Signal::SIGHUP);
        ends(how);
        let refused = Command::new(tools::outside("ffprobe"))
            .args(["-v", "error", "-rtsp_transport", "tcp", &url])
            .output()
            .unwrap();
        assert!(!refused.status.success(), "the owner before watches, {how}");
        claim_again();
    }
    agent.signal(Signal::SIGTERM);
    drop(agent);
    on_camera(&config, "enroll --reset");
    let agent = camera_program(&dir, &config);
    ends("while it was stopped");
    claim_again();
    // Restarts in between change nothing.
    agent.signal(Signal::SIGTERM);
    drop(agent);
    let agent = camera_program(&dir, &config);
    wait::until("the camera after a restart", CLAIMED_LIMIT, || {
        (camera(&place, "porch")["online"] == true).then_some(())
    });
    on_camera(&config, "enroll --reset");
    agent.signal(Signal::SIGHUP);
    ends("after a restart");
    for log in [gateway.log(), agent.log()] {
        assert!(
            !log.contains(&password) && !log.contains(pin),
            "a password or PIN in the log"
        );
    }
    discreet::assert_discreet("gateway", &gateway.stderr_text());
    drop(agent);
}

/// A streamer's host whose packets are dropped, both ways and without a word: nobody closes anything. In a network of its
/// own, where a rule of the packet filter harms nobody else.
#[test]
fn a_silent_streamers_camera_is_back_within_35_seconds() {
    let dir = TestDir::new("claims::a_silent_streamer");
    let cable = Cable::new();
    cable.at_camera(|| {
        let fleet = Fleet::start(&dir, &["s1", "s2"]);
        fleet.import("SN-0042,porch\n");
        let simcam = Simcam::playing(Codec::H264).auth("none").start(&dir);
        let uplink = fleet.uplink_section();
        let config = camera_config(&dir, "SN-0042", &uplink, &simcam.profile("main").rtsp);
        let _agent = camera_program(&dir, &config);
        let first = wait::until("the camera at a streamer", CLAIMED_LIMIT, || {
            fleet.streamer_of("porch", "")
        });
        let password = fleet.add_viewer();
        let by_name = |is: bool| fleet.streamers.iter().find(|known| (known.name() == first) == is);
        let (silent, other) = (by_name(true).unwrap(), by_name(false).unwrap());
        // So that the camera has heard of it just now.
        let url = |at: &Member| format!("rtsp://{VIEWER}:{password}@{}/porch/main", at.rtsp);
        assert!(players::ffprobe(&dir, &url(silent), 1).video > 0);
        drop_packets(port_of(&silent.uplink));
        let since = Instant::now();
        let place = ["--config", &other.config()];
        wait::until("the camera at the other streamer", SILENT_LIMIT, || {
            (camera(&place, "porch")["online"] == true).then_some(())
        });
        println!(
            "{first} silent; the camera is at {} after {:?}",
            other.name(),
            since.elapsed()
        );
        assert!(players::ffprobe(&dir, &url(other), 1).video > 0);
    });
}

/// Drops what goes to this port and what comes from it, in the network that this thread is in.
fn drop_packets(port: u16) {
    let rules = format!(
        "add table inet silent; add chain inet silent into {{ type filter hook input priority 0; }}; \
         add rule inet silent into tcp dport {port} drop; add rule inet silent into tcp sport {port} drop"
    );
    let output = Command::new(tools::outside("nft")).arg(rules).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_killed_streamers_camera_is_at_the_other_one() {
    let dir = TestDir::new("claims::a_killed_streamer");
    let mut fleet = Fleet::start_logging(&dir, &["s1", "s2", "s3"], "trace");
    fleet.import("SN-0042,porch\n");
    let simcam = Simcam::playing(Codec::H264).auth("none").start(&dir);
    let config = camera_config(
        &dir,
        "SN-0042",
        &fleet.uplink_section(),
        &simcam.profile("main").rtsp,
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("config agent\n", "config agent\n\toption log_level 'trace'\n");
    std::fs::write(&config, text).unwrap();
    let agent = camera_program(&dir, &config);
    let first = wait::until("the camera at a streamer", CLAIMED_LIMIT, || {
        fleet.streamer_of("porch", "")
    });
    let password = fleet.add_viewer();
    // Led on by the endpoint's 302.
    let url = format!("rtsp://{VIEWER}:{password}@{}/porch/main", fleet.endpoint.rtsp);
    assert!(players::ffprobe(&dir, &url, 1).video > 0);
    let kill_streamer = |fleet: &mut Fleet, name: &str| {
        let killed = fleet.streamers.iter_mut().find(|known| known.name() == name);
        killed.unwrap().kill();
        Instant::now()
    };
    let killed_at = kill_streamer(&mut fleet, &first);
    let second = wait::until("the camera at another streamer", TAKEN_OVER_LIMIT, || {
        fleet.streamer_of("porch", &first)
    });
    println!(
        "{first} killed; the camera is at {second} after {:?}",
        killed_at.elapsed()
    );
    let played = players::ffprobe(&dir, &url, 1);
    assert!(played.video > 0, "{played:?}");

    // The endpoint is killed while somebody watches, who sees nothing of it.
    let at = fleet
        .streamers
        .iter()
        .find(|known| known.name() == second)
        .unwrap();
    let (config, rtsp) = (at.config(), at.rtsp.clone());
    let watching = || {
        let views: Value = serde_json::from_str(&ask(&["--config", &config], "views --json")).unwrap();
        let views = views.as_array().unwrap().iter();
        views.filter(|view| view["ended"].is_null()).count() > 0
    };
    wait::until("the viewers before to have ended", START_LIMIT, || {
        (!watching()).then_some(())
    });
    let watched = std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let url = format!("rtsp://{rtsp}/porch/main");
            players::rtp_sink(&dir, &url, (VIEWER, &password), WATCHED_SECONDS)
        });
        wait::until("somebody who watches", START_LIMIT, || watching().then_some(()));
        fleet.endpoint.kill();
        watched.join().unwrap()
    });
    // 25 pictures a second.
    assert!(watched.video > WATCHED_SECONDS * 25 * 9 / 10, "{watched:?}");
    assert_eq!((watched.gaps, watched.torn), (0, 0), "{watched:?}");
    println!(
        "endpoint killed: {} pictures in {WATCHED_SECONDS} s, none missing",
        watched.video
    );

    // The same without an endpoint.
    let killed_at = kill_streamer(&mut fleet, &second);
    let left = fleet
        .streamers
        .iter()
        .find(|known| known.name() != first && known.name() != second);
    let left = left.unwrap();
    let came = || left.process.log().contains("uplink up").then_some(());
    wait::until("the camera at the last streamer", TAKEN_OVER_LIMIT, came);
    println!(
        "endpoint and {second} killed; the camera is at {} after {:?}",
        left.name(),
        killed_at.elapsed()
    );
    let played = players::ffprobe(
        &dir,
        &format!("rtsp://{VIEWER}:{password}@{}/porch/main", left.rtsp),
        1,
    );
    assert!(played.video > 0, "{played:?}");

    // By then each has seen tickets, credentials, passwords and the token for streamers.
    let kept = std::fs::read_to_string(dir.join("agent/state/uplinks")).unwrap();
    assert!(kept.contains(SEALED), "{kept}");
    let members = fleet.streamers.iter().chain([&fleet.endpoint]);
    let mut logs: Vec<(&str, String)> = members
        .map(|member| (member.name(), member.process.stderr_text()))
        .collect();
    logs.push(("agent", agent.log()));
    for (who, log) in logs {
        assert!(log.len() > 1000, "{who} says something at level trace");
        // The endpoint has nothing to say at TRACE itself.
        assert!(who == "agent" || log.contains("DEBUG"), "{who} is not so loud");
        discreet::assert_discreet(who, &log);
        for secret in [SEALED, JOIN_TOKEN, &password] {
            assert!(!log.contains(secret), "{secret} is in the log of {who}");
        }
    }
}

/// The endpoint carries no camera and sees them only on their way to streamers. What was claimed there is nobody's after a
/// reset, and can be claimed again with its label.
#[test]
fn a_reset_ends_a_claim_that_streamers_carry() {
    let dir = TestDir::new("claims::a_reset_at_streamers");
    let fleet = Fleet::start(&dir, &["s1", "s2"]);
    let endpoint = fleet.endpoint.config();
    let place = ["--config", endpoint.as_str()];
    let simcam = Simcam::playing(Codec::H264).auth("none").start(&dir);
    let section = fleet.uplink_section();
    let config = camera_config(&dir, "SN-0042", &section, &simcam.profile("main").rtsp);
    let label: Value = serde_json::from_str(&on_camera(&config, "enroll --json")).unwrap();
    let pin = label["pin"].as_str().unwrap();
    let agent = camera_program(&dir, &config);
    let claim = || {
        wait::until("the camera to wait", CLAIMED_LIMIT, || {
            (camera(&place, "SN-0042")["pin"] == true).then_some(())
        });
        claim_by_pin(&place, "SN-0042", "porch", pin);
        wait::until("the camera at a streamer", CLAIMED_LIMIT, || {
            fleet.streamer_of("porch", "")
        })
    };
    let reset = |how: &str| {
        on_camera(&config, "enroll --reset");
        agent.signal(Signal::SIGHUP);
        wait::until(
            &format!("the camera to wait after a reset {how}"),
            CLAIMED_LIMIT,
            || (camera(&place, "SN-0042")["fingerprint"] == label["fingerprint"]).then_some(()),
        );
        assert_eq!(camera(&place, "porch"), Value::Null, "{how}");
        for streamer in &fleet.streamers {
            let place = ["--config", &streamer.config()];
            wait::until(
                &format!("its end at {}, {how}", streamer.name()),
                CLAIMED_LIMIT,
                || (camera(&place, "porch")["online"] != true).then_some(()),
            );
        }
    };
    claim();
    reset("on its first uplink");
    let at = claim();
    let other = if at == "s1" { "s2" } else { "s1" };
    fleet.ask(&format!("camera move porch --streamer {other}"));
    wait::until("the camera at the other streamer", CLAIMED_LIMIT, || {
        fleet.streamer_of("porch", &at)
    });
    reset("after a move");
    claim();
}

/// A power cut of the whole fleet. Whichever of its machines is up first, every camera is back, and plays.
#[test]
fn everything_killed_comes_back_in_every_order() {
    let dir = TestDir::new("claims::everything_killed");
    let mut fleet = Fleet::start(&dir, &["s1", "s2"]);
    let names = ["porch", "yard", "hall"];
    let lines = names.map(|name| format!("SN-{name},{name}\n"));
    fleet.import(&lines.concat());
    let simcam = Simcam::playing(Codec::H264).auth("none").start(&dir);
    let _agents = names.map(|name| {
        let dir = dir.subdir(name);
        let serial = format!("SN-{name}");
        let config = camera_config(
            &dir,
            &serial,
            &fleet.uplink_section(),
            &simcam.profile("main").rtsp,
        );
        camera_program(&dir, &config)
    });
    let password = fleet.add_viewer();
    let all_play = |fleet: &Fleet, when: &str| {
        for name in names {
            wait::until(&format!("{name} online, {when}"), BACK_LIMIT, || {
                (fleet.camera(name)["online"] == true).then_some(())
            });
            let url = format!("rtsp://{VIEWER}:{password}@{}/{name}/main", fleet.endpoint.rtsp);
            let played = players::ffprobe(&dir, &url, 1);
            assert!(played.video > 0, "{name}, {when}: {played:?}");
        }
    };
    all_play(&fleet, "at first");
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        fleet.endpoint.kill();
        fleet.streamers.iter_mut().for_each(Member::kill);
        let began = Instant::now();
        for member in order {
            match member {
                0 => fleet.endpoint.start_again(),
                streamer => fleet.streamers[streamer - 1].start_again(),
            }
        }
        all_play(&fleet, &format!("order {order:?} (0: the endpoint)"));
        println!(
            "order {order:?}: all are back and play after {:?}",
            began.elapsed()
        );
    }
}
