//! Redirects and moves: where the agent goes, where it must not go, and what it takes along.

use std::time::Duration;

use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::gateway::{BACK_LIMIT, CameraKey, ONLINE_LIMIT};
use lenscap_tests::harness::tls_server::{Script, ScriptedServer};
use lenscap_tests::harness::{
    Agent, AgentConfig, Codec, Gateway, GatewayConfig, Pki, Simcam, Stand, TestDir, http, players,
};

use crate::support::{LOG_LIMIT, agent_says, some_profile};

/// An endpoint that redirects, and the gateway it redirects to.
struct Redirected {
    endpoint: ScriptedServer,
    gateway: Gateway,
    gateway_config: GatewayConfig,
    agent: Agent,
    dir: TestDir,
    config: AgentConfig,
}

/// Starts gateway, endpoint and agent; `reply` makes the endpoint's answer from the gateway's address.
fn redirected(test: &str, reply: impl FnOnce(&str) -> Script) -> Redirected {
    let dir = TestDir::new(test);
    let pki = Pki::new(&dir);
    let leaf = pki.leaf(Leaf::Good);
    let client = pki.client("front");
    let gateway_config = GatewayConfig::new(&leaf, CameraKey::Certificate(client.clone()));
    let gateway = Gateway::start(&dir, &gateway_config);
    let script = reply(&gateway.endpoint());
    let endpoint = ScriptedServer::start(&leaf, move |_| script.clone());
    let mut config = AgentConfig::new(&endpoint.endpoint("localhost"), &pki, &client).profile(some_profile());
    config.redirect_to = vec!["localhost".to_owned()];
    let agent = Agent::start(&dir, &config);
    Redirected {
        endpoint,
        gateway,
        gateway_config,
        agent,
        dir,
        config,
    }
}

/// Kills the gateway and starts it again on the same port.
fn restart(redirected: &mut Redirected) {
    redirected.gateway_config.uplink_port = redirected.gateway.uplink_port();
    redirected.gateway.process.kill();
    redirected.gateway = Gateway::start(&redirected.dir, &redirected.gateway_config);
    redirected.gateway.wait_online("front", BACK_LIMIT);
}

#[test]
fn temporary_307_is_for_this_session() {
    let mut redirected = redirected("redirects::temporary", |gateway| {
        Script::status(
            "307 Temporary Redirect",
            &format!("Location: {gateway}?ticket=abc\r\n"),
        )
    });
    redirected.gateway.wait_online("front", ONLINE_LIMIT);
    assert_eq!(redirected.endpoint.seen().requests.len(), 1);
    restart(&mut redirected);
    assert!(
        redirected.endpoint.seen().requests.len() >= 2,
        "a 307 must not be remembered as the endpoint"
    );
    redirected.agent.stop();
}

#[test]
fn permanent_308_is_for_good() {
    let mut redirected = redirected("redirects::permanent", |gateway| {
        Script::status("308 Permanent Redirect", &format!("Location: {gateway}\r\n"))
    });
    redirected.gateway.wait_online("front", ONLINE_LIMIT);
    restart(&mut redirected);
    assert_eq!(
        redirected.endpoint.seen().requests.len(),
        1,
        "after a 308 the old address is not asked again"
    );
    redirected.agent.stop();
    // The monitor has kept it, so that a camera without its activation address comes back after a power failure.
    redirected.gateway.wait_offline("front", ONLINE_LIMIT);
    redirected.agent = Agent::start(&redirected.dir, &redirected.config);
    redirected.gateway.wait_online("front", ONLINE_LIMIT);
    assert_eq!(
        redirected.endpoint.seen().requests.len(),
        1,
        "nor after a restart"
    );
    redirected.agent.stop();
}

#[test]
fn alternates_in_order() {
    let redirected = redirected("redirects::alternates", |gateway| {
        // Nothing listens on the first address.
        let headers = format!("Location: https://localhost:9/x\r\nLink: <{gateway}>; rel=alternate\r\n");
        Script::status("307 Temporary Redirect", &headers)
    });
    redirected.gateway.wait_online("front", ONLINE_LIMIT * 2);
}

/// An agent whose endpoint redirects to where it must not go; the words are those of its complaint.
#[track_caller]
fn refused(test: &str, location: &str, words: &[&str]) {
    let dir = TestDir::new(test);
    let pki = Pki::new(&dir);
    let leaf = pki.leaf(Leaf::Good);
    let elsewhere = ScriptedServer::start(&leaf, |_| Script::status("200 OK", ""));
    let location = location.replace("PORT", &elsewhere.port().to_string());
    let endpoint = ScriptedServer::start(&leaf, move |_| {
        Script::status("307 Temporary Redirect", &format!("Location: {location}\r\n"))
    });
    let mut config =
        AgentConfig::new(&endpoint.endpoint("localhost"), &pki, &pki.client("front")).profile(some_profile());
    config.redirect_to = vec!["localhost".to_owned()];
    let mut agent = Agent::start(&dir, &config);
    agent_says(&mut agent, words);
    endpoint.wait_requests(2, LOG_LIMIT);
    assert_eq!(
        elsewhere.seen().connections,
        0,
        "the agent went where it must not"
    );
    agent.stop();
}

#[test]
fn to_a_forbidden_host() {
    refused(
        "redirects::forbidden",
        "https://other.gateway.test:PORT/x",
        &["redirect refused", "redirect_to"],
    );
}

#[test]
fn to_http() {
    refused(
        "redirects::to_http",
        "http://localhost:PORT/x",
        &["redirect refused", "https://"],
    );
}

#[test]
fn to_nonsense() {
    refused(
        "redirects::nonsense",
        "//////",
        &["redirect refused", "malformed"],
    );
}

#[test]
fn in_a_circle() {
    let dir = TestDir::new("redirects::circle");
    let pki = Pki::new(&dir);
    let leaf = pki.leaf(Leaf::Good);
    let listener = std::sync::Arc::new(std::sync::OnceLock::<u16>::new());
    let port = std::sync::Arc::clone(&listener);
    let endpoint = ScriptedServer::start(&leaf, move |number| {
        let port = port.get().copied().unwrap_or_default();
        let location = format!("Location: https://localhost:{port}/{number}\r\n");
        Script::status("307 Temporary Redirect", &location)
    });
    listener.set(endpoint.port()).expect("set once");
    let mut config =
        AgentConfig::new(&endpoint.endpoint("localhost"), &pki, &pki.client("front")).profile(some_profile());
    config.redirect_to = vec!["localhost".to_owned()];
    let mut agent = Agent::start(&dir, &config);
    agent_says(&mut agent, &["redirect refused", "more than 3 redirects"]);
    // A round is one dial and three hops; then it waits, and starts again at the endpoint.
    let requests = endpoint.wait_requests(5, LOG_LIMIT);
    let paths: Vec<&str> = requests
        .iter()
        .filter_map(|request| request.split(' ').nth(1))
        .collect();
    let first = paths[0];
    assert_eq!(paths[4], first, "the fifth request is of a new round: {paths:?}");
    assert!(paths[1..4].iter().all(|path| *path != first), "{paths:?}");
    agent.process.assert_running();
    agent.stop();
}

#[test]
fn a_token_stays_with_its_host() {
    let dir = TestDir::new("redirects::token");
    let pki = Pki::new(&dir);
    let leaf = pki.leaf(Leaf::Good);
    let other = ScriptedServer::start(&leaf, |_| Script::status("503 Service Unavailable", ""));
    let location = other.endpoint("other.gateway.test");
    let endpoint = ScriptedServer::start(&leaf, move |_| {
        Script::status(
            "307 Temporary Redirect",
            &format!("Location: {location}?ticket=xyz\r\n"),
        )
    });
    let mut config = AgentConfig::new(&endpoint.endpoint("gateway.test"), &pki, &pki.client("front"))
        .token("Stay-Home-Token")
        .profile(some_profile());
    config.redirect_to = vec!["*.gateway.test".to_owned()];
    let mut agent = Agent::start(&dir, &config);
    let at_home = endpoint.wait_requests(1, LOG_LIMIT);
    let away = other.wait_requests(1, LOG_LIMIT);
    assert!(at_home[0].contains("Bearer Stay-Home-Token"), "{}", at_home[0]);
    assert!(
        !away[0].contains("Stay-Home-Token"),
        "the token went to another host: {}",
        away[0]
    );
    assert!(away[0].contains("ticket=xyz"), "{}", away[0]);
    agent.stop();
}

#[test]
fn move_to_another_gateway_and_not_to_a_forbidden_one() {
    let dir = TestDir::new("redirects::move");
    let camera = Simcam::playing(Codec::H264).start(&dir);
    let stand = Stand::with(&dir, camera, |mut config| {
        config.redirect_to = vec!["localhost".to_owned()];
        config
    });
    let second = Gateway::start(&dir.subdir("second"), &stand.gateway_config);
    let move_to = |target: &str| {
        let body = format!("{{\"target\":\"{target}\"}}");
        let headers = [("Content-Type", "application/json")];
        http::request(
            &stand.gateway.http,
            "POST",
            "/cameras/front/move",
            &headers,
            body.as_bytes(),
        )
        .expect("the gateway answers")
    };
    let refused = move_to("https://elsewhere.example/x");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(stand.gateway.is_online("front"));

    let accepted = move_to(&second.endpoint());
    assert!(
        (200..300).contains(&accepted.status),
        "{} {}",
        accepted.status,
        accepted.text()
    );
    second.wait_online("front", ONLINE_LIMIT);
    stand.gateway.wait_offline("front", Duration::from_secs(40));
    assert!(players::ffprobe(&dir, &second.viewer_url("front", "main"), 2).video > 10);
}

#[test]
fn move_without_target_is_never_offline() {
    let dir = TestDir::new("redirects::move_in_place");
    let stand = Stand::new(&dir, Simcam::playing(Codec::H264).start(&dir));
    let moved =
        http::request(&stand.gateway.http, "POST", "/cameras/front/move", &[], b"").expect("an answer");
    assert!(
        (200..300).contains(&moved.status),
        "{} {}",
        moved.status,
        moved.text()
    );
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < end {
        assert!(
            stand.gateway.is_online("front"),
            "the camera went offline during a move"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stand.gateway.agent_status("front")["counters"]["moves"], 1);
    assert!(players::ffprobe(&stand.dir, &stand.url(), 2).video > 10);
}
