//! Socket options and limits that uplinks and viewers share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

/// Silence before the kernel probes a peer.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// Most connections of one address that have not shown who they are.
pub const MAX_STRANGERS_PER_ADDRESS: usize = 64;

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

/// Takes as many open files as the system allows: each connection is one, and what a shell gives is about a thousand.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// What stands for one client: an address, or its whole /64 for IPv6.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Counts connections that have not shown who they are, so that one address cannot take every place.
#[derive(Clone, Debug, Default)]
pub struct Strangers(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

impl Strangers {
    /// A place for one more connection of `address`, or `None` if it has [`MAX_STRANGERS_PER_ADDRESS`].
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Stranger> {
        let network = network(address);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        if *count >= MAX_STRANGERS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Stranger {
            strangers: self.clone(),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; dropped when it ends or has shown who it is.
#[derive(Debug)]
pub struct Stranger {
    strangers: Strangers,
    network: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.strangers.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}
