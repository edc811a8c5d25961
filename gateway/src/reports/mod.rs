//! The latest audit and flows of each camera: fetched over its uplink, kept, shown, measured and exported.
//!
//! What a camera sends is bounded in size and time, and read before anything is done with it.

pub mod audit;
pub mod flows;
pub mod keep;
mod metrics;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::config::Sha256Hash;
use crate::ipfix::{Counters, Exporter, IpfixConfig};
use crate::store::Store;
use crate::tls;
use crate::uplink::link::Uplink;
use crate::uplink::requests::{AskError, ask};
use audit::{MAX_AUDIT_BYTES, Summary, Verdict};
use flows::{MAX_FLOWS_BYTES, Report, Table};
use keep::{Folder, Keep, Kept, Kind, Memory, WithStore};
use metrics::Pulls;

/// Time for a report to arrive, over a slow uplink that carries video as well.
const DEADLINE: Duration = Duration::from_secs(30);
/// How soon a camera that had no report is asked again; each time later, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(120);
/// How often a camera that was asked to look again is asked for its audit, and how many times.
const EXPECT_EVERY: Duration = Duration::from_secs(5);
const EXPECT_TIMES: u32 = 60;
/// Intervals vary by a tenth, so that a fleet that came at once does not stay in step.
const JITTER: f64 = 0.1;

/// How often reports are fetched and where they go.
#[derive(Clone, Debug)]
pub struct ReportsConfig {
    /// A folder that outlives the process.
    pub state_dir: Option<std::path::PathBuf>,
    /// Between two looks at a camera's flows.
    pub flows_every: Duration,
    /// Between two looks at its audit.
    pub audit_every: Duration,
}

impl Default for ReportsConfig {
    fn default() -> Self {
        Self {
            state_dir: None,
            flows_every: Duration::from_secs(300),
            audit_every: Duration::from_secs(3600),
        }
    }
}

#[derive(Debug)]
struct Settings {
    config: ReportsConfig,
    keep: Box<dyn Keep>,
    exporter: Option<Exporter>,
}

/// What is in memory of one camera.
#[derive(Debug, Default)]
struct Entry {
    /// Whether what was kept has been read.
    loaded: bool,
    audit_received_s: u64,
    audit_hash: Sha256Hash,
    audit: Summary,
    /// Woken when a new audit is on its way.
    expect: Arc<Notify>,
    flows_received_s: u64,
    flows: Table,
}

#[derive(Debug, Default)]
struct Inner {
    settings: OnceLock<Settings>,
    cameras: Mutex<BTreeMap<String, Entry>>,
    pulls: Pulls,
    ipfix: Counters,
}

/// The reports of all cameras. Clones share them.
#[derive(Clone, Default)]
pub struct Reports {
    inner: Arc<Inner>,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

impl Reports {
    /// Says where reports go; without this they stay in memory. Audits go to `store`, where there is one. The export
    /// starts in the background.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn start(
        &self,
        config: ReportsConfig,
        ipfix: Option<IpfixConfig>,
        store: Option<Arc<dyn Store>>,
    ) -> io::Result<()> {
        let folder = config.state_dir.clone().map(Folder::new).transpose()?;
        let keep: Box<dyn Keep> = match (folder, store) {
            (Some(folder), Some(store)) => Box::new(WithStore::new(store, folder)),
            (Some(folder), None) => Box::new(folder),
            (None, _) => Box::new(Memory::default()),
        };
        let exporter = ipfix.map(|ipfix| Exporter::start(ipfix, self.inner.ipfix.clone()));
        // Only the first call counts.
        let _ = self.inner.settings.set(Settings {
            config,
            keep,
            exporter,
        });
        Ok(())
    }

    /// Metrics of reports, of the export, and of what audits said.
    #[must_use]
    pub fn registry(&self) -> Registry {
        metrics::registry(&self.inner)
    }

    /// Fetches reports for as long as the uplink is up.
    pub async fn follow(self, camera: String, uplink: Weak<Uplink>) {
        self.load(&camera).await;
        let every = {
            let config = &self.settings().config;
            [config.flows_every, config.audit_every]
        };
        let (expect, audit_received_s) = {
            let mut cameras = self.cameras();
            let entry = cameras.entry(camera.clone()).or_default();
            (Arc::clone(&entry.expect), entry.audit_received_s)
        };
        let mut due = [Instant::now(); 2];
        // Many cameras may come back at once, and most audits are as they were.
        let age = Duration::from_secs(now().as_secs().saturating_sub(audit_received_s));
        due[1] += every[1].saturating_sub(age);
        let mut retry = [FIRST_RETRY; 2];
        let mut expected = 0;
        loop {
            for (index, kind) in Kind::ALL.into_iter().enumerate() {
                if due[index] > Instant::now() {
                    continue;
                }
                let Some(uplink) = uplink.upgrade() else {
                    return;
                };
                let before = self.audit_hash(&camera);
                let pull = match kind {
                    Kind::Flows => self.pull_flows(&camera, &uplink).await,
                    Kind::Audit => self.pull_audit(&camera, &uplink).await,
                };
                self.inner.pulls.count(kind, pull);
                let mut pause = every[index];
                if pull == Pull::Ok {
                    retry[index] = FIRST_RETRY;
                } else {
                    pause = retry[index].min(pause);
                    retry[index] = pause.saturating_mul(2);
                }
                if kind == Kind::Audit && expected > 0 {
                    let has_come = self.audit_hash(&camera) != before;
                    expected = if has_come { 0 } else { expected - 1 };
                    if !has_come {
                        pause = EXPECT_EVERY.min(pause);
                    }
                }
                let jitter = 1.0 + JITTER * (2.0 * rand::random::<f64>() - 1.0);
                due[index] = Instant::now() + pause.mul_f64(jitter);
            }
            // A strong reference would keep the uplink open.
            tokio::select! {
                () = sleep_until(due[0].min(due[1])) => {}
                () = expect.notified() => {
                    expected = EXPECT_TIMES;
                    due[1] = due[1].min(Instant::now() + EXPECT_EVERY);
                }
            }
        }
    }

    /// A new audit is on its way: the camera is asked for it until it has come.
    pub fn expect_audit(&self, camera: &str) {
        if let Some(entry) = self.cameras().get(camera) {
            entry.expect.notify_one();
        }
    }

    /// Forgets a camera: it is somebody else's from now on.
    pub fn forget(&self, camera: &str) {
        self.cameras().remove(camera);
        let Some(settings) = self.inner.settings.get() else {
            return;
        };
        for kind in Kind::ALL {
            if let Err(error) = settings.keep.remove(camera, kind) {
                warn!(camera, kind = kind.as_str(), %error, "a report cannot be removed");
            }
        }
    }

    fn audit_hash(&self, camera: &str) -> Sha256Hash {
        self.cameras()
            .get(camera)
            .map(|entry| entry.audit_hash)
            .unwrap_or_default()
    }

    /// The last audit, as the camera sent it, and when it came, in seconds since 1970.
    pub async fn audit(&self, camera: &str) -> Option<Kept> {
        match self.read(camera, Kind::Audit).await {
            Ok(kept) => kept,
            Err(error) => {
                warn!(camera, %error, "audit cannot be read");
                None
            }
        }
    }

    /// The flows, and when they came, in seconds since 1970.
    pub async fn flows(&self, camera: &str) -> Option<(u64, Table)> {
        self.load(camera).await;
        let cameras = self.cameras();
        let entry = cameras.get(camera)?;
        (entry.flows_received_s > 0).then(|| (entry.flows_received_s, entry.flows.clone()))
    }

    fn settings(&self) -> &Settings {
        self.inner.settings.get_or_init(|| Settings {
            config: ReportsConfig::default(),
            keep: Box::new(Memory::default()),
            exporter: None,
        })
    }

    fn cameras(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.inner.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pull_flows(&self, camera: &str, uplink: &Uplink) -> Pull {
        let since = self.cameras().get(camera).map_or(0, |entry| entry.flows.cursor());
        let mut report = match ask_flows(uplink, since).await {
            Ok(report) => report,
            Err(pull) => return pull,
        };
        let is_stranger = |report: &Report| {
            let cameras = self.cameras();
            cameras
                .get(camera)
                .is_some_and(|entry| entry.flows.is_stranger(report))
        };
        if is_stranger(&report) {
            report = match ask_flows(uplink, 0).await {
                Ok(report) => report,
                Err(pull) => return pull,
            };
        }
        let now = now();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let (records, lines) = {
            let mut cameras = self.cameras();
            let entry = cameras.entry(camera.to_owned()).or_default();
            let before_ms = entry.flows_received_s.saturating_mul(1000);
            let records = entry.flows.absorb(report, now_ms, before_ms);
            entry.flows_received_s = now.as_secs();
            (records, entry.flows.to_lines())
        };
        // Kept first: what is exported twice is worse than what is lost.
        self.write(camera, Kind::Flows, now.as_secs(), lines).await;
        if let Some(exporter) = &self.settings().exporter {
            exporter.send(camera, records);
        }
        Pull::Ok
    }

    async fn pull_audit(&self, camera: &str, uplink: &Uplink) -> Pull {
        let body = match fetch(uplink, "/audit", MAX_AUDIT_BYTES).await {
            Ok(body) => body,
            Err(pull) => return pull,
        };
        let summary = match Summary::parse(&body) {
            Ok(summary) => summary,
            Err(error) => {
                warn!(camera, %error, "the camera's audit is of no use");
                return Pull::Bad;
            }
        };
        let (hash, received_s) = (tls::sha256(&body), now().as_secs());
        let (is_same, has_changed) = {
            let mut cameras = self.cameras();
            let entry = cameras.entry(camera.to_owned()).or_default();
            let outcome = (entry.audit_hash == hash, entry.audit != summary);
            entry.audit_hash = hash;
            entry.audit_received_s = received_s;
            entry.audit = summary.clone();
            outcome
        };
        if has_changed {
            let count = |wanted| {
                let of_it = summary.rules.iter().filter(|(_, verdict)| *verdict == wanted);
                of_it.count()
            };
            let (fail, unknown) = (count(Verdict::Fail), count(Verdict::Unknown));
            info!(
                camera,
                rules = summary.rules.len(),
                fail,
                unknown,
                "audit changed"
            );
        }
        if !is_same {
            self.write(camera, Kind::Audit, received_s, body.to_vec()).await;
        }
        Pull::Ok
    }

    /// Reads what was kept of a camera, once.
    async fn load(&self, camera: &str) {
        if self.cameras().get(camera).is_some_and(|entry| entry.loaded) {
            return;
        }
        let mut entry = Entry {
            loaded: true,
            ..Entry::default()
        };
        match self.read(camera, Kind::Audit).await {
            Ok(Some((received_s, body))) => match Summary::parse(&body) {
                Ok(summary) => {
                    entry.audit = summary;
                    entry.audit_hash = tls::sha256(&body);
                    entry.audit_received_s = received_s;
                }
                Err(error) => warn!(camera, %error, "the audit that was kept is damaged"),
            },
            Ok(None) => {}
            Err(error) => warn!(camera, %error, "the audit that was kept cannot be read"),
        }
        match self.read(camera, Kind::Flows).await {
            Ok(Some((received_s, lines))) => match Table::from_lines(&lines) {
                Ok(table) => {
                    entry.flows = table;
                    entry.flows_received_s = received_s;
                }
                Err(error) => warn!(camera, %error, "the flows that were kept are damaged"),
            },
            Ok(None) => {}
            Err(error) => warn!(camera, %error, "the flows that were kept cannot be read"),
        }
        let mut cameras = self.cameras();
        let known = cameras.entry(camera.to_owned()).or_default();
        if !known.loaded {
            *known = entry;
        }
    }

    async fn read(&self, camera: &str, kind: Kind) -> io::Result<Option<Kept>> {
        let (reports, name) = (self.clone(), camera.to_owned());
        let loaded = spawn_blocking(move || reports.settings().keep.load(&name, kind)).await;
        loaded.map_err(io::Error::other)?
    }

    async fn write(&self, camera: &str, kind: Kind, received_s: u64, report: Vec<u8>) {
        let (reports, name) = (self.clone(), camera.to_owned());
        let save = move || {
            let keep = &reports.settings().keep;
            keep.save(&name, kind, received_s, &report)?;
            // Forgotten meanwhile: it is not to be found by who has the name next.
            if !reports.cameras().contains_key(&name) {
                keep.remove(&name, kind)?;
            }
            Ok(())
        };
        let saved = spawn_blocking(save).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(io::Error::other(error))) {
            warn!(camera, kind = kind.as_str(), %error, "a report cannot be kept");
        }
    }
}

/// What became of asking a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pull {
    /// A report came.
    Ok,
    /// The camera has none, or its configuration does not give it away.
    None,
    /// What came is no report, or too large.
    Bad,
    /// Nothing came in time.
    Failed,
}

async fn ask_flows(uplink: &Uplink, since: u64) -> Result<Report, Pull> {
    let body = fetch(uplink, &format!("/flows?since={since}"), MAX_FLOWS_BYTES).await?;
    Report::parse(&body).map_err(|error| {
        warn!(%error, "a camera's flows are of no use");
        Pull::Bad
    })
}

async fn fetch(uplink: &Uplink, path: &str, max_bytes: usize) -> Result<Bytes, Pull> {
    match ask(uplink, Method::GET, path, None, max_bytes, DEADLINE).await {
        Ok(response) if response.status() == StatusCode::OK => Ok(response.into_body()),
        Ok(response) => {
            debug!(path, status = %response.status(), "no report");
            Err(Pull::None)
        }
        Err(error @ AskError::TooLarge) => {
            warn!(path, %error, "a camera's report is too large");
            Err(Pull::Bad)
        }
        Err(error) => {
            debug!(path, %error, "no report");
            Err(Pull::Failed)
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is so slow that the camera is forgotten while it writes.
    #[derive(Debug)]
    struct Slow(Arc<Memory>, OnceLock<Reports>);

    impl Keep for Slow {
        fn load(&self, camera: &str, kind: Kind) -> io::Result<Option<Kept>> {
            self.0.load(camera, kind)
        }

        fn save(&self, camera: &str, kind: Kind, received_s: u64, report: &[u8]) -> io::Result<()> {
            if let Some(reports) = self.1.get() {
                reports.forget(camera);
            }
            self.0.save(camera, kind, received_s, report)
        }

        fn remove(&self, camera: &str, kind: Kind) -> io::Result<()> {
            self.0.remove(camera, kind)
        }
    }

    #[tokio::test]
    async fn a_camera_that_is_forgotten_while_its_report_is_written_leaves_none() {
        for is_forgotten in [false, true] {
            let (reports, memory) = (Reports::default(), Arc::new(Memory::default()));
            let slow = Slow(Arc::clone(&memory), OnceLock::new());
            if is_forgotten {
                let _ = slow.1.set(reports.clone());
            }
            let settings = Settings {
                config: ReportsConfig::default(),
                keep: Box::new(slow),
                exporter: None,
            };
            assert!(reports.inner.settings.set(settings).is_ok());
            reports.load("front").await;
            for kind in Kind::ALL {
                reports.write("front", kind, 1, b"report".to_vec()).await;
                assert_eq!(memory.load("front", kind).unwrap().is_none(), is_forgotten);
            }
        }
    }
}
