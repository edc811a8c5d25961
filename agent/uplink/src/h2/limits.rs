//! What a peer may do per time. Each class of frame that costs work but moves nothing has a bucket of tokens that
//! fills with time, so that a long and busy connection never trips one and a flood does within a second.

use super::frame::Violation;
use crate::Now;

#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
}

const RESETS: Rate = Rate {
    burst: 100,
    per_second: 10,
};
const SETTINGS: Rate = Rate {
    burst: 20,
    per_second: 1,
};
const PINGS: Rate = Rate {
    burst: 100,
    per_second: 20,
};
const EMPTY_DATA: Rate = Rate {
    burst: 100,
    per_second: 20,
};
const OTHERS: Rate = Rate {
    burst: 200,
    per_second: 50,
};
/// Credit frames answer DATA, so what is sent earns more of them.
const WINDOW_UPDATES: Rate = Rate {
    burst: 16_384,
    per_second: 200,
};
const WINDOW_UPDATES_PER_DATA_FRAME: u32 = 4;

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled_at: Now,
}

impl Bucket {
    fn full(rate: Rate, now: Now) -> Self {
        Self {
            tokens: rate.burst,
            filled_at: now,
        }
    }

    fn earn(&mut self, rate: Rate, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(rate.burst);
    }

    /// Takes one token; `false` when there is none.
    fn spend(&mut self, rate: Rate, now: Now) -> bool {
        let passed_ms = now.saturating_sub(self.filled_at).as_millis();
        let earned = u32::try_from(passed_ms * u128::from(rate.per_second) / 1000).unwrap_or(u32::MAX);
        if earned > 0 {
            self.earn(rate, earned);
            self.filled_at = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Limits {
    resets: Bucket,
    settings: Bucket,
    pings: Bucket,
    empty_data: Bucket,
    others: Bucket,
    window_updates: Bucket,
}

fn check(allowed: bool, reason: &'static str) -> Result<(), Violation> {
    if allowed {
        Ok(())
    } else {
        Err(Violation::calm(reason))
    }
}

impl Limits {
    pub(super) fn new(now: Now) -> Self {
        Self {
            resets: Bucket::full(RESETS, now),
            settings: Bucket::full(SETTINGS, now),
            pings: Bucket::full(PINGS, now),
            empty_data: Bucket::full(EMPTY_DATA, now),
            others: Bucket::full(OTHERS, now),
            window_updates: Bucket::full(WINDOW_UPDATES, now),
        }
    }

    /// A stream that was opened for nothing: reset by the peer, refused, or malformed (CVE-2023-44487).
    pub(super) fn handle_reset(&mut self, now: Now) -> Result<(), Violation> {
        check(
            self.resets.spend(RESETS, now),
            "streams are opened and reset too fast",
        )
    }

    pub(super) fn handle_settings(&mut self, now: Now) -> Result<(), Violation> {
        check(self.settings.spend(SETTINGS, now), "SETTINGS flood")
    }

    pub(super) fn handle_ping(&mut self, now: Now) -> Result<(), Violation> {
        check(self.pings.spend(PINGS, now), "PING flood")
    }

    pub(super) fn handle_empty_data(&mut self, now: Now) -> Result<(), Violation> {
        check(self.empty_data.spend(EMPTY_DATA, now), "flood of empty DATA")
    }

    /// PRIORITY, unknown frames, GOAWAY, acknowledgements, frames on closed streams.
    pub(super) fn handle_other(&mut self, now: Now) -> Result<(), Violation> {
        check(self.others.spend(OTHERS, now), "flood of frames without effect")
    }

    pub(super) fn handle_window_update(&mut self, now: Now) -> Result<(), Violation> {
        check(
            self.window_updates.spend(WINDOW_UPDATES, now),
            "WINDOW_UPDATE flood",
        )
    }

    pub(super) fn earn_for_data_frame(&mut self) {
        self.window_updates
            .earn(WINDOW_UPDATES, WINDOW_UPDATES_PER_DATA_FRAME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_flood_trips_and_a_steady_pace_does_not() {
        let mut limits = Limits::new(Duration::ZERO);
        for at in 0..100_000u64 {
            limits.handle_ping(Duration::from_millis(at * 60)).unwrap();
            limits.handle_reset(Duration::from_millis(at * 110)).unwrap();
        }
        let now = Duration::from_secs(20_000);
        let taken = (0..1000)
            .take_while(|_| limits.handle_settings(now).is_ok())
            .count();
        assert_eq!(taken, 20);
    }

    #[test]
    fn sent_data_earns_credit_frames() {
        let mut limits = Limits::new(Duration::ZERO);
        for _ in 0..100_000 {
            limits.earn_for_data_frame();
            for _ in 0..4 {
                limits.handle_window_update(Duration::ZERO).unwrap();
            }
        }
    }
}
