//! The agent's event loop against a gateway made of the `h2` crate and a scripted camera.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Not on a camera.
#![allow(clippy::disallowed_methods)]

mod camera;
mod claims;
mod gateway;

use std::path::Path;
use std::thread::JoinHandle;

use camera::Camera;
use gateway::{PATIENCE, Pki, TestGateway, soon};
use lenscap::run::{Agent, Handle, RunError};

/// A folder with what an agent needs, and the agent.
struct Setup {
    dir: tempfile::TempDir,
    pki: Pki,
}

/// An agent that runs in a thread of its own.
struct Running {
    handle: Handle,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        pki.write(dir.path());
        write_secret(&dir.path().join("token"), "s3cret-token");
        write_secret(&dir.path().join("pw"), "s3cret-pw");
        std::fs::write(dir.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
        std::fs::write(dir.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        Self { dir, pki }
    }

    /// Writes the configuration: endpoints, and profiles as `(name, RTSP port, snapshot port)`.
    fn configure(&self, endpoints: &[String], profiles: &[(&str, u16, u16)]) {
        let dir = self.dir.path().display();
        let mut text = format!(
            "config agent\n\toption state_dir '{dir}'\n\toption run_dir '{dir}/run'\n\toption resolv_conf '{dir}/resolv.conf'\n\
             \toption hosts '{dir}/hosts'\n\nconfig uplink 'main'\n\toption ca_file '{dir}/ca.pem'\n\
             \toption token_file '{dir}/token'\n"
        );
        for endpoint in endpoints {
            text.push_str(&format!("\tlist endpoint '{endpoint}'\n"));
        }
        for (name, rtsp, snapshot) in profiles {
            text.push_str(&format!(
                "\nconfig profile '{name}'\n\toption rtsp 'rtsp://127.0.0.1:{rtsp}/stream=0'\n\
                 \toption snapshot 'http://127.0.0.1:{snapshot}/image.jpg'\n\
                 \toption user 'cam'\n\toption password_file '{dir}/pw'\n"
            ));
        }
        std::fs::write(self.config_path(), text).unwrap();
    }

    fn config_path(&self) -> std::path::PathBuf {
        self.dir.path().join("lenscap")
    }

    fn start(&self) -> Running {
        let path = self.config_path();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let loaded = lenscap::config::load(&path).unwrap();
            let (agent, handle) = Agent::new(&path, loaded).unwrap();
            sender.send(handle).unwrap();
            agent.run()
        });
        Running {
            handle: receiver.recv_timeout(PATIENCE).unwrap(),
            thread,
        }
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn https(gateway: &TestGateway) -> String {
    format!("https://localhost:{}/onvif/uplink", gateway.port)
}

impl Running {
    /// Ends the agent in good order.
    async fn end(self) {
        self.handle.terminate();
        self.joined().await;
    }

    async fn joined(self) {
        soon(
            "the agent's end",
            tokio::task::spawn_blocking(|| self.thread.join().unwrap().unwrap()),
        )
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_for_operators_and_as_they_are_now() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&gateway)], &[("main", 9, 9)]);
    let run_dir = setup.dir.path().join("run");
    std::fs::create_dir(&run_dir).unwrap();
    let agent = setup.start();
    let mut live = gateway.next().await.accept().await;
    for path in ["/audit", "/flows", "/flows?since=3"] {
        assert_eq!(
            live.request("GET", path, &[]).await.0,
            404,
            "{path}: there is none yet"
        );
    }
    let (_, _, body) = live.request("GET", "/status", &[]).await;
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status["hardening"], serde_json::Value::Null);

    std::fs::write(run_dir.join("audit.json"), "{\"verdict\":\"fail\"}\n").unwrap();
    let lines = "{\"epoch\":\"a\"}\n{\"cursor\":2}\n{\"cursor\":5}\n";
    std::fs::write(run_dir.join("flows.jsonl"), lines).unwrap();
    let looked = "{\n\"verdict\": \"holds\",\n\"gave_up\": false\n}\n";
    std::fs::write(run_dir.join("harden.json"), looked).unwrap();
    let (status, headers, body) = live.request("GET", "/audit", &[]).await;
    assert_eq!(
        (status, headers["content-type"].as_bytes()),
        (200, &b"application/json"[..])
    );
    assert_eq!(body, b"{\"verdict\":\"fail\"}\n");
    let (status, headers, body) = live.request("GET", "/flows?since=2", &[]).await;
    assert_eq!(
        (status, headers["content-type"].as_bytes()),
        (200, &b"application/jsonl"[..])
    );
    assert_eq!(body, b"{\"epoch\":\"a\"}\n{\"cursor\":5}\n");
    assert_eq!(live.request("GET", "/flows", &[]).await.2, lines.as_bytes());
    let (_, _, body) = live.request("GET", "/status", &[]).await;
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&status["hardening"]["verdict"], &status["hardening"]["gave_up"]),
        (&"holds".into(), &false.into())
    );
    // Nobody makes one where there is no monitor.
    assert_eq!(live.request("GET", "/audit?again", &[]).await.0, 503);

    let text = std::fs::read_to_string(setup.config_path()).unwrap();
    let viewer = text.replace(
        "config uplink 'main'\n",
        "config uplink 'main'\n\toption level 'viewer'\n",
    );
    std::fs::write(setup.config_path(), viewer).unwrap();
    agent.handle.reload();
    let mut live = gateway.next().await.accept().await;
    for path in ["/audit", "/audit?again", "/flows"] {
        assert_eq!(live.request("GET", path, &[]).await.0, 403, "{path}");
    }
    assert_eq!(live.request("GET", "/status", &[]).await.0, 200);
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&gateway)], &[("main", 9, camera::snapshots())]);
    let agent = setup.start();
    let asked = gateway.next().await;
    assert!(
        asked.head.starts_with("GET /onvif/uplink HTTP/1.1\r\n"),
        "{}",
        asked.head
    );
    assert_eq!(asked.header("authorization"), Some("Bearer s3cret-token"));
    let mut live = asked.accept().await;

    let (status, headers, body) = live.request("GET", "/status", &[]).await;
    assert_eq!(
        (status, headers["content-type"].as_bytes()),
        (200, &b"application/json"[..])
    );
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["uplink"]["name"], "main");
    assert_eq!(json["uplink"]["phase"], "live");
    assert_eq!(json["profiles"], serde_json::json!(["main"]));
    assert_eq!(json["sessions"], 0);
    assert!(json["audit"].is_null());

    let (status, headers, body) = live.request("GET", "/snapshot/main", &[]).await;
    assert_eq!((status, body.as_slice()), (200, camera::JPEG));
    assert_eq!(headers["content-type"], "image/jpeg");
    assert_eq!(headers["content-length"], camera::JPEG.len().to_string().as_str());
    assert_eq!(live.request("GET", "/snapshot/other", &[]).await.0, 404);

    for path in ["/", "/audit", "/flows", "/onvif/device_service"] {
        assert_eq!(live.request("GET", path, &[]).await.0, 404, "{path}");
    }
    let (status, headers, _) = live.request("POST", "/status", &[]).await;
    assert_eq!((status, headers["allow"].as_bytes()), (405, &b"GET"[..]));
    assert_eq!(live.request("GET", "/rtsp", &[]).await.0, 405);
    assert_eq!(
        live.request("POST", "/uplink/move", &[("location", "http://localhost/")])
            .await
            .0,
        400
    );
    assert_eq!(
        live.request("POST", "/uplink/move", &[("location", "https://evil.example/")])
            .await
            .0,
        403
    );
    agent.end().await;
}

/// Plays, and sees the three packets of the camera.
async fn play(rtsp: &mut gateway::Rtsp) {
    let described = rtsp.ask("DESCRIBE", "rtsp://any/main", "").await;
    assert!(described.starts_with("RTSP/1.0 200"), "{described}");
    assert!(!described.contains("192.168.1.10"), "{described}");
    let control = described
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("a=control:"))
        .unwrap();
    let uri = format!("rtsp://any/main/{control}");
    let setup = rtsp
        .ask(
            "SETUP",
            &uri,
            "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        )
        .await;
    assert!(setup.starts_with("RTSP/1.0 200"), "{setup}");
    let played = rtsp.ask("PLAY", "rtsp://any/main", "Session: 77\r\n").await;
    assert!(played.starts_with("RTSP/1.0 200"), "{played}");
    for sequence in 0..3u16 {
        let (channel, packet) = rtsp.frame().await;
        assert_eq!((channel, &packet[2..4]), (0, &sequence.to_be_bytes()[..]));
        assert_eq!(packet.len(), 12 + 902);
    }
}

async fn session_over(scheme: &str) {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    let camera = Camera::rtsp();
    setup.configure(
        &[format!("{scheme}://localhost:{}/up", gateway.port)],
        &[("main", camera.port, 9)],
    );
    let agent = setup.start();
    let mut live = gateway.accept().await;
    let mut rtsp = live.rtsp().await;
    play(&mut rtsp).await;
    rtsp.close().await;
    camera.wait_for("TEARDOWN");
    let (_, _, body) = live.request("GET", "/status", &[]).await;
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["counters"]["sessions"], 1);
    assert_eq!(json["counters"]["rtp_packets_in"], 3);
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_plays_over_h2c_reverse() {
    session_over("https").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_plays_inside_a_websocket() {
    session_over("wss").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_camera_is_an_error_to_the_viewer_and_no_more() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    setup.configure(&[https(&gateway)], &[("main", nobody, nobody)]);
    let agent = setup.start();
    let mut live = gateway.accept().await;
    let mut rtsp = live.rtsp().await;
    let reply = rtsp.ask("DESCRIBE", "rtsp://any/main", "").await;
    assert!(reply.starts_with("RTSP/1.0 5"), "{reply}");
    assert!(!reply.contains("127.0.0.1"), "{reply}");
    let (status, _, body) = live.request("GET", "/snapshot/main", &[]).await;
    assert_eq!(status, 502);
    assert!(!String::from_utf8_lossy(&body).contains("127.0.0.1"));
    assert_eq!(live.request("GET", "/status", &[]).await.0, 200);
    agent.end().await;
}

/// Nothing but the agent's own timer wakes it here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_camera_is_given_up_in_time() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&gateway)], &[("main", camera::silent(), 9)]);
    let agent = setup.start();
    let mut live = gateway.accept().await;
    let mut rtsp = live.rtsp().await;
    let reply = rtsp.ask("DESCRIBE", "rtsp://any/main", "").await;
    assert!(reply.starts_with("RTSP/1.0 504"), "{reply}");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_nobody_fetches_are_few() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&gateway)], &[("main", 9, camera::large_snapshots())]);
    let agent = setup.start();
    let mut live = gateway.accept().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let (status, body) = live.start("/snapshot/main").await;
        assert_eq!(status, 200);
        waiting.push(body);
    }
    // The head alone: those before have taken the whole window.
    assert_eq!(live.start("/snapshot/main").await.0, 503);
    // The gateway wants one no longer, and fetches the others.
    drop(waiting.pop());
    let fetch = |mut body: h2::RecvStream| async move {
        let mut length = 0;
        while let Some(data) = soon("an image", body.data()).await {
            length += data.as_ref().unwrap().len();
            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        length
    };
    // All together: one that is not read would take the window of the others.
    let lengths = futures_util::future::join_all(waiting.into_iter().map(fetch)).await;
    assert_eq!(lengths, [camera::LARGE_BYTES; 3]);
    let (status, _, body) = live.request("GET", "/snapshot/main", &[]).await;
    assert_eq!((status, body.len()), (200, camera::LARGE_BYTES));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_followed_and_the_token_stays_at_home() {
    let setup = Setup::new();
    let endpoint = TestGateway::new(&setup.pki).await;
    let streamer = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&endpoint)], &[("main", 9, 9)]);
    let agent = setup.start();
    let location = format!("https://localhost:{}/session?ticket=abc", streamer.port);
    let reply =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    endpoint.next().await.reply(&reply).await;
    let asked = streamer.next().await;
    assert!(
        asked.head.starts_with("GET /session?ticket=abc HTTP/1.1\r\n"),
        "{}",
        asked.head
    );
    let mut live = asked.accept().await;
    assert_eq!(live.request("GET", "/status", &[]).await.0, 200);
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_makes_before_it_breaks() {
    let setup = Setup::new();
    let first = TestGateway::new(&setup.pki).await;
    let second = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&first)], &[("main", 9, 9)]);
    let agent = setup.start();
    let mut old = first.accept().await;
    let (status, _, _) = old
        .request("POST", "/uplink/move", &[("location", &https(&second))])
        .await;
    assert_eq!(status, 202);
    let asked = second.next().await;
    assert_eq!(
        old.request("GET", "/status", &[]).await.0,
        200,
        "the old uplink serves while the new one is made"
    );
    let mut new = asked.accept().await;
    soon("the end of the old uplink", old.connection)
        .await
        .unwrap()
        .unwrap();
    let (_, _, body) = new.request("GET", "/status", &[]).await;
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["counters"]["moves"], 1);
    assert_eq!(json["uplink"]["peer"], format!("localhost:{}", second.port));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_tears_down_and_says_goodbye() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    let camera = Camera::rtsp();
    setup.configure(&[https(&gateway)], &[("main", camera.port, 9)]);
    let agent = setup.start();
    let mut live = gateway.accept().await;
    let mut rtsp = live.rtsp().await;
    play(&mut rtsp).await;
    agent.handle.terminate();
    camera.wait_for("TEARDOWN");
    rtsp.ended().await;
    drop(live.send);
    soon("GOAWAY", live.connection).await.unwrap().unwrap();
    agent.joined().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_swaps_profiles_and_a_broken_file_changes_nothing() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&gateway)], &[("main", 9, 9)]);
    let agent = setup.start();
    let mut live = gateway.accept().await;

    setup.configure(&[https(&gateway)], &[("main", 9, 9), ("sub", 9, 9)]);
    agent.handle.reload();
    wait_for_profiles(&mut live, serde_json::json!(["main", "sub"])).await;

    std::fs::write(
        setup.config_path(),
        "config uplink 'main'\n\toption endpoint 'gopher://x'\n",
    )
    .unwrap();
    agent.handle.reload();
    agent.handle.report();
    // The reload comes before any request that is sent after it.
    wait_for_profiles(&mut live, serde_json::json!(["main", "sub"])).await;
    setup.configure(&[https(&gateway)], &[("third", 9, 9)]);
    agent.handle.reload();
    wait_for_profiles(&mut live, serde_json::json!(["third"])).await;

    // A mistake that only shows when the uplink is made: nothing of the file counts, and the uplink stays up.
    setup.configure(&[https(&gateway)], &[("fourth", 9, 9)]);
    let text = std::fs::read_to_string(setup.config_path()).unwrap();
    std::fs::write(setup.config_path(), text.replace("/ca.pem'", "/pw'")).unwrap();
    agent.handle.reload();
    wait_for_profiles(&mut live, serde_json::json!(["third"])).await;

    let other = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&other)], &[("third", 9, 9)]);
    agent.handle.reload();
    let mut moved = other.accept().await;
    assert_eq!(moved.request("GET", "/status", &[]).await.0, 200);
    agent.end().await;
}

async fn wait_for_profiles(live: &mut gateway::Live, wanted: serde_json::Value) {
    soon("the profiles", async {
        loop {
            let (_, _, body) = live.request("GET", "/status", &[]).await;
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            if json["profiles"] == wanted {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_uplink_is_dialled_again() {
    let setup = Setup::new();
    let gateway = TestGateway::new(&setup.pki).await;
    setup.configure(&[https(&gateway)], &[("main", 9, 9)]);
    let agent = setup.start();
    let live = gateway.accept().await;
    live.connection.abort();
    drop(live);
    let mut again = gateway.accept().await;
    let (_, _, body) = again.request("GET", "/status", &[]).await;
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["counters"]["reconnects"], 1);
    agent.end().await;
}
