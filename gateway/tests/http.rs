//! The HTTP API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn cameras_status_and_snapshots() {
    let gateway = TestGateway::start().await;
    assert_eq!(
        gateway.http("GET", "/healthz", "", b"").await,
        (200, b"ok\n".to_vec())
    );
    assert_eq!(
        gateway.http("GET", "/cameras/front/main.jpg", "", b"").await.0,
        503
    );
    let _agent = gateway.front(Play::Silent).await;
    let list = gateway
        .wait_for(|list| list.contains("\"profiles\":[\"main\",\"sub\"]"))
        .await;
    assert!(
        list.contains("\"agent_version\":\"1.2.3\"") && list.contains("\"peer\":\"127.0.0.1:"),
        "{list}"
    );
    assert!(
        list.contains("{\"name\":\"back\",\"online\":false,\"since\":null,\"peer\":null"),
        "{list}"
    );
    let (status, body) = gateway.http("GET", "/cameras/front/status", "", b"").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(b"{\"version\":\"1.2.3\""));
    let (status, body) = gateway.http("GET", "/cameras/front/main.jpg", "", b"").await;
    assert_eq!((status, body), (200, vec![0xFF; 300_000]));
    for (path, status) in [
        ("/cameras/front/other.jpg", 404),
        ("/cameras/front/broken.jpg", 502),
        ("/cameras/front/slow.jpg", 504),
        ("/cameras/front/huge.jpg", 502),
        ("/cameras/front/a%2Fb.jpg", 404),
        ("/cameras/front/main.png", 404),
        ("/cameras/nothere/main.jpg", 404),
        ("/cameras/back/status", 503),
        ("/nothere", 404),
    ] {
        assert_eq!(gateway.http("GET", path, "", b"").await.0, status, "{path}");
    }
    let (_, body) = gateway.http("GET", "/metrics", "", b"").await;
    let metrics = String::from_utf8(body).unwrap();
    for line in [
        "lenscap_gateway_uplinks 1",
        "lenscap_gateway_snapshots_total{result=\"Ok\"} 1",
        "lenscap_gateway_snapshots_total{result=\"Timeout\"} 1",
        "lenscap_gateway_snapshots_total{result=\"Offline\"} 1",
        "lenscap_gateway_snapshots_total{result=\"Error\"} 2",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line:?} in\n{metrics}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_browser_takes_nothing_of_a_camera_for_a_page() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Silent).await;
    for path in ["status", "audit", "main.jpg"] {
        let head = within(path, async {
            loop {
                let path = format!("/cameras/front/{path}");
                let (head, _) = gateway.reply(("localhost", "GET", &path), "", b"").await;
                if head.starts_with("http/1.1 200 ") {
                    return head;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        for field in ["x-content-type-options: nosniff", "cache-control: no-store"] {
            assert!(head.contains(field), "{path}: {head}");
        }
    }
}

/// One request; the connection stays. Empty if the gateway has ended it.
async fn asks(stream: &mut TcpStream) -> String {
    let mut reply = vec![0; 1000];
    let request = stream.write_all(b"GET /cameras HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let length = match request.await {
        Ok(()) => within("an answer or an end", stream.read(&mut reply)).await,
        Err(error) => Err(error),
    };
    reply.truncate(length.unwrap_or(0));
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test]
async fn strangers_of_one_address_have_few_places() {
    let gateway = TestGateway::start().await;
    let connect = || TcpStream::connect(gateway.addresses.http.unwrap());
    let mut strangers = Vec::new();
    for _ in 0..lenscap_gateway::net::MAX_STRANGERS_PER_ADDRESS {
        strangers.push(connect().await.unwrap());
    }
    assert_eq!(asks(&mut connect().await.unwrap()).await, "");
    // Who may come in makes room.
    let mut first = strangers.remove(0);
    assert!(asks(&mut first).await.starts_with("HTTP/1.1 200 "));
    assert!(
        asks(&mut connect().await.unwrap())
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn moves_are_passed_on() {
    let gateway = TestGateway::start().await;
    let mut agent = gateway.front(Play::Silent).await;
    assert_eq!(gateway.http("POST", "/cameras/front/move", "", b"").await.0, 202);
    assert_eq!(agent.next().await, Seen::Moved(None));
    let body = br#"{"target":"https://next.example/onvif/uplink"}"#;
    assert_eq!(gateway.http("POST", "/cameras/front/move", "", body).await.0, 202);
    assert_eq!(
        agent.next().await,
        Seen::Moved(Some("https://next.example/onvif/uplink".to_owned()))
    );
    let body = br#"{"target":"https://elsewhere.example/"}"#;
    assert_eq!(gateway.http("POST", "/cameras/front/move", "", body).await.0, 403);
    for bad in [
        &br#"{"target":"http://plain.example/"}"#[..],
        b"{",
        br#"{"other":1}"#,
    ] {
        assert_eq!(gateway.http("POST", "/cameras/front/move", "", bad).await.0, 400);
    }
    assert_eq!(gateway.http("POST", "/cameras/back/move", "", b"").await.0, 503);
}

/// Without a token, only the programs of this machine may ask, and a browser's pages are none of them.
#[tokio::test]
async fn web_pages_cannot_use_an_open_api() {
    let gateway = TestGateway::start().await;
    for fields in ["Origin: http://evil.example\r\n", "Origin: null\r\n"] {
        let (status, _) = gateway.http("POST", "/cameras/front/move", fields, b"").await;
        assert_eq!(status, 403, "{fields}");
    }
    let port = gateway.addresses.http.unwrap().port();
    for (host, expected) in [
        ("evil.example".to_owned(), 403),
        (format!("evil.example:{port}"), 403),
        (format!("localhost:{port}"), 200),
        (format!("127.0.0.1:{port}"), 200),
        ("[::1]".to_owned(), 200),
    ] {
        let (status, _) = gateway.http_to(&host, "GET", "/cameras", "", b"").await;
        assert_eq!(status, expected, "{host}");
    }
    let own = format!("Origin: http://localhost:{port}\r\n");
    let host = format!("localhost:{port}");
    let (status, _) = gateway.http_to(&host, "GET", "/cameras", &own, b"").await;
    assert_eq!(status, 200);
}
