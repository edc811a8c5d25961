//! Failed handshakes in plain words, with what to do. rustls has names for more of them, which a camera's program is built
//! without (`packaging/toolchain`).

use rustls::{AlertDescription, CertificateError, Error};

use super::verifier::Refused;
use crate::clock::date;

/// What a gateway has to have.
#[cfg(feature = "tls12")]
macro_rules! wanted {
    () => {
        "it must offer TLS 1.3 or 1.2 with an ECDHE cipher"
    };
}
#[cfg(not(feature = "tls12"))]
macro_rules! wanted {
    () => {
        "it must offer TLS 1.3; lenscap-full has TLS 1.2 too"
    };
}

/// A failed handshake in plain words, with what to do. No address and no name of the peer is in them.
#[must_use]
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alert_received(*alert).into(),
        Error::NoApplicationProtocol => {
            "the gateway does not speak HTTP/1.1 (ALPN); the endpoint leads to something else".into()
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::PeerSentOversizedRecord => {
            "the answer is not TLS; check the endpoint's port, and that no proxy or login page stands in between".into()
        }
        Error::PeerIncompatible(_) => {
            concat!("the gateway and this agent have no TLS version or cipher in common: ", wanted!()).into()
        }
        Error::DecryptError | Error::PeerMisbehaved(_) => {
            "the gateway broke the TLS protocol; something in between may change what it sends".into()
        }
        Error::FailedToGetRandomBytes => "the kernel gives no random bytes".into(),
        other => format!("TLS failed: {other}"),
    }
}

/// TLS ended before the handshake did.
pub const TRUNCATED: &str = "the connection ended during the TLS handshake; the gateway may be overloaded, or something in between cut it";

const UNUSABLE: &str =
    "the gateway's certificate cannot be used: it, or one of its CA's, is not made as one for the web is";

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the gateway's certificate expired on {}; renew it, or set the camera's clock if that is wrong",
            date(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX))
        ),
        CertificateError::Expired => "the gateway's certificate has expired; renew it".into(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the gateway's certificate is not valid before {}; set the camera's clock, or check the certificate",
            date(i64::try_from(not_before.as_secs()).unwrap_or(i64::MAX))
        ),
        CertificateError::NotValidYet => {
            "the gateway's certificate is not valid yet; set the camera's clock, or check the certificate".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the gateway's certificate is for another name; the endpoint's host must be one of the certificate's names"
                .into()
        }
        CertificateError::UnknownIssuer => {
            "no CA that this program knows issued the gateway's certificate; give its CA with `option ca_file`, or its key with `list pin`, or make the gateway send its intermediate certificates".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the gateway's certificate is not for servers (extended key usage); issue one with serverAuth".into()
        }
        CertificateError::Revoked => "the gateway's certificate is revoked; issue another".into(),
        CertificateError::BadSignature => {
            "a signature in the handshake or in the gateway's certificate chain is wrong: its key and its certificate do not belong together, or a CA of the same name and with another key issued it".into()
        }
        CertificateError::BadEncoding => "the gateway's certificate is damaged".into(),
        CertificateError::Other(other) => match other.0.downcast_ref::<Refused>() {
            Some(refused) => refused.to_string(),
            None => UNUSABLE.into(),
        },
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the gateway's certificate, or one of its CA's, has a key or a signature that this program does not take: RSA with 2048 bits or more, ECDSA P-256 or P-384".into()
        }
        _ => UNUSABLE.into(),
    }
}

fn alert_received(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => {
            "the gateway refused this camera's certificate; add the fingerprint that `lenscap identity` shows to the gateway's configuration"
        }
        AlertDescription::CertificateExpired => {
            "the gateway holds this camera's certificate for expired; check its dates and the gateway's clock"
        }
        AlertDescription::NoApplicationProtocol => {
            "the gateway does not speak HTTP/1.1 (ALPN); the endpoint leads to something else"
        }
        AlertDescription::UnrecognisedName => {
            "the server does not know the endpoint's host name; check `option endpoint`"
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => {
            concat!(
                "the gateway refused every TLS version or cipher offered; ",
                wanted!()
            )
        }
        _ => "the gateway ended the TLS handshake with an alert; its log says why",
    }
}
