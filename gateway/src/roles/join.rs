//! The streamer's end of a control connection.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::control::{ALIVE_EVERY, SILENCE, spawn_reader};
use super::message::{Hello, Rules, ToEndpoint, ToStreamer, write};
use super::remote::Remote;
use super::{CONTROL_PATH, CONTROL_PROTOCOL};
use crate::clock::unix_now;
use crate::fleet::clones::ANSWERED;
use crate::fleet::{WayOut, outbound};
use crate::server::Shared;
use crate::uplink::requests::{MAX_TEXT_BYTES, TEXT_DEADLINE, ask};

/// Time for name, TCP, TLS and the upgrade together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Pauses between tries double up to this, with full jitter.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// How often is looked whether cameras have come or gone.
const LOOK: Duration = Duration::from_millis(500);
/// Longest answer to the upgrade request, in bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Time for one message to leave.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);

/// What a streamer needs to join.
pub struct Join {
    /// Who it is.
    pub hello: Hello,
    /// `HOST:PORT` of the endpoint's uplink port.
    pub endpoint: String,
    /// Replaces the public CAs.
    pub ca: Option<PathBuf>,
    /// Lets it in.
    pub token: String,
    /// Where it keeps what it was told.
    pub data: PathBuf,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("name", &self.hello.name)
            .finish_non_exhaustive()
    }
}

impl Join {
    /// Stays joined for as long as the process lives.
    pub async fn run(self, shared: Arc<Shared>, draining: watch::Receiver<bool>) {
        let connector = match outbound::connector(self.ca.as_deref()) {
            Ok(connector) => connector,
            Err(error) => return warn!(%error, "this streamer cannot join"),
        };
        let mut backoff = MIN_BACKOFF;
        loop {
            let joined = timeout(CONNECT_DEADLINE, self.connect(&connector)).await;
            match joined.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))) {
                Ok(stream) => {
                    info!("joined the endpoint");
                    backoff = MIN_BACKOFF;
                    let end = self.drive(stream, &shared, draining.clone()).await;
                    warn!(reason = end, "the endpoint is lost; cameras and viewers stay");
                }
                Err(error) => warn!(%error, "the endpoint cannot be reached; what it said last holds"),
            }
            tokio::time::sleep(backoff.mul_f64(rand::random())).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn connect(
        &self,
        connector: &TlsConnector,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.endpoint).await?;
        crate::net::prepare(&stream);
        let host = self
            .endpoint
            .rsplit_once(':')
            .map_or(self.endpoint.as_str(), |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = host.try_into().map_err(io::Error::other)?;
        let mut stream = connector.connect(name, stream).await?;
        let request = format!(
            "GET {CONTROL_PATH} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: {CONTROL_PROTOCOL}\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.endpoint, self.token
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD_BYTES {
                return Err(io::Error::other("its answer is too long"));
            }
            // One by one: what follows is not to be read here.
            head.push(stream.read_u8().await?);
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            return Ok(stream);
        }
        let line = String::from_utf8_lossy(&head)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Err(io::Error::other(format!(
            "it does not let this streamer in: {line}; is the join token right?"
        )))
    }

    async fn drive<S>(
        &self,
        stream: S,
        shared: &Arc<Shared>,
        mut draining: watch::Receiver<bool>,
    ) -> &'static str
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut told = spawn_reader::<_, ToStreamer>(reader);
        let mut news = News::default();
        let (mut look, mut alive) = (interval(LOOK), interval(ALIVE_EVERY));
        let mut heard = Instant::now();
        let mut next = vec![ToEndpoint::Hello(self.hello.clone())];
        loop {
            for message in next {
                match timeout(WRITE_DEADLINE, write(&mut writer, &message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return "it takes nothing",
                }
            }
            next = tokio::select! {
                message = told.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(message) => self.handle(message, shared).await.into_iter().collect(),
                        None => return "its connection has ended",
                    }
                }
                _ = look.tick() => news.look(shared.registry.online(), shared.registry.clones()),
                _ = alive.tick() => vec![ToEndpoint::Alive],
                Ok(()) = draining.changed() => vec![ToEndpoint::Draining],
                () = sleep_until(heard + SILENCE) => return "it was silent",
            };
        }
    }

    /// Does what it was told; gives what there is to answer.
    async fn handle(&self, message: ToStreamer, shared: &Arc<Shared>) -> Option<ToEndpoint> {
        match message {
            ToStreamer::Rules(rules) => self.take_rules(*rules, shared).await,
            ToStreamer::Move { camera, target } => move_camera(shared, &camera, target).await,
            ToStreamer::Boots(cameras) => {
                let boots = |camera: String| {
                    let answer = shared.registry.boots(&camera, ANSWERED);
                    (camera, answer)
                };
                return Some(ToEndpoint::Boots(cameras.into_iter().map(boots).collect()));
            }
            ToStreamer::Alive => {}
        }
        None
    }

    async fn take_rules(&self, rules: Rules, shared: &Arc<Shared>) {
        let Some(remote) = Remote::new(&self.hello.name, rules) else {
            return warn!("the endpoint's rules make no sense; those before hold");
        };
        let remote = Arc::new(remote);
        let (kept, data) = (Arc::clone(&remote), self.data.clone());
        let saved = tokio::task::spawn_blocking(move || kept.save(&data)).await;
        if !matches!(saved, Ok(Ok(()))) {
            warn!(
                "the endpoint's rules could not be kept; a restart without the endpoint would not know them"
            );
        }
        shared.fleet.set_remote(remote);
    }
}

/// What the endpoint was told last.
#[derive(Default)]
struct News {
    online: Option<Vec<String>>,
    cloned: Vec<String>,
}

impl News {
    /// What has changed since. Cameras first: what is said of others does not count.
    fn look(&mut self, online: Vec<String>, mut cloned: Vec<String>) -> Vec<ToEndpoint> {
        let mut news = Vec::new();
        // One that is away now is told of when it is back, since an endpoint that was started anew would not have heard.
        let here: HashSet<&String> = online.iter().collect();
        cloned.retain(|camera| here.contains(camera));
        if self.online.as_ref() != Some(&online) {
            self.online = Some(online.clone());
            news.push(ToEndpoint::Online(online));
        }
        if self.cloned != cloned {
            self.cloned.clone_from(&cloned);
            news.push(ToEndpoint::Cloned(cloned));
        }
        news
    }
}

/// Lets a camera go elsewhere.
async fn move_camera(shared: &Arc<Shared>, camera: &str, target: Option<String>) {
    let Some(index) = shared.registry.index(camera) else {
        return;
    };
    for uplink in shared.registry.uplinks(index) {
        let target = target.clone();
        tokio::spawn(async move {
            let path = "/uplink/move";
            let asked = ask(
                &uplink,
                Method::POST,
                path,
                target.as_deref(),
                MAX_TEXT_BYTES,
                TEXT_DEADLINE,
            );
            if let Err(error) = asked.await {
                warn!(%error, "a camera did not take the order to move");
            }
        });
    }
}

/// Lets all cameras go that can be elsewhere, and waits until they have, or `deadline` is over.
pub async fn drain(shared: &Arc<Shared>, deadline: Duration) {
    let mut moving = Vec::new();
    for camera in shared.registry.online() {
        match shared.fleet.way_out(unix_now(), &camera) {
            WayOut::Endpoint => move_camera(shared, &camera, None).await,
            WayOut::Streamer(target) => move_camera(shared, &camera, Some(target)).await,
            WayOut::None => continue,
        }
        moving.push(camera);
    }
    info!(cameras = moving.len(), "moving cameras elsewhere");
    let left = || {
        let online: BTreeSet<String> = shared.registry.online().into_iter().collect();
        moving.iter().filter(|camera| online.contains(*camera)).count()
    };
    let gone = async {
        while left() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if timeout(deadline, gone).await.is_err() {
        warn!(cameras = left(), "some cameras have not moved in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_devices_with_one_key_are_told_of_however_often_cameras_come_and_go() {
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let mut news = News::default();
        let online = |list: &[&str]| ToEndpoint::Online(names(list));
        let cloned = |list: &[&str]| ToEndpoint::Cloned(names(list));
        assert_eq!(news.look(names(&[]), names(&[])), [online(&[])]);
        assert_eq!(news.look(names(&["a"]), names(&[])), [online(&["a"])]);
        assert_eq!(
            news.look(names(&["a", "b"]), names(&["a"])),
            [online(&["a", "b"]), cloned(&["a"])]
        );
        assert_eq!(news.look(names(&["a", "b"]), names(&["a"])), []);
        assert_eq!(
            news.look(names(&["a", "b"]), names(&["a", "b"])),
            [cloned(&["a", "b"])]
        );
    }
}
