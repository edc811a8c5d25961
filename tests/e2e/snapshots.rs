//! `GET /cameras/<camera>/<profile>.jpg`: the camera's own bytes, and errors that say what failed.

use std::fs;
use std::time::{Duration, Instant};

use lenscap_tests::harness::{Codec, Simcam, Stand, TestDir, media};

/// The longest a snapshot may take, whatever the camera does.
const SNAPSHOT_BOUND: Duration = Duration::from_secs(25);

#[track_caller]
fn equals_the_cameras(test: &str, auth: &'static str, quirk: Option<&str>) {
    let dir = TestDir::new(test);
    let mut camera = Simcam::playing(Codec::H264).snapshot().auth(auth);
    if let Some(quirk) = quirk {
        camera = camera.quirk(quirk);
    }
    let stand = Stand::new(&dir, camera.start(&dir));
    let expected = fs::read(media::jpeg()).expect("the snapshot file");
    // Twice: the second time the nonce is known already.
    for _ in 0..2 {
        let response = stand.gateway.get("/cameras/front/main.jpg");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header("content-type"), Some("image/jpeg"));
        assert_eq!(response.body.len(), expected.len());
        assert!(
            response.body == expected,
            "the snapshot's bytes are not the camera's"
        );
    }
}

#[test]
fn open_camera() {
    equals_the_cameras("snapshots::open", "none", None);
}

#[test]
fn basic() {
    equals_the_cameras("snapshots::basic", "basic", None);
}

#[test]
fn digest_md5() {
    equals_the_cameras("snapshots::digest_md5", "digest-md5", None);
}

#[test]
fn digest_sha256() {
    equals_the_cameras("snapshots::digest_sha256", "digest-sha256", None);
}

#[test]
fn chunked() {
    equals_the_cameras("snapshots::chunked", "digest-md5", Some("snapshot-chunked"));
}

#[test]
fn too_large() {
    let (status, took) = fails("snapshots::too_large", "snapshot-oversize");
    assert_eq!(status, 502);
    assert!(took < SNAPSHOT_BOUND, "{took:?}");
}

#[test]
fn never_answered() {
    let (status, took) = fails("snapshots::never_answered", "snapshot-stall");
    assert_eq!(status, 504);
    assert!(took < SNAPSHOT_BOUND, "{took:?}");
}

#[track_caller]
fn fails(test: &str, quirk: &str) -> (u16, Duration) {
    let dir = TestDir::new(test);
    let camera = Simcam::playing(Codec::H264).snapshot().quirk(quirk).start(&dir);
    let mut stand = Stand::new(&dir, camera);
    let start = Instant::now();
    let response = stand.gateway.get("/cameras/front/main.jpg");
    let took = start.elapsed();
    let text = response.text();
    assert!(
        !text.is_empty() && text.trim_end().lines().count() == 1,
        "one line that says why: {text:?}"
    );
    assert!(
        !text.contains("127.0.0.1"),
        "an address crossed the uplink: {text:?}"
    );
    stand.agent.process.assert_running();
    // The uplink carries on: another request is served at once.
    assert_eq!(stand.gateway.agent_status("front")["profiles"][0], "main");
    (response.status, took)
}
