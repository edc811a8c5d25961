//! Credit for `--bulk`: a receiver connects to the control port and writes, as decimal lines, how
//! many interleaved bytes it has received since PLAY. One receiver at a time.
//!
//! Because the count comes from the receiver itself and by a way of its own, the sender's pace is
//! the same for every peer that carries the bytes.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Bytes credited since PLAY, with a descriptor that becomes readable on news.
#[derive(Debug)]
pub struct Credit {
    received: AtomicU64,
    news: EventFd,
}

impl Credit {
    /// No credit yet.
    pub fn new() -> std::io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            received: AtomicU64::new(0),
            news: EventFd::from_flags(flags)?,
        })
    }

    /// Bytes the receiver has.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Begins anew, at PLAY.
    pub fn restart(&self) {
        self.received.store(0, Ordering::Relaxed);
    }

    /// The descriptor to poll for reading.
    pub fn news(&self) -> impl AsFd + '_ {
        self.news.as_fd()
    }

    /// Clears the descriptor.
    pub fn clear_news(&self) {
        // EAGAIN says that there was none.
        let _ = self.news.read();
    }

    /// Reads one receiver's lines to their end.
    pub fn serve(&self, stream: TcpStream) {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
            if let Ok(bytes) = line.trim().parse() {
                self.received.store(bytes, Ordering::Relaxed);
                let _ = self.news.write(1);
            }
            line.clear();
        }
    }
}
