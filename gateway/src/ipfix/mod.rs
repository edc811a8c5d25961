//! Sends what cameras report of their flows to an IPFIX collector (RFC 7011).
//!
//! Nothing waits for the collector: what it cannot take is dropped and counted.

pub mod message;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub use message::Record;
use message::{Domain, MAX_MESSAGE_BYTES};

/// Reports that wait for the collector.
const MAX_WAITING: usize = 1024;
/// Time to reach a collector over TCP, or to get a message to it.
const TCP_DEADLINE: Duration = Duration::from_secs(10);
/// Time between attempts to reach it.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// IP's and UDP's headers.
const IPV4_HEADERS_BYTES: usize = 28;
const IPV6_HEADERS_BYTES: usize = 48;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams; templates are sent again and again.
    Udp,
    /// A connection; templates are sent at its start.
    Tcp,
}

/// Where to send, and how.
#[derive(Clone, Debug)]
pub struct IpfixConfig {
    /// `HOST:PORT`.
    pub collector: String,
    /// How.
    pub transport: Transport,
    /// Largest IP packet over UDP, in bytes.
    pub mtu: usize,
    /// How often templates are sent again over UDP.
    pub template_refresh: Duration,
}

/// Counters of the export.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Data records sent.
    pub records: Counter,
    /// Messages sent.
    pub messages: Counter,
    /// Data records that the collector could not be sent.
    pub dropped: Counter,
}

/// What one camera reported.
#[derive(Debug)]
struct Export {
    camera: String,
    records: Vec<Record>,
}

/// Hands records to the export; a clone of it costs nothing.
#[derive(Clone, Debug)]
pub struct Exporter {
    sender: mpsc::Sender<Export>,
    counters: Counters,
}

impl Exporter {
    /// Starts the export in the background. It ends when the last clone is gone.
    #[must_use]
    pub fn start(config: IpfixConfig, counters: Counters) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let exporting = Exporting {
            config,
            counters: counters.clone(),
            sink: None,
            retry_at: None,
            domains: Domains::new(),
        };
        tokio::spawn(exporting.run(receiver));
        Self { sender, counters }
    }

    /// Records of one camera; dropped if too many wait.
    pub fn send(&self, camera: &str, records: Vec<Record>) {
        let count = records.len() as u64;
        let export = Export {
            camera: camera.to_owned(),
            records,
        };
        if count > 0 && self.sender.try_send(export).is_err() {
            self.counters.dropped.inc_by(count);
        }
    }
}

#[derive(Debug)]
enum Sink {
    Udp(UdpSocket, usize),
    Tcp(TcpStream),
}

#[derive(Debug)]
struct Exporting {
    config: IpfixConfig,
    counters: Counters,
    sink: Option<Sink>,
    retry_at: Option<Instant>,
    domains: Domains,
}

/// By cameras, with when templates were sent last.
type Domains = BTreeMap<String, (Domain, Option<Instant>)>;

/// The domain of a camera, with a number that no other has: names are many, and numbers have 32 bits.
fn domain<'d>(domains: &'d mut Domains, camera: &str) -> &'d mut (Domain, Option<Instant>) {
    let mut new = Domain::new(camera);
    if !domains.contains_key(camera) {
        while domains.values().any(|(known, _)| known.id() == new.id()) {
            new.step_aside();
        }
    }
    domains.entry(camera.to_owned()).or_insert((new, None))
}

impl Exporting {
    async fn run(mut self, mut receiver: mpsc::Receiver<Export>) {
        while let Some(Export { camera, records }) = receiver.recv().await {
            let count = records.len() as u64;
            match self.export(&camera, &records).await {
                Ok(messages) => {
                    self.counters.messages.inc_by(messages);
                    self.counters.records.inc_by(count);
                }
                Err(error) => {
                    self.counters.dropped.inc_by(count);
                    if let Some(error) = error {
                        warn!(%error, "the IPFIX collector cannot be reached");
                    }
                }
            }
        }
    }

    /// Gives the number of messages, or why there are none; `None` while nothing is tried.
    async fn export(&mut self, camera: &str, records: &[Record]) -> Result<u64, Option<io::Error>> {
        self.connect().await?;
        let Some(sink) = &mut self.sink else {
            return Err(None);
        };
        let (domain, announced) = domain(&mut self.domains, camera);
        let (max_bytes, refresh) = match sink {
            Sink::Udp(_, max_bytes) => (*max_bytes, self.config.template_refresh),
            Sink::Tcp(_) => (MAX_MESSAGE_BYTES, Duration::MAX),
        };
        let announce = announced.is_none_or(|at| at.elapsed() >= refresh);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Export times have 32 bits (RFC 7011, section 3.1).
        let messages = domain.messages(records, announce, max_bytes, now.as_secs() as u32);
        for message in &messages {
            if let Err(error) = sink.send(message).await {
                self.forget();
                return Err(Some(error));
            }
        }
        if announce {
            *announced = Some(Instant::now());
        }
        Ok(messages.len() as u64)
    }

    /// A new session knows no templates and counts from zero.
    fn forget(&mut self) {
        self.sink = None;
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        for (domain, announced) in self.domains.values_mut() {
            domain.restart();
            *announced = None;
        }
    }

    async fn connect(&mut self) -> Result<(), Option<io::Error>> {
        if self.sink.is_some() {
            return Ok(());
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(None);
        }
        match Sink::new(&self.config).await {
            Ok(sink) => {
                info!("IPFIX export begins");
                self.sink = Some(sink);
                Ok(())
            }
            Err(error) => {
                self.forget();
                Err(Some(error))
            }
        }
    }
}

impl Sink {
    async fn new(config: &IpfixConfig) -> io::Result<Self> {
        let connected = timeout(TCP_DEADLINE, async {
            let address = lookup_host(&config.collector)
                .await?
                .next()
                .ok_or(io::ErrorKind::NotFound)?;
            match config.transport {
                Transport::Tcp => Ok(Self::Tcp(TcpStream::connect(address).await?)),
                Transport::Udp => udp(address, config.mtu).await,
            }
        });
        connected
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            // An error here is often one that the network reported of the message before.
            Self::Udp(socket, _) => socket.send(message).await.map(drop),
            Self::Tcp(stream) => timeout(TCP_DEADLINE, stream.write_all(message))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?,
        }
    }
}

async fn udp(address: SocketAddr, mtu: usize) -> io::Result<Sink> {
    let (any, headers) = match address {
        SocketAddr::V4(_) => (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), IPV4_HEADERS_BYTES),
        SocketAddr::V6(_) => (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), IPV6_HEADERS_BYTES),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(Sink::Udp(socket, mtu.saturating_sub(headers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cameras_share_a_number() {
        let mut domains = Domains::new();
        // The first four bytes of these names' hashes are the same.
        let names = ["cam-26862", "cam-37018"];
        let ids = names.map(|name| domain(&mut domains, name).0.id());
        assert_eq!(ids[1], ids[0] + 1);
        assert_eq!(names.map(|name| domain(&mut domains, name).0.id()), ids);
        assert_eq!(Domain::new(names[0]).id(), Domain::new(names[1]).id());
    }
}
