//! Accepts viewers.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, warn};

use super::bridge;
use crate::net;
use crate::server::Shared;

/// Pause after `accept` failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts viewers until stopped. Every connection holds a clone of `alive`.
pub async fn run(
    socket: TcpListener,
    shared: Arc<Shared>,
    max_viewers: usize,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let strangers = net::Strangers::default();
    let room = Arc::new(Semaphore::new(max_viewers.min(Semaphore::MAX_PERMITS)));
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
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            warn!(max_viewers, "viewer turned away: too many at a time");
            continue;
        };
        let Some(stranger) = strangers.admit(address.ip()) else {
            debug!(peer = %address.ip(), "viewer turned away: too many of this address without a login");
            continue;
        };
        net::prepare(&stream);
        let (shared, stop, alive) = (Arc::clone(&shared), stop.clone(), alive.clone());
        tokio::spawn(async move {
            let (_permit, _alive) = (permit, alive);
            shared.metrics.viewers.inc();
            bridge::run(stream, address.ip(), stranger, Arc::clone(&shared), stop).await;
            shared.metrics.viewers.dec();
        });
    }
}
