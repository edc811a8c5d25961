//! Where the last reports of the cameras are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::audit::MAX_AUDIT_BYTES;
use super::flows::MAX_FLOWS_BYTES;
use crate::config::is_name;
use crate::owner;
use crate::store::Store;

/// Largest report that is kept, in bytes.
const MAX_BYTES: u64 = {
    let larger = if MAX_AUDIT_BYTES > MAX_FLOWS_BYTES {
        MAX_AUDIT_BYTES
    } else {
        MAX_FLOWS_BYTES
    };
    // Flows are written with every field, whatever the camera left out.
    2 * larger as u64
};

/// Audits of an older program that are taken into the database together.
const TAKEN_TOGETHER: usize = 64;

/// What a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `GET /audit`.
    Audit,
    /// `GET /flows`.
    Flows,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Flows, Self::Audit];

    /// The name in paths and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Flows => "flows",
        }
    }
}

/// When a report came, in seconds since 1970, and what it is.
pub type Kept = (u64, Vec<u8>);

/// Keeps the last report of each kind and camera. Calls may block for as long as a disk takes.
///
/// Names of cameras are those of the configuration: letters, digits, `-`, `_` and `.`, with no dot at the start.
pub trait Keep: Send + Sync + fmt::Debug {
    /// The last report, if there is one, and when it came, in seconds since 1970.
    ///
    /// # Errors
    /// What the storage says.
    fn load(&self, camera: &str, kind: Kind) -> io::Result<Option<Kept>>;

    /// Puts a report in the place of the one before, whole or not at all.
    ///
    /// # Errors
    /// What the storage says.
    fn save(&self, camera: &str, kind: Kind, received_s: u64, report: &[u8]) -> io::Result<()>;

    /// Forgets a report, if there is one.
    ///
    /// # Errors
    /// What the storage says.
    fn remove(&self, camera: &str, kind: Kind) -> io::Result<()>;
}

/// Keeps them until the process ends.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<(String, Kind), Kept>>);

impl Keep for Memory {
    fn load(&self, camera: &str, kind: Kind) -> io::Result<Option<Kept>> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(reports.get(&(camera.to_owned(), kind)).cloned())
    }

    fn save(&self, camera: &str, kind: Kind, received_s: u64, report: &[u8]) -> io::Result<()> {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.insert((camera.to_owned(), kind), (received_s, report.to_owned()));
        Ok(())
    }

    fn remove(&self, camera: &str, kind: Kind) -> io::Result<()> {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.remove(&(camera.to_owned(), kind));
        Ok(())
    }
}

/// The line before a report in its file.
#[derive(Deserialize, Serialize)]
struct Stamp {
    received_s: u64,
}

/// Keeps each in a file of its own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held while a file is written: a camera that moves has two uplinks for a while, and both may bring a report.
    writing: Mutex<()>,
}

impl Folder {
    /// Makes the folder if need be, for its owner alone, who is that of the folder around it.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        if !path.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            let made = fs::OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&path)?;
            owner::give(&made, owner::folder_of(&path));
        }
        let writing = Mutex::default();
        Ok(Self { path, writing })
    }

    fn path(&self, camera: &str, kind: Kind) -> PathBuf {
        self.path.join(format!("{camera}.{}", kind.as_str()))
    }

    /// The cameras of which there is a report.
    fn cameras(&self, kind: Kind) -> io::Result<Vec<String>> {
        let mut cameras = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let camera = name.to_str().and_then(|name| name.rsplit_once('.'));
            if let Some((camera, of)) = camera
                && of == kind.as_str()
                && is_name(camera)
            {
                cameras.push(camera.to_owned());
            }
        }
        Ok(cameras)
    }
}

impl Keep for Folder {
    fn load(&self, camera: &str, kind: Kind) -> io::Result<Option<Kept>> {
        let file = match fs::File::open(self.path(camera, kind)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut report = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut report)?;
        if report.len() as u64 > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let end = report
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(report.len());
        let Stamp { received_s } = serde_json::from_slice(&report[..end])?;
        report.drain(..(end + 1).min(report.len()));
        Ok(Some((received_s, report)))
    }

    fn save(&self, camera: &str, kind: Kind, received_s: u64, report: &[u8]) -> io::Result<()> {
        let path = self.path(camera, kind);
        // No name of a camera begins with a dot, so this is nobody's report.
        let temporary = self.path.join(format!(".{camera}.{}", kind.as_str()));
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        owner::give(&file, &self.path);
        serde_json::to_writer(&file, &Stamp { received_s })?;
        file.write_all(b"\n")?;
        file.write_all(report)?;
        fs::rename(&temporary, &path)
    }

    fn remove(&self, camera: &str, kind: Kind) -> io::Result<()> {
        match fs::remove_file(self.path(camera, kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Keeps audits in the database, so that a backup has them, and flows in files: those change every few minutes.
#[derive(Debug)]
pub struct WithStore {
    store: Arc<dyn Store>,
    folder: Folder,
}

impl WithStore {
    /// Over both. Audits that an older program left in the folder go into the database, so that the next backup has
    /// them. Blocks.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, folder: Folder) -> Self {
        let keep = Self { store, folder };
        let left = keep.folder.cameras(Kind::Audit).unwrap_or_else(|error| {
            warn!(%error, "the folder of reports cannot be read");
            Vec::new()
        });
        for cameras in left.chunks(TAKEN_TOGETHER) {
            // One that is damaged is no hindrance to the others.
            if keep.take_over(cameras).is_err() {
                for camera in cameras {
                    if let Err(error) = keep.take_over(std::slice::from_ref(camera)) {
                        warn!(camera, %error, "the audit that an older program kept stays in its file, and in no backup");
                    }
                }
            }
        }
        keep
    }

    fn take_over(&self, cameras: &[String]) -> io::Result<()> {
        let mut taken = Vec::new();
        for camera in cameras {
            // What is in the database is newer.
            if self.store.audit(camera).map_err(io::Error::other)?.is_none()
                && let Some(kept) = self.folder.load(camera, Kind::Audit)?
            {
                taken.push((camera.as_str(), kept));
            }
        }
        let audits: Vec<(&str, u64, &[u8])> = taken
            .iter()
            .map(|(camera, (received_s, report))| (*camera, *received_s, report.as_slice()))
            .collect();
        self.store.put_audits(&audits).map_err(io::Error::other)?;
        cameras
            .iter()
            .try_for_each(|camera| self.folder.remove(camera, Kind::Audit))
    }
}

impl Keep for WithStore {
    fn load(&self, camera: &str, kind: Kind) -> io::Result<Option<Kept>> {
        if kind == Kind::Audit
            && let Some(kept) = self.store.audit(camera).map_err(io::Error::other)?
        {
            return Ok(Some(kept));
        }
        self.folder.load(camera, kind)
    }

    fn save(&self, camera: &str, kind: Kind, received_s: u64, report: &[u8]) -> io::Result<()> {
        match kind {
            Kind::Flows => self.folder.save(camera, kind, received_s, report),
            Kind::Audit => {
                let saved = self.store.put_audit(camera, received_s, report);
                saved.map_err(io::Error::other)?;
                self.folder.remove(camera, kind)
            }
        }
    }

    fn remove(&self, camera: &str, kind: Kind) -> io::Result<()> {
        if kind == Kind::Audit {
            self.store.remove_audit(camera).map_err(io::Error::other)?;
        }
        self.folder.remove(camera, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;
    use std::os::unix::fs::PermissionsExt as _;

    /// What a gateway that root has run leaves, the service can read. As somebody else, all is one's own.
    #[test]
    fn reports_belong_to_the_folders_owner() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret");
        fs::write(&secret, "kept").unwrap();
        let owner = owner::foreign(dir.path());
        let path = dir.path().join("reports");
        let folder = Folder::new(path.clone()).unwrap();
        std::os::unix::fs::symlink(&secret, path.join(".front.flows")).unwrap();
        folder.save("front", Kind::Flows, 1, b"one").unwrap();
        for path in [&path, &path.join("front.flows")] {
            assert_eq!(owner::of(path), owner, "{}", path.display());
        }
        assert_eq!(fs::read(&secret).unwrap(), b"kept");
    }

    #[test]
    fn reports_are_kept_apart_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let beside = Folder::new(dir.path().join("beside")).unwrap();
        let keeps: [Box<dyn Keep>; 3] = [
            Box::new(Memory::default()),
            Box::new(WithStore::new(store, beside)),
            Box::new(Folder::new(folder.clone()).unwrap()),
        ];
        for keep in keeps {
            assert_eq!(keep.load("front", Kind::Audit).unwrap(), None);
            keep.save("front", Kind::Audit, 1, b"one").unwrap();
            keep.save("front", Kind::Audit, 2, b"two").unwrap();
            keep.save("front", Kind::Flows, 3, b"three").unwrap();
            let load = |kind| keep.load("front", kind).unwrap().unwrap();
            assert_eq!(load(Kind::Audit), (2, b"two".to_vec()));
            assert_eq!(load(Kind::Flows), (3, b"three".to_vec()));
            assert_eq!(keep.load("back", Kind::Flows).unwrap(), None);
            for _ in 0..2 {
                keep.remove("front", Kind::Flows).unwrap();
            }
            assert_eq!(keep.load("front", Kind::Flows).unwrap(), None);
        }
        let keep = Folder::new(folder.clone()).unwrap();
        keep.save("front", Kind::Audit, 4, b"a").unwrap();
        std::thread::scope(|scope| {
            for byte in [b'a', b'b'] {
                let (keep, report) = (&keep, vec![byte; 200_000]);
                scope
                    .spawn(move || (0..5).for_each(|_| keep.save("front", Kind::Audit, 4, &report).unwrap()));
            }
            for _ in 0..10 {
                let (_, report) = keep.load("front", Kind::Audit).unwrap().unwrap();
                let first = report[0];
                assert!(
                    report.iter().all(|byte| *byte == first),
                    "two reports in one file"
                );
            }
        });
        let modes = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((modes("."), modes("front.audit")), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::write(folder.join("front.audit"), vec![0; MAX_BYTES as usize + 1]).unwrap();
        assert!(keep.load("front", Kind::Audit).is_err());
    }

    #[test]
    fn audits_of_an_older_program_go_into_the_database_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let folder = || Folder::new(dir.path().to_owned()).unwrap();
        let cameras: Vec<String> = (0..2 * TAKEN_TOGETHER + 1).map(|n| format!("c.{n}")).collect();
        for camera in &cameras {
            folder().save(camera, Kind::Audit, 1, camera.as_bytes()).unwrap();
        }
        folder().save("c.0", Kind::Flows, 1, b"flows").unwrap();
        store.put_audit("c.1", 2, b"newer").unwrap();
        fs::write(dir.path().join("c.2.audit"), "damaged").unwrap();
        let keep = WithStore::new(Arc::clone(&store) as _, folder());
        for camera in &cameras {
            let expected = match camera.as_str() {
                "c.1" => Some((2, b"newer".to_vec())),
                "c.2" => None,
                other => Some((1, other.as_bytes().to_vec())),
            };
            assert_eq!(store.audit(camera).unwrap(), expected, "{camera}");
        }
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["c.0.flows", "c.2.audit"], "nothing is lost");
        keep.save("c.2", Kind::Audit, 3, b"new").unwrap();
        assert_eq!(keep.load("c.2", Kind::Audit).unwrap(), Some((3, b"new".to_vec())));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        keep.remove("c.2", Kind::Audit).unwrap();
        assert_eq!(store.audit("c.2").unwrap(), None);
    }
}
