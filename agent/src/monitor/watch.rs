//! Files whose change is worth a look (inotify(7)): the kernel tells the folder and the name.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// The most folders.
const MAX_FOLDERS: usize = 64;
/// The most events that are read at one time; what is left is read the next time.
const READS_PER_PASS: usize = 16;

/// Watched files.
pub(super) struct Watch {
    inotify: Inotify,
    folders: Vec<(WatchDescriptor, String)>,
    /// Sorted.
    paths: Vec<String>,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?,
            folders: Vec::new(),
            paths: Vec::new(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches these files and folders, and no others. What is not there is watched for in the folder that is.
    pub(super) fn set(&mut self, mut paths: Vec<String>) {
        paths.sort_unstable();
        paths.dedup();
        if paths != self.paths {
            for (descriptor, _) in self.folders.drain(..) {
                let _ = self.inotify.rm_watch(descriptor);
            }
            self.paths = paths;
        }
        let mut folders = Vec::new();
        for path in &self.paths {
            if let Some(folder) = Path::new(path).parent().and_then(Path::to_str) {
                folders.push(folder.to_owned());
            }
            if Path::new(path).is_dir() {
                folders.push(path.clone());
            }
        }
        folders.sort_unstable();
        folders.dedup();
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        for folder in folders.into_iter().take(MAX_FOLDERS) {
            // A folder that is not there is looked at when its turn comes. One that was made anew has another descriptor.
            if let Ok(descriptor) = self.inotify.add_watch(folder.as_str(), flags) {
                self.folders.retain(|(_, name)| *name != folder);
                self.folders.push((descriptor, folder));
            }
        }
    }

    /// Takes what the kernel has told. Says whether one of the files changed, or may have.
    pub(super) fn poll(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..READS_PER_PASS {
            let Ok(events) = self.inotify.read_events() else {
                return changed;
            };
            for event in events {
                // Links lead to the same folder.
                let mut folders = self
                    .folders
                    .iter()
                    .filter(|(have, _)| *have == event.wd)
                    .peekable();
                let name = event.name.as_ref().and_then(|name| name.to_str());
                changed |= match (folders.peek().is_some(), name) {
                    (true, Some(name)) => folders.any(|(_, folder)| {
                        let path = format!("{}/{name}", folder.trim_end_matches('/'));
                        // A folder that is itself watched stands for all that is in it.
                        self.paths.contains(&path) || self.paths.contains(folder)
                    }),
                    (true, None) => false,
                    // Events were lost.
                    (false, _) => event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW),
                };
            }
        }
        changed
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn changes_of_the_named_files_alone_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("passwd"), "one").unwrap();
        fs::create_dir(path("init.d")).unwrap();
        let mut watch = Watch::new().unwrap();
        watch.set(vec![path("passwd"), path("init.d"), path("late"), path("none/x")]);
        assert!(!watch.poll());
        fs::write(path("other"), "x").unwrap();
        fs::read(path("passwd")).unwrap();
        assert!(!watch.poll());
        fs::write(path("new"), "two").unwrap();
        fs::rename(path("new"), path("passwd")).unwrap();
        assert!(watch.poll() && !watch.poll());
        fs::write(path("passwd"), "in place").unwrap();
        assert!(watch.poll());
        fs::write(path("init.d/S99x"), "telnetd").unwrap();
        assert!(watch.poll());
        fs::write(path("late"), "").unwrap();
        assert!(watch.poll());
        // A folder that comes later, and one that is made anew.
        for _ in 0..2 {
            fs::create_dir(path("none")).unwrap();
            watch.set(vec![path("passwd"), path("init.d"), path("late"), path("none/x")]);
            watch.poll();
            fs::write(path("none/x"), "").unwrap();
            assert!(watch.poll());
            fs::remove_dir_all(path("none")).unwrap();
        }
        watch.set(vec![path("other")]);
        fs::write(path("passwd"), "").unwrap();
        assert!(!watch.poll());
        fs::remove_file(path("other")).unwrap();
        assert!(watch.poll());
    }
}
