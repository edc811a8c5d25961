//! Takes connections from cameras: TLS, the upgrade request, and who it is.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::carrier::{CarrierStream, WebSocketIo};
use super::link::{self, Peer};
use super::upgrade::{self, Carrier, MAX_HEAD_BYTES, Refusal, Upgrade};
use crate::metrics::Refused;
use crate::rtsp::digest::hex;
use crate::server::Shared;
use crate::{net, tls};

/// Time for TLS and the request head together.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Time for a refusal to leave.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(2);
/// Most handshakes at a time; more wait in the kernel.
const MAX_HANDSHAKES: usize = 256;
/// Pause after `accept` failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Unknown keys that were named in the log recently; each is named once while it is in this list.
const MAX_NAMED: usize = 64;

type Stream = TlsStream<TcpStream>;

/// What all uplink connections share.
pub struct Listener {
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    strangers: net::Strangers,
    uplinks: Arc<Semaphore>,
    named: Mutex<VecDeque<[u8; 32]>>,
    stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

enum Denied {
    Io(io::Error),
    Request(Refusal, Box<Stream>),
}

impl From<io::Error> for Denied {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Listener {
    /// A listener that is not accepting yet. Every uplink holds a clone of `alive`.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        tls: Arc<ServerConfig>,
        max_uplinks: usize,
        stop: watch::Receiver<bool>,
        alive: mpsc::Sender<()>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            acceptor: TlsAcceptor::from(tls),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            strangers: net::Strangers::default(),
            uplinks: Arc::new(Semaphore::new(max_uplinks.min(Semaphore::MAX_PERMITS))),
            named: Mutex::default(),
            stop,
            alive,
        })
    }

    /// Accepts until it is stopped.
    pub async fn run(self: Arc<Self>, socket: TcpListener) {
        let mut stop = self.stop.clone();
        loop {
            let Ok(permit) = Arc::clone(&self.handshakes).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    tokio::spawn(Arc::clone(&self).handle(stream, address, permit));
                }
                Err(error) => {
                    warn!(%error, "cannot accept uplinks");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn handle(self: Arc<Self>, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let Some(stranger) = self.strangers.admit(address.ip()) else {
            self.shared.metrics.refused(Refused::Limit);
            return debug!(peer = %address, "too many uplink handshakes of this address");
        };
        net::prepare(&stream);
        let negotiated = timeout(HANDSHAKE_DEADLINE, self.negotiate(stream)).await;
        let (stream, upgrade, camera) = match negotiated {
            Ok(Ok(parts)) => parts,
            Ok(Err(Denied::Request(refusal, stream))) => return self.refuse(refusal, *stream, address).await,
            Ok(Err(Denied::Io(error))) => {
                self.shared.metrics.refused(Refused::Tls);
                return debug!(%error, peer = %address, "uplink handshake failed");
            }
            Err(_) => {
                self.shared.metrics.refused(Refused::Tls);
                return debug!(peer = %address, "uplink handshake took too long");
            }
        };
        drop((permit, stranger));
        let Ok(room) = Arc::clone(&self.uplinks).try_acquire_owned() else {
            return self.refuse(Refusal::Full, stream, address).await;
        };
        let peer = Peer {
            camera,
            address,
            version: upgrade.agent_version,
        };
        if let Some(stream) = switch(stream, &upgrade.carrier).await {
            let run = link::run(
                stream,
                peer,
                Arc::clone(&self.shared),
                self.stop.clone(),
                self.alive.clone(),
            );
            // A task of its own: this one's state is as large as its largest step, and uplinks are many.
            tokio::spawn(hold(room, Box::pin(run)));
        }
    }

    async fn negotiate(&self, stream: TcpStream) -> Result<(Stream, Upgrade, usize), Denied> {
        let mut stream = self.acceptor.accept(stream).await?;
        let mut head = Vec::with_capacity(1024);
        let upgrade = loop {
            match upgrade::handle_head(&head, &self.shared.uplink_path) {
                Ok(Some(upgrade)) => break upgrade,
                Err(refusal) => return Err(Denied::Request(refusal, Box::new(stream))),
                Ok(None) if head.len() >= MAX_HEAD_BYTES => {
                    return Err(Denied::Request(Refusal::TooLarge, Box::new(stream)));
                }
                Ok(None) => {}
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        match self.identify(&stream, &upgrade) {
            Some(camera) => Ok((stream, upgrade, camera)),
            None => Err(Denied::Request(Refusal::Unauthorized, Box::new(stream))),
        }
    }

    /// A token decides where there is one, then the key; if both are known they must be one camera's.
    fn identify(&self, stream: &Stream, upgrade: &Upgrade) -> Option<usize> {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let fingerprint = certificate.and_then(tls::spki_fingerprint);
        let by_key = fingerprint
            .as_ref()
            .and_then(|key| self.shared.fingerprints.get(key))
            .copied();
        let Some(bearer) = &upgrade.bearer else {
            if by_key.is_none() {
                self.name_stranger(fingerprint);
            }
            return by_key;
        };
        let by_token = self.shared.tokens.get(&tls::sha256(bearer.as_bytes())).copied();
        match (by_token, by_key) {
            (Some(camera), None) => Some(camera),
            (Some(camera), Some(other)) if camera == other => Some(camera),
            (Some(_), Some(_)) => {
                warn!("uplink refused: its token is one camera's and its key another's");
                None
            }
            (None, _) => {
                warn!(
                    "uplink refused: unknown token; set token_sha256 of a [[camera]] to the token's SHA-256"
                );
                None
            }
        }
    }

    fn name_stranger(&self, fingerprint: Option<[u8; 32]>) {
        let Some(fingerprint) = fingerprint else {
            return debug!("uplink refused: neither a certificate nor a token");
        };
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(&fingerprint) {
            return;
        }
        if named.len() >= MAX_NAMED {
            named.pop_front();
        }
        named.push_back(fingerprint);
        let line = format!("fingerprint = \"sha256:{}\"", hex(&fingerprint));
        warn!("uplink refused: unknown camera; to admit it, put this into a [[camera]]: {line}");
    }

    async fn refuse(&self, refusal: Refusal, mut stream: Stream, address: SocketAddr) {
        self.shared.metrics.refused(match refusal {
            Refusal::Unauthorized => Refused::Unauthorized,
            Refusal::Full => Refused::Limit,
            _ => Refused::Request,
        });
        debug!(%refusal, peer = %address, "uplink refused");
        let _ = timeout(REFUSAL_DEADLINE, async {
            stream.write_all(&refusal.response()).await?;
            stream.shutdown().await
        })
        .await;
    }
}

async fn hold(_room: OwnedSemaphorePermit, run: std::pin::Pin<Box<impl Future<Output = ()>>>) {
    run.await;
}

async fn switch(mut stream: Stream, carrier: &Carrier) -> Option<CarrierStream<Stream>> {
    let reply = upgrade::switching(carrier);
    let sent = timeout(REFUSAL_DEADLINE, async {
        stream.write_all(&reply).await?;
        stream.flush().await
    });
    if !matches!(sent.await, Ok(Ok(()))) {
        return None;
    }
    Some(match carrier {
        Carrier::H2cReverse => CarrierStream::Direct(stream),
        Carrier::WebSocket { .. } => CarrierStream::WebSocket(Box::new(WebSocketIo::new(stream).await)),
    })
}
