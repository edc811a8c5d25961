//! Nothing that must stay secret, and no address, where others can read it.

use std::fs;

use lenscap_tests::harness::camera::{PASSWORD, USER};
use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::discreet::{assert_discreet, assert_no_secret, is_loud};
use lenscap_tests::harness::gateway::{CameraKey, Gateway, GatewayConfig, ONLINE_LIMIT};
use lenscap_tests::harness::tls_server::{Script, ScriptedServer};
use lenscap_tests::harness::{Agent, AgentConfig, Codec, Pki, Simcam, TestDir, players, stat};
use nix::sys::signal::Signal;

const TOKEN: &str = "Uplink-Token-c2d94e6a";
const TICKET: &str = "Ticket-0a71be35";

struct Run {
    agent_log: String,
    gateway_log: String,
    agent_cmdline: String,
    gateway_cmdline: String,
}

/// One run with everything that could leak: token, redirect with a ticket, camera and viewer passwords, failures.
fn run(test: &str, log_level: &str) -> Run {
    let dir = TestDir::new(test);
    let pki = Pki::new(&dir);
    let leaf = pki.leaf(Leaf::Good);
    let gateway = Gateway::start(
        &dir,
        &GatewayConfig::new(&leaf, CameraKey::Token(TOKEN.to_owned())),
    );
    let target = format!("{}?ticket={TICKET}", gateway.endpoint());
    let endpoint = ScriptedServer::start(&leaf, move |_| {
        Script::status("307 Temporary Redirect", &format!("Location: {target}\r\n"))
    });
    let camera = Simcam::playing(Codec::H264).snapshot().start(&dir);
    let mut config = AgentConfig::new(&endpoint.endpoint("localhost"), &pki, &pki.client("front"))
        .token(TOKEN)
        .profile(camera.profile("main"));
    config.redirect_to = vec!["localhost".to_owned()];
    config.log_level = log_level.to_owned();
    let mut absent = camera.profile("absent");
    absent.rtsp = format!("rtsp://{USER}:{PASSWORD}@127.0.0.1:9/stream");
    absent.login = None;
    config.profiles.push(absent);
    let mut agent = Agent::start(&dir, &config);
    gateway.wait_online("front", ONLINE_LIMIT);

    players::ffprobe(&dir, &gateway.viewer_url("front", "main"), 2);
    camera.wait_teardowns(1);
    assert_eq!(gateway.get("/cameras/front/main.jpg").status, 200);
    let mut failing = std::process::Command::new(lenscap_tests::harness::tools::outside("ffprobe"));
    failing.args([
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        &gateway.viewer_url("front", "absent"),
    ]);
    let refused = lenscap_tests::harness::Process::run(
        &dir,
        "ffprobe-absent",
        &failing,
        std::time::Duration::from_secs(40),
    );
    assert!(!refused.status.success());
    agent.process.signal(Signal::SIGUSR1);
    agent.process.signal(Signal::SIGHUP);
    gateway.wait_online("front", ONLINE_LIMIT);
    let of_agent = |read: fn(u32) -> String| agent.pids().into_iter().map(read).collect::<String>();
    let (agent_cmdline, gateway_cmdline) = (of_agent(stat::cmdline), stat::cmdline(gateway.process.pid()));
    let environment = of_agent(stat::environ) + &stat::environ(gateway.process.pid());
    assert_no_secret("the environment", &environment);
    agent.stop();
    assert_private_files(&dir);
    Run {
        agent_log: agent.process.log(),
        gateway_log: gateway.process.stderr_text(),
        agent_cmdline,
        gateway_cmdline,
    }
}

#[test]
fn never_in_logs_or_command_lines() {
    let run = run("secrets::trace", "trace");
    assert!(run.agent_log.len() > 1000, "a log at level trace says something");
    assert_no_secret("the agent's log", &run.agent_log);
    assert_no_secret("the gateway's log", &run.gateway_log);
    assert_no_secret("the agent's command line", &run.agent_cmdline);
    assert_no_secret("the gateway's command line", &run.gateway_cmdline);
}

#[test]
fn no_address_above_debug() {
    let run = run("secrets::addresses", "trace");
    for (who, log) in [("agent", &run.agent_log), ("gateway", &run.gateway_log)] {
        assert!(log.lines().any(is_loud), "the {who} says nothing at INFO\n{log}");
        assert_discreet(who, log);
    }
}

/// The files the programs themselves wrote into their state folder are for their owner alone.
#[track_caller]
fn assert_private_files(dir: &TestDir) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(files) = fs::read_dir(dir.join("agent/state")) else {
        return;
    };
    for file in files.filter_map(Result::ok) {
        let name = file.file_name().to_string_lossy().into_owned();
        let content = fs::read(file.path()).unwrap_or_default();
        if String::from_utf8_lossy(&content).contains("PRIVATE KEY") || name.contains("key") {
            let mode = file.metadata().expect("the file is there").permissions().mode() & 0o077;
            assert_eq!(mode, 0, "{name} is readable by others");
        }
    }
}
