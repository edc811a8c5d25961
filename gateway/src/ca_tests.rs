use super::*;

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_key_stays_when_the_certificate_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let (now, cert) = (SystemTime::now(), folder.path().join("gateway.pem"));
    let hosts = names(&["gw.example", "192.0.2.7"]);
    assert!(ensure(folder.path(), &hosts, now).unwrap().is_new);
    let (first, first_pin) = (fs::read_to_string(&cert).unwrap(), pin(&cert).unwrap());
    assert!(!ensure(folder.path(), &hosts, now).unwrap().is_new);
    let later = now + DAY * (LEAF_DAYS - RENEW_DAYS) as u32;
    assert!(ensure(folder.path(), &hosts, later).unwrap().is_new);
    assert_ne!(fs::read_to_string(&cert).unwrap(), first);
    assert_eq!(pin(&cert).unwrap(), first_pin);
    let more = ensure(folder.path(), &names(&["gw.example", "other.example"]), later);
    assert!(more.unwrap().is_new);
    assert_eq!(pin(&cert).unwrap(), first_pin);
    tls::load_identity(&cert, &folder.path().join("gateway.key")).unwrap();
}

/// Judged by webpki, which is what agents use.
#[test]
fn what_is_issued_is_believed() {
    use rustls::client::danger::ServerCertVerifier as _;
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let ca = init(folder.path(), now).unwrap();
    let issued = issue(
        folder.path(),
        &names(&["gw.example", "::1"]),
        Use::Server,
        10,
        now,
    )
    .unwrap();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(issued.chain.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .unwrap();
    let judge = |name: &str, days: u64| {
        let at = rustls::pki_types::UnixTime::since_unix_epoch(
            (now + DAY * days as u32)
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap(),
        );
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at)
    };
    judge("gw.example", 0).unwrap();
    judge("::1", 9).unwrap();
    assert!(judge("gw.example", 11).is_err() && judge("other.example", 0).is_err());
}

#[test]
fn a_lost_certificate_is_made_again_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (now, path) = (SystemTime::now(), |name: &str| folder.path().join(name));
    ensure(folder.path(), &names(&["gw.example"]), now).unwrap();
    let (before, key) = (
        CertificateDer::from_pem_file(path("ca.pem")).unwrap(),
        fs::read(path("ca.key")).unwrap(),
    );
    for remake in [true, false] {
        fs::remove_file(path("ca.pem")).unwrap();
        if remake {
            init(folder.path(), now).unwrap();
        } else {
            ensure(folder.path(), &names(&["new.example"]), now).unwrap();
        }
        assert_eq!(fs::read(path("ca.key")).unwrap(), key);
        let after = CertificateDer::from_pem_file(path("ca.pem")).unwrap();
        let same = |der: &CertificateDer<'_>| {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
            (parsed.subject().to_string(), parsed.public_key().raw.to_vec())
        };
        assert_eq!(same(&after), same(&before));
        issue(folder.path(), &names(&["a"]), Use::Client, 10, now).unwrap();
    }
    // Without its key there is nothing to make again.
    fs::remove_file(path("ca.key")).unwrap();
    let error = issue(folder.path(), &names(&["a"]), Use::Client, 10, now)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ca.key is missing") && error.contains("restore a backup"),
        "{error}"
    );
}

/// Cameras dial the names of before until somebody tells them others.
#[test]
fn names_of_before_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (now, cert) = (SystemTime::now(), folder.path().join("gateway.pem"));
    let asked = |list: &[&str]| ensure(folder.path(), &names(list), now).unwrap();
    let first = asked(&["vm", "2001:DB8:0::7", "127.0.0.1", "vm"]);
    assert_eq!((first.is_new, first.kept), (true, names(&[])));
    let made_pin = pin(&cert).unwrap();
    let second = asked(&["GW.example.net", "192.0.2.7"]);
    let before = names(&["vm", "2001:db8::7", "127.0.0.1"]);
    assert_eq!((second.is_new, &second.kept), (true, &before));
    let all = [names(&["gw.example.net", "192.0.2.7"]), before].concat();
    assert_eq!((names_of(&cert), pin(&cert).unwrap()), (all.clone(), made_pin));
    // Nothing is made for what it has already, however it is written.
    let third = asked(&["VM", "2001:db8::0:7"]);
    assert_eq!((third.is_new, third.kept.len()), (false, 3));
    // A renewal keeps them as well.
    let late = now + DAY * LEAF_DAYS as u32;
    assert!(ensure(folder.path(), &names(&["vm"]), late).unwrap().is_new);
    assert!(all.iter().all(|name| names_of(&cert).contains(name)));
    // A name is dropped by putting the certificate aside, which leaves the key.
    fs::remove_file(&cert).unwrap();
    asked(&["gw.example.net"]);
    assert_eq!(names_of(&cert), names(&["gw.example.net"]));
}

#[test]
fn names_are_bounded_and_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let (now, cert) = (SystemTime::now(), folder.path().join("gateway.pem"));
    for n in 0..MAX_NAMES {
        let made = ensure(folder.path(), &names(&[&format!("n{n}.example")]), now).unwrap();
        assert_eq!(made.dropped, names(&[]));
    }
    let made = ensure(folder.path(), &names(&["new.example"]), now).unwrap();
    assert_eq!(made.dropped, names(&["n0.example"]));
    let shown = names_of(&cert);
    assert_eq!((shown.len(), shown[0].as_str()), (MAX_NAMES, "new.example"));
    // Who asks for more gets them.
    let many: Vec<String> = (0..MAX_NAMES + 8).map(|n| format!("m{n}.example")).collect();
    let made = ensure(folder.path(), &many, now).unwrap();
    assert_eq!((names_of(&cert), made.dropped.len()), (many, MAX_NAMES));
}

#[test]
fn a_lost_key_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (now, path) = (SystemTime::now(), |name: &str| folder.path().join(name));
    ensure(folder.path(), &names(&["a"]), now).unwrap();
    let cert = fs::read(path("gateway.pem")).unwrap();
    fs::rename(path("gateway.key"), path("aside")).unwrap();
    let error = ensure(folder.path(), &names(&["a"]), now)
        .unwrap_err()
        .to_string();
    let key = path("gateway.key").display().to_string();
    assert!(
        error.starts_with(&key) && error.contains("restore a backup"),
        "{error}"
    );
    assert!(!path("gateway.key").exists() && fs::read(path("gateway.pem")).unwrap() == cert);
    // What is said to be done is what helps; and without the certificate, the key that is there stays.
    fs::rename(path("gateway.pem"), path("aside.pem")).unwrap();
    ensure(folder.path(), &names(&["a"]), now).unwrap();
    assert_ne!(pin(&path("gateway.pem")), pin(&path("aside.pem")));
}

fn refused(folder: &Path) -> String {
    let before: Vec<String> = contents(folder);
    let error = ensure(folder, &names(&["new.example"]), SystemTime::now()).unwrap_err();
    assert_eq!(contents(folder), before, "{error}");
    error.to_string()
}

/// Names, what links lead to, and sizes.
fn contents(folder: &Path) -> Vec<String> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        format!("{} {:?} {}", path.display(), found.file_type(), found.len())
    };
    let mut all: Vec<String> = fs::read_dir(folder).unwrap().map(entry).collect();
    all.sort();
    all
}

#[test]
fn a_link_that_leads_nowhere_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    ensure(folder.path(), &names(&["a"]), SystemTime::now()).unwrap();
    let disk = tempfile::tempdir().unwrap();
    for lost in ["gateway.key", "gateway.pem", "ca.pem", "ca.key"] {
        let (path, away) = (folder.path().join(lost), disk.path().join(lost));
        fs::copy(&path, &away).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&away, &path).unwrap();
        fs::rename(&away, disk.path().join("unmounted")).unwrap();
        let error = refused(folder.path());
        assert!(
            error.contains(lost) && error.contains("leads nowhere") && error.contains("mounted"),
            "{error}"
        );
        if lost.starts_with("ca.") {
            let error = init(folder.path(), SystemTime::now()).unwrap_err().to_string();
            assert!(
                error.contains("leads nowhere") || error.contains("is there already"),
                "{error}"
            );
            assert!(
                load(folder.path())
                    .unwrap_err()
                    .to_string()
                    .contains("leads nowhere")
            );
        }
        fs::rename(disk.path().join("unmounted"), &away).unwrap();
        assert!(
            !ensure(folder.path(), &names(&["a"]), SystemTime::now())
                .unwrap()
                .is_new
        );
    }
}

#[test]
fn a_fifo_hangs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    ensure(folder.path(), &names(&["a"]), SystemTime::now()).unwrap();
    for name in ["gateway.key", "gateway.pem", "ca.pem", "ca.key"] {
        let (path, aside) = (folder.path().join(name), folder.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = refused(folder.path());
        assert!(error.contains(name) && error.contains("is a fifo"), "{error}");
        fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn a_lost_ca_is_not_made_anew_beside_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (now, path) = (SystemTime::now(), |name: &str| folder.path().join(name));
    ensure(folder.path(), &names(&["a"]), now).unwrap();
    let first_pin = pin(&path("gateway.pem")).unwrap();
    for name in ["ca.pem", "ca.key"] {
        fs::remove_file(path(name)).unwrap();
    }
    // What is good is used on; nothing is issued.
    assert!(!ensure(folder.path(), &names(&["a"]), now).unwrap().is_new);
    for _ in 0..2 {
        let error = refused(folder.path());
        for part in ["trust it", "lenscap-gateway restore", "lenscap-gateway ca init"] {
            assert!(error.contains(part), "{error}");
        }
    }
    // A wrong clock comes first: the gateway goes on until it is right.
    let wrong = ensure(folder.path(), &names(&["b"]), SystemTime::UNIX_EPOCH);
    assert!(matches!(wrong, Err(CaError::Clock(_))), "{wrong:?}");
    // What is said to be done is what helps, and the pin and the names stay.
    init(folder.path(), now).unwrap();
    assert!(ensure(folder.path(), &names(&["b"]), now).unwrap().is_new);
    assert_eq!(pin(&path("gateway.pem")).unwrap(), first_pin);
    assert_eq!(names_of(&path("gateway.pem")), names(&["b", "a"]));
    // Without the certificate its key tells of it.
    for name in ["ca.pem", "ca.key", "gateway.pem"] {
        fs::remove_file(path(name)).unwrap();
    }
    assert!(refused(folder.path()).contains("lenscap-gateway ca init"));
    init(folder.path(), now).unwrap();
    ensure(folder.path(), &names(&["b"]), now).unwrap();
    assert_eq!(pin(&path("gateway.pem")).unwrap(), first_pin);
}

#[test]
fn a_certificate_that_cannot_be_read_keeps_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let cert = folder.path().join("gateway.pem");
    ensure(folder.path(), &names(&["a"]), SystemTime::now()).unwrap();
    let whole = fs::read(&cert).unwrap();
    let no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for damaged in [&whole[..whole.len() / 4], b"", b"\xff\xfe", no_certificate] {
        fs::write(&cert, damaged).unwrap();
        let error = refused(folder.path());
        assert!(
            error.contains("gateway.pem: no usable certificate") && error.contains("backup"),
            "{error}"
        );
        assert_eq!(fs::read(&cert).unwrap(), damaged);
    }
    // Another's certificate must not be renewed for this key.
    let other = tempfile::tempdir().unwrap();
    ensure(other.path(), &names(&["a"]), SystemTime::now()).unwrap();
    fs::copy(other.path().join("gateway.pem"), &cert).unwrap();
    assert!(refused(folder.path()).contains("not the private key of gateway.pem"));
}

#[test]
fn a_damaged_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (now, key) = (SystemTime::now(), folder.path().join("gateway.key"));
    ensure(folder.path(), &names(&["a"]), now).unwrap();
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let error = ensure(folder.path(), &names(&["a"]), now)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(&key.display().to_string()), "{error}");
    assert!(error.contains("restore a backup"), "{error}");
    assert_eq!(fs::read_to_string(&key).unwrap(), "-----BEGIN PRIVATE KEY-----\n");
}

#[test]
fn nothing_is_issued_at_a_time_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let at = |unix: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
    let hosts = names(&["gw.example"]);
    for wrong in [at(60), at(2_208_988_800)] {
        assert!(matches!(
            ensure(folder.path(), &hosts, wrong),
            Err(CaError::Clock(_))
        ));
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
    ensure(folder.path(), &hosts, SystemTime::now()).unwrap();
    // What is good stays in use; nothing is made by the wrong clock. 2099 is beyond the CA's end.
    assert!(!ensure(folder.path(), &hosts, at(60)).unwrap().is_new);
    let ahead = ensure(folder.path(), &hosts, at(4_070_908_800));
    assert!(matches!(ahead, Err(CaError::Clock(_))));
    for wrong in [at(60), at(2_208_988_800), at(4_070_908_800)] {
        let error = issue(folder.path(), &hosts, Use::Client, 10, wrong).unwrap_err();
        assert!(error.to_string().contains("timedatectl"), "{error}");
    }
}

#[test]
fn clear_errors_and_nothing_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let issue_at = |now| issue(folder.path(), &names(&["a"]), Use::Client, 10, now).map(drop);
    assert!(issue_at(now).unwrap_err().to_string().contains("ca init"));
    init(folder.path(), now).unwrap();
    assert!(matches!(init(folder.path(), now), Err(CaError::Exists(_))));
    let short = tempfile::tempdir().unwrap();
    init_for(short.path(), now, 1).unwrap();
    let late = issue(short.path(), &names(&["a"]), Use::Client, 10, now + DAY * 2);
    assert!(late.unwrap_err().to_string().contains("has expired"));
    let other = KeyPair::generate().unwrap();
    write(&folder.path().join("ca.key"), &other.serialize_pem(), 0o600).unwrap();
    let error = issue_at(now).unwrap_err().to_string();
    assert!(
        error.contains("ca.key is not the private key of ca.pem"),
        "{error}"
    );
    for bad in ["", "a b", "a..b", "-", &"x".repeat(64)] {
        assert!(!is_host(bad), "{bad}");
    }
    assert!(own_names().iter().all(|name| is_host(name)));
}
