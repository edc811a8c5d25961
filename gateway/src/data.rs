//! The folder where everything is kept: the database, the CA, the gateway's certificate, the local socket.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use thiserror::Error;

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
        if !folder.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(error(folder))?;
        }
        let path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(error(&path))?;
        // What root's commands leave here, the service must be able to open. Nobody else can give files away.
        let (owner, own) = (fs::metadata(folder), lock.metadata());
        if let (Ok(owner), Ok(own)) = (owner, own)
            && owner.uid() != own.uid()
        {
            let _ = fchown(&lock, Some(owner.uid()), Some(owner.gid()));
        }
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
    fn the_lock_belongs_to_the_folders_owner() {
        let folder = tempfile::tempdir().unwrap();
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
        }
        drop(Data::open(folder.path()).unwrap());
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        assert_eq!(owner(&folder.path().join(LOCK)), owner(folder.path()));
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
