//! TLS to the gateway (TLS 1.3 and 1.2, RFC 8446 and 5246): one [`Client`] for each uplink, for the life of the
//! process, or no session is resumed. No sockets here.

pub(crate) mod cipher;
mod der;
mod explain;
mod verifier;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::clock::Clock;
use crate::config::{ClientAuth, Pin, Uplink};
use crate::files;
use crate::identity::Identity;

pub use explain::{TRUNCATED, explain};
use verifier::Verifier;

/// The CAs of the web that this build trusts: subject, key and name constraints in DER (`build.rs`).
const WEB_ROOTS: &[WebRoot] = include!(concat!(env!("OUT_DIR"), "/roots.rs"));
/// Hosts whose sessions are kept for resumption.
const SESSION_HOSTS: usize = 16;
/// The largest CA file, in bytes: all of Mozilla's roots are 220 KiB.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;
/// rustls keeps at most this many tickets for a host.
const MAX_TICKETS: usize = 8;
/// Hosts known to want AES; one more displaces the oldest, which is then asked once more without.
const MAX_AES_HOSTS: usize = 16;

type WebRoot = (&'static [u8], &'static [u8], Option<&'static [u8]>);

/// Makes TLS connections for one uplink.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    /// Where `config` offers no AES: the same with AES.
    with_aes: Option<Arc<ClientConfig>>,
    aes_hosts: Mutex<Vec<ServerName<'static>>>,
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
        Self::for_cpu(uplink, identity, clock, cipher::has_aes_instructions())
    }

    fn for_cpu(
        uplink: &Uplink,
        identity: Option<&Identity>,
        clock: Arc<Clock>,
        has_aes: bool,
    ) -> Result<Self, TlsError> {
        let verifier = Arc::new(verifier(uplink, Arc::clone(&clock))?);
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSION_HOSTS * MAX_TICKETS));
        let config = |provider: CryptoProvider| {
            let mut config = client_config(provider, uplink, identity, &clock, &verifier)?;
            config.resumption = Resumption::store(Arc::clone(&sessions) as _);
            Ok::<_, TlsError>(Arc::new(config))
        };
        let (config, with_aes) = if has_aes {
            (config(cipher::chacha20_and_aes())?, None)
        } else {
            (
                config(cipher::chacha20())?,
                Some(config(cipher::chacha20_and_aes())?),
            )
        };
        Ok(Self {
            config,
            with_aes,
            aes_hosts: Mutex::new(Vec::new()),
            verifier,
            sessions,
        })
    }

    /// A connection to a host: a name or an IP literal, as [`host`](lenscap_uplink::url::Url::host) gives it.
    ///
    /// # Errors
    /// A host that is neither.
    pub fn connect(&self, host: &str) -> Result<ClientConnection, TlsError> {
        let name = server_name(host)?;
        let wants_aes = self.lock_aes_hosts().contains(&name);
        let config = self
            .with_aes
            .as_ref()
            .filter(|_| wants_aes)
            .unwrap_or(&self.config);
        ClientConnection::new(Arc::clone(config), name).map_err(|error| TlsError(explain(&error)))
    }

    /// Takes the error of a failed handshake with a host; `None` when the connection was cut in it. True, once for each
    /// host, when it is worth another try at once: this CPU has no AES instructions, so AES was not offered, and now it
    /// will be.
    pub fn handle_failure(&self, host: &str, error: Option<&rustls::Error>) -> bool {
        let Ok(name) = server_name(host) else {
            return false;
        };
        let mut hosts = self.lock_aes_hosts();
        if self.with_aes.is_none() || !error.is_none_or(cipher::may_lack_suites) || hosts.contains(&name) {
            return false;
        }
        if hosts.len() == MAX_AES_HOSTS {
            hosts.remove(0);
        }
        hosts.push(name);
        true
    }

    fn lock_aes_hosts(&self) -> std::sync::MutexGuard<'_, Vec<ServerName<'static>>> {
        self.aes_hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this host must have this key (a `Lenscap-Pin` that came with a redirect). It changes nothing for
    /// hosts that the configuration pins. Sessions with the host that were agreed before are forgotten, as a resumed
    /// session shows no certificate.
    pub fn pin_host(&self, host: &str, pin: Pin) {
        let Ok(name) = server_name(host) else {
            return;
        };
        if !self.verifier.pin_host(&name, pin) {
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

/// Trusts what the configuration trusts. Its pins hold for the hosts of the endpoints.
fn verifier(uplink: &Uplink, clock: Arc<Clock>) -> Result<Verifier, TlsError> {
    let roots = match &uplink.trust.ca_file {
        Some(path) => roots_from_file(path)?,
        None => RootCertStore {
            roots: WEB_ROOTS.iter().map(web_root).collect(),
        },
    };
    // In the form in which the handshake will name them, or a pin would not be found and a CA be asked.
    let hosts = uplink
        .endpoints
        .iter()
        .map(|endpoint| server_name(endpoint.host()));
    let hosts = hosts.collect::<Result<_, _>>()?;
    Ok(Verifier::new(roots, clock, hosts, uplink.trust.pins.clone()))
}

fn web_root(&(subject, key, constraints): &WebRoot) -> TrustAnchor<'static> {
    TrustAnchor {
        subject: subject.into(),
        subject_public_key_info: key.into(),
        name_constraints: constraints.map(Into::into),
    }
}

fn client_config(
    provider: CryptoProvider,
    uplink: &Uplink,
    identity: Option<&Identity>,
    clock: &Arc<Clock>,
    verifier: &Arc<Verifier>,
) -> Result<ClientConfig, TlsError> {
    let time = Arc::new(RustlsClock(Arc::clone(clock)));
    let builder = ClientConfig::builder_with_details(Arc::new(provider), time)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _);
    let mut config = match (&uplink.auth, identity) {
        (ClientAuth::Certificate, Some(identity)) => builder
            .with_client_auth_cert(identity.cert_chain.clone(), identity.key.clone_key())
            .map_err(|error| TlsError(format!("the client certificate cannot be used: {error}")))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    // A certificate's names have no final dot (RFC 6066, section 3, for SNI).
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
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
