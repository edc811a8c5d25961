//! What a claimed camera says it is, where nobody has said so before: one that was claimed by its key before it ever came
//! has neither serial nor model. It only fills what is empty, and never with another camera's serial: what an
//! operator has written down is not the camera's to change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pending::Applicant;
use super::{Fleet, FleetError};
use crate::config::Sha256Hash;
use crate::store::{Camera, CameraState};

/// By key: serial and model.
pub(super) type Labels = BTreeMap<Sha256Hash, (Option<String>, Option<String>)>;

impl Fleet {
    /// A camera has come that has proven its key.
    pub fn note_label(self: &Arc<Self>, applicant: &Applicant) {
        let Some(camera) = self.claimed_by(&applicant.fingerprint) else {
            return;
        };
        let (serial, model) = (&applicant.serial, &applicant.model);
        if camera.serial.is_none() && serial.is_some() || camera.model.is_none() && model.is_some() {
            self.note(|unwritten| {
                unwritten
                    .labels
                    .insert(applicant.fingerprint, (serial.clone(), model.clone()));
                true
            });
        }
    }

    /// Writes down what is still empty. Blocks.
    pub(super) fn write_labels(&self, labels: &Labels) -> Result<(), FleetError> {
        if self.labelled(labels).is_empty() {
            return Ok(());
        }
        self.change_at_any_time(|store| Ok(store.put_cameras(&self.labelled(labels))?))
    }

    /// The cameras that are another by it.
    fn labelled(&self, labels: &Labels) -> Vec<Camera> {
        if labels.is_empty() {
            return Vec::new();
        }
        let all = self.cameras();
        let mut taken: BTreeSet<&str> = all.iter().filter_map(|camera| camera.serial.as_deref()).collect();
        let mut changed = Vec::new();
        for camera in all.iter().filter(|camera| camera.state == CameraState::Claimed) {
            let Some((serial, model)) = camera.fingerprint.and_then(|key| labels.get(&key)) else {
                continue;
            };
            let mut labelled = Camera::clone(camera);
            if let (None, Some(serial)) = (&labelled.serial, serial)
                && taken.insert(serial)
            {
                labelled.serial = Some(serial.clone());
            }
            labelled.model = labelled.model.or_else(|| model.clone());
            if labelled != **camera {
                changed.push(labelled);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fleet;
    use super::super::{Access, Fixed};
    use super::*;
    use crate::store::Method;

    fn says(key: u8, serial: &str, model: &str) -> Labels {
        [([key; 32], (Some(serial.to_owned()), Some(model.to_owned())))].into()
    }

    #[test]
    fn only_what_is_empty_is_filled_and_no_serial_twice() {
        let fleet = fleet(Fixed::default());
        let claimed = |name: &str, key: u8| Camera::claimed(name, "acme", [key; 32], Method::Fingerprint, 1);
        let imported = Camera {
            serial: Some("SN2".into()),
            model: Some("Dome".into()),
            ..claimed("back", 2)
        };
        let expected = Camera {
            state: CameraState::Reserved,
            fingerprint: None,
            serial: Some("SN3".into()),
            claimed: None,
            ..claimed("yard", 0)
        };
        let cameras = [claimed("front", 1), imported, expected, claimed("side", 4)];
        fleet.change(|store| Ok(store.put_cameras(&cameras)?)).unwrap();
        let shown = |name: &str| {
            let camera = fleet.camera(name).unwrap();
            (camera.serial.clone(), camera.model.clone())
        };
        let text = |text: &str| Some(text.to_owned());
        // Those of others, imported or expected, are not to be had; the model is.
        for taken in ["SN2", "SN3"] {
            fleet.write_labels(&says(1, taken, "Bullet")).unwrap();
            assert_eq!(shown("front"), (None, text("Bullet")));
        }
        fleet.write_labels(&says(1, "SN1", "Other")).unwrap();
        assert_eq!(shown("front"), (text("SN1"), text("Bullet")));
        // Nothing is changed that is there.
        for (name, key) in [("front", 1), ("back", 2)] {
            let before = shown(name);
            fleet.write_labels(&says(key, "SN9", "Fake")).unwrap();
            assert_eq!(shown(name), before);
        }
        assert!(fleet.labelled(&says(1, "SN9", "Fake")).is_empty());
        // Two that say the same at once, and one that was released meanwhile.
        fleet.release(&Access::operator(), "front").unwrap();
        let both = [says(1, "SN1", "A"), says(4, "SN1", "B")];
        let both: Labels = both.into_iter().flatten().collect();
        fleet.write_labels(&both).unwrap();
        assert_eq!(shown("side"), (text("SN1"), text("B")));
        assert!(fleet.camera("front").is_none());
    }
}
