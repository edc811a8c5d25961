//! Who may bring up an uplink, and what the others are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use support::*;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn unknown_cameras_and_malformed_requests_are_refused() {
    let gateway = TestGateway::start().await;
    let stranger = self_signed("stranger");
    for (certificate, path, fields, status) in [
        (Some(&stranger), "/onvif/uplink", DIRECT, "401"),
        (None, "/onvif/uplink", DIRECT, "401"),
        (
            None,
            "/onvif/uplink",
            "Upgrade: h2c-reverse\r\nAuthorization: Bearer wrong\r\n",
            "401",
        ),
        (Some(&gateway.keys.camera), "/other", DIRECT, "404"),
        (
            Some(&gateway.keys.camera),
            "/onvif/uplink",
            "Upgrade: h2c\r\n",
            "426",
        ),
        (
            Some(&gateway.keys.camera),
            "/onvif/uplink",
            "Upgrade: websocket\r\n",
            "426",
        ),
        (
            Some(&gateway.keys.camera),
            "/onvif/uplink",
            "Upgrade: h2c-reverse\r\nHost: twice\r\n",
            "400",
        ),
    ] {
        let mut stream = gateway.dial(certificate).await;
        let reply = upgrade(&mut stream, path, fields).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {fields}: {reply}"
        );
        let mut rest = Vec::new();
        within("the connection to close", stream.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    let (_, body) = gateway.http("GET", "/metrics", "", b"").await;
    let metrics = String::from_utf8(body).unwrap();
    assert!(
        metrics.contains("lenscap_gateway_uplinks_refused_total{reason=\"Unauthorized\"} 3"),
        "{metrics}"
    );
    assert!(
        metrics.contains("lenscap_gateway_uplinks_refused_total{reason=\"Request\"} 4"),
        "{metrics}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_token_and_anothers_key_do_not_go_together() {
    let gateway = TestGateway::start().await;
    let mut stream = gateway.dial(Some(&gateway.keys.camera)).await;
    let fields = format!("{DIRECT}Authorization: Bearer {TOKEN}\r\n");
    let reply = upgrade(&mut stream, "/onvif/uplink", &fields).await;
    assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
}

#[tokio::test]
async fn plain_text_on_the_tls_port_is_a_failed_handshake() {
    use tokio::io::AsyncWriteExt as _;
    let gateway = TestGateway::start().await;
    let mut stream = tokio::net::TcpStream::connect(gateway.addresses.uplink)
        .await
        .unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    within("the connection to close", stream.read_to_end(&mut rest))
        .await
        .ok();
    let (_, body) = gateway.http("GET", "/metrics", "", b"").await;
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("uplinks_refused_total{reason=\"Tls\"} 1")
    );
}

#[tokio::test]
async fn the_newest_uplink_takes_new_sessions_and_the_old_one_is_left_alone() {
    let gateway = TestGateway::start().await;
    let mut old = gateway.front(Play::Frames(3, 10)).await;
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    assert_eq!(viewer.request("DESCRIBE", "", "").await.status(), 200);
    old.next_request().await;
    let mut new = gateway.front(Play::Silent).await;
    within("both uplinks", async {
        while gateway.metric("uplinks").await < 2.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut second = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    assert_eq!(second.request("DESCRIBE", "", "").await.status(), 200);
    assert!(new.next_request().await.starts_with("DESCRIBE"));
    viewer.play().await;
    viewer.read_frames(3 * 14).await;
    assert!(!old.task.is_finished());
    new.task.abort();
    within("the new uplink to go", async {
        while gateway.metric("uplinks").await > 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut third = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    assert_eq!(third.request("DESCRIBE", "", "").await.status(), 200);
}

#[tokio::test]
async fn stopping_ends_sessions_in_order() {
    let gateway = TestGateway::start().await;
    let (mut agent, mut viewer) = gateway.watched(Play::Silent).await;
    gateway.stop().await;
    assert_eq!(agent.next().await, Seen::Closed(1001));
    viewer.closed().await;
    within("the agent's connection to end", agent.task).await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_bad_one_is_not() {
    let mut gateway = TestGateway::start().await;
    let next = self_signed("localhost");
    let folder = gateway.folder.path().to_owned();
    std::fs::write(folder.join("gw.pem"), next.cert.pem()).unwrap();
    gateway.reloader.reload();
    drop(gateway.dial(None).await);
    write_private(&folder.join("gw.key"), &next.signing_key.serialize_pem());
    gateway.reloader.reload();
    gateway.keys.server = next;
    drop(gateway.dial(None).await);
}
