//! Waiting for something to become true, with a deadline and a name for what did not happen.

use std::time::{Duration, Instant};

/// How often a condition that cannot be waited on is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value; panics with `what` when `limit` passes first.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    match within(limit, &mut probe) {
        Some(value) => value,
        None => panic!("{what}: did not happen within {limit:?}"),
    }
}

/// Waits until `probe` gives a value or `limit` passes.
pub fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Lets time pass because time itself is what is measured (a rate, a bound, a quiet period).
pub fn measure_for(span: Duration) {
    std::thread::sleep(span);
}
