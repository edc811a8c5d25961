//! What the operator's system said, and which cameras hold the operator's key, is written down many at a time: each
//! change makes all rules anew, which a system that says no to a whole fleet, or a fleet that comes back at once, must not
//! bring about for each camera.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use super::claims::write_claim;
use super::{Fleet, FleetError, blocking};
use crate::config::Sha256Hash;
use crate::store::Camera;

/// Between two writes, in which more answers gather. The first one does not wait.
const PAUSE: Duration = Duration::from_secs(1);

/// What waits to be written. Each camera is in it once at most, so the fleet and the list of those that wait bound it.
#[derive(Default)]
pub(super) struct Unwritten {
    /// By name: the camera that was asked about, and whether the answer was no.
    said: BTreeMap<String, (Arc<Camera>, bool)>,
    /// By key: the claim, and whether its name is still to be found.
    claims: BTreeMap<Sha256Hash, (Camera, bool)>,
    /// By name, and which one of that name it is: cameras that hold the operator's key.
    confirmed: BTreeMap<String, i64>,
    /// Somebody writes.
    writes: bool,
}

impl Fleet {
    /// The operator's system has answered about a claimed camera.
    pub(super) fn note_said(self: &Arc<Self>, asked: Arc<Camera>, suspended: bool) {
        self.note(|unwritten| {
            unwritten.said.insert(asked.name.clone(), (asked, suspended));
        });
    }

    /// The operator's system gives an unknown camera to somebody. Without a name it gets one that is free.
    pub(super) fn note_claim(self: &Arc<Self>, key: Sha256Hash, camera: Camera, nameless: bool) {
        self.note(|unwritten| {
            unwritten.claims.insert(key, (camera, nameless));
        });
    }

    /// A claimed camera has shown that it holds the operator's key.
    pub fn note_confirmed(self: &Arc<Self>, name: &str) {
        let Some(camera) = self.camera(name) else { return };
        self.note(|unwritten| {
            unwritten.confirmed.insert(camera.name.clone(), camera.id);
        });
    }

    fn note(self: &Arc<Self>, add: impl FnOnce(&mut Unwritten)) {
        let mut unwritten = self.unwritten();
        add(&mut unwritten);
        if std::mem::replace(&mut unwritten.writes, true) {
            return;
        }
        let fleet = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(batch) = fleet.next_batch() {
                let writer = Arc::clone(&fleet);
                let written = blocking(move || {
                    // None is a hindrance to the others.
                    for done in [
                        writer.write_said(&batch.said),
                        writer.write_claims(batch.claims),
                        writer.write_confirmed(&batch.confirmed),
                    ] {
                        if let Err(error) = done {
                            error!(%error, "what is new of some cameras is not written down");
                        }
                    }
                    Ok(())
                });
                if let Err(error) = written.await {
                    error!(%error, "what is new of some cameras is not written down");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// What is to be written now; whoever is given nothing ends.
    fn next_batch(&self) -> Option<Unwritten> {
        let mut unwritten = self.unwritten();
        let batch = std::mem::take(&mut *unwritten);
        let is_empty = batch.said.is_empty() && batch.claims.is_empty() && batch.confirmed.is_empty();
        unwritten.writes = !is_empty;
        unwritten.writes.then_some(batch)
    }

    /// Writes answers down, but for cameras that have changed hands since they were asked about. Blocks.
    fn write_said(&self, said: &BTreeMap<String, (Arc<Camera>, bool)>) -> Result<(), FleetError> {
        let news = |(asked, suspended): &(Arc<Camera>, bool)| {
            let now = self.camera(&asked.name)?;
            let same = now.id == asked.id && now.account == asked.account;
            (same && now.suspended != *suspended).then(|| Camera {
                suspended: *suspended,
                ..Camera::clone(&now)
            })
        };
        let mut written = Ok(Vec::new());
        if said.values().any(|said| news(said).is_some()) {
            written = self.change_at_any_time(|store| {
                let changed: Vec<Camera> = said.values().filter_map(news).collect();
                store.put_cameras(&changed)?;
                Ok(changed)
            });
            for camera in written.iter().flatten() {
                let said = if camera.suspended {
                    "suspended"
                } else {
                    "allowed again"
                };
                info!(camera = camera.name, "{said} by the operator's system");
            }
        }
        // A no ends the uplink even if it could not be written down.
        let refused = said.iter().filter(|(_, (_, suspended))| *suspended);
        for (name, _) in refused.filter(|(name, said)| self.is_suspended(name) || news(said).is_some()) {
            self.registry.end(name);
        }
        written.map(drop)
    }

    /// Writes claims down; one that cannot be made is no hindrance to the others. Blocks.
    fn write_claims(&self, claims: BTreeMap<Sha256Hash, (Camera, bool)>) -> Result<(), FleetError> {
        if claims.is_empty() {
            return Ok(());
        }
        let made = self.change(|store| {
            let mut made: Vec<Camera> = Vec::new();
            let mut names = BTreeSet::new();
            for (key, (mut camera, nameless)) in claims {
                if nameless {
                    camera.name = self.free_name_beside(camera.serial.as_deref(), &key, &names);
                }
                let written = self
                    .check_claim(&camera)
                    .and_then(|()| write_claim(store, &camera));
                match written {
                    Ok(()) => {
                        names.insert(camera.name.clone());
                        made.push(camera);
                    }
                    Err(error) => {
                        warn!(camera = camera.name, %error, "given by the operator's system, but not claimed");
                    }
                }
            }
            Ok(made)
        })?;
        for camera in made {
            self.note_claimed(&camera);
        }
        Ok(())
    }

    /// Writes down who holds the key, but for cameras that have changed hands meanwhile. Blocks.
    fn write_confirmed(&self, noted: &BTreeMap<String, i64>) -> Result<(), FleetError> {
        let news = |(name, id): (&String, &i64)| {
            let camera = self.camera(name)?;
            if camera.confirmed || camera.id != *id {
                return None;
            }
            Some(Camera {
                confirmed: true,
                ..Camera::clone(&camera)
            })
        };
        if !noted.iter().any(|noted| news(noted).is_some()) {
            return Ok(());
        }
        self.change(|store| {
            let changed: Vec<Camera> = noted.iter().filter_map(news).collect();
            Ok(store.put_cameras(&changed)?)
        })
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
