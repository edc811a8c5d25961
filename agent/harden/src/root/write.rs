//! The steps that change a root. A transaction is made of them; each can fail or be the last in a test.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::{MAX_TEXT_BYTES, Root, attributes, folder_of, is_regular, name_of, no_follow};
use crate::journal::{is_digest, sha256};
use crate::storage::{self, MAX_MOUNTS_BYTES};

/// Owner and mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, without the type.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Attributes {
    /// A file that only root may read.
    pub const PRIVATE: Self = Self {
        mode: 0o600,
        uid: 0,
        gid: 0,
    };

    /// Whether they are these, as far as whoever runs this can tell: without privilege files are theirs.
    #[must_use]
    pub fn serves(self, wanted: Self) -> bool {
        self == wanted || self.mode == wanted.mode && !Uid::effective().is_root()
    }
}

/// A change of the file system, as far as it can fail on its own.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Folder,
    Create,
    Write,
    Attributes,
    Sync,
    Rename,
    Remove,
    SyncFolder,
}

/// Asked before each step; an error is what the step returns, without being done.
#[cfg(test)]
pub(crate) type Gate = Box<dyn Fn(Step, &str) -> io::Result<()>>;

macro_rules! gate {
    ($root:expr, $step:ident, $path:expr) => {
        #[cfg(test)]
        if let Some(gate) = &$root.gate {
            gate(Step::$step, $path)?;
        }
    };
}

impl Root {
    /// Makes a folder and those above it, for root alone, if they are not there.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn make_folders(&self, path: &str) -> io::Result<()> {
        if path == "/" || self.exists(path) {
            return Ok(());
        }
        self.make_folders(folder_of(path))?;
        gate!(self, Folder, path);
        let place = self.resolve(path)?;
        match mkdirat(&place.parent, place.name.as_str(), Mode::S_IRWXU) {
            Ok(()) => self.sync_folder(folder_of(path)),
            Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file that is not there yet and brings it to the disk. A link that has its name is there.
    ///
    /// # Errors
    /// When it is there, or the file system refuses.
    pub fn create(&self, path: &str, contents: &[u8], attributes: Attributes) -> io::Result<()> {
        gate!(self, Create, path);
        self.create_at(&self.folder(folder_of(path))?, path, contents, attributes)
    }

    /// The same at a path that has no links in it, nor got any since.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_steadily(&self, real: &str, contents: &[u8], attributes: Attributes) -> io::Result<()> {
        gate!(self, Create, real);
        self.create_at(&self.steady(real)?.parent, real, contents, attributes)
    }

    fn create_at(
        &self,
        folder: &OwnedFd,
        path: &str,
        contents: &[u8],
        attributes: Attributes,
    ) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file = File::from(openat(folder.as_fd(), name_of(path), flags, mode)?);
        #[cfg(test)]
        if let Some(error) = self.gate.as_ref().and_then(|gate| gate(Step::Write, path).err()) {
            // A disk that is full takes a part.
            file.write_all(contents.get(..contents.len() / 2).unwrap_or_default())?;
            return Err(error);
        }
        file.write_all(contents)?;
        gate!(self, Attributes, path);
        own(&file, attributes)?;
        fchmod(&file, Mode::from_bits_truncate(attributes.mode as _))?;
        gate!(self, Sync, path);
        file.sync_all()
    }

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        gate!(self, Rename, to);
        let folder = self.folder(folder_of(from))?;
        let to = self.resolve(to)?;
        Ok(renameat(&folder, name_of(from), &to.parent, to.name.as_str())?)
    }

    /// The same for a file that must be what it was, by the SHA-256 of its contents. It and what replaces it are in the folder
    /// to which the path without links leads, whatever is put in the place of that meanwhile.
    ///
    /// # Errors
    /// `EPERM` when it is another file by now, and when the file system refuses.
    pub fn replace(&self, from: &str, to: &str, was: &str) -> io::Result<()> {
        gate!(self, Rename, to);
        let place = self.steady(to).map_err(|_| Errno::EPERM)?;
        let now = self.open_at(&place);
        let now = now.and_then(|file| super::contents(file, to, MAX_TEXT_BYTES));
        if !now.is_ok_and(|now| sha256(&now) == was) {
            return Err(Errno::EPERM.into());
        }
        let parent = &place.parent;
        Ok(renameat(parent, name_of(from), parent, place.name.as_str())?)
    }

    /// Removes a file, or a link that has its name, never what that leads to. One that is not there is no error.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let folder = match self.folder(folder_of(path)) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        gate!(self, Remove, path);
        match unlinkat(&folder, name_of(path), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a folder if it is empty.
    ///
    /// # Errors
    /// When it is not, is no folder, or the file system refuses.
    pub fn remove_empty_folder(&self, path: &str) -> io::Result<()> {
        gate!(self, Remove, path);
        let place = self.resolve(path)?;
        Ok(unlinkat(
            &place.parent,
            place.name.as_str(),
            UnlinkatFlags::RemoveDir,
        )?)
    }

    /// Whether a regular file can be neither replaced nor removed, by root either: it or its folder is immutable, or takes
    /// additions alone (chattr(1)). The kernel says so before it says that a file is no folder.
    #[must_use]
    pub fn is_stuck(&self, path: &str) -> bool {
        let refused = || -> io::Result<()> {
            let place = self.steady(path)?;
            gate!(self, Remove, path);
            Ok(unlinkat(
                &place.parent,
                place.name.as_str(),
                UnlinkatFlags::RemoveDir,
            )?)
        };
        refused().is_err_and(|error| error.raw_os_error() == Some(Errno::EPERM as i32))
    }

    /// Whether a file may be planned for: its folders are root's, it can be replaced, and nothing is mounted over it. Where
    /// others may write one of the folders, it must be root's too, by no other name and without a right of its own: see
    /// [`original`](Self::original). A tree is its own owner's, and its modes are for users that a camera will have.
    #[must_use]
    pub fn may_change(&self, path: &str) -> bool {
        let real = self.canonical(path);
        self.may_change_at(real.as_deref().unwrap_or(path))
    }

    /// The same of a path that has no links in it, whatever it leads to by now.
    #[must_use]
    pub fn may_change_at(&self, real: &str) -> bool {
        let Some(open) = self.is_open(real) else {
            return false;
        };
        let file = self
            .steady(real)
            .and_then(|place| self.open_at(&place)?.metadata());
        let anybodys = open && file.is_ok_and(|file| !is_roots(&file));
        // However it is reached, what undo needs stays.
        let is_saved = folder_of(real).ends_with("/lenscap/harden/saved") && is_digest(name_of(real));
        !anybodys && !is_saved && !self.is_stuck(real) && !self.is_mounted(real) && !self.is_remote(real)
    }

    /// Contents, owner and mode of a file at a path that has no links in it, all of the same one.
    ///
    /// Whoever may write one of its folders may put any file of this camera, and a link, in the place of any; never must what
    /// he wrote get an owner or a mode that it had not. So what is not root's alone is an error there.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `EPERM`.
    pub fn original(&self, real: &str) -> io::Result<(Vec<u8>, Attributes)> {
        let file = self.open_at(&self.steady(real)?)?;
        let data = file.metadata()?;
        if self.is_open(real) != Some(false) && !is_roots(&data) {
            return Err(Errno::EPERM.into());
        }
        Ok((super::contents(file, real, MAX_TEXT_BYTES)?, attributes(&data)))
    }

    /// Whether a name is that of a regular file and no link to one; `own`: of root's, where others may write its folder.
    #[must_use]
    pub fn is_file(&self, path: &str, own: bool) -> bool {
        let is_file = || -> io::Result<bool> {
            let stat = fstatat(self.folder(folder_of(path))?.as_fd(), name_of(path), no_follow())?;
            Ok(is_regular(&stat) && (!own || stat.st_uid == 0 || self.is_open(path) != Some(true)))
        };
        is_file().unwrap_or(false)
    }

    /// Whether others than root may write a folder of a path that has no links in it. `None`: one is somebody else's.
    fn is_open(&self, real: &str) -> Option<bool> {
        let owner = if self.live {
            0
        } else {
            self.stat("/").map_or(0, |tree| tree.uid)
        };
        let mut open = false;
        let mut folder = real;
        while folder != "/" {
            folder = folder_of(folder);
            let Ok(at) = self.stat(folder) else {
                continue;
            };
            if at.uid != 0 && at.uid != owner {
                return None;
            }
            open |= others_write(at);
        }
        Some(self.live && open)
    }

    /// Whether something is mounted over a file of the running system, or that cannot be told.
    #[must_use]
    pub fn is_mounted(&self, real: &str) -> bool {
        let points = |mounts: String| storage::points(&mounts);
        self.live
            && self
                .mounts()
                .map(points)
                .is_none_or(|points| points.iter().any(|point| point == real))
    }

    /// Whether a file of the running system lies on a network, or is what a program makes of it.
    fn is_remote(&self, real: &str) -> bool {
        let foreign = storage::foreign(&self.mounts().unwrap_or_default());
        foreign
            .iter()
            .any(|(point, remote)| *remote && storage::is_below(real, point))
    }

    /// What is mounted on the running system (proc(5)). `None`: that cannot be read whole; a tree has nothing mounted.
    #[must_use]
    pub fn mounts(&self) -> Option<String> {
        if !self.live {
            return Some(String::new());
        }
        let mounts = self.head("/proc/mounts", MAX_MOUNTS_BYTES).ok()?;
        let whole = (mounts.len() as u64) < MAX_MOUNTS_BYTES;
        whole.then(|| String::from_utf8_lossy(&mounts).into_owned())
    }

    /// Whether a script may be believed: nobody but root can have written it, or whoever could have needs no trick, since
    /// it is one of the system's. A tree's are its build's.
    #[must_use]
    pub fn is_believed(&self, path: &str) -> bool {
        let of_root = |at: Attributes| at.uid == 0 && (!others_write(at) || path.starts_with("/etc/"));
        !self.live || self.stat(path).is_ok_and(of_root)
    }

    /// Brings a folder's names to the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sync_folder(&self, path: &str) -> io::Result<()> {
        gate!(self, SyncFolder, path);
        let place = self.resolve(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = File::from(place.open(flags)?);
        match folder.sync_all() {
            // Some file systems have nothing to bring.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
            result => result,
        }
    }
}

/// Whether others than root may write what has these.
fn others_write(at: Attributes) -> bool {
    at.mode & 0o002 != 0 || at.mode & 0o020 != 0 && at.gid != 0
}

/// Whether a file is root's, under one name, and gives no rights to whoever runs it.
fn is_roots(file: &Metadata) -> bool {
    file.uid() == 0 && file.nlink() == 1 && file.mode() & 0o6000 == 0
}

/// A build may run without privilege; then files stay with whoever builds.
fn own(file: &File, attributes: Attributes) -> io::Result<()> {
    match fchown(
        file,
        Some(Uid::from_raw(attributes.uid)),
        Some(Gid::from_raw(attributes.gid)),
    ) {
        Err(Errno::EPERM) if !Uid::effective().is_root() => Ok(()),
        result => Ok(result?),
    }
}
