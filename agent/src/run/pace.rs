//! How much to take from the bodies at a time, so that a slow link shows at once and a fast one costs few calls.
//!
//! Bytes are pulled as late as possible: nothing is pulled while ciphertext or unsent bytes wait. The kernel tells
//! unsent bytes from those in flight, so a long round trip does not look like a slow link.

use std::time::Duration;

use super::flight::{Flight, Look};
use super::tls_io::NOTSENT_LOWAT_BYTES;

/// Pulled at one time on a link that just refused bytes: one TLS record.
const MIN_PULL_BYTES: usize = 16 * 1024;
/// Pulled at one time on a link that takes all of it at once, while little is carried: a picture of a usual profile.
/// Should the link slow down, no more than this is already in the kernel.
const CALM_PULL_BYTES: usize = 32 * 1024;
/// The same while more than [`BUSY_BYTES_PER_S`] is carried: fewer calls, and still only some 60 ms of media.
const MAX_PULL_BYTES: usize = 64 * 1024;
/// See [`MAX_PULL_BYTES`].
const BUSY_BYTES_PER_S: u64 = 1024 * 1024;
/// The time over which the carried rate is measured, at least.
const RATE_WINDOW: Duration = Duration::from_millis(100);
/// Bytes written between two questions to the kernel, when they come in small pieces.
const ASK_EVERY_BYTES: usize = 8 * 1024;
/// How long to wait where the kernel cannot tell when unsent bytes have gone (before Linux 3.12).
const BLIND_WAIT: Duration = Duration::from_millis(10);

/// The pull size of one connection, and whether it may pull.
#[derive(Debug)]
pub(super) struct Pace {
    pull: usize,
    since_asked: usize,
    max_pull: usize,
    window_start: Duration,
    window_bytes: u64,
    flight: Flight,
    state: State,
}

/// Why nothing is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The socket refused bytes, or holds enough unsent ones: an event will say when it has room.
    BlockedBySocket,
    /// As above, on a kernel that sends no such event.
    BlockedUntil(Duration),
    /// Enough is on its way: look again then.
    BlockedByFlight(Duration),
}

/// What to do after bytes were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Pull more.
    Go,
    /// Stop, and ask the poller for a writable event.
    Arm,
    /// Stop until the pace's timeout.
    Wait,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            pull: MIN_PULL_BYTES,
            since_asked: 0,
            max_pull: CALM_PULL_BYTES,
            window_start: Duration::ZERO,
            window_bytes: 0,
            flight: Flight::default(),
            state: State::Open,
        }
    }

    /// The bytes to pull now, if any. `look` asks the kernel what is on its way.
    pub(super) fn poll_pull(
        &mut self,
        now: Duration,
        writable: bool,
        look: impl FnOnce() -> Option<Look>,
    ) -> Option<usize> {
        match self.state {
            State::Open => {}
            State::BlockedBySocket if writable => {}
            State::BlockedUntil(until) if now >= until => {}
            State::BlockedByFlight(until) if now >= until => {
                if let Some(wait) = look().and_then(|look| self.flight.handle_look(now, look)) {
                    self.state = State::BlockedByFlight(now + wait);
                    return None;
                }
            }
            State::BlockedBySocket | State::BlockedUntil(_) | State::BlockedByFlight(_) => return None,
        }
        self.state = State::Open;
        Some(self.pull)
    }

    /// Waits no longer for what it waits for.
    pub(super) fn open(&mut self) {
        self.state = State::Open;
    }

    /// The socket refused bytes.
    pub(super) fn handle_refused(&mut self) {
        self.pull = MIN_PULL_BYTES;
        self.state = State::BlockedBySocket;
    }

    /// The socket took `written` bytes; `unsent` asks how many of them wait in it, `look` what is on its way.
    pub(super) fn handle_written(
        &mut self,
        now: Duration,
        written: usize,
        has_lowat: bool,
        unsent: impl FnOnce() -> usize,
        look: impl FnOnce() -> Option<Look>,
    ) -> Next {
        self.measure(now, written);
        self.since_asked += written;
        if self.since_asked < ASK_EVERY_BYTES {
            return Next::Go;
        }
        self.since_asked = 0;
        if let Some(wait) = look().and_then(|look| self.flight.handle_look(now, look)) {
            self.pull = MIN_PULL_BYTES;
            self.state = State::BlockedByFlight(now + wait);
            return Next::Wait;
        }
        let unsent = unsent();
        if unsent == 0 {
            self.pull = (self.pull * 2).min(self.max_pull);
            return Next::Go;
        }
        self.pull = (self.pull / 2).max(MIN_PULL_BYTES);
        if unsent < NOTSENT_LOWAT_BYTES as usize {
            return Next::Go;
        }
        self.pull = MIN_PULL_BYTES;
        if has_lowat {
            self.state = State::BlockedBySocket;
            Next::Arm
        } else {
            self.state = State::BlockedUntil(now + BLIND_WAIT);
            Next::Wait
        }
    }

    fn measure(&mut self, now: Duration, written: usize) {
        self.window_bytes += written as u64;
        let elapsed = now.saturating_sub(self.window_start);
        if elapsed < RATE_WINDOW {
            return;
        }
        let busy = u128::from(self.window_bytes) * 1000 > u128::from(BUSY_BYTES_PER_S) * elapsed.as_millis();
        self.max_pull = if busy { MAX_PULL_BYTES } else { CALM_PULL_BYTES };
        self.window_start = now;
        self.window_bytes = 0;
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::BlockedUntil(until) | State::BlockedByFlight(until) => Some(until),
            State::Open | State::BlockedBySocket => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::ZERO;

    #[test]
    fn a_fast_link_pulls_more_and_a_slow_one_less() {
        let mut pace = Pace::new();
        assert_eq!(pace.poll_pull(T0, true, || None), Some(MIN_PULL_BYTES));
        for _ in 0..3 {
            assert_eq!(pace.handle_written(T0, 16_384, true, || 0, || None), Next::Go);
        }
        assert_eq!(pace.poll_pull(T0, true, || None), Some(CALM_PULL_BYTES));
        assert_eq!(
            pace.handle_written(T0, 32_768, true, || 20_000, || None),
            Next::Arm
        );
        assert_eq!(pace.poll_pull(T0, false, || None), None);
        assert_eq!(pace.poll_pull(T0, true, || None), Some(MIN_PULL_BYTES));
    }

    #[test]
    fn a_busy_link_pulls_the_most_until_it_is_calm_again() {
        let mut pace = Pace::new();
        let mut now = T0;
        for _ in 0..16 {
            now += Duration::from_millis(10);
            pace.handle_written(now, 32_768, true, || 0, || None);
        }
        assert_eq!(pace.poll_pull(now, true, || None), Some(MAX_PULL_BYTES));
        for _ in 0..4 {
            now += Duration::from_millis(60);
            pace.handle_written(now, 20_000, true, || 0, || None);
        }
        assert_eq!(pace.poll_pull(now, true, || None), Some(CALM_PULL_BYTES));
    }

    #[test]
    fn small_writes_do_not_ask_the_kernel() {
        let mut pace = Pace::new();
        assert_eq!(
            pace.handle_written(T0, 1400, true, || unreachable!(), || None),
            Next::Go
        );
    }

    #[test]
    fn an_old_kernel_is_waited_for_by_time() {
        let mut pace = Pace::new();
        assert_eq!(
            pace.handle_written(T0, 65_536, false, || 40_000, || None),
            Next::Wait
        );
        assert_eq!(pace.poll_timeout(), Some(BLIND_WAIT));
        assert_eq!(pace.poll_pull(T0, true, || None), None);
        assert_eq!(pace.poll_pull(BLIND_WAIT, true, || None), Some(MIN_PULL_BYTES));
    }

    #[test]
    fn a_refusal_waits_for_the_socket() {
        let mut pace = Pace::new();
        pace.handle_refused();
        assert_eq!(pace.poll_pull(T0, false, || None), None);
        assert!(pace.poll_pull(T0, true, || None).is_some());
    }

    #[test]
    fn a_queue_in_the_network_is_waited_for_without_the_socket() {
        let look = |sent_bytes, outstanding_bytes, rtt_ms| {
            move || {
                Some(Look {
                    sent_bytes,
                    outstanding_bytes,
                    rtt: Duration::from_millis(rtt_ms),
                })
            }
        };
        let at = Duration::from_millis;
        let mut pace = Pace::new();
        pace.handle_written(T0, 16_384, true, || 0, look(16_384, 16_384, 1));
        pace.handle_written(at(10), 16_384, true, || 0, look(32_768, 32_000, 10));
        let next = pace.handle_written(at(70), 16_384, true, || 0, look(49_152, 45_000, 60));
        assert_eq!(next, Next::Wait);
        let Some(until) = pace.poll_timeout() else {
            panic!("it looks again")
        };
        assert_eq!(pace.poll_pull(at(70), true, look(49_152, 45_000, 60)), None);
        assert_eq!(pace.poll_pull(until, true, look(49_152, 45_000, 60)), None);
        let until = pace.poll_timeout().unwrap();
        assert_eq!(
            pace.poll_pull(until, true, look(49_152, 9_000, 60)),
            Some(MIN_PULL_BYTES)
        );
    }
}
