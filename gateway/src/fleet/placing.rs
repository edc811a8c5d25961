//! Which streamer carries which camera, at the endpoint; what a streamer takes, at a streamer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::{debug, warn};

use super::admit::Admission;
use super::operator::Ticket;
use super::pending::Applicant;
use super::resume::Resume;
use super::{EndpointAddresses, Fleet, FleetError, Part, Placements};
use crate::clock::{self, unix_now};
use crate::config::Sha256Hash;
use crate::roles::message::{Hello, RuleViewer, Rules, ToStreamer};
use crate::roles::remote::{Remote, reply_fields};
use crate::roles::streamers::{MAX_ALTERNATES, Placed, StreamerView, Streamers};
use crate::rtsp::digest::hex;
use crate::uplink::upgrade::Introduction;

/// Where a camera goes when a process stops.
#[derive(Clone, PartialEq, Eq)]
pub enum WayOut {
    /// To its endpoint, which sends it on.
    Endpoint,
    /// To this address, with a ticket.
    Streamer(String),
    /// Nowhere.
    None,
}

impl fmt::Debug for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoint => "Endpoint",
            Self::Streamer(_) => "Streamer",
            Self::None => "None",
        })
    }
}

impl Fleet {
    /// The streamers that have joined.
    #[must_use]
    pub fn streamers(&self) -> &Streamers {
        &self.streamers
    }

    /// The streamers as shown.
    #[must_use]
    pub fn list_streamers(&self) -> Vec<StreamerView> {
        self.streamers.list()
    }

    /// True if cameras can go elsewhere when this process stops.
    #[must_use]
    pub fn has_elsewhere(&self) -> bool {
        match &self.fixed.part {
            Part::Streamer { .. } => true,
            Part::Endpoint { .. } => !self.streamers.addresses().is_empty(),
        }
    }

    /// Where a camera goes when this process stops.
    #[must_use]
    pub fn way_out(&self, now: u64, name: &str) -> WayOut {
        if matches!(self.fixed.part, Part::Streamer { .. }) {
            return WayOut::Endpoint;
        }
        let Some(camera) = self.camera(name) else {
            return WayOut::None;
        };
        let Some(key) = camera.fingerprint.filter(|_| clock::is_plausible(now)) else {
            return WayOut::None;
        };
        match self.streamers.place(now, name, None, None) {
            Placed::There(list) => list.first().map_or(WayOut::None, |hello| {
                self.remember(name, &hello.name);
                WayOut::Streamer(self.ticket_url(now, name, &key, camera.operator_proof.as_ref(), hello))
            }),
            Placed::Here | Placed::Nowhere => WayOut::None,
        }
    }

    /// What a streamer was told last.
    #[must_use]
    pub fn remote(&self) -> Option<Arc<Remote>> {
        self.remote.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A streamer was told something new.
    pub fn set_remote(&self, remote: Arc<Remote>) {
        let _turn = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self
            .remote
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(Arc::clone(&remote));
        if let Err(error) = self.reload() {
            warn!(%error, "the database cannot be read");
        }
        let renamed = before.iter().flat_map(|before| before.rules.keys.iter());
        let renamed = renamed.filter(|(camera, keys)| keys.iter().any(|key| remote.is_anothers(camera, key)));
        for camera in remote
            .rules
            .suspended
            .iter()
            .chain(renamed.map(|(camera, _)| camera))
        {
            self.registry.end(camera);
        }
    }

    /// Where viewers find a camera that is not here: the base of RTSP and of HTTP addresses there.
    #[must_use]
    pub fn elsewhere(&self, camera: &str) -> Option<(Option<String>, Option<String>)> {
        if let Some(remote) = self.remote() {
            let rules = &remote.rules;
            return Some((rules.endpoint_rtsp_url.clone(), rules.endpoint_http_url.clone()));
        }
        self.streamers
            .locate(camera)
            .map(|hello| (hello.rtsp_url, hello.http_url))
    }

    /// The streamer that has a camera.
    #[must_use]
    pub fn streamer_of(&self, camera: &str) -> Option<String> {
        self.streamers.locate(camera).map(|hello| hello.name)
    }

    /// Sends a camera to a streamer, or elsewhere. True if the streamer that has it was told; false if it is here.
    ///
    /// # Errors
    /// No such streamer, or the one that has the camera does not listen.
    pub fn order_move(
        &self,
        camera: &str,
        to: Option<&str>,
        target: Option<&str>,
    ) -> Result<bool, FleetError> {
        if let Some(to) = to {
            if !self
                .streamers
                .list()
                .iter()
                .any(|streamer| streamer.name == to && !streamer.draining)
            {
                return Err(FleetError::Bad(format!(
                    "there is no streamer {to:?} that takes cameras"
                )));
            }
            self.remember(camera, to);
        }
        let Some(at) = self.streamer_of(camera) else {
            return Ok(false);
        };
        let order = ToStreamer::Move {
            camera: camera.to_owned(),
            target: target.map(str::to_owned),
        };
        if self.streamers.tell(&at, order) {
            Ok(true)
        } else {
            Err(FleetError::Unavailable(format!(
                "the streamer {at:?} does not listen"
            )))
        }
    }

    /// What streamers have to know now.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let policy = self.policy.borrow().clone();
        let live = self.live();
        let addresses = match &self.fixed.part {
            Part::Endpoint {
                addresses: Some(addresses),
                ..
            } => addresses.clone(),
            Part::Endpoint { addresses: None, .. } | Part::Streamer { .. } => EndpointAddresses {
                uplink_url: String::new(),
                rtsp_url: None,
                http_url: None,
            },
        };
        let viewers = policy.viewers.iter().map(|(user, viewer)| {
            let viewer = RuleViewer {
                md5: viewer.ha1.md5.clone(),
                sha256: viewer.ha1.sha256.clone(),
                cameras: viewer
                    .cameras
                    .as_ref()
                    .map(|names| names.iter().cloned().collect()),
            };
            (user.clone(), viewer)
        });
        Rules {
            operator: hex(self.operator.public()),
            resume_key: hex(self.resume_secret.bytes()),
            link_key: hex(self.link_secret.bytes()),
            link_issuers: policy.link_issuers.clone(),
            owners: policy.owners.clone(),
            realm: self.fixed.realm.clone(),
            viewers: viewers.collect(),
            cameras: live
                .keys
                .values()
                .map(|name| (name.clone(), policy.cameras.contains(name)))
                .collect(),
            keys: live.keys.iter().fold(BTreeMap::new(), |mut keys, (key, name)| {
                keys.entry(name.clone())
                    .or_insert_with(BTreeSet::new)
                    .insert(hex(key));
                keys
            }),
            suspended: self.suspended(&live),
            revoked: live
                .revoked
                .iter()
                .map(|(key, until)| (hex(key), *until))
                .collect(),
            endpoint_url: addresses.uplink_url,
            endpoint_rtsp_url: addresses.rtsp_url,
            endpoint_http_url: addresses.http_url,
            streamers: self.streamers.addresses(),
            lost: self.streamers.lost(unix_now()),
        }
    }

    /// A streamer judges a camera by its ticket or resume credential; others are sent to the endpoint.
    pub(super) fn judge_remote(&self, now: u64, applicant: &Applicant, said: &Introduction) -> Admission {
        let Some(remote) = self.remote() else {
            debug!("no rules from the endpoint yet");
            return Admission::Full;
        };
        // Neither tickets nor credentials can be judged; another streamer may.
        if !clock::is_plausible(now) {
            return Admission::Full;
        }
        match remote.judge(now, &applicant.fingerprint, said) {
            Ok((name, fields)) => {
                if self.registry.index(&name).is_none() {
                    self.expect(&name);
                }
                self.admit(&name, fields)
            }
            Err(why) => {
                debug!(?why, "sent to the endpoint");
                if remote.rules.endpoint_url.is_empty() {
                    return Admission::Refuse;
                }
                Admission::Redirect {
                    fields: format!("Location: {}\r\n", remote.rules.endpoint_url),
                }
            }
        }
    }

    /// Where a claimed camera goes; `here` is its admission to this process.
    pub(super) fn place(
        &self,
        now: u64,
        name: &str,
        key: &Sha256Hash,
        proof: Option<&[u8; 32]>,
        here: Admission,
    ) -> Admission {
        let Part::Endpoint { capacity, addresses } = &self.fixed.part else {
            return here;
        };
        if addresses.is_none() {
            return here;
        }
        // A ticket or credential of a time that cannot be would be good for years, or for nobody.
        if !clock::is_plausible(now) {
            return if *capacity > 0 { here } else { Admission::Full };
        }
        let uplinks = usize::try_from(self.metrics.uplinks.get()).unwrap_or_default();
        let load = (*capacity > 0)
            .then(|| uplinks.saturating_mul(1000) / *capacity)
            .filter(|load| *load < 1000);
        let before = self.placements().by_camera.get(name).cloned();
        match self.streamers.place(now, name, before.as_deref(), load) {
            Placed::Here => self.with_resume(now, name, key, proof, here),
            Placed::There(list) => {
                if let Some(first) = list.first() {
                    self.remember(name, &first.name);
                }
                Admission::Redirect {
                    fields: self.ticket_fields(now, name, key, proof, &list),
                }
            }
            Placed::Nowhere => {
                warn!(camera = name, "no streamer has room");
                Admission::Full
            }
        }
    }

    /// A camera that stays here can come back to the others when this process is gone.
    fn with_resume(
        &self,
        now: u64,
        name: &str,
        key: &Sha256Hash,
        proof: Option<&[u8; 32]>,
        here: Admission,
    ) -> Admission {
        let others = self.streamers.addresses();
        match here {
            Admission::Admit { camera, name, fields } if !others.is_empty() => {
                let resume = Resume::new(key, &name, proof, now).seal(&self.resume_key);
                let more = reply_fields(&resume, others.values().map(String::as_str));
                Admission::Admit {
                    camera,
                    name,
                    fields: fields + &more,
                }
            }
            other => {
                debug!(camera = name, "no other streamer to come back to");
                other
            }
        }
    }

    /// A fresh credential for a camera whose uplink is up here, and where else it may be shown; `old` is what it was
    /// given last. `None` where nobody else could take it.
    #[must_use]
    pub fn renewal(&self, now: u64, name: &str, old: Option<&str>) -> Option<(String, Vec<String>)> {
        if !clock::is_plausible(now) {
            return None;
        }
        if let Some(remote) = self.remote() {
            return remote.renew(now, name, old?);
        }
        let camera = self.camera(name).filter(|_| !self.is_suspended(name))?;
        let others = self.streamers.addresses();
        if others.is_empty() {
            return None;
        }
        let proof = camera.operator_proof.as_ref();
        let resume = Resume::new(camera.fingerprint.as_ref()?, name, proof, now);
        let others = others.into_values().take(MAX_ALTERNATES).collect();
        Some((resume.seal(&self.resume_key), others))
    }

    fn ticket_fields(
        &self,
        now: u64,
        name: &str,
        key: &Sha256Hash,
        proof: Option<&[u8; 32]>,
        list: &[Hello],
    ) -> String {
        let mut fields = String::new();
        for (index, hello) in list.iter().enumerate() {
            let url = self.ticket_url(now, name, key, proof, hello);
            fields.push_str(&match index {
                0 => format!("Location: {url}\r\n"),
                _ => format!("Link: <{url}>; rel=alternate\r\n"),
            });
        }
        fields
    }

    /// A camera has come before the rules that name it: it is let in, and looked at again when they must be here.
    fn expect(&self, name: &str) {
        self.registry.add(name);
        *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    /// Ends what was let in and did not turn up in the rules.
    pub(super) fn settle_expected(&self) {
        let unsettled = std::mem::take(&mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner));
        if unsettled > 0 {
            let _turn = self.change.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = self.reload() {
                warn!(%error, "the database cannot be read");
            }
        }
    }

    fn ticket_url(
        &self,
        now: u64,
        name: &str,
        key: &Sha256Hash,
        proof: Option<&[u8; 32]>,
        to: &Hello,
    ) -> String {
        let ticket = self
            .operator
            .sign_ticket(&Ticket::new(key, name, &to.name, proof, now));
        let joint = if to.uplink_url.contains('?') { '&' } else { '?' };
        format!("{}{joint}ticket={ticket}", to.uplink_url)
    }

    fn remember(&self, camera: &str, streamer: &str) {
        let mut placements = self.placements();
        if placements
            .by_camera
            .get(camera)
            .is_none_or(|before| before != streamer)
        {
            placements
                .by_camera
                .insert(camera.to_owned(), streamer.to_owned());
            placements.unwritten.insert(camera.to_owned());
        }
    }

    /// Writes placements down. That they are some seconds late only costs a camera its old place after a crash.
    pub(super) fn write_placements(&self) {
        let changed: Vec<(String, String)> = {
            let mut placements = self.placements();
            let unwritten = std::mem::take(&mut placements.unwritten);
            let place = |camera: String| Some((camera.clone(), placements.by_camera.get(&camera)?.clone()));
            unwritten.into_iter().filter_map(place).collect()
        };
        if let Err(error) = self.store.set_placements(&changed) {
            warn!(%error, at = unix_now(), "placements not written down");
        }
    }

    fn placements(&self) -> MutexGuard<'_, Placements> {
        self.placements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
