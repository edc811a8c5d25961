//! The steps that change a root. A transaction is made of them; each can fail or be the last in a test.

use std::fs::File;
use std::io::{self, Write as _};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::{Root, folder_of};

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

    /// Makes a file that is not there yet and brings it to the disk.
    ///
    /// # Errors
    /// When it is there, or the file system refuses.
    pub fn create(&self, path: &str, contents: &[u8], attributes: Attributes) -> io::Result<()> {
        gate!(self, Create, path);
        let place = self.resolve(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file = File::from(openat(&place.parent, place.name.as_str(), flags, mode)?);
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
        let from = self.resolve(from)?;
        let to = self.resolve(to)?;
        Ok(renameat(
            &from.parent,
            from.name.as_str(),
            &to.parent,
            to.name.as_str(),
        )?)
    }

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let place = match self.resolve(path) {
            Ok(place) => place,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        gate!(self, Remove, path);
        match unlinkat(&place.parent, place.name.as_str(), UnlinkatFlags::NoRemoveDir) {
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
        let refused = self.remove_empty_folder(path).err();
        refused.and_then(|error| error.raw_os_error()) == Some(Errno::EPERM as i32)
    }

    /// Whether a file may be planned for: nobody but root may put another in its place before it is changed, by its folders,
    /// and it can be replaced. A tree is its own owner's, and its modes are for users that a camera will have.
    #[must_use]
    pub fn may_change(&self, path: &str) -> bool {
        let real = self.canonical(path);
        self.may_change_at(real.as_deref().unwrap_or(path))
    }

    /// The same of a path that has no links in it, whatever it leads to by now.
    #[must_use]
    pub fn may_change_at(&self, real: &str) -> bool {
        self.is_roots(real) && !self.is_stuck(real)
    }

    /// Whether nobody but root may put another file in the place of this one, whose path has no links in it. Where that is
    /// so, it stays so: the first folder on the way that is another's cannot be swapped for a link before it is looked at.
    fn is_roots(&self, real: &str) -> bool {
        let owner = if self.live {
            0
        } else {
            self.stat("/").map_or(0, |tree| tree.uid)
        };
        let mut folder = real;
        while folder != "/" {
            folder = folder_of(folder);
            let others = |at: Attributes| {
                let writable = at.mode & 0o002 != 0 || at.mode & 0o020 != 0 && at.gid != 0;
                at.uid != 0 && at.uid != owner || self.live && writable
            };
            if self.stat(folder).is_ok_and(others) {
                return false;
            }
        }
        true
    }

    /// Brings a folder's names to the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sync_folder(&self, path: &str) -> io::Result<()> {
        gate!(self, SyncFolder, path);
        let place = self.resolve(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = File::from(openat(&place.parent, place.name.as_str(), flags, Mode::empty())?);
        match folder.sync_all() {
            // Some file systems have nothing to bring.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
            result => result,
        }
    }
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
