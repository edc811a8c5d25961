//! What time it is, for judging certificates on a camera that may have no clock.
//!
//! Time is the later of the system clock and a *floor*. The floor is the build time, or the `notBefore` of the
//! last certificate that a CA vouched for. It is never the system time itself: a clock that once said 2099 would
//! lock the camera out for ever. The clock is read and never set.

use std::sync::{Mutex, PoisonError};

use crate::sys;

/// The time this program was built, in seconds since 1970.
pub const BUILD_TIME: i64 = parse_epoch(env!("LENSCAP_BUILD_EPOCH"));

/// The agent's idea of the time.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    build_time: i64,
    /// A mutex, as the 32-bit targets have no 64-bit atomics.
    leaf_not_before: Mutex<i64>,
}

/// Where the time of day comes from.
#[derive(Debug)]
enum Source {
    System,
    /// The time, and whether something keeps it right.
    Fixed(Mutex<(i64, bool)>),
}

impl Clock {
    /// The kernel's clock, above the build time of this program.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System,
            build_time: BUILD_TIME,
            leaf_not_before: Mutex::new(i64::MIN),
        }
    }

    /// A clock that stands still: for tests and simulations.
    #[must_use]
    pub fn fixed(realtime: i64, build_time: i64, synchronised: bool) -> Self {
        Self {
            source: Source::Fixed(Mutex::new((realtime, synchronised))),
            build_time,
            leaf_not_before: Mutex::new(i64::MIN),
        }
    }

    /// Sets a clock that stands still; the kernel's is never set.
    pub fn set(&self, realtime: i64, synchronised: bool) {
        if let Source::Fixed(set) = &self.source {
            *set.lock().unwrap_or_else(PoisonError::into_inner) = (realtime, synchronised);
        }
    }

    /// The system clock as it stands, in seconds since 1970, whatever it says.
    #[must_use]
    pub fn realtime(&self) -> i64 {
        match &self.source {
            Source::System => sys::realtime(),
            Source::Fixed(set) => set.lock().unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Whether the kernel says that something (NTP, usually) keeps its clock right.
    #[must_use]
    pub fn synchronised(&self) -> bool {
        match &self.source {
            Source::System => sys::clock_synchronised(),
            Source::Fixed(set) => set.lock().unwrap_or_else(PoisonError::into_inner).1,
        }
    }

    /// When the program was built.
    #[must_use]
    pub fn build_time(&self) -> i64 {
        self.build_time
    }

    /// The time below which it cannot be.
    #[must_use]
    pub fn floor(&self) -> i64 {
        let leaf = self
            .leaf_not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.build_time.max(*leaf)
    }

    /// The time for certificate checks: the later of the system clock and the floor.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.realtime().max(self.floor())
    }

    /// Whether the system clock stands before the build time, and so cannot be right.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        self.realtime() < self.build_time
    }

    /// Notes the `notBefore` of a server certificate that a CA vouched for.
    pub fn note_verified_leaf(&self, not_before: i64) {
        *self
            .leaf_not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = not_before;
    }
}

/// A date as `2026-11-22` (ISO 8601), for seconds since 1970.
#[must_use]
pub fn date(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time as `2026-11-22T10:30:00Z` (RFC 3339), for seconds since 1970.
#[must_use]
pub fn timestamp(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{}T{:02}:{:02}:{:02}Z",
        date(seconds),
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Year, month and day of the Gregorian calendar, from days since 1970.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years that start on the first of March, so that the leap day is the last.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// `str::parse` for constants. Not a number: 0, which `build.rs` never writes.
const fn parse_epoch(text: &str) -> i64 {
    let bytes = text.as_bytes();
    let mut value = 0i64;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() || value > i64::MAX / 10 - 10 {
            return 0;
        }
        value = value * 10 + (bytes[at] - b'0') as i64;
        at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: i64 = 1_700_000_000;

    #[test]
    fn the_build_time_is_known() {
        assert!(Clock::system().build_time() > 1_600_000_000, "{BUILD_TIME}");
        assert_eq!(parse_epoch("1234567890123"), 1_234_567_890_123);
        assert_eq!(parse_epoch("12a"), 0);
        assert_eq!(parse_epoch("99999999999999999999999"), 0);
    }

    #[test]
    fn a_camera_without_a_clock_is_at_the_build_time() {
        let clock = Clock::fixed(0, BUILD, false);
        assert!(clock.is_unset());
        assert_eq!(clock.now(), BUILD);
    }

    #[test]
    fn a_verified_leaf_moves_the_floor_both_ways_but_never_below_the_build() {
        let clock = Clock::fixed(0, BUILD, false);
        clock.note_verified_leaf(BUILD + 50);
        assert_eq!(clock.now(), BUILD + 50);
        clock.note_verified_leaf(BUILD - 50);
        assert_eq!(clock.now(), BUILD);
    }

    #[test]
    fn a_clock_far_ahead_does_not_become_the_floor() {
        let clock = Clock::fixed(BUILD * 2, BUILD, false);
        assert_eq!(clock.now(), BUILD * 2);
        assert_eq!(clock.floor(), BUILD);
    }

    #[test]
    fn times_are_written() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn the_system_clock_is_read() {
        let clock = Clock::system();
        assert!(clock.realtime() >= BUILD_TIME);
        assert_eq!(clock.now(), clock.realtime().max(BUILD_TIME));
    }
}
