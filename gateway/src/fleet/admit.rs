//! May this camera in? Asked for every connection, and answered from memory.

use std::fmt;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::operator::introduction;
use super::pending::{Applicant, NO_ROOM_SECONDS};
use super::{Fleet, FleetError, Part, pin};
use crate::clock;
use crate::config::Sha256Hash;
use crate::rtsp::digest::hex;
use crate::store::{Camera, CameraState, Forward, Method};
use crate::uplink::upgrade::{HeldKey, Introduction};

/// What becomes of a connection.
#[derive(Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is this camera.
    Admit {
        /// The registry's number.
        camera: usize,
        /// The camera's name.
        name: String,
        /// Whole lines of fields for the reply.
        fields: String,
    },
    /// It is carried elsewhere, for this time.
    Redirect {
        /// Whole lines of fields for the reply.
        fields: String,
    },
    /// Nobody has room for it.
    Full,
    /// It belongs elsewhere, for good.
    Forward {
        /// Whole lines of fields for the reply.
        fields: String,
    },
    /// Nobody has claimed it.
    Wait {
        /// When it may ask again.
        seconds: u64,
        /// Whole lines of fields for the reply.
        fields: String,
    },
    /// The store must be changed first; then ask again.
    Settle(Settle),
    /// The operator's system said no.
    Suspended,
    /// Nothing is known of it, and there is no list to wait in.
    Refuse,
}

/// The fields have tickets and credentials in them.
impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admit { .. } => "Admit",
            Self::Redirect { .. } => "Redirect",
            Self::Full => "Full",
            Self::Forward { .. } => "Forward",
            Self::Wait { .. } => "Wait",
            Self::Settle(_) => "Settle",
            Self::Suspended => "Suspended",
            Self::Refuse => "Refuse",
        })
    }
}

/// A change that a camera's coming brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// It was reset at the device: its claim ends.
    Reset {
        /// The camera's name.
        name: String,
        /// Its number: another claim of that name is not meant.
        id: i64,
    },
    /// A reserved camera has come.
    Bind {
        /// The reservation.
        name: String,
        /// Its key.
        fingerprint: Sha256Hash,
        /// What it says.
        model: Option<String>,
    },
}

impl Fleet {
    /// Judges a camera that has proven its key.
    #[must_use]
    pub fn judge(&self, now: u64, applicant: Applicant, said: &Introduction) -> Admission {
        let key = applicant.fingerprint;
        if let Some(index) = self.fixed.fingerprints.get(&key) {
            return self.admit_fixed(*index);
        }
        if matches!(self.fixed.part, Part::Streamer { .. }) {
            return self.judge_remote(now, &applicant, said);
        }
        let live = self.live();
        let ours = said.operator == HeldKey::Id(self.operator.id().to_owned());
        if let Some(name) = live.keys.get(&key) {
            return match live.cameras.get(name) {
                Some(camera) if self.ends_claim(camera, said) => Admission::Settle(Settle::Reset {
                    name: name.clone(),
                    id: camera.id,
                }),
                Some(_) if self.is_suspended(name) => Admission::Suspended,
                Some(camera) => {
                    let here = self.admit_claimed(camera, said, ours);
                    self.place(now, name, &key, camera.operator_proof.as_ref(), here)
                }
                None => Admission::Refuse,
            };
        }
        // It still obeys this operator, whose claim has ended. A wrong time would count for ever on the camera.
        let plausible = clock::is_plausible(now);
        let release = if ours && plausible {
            self.release_field(now, &key)
        } else {
            String::new()
        };
        let forwarded = live.forwards.contains_key(&key) || self.fixed.activation.is_some();
        if forwarded && !plausible {
            return Admission::Full;
        }
        if let Some(forward) = live.forwards.get(&key) {
            let fields = format!("{}{release}", self.forward_fields(now, &key, forward));
            return Admission::Forward { fields };
        }
        let reserved = applicant
            .serial
            .as_ref()
            .and_then(|serial| live.reserved.get(serial));
        if let Some(camera) = reserved.and_then(|name| live.cameras.get(name))
            && fits(camera, &applicant)
        {
            return Admission::Settle(Settle::Bind {
                name: camera.name.clone(),
                fingerprint: key,
                model: applicant.model,
            });
        }
        if let Some(forward) = &self.fixed.activation {
            let fields = format!("{}{release}", self.forward_fields(now, &key, forward));
            return Admission::Forward { fields };
        }
        if !self.kept {
            return Admission::Refuse;
        }
        let seconds = self.pending().handle_seen(now, applicant);
        Admission::Wait {
            seconds: seconds.unwrap_or(NO_ROOM_SECONDS),
            fields: release,
        }
    }

    /// A camera by its bearer token; those are the configuration's only.
    #[must_use]
    pub fn judge_token(&self, token: &Sha256Hash, key: Option<&Sha256Hash>) -> Admission {
        let Some(index) = self.fixed.tokens.get(token) else {
            warn!("uplink refused: unknown token; set token_sha256 of a [[camera]] to the token's SHA-256");
            return Admission::Refuse;
        };
        let by_key = key.and_then(|key| self.fixed.fingerprints.get(key));
        let anothers = key.is_some_and(|key| self.live().keys.contains_key(key));
        if anothers || by_key.is_some_and(|other| other != index) {
            warn!("uplink refused: its token is one camera's and its key another's");
            return Admission::Refuse;
        }
        self.admit_fixed(*index)
    }

    /// Does what a camera's coming brings about, and says whether that was still to be done. Blocks.
    ///
    /// # Errors
    /// Of the database; then the camera has to come again.
    pub fn settle(&self, now: u64, what: &Settle) -> Result<bool, FleetError> {
        match what {
            Settle::Reset { name, id } => {
                let ended = self.change(|store| {
                    // It may have come twice at once, and be another's claim by now.
                    let is_there = self.camera(name).is_some_and(|camera| camera.id == *id);
                    if is_there {
                        store.remove_camera(*id, now, "reset at the device")?;
                    }
                    Ok(is_there)
                })?;
                if ended {
                    self.forget_answers(name);
                    info!(camera = name, "claim ended: the camera was reset at the device");
                }
                return Ok(ended);
            }
            Settle::Bind {
                name,
                fingerprint,
                model,
            } => {
                self.change(|store| {
                    let reserved = |camera: &&Arc<Camera>| camera.state == CameraState::Reserved;
                    let live = self.live();
                    let camera =
                        live.cameras.get(name).filter(reserved).ok_or_else(|| {
                            FleetError::Missing(format!("{name:?} is not expected any more"))
                        })?;
                    let mut camera = Camera::clone(camera);
                    let operator = self.operator.public();
                    camera.operator_proof = camera
                        .pin_key
                        .take()
                        .map(|key| pin::operator_proof(&key, fingerprint, operator));
                    camera.state = CameraState::Claimed;
                    camera.fingerprint = Some(*fingerprint);
                    camera.claimed = Some(now);
                    camera.model = camera.model.or_else(|| model.clone());
                    Ok(store.put_cameras(&[camera])?)
                })?;
                self.metrics.claims.inc();
                self.pending().remove(fingerprint);
                info!(camera = name, "an expected camera has come and is claimed");
            }
        }
        Ok(true)
    }

    fn admit_fixed(&self, index: usize) -> Admission {
        let Some(name) = self.fixed.cameras.get(index) else {
            return Admission::Refuse;
        };
        self.admit(name, String::new())
    }

    fn admit_claimed(&self, camera: &Camera, said: &Introduction, ours: bool) -> Admission {
        let fields = if ours || said.operator == HeldKey::Unsaid {
            String::new()
        } else {
            let shown = introduction(self.operator.public(), camera.operator_proof.as_ref());
            format!("Lenscap-Operator: {shown}\r\n")
        };
        self.admit(&camera.name, fields)
    }

    pub(super) fn admit(&self, name: &str, fields: String) -> Admission {
        match self.registry.index(name) {
            Some(camera) => Admission::Admit {
                camera,
                name: name.to_owned(),
                fields,
            },
            None => {
                debug!(camera = name, "known, but not in the registry");
                Admission::Refuse
            }
        }
    }

    fn forward_fields(&self, now: u64, key: &Sha256Hash, forward: &Forward) -> String {
        let signature = self.operator.sign_redirect(key, now, forward);
        let pin = forward.pin.as_ref().map(|pin| format!("Lenscap-Pin: {pin}\r\n"));
        let pin = pin.unwrap_or_default();
        format!(
            "Location: {}\r\n{pin}Lenscap-Signature: {signature}\r\n",
            forward.url
        )
    }

    fn release_field(&self, now: u64, key: &Sha256Hash) -> String {
        format!("Lenscap-Release: {}\r\n", self.operator.sign_release(key, now))
    }
}

/// True if this may be the camera that is expected.
fn fits(camera: &Camera, applicant: &Applicant) -> bool {
    match (&camera.pin_key, &applicant.proof) {
        (Some(key), Some(proof)) => same(&pin::proof(key, &applicant.fingerprint), proof),
        (Some(_), None) => false,
        (None, _) => camera.method == Method::Serial,
    }
}

/// Compares in constant time.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq as _;
    bool::from(a.ct_eq(b))
}

/// How a key is named to people.
pub(super) fn fingerprint_text(key: &Sha256Hash) -> String {
    format!("sha256:{}", hex(key))
}
