//! An endpoint and two streamers: placing, coming back, releasing, draining.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use lenscap_gateway::fleet::operator::{OperatorKey, Ticket};
use lenscap_gateway::uplink::carrier::CarrierStream;
use serde_json::{Value, json};
use support::*;

async fn endpoint() -> TestGateway {
    endpoint_of(0).await
}

async fn endpoint_of(capacity: usize) -> TestGateway {
    TestGateway::start_with("data = \"data\"\n", RTSPS, &endpoint_section(capacity)).await
}

fn endpoint_section(capacity: usize) -> String {
    format!(
        "{HTTP_TOKEN}[endpoint]\nuplink_url = \"https://localhost:0/onvif/uplink\"\nrtsp_url = \"rtsp://localhost:0\"\n\
         http_url = \"http://localhost:0\"\njoin_token_file = \"join.token\"\ncapacity = {capacity}\n"
    )
}

async fn streamer(endpoint: &TestGateway, name: &str, token_file: &str) -> TestGateway {
    let http = format!(
        "{HTTP_TOKEN}[streamer]\nname = \"{name}\"\nendpoint = \"localhost:{}\"\nendpoint_ca = {:?}\n\
         join_token_file = \"{token_file}\"\nuplink_url = \"https://localhost:0/onvif/uplink\"\n\
         rtsp_url = \"rtsp://localhost:0\"\nhttp_url = \"http://localhost:0\"\n",
        endpoint.addresses.uplink.port(),
        endpoint.folder.path().join("gw.pem"),
    );
    TestGateway::start_with("data = \"data\"\n", RTSPS, &http).await
}

async fn joined(endpoint: &TestGateway, count: usize) -> Value {
    within("the streamers to join", async {
        loop {
            let (_, list) = endpoint.api("GET", "/streamers", Value::Null).await;
            if list.as_array().unwrap().len() == count {
                return list;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn fleet() -> (TestGateway, TestGateway, TestGateway) {
    let endpoint = endpoint().await;
    let (one, two) = tokio::join!(
        streamer(&endpoint, "s1", "join.token"),
        streamer(&endpoint, "s2", "join.token")
    );
    joined(&endpoint, 2).await;
    (endpoint, one, two)
}

async fn claimed(endpoint: &TestGateway, serial: &str) -> Newcomer {
    let camera = Newcomer::new(serial);
    camera.waits(endpoint).await;
    let body = json!({"serial": serial, "pin": camera.pin, "name": serial});
    assert_eq!(endpoint.api("POST", "/claims", body).await.0, 201);
    camera
}

fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The path and query of a redirect, and whether it leads to this gateway.
fn leads(reply: &str, gateway: &TestGateway) -> Option<String> {
    assert!(reply.starts_with("HTTP/1.1 307 "), "{reply}");
    let origin = format!("https://localhost:{}", gateway.addresses.uplink.port());
    field(reply, "Location")
        .unwrap()
        .strip_prefix(&origin)
        .map(str::to_owned)
}

/// The streamer that the endpoint sends it to, the other one, and the way there.
async fn sent<'a>(
    camera: &Newcomer,
    endpoint: &TestGateway,
    one: &'a TestGateway,
    two: &'a TestGateway,
) -> (&'a TestGateway, &'a TestGateway, String) {
    let (reply, _) = camera.dial(endpoint).await;
    match leads(&reply, one) {
        Some(path) => (one, two, path),
        None => (two, one, leads(&reply, two).unwrap()),
    }
}

/// The rules reach a streamer soon after a change; until then it sends the camera back.
async fn arrives(camera: &Newcomer, at: &TestGateway, path: &str, more: &str) -> (String, Agent) {
    within("the streamer to take the camera", async {
        loop {
            let (reply, stream) = camera.dial_at(at, path, more).await;
            if reply.starts_with("HTTP/1.1 101 ") {
                return (
                    reply,
                    Agent::start(CarrierStream::Direct(stream), Play::Frames(3, 100)),
                );
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_camera_is_placed_and_comes_back_without_the_endpoint() {
    let (endpoint, mut one, mut two) = fleet().await;
    let camera = claimed(&endpoint, "SN1").await;
    let added = endpoint
        .api(
            "POST",
            "/viewers",
            json!({"user": "carol", "password": "carols-password"}),
        )
        .await;
    assert_eq!(added.0, 201);
    let (first, other, path) = sent(&camera, &endpoint, &one, &two).await;
    let (reply, agent) = arrives(&camera, first, &path, "").await;
    assert!(
        field(&reply, "Lenscap-Operator").unwrap().contains("proof="),
        "{reply}"
    );
    let resume = format!("Lenscap-Resume: {}\r\n", field(&reply, "Lenscap-Resume").unwrap());
    let alternate = format!(
        "<https://localhost:{}/onvif/uplink>; rel=alternate",
        other.addresses.uplink.port()
    );
    assert_eq!(field(&reply, "Link"), Some(alternate.as_str()));

    // A ticket is for one key and one streamer; what is not taken goes to the endpoint.
    let stranger = Newcomer::new("SN1");
    let plain = "/onvif/uplink";
    let forger = OperatorKey::from_pkcs8(&OperatorKey::generate()).unwrap();
    let now = lenscap_gateway::clock::unix_now();
    let forged = forger.sign_ticket(&Ticket::new(&camera.key(), "SN1", "s1", None, now));
    for (who, at, path, more) in [
        (&camera, other, path.as_str(), ""),
        (&stranger, first, path.as_str(), ""),
        (&camera, first, format!("{plain}?ticket={forged}").as_str(), ""),
        (&camera, first, plain, ""),
        (&stranger, other, plain, resume.as_str()),
        (&camera, other, plain, "Lenscap-Resume: abc.def\r\n"),
    ] {
        let (reply, _) = who.dial_at(at, path, more).await;
        assert_eq!(leads(&reply, &endpoint).as_deref(), Some(plain), "{reply}");
    }

    // The endpoint knows where it is, and leads viewers there.
    endpoint
        .wait_for(|list| {
            list.contains("\"name\":\"SN1\",\"online\":true") && list.contains("\"streamer\":\"s")
        })
        .await;
    let mut lost = Viewer::connect(&endpoint, "carol", "carols-password", "SN1/main").await;
    let reply = lost.request("DESCRIBE", "?x=1", "").await;
    assert_eq!(reply.status(), 302, "{}", reply.head);
    let location = format!(
        "Location: rtsp://localhost:{}/SN1/main?x=1\r\n",
        first.rtsp().port()
    );
    assert!(reply.head.contains(&location), "{}", reply.head);
    let (status, _) = endpoint.http("GET", "/cameras/SN1/main.jpg", "", b"").await;
    assert_eq!(status, 307);
    let mut viewer = Viewer::connect(first, "carol", "carols-password", "SN1/main").await;
    viewer.play().await;
    viewer.read_frames(3 * 104).await;
    let mut astray = Viewer::connect(other, "carol", "carols-password", "SN1/main").await;
    let reply = astray.request("DESCRIBE", "", "").await;
    let back = format!(
        "Location: rtsp://localhost:{}/SN1/main\r\n",
        endpoint.rtsp().port()
    );
    assert!(reply.head.contains(&back), "{}", reply.head);

    // The endpoint dies: nothing changes. The streamer dies too: the other one takes the camera.
    endpoint.stop().await;
    assert!(!agent.task.is_finished());
    let (_, again) = arrives(&camera, other, plain, &resume).await;
    drop(viewer);
    agent.task.abort();
    again.task.abort();
    // Restarted without an endpoint, a streamer knows what it was told.
    one.restart().await;
    two.restart().await;
    let (reply, _) = camera.dial_at(&one, plain, &resume).await;
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    assert!(field(&reply, "Lenscap-Resume").is_some(), "a new one each time");
    let mut viewer = Viewer::connect(&one, "carol", "wrong-password", "SN1/main").await;
    assert_eq!(viewer.request("DESCRIBE", "", "").await.status(), 401);
}

#[tokio::test]
async fn a_release_reaches_the_streamer() {
    let (endpoint, one, two) = fleet().await;
    let camera = claimed(&endpoint, "SN1").await;
    let (first, other, path) = sent(&camera, &endpoint, &one, &two).await;
    let (reply, agent) = arrives(&camera, first, &path, "").await;
    let resume = format!("Lenscap-Resume: {}\r\n", field(&reply, "Lenscap-Resume").unwrap());
    assert_eq!(
        endpoint.api("POST", "/cameras/SN1/release", Value::Null).await.0,
        204
    );
    within("the uplink to end", agent.task).await.unwrap();
    within("the credential to be void everywhere", async {
        for at in [first, other] {
            while !camera
                .dial_at(at, "/onvif/uplink", &resume)
                .await
                .0
                .starts_with("HTTP/1.1 307 ")
            {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    // Claimed again under the same name, the old credential stays void.
    camera.waits(&endpoint).await;
    let body = json!({"serial": "SN1", "pin": camera.pin, "name": "SN1"});
    assert_eq!(endpoint.api("POST", "/claims", body).await.0, 201);
    let (first, _, path) = sent(&camera, &endpoint, &one, &two).await;
    let (_, _agent) = arrives(&camera, first, &path, "").await;
    let (reply, _) = camera.dial_at(first, "/onvif/uplink", &resume).await;
    assert!(reply.starts_with("HTTP/1.1 307 "), "{reply}");
    // Streamers decide nothing.
    let (status, shown) = first
        .api("POST", "/claims", json!({"fingerprint": camera.fingerprint()}))
        .await;
    assert_eq!(status, 409);
    assert!(
        shown["error"].as_str().unwrap().contains("this is a streamer"),
        "{shown}"
    );
}

/// The endpoint carries nothing, and sees a camera only on its way to a streamer. A reset counts there all the same: after
/// the first coming, and, claimed again, after a move, with nothing but answers that were lost in between.
#[tokio::test]
async fn a_reset_ends_the_claim_of_a_camera_at_a_streamer() {
    let (endpoint, one, two) = fleet().await;
    let mut camera = claimed(&endpoint, "SN1").await;
    let (first, other, path) = sent(&camera, &endpoint, &one, &two).await;
    let (reply, agent) = arrives(&camera, first, &path, "").await;
    assert!(field(&reply, "Lenscap-Operator").is_some(), "{reply}");
    let resume = format!("Lenscap-Resume: {}\r\n", field(&reply, "Lenscap-Resume").unwrap());
    camera.reset(7);
    camera.waits(&endpoint).await;
    assert_eq!(endpoint.api("GET", "/cameras/SN1", Value::Null).await.0, 404);
    within("the uplink to end", agent.task).await.unwrap();
    for at in [first, other] {
        within("what it had to be void", async {
            while !camera
                .dial_at(at, "/onvif/uplink", &resume)
                .await
                .0
                .starts_with("HTTP/1.1 307 ")
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    let body = json!({"serial": "SN1", "pin": camera.pin, "name": "SN1"});
    assert_eq!(endpoint.api("POST", "/claims", body).await.0, 201);
    for _ in 0..3 {
        let (at, _, path) = sent(&camera, &endpoint, &one, &two).await;
        let (reply, agent) = arrives(&camera, at, &path, "").await;
        assert!(field(&reply, "Lenscap-Operator").is_some(), "{reply}");
        agent.task.abort();
    }
    let (at, elsewhere, path) = sent(&camera, &endpoint, &one, &two).await;
    let (_, mut agent) = arrives(&camera, at, &path, "").await;
    let named = within("the endpoint to hear of it", async {
        loop {
            let (_, shown) = endpoint.api("GET", "/cameras/SN1", Value::Null).await;
            if let Some(streamer) = shown["streamer"].as_str() {
                return streamer.to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    let to = if named.await == "s1" { "s2" } else { "s1" };
    let body = json!({"streamer": to});
    assert_eq!(endpoint.api("POST", "/cameras/SN1/move", body).await.0, 202);
    assert_eq!(agent.next().await, Seen::Moved(None));
    let (reply, _) = camera.dial(&endpoint).await;
    let path = leads(&reply, elsewhere).expect(&reply);
    let (_, moved) = arrives(&camera, elsewhere, &path, "").await;
    camera.reset(8);
    camera.waits(&endpoint).await;
    within("the uplinks to end", async {
        agent.task.await.unwrap();
        moved.task.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_streamer_that_stops_sends_its_cameras_elsewhere() {
    let (endpoint, one, two) = fleet().await;
    let camera = claimed(&endpoint, "SN1").await;
    let (reply, _) = camera.dial(&endpoint).await;
    let (leaving, staying, path) = match leads(&reply, &one) {
        Some(path) => (one, two, path),
        None => {
            let path = leads(&reply, &two).unwrap();
            (two, one, path)
        }
    };
    let (_, mut agent) = arrives(&camera, &leaving, &path, "").await;
    // Sticky: as long as its streamer is there, it is sent there.
    for _ in 0..3 {
        let (reply, _) = camera.dial(&endpoint).await;
        assert!(leads(&reply, &leaving).is_some(), "{reply}");
    }
    let stopping = tokio::spawn(leaving.stop());
    assert_eq!(agent.next().await, Seen::Moved(None));
    let (reply, _) = camera.dial(&endpoint).await;
    let path = leads(&reply, &staying).expect("not to the one that drains");
    let (_, _agent) = arrives(&camera, &staying, &path, "").await;
    agent.task.abort();
    within("the streamer to stop", stopping).await.unwrap();
    let list = joined(&endpoint, 1).await;
    assert_eq!(list[0]["draining"], false);
}

/// The endpoint that carries media itself: at its end, cameras go straight to a streamer.
#[tokio::test]
async fn an_endpoint_that_stops_hands_its_cameras_to_a_streamer() {
    let endpoint = endpoint_of(10).await;
    let camera = claimed(&endpoint, "SN1").await;
    let (_, mut agent) = camera.comes(&endpoint, Play::Silent).await;
    endpoint
        .wait_for(|list| list.contains("\"name\":\"SN1\",\"online\":true"))
        .await;
    let one = streamer(&endpoint, "s1", "join.token").await;
    joined(&endpoint, 1).await;
    let stopping = tokio::spawn(endpoint.stop());
    let Seen::Moved(Some(target)) = agent.next().await else {
        panic!("not moved to a streamer")
    };
    let origin = format!("https://localhost:{}", one.addresses.uplink.port());
    let path = target.strip_prefix(&origin).expect(&target);
    let (_, _agent) = arrives(&camera, &one, path, "").await;
    agent.task.abort();
    within("the endpoint to stop", stopping).await.unwrap();
}

#[tokio::test]
async fn an_operator_moves_a_camera() {
    let (endpoint, one, two) = fleet().await;
    let camera = claimed(&endpoint, "SN1").await;
    let (first, other, path) = sent(&camera, &endpoint, &one, &two).await;
    let (_, mut agent) = arrives(&camera, first, &path, "").await;
    endpoint
        .wait_for(|list| list.contains("\"name\":\"SN1\",\"online\":true"))
        .await;
    let (_, shown) = endpoint.api("GET", "/cameras/SN1", Value::Null).await;
    let to = if shown["streamer"] == "s1" { "s2" } else { "s1" };
    let (status, _) = endpoint
        .api("POST", "/cameras/SN1/move", json!({"streamer": "s9"}))
        .await;
    assert_eq!(status, 400);
    let (status, shown) = endpoint
        .api("POST", "/cameras/SN1/move", json!({"streamer": to}))
        .await;
    assert_eq!(status, 202, "{shown}");
    assert_eq!(agent.next().await, Seen::Moved(None));
    let (reply, _) = camera.dial(&endpoint).await;
    assert!(leads(&reply, other).is_some(), "{reply}");
}

/// Two devices with one key, at two streamers: the endpoint asks both and tells its operator, and neither device loses
/// anything by it. (That it takes a minute, and what a reboot looks like, is in `fleet/clones.rs` and `uplink/link.rs`.)
#[tokio::test]
async fn a_cloned_camera_is_told_of_and_stays_at_both_streamers() {
    let http = endpoint_section(0);
    let endpoint = TestGateway::start_looking_for_clones("data = \"data\"\n", RTSPS, &http, 8).await;
    let (one, two) = tokio::join!(
        streamer(&endpoint, "s1", "join.token"),
        streamer(&endpoint, "s2", "join.token")
    );
    joined(&endpoint, 2).await;
    let camera = claimed(&endpoint, "SN1").await;
    let honest = claimed(&endpoint, "SN2").await;
    let (_, viewer) = endpoint
        .api(
            "POST",
            "/viewers",
            json!({"user": "carol", "password": "carols-password"}),
        )
        .await;
    assert_eq!(viewer["user"], "carol", "{viewer}");
    let (first, other, path) = sent(&camera, &endpoint, &one, &two).await;
    let (reply, mut agent) = arrives(&camera, first, &path, "").await;
    let resume = format!("Lenscap-Resume: {}\r\n", field(&reply, "Lenscap-Resume").unwrap());
    // One camera that has two uplinks for a while, as after a move, is one device.
    let (at, elsewhere, path) = sent(&honest, &endpoint, &one, &two).await;
    let (reply, mut honests) = arrives(&honest, at, &path, "").await;
    let same = format!("Lenscap-Resume: {}\r\n", field(&reply, "Lenscap-Resume").unwrap());
    let (_, mut moved) = arrives(&honest, elsewhere, "/onvif/uplink", &same).await;
    let twin = Newcomer {
        boot: "cd".repeat(16),
        ..camera
    };
    let (_, mut twins) = arrives(&twin, other, "/onvif/uplink", &resume).await;

    let shown = async |name: &str| {
        let (status, shown) = endpoint
            .api("GET", &format!("/cameras/{name}"), Value::Null)
            .await;
        assert_eq!(status, 200, "{shown}");
        shown["cloned"].clone()
    };
    assert_eq!(shown("SN1").await, Value::Null);
    let told = async {
        while shown("SN1").await == Value::Null {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // It looks every ten seconds.
    tokio::time::timeout(Duration::from_secs(40), told)
        .await
        .expect("the operator is told");
    let since = shown("SN1").await.as_u64().unwrap();
    assert!(lenscap_gateway::clock::unix_now() - since < 60, "{since}");
    assert_eq!(endpoint.metric("clones_total").await, 1.0);
    assert_eq!(shown("SN2").await, Value::Null);

    // Both are served, nobody is asked to leave, and the key is good as before.
    for (streamer, agent) in [(first, &mut agent), (other, &mut twins)] {
        streamer
            .wait_for(|list| list.contains("\"name\":\"SN1\",\"online\":true"))
            .await;
        let mut viewer = Viewer::connect(streamer, "carol", "carols-password", "SN1/main").await;
        viewer.play().await;
        viewer.read_frames(3 * 104).await;
        for _ in 0..3 {
            agent.next_request().await;
        }
    }
    for agent in [&mut agent, &mut twins, &mut honests, &mut moved] {
        assert!(!agent.task.is_finished());
        if let Ok(Seen::Moved(to)) = agent.seen.try_recv() {
            panic!("it was told to go to {to:?}");
        }
    }
    let (reply, _) = twin.dial(&endpoint).await;
    assert!(reply.starts_with("HTTP/1.1 307 "), "{reply}");
    joined(&endpoint, 2).await;
}

#[tokio::test]
async fn streamers_need_the_join_token() {
    let endpoint = endpoint().await;
    let stranger = streamer(&endpoint, "s1", "hook.secret").await;
    let camera = claimed(&endpoint, "SN1").await;
    let (reply, _) = camera.dial(&endpoint).await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "nobody carries it: {reply}");
    let (_, list) = endpoint.api("GET", "/streamers", Value::Null).await;
    assert_eq!(list, json!([]));
    let (reply, _) = camera.dial(&stranger).await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "it was told nothing: {reply}");
}
