//! Cameras that wait for an owner, and how often a PIN may be wrong. Tables of bounded size, no clock of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::Sha256Hash;

/// Most cameras that wait at a time.
pub const MAX_PENDING: usize = 4096;
/// Most of one address, or of one /48 of IPv6, which is what a site is given: a provider behind one NAT, but half of the
/// list at most. When it is full, those who have more than others make room for them.
pub const MAX_PER_SITE: usize = MAX_PENDING / 2;
/// One that finds no room may ask again after so many seconds.
pub const NO_ROOM_SECONDS: u64 = 300;
/// Cameras ask again within minutes; one that has not for so long is forgotten.
pub const FORGET_SECONDS: u64 = 1800;
/// The operator's system is asked about a camera no more often than this.
const ASK_SECONDS: u64 = 60;
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
    /// When the operator's system was asked about it last, by a clock that is never set.
    asked: Option<u64>,
}

/// The list.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: BTreeMap<Sha256Hash, Waiting>,
    per_site: BTreeMap<IpAddr, usize>,
}

impl Pending {
    /// A camera asked. Gives the seconds after which it may ask again, or `None` if there is no room for it.
    pub fn handle_seen(&mut self, now: u64, applicant: Applicant) -> Option<u64> {
        let (first_seen, asked) = match self.remove(&applicant.fingerprint) {
            Some(known) => (known.first_seen, known.asked),
            None => (now, None),
        };
        if self.waiting.len() >= MAX_PENDING {
            self.forget(now);
        }
        let site = site(applicant.address.ip());
        let here = self.per_site.get(&site).copied().unwrap_or_default();
        if here >= MAX_PER_SITE || (self.waiting.len() >= MAX_PENDING && !self.make_room(here)) {
            return None;
        }
        *self.per_site.entry(site).or_default() += 1;
        let waiting = Waiting {
            first_seen,
            last_seen: now,
            asked,
            applicant,
        };
        self.waiting.insert(waiting.applicant.fingerprint, waiting);
        Some(retry_after(now.saturating_sub(first_seen), self.waiting.len()))
    }

    /// True if the operator's system is to be asked about this camera, which is remembered: it has a place here, and was
    /// not asked about lately. `now` is of a clock that is never set.
    pub fn handle_offer(&mut self, now: u64, fingerprint: &Sha256Hash) -> bool {
        let Some(waiting) = self.waiting.get_mut(fingerprint) else {
            return false;
        };
        let lately = |asked| now.saturating_sub(asked) < ASK_SECONDS;
        if waiting.asked.is_some_and(lately) {
            return false;
        }
        waiting.asked = Some(now);
        true
    }

    /// Takes a camera out: claimed, or gone.
    pub fn remove(&mut self, fingerprint: &Sha256Hash) -> Option<Waiting> {
        let waiting = self.waiting.remove(fingerprint)?;
        let site = site(waiting.applicant.address.ip());
        if let Some(count) = self.per_site.get_mut(&site) {
            *count -= 1;
            if *count == 0 {
                self.per_site.remove(&site);
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

    /// Takes the newest of the site that has most out, for one of a site that has `here`; false if none has more.
    fn make_room(&mut self, here: usize) -> bool {
        let most = self.per_site.iter().max_by_key(|(_, count)| **count);
        let Some((most, _)) = most.filter(|(_, count)| **count > here + 1) else {
            return false;
        };
        let of_it = |waiting: &&Waiting| site(waiting.applicant.address.ip()) == *most;
        let newest = self.waiting.values().filter(of_it);
        let newest = newest.max_by_key(|waiting| (waiting.first_seen, waiting.applicant.fingerprint));
        let Some(fingerprint) = newest.map(|waiting| waiting.applicant.fingerprint) else {
            return false;
        };
        self.remove(&fingerprint).is_some()
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

/// What stands for one site: an address, or its whole /48 for IPv6.
pub(super) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80)),
        v4 => v4,
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

    fn at(n: u32, address: impl Into<IpAddr>) -> Applicant {
        Applicant {
            address: SocketAddr::new(address.into(), 1),
            ..applicant(n, 0)
        }
    }

    fn v6(site: u16, network: u16, host: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, host).into()
    }

    #[test]
    fn one_site_fills_half_at_most_and_others_come_in() {
        // An address; one written as IPv6; and a /48, each time from another /64 of it.
        let floods: [fn(u32) -> IpAddr; 3] = [
            |_| IpAddr::from([192, 0, 2, 1]),
            |_| "::ffff:192.0.2.1".parse().unwrap(),
            |n| v6(7, (n >> 4) as u16, n as u16),
        ];
        for flood in floods {
            let mut pending = Pending::default();
            for n in 0..10_000 {
                pending.handle_seen(1, at(n, flood(n)));
            }
            assert_eq!(pending.len(), MAX_PER_SITE);
            assert!(
                pending.handle_seen(1, at(3, flood(3))).is_some(),
                "who is in stays in"
            );
            assert!(pending.handle_seen(2, at(20_000, [198, 51, 100, 1])).is_some());
            assert!(pending.handle_seen(2, at(20_001, v6(8, 0, 1))).is_some());
        }
    }

    #[test]
    fn a_provider_behind_one_address_is_not_shut_out() {
        let mut pending = Pending::default();
        for n in 0..1500 {
            assert!(pending.handle_seen(1, at(n, [192, 0, 2, 1])).is_some(), "{n}");
        }
    }

    #[test]
    fn those_who_have_most_make_room_for_others() {
        let mut pending = Pending::default();
        // An honest camera behind a busy address, then two sites that take all they can.
        pending.handle_seen(1, at(99_999, [192, 0, 2, 1]));
        for n in 0..10_000 {
            pending.handle_seen(2, at(n, [192, 0, 2, 1]));
            pending.handle_seen(2, at(10_000 + n, v6(7, n as u16, 1)));
        }
        assert_eq!(pending.len(), MAX_PENDING);
        for n in 0..1000 {
            assert!(
                pending
                    .handle_seen(3, at(20_000 + n, 0x0a00_0000_u32.to_be_bytes()))
                    .is_some()
            );
            assert!(pending.handle_seen(3, at(30_000 + n, v6(8, 0, 0))).is_some());
            assert_eq!(pending.len(), MAX_PENDING);
        }
        assert!(
            pending.with_key(&applicant(99_999, 1).fingerprint).is_some(),
            "the first stays"
        );
        let counts: Vec<usize> = pending.per_site.values().copied().collect();
        assert_eq!(counts.iter().sum::<usize>(), MAX_PENDING);
        assert!(counts.iter().all(|count| *count >= 1000), "{counts:?}");
        // Nobody is put out by one of a site that has as many.
        for n in 40_000..60_000 {
            pending.handle_seen(4, at(n, [192, 0, 2, 1]));
        }
        let counts: Vec<usize> = pending.per_site.values().copied().collect();
        assert!(
            counts.iter().all(|count| (1000..1050).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn those_that_do_not_come_again_are_forgotten() {
        let mut pending = Pending::default();
        for n in 0..2 * MAX_PENDING as u32 {
            pending.handle_seen(1, applicant(n, n));
        }
        assert_eq!(pending.len(), MAX_PENDING, "each has one, so none makes room");
        assert_eq!(pending.handle_seen(2, applicant(50_000, u32::MAX)), None);
        let later = 2 + FORGET_SECONDS;
        assert!(pending.handle_seen(later, applicant(50_000, 7)).is_some());
        assert_eq!(pending.list(later).len(), 1);
        assert_eq!(pending.per_site.len(), 1);
    }

    #[test]
    fn who_has_a_place_is_asked_about_each_minute() {
        let mut pending = Pending::default();
        let key = applicant(1, 1).fingerprint;
        assert!(!pending.handle_offer(100, &key), "it has no place");
        pending.handle_seen(1, applicant(1, 1));
        assert!(pending.handle_offer(100, &key));
        pending.handle_seen(2, applicant(1, 1));
        assert!(!pending.handle_offer(100 + ASK_SECONDS - 1, &key));
        assert!(pending.handle_offer(100 + ASK_SECONDS, &key));
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
