//! Whose cameras these are: the configuration's and the store's, what is allowed, who waits.
//!
//! Every connection asks a snapshot in memory; the store is read when something changed. Changes take turns, are
//! on the disk before anybody sees them, and reach what is already connected: a released camera's uplink ends,
//! and so does the session of a viewer who may not see it any more.

pub mod access;
mod admit;
mod callback;
mod claims;
pub mod clones;
pub mod csv;
pub mod import;
mod label;
pub mod link;
mod live;
mod merge;
mod noted;
pub mod operator;
pub mod outbound;
pub mod pending;
mod people;
pub mod pin;
mod placing;
pub mod resume;
pub mod sealed;
pub mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ring::hmac;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info};

pub use admit::{Admission, Settle};
pub use claims::{ClaimRequest, ImportReport, Transfer, check_forward};
pub use people::{NewToken, NewViewer, TokenView, ViewerView};
pub use placing::WayOut;

use crate::clock::{self, WrongClock, unix_now};
use crate::config::Sha256Hash;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::roles::remote::Remote;
use crate::roles::streamers::Streamers;
use crate::rtsp::digest::DigestServer;
use crate::rtsp::guard::{Policy, Viewer};
use crate::store::sqlite::SqliteStore;
use crate::store::{Camera, Forward, Secret, Store, StoreError, View, ViewFilter};
use access::Access;
use live::Live;
use operator::{OperatorKey, OperatorKeyError};
use outbound::Callback;
use pending::{Pending, Waiting, WrongPins};
use views::ViewLog;

/// How often expiry is looked at.
const TICK: Duration = Duration::from_secs(10);
/// The clock may drift from monotonic time by so much before rules are made anew.
const DRIFT_SECONDS: u64 = 2;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum FleetError {
    /// There is no data folder.
    #[error(
        "this gateway keeps nothing: add `data = \"/var/lib/lenscap-gateway\"` to its configuration and restart it"
    )]
    NotKept,
    /// This is a streamer.
    #[error("this is a streamer; the endpoint of its fleet decides about cameras and viewers")]
    Elsewhere,
    /// The request makes no sense.
    #[error("{0}")]
    Bad(String),
    /// There is no such thing, or not for whoever asks.
    #[error("{0}")]
    Missing(String),
    /// Something is taken.
    #[error("{0}")]
    Conflict(String),
    /// Not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// What is issued would make no sense.
    #[error(transparent)]
    Clock(#[from] WrongClock),
    /// Too many wrong PINs; seconds to wait.
    #[error("too many wrong PINs; try again in {0} s")]
    TooMany(u64),
    /// Somebody else did not answer.
    #[error("{0}")]
    Unavailable(String),
    /// A list with mistakes; nothing of it was taken.
    #[error("{} mistakes; nothing was imported", .0.len())]
    Mistakes(Vec<csv::Mistake>),
    /// The database.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for FleetError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(why) => Self::Conflict(why),
            StoreError::Missing(why) => Self::Missing(why),
            other => Self::Store(other),
        }
    }
}

/// Why there is no fleet.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operator's key.
    #[error(transparent)]
    Key(#[from] OperatorKeyError),
}

/// What the configuration file says; it does not change while the program runs.
#[derive(Debug, Default)]
pub struct Fixed {
    /// Names.
    pub cameras: Vec<String>,
    /// Key to index in `cameras`.
    pub fingerprints: BTreeMap<Sha256Hash, usize>,
    /// SHA-256 of a bearer token to index in `cameras`.
    pub tokens: BTreeMap<Sha256Hash, usize>,
    /// By user name.
    pub viewers: BTreeMap<String, Viewer>,
    /// Digest realm.
    pub realm: String,
    /// What this process does in its fleet.
    pub part: Part,
    /// Where cameras go that nobody has claimed here: this is an activation server.
    pub activation: Option<Forward>,
    /// When two boots count as two devices, instead of after [`clones::CLONE_AFTER_SECONDS`].
    pub clone_after_seconds: Option<u64>,
}

/// What this process does in its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Knows the cameras. Carries their media too, or leaves that to streamers.
    Endpoint {
        /// Where it is reached, if streamers may join.
        addresses: Option<EndpointAddresses>,
        /// How many cameras it carries itself; 0 leaves all to streamers.
        capacity: usize,
    },
    /// Carries media of cameras that the endpoint sends.
    Streamer {
        /// Its name.
        name: String,
    },
}

impl Default for Part {
    fn default() -> Self {
        Self::Endpoint {
            addresses: None,
            capacity: usize::MAX,
        }
    }
}

/// Where an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddresses {
    /// By cameras.
    pub uplink_url: String,
    /// By viewers.
    pub rtsp_url: Option<String>,
    /// By programs.
    pub http_url: Option<String>,
}

/// Camera to streamer, and whether that is written down.
#[derive(Debug, Default)]
struct Placements {
    by_camera: BTreeMap<String, String>,
    unwritten: BTreeSet<String>,
}

/// See the module.
pub struct Fleet {
    store: Arc<dyn Store>,
    kept: bool,
    fixed: Fixed,
    /// Index in `fixed.cameras` to the registry's number.
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    operator: OperatorKey,
    resume_secret: Secret,
    resume_key: hmac::Key,
    link_secret: Secret,
    nonce_key: [u8; 32],
    streamers: Streamers,
    placements: Mutex<Placements>,
    /// Cameras that came to a streamer before the rules that name them, since the last look.
    unsettled: Mutex<usize>,
    /// What a streamer was told last.
    remote: RwLock<Option<Arc<Remote>>>,
    callback: Option<Callback>,
    start: Instant,
    /// The time of day.
    clock: fn() -> u64,
    live: RwLock<Arc<Live>>,
    policy: watch::Sender<Arc<Policy>>,
    pending: Mutex<Pending>,
    wrong_pins: Mutex<WrongPins>,
    /// Held while a PIN is looked at: a wrong one counts before the next is tried.
    pin_turn: tokio::sync::Mutex<()>,
    consulted: Mutex<callback::Consulted>,
    turns: callback::Turns,
    unwritten: Mutex<noted::Unwritten>,
    clones: Mutex<clones::Clones>,
    views: ViewLog,
    /// Held while something is changed.
    change: Mutex<()>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// Over a store. `kept`: it outlives the process.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        store: Arc<dyn Store>,
        kept: bool,
        fixed: Fixed,
        callback: Option<Callback>,
        metrics: Arc<Metrics>,
        registry: Arc<Registry>,
    ) -> Result<Arc<Self>, OpenError> {
        let operator = OperatorKey::from_pkcs8(store.secret("operator", &OperatorKey::generate)?.bytes())?;
        let random = || rand::random::<[u8; 32]>().to_vec();
        let (resume_secret, link_secret) = (store.secret("resume", &random)?, store.secret("link", &random)?);
        let resume_key = hmac::Key::new(hmac::HMAC_SHA256, resume_secret.bytes());
        let placements = Placements {
            by_camera: store.placements()?.into_iter().collect(),
            unwritten: BTreeSet::new(),
        };
        let last_view = store.close_views()?;
        let start = Instant::now();
        let clone_after_seconds = fixed.clone_after_seconds.unwrap_or(clones::CLONE_AFTER_SECONDS);
        let empty = Policy {
            digest: DigestServer::new(&[0; 32], "", &[]),
            viewers: BTreeMap::new(),
            cameras: BTreeSet::new(),
            link_key: hmac::Key::new(hmac::HMAC_SHA256, link_secret.bytes()),
            link_issuers: BTreeMap::new(),
            owners: BTreeMap::new(),
            unix_start: 0,
        };
        let fleet = Self {
            views: ViewLog::start(Arc::clone(&store), last_view),
            store,
            kept,
            fixed,
            registry,
            metrics,
            operator,
            resume_secret,
            resume_key,
            link_secret,
            nonce_key: rand::random(),
            streamers: Streamers::default(),
            placements: Mutex::new(placements),
            unsettled: Mutex::default(),
            remote: RwLock::default(),
            callback,
            start,
            clock: unix_now,
            live: RwLock::default(),
            policy: watch::Sender::new(Arc::new(empty)),
            pending: Mutex::default(),
            wrong_pins: Mutex::default(),
            pin_turn: tokio::sync::Mutex::default(),
            consulted: Mutex::default(),
            turns: callback::Turns::default(),
            unwritten: Mutex::default(),
            clones: Mutex::new(clones::Clones::new(clone_after_seconds)),
            change: Mutex::default(),
        };
        fleet.reload()?;
        fleet.warn_of_shadows();
        Ok(Arc::new(fleet))
    }

    /// A fleet of the configuration alone.
    ///
    /// # Errors
    /// Only for want of memory.
    pub fn fixed_only(
        fixed: Fixed,
        metrics: Arc<Metrics>,
        registry: Arc<Registry>,
    ) -> Result<Arc<Self>, OpenError> {
        let store = Arc::new(SqliteStore::in_memory()?);
        Self::open(store, false, fixed, None, metrics, registry)
    }

    /// The start of monotonic time for the rules.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// The rules for viewers, as they change.
    #[must_use]
    pub fn policy(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.subscribe()
    }

    /// True if what is changed outlives the process.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Where it is kept, if it outlives the process.
    #[must_use]
    pub fn store(&self) -> Option<Arc<dyn Store>> {
        self.kept.then(|| Arc::clone(&self.store))
    }

    /// The operator's key.
    #[must_use]
    pub fn operator(&self) -> &OperatorKey {
        &self.operator
    }

    /// A camera of the store.
    #[must_use]
    pub fn camera(&self, name: &str) -> Option<Arc<Camera>> {
        self.live().cameras.get(name).cloned()
    }

    /// The name of a claimed key.
    #[must_use]
    pub fn name_of(&self, key: &Sha256Hash) -> Option<String> {
        self.live().keys.get(key).cloned()
    }

    /// The camera that a key has claimed.
    fn claimed_by(&self, key: &Sha256Hash) -> Option<Arc<Camera>> {
        let live = self.live();
        live.keys
            .get(key)
            .and_then(|name| live.cameras.get(name))
            .cloned()
    }

    /// All cameras of the store, by name.
    #[must_use]
    pub fn cameras(&self) -> Vec<Arc<Camera>> {
        self.live().cameras.values().cloned().collect()
    }

    /// Names of the configuration's cameras.
    #[must_use]
    pub fn fixed_cameras(&self) -> &[String] {
        &self.fixed.cameras
    }

    /// Whose a camera is: empty for the operator's own. `None` if there is no such camera.
    #[must_use]
    pub fn account_of(&self, camera: &str) -> Option<String> {
        if self.fixed.cameras.iter().any(|name| name == camera) {
            return Some(String::new());
        }
        self.live()
            .cameras
            .get(camera)
            .map(|camera| camera.account.clone())
    }

    /// True if this camera exists for whoever asks.
    #[must_use]
    pub fn sees(&self, access: &Access, camera: &str) -> bool {
        let is_fixed = self.fixed.cameras.iter().any(|name| name == camera);
        if let Some(remote) = self.remote().filter(|_| !is_fixed) {
            return access.is_unbounded() && remote.rules.cameras.contains_key(camera)
                || access.sees_by_link(camera);
        }
        self.account_of(camera)
            .is_some_and(|account| access.sees(camera, &account))
    }

    /// True if media of this camera may be given.
    #[must_use]
    pub fn may_be_watched(&self, camera: &str) -> bool {
        self.policy.borrow().cameras.contains(camera)
    }

    /// Cameras that wait to be claimed, the longest first.
    #[must_use]
    pub fn waiting(&self, now: u64) -> Vec<Waiting> {
        self.pending().list(now)
    }

    /// The right that a token gives, if it is good now.
    #[must_use]
    pub fn access(&self, token: &str, now: u64) -> Option<Access> {
        // The look-up is by the token's hash, whose time says nothing of the token.
        let token = self
            .live()
            .tokens
            .get(&crate::tls::sha256(token.as_bytes()))
            .cloned()?;
        // What has ended does not come back with a clock that has gone back.
        let good = token
            .expires
            .is_none_or(|expires| clock::is_plausible(now) && now < expires);
        good.then(|| Access::token(token))
    }

    /// Keeps looking for what has expired, until the process ends.
    pub async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            let fleet = Arc::clone(&self);
            let done = blocking(move || {
                fleet.handle_tick(unix_now());
                Ok(())
            });
            if done.await.is_err() {
                return;
            }
            let elapsed = self.start.elapsed().as_secs();
            self.look_for_clones(elapsed);
            self.consult_live(elapsed);
        }
    }

    /// Viewers and tokens that have expired drop out of the rules; the clock is looked at.
    pub fn handle_tick(&self, now: u64) {
        self.look_at_clock(now);
        self.write_placements();
        self.settle_expected();
        self.metrics
            .pending
            .set(i64::try_from(self.waiting(now).len()).unwrap_or(i64::MAX));
        let made = self.make_policy(now);
        let stale = {
            let current = self.policy.borrow();
            current.viewers.len() != made.viewers.len()
                || current.link_issuers != made.link_issuers
                || current.unix_start.abs_diff(made.unix_start) > DRIFT_SECONDS
        };
        if stale {
            self.policy.send_replace(Arc::new(made));
        }
    }

    /// Writes down that somebody watches; `None` where nothing is kept.
    #[must_use]
    pub fn begin_view(
        &self,
        camera: &str,
        profile: &str,
        user: &str,
        by: &str,
        address: &str,
    ) -> Option<View> {
        if !self.kept {
            return None;
        }
        let now = unix_now();
        let micros = i64::try_from(now.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let view = View {
            id: self.views.next_id(micros),
            camera: camera.to_owned(),
            profile: profile.to_owned(),
            user: user.to_owned(),
            by: by.to_owned(),
            address: address.to_owned(),
            began: now,
            ended: None,
            bytes: 0,
        };
        self.put_view(view.clone());
        Some(view)
    }

    /// Writes down the end of it.
    pub fn end_view(&self, view: View, bytes: u64) {
        self.put_view(View {
            ended: Some(unix_now()),
            bytes,
            ..view
        });
    }

    /// Who watched. Blocks.
    ///
    /// # Errors
    /// Of the database.
    pub fn views(&self, filter: &ViewFilter) -> Result<Vec<View>, FleetError> {
        self.views.flush();
        Ok(self.store.views(filter)?)
    }

    fn put_view(&self, view: View) {
        if !self.views.write(view) {
            self.metrics.views_lost.inc();
        }
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong_pins(&self) -> MutexGuard<'_, WrongPins> {
        self.wrong_pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must_keep(&self) -> Result<(), FleetError> {
        if matches!(self.fixed.part, Part::Streamer { .. }) {
            return Err(FleetError::Elsewhere);
        }
        if self.kept {
            Ok(())
        } else {
            Err(FleetError::NotKept)
        }
    }

    /// The time, if something may be issued.
    fn now(&self) -> Result<u64, FleetError> {
        Ok(clock::check((self.clock)())?)
    }

    fn look_at_clock(&self, now: u64) {
        let wrong = i64::from(!clock::is_plausible(now));
        if self.metrics.clock_wrong.set(wrong) == wrong {
            return;
        }
        match clock::check(now) {
            Err(wrong) => error!("{wrong}"),
            Ok(_) => info!("the clock of this machine is right again"),
        }
    }

    /// Changes the store and lets everybody see it. What is written may have a time in it, so the clock must be right.
    fn change<T>(&self, act: impl FnOnce(&dyn Store) -> Result<T, FleetError>) -> Result<T, FleetError> {
        self.now()?;
        self.change_at_any_time(act)
    }

    /// The same for what has no time in it, and must be possible with a clock that is wrong: to take rights away.
    fn change_at_any_time<T>(
        &self,
        act: impl FnOnce(&dyn Store) -> Result<T, FleetError>,
    ) -> Result<T, FleetError> {
        self.must_keep()?;
        let _turn = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let value = act(&*self.store)?;
        // It is done; that it cannot be read back does not undo it.
        if let Err(error) = self.reload() {
            error!(%error, "the database was changed, but cannot be read");
        }
        Ok(value)
    }
}

/// Runs what waits for a disk or computes for long on a thread that may.
///
/// # Errors
/// Those of `act`, or that the process stops.
pub async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, FleetError> + Send + 'static,
) -> Result<T, FleetError> {
    let stopping = |_| Err(FleetError::Unavailable("the gateway stops".to_owned()));
    tokio::task::spawn_blocking(act).await.unwrap_or_else(stopping)
}

#[cfg(test)]
mod tests;
