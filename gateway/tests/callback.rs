//! An operator's own system decides about cameras, new ones and those that are claimed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An operator's system of a few lines: answers each question with the next of `answers`, then not at all.
async fn hook(answers: &'static [&'static str]) -> (String, tokio::sync::mpsc::UnboundedReceiver<Value>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
            }
            let body = seen.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            let _ = asked.send(serde_json::from_slice(&seen[body..]).unwrap());
            let reply = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (url, questions)
}

async fn with_hook(url: &str) -> TestGateway {
    let http =
        format!("{HTTP_TOKEN}[claims]\ncallback = \"{url}\"\ncallback_secret_file = \"hook.secret\"\n");
    TestGateway::start_with("data = \"data\"\n", RTSPS, &http).await
}

#[tokio::test]
async fn the_operators_system_decides_and_new_claims_fail_without_it() {
    let (url, mut questions) = hook(&[
        r#"{"allow":false}"#,
        r#"{"allow":false}"#,
        r#"{"allow":true,"account":"billed","name":"named"}"#,
        r#"{"allow":true}"#,
    ])
    .await;
    let gateway = with_hook(&url).await;
    let camera = Newcomer::new("SN1");
    camera.waits(&gateway).await;
    let asked = within("a question", questions.recv()).await.unwrap();
    assert_eq!(
        (&asked["event"], &asked["serial"]),
        (&json!("pending"), &json!("SN1"))
    );
    let body = json!({"serial": "SN1", "pin": camera.pin, "name": "porch"});
    let (status, shown) = gateway.api("POST", "/claims", body.clone()).await;
    assert_eq!(status, 403, "{shown}");
    assert_eq!(
        within("a question", questions.recv()).await.unwrap()["event"],
        "claim"
    );
    assert_eq!(gateway.api("GET", "/cameras/porch", Value::Null).await.0, 404);
    let (status, shown) = gateway.api("POST", "/claims", body).await;
    assert_eq!(
        (status, &shown["name"], &shown["account"]),
        (201, &json!("named"), &json!("billed"))
    );
    assert_eq!(
        within("a question", questions.recv()).await.unwrap()["event"],
        "claim"
    );
    let (_, _agent) = camera.comes(&gateway, Play::Silent).await;
    let asked = within("a question", questions.recv()).await.unwrap();
    assert_eq!(
        (&asked["event"], &asked["camera"]),
        (&json!("connect"), &json!("named"))
    );
    // Now it is down: nothing new is claimed, and what is claimed stays.
    let other = Newcomer::new("SN2");
    let body = json!({"fingerprint": other.fingerprint(), "name": "other"});
    let (status, shown) = gateway.api("POST", "/claims", body).await;
    assert_eq!(status, 503, "{shown}");
    assert!(
        shown["error"].as_str().unwrap().contains("nothing was claimed"),
        "{shown}"
    );
    camera.comes(&gateway, Play::Silent).await;
}

#[tokio::test]
async fn a_no_suspends_a_claimed_camera() {
    let (url, mut questions) = hook(&[r#"{"allow":true}"#, r#"{"allow":false}"#]).await;
    let mut gateway = with_hook(&url).await;
    let camera = Newcomer::new("SN1");
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    assert_eq!(gateway.api("POST", "/claims", body).await.0, 201);
    let (_, agent) = camera.comes(&gateway, Play::Silent).await;
    within("two questions", async {
        assert_eq!(questions.recv().await.unwrap()["event"], "claim");
        assert_eq!(questions.recv().await.unwrap()["event"], "connect");
    })
    .await;
    within("the uplink to end", agent.task).await.unwrap();
    // The system is down now, and the gateway is started again: the no holds.
    for _ in 0..2 {
        let (reply, _) = camera.dial(&gateway).await;
        assert!(reply.starts_with("HTTP/1.1 403 "), "{reply}");
        let (_, shown) = gateway.api("GET", "/cameras/porch", Value::Null).await;
        assert_eq!(
            (&shown["suspended"], &shown["online"]),
            (&json!(true), &json!(false))
        );
        gateway.restart().await;
    }
    // Its next owner starts anew.
    let body = json!({"account": "next"});
    let (status, shown) = gateway.api("POST", "/cameras/porch/transfer", body).await;
    assert_eq!(status, 204, "{shown}");
    camera.comes(&gateway, Play::Silent).await;
}

/// The endpoint asks when it sends a camera to a streamer; its no reaches the camera there, and holds there too.
#[tokio::test]
async fn a_no_reaches_a_camera_at_a_streamer() {
    let (url, mut questions) = hook(&[r#"{"allow":true}"#, r#"{"allow":false}"#]).await;
    let http = format!(
        "{HTTP_TOKEN}[claims]\ncallback = \"{url}\"\ncallback_secret_file = \"hook.secret\"\n\
         [endpoint]\nuplink_url = \"https://localhost:0/onvif/uplink\"\njoin_token_file = \"join.token\"\n\
         capacity = 0\n"
    );
    let endpoint = TestGateway::start_with("data = \"data\"\n", RTSPS, &http).await;
    let http = format!(
        "{HTTP_TOKEN}[streamer]\nname = \"s1\"\nendpoint = \"localhost:{}\"\nendpoint_ca = {:?}\n\
         join_token_file = \"join.token\"\nuplink_url = \"https://localhost:0/onvif/uplink\"\n",
        endpoint.addresses.uplink.port(),
        endpoint.folder.path().join("gw.pem"),
    );
    let streamer = TestGateway::start_with("data = \"data\"\n", RTSPS, &http).await;
    within("the streamer to join", async {
        while endpoint.api("GET", "/streamers", Value::Null).await.1 == json!([]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let camera = Newcomer::new("SN1");
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    assert_eq!(endpoint.api("POST", "/claims", body).await.0, 201);
    let (reply, _) = camera.dial(&endpoint).await;
    assert!(reply.starts_with("HTTP/1.1 307 "), "{reply}");
    let path = field(&reply, "Location").unwrap();
    let path = path[path.find("/onvif").unwrap()..].to_owned();
    // It may be there before the no, or after it.
    let (first, stream) = camera.dial_at(&streamer, &path, "").await;
    for event in ["claim", "connect"] {
        let asked = within("a question", questions.recv()).await.unwrap();
        assert_eq!(asked["event"], event);
    }
    if first.starts_with("HTTP/1.1 101 ") {
        let agent = Agent::start(
            lenscap_gateway::uplink::carrier::CarrierStream::Direct(stream),
            Play::Silent,
        );
        within("the uplink to end", agent.task).await.unwrap();
        let resume = format!("Lenscap-Resume: {}\r\n", field(&first, "Lenscap-Resume").unwrap());
        let (reply, _) = camera.dial_at(&streamer, "/onvif/uplink", &resume).await;
        assert!(reply.starts_with("HTTP/1.1 307 "), "{reply}");
    }
    within("the streamer to know, although the ticket is still good", async {
        while !camera
            .dial_at(&streamer, &path, "")
            .await
            .0
            .starts_with("HTTP/1.1 307 ")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (reply, _) = camera.dial(&endpoint).await;
    assert!(reply.starts_with("HTTP/1.1 403 "), "{reply}");
}

#[tokio::test]
async fn an_unknown_camera_is_claimed_by_the_operators_yes() {
    let (url, mut questions) = hook(&[r#"{"allow":true,"account":"acme"}"#]).await;
    let gateway = with_hook(&url).await;
    let camera = Newcomer::new("SN1");
    camera.waits(&gateway).await;
    assert_eq!(
        within("a question", questions.recv()).await.unwrap()["event"],
        "pending"
    );
    within("the claim", async {
        while gateway.api("GET", "/cameras/SN1", Value::Null).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (reply, _agent) = camera.comes(&gateway, Play::Silent).await;
    assert!(introduced(&reply).1.is_none());
}
