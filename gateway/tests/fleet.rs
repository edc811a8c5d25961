//! Cameras find their owner: pending, claimed, released, handed on; and what owners let others see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use futures_util::future::join_all;
use lenscap_gateway::fleet::{pin, sealed};
use lenscap_gateway::rtsp::digest::hex;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use support::*;

async fn claim_by_pin(gateway: &TestGateway, camera: &Newcomer, name: &str) {
    let body = json!({"serial": camera.serial, "pin": camera.pin, "name": name, "account": "acme"});
    let (status, shown) = gateway.api("POST", "/claims", body).await;
    assert_eq!(status, 201, "{shown}");
    assert_eq!(shown["method"], "pin");
}

#[tokio::test]
async fn from_pending_to_video_and_back() {
    let mut gateway = TestGateway::start_kept().await;
    let mut camera = Newcomer::new("SN1");
    let reply = camera.waits(&gateway).await;
    assert_eq!(field(&reply, "Retry-After"), Some("10"));
    let (_, pending) = gateway.api("GET", "/pending", Value::Null).await;
    assert_eq!(pending[0]["serial"], "SN1");
    assert_eq!(pending[0]["fingerprint"], camera.fingerprint());
    assert_eq!(pending[0]["pin"], true);
    claim_by_pin(&gateway, &camera, "porch").await;
    assert_eq!(gateway.api("GET", "/pending", Value::Null).await.1, json!([]));
    // A claim is on the disk when it is acknowledged.
    gateway.restart().await;

    let (reply, mut agent) = camera.comes(&gateway, Play::Frames(3, 100)).await;
    let (public, proof) = introduced(&reply);
    let public: [u8; 65] = public.try_into().unwrap();
    let expected = pin::operator_proof(&camera.pin_key(), &camera.key(), &public);
    assert_eq!(proof, Some(expected.to_vec()), "shows that the PIN was known");
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "porch/main").await;
    viewer.play().await;
    viewer.read_frames(3 * 104).await;
    for _ in 0..3 {
        agent.next_request().await;
    }
    gateway
        .wait_for(|list| list.contains("\"name\":\"porch\",\"online\":true") && list.contains("\"main\""))
        .await;
    within("the audit", async {
        while gateway.api("GET", "/cameras/porch/audit", Value::Null).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (_, audit) = gateway.api("GET", "/cameras/porch/audit", Value::Null).await;
    assert_eq!(audit, json!({"rules": [{"id": "telnet", "verdict": "fail"}]}));

    // Released: the uplink ends at once, and with it the viewer.
    assert_eq!(
        gateway.api("POST", "/cameras/porch/release", Value::Null).await.0,
        204
    );
    viewer.closed().await;
    within("the uplink to end", agent.task).await.unwrap();
    assert_eq!(gateway.api("GET", "/cameras/porch", Value::Null).await.0, 404);
    let mut gone = Viewer::connect(&gateway, "alice", "secret", "porch/main").await;
    assert_eq!(gone.request("DESCRIBE", "", "").await.status(), 404);

    // It is told so in the operator's own hand, and can be claimed again with the same label.
    camera.operator = hex(&lenscap_gateway::tls::sha256(&public)[..8]);
    let reply = camera.waits(&gateway).await;
    let release = field(&reply, "Lenscap-Release").expect(&reply);
    let (head, signature) = release.split_once(", sig=").unwrap();
    let issued = head
        .strip_prefix(&format!("key={}, issued=", camera.operator))
        .unwrap();
    let message = format!("lenscap-release-1\n{}\n{issued}", hex(&camera.key()));
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public)
        .verify(message.as_bytes(), &sealed::decode(signature).unwrap())
        .unwrap();
    camera.operator = "none".to_owned();
    camera.waits(&gateway).await;
    claim_by_pin(&gateway, &camera, "porch").await;
    let (_, _agent) = camera.comes(&gateway, Play::Silent).await;
    gateway.stop().await;
}

#[tokio::test]
async fn wrong_pins_are_few_and_another_key_with_the_serial_does_not_help() {
    let gateway = TestGateway::start_kept().await;
    let camera = Newcomer::new("SN1");
    // Says the serial of the other, but does not have its PIN.
    let impostor = Newcomer {
        pin: "AAAA-AAAA-AAAA-AAAA".to_owned(),
        ..Newcomer::new("SN1")
    };
    impostor.waits(&gateway).await;
    camera.waits(&gateway).await;
    let claim = |body: Value| gateway.api("POST", "/claims", body);
    for (body, status, why) in [
        (json!({"serial": "SN1"}), 400, "a serial alone claims nothing"),
        (json!({"pin": camera.pin}), 400, "say which camera"),
        (json!({"serial": "SN1", "pin": "1234"}), 400, "64 are needed"),
        (
            json!({"serial": "SN9", "pin": camera.pin}),
            404,
            "no such camera waits here",
        ),
        (json!({"fingerprint": "sha256:12"}), 400, "64 hex digits"),
        (
            json!({"serial": "SN1", "pin": camera.pin, "name": "a/b"}),
            400,
            "a name has",
        ),
        (
            json!({"serial": "SN1", "pin": camera.pin, "nam": "x"}),
            400,
            "unknown field",
        ),
        (
            json!({"serial": "SN1", "pin": camera.pin, "name": "front"}),
            409,
            "configuration file",
        ),
    ] {
        let (got, shown) = claim(body.clone()).await;
        assert_eq!(got, status, "{body}: {shown}");
        assert!(shown["error"].as_str().unwrap().contains(why), "{shown}");
        assert!(!shown.to_string().contains("7K3M"), "{shown}");
    }
    claim_by_pin(&gateway, &camera, "porch").await;
    let (_, list) = gateway.api("GET", "/cameras/porch", Value::Null).await;
    assert_eq!(
        list["fingerprint"],
        camera.fingerprint(),
        "the one that has the PIN"
    );
    impostor.waits(&gateway).await;
    // Not one key twice, and no more than five wrong PINs.
    let (status, _) = claim(json!({"fingerprint": camera.fingerprint(), "name": "other"})).await;
    assert_eq!(status, 409);
    let tries = (0..12).map(|_| claim(json!({"serial": "SN1", "pin": "BBBB-BBBB-BBBB-BBBB"})));
    let mut answers: Vec<u16> = join_all(tries).await.iter().map(|(status, _)| *status).collect();
    answers.sort_unstable();
    assert_eq!(
        answers,
        [[403; 5].as_slice(), &[429; 7]].concat(),
        "tried at the same time"
    );
    let (status, shown) = claim(json!({"serial": "SN1", "pin": impostor.pin})).await;
    assert_eq!(status, 429, "{shown}");
    assert_eq!(gateway.metric("wrong_pins_total").await, 5.0);
    assert_eq!(gateway.metric("claims_total").await, 1.0);
}

#[tokio::test]
async fn lists_are_claimed_as_the_cameras_come() {
    let gateway = TestGateway::start_kept().await;
    let (by_pin, by_serial, by_key) = (Newcomer::new("SN1"), Newcomer::new("SN2"), Newcomer::new("SN3"));
    let list = format!(
        "Agent ID,Serial,PIN,Fingerprint,Stream,PTZ\r\na1,SN1,{},,rtsp://x/1,yes\r\n,SN2,,,,\r\nthird,,,{},,\r\n",
        by_pin.pin,
        by_key.fingerprint()
    );
    let fields = "Content-Type: text/csv\r\n";
    let (status, body) = gateway_http(&gateway, "/import?account=acme", fields, &list).await;
    assert_eq!((status, body["added"].as_u64()), (200, Some(3)), "{body}");
    let (_, shown) = gateway.api("GET", "/cameras/a1", Value::Null).await;
    assert_eq!(
        (shown["state"].as_str(), shown["account"].as_str()),
        (Some("reserved"), Some("acme"))
    );
    // Not with a wrong PIN, though the serial is right.
    let impostor = Newcomer {
        pin: "AAAA-AAAA-AAAA-AAAA".to_owned(),
        ..Newcomer::new("SN1")
    };
    impostor.waits(&gateway).await;
    let (reply, _one) = by_pin.comes(&gateway, Play::Silent).await;
    assert!(introduced(&reply).1.is_some());
    let (reply, _two) = by_serial.comes(&gateway, Play::Silent).await;
    assert!(introduced(&reply).1.is_none(), "no PIN was known");
    let (_, _three) = by_key.comes(&gateway, Play::Silent).await;
    // The serial is used up.
    Newcomer::new("SN2").waits(&gateway).await;
    // The list again, and what is exported, change nothing.
    let (_, exported) = gateway.http("GET", "/export", "", b"").await;
    let exported = String::from_utf8(exported).unwrap();
    assert!(
        exported.starts_with("name,agent_id,serial,model,pin,"),
        "{exported}"
    );
    assert!(!exported.contains("7K3M"));
    for list in [&list, &exported] {
        let (status, body) = gateway_http(&gateway, "/import", fields, list).await;
        assert_eq!((status, body["unchanged"].as_u64()), (200, Some(3)), "{body}");
    }
    // One mistake, and nothing of it is taken.
    let bad = format!(
        "name,serial,fingerprint\nnew,SN7,\na1,SN1,{}\nfront,SN8,\n",
        by_key.fingerprint()
    );
    let (status, body) = gateway_http(&gateway, "/import", fields, &bad).await;
    assert_eq!(status, 400);
    let mistakes = body["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 2, "{body}");
    assert_eq!(
        (mistakes[0]["line"].as_u64(), mistakes[1]["line"].as_u64()),
        (Some(3), Some(4))
    );
    assert_eq!(gateway.api("GET", "/cameras/new", Value::Null).await.0, 404);
}

async fn gateway_http(gateway: &TestGateway, path: &str, fields: &str, body: &str) -> (u16, Value) {
    let (status, body) = gateway.http("POST", path, fields, body.as_bytes()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_reset_at_the_device_ends_the_claim_and_the_label_stays_true() {
    let gateway = TestGateway::start_kept().await;
    let mut camera = Newcomer::new("SN1");
    camera.waits(&gateway).await;
    claim_by_pin(&gateway, &camera, "porch").await;
    // Before it has the key it says "none" as often as it likes.
    for _ in 0..2 {
        let (reply, _) = camera.dial(&gateway).await;
        assert!(field(&reply, "Lenscap-Operator").is_some());
    }
    let (reply, _) = camera.dial(&gateway).await;
    let public = introduced(&reply).0;
    camera.operator = hex(&lenscap_gateway::tls::sha256(&public)[..8]);
    let (reply, agent) = camera.comes(&gateway, Play::Silent).await;
    assert_eq!(field(&reply, "Lenscap-Operator"), None, "it has it");
    let audit = async || gateway.api("GET", "/cameras/porch/audit", Value::Null).await.0;
    within("its audit", async {
        while audit().await != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It is switched off for its reset.
    agent.task.abort();
    within("the uplink to go", async {
        while gateway.metric("uplinks").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    camera.operator = "reset".to_owned();
    camera.waits(&gateway).await;
    claim_by_pin(&gateway, &camera, "porch").await;
    assert_eq!(audit().await, 404, "what it did for its owner before");
}

/// Nothing but the uplink on which it got the operator's key was ever up. Each reset counts once.
#[tokio::test]
async fn a_reset_counts_without_a_second_coming_and_a_lost_answer_costs_nothing() {
    let mut gateway = TestGateway::start_kept().await;
    let mut camera = Newcomer::new("SN1");
    camera.waits(&gateway).await;
    claim_by_pin(&gateway, &camera, "porch").await;
    let (reply, agent) = camera.comes(&gateway, Play::Frames(3, 100)).await;
    introduced(&reply);
    let mut viewer = Viewer::connect(&gateway, "alice", "secret", "porch/main").await;
    viewer.play().await;
    // Neither one that says its serial, with another key, nor a clone that never had the operator's key ends the claim.
    let mut spoofer = Newcomer {
        pin: "AAAA-AAAA-AAAA-AAAA".to_owned(),
        ..Newcomer::new("SN1")
    };
    spoofer.reset(1);
    spoofer.waits(&gateway).await;
    assert!(camera.dial(&gateway).await.0.starts_with("HTTP/1.1 101 "));
    assert_eq!(gateway.api("GET", "/cameras/porch", Value::Null).await.0, 200);

    camera.reset(7);
    let reply = camera.waits(&gateway).await;
    assert_eq!(field(&reply, "Lenscap-Operator"), None, "nobody's any more");
    viewer.closed().await;
    within("the uplink to end", agent.task).await.unwrap();
    assert_eq!(gateway.api("GET", "/cameras/porch", Value::Null).await.0, 404);
    let mut gone = Viewer::connect(&gateway, "alice", "secret", "porch/main").await;
    assert_eq!(gone.request("DESCRIBE", "", "").await.status(), 404);

    // The same label again. Its power fails whenever it is given the key: it is the same reset all the time.
    claim_by_pin(&gateway, &camera, "porch").await;
    for _ in 0..3 {
        let (reply, _) = camera.dial(&gateway).await;
        assert!(introduced(&reply).1.is_some(), "{reply}");
    }
    gateway.restart().await;
    let (reply, _) = camera.dial(&gateway).await;
    assert!(introduced(&reply).1.is_some(), "{reply}");
    camera.reset(8);
    camera.waits(&gateway).await;
    assert_eq!(gateway.api("GET", "/cameras/porch", Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_camera_is_handed_to_another_operator() {
    let gateway = TestGateway::start_kept().await;
    let mut camera = Newcomer::new("SN1");
    camera.waits(&gateway).await;
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    assert_eq!(gateway.api("POST", "/claims", body).await.0, 201);
    let (reply, agent) = camera.comes(&gateway, Play::Silent).await;
    let public = introduced(&reply).0;
    camera.operator = hex(&lenscap_gateway::tls::sha256(&public)[..8]);
    for bad in [
        json!({}),
        json!({"account": "x", "forward": {"url": "https://x/"}}),
        json!({"forward": {"url": "http://x/"}}),
        json!({"forward": {"url": "https://x/\r\nSet-Cookie: a"}}),
        json!({"forward": {"url": "https://x/", "pin": "sha256/abc"}}),
        json!({"account": "a b"}),
    ] {
        let (status, shown) = gateway.api("POST", "/cameras/porch/transfer", bad.clone()).await;
        assert_eq!(status, 400, "{bad}: {shown}");
    }
    let body = json!({"account": "other"});
    assert_eq!(gateway.api("POST", "/cameras/porch/transfer", body).await.0, 204);
    let (_, shown) = gateway.api("GET", "/cameras/porch", Value::Null).await;
    assert_eq!(shown["account"], "other");
    let pin_text = format!("sha256/{}", Base64::encode_string(&[7; 32]));
    let to = "https://next.example/onvif/uplink";
    let body = json!({"forward": {"url": to, "pin": pin_text}});
    assert_eq!(gateway.api("POST", "/cameras/porch/transfer", body).await.0, 204);
    within("the uplink to end", agent.task).await.unwrap();
    let (reply, _) = camera.dial(&gateway).await;
    assert!(reply.starts_with("HTTP/1.1 308 "), "{reply}");
    assert_eq!(field(&reply, "Location"), Some(to));
    assert_eq!(field(&reply, "Lenscap-Pin"), Some(pin_text.as_str()));
    assert!(field(&reply, "Lenscap-Release").is_some());
    let value = field(&reply, "Lenscap-Signature").unwrap();
    let (head, signature) = value.split_once(", sig=").unwrap();
    let issued = head.split("issued=").nth(1).unwrap();
    let message = format!(
        "lenscap-redirect-1\n{}\n{issued}\n{to}\n{pin_text}",
        hex(&camera.key())
    );
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public)
        .verify(message.as_bytes(), &sealed::decode(signature).unwrap())
        .unwrap();
    // Claimed here again, it stays.
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    assert_eq!(gateway.api("POST", "/claims", body).await.0, 201);
    camera.comes(&gateway, Play::Silent).await;
}

#[tokio::test]
async fn tokens_open_what_they_are_for() {
    let gateway = TestGateway::start_kept().await;
    let (ours, theirs) = (Newcomer::new("SN1"), Newcomer::new("SN2"));
    for (camera, account) in [(&ours, "acme"), (&theirs, "other")] {
        let body = json!({"fingerprint": camera.fingerprint(), "name": camera.serial, "account": account});
        assert_eq!(gateway.api("POST", "/claims", body).await.0, 201);
    }
    let token = async |body: Value| {
        let (status, made) = gateway.api("POST", "/tokens", body).await;
        assert_eq!(status, 201, "{made}");
        (
            made["token"].as_str().unwrap().to_owned(),
            made["id"].as_i64().unwrap(),
        )
    };
    let (view, id) = token(json!({"name": "v", "scopes": ["view"], "account": "acme"})).await;
    let (claim, _) = token(json!({"name": "c", "scopes": ["claim", "view"], "account": "acme"})).await;
    let (admin, _) = token(json!({"name": "a", "scopes": ["admin"]})).await;
    let (metrics, _) = token(json!({"name": "m", "scopes": ["metrics"]})).await;
    for (who, method, path, status) in [
        (&view, "GET", "/cameras/SN1", 200),
        (&view, "GET", "/cameras/SN2", 404),
        (&view, "GET", "/cameras/front", 404),
        (&view, "GET", "/cameras/SN2/status", 404),
        (&view, "GET", "/cameras/SN2/main.jpg", 404),
        (&view, "GET", "/cameras/SN1/main.jpg", 503),
        (&view, "GET", "/cameras/SN2/audit", 404),
        (&view, "POST", "/cameras/SN2/link", 400),
        (&view, "POST", "/cameras/SN1/release", 403),
        (&view, "GET", "/pending", 403),
        (&view, "GET", "/metrics", 403),
        (&view, "GET", "/viewers", 403),
        (&view, "GET", "/views", 403),
        (&view, "GET", "/export", 403),
        (&view, "POST", "/cameras/SN1/move", 403),
        (&claim, "GET", "/pending", 403),
        (&claim, "POST", "/cameras/SN2/release", 404),
        (&claim, "POST", "/cameras/front/release", 404),
        (&claim, "GET", "/tokens", 403),
        (&metrics, "GET", "/metrics", 200),
        (&metrics, "GET", "/cameras", 403),
        (&admin, "GET", "/tokens", 200),
        (&admin, "POST", "/cameras/front/release", 409),
        (&"lct_wrong".to_owned(), "GET", "/cameras", 401),
    ] {
        let (got, shown) = gateway.api_with(who, method, path, Value::Null).await;
        assert_eq!(got, status, "{method} {path}: {shown}");
    }
    let (status, _) = gateway.raw("localhost", "GET", "/cameras", "", b"").await;
    assert_eq!(status, 401, "no token");
    let (_, list) = gateway.api_with(&view, "GET", "/cameras", Value::Null).await;
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let body = json!({"fingerprint": Newcomer::new("x").fingerprint(), "name": "mine", "account": "other"});
    assert_eq!(gateway.api_with(&claim, "POST", "/claims", body).await.0, 403);
    let body = json!({"serial": "SN7", "pin": ours.pin, "wait": true});
    assert_eq!(gateway.api_with(&claim, "POST", "/claims", body).await.0, 403);
    // A bounded token claims what waits, and nothing whose key is merely known.
    let coming = Newcomer::new("SN8");
    let body = json!({"fingerprint": coming.fingerprint(), "name": "coming"});
    for wait in [false, true] {
        let mut body = body.clone();
        body["wait"] = json!(wait);
        let (status, shown) = gateway.api_with(&claim, "POST", "/claims", body).await;
        assert_eq!(status, 404, "{shown}");
    }
    coming.waits(&gateway).await;
    let (list, _) = token(json!({"name": "l", "scopes": ["claim"], "cameras": ["front"]})).await;
    for account in [Value::Null, json!("acme"), json!("")] {
        let mut body = body.clone();
        body["account"] = account;
        let (status, shown) = gateway.api_with(&list, "POST", "/claims", body).await;
        assert_eq!(status, 403, "{shown}");
    }
    assert_eq!(gateway.api_with(&claim, "POST", "/claims", body).await.0, 201);
    assert_eq!(
        gateway
            .api_with(&claim, "POST", "/cameras/SN1/release", Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        gateway
            .api("DELETE", &format!("/tokens/{id}"), Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        gateway.api_with(&view, "GET", "/cameras", Value::Null).await.0,
        401
    );
    let (_, shown) = gateway.api("GET", "/tokens", Value::Null).await;
    assert!(!shown.to_string().contains("lct_"), "{shown}");
}

#[tokio::test]
async fn a_viewer_sees_its_accounts_cameras_until_it_is_revoked() {
    let gateway = TestGateway::start_kept().await;
    let camera = Newcomer::new("SN1");
    for (key, name, account) in [
        (camera.fingerprint(), "porch", "acme"),
        (Newcomer::new("x").fingerprint(), "barn", "other"),
    ] {
        let body = json!({"fingerprint": key, "name": name, "account": account});
        assert_eq!(gateway.api("POST", "/claims", body).await.0, 201);
    }
    let (_, _agent) = camera.comes(&gateway, Play::Frames(3, 100)).await;
    let body = json!({"user": "carol", "account": "acme"});
    let (status, made) = gateway.api("POST", "/viewers", body.clone()).await;
    assert_eq!(status, 201);
    let password = made["password"].as_str().unwrap().to_owned();
    assert_eq!(gateway.api("POST", "/viewers", body).await.0, 409);
    for (path, status) in [("barn/main", 404), ("front/main", 404), ("porch/main", 200)] {
        let mut viewer = Viewer::connect(&gateway, "carol", &password, path).await;
        assert_eq!(
            viewer.request("DESCRIBE", "", "").await.status(),
            status,
            "{path}"
        );
    }
    let mut viewer = Viewer::connect(&gateway, "carol", &password, "porch/main").await;
    viewer.play().await;
    viewer.read_frames(3 * 104).await;
    // Media off: nobody watches, the camera stays.
    let off = json!({"media": false});
    assert_eq!(gateway.api("POST", "/cameras/porch/media", off).await.0, 204);
    viewer.closed().await;
    assert_eq!(
        gateway.api("GET", "/cameras/porch/main.jpg", Value::Null).await.0,
        403
    );
    let (_, shown) = gateway.api("GET", "/cameras/porch", Value::Null).await;
    assert_eq!((&shown["online"], &shown["media"]), (&json!(true), &json!(false)));
    let on = json!({"media": true});
    assert_eq!(gateway.api("POST", "/cameras/porch/media", on).await.0, 204);
    let mut viewer = Viewer::connect(&gateway, "carol", &password, "porch/main").await;
    viewer.play().await;
    assert_eq!(gateway.api("DELETE", "/viewers/carol", Value::Null).await.0, 204);
    viewer.closed().await;
    let mut gone = Viewer::connect(&gateway, "carol", &password, "porch/main").await;
    assert_eq!(gone.request("DESCRIBE", "", "").await.status(), 401);
    assert_eq!(gateway.api("DELETE", "/viewers/alice", Value::Null).await.0, 409);
    // Who watched.
    let (_, views) = gateway.api("GET", "/views?user=carol", Value::Null).await;
    let views = views.as_array().unwrap();
    assert_eq!(views.len(), 3, "{views:?}");
    let longest = views.iter().max_by_key(|view| view["bytes"].as_u64()).unwrap();
    assert_eq!(longest["camera"], "porch");
    assert_eq!(longest["profile"], "main");
    assert_eq!(longest["by"], "rtsp");
    assert_eq!(longest["address"], "127.0.0.1");
    assert!(
        longest["bytes"].as_u64().unwrap() > 300 && longest["ended"].is_u64(),
        "{longest}"
    );
}

#[tokio::test]
async fn playback_addresses_work_over_tls_and_end_with_their_token() {
    let gateway = TestGateway::start_kept().await;
    let _agent = gateway.front(Play::Frames(3, 100)).await;
    let (_, made) = gateway
        .api("POST", "/tokens", json!({"name": "portal", "scopes": ["view"]}))
        .await;
    let (token, id) = (made["token"].as_str().unwrap(), &made["id"]);
    let body = json!({"profile": "main", "seconds": 60});
    let (status, made) = gateway.api_with(token, "POST", "/cameras/front/link", body).await;
    assert_eq!(status, 201, "{made}");
    let (rtsp, snapshot) = (made["rtsp"].as_str().unwrap(), made["snapshot"].as_str().unwrap());
    let (status, picture) = gateway.raw("localhost", "GET", snapshot, "", b"").await;
    assert_eq!((status, picture.len()), (200, 300_000));
    let other = snapshot.replace("/main.jpg", "/sub.jpg");
    assert_eq!(gateway.raw("localhost", "GET", &other, "", b"").await.0, 401);
    let admin = snapshot.replace("/cameras/front/main.jpg", "/tokens");
    assert_eq!(gateway.raw("localhost", "GET", &admin, "", b"").await.0, 401);

    let address = gateway.addresses.rtsps.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(gateway.keys.server.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    let base = format!("rtsps://localhost:{}/front/main", address.port());
    let mut viewer = Viewer::of(stream, &base, "nobody", "");
    let query = rtsp.strip_prefix("/front/main").unwrap();
    let reply = viewer.request("DESCRIBE", query, "").await;
    assert_eq!(reply.status(), 200);
    assert!(
        reply.head.contains(&format!("Content-Base: {base}/\r\n")),
        "{}",
        reply.head
    );
    viewer.play().await;
    viewer.read_frames(3 * 104).await;
    assert_eq!(
        gateway
            .api("DELETE", &format!("/tokens/{id}"), Value::Null)
            .await
            .0,
        204
    );
    viewer.closed().await;
    assert_eq!(gateway.raw("localhost", "GET", snapshot, "", b"").await.0, 401);
    let (_, views) = gateway.api("GET", "/views", Value::Null).await;
    let by: Vec<&str> = views
        .as_array()
        .unwrap()
        .iter()
        .map(|view| view["by"].as_str().unwrap())
        .collect();
    assert_eq!(by, ["rtsps", "snapshot"], "{views}");
    assert_eq!(views[0]["user"], format!("link:{id}"));
}

#[tokio::test]
async fn without_a_data_folder_nothing_is_kept_and_strangers_are_refused() {
    let gateway = TestGateway::start().await;
    let camera = Newcomer::new("SN1");
    let (reply, _) = camera.dial(&gateway).await;
    assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    let (status, shown) = gateway.api("POST", "/claims", body).await;
    assert_eq!(status, 409);
    assert!(shown["error"].as_str().unwrap().contains("add `data"), "{shown}");
}

#[tokio::test]
async fn failed_logins_of_programs_are_limited_but_good_tokens_pass() {
    let gateway = TestGateway::start_kept().await;
    for _ in 0..9 {
        assert_eq!(
            gateway.api_with("wrong", "GET", "/cameras", Value::Null).await.0,
            401
        );
    }
    assert_eq!(
        gateway.api_with("wrong", "GET", "/cameras", Value::Null).await.0,
        429
    );
    assert_eq!(gateway.api("GET", "/cameras", Value::Null).await.0, 200);
}

/// With what a label without a serial says: `SHA256:` and capitals, and the PIN.
#[tokio::test]
async fn a_camera_is_expected_by_its_key_and_pin() {
    let gateway = TestGateway::start_kept().await;
    let camera = Newcomer::new("SN1");
    let on_label = camera.fingerprint().to_ascii_uppercase();
    assert!(on_label.starts_with("SHA256:"), "{on_label}");
    let mut body = json!({"fingerprint": on_label, "serial": "SN1", "pin": camera.pin, "name": "porch"});
    assert_eq!(gateway.api("POST", "/claims", body.clone()).await.0, 404);
    body["wait"] = json!(true);
    let (status, shown) = gateway.api("POST", "/claims", body).await;
    assert_eq!(status, 201, "{shown}");
    assert_eq!(shown["fingerprint"], camera.fingerprint());
    assert_eq!(shown["method"], "fingerprint");
    // Another key with this serial is not taken for it.
    Newcomer::new("SN1").waits(&gateway).await;
    let (reply, _agent) = camera.comes(&gateway, Play::Silent).await;
    let (public, proof) = introduced(&reply);
    let public: [u8; 65] = public.try_into().unwrap();
    let expected = pin::operator_proof(&camera.pin_key(), &camera.key(), &public);
    assert_eq!(proof, Some(expected.to_vec()), "shows that the PIN was known");
}

/// Claimed by its key before it ever came, it says what it is when it comes.
#[tokio::test]
async fn a_camera_that_was_claimed_unseen_gets_its_serial_and_model() {
    let mut gateway = TestGateway::start_kept().await;
    let camera = Newcomer::new("SN1");
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    let (status, shown) = gateway.api("POST", "/claims", body).await;
    assert_eq!(
        (status, &shown["serial"], &shown["model"]),
        (201, &Value::Null, &Value::Null)
    );
    camera.comes(&gateway, Play::Silent).await;
    within("serial and model", async {
        loop {
            let (_, shown) = gateway.api("GET", "/cameras/porch", Value::Null).await;
            if shown["serial"] == "SN1" && shown["model"] == "Dome" {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    gateway.restart().await;
    let (_, shown) = gateway.api("GET", "/cameras/porch", Value::Null).await;
    assert_eq!(shown["serial"], "SN1");
}

#[tokio::test]
async fn viewers_expire() {
    let gateway = TestGateway::start_kept().await;
    let _agent = gateway.front(Play::Silent).await;
    let body = json!({"user": "guest", "password": "for-a-moment", "seconds": 1});
    assert_eq!(gateway.api("POST", "/viewers", body).await.0, 201);
    let mut viewer = Viewer::connect(&gateway, "guest", "for-a-moment", "front/main").await;
    viewer.play().await;
    // Rules are looked at every ten seconds.
    tokio::time::timeout(Duration::from_secs(15), viewer.closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_by_a_playback_address_ends_with_it() {
    let gateway = TestGateway::start_kept().await;
    let _agent = gateway.front(Play::Silent).await;
    let body = json!({"profile": "main", "seconds": 2});
    let (status, made) = gateway.api("POST", "/cameras/front/link", body).await;
    assert_eq!(status, 201, "{made}");
    let query = made["rtsp"]
        .as_str()
        .unwrap()
        .strip_prefix("/front/main")
        .unwrap();
    let mut viewer = Viewer::connect(&gateway, "nobody", "", "front/main").await;
    assert_eq!(viewer.request("DESCRIBE", query, "").await.status(), 200);
    viewer.play().await;
    tokio::time::timeout(Duration::from_secs(15), viewer.closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_activation_server_sends_cameras_to_their_operators() {
    let http = format!("{HTTP_TOKEN}[activation]\nforward = \"https://all.example/onvif/uplink\"\n");
    let gateway = TestGateway::start_with("data = \"data\"\n", RTSPS, &http).await;
    let camera = Newcomer::new("SN1");
    let to = async || {
        let (reply, _) = camera.dial(&gateway).await;
        assert!(reply.starts_with("HTTP/1.1 308 "), "{reply}");
        field(&reply, "Location").unwrap().to_owned()
    };
    assert_eq!(to().await, "https://all.example/onvif/uplink");
    let own = json!({"fingerprint": camera.fingerprint(), "url": "https://own.example/u"});
    assert_eq!(gateway.api("POST", "/forwards", own.clone()).await.0, 204);
    assert_eq!(to().await, "https://own.example/u");
    let (_, list) = gateway.api("GET", "/forwards", Value::Null).await;
    assert_eq!(list[0]["url"], own["url"]);
    let path = format!("/forwards/{}", camera.fingerprint());
    assert_eq!(gateway.api("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(gateway.api("DELETE", &path, Value::Null).await.0, 404);
    assert_eq!(to().await, "https://all.example/onvif/uplink");
    // What is claimed here stays here.
    let body = json!({"fingerprint": camera.fingerprint(), "name": "porch"});
    assert_eq!(gateway.api("POST", "/claims", body).await.0, 201);
    camera.comes(&gateway, Play::Silent).await;
    assert_eq!(gateway.api("POST", "/forwards", own).await.0, 409);
    let bad = json!({"fingerprint": camera.fingerprint(), "url": "http://own.example/u"});
    assert_eq!(gateway.api("POST", "/forwards", bad).await.0, 400);
}
