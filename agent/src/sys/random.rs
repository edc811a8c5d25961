//! Random bytes from the kernel, and whether it has any yet.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ring::rand::SecureRandom as _;

/// Whether the kernel's generator can be asked without waiting.
#[derive(Debug)]
pub enum Entropy {
    /// It is seeded.
    Ready,
    /// It is not seeded yet: a camera that has just booted, without a source of randomness.
    Missing,
    /// There is nothing to ask.
    NoSource(io::Error),
}

/// Asks whether randomness is there, and never waits.
///
/// Linux before 3.17 has no `getrandom`. ring then waits for `/dev/random` once, without a limit, and reads
/// `/dev/urandom` afterwards; so both are looked at here first.
#[must_use]
pub fn entropy() -> Entropy {
    let mut byte = [0u8; 1];
    // SAFETY: the kernel writes at most one byte to a buffer of one byte.
    let got = unsafe {
        libc::syscall(
            libc::SYS_getrandom,
            byte.as_mut_ptr(),
            byte.len(),
            libc::GRND_NONBLOCK,
        )
    };
    if got == 1 {
        return Entropy::Ready;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Entropy::Missing,
        _ => device_entropy().unwrap_or_else(Entropy::NoSource),
    }
}

fn device_entropy() -> io::Result<Entropy> {
    let named =
        |path: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    File::open("/dev/urandom").map_err(named("/dev/urandom"))?;
    let random = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/random")
        .map_err(named("/dev/random"))?;
    let mut fds = [PollFd::new(random.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO)?;
    let ready = fds[0].any().unwrap_or(false);
    Ok(if ready { Entropy::Ready } else { Entropy::Missing })
}

/// Fills an array with random bytes from the kernel.
///
/// # Errors
/// When the kernel has no randomness to give, which is fatal for whoever asks.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_machine_has_randomness_by_either_way() {
        assert!(matches!(entropy(), Entropy::Ready));
        assert!(matches!(device_entropy(), Ok(Entropy::Ready)));
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
