//! What the operating system offers and `std` does not. The only place with unsafe code.

#![allow(unsafe_code)]

mod signals;
mod socket;
mod time;

pub use signals::{Signal, Signals};
pub use socket::{out_queue, set_notsent_lowat, unsent};
pub use time::{clock_synchronised, monotonic, realtime};

use ring::rand::SecureRandom as _;

/// Fills an array with random bytes from the kernel.
///
/// # Errors
/// When the kernel has no randomness to give, which is fatal for whoever asks.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("the kernel gives no random bytes"))?;
    Ok(bytes)
}
