//! The HTTP API: cameras, snapshots, claims, viewers, tokens, metrics. `openapi.json` describes it all.

mod body;
mod fleet;
mod gate;
mod handlers;
mod people;
mod reply;
mod reports;
mod routes;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

pub use gate::Gate;
pub use routes::router;

use crate::data::LocalSocket;
use crate::net::{self, Stranger, Strangers};
use crate::server::Shared;

/// Most HTTP connections at a time.
const MAX_CONNECTIONS: usize = 512;
/// Time for a request head, and for a TLS handshake.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time for a connection with all its requests.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(300);
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Pause after `accept` failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all handlers share.
#[derive(Clone, Debug)]
pub struct Api {
    /// Cameras, counters, rules.
    pub shared: Arc<Shared>,
    /// Who is let in without a token of the store.
    pub gate: Gate,
}

/// Where a request comes from: a connection, of which clones are.
#[derive(Clone, Debug, Default)]
struct Origin {
    /// `None` on the local socket.
    address: Option<IpAddr>,
    /// Held until one of its requests has shown who it is.
    stranger: Arc<Mutex<Option<Stranger>>>,
}

impl Origin {
    fn new(address: IpAddr, stranger: Stranger) -> Self {
        Self {
            address: Some(address),
            stranger: Arc::new(Mutex::new(Some(stranger))),
        }
    }

    /// One of its requests was let in.
    fn handle_known(&self) {
        self.stranger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// One port, or the local socket.
#[derive(Clone, Debug)]
pub struct Door {
    router: Router,
    tls: Option<AcceptorOf>,
    room: Arc<Semaphore>,
    strangers: Strangers,
}

#[derive(Clone)]
struct AcceptorOf(TlsAcceptor);

impl std::fmt::Debug for AcceptorOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

impl Door {
    /// A door that is not open yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, gate: Gate, tls: Option<TlsAcceptor>) -> Self {
        Self {
            router: router(Api { shared, gate }),
            tls: tls.map(AcceptorOf),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            strangers: Strangers::default(),
        }
    }

    /// Serves HTTP/1.1 until stopped. Every connection holds a clone of `alive`.
    pub async fn run(self, socket: TcpListener, mut stop: watch::Receiver<bool>, alive: mpsc::Sender<()>) {
        while let Some(permit) = self.place().await {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Some((stream, address)) = survive(accepted).await else {
                continue;
            };
            let Some(stranger) = self.strangers.admit(address.ip()) else {
                debug!(peer = %address.ip(), "HTTP client turned away: too many of this address without a login");
                continue;
            };
            net::prepare(&stream);
            let origin = Origin::new(address.ip(), stranger);
            let (door, stop, held) = (self.clone(), stop.clone(), (permit, alive.clone()));
            tokio::spawn(async move {
                door.serve_tcp(stream, origin, stop).await;
                drop(held);
            });
        }
    }

    /// The same on the local socket.
    pub async fn run_local(
        self,
        socket: LocalSocket,
        mut stop: watch::Receiver<bool>,
        alive: mpsc::Sender<()>,
    ) {
        while let Some(permit) = self.place().await {
            let accepted = tokio::select! {
                accepted = socket.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Some((stream, _)) = survive(accepted).await else {
                continue;
            };
            let (router, stop, held) = (self.router.clone(), stop.clone(), (permit, alive.clone()));
            tokio::spawn(async move {
                serve(stream, Origin::default(), router, stop).await;
                drop(held);
            });
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    async fn serve_tcp(self, stream: TcpStream, origin: Origin, stop: watch::Receiver<bool>) {
        let Some(AcceptorOf(tls)) = self.tls else {
            return serve(stream, origin, self.router, stop).await;
        };
        match timeout(HEAD_DEADLINE, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, origin, self.router, stop).await,
            Ok(Err(error)) => debug!(%error, "HTTPS handshake failed"),
            Err(_) => debug!("HTTPS handshake took too long"),
        }
    }
}

async fn survive<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!(%error, "cannot accept HTTP clients");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve<S>(stream: S, origin: Origin, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(Extension(origin));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = timeout(CONNECTION_DEADLINE, async {
        tokio::select! {
            done = connection.as_mut() => return done,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    });
    if let Ok(Err(error)) = served.await {
        debug!(%error, "HTTP connection failed");
    }
}
