//! Many cameras in one process: each has a key, a TLS connection and an HTTP/2 connection of its own, and the shipped
//! dialler decides when it dials. Only what the agent does around sockets is done here in another way, with tokio.
//!
//! A camera answers as one whose reports are off: `/status` it has, audits and flows it has none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64ct::{Base64, Encoding as _};
use clap::Args;
use lenscap_uplink::dial::{DialConfig, Dialer, FailureKind, Outcome, Step};
use lenscap_uplink::h2::{Bodies, Body, BodyRead, Config, Connection, Event, StreamId};
use lenscap_uplink::upgrade::{Progress, Reply, Request};
use lenscap_uplink::url::Url;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::clock::monotonic_ms;

/// The agent's own limits (agent/src/run).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);
/// First dials at the same moment; later ones are the dialler's alone.
const FIRST_DIALS: usize = 64;
/// One HTTP/2 write, as the agent's.
const WRITE_BYTES: usize = 16_384;
const READ_BYTES: usize = 2048;
const STATUS: &str = r#"{"version":"0.1.0","uptime_s":60,"profiles":["main","sub"]}"#;

/// Cameras of one process.
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    /// Where the gateway takes uplinks.
    #[arg(long)]
    gateway: SocketAddr,
    /// Lines of certificate and key, base64.
    #[arg(long)]
    keys: PathBuf,
    /// The authority behind the gateway's certificate.
    #[arg(long)]
    ca: PathBuf,
    /// The first camera's line.
    #[arg(long)]
    first: usize,
    /// How many.
    #[arg(long)]
    count: usize,
    /// Where what happens is written to: milliseconds, camera, `dial`, `up` or `down`.
    #[arg(long)]
    events: PathBuf,
}

/// What the cameras of a process share.
struct Shared {
    gateway: SocketAddr,
    url: Url,
    start: Instant,
    events: Mutex<File>,
    first_dials: Semaphore,
}

struct Camera {
    number: usize,
    tls: TlsConnector,
    shared: Arc<Shared>,
}

impl Shared {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn say(&self, camera: usize, what: &str) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // One short write, so that whoever reads meanwhile sees whole lines; a full disk shows as missing cameras.
        let _ = events.write_all(format!("{:.1} {camera} {what}\n", monotonic_ms()).as_bytes());
    }
}

/// Serves until it is killed.
pub(crate) fn run(args: &AgentsArgs) -> Result<()> {
    super::limits::raise()?;
    let shared = Arc::new(Shared {
        gateway: args.gateway,
        url: Url::parse(&format!("https://localhost:{}/onvif/uplink", args.gateway.port()))
            .map_err(|error| anyhow::anyhow!("{error}"))?,
        start: Instant::now(),
        events: Mutex::new(File::create(&args.events)?),
        first_dials: Semaphore::new(FIRST_DIALS),
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&args.ca)?)?;
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let keys = BufReader::new(File::open(&args.keys)?);
    let lines = keys.lines().skip(args.first).take(args.count);
    let mut cameras = Vec::new();
    for (index, line) in lines.enumerate() {
        let line = line?;
        let (cert, key) = line.split_once(' ').context("a line of keys")?;
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(
                vec![CertificateDer::from(decode(cert)?)],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(decode(key)?)),
            )?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.resumption = Resumption::in_memory_sessions(1);
        cameras.push(Camera {
            number: args.first + index,
            tls: TlsConnector::from(Arc::new(tls)),
            shared: Arc::clone(&shared),
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for camera in cameras {
            tokio::spawn(camera.live());
        }
        std::future::pending::<()>().await;
    });
    Ok(())
}

fn decode(text: &str) -> Result<Vec<u8>> {
    Base64::decode_vec(text).map_err(|error| anyhow::anyhow!("a line of keys: {error}"))
}

impl Camera {
    async fn live(self) {
        let seed = rand::random();
        let config = DialConfig {
            endpoints: vec![self.shared.url.clone()],
            redirect_to: Vec::new(),
        };
        let mut dialer = Dialer::new(config, seed);
        let mut permit = self.shared.first_dials.acquire().await.ok();
        loop {
            let now = self.shared.now();
            match dialer.poll(now) {
                Step::Dial(_) => {
                    self.shared.say(self.number, "dial");
                    let attempt = self.attempt().await;
                    drop(permit.take());
                    let now = self.shared.now();
                    match attempt {
                        Ok((reply @ Reply::Switched(_), rest, stream)) => {
                            self.shared.say(self.number, "up");
                            dialer.handle_outcome(now, Outcome::Reply(reply));
                            self.serve(stream, &rest).await;
                            self.shared.say(self.number, "down");
                            dialer.handle_outcome(self.shared.now(), Outcome::Lost);
                        }
                        Ok((reply, ..)) => dialer.handle_outcome(now, Outcome::Reply(reply)),
                        Err(kind) => dialer.handle_outcome(now, Outcome::Failed(kind)),
                    }
                }
                Step::Wait { until, .. } => tokio::time::sleep(until.saturating_sub(now)).await,
                // Neither is said between two attempts.
                Step::InProgress | Step::Connected => return,
            }
            while dialer.poll_event().is_some() {}
        }
    }

    /// From an address of its own, as cameras have one.
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let [_, high, middle, low] = u32::try_from(self.number).unwrap_or(0).to_be_bytes();
        // Neither .0 nor .255 at the end, and nothing that 127.0.0.1 is.
        let source = Ipv4Addr::new(127, 64 + high, middle, low);
        socket.bind((source, 0).into())?;
        let stream = socket.connect(self.shared.gateway).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn attempt(&self) -> Result<(Reply, Vec<u8>, TlsStream<TcpStream>), FailureKind> {
        let stream = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(FailureKind::Connect),
            Err(_) => return Err(FailureKind::Timeout),
        };
        let name = ServerName::try_from("localhost").map_err(|_| FailureKind::Tls)?;
        let stream = match timeout(HANDSHAKE_TIMEOUT, self.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(FailureKind::Tls),
            Err(_) => return Err(FailureKind::Timeout),
        };
        match timeout(UPGRADE_TIMEOUT, self.upgrade(stream)).await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(FailureKind::Protocol),
            Err(_) => Err(FailureKind::Timeout),
        }
    }

    async fn upgrade(
        &self,
        mut stream: TlsStream<TcpStream>,
    ) -> Option<(Reply, Vec<u8>, TlsStream<TcpStream>)> {
        let fields = [
            ("Lenscap-Serial", format!("BENCH-{:06}", self.number)),
            ("Lenscap-Boot", format!("{:032x}", self.number)),
        ];
        let request = Request {
            url: &self.shared.url,
            bearer: None,
            user_agent: "lenscap/0.1.0",
            ws_nonce: [0; 16],
            fields: &fields,
        };
        let (bytes, mut expect) = request.encode();
        stream.write_all(&bytes).await.ok()?;
        let mut buffer = [0; READ_BYTES];
        loop {
            let got = stream.read(&mut buffer).await.ok().filter(|got| *got > 0)?;
            match expect.handle_input(buffer.get(..got)?).ok()? {
                Progress::NeedMore(more) => expect = more,
                Progress::Done { reply, rest } => return Some((reply, rest, stream)),
            }
        }
    }

    /// Until the gateway is gone, or silent for too long.
    async fn serve(&self, mut stream: TlsStream<TcpStream>, rest: &[u8]) {
        let mut connection = Connection::new(Config::default(), self.shared.now());
        connection.handle_input(self.shared.now(), rest);
        let mut answers = Answers::default();
        let mut buffer = [0; READ_BYTES];
        loop {
            while let Some(event) = connection.poll_event() {
                answers.handle(&mut connection, event);
            }
            let mut out = Vec::new();
            while connection.poll_output(self.shared.now(), &mut out, WRITE_BYTES, &mut answers) > 0 {
                if stream.write_all(&out).await.is_err() {
                    return;
                }
                out.clear();
            }
            drop(out);
            if connection.is_closed() || stream.flush().await.is_err() {
                return;
            }
            let due = connection.poll_timeout().unwrap_or(Duration::MAX);
            let mut timer = pin!(tokio::time::sleep(due.saturating_sub(self.shared.now())));
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(got) if got > 0 => {
                        connection.handle_input(self.shared.now(), buffer.get(..got).unwrap_or_default());
                    }
                    Ok(_) | Err(_) => return,
                },
                () = &mut timer => connection.handle_timeout(self.shared.now()),
            }
        }
    }
}

/// What a camera answers.
#[derive(Default)]
struct Answers(BTreeMap<StreamId, &'static str>);

impl Bodies for Answers {
    fn read(&mut self, stream: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead {
        let Some(body) = self.0.remove(&stream) else {
            return BodyRead::End;
        };
        let (now, later) = body.split_at(body.len().min(max));
        out.extend_from_slice(now.as_bytes());
        if later.is_empty() {
            return BodyRead::End;
        }
        self.0.insert(stream, later);
        BodyRead::Bytes
    }
}

impl Answers {
    fn handle(&mut self, connection: &mut Connection, event: Event) {
        match event {
            Event::Request { stream, request, .. } => {
                let answered = if request.path == "/status" {
                    self.0.insert(stream, STATUS);
                    let kind = [("content-type", "application/json")];
                    connection.respond(stream, 200, &kind, Body::Streaming)
                } else {
                    connection.respond(stream, 404, &[], Body::None)
                };
                if answered.is_ok() {
                    connection.set_body_ready(stream);
                }
            }
            Event::Reset { stream, .. } => {
                self.0.remove(&stream);
            }
            Event::Data { .. } | Event::PeerGoAway { .. } | Event::Closed(_) => {}
        }
    }
}
