//! Puts a list of cameras over what is there: new ones, changed ones, and what cannot be.

use std::collections::BTreeMap;
use std::num::NonZero;

use super::import::{PinKey, Row};
use crate::config::Sha256Hash;
use crate::store::{Camera, CameraState, Details, Method};

/// K for each row with a PIN, on all processors.
pub(super) fn pin_keys(rows: &[Row]) -> Vec<Option<[u8; 32]>> {
    let key = |row: &Row| {
        if let Some(PinKey(key)) = &row.pin_key {
            return Some(*key);
        }
        let pin = row.pin.as_ref()?;
        Some(pin.key(row.serial.as_deref().unwrap_or_default()))
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = rows.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = rows
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(key).collect::<Vec<_>>()))
            .collect();
        let done = |handle: std::thread::ScopedJoinHandle<'_, Vec<_>>| handle.join().unwrap_or_default();
        handles.into_iter().flat_map(done).collect()
    })
}

/// What a row makes of a camera.
pub(super) enum Merged {
    New,
    Changed,
    Same,
}

/// What is there before an import.
pub(super) struct Index<'a> {
    by_name: BTreeMap<&'a str, &'a Camera>,
    by_key: BTreeMap<Sha256Hash, &'a str>,
    by_serial: BTreeMap<&'a str, &'a str>,
    by_agent_id: BTreeMap<&'a str, &'a str>,
    fixed: &'a [String],
    fixed_keys: &'a BTreeMap<Sha256Hash, usize>,
}

impl<'a> Index<'a> {
    pub(super) fn new(
        cameras: &'a [Camera],
        fixed: &'a [String],
        fixed_keys: &'a BTreeMap<Sha256Hash, usize>,
    ) -> Self {
        let named =
            |value: Option<&'a String>, camera: &'a Camera| Some((value?.as_str(), camera.name.as_str()));
        let all = || cameras.iter();
        Self {
            by_name: all().map(|camera| (camera.name.as_str(), camera)).collect(),
            by_key: all()
                .filter_map(|camera| Some((camera.fingerprint?, camera.name.as_str())))
                .collect(),
            by_serial: all()
                .filter_map(|camera| named(camera.serial.as_ref(), camera))
                .collect(),
            by_agent_id: all()
                .filter_map(|camera| named(camera.details.agent_id.as_ref(), camera))
                .collect(),
            fixed,
            fixed_keys,
        }
    }

    /// The camera that a row makes; an error is what is wrong with it.
    pub(super) fn merge(
        &self,
        row: Row,
        key: Option<[u8; 32]>,
        account: &str,
        now: u64,
    ) -> Result<(Camera, Merged), String> {
        let name = row.name.as_str();
        if self.fixed.iter().any(|fixed| fixed == name) {
            return Err(format!("the configuration file has a camera {name:?}"));
        }
        if row
            .fingerprint
            .is_some_and(|key| self.fixed_keys.contains_key(&key))
        {
            return Err("the configuration file has a camera with this key".to_owned());
        }
        let other = |found: Option<&&'a str>, what: &str| match found.copied() {
            Some(other) if other != name => Err(format!("the {what} belongs to {other:?} already")),
            Some(_) | None => Ok(()),
        };
        other(
            row.fingerprint.as_ref().and_then(|key| self.by_key.get(key)),
            "fingerprint",
        )?;
        other(
            row.serial
                .as_deref()
                .and_then(|serial| self.by_serial.get(serial)),
            "serial",
        )?;
        other(
            row.details
                .agent_id
                .as_deref()
                .and_then(|id| self.by_agent_id.get(id)),
            "agent id",
        )?;
        match self.by_name.get(name) {
            None => Ok((new_camera(row, key, account, now), Merged::New)),
            Some(there) => {
                let camera = updated((*there).clone(), row, key)?;
                let merged = if camera == **there {
                    Merged::Same
                } else {
                    Merged::Changed
                };
                Ok((camera, merged))
            }
        }
    }
}

fn new_camera(row: Row, pin_key: Option<[u8; 32]>, account: &str, now: u64) -> Camera {
    let account = row.account.as_deref().unwrap_or(account);
    let mut camera = match row.fingerprint {
        Some(key) => Camera::claimed(&row.name, account, key, Method::Fingerprint, now),
        None => Camera {
            state: CameraState::Reserved,
            fingerprint: None,
            claimed: None,
            method: if pin_key.is_some() {
                Method::Pin
            } else {
                Method::Serial
            },
            pin_key,
            ..Camera::claimed(&row.name, account, [0; 32], Method::Pin, now)
        },
    };
    camera.serial = row.serial;
    camera.model = row.model;
    camera.details = row.details;
    camera
}

/// A list says what it says: columns that are empty leave what is there.
fn updated(mut camera: Camera, row: Row, pin_key: Option<[u8; 32]>) -> Result<Camera, String> {
    match (row.fingerprint, camera.fingerprint) {
        (Some(new), Some(old)) if new != old => {
            return Err(format!("{:?} has another key; release it first", camera.name));
        }
        (Some(_), None) => {
            return Err(format!(
                "{:?} is expected by its serial; release it first",
                camera.name
            ));
        }
        (Some(_) | None, _) => {}
    }
    if camera.state == CameraState::Reserved && pin_key.is_some() {
        camera.pin_key = pin_key;
        camera.method = Method::Pin;
    }
    if let Some(account) = row.account.filter(|account| *account != camera.account) {
        camera.account = account;
        // The no was about the former owner.
        camera.suspended = false;
    }
    camera.serial = row.serial.or(camera.serial);
    camera.model = row.model.or(camera.model);
    let (new, old) = (row.details, camera.details);
    camera.details = Details {
        agent_id: new.agent_id.or(old.agent_id),
        stream: new.stream.or(old.stream),
        substream: new.substream.or(old.substream),
        snapshot: new.snapshot.or(old.snapshot),
        onvif_url: new.onvif_url.or(old.onvif_url),
        ptz: new.ptz.or(old.ptz),
    };
    Ok(camera)
}
