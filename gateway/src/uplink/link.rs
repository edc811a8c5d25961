//! One uplink after its 101: HTTP/2 with the gateway as client, and its liveness.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::meter::{Liveness, Metered};
use super::renew::WayBack;
use crate::clock::unix_now;
use crate::metrics::Refused;
use crate::server::Shared;

/// Window of one stream: 2 MiB is 160 Mbit/s at 100 ms.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Window of the connection with at most one stream; each further stream adds its own, so that a slow viewer
/// cannot stall the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Silence after which the gateway asks with a PING (design section 3.5).
pub const PING_AFTER: Duration = Duration::from_secs(17);
/// Silence after which the uplink is given up.
pub const CLOSE_AFTER: Duration = Duration::from_secs(30);
/// Time for the agent's SETTINGS.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the GOAWAY to leave at the end.
const END_DEADLINE: Duration = Duration::from_secs(1);
/// Largest header list that an agent may answer with.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Streams assumed before the agent's SETTINGS tell its limit.
const INITIAL_STREAMS: usize = 8;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What is known of an agent from its own words.
#[derive(Clone, Debug, Default)]
pub struct AgentInfo {
    /// Its version.
    pub version: Option<String>,
    /// The profiles it offers.
    pub profiles: Vec<String>,
}

/// An uplink that is up.
pub struct Uplink {
    id: u64,
    camera: usize,
    peer: SocketAddr,
    since: SystemTime,
    sender: SendRequest<Bytes>,
    info: Mutex<AgentInfo>,
    boot: Option<String>,
    way_back: Mutex<WayBack>,
    liveness: Arc<Liveness>,
    streams: AtomicUsize,
    streams_changed: Notify,
    ended: Notify,
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink")
            .field("id", &self.id)
            .field("camera", &self.camera)
            .finish_non_exhaustive()
    }
}

impl Uplink {
    /// A number of its own in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Index of the camera.
    #[must_use]
    pub fn camera(&self) -> usize {
        self.camera
    }

    /// Where it comes from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When it came up.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// A handle to send requests with.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// The boot of the device, as it says.
    #[must_use]
    pub fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// When anything was received last.
    #[must_use]
    pub fn last_received(&self) -> Instant {
        self.liveness.last_received()
    }

    /// What it was given to come back with.
    pub fn way_back(&self) -> MutexGuard<'_, WayBack> {
        self.way_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: the camera is not this gateway's any more.
    pub fn end(&self) {
        self.ended.notify_one();
    }

    /// What the agent said of itself.
    #[must_use]
    pub fn info(&self) -> AgentInfo {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what the agent said of itself.
    pub fn set_info(&self, change: impl FnOnce(&mut AgentInfo)) {
        change(&mut self.info.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a media stream for as long as the lease lives, so that the connection's window follows.
    #[must_use]
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.streams_changed.notify_one();
        Lease(Arc::clone(self))
    }
}

/// See [`Uplink::lease`].
#[derive(Debug)]
pub struct Lease(Arc<Uplink>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.streams_changed.notify_one();
    }
}

/// Who is at the other end of a new uplink.
#[derive(Clone)]
pub struct Peer {
    /// Index of the camera.
    pub camera: usize,
    /// Where it comes from.
    pub address: SocketAddr,
    /// From its User-Agent.
    pub version: Option<String>,
    /// The boot of the device, as it says.
    pub boot: Option<String>,
    /// The credential that it was given.
    pub resume: Option<String>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("camera", &self.camera)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum End {
    Closed,
    Failed(h2::Error),
    Silent,
    NoSettings,
    NoWebSocket,
    TooMany,
    Released,
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the agent"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Silent => write!(f, "nothing received for {} s", CLOSE_AFTER.as_secs()),
            Self::NoSettings => f.write_str("no HTTP/2 SETTINGS from the agent in time"),
            Self::NoWebSocket => f.write_str("the agent did not enable extended CONNECT (RFC 8441)"),
            Self::TooMany => f.write_str("the camera has too many uplinks at a time"),
            Self::Released => f.write_str("the camera was released, suspended or moved"),
            Self::Stopped => f.write_str("the gateway stops"),
        }
    }
}

/// Runs one uplink to its end.
pub async fn run<S>(
    stream: S,
    peer: Peer,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let liveness = Liveness::new();
    let io = Metered::new(stream, Arc::clone(&liveness));
    let camera = shared.registry.name(peer.camera);
    let handshake = builder().handshake(io);
    let (sender, mut connection) = match timeout(START_DEADLINE, handshake).await {
        Ok(Ok(parts)) => parts,
        Ok(Err(error)) => return refuse(&shared, &camera, &End::Failed(error)),
        Err(_) => return refuse(&shared, &camera, &End::NoSettings),
    };
    let Some(mut pings) = connection.ping_pong() else {
        return;
    };
    if let Err(end) = start(&mut connection, &mut pings, &sender).await {
        return refuse(&shared, &camera, &end);
    }
    let uplink = Arc::new(Uplink {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        camera: peer.camera,
        peer: peer.address,
        since: SystemTime::now(),
        sender,
        info: Mutex::new(AgentInfo {
            version: peer.version,
            profiles: Vec::new(),
        }),
        boot: peer.boot,
        liveness: Arc::clone(&liveness),
        way_back: Mutex::new(WayBack::new(peer.resume, unix_now())),
        streams: AtomicUsize::new(0),
        streams_changed: Notify::new(),
        ended: Notify::new(),
    });
    if !shared.registry.attach(peer.camera, Arc::clone(&uplink)) {
        return refuse(&shared, &camera, &End::TooMany);
    }
    shared.metrics.uplinks.inc();
    shared.metrics.uplinks_accepted.inc();
    // Said while this one was on its way.
    if shared.fleet.is_suspended(&camera) {
        uplink.end();
    }
    info!(camera, "uplink up");
    debug!(camera, peer = %peer.address, "uplink peer");
    tokio::spawn(super::requests::learn(Arc::clone(&uplink)));
    let reports = shared.reports.clone();
    let following = tokio::spawn(reports.follow(camera.clone(), Arc::downgrade(&uplink)));
    let end = drive(&mut connection, pings, &uplink, &liveness, stop).await;
    following.abort();
    if matches!(end, End::Released) && shared.registry.index(&camera).is_none() {
        let (reports, camera) = (shared.reports.clone(), camera.clone());
        tokio::task::spawn_blocking(move || reports.forget(&camera));
    }
    shared.registry.detach(peer.camera, uplink.id);
    shared.metrics.uplinks.dec();
    info!(camera, reason = %end, "uplink down");
    // Without senders h2 says GOAWAY by itself.
    drop(uplink);
    if matches!(end, End::Stopped | End::Released) {
        let _ = timeout(END_DEADLINE, connection).await;
    }
}

fn refuse(shared: &Shared, camera: &str, end: &End) {
    let reason = if matches!(end, End::TooMany) {
        Refused::Limit
    } else {
        Refused::Http2
    };
    shared.metrics.refused(reason);
    warn!(camera, reason = %end, "uplink did not start");
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .initial_max_send_streams(INITIAL_STREAMS)
        .enable_push(false);
    builder
}

/// Waits for the agent's SETTINGS: they are its first frame, so they have arrived when it answers a PING.
async fn start<S>(
    connection: &mut Connection<S, Bytes>,
    pings: &mut PingPong,
    sender: &SendRequest<Bytes>,
) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let outcome = timeout(START_DEADLINE, async {
        tokio::select! {
            end = &mut *connection => Err(end.map_or_else(End::Failed, |()| End::Closed)),
            pong = pings.ping(Ping::opaque()) => pong.map(drop).map_err(End::Failed),
        }
    });
    outcome.await.unwrap_or(Err(End::NoSettings))?;
    if sender.is_extended_connect_protocol_enabled() {
        Ok(())
    } else {
        Err(End::NoWebSocket)
    }
}

async fn drive<S>(
    connection: &mut Connection<S, Bytes>,
    mut pings: PingPong,
    uplink: &Uplink,
    liveness: &Liveness,
    mut stop: watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut timer = pin!(sleep_until(Instant::now() + PING_AFTER));
    let mut asked = false;
    loop {
        tokio::select! {
            end = &mut *connection => return end.map_or_else(End::Failed, |()| End::Closed),
            _ = stop.wait_for(|stop| *stop) => return End::Stopped,
            () = uplink.ended.notified() => return End::Released,
            () = uplink.streams_changed.notified() => {
                connection.set_target_window_size(window_for(uplink.streams.load(Ordering::Relaxed)));
            }
            pong = poll_fn(|cx| pings.poll_pong(cx)), if asked => match pong {
                Ok(_) => asked = false,
                Err(error) => return End::Failed(error),
            },
            () = timer.as_mut() => {
                let last = liveness.last_received();
                let silence = last.elapsed();
                if silence >= CLOSE_AFTER {
                    return End::Silent;
                }
                if silence >= PING_AFTER && !asked {
                    if let Err(error) = pings.send_ping(Ping::opaque()) {
                        return End::Failed(error);
                    }
                    asked = true;
                }
                let next = if silence >= PING_AFTER { CLOSE_AFTER } else { PING_AFTER };
                timer.as_mut().reset(last + next);
            }
        }
    }
}

fn window_for(streams: usize) -> u32 {
    let more = u32::try_from(streams.saturating_sub(1)).unwrap_or(u32::MAX);
    let limit = i32::MAX.unsigned_abs();
    CONNECTION_WINDOW_BYTES
        .saturating_add(more.saturating_mul(STREAM_WINDOW_BYTES))
        .min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::clones::CLONE_AFTER_SECONDS;
    use tokio::io::DuplexStream;

    #[test]
    fn the_window_follows_the_streams() {
        assert_eq!(window_for(0), 4 << 20);
        assert_eq!(window_for(1), 4 << 20);
        assert_eq!(window_for(3), 8 << 20);
        assert_eq!(window_for(usize::MAX), i32::MAX.unsigned_abs());
    }

    type Running = (
        DuplexStream,
        Arc<Shared>,
        tokio::task::JoinHandle<()>,
        watch::Sender<bool>,
    );

    /// One camera, one uplink over a pipe; the agent's end and the running link.
    fn start_link() -> Running {
        start_link_of(Shared::for_tests(&["front"]), None)
    }

    fn start_link_of(shared: Arc<Shared>, boot: Option<&str>) -> Running {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (stop, stopped) = watch::channel(false);
        let peer = Peer {
            camera: 0,
            address: ([127, 0, 0, 1], 1).into(),
            version: None,
            boot: boot.map(str::to_owned),
            resume: None,
        };
        let link = tokio::spawn(run(ours, peer, Arc::clone(&shared), stopped, mpsc::channel(1).0));
        (theirs, shared, link, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_living_agent_is_kept_and_a_silent_one_is_given_up() {
        let (stream, shared, link, _stop) = start_link();
        let mut agent = connected(stream).await;
        // Answers `GET /status` with a reset, and PINGs by itself.
        let alive = timeout(Duration::from_secs(600), async {
            while agent.accept().await.is_some() {}
        });
        assert!(
            alive.await.is_err(),
            "the link must live as long as the agent answers"
        );
        assert_eq!(shared.registry.uplinks(0).len(), 1);
        let silent = Instant::now();
        timeout(Duration::from_secs(60), link).await.unwrap().unwrap();
        let after = silent.elapsed();
        assert!(
            after >= CLOSE_AFTER - PING_AFTER && after <= CLOSE_AFTER + Duration::from_secs(1),
            "{after:?}"
        );
        assert!(shared.registry.uplinks(0).is_empty());
        drop(agent);
    }

    async fn connected(stream: DuplexStream) -> h2::server::Connection<DuplexStream, Bytes> {
        let mut server = h2::server::Builder::new();
        let handshake = server.enable_connect_protocol().handshake(stream);
        handshake.await.unwrap()
    }

    async fn agent(stream: DuplexStream) {
        let mut agent = connected(stream).await;
        while agent.accept().await.is_some() {}
    }

    /// Looks as the gateway does, for so many seconds.
    async fn look(shared: &Shared, clock: Instant, seconds: u64) {
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            shared.fleet.look_for_clones(clock.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_boots_that_answer_for_a_minute_are_two_devices_and_both_stay() {
        let (shared, clock) = (Shared::for_tests(&["front"]), Instant::now());
        let (one, shared, link_one, _stop_one) = start_link_of(shared, Some("aa"));
        tokio::spawn(agent(one));
        look(&shared, clock, 100).await;
        let (two, shared, link_two, _stop_two) = start_link_of(shared, Some("bb"));
        tokio::spawn(agent(two));
        tokio::time::sleep(Duration::from_secs(1)).await;
        look(&shared, clock, CLONE_AFTER_SECONDS).await;
        assert_eq!(shared.registry.cloned(0), None);
        look(&shared, clock, 10).await;
        assert!(shared.registry.cloned(0).is_some());
        look(&shared, clock, 600).await;
        assert!(!link_one.is_finished() && !link_two.is_finished());
        assert_eq!(shared.registry.uplinks(0).len(), 2);
        assert!(shared.metrics.encode().contains("clones_total 1"));
    }

    /// A camera that loses its power: the old uplink is silent, however soon the next one comes.
    #[tokio::test(start_paused = true)]
    async fn a_reboot_is_no_clone_nor_are_many() {
        for every in [10, 20, 50, 70] {
            let (mut shared, clock) = (Shared::for_tests(&["front"]), Instant::now());
            let mut dead = Vec::new();
            for boot in 0..30 {
                let (pipe, again, _link, stop) = start_link_of(shared, Some(&boot.to_string()));
                shared = again;
                let mut living = connected(pipe).await;
                let answers = async { while living.accept().await.is_some() {} };
                let lives = timeout(Duration::from_secs(every), answers);
                let _ = tokio::join!(lives, look(&shared, clock, every));
                assert!(shared.registry.uplinks(0).len() < 5);
                // The power is off: nothing is said, not even that.
                dead.push((living, stop));
            }
            assert_eq!(shared.registry.cloned(0), None, "every {every} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_cameras_uplink_ends_at_once() {
        let (stream, shared, link, _stop) = start_link();
        tokio::spawn(agent(stream));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(shared.registry.uplinks(0).len(), 1);
        shared.registry.sync(&std::collections::BTreeSet::new());
        timeout(END_DEADLINE * 2, link).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_without_settings_or_extended_connect_is_refused() {
        let (_mute, shared, link, _stop) = start_link();
        timeout(START_DEADLINE * 2, link).await.unwrap().unwrap();
        assert!(shared.registry.uplinks(0).is_empty());
        let (stream, shared, link, _stop) = start_link();
        let mut agent = h2::server::handshake(stream).await.unwrap();
        while agent.accept().await.is_some() {}
        timeout(START_DEADLINE * 2, link).await.unwrap().unwrap();
        assert!(
            shared
                .metrics
                .encode()
                .contains("uplinks_refused_total{reason=\"Http2\"} 1")
        );
    }
}
