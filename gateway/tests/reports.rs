//! Audits and flows: fetched, kept, shown, measured, exported; and what a camera that lies can do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use lenscap_gateway::uplink::carrier::CarrierStream;
use support::*;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

const NOW_MS: u64 = 1_900_000_000_000;
const FAST: &str = "[reports]\nflows_every_s = 1\naudit_every_s = 1\n";

/// What a camera answers to one request.
enum Answer {
    Body(u16, Bytes),
    /// Bytes without end.
    Endless,
    /// A head and then nothing.
    Stall,
}

fn json(text: impl Into<String>) -> Answer {
    Answer::Body(200, text.into().into())
}

/// Answers `GET /flows?since=` and `GET /audit`; everything that was asked comes out of the channel.
async fn camera(
    gateway: &TestGateway,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> mpsc::UnboundedReceiver<String> {
    let mut stream = gateway.dial(Some(&gateway.keys.camera)).await;
    let reply = upgrade(&mut stream, "/onvif/uplink", "Upgrade: h2c-reverse\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    let (asked, seen) = mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        let mut connection = h2::server::Builder::new()
            .enable_connect_protocol()
            .handshake::<_, Bytes>(CarrierStream::Direct(stream))
            .await
            .unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let _ = asked.send(request.uri().path_and_query().unwrap().to_string());
            tokio::spawn(serve(request, respond, Arc::clone(&answer)));
        }
    });
    seen
}

async fn serve(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    answer: Arc<impl Fn(&str) -> Answer>,
) {
    let answer = answer(request.uri().path_and_query().unwrap().as_str());
    let status = match answer {
        Answer::Body(status, _) => status,
        Answer::Endless | Answer::Stall => 200,
    };
    let head = http::Response::builder().status(status).body(()).unwrap();
    let Ok(mut send) = respond.send_response(head, false) else {
        return;
    };
    match answer {
        Answer::Body(_, body) => {
            let _ = write(&mut send, body, None).await;
            let _ = send.send_data(Bytes::new(), true);
        }
        Answer::Endless => while write(&mut send, vec![b'x'; 16_384].into(), None).await.is_ok() {},
        Answer::Stall => {
            let _ = write(&mut send, "{".into(), None).await;
            std::future::pending::<()>().await;
        }
    }
}

fn head(epoch: &str, cursor: u64) -> String {
    format!(
        "{{\"epoch\":\"{epoch}\",\"cursor\":{cursor},\"time_ms\":{NOW_MS},\"samples\":3,\
         \"unexplained\":{{\"bytes_out\":77,\"bytes_in\":0,\"packets_out\":1,\"packets_in\":0}},\"blind\":[\"UDP\"]}}\n"
    )
}

fn flow(cursor: u64, bytes_out: u64) -> String {
    format!(
        "{{\"cursor\":{cursor},\"peer\":\"203.0.113.7\",\"local\":\"192.168.1.20\",\"protocol\":\"udp\",\"port\":53,\
         \"direction\":\"out\",\"program\":\"/usr/sbin/ntpd\",\"source\":\"conntrack\",\"bytes_out\":{bytes_out},\
         \"bytes_in\":0,\"packets_out\":{cursor},\"packets_in\":0,\"connections\":1,\"first_ms\":{NOW_MS},\"last_ms\":{NOW_MS}}}\n"
    )
}

/// Answers like an agent whose flow grows by 100 bytes a sample.
fn growing(path: &str) -> Answer {
    static SAMPLE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    if path.starts_with("/flows?since=") {
        let sample = SAMPLE.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        return json(head("a", sample) + &flow(sample, sample * 100));
    }
    json(AUDIT)
}

const AUDIT: &str = "{\"format\":\"lenscap-audit/1\",\"rules\":[{\"id\":\"telnet.off\",\"verdict\":\"pass\"},\
                     {\"id\":\"clock.set\",\"verdict\":\"unknown\",\"evidence\":[{\"text\":\"<script>\"}]}]}";

async fn body(gateway: &TestGateway, path: &str, wanted: &str) -> String {
    within(&format!("{wanted} in {path}"), async {
        loop {
            let (_, body) = gateway.http("GET", path, "", b"").await;
            let text = String::from_utf8(body).unwrap();
            if text.contains(wanted) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn reports_are_fetched_shown_and_measured() {
    let gateway = TestGateway::start_with("", "", FAST).await;
    for path in ["/cameras/front/audit", "/cameras/front/flows"] {
        assert_eq!(gateway.http("GET", path, "", b"").await.0, 404);
    }
    let mut asked = camera(&gateway, |path| match path {
        // The accounts began anew between the first answer and the second.
        "/flows?since=0" => json(head("b", 2) + &flow(1, 10) + &flow(2, 30)),
        path if path.starts_with("/flows") => json(head("c", 9)),
        _ => json(AUDIT),
    })
    .await;
    assert_eq!(body(&gateway, "/cameras/front/audit", "clock.set").await, AUDIT);
    let flows: serde_json::Value =
        serde_json::from_str(&body(&gateway, "/cameras/front/flows", "\"epoch\":\"b\"").await).unwrap();
    assert_eq!(
        (&flows["camera"], &flows["blind"][0]),
        (&"front".into(), &"UDP".into())
    );
    assert_eq!(flows["unexplained"]["bytes_out"], 77);
    assert_eq!(flows["flows"].as_array().unwrap().len(), 1);
    assert_eq!(flows["flows"][0]["bytes_out"], 30);
    assert_eq!(
        (&flows["flows"][0]["protocol"], &flows["flows"][0]["packets_in"]),
        (&"udp".into(), &0.into())
    );
    // `since` is the cursor that is known; another epoch is asked for from its beginning.
    let mut seen = Vec::new();
    within("the same accounts from their beginning", async {
        while seen.iter().filter(|path| *path == "/flows?since=0").count() < 2 {
            seen.push(asked.recv().await.unwrap());
        }
    })
    .await;
    assert!(seen.contains(&"/flows?since=2".to_owned()), "{seen:?}");
    let metrics = body(&gateway, "/metrics", "lenscap_audit_rule{").await;
    for line in [
        "lenscap_audit_rule{camera=\"front\",rule=\"telnet.off\",verdict=\"pass\"} 1",
        "lenscap_audit_rule{camera=\"front\",rule=\"clock.set\",verdict=\"unknown\"} 1",
        "lenscap_audit_verdicts{verdict=\"fail\"} 0",
        "lenscap_audit_verdicts{verdict=\"unknown\"} 1",
        "lenscap_audit_left_out 0",
        "lenscap_flows_unexplained_bytes{camera=\"front\",direction=\"out\"} 77",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line:?} in\n{metrics}");
    }
    assert_eq!(metrics.matches("# EOF").count(), 1);
    assert_eq!(
        gateway.http("GET", "/cameras/nothere/audit", "", b"").await.0,
        404
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_reports_and_exports_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let collector = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let more = format!(
        "{FAST}state_dir = \"{}\"\n[ipfix]\ncollector = \"{}\"\n",
        folder.path().join("reports").display(),
        collector.local_addr().unwrap()
    );
    let answer = |path: &str| match path {
        "/flows?since=0" => json(head("a", 2) + &flow(2, 500)),
        path if path.starts_with("/flows") => json(head("a", 2)),
        _ => json(AUDIT),
    };
    let gateway = TestGateway::start_with("", "", &more).await;
    let _asked = camera(&gateway, answer).await;
    body(&gateway, "/cameras/front/flows", "\"bytes_out\":500").await;
    body(&gateway, "/cameras/front/audit", "clock.set").await;
    let mut message = [0; 2000];
    let length = within("a message", collector.recv(&mut message)).await.unwrap();
    assert_eq!(octets(&message[..length]), [500]);
    gateway.stop().await;

    let gateway = TestGateway::start_with("", "", &more).await;
    assert_eq!(
        gateway.http("GET", "/cameras/front/audit", "", b"").await.1,
        AUDIT.as_bytes()
    );
    let (_, flows) = gateway.http("GET", "/cameras/front/flows", "", b"").await;
    assert!(String::from_utf8(flows).unwrap().contains("\"bytes_out\":500"));
    let mut asked = camera(&gateway, answer).await;
    within("the next look", async {
        while asked.recv().await.unwrap() != "/flows?since=2" {}
    })
    .await;
    body(
        &gateway,
        "/metrics",
        "lenscap_gateway_reports_total{kind=\"flows\",result=\"ok\"}",
    )
    .await;
    let metrics = body(&gateway, "/metrics", "lenscap_gateway_ipfix_records_total").await;
    assert!(
        metrics.contains("lenscap_gateway_ipfix_records_total 0\n"),
        "{metrics}"
    );
    gateway.stop().await;
}

/// Octets of each data record of the layout for IPv4 with packets, after checking the message's frame.
fn octets(message: &[u8]) -> Vec<u64> {
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    assert_eq!(
        (number(&message[..2]), number(&message[2..4])),
        (10, message.len() as u64)
    );
    let (mut rest, mut found) = (&message[16..], Vec::new());
    while !rest.is_empty() {
        let (id, length) = (number(&rest[..2]), number(&rest[2..4]) as usize);
        if id == 256 {
            found.extend(rest[4..length].chunks(46).map(|record| number(&record[16..24])));
        }
        rest = &rest[length..];
    }
    found
}

#[tokio::test]
async fn a_collector_over_tcp_gets_templates_once_and_again_after_it_was_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = format!(
        "{FAST}[ipfix]\ncollector = \"{}\"\ntransport = \"tcp\"\n",
        listener.local_addr().unwrap()
    );
    let gateway = TestGateway::start_with("", "", &more).await;
    let _asked = camera(&gateway, growing).await;
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    for session in 0..2 {
        let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
        let mut sequences = Vec::new();
        for index in 0..2 {
            let mut message = vec![0; 16];
            within("a message", stream.read_exact(&mut message))
                .await
                .unwrap();
            let length = number(&message[2..4]) as usize;
            message.resize(length, 0);
            within("the rest", stream.read_exact(&mut message[16..]))
                .await
                .unwrap();
            let first_set = number(&message[16..18]);
            assert_eq!(first_set, if index == 0 { 2 } else { 256 }, "session {session}");
            sequences.push(number(&message[8..12]));
            let expected = if session == 0 && index == 0 {
                vec![octets(&message)[0]]
            } else {
                vec![100]
            };
            assert_eq!(octets(&message), expected);
        }
        // The options record with the camera's name, and one flow.
        assert_eq!(sequences, [0, 2]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn garbage_and_floods_are_refused_and_counted() {
    let gateway = TestGateway::start_with("", "", FAST).await;
    let round = std::sync::atomic::AtomicUsize::new(0);
    let mut asked = camera(&gateway, move |path| {
        let round = round.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 4;
        match (path.starts_with("/flows"), round) {
            (_, 0) => Answer::Endless,
            (_, 1) => Answer::Body(200, vec![b'['; 400_000].into()),
            (true, 2) => json(head("a", 1) + &"{}\n".repeat(100_000)),
            (_, 2) => Answer::Body(200, vec![b'{'; 9 << 20].into()),
            _ => Answer::Body(200, vec![0xff; 100].into()),
        }
    })
    .await;
    // An interval of a second, and both reports: every kind of answer comes to each.
    for _ in 0..10 {
        within("the camera to be asked again", asked.recv())
            .await
            .unwrap();
    }
    let metrics = body(&gateway, "/metrics", "kind=\"audit\",result=\"bad\"").await;
    assert!(metrics.contains("kind=\"flows\",result=\"bad\""), "{metrics}");
    assert!(!metrics.contains("lenscap_audit_rule{"), "{metrics}");
    for path in ["/cameras/front/audit", "/cameras/front/flows"] {
        assert_eq!(gateway.http("GET", path, "", b"").await.0, 404);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up() {
    let gateway = TestGateway::start_with("", "", FAST).await;
    let _asked = camera(&gateway, |path| {
        if path == "/status" {
            json("{}")
        } else {
            Answer::Stall
        }
    })
    .await;
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (status, metrics) = gateway.http("GET", "/metrics", "", b"").await;
        assert_eq!(status, 200);
        let metrics = String::from_utf8(metrics).unwrap();
        if metrics.contains("lenscap_gateway_reports_total{kind=\"flows\",result=\"failed\"}") {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{metrics}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The uplink is as good as before.
    assert_eq!(gateway.http("GET", "/cameras/front/status", "", b"").await.0, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_camera_is_asked_to_look_again() {
    let gateway = TestGateway::start().await;
    assert_eq!(gateway.http("POST", "/cameras/front/audit", "", b"").await.0, 503);
    let looked = std::sync::atomic::AtomicUsize::new(0);
    let _asked = camera(&gateway, move |path| {
        use std::sync::atomic::Ordering;
        match path {
            "/audit?again" if looked.fetch_add(1, Ordering::Relaxed) == 0 => Answer::Body(202, Bytes::new()),
            "/audit?again" => Answer::Body(403, Bytes::new()),
            "/audit" if looked.load(Ordering::Relaxed) > 0 => json(AUDIT.replace("unknown", "fail")),
            "/audit" => json(AUDIT),
            _ => Answer::Body(404, Bytes::new()),
        }
    })
    .await;
    body(&gateway, "/cameras/front/audit", "unknown").await;
    assert_eq!(gateway.http("POST", "/cameras/front/audit", "", b"").await.0, 202);
    // The interval is an hour here.
    body(&gateway, "/cameras/front/audit", "fail").await;
    assert_eq!(gateway.http("POST", "/cameras/front/audit", "", b"").await.0, 403);
    gateway.stop().await;
}

#[tokio::test]
async fn a_camera_without_reports_is_asked_less_and_less() {
    let gateway = TestGateway::start().await;
    let mut asked = camera(&gateway, |_| Answer::Body(404, Bytes::new())).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(within("a request", asked.recv()).await.unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["/audit", "/flows?since=0", "/status"]);
    body(&gateway, "/metrics", "kind=\"audit\",result=\"none\"} 1").await;
    gateway.stop().await;
}
