//! `docs/gateway.md` with the camera's own program: from nothing to video, and a streamer that is killed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lenscap_tests::harness::process::{Process, START_LIMIT};
use lenscap_tests::harness::{Codec, Simcam, TestDir, discreet, players, tools, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// An agent asks again within 10 s of being told to wait, and back-off may add some.
const CLAIMED_LIMIT: Duration = Duration::from_secs(40);
/// From the death of a streamer's process to media from another, endpoint up or down.
const TAKEN_OVER_LIMIT: Duration = Duration::from_secs(5);

/// Runs a command of the gateway's; gives what it printed.
#[track_caller]
fn ask(dir: &TestDir, place: &[&str], words: &str) -> String {
    let mut command = Command::new(tools::own("lenscap-gateway"));
    command.args(words.split(' ')).args(place);
    Process::run(dir, "command", &command, START_LIMIT)
        .success(words)
        .stdout
}

fn camera(dir: &TestDir, place: &[&str], name: &str) -> Value {
    let list: Value = serde_json::from_str(&ask(dir, place, "camera list --json")).unwrap();
    let of = |kind: &str, key: &str| {
        let list = list[kind].as_array().unwrap();
        list.iter().find(|camera| camera[key] == name).cloned()
    };
    of("cameras", "name")
        .or(of("pending", "serial"))
        .unwrap_or_default()
}

/// Adds a viewer; gives its password.
#[track_caller]
fn viewer(dir: &TestDir, place: &[&str]) -> String {
    let added: Value = serde_json::from_str(&ask(dir, place, "viewer add carol --json")).unwrap();
    added["password"].as_str().unwrap().to_owned()
}

/// The configuration of the camera's program, with these lines instead of a `config uplink` of the harness'.
fn agent_config(dir: &TestDir, uplink: &str, profile: &str) -> PathBuf {
    let folder = dir.subdir("agent");
    let text = format!(
        "config agent\n\toption state_dir '{}'\n\toption run_dir '{}'\n\toption serial 'SN-0042'\n\
         {uplink}\nconfig profile 'main'\n\toption rtsp '{profile}'\n",
        folder.subdir("state").path().display(),
        folder.join("run").display(),
    );
    folder.write("lenscap", text)
}

fn agent(dir: &TestDir, config: &Path) -> Process {
    let mut command = Command::new(tools::own("lenscap"));
    command.arg("run").arg("--config").arg(config);
    Process::start(dir, "agent", &command)
}

/// Another command of the camera's program; gives what it printed.
#[track_caller]
fn on_camera(dir: &TestDir, config: &Path, words: &str) -> String {
    let mut command = Command::new(tools::own("lenscap"));
    command.args(words.split(' ')).arg("--config").arg(config);
    Process::run(dir, "on-camera", &command, START_LIMIT)
        .success(words)
        .stdout
}

/// Claims with the PIN that somebody types.
#[track_caller]
fn claim_by_pin(place: &[&str], pin: &str) {
    let mut child = Command::new(tools::own("lenscap-gateway"))
        .args(["camera", "claim", "--serial", "SN-0042", "--name", "porch"])
        .args(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{pin}").unwrap();
    let status = wait::until("the claim", START_LIMIT, || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

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
    let config = agent_config(&dir, line.trim(), &simcam.profile("main").rtsp);
    let label: Value = serde_json::from_str(&on_camera(&dir, &config, "enroll --json")).unwrap();
    let pin = label["pin"].as_str().unwrap();
    let agent = agent(&dir, &config);
    let pending = wait::until("the camera to wait", CLAIMED_LIMIT, || {
        Some(camera(&dir, &place, "SN-0042")).filter(|camera| !camera.is_null())
    });
    let fingerprint = pending["fingerprint"].as_str().unwrap();
    assert_eq!(pending["fingerprint"], label["fingerprint"]);
    assert_eq!(pending["pin"], true);
    claim_by_pin(&place, pin);
    wait::until("the claimed camera to come", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "porch")["online"] == true).then_some(())
    });
    let password = viewer(&dir, &place);
    let rtsp = listening["rtsp"].as_str().unwrap();
    let played = players::ffmpeg(&dir, &format!("rtsp://carol:{password}@{rtsp}/porch/main"), 3);
    assert!(played.video > 40 && played.complaints.is_empty(), "{played:?}");

    let obeys = || agent.log().contains("obeys an operator that knows its PIN");
    wait::until("the operator's key", CLAIMED_LIMIT, || obeys().then_some(()));

    ask(&dir, &place, "camera release porch");
    wait::until("the released camera to wait again", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "SN-0042")["fingerprint"] == fingerprint).then_some(())
    });
    wait::until("the camera to know", CLAIMED_LIMIT, || {
        agent.log().contains("was released by its operator").then_some(())
    });
    // The same label again, and then a reset at the device.
    wait::until("the proof of the PIN again", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "SN-0042")["pin"] == true).then_some(())
    });
    claim_by_pin(&place, pin);
    wait::until("the camera to come again", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "porch")["online"] == true).then_some(())
    });
    let kept = dir.join("agent/state/uplinks");
    wait::until("the camera to obey again", CLAIMED_LIMIT, || {
        std::fs::read_to_string(&kept)
            .unwrap_or_default()
            .contains(" 1 ")
            .then_some(())
    });
    // That it holds the key is known at its next coming.
    agent.signal(Signal::SIGTERM);
    drop(agent);
    let agent = self::agent(&dir, &config);
    wait::until("the camera after a restart", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "porch")["online"] == true).then_some(())
    });
    on_camera(&dir, &config, "enroll --reset");
    agent.signal(Signal::SIGHUP);
    wait::until("the reset camera to wait again", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "SN-0042")["fingerprint"] == fingerprint).then_some(())
    });
    let again: Value = serde_json::from_str(&on_camera(&dir, &config, "enroll --json")).unwrap();
    assert_eq!(again, label, "the label stays true");
    for log in [gateway.log(), agent.log()] {
        assert!(
            !log.contains(&password) && !log.contains(pin),
            "a password or PIN in the log"
        );
    }
    discreet::assert_discreet("gateway", &gateway.stderr_text());
    drop(agent);
}

/// A gateway of the fleet with a certificate by the endpoint's CA.
fn member(dir: &TestDir, ca: &Path, name: &str, section: &str) -> (Process, String, Value) {
    let folder = dir.subdir(name);
    let out = folder.join("gateway").display().to_string();
    ask(
        dir,
        &["--data", &ca.display().to_string()],
        &format!("ca issue localhost --out {out}"),
    );
    folder.write_secret("join.token", "join-token-0123456789");
    let text = format!(
        "data = \"data\"\n[uplink]\nlisten = \"127.0.0.1:0\"\ncert = \"gateway.pem\"\nkey = \"gateway.key\"\n\
         [rtsp]\nlisten = \"127.0.0.1:0\"\n{section}uplink_url = \"https://localhost:0/onvif/uplink\"\n\
         rtsp_url = \"rtsp://localhost:0\"\njoin_token_file = \"join.token\"\n"
    );
    let config = folder.write("gateway.toml", text).display().to_string();
    let mut command = Command::new(tools::own("lenscap-gateway"));
    command.args(["run", "--config", &config]);
    let mut process = Process::start(dir, name, &command);
    let listening = process.wait_event("listening", START_LIMIT);
    (process, config, listening)
}

#[test]
fn a_killed_streamers_camera_is_at_the_other_one() {
    let dir = TestDir::new("claims::a_killed_streamer");
    let ca = dir.join("ca");
    ask(&dir, &["--data", &ca.display().to_string()], "ca init");
    let (endpoint, config, listening) = member(&dir, &ca, "endpoint", "[endpoint]\ncapacity = 0\n");
    let place = ["--config", config.as_str()];
    let port = listening["uplink"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let ca_file = ca.join("ca.pem").display().to_string();
    let join = |name: &'static str| {
        let section = format!(
            "[streamer]\nname = \"{name}\"\nendpoint = \"localhost:{port}\"\nendpoint_ca = \"{ca_file}\"\n"
        );
        let (process, _, listening) = member(&dir, &ca, name, &section);
        let rtsp = listening["rtsp"].as_str().unwrap().to_owned();
        (name, process, rtsp)
    };
    let mut streamers = ["s1", "s2", "s3"].map(join);
    let mut endpoint = endpoint;
    for (name, ..) in &streamers {
        endpoint.wait_log("a streamer", START_LIMIT, |line| {
            line.contains("streamer joined") && line.contains(name)
        });
    }
    dir.write("list.csv", "serial,name\nSN-0042,porch\n");
    ask(
        &dir,
        &place,
        &format!("camera import {}", dir.join("list.csv").display()),
    );
    let uplink = format!(
        "config uplink 'main'\n\toption endpoint 'https://localhost:{port}/onvif/uplink'\n\
         \tlist redirect_to 'localhost'\n\toption ca_file '{ca_file}'"
    );
    let simcam = Simcam::playing(Codec::H264).auth("none").start(&dir);
    let config = agent_config(&dir, &uplink, &simcam.profile("main").rtsp);
    let _agent = agent(&dir, &config);
    let at = |not: &str| {
        let camera = camera(&dir, &place, "porch");
        camera["streamer"]
            .as_str()
            .filter(|name| *name != not)
            .map(str::to_owned)
    };
    let first = wait::until("the camera at a streamer", CLAIMED_LIMIT, || at(""));
    let password = viewer(&dir, &place);
    let rtsp = listening["rtsp"].as_str().unwrap();
    // Led on by the endpoint's 302.
    let url = format!("rtsp://carol:{password}@{rtsp}/porch/main");
    assert!(players::ffprobe(&dir, &url, 1).video > 0);
    let mut kill_streamer = |name: &str| {
        let killed = streamers.iter_mut().find(|(known, ..)| *known == name).unwrap();
        killed.1.kill();
        Instant::now()
    };
    let killed_at = kill_streamer(&first);
    let second = wait::until("the camera at another streamer", TAKEN_OVER_LIMIT, || at(&first));
    println!(
        "{first} killed; the camera is at {second} after {:?}",
        killed_at.elapsed()
    );
    let played = players::ffprobe(&dir, &url, 1);
    assert!(played.video > 0, "{played:?}");

    // The same without an endpoint.
    endpoint.kill();
    let killed_at = kill_streamer(&second);
    let (name, left, rtsp) = streamers
        .iter_mut()
        .find(|(name, ..)| **name != first && **name != second)
        .unwrap();
    let came = || left.log().contains("uplink up").then_some(());
    wait::until("the camera at the last streamer", TAKEN_OVER_LIMIT, came);
    println!(
        "endpoint and {second} killed; the camera is at {name} after {:?}",
        killed_at.elapsed()
    );
    let played = players::ffprobe(&dir, &format!("rtsp://carol:{password}@{rtsp}/porch/main"), 1);
    assert!(played.video > 0, "{played:?}");
}
