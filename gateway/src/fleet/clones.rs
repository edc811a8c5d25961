//! Two devices with one key: a cloned image. It is told, and nothing else: both are served, and neither is banned.
//!
//! A device is told from another by its boot. A camera that reboots has two for a while, but the old one answers no
//! more; so two count only when both have answered all through a minute, here or at two streamers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use super::Fleet;
use crate::clock::unix_now;
use crate::roles::message::ToStreamer;
use crate::uplink::link::PING_AFTER;
use crate::uplink::upgrade::is_boot;

/// How long two boots of one camera must both answer before they count as two devices, unless
/// [`Fixed`](super::Fixed) says otherwise.
pub const CLONE_AFTER_SECONDS: u64 = 60;
/// A boot that was not heard of for longer has ended: two looks, and a streamer's answer.
const GAP_SECONDS: u64 = 30;
/// To count, a boot must have been heard of this lately: at the last look, or the one before.
const STILL_SECONDS: u64 = 15;
/// An uplink that gave a byte within this has answered: an idle one is asked after [`PING_AFTER`].
pub const ANSWERED: Duration = PING_AFTER.saturating_add(Duration::from_secs(3));
/// Most cameras that are looked at closely at a time.
const MAX_CAMERAS: usize = 1024;
/// Most boots of one camera.
const MAX_BOOTS: usize = 8;

/// Which boots of which cameras have answered, and since when. No clock of its own.
#[derive(Debug)]
pub(super) struct Clones {
    heard: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
    after_seconds: u64,
}

impl Clones {
    /// Two boots are two devices after so many seconds.
    pub(super) fn new(after_seconds: u64) -> Self {
        Self {
            heard: BTreeMap::new(),
            after_seconds,
        }
    }

    /// These boots of a camera answer. True if two have done so for long enough.
    fn handle_heard(&mut self, now: u64, camera: &str, boots: &[String]) -> bool {
        if self.heard.len() >= MAX_CAMERAS && !self.heard.contains_key(camera) {
            return false;
        }
        let heard = self.heard.entry(camera.to_owned()).or_default();
        heard.retain(|_, (_, last)| now.saturating_sub(*last) <= GAP_SECONDS);
        for boot in boots {
            if heard.len() < MAX_BOOTS || heard.contains_key(boot) {
                heard.entry(boot.clone()).or_insert((now, now)).1 = now;
            }
        }
        let since = |then: &u64| now.saturating_sub(*then);
        let lasting = heard
            .values()
            .filter(|(first, last)| since(first) >= self.after_seconds && since(last) <= STILL_SECONDS);
        lasting.count() > 1
    }

    /// Forgets cameras of which nothing was heard lately.
    fn forget(&mut self, now: u64) {
        let lately = |(_, last): &(u64, u64)| now.saturating_sub(*last) <= GAP_SECONDS;
        self.heard.retain(|_, heard| heard.values().any(lately));
    }
}

impl Fleet {
    /// Looks for cameras that are there twice: here by their uplinks, elsewhere by asking the streamers. `now` is
    /// monotonic, in seconds.
    pub fn look_for_clones(&self, now: u64) {
        self.clones().forget(now);
        for (camera, boots) in self.registry.of_two_boots(ANSWERED) {
            self.handle_boots(now, &camera, &boots);
        }
        let here: BTreeSet<String> = self.registry.online().into_iter().collect();
        let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (camera, streamers) in self.streamers.at_two_places(&here, MAX_CAMERAS) {
            if here.contains(&camera) {
                self.handle_boots(now, &camera, &self.registry.boots(&camera, ANSWERED));
            }
            for streamer in streamers {
                asked.entry(streamer).or_default().push(camera.clone());
            }
        }
        for (streamer, cameras) in asked {
            if !self.streamers.tell(&streamer, ToStreamer::Boots(cameras)) {
                debug!(
                    streamer,
                    "it is asked about two devices with one key another time"
                );
            }
        }
    }

    /// A streamer's answer: which boots of cameras answer there. Of cameras that it has not, it has nothing to say.
    pub fn handle_boots_told(&self, streamer: &str, told: &[(String, Vec<String>)]) {
        let now = self.start.elapsed().as_secs();
        for (camera, boots) in told {
            let are_boots = boots.iter().all(|boot| is_boot(boot));
            let is_known = self.registry.index(camera).is_some() && self.streamers.has(streamer, camera);
            if are_boots && is_known {
                self.handle_boots(now, camera, boots);
            }
        }
    }

    /// A streamer has seen that these cameras are there twice. The same holds.
    pub fn handle_clones_told(&self, streamer: &str, cameras: &[String]) {
        for camera in cameras {
            if self.streamers.has(streamer, camera) {
                self.note_clone(camera);
            }
        }
    }

    pub(super) fn handle_boots(&self, now: u64, camera: &str, boots: &[String]) {
        let twice = self.clones().handle_heard(now, camera, boots);
        if twice {
            self.note_clone(camera);
        }
    }

    /// A camera is there twice.
    fn note_clone(&self, camera: &str) {
        let Some(index) = self.registry.index(camera) else {
            return;
        };
        if self.registry.set_cloned(index, unix_now().max(1)) {
            self.metrics.clones.inc();
            warn!(
                camera,
                "two devices use this camera's key: a cloned image; give one of them a key of its own"
            );
        }
    }

    fn clones(&self) -> MutexGuard<'_, Clones> {
        self.clones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Fixed;
    use super::*;
    use crate::roles::message::{Hello, VERSION};

    fn boots(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn two_that_answer_all_through_a_minute_are_two_devices() {
        let mut clones = Clones::new(CLONE_AFTER_SECONDS);
        for now in (0..60).step_by(10) {
            assert!(!clones.handle_heard(now, "c", &boots(&["a", "b"])), "{now}");
        }
        assert!(clones.handle_heard(60, "c", &boots(&["a", "b"])));
        // Told by two streamers, each of its own.
        for now in (100..160).step_by(10) {
            assert!(!clones.handle_heard(now, "d", &boots(&["a"])));
            assert!(!clones.handle_heard(now + 1, "d", &boots(&["b"])));
        }
        assert!(!clones.handle_heard(160, "d", &boots(&["a"])));
        assert!(clones.handle_heard(161, "d", &boots(&["b"])));
        clones.forget(161 + GAP_SECONDS + 1);
        assert!(clones.heard.is_empty());
    }

    /// A dead boot's uplink is found out within [`ANSWERED`], however fast the camera reboots.
    #[test]
    fn a_camera_that_reboots_again_and_again_is_one() {
        for every in [5, 15, 25, 40, 60, 90] {
            let mut clones = Clones::new(CLONE_AFTER_SECONDS);
            for now in (0..7200).step_by(5) {
                let answers = |boot: &u64| now < (boot + 1) * every + ANSWERED.as_secs();
                let seen: Vec<String> = (0..=now / every)
                    .filter(answers)
                    .map(|boot| boot.to_string())
                    .collect();
                assert!(!clones.handle_heard(now, "c", &seen), "every {every} s, at {now}");
            }
        }
        // One that was off for long and one that came in its place.
        let mut clones = Clones::new(CLONE_AFTER_SECONDS);
        for now in (0..600).step_by(10) {
            let there = if now < 300 { "a" } else { "b" };
            assert!(!clones.handle_heard(now, "c", &boots(&[there])));
        }
    }

    #[tokio::test]
    async fn a_streamer_has_nothing_to_say_of_cameras_that_it_has_not() {
        let fixed = Fixed {
            cameras: vec!["porch".into(), "back".into(), "gate".into()],
            clone_after_seconds: Some(0),
            ..Fixed::default()
        };
        let fleet = Fleet::fixed_only(fixed, Arc::default(), Arc::default()).unwrap();
        let hello = Hello {
            v: VERSION,
            name: "s1".into(),
            uplink_url: "https://s1/".into(),
            rtsp_url: None,
            http_url: None,
            capacity: 9,
        };
        let (id, _orders) = fleet.streamers().join(hello).unwrap();
        let online = boots(&["porch", "gate", "nobody"]);
        fleet.streamers().handle_online("s1", id, online);
        let two = vec!["ab".repeat(16), "cd".repeat(16)];
        let clones = || fleet.registry.clones();
        fleet.handle_boots_told(
            "s1",
            &[("back".into(), two.clone()), ("nobody".into(), two.clone())],
        );
        fleet.handle_boots_told("s2", &[("porch".into(), two.clone())]);
        fleet.handle_boots_told("s1", &[("porch".into(), boots(&["no", "boots"]))]);
        fleet.handle_clones_told("s1", &boots(&["back", "nobody"]));
        fleet.handle_clones_told("s2", &boots(&["porch"]));
        assert_eq!(clones(), boots(&[]));
        fleet.handle_boots_told("s1", &[("porch".into(), two)]);
        fleet.handle_clones_told("s1", &boots(&["gate"]));
        assert_eq!(clones(), ["gate", "porch"]);
    }

    #[test]
    fn bounded() {
        let mut clones = Clones::new(CLONE_AFTER_SECONDS);
        for n in 0..2 * MAX_CAMERAS {
            clones.handle_heard(1, &n.to_string(), &boots(&["a", "b"]));
        }
        for n in 0..2 * MAX_BOOTS {
            clones.handle_heard(1, "0", &[n.to_string()]);
        }
        assert_eq!(
            (clones.heard.len(), clones.heard["0"].len()),
            (MAX_CAMERAS, MAX_BOOTS)
        );
    }

    #[tokio::test]
    async fn two_streamers_are_asked_and_the_endpoint_tells() {
        let fixed = Fixed {
            cameras: vec!["porch".into(), "back".into()],
            ..Fixed::default()
        };
        let fleet = Fleet::fixed_only(fixed, Arc::default(), Arc::default()).unwrap();
        let join = |name: &str| {
            let hello = Hello {
                v: VERSION,
                name: name.into(),
                uplink_url: format!("https://{name}/"),
                rtsp_url: None,
                http_url: None,
                capacity: 9,
            };
            fleet.streamers().join(hello).unwrap()
        };
        let ((one, mut orders_one), (two, mut orders_two)) = (join("s1"), join("s2"));
        let online = |name: &str, id, cameras: &[&str]| {
            fleet.streamers().handle_online(name, id, boots(cameras));
        };
        online("s1", one, &["porch", "back"]);
        fleet.look_for_clones(0);
        assert!(orders_one.try_recv().is_err(), "nothing is odd yet");
        online("s2", two, &["porch"]);
        let cloned = || fleet.registry.cloned(fleet.registry.index("porch").unwrap());
        for now in (0..=60).step_by(10) {
            assert_eq!(cloned(), None, "{now}");
            fleet.look_for_clones(now);
            for orders in [&mut orders_one, &mut orders_two] {
                assert_eq!(orders.try_recv().unwrap(), ToStreamer::Boots(boots(&["porch"])));
                assert!(orders.try_recv().is_err());
            }
            for boot in ["a", "b"] {
                fleet.handle_boots(now, "porch", &boots(&[boot]));
            }
        }
        assert!(cloned().is_some());
        assert!(fleet.metrics.encode().contains("clones_total 1"));
    }
}
