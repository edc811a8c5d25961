//! The folder where everything is kept: the database, the CA, the gateway's certificate, the local socket.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::ordinary;
use crate::owner;
use crate::store::StoreError;
use crate::store::backup::DATABASE;
use crate::store::sqlite::SqliteStore;

/// The socket of the running gateway.
pub const SOCKET: &str = "control.sock";
const LOCK: &str = "lock";

/// Why the folder cannot be used.
#[derive(Debug, Error)]
pub enum DataError {
    /// It cannot be made or written.
    #[error("{}: {source}; `data` or --data names the folder", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A gateway runs there.
    #[error("{} is in use by a running lenscap-gateway", .0.display())]
    Busy(PathBuf),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A data folder that this process alone may change.
#[derive(Debug)]
pub struct Data {
    folder: PathBuf,
    _lock: File,
}

impl Data {
    /// Makes the folder if it is not there, and takes it.
    ///
    /// # Errors
    /// See [`DataError`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Io { path, source }
        };
        if !ordinary::is_folder(folder).map_err(error(folder))? {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(error(folder))?;
        }
        let path = folder.join(LOCK);
        let lock = open_lock(&path).map_err(error(&path))?;
        owner::give(&lock, folder);
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DataError::Busy(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(error(&path)(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the database.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn store(&self) -> Result<SqliteStore, DataError> {
        Ok(SqliteStore::open(&self.folder.join(DATABASE))?)
    }

    /// Listens on the local socket. One that a killed process left is replaced; nobody else can be there, for the
    /// folder is taken.
    ///
    /// # Errors
    /// See [`DataError`].
    pub fn listen(&self) -> Result<LocalSocket, DataError> {
        let path = self.folder.join(SOCKET);
        let error = |source| DataError::Io {
            path: path.clone(),
            source,
        };
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(error(source)),
        }
        // Made under another name, so that nobody connects before it is private.
        let part = self.folder.join("control.sock.part");
        let _ = fs::remove_file(&part);
        let listener = tokio::net::UnixListener::bind(&part).map_err(error)?;
        fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(error)?;
        fs::rename(&part, &path).map_err(error)?;
        Ok(LocalSocket { listener, path })
    }
}

/// Opens the lock, made if it is not there. The folder's owner must not have root open what is elsewhere, nor wait for
/// the other end of a fifo.
fn open_lock(path: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => ordinary::odd(&found),
            Ok(_) | Err(_) => error,
        })?;
    ordinary::must_be_file(&lock)?;
    Ok(lock)
}

/// The local socket; its file goes with it.
#[derive(Debug)]
pub struct LocalSocket {
    /// What to accept on.
    pub listener: tokio::net::UnixListener,
    path: PathBuf,
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Where data lies when nothing is said: what systemd gives, /var/lib for root, the user's own state folder.
#[must_use]
pub fn default_folder(variable: impl Fn(&str) -> Option<String>, is_root: bool) -> PathBuf {
    let from = |name: &str| {
        variable(name)
            .filter(|value| value.starts_with('/'))
            .map(PathBuf::from)
    };
    if let Some(folder) = from("STATE_DIRECTORY") {
        return folder;
    }
    if is_root {
        return PathBuf::from("/var/lib/lenscap-gateway");
    }
    let state = from("XDG_STATE_HOME").or_else(|| Some(from("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("lenscap-gateway")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let data = Data::open(&folder).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&folder).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        assert!(matches!(Data::open(&folder), Err(DataError::Busy(_))));
        drop(data);
        Data::open(&folder).unwrap().store().unwrap();
        fs::write(parent.path().join("file"), "").unwrap();
        let error = Data::open(&parent.path().join("file/x")).unwrap_err();
        assert!(error.to_string().contains("names the folder"), "{error}");
    }

    /// Root's commands in the folder of a service. As somebody else, the folder is one's own.
    #[test]
    fn what_is_made_belongs_to_the_folders_owner() {
        let folder = tempfile::tempdir().unwrap();
        let owner = owner::foreign(folder.path());
        let data = Data::open(folder.path()).unwrap();
        let _store = data.store().unwrap();
        crate::ca::ensure(folder.path(), &["gw.example".to_owned()], SystemTime::now()).unwrap();
        let mut names = Vec::new();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(owner::of(&path), owner, "{}", path.display());
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        for name in [LOCK, DATABASE, "ca.pem", "ca.key", "gateway.pem", "gateway.key"] {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
    }

    #[test]
    fn a_link_in_place_of_the_lock_leads_nowhere() {
        let (outside, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret");
        fs::write(&secret, "").unwrap();
        let before = owner::of(&secret);
        owner::foreign(folder.path());
        std::os::unix::fs::symlink(&secret, folder.path().join(LOCK)).unwrap();
        assert!(matches!(Data::open(folder.path()), Err(DataError::Io { .. })));
        assert_eq!(owner::of(&secret), before);
    }

    #[test]
    fn a_lock_that_is_no_file_hangs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        let refused = |what: &str| {
            let error = Data::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains("lock: is ") && error.contains(what), "{error}");
        };
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("a fifo, not an ordinary file; put it aside");
        // With somebody at its other end as well.
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        refused("a fifo");
        drop(reader);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a folder");
        fs::remove_dir(&path).unwrap();
        Data::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_on_a_disk_that_is_away_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        std::os::unix::fs::symlink(parent.path().join("disk/data"), &folder).unwrap();
        let error = Data::open(&folder).unwrap_err().to_string();
        assert!(error.contains("leads nowhere"), "{error}");
        assert!(!parent.path().join("disk").exists());
    }

    #[test]
    fn where_data_lies() {
        let none = |_: &str| None;
        assert_eq!(default_folder(none, true), Path::new("/var/lib/lenscap-gateway"));
        let systemd = |name: &str| (name == "STATE_DIRECTORY").then(|| "/var/lib/x".to_owned());
        assert_eq!(default_folder(systemd, true), Path::new("/var/lib/x"));
        let home = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
        assert_eq!(
            default_folder(home, false),
            Path::new("/home/a/.local/state/lenscap-gateway")
        );
    }
}
