//! One attempt to bring an uplink up: name, TCP, TLS, HTTP upgrade. All its transitions are here.
//!
//! It decides nothing about what comes next; that is [`lenscap_uplink::dial`].

use std::fmt;
use std::io;
use std::time::Duration;

use lenscap_uplink::dial::{FailureKind, Target};
use lenscap_uplink::upgrade::{Carrier, ExpectReply, Progress, Reply, Request, UpgradeError, Welcome};
use lenscap_uplink::ws;

use crate::config::{ClientAuth, Pin, Secret};
use crate::dns::{DnsError, Resolver};
use crate::run::connect::{Connect, Connecting};
use crate::run::resolve::Resolving;
use crate::run::shared::{Scratch, Shared, USER_AGENT};
use crate::run::tls_io::{ReadState, TlsFailure, TlsIo};
use crate::{files, sys, tls};

/// How long TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the gateway may take to answer the upgrade request.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);
/// Most that is read of resolv.conf and of the hosts file.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// An attempt under way.
pub(super) struct Dialling {
    target: Target,
    phase: Phase,
}

enum Phase {
    Resolving(Box<Resolving>),
    Connecting(Box<Connecting>),
    Handshaking {
        io: Box<TlsIo>,
        deadline: Duration,
    },
    Upgrading {
        io: Box<TlsIo>,
        expect: ExpectReply,
        deadline: Duration,
    },
}

/// What an attempt has come to.
pub(super) enum Attempt {
    /// Still under way.
    Pending(Dialling),
    /// It failed before the gateway replied.
    Failed(DialFailure),
    /// The gateway replied with something else than 101.
    Replied(Reply),
    /// The roles turn; `rest` is what came behind the 101.
    Up {
        io: Box<TlsIo>,
        carrier: Option<ws::Carrier>,
        rest: Vec<u8>,
        target: Box<Target>,
        welcome: Welcome,
    },
}

/// Why an attempt failed, for the log: what is wrong and what to do.
#[derive(Debug)]
pub(super) enum DialFailure {
    Resolve(DnsError),
    Connect(io::Error),
    Setup(String),
    Tls(rustls::Error),
    Lost {
        stage: &'static str,
        error: Option<io::Error>,
    },
    Timeout {
        stage: &'static str,
    },
    Early,
    Upgrade(UpgradeError),
}

impl DialFailure {
    pub(super) fn kind(&self) -> FailureKind {
        match self {
            Self::Resolve(_) => FailureKind::Resolve,
            Self::Connect(_) => FailureKind::Connect,
            Self::Setup(_) | Self::Tls(_) => FailureKind::Tls,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::Lost { .. } | Self::Early | Self::Upgrade(_) => FailureKind::Protocol,
        }
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "the gateway's name does not resolve: {error}"),
            Self::Connect(error) => write!(f, "no connection to the gateway: {}", describe_io(error)),
            Self::Setup(error) => f.write_str(error),
            Self::Tls(error) => f.write_str(&tls::explain(error)),
            Self::Lost { stage, error: None } => {
                write!(
                    f,
                    "the gateway closed the connection during {stage}; check option endpoint, or a firewall"
                )
            }
            Self::Lost {
                stage,
                error: Some(error),
            } => {
                write!(f, "the connection broke during {stage}: {}", describe_io(error))
            }
            Self::Timeout { stage } => {
                write!(
                    f,
                    "the gateway did not finish {stage} within 15 s; check option endpoint, or a firewall"
                )
            }
            Self::Early => f.write_str("what answers is no gateway: it spoke first; check option endpoint"),
            Self::Upgrade(error) => error.fmt(f),
        }
    }
}

/// An error of the operating system without addresses.
fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there; check host and port of option endpoint".to_owned()
        }
        io::ErrorKind::TimedOut => "no answer within 10 s; check the network and option endpoint".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route to it; check the network".to_owned()
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "the other side reset it".to_owned()
        }
        kind => kind.to_string(),
    }
}

impl Dialling {
    pub(super) fn new(shared: &Shared, now: Duration, target: Target) -> Result<Self, DialFailure> {
        let seed = sys::random().map_err(|e| DialFailure::Setup(e.to_string()))?;
        // Read anew for each attempt: DHCP rewrites resolv.conf.
        shared.refresh_files();
        let resolver = Resolver::new(&read(&shared.resolv_conf.borrow()), &read(&shared.hosts.borrow()));
        let lookup = resolver.start(now, target.url.host(), seed);
        Ok(Self {
            target,
            phase: Phase::Resolving(Box::new(Resolving::new(&shared.net, lookup))),
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Resolving(_) => "resolving",
            Phase::Connecting(_) => "connecting",
            Phase::Handshaking { .. } => "handshaking",
            Phase::Upgrading { .. } => "upgrading",
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Resolving(resolving) => resolving.poll_timeout(),
            Phase::Connecting(connecting) => Some(connecting.poll_timeout()),
            Phase::Handshaking { deadline, .. } | Phase::Upgrading { deadline, .. } => Some(*deadline),
        }
    }

    /// Goes as far as it can without waiting.
    pub(super) fn advance(self, cx: &mut Cx<'_>) -> Attempt {
        let Self { target, phase } = self;
        match phase {
            Phase::Resolving(resolving) => resolve(target, resolving, cx),
            Phase::Connecting(connecting) => connect(target, *connecting, cx),
            Phase::Handshaking { io, deadline } => handshake(target, io, deadline, cx),
            Phase::Upgrading { io, expect, deadline } => upgrade(target, io, expect, deadline, cx),
        }
    }
}

/// What every step needs.
pub(super) struct Cx<'a> {
    pub(super) now: Duration,
    pub(super) shared: &'a Shared,
    pub(super) scratch: &'a mut Scratch,
    pub(super) client: &'a tls::Client,
    pub(super) auth: &'a ClientAuth,
    /// What the gateway is told of the camera.
    pub(super) fields: &'a [(&'static str, String)],
}

fn resolve(target: Target, mut resolving: Box<Resolving>, cx: &mut Cx<'_>) -> Attempt {
    match resolving.advance(cx.now, &mut cx.scratch.read) {
        None => Attempt::Pending(Dialling {
            target,
            phase: Phase::Resolving(resolving),
        }),
        Some(Err(error)) => Attempt::Failed(DialFailure::Resolve(error)),
        Some(Ok(addresses)) => {
            let connecting = Connecting::new(&cx.shared.net, cx.now, &addresses, target.url.port());
            connect(target, connecting, cx)
        }
    }
}

fn connect(target: Target, connecting: Connecting, cx: &mut Cx<'_>) -> Attempt {
    let sock = match connecting.advance(cx.now) {
        Connect::Pending(connecting) => {
            return Attempt::Pending(Dialling {
                target,
                phase: Phase::Connecting(Box::new(connecting)),
            });
        }
        Connect::Failed(error) => return Attempt::Failed(DialFailure::Connect(error)),
        Connect::Connected(address, sock) => {
            log::debug!("connected to {address}");
            sock
        }
    };
    if let Some(pin) = &target.pin {
        match Pin::parse(pin) {
            Ok(pin) => cx.client.pin_host(target.url.host(), pin),
            Err(e) => return Attempt::Failed(DialFailure::Setup(format!("the redirect's Lenscap-Pin: {e}"))),
        }
    }
    let tls = match cx.client.connect(target.url.host()) {
        Ok(tls) => tls,
        Err(e) => return Attempt::Failed(DialFailure::Setup(e.to_string())),
    };
    match TlsIo::new(sock, tls) {
        Ok(io) => handshake(target, Box::new(io), cx.now + HANDSHAKE_TIMEOUT, cx),
        Err(error) => Attempt::Failed(DialFailure::Connect(error)),
    }
}

fn handshake(target: Target, mut io: Box<TlsIo>, deadline: Duration, cx: &mut Cx<'_>) -> Attempt {
    const STAGE: &str = "the TLS handshake";
    match exchange(&mut io, cx.scratch, STAGE) {
        Ok(plain) if plain.is_empty() => {}
        Ok(_) => return Attempt::Failed(DialFailure::Early),
        Err(failure) if may_lack_suites(cx.client, &target, &failure) => {
            log::debug!("the gateway does not take ChaCha20-Poly1305 alone; trying again with AES");
            return match Dialling::new(cx.shared, cx.now, target) {
                Ok(again) => again.advance(cx),
                Err(failure) => Attempt::Failed(failure),
            };
        }
        Err(failure) => return Attempt::Failed(failure),
    }
    if io.is_handshaking() {
        if cx.now >= deadline {
            return Attempt::Failed(DialFailure::Timeout { stage: STAGE });
        }
        return Attempt::Pending(Dialling {
            target,
            phase: Phase::Handshaking { io, deadline },
        });
    }
    log::debug!("{}", io.describe());
    match request(&target, cx) {
        Ok((bytes, expect)) => match io.write_plain(&bytes) {
            Ok(()) => upgrade(target, io, expect, cx.now + UPGRADE_TIMEOUT, cx),
            Err(failure) => Attempt::Failed(from_tls(failure, STAGE)),
        },
        Err(text) => Attempt::Failed(DialFailure::Setup(text)),
    }
}

/// Whether the failure may be that the gateway lacks ChaCha20-Poly1305, and AES is worth a try. Some servers say so by an
/// alert, others just go away.
fn may_lack_suites(client: &tls::Client, target: &Target, failure: &DialFailure) -> bool {
    let host = target.url.host();
    match failure {
        DialFailure::Tls(error) => client.handle_failure(host, Some(error)),
        DialFailure::Lost { .. } => client.handle_failure(host, None),
        _ => false,
    }
}

fn upgrade(
    target: Target,
    mut io: Box<TlsIo>,
    expect: ExpectReply,
    deadline: Duration,
    cx: &mut Cx<'_>,
) -> Attempt {
    const STAGE: &str = "the HTTP upgrade";
    let plain = match exchange(&mut io, cx.scratch, STAGE) {
        Ok(plain) => plain,
        Err(failure) => return Attempt::Failed(failure),
    };
    match expect.handle_input(&plain) {
        Err(error) => Attempt::Failed(DialFailure::Upgrade(error)),
        Ok(Progress::NeedMore(_)) if cx.now >= deadline => {
            Attempt::Failed(DialFailure::Timeout { stage: STAGE })
        }
        Ok(Progress::NeedMore(expect)) => Attempt::Pending(Dialling {
            target,
            phase: Phase::Upgrading { io, expect, deadline },
        }),
        Ok(Progress::Done {
            reply: Reply::Switched(welcome),
            rest,
        }) => match carrier(&target) {
            Ok(carrier) => Attempt::Up {
                io,
                carrier,
                rest,
                target: Box::new(target),
                welcome,
            },
            Err(text) => Attempt::Failed(DialFailure::Setup(text)),
        },
        Ok(Progress::Done { reply, .. }) => {
            io.close();
            Attempt::Replied(reply)
        }
    }
}

fn request(target: &Target, cx: &Cx<'_>) -> Result<(Vec<u8>, ExpectReply), String> {
    let token = match cx.auth {
        ClientAuth::Bearer { token_file } if target.send_bearer => Some(Secret::read(token_file)?),
        ClientAuth::Bearer { .. } | ClientAuth::Certificate => None,
    };
    let ws_nonce = sys::random().map_err(|e| e.to_string())?;
    let bearer = token.as_ref().map(Secret::expose);
    Ok(Request {
        url: &target.url,
        bearer,
        user_agent: USER_AGENT,
        ws_nonce,
        fields: cx.fields,
    }
    .encode())
}

fn carrier(target: &Target) -> Result<Option<ws::Carrier>, String> {
    match target.url.carrier() {
        Carrier::H2cReverse => Ok(None),
        Carrier::WebSocket => {
            let seed = sys::random().map_err(|e| e.to_string())?;
            Ok(Some(ws::Carrier::new(seed)))
        }
    }
}

/// Moves bytes both ways and gives the plaintext that came.
fn exchange(io: &mut TlsIo, scratch: &mut Scratch, stage: &'static str) -> Result<Vec<u8>, DialFailure> {
    io.flush().map_err(|failure| from_tls(failure, stage))?;
    let mut plain = Vec::new();
    let state = io
        .read(&mut scratch.read, &mut |bytes| plain.extend_from_slice(bytes))
        .map_err(|failure| from_tls(failure, stage))?;
    io.flush().map_err(|failure| from_tls(failure, stage))?;
    match state {
        // A server that answers and closes at once has still answered.
        ReadState::Open => Ok(plain),
        ReadState::Closed | ReadState::Cut if !plain.is_empty() => Ok(plain),
        ReadState::Closed | ReadState::Cut => Err(DialFailure::Lost { stage, error: None }),
    }
}

fn from_tls(failure: TlsFailure, stage: &'static str) -> DialFailure {
    match failure {
        TlsFailure::Io(error) => DialFailure::Lost {
            stage,
            error: Some(error),
        },
        TlsFailure::Tls(error) => DialFailure::Tls(error),
    }
}

/// The text of a small file; one that is not there is empty, and the resolver has its defaults.
fn read(path: &std::path::Path) -> String {
    let text = files::read(path, MAX_FILE_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}
