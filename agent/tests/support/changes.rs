//! Waits for files to change (inotify(7)).

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Instant;

use lenscap::sys;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Files and folders that are watched from its making on.
pub(crate) struct Changes(Inotify);

impl Changes {
    pub(crate) fn of(paths: &[&Path]) -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap();
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        for path in paths {
            inotify.add_watch(*path, flags).unwrap();
        }
        Self(inotify)
    }

    /// Until something has changed since the last call; false if nothing has by then.
    pub(crate) fn wait(&self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        let [changed] = sys::wait_readable([Some(self.0.as_fd())], Some(left)).unwrap();
        while self.0.read_events().is_ok() {}
        changed
    }
}
