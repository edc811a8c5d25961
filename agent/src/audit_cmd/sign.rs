//! Signs a report with the camera's key, beside the report: whoever has the camera's certificate can check it.
//!
//! `openssl dgst -sha256 -verify key.pem -signature FILE report` does, where `openssl x509 -pubkey` made `key.pem`.

use std::path::Path;

use rustls::SignatureScheme;

use crate::tls::cipher;
use crate::{config, files, identity};

/// The camera's key.
pub(super) struct Signer {
    pub(super) fingerprint: String,
    identity: identity::Identity,
}

impl Signer {
    #[inline(never)]
    pub(super) fn load(config: &Path) -> Result<Self, String> {
        let agent = config::load_agent(config).map_err(|errors| errors.to_string())?;
        let identity = identity::load_or_create(&agent).map_err(|error| error.to_string())?;
        Ok(Self {
            fingerprint: identity.fingerprint.clone(),
            identity,
        })
    }

    /// Writes the signature of `message` to a file, as DER for ECDSA, else as the bytes of RSA.
    #[inline(never)]
    pub(super) fn write(&self, file: &Path, message: &[u8]) -> Result<(), String> {
        const SCHEMES: &[SignatureScheme] = &[
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::RSA_PKCS1_SHA256,
        ];
        let provider = cipher::chacha20_and_aes().key_provider;
        let key = provider
            .load_private_key(self.identity.key.clone_key())
            .map_err(|error| error.to_string())?;
        let signer = key.choose_scheme(SCHEMES).ok_or("the camera's key cannot sign")?;
        let signature = signer.sign(message).map_err(|error| error.to_string())?;
        files::replace(file, &signature).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }
}
