//! Which cameras there are and which uplinks they have at the moment.
//!
//! A camera may have several uplinks for a while: the newest takes new sessions, an older one ends by itself
//! when the agent has drained it. The gateway closes none for another's sake, so two cameras with one cloned
//! key cannot throw each other out in a loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use crate::uplink::link::Uplink;

/// Most uplinks of one camera at a time.
pub const MAX_UPLINKS_PER_CAMERA: usize = 8;

#[derive(Debug)]
struct Entry {
    name: String,
    /// Oldest first.
    uplinks: Mutex<Vec<Arc<Uplink>>>,
    /// When two devices with its key were seen; 0 for never.
    cloned: AtomicU64,
}

impl Entry {
    fn boots(&self, within: Duration) -> Vec<String> {
        let uplinks = self.uplinks.lock().unwrap_or_else(PoisonError::into_inner);
        let boots: BTreeSet<&str> = uplinks
            .iter()
            .filter(|uplink| uplink.last_received().elapsed() < within)
            .filter_map(|uplink| uplink.boot())
            .collect();
        boots.into_iter().map(str::to_owned).collect()
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<usize, Arc<Entry>>,
    by_name: BTreeMap<String, usize>,
    next: usize,
}

impl Inner {
    fn add(&mut self, name: &str) {
        if self.by_name.contains_key(name) {
            return;
        }
        let index = self.next;
        self.next += 1;
        self.by_name.insert(name.to_owned(), index);
        let entry = Entry {
            name: name.to_owned(),
            uplinks: Mutex::default(),
            cloned: AtomicU64::new(0),
        };
        self.entries.insert(index, Arc::new(entry));
    }
}

/// All cameras that may connect.
#[derive(Debug, Default)]
pub struct Registry(RwLock<Inner>);

impl Registry {
    /// Makes the cameras those of `names`: new ones have no uplinks, the uplinks of those that are gone end.
    pub fn sync(&self, names: &BTreeSet<String>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<usize> = inner
            .by_name
            .iter()
            .filter(|(name, _)| !names.contains(*name))
            .map(|(_, index)| *index)
            .collect();
        for index in gone {
            if let Some(entry) = inner.entries.remove(&index) {
                inner.by_name.remove(&entry.name);
                end_all(&entry);
            }
        }
        for name in names {
            inner.add(name);
        }
    }

    /// Adds one camera, if it is not there.
    pub fn add(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).add(name);
    }

    /// The number of a camera. Numbers are not used again.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.inner().by_name.get(name).copied()
    }

    /// The name of a camera.
    #[must_use]
    pub fn name(&self, camera: usize) -> String {
        self.entry(camera)
            .map(|entry| entry.name.clone())
            .unwrap_or_default()
    }

    /// All cameras by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.inner().by_name.keys().cloned().collect()
    }

    /// The uplinks of a camera, the newest first.
    #[must_use]
    pub fn uplinks(&self, camera: usize) -> Vec<Arc<Uplink>> {
        self.with(camera, |uplinks| uplinks.iter().rev().cloned().collect())
            .unwrap_or_default()
    }

    /// All uplinks with their cameras' names.
    #[must_use]
    pub fn all_uplinks(&self) -> Vec<(String, Arc<Uplink>)> {
        let entries: Vec<Arc<Entry>> = self.inner().entries.values().cloned().collect();
        let mut all = Vec::new();
        for entry in &entries {
            let uplinks = entry.uplinks.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                uplinks
                    .iter()
                    .map(|uplink| (entry.name.clone(), Arc::clone(uplink))),
            );
        }
        all
    }

    /// The cameras that have an uplink.
    #[must_use]
    pub fn online(&self) -> Vec<String> {
        let entries: Vec<Arc<Entry>> = self.inner().entries.values().cloned().collect();
        let up = |entry: &&Arc<Entry>| {
            !entry
                .uplinks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
        };
        entries
            .iter()
            .filter(up)
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// Adds an uplink; false if the camera has too many, or is gone.
    #[must_use]
    pub fn attach(&self, camera: usize, uplink: Arc<Uplink>) -> bool {
        self.with(camera, |uplinks| {
            let room = uplinks.len() < MAX_UPLINKS_PER_CAMERA;
            if room {
                uplinks.push(uplink);
            }
            room
        })
        .unwrap_or(false)
    }

    /// Takes an uplink out.
    pub fn detach(&self, camera: usize, id: u64) {
        self.with(camera, |uplinks| uplinks.retain(|uplink| uplink.id() != id));
    }

    /// Ends the uplinks of a camera.
    pub fn end(&self, name: &str) {
        if let Some(entry) = self.index(name).and_then(|index| self.entry(index)) {
            end_all(&entry);
        }
    }

    /// The boots of a camera's devices that have answered within this time.
    #[must_use]
    pub fn boots(&self, name: &str, within: Duration) -> Vec<String> {
        let entry = self.index(name).and_then(|index| self.entry(index));
        entry.map(|entry| entry.boots(within)).unwrap_or_default()
    }

    /// The cameras of which more than one boot has answered within this time.
    #[must_use]
    pub fn of_two_boots(&self, within: Duration) -> Vec<(String, Vec<String>)> {
        let entries: Vec<Arc<Entry>> = self.inner().entries.values().cloned().collect();
        let boots = entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.boots(within)));
        boots.filter(|(_, boots)| boots.len() > 1).collect()
    }

    /// The cameras that are known to be there twice.
    #[must_use]
    pub fn clones(&self) -> Vec<String> {
        let inner = self.inner();
        let cloned = inner
            .entries
            .values()
            .filter(|entry| entry.cloned.load(Ordering::Relaxed) > 0);
        cloned.map(|entry| entry.name.clone()).collect()
    }

    /// Remembers that a camera is there twice; false if that is known already.
    pub fn set_cloned(&self, camera: usize, now: u64) -> bool {
        self.entry(camera)
            .is_some_and(|entry| entry.cloned.swap(now, Ordering::Relaxed) == 0)
    }

    /// Since when a camera is known to be there twice.
    #[must_use]
    pub fn cloned(&self, camera: usize) -> Option<u64> {
        let since = self.entry(camera)?.cloned.load(Ordering::Relaxed);
        (since > 0).then_some(since)
    }

    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, camera: usize) -> Option<Arc<Entry>> {
        self.inner().entries.get(&camera).cloned()
    }

    fn with<T>(&self, camera: usize, act: impl FnOnce(&mut Vec<Arc<Uplink>>) -> T) -> Option<T> {
        // Under the map's lock, so that no uplink is added to a camera that has just gone.
        let inner = self.inner();
        let entry = inner.entries.get(&camera)?;
        Some(act(&mut entry
            .uplinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)))
    }
}

fn end_all(entry: &Entry) {
    for uplink in entry
        .uplinks
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
    {
        uplink.end();
    }
}
