//! The whole gateway: binds, serves, stops.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::{Config, Sha256Hash};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::reports::Reports;
use crate::rtsp::digest::DigestServer;
use crate::rtsp::guard::Policy;
use crate::rtsp::throttle::Throttle;
use crate::uplink::listener::Listener;
use crate::{http, rtsp, tls};

/// Time for viewers to be told, then for uplinks, when the gateway stops.
const STOP_DEADLINE: Duration = Duration::from_secs(6);
const DEFAULT_REALM: &str = "lenscap";

/// What all connections share.
pub struct Shared {
    /// Cameras and their uplinks.
    pub registry: Registry,
    /// Counters.
    pub metrics: Metrics,
    /// Audits and flows of the cameras.
    pub reports: Reports,
    /// Who may watch what.
    pub policy: Arc<Policy>,
    /// The start of monotonic time here.
    pub start: Instant,
    /// Path of the upgrade request.
    pub uplink_path: String,
    /// SPKI fingerprint to camera.
    pub fingerprints: BTreeMap<Sha256Hash, usize>,
    /// Token hash to camera.
    pub tokens: BTreeMap<Sha256Hash, usize>,
    throttle: Mutex<Throttle>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(
        cameras: &[String],
        policy: Policy,
        uplink_path: String,
        fingerprints: BTreeMap<Sha256Hash, usize>,
        tokens: BTreeMap<Sha256Hash, usize>,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(cameras),
            metrics: Metrics::new(),
            reports: Reports::default(),
            policy: Arc::new(policy),
            start: Instant::now(),
            uplink_path,
            fingerprints,
            tokens,
            throttle: Mutex::default(),
        })
    }

    /// The table of failed logins.
    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the gateway cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {source}")]
    Listen {
        /// Which section of the configuration.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The TLS library refused.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The folder for reports cannot be made.
    #[error("the state_dir of [reports] cannot be used: {0}")]
    Reports(io::Error),
}

/// The addresses that were bound; what the `listening` line shows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    /// Where cameras dial in.
    pub uplink: SocketAddr,
    /// Where viewers connect.
    pub rtsp: Option<SocketAddr>,
    /// The HTTP API.
    pub http: Option<SocketAddr>,
}

/// Reads the certificate and key again.
#[derive(Clone, Debug)]
pub struct Reloader {
    cert: PathBuf,
    key: PathBuf,
    identity: Arc<tls::Identity>,
}

impl Reloader {
    /// Reads both files; a pair that does not fit is refused and the old one stays.
    pub fn reload(&self) {
        match tls::load_identity(&self.cert, &self.key) {
            Ok(identity) => {
                self.identity.replace(identity);
                info!("certificate reloaded");
            }
            Err(error) => warn!(%error, "certificate not reloaded, the old one stays in use"),
        }
    }
}

/// A gateway that has its sockets.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    tls: Arc<rustls::ServerConfig>,
    reloader: Reloader,
    max_uplinks: usize,
    uplink: TcpListener,
    rtsp: Option<(TcpListener, usize)>,
    http: Option<(TcpListener, Option<Sha256Hash>)>,
    addresses: Addresses,
}

impl Gateway {
    /// Binds all listeners.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let realm = config
            .rtsp
            .as_ref()
            .map_or(DEFAULT_REALM, |rtsp| rtsp.realm.as_str());
        let policy = Policy {
            digest: DigestServer::new(&rand::random(), realm, &config.algorithms),
            viewers: config.viewers,
            cameras: config.cameras.iter().cloned().collect(),
        };
        let uplinks = config.uplink;
        let shared = Shared::new(
            &config.cameras,
            policy,
            uplinks.path,
            config.fingerprints,
            config.tokens,
        );
        shared
            .reports
            .start(config.reports, config.ipfix)
            .map_err(StartError::Reports)?;
        let identity = tls::Identity::new(uplinks.identity);
        let tls = tls::server_config(Arc::clone(&identity))?;
        let (uplink, uplink_address) = listen("[uplink]", uplinks.listen).await?;
        let mut addresses = Addresses {
            uplink: uplink_address,
            rtsp: None,
            http: None,
        };
        let rtsp = match config.rtsp {
            Some(rtsp) => {
                let (socket, address) = listen("[rtsp]", rtsp.listen).await?;
                addresses.rtsp = Some(address);
                Some((socket, rtsp.max_viewers))
            }
            None => None,
        };
        let http = match config.http {
            Some(http) => {
                let (socket, address) = listen("[http]", http.listen).await?;
                addresses.http = Some(address);
                Some((socket, http.token))
            }
            None => None,
        };
        let reloader = Reloader {
            cert: uplinks.cert,
            key: uplinks.key,
            identity,
        };
        let max_uplinks = uplinks.max_uplinks;
        Ok(Self {
            shared,
            tls,
            reloader,
            max_uplinks,
            uplink,
            rtsp,
            http,
            addresses,
        })
    }

    /// What was bound.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// A handle to reload the certificate with.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `stop` is done, then ends within a bounded time: viewers first, so that their sessions are
    /// torn down at the cameras, then uplinks.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let (stop_viewers, viewers_stopping) = watch::channel(false);
        let (stop_uplinks, uplinks_stopping) = watch::channel(false);
        let (viewer_alive, viewers_done) = mpsc::channel(1);
        let (uplink_alive, uplinks_done) = mpsc::channel(1);
        let listener = Listener::new(
            Arc::clone(&self.shared),
            self.tls,
            self.max_uplinks,
            uplinks_stopping.clone(),
            uplink_alive,
        );
        tokio::spawn(listener.run(self.uplink));
        if let Some((socket, max_viewers)) = self.rtsp {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(rtsp::server::run(
                socket,
                shared,
                max_viewers,
                viewers_stopping.clone(),
                viewer_alive.clone(),
            ));
        }
        if let Some((socket, token)) = self.http {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(http::run(
                socket,
                shared,
                token,
                viewers_stopping,
                viewer_alive.clone(),
            ));
        }
        drop(viewer_alive);
        stop.await;
        info!("stopping");
        for (stop, done) in [(stop_viewers, viewers_done), (stop_uplinks, uplinks_done)] {
            end(stop, done).await;
        }
    }
}

async fn end(stop: watch::Sender<bool>, mut done: mpsc::Receiver<()>) {
    // Fails only when nobody listens any more.
    let _ = stop.send(true);
    if timeout(STOP_DEADLINE, done.recv()).await.is_err() {
        warn!("some connections did not end in time");
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Listen {
        what,
        address,
        source,
    };
    let socket = TcpListener::bind(address).await.map_err(error)?;
    let bound = socket.local_addr().map_err(error)?;
    Ok((socket, bound))
}
