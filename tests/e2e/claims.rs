//! `docs/gateway.md` with the camera's own program: from nothing to video, and a streamer that is killed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lenscap_tests::harness::process::{Process, START_LIMIT};
use lenscap_tests::harness::{Codec, Simcam, TestDir, discreet, players, tools, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// An agent asks again within 10 s of being told to wait, and back-off may add some.
const CLAIMED_LIMIT: Duration = Duration::from_secs(40);
/// Without a resume credential the agent goes back to the endpoint: its first delay is up to 2 s.
const TAKEN_OVER_LIMIT: Duration = Duration::from_secs(20);

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

/// The camera's program with these lines instead of a `config uplink` of the harness'.
fn agent(dir: &TestDir, uplink: &str, profile: &str) -> Process {
    let folder = dir.subdir("agent");
    let text = format!(
        "config agent\n\toption state_dir '{}'\n\toption run_dir '{}'\n\toption serial 'SN-0042'\n\
         {uplink}\nconfig profile 'main'\n\toption rtsp '{profile}'\n",
        folder.subdir("state").path().display(),
        folder.join("run").display(),
    );
    let mut command = Command::new(tools::own("lenscap"));
    command
        .arg("run")
        .arg("--config")
        .arg(folder.write("lenscap", text));
    Process::start(dir, "agent", &command)
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
    let agent = agent(&dir, line.trim(), &simcam.profile("main").rtsp);
    let pending = wait::until("the camera to wait", CLAIMED_LIMIT, || {
        Some(camera(&dir, &place, "SN-0042")).filter(|camera| !camera.is_null())
    });
    let fingerprint = pending["fingerprint"].as_str().unwrap();
    ask(
        &dir,
        &place,
        &format!("camera claim --fingerprint {fingerprint} --name porch"),
    );
    wait::until("the claimed camera to come", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "porch")["online"] == true).then_some(())
    });
    let password = viewer(&dir, &place);
    let rtsp = listening["rtsp"].as_str().unwrap();
    let played = players::ffmpeg(&dir, &format!("rtsp://carol:{password}@{rtsp}/porch/main"), 3);
    assert!(played.video > 40 && played.complaints.is_empty(), "{played:?}");

    ask(&dir, &place, "camera release porch");
    wait::until("the released camera to wait again", CLAIMED_LIMIT, || {
        (camera(&dir, &place, "SN-0042")["fingerprint"] == fingerprint).then_some(())
    });
    assert!(!gateway.log().contains(&password), "a password in the log");
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
    let join = |name: &str| {
        let section = format!(
            "[streamer]\nname = \"{name}\"\nendpoint = \"localhost:{port}\"\nendpoint_ca = \"{ca_file}\"\n"
        );
        member(&dir, &ca, name, &section).0
    };
    let streamers = [("s1", join("s1")), ("s2", join("s2"))];
    let mut endpoint = endpoint;
    for (name, _) in &streamers {
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
    let _agent = agent(&dir, &uplink, &simcam.profile("main").rtsp);
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
    let killed = streamers.iter().find(|(name, _)| *name == first).unwrap();
    kill(Pid::from_raw(killed.1.pid().try_into().unwrap()), Signal::SIGKILL).unwrap();
    let start = Instant::now();
    let second = wait::until("the camera at the other streamer", TAKEN_OVER_LIMIT, || {
        at(&first)
    });
    println!(
        "{first} killed; the camera is at {second} after {:?}",
        start.elapsed()
    );
    let played = players::ffprobe(&dir, &url, 1);
    assert!(played.video > 0, "{played:?}");
}
