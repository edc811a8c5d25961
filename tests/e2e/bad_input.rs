//! Servers and cameras that are wrong: the side that can act says what is wrong, the agent stays up and a good one
//! works afterwards.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::gateway::{CameraKey, ONLINE_LIMIT, VIEWER};
use lenscap_tests::harness::tls_server::{Script, ScriptedServer};
use lenscap_tests::harness::{
    Agent, AgentConfig, Codec, Gateway, GatewayConfig, Pki, Simcam, Stand, TestDir, players, wait,
};
use nix::sys::signal::Signal;

use crate::support::{LOG_LIMIT, agent_says, some_profile};

/// An agent against a server that is wrong, then, by SIGHUP, against a gateway that is right.
struct Wrong {
    server: ScriptedServer,
    agent: Agent,
    config: AgentConfig,
    pki: Pki,
    dir: TestDir,
}

impl Wrong {
    #[track_caller]
    fn start(test: &str, leaf: Leaf, script: impl Fn(usize) -> Script + Send + 'static) -> Self {
        let dir = TestDir::new(test);
        let pki = Pki::new(&dir);
        let server = ScriptedServer::start(&pki.leaf(leaf), script);
        let config = AgentConfig::new(&server.endpoint("localhost"), &pki, &pki.client("front"))
            .profile(some_profile());
        let agent = Agent::start(&dir, &config);
        Self {
            server,
            agent,
            config,
            pki,
            dir,
        }
    }

    /// The log line is there, no request came through, and a good gateway works.
    #[track_caller]
    fn refused_by_agent(mut self, words: &[&str]) {
        agent_says(&mut self.agent, words);
        assert!(
            self.server.seen().requests.is_empty(),
            "the agent sent its request to a server it must not trust"
        );
        self.good_one_works();
    }

    #[track_caller]
    fn good_one_works(mut self) {
        self.agent.process.assert_running();
        let client = self.config.client.clone().expect("these tests use a certificate");
        let gateway = Gateway::start(
            &self.dir,
            &GatewayConfig::new(&self.pki.leaf(Leaf::Good), CameraKey::Certificate(client)),
        );
        self.config.endpoints = vec![gateway.endpoint()];
        self.config.write(&self.dir);
        self.agent.process.signal(Signal::SIGHUP);
        gateway.wait_online("front", ONLINE_LIMIT);
        self.agent.stop();
    }
}

#[test]
fn tls_wrong_name() {
    let wrong = Wrong::start("bad_input::tls_wrong_name", Leaf::WrongName, |_| {
        Script::status("200 OK", "")
    });
    wrong.refused_by_agent(&["certificate", "another name"]);
}

#[test]
fn tls_expired() {
    let wrong = Wrong::start("bad_input::tls_expired", Leaf::Expired, |_| {
        Script::status("200 OK", "")
    });
    wrong.refused_by_agent(&["certificate", "expired"]);
}

#[test]
fn tls_not_yet_valid() {
    let wrong = Wrong::start("bad_input::tls_not_yet_valid", Leaf::NotYetValid, |_| {
        Script::status("200 OK", "")
    });
    wrong.refused_by_agent(&["certificate", "not valid before"]);
}

#[test]
fn tls_self_signed() {
    let wrong = Wrong::start("bad_input::tls_self_signed", Leaf::SelfSigned, |_| {
        Script::status("200 OK", "")
    });
    wrong.refused_by_agent(&["certificate", "self-signed"]);
}

#[test]
fn tls_truncated() {
    let wrong = Wrong::start("bad_input::tls_truncated", Leaf::Good, |_| Script::TruncateTls);
    wrong.server.wait_connections(2, LOG_LIMIT);
    wrong.refused_by_agent(&["closed the connection during the TLS handshake"]);
}

#[test]
fn not_tls() {
    let wrong = Wrong::start("bad_input::not_tls", Leaf::Good, |_| Script::NoTls);
    wrong.refused_by_agent(&["the answer is not TLS", "port"]);
}

#[test]
fn closed_at_once() {
    let mut wrong = Wrong::start("bad_input::closed_at_once", Leaf::Good, |_| Script::Close);
    agent_says(&mut wrong.agent, &["during the TLS handshake"]);
    wrong.server.wait_connections(2, LOG_LIMIT);
    wrong.good_one_works();
}

#[test]
fn unauthorized_401() {
    let mut wrong = Wrong::start("bad_input::unauthorized_401", Leaf::Good, |_| {
        Script::status("401 Unauthorized", "")
    });
    agent_says(&mut wrong.agent, &["401"]);
    // Slow retry: the next attempt is a minute away, and up to a tenth more.
    let seconds = announced_wait(&mut wrong.agent);
    assert!((60..=66).contains(&seconds), "{seconds} s until the next attempt");
    wait::measure_for(Duration::from_secs(5));
    assert_eq!(
        wrong.server.seen().requests.len(),
        1,
        "a refused agent must not hurry"
    );
    wrong.good_one_works();
}

#[test]
fn forbidden_403_with_retry_after() {
    let mut wrong = Wrong::start("bad_input::forbidden_403", Leaf::Good, |_| {
        Script::status("403 Forbidden", "Retry-After: 200\r\n")
    });
    agent_says(&mut wrong.agent, &["403"]);
    let seconds = announced_wait(&mut wrong.agent);
    assert!(
        (200..=230).contains(&seconds),
        "Retry-After: 200, but {seconds} s until the next attempt"
    );
    wrong.good_one_works();
}

#[test]
fn unavailable_503_with_retry_after() {
    let mut wrong = Wrong::start("bad_input::unavailable_503", Leaf::Good, |_| {
        Script::status("503 Service Unavailable", "Retry-After: 4\r\n")
    });
    agent_says(&mut wrong.agent, &["503"]);
    wrong.server.wait_requests(1, LOG_LIMIT);
    let first = Instant::now();
    wrong.server.wait_requests(2, LOG_LIMIT);
    assert!(
        first.elapsed() >= Duration::from_millis(3500),
        "Retry-After: 4 was not obeyed"
    );
    wrong.good_one_works();
}

#[test]
fn reply_that_is_no_http() {
    let mut wrong = Wrong::start("bad_input::no_http", Leaf::Good, |_| {
        Script::Reply(vec![0x80; 4096])
    });
    agent_says(&mut wrong.agent, &["does not answer in HTTP/1.1"]);
    wrong.good_one_works();
}

#[test]
fn reply_that_never_ends() {
    let mut wrong = Wrong::start("bad_input::endless_head", Leaf::Good, |_| {
        let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
        head.extend(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(20_000));
        Script::Reply(head)
    });
    agent_says(&mut wrong.agent, &["longer than 16 KiB"]);
    wrong.server.wait_requests(2, LOG_LIMIT);
    wrong.good_one_works();
}

#[test]
fn switch_to_another_protocol() {
    let mut wrong = Wrong::start("bad_input::other_protocol", Leaf::Good, |_| {
        Script::Reply(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spdy/3\r\n\r\n".to_vec(),
        )
    });
    agent_says(&mut wrong.agent, &["another protocol"]);
    wrong.good_one_works();
}

#[test]
fn camera_absent() {
    let dir = TestDir::new("bad_input::camera_absent");
    let port = free_port();
    let camera = Simcam::playing(Codec::H264)
        .arg("--listen")
        .arg(&format!("127.0.0.1:{port}"));
    let mut running = camera.start(&dir);
    running.process.kill();
    let mut stand = Stand::new(&dir, running);
    let answer = viewer_fails(&stand);
    assert!(answer.contains("502 Camera Unreachable"), "{answer}");
    agent_says(&mut stand.agent, &["the camera refused the connection"]);
    stand.agent.process.assert_running();
    let back = camera.start(&dir);
    stand.camera = back;
    viewer_plays(&stand);
}

#[test]
fn camera_refuses_the_password() {
    let dir = TestDir::new("bad_input::camera_refuses");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let camera = Simcam::playing(Codec::H264).arg("--listen").arg(&listen);
    let mut stand = Stand::new(&dir, camera.clone().quirk("refuses-password").start(&dir));
    let answer = viewer_fails(&stand);
    // The camera's 401 is not the viewer's business.
    assert!(answer.contains("502 Camera Refused"), "{answer}");
    agent_says(
        &mut stand.agent,
        &["the camera refused the configured user and password"],
    );
    stand.agent.process.assert_running();
    stand.camera.process.kill();
    stand.camera = camera.start(&dir);
    viewer_plays(&stand);
}

#[test]
fn camera_sends_garbage() {
    let dir = TestDir::new("bad_input::camera_garbage");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let camera = Simcam::playing(Codec::H264).arg("--listen").arg(&listen);
    let mut stand = Stand::new(&dir, camera.clone().quirk("garbage").start(&dir));
    let answer = viewer_fails(&stand);
    assert!(answer.contains("504 Camera Did Not Answer"), "{answer}");
    agent_says(&mut stand.agent, &["the camera did not answer DESCRIBE"]);
    stand.agent.process.assert_running();
    stand.camera.process.kill();
    stand.camera = camera.start(&dir);
    viewer_plays(&stand);
}

#[test]
fn unknown_profile_and_camera() {
    let dir = TestDir::new("bad_input::unknown_profile");
    let camera = Simcam::playing(Codec::H264).snapshot().start(&dir);
    let mut stand = Stand::new(&dir, camera);
    for path in [("front", "nothing"), ("nobody", "main")] {
        let answer = probe(&stand.dir, &stand.gateway.viewer_url(path.0, path.1));
        assert!(answer.contains("404"), "{path:?}: {answer}");
        let snapshot = stand.gateway.get(&format!("/cameras/{}/{}.jpg", path.0, path.1));
        assert_eq!(snapshot.status, 404, "{path:?}: {}", snapshot.text());
    }
    stand.agent.process.assert_running();
    viewer_plays(&stand);
}

#[test]
fn camera_that_the_gateway_does_not_know() {
    let dir = TestDir::new("bad_input::unknown_camera");
    let pki = Pki::new(&dir);
    let (known, unknown) = (pki.client("front"), pki.client("stranger"));
    let key = CameraKey::Certificate(known.clone());
    let mut gateway = Gateway::start(&dir, &GatewayConfig::new(&pki.leaf(Leaf::Good), key));
    let mut config = AgentConfig::new(&gateway.endpoint(), &pki, &unknown).profile(some_profile());
    let mut agent = Agent::start(&dir, &config);
    agent_says(&mut agent, &["does not accept this camera"]);
    // Who runs the gateway reads the fingerprint to register.
    let fingerprint = unknown.fingerprint();
    gateway
        .process
        .wait_log("the stranger's fingerprint", LOG_LIMIT, |line| {
            line.contains(&fingerprint)
        });
    config.client = Some(known);
    config.write(&dir);
    agent.process.signal(Signal::SIGHUP);
    gateway.wait_online("front", ONLINE_LIMIT);
}

#[test]
fn viewer_with_a_wrong_password() {
    let dir = TestDir::new("bad_input::wrong_viewer");
    let stand = Stand::new(&dir, Simcam::playing(Codec::H264).start(&dir));
    for login in [(VIEWER.0, "wrong"), ("nobody", VIEWER.1)] {
        let report = players::rtp_sink_report(&dir, &stand.plain_url(), login, &["--packets", "1"]);
        assert_eq!(report["ok"], false);
        assert!(
            report["error"].as_str().unwrap_or_default().contains("401"),
            "{report}"
        );
    }
    assert_eq!(
        stand.camera.events("connected").len(),
        0,
        "a viewer without a right reached the camera"
    );
    viewer_plays(&stand);
}

/// The seconds that the agent says it will wait.
#[track_caller]
fn announced_wait(agent: &mut Agent) -> u64 {
    let line = agent_says(agent, &["until the next attempt"]);
    let (before, _) = line.split_once(" s until").expect("it names seconds");
    let seconds = before.rsplit(' ').next().and_then(|word| word.parse().ok());
    seconds.unwrap_or_else(|| panic!("no number of seconds: {line}"))
}

/// A port that was free a moment ago, for programs that must come back on the same one.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    listener.local_addr().expect("it has an address").port()
}

/// What ffprobe says about the URL, which must not play.
#[track_caller]
fn probe(dir: &TestDir, url: &str) -> String {
    let mut command = std::process::Command::new(lenscap_tests::harness::tools::outside("ffprobe"));
    command.args(["-v", "error", "-rtsp_transport", "tcp", url]);
    let finished =
        lenscap_tests::harness::Process::run(dir, "ffprobe-bad", &command, Duration::from_secs(40));
    assert!(!finished.status.success(), "ffprobe played what cannot play");
    finished.stderr
}

#[track_caller]
fn viewer_fails(stand: &Stand) -> String {
    probe(&stand.dir, &stand.url())
}

#[track_caller]
fn viewer_plays(stand: &Stand) {
    let played = players::ffprobe(&stand.dir, &stand.url(), 2);
    assert!(played.video > 10, "the good camera does not play: {played:?}");
}
