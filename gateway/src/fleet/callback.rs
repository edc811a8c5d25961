//! The operator's own system decides, where there is one: signed questions to one address ([`super::outbound`]).
//!
//! New claims wait for its answer and fail without one. A claimed camera is let in at once and asked about
//! behind that; without an answer, the last one holds, so that a billing system that is down darkens no camera.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::admit::fingerprint_text;
use super::outbound::{Answer, Question};
use super::pending::Applicant;
use super::{Fleet, FleetError};
use crate::clock::unix_now;
use crate::config::{Sha256Hash, is_name};
use crate::store::{Camera, Method};

/// How long an answer about a claimed camera holds before it is asked again.
const HOLDS_SECONDS: u64 = 3600;
/// How long a no holds: a bill that was paid should show soon.
const NO_HOLDS_SECONDS: u64 = 240;
/// An unknown camera is asked about no more often than this.
const PENDING_SECONDS: u64 = 60;
/// Most unknown cameras that are remembered as asked about.
const MAX_ASKED: usize = 8192;

/// What was asked and answered lately.
#[derive(Debug, Default)]
pub(super) struct Consulted {
    /// Camera to when it was last asked about.
    cameras: BTreeMap<String, u64>,
    suspended: BTreeSet<String>,
    unknown: BTreeMap<Sha256Hash, u64>,
}

impl Fleet {
    /// True if the operator's system has said no to this camera.
    #[must_use]
    pub fn is_suspended(&self, camera: &str) -> bool {
        self.callback.is_some() && self.consulted().suspended.contains(camera)
    }

    /// Asks about a claimed camera that has come or was refused, unless an answer still holds.
    pub fn consult(self: &Arc<Self>, name: &str) {
        let Some(camera) = self.camera(name).filter(|_| self.callback.is_some()) else {
            return;
        };
        let now = unix_now();
        {
            let mut consulted = self.consulted();
            let holds = if consulted.suspended.contains(name) {
                NO_HOLDS_SECONDS
            } else {
                HOLDS_SECONDS
            };
            let asked = consulted.cameras.get(name);
            if asked.is_some_and(|asked| now.saturating_sub(*asked) < holds) {
                return;
            }
            consulted.cameras.insert(name.to_owned(), now);
        }
        let fleet = Arc::clone(self);
        tokio::spawn(async move { fleet.ask_about_claimed(&camera).await });
    }

    async fn ask_about_claimed(&self, camera: &Camera) {
        let question = Question {
            event: "connect",
            fingerprint: camera.fingerprint.as_ref().map(fingerprint_text),
            serial: camera.serial.as_deref(),
            model: camera.model.as_deref(),
            camera: Some(&camera.name),
            account: Some(&camera.account),
        };
        match self.ask(&question).await {
            Ok(Answer { allow: true, .. }) => {
                if self.consulted().suspended.remove(&camera.name) {
                    info!(camera = camera.name, "allowed again by the operator's system");
                }
            }
            Ok(Answer { allow: false, .. }) => {
                if self.consulted().suspended.insert(camera.name.clone()) {
                    info!(camera = camera.name, "suspended by the operator's system");
                }
                self.registry.end(&camera.name);
            }
            Err(error) => warn!(camera = camera.name, %error, "the last answer holds"),
        }
    }

    /// Asks about an unknown camera; a yes claims it.
    pub fn offer(self: &Arc<Self>, applicant: &Applicant) {
        if self.callback.is_none() {
            return;
        }
        let now = unix_now();
        {
            let unknown = &mut self.consulted().unknown;
            if unknown
                .get(&applicant.fingerprint)
                .is_some_and(|asked| now.saturating_sub(*asked) < PENDING_SECONDS)
            {
                return;
            }
            if unknown.len() >= MAX_ASKED {
                unknown.retain(|_, asked| now.saturating_sub(*asked) < PENDING_SECONDS);
            }
            if unknown.len() >= MAX_ASKED {
                return;
            }
            unknown.insert(applicant.fingerprint, now);
        }
        let (fleet, applicant) = (Arc::clone(self), applicant.clone());
        tokio::spawn(async move {
            if let Err(error) = fleet.ask_about_unknown(applicant, now).await {
                warn!(%error, "the operator's system was asked about an unknown camera, which stays unclaimed");
            }
        });
    }

    async fn ask_about_unknown(self: &Arc<Self>, applicant: Applicant, now: u64) -> Result<(), FleetError> {
        let question = Question {
            event: "pending",
            fingerprint: Some(fingerprint_text(&applicant.fingerprint)),
            serial: applicant.serial.as_deref(),
            model: applicant.model.as_deref(),
            camera: None,
            account: None,
        };
        let answer = self.ask(&question).await?;
        if !answer.allow {
            return Ok(());
        }
        let name = match &answer.name {
            Some(name) => name.clone(),
            None => self.free_name(applicant.serial.as_deref(), &applicant.fingerprint),
        };
        let account = answer.account.unwrap_or_default();
        let mut camera = Camera::claimed(&name, &account, applicant.fingerprint, Method::Callback, now);
        camera.serial = applicant.serial;
        camera.model = applicant.model;
        let fleet = Arc::clone(self);
        super::blocking(move || fleet.put_claim(camera)).await
    }

    /// Waits for the operator's system to agree to a claim; it may name another account or name.
    pub(super) async fn agree(&self, camera: &mut Camera) -> Result<(), FleetError> {
        if self.callback.is_none() {
            return Ok(());
        }
        let question = Question {
            event: "claim",
            fingerprint: camera.fingerprint.as_ref().map(fingerprint_text),
            serial: camera.serial.as_deref(),
            model: camera.model.as_deref(),
            camera: Some(&camera.name),
            account: Some(&camera.account),
        };
        let answer = self.ask(&question).await?;
        if !answer.allow {
            let why = "the operator's system does not allow this claim".to_owned();
            return Err(FleetError::Forbidden(why));
        }
        if let Some(account) = answer.account {
            camera.account = account;
        }
        if let Some(name) = answer.name {
            camera.name = name;
        }
        Ok(())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Answer, FleetError> {
        let nobody = || FleetError::Unavailable("there is no system to ask".to_owned());
        let callback = self.callback.as_ref().ok_or_else(nobody)?;
        let answer = callback.ask(unix_now(), question).await.map_err(|error| {
            FleetError::Unavailable(format!(
                "the operator's system does not answer ({error}); nothing was claimed"
            ))
        })?;
        let good = |text: &Option<String>, empty_too: bool| {
            text.as_ref()
                .is_none_or(|text| is_name(text) || (empty_too && text.is_empty()))
        };
        if good(&answer.name, false) && good(&answer.account, true) {
            Ok(answer)
        } else {
            let why = "the operator's system answered with a name or account that cannot be one".to_owned();
            Err(FleetError::Unavailable(why))
        }
    }

    /// Forgets what was answered about a camera that is gone or changed hands.
    pub(super) fn forget_answers(&self, name: &str) {
        let mut consulted = self.consulted();
        consulted.cameras.remove(name);
        consulted.suspended.remove(name);
    }

    fn consulted(&self) -> MutexGuard<'_, Consulted> {
        self.consulted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
