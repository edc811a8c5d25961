//! Cameras that wait for an owner, and how often a PIN may be wrong. Tables of bounded size, no clock of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::Sha256Hash;
use crate::net::network;

/// Most cameras that wait at a time.
pub const MAX_PENDING: usize = 4096;
/// Most of one address, or of one /64 of IPv6: a site behind one router, but not a flood.
pub const MAX_PER_NETWORK: usize = 512;
/// Cameras ask again within minutes; one that has not for so long is forgotten.
pub const FORGET_SECONDS: u64 = 1800;
/// Wrong PINs for one camera within [`WRONG_PIN_SECONDS`].
pub const MAX_WRONG_PINS: u32 = 5;
/// Wrong PINs of one claimant within [`WRONG_PIN_SECONDS`].
pub const MAX_WRONG_PINS_BY: u32 = 20;
/// How long wrong PINs count.
pub const WRONG_PIN_SECONDS: u64 = 900;
/// Most cameras and claimants whose wrong PINs are counted at a time.
const MAX_COUNTED: usize = 8192;

/// A camera that nobody has claimed, as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// Proven in TLS.
    pub fingerprint: Sha256Hash,
    /// From where.
    pub address: SocketAddr,
    /// What it says.
    pub serial: Option<String>,
    /// What it says.
    pub model: Option<String>,
    /// What it says.
    pub agent_version: Option<String>,
    /// Shows that it has the PIN of its label.
    pub proof: Option<[u8; 32]>,
}

/// A camera in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who.
    pub applicant: Applicant,
    /// Seconds since 1970.
    pub first_seen: u64,
    /// Seconds since 1970.
    pub last_seen: u64,
}

/// The list.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: BTreeMap<Sha256Hash, Waiting>,
    per_network: BTreeMap<IpAddr, usize>,
}

impl Pending {
    /// A camera asked. Gives the seconds after which it may ask again, or `None` if there is no room for it.
    pub fn handle_seen(&mut self, now: u64, applicant: Applicant) -> Option<u64> {
        let first_seen = match self.remove(&applicant.fingerprint) {
            Some(known) => known.first_seen,
            None => now,
        };
        if self.waiting.len() >= MAX_PENDING {
            self.forget(now);
        }
        let network = network(applicant.address.ip());
        let here = self.per_network.get(&network).copied().unwrap_or_default();
        if self.waiting.len() >= MAX_PENDING || here >= MAX_PER_NETWORK {
            return None;
        }
        *self.per_network.entry(network).or_default() += 1;
        let waiting = Waiting {
            first_seen,
            last_seen: now,
            applicant,
        };
        self.waiting.insert(waiting.applicant.fingerprint, waiting);
        Some(retry_after(now.saturating_sub(first_seen), self.waiting.len()))
    }

    /// Takes a camera out: claimed, or gone.
    pub fn remove(&mut self, fingerprint: &Sha256Hash) -> Option<Waiting> {
        let waiting = self.waiting.remove(fingerprint)?;
        let network = network(waiting.applicant.address.ip());
        if let Some(count) = self.per_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&network);
            }
        }
        Some(waiting)
    }

    /// Who waits, the longest first.
    #[must_use]
    pub fn list(&mut self, now: u64) -> Vec<Waiting> {
        self.forget(now);
        let mut list: Vec<Waiting> = self.waiting.values().cloned().collect();
        list.sort_by_key(|waiting| (waiting.first_seen, waiting.applicant.fingerprint));
        list
    }

    /// Those that go by this serial. Anybody can say any serial, so there may be several.
    #[must_use]
    pub fn with_serial(&self, serial: &str) -> Vec<Waiting> {
        let same = |waiting: &&Waiting| waiting.applicant.serial.as_deref() == Some(serial);
        self.waiting.values().filter(same).cloned().collect()
    }

    /// The one with this key.
    #[must_use]
    pub fn with_key(&self, fingerprint: &Sha256Hash) -> Option<&Waiting> {
        self.waiting.get(fingerprint)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn forget(&mut self, now: u64) {
        let gone: Vec<Sha256Hash> = self
            .waiting
            .values()
            .filter(|waiting| now.saturating_sub(waiting.last_seen) > FORGET_SECONDS)
            .map(|waiting| waiting.applicant.fingerprint)
            .collect();
        for fingerprint in gone {
            self.remove(&fingerprint);
        }
    }
}

/// Soon while somebody stands beside it with the label, later when nobody comes, and never a storm.
fn retry_after(age: u64, waiting: usize) -> u64 {
    let base = match age {
        0..600 => 10,
        600..86_400 => 60,
        _ => 300,
    };
    base + waiting as u64 / 50
}

/// Counts wrong PINs.
#[derive(Debug, Default)]
pub struct WrongPins {
    counted: BTreeMap<String, (u64, u32)>,
}

impl WrongPins {
    /// Seconds to wait before another PIN is looked at for `camera`, by `claimant`.
    #[must_use]
    pub fn blocked(&self, now: u64, camera: &str, claimant: &str) -> Option<u64> {
        let left = |key: String, limit: u32| {
            let (since, count) = self.counted.get(&key)?;
            let left = (since + WRONG_PIN_SECONDS)
                .checked_sub(now)
                .filter(|left| *left > 0)?;
            (*count >= limit).then_some(left)
        };
        let (camera, claimant) = (camera_key(camera), claimant_key(claimant));
        left(camera, MAX_WRONG_PINS).max(left(claimant, MAX_WRONG_PINS_BY))
    }

    /// Counts one.
    pub fn handle_wrong(&mut self, now: u64, camera: &str, claimant: &str) {
        for key in [camera_key(camera), claimant_key(claimant)] {
            if self.counted.len() >= MAX_COUNTED && !self.counted.contains_key(&key) {
                self.forget(now);
            }
            let entry = self.counted.entry(key).or_insert((now, 0));
            if now.saturating_sub(entry.0) >= WRONG_PIN_SECONDS {
                *entry = (now, 0);
            }
            entry.1 = entry.1.saturating_add(1);
        }
    }

    fn forget(&mut self, now: u64) {
        self.counted
            .retain(|_, (since, _)| now.saturating_sub(*since) < WRONG_PIN_SECONDS);
        while self.counted.len() >= MAX_COUNTED {
            self.counted.pop_first();
        }
    }
}

fn camera_key(camera: &str) -> String {
    format!("camera {camera}")
}

fn claimant_key(claimant: &str) -> String {
    format!("by {claimant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(n: u32, address: u32) -> Applicant {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&n.to_be_bytes());
        Applicant {
            fingerprint,
            address: SocketAddr::new(IpAddr::V4(address.into()), 1),
            serial: Some(format!("SN{}", n % 7)),
            model: None,
            agent_version: None,
            proof: None,
        }
    }

    #[test]
    fn bounded_as_a_whole_and_by_address() {
        let mut pending = Pending::default();
        for n in 0..MAX_PER_NETWORK as u32 {
            assert!(pending.handle_seen(1, applicant(n, 1)).is_some());
        }
        assert_eq!(pending.handle_seen(1, applicant(9999, 1)), None);
        assert!(
            pending.handle_seen(1, applicant(0, 1)).is_some(),
            "who is in stays in"
        );
        for n in 1000..1000 + MAX_PENDING as u32 {
            pending.handle_seen(1, applicant(n, n));
        }
        assert_eq!(pending.len(), MAX_PENDING);
        assert_eq!(pending.handle_seen(2, applicant(50_000, 7)), None);
        let later = 2 + FORGET_SECONDS;
        assert!(pending.handle_seen(later, applicant(50_000, 7)).is_some());
        assert_eq!(pending.list(later).len(), 1);
        assert_eq!(pending.per_network.len(), 1);
    }

    #[test]
    fn found_by_serial_and_key_and_asked_later_and_later() {
        let mut pending = Pending::default();
        assert_eq!(pending.handle_seen(100, applicant(1, 1)), Some(10));
        pending.handle_seen(100, applicant(8, 2));
        assert_eq!(pending.with_serial("SN1").len(), 2);
        assert!(pending.with_serial("SN2").is_empty());
        assert_eq!(pending.handle_seen(100 + 600, applicant(1, 1)), Some(60));
        let seen = pending.with_key(&applicant(1, 1).fingerprint).unwrap();
        assert_eq!((seen.first_seen, seen.last_seen), (100, 700));
        pending.remove(&applicant(1, 1).fingerprint);
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn wrong_pins_are_limited_by_camera_and_by_claimant() {
        let mut wrong = WrongPins::default();
        for _ in 0..MAX_WRONG_PINS {
            assert_eq!(wrong.blocked(0, "SN1", "t1"), None);
            wrong.handle_wrong(0, "SN1", "t1");
        }
        assert_eq!(wrong.blocked(1, "SN1", "t2"), Some(WRONG_PIN_SECONDS - 1));
        assert_eq!(wrong.blocked(1, "SN2", "t1"), None);
        for n in 0..MAX_WRONG_PINS_BY {
            wrong.handle_wrong(10, &format!("X{n}"), "t1");
        }
        assert!(wrong.blocked(11, "SN2", "t1").is_some());
        assert_eq!(wrong.blocked(11, "SN2", "t2"), None);
        assert_eq!(wrong.blocked(WRONG_PIN_SECONDS + 10, "SN1", "t1"), None);
        for n in 0..MAX_COUNTED as u32 * 2 {
            wrong.handle_wrong(20, &n.to_string(), &n.to_string());
        }
        assert!(wrong.counted.len() <= MAX_COUNTED);
    }
}
