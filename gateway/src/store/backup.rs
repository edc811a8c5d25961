//! One file with everything: the database and the key files beside it.
//!
//! A backup holds secrets. It is written 0600, and whoever has it can pose as the gateway.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use tracing::warn;

use super::{Result, StoreError, schema};
use crate::{ordinary, owner};

/// The database's name in the data folder.
pub const DATABASE: &str = "lenscap.db";
/// Files beside the database that a backup takes along, where they are.
pub const FILES: [&str; 4] = ["ca.pem", "ca.key", "gateway.pem", "gateway.key"];
const PRIVATE: u32 = 0o600;

/// Writes a backup of the data folder. The gateway may be running.
///
/// # Errors
/// No database there, or the target cannot be written; an existing target is left alone.
pub fn backup(data: &Path, target: &Path) -> Result<()> {
    if has_name(target)? {
        let source = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "is there already; name another file",
        );
        return Err(io_error(target, source));
    }
    let database = data.join(DATABASE);
    if !schema::is_there(&database)? {
        let source = io::Error::new(
            io::ErrorKind::NotFound,
            "there is no database here; is it the data folder?",
        );
        return Err(io_error(&database, source));
    }
    schema::refuse_empty(&database)?;
    let part = beside(target, "part");
    let _ = fs::remove_file(&part);
    // Made empty and private first: SQLite would make it readable by others.
    create_private(&part)?;
    let written = write_backup(data, &database, &part);
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written?;
    rename(&part, target)
}

fn write_backup(data: &Path, database: &Path, part: &Path) -> Result<()> {
    let source = schema::open_for_reading(database)?;
    source.execute("VACUUM INTO ?1", [part.to_string_lossy()])?;
    let copy = Connection::open(part)?;
    copy.execute_batch("CREATE TABLE backup_files (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT;")?;
    for name in FILES {
        let content = ordinary::read(&data.join(name)).map_err(|error| io_error(&data.join(name), error))?;
        if let Some(content) = content {
            copy.execute("INSERT INTO backup_files VALUES (?1, ?2)", params![name, content])?;
        }
    }
    copy.close().map_err(|(_, error)| error)?;
    sync(part)
}

/// Puts a backup into the data folder. What was there is renamed, never lost; gives the names it was moved to.
/// What is written belongs to the folder's owner. The caller makes sure that no gateway runs there.
///
/// # Errors
/// A backup that is damaged, newer, or no backup; files that cannot be written. Then nothing was changed.
pub fn restore(source: &Path, data: &Path, now: u64) -> Result<Vec<PathBuf>> {
    let foreign = || StoreError::Foreign {
        path: source.to_owned(),
    };
    let backup = schema::open_for_reading(source).map_err(|error| match error {
        // What is said of an empty database is not true of this one.
        StoreError::Empty { .. } => foreign(),
        error => error,
    })?;
    let files = read_files(&backup).map_err(|_| foreign())?;
    drop(backup);
    fs::create_dir_all(data).map_err(|error| io_error(data, error))?;
    let part = data.join("lenscap.db.part");
    let _ = fs::remove_file(&part);
    // Open files are given away, not what their names may lead to by then. Closed before SQLite has it, whose locks go
    // with any descriptor of the file.
    let mut file = create_private(&part)?;
    File::open(source)
        .and_then(|mut source| io::copy(&mut source, &mut file))
        .map_err(|error| io_error(&part, error))?;
    owner::give(&file, data);
    drop(file);
    let copy = Connection::open(&part)?;
    copy.execute_batch("DROP TABLE backup_files; PRAGMA journal_mode = DELETE;")?;
    copy.close().map_err(|(_, error)| error)?;
    sync(&part)?;
    let mut parts = vec![(part, data.join(DATABASE))];
    for (name, content) in files {
        let part = data.join(format!("{name}.part"));
        let _ = fs::remove_file(&part);
        let mut file = create_private(&part)?;
        file.write_all(&content)
            .and_then(|()| file.sync_all())
            .map_err(|error| io_error(&part, error))?;
        owner::give(&file, data);
        parts.push((part, data.join(name)));
    }
    // What is in the log belongs into the database that is kept: without it, and wherever this ends, nothing is missing there.
    // One that is damaged is kept as it is.
    let old = data.join(DATABASE);
    if let Ok(true) = schema::is_there(&old)
        && let Err(error) = schema::settle(&old)
    {
        warn!(%error, "what was there is kept with its log apart");
    }
    // The log belongs to the database that it was written for; it goes first, so that no other is read with it.
    let mut kept = Vec::new();
    for name in ["lenscap.db-wal", "lenscap.db-shm"] {
        put_aside(&data.join(name), now, &mut kept)?;
    }
    for (part, target) in parts {
        replace(&part, &target, now, &mut kept)?;
    }
    Ok(kept)
}

fn read_files(backup: &Connection) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let mut statement = backup.prepare("SELECT name, content FROM backup_files")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let known = |row: &rusqlite::Result<(String, _)>| {
        row.as_ref()
            .map_or(true, |(name, _)| FILES.contains(&name.as_str()))
    };
    rows.filter(known).collect()
}

/// Renames what is there.
pub(super) fn put_aside(path: &Path, now: u64, kept: &mut Vec<PathBuf>) -> Result<()> {
    if has_name(path)? {
        let aside = beside(path, &format!("before-{now}"));
        rename(path, &aside)?;
        kept.push(aside);
    }
    Ok(())
}

/// Puts `part` in the place of `target`, which has another name too before it loses its own: whatever happens in
/// between, one of the two is there.
fn replace(part: &Path, target: &Path, now: u64, kept: &mut Vec<PathBuf>) -> Result<()> {
    if has_name(target)? {
        let aside = beside(target, &format!("before-{now}"));
        match fs::hard_link(target, &aside) {
            Ok(()) => kept.push(aside),
            // This file system has no second names.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                put_aside(target, now, kept)?;
            }
            Err(error) => return Err(io_error(&aside, error)),
        }
    }
    rename(part, target)
}

/// Makes a new file that only its owner may read.
pub(super) fn create_private(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
        .map_err(|error| io_error(path, error))
}

pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| io_error(path, error))
}

/// Renames a file for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| io_error(to, error))?;
    sync(owner::folder_of(to))
}

/// A name beside that of a file.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn has_name(path: &Path) -> Result<bool> {
    ordinary::has_name(path).map_err(|error| io_error(path, error))
}

pub(super) fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::sqlite::SqliteStore;
    use super::super::{Camera, Method, Store as _};
    use super::*;

    fn data(name: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join(DATABASE)).unwrap();
        store
            .put_cameras(&[Camera::claimed(name, "", [1; 32], Method::Pin, 1)])
            .unwrap();
        store.put_audit(name, 5, b"{}").unwrap();
        fs::write(folder.path().join("ca.pem"), name).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let store = SqliteStore::open(&folder.join(DATABASE)).unwrap();
        store
            .cameras()
            .unwrap()
            .into_iter()
            .map(|camera| camera.name)
            .collect()
    }

    #[test]
    fn what_was_saved_comes_back_and_what_was_there_is_kept() {
        let (old, new) = (data("old"), data("new"));
        let file = old.path().join("backup");
        // While it is open and in use.
        let running = SqliteStore::open(&old.path().join(DATABASE)).unwrap();
        backup(old.path(), &file).unwrap();
        drop(running);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            backup(old.path(), &file)
                .unwrap_err()
                .to_string()
                .contains("is there already")
        );
        let kept = restore(&file, new.path(), 77).unwrap();
        assert_eq!(names(new.path()), ["old"]);
        let restored = SqliteStore::open(&new.path().join(DATABASE)).unwrap();
        assert_eq!(restored.audit("old").unwrap(), Some((5, b"{}".to_vec())));
        drop(restored);
        assert_eq!(fs::read_to_string(new.path().join("ca.pem")).unwrap(), "old");
        let aside = new.path().join("lenscap.db.before-77");
        assert!(kept.contains(&aside));
        let before = schema::open_for_reading(&aside).unwrap();
        let name: String = before
            .query_row("SELECT name FROM cameras", [], |row| row.get(0))
            .unwrap();
        assert_eq!(name, "new");
        let empty = tempfile::tempdir().unwrap();
        assert!(restore(&file, &empty.path().join("fresh"), 1).unwrap().is_empty());
        assert_eq!(names(&empty.path().join("fresh")), ["old"]);
    }

    /// What a service runs as can read what root restored. As somebody else, the folder is one's own.
    #[test]
    fn what_is_restored_belongs_to_the_folders_owner() {
        let (old, new) = (data("old"), data("new"));
        let file = old.path().join("backup");
        backup(old.path(), &file).unwrap();
        let owner = owner::foreign(new.path());
        restore(&file, new.path(), 77).unwrap();
        for name in [DATABASE, "ca.pem"] {
            assert_eq!(owner::of(&new.path().join(name)), owner, "{name}");
        }
    }

    /// After a kill, what was acknowledged last is in the log alone.
    #[test]
    fn what_is_in_the_log_is_kept_with_its_database() {
        let (old, new) = (data("old"), data("new"));
        let file = old.path().join("backup");
        backup(old.path(), &file).unwrap();
        let killed = tempfile::tempdir().unwrap();
        let running = SqliteStore::open(&new.path().join(DATABASE)).unwrap();
        let late = Camera::claimed("late", "", [2; 32], Method::Pin, 1);
        running.put_cameras(&[late]).unwrap();
        for name in [DATABASE, "lenscap.db-wal"] {
            fs::copy(new.path().join(name), killed.path().join(name)).unwrap();
        }
        // A name that is taken ends it half way, and nothing is lost.
        let taken = killed.path().join("lenscap.db.before-77");
        fs::write(&taken, "").unwrap();
        restore(&file, killed.path(), 77).unwrap_err();
        assert_eq!(names(killed.path()), ["late", "new"]);
        let kept = restore(&file, killed.path(), 78).unwrap();
        assert_eq!(names(killed.path()), ["old"]);
        let aside = killed.path().join("lenscap.db.before-78");
        assert!(kept.contains(&aside));
        let before = schema::open_for_reading(&aside).unwrap();
        let count: i64 = before
            .query_row("SELECT count(*) FROM cameras", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn the_old_one_is_there_until_the_new_one_is() {
        let folder = data("old");
        let (target, mut kept) = (folder.path().join(DATABASE), Vec::new());
        // As if the power had gone between the two steps.
        replace(&folder.path().join("not there"), &target, 77, &mut kept).unwrap_err();
        assert_eq!(names(folder.path()), ["old"]);
        assert_eq!(kept, [folder.path().join("lenscap.db.before-77")]);
        // And nothing that was kept is written over.
        fs::write(folder.path().join("part"), "").unwrap();
        replace(&folder.path().join("part"), &target, 77, &mut kept).unwrap_err();
        assert_eq!(names(folder.path()), ["old"]);
    }

    #[test]
    fn a_link_to_a_disk_that_is_away_is_neither_left_out_nor_lost() {
        let (old, new) = (data("old"), data("new"));
        let file = old.path().join("backup");
        backup(old.path(), &file).unwrap();
        let link = new.path().join("ca.pem");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(new.path().join("disk/ca.pem"), &link).unwrap();
        let error = backup(new.path(), &new.path().join("backup"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ca.pem") && error.contains("leads nowhere"),
            "{error}"
        );
        let kept = restore(&file, new.path(), 77).unwrap();
        let aside = new.path().join("ca.pem.before-77");
        assert!(kept.contains(&aside) && aside.is_symlink());
        assert_eq!(fs::read_to_string(&link).unwrap(), "old");
    }

    #[test]
    fn a_bad_backup_changes_nothing() {
        let new = data("new");
        let bad = new.path().join("bad");
        for bytes in [&b"no backup at all, though it is long enough to be one"[..], b""] {
            fs::write(&bad, bytes).unwrap();
            let error = restore(&bad, new.path(), 1).unwrap_err().to_string();
            assert!(
                error.contains("damaged") || error.contains("not one of"),
                "{error}"
            );
            assert_eq!(names(new.path()), ["new"]);
        }
        // A database of ours that is no backup.
        let error = restore(&new.path().join(DATABASE), new.path(), 1).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert_eq!(names(new.path()), ["new"]);
        let lost = tempfile::tempdir().unwrap();
        fs::write(lost.path().join(DATABASE), "").unwrap();
        let error = backup(lost.path(), &bad.with_extension("x")).unwrap_err();
        assert!(matches!(error, StoreError::Empty { .. }), "{error}");
        let nothing = tempfile::tempdir().unwrap();
        let error = backup(nothing.path(), &bad.with_extension("x")).unwrap_err();
        assert!(error.to_string().contains("there is no database here"), "{error}");
    }
}
