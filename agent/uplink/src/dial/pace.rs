//! How long to wait.

use super::Waiting;
use crate::Now;
use crate::rng::Rng;
use core::time::Duration;

/// The first backoff, before jitter.
pub const MIN_BACKOFF: Duration = Duration::from_secs(2);
/// The longest backoff, before jitter.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Jitter never makes a delay shorter than this.
pub const MIN_DELAY: Duration = Duration::from_millis(250);
/// The delay after 401 or 403, for the first [`SLOW_TRIES`] times.
pub const SLOW_DELAY: Duration = Duration::from_secs(60);
/// How often [`SLOW_DELAY`] applies before [`HOURLY`] does.
pub const SLOW_TRIES: u32 = 5;
/// The delay after more refusals, and the most a `Retry-After` can ask for.
pub const HOURLY: Duration = Duration::from_secs(3600);
/// A connection that lived this long makes the backoff start anew.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);
/// One that lived this long is replaced as quickly, a few times in a row: a streamer that is killed again and again is not
/// one that accepts and drops at once.
pub const LIVED: Duration = Duration::from_secs(2);
/// The longest delay before a streamer that was lost is replaced by another.
pub const QUICK_DELAY: Duration = Duration::from_secs(1);
/// How often in a row [`LIVED`] is enough, and how long until once more.
const SHORT_LIVES: u32 = 5;
const SHORT_LIFE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Pace {
    rng: Rng,
    failures: u32,
    refusals: u32,
    /// Short lives that may still be forgiven, and since when one more is being earned.
    short_lives: u32,
    earning_since: Now,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            failures: 0,
            refusals: 0,
            short_lives: SHORT_LIVES,
            earning_since: Now::ZERO,
        }
    }

    /// A connection has ended; whether it lived long enough for another one soon. A short life is forgiven a few times,
    /// and does not make the backoff start anew.
    pub(super) fn handle_end(&mut self, now: Now, lived: Duration) -> bool {
        while self.short_lives < SHORT_LIVES && now.saturating_sub(self.earning_since) >= SHORT_LIFE_EVERY {
            self.short_lives += 1;
            self.earning_since += SHORT_LIFE_EVERY;
        }
        if lived < STABLE_AFTER {
            if lived < LIVED || self.short_lives == 0 {
                return false;
            }
            if self.short_lives == SHORT_LIVES {
                self.earning_since = now;
            }
            self.short_lives -= 1;
            return true;
        }
        self.failures = 0;
        true
    }

    /// Before a streamer that was lost is replaced by another.
    pub(super) fn quick(&mut self) -> (Duration, Waiting) {
        (self.delay(QUICK_DELAY), Waiting::Backoff)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The gateway took this agent's credential.
    pub(super) fn reset_refusals(&mut self) {
        self.refusals = 0;
    }

    /// Doubling backoff with full jitter.
    pub(super) fn backoff(&mut self) -> (Duration, Waiting) {
        let longest = MIN_BACKOFF
            .saturating_mul(1 << self.failures.min(8))
            .min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        (self.delay(longest), Waiting::Backoff)
    }

    /// At least what the gateway asks for (up to an hour), and a tenth more so that not all cameras come at once.
    pub(super) fn unavailable(&mut self, retry_after: Option<Duration>) -> (Duration, Waiting) {
        let (backoff, _) = self.backoff();
        match retry_after
            .map(|asked| asked.min(HOURLY))
            .filter(|asked| *asked > backoff)
        {
            Some(asked) => (asked + self.jitter(asked / 10), Waiting::RetryAfter),
            None => (backoff, Waiting::Backoff),
        }
    }

    pub(super) fn refused(&mut self, retry_after: Option<Duration>) -> (Duration, Waiting) {
        let slow = if self.refusals < SLOW_TRIES {
            SLOW_DELAY
        } else {
            HOURLY
        };
        self.refusals = self.refusals.saturating_add(1);
        let delay = retry_after.map_or(slow, |asked| asked.clamp(SLOW_DELAY, HOURLY));
        (delay + self.jitter(delay / 10), Waiting::Unauthorized)
    }

    /// Evenly spread, so that many cameras do not come at the shortest delay together.
    fn delay(&mut self, longest: Duration) -> Duration {
        MIN_DELAY + self.jitter(longest.saturating_sub(MIN_DELAY))
    }

    fn jitter(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.up_to(micros))
    }
}
