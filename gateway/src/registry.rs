//! Which cameras there are and which uplinks they have at the moment.
//!
//! A camera may have several uplinks for a while: the newest takes new sessions, an older one ends by itself
//! when the agent has drained it. The gateway closes none for another's sake, so two cameras with one cloned
//! key cannot throw each other out in a loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::uplink::link::Uplink;

/// Most uplinks of one camera at a time.
pub const MAX_UPLINKS_PER_CAMERA: usize = 8;

#[derive(Debug)]
struct Entry {
    name: String,
    /// Oldest first.
    uplinks: Mutex<Vec<Arc<Uplink>>>,
}

/// All cameras of the configuration.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    by_name: BTreeMap<String, usize>,
}

impl Registry {
    /// A registry of cameras without uplinks; a camera is known by its index in `names`.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        let entry = |name: &String| Entry {
            name: name.clone(),
            uplinks: Mutex::default(),
        };
        let by_name = names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.clone(), index))
            .collect();
        Self {
            entries: names.iter().map(entry).collect(),
            by_name,
        }
    }

    /// The index of a camera.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The name of a camera.
    #[must_use]
    pub fn name(&self, camera: usize) -> &str {
        self.entries.get(camera).map_or("", |entry| entry.name.as_str())
    }

    /// How many cameras there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any camera.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The uplinks of a camera, the newest first.
    #[must_use]
    pub fn uplinks(&self, camera: usize) -> Vec<Arc<Uplink>> {
        self.with(camera, |uplinks| uplinks.iter().rev().cloned().collect())
            .unwrap_or_default()
    }

    /// Adds an uplink; false if the camera has too many.
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

    fn with<T>(&self, camera: usize, act: impl FnOnce(&mut Vec<Arc<Uplink>>) -> T) -> Option<T> {
        let entry = self.entries.get(camera)?;
        Some(act(&mut entry
            .uplinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)))
    }
}
