//! Judges the gateway's certificate: by a CA or by a pin, with a clock that may be wrong.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use super::{cipher, der};
use crate::clock::Clock;
use crate::config::Pin;

/// The most pins that came with redirects and are kept.
const MAX_LEARNED_PINS: usize = 64;

/// The verifier of one uplink.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: RootCertStore,
    clock: Arc<Clock>,
    /// The hosts of the endpoints, for which the configuration's pins hold, if there are any.
    hosts: Vec<ServerName<'static>>,
    pins: Vec<Pin>,
    /// Pins that came with redirects, the oldest first. They never add to the configuration's.
    learned: Mutex<Vec<(ServerName<'static>, Pin)>>,
}

/// What this verifier refuses and rustls has no word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The host has pins, and its key is none of them.
    Pin(Pin),
    /// No CA knows the certificate, for its own key signed it.
    SelfSigned(Pin),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(seen) => write!(
                f,
                "the gateway's key is not the pinned one: it is {seen}; if the gateway changed its key on purpose, change `list pin`"
            ),
            Self::SelfSigned(seen) => write!(
                f,
                "the gateway's certificate is self-signed; if its key {seen} is known to be right, add it with `list pin`, otherwise give the gateway a certificate from a CA"
            ),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        clock: Arc<Clock>,
        hosts: Vec<ServerName<'static>>,
        pins: Vec<Pin>,
    ) -> Self {
        Self {
            roots,
            clock,
            hosts,
            pins,
            learned: Mutex::new(Vec::new()),
        }
    }

    /// Adds a redirect's pin for a host. `false` if nothing changes: the host had it already, or the configuration
    /// pins it, and no gateway may widen that.
    pub(super) fn pin_host(&self, host: &ServerName<'static>, pin: Pin) -> bool {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = learned.iter().any(|(known, at)| known == host && *at == pin);
        if is_known || self.is_pinned_by_configuration(host) {
            return false;
        }
        if learned.len() == MAX_LEARNED_PINS {
            // A host that loses its pin needs a CA again, so nothing opens.
            learned.remove(0);
        }
        learned.push((host.clone(), pin));
        true
    }

    fn is_pinned_by_configuration(&self, host: &ServerName<'_>) -> bool {
        !self.pins.is_empty() && self.hosts.iter().any(|known| known == host)
    }

    /// The host's pins, if it has any.
    fn pins_of(&self, host: &ServerName<'_>) -> Vec<Pin> {
        if self.is_pinned_by_configuration(host) {
            return self.pins.clone();
        }
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let of_host = learned.iter().filter(|(known, _)| known == host);
        of_host.map(|(_, pin)| *pin).collect()
    }

    /// A CA must vouch for the chain; the dates are judged as the clock allows.
    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(leaf)?;
        let verify = |at: i64| {
            let at =
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at).unwrap_or(0)));
            let algorithms = cipher::SIGNATURES.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                at,
                algorithms,
            )?;
            verify_server_name(&certificate, name)
        };
        let error = match verify(self.clock.now()) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if is_not_yet_valid(&error) && self.clock.is_unset() {
            let Some(latest) = latest_not_before(leaf, intermediates) else {
                return Err(error);
            };
            log::info!("the clock is not set; the gateway's certificate is judged at its first day");
            return verify(latest);
        }
        if is_expired(&error) && !self.clock.synchronised() {
            verify(self.clock.floor()).map_err(|_| error)?;
            log::warn!(
                "the gateway's certificate has expired by a clock that nothing keeps right; it was valid at the last time known for sure, and is accepted"
            );
            return Ok(());
        }
        Err(error)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pins = self.pins_of(name);
        if !pins.is_empty() {
            let certificate = ParsedCertificate::try_from(leaf)?;
            verify_server_name(&certificate, name)?;
            let seen = pin_of(&certificate);
            return if pins.contains(&seen) {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(Refused::Pin(seen).into())
            };
        }
        let facts = der::facts(leaf);
        if let Err(error) = self.verify_chain(leaf, intermediates, name) {
            // The second case: webpki takes no CA certificate for a server's, which self-signed ones often are.
            let unknown = matches!(
                error,
                Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
            );
            if unknown && facts.is_some_and(|facts| facts.self_issued) {
                return Err(Refused::SelfSigned(pin_of(&ParsedCertificate::try_from(leaf)?)).into());
            }
            return Err(error);
        }
        if let Some(facts) = facts {
            self.clock.note_verified_leaf(facts.not_before);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never asked without the feature; nothing of it in the program then.
        if cfg!(feature = "tls12") {
            verify_tls12_signature(message, certificate, signature, &cipher::SIGNATURES)
        } else {
            Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &cipher::SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        cipher::SIGNATURES.supported_schemes()
    }
}

fn pin_of(certificate: &ParsedCertificate<'_>) -> Pin {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &certificate.subject_public_key_info()).as_ref());
    Pin(hash)
}

fn latest_not_before(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<i64> {
    let mut latest = der::facts(leaf)?.not_before;
    for certificate in intermediates {
        latest = latest.max(der::facts(certificate)?.not_before);
    }
    Some(latest)
}

fn is_not_yet_valid(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        )
    )
}

fn is_expired(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
    )
}
