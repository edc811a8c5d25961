//! TLS to the gateway: one [`Client`] for each uplink, for the life of the process, or no session is resumed.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};

use crate::clock::Clock;
use crate::config::{Pin, Uplink};
use crate::identity::Identity;

/// Makes TLS connections for one uplink.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
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
    /// [`auth`](Uplink::auth) is a certificate.
    ///
    /// # Errors
    /// An unreadable CA file, or a key that TLS cannot use.
    pub fn new(uplink: &Uplink, identity: Option<&Identity>, clock: Arc<Clock>) -> Result<Self, TlsError> {
        let _ = (uplink, identity, clock);
        unimplemented!()
    }

    /// A connection to a host: a name or an IP literal, as [`host`](lenscap_uplink::url::Url::host) gives it.
    ///
    /// # Errors
    /// A host that is neither.
    pub fn connect(&self, host: &str) -> Result<ClientConnection, TlsError> {
        let _ = (host, &self.config);
        unimplemented!()
    }

    /// From now on this host must have this key (a `Lenscap-Pin` that came with a redirect). Sessions with the host
    /// are forgotten.
    pub fn pin_host(&self, host: &str, pin: Pin) {
        let _ = (host, pin);
        unimplemented!()
    }
}

/// A failed handshake in plain words, with what to do. Addresses and names of the peer are left out.
#[must_use]
pub fn explain(error: &rustls::Error) -> String {
    let _ = error;
    unimplemented!()
}

impl Pin {
    /// Reads `sha256/<base64>`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let _ = text;
        unimplemented!()
    }
}
