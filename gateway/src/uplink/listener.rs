//! Takes connections from cameras: TLS, the upgrade request, and who it is.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use subtle::ConstantTimeEq as _;
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
use crate::clock::unix_now;
use crate::fleet::import::is_label;
use crate::fleet::pending::Applicant;
use crate::fleet::{Admission, Settle, blocking};
use crate::metrics::Refused;
use crate::roles::{CONTROL_PROTOCOL, control};
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
    /// No camera, but a streamer that may join.
    Control(Box<Stream>),
    /// What to count it as, and the whole reply.
    Reply(Refused, Vec<u8>, Box<Stream>),
}

/// A camera that may come in.
struct Admitted {
    stream: Stream,
    upgrade: Upgrade,
    camera: usize,
    name: String,
    /// Whole lines of fields for the 101.
    fields: String,
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
        let negotiated = timeout(HANDSHAKE_DEADLINE, self.negotiate(stream, address)).await;
        let admitted = match negotiated {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(Denied::Reply(reason, reply, stream))) => {
                debug!(?reason, peer = %address, "uplink refused");
                return self.answer(reason, &reply, *stream).await;
            }
            Ok(Err(Denied::Control(stream))) => {
                drop((permit, stranger));
                return Box::pin(self.control(*stream)).await;
            }
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
            let reply = Refusal::Full.response("");
            return self.answer(Refused::Limit, &reply, admitted.stream).await;
        };
        let Admitted {
            stream,
            upgrade,
            camera,
            name,
            fields,
        } = admitted;
        self.shared.fleet.consult(&name);
        let peer = Peer {
            camera,
            address,
            version: upgrade.agent_version,
            boot: upgrade.introduction.boot,
            resume: fields
                .lines()
                .find_map(|line| Some(line.strip_prefix("Lenscap-Resume: ")?.to_owned())),
        };
        if let Some(stream) = switch(stream, &upgrade.carrier, &fields).await {
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

    async fn negotiate(&self, stream: TcpStream, address: SocketAddr) -> Result<Admitted, Denied> {
        let mut stream = self.acceptor.accept(stream).await?;
        let mut head = Vec::with_capacity(1024);
        let upgrade = loop {
            if upgrade::is_control(&head) && head.ends_with(b"\r\n\r\n") {
                return self.negotiate_control(stream, &head);
            }
            match upgrade::handle_head(&head, &self.shared.uplink_path) {
                Ok(Some(upgrade)) => break upgrade,
                Err(refusal) => return Err(refused(refusal, stream)),
                Ok(None) if head.len() >= MAX_HEAD_BYTES => return Err(refused(Refusal::TooLarge, stream)),
                Ok(None) => {}
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let admission = self.admit(&stream, &upgrade, address).await;
        let (refusal, more) = match admission {
            Admission::Admit { camera, name, fields } => {
                return Ok(Admitted {
                    stream,
                    upgrade,
                    camera,
                    name,
                    fields,
                });
            }
            Admission::Forward { fields } => {
                let reply = upgrade::redirect(true, &fields);
                return Err(Denied::Reply(Refused::Redirected, reply, Box::new(stream)));
            }
            Admission::Redirect { fields } => {
                let reply = upgrade::redirect(false, &fields);
                return Err(Denied::Reply(Refused::Redirected, reply, Box::new(stream)));
            }
            Admission::Full => (Refusal::Full, String::new()),
            Admission::Wait { seconds, fields } => (Refusal::Pending(seconds), fields),
            Admission::Suspended => (Refusal::Suspended, String::new()),
            // The database refused; the camera should come again soon.
            Admission::Settle(_) => (Refusal::Full, String::new()),
            Admission::Refuse => (Refusal::Unauthorized, String::new()),
        };
        Err(Denied::Reply(
            reason(refusal),
            refusal.response(&more),
            Box::new(stream),
        ))
    }

    /// A streamer, if it shows the join token.
    fn negotiate_control(&self, stream: Stream, head: &[u8]) -> Result<Admitted, Denied> {
        let given = upgrade::control_token(head);
        let good = match (&self.shared.join_token, given) {
            (Some(expected), Some(token)) => bool::from(tls::sha256(token.as_bytes()).ct_eq(expected)),
            (Some(_) | None, _) => false,
        };
        if good {
            return Err(Denied::Control(Box::new(stream)));
        }
        warn!("a streamer was refused: no streamers may join here, or its join token is wrong");
        Err(refused(Refusal::Unauthorized, stream))
    }

    async fn control(&self, mut stream: Stream) {
        let reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {CONTROL_PROTOCOL}\r\n\r\n"
        );
        if stream.write_all(reply.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
            control::serve(stream, Arc::clone(&self.shared.fleet), self.stop.clone()).await;
        }
    }

    /// A token decides where there is one, then the key; if both are known they must be one camera's.
    async fn admit(&self, stream: &Stream, upgrade: &Upgrade, address: SocketAddr) -> Admission {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let key = certificate.and_then(tls::spki_fingerprint);
        let fleet = &self.shared.fleet;
        if let Some(bearer) = &upgrade.bearer {
            return fleet.judge_token(&tls::sha256(bearer.as_bytes()), key.as_ref());
        }
        let (Some(fingerprint), Some(certificate)) = (key, certificate) else {
            debug!("uplink refused: neither a certificate nor a token");
            return Admission::Refuse;
        };
        let said = &upgrade.introduction;
        let from_name = || tls::serial_in(certificate, &fingerprint).filter(|serial| is_label(serial));
        let applicant = Applicant {
            fingerprint,
            address,
            serial: said.serial.clone().or_else(from_name),
            model: said.model.clone(),
            agent_version: upgrade.agent_version.clone(),
            proof: said.proof,
        };
        let mut admission = fleet.judge(unix_now(), applicant.clone(), said);
        if let Admission::Settle(what) = &admission {
            let (shared, what) = (Arc::clone(&self.shared), what.clone());
            let settled = blocking(move || {
                let done = shared.fleet.settle(unix_now(), &what)?;
                // Whoever claims it next is not shown what it did for the owner before.
                if let (true, Settle::Reset { name, .. }) = (done, &what) {
                    shared.reports.forget(name);
                }
                Ok(())
            });
            if let Err(error) = settled.await {
                warn!(%error, "a camera has come, but its claim could not be written down");
                return admission;
            }
            admission = fleet.judge(unix_now(), applicant.clone(), said);
        }
        let name = fleet.name_of(&fingerprint);
        // Whoever carries it: a camera of a streamer shows it here on its way there.
        fleet.note_shown(&fingerprint, said);
        fleet.note_label(&applicant);
        match &admission {
            Admission::Wait { .. } => {
                self.name_stranger(&applicant);
                fleet.offer(&applicant);
            }
            Admission::Refuse => self.name_stranger(&applicant),
            // One that is placed elsewhere is asked about here: streamers ask nobody.
            Admission::Suspended | Admission::Redirect { .. } | Admission::Full => {
                if let Some(name) = &name {
                    fleet.consult(name);
                }
            }
            Admission::Admit { .. } | Admission::Forward { .. } | Admission::Settle(_) => {}
        }
        admission
    }

    fn name_stranger(&self, applicant: &Applicant) {
        let fingerprint = applicant.fingerprint;
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(&fingerprint) {
            return;
        }
        if named.len() >= MAX_NAMED {
            named.pop_front();
        }
        named.push_back(fingerprint);
        let key = format!("sha256:{}", hex(&fingerprint));
        if self.shared.fleet.is_kept() {
            let serial = applicant.serial.as_deref().unwrap_or("unknown");
            warn!(
                serial,
                "a camera waits to be claimed: lenscap-gateway camera claim --serial SERIAL, with the label's PIN, \
                 or without one: camera claim --fingerprint {key}"
            );
        } else {
            let line = format!("fingerprint = \"{key}\"");
            warn!("uplink refused: unknown camera; to admit it, put this into a [[camera]]: {line}");
        }
    }

    async fn answer(&self, reason: Refused, reply: &[u8], mut stream: Stream) {
        self.shared.metrics.refused(reason);
        let _ = timeout(REFUSAL_DEADLINE, async {
            stream.write_all(reply).await?;
            stream.shutdown().await
        })
        .await;
    }
}

fn refused(refusal: Refusal, stream: Stream) -> Denied {
    Denied::Reply(reason(refusal), refusal.response(""), Box::new(stream))
}

fn reason(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::Unauthorized | Refusal::Suspended => Refused::Unauthorized,
        Refusal::Full => Refused::Limit,
        Refusal::Pending(_) => Refused::Pending,
        Refusal::Malformed
        | Refusal::TooLarge
        | Refusal::Method
        | Refusal::Path
        | Refusal::NoUpgrade
        | Refusal::WebSocket => Refused::Request,
    }
}

async fn hold(_room: OwnedSemaphorePermit, run: std::pin::Pin<Box<impl Future<Output = ()>>>) {
    run.await;
}

async fn switch(mut stream: Stream, carrier: &Carrier, fields: &str) -> Option<CarrierStream<Stream>> {
    let reply = upgrade::switching(carrier, fields);
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
