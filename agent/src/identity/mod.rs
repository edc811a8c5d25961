//! Who the camera is: a certificate and its key, given or made at the first start.
//!
//! The self-made identity is one file, so that no failure leaves half of it: `identity.pem` in the state folder, a
//! P-256 key (PKCS #8) and a self-signed certificate. Gateways know a camera by its key's fingerprint.

mod der;
mod file;
pub mod pin;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use crate::config::{AgentConfig, CertificateFiles};
use crate::sys;
use crate::tls::cipher;

/// The self-made identity's file in the state folder.
pub const FILE_NAME: &str = "identity.pem";

/// The most certificates in a chain.
const MAX_CHAIN: usize = 8;

/// The agent's certificate and key.
pub struct Identity {
    /// The certificate chain, the agent's own first.
    pub cert_chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// `sha256:<hex>` over the certificate's SubjectPublicKeyInfo: what a gateway knows the camera by.
    pub fingerprint: String,
    /// The same as bytes.
    pub key_hash: [u8; 32],
    /// `sha256:<hex>` over the whole certificate.
    pub certificate_fingerprint: String,
    /// Where it came from.
    pub source: Source,
}

/// Where an identity came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `option cert` and `option key`.
    Configured,
    /// Made at an earlier start.
    Stored,
    /// Made just now.
    Created,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Why there is no identity: a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityError(String);

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IdentityError {}

/// Loads the configured identity, or the one made earlier, or makes one.
///
/// # Errors
/// Files that are damaged, do not fit together, or cannot be read or written. Nothing is overwritten.
pub fn load_or_create(agent: &AgentConfig) -> Result<Identity, IdentityError> {
    if let Some(files) = &agent.certificate {
        return configured(files);
    }
    let path = agent.state_dir.join(FILE_NAME);
    match file::read(&path) {
        Ok(pem) => stored(&path, &pem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match create(&path, agent.serial.as_deref())
        {
            // Another start was faster.
            Err(Failure::Exists) => file::read(&path)
                .map_err(|error| read_error(&path, &error))
                .and_then(|pem| stored(&path, &pem)),
            Err(Failure::Other(error)) => Err(error),
            Ok(identity) => Ok(identity),
        },
        Err(error) => Err(read_error(&path, &error)),
    }
}

/// Where the identity is or will be, for messages.
#[must_use]
pub fn path(agent: &AgentConfig) -> PathBuf {
    match &agent.certificate {
        Some(files) => files.cert.clone(),
        None => agent.state_dir.join(FILE_NAME),
    }
}

enum Failure {
    Exists,
    Other(IdentityError),
}

fn configured(files: &CertificateFiles) -> Result<Identity, IdentityError> {
    let CertificateFiles { cert, key } = files;
    let chain = file::read(cert).map_err(|error| read_error(cert, &error))?;
    let chain = certificates(&chain).map_err(|why| IdentityError(format!("{}: {why}", cert.display())))?;
    let pem = file::read(key).map_err(|error| read_error(key, &error))?;
    let private = private_key(&pem).map_err(|why| IdentityError(format!("{}: {why}", key.display())))?;
    assemble(chain, private, Source::Configured)
        .map_err(|why| IdentityError(format!("{} and {}: {why}", cert.display(), key.display())))
}

fn stored(path: &Path, pem: &[u8]) -> Result<Identity, IdentityError> {
    let read = || assemble(certificates(pem)?, private_key(pem)?, Source::Stored);
    read().map_err(|why| {
        IdentityError(format!(
            "{}: {why}; restore it from a backup, or remove it for a new identity, which every gateway must then be told",
            path.display()
        ))
    })
}

fn create(path: &Path, serial: Option<&str>) -> Result<Identity, Failure> {
    let other = |why: String| Failure::Other(IdentityError(why));
    let no_random = || other("cannot make an identity: the kernel gives no random bytes".into());
    let rng = SystemRandom::new();
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng).map_err(|_| no_random())?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &rng)
        .map_err(|_| no_random())?;
    let name = match serial {
        Some(serial) => format!("lenscap-{serial}"),
        None => format!(
            "lenscap-{}",
            &hex(digest(&SHA256, &der::public_key_info(&pair)).as_ref())[..16]
        ),
    };
    let number = sys::random().map_err(|_| no_random())?;
    let certificate = der::self_signed(&pair, &name, number, &rng).ok_or_else(no_random)?;
    let text = format!(
        "{}{}",
        pem("CERTIFICATE", &certificate),
        pem("PRIVATE KEY", pkcs8.as_ref())
    );
    file::create(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists,
        _ => other(format!(
            "cannot write {}: {error}; `option state_dir` names the folder",
            path.display()
        )),
    })?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
    assemble(vec![CertificateDer::from(certificate)], key, Source::Created).map_err(other)
}

fn assemble(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    source: Source,
) -> Result<Identity, String> {
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &cipher::chacha20_and_aes()).map_err(|error| {
        match error {
            rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
            rustls::Error::InvalidCertificate(_) => "the certificate cannot be read".to_owned(),
            _ if cfg!(feature = "rsa-key") => {
                "the key cannot be used; it must be ECDSA P-256 or P-384, or RSA of 2048 bits or more"
                    .to_owned()
            }
            _ => "the key cannot be used; it must be ECDSA P-256 or P-384 in this build".to_owned(),
        }
    })?;
    let first = chain.first().ok_or("no certificate")?;
    let parsed = ParsedCertificate::try_from(first).map_err(|_| "the certificate cannot be read")?;
    let mut key_hash = [0; 32];
    key_hash.copy_from_slice(digest(&SHA256, &parsed.subject_public_key_info()).as_ref());
    let fingerprint = format!("sha256:{}", hex(&key_hash));
    let certificate_fingerprint = format!("sha256:{}", hex(digest(&SHA256, first).as_ref()));
    Ok(Identity {
        fingerprint,
        key_hash,
        certificate_fingerprint,
        key,
        source,
        cert_chain: chain,
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        chain.push(certificate.map_err(|_| "the certificate is damaged or cut short")?);
        if chain.len() > MAX_CHAIN {
            return Err(format!("more than {MAX_CHAIN} certificates"));
        }
    }
    if chain.is_empty() {
        Err("no certificate in PEM form, or it is cut short".into())
    } else {
        Ok(chain)
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        "no private key in PEM form, or it is cut short, or it has a password (which the agent cannot ask for)".into()
    })
}

fn read_error(path: &Path, error: &io::Error) -> IdentityError {
    IdentityError(format!("cannot read {}: {error}", path.display()))
}

/// RFC 7468: base64 in lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = Base64::encode_string(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
