//! Paths inside a root, resolved without ever leaving it (no `openat2`, which cameras' kernels lack).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::{Root, no_follow};

/// The most symbolic links on the way to a file, as in Linux (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The most components that are walked.
const MAX_COMPONENTS: usize = 256;

/// Where a name is: its folder, open, and the name in it, which is no symbolic link.
pub(super) struct Place {
    pub(super) parent: OwnedFd,
    pub(super) name: String,
    pub(super) path: String,
}

impl Place {
    pub(super) fn status(&self) -> io::Result<FileStat> {
        Ok(fstatat(self.parent.as_fd(), self.name.as_str(), no_follow())?)
    }

    pub(super) fn open(&self, flags: OFlag) -> io::Result<OwnedFd> {
        Ok(openat(
            self.parent.as_fd(),
            self.name.as_str(),
            flags,
            Mode::empty(),
        )?)
    }
}

impl Root {
    /// Where a path leads that has no links in it; an error if one was put there since.
    pub(super) fn steady(&self, real: &str) -> io::Result<Place> {
        let place = self.resolve(real)?;
        if place.path == real {
            Ok(place)
        } else {
            Err(Errno::ELOOP.into())
        }
    }

    /// The folder to which a path leads, open.
    pub(super) fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let place = self.resolve(path)?;
        open_folder(place.parent.as_fd(), &place.name)
    }

    pub(super) fn resolve(&self, path: &str) -> io::Result<Place> {
        let mut todo = Vec::new();
        push(&mut todo, path);
        let mut folders: Vec<(OwnedFd, String)> = Vec::new();
        let mut links = 0;
        let mut components = 0;
        while let Some(name) = todo.pop() {
            components += 1;
            if components > MAX_COMPONENTS {
                return Err(Errno::ENAMETOOLONG.into());
            }
            if name == ".." {
                folders.pop();
                continue;
            }
            let here = folders.last().map_or(self.dir.as_fd(), |(fd, _)| fd.as_fd());
            // A link is no folder: most names are told by one call so, and a camera's are slow.
            let mut opened = Ok(());
            if !todo.is_empty() {
                match open_folder(here, &name) {
                    Ok(folder) => {
                        folders.push((folder, name));
                        continue;
                    }
                    Err(error) => opened = Err(error),
                }
            }
            match readlinkat(here, name.as_str()) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    let target = target.into_string().map_err(|_| Errno::EILSEQ)?;
                    if target.contains(|c: char| c.is_control()) {
                        // No journal could hold it.
                        return Err(Errno::EILSEQ.into());
                    }
                    if target.starts_with('/') {
                        folders.clear();
                    }
                    push(&mut todo, &target);
                    continue;
                }
                Err(Errno::EINVAL) => opened?,
                Err(Errno::ENOENT) if todo.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
            let path = joined(&folders, &name);
            return self.place(folders, name, path);
        }
        let path = match folders.split_last() {
            Some(((_, name), above)) => joined(above, name),
            None => "/".into(),
        };
        self.place(folders, ".".into(), path)
    }

    fn place(&self, mut folders: Vec<(OwnedFd, String)>, name: String, path: String) -> io::Result<Place> {
        let parent = match folders.pop() {
            Some((folder, _)) => folder,
            None => self.dir.try_clone()?,
        };
        Ok(Place { parent, name, path })
    }
}

fn open_folder(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

fn push(todo: &mut Vec<String>, path: &str) {
    let names = path.rsplit('/').filter(|name| !matches!(*name, "" | "."));
    todo.extend(names.map(str::to_owned));
}

fn joined(folders: &[(OwnedFd, String)], name: &str) -> String {
    let mut path = String::new();
    for (_, folder) in folders {
        path.push('/');
        path.push_str(folder);
    }
    path.push('/');
    path.push_str(name);
    path
}
