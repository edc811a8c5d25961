//! simcam, a scriptable RTSP camera: plain threads, one for each connection, non-blocking sockets.
//!
//! It is a peer for tests, not a server: it trusts its command line and serves a handful of
//! clients. Every session plays its profile from the beginning, so that two pulls carry the same
//! RTP packets.

mod connection;
pub mod credit;
pub mod events;
pub mod guard;
pub mod media;
pub mod message;
pub mod options;
pub mod output;
pub mod player;
mod session;
mod snapshot;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

use crate::digest::Credentials;
use connection::Connection;
use credit::Credit;
use events::Events;
use guard::Guard;
use media::Profile;
use options::{AuthKind, Options, Quirks};

/// Connections at the same moment, RTSP, HTTP and credit together.
const MAX_CONNECTIONS: usize = 256;
/// How long the last connections may take when simcam stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What all connections share.
pub(crate) struct Shared {
    options: Options,
    quirks: Quirks,
    profiles: Vec<Arc<Profile>>,
    guard: Guard,
    events: Events,
    jpeg: Option<Vec<u8>>,
    credit: Credit,
    stop: EventFd,
    stopping: AtomicBool,
    sessions: Mutex<Places>,
    connections: AtomicUsize,
    next_id: AtomicU64,
    eagain_noted: Mutex<BTreeSet<u64>>,
    rtsp_open: Mutex<usize>,
    rtsp_closed: Condvar,
}

#[derive(Default)]
struct Places {
    active: usize,
    stale_until: Vec<Instant>,
}

/// Locks whatever happened to other holders.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new(options: Options) -> Result<Self> {
        let quirks = Quirks::parse(&options.quirks)?;
        let mut profiles = Vec::new();
        for spec in options.profile_specs()? {
            profiles.push(Arc::new(Profile::load(&spec)?));
        }
        let credentials = match (&options.password_file, options.auth) {
            (Some(file), _) => Credentials::from_file(&options.user, file)
                .with_context(|| format!("cannot read {}", file.display()))?,
            (None, AuthKind::None) => Credentials {
                user: options.user.clone(),
                password: String::new(),
            },
            (None, _) => anyhow::bail!("--auth needs --password-file"),
        };
        let jpeg = match &options.snapshot {
            Some(file) => {
                Some(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
            }
            None => None,
        };
        Ok(Self {
            guard: Guard::new(options.auth, &options.realm, options.qop, credentials, &quirks),
            events: Events::new(options.events.as_deref()).context("cannot create the event log")?,
            credit: Credit::new()?,
            stop: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
            stopping: AtomicBool::new(false),
            sessions: Mutex::default(),
            connections: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            eagain_noted: Mutex::default(),
            rtsp_open: Mutex::default(),
            rtsp_closed: Condvar::new(),
            options,
            quirks,
            profiles,
            jpeg,
        })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The profile with the longest path that `path` is or lies below.
    fn find_profile(&self, path: &str) -> Option<&Arc<Profile>> {
        let below = |profile: &&Arc<Profile>| {
            path.strip_prefix(profile.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '&']))
        };
        self.profiles
            .iter()
            .filter(below)
            .max_by_key(|profile| profile.path.len())
    }

    fn acquire_session(&self) -> bool {
        let mut places = lock(&self.sessions);
        let now = Instant::now();
        places.stale_until.retain(|&until| until > now);
        let free = places.active + places.stale_until.len() < self.options.max_sessions;
        places.active += usize::from(free);
        free
    }

    fn release_session(&self, stale: Option<Duration>) {
        let mut places = lock(&self.sessions);
        places.active -= 1;
        places
            .stale_until
            .extend(stale.map(|for_so_long| Instant::now() + for_so_long));
    }
}

/// Runs simcam until SIGTERM or SIGINT. Prints its addresses as one JSON line once it listens.
pub fn run(options: Options) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Before any thread starts, so that all inherit the mask.
    signals.thread_block()?;

    let rtsp = listen(options.listen)?;
    let http = listen(options.http_listen)?;
    let bulk = if options.bulk {
        Some(listen(options.bulk_listen)?)
    } else {
        None
    };
    let shared = Arc::new(Shared::new(options)?);
    announce(&rtsp, &http, bulk.as_ref())?;

    let mut acceptors = vec![
        spawn_acceptor(rtsp, &shared, serve_rtsp)?,
        spawn_acceptor(http, &shared, |shared, _, stream| {
            let _ = snapshot::serve(&shared, stream);
        })?,
    ];
    if let Some(bulk) = bulk {
        acceptors.push(spawn_acceptor(bulk, &shared, |shared, _, stream| {
            if stream.set_nonblocking(false).is_ok() {
                shared.credit.serve(stream);
            }
        })?);
    }
    signals.wait()?;
    shared.stopping.store(true, Ordering::Relaxed);
    shared.stop.write(1)?;
    for acceptor in acceptors {
        let _ = acceptor.join();
    }
    // HTTP and credit connections may be idle; only RTSP has something to say at its end.
    let open = lock(&shared.rtsp_open);
    let _ = shared
        .rtsp_closed
        .wait_timeout_while(open, STOP_TIMEOUT, |open| *open > 0);
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn announce(rtsp: &TcpListener, http: &TcpListener, bulk: Option<&TcpListener>) -> Result<()> {
    let mut line = json!({
        "event": "listening",
        "rtsp": rtsp.local_addr()?.to_string(),
        "http": http.local_addr()?.to_string(),
    });
    if let (Some(bulk), Some(object)) = (bulk, line.as_object_mut()) {
        object.insert("bulk".to_owned(), json!(bulk.local_addr()?.to_string()));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn serve_rtsp(shared: Arc<Shared>, id: u64, stream: TcpStream) {
    if stream.set_nonblocking(true).is_ok() {
        // Cameras do not wait for full segments.
        let _ = stream.set_nodelay(true);
        *lock(&shared.rtsp_open) += 1;
        Connection::new(Arc::clone(&shared), id, stream).run();
        *lock(&shared.rtsp_open) -= 1;
        shared.rtsp_closed.notify_all();
    }
}

fn spawn_acceptor(
    listener: TcpListener,
    shared: &Arc<Shared>,
    serve: fn(Arc<Shared>, u64, TcpStream),
) -> Result<std::thread::JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let handle = std::thread::Builder::new().spawn(move || {
        while !shared.is_stopping() {
            let mut fds = [
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::NONE);
            if let Ok((stream, _)) = listener.accept() {
                spawn_connection(&shared, stream, serve);
            }
        }
    })?;
    Ok(handle)
}

fn spawn_connection(shared: &Arc<Shared>, stream: TcpStream, serve: fn(Arc<Shared>, u64, TcpStream)) {
    if shared.connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
        return;
    }
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
    let own = Arc::clone(shared);
    let spawned = std::thread::Builder::new().spawn(move || {
        serve(Arc::clone(&own), id, stream);
        own.connections.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
