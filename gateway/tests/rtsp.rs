//! Viewers: logins, rewriting, media, back-pressure and losses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use support::*;
use tokio::io::AsyncWriteExt as _;

async fn plays(gateway: &TestGateway, agent: &mut Agent, path: &str, count: usize, size: usize) {
    let mut viewer = Viewer::connect(gateway, "alice", "secret", path).await;
    assert_eq!(viewer.request("OPTIONS", "", "").await.status(), 200);
    let reply = viewer
        .request("DESCRIBE", "?x=1", "Accept: application/sdp\r\n")
        .await;
    assert_eq!(reply.status(), 200);
    assert!(
        reply
            .head
            .contains(&format!("Content-Base: {}?x=1/\r\n", viewer.base())),
        "{}",
        reply.head
    );
    assert_eq!(reply.body, SDP.as_bytes());
    let seen = agent.next_request().await;
    assert_eq!(
        seen,
        "DESCRIBE rtsp://lenscap/main?x=1 RTSP/1.0\r\nCSeq: 3\r\nAccept: application/sdp\r\n\r\n"
    );
    viewer.play().await;
    viewer.read_frames(count * (size + 4)).await;
    let expected: Vec<u8> = (0..count).flat_map(|n| frame(n, size)).collect();
    assert!(viewer.frames == expected, "media must arrive byte for byte");
    for method in ["DESCRIBE", "SETUP", "PLAY"] {
        assert!(agent.next_request().await.starts_with(method));
    }
    viewer.stream.write_all(b"$\x01\x00\x04abcd").await.unwrap();
    assert_eq!(
        viewer.request("TEARDOWN", "", "Session: 77\r\n").await.status(),
        200
    );
    assert_eq!(
        agent.next_request().await,
        "$\u{1}\0\u{4}abcdTEARDOWN rtsp://lenscap/main RTSP/1.0\r\nCSeq: 7\r\nSession: 77\r\n\r\n"
    );
    drop(viewer);
    assert_eq!(agent.next().await, Seen::Closed(1000));
}

#[tokio::test]
async fn plays_over_the_direct_carrier() {
    let gateway = TestGateway::start().await;
    let mut agent = gateway.front(Play::Frames(3000, 1400)).await;
    plays(&gateway, &mut agent, "front/main", 3000, 1400).await;
    assert!(gateway.metric("sessions_opened_total").await >= 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn plays_over_the_websocket_carrier() {
    let gateway = TestGateway::start().await;
    let mut agent = gateway.back(Play::Frames(3000, 333)).await;
    plays(&gateway, &mut agent, "back/main", 3000, 333).await;
    gateway.stop().await;
}

#[tokio::test]
async fn logins_and_access() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Silent).await;
    for (user, password, path, status) in [
        ("alice", "wrong", "front/main", 401),
        ("mallory", "secret", "front/main", 401),
        ("bob", "secret", "front/main", 404),
        ("alice", "secret", "unknown/main", 404),
        ("alice", "secret", "back/main", 503),
        ("alice", "secret", "front/nothere", 404),
    ] {
        let mut viewer = Viewer::connect(&gateway, user, password, path).await;
        let reply = viewer.request("DESCRIBE", "", "").await;
        assert_eq!(reply.status(), status, "{user} {path}: {}", reply.head);
    }
    assert_eq!(gateway.metric("auth_failures_total").await, 2.0);
}

#[tokio::test]
async fn too_many_failed_logins_close_the_door_for_a_while() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Silent).await;
    let mut viewer = Viewer::connect(&gateway, "alice", "wrong", "front/main").await;
    for _ in 0..10 {
        assert_eq!(viewer.request("DESCRIBE", "", "").await.status(), 401);
    }
    let reply = viewer.request("DESCRIBE", "", "").await;
    assert_eq!(reply.status(), 503);
    assert!(reply.head.contains("Retry-After: "));
    viewer.closed().await;
    let mut honest = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    assert_eq!(honest.request("DESCRIBE", "", "").await.status(), 503);
}

#[tokio::test]
async fn udp_is_refused_and_garbage_is_cut() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Silent).await;
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    assert_eq!(viewer.request("SETUP", "/trackID=1", udp).await.status(), 461);
    viewer.stream.write_all(b"\x16\x03\x01garbage").await.unwrap();
    viewer.closed().await;
}

#[tokio::test]
async fn a_slow_viewer_is_felt_by_the_agent_and_others_go_on() {
    let gateway = TestGateway::start().await;
    let (mut agent, mut slow) = gateway.watched(Play::Flood).await;
    // The flood stops growing once the window, the gateway's queue and the kernel's buffers are full.
    let mut last = 0;
    loop {
        match tokio::time::timeout(Duration::from_secs(2), agent.seen.recv()).await {
            Ok(Some(Seen::Blocked(sent))) => last = sent,
            Ok(other) => panic!("{other:?}"),
            Err(_) => break,
        }
    }
    assert!(last > 2 << 20, "the window was not used: {last}");
    assert!(last < 16 << 20, "nothing held the agent back: {last}");
    let mut fast = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    fast.play().await;
    fast.read_frames(8 << 20).await;
    slow.read_frames(8 << 20).await;
    assert_eq!(slow.frames[..1404], frame(1, 1400)[..]);
}

#[tokio::test]
async fn replies_are_not_put_into_frames() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Flood).await;
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    viewer.play().await;
    for _ in 0..50 {
        assert_eq!(viewer.request("OPTIONS", "", "").await.status(), 200);
    }
    let pair = [frame(1, 1400), frame(2, 1400)].concat();
    for (n, chunk) in viewer.frames.chunks_exact(pair.len()).enumerate() {
        assert!(chunk == pair, "frame pair {n} is torn");
    }
}

#[tokio::test]
async fn a_lost_uplink_ends_its_viewers_at_once() {
    let gateway = TestGateway::start().await;
    let agent = gateway.front(Play::Frames(5, 100)).await;
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    viewer.play().await;
    viewer.read_frames(5 * 104).await;
    agent.task.abort();
    let start = std::time::Instant::now();
    viewer.closed().await;
    assert!(start.elapsed() < Duration::from_secs(5));
    gateway
        .wait_for(|list| list.contains("\"name\":\"front\",\"online\":false"))
        .await;
    let mut next = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    let reply = next.request("DESCRIBE", "", "").await;
    assert!(
        reply
            .head
            .starts_with("RTSP/1.0 503 Camera Offline\r\nCSeq: 2\r\n"),
        "{}",
        reply.head
    );
    assert_eq!(gateway.metric("sessions").await, 0.0);
}

#[tokio::test]
async fn slow_viewers_do_not_starve_another() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Flood).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut viewer = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
        viewer.play().await;
        slow.push(viewer);
    }
    let mut fast = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    fast.play().await;
    fast.read_frames(24 << 20).await;
    let (status, _) = gateway.http("GET", "/cameras/front/main.jpg", "", b"").await;
    assert_eq!(status, 200);
    for mut viewer in slow {
        viewer.read_frames(4 << 20).await;
    }
}

#[tokio::test]
async fn replies_of_a_viewer_go_nowhere() {
    let gateway = TestGateway::start().await;
    let (mut agent, mut viewer) = gateway.watched(Play::Silent).await;
    let reply = b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    viewer.stream.write_all(reply).await.unwrap();
    assert_eq!(
        viewer.request("TEARDOWN", "", "Session: 77\r\n").await.status(),
        200
    );
    let seen = agent.next_request().await;
    assert!(seen.starts_with("TEARDOWN "), "{seen}");
}

/// The camera must have its TEARDOWN before the uplink goes.
#[tokio::test]
async fn a_stalled_viewer_does_not_delay_the_end_at_the_agent() {
    let gateway = TestGateway::start().await;
    let mut agent = gateway.front(Play::Frames(3200, 1400)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.rtsp()).await.unwrap();
    let mut viewer = Viewer::over(stream, &gateway, "alice", "secret", "front/main");
    viewer.play().await;
    for _ in 0..3 {
        agent.next_request().await;
    }
    // Until the kernel takes no more and the rest waits in the gateway.
    let (mut before, mut taken) = (-1.0, 0.0);
    while taken > before {
        tokio::time::sleep(Duration::from_millis(300)).await;
        (before, taken) = (taken, gateway.metric("bytes_total{direction=\"Down\"}").await);
    }
    let start = std::time::Instant::now();
    let stopped = tokio::spawn(gateway.stop());
    assert_eq!(agent.next().await, Seen::Closed(1001));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    stopped.await.unwrap();
}

/// RFC 2326 section 9.1: replies come in the order of the requests.
#[tokio::test]
async fn replies_keep_the_order_of_pipelined_requests() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Silent).await;
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    viewer.play().await;
    for method in ["DESCRIBE", "OPTIONS", "GET_PARAMETER", "RECORD", "TEARDOWN"] {
        viewer.send(method, "", "").await;
    }
    for cseq in 5..=9 {
        let reply = viewer.reply().await.expect("a reply");
        assert!(
            reply.head.contains(&format!("\r\nCSeq: {cseq}\r\n")),
            "{}",
            reply.head
        );
    }
}

#[tokio::test]
async fn strangers_of_one_address_have_few_places() {
    let gateway = TestGateway::start().await;
    let _agent = gateway.front(Play::Silent).await;
    let mut inside = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    inside.play().await;
    let mut strangers = Vec::new();
    for _ in 0..lenscap_gateway::net::MAX_STRANGERS_PER_ADDRESS {
        let mut stranger = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
        assert_eq!(stranger.request("OPTIONS", "", "").await.status(), 200);
        strangers.push(stranger);
    }
    let mut late = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    late.closed().await;
    // A login makes room.
    let mut first = strangers.remove(0);
    assert_eq!(first.request("DESCRIBE", "", "").await.status(), 200);
    let mut next = Viewer::connect(&gateway, "alice", "secret", "front/main").await;
    assert_eq!(next.request("OPTIONS", "", "").await.status(), 200);
}
