//! Certificates made on the spot: a good authority and leaf, and every bad one a test needs.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use sha2::{Digest as _, Sha256};

use super::dir::TestDir;

/// Names and addresses the good leaf is valid for: loopback, and the far side of a test's network namespace.
const GOOD_NAMES: &[&str] = &[
    "localhost",
    "gateway.test",
    "other.gateway.test",
    "127.0.0.1",
    "10.77.0.1",
];

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct CertFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key, 0600.
    pub key: PathBuf,
    /// SHA-256 over the SubjectPublicKeyInfo, 32 bytes.
    pub spki_sha256: [u8; 32],
}

impl CertFiles {
    /// The fingerprint as the gateway's configuration writes it: `sha256:<hex>`.
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", hex(&self.spki_sha256))
    }

    /// The pin as the agent's configuration writes it: `sha256/<base64>`.
    pub fn pin(&self) -> String {
        use base64ct::{Base64, Encoding as _};
        format!("sha256/{}", Base64::encode_string(&self.spki_sha256))
    }
}

/// A certificate authority of a test's own.
#[derive(Debug)]
pub struct Pki {
    dir: TestDir,
    issuer: Issuer<'static, KeyPair>,
    ca: PathBuf,
}

/// How a server certificate is bad, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Verifies.
    Good,
    /// Issued for another host.
    WrongName,
    /// Ended years before the programs were built.
    Expired,
    /// Begins in a far future.
    NotYetValid,
    /// Signed by itself, not by the authority.
    SelfSigned,
}

impl Pki {
    /// Makes an authority; its certificate is `ca.pem` in `dir`.
    pub fn new(dir: &TestDir) -> Self {
        let dir = dir.subdir("pki");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names, no error");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Lenscap test authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2199, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.self_signed(&key).expect("an authority signs itself");
        let ca = dir.write("ca.pem", cert.pem());
        Self {
            dir,
            issuer: Issuer::new(params, key),
            ca,
        }
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.ca.clone()
    }

    /// A server certificate of this kind.
    pub fn leaf(&self, kind: Leaf) -> CertFiles {
        let names: Vec<String> = match kind {
            Leaf::WrongName => vec!["somebody-else.test".to_owned()],
            _ => GOOD_NAMES.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params
            .distinguished_name
            .push(DnType::CommonName, "Lenscap test gateway");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = match kind {
            Leaf::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Leaf::NotYetValid => (date_time_ymd(2150, 1, 1), date_time_ymd(2180, 1, 1)),
            _ => (date_time_ymd(2020, 1, 1), date_time_ymd(2199, 1, 1)),
        };
        let key = KeyPair::generate().expect("a key can be made");
        let cert = match kind {
            Leaf::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        }
        .expect("the certificate can be signed");
        self.store(&format!("server-{kind:?}").to_lowercase(), &cert.pem(), &key)
    }

    /// A camera's client certificate, self-signed as a camera makes it.
    pub fn client(&self, name: &str) -> CertFiles {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names, no error");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(2199, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.self_signed(&key).expect("a client signs itself");
        self.store(name, &cert.pem(), &key)
    }

    fn store(&self, name: &str, cert_pem: &str, key: &KeyPair) -> CertFiles {
        CertFiles {
            cert: self.dir.write(&format!("{name}.pem"), cert_pem),
            key: self.dir.write_secret(&format!("{name}.key"), key.serialize_pem()),
            spki_sha256: Sha256::digest(key.subject_public_key_info()).into(),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal, as the gateway's `token_sha256` wants it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
