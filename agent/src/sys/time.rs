//! Clocks, always with 64 bits of seconds: `std` on a 32-bit musl may read them with 32.

use core::time::Duration;

use nix::libc;

/// `adjtimex` says so when nothing keeps the clock right (`TIME_ERROR` of adjtimex(2)).
const TIME_ERROR: libc::c_long = 5;

/// Time since an arbitrary fixed start that never goes back.
#[must_use]
pub fn monotonic() -> Duration {
    let (seconds, nanos) = clock_gettime(libc::CLOCK_MONOTONIC);
    Duration::new(u64::try_from(seconds).unwrap_or(0), nanos)
}

/// Seconds since 1970 by the system clock, right or not.
#[must_use]
pub fn realtime() -> i64 {
    clock_gettime(libc::CLOCK_REALTIME).0
}

/// The same with its nanoseconds; never before 1970.
#[must_use]
pub fn since_1970() -> Duration {
    let (seconds, nanos) = clock_gettime(libc::CLOCK_REALTIME);
    Duration::new(u64::try_from(seconds).unwrap_or(0), nanos)
}

/// Whether the kernel believes that its clock is kept right. An error counts as yes, so that a certificate's end
/// date is then taken seriously.
#[must_use]
pub fn clock_synchronised() -> bool {
    // The kernel's `struct timex` has at most 208 bytes on any architecture.
    let mut timex = [0u64; 64];
    // SAFETY: the buffer is larger and no less aligned than any `struct timex`. `modes`, its first field, is zero,
    // so the call only reads the state. The raw call avoids libc's several layouts of the structure.
    let state = unsafe { libc::syscall(libc::SYS_adjtimex, timex.as_mut_ptr()) };
    state != TIME_ERROR
}

#[cfg(target_pointer_width = "64")]
fn clock_gettime(clock: libc::clockid_t) -> (i64, u32) {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid `timespec` for the call to write; both clocks used exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(target_pointer_width = "32")]
fn clock_gettime(clock: libc::clockid_t) -> (i64, u32) {
    #[cfg(any(target_arch = "mips", target_arch = "mips32r6"))]
    const CLOCK_GETTIME64: libc::c_long = 4403;
    #[cfg(not(any(target_arch = "mips", target_arch = "mips32r6")))]
    const CLOCK_GETTIME64: libc::c_long = 403;

    let mut time = [0i64; 2];
    // SAFETY: the kernel writes a `__kernel_timespec`, which is two 64-bit numbers, to the array.
    if unsafe { libc::syscall(CLOCK_GETTIME64, clock, time.as_mut_ptr()) } == 0 {
        // The second number's upper half is padding on 32-bit kernels.
        return (time[0], time[1] as u32);
    }
    // Linux before 5.1: 32-bit seconds. Taken as unsigned they last until 2106, and no clock is before 1970.
    let mut time = [0i32; 2];
    // SAFETY: the kernel writes an `old_timespec32`, which is two 32-bit numbers, to the array.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time.as_mut_ptr()) };
    (i64::from(time[0] as u32), time[1] as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_does_not_go_back() {
        let first = monotonic();
        assert!(first > Duration::ZERO);
        assert!(monotonic() >= first);
    }

    #[test]
    fn realtime_agrees_with_std() {
        let std = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(realtime().abs_diff(i64::try_from(std).unwrap()) <= 1);
    }

    #[test]
    fn the_state_of_the_clock_can_be_asked() {
        // Either answer is right on a build machine; it must not fault.
        let _ = clock_synchronised();
    }
}
