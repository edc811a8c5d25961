//! TLS to the gateway (TLS 1.3 and 1.2, RFC 8446 and 5246): one [`Client`] for each uplink, for the life of the
//! process, or no session is resumed. No sockets here.

mod der;
mod explain;
mod verifier;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::clock::Clock;
use crate::config::{ClientAuth, Pin, Uplink};
use crate::files;
use crate::identity::Identity;

pub use explain::{TRUNCATED, explain};
use verifier::Verifier;

/// Hosts whose sessions are kept for resumption.
const SESSION_HOSTS: usize = 16;
/// The largest CA file, in bytes: all of Mozilla's roots are 220 KiB.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;
/// rustls keeps at most this many tickets for a host.
const MAX_TICKETS: usize = 8;

/// Makes TLS connections for one uplink.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Why there is no TLS: a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError(pub(crate) String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl Client {
    /// Prepares TLS as an uplink's configuration says. The identity is shown only where the uplink's
    /// [`auth`](Uplink::auth) is a certificate. The configured pins hold for the hosts of the uplink's endpoints.
    ///
    /// # Errors
    /// An unreadable CA file, or a key that TLS cannot use.
    pub fn new(uplink: &Uplink, identity: Option<&Identity>, clock: Arc<Clock>) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let roots = match &uplink.trust.ca_file {
            Some(path) => roots_from_file(path)?,
            None => RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            },
        };
        let ca = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError(format!("the CA certificates cannot be used: {error}")))?;
        let verifier = Arc::new(Verifier::new(ca, Arc::clone(&clock)));
        for endpoint in &uplink.endpoints {
            // In the form in which the handshake will name it, or the pin would not be found and a CA be asked.
            let name = server_name(endpoint.host())?;
            for pin in &uplink.trust.pins {
                verifier.pin_host(&name.to_str(), *pin);
            }
        }
        let builder = ClientConfig::builder_with_details(provider, Arc::new(RustlsClock(clock)))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
        let mut config = match (&uplink.auth, identity) {
            (ClientAuth::Certificate, Some(identity)) => builder
                .with_client_auth_cert(identity.cert_chain.clone(), identity.key.clone_key())
                .map_err(|error| TlsError(format!("the client certificate cannot be used: {error}")))?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSION_HOSTS * MAX_TICKETS));
        config.resumption = Resumption::store(Arc::clone(&sessions) as _);
        Ok(Self {
            config: Arc::new(config),
            verifier,
            sessions,
        })
    }

    /// A connection to a host: a name or an IP literal, as [`host`](lenscap_uplink::url::Url::host) gives it.
    ///
    /// # Errors
    /// A host that is neither.
    pub fn connect(&self, host: &str) -> Result<ClientConnection, TlsError> {
        ClientConnection::new(Arc::clone(&self.config), server_name(host)?)
            .map_err(|error| TlsError(explain(&error)))
    }

    /// From now on this host must have this key (a `Lenscap-Pin` that came with a redirect). Sessions with the host
    /// that were agreed before are forgotten, as a resumed session shows no certificate.
    pub fn pin_host(&self, host: &str, pin: Pin) {
        let Ok(name) = server_name(host) else {
            return;
        };
        if !self.verifier.pin_host(&name.to_str(), pin) {
            return;
        }
        self.sessions.remove_tls12_session(&name);
        for _ in 0..MAX_TICKETS {
            if self.sessions.take_tls13_ticket(&name).is_none() {
                break;
            }
        }
    }
}

/// ring, with ChaCha20-Poly1305 before AES: few cameras have AES instructions.
fn provider() -> CryptoProvider {
    use ring::cipher_suite::*;
    CryptoProvider {
        cipher_suites: vec![
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        ..ring::default_provider()
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    // A certificate's names have no final dot (RFC 6066, section 3, for SNI).
    let name = host.strip_suffix('.').unwrap_or(host).to_owned();
    ServerName::try_from(name)
        .map_err(|_| TlsError("the endpoint's host is no name that TLS can check".into()))
}

fn roots_from_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let shown = path.display();
    let pem = files::read(path, MAX_CA_FILE_BYTES + 1)
        .map_err(|error| TlsError(format!("cannot read the CA file {shown}: {error}")))?;
    if pem.len() as u64 > MAX_CA_FILE_BYTES {
        return Err(TlsError(format!(
            "the CA file {shown} is longer than {MAX_CA_FILE_BYTES} bytes"
        )));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| TlsError(format!("the CA file {shown} is damaged PEM")))?;
        roots.add(certificate).map_err(|_| {
            TlsError(format!(
                "the CA file {shown} holds a certificate that cannot be read"
            ))
        })?;
    }
    if roots.is_empty() {
        return Err(TlsError(format!(
            "the CA file {shown} holds no certificate in PEM form"
        )));
    }
    Ok(roots)
}

/// Ages of session tickets by the agent's clock.
#[derive(Debug)]
struct RustlsClock(Arc<Clock>);

impl TimeProvider for RustlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests;
