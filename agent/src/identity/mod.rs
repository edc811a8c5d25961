//! Who the camera is: a certificate and its key, given or made at the first start.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::AgentConfig;

/// The agent's certificate and key.
pub struct Identity {
    /// The certificate chain, the agent's own first.
    pub cert_chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// `sha256:<hex>` over the certificate's SubjectPublicKeyInfo: what a gateway knows the camera by.
    pub fingerprint: String,
    /// `sha256:<hex>` over the whole certificate.
    pub certificate_fingerprint: String,
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
pub struct IdentityError(pub(crate) String);

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IdentityError {}

/// Loads the configured identity, or the one made earlier, or makes one.
///
/// # Errors
/// Files that are half there, do not fit together, or cannot be read or written. Nothing is overwritten.
pub fn load_or_create(agent: &AgentConfig) -> Result<Identity, IdentityError> {
    let _ = agent;
    unimplemented!()
}
