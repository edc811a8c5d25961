//! Identities made, loaded and refused; judged by OpenSSL and by a TLS server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::clock::Clock;
use crate::config::{ClientAuth, Level, LogTarget, Pin, Trust, Uplink};

fn agent(dir: &Path) -> AgentConfig {
    AgentConfig {
        state_dir: dir.to_owned(),
        run_dir: "/nonexistent".into(),
        user: "lenscap".into(),
        group: None,
        log: LogTarget::Stderr,
        log_level: log::LevelFilter::Info,
        serial: None,
        model: None,
        certificate: None,
        resolv_conf: PathBuf::from("/dev/null"),
        hosts: PathBuf::from("/dev/null"),
        capture: false,
        reports: true,
    }
}

fn openssl(args: &[&str]) -> Output {
    Command::new("openssl")
        .args(args)
        .output()
        .expect("openssl must be installed for the tests")
}

#[test]
fn an_identity_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(&dir.path().join("state"));
    let made = load_or_create(&agent).unwrap();
    assert_eq!(made.source, Source::Created);
    assert_eq!(path(&agent), agent.state_dir.join("identity.pem"));
    assert_eq!(
        fs::metadata(path(&agent)).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = load_or_create(&agent).unwrap();
    assert_eq!(again.source, Source::Stored);
    assert_eq!(made.fingerprint, again.fingerprint);
    assert_eq!(made.cert_chain, again.cert_chain);
    assert_eq!(made.key, again.key);
    assert!(!format!("{made:?}").contains("key"));
    let other = tempfile::tempdir().unwrap();
    let other = load_or_create(&AgentConfig {
        state_dir: other.path().to_owned(),
        ..agent
    })
    .unwrap();
    assert_ne!(made.fingerprint, other.fingerprint);
}

#[test]
fn openssl_reads_and_verifies_it() {
    let dir = tempfile::tempdir().unwrap();
    let agent = AgentConfig {
        serial: Some("SN-1".into()),
        ..agent(dir.path())
    };
    let identity = load_or_create(&agent).unwrap();
    let file = path(&agent);
    let file = file.to_str().unwrap();

    let verify = openssl(&["verify", "-check_ss_sig", "-CAfile", file, file]);
    assert!(verify.status.success(), "{verify:?}");
    let text = openssl(&["x509", "-in", file, "-noout", "-text"]);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "Version: 3",
        "ecdsa-with-SHA256",
        "CN = lenscap-SN-1",
        "Not Before: Jan  1 00:00:00 1970 GMT",
        "Not After : Dec 31 23:59:59 9999 GMT",
        "ASN1 OID: prime256v1",
        "X509v3 Basic Constraints: critical",
        "CA:FALSE",
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "TLS Web Client Authentication",
    ] {
        assert!(
            text.replace("CN=", "CN = ").contains(part),
            "{part} is not in {text}"
        );
    }
    let spki = dir.path().join("spki.pem");
    let spki_der = dir.path().join("spki.der");
    openssl(&[
        "x509",
        "-in",
        file,
        "-noout",
        "-pubkey",
        "-out",
        spki.to_str().unwrap(),
    ]);
    openssl(&[
        "pkey",
        "-pubin",
        "-in",
        spki.to_str().unwrap(),
        "-outform",
        "DER",
        "-out",
        spki_der.to_str().unwrap(),
    ]);
    let hash = hex(digest(&SHA256, &fs::read(&spki_der).unwrap()).as_ref());
    assert_eq!(identity.fingerprint, format!("sha256:{hash}"));
    let check = openssl(&["pkey", "-in", file, "-check", "-noout"]);
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn the_name_comes_from_the_key_without_a_serial_number() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path());
    let identity = load_or_create(&agent).unwrap();
    let subject = openssl(&[
        "x509",
        "-in",
        path(&agent).to_str().unwrap(),
        "-noout",
        "-subject",
    ]);
    let subject = String::from_utf8(subject.stdout).unwrap();
    let short = &identity.fingerprint["sha256:".len()..][..16];
    assert!(subject.contains(&format!("lenscap-{short}")), "{subject}");
}

#[test]
fn a_tls_server_accepts_it_as_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let identity = load_or_create(&agent(dir.path())).unwrap();
    let server_key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["gw.example".into()])
        .unwrap()
        .self_signed(&server_key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert_chain[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let server_der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], server_der)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let parsed = ParsedCertificate::try_from(certificate.der()).unwrap();
    let pin = Pin(digest(&SHA256, &parsed.subject_public_key_info())
        .as_ref()
        .try_into()
        .unwrap());
    let uplink = Uplink {
        name: "main".into(),
        endpoints: vec![lenscap_uplink::url::Url::parse("https://gw.example/").unwrap()],
        redirect_to: Vec::new(),
        trust: Trust {
            ca_file: None,
            pins: vec![pin],
        },
        auth: ClientAuth::Certificate,
        level: Level::Operator,
    };
    let now = 1_800_000_000;
    let client =
        crate::tls::Client::new(&uplink, Some(&identity), Arc::new(Clock::fixed(now, now, true))).unwrap();
    let mut client = client.connect("gw.example").unwrap();
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let mut wire = Vec::new();
    for _ in 0..4 {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(!server.is_handshaking());
    assert_eq!(server.peer_certificates().unwrap(), &identity.cert_chain[..]);
}

#[test]
fn a_damaged_identity_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path());
    load_or_create(&agent).unwrap();
    let whole = fs::read(path(&agent)).unwrap();
    let other_dir = tempfile::tempdir().unwrap();
    let other = self::agent(other_dir.path());
    load_or_create(&other).unwrap();
    let other = fs::read_to_string(path(&other)).unwrap();
    let certificate_end = String::from_utf8(whole.clone())
        .unwrap()
        .find("-----BEGIN PRIVATE")
        .unwrap();
    let mismatched = [
        &whole[..certificate_end],
        &other.as_bytes()[other.find("-----BEGIN PRIVATE").unwrap()..],
    ]
    .concat();
    for (bytes, part) in [
        (&b""[..], "no certificate"),
        (&whole[..whole.len() / 3], "cut short"),
        (&whole[..certificate_end], "no private key"),
        (&whole[certificate_end..], "no certificate"),
        (&mismatched, "does not belong"),
        (
            b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
            "damaged",
        ),
    ] {
        fs::write(path(&agent), bytes).unwrap();
        let error = load_or_create(&agent).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("identity.pem"), "{error}");
        assert_eq!(fs::read(path(&agent)).unwrap(), bytes);
    }
}

#[test]
fn given_files_are_taken_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(Vec::new())
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let files = CertificateFiles {
        cert: dir.path().join("c.pem"),
        key: dir.path().join("k.pem"),
    };
    let agent = AgentConfig {
        certificate: Some(files.clone()),
        ..agent(dir.path())
    };
    assert!(
        load_or_create(&agent)
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
    fs::write(&files.cert, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    let identity = load_or_create(&agent).unwrap();
    assert_eq!(identity.source, Source::Configured);
    assert_eq!(identity.cert_chain[0], *certificate.der());
    fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(
        load_or_create(&agent)
            .unwrap_err()
            .to_string()
            .contains("does not belong")
    );
    fs::write(
        &files.key,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    assert!(
        load_or_create(&agent)
            .unwrap_err()
            .to_string()
            .contains("password")
    );
    fs::write(
        &files.key,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    assert!(
        load_or_create(&agent)
            .unwrap_err()
            .to_string()
            .contains("cannot be used")
    );
    assert!(!dir.path().join(FILE_NAME).exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let error = load_or_create(&agent(Path::new("/dev/null/state")))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/dev/null/state/identity.pem"), "{error}");
}

#[test]
fn starts_at_the_same_time_agree_on_one_identity() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let agent = agent(dir.path());
        let barrier = std::sync::Barrier::new(4);
        let fingerprints: Vec<String> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                load_or_create(&agent).unwrap().fingerprint
            };
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let kept = load_or_create(&agent).unwrap().fingerprint;
        assert!(fingerprints.iter().all(|fingerprint| *fingerprint == kept));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
