//! The whole gateway: binds, serves, stops.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::config::{Config, Sha256Hash};
use crate::data::{Data, DataError, LocalSocket};
use crate::expiry::{Certificates, What};
use crate::fleet::outbound::{AddressError, Callback};
use crate::fleet::{Fixed, Fleet, OpenError, Part};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::reports::Reports;
use crate::roles::join::{self, Join};
use crate::roles::remote::Remote;
use crate::rtsp::throttle::Throttle;
use crate::uplink::listener::Listener;
use crate::uplink::renew;
use crate::{http, rtsp, tls};

/// How often the certificate's files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(30);
/// Time for the endpoint to learn that this streamer takes no more cameras.
const DRAIN_NOTICE: Duration = Duration::from_millis(200);
/// Time for cameras to go elsewhere before their uplinks are ended.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Time for viewers to be told, then for uplinks, when the gateway stops.
const STOP_DEADLINE: Duration = Duration::from_secs(6);

/// What all connections share.
pub struct Shared {
    /// Cameras and their uplinks.
    pub registry: Arc<Registry>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Audits and flows of the cameras.
    pub reports: Reports,
    /// Whose the cameras are and who may watch what.
    pub fleet: Arc<Fleet>,
    /// Path of the upgrade request.
    pub uplink_path: String,
    /// SHA-256 of the token that lets streamers in.
    pub join_token: Option<Sha256Hash>,
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
        fleet: Arc<Fleet>,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        uplink_path: String,
        join_token: Option<Sha256Hash>,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry,
            metrics,
            reports: Reports::default(),
            fleet,
            uplink_path,
            join_token,
            throttle: Mutex::default(),
        })
    }

    /// The table of failed logins.
    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Monotonic time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.fleet.start().elapsed()
    }

    #[cfg(test)]
    pub(crate) fn for_tests(cameras: &[&str]) -> Arc<Self> {
        let (registry, metrics) = (Arc::<Registry>::default(), Arc::<Metrics>::default());
        let fixed = Fixed {
            cameras: cameras.iter().map(|name| (*name).to_owned()).collect(),
            ..Fixed::default()
        };
        let fleet = Fleet::fixed_only(fixed, Arc::clone(&metrics), Arc::clone(&registry));
        Self::new(
            fleet.expect("a fleet in memory"),
            registry,
            metrics,
            String::new(),
            None,
        )
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
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What is in it.
    #[error(transparent)]
    Fleet(#[from] OpenError),
    /// The claim callback.
    #[error("[claims] callback: {0}")]
    Callback(#[from] AddressError),
}

/// The addresses that were bound; what the `listening` line shows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    /// Where cameras dial in.
    pub uplink: SocketAddr,
    /// Where viewers connect.
    pub rtsp: Option<SocketAddr>,
    /// Where viewers connect with TLS.
    pub rtsps: Option<SocketAddr>,
    /// The HTTP API.
    pub http: Option<SocketAddr>,
}

impl Addresses {
    /// Addresses of the configuration with the port 0 mean the port that was bound.
    fn put_into(self, config: &mut Config) {
        let ports =
            [Some(self.uplink), self.rtsp, self.http].map(|address| address.map(|address| address.port()));
        let put = |url: &mut String, port: Option<u16>| {
            let end = url
                .find("://")
                .and_then(|at| url[at + 3..].find('/').map(|end| at + 3 + end));
            let (origin, path) = url.split_at(end.unwrap_or(url.len()));
            if let (Some(host), Some(port)) = (origin.strip_suffix(":0"), port) {
                *url = format!("{host}:{port}{path}");
            }
        };
        if let Some(join) = &mut config.join {
            put(&mut join.hello.uplink_url, ports[0]);
            join.hello.rtsp_url.iter_mut().for_each(|url| put(url, ports[1]));
            join.hello.http_url.iter_mut().for_each(|url| put(url, ports[2]));
        }
        if let Part::Endpoint {
            addresses: Some(addresses),
            ..
        } = &mut config.part
        {
            put(&mut addresses.uplink_url, ports[0]);
            addresses.rtsp_url.iter_mut().for_each(|url| put(url, ports[1]));
            addresses.http_url.iter_mut().for_each(|url| put(url, ports[2]));
        }
    }
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

    /// Looks at both files every so often and reads them when they have changed, for as long as the process lives.
    pub async fn watch(self) {
        let mut seen = self.stamps();
        loop {
            tokio::time::sleep(CERTIFICATE_LOOK).await;
            let now = self.stamps();
            if now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.cert, &self.key].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }
}

/// A gateway that has its sockets.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    tls: Arc<rustls::ServerConfig>,
    viewer_tls: Arc<rustls::ServerConfig>,
    reloader: Reloader,
    max_uplinks: usize,
    uplink: TcpListener,
    rtsp: Vec<RtspListener>,
    max_viewers: usize,
    http: Option<(TcpListener, http::Gate, bool)>,
    local: Option<LocalSocket>,
    join: Option<Join>,
    certificates: Certificates,
    addresses: Addresses,
    /// Held for as long as the gateway lives.
    _data: Option<Data>,
}

#[derive(Debug)]
struct RtspListener {
    socket: TcpListener,
    tls: bool,
}

impl Gateway {
    /// Takes the data folder and binds all listeners.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(mut config: Config) -> Result<Self, StartError> {
        let data = config.data.as_deref().map(Data::open).transpose()?;
        let identity = tls::Identity::new(Arc::clone(&config.uplink.identity));
        let tls = tls::server_config(Arc::clone(&identity))?;
        let viewer_tls = tls::viewer_config(Arc::clone(&identity))?;
        let (uplink, uplink_address) = listen("[uplink]", config.uplink.listen).await?;
        let mut addresses = Addresses {
            uplink: uplink_address,
            rtsp: None,
            rtsps: None,
            http: None,
        };
        let (mut rtsp, mut max_viewers) = (Vec::new(), 0);
        if let Some(section) = &config.rtsp {
            let (socket, address) = listen("[rtsp]", section.listen).await?;
            addresses.rtsp = Some(address);
            max_viewers = section.max_viewers;
            rtsp.push(RtspListener { socket, tls: false });
            if let Some(address) = section.listen_tls {
                let (socket, address) = listen("[rtsp] listen_tls", address).await?;
                addresses.rtsps = Some(address);
                rtsp.push(RtspListener { socket, tls: true });
            }
        }
        let http = match &config.http {
            Some(http) => {
                let (socket, address) = listen("[http]", http.listen).await?;
                addresses.http = Some(address);
                let gate = match http.token {
                    // With a data folder there are tokens, so nobody needs to come in without one.
                    None if data.is_none() => http::Gate::Open,
                    token => http::Gate::Token(token),
                };
                Some((socket, gate, http.tls))
            }
            None => None,
        };
        addresses.put_into(&mut config);
        let shared = share(&config, data.as_ref())?;
        let mut reports = config.reports;
        let folder = data.as_ref().map(|data| data.folder().join("reports"));
        reports.state_dir = reports.state_dir.or(folder);
        shared
            .reports
            .start(reports, config.ipfix, shared.fleet.store())
            .map_err(StartError::Reports)?;
        let join = config.join.take().zip(data.as_ref()).map(|(join, data)| Join {
            hello: join.hello,
            endpoint: join.endpoint,
            ca: join.ca,
            token: join.token,
            data: data.folder().to_owned(),
        });
        if let Some(join) = &join
            && let Some(remote) = Remote::load(&join.hello.name, &join.data)
        {
            shared.fleet.set_remote(Arc::new(remote));
        }
        let local = data.as_ref().map(Data::listen).transpose()?;
        let reloader = Reloader {
            cert: config.uplink.cert.clone(),
            key: config.uplink.key.clone(),
            identity,
        };
        let mut certificates = vec![(What::Shown, config.uplink.cert.clone())];
        certificates.extend(data.as_ref().map(|data| (What::Ca, data.folder().join("ca.pem"))));
        Ok(Self {
            certificates: Certificates(certificates),
            shared,
            tls,
            viewer_tls,
            reloader,
            max_uplinks: config.uplink.max_uplinks,
            uplink,
            rtsp,
            max_viewers,
            http,
            local,
            join,
            addresses,
            _data: data,
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
        let acceptor = TlsAcceptor::from(self.viewer_tls);
        let room = Arc::new(Semaphore::new(self.max_viewers.min(Semaphore::MAX_PERMITS)));
        for RtspListener { socket, tls } in self.rtsp {
            let door = rtsp::server::Door {
                shared: Arc::clone(&self.shared),
                room: Arc::clone(&room),
                tls: tls.then(|| acceptor.clone()),
            };
            tokio::spawn(door.run(socket, viewers_stopping.clone(), viewer_alive.clone()));
        }
        if let Some((socket, gate, tls)) = self.http {
            let door = http::Door::new(Arc::clone(&self.shared), gate, tls.then_some(acceptor));
            tokio::spawn(door.run(socket, viewers_stopping.clone(), viewer_alive.clone()));
        }
        if let Some(local) = self.local {
            let door = http::Door::new(Arc::clone(&self.shared), http::Gate::Local, None);
            tokio::spawn(door.run_local(local, viewers_stopping, viewer_alive.clone()));
        }
        let mut chores = vec![
            tokio::spawn(Arc::clone(&self.shared.fleet).run()),
            tokio::spawn(self.reloader.watch()),
            tokio::spawn(self.certificates.watch(Arc::clone(&self.shared.metrics))),
            tokio::spawn(renew::run(Arc::clone(&self.shared))),
        ];
        let (drain, draining) = watch::channel(false);
        if let Some(join) = self.join {
            chores.push(tokio::spawn(join.run(Arc::clone(&self.shared), draining)));
        }
        drop(viewer_alive);
        stop.await;
        info!("stopping");
        if self.shared.fleet.has_elsewhere() {
            // First the endpoint, so that it sends none of them back here.
            let _ = drain.send(true);
            tokio::time::sleep(DRAIN_NOTICE).await;
            join::drain(&self.shared, DRAIN_DEADLINE).await;
        }
        for (stop, done) in [(stop_viewers, viewers_done), (stop_uplinks, uplinks_done)] {
            end(stop, done).await;
        }
        for chore in chores {
            chore.abort();
        }
        let fleet = Arc::clone(&self.shared.fleet);
        let _ = tokio::task::spawn_blocking(move || fleet.flush()).await;
    }
}

/// The fleet of a configuration: in its data folder, or in memory alone.
///
/// # Errors
/// See [`StartError`].
pub fn share(config: &Config, data: Option<&Data>) -> Result<Arc<Shared>, StartError> {
    let callback = match &config.callback {
        Some(callback) => Some(Callback::new(
            &callback.url,
            &callback.secret,
            callback.ca.as_deref(),
        )?),
        None => None,
    };
    let path = config.uplink.path.clone();
    share_fixed(config.fixed(), callback, path, config.join_token, data)
}

/// The same from what it needs of a configuration.
///
/// # Errors
/// See [`StartError`].
pub fn share_fixed(
    fixed: Fixed,
    callback: Option<Callback>,
    uplink_path: String,
    join_token: Option<Sha256Hash>,
    data: Option<&Data>,
) -> Result<Arc<Shared>, StartError> {
    let (registry, metrics) = (Arc::<Registry>::default(), Arc::<Metrics>::default());
    let fleet = match data {
        Some(data) => {
            let store = Arc::new(data.store()?);
            Fleet::open(
                store,
                true,
                fixed,
                callback,
                Arc::clone(&metrics),
                Arc::clone(&registry),
            )?
        }
        None => Fleet::fixed_only(fixed, Arc::clone(&metrics), Arc::clone(&registry))?,
    };
    Ok(Shared::new(fleet, registry, metrics, uplink_path, join_token))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_that_ships_waits_for_the_longest_stop() {
        let unit = include_str!("../../packaging/gateway/lenscap-gateway.service");
        let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
        let patience = Duration::from_secs(seconds.unwrap().parse().unwrap());
        let longest = DRAIN_NOTICE + DRAIN_DEADLINE + STOP_DEADLINE * 2;
        // What is written down behind the viewers' backs takes some time as well.
        assert!(patience >= longest + Duration::from_secs(5), "{longest:?}");
    }
}
