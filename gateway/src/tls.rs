//! TLS of the uplink listener, and what is read out of certificates.
//!
//! Any client certificate is let in that proves its key: TLS shows *which* key it is, and the configuration
//! above TLS judges it (design section 3.2). A camera's clock may be wrong and its certificate self-signed, so
//! dates and issuers are not looked at.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use sha2::{Digest as _, Sha256};
use thiserror::Error as ThisError;

/// The hash used for fingerprints and tokens.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 over the SubjectPublicKeyInfo of a certificate; `None` if it cannot be parsed.
#[must_use]
pub fn spki_fingerprint(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(sha256(parsed.tbs_certificate.subject_pki.raw))
}

/// Why certificate and key cannot be used.
#[derive(Debug, ThisError)]
pub enum IdentityError {
    /// The certificate file.
    #[error("{} has no usable PEM certificate: {source}", path.display())]
    Cert {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The key file.
    #[error("{} has no usable PEM private key: {source}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Both are readable, but not a pair.
    #[error("{} is not the private key of {}", key.display(), cert.display())]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        cert: PathBuf,
    },
    /// An algorithm that is not supported, or a broken encoding.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: Error,
    },
}

impl IdentityError {
    /// True if the key file is to blame, not the certificate's.
    #[must_use]
    pub fn is_about_key(&self) -> bool {
        !matches!(self, Self::Cert { .. })
    }
}

/// Loads a PEM chain and its key, and checks that they are a pair.
///
/// # Errors
/// See [`IdentityError`].
pub fn load_identity(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, IdentityError> {
    let cert_error = |source| IdentityError::Cert {
        path: cert.to_owned(),
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .map_err(cert_error)?
        .collect::<Result<_, _>>()
        .map_err(cert_error)?;
    if chain.is_empty() {
        return Err(cert_error(rustls::pki_types::pem::Error::NoItemsFound));
    }
    let der = PrivateKeyDer::from_pem_file(key).map_err(|source| IdentityError::Key {
        path: key.to_owned(),
        source,
    })?;
    match CertifiedKey::from_der(chain, der, &ring::default_provider()) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch {
            key: key.to_owned(),
            cert: cert.to_owned(),
        }),
        Err(source) => Err(IdentityError::Unusable {
            path: key.to_owned(),
            source,
        }),
    }
}

/// The server's certificate, exchangeable while connections are open.
#[derive(Debug)]
pub struct Identity(RwLock<Arc<CertifiedKey>>);

impl Identity {
    /// Starts with one certificate.
    #[must_use]
    pub fn new(identity: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(identity)))
    }

    /// Uses another certificate from the next handshake on.
    pub fn replace(&self, identity: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// TLS 1.2 and 1.3, the client's order of ciphers, session tickets, optional client certificates.
///
/// # Errors
/// The ticket key could not be made.
pub fn server_config(identity: Arc<Identity>) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyProvenKey {
        provider: Arc::clone(&provider),
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The same for viewers: they log in above TLS and show no certificate.
///
/// # Errors
/// The ticket key could not be made.
pub fn viewer_config(identity: Arc<Identity>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(identity);
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The serial in a common name `lenscap-<serial>`, as agents make it. Without a serial they put the start of the
/// key's fingerprint there.
#[must_use]
pub fn serial_in(certificate: &CertificateDer<'_>, fingerprint: &[u8; 32]) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let serial = name.strip_prefix("lenscap-")?;
    let is_key = crate::rtsp::digest::hex(fingerprint).starts_with(serial);
    (!is_key).then(|| serial.to_owned())
}

/// Accepts every client certificate whose key signs the handshake.
struct AnyProvenKey {
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for AnyProvenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyProvenKey")
    }
}

impl ClientCertVerifier for AnyProvenKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match spki_fingerprint(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
