//! An agent that shows its key: activation, endpoint, streamer, and what it keeps of them.

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::gateway::{Asked, TestGateway, soon};
use super::{Setup, https};

/// The operator, as the gateway is one.
struct Operator {
    pair: EcdsaKeyPair,
    rng: SystemRandom,
}

impl Operator {
    fn new() -> Self {
        let (algorithm, rng) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &rng).unwrap();
        Self { pair, rng }
    }

    fn id(&self) -> String {
        let hash = ring::digest::digest(&ring::digest::SHA256, self.pair.public_key().as_ref());
        hash.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn introduction(&self) -> String {
        let key = Base64::encode_string(self.pair.public_key().as_ref());
        format!("Lenscap-Operator: p256/{key}\r\n")
    }

    fn redirect(&self, fingerprint: &str, issued: u64, to: &str) -> String {
        let message = format!("lenscap-redirect-1\n{fingerprint}\n{issued}\n{to}\n-");
        let signature = self.pair.sign(&self.rng, message.as_bytes()).unwrap();
        let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
        format!(
            "HTTP/1.1 308 x\r\nLocation: {to}\r\nLenscap-Signature: key={}, issued={issued}, sig={signature}\r\n\r\n",
            self.id()
        )
    }
}

const PENDING: &str = "HTTP/1.1 503 x\r\nRetry-After: 0\r\nLenscap-Claim: pending\r\n\r\n";

impl Setup {
    fn configure_claimable(&self, endpoint: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "config agent\n\toption state_dir '{dir}/state'\n\toption run_dir '{dir}/run'\n\toption serial 'SN1'\n\
             \toption model 'Dome'\n\toption resolv_conf '{dir}/resolv.conf'\n\toption hosts '{dir}/hosts'\n\
             config uplink 'main'\n\toption ca_file '{dir}/ca.pem'\n\toption endpoint '{endpoint}'\n\
             config profile 'main'\n\toption rtsp 'rtsp://127.0.0.1:9/x'\n"
        );
        std::fs::write(self.config_path(), text).unwrap();
    }

    fn enroll(&self, reset: bool) -> serde_json::Value {
        let request = lenscap::enroll::Request {
            config: &self.config_path(),
            json: true,
            reset,
        };
        serde_json::from_str(&lenscap::enroll::run(&request).unwrap().0).unwrap()
    }
}

fn resume(issued: u64) -> String {
    let json = format!("{{\"i\":{issued}}}");
    format!("{}.x", Base64UrlUnpadded::encode_string(json.as_bytes()))
}

#[track_caller]
fn says(asked: &Asked, name: &str, value: &str) {
    assert_eq!(asked.header(name), Some(value), "{}", asked.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_finds_its_operator_and_comes_back_without_it() {
    let setup = Setup::new();
    let (activation, endpoint) = (
        TestGateway::new(&setup.pki).await,
        TestGateway::new(&setup.pki).await,
    );
    let (first, second) = (
        TestGateway::new(&setup.pki).await,
        TestGateway::new(&setup.pki).await,
    );
    setup.configure_claimable(&https(&activation));
    let label = setup.enroll(false);
    let operator = Operator::new();
    let agent = setup.start();

    let asked = activation.next().await;
    says(&asked, "Lenscap-Serial", "SN1");
    says(&asked, "Lenscap-Model", "Dome");
    says(&asked, "Lenscap-Operator", "none");
    assert_eq!(asked.header("Lenscap-Reset"), None, "it was never reset");
    let boot = asked.header("Lenscap-Boot").unwrap();
    assert!(
        boot.len() == 32 && boot.bytes().all(|b| b.is_ascii_hexdigit()),
        "{boot}"
    );
    let proof = asked.header("Lenscap-Pin-Proof").unwrap();
    assert_eq!(Base64UrlUnpadded::decode_vec(proof).unwrap().len(), 32);
    assert!(!asked.head.contains(label["pin"].as_str().unwrap()));
    asked.reply(PENDING).await;
    let moved = format!("HTTP/1.1 308 x\r\nLocation: {}\r\n\r\n", https(&endpoint));
    activation.next().await.reply(&moved).await;
    let there = format!("HTTP/1.1 307 x\r\nLocation: {}?ticket=t\r\n\r\n", https(&first));
    endpoint.next().await.reply(&there).await;
    let asked = first.next().await;
    assert!(
        asked.head.starts_with("GET /onvif/uplink?ticket=t "),
        "{}",
        asked.head
    );
    let way_back = |issued: u64, other: &TestGateway| {
        format!(
            "Lenscap-Resume: {}\r\nLink: <{}>; rel=alternate\r\n",
            resume(issued),
            https(other)
        )
    };
    let more = operator.introduction() + &way_back(1, &second);
    let mut live = asked.accept_with(&more).await;
    // A day later, over the live uplink.
    let (fresh, other) = (resume(90_000), format!("<{}>; rel=alternate", https(&second)));
    let fields = [("lenscap-resume", fresh.as_str()), ("link", other.as_str())];
    assert_eq!(live.request("POST", "/uplink/resume", &fields).await.0, 200);
    assert_eq!(live.request("POST", "/uplink/resume", &[]).await.0, 409);

    // The streamer dies; nobody asks the endpoint.
    tokio::time::sleep(lenscap_uplink::dial::LIVED).await;
    live.connection.abort();
    drop(live);
    let start = std::time::Instant::now();
    let asked = second.next().await;
    assert!(
        start.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    says(&asked, "Lenscap-Resume", &fresh);
    says(&asked, "Lenscap-Operator", &operator.id());
    assert_eq!(asked.header("Lenscap-Reset"), None);
    assert_eq!(asked.header("Lenscap-Pin-Proof"), None, "claimed");
    let _live = asked.accept_with(&way_back(90_001, &first)).await;
    agent.end().await;

    // After a restart the kept streamer is asked first, and then the endpoint, never the activation address.
    let agent = setup.start();
    let asked = first.next().await;
    says(&asked, "Lenscap-Resume", &fresh);
    asked.reply("HTTP/1.1 503 x\r\n\r\n").await;
    second.next().await.reply("HTTP/1.1 503 x\r\n\r\n").await;
    // An unsigned move is not followed, a signed one is.
    endpoint
        .next()
        .await
        .reply(&moved.replace(&https(&endpoint), &https(&activation)))
        .await;
    first.next().await.reply("HTTP/1.1 503 x\r\n\r\n").await;
    second.next().await.reply("HTTP/1.1 503 x\r\n\r\n").await;
    let next = TestGateway::new(&setup.pki).await;
    let fingerprint = label["fingerprint"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let signed = operator.redirect(fingerprint, 77, &https(&next));
    endpoint.next().await.reply(&signed).await;
    let _live = next.next().await.accept().await;
    let kept = std::fs::read_to_string(setup.dir.path().join("state/uplinks")).unwrap();
    assert!(kept.contains(&https(&next)) && kept.contains(" 0 77\n"), "{kept}");

    // Reset at the device: the connection ends, and it starts from where it began.
    setup.enroll(true);
    agent.handle.reload();
    let asked = activation.next().await;
    says(&asked, "Lenscap-Operator", "reset");
    says(&asked, "Lenscap-Pin-Proof", &proof_of(&label, fingerprint));
    assert_eq!(asked.header("Lenscap-Resume"), None);
    let number = asked.header("Lenscap-Reset").unwrap().to_owned();
    assert!(
        number.len() == 8 && number.bytes().all(|b| b.is_ascii_hexdigit()),
        "{number}"
    );
    soon("the answer", asked.reply(PENDING)).await;
    agent.end().await;

    // The same one after a restart, another one after another reset.
    let agent = setup.start();
    let asked = activation.next().await;
    says(&asked, "Lenscap-Reset", &number);
    soon("the answer", asked.reply(PENDING)).await;
    agent.end().await;
    setup.enroll(true);
    let agent = setup.start();
    let asked = activation.next().await;
    says(&asked, "Lenscap-Operator", "reset");
    assert_ne!(asked.header("Lenscap-Reset").unwrap(), number);
    soon("the answer", asked.reply(PENDING)).await;
    agent.end().await;
}

/// What the gateway computes from the PIN on the label.
fn proof_of(label: &serde_json::Value, fingerprint: &str) -> String {
    let pin = label["pin"].as_str().unwrap().replace('-', "");
    let mut key = [0; 32];
    let rounds = std::num::NonZeroU32::new(100_000).unwrap();
    let algorithm = ring::pbkdf2::PBKDF2_HMAC_SHA256;
    ring::pbkdf2::derive(algorithm, rounds, b"lenscap-pin-1\nSN1", pin.as_bytes(), &mut key);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let tag = ring::hmac::sign(&key, format!("lenscap-proof-1\n{fingerprint}").as_bytes());
    Base64UrlUnpadded::encode_string(tag.as_ref())
}
