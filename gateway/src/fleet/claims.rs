//! Claims: making them, ending them, handing them on, and whole lists of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::info;

use super::access::Access;
use super::admit::{fingerprint_text, same};
use super::csv::Mistake;
use super::import::{MAX_MISTAKES, Row, is_label};
use super::merge::{Index, Merged, pin_keys};
use super::pending::Waiting;
use super::pin::{self, Pin};
use super::{Fleet, FleetError, blocking};
use crate::clock::unix_now;
use crate::config::{Sha256Hash, is_name, parse_fingerprint};
use crate::rtsp::digest::hex;
use crate::store::{Camera, CameraState, Forward, Method, Scope, Store};

/// Longest address that a camera is sent to, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// A wish to own a camera.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// The camera's name here; made of its serial or key if it is not given.
    pub name: Option<String>,
    /// Whose it shall be.
    pub account: Option<String>,
    /// On the label.
    pub serial: Option<String>,
    /// On the label.
    pub pin: Option<String>,
    /// The key, `sha256:<64 hex digits>`.
    pub fingerprint: Option<String>,
    /// Claim it when it comes, if it is not here yet or has shown nothing to compare the PIN with.
    #[serde(default)]
    pub wait: bool,
}

impl std::fmt::Debug for ClaimRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimRequest")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// Where a camera goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// To another account here.
    pub account: Option<String>,
    /// To another operator's endpoint: its claim here ends, and it gets a signed 308.
    pub forward: Option<Forward>,
}

/// What a list has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// New cameras.
    pub added: usize,
    /// Cameras that were there and differ.
    pub updated: usize,
    /// Cameras that were there as they are in the list.
    pub unchanged: usize,
}

enum Target {
    Pin(Pin),
    Key(Sha256Hash),
}

impl Fleet {
    /// Claims a camera.
    ///
    /// # Errors
    /// See [`FleetError`]; then nothing was claimed.
    pub async fn claim(
        self: &Arc<Self>,
        access: &Access,
        request: ClaimRequest,
    ) -> Result<Arc<Camera>, FleetError> {
        self.must_keep()?;
        let account = account_for(access, request.account.as_deref())?;
        check(&request)?;
        let now = self.now()?;
        let mut camera = match target(&request)? {
            Target::Key(key) => {
                if !access.is_unbounded() && self.pending().with_key(&key).is_none() {
                    return Err(not_waiting());
                }
                self.claim_of(&request, &account, key, Method::Fingerprint, now)
            }
            Target::Pin(pin) => match self.match_pin(access, &request, pin, now).await? {
                Matched::Waiting(key, proof) => {
                    let mut camera = self.claim_of(&request, &account, key, Method::Pin, now);
                    camera.operator_proof = Some(proof);
                    camera
                }
                Matched::Named(key, proof) => {
                    // Whether that is its PIN, nobody has shown: the claim is by the key.
                    let mut camera = self.claim_of(&request, &account, key, Method::Fingerprint, now);
                    camera.operator_proof = Some(proof);
                    camera
                }
                Matched::Expected(key) => self.reservation(&request, &account, key, now)?,
            },
        };
        self.agree(&mut camera).await?;
        let (fleet, name) = (Arc::clone(self), camera.name.clone());
        blocking(move || fleet.put_claim(&camera)).await?;
        self.camera(&name)
            .ok_or_else(|| FleetError::Missing(format!("{name:?} was released again")))
    }

    /// Ends a claim: the uplink at once, and what the camera could come back with.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn release(&self, access: &Access, name: &str) -> Result<(), FleetError> {
        self.change_own(access, name, |store, camera| {
            Ok(store.remove_camera(camera.id, unix_now(), "released")?)
        })?;
        self.forget_answers(name);
        info!(camera = name, by = access.who(), "camera released");
        Ok(())
    }

    /// Hands a camera on.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn transfer(&self, access: &Access, name: &str, to: Transfer) -> Result<(), FleetError> {
        self.own(access, name)?;
        match to {
            Transfer {
                account: Some(account),
                forward: None,
            } => {
                if !account.is_empty() && !is_name(&account) {
                    return Err(FleetError::Bad("this cannot be an account's name".to_owned()));
                }
                self.change_own(access, name, |store, camera| {
                    // What was answered was about the owner before.
                    let camera = Camera {
                        account,
                        suspended: false,
                        ..camera
                    };
                    Ok(store.put_cameras(&[camera])?)
                })?;
            }
            Transfer {
                account: None,
                forward: Some(forward),
            } => {
                check_forward(&forward)?;
                self.change_own(access, name, |store, camera| {
                    let key = camera.fingerprint.ok_or_else(|| {
                        FleetError::Conflict(format!("{name:?} has not come yet, so its key is not known"))
                    })?;
                    store.set_forward(&key, Some(&forward))?;
                    Ok(store.remove_camera(camera.id, unix_now(), "transferred")?)
                })?;
            }
            Transfer { .. } => {
                let why =
                    "give either `account`, for another account here, or `forward`, for another operator";
                return Err(FleetError::Bad(why.to_owned()));
            }
        }
        self.forget_answers(name);
        info!(camera = name, by = access.who(), "camera transferred");
        Ok(())
    }

    /// Where an unclaimed key is sent for good; `None` lets it wait here again.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn set_forward(&self, fingerprint: &str, forward: Option<Forward>) -> Result<(), FleetError> {
        let key = parse_fingerprint(fingerprint).ok_or_else(bad_fingerprint)?;
        if let Some(forward) = &forward {
            check_forward(forward)?;
        }
        if let Some(name) = self.name_of(&key) {
            return Err(FleetError::Conflict(format!(
                "{name:?} has this key; transfer it"
            )));
        }
        if forward.is_none() && !self.live().forwards.contains_key(&key) {
            return Err(FleetError::Missing("this key is not sent anywhere".to_owned()));
        }
        self.change(|store| Ok(store.set_forward(&key, forward.as_ref())?))?;
        self.pending().remove(&key);
        Ok(())
    }

    /// Keys that are sent elsewhere, and where to.
    #[must_use]
    pub fn forwards(&self) -> Vec<(String, Forward)> {
        let live = self.live();
        let shown = live
            .forwards
            .iter()
            .map(|(key, forward)| (fingerprint_text(key), forward.clone()));
        shown.collect()
    }

    /// Lets a camera be watched, or not; its uplink stays.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn set_media(&self, access: &Access, name: &str, media: bool) -> Result<(), FleetError> {
        self.own(access, name)?;
        let act = |store: &dyn Store| {
            let camera = Camera::clone(&*self.own(access, name)?);
            Ok(store.put_cameras(&[Camera { media, ..camera }])?)
        };
        if media {
            self.change(act)
        } else {
            self.change_at_any_time(act)
        }
    }

    /// Takes a list of cameras, whole or not at all. Blocks, some 20 ms for each PIN.
    ///
    /// # Errors
    /// [`FleetError::Mistakes`] with every mistake's place.
    pub fn import(&self, rows: Vec<Row>, account: &str) -> Result<ImportReport, FleetError> {
        self.must_keep()?;
        let keys = pin_keys(&rows);
        let now = unix_now();
        let mut changed = Vec::new();
        let report = self.change(|store| {
            let mut report = ImportReport::default();
            let mut mistakes = Vec::new();
            let there = store.cameras()?;
            let index = Index::new(&there, &self.fixed.cameras, &self.fixed.fingerprints);
            for (row, key) in rows.into_iter().zip(keys) {
                let place = row.place;
                match index.merge(row, key, account, now) {
                    Ok((_, Merged::Same)) => report.unchanged += 1,
                    Ok((camera, Merged::New)) => {
                        report.added += 1;
                        changed.push(camera);
                    }
                    Ok((camera, Merged::Changed)) => {
                        report.updated += 1;
                        changed.push(camera);
                    }
                    Err(message) if mistakes.len() < MAX_MISTAKES => {
                        mistakes.push(Mistake { place, message })
                    }
                    Err(_) => {}
                }
            }
            if !mistakes.is_empty() {
                return Err(FleetError::Mistakes(mistakes));
            }
            store.put_cameras(&changed)?;
            Ok(report)
        })?;
        // Of another account's camera the operator's system has said nothing yet.
        for camera in &changed {
            self.forget_answers(&camera.name);
        }
        Ok(report)
    }

    /// A name that no camera has.
    pub(super) fn free_name(&self, serial: Option<&str>, key: &Sha256Hash) -> String {
        self.free_name_beside(serial, key, &BTreeSet::new())
    }

    /// A name that no camera has, nor is in `taken`.
    pub(super) fn free_name_beside(
        &self,
        serial: Option<&str>,
        key: &Sha256Hash,
        taken: &BTreeSet<String>,
    ) -> String {
        let digits = hex(&key[..4]);
        let is_free = |name: &str| self.account_of(name).is_none() && !taken.contains(name);
        match serial.filter(|serial| is_name(serial)) {
            Some(serial) if is_free(serial) => serial.to_owned(),
            Some(serial) if is_name(&format!("{serial}-{digits}")) => format!("{serial}-{digits}"),
            Some(_) | None => format!("camera-{digits}"),
        }
    }

    fn put_claim(&self, camera: &Camera) -> Result<(), FleetError> {
        self.check_claim(camera)?;
        self.change(|store| write_claim(store, camera))?;
        self.note_claimed(camera);
        Ok(())
    }

    /// Whether the configuration file leaves name and key to a claim.
    pub(super) fn check_claim(&self, camera: &Camera) -> Result<(), FleetError> {
        let name = &camera.name;
        if self.fixed.cameras.contains(name) {
            return Err(FleetError::Conflict(format!(
                "the name {name:?} is taken by the configuration file"
            )));
        }
        if camera
            .fingerprint
            .is_some_and(|key| self.fixed.fingerprints.contains_key(&key))
        {
            return Err(FleetError::Conflict(
                "this key is in the configuration file already".to_owned(),
            ));
        }
        Ok(())
    }

    /// A claim is written down.
    pub(super) fn note_claimed(&self, camera: &Camera) {
        if let Some(key) = &camera.fingerprint {
            self.pending().remove(key);
            self.metrics.claims.inc();
        }
        info!(camera = camera.name, "camera claimed");
    }

    /// A camera of the store that whoever asks may change.
    fn own(&self, access: &Access, name: &str) -> Result<Arc<Camera>, FleetError> {
        let missing = || FleetError::Missing(format!("there is no camera {name:?}"));
        if !self.sees(access, name) {
            return Err(missing());
        }
        if self.fixed.cameras.iter().any(|fixed| fixed == name) {
            let why = format!("{name:?} is in the configuration file; change it there");
            return Err(FleetError::Conflict(why));
        }
        self.must_keep()?;
        self.camera(name).ok_or_else(missing)
    }

    /// Changes a camera that whoever asks may change, as it is when the change's turn comes.
    fn change_own<T>(
        &self,
        access: &Access,
        name: &str,
        act: impl FnOnce(&dyn Store, Camera) -> Result<T, FleetError>,
    ) -> Result<T, FleetError> {
        // What is refused does not wait for a turn.
        self.own(access, name)?;
        self.change(|store| act(store, Camera::clone(&*self.own(access, name)?)))
    }

    fn claim_of(
        &self,
        request: &ClaimRequest,
        account: &str,
        key: Sha256Hash,
        method: Method,
        now: u64,
    ) -> Camera {
        let waiting = self.pending().with_key(&key).cloned();
        let said = waiting.as_ref().map(|waiting| &waiting.applicant);
        let serial = said
            .and_then(|said| said.serial.clone())
            .or(request.serial.clone());
        let name = request
            .name
            .clone()
            .unwrap_or_else(|| self.free_name(serial.as_deref(), &key));
        let mut camera = Camera::claimed(&name, account, key, method, now);
        camera.model = said.and_then(|said| said.model.clone());
        camera.serial = serial;
        camera
    }

    fn reservation(
        &self,
        request: &ClaimRequest,
        account: &str,
        pin_key: [u8; 32],
        now: u64,
    ) -> Result<Camera, FleetError> {
        let serial = request.serial.clone().unwrap_or_default();
        let name = match &request.name {
            Some(name) => name.clone(),
            None if is_name(&serial) => serial.clone(),
            None => {
                return Err(FleetError::Bad(
                    "this serial cannot be a name; give one".to_owned(),
                ));
            }
        };
        Ok(Camera {
            state: CameraState::Reserved,
            fingerprint: None,
            claimed: None,
            serial: Some(serial),
            pin_key: Some(pin_key),
            ..Camera::claimed(&name, account, [0; 32], Method::Pin, now)
        })
    }

    async fn match_pin(
        self: &Arc<Self>,
        access: &Access,
        request: &ClaimRequest,
        pin: Pin,
        now: u64,
    ) -> Result<Matched, FleetError> {
        let _turn = self.pin_turn.lock().await;
        let (label, mut candidates) = self.candidates(request)?;
        if let Some(seconds) = self.wrong_pins().blocked(now, &label, &access.who()) {
            return Err(FleetError::TooMany(seconds));
        }
        // One serial, so one key, however many say that they have it.
        let serial = match candidates.first() {
            Some(waiting) => waiting.applicant.serial.clone().unwrap_or_default(),
            None => request.serial.clone().unwrap_or_default(),
        };
        // A camera shows what its PIN is compared with once it knows that nobody has claimed it.
        if candidates.iter().all(|waiting| waiting.applicant.proof.is_none()) {
            if !request.wait {
                return Err(if candidates.is_empty() {
                    not_waiting()
                } else {
                    no_proof()
                });
            }
            if !access.is_unbounded() || !access.allows(Scope::Admin) {
                let why = "only the operator may claim a camera that has not come yet with its PIN";
                return Err(FleetError::Forbidden(why.to_owned()));
            }
            candidates.clear();
        }
        let key = blocking(move || Ok(pin.key(&serial))).await?;
        let public = self.operator.public();
        if candidates.is_empty() {
            let named = request.fingerprint.as_deref().and_then(parse_fingerprint);
            return Ok(match named {
                Some(camera) => Matched::Named(camera, pin::operator_proof(&key, &camera, public)),
                None => Matched::Expected(key),
            });
        }
        for waiting in candidates {
            let applicant = &waiting.applicant;
            let expected = pin::proof(&key, &applicant.fingerprint);
            if applicant.proof.is_some_and(|proof| same(&proof, &expected)) {
                let shown = pin::operator_proof(&key, &applicant.fingerprint, public);
                return Ok(Matched::Waiting(applicant.fingerprint, shown));
            }
        }
        self.metrics.wrong_pins.inc();
        self.wrong_pins().handle_wrong(now, &label, &access.who());
        info!(by = access.who(), "a claim with a wrong PIN");
        Err(FleetError::Forbidden(
            "this is not the PIN of that camera".to_owned(),
        ))
    }

    /// Who could be meant, and what tries are counted by.
    fn candidates(&self, request: &ClaimRequest) -> Result<(String, Vec<Waiting>), FleetError> {
        let pending = self.pending();
        match (&request.fingerprint, &request.serial) {
            (Some(text), _) => {
                let key = parse_fingerprint(text).ok_or_else(bad_fingerprint)?;
                Ok((
                    fingerprint_text(&key),
                    pending.with_key(&key).cloned().into_iter().collect(),
                ))
            }
            (None, Some(serial)) => Ok((serial.clone(), pending.with_serial(serial))),
            (None, None) => {
                let why = "say which camera: give its serial, or its fingerprint where it has none";
                Err(FleetError::Bad(why.to_owned()))
            }
        }
    }
}

/// Puts a claim into the store; its key is sent nowhere else any more.
pub(super) fn write_claim(store: &dyn Store, camera: &Camera) -> Result<(), FleetError> {
    if let Some(key) = &camera.fingerprint {
        store.set_forward(key, None)?;
    }
    Ok(store.put_cameras(std::slice::from_ref(camera))?)
}

enum Matched {
    /// The key, and what shows the camera that the PIN was known.
    Waiting(Sha256Hash, [u8; 32]),
    /// Not here yet, but its key is known; what shows the camera that the PIN was known.
    Named(Sha256Hash, [u8; 32]),
    /// Not here yet; K.
    Expected([u8; 32]),
}

fn target(request: &ClaimRequest) -> Result<Target, FleetError> {
    match (&request.pin, &request.fingerprint) {
        (Some(pin), _) => {
            let pin = Pin::parse(pin).map_err(|error| FleetError::Bad(error.to_string()))?;
            Ok(Target::Pin(pin))
        }
        (None, Some(text)) => Ok(Target::Key(parse_fingerprint(text).ok_or_else(bad_fingerprint)?)),
        (None, None) => {
            let why = "a serial alone claims nothing: give the PIN of the label, or the fingerprint, or import a list";
            Err(FleetError::Bad(why.to_owned()))
        }
    }
}

fn no_proof() -> FleetError {
    let why = "this camera shows nothing to compare a PIN with; one that was released a moment ago, or whose PIN is new, \
               does when it asks again, which takes some ten seconds: try again then, or claim it with --wait (`wait`). \
               If it still shows nothing, claim it by its fingerprint (`lenscap identity` on the camera)";
    FleetError::Conflict(why.to_owned())
}

fn not_waiting() -> FleetError {
    let why = "no such camera waits here; is it switched on, and does it dial this gateway? One that was released a \
               moment ago is here within some ten seconds";
    FleetError::Missing(why.to_owned())
}

fn bad_fingerprint() -> FleetError {
    FleetError::Bad("a fingerprint is `sha256:` and 64 hex digits".to_owned())
}

fn check(request: &ClaimRequest) -> Result<(), FleetError> {
    if request.name.as_ref().is_some_and(|name| !is_name(name)) {
        let why = "a name has 1 to 64 of the letters a-z, A-Z, 0-9, `-`, `_` and `.`";
        return Err(FleetError::Bad(why.to_owned()));
    }
    if request.serial.as_ref().is_some_and(|serial| !is_label(serial)) {
        let why = "a serial has 1 to 64 printable ASCII characters";
        return Err(FleetError::Bad(why.to_owned()));
    }
    Ok(())
}

/// The account that whoever asks may claim for.
pub(super) fn account_for(access: &Access, asked: Option<&str>) -> Result<String, FleetError> {
    if access.is_list() {
        let why =
            "this token is for cameras that are named, so it claims no others; make one with an account";
        return Err(FleetError::Forbidden(why.to_owned()));
    }
    match (access.account(), asked) {
        (Some(own), Some(asked)) if own != asked => Err(FleetError::Forbidden(
            "this token is for another account".to_owned(),
        )),
        (Some(own), _) => Ok(own.to_owned()),
        (None, Some(asked)) if !asked.is_empty() && !is_name(asked) => {
            Err(FleetError::Bad("this cannot be an account's name".to_owned()))
        }
        (None, asked) => Ok(asked.unwrap_or_default().to_owned()),
    }
}

/// Judges an address for good.
///
/// # Errors
/// What is wrong with it.
pub fn check_forward(forward: &Forward) -> Result<(), FleetError> {
    let Forward { url, pin } = forward;
    let plain = url.len() <= MAX_URL_BYTES && url.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || !(url.starts_with("https://") || url.starts_with("wss://")) {
        return Err(FleetError::Bad("the address must be https: or wss:".to_owned()));
    }
    let is_pin = |pin: &String| {
        use base64ct::{Base64, Encoding as _};
        let hash = pin
            .strip_prefix("sha256/")
            .and_then(|hash| Base64::decode_vec(hash).ok());
        hash.is_some_and(|hash| hash.len() == 32)
    };
    if !pin.as_ref().is_none_or(is_pin) {
        return Err(FleetError::Bad(
            "a pin is `sha256/` and the base64 of 32 bytes".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
