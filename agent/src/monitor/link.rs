//! The agent's end of the socketpair.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use super::message::{Health, MESSAGE_BYTES, Order, Report};
use crate::{files, logging, sys};

/// How long the monitor may take to look at the files. It takes a millisecond; after this the old ones do.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(250);
/// Orders that may wait; one more ends the agent, as the monitor has lost its mind.
const MAX_ORDERS: usize = 64;

/// The way to the monitor.
#[derive(Debug)]
pub struct Link {
    fd: BorrowedFd<'static>,
    waiting: RefCell<VecDeque<Order>>,
    said: RefCell<Option<Health>>,
    /// The monitor is gone, or talks nonsense.
    lost: Cell<bool>,
}

impl Link {
    /// Takes standard input, where the monitor puts the channel: the one descriptor that needs no number to be told,
    /// and no unsafe code to be inherited. `None` if it is something else.
    #[must_use]
    pub fn from_stdin() -> Option<Self> {
        // Standard input is never closed, so it can be borrowed for the life of the process.
        static STDIN: std::sync::OnceLock<io::Stdin> = std::sync::OnceLock::new();
        let stdin = STDIN.get_or_init(io::stdin);
        sys::is_channel(stdin).then(|| Self {
            fd: stdin.as_fd(),
            waiting: RefCell::new(VecDeque::new()),
            said: RefCell::new(None),
            lost: Cell::new(false),
        })
    }

    /// The descriptor, for a poller.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The next order. Files are put into the thread's table ([`files`]) and never seen here.
    ///
    /// # Errors
    /// When the monitor is gone or cannot be understood: the agent ends.
    pub fn poll_order(&self) -> io::Result<Option<Order>> {
        match self.waiting.borrow_mut().pop_front() {
            Some(order) => Ok(Some(order)),
            None => self.receive(),
        }
    }

    /// Whether orders came while [`refresh`](Self::refresh) waited for its answer.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.lost.get() || !self.waiting.borrow().is_empty()
    }

    /// Waits for the next order.
    ///
    /// # Errors
    /// As [`poll_order`](Self::poll_order), and `TimedOut`.
    pub fn wait_order(&self, limit: Duration) -> io::Result<Order> {
        let deadline = sys::monotonic() + limit;
        loop {
            if let Some(order) = self.poll_order()? {
                return Ok(order);
            }
            self.wait(deadline)?;
        }
    }

    fn wait(&self, deadline: Duration) -> io::Result<()> {
        let left = deadline.saturating_sub(sys::monotonic());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sys::wait_readable([Some(self.fd)], Some(left))?;
        Ok(())
    }

    fn receive(&self) -> io::Result<Option<Order>> {
        let mut bytes = [0; MESSAGE_BYTES];
        loop {
            if self.lost.get() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (length, file) = match sys::receive(self.fd, &mut bytes, true) {
                Ok((0, _)) => {
                    self.lost.set(true);
                    continue;
                }
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match bytes.get(..length).and_then(Order::decode) {
                Some(Order::File { path, errno }) => take_file(path, errno, file),
                Some(Order::Log) => {
                    if let Some(socket) = file {
                        logging::take_socket(OwnedFd::from(socket).into());
                    }
                }
                Some(order) => return Ok(Some(order)),
                None => {
                    self.lost.set(true);
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
    }

    /// Has files that changed handed over, before they are used. The agent waits for it, as it would for a disk.
    pub fn refresh(&self) {
        if !self.send(&Report::Refresh) {
            return;
        }
        let deadline = sys::monotonic() + REFRESH_TIMEOUT;
        loop {
            match self.receive() {
                Ok(Some(Order::Refreshed)) | Err(_) => return,
                Ok(Some(order)) if self.waiting.borrow().len() < MAX_ORDERS => {
                    self.waiting.borrow_mut().push_back(order);
                }
                Ok(Some(_)) => self.lost.set(true),
                Ok(None) => {
                    if self.wait(deadline).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Asks for a new socket of the system's log, if the present one is dead.
    pub fn ask_for_log(&self, now: Duration) {
        if logging::wants_socket(now) {
            // One that cannot be asked now is asked at the next lost line.
            let _ = self.send(&Report::Log);
        }
    }

    /// Says how the agent is, if that has changed.
    pub fn say_health(&self, health: &Health) {
        if self.said.borrow().as_ref() != Some(health) && self.send(&Report::Health(health.clone())) {
            *self.said.borrow_mut() = Some(health.clone());
        }
    }

    /// Sends a message; false when it cannot be taken at the moment, or does not fit.
    #[must_use]
    pub fn send(&self, report: &Report) -> bool {
        report
            .encode()
            .is_some_and(|wire| sys::send(self.fd, &wire, None).is_ok())
    }
}

fn take_file(path: String, errno: u32, file: Option<File>) {
    let error = i32::try_from(errno).unwrap_or(nix::libc::EIO);
    let file = file.ok_or(if error == 0 { nix::libc::EIO } else { error });
    files::hand_over(PathBuf::from(path), file);
}
