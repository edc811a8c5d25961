//! Which cipher suites are offered. Servers mostly choose by their own taste, and without AES instructions AES takes
//! a camera several times the work of ChaCha20-Poly1305: such a camera offers the latter alone at first.

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite::*, default_provider};
use rustls::{AlertDescription, Error, SupportedCipherSuite};

const CHACHA20: [SupportedCipherSuite; 3] = [
    TLS13_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

const AES: [SupportedCipherSuite; 6] = [
    TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// ring, with ChaCha20-Poly1305 alone.
pub(super) fn chacha20() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: CHACHA20.to_vec(),
        ..default_provider()
    }
}

/// ring, with ChaCha20-Poly1305 before AES.
pub(super) fn chacha20_and_aes() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: [&CHACHA20[..], &AES].concat(),
        ..default_provider()
    }
}

/// Whether this CPU computes AES-GCM in hardware. 32-bit ARM and MIPS count as without: what few of them have is not
/// used by ring everywhere.
pub(super) fn has_aes_instructions() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The alerts of a server that takes none of the suites offered (RFC 8446, section 6.2).
pub(super) fn may_lack_suites(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
    )
}
