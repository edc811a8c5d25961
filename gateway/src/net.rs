//! Socket options that uplinks and viewers share.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

/// Silence before the kernel probes a peer.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// No delay, and TCP keep-alive. Receive buffers are left to the kernel: setting one would end its tuning, and
/// with it high rates over long round trips.
pub fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    let outcome = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = outcome {
        debug!(%error, "socket options not set");
    }
}
