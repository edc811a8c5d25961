//! Accepts viewers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::bridge;
use crate::net::{self, Stranger};
use crate::server::Shared;

/// Pause after `accept` failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for a TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// One port for viewers.
#[derive(Clone)]
pub struct Door {
    /// What all connections share.
    pub shared: Arc<Shared>,
    /// Places for viewers, over all ports.
    pub room: Arc<Semaphore>,
    /// Of an RTSPS port.
    pub tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Door {
    /// Accepts viewers until stopped. Every connection holds a clone of `alive`.
    pub async fn run(self, socket: TcpListener, mut stop: watch::Receiver<bool>, alive: mpsc::Sender<()>) {
        let strangers = net::Strangers::default();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept viewers");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                warn!("viewer turned away: too many at a time (max_viewers)");
                continue;
            };
            let Some(stranger) = strangers.admit(address.ip()) else {
                debug!(peer = %address.ip(), "viewer turned away: too many of this address without a login");
                continue;
            };
            net::prepare(&stream);
            let held = (permit, alive.clone());
            let served = self.clone().serve(stream, address.ip(), stranger, stop.clone());
            tokio::spawn(async move {
                served.await;
                drop(held);
            });
        }
    }

    async fn serve(
        self,
        stream: TcpStream,
        address: IpAddr,
        stranger: Stranger,
        stop: watch::Receiver<bool>,
    ) {
        let shared = self.shared;
        let Some(tls) = self.tls else {
            return bridge::run(stream.into_split(), "rtsp", address, stranger, shared, stop).await;
        };
        match timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let halves = tokio::io::split(stream);
                bridge::run(halves, "rtsps", address, stranger, shared, stop).await;
            }
            Ok(Err(error)) => debug!(%error, peer = %address, "viewer's TLS handshake failed"),
            Err(_) => debug!(peer = %address, "viewer's TLS handshake took too long"),
        }
    }
}
