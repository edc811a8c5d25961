//! A camera's root file system: the live one, or a tree that a firmware build made.
//!
//! Every path is resolved here, folder by folder with descriptors, so that a symbolic link in a tree leads nowhere
//! outside of it. Nothing else in this crate opens a file.

mod resolve;
mod write;

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;

use crate::storage;
use resolve::Place;
pub use write::Attributes;
#[cfg(test)]
pub(crate) use write::{Gate, Step};

/// The largest file that is read as text, in bytes.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;
/// The largest file that is searched for words, in bytes.
pub const MAX_BINARY_BYTES: usize = 16 * 1024 * 1024;
/// The most entries of one folder that are looked at.
const MAX_ENTRIES: usize = 4096;
/// The deepest folder that is looked into.
const MAX_DEPTH: usize = 16;
/// The most files that a walk visits.
pub const MAX_FILES: usize = 50_000;

/// Kernel interfaces, places that are empty after a boot, and the layers below an overlay.
const SKIPPED: &[&str] = &[
    "/proc", "/sys", "/dev", "/run", "/tmp", "/var/run", "/var/tmp", "/rom", "/overlay",
];

/// A root file system.
pub struct Root {
    dir: OwnedFd,
    live: bool,
    #[cfg(test)]
    pub(crate) gate: Option<Gate>,
}

/// A root that no other run can lock.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, never read")] Flock<OwnedFd>);

/// What kind of thing a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name alone.
    pub name: String,
    kind: u8,
}

impl Entry {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.kind {
            0 => Kind::File,
            1 => Kind::Folder,
            2 => Kind::Link,
            _ => Kind::Other,
        }
    }
}

/// A kind that is asked for.
const UNTOLD: u8 = u8::MAX;

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The names, sorted.
    pub entries: Vec<Entry>,
    /// Names that are no UTF-8 or hold control characters, as far as they can be read. What is no regular file, or may be
    /// none, ends in `/`.
    pub odd: Vec<String>,
    /// There are more than are looked at.
    pub cut: bool,
}

impl Root {
    /// The running system.
    ///
    /// # Errors
    /// When `/` cannot be opened.
    pub fn live() -> io::Result<Self> {
        Self::open(Path::new("/"), true)
    }

    /// A tree that is not running.
    ///
    /// # Errors
    /// When it is no folder, or cannot be opened.
    pub fn tree(path: &Path) -> io::Result<Self> {
        Self::open(path, false)
    }

    fn open(path: &Path, live: bool) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(path, flags, Mode::empty())?;
        Ok(Self {
            dir,
            live,
            #[cfg(test)]
            gate: None,
        })
    }

    /// Whether this is the running system.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Keeps other runs out until the lock is dropped.
    ///
    /// # Errors
    /// When another run has it.
    pub fn lock(&self) -> io::Result<Lock> {
        match Flock::lock(self.dir.try_clone()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Lock(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another run is at work here",
            )),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// The bytes that may still be written where a path is or would be. `None`: the file system does not say.
    #[must_use]
    pub fn free_bytes(&self, path: &str) -> Option<u64> {
        let mut path = path;
        while !self.exists(path) && path != "/" {
            path = folder_of(path);
        }
        let place = self.resolve(path).ok()?;
        let state = fstatvfs(&place.parent).ok()?;
        #[allow(clippy::useless_conversion, reason = "as wide as the platform has it")]
        u64::from(state.blocks_available()).checked_mul(u64::from(state.fragment_size()))
    }

    /// A regular file's contents.
    ///
    /// # Errors
    /// When it is not there, is no regular file, is larger than [`MAX_TEXT_BYTES`], or cannot be read.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.read_up_to(path, MAX_TEXT_BYTES)
    }

    /// A regular file's contents, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_up_to(&self, path: &str, limit: usize) -> io::Result<Vec<u8>> {
        contents(self.open_file(path)?, path, limit)
    }

    /// A file's first bytes, at most `limit`.
    ///
    /// # Errors
    /// When it is not there, is no regular file, or cannot be read.
    pub fn head(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A regular file, open for reading, for those that are too large to be held or change while they are read.
    ///
    /// # Errors
    /// When it is not there, is no regular file, or cannot be read.
    pub fn reader(&self, path: &str) -> io::Result<File> {
        self.open_file(path)
    }

    /// Owner and mode of whatever is there, after all links; it need not be readable.
    ///
    /// # Errors
    /// When it is not there.
    pub fn stat(&self, path: &str) -> io::Result<Attributes> {
        let stat = self.resolve(path)?.status()?;
        #[allow(clippy::useless_conversion, reason = "as wide as the platform has it")]
        Ok(Attributes {
            mode: u32::from(stat.st_mode) & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        })
    }

    /// What tells a file or folder, after all links, from all others. `None`: it is not there.
    #[must_use]
    pub fn identity(&self, path: &str) -> Option<(u64, u64)> {
        let stat = self.resolve(path).and_then(|place| place.status()).ok()?;
        #[allow(clippy::useless_conversion, reason = "as wide as the platform has it")]
        Some((stat.st_dev.into(), stat.st_ino.into()))
    }

    /// A file of the running system as it is below the overlay that the root is.
    ///
    /// # Errors
    /// When there is none, or it cannot be read there.
    pub fn below(&self, path: &str) -> io::Result<(Vec<u8>, Attributes)> {
        let device = |path: &str| self.identity(path).map(|(device, _)| device);
        let lower = storage::below_root(&self.mounts().unwrap_or_default(), path).ok_or(Errno::ENOENT)?;
        // What has the overlay's own device is the overlay. OpenWrt and OpenIPC have what was the root before at the other.
        for lower in ["/rom", &lower] {
            if device(lower).is_some_and(|lower| Some(lower) != device("/")) {
                return self.original(&format!("{lower}{path}"));
            }
        }
        Err(Errno::ENOENT.into())
    }

    /// Owner and mode of a regular file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn attributes(&self, path: &str) -> io::Result<Attributes> {
        Ok(attributes(&self.open_file(path)?.metadata()?))
    }

    /// What tells one version of a file or folder from another. `None`: it is not there.
    #[must_use]
    pub fn stamp(&self, path: &str) -> Option<String> {
        let data = self.resolve(path).and_then(|place| place.status()).ok()?;
        Some(format!(
            "{} {} {} {} {} {}",
            data.st_ino, data.st_size, data.st_mode, data.st_mtime, data.st_ctime, data.st_ctime_nsec
        ))
    }

    /// Whether something is there, after all links.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_ok()
    }

    /// The path after all links, without `.` and `..`. The last name need not be there.
    ///
    /// # Errors
    /// When a folder on the way is not there, or links go round.
    pub fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(self.resolve(path)?.path)
    }

    /// Where a symbolic link leads, as it says it.
    ///
    /// # Errors
    /// When it is no link, or says no UTF-8.
    pub fn link(&self, path: &str) -> io::Result<String> {
        let target = self.link_target(path)?;
        target.into_string().map_err(|_| Errno::EILSEQ.into())
    }

    /// Where a symbolic link leads, whatever bytes it says.
    ///
    /// # Errors
    /// When it is no link, or cannot be read.
    pub fn link_target(&self, path: &str) -> io::Result<OsString> {
        Ok(readlinkat(self.folder(folder_of(path))?.as_fd(), name_of(path))?)
    }

    /// Where the symbolic links of a folder lead, by their names. Others are errors.
    ///
    /// # Errors
    /// When it is no folder, or cannot be read.
    pub fn links(&self, path: &str) -> io::Result<Vec<(String, io::Result<String>)>> {
        let (folder, listing) = self.open_listing(path)?;
        let lead = |name: &str| -> io::Result<String> {
            let target = readlinkat(folder.as_fd(), name)?;
            target.into_string().map_err(|_| Errno::EILSEQ.into())
        };
        Ok(listing
            .entries
            .into_iter()
            .map(|entry| (lead(&entry.name), entry.name))
            .map(|(target, name)| (name, target))
            .collect())
    }

    /// The names in a folder, sorted. Names that are no UTF-8 or hold control characters are left out, since no firmware
    /// has them and no journal could hold them.
    ///
    /// # Errors
    /// When it is no folder, or cannot be read.
    pub fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        Ok(self.listing(path)?.entries)
    }

    /// The names in a folder, those that [`list`](Self::list) leaves out too.
    ///
    /// # Errors
    /// When it is no folder, or cannot be read.
    pub fn listing(&self, path: &str) -> io::Result<Listing> {
        Ok(self.open_listing(path)?.1)
    }

    fn open_listing(&self, path: &str) -> io::Result<(Dir, Listing)> {
        let place = self.resolve(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut folder = Dir::from_fd(place.open(flags)?)?;
        let mut listing = Listing::default();
        for (seen, entry) in folder.iter().enumerate() {
            if seen == MAX_ENTRIES {
                listing.cut = true;
                break;
            }
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .ok()
                .filter(|name| !name.contains(|c: char| c.is_control()))
            else {
                let name = name.to_string_lossy();
                let behind = if entry.file_type() == Some(Type::File) {
                    ""
                } else {
                    "/"
                };
                listing.odd.push(format!("{name}{behind}"));
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                Some(Type::File) => 0,
                Some(Type::Directory) => 1,
                Some(Type::Symlink) => 2,
                Some(_) => 3,
                None => UNTOLD,
            };
            let entry = Entry {
                name: name.to_owned(),
                kind,
            };
            let entries = &mut listing.entries;
            let at = entries.partition_point(|have| *have < entry);
            entries.insert(at, entry);
        }
        // Some flash file systems do not say.
        for entry in listing.entries.iter_mut().filter(|entry| entry.kind == UNTOLD) {
            entry.kind = kind_of(&folder, &entry.name);
        }
        Ok((folder, listing))
    }

    /// Calls `visit` with the path of every regular file, links left out. Says whether nothing was left out for the
    /// bounds' sake, because it could not be read, or for its name, unless that is one of [data](is_data): see
    /// [`listing`](Self::listing).
    pub fn walk(&self, visit: &mut dyn FnMut(&str)) -> bool {
        self.walk_all(&mut |path, kind| {
            if kind == Kind::File {
                visit(path);
            }
        })
    }

    /// The same for regular files and symbolic links, which are not followed.
    pub fn walk_all(&self, visit: &mut dyn FnMut(&str, Kind)) -> bool {
        let mut complete = true;
        let mut files = 0;
        let mut folders = vec![(String::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let Ok(listing) = self.listing(if folder.is_empty() { "/" } else { &folder }) else {
                complete = false;
                continue;
            };
            complete &= !listing.cut && listing.odd.iter().all(|name| is_data(name));
            for entry in listing.entries.iter().rev() {
                let path = format!("{folder}/{}", entry.name);
                match entry.kind() {
                    Kind::File if files == MAX_FILES => return false,
                    Kind::File => {
                        files += 1;
                        visit(&path, Kind::File);
                    }
                    Kind::Link => visit(&path, Kind::Link),
                    Kind::Folder if SKIPPED.contains(&path.as_str()) => {}
                    Kind::Folder if depth == MAX_DEPTH => complete = false,
                    Kind::Folder => folders.push((path, depth + 1)),
                    Kind::Other => {}
                }
            }
        }
        complete
    }

    fn open_file(&self, path: &str) -> io::Result<File> {
        self.open_at(&self.resolve(path)?)
    }

    fn open_at(&self, place: &Place) -> io::Result<File> {
        let strange = || {
            let text = format!("{} is no regular file", place.path);
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        // Opening a device does something.
        let stat = place.status()?;
        if !is_regular(&stat) {
            return Err(strange());
        }
        // It may be another by now. Without O_NONBLOCK a pipe would hold the program for ever.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(place.open(flags)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(strange())
        }
    }
}

/// All of a file that is not longer than that.
fn contents(file: File, path: &str, limit: usize) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > limit as u64 {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{path} is larger than {limit} bytes"),
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn attributes(file: &Metadata) -> Attributes {
    Attributes {
        mode: file.mode() & 0o7777,
        uid: file.uid(),
        gid: file.gid(),
    }
}

fn is_regular(stat: &nix::sys::stat::FileStat) -> bool {
    use nix::sys::stat::SFlag;
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn no_follow() -> nix::fcntl::AtFlags {
    nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW
}

fn kind_of(folder: &Dir, name: &str) -> u8 {
    use nix::sys::stat::SFlag;
    let Ok(stat) = nix::sys::stat::fstatat(folder.as_fd(), name, no_follow()) else {
        return 3;
    };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => 0,
        SFlag::S_IFDIR => 1,
        SFlag::S_IFLNK => 2,
        _ => 3,
    }
}

/// Whether a file's name says that nothing runs or reads it as a setting: a memory card holds thousands of these.
#[must_use]
pub fn is_data(path: &str) -> bool {
    const ENDINGS: &[&str] = &[
        ".mp4", ".jpg", ".jpeg", ".png", ".avi", ".h264", ".h265", ".mkv", ".ts", ".wav", ".mp3", ".ko",
        ".log", ".crt", ".txt",
    ];
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// The folder of a path, `/` for names at the top.
#[must_use]
pub fn folder_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => path.get(..at).unwrap_or("/"),
    }
}

/// The last name of a path.
#[must_use]
pub fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Root) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        for dir in ["etc/init.d", "var/etc", "proc"] {
            std::fs::create_dir_all(inner.join(dir)).unwrap();
        }
        std::fs::write(outer.path().join("secret"), "outside").unwrap();
        std::fs::write(inner.join("etc/passwd"), "inside").unwrap();
        std::fs::write(inner.join("proc/x"), "").unwrap();
        let root = Root::tree(&inner).unwrap();
        (outer, root)
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let (outer, root) = tree();
        let inner = outer.path().join("root");
        symlink("/etc/passwd", inner.join("absolute")).unwrap();
        symlink("../../../../secret", inner.join("etc/up")).unwrap();
        symlink("../../etc", inner.join("var/etc/back")).unwrap();
        symlink(outer.path().join("secret"), inner.join("etc/out")).unwrap();
        symlink("loop-b", inner.join("loop-a")).unwrap();
        symlink("loop-a", inner.join("loop-b")).unwrap();
        assert_eq!(root.read("/absolute").unwrap(), b"inside");
        assert_eq!(root.read("/../../etc/passwd").unwrap(), b"inside");
        assert_eq!(root.read("/var/etc/back/./passwd").unwrap(), b"inside");
        assert_eq!(root.canonical("/var/etc/back/passwd").unwrap(), "/etc/passwd");
        for outside in ["/etc/up", "/etc/out", "/../secret"] {
            assert_eq!(
                root.read(outside).unwrap_err().kind(),
                io::ErrorKind::NotFound,
                "{outside}"
            );
            assert!(!root.exists(outside));
        }
        assert!(root.read("/loop-a").is_err());
        assert!(root.read("/etc/passwd/x").is_err());
    }

    #[test]
    fn links_that_no_journal_could_hold_lead_nowhere() {
        let (outer, root) = tree();
        let etc = outer.path().join("root/etc");
        for (link, target) in [("a", "x\ny"), ("b", "x\ty"), ("c", "\u{1b}x/../passwd")] {
            std::fs::create_dir_all(etc.join("\u{1b}x")).unwrap();
            std::fs::write(etc.join(target), "text").unwrap();
            symlink(target, etc.join(link)).unwrap();
            let path = format!("/etc/{link}");
            assert_eq!(
                root.read(&path).unwrap_err().raw_os_error(),
                Some(Errno::EILSEQ as i32)
            );
            assert!(root.canonical(&path).is_err() && !root.exists(&path));
        }
        assert_eq!(root.read("/etc/passwd").unwrap(), b"text");
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let (outer, root) = tree();
        let inner = outer.path().join("root");
        nix::unistd::mkfifo(&inner.join("pipe"), Mode::S_IRWXU).unwrap();
        std::fs::write(inner.join("large"), vec![0; MAX_TEXT_BYTES + 1]).unwrap();
        assert_eq!(
            root.read("/pipe").unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(root.read("/etc").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        // The error is that of who looked first: a socket cannot be opened.
        let _socket = std::os::unix::net::UnixListener::bind(inner.join("socket")).unwrap();
        assert_eq!(
            root.read("/socket").unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            root.read("/large").unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(root.head("/large", 3).unwrap(), [0; 3]);
    }

    #[test]
    fn a_walk_says_what_it_leaves_out() {
        use std::os::unix::ffi::OsStrExt as _;
        let (outer, root) = tree();
        let etc = outer.path().join("root/etc");
        for odd in [&b"\xf6.sh"[..], b"a\nb"] {
            let odd = etc.join(std::ffi::OsStr::from_bytes(odd));
            std::fs::write(&odd, "").unwrap();
            assert!(!root.walk(&mut |_| {}), "{odd:?}");
            std::fs::remove_file(odd).unwrap();
        }
        let odd = etc.join(std::ffi::OsStr::from_bytes(b"\xf6.jpg"));
        std::fs::write(&odd, "").unwrap();
        assert!(root.walk(&mut |_| {}));
        std::fs::remove_file(&odd).unwrap();
        std::fs::create_dir(&odd).unwrap();
        assert!(!root.walk(&mut |_| {}), "a folder is looked into");
        std::fs::remove_dir(odd).unwrap();
        assert!(root.walk(&mut |_| {}));
        for file in 0..MAX_ENTRIES {
            std::fs::write(etc.join(file.to_string()), "").unwrap();
        }
        assert!(!root.walk(&mut |_| {}));
    }

    #[test]
    fn a_file_that_others_could_put_another_in_the_place_of_is_not_changed() {
        if !nix::unistd::Uid::effective().is_root() {
            // Whoever builds owns all of the tree.
            let (_outer, root) = tree();
            assert!(root.may_change("/etc/passwd"));
            return;
        }
        let (outer, mut root) = tree();
        let inner = outer.path().join("root");
        std::fs::write(inner.join("proc/mounts"), "/dev/root / jffs2 rw 0 0\n").unwrap();
        let may = |root: &Root| root.may_change("/etc/init.d/x");
        let set = |mode: u32, uid: u32, gid: u32| {
            let etc = inner.join("etc");
            std::os::unix::fs::chown(&etc, Some(uid), Some(gid)).unwrap();
            std::fs::set_permissions(&etc, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        // Mode, owner and group of a folder on the way; whether it is trusted on a camera, in root's tree, in that of 99.
        for (mode, uid, gid, live, roots, others) in [
            (0o755, 0, 0, true, true, true),
            (0o775, 0, 0, true, true, true),
            (0o775, 0, 99, true, true, true),
            (0o777, 0, 0, true, true, true),
            (0o1777, 0, 0, true, true, true),
            (0o755, 99, 0, false, false, true),
            (0o755, 98, 0, false, false, false),
        ] {
            set(mode, uid, gid);
            let said = [true, false].map(|live| {
                root.live = live;
                may(&root)
            });
            assert_eq!(said, [live, roots], "{mode:o} {uid} {gid}");
            std::os::unix::fs::chown(&inner, Some(99), None).unwrap();
            assert_eq!(may(&root), others, "{mode:o} {uid} {gid}");
            root.live = true;
            assert!(!may(&root), "the root itself is another's");
            std::os::unix::fs::chown(&inner, Some(0), None).unwrap();
        }
        // Where others may write, a file must be root's alone.
        let file = inner.join("etc/passwd");
        for (folder, mode, uid, name, fine) in [
            (0o777, 0o644, 0, "", true),
            (0o777, 0o666, 0, "", true),
            (0o777, 0o4755, 0, "", false),
            (0o777, 0o644, 99, "", false),
            (0o777, 0o644, 0, "other", false),
            (0o755, 0o4755, 99, "other", true),
        ] {
            set(folder, 0, 0);
            std::os::unix::fs::chown(&file, Some(uid), None).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let other = inner.join("etc/other");
            let _ = std::fs::remove_file(&other);
            if !name.is_empty() {
                std::fs::hard_link(&file, &other).unwrap();
            }
            let what = format!("{folder:o} {mode:o} {uid} {name}");
            assert_eq!(root.may_change("/etc/passwd"), fine, "{what}");
            assert_eq!(root.original("/etc/passwd").is_ok(), fine, "{what}");
        }
        // What is mounted over it is another, and what cannot be told is so too.
        for (mounts, fine) in [
            (
                "/dev/root / jffs2 rw 0 0\n/dev/root /etc/pass jffs2 rw 0 0\n".to_owned(),
                true,
            ),
            (
                "/dev/root / jffs2 rw 0 0\n/dev/root /etc/passwd jffs2 rw 0 0\n".to_owned(),
                false,
            ),
            ("x\n".repeat(1 << 16), false),
        ] {
            std::fs::write(inner.join("proc/mounts"), mounts).unwrap();
            assert_eq!(root.may_change("/etc/passwd"), fine);
        }
        std::fs::remove_file(inner.join("proc/mounts")).unwrap();
        assert!(!root.may_change("/etc/passwd"));
    }

    #[test]
    fn a_walk_sees_files_once_and_skips_the_kernel() {
        let (outer, root) = tree();
        symlink("/etc", outer.path().join("root/etc-link")).unwrap();
        let mut seen = Vec::new();
        assert!(root.walk(&mut |path| seen.push(path.to_owned())));
        assert_eq!(seen, ["/etc/passwd"]);
    }
}
