//! Signals as a readable descriptor, so that the event loop sees them like any other event.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use nix::sys::signal::{self, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A signal that the agent acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end orderly.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: log the counters.
    Report,
    /// SIGUSR2: dial at once.
    Reconnect,
    /// SIGCHLD: a process started from here has ended.
    Child,
}

/// The signals that have arrived. Register it with mio for readability.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Takes SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 away from their default actions, and ignores SIGPIPE.
    ///
    /// It must be called before any other thread starts: threads started later inherit the block.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        Self::of(&[])
    }

    /// The same and SIGCHLD, for who starts processes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn with_children() -> io::Result<Self> {
        Self::of(&[signal::Signal::SIGCHLD])
    }

    fn of(more: &[signal::Signal]) -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            signal::Signal::SIGTERM,
            signal::Signal::SIGINT,
            signal::Signal::SIGHUP,
            signal::Signal::SIGUSR1,
            signal::Signal::SIGUSR2,
        ]
        .iter()
        .chain(more)
        {
            set.add(*signal);
        }
        set.thread_block()?;
        // SAFETY: ignoring a signal installs no handler, so nothing runs asynchronously.
        unsafe { signal::signal(signal::Signal::SIGPIPE, signal::SigHandler::SigIgn) }?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd })
    }

    /// The next signal, or `None` when there is none left.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn poll(&mut self) -> io::Result<Option<Signal>> {
        loop {
            let Some(info) = self.fd.read_signal()? else {
                return Ok(None);
            };
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match signal::Signal::try_from(number) {
                Ok(signal::Signal::SIGTERM | signal::Signal::SIGINT) => return Ok(Some(Signal::Terminate)),
                Ok(signal::Signal::SIGHUP) => return Ok(Some(Signal::Reload)),
                Ok(signal::Signal::SIGUSR1) => return Ok(Some(Signal::Report)),
                Ok(signal::Signal::SIGUSR2) => return Ok(Some(Signal::Reconnect)),
                Ok(signal::Signal::SIGCHLD) => return Ok(Some(Signal::Child)),
                _ => {}
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl event::Source for Signals {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.fd.as_fd().as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.fd.as_fd().as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.fd.as_fd().as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn signals_of_this_thread_arrive_through_mio() {
        let mut signals = Signals::new().unwrap();
        let mut poll = mio::Poll::new().unwrap();
        poll.registry()
            .register(&mut signals, Token(7), Interest::READABLE)
            .unwrap();
        assert_eq!(signals.poll().unwrap(), None);
        // `raise` signals the calling thread alone, which has it blocked; other tests are not disturbed.
        signal::raise(signal::Signal::SIGHUP).unwrap();
        signal::raise(signal::Signal::SIGUSR1).unwrap();
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(
            events
                .iter()
                .any(|event| event.token() == Token(7) && event.is_readable())
        );
        let mut seen = Vec::new();
        while let Some(signal) = signals.poll().unwrap() {
            seen.push(signal);
        }
        assert_eq!(seen, [Signal::Reload, Signal::Report]);
    }
}
