//! What the operator's system said, and what cameras showed of their claims, is written down many at a time: each
//! change makes all rules anew, which a system that says no to a whole fleet, or a fleet that comes back at once, must not
//! bring about for each camera.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use super::claims::write_claim;
use super::label::Labels;
use super::live::Live;
use super::{Fleet, FleetError, blocking};
use crate::config::Sha256Hash;
use crate::store::Camera;
use crate::uplink::upgrade::{HeldKey, Introduction};

/// Between two writes, in which more answers gather. The first one does not wait.
const PAUSE: Duration = Duration::from_secs(1);
/// Until what cameras showed is tried once more, if it could not be written.
const RETRY: Duration = Duration::from_secs(10);

/// What waits to be written. Each camera is in it once at most, so the fleet and the list of those that wait bound it.
#[derive(Default)]
pub(super) struct Unwritten {
    /// By name: the camera that was asked about, and whether the answer was no.
    said: BTreeMap<String, (Arc<Camera>, bool)>,
    /// By key: the claim, and whether its name is still to be found.
    claims: BTreeMap<Sha256Hash, (Camera, bool)>,
    /// By the camera's number: what counts from now on, until it is in the database. A reset may follow in the same second.
    heard: BTreeMap<i64, Heard>,
    /// There is more in `heard` than was written, or tried to be.
    is_news: bool,
    /// What cameras say that they are.
    pub(super) labels: Labels,
    /// Somebody writes.
    writes: bool,
}

/// What a camera has shown since its claim, by which a reset after it is told from one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    confirmed: bool,
    reset_before: Option<u32>,
}

impl Heard {
    fn of(camera: &Camera) -> Self {
        Self {
            confirmed: camera.confirmed,
            reset_before: camera.reset_before,
        }
    }
}

impl Unwritten {
    fn heard_of(&self, camera: &Camera) -> Heard {
        let heard = self.heard.get(&camera.id).copied();
        heard.unwrap_or_else(|| Heard::of(camera))
    }
}

impl Fleet {
    /// The operator's system has answered about a claimed camera.
    pub(super) fn note_said(self: &Arc<Self>, asked: Arc<Camera>, suspended: bool) {
        self.note(|unwritten| {
            unwritten.said.insert(asked.name.clone(), (asked, suspended));
            true
        });
    }

    /// The operator's system gives an unknown camera to somebody. Without a name it gets one that is free.
    pub(super) fn note_claim(self: &Arc<Self>, key: Sha256Hash, camera: Camera, nameless: bool) {
        self.note(|unwritten| {
            unwritten.claims.insert(key, (camera, nameless));
            true
        });
    }

    /// A camera that may be claimed has come, and this is what it says: the measure for what it says next.
    pub fn note_shown(self: &Arc<Self>, key: &Sha256Hash, said: &Introduction) {
        let Some(camera) = self.claimed_by(key) else {
            return;
        };
        self.note(|unwritten| {
            let known = unwritten.heard_of(&camera);
            let mut heard = known;
            match &said.operator {
                // Its last reset was before it was given this key, whenever that was.
                HeldKey::Id(id) if id == self.operator.id() => {
                    heard.confirmed = true;
                    heard.reset_before = said.reset.or(known.reset_before);
                }
                HeldKey::None => heard.confirmed = true,
                // It was reset before its claim, and has not got the key yet.
                HeldKey::Reset | HeldKey::Id(_) if !known.confirmed => {
                    heard.reset_before = known.reset_before.or(said.reset);
                }
                HeldKey::Reset | HeldKey::Id(_) | HeldKey::Unsaid => {}
            }
            if heard == known {
                return false;
            }
            unwritten.heard.insert(camera.id, heard);
            unwritten.is_news = true;
            true
        });
    }

    /// True if a claimed camera was reset since its claim. One that was reset before shows that until it has got the
    /// operator's key, however often its answer is lost or its power fails.
    pub(super) fn ends_claim(&self, camera: &Camera, said: &Introduction) -> bool {
        if said.operator != HeldKey::Reset {
            return false;
        }
        let heard = self.unwritten().heard_of(camera);
        match (heard.reset_before, said.reset) {
            (Some(before), Some(number)) => before != number,
            (Some(_) | None, _) => heard.confirmed,
        }
    }

    /// Forgets what was heard once it is written down, or its claim has ended.
    pub(super) fn forget_heard(&self, live: &Live) {
        let mut unwritten = self.unwritten();
        if unwritten.heard.is_empty() {
            return;
        }
        let known: BTreeMap<i64, Heard> = live
            .cameras
            .values()
            .map(|camera| (camera.id, Heard::of(camera)))
            .collect();
        let waits = |id: &i64, heard: &mut Heard| known.get(id).is_some_and(|known| known != heard);
        unwritten.heard.retain(waits);
    }

    /// Writes down what `add` puts there, if it says that it has put something.
    pub(super) fn note(self: &Arc<Self>, add: impl FnOnce(&mut Unwritten) -> bool) {
        let mut unwritten = self.unwritten();
        if !add(&mut unwritten) || std::mem::replace(&mut unwritten.writes, true) {
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
                        writer.write_labels(&batch.labels),
                    ] {
                        if let Err(error) = done {
                            error!(%error, "what is new of some cameras is not written down");
                        }
                    }
                    if batch.is_news {
                        writer.write_heard()
                    } else {
                        Ok(())
                    }
                });
                let mut pause = PAUSE;
                if let Err(error) = written.await {
                    error!(%error, "what is new of some cameras is not written down; it counts all the same");
                    fleet.unwritten().is_news = true;
                    pause = RETRY;
                }
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// What is to be written now; whoever is given nothing ends.
    fn next_batch(&self) -> Option<Unwritten> {
        let mut unwritten = self.unwritten();
        let mut batch = std::mem::take(&mut *unwritten);
        // It counts until it can be read from the database.
        unwritten.heard = std::mem::take(&mut batch.heard);
        let is_empty =
            batch.said.is_empty() && batch.claims.is_empty() && batch.labels.is_empty() && !batch.is_news;
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

    /// Writes down what is not yet, for the gateway ends. Blocks.
    pub fn flush(&self) {
        if self.unwritten().heard.is_empty() {
            return;
        }
        if let Err(error) = self.write_heard() {
            error!(%error, "what is new of some cameras is lost");
        }
    }

    /// Writes down what cameras showed. What cannot be written counts all the same. Blocks.
    fn write_heard(&self) -> Result<(), FleetError> {
        self.change_at_any_time(|store| {
            let heard = self.unwritten().heard.clone();
            let news = |camera: &Arc<Camera>| {
                let heard = heard.get(&camera.id)?;
                Some(Camera {
                    confirmed: heard.confirmed,
                    reset_before: heard.reset_before,
                    ..Camera::clone(camera)
                })
            };
            let changed: Vec<Camera> = self.live().cameras.values().filter_map(news).collect();
            Ok(store.put_cameras(&changed)?)
        })
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
