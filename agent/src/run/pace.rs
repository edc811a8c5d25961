//! How much to take from the bodies at a time, so that a slow link shows at once and a fast one costs few calls.
//!
//! Bytes are pulled as late as possible: nothing is pulled while ciphertext or unsent bytes wait. The kernel tells
//! unsent bytes from those in flight, so a long round trip does not look like a slow link.

use std::time::Duration;

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
            state: State::Open,
        }
    }

    /// The bytes to pull now, if any.
    pub(super) fn poll_pull(&mut self, now: Duration, writable: bool) -> Option<usize> {
        match self.state {
            State::Open => {}
            State::BlockedBySocket if writable => {}
            State::BlockedUntil(until) if now >= until => {}
            State::BlockedBySocket | State::BlockedUntil(_) => return None,
        }
        self.state = State::Open;
        Some(self.pull)
    }

    /// The socket refused bytes.
    pub(super) fn handle_refused(&mut self) {
        self.pull = MIN_PULL_BYTES;
        self.state = State::BlockedBySocket;
    }

    /// The socket took `written` bytes; `unsent` asks how many of them wait in it.
    pub(super) fn handle_written(
        &mut self,
        now: Duration,
        written: usize,
        has_lowat: bool,
        unsent: impl FnOnce() -> usize,
    ) -> Next {
        self.measure(now, written);
        self.since_asked += written;
        if self.since_asked < ASK_EVERY_BYTES {
            return Next::Go;
        }
        self.since_asked = 0;
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
            State::BlockedUntil(until) => Some(until),
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
        assert_eq!(pace.poll_pull(T0, true), Some(MIN_PULL_BYTES));
        for _ in 0..3 {
            assert_eq!(pace.handle_written(T0, 16_384, true, || 0), Next::Go);
        }
        assert_eq!(pace.poll_pull(T0, true), Some(CALM_PULL_BYTES));
        assert_eq!(pace.handle_written(T0, 32_768, true, || 20_000), Next::Arm);
        assert_eq!(pace.poll_pull(T0, false), None);
        assert_eq!(pace.poll_pull(T0, true), Some(MIN_PULL_BYTES));
    }

    #[test]
    fn a_busy_link_pulls_the_most_until_it_is_calm_again() {
        let mut pace = Pace::new();
        let mut now = T0;
        for _ in 0..16 {
            now += Duration::from_millis(10);
            pace.handle_written(now, 32_768, true, || 0);
        }
        assert_eq!(pace.poll_pull(now, true), Some(MAX_PULL_BYTES));
        for _ in 0..4 {
            now += Duration::from_millis(60);
            pace.handle_written(now, 20_000, true, || 0);
        }
        assert_eq!(pace.poll_pull(now, true), Some(CALM_PULL_BYTES));
    }

    #[test]
    fn small_writes_do_not_ask_the_kernel() {
        let mut pace = Pace::new();
        assert_eq!(pace.handle_written(T0, 1400, true, || unreachable!()), Next::Go);
    }

    #[test]
    fn an_old_kernel_is_waited_for_by_time() {
        let mut pace = Pace::new();
        assert_eq!(pace.handle_written(T0, 65_536, false, || 40_000), Next::Wait);
        assert_eq!(pace.poll_timeout(), Some(BLIND_WAIT));
        assert_eq!(pace.poll_pull(T0, true), None);
        assert_eq!(pace.poll_pull(BLIND_WAIT, true), Some(MIN_PULL_BYTES));
    }

    #[test]
    fn a_refusal_waits_for_the_socket() {
        let mut pace = Pace::new();
        pace.handle_refused();
        assert_eq!(pace.poll_pull(T0, false), None);
        assert!(pace.poll_pull(T0, true).is_some());
    }
}
