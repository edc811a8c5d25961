//! Limits on failed logins per address; a table of bounded size that forgets the oldest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::net::network;

/// Failed logins within [`WINDOW`] after which an address is refused.
pub const MAX_FAILURES: u32 = 10;
/// How long failures count, and how long an address stays refused.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses remembered.
pub const MAX_ADDRESSES: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Duration,
    failures: u32,
}

/// Counts failures. `now` is monotonic since any fixed start.
#[derive(Debug, Default)]
pub struct Throttle {
    entries: BTreeMap<IpAddr, Entry>,
}

impl Throttle {
    /// How long `address` must still wait; `None` if it may try.
    #[must_use]
    pub fn blocked(&self, now: Duration, address: IpAddr) -> Option<Duration> {
        let entry = self.entries.get(&network(address))?;
        let left = (entry.since + WINDOW)
            .checked_sub(now)
            .filter(|left| !left.is_zero())?;
        (entry.failures >= MAX_FAILURES).then_some(left)
    }

    /// Counts one failed login.
    pub fn handle_failure(&mut self, now: Duration, address: IpAddr) {
        let key = network(address);
        if !self.entries.contains_key(&key) && self.entries.len() >= MAX_ADDRESSES {
            self.forget(now);
        }
        let entry = self.entries.entry(key).or_insert(Entry {
            since: now,
            failures: 0,
        });
        if now.saturating_sub(entry.since) >= WINDOW {
            *entry = Entry {
                since: now,
                failures: 0,
            };
        }
        entry.failures = entry.failures.saturating_add(1);
        if entry.failures == MAX_FAILURES {
            entry.since = now;
        }
    }

    /// A login that worked clears the address.
    pub fn handle_success(&mut self, address: IpAddr) {
        self.entries.remove(&network(address));
    }

    fn forget(&mut self, now: Duration) {
        self.entries
            .retain(|_, entry| now.saturating_sub(entry.since) < WINDOW);
        while self.entries.len() >= MAX_ADDRESSES {
            let Some(oldest) = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.since)
                .map(|(key, _)| *key)
            else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_after_the_limit_and_forgives() {
        let mut throttle = Throttle::default();
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let now = Duration::from_secs(100);
        for _ in 1..MAX_FAILURES {
            throttle.handle_failure(now, address);
        }
        assert_eq!(throttle.blocked(now, address), None);
        throttle.handle_failure(now, neighbour);
        assert_eq!(throttle.blocked(now, address), Some(WINDOW));
        assert_eq!(throttle.blocked(now + WINDOW, address), None);
        throttle.handle_failure(now + WINDOW, address);
        assert_eq!(throttle.blocked(now + WINDOW, address), None);
        throttle.handle_success(address);
        assert!(throttle.entries.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..(MAX_ADDRESSES as u32 + 10) {
            throttle.handle_failure(Duration::from_millis(u64::from(n)), IpAddr::V4(n.into()));
        }
        assert!(throttle.entries.len() <= MAX_ADDRESSES);
    }
}
