//! Signals, restarts, quiet hours, and a reverse proxy in between.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::gateway::{BACK_LIMIT, CameraKey, Gateway, GatewayConfig, ONLINE_LIMIT, port_of};
use lenscap_tests::harness::process::START_LIMIT;
use lenscap_tests::harness::{
    Agent, AgentConfig, Codec, Pki, Process, Simcam, Stand, TestDir, players, stat, tools, wait,
};
use nix::sys::signal::Signal;

use crate::support::{LOG_LIMIT, agent_says, some_profile};

/// How long the idle agent is watched, and how often it may wake in that time (6 a minute).
const IDLE_WATCH: Duration = Duration::from_secs(60);
const MAX_IDLE_WAKEUPS: u64 = 6;

fn stand(test: &str) -> Stand {
    let dir = TestDir::new(test);
    let camera = Simcam::playing(Codec::H264).snapshot().start(&dir);
    Stand::new(&dir, camera)
}

/// A viewer that plays until it is told to stop.
fn endless_viewer(stand: &Stand) -> Process {
    let mut command = players::ffmpeg_of(&stand.url());
    command.args(["-map", "0", "-c", "copy", "-f", "null"]);
    command.args(["-progress", "pipe:1", "-stats_period", "0.2", "-"]);
    let mut viewer = Process::start(&stand.dir, "viewer", &command);
    viewer.wait_log("frames", Duration::from_secs(20), |line| {
        line.strip_prefix("frame=")
            .and_then(|n| n.trim().parse::<u64>().ok())
            .is_some_and(|n| n > 10)
    });
    viewer
}

#[test]
fn sigterm_drains() {
    let mut stand = stand("lifecycle::sigterm_drains");
    let mut viewer = endless_viewer(&stand);
    assert_eq!(stand.camera.events("teardown").len(), 0);
    let start = Instant::now();
    stand.agent.stop();
    println!("SIGTERM to exit: {:?}", start.elapsed());
    stand.camera.wait_teardowns(1);
    stand.gateway.wait_offline("front", Duration::from_secs(5));
    viewer.wait_exit(Duration::from_secs(20));
}

#[test]
fn sigterm_when_idle_ends_at_once() {
    let mut stand = stand("lifecycle::sigterm_idle");
    let start = Instant::now();
    stand.agent.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn sigterm_while_dialling_ends_at_once() {
    let dir = TestDir::new("lifecycle::sigterm_dialling");
    let pki = Pki::new(&dir);
    // Nothing listens there: discard's port on loopback.
    let config =
        AgentConfig::new("https://localhost:9/x", &pki, &pki.client("front")).profile(some_profile());
    let mut agent = Agent::start(&dir, &config);
    agent_says(&mut agent, &["connect"]);
    let start = Instant::now();
    agent.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn sighup_keeps_the_last_good_configuration() {
    let mut stand = stand("lifecycle::sighup_broken");
    let good = fs::read_to_string(stand.agent.config_path()).expect("the configuration");
    stand
        .agent
        .overwrite_config("config uplink 'main'\n\toption endpoint 'http://nowhere\n");
    stand.agent.process.signal(Signal::SIGHUP);
    agent_says(
        &mut stand.agent,
        &["the configuration is broken", "last good one"],
    );
    agent_says(&mut stand.agent, &["lenscap:2:18:", "quote"]);
    stand.agent.process.assert_running();
    assert_eq!(stand.gateway.agent_status("front")["profiles"][0], "main");
    assert!(players::ffprobe(&stand.dir, &stand.url(), 1).video > 5);

    let mut other = stand.camera.profile("second");
    other.login.clone_from(&stand.config.profiles[0].login);
    stand.config.profiles.push(other);
    stand.config.write(&stand.dir);
    stand.agent.process.signal(Signal::SIGHUP);
    wait::until("the new profile in /status", ONLINE_LIMIT, || {
        let response = stand.gateway.get("/cameras/front/status");
        (response.status == 200 && response.text().contains("second")).then_some(())
    });
    assert!(players::ffprobe(&stand.dir, &stand.gateway.viewer_url("front", "second"), 1).video > 5);
    assert_ne!(
        good,
        fs::read_to_string(stand.agent.config_path()).expect("the configuration")
    );
}

#[test]
fn sigusr1_prints_counters() {
    let mut stand = stand("lifecycle::sigusr1");
    players::ffprobe(&stand.dir, &stand.url(), 1);
    assert!(
        !stand.agent.process.log().contains("rtp_packets_in"),
        "nobody asked yet"
    );
    stand.agent.process.signal(Signal::SIGUSR1);
    let line = agent_says(&mut stand.agent, &["sessions 1,", "rtp_packets_in "]);
    let packets = line
        .split("rtp_packets_in ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let packets: u64 = packets.and_then(|count| count.parse().ok()).expect("a count");
    assert!(packets > 20, "{line}");
    stand.agent.process.assert_running();
}

#[test]
fn gateway_restart_brings_the_agent_back() {
    let mut stand = stand("lifecycle::gateway_restart");
    stand.gateway_config.uplink_port = stand.gateway.uplink_port();
    stand.gateway.process.kill();
    stand.gateway = Gateway::start(&stand.dir, &stand.gateway_config);
    let start = Instant::now();
    stand.gateway.wait_online("front", BACK_LIMIT);
    println!(
        "gateway killed and started: agent back after {:?}",
        start.elapsed()
    );
    assert!(players::ffprobe(&stand.dir, &stand.url(), 2).video > 10);
}

#[test]
fn idle_agent_hardly_wakes() {
    let mut stand = stand("lifecycle::idle");
    // What follows the connection (TLS tickets, the gateway's first questions) is not idling yet.
    wait::measure_for(Duration::from_secs(3));
    let of_all = |read: fn(u32) -> u64| stand.agent.pids().into_iter().map(read).sum::<u64>();
    let cpu_of_all = || stand.agent.pids().into_iter().map(stat::cpu_seconds).sum::<f64>();
    let (before, cpu_before) = (of_all(stat::voluntary_switches), cpu_of_all());
    wait::measure_for(IDLE_WATCH);
    let woke = of_all(stat::voluntary_switches) - before;
    println!(
        "idle agent: {woke} wake-ups in {IDLE_WATCH:?}, {:.2} s CPU, RSS of each process {:?} KiB",
        cpu_of_all() - cpu_before,
        stand
            .agent
            .pids()
            .into_iter()
            .map(stat::rss_kib)
            .collect::<Vec<_>>()
    );
    assert!(
        woke <= MAX_IDLE_WAKEUPS,
        "{woke} wake-ups in {IDLE_WATCH:?}, at most {MAX_IDLE_WAKEUPS}"
    );
    stand.agent.process.assert_running();
    assert!(stand.gateway.is_online("front"));
}

#[test]
fn wss_through_a_reverse_proxy() {
    let dir = TestDir::new("lifecycle::reverse_proxy");
    let pki = Pki::new(&dir);
    let token = "Proxy-Token-77ab01";
    let leaf = pki.leaf(Leaf::Good);
    let gateway = Gateway::start(
        &dir,
        &GatewayConfig::new(&leaf, CameraKey::Token(token.to_owned())),
    );
    let (mut proxy, port) = nginx(&dir, &leaf, gateway.uplink_port());
    let camera = Simcam::playing(Codec::H264).snapshot().start(&dir);
    let endpoint = format!("wss://localhost:{port}/onvif/uplink");
    let config = AgentConfig::new(&endpoint, &pki, &pki.client("front"))
        .token(token)
        .profile(camera.profile("main"));
    let mut agent = Agent::start(&dir, &config);
    gateway.wait_online("front", ONLINE_LIMIT);
    let played = players::ffprobe(&dir, &gateway.viewer_url("front", "main"), 3);
    assert!(played.video > 50 && played.audio > 50, "{played:?}");
    camera.wait_teardowns(1);
    assert_eq!(gateway.get("/cameras/front/main.jpg").status, 200);
    proxy.assert_running();
    agent.stop();
}

/// nginx that ends TLS on a port of its own and passes WebSockets to the gateway, as people run it.
fn nginx(dir: &TestDir, leaf: &lenscap_tests::harness::certs::CertFiles, upstream: u16) -> (Process, u16) {
    let dir = dir.subdir("nginx");
    // nginx cannot report a port it was given by the system, so one is looked for and handed over.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    let port = port_of(&listener.local_addr().expect("it has an address").to_string());
    drop(listener);
    let folder = dir.path().display();
    let conf = format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr info;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder}/a;\n  proxy_temp_path {folder}/b;\n  \
         fastcgi_temp_path {folder}/c;\n  uwsgi_temp_path {folder}/d;\n  scgi_temp_path {folder}/e;\n  \
         server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {};\n    ssl_certificate_key {};\n    \
         location / {{\n      proxy_pass https://127.0.0.1:{upstream};\n      proxy_http_version 1.1;\n      \
         proxy_set_header Host $http_host;\n      proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection \"upgrade\";\n      proxy_read_timeout 60s;\n    }}\n  }}\n}}\n",
        leaf.cert.display(),
        leaf.key.display()
    );
    let conf = dir.write("nginx.conf", conf);
    let mut command = Command::new(tools::outside("nginx"));
    command
        .arg("-c")
        .arg(conf)
        .arg("-p")
        .arg(dir.path())
        .args(["-e", "stderr"]);
    let mut process = Process::start(&dir, "nginx", &command);
    wait::until("nginx listens", START_LIMIT, || {
        process.assert_running();
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (process, port)
}

#[test]
fn token_and_pin_instead_of_certificates() {
    let dir = TestDir::new("lifecycle::token_and_pin");
    let pki = Pki::new(&dir);
    let token = "Camera-Token-19f3c4";
    // Self-signed: only the pin vouches for it.
    let leaf = pki.leaf(Leaf::SelfSigned);
    let gateway = Gateway::start(
        &dir,
        &GatewayConfig::new(&leaf, CameraKey::Token(token.to_owned())),
    );
    let camera = Simcam::playing(Codec::H264).start(&dir);
    let mut config = AgentConfig::new(&gateway.endpoint(), &pki, &pki.client("front"))
        .token(token)
        .profile(camera.profile("main"));
    config.ca_file = None;
    config.pins = vec![leaf.pin()];
    let mut agent = Agent::start(&dir, &config);
    gateway.wait_online("front", ONLINE_LIMIT);
    agent.stop();

    config.pins = vec![pki.client("somebody-else").pin()];
    let mut agent = Agent::start(&dir, &config);
    agent_says(&mut agent, &["pin"]);
    assert!(!gateway.is_online("front"), "a wrong pin must not be accepted");
    agent.process.wait_log("a second attempt", LOG_LIMIT, |line| {
        line.to_lowercase().contains("pin")
    });
}

#[test]
fn identity_made_at_the_first_start() {
    let dir = TestDir::new("lifecycle::identity");
    let pki = Pki::new(&dir);
    let mut config =
        AgentConfig::new("https://localhost:9/x", &pki, &pki.client("unused")).profile(some_profile());
    config.client = None;
    let fingerprint = identity(&dir, &config);
    assert_eq!(identity(&dir, &config), fingerprint, "the identity is made once");

    let key = CameraKey::Fingerprint(fingerprint);
    let gateway = Gateway::start(&dir, &GatewayConfig::new(&pki.leaf(Leaf::Good), key));
    config.endpoints = vec![gateway.endpoint()];
    let mut agent = Agent::start(&dir, &config);
    gateway.wait_online("front", ONLINE_LIMIT);
    agent.stop();
    let state = fs::read_dir(dir.join("agent/state")).expect("the state folder");
    let mut private = 0;
    for file in state.filter_map(Result::ok) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().expect("the file is there").permissions().mode();
        let secret = String::from_utf8_lossy(&fs::read(file.path()).unwrap_or_default()).contains("PRIVATE");
        private += usize::from(secret);
        assert!(
            !secret || mode & 0o777 == 0o600,
            "{:?} has mode {mode:o}",
            file.path()
        );
    }
    assert_eq!(private, 1, "the one private key is in the state folder");
}

/// What `lenscap identity --json` names.
fn identity(dir: &TestDir, config: &AgentConfig) -> String {
    let mut command = Command::new(tools::own("lenscap"));
    command
        .arg("identity")
        .arg("--json")
        .arg("--config")
        .arg(config.write(dir));
    let finished =
        Process::run(dir, "identity", &command, Duration::from_secs(20)).success("lenscap identity");
    let answer: serde_json::Value = serde_json::from_str(&finished.stdout).expect("one JSON object");
    answer["fingerprint"].as_str().expect("a fingerprint").to_owned()
}
