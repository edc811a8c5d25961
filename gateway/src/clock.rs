//! The time of day. Cores take it as a parameter.
//!
//! A machine without a battery for its clock starts in 1970, and a wrong digit makes it 2040. What is issued at such a
//! time does harm for long: a camera that has followed a word of 2040 follows none of today. So nothing is issued then.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

/// 2026-01-01: this program is not older.
pub const EARLIEST: u64 = 1_767_225_600;
/// 2038-01-01: nobody runs this program then, before the signed 32-bit count of seconds ends.
pub const LATEST: u64 = 2_145_916_800;

/// The time cannot be right.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the clock of this machine says {}, which cannot be; set it (timedatectl set-ntp true), nothing was changed or issued",
    date(*.0)
)]
pub struct WrongClock(pub u64);

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    unix(SystemTime::now())
}

/// A time in seconds since 1970.
#[must_use]
pub fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since: Duration| since.as_secs())
}

/// True for a time at which something may be issued.
#[must_use]
pub fn is_plausible(now: u64) -> bool {
    (EARLIEST..LATEST).contains(&now)
}

/// Gives the time back.
///
/// # Errors
/// It cannot be right.
pub fn check(now: u64) -> Result<u64, WrongClock> {
    if is_plausible(now) {
        Ok(now)
    } else {
        Err(WrongClock(now))
    }
}

/// A time for people, in UTC.
#[must_use]
pub fn date(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Civil from days: years that begin in March, in eras of 400.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 {
        (month + 3, year + era * 400)
    } else {
        (month - 9, year + era * 400 + 1)
    };
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}Z",
        seconds / 3600,
        seconds % 3600 / 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (unix, text) in [
            (0, "1970-01-01 00:00Z"),
            (951_782_400, "2000-02-29 00:00Z"),
            (EARLIEST, "2026-01-01 00:00Z"),
            (1_798_761_599, "2026-12-31 23:59Z"),
            (LATEST, "2038-01-01 00:00Z"),
            (4_102_444_800, "2100-01-01 00:00Z"),
        ] {
            assert_eq!(date(unix), text);
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (now, year) in [(5, "1970"), (EARLIEST - 1, "2025"), (2_208_988_800, "2040")] {
            let said = check(now).unwrap_err().to_string();
            assert!(
                said.contains(&format!("says {year}-")) && said.contains("timedatectl"),
                "{said}"
            );
        }
        assert_eq!(check(EARLIEST), Ok(EARLIEST));
        assert_eq!(unix(UNIX_EPOCH - Duration::from_secs(9)), 0);
    }
}
