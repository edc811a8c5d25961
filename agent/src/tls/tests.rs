//! Real handshakes in memory against rustls' server.

mod life;

use std::io::Write as _;
use std::path::PathBuf;

use lenscap_uplink::url::Url;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::config::{Level, Trust};

const HOST: &str = "gw.example.net";
/// 2024-01-01.
const BUILD: i64 = 1_704_067_200;
const DAY: i64 = 86_400;

/// A CA and what it issues.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    dir: tempfile::TempDir,
}

/// A server's certificate chain and key.
struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let name = format!("test CA {:02x?}", &key.public_key_raw()[1..9]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        Self {
            params,
            key,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        let path = self.dir.path().join("ca.pem");
        std::fs::write(&path, self.params.self_signed(&self.key).unwrap().pem()).unwrap();
        path
    }

    /// Valid from and to, in days around the build time.
    fn issue(&self, from: i64, to: i64) -> Leaf {
        self.issue_with(from, to, |_| {})
    }

    fn issue_with(&self, from: i64, to: i64, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = leaf_params(from, to);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Leaf {
            chain: vec![params.signed_by(&key, &issuer).unwrap().der().clone()],
            key,
        }
    }
}

fn leaf_params(from: i64, to: i64) -> CertificateParams {
    let mut params = CertificateParams::new(vec![HOST.to_owned(), "10.0.0.1".to_owned()]).unwrap();
    let base = date_time_ymd(2024, 1, 1);
    let at = |days: i64| {
        let span = Duration::from_secs(days.unsigned_abs() * DAY.unsigned_abs());
        if days < 0 { base - span } else { base + span }
    };
    params.not_before = at(from);
    params.not_after = at(to);
    params.distinguished_name.push(DnType::CommonName, "gateway");
    params
}

fn self_signed(from: i64, to: i64) -> Leaf {
    let key = KeyPair::generate().unwrap();
    Leaf {
        chain: vec![leaf_params(from, to).self_signed(&key).unwrap().der().clone()],
        key,
    }
}

impl Leaf {
    fn pin(&self) -> Pin {
        let certificate = rustls::server::ParsedCertificate::try_from(&self.chain[0]).unwrap();
        let hash = ::ring::digest::digest(&::ring::digest::SHA256, &certificate.subject_public_key_info());
        Pin(hash.as_ref().try_into().unwrap())
    }

    fn server(&self) -> Arc<ServerConfig> {
        self.server_with(rustls::ALL_VERSIONS, &[b"http/1.1"])
    }

    fn server_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        // The client's order counts: it is the weaker machine.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.ignore_client_order = false;
        Arc::new(config)
    }
}

fn uplink(host: &str, ca_file: Option<PathBuf>, pins: Vec<Pin>) -> Uplink {
    Uplink {
        name: "main".into(),
        endpoints: vec![Url::parse(&format!("https://{host}/u")).unwrap()],
        redirect_to: Vec::new(),
        trust: Trust { ca_file, pins },
        auth: ClientAuth::Certificate,
        level: Level::Operator,
    }
}

fn client(ca: &Ca, pins: Vec<Pin>, clock: &Arc<Clock>) -> Client {
    Client::new(&uplink(HOST, Some(ca.file()), pins), None, Arc::clone(clock)).unwrap()
}

/// A clock that is right, some days after the build.
fn good_clock(days: i64) -> Arc<Clock> {
    Arc::new(Clock::fixed(BUILD + days * DAY, BUILD, true))
}

/// Shakes hands, and says one word each way.
fn shake(
    client: &Client,
    host: &str,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), String> {
    let mut client = client.connect(host).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut wire = Vec::new();
    for _ in 0..10 {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
        }
        let refused = server.process_new_packets().err();
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
        }
        client.process_new_packets().map_err(|error| explain(&error))?;
        assert_eq!(refused, None);
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    client.writer().write_all(b"word").unwrap();
    Ok((client, server))
}

#[track_caller]
fn refused(client: &Client, leaf: &Leaf, part: &str) {
    let error = shake(client, HOST, &leaf.server()).map(|_| ()).unwrap_err();
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_ca_vouches_and_chacha20_is_taken_in_both_versions() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    let client = client(&ca, Vec::new(), &good_clock(1));
    for (version, expected) in [
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
    ] {
        let (connection, _) = shake(&client, HOST, &leaf.server_with(&[version], &[b"http/1.1"])).unwrap();
        assert_eq!(connection.protocol_version(), Some(expected));
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        let suite = format!("{:?}", connection.negotiated_cipher_suite().unwrap().suite());
        assert!(suite.contains("CHACHA20_POLY1305"), "{suite}");
    }
    assert!(shake(&client, "10.0.0.1", &leaf.server()).is_ok());
    assert!(shake(&client, "GW.example.net.", &leaf.server()).is_ok());
}

#[test]
fn sessions_are_resumed() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    for version in rustls::ALL_VERSIONS {
        let client = client(&ca, Vec::new(), &good_clock(1));
        let server = leaf.server_with(&[version], &[b"http/1.1"]);
        let (first, _) = shake(&client, HOST, &server).unwrap();
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
        let (second, _) = shake(&client, HOST, &server).unwrap();
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn a_new_pin_forgets_sessions_that_did_not_know_it() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    for version in rustls::ALL_VERSIONS {
        let client = client(&ca, Vec::new(), &good_clock(1));
        let server = leaf.server_with(&[version], &[b"http/1.1"]);
        shake(&client, HOST, &server).unwrap();
        client.pin_host(HOST, Pin([7; 32]));
        assert!(
            shake(&client, HOST, &server)
                .map(|_| ())
                .unwrap_err()
                .contains("not the pinned one")
        );
        client.pin_host(HOST, leaf.pin());
        let (again, _) = shake(&client, HOST, &server).unwrap();
        assert_eq!(again.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn what_a_ca_does_not_vouch_for_is_refused() {
    let ca = Ca::new();
    let client = client(&ca, Vec::new(), &good_clock(1));
    refused(
        &client,
        &Ca::new().issue(-10, 10),
        "no CA that this program knows",
    );
    let namesake = Ca {
        params: ca.params.clone(),
        ..Ca::new()
    };
    refused(&client, &namesake.issue(-10, 10), "a CA of the same name");
    refused(&client, &self_signed(-10, 10), "self-signed");
    let pin = self_signed(-10, 10);
    refused(&client, &pin, &pin.pin().to_string());
    refused(&client, &ca.issue(-10, 0), "expired on 2024-01-01");
    refused(&client, &ca.issue(5, 10), "not valid before 2024-01-06");
    let other = ca.issue_with(-10, 10, |params| params.subject_alt_names.clear());
    refused(&client, &other, "another name");
    let purpose = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    refused(&client, &ca.issue_with(-10, 10, purpose), "not for servers");
}

#[test]
fn a_self_signed_ca_certificate_is_self_signed_to_the_user() {
    let mut params = leaf_params(-10, 10);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let leaf = Leaf {
        chain: vec![params.self_signed(&key).unwrap().der().clone()],
        key,
    };
    let ca = Ca::new();
    refused(&client(&ca, Vec::new(), &good_clock(1)), &leaf, "self-signed");
    assert!(
        shake(
            &client(&ca, vec![leaf.pin()], &good_clock(1)),
            HOST,
            &leaf.server()
        )
        .is_ok()
    );
}

#[test]
fn a_pin_holds_however_its_host_is_written() {
    let ca = Ca::new();
    let vouched = ca.issue_with(-10, 10, |params| {
        params
            .subject_alt_names
            .push(rcgen::SanType::IpAddress("2001:db8::1".parse().unwrap()));
    });
    for (written, host) in [
        ("GW.example.net.", HOST),
        ("gw.example.net", "gw.example.net."),
        ("[2001:DB8:0::1]", "2001:db8::1"),
    ] {
        let uplink = uplink(written, Some(ca.file()), vec![Pin([1; 32])]);
        let client = Client::new(&uplink, None, good_clock(1)).unwrap();
        let error = shake(&client, host, &vouched.server()).map(|_| ()).unwrap_err();
        assert!(error.contains("not the pinned one"), "{written} {host}: {error}");
    }
}

#[test]
fn the_built_in_roots_do_not_know_a_private_ca() {
    let client = Client::new(&uplink(HOST, None, Vec::new()), None, good_clock(1)).unwrap();
    refused(
        &client,
        &Ca::new().issue(-10, 10),
        "no CA that this program knows",
    );
}

#[test]
fn a_pin_replaces_the_ca_and_the_dates() {
    let ca = Ca::new();
    for leaf in [
        self_signed(-10, 10),
        self_signed(-10, -5),
        self_signed(5, 10),
        Ca::new().issue(-10, 10),
    ] {
        let client = client(&ca, vec![Pin([1; 32]), leaf.pin()], &good_clock(1));
        assert!(shake(&client, HOST, &leaf.server()).is_ok());
    }
}

#[test]
fn a_pin_replaces_neither_the_name_nor_the_key() {
    let ca = Ca::new();
    let leaf = self_signed(-10, 10);
    let pinned = client(&ca, vec![leaf.pin()], &good_clock(1));
    // A CA's word does not help against the pin.
    refused(&pinned, &ca.issue(-10, 10), "not the pinned one");

    let uplink = uplink("other.example.net", Some(ca.file()), vec![leaf.pin()]);
    let other = Client::new(&uplink, None, good_clock(1)).unwrap();
    let error = shake(&other, "other.example.net", &leaf.server())
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("another name"), "{error}");

    // The pinned certificate with another key: the server cannot sign with what it shows.
    let thief = KeyPair::generate().unwrap();
    let certified = rustls::sign::CertifiedKey::new(
        leaf.chain.clone(),
        ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
            thief.serialize_der(),
        )))
        .unwrap(),
    );
    for version in rustls::ALL_VERSIONS {
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified.clone())));
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let error = shake(&pinned, HOST, &Arc::new(server)).map(|_| ()).unwrap_err();
        assert!(error.contains("signature"), "{error}");
    }
}

#[test]
fn a_pin_holds_for_its_own_host_alone() {
    let ca = Ca::new();
    let leaf = self_signed(-10, 10);
    let client = client(&ca, vec![leaf.pin()], &good_clock(1));
    // Another host needs the CA: the pinned key does not count there, and the CA's word does.
    let error = shake(&client, "10.0.0.1", &leaf.server())
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("self-signed"), "{error}");
    assert!(shake(&client, "10.0.0.1", &ca.issue(-10, 10).server()).is_ok());
    client.pin_host("10.0.0.1", leaf.pin());
    assert!(shake(&client, "10.0.0.1", &leaf.server()).is_ok());
}

#[test]
fn a_camera_in_1970_accepts_a_certificate_newer_than_its_program() {
    let ca = Ca::new();
    for synchronised in [false, true] {
        let clock = Arc::new(Clock::fixed(0, BUILD, synchronised));
        let client = client(&ca, Vec::new(), &clock);
        assert!(shake(&client, HOST, &ca.issue(100, 200).server()).is_ok());
        assert_eq!(clock.floor(), BUILD + 100 * DAY);
        // From then on it is at least that day.
        assert!(shake(&client, HOST, &ca.issue(-10, 150).server()).is_ok());
        assert_eq!(clock.floor(), BUILD);
        refused(
            &client,
            &ca.issue_with(100, 200, |params| params.subject_alt_names.clear()),
            "another name",
        );
        refused(
            &client,
            &Ca::new().issue(100, 200),
            "no CA that this program knows",
        );
    }
}

#[test]
fn a_newer_certificate_is_refused_when_the_clock_is_set() {
    let ca = Ca::new();
    for synchronised in [false, true] {
        let clock = Arc::new(Clock::fixed(BUILD, BUILD, synchronised));
        refused(
            &client(&ca, Vec::new(), &clock),
            &ca.issue(100, 200),
            "not valid before",
        );
        assert_eq!(clock.floor(), BUILD);
    }
}

#[test]
fn a_clock_in_2099_is_believed_only_when_something_keeps_it() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    let far = BUILD + 75 * 365 * DAY;
    let unkept = Arc::new(Clock::fixed(far, BUILD, false));
    assert!(shake(&client(&ca, Vec::new(), &unkept), HOST, &leaf.server()).is_ok());
    assert_eq!(unkept.floor(), BUILD);
    let kept = Arc::new(Clock::fixed(far, BUILD, true));
    refused(&client(&ca, Vec::new(), &kept), &leaf, "expired");
    // Expired even at the floor: no clock helps.
    refused(
        &client(&ca, Vec::new(), &unkept),
        &ca.issue(-10, -1),
        "expired on 2023-12-31",
    );
    // Not yet valid at the floor: the clock said more than it knows, but so does the certificate.
    refused(
        &client(&ca, Vec::new(), &unkept),
        &ca.issue(5, 10),
        "expired on 2024-01-11",
    );
}

#[test]
fn a_pinned_certificate_does_not_move_the_floor() {
    let ca = Ca::new();
    let leaf = self_signed(20_000, 30_000);
    let clock = Arc::new(Clock::fixed(0, BUILD, false));
    assert!(shake(&client(&ca, vec![leaf.pin()], &clock), HOST, &leaf.server()).is_ok());
    assert_eq!(clock.floor(), BUILD);
}

#[test]
fn intermediates_count_for_the_latest_first_day() {
    let ca = Ca::new();
    let mut middle = CertificateParams::new(Vec::new()).unwrap();
    middle.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    middle.distinguished_name.push(DnType::CommonName, "middle");
    middle.not_before = date_time_ymd(2026, 1, 1);
    middle.not_after = date_time_ymd(2040, 1, 1);
    let middle_key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&ca.params, &ca.key);
    let middle_der = middle.signed_by(&middle_key, &issuer).unwrap().der().clone();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&middle, &middle_key);
    let leaf_der = leaf_params(100, 10_000)
        .signed_by(&key, &issuer)
        .unwrap()
        .der()
        .clone();
    let leaf = Leaf {
        chain: vec![leaf_der, middle_der],
        key,
    };
    let clock = Arc::new(Clock::fixed(0, BUILD, false));
    assert!(shake(&client(&ca, Vec::new(), &clock), HOST, &leaf.server()).is_ok());
    assert_eq!(clock.floor(), BUILD + 100 * DAY);
}

#[test]
fn servers_that_are_something_else_are_told_apart() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    let client = client(&ca, Vec::new(), &good_clock(1));
    let mut connection = client.connect(HOST).unwrap();
    connection
        .read_tls(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..])
        .unwrap();
    assert!(explain(&connection.process_new_packets().unwrap_err()).contains("not TLS"));

    let mut connection = client.connect(HOST).unwrap();
    let mut server = ServerConnection::new(leaf.server_with(rustls::ALL_VERSIONS, &[b"h2"])).unwrap();
    let mut wire = Vec::new();
    connection.write_tls(&mut wire).unwrap();
    server.read_tls(&mut &wire[..]).unwrap();
    server.process_new_packets().unwrap_err();
    wire.clear();
    server.write_tls(&mut wire).unwrap();
    connection.read_tls(&mut &wire[..]).unwrap();
    assert!(explain(&connection.process_new_packets().unwrap_err()).contains("HTTP/1.1 (ALPN)"));

    for alert in [
        rustls::AlertDescription::UnknownCA,
        rustls::AlertDescription::CertificateRequired,
    ] {
        assert!(explain(&rustls::Error::AlertReceived(alert)).contains("`lenscap identity`"));
    }
}

#[test]
fn errors_name_no_host() {
    let ca = Ca::new();
    let client = client(&ca, Vec::new(), &good_clock(1));
    let other = ca.issue_with(-10, 10, |params| params.subject_alt_names.clear());
    let error = shake(&client, HOST, &other.server()).map(|_| ()).unwrap_err();
    assert!(!error.contains("example.net"), "{error}");
}

#[test]
fn ca_files_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let try_with = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Client::new(&uplink(HOST, Some(path.clone()), Vec::new()), None, good_clock(1))
            .unwrap_err()
            .to_string()
    };
    assert!(try_with(b"").contains("holds no certificate"));
    assert!(try_with(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").contains("damaged"));
    assert!(
        try_with(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .contains("cannot be read")
    );
    assert!(try_with(&vec![b'a'; MAX_CA_FILE_BYTES as usize + 1]).contains("longer"));
    std::fs::remove_file(&path).unwrap();
    let gone = Client::new(&uplink(HOST, Some(path), Vec::new()), None, good_clock(1)).unwrap_err();
    assert!(gone.to_string().contains("cannot read the CA file"));
}

#[test]
fn a_redirect_adds_no_key_to_those_the_configuration_pins() {
    let ca = Ca::new();
    let (right, other) = (self_signed(-10, 10), self_signed(-10, 10));
    let client = client(&ca, vec![right.pin()], &good_clock(1));
    client.pin_host(HOST, other.pin());
    refused(&client, &other, "not the pinned one");
    assert!(shake(&client, HOST, &right.server()).is_ok());
}

#[test]
fn many_pins_and_endpoints_leave_no_endpoint_unpinned() {
    let ca = Ca::new();
    let mut uplink = uplink(HOST, Some(ca.file()), (0..32).map(|n| Pin([n; 32])).collect());
    for n in 0..8 {
        let text = format!("https://gw{n}.example.net/u");
        uplink.endpoints.insert(0, Url::parse(&text).unwrap());
    }
    let client = Client::new(&uplink, None, good_clock(1)).unwrap();
    for n in 0..100 {
        client.pin_host(&format!("s{n}.example.net"), Pin([n; 32]));
    }
    refused(&client, &ca.issue(-10, 10), "not the pinned one");
}

/// A server that takes AES alone.
fn aes_server(leaf: &Leaf, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .retain(|suite| format!("{:?}", suite.suite()).contains("AES"));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), key);
    Arc::new(config.unwrap())
}

/// What a client on a CPU with or without AES instructions says, as a server sees it.
fn client_on(ca: &Ca, has_aes: bool) -> Client {
    Client::for_cpu(
        &uplink(HOST, Some(ca.file()), Vec::new()),
        None,
        good_clock(1),
        has_aes,
    )
    .unwrap()
}

#[test]
fn without_aes_instructions_chacha20_is_offered_alone() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    // A server with a taste of its own: AES before ChaCha20, as most have it.
    let mut server = ServerConfig::clone(&leaf.server());
    server.ignore_client_order = true;
    let server = Arc::new(server);
    for (has_aes, expected) in [(false, "CHACHA20"), (true, "AES")] {
        let (connection, _) = shake(&client_on(&ca, has_aes), HOST, &server).unwrap();
        let suite = format!("{:?}", connection.negotiated_cipher_suite().unwrap().suite());
        assert!(suite.contains(expected), "{suite}");
    }
}

#[test]
fn a_server_without_chacha20_is_asked_again_with_aes() {
    let ca = Ca::new();
    let leaf = ca.issue(-10, 10);
    for version in rustls::ALL_VERSIONS {
        let server = aes_server(&leaf, version);
        assert!(shake(&client_on(&ca, true), HOST, &server).is_ok());
        let client = client_on(&ca, false);
        let refused = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert_eq!(shake(&client, HOST, &server).map(|_| ()), Err(explain(&refused)));
        assert!(!client.handle_failure(HOST, Some(&rustls::Error::DecryptError)));
        assert!(client.handle_failure("GW.example.net.", Some(&refused)));
        assert!(!client.handle_failure(HOST, Some(&refused)));
        let (first, _) = shake(&client, HOST, &server).unwrap();
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
        let (second, _) = shake(&client, HOST, &server).unwrap();
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
    }
    assert!(!client_on(&ca, true).handle_failure(
        HOST,
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::HandshakeFailure
        ))
    ));
    // Some servers go away without a word.
    let client = client_on(&ca, false);
    assert!(client.handle_failure(HOST, None) && !client.handle_failure(HOST, None));
}

#[test]
fn hosts_that_want_aes_are_bounded() {
    let client = client_on(&Ca::new(), false);
    let refused = rustls::Error::AlertReceived(rustls::AlertDescription::InsufficientSecurity);
    for n in 0..100 {
        assert!(client.handle_failure(&format!("s{n}.example.net"), Some(&refused)));
    }
    assert_eq!(client.lock_aes_hosts().len(), MAX_AES_HOSTS);
}

/// The default build trusts all that Mozilla does; camera builds choose (`build.rs`).
#[test]
fn the_choice_of_cas_is_in_the_program() {
    let least = match std::env::var("LENSCAP_ROOTS").as_deref() {
        Ok("none") => 0,
        Ok("common") => 30,
        _ => 100,
    };
    assert!(super::WEB_ROOTS.len() >= least);
    for (subject, key, _) in super::WEB_ROOTS {
        assert!(!subject.is_empty() && !key.is_empty());
    }
}
