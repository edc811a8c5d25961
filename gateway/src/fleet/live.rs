//! What is known in memory: the database's contents, and the rules that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use ring::hmac;
use tracing::warn;

use super::Fleet;
use super::access::Access;
use crate::clock;
use crate::config::{Sha256Hash, common_algorithms, parse_fingerprint};
use crate::rtsp::digest::DigestServer;
use crate::rtsp::guard::{Policy, Viewer};
use crate::store::{Camera, CameraState, Forward, Secret, StoreError, Token, ViewerRow};

/// The store's contents as of the last change.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) cameras: BTreeMap<String, Arc<Camera>>,
    /// Claimed keys to names.
    pub(super) keys: BTreeMap<Sha256Hash, String>,
    /// Serials to names of reserved cameras.
    pub(super) reserved: BTreeMap<String, String>,
    pub(super) forwards: BTreeMap<Sha256Hash, Forward>,
    pub(super) viewers: Vec<ViewerRow>,
    pub(super) tokens: BTreeMap<Sha256Hash, Arc<Token>>,
    pub(super) revoked: BTreeMap<Sha256Hash, u64>,
}

impl Fleet {
    pub(super) fn reload(&self) -> Result<(), StoreError> {
        let live = self.read_live()?;
        let claimed = live
            .cameras
            .values()
            .filter(|camera| camera.state == CameraState::Claimed);
        let told = self
            .remote()
            .map(|remote| remote.rules.cameras.keys().cloned().collect::<Vec<_>>());
        let names: BTreeSet<String> = self
            .fixed
            .cameras
            .iter()
            .cloned()
            .chain(claimed.map(|camera| camera.name.clone()))
            .chain(told.into_iter().flatten())
            .collect();
        let live = Arc::new(live);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&live);
        self.forget_heard(&live);
        // Rules first: a camera that is not there any more is offered to nobody.
        self.policy
            .send_replace(Arc::new(self.make_policy((self.clock)())));
        self.registry.sync(&names);
        self.metrics.rules_made.inc();
        Ok(())
    }

    fn read_live(&self) -> Result<Live, StoreError> {
        let mut live = Live {
            forwards: self.store.forwards()?.into_iter().collect(),
            viewers: self.store.viewers()?,
            revoked: self.store.revocations()?.into_iter().collect(),
            ..Live::default()
        };
        for token in self.store.tokens()? {
            live.tokens.insert(token.hash, Arc::new(token));
        }
        for camera in self.store.cameras()? {
            // What the configuration says comes first.
            if self.fixed.cameras.contains(&camera.name) {
                continue;
            }
            match (camera.state, &camera.fingerprint, &camera.serial) {
                (CameraState::Claimed, Some(key), _) => {
                    live.keys.insert(*key, camera.name.clone());
                }
                (CameraState::Reserved, _, Some(serial)) => {
                    live.reserved.insert(serial.clone(), camera.name.clone());
                }
                (CameraState::Claimed, None, _) | (CameraState::Reserved, _, None) => {}
            }
            live.cameras.insert(camera.name.clone(), Arc::new(camera));
        }
        Ok(live)
    }

    pub(super) fn make_policy(&self, now: u64) -> Policy {
        let live = self.live();
        let mut cameras: BTreeSet<String> = self.fixed.cameras.iter().cloned().collect();
        let shown = |camera: &&Arc<Camera>| camera.state == CameraState::Claimed && camera.media;
        cameras.extend(
            live.cameras
                .values()
                .filter(shown)
                .map(|camera| camera.name.clone()),
        );
        let of_accounts = by_account(&live);
        let mut viewers = self.fixed.viewers.clone();
        // With a wrong clock, nothing counts that ends some time.
        let plausible = clock::is_plausible(now);
        let lasts = |expires: Option<u64>| expires.is_none_or(|expires| plausible && now < expires);
        for row in &live.viewers {
            if lasts(row.expires) && !viewers.contains_key(&row.user) {
                let viewer = Viewer {
                    ha1: row.ha1.clone(),
                    cameras: visible(&row.account, row.cameras.as_deref(), &of_accounts),
                };
                viewers.insert(row.user.clone(), viewer);
            }
        }
        let good = |token: &&Arc<Token>| lasts(token.expires);
        let mut link_issuers: BTreeMap<String, Option<BTreeSet<String>>> = live
            .tokens
            .values()
            .filter(good)
            .map(|token| {
                let seen = visible(&token.account, token.cameras.as_deref(), &of_accounts);
                (token.id.to_string(), seen)
            })
            .collect();
        link_issuers.insert(Access::operator().issuer(), None);
        let owned = |camera: &&Arc<Camera>| !camera.account.is_empty();
        let mut owners: BTreeMap<String, String> = live
            .cameras
            .values()
            .filter(owned)
            .map(|camera| (camera.name.clone(), camera.account.clone()))
            .collect();
        let mut link_secret = self.link_secret.clone();
        let mut realm = self.fixed.realm.clone();
        if let Some(remote) = self.remote() {
            cameras.extend(remote.shown());
            viewers.extend(remote.viewers());
            link_issuers.clone_from(&remote.rules.link_issuers);
            owners.clone_from(&remote.rules.owners);
            realm.clone_from(&remote.rules.realm);
            if let Some(key) = parse_fingerprint(&format!("sha256:{}", remote.rules.link_key)) {
                link_secret = Secret::new(key.to_vec());
            }
        }
        if !plausible {
            link_issuers.clear();
        }
        Policy {
            digest: DigestServer::new(&self.nonce_key, &realm, &common_algorithms(&viewers)),
            viewers,
            cameras,
            link_key: hmac::Key::new(hmac::HMAC_SHA256, link_secret.bytes()),
            link_issuers,
            owners,
            unix_start: now.saturating_sub(self.start.elapsed().as_secs()),
        }
    }

    pub(super) fn warn_of_shadows(&self) {
        for camera in self.store.cameras().unwrap_or_default() {
            if self.fixed.cameras.contains(&camera.name) {
                warn!(
                    camera = camera.name,
                    "the configuration file and the database both have this camera; the file's counts"
                );
            }
        }
    }
}

/// The cameras of each account.
fn by_account(live: &Live) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut accounts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for camera in live.cameras.values() {
        accounts.entry(&camera.account).or_default().insert(&camera.name);
    }
    accounts
}

/// The cameras that a viewer or a token of the store may see; `None` is all of them.
fn visible(
    account: &str,
    listed: Option<&[String]>,
    accounts: &BTreeMap<&str, BTreeSet<&str>>,
) -> Option<BTreeSet<String>> {
    if account.is_empty() {
        return listed.map(|names| names.iter().cloned().collect());
    }
    let Some(own) = accounts.get(account) else {
        return Some(BTreeSet::new());
    };
    let seen = match listed {
        None => own.iter().map(|name| (*name).to_owned()).collect(),
        Some(names) => {
            let mine = names.iter().filter(|name| own.contains(name.as_str()));
            mine.cloned().collect()
        }
    };
    Some(seen)
}
