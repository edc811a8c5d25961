//! The database's shape, step by step, and what is checked before it is touched.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::backup::{beside, create_private, io_error, put_aside, rename, sync};
use super::{Result, StoreError};
use crate::clock::unix_now;
use crate::{ordinary, owner};

/// `PRAGMA application_id`: "Lcap".
pub const APPLICATION_ID: i64 = 0x4C63_6170;
/// Each step brings the database from the version of its index to the next. Steps that were released never change.
pub const MIGRATIONS: [&str; 7] = [
    "CREATE TABLE cameras (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        account TEXT NOT NULL,
        serial TEXT,
        model TEXT,
        state TEXT NOT NULL CHECK (state IN ('reserved', 'claimed')),
        method TEXT NOT NULL CHECK (method IN ('pin', 'fingerprint', 'serial', 'callback')),
        pin_key BLOB,
        operator_proof BLOB,
        confirmed INTEGER NOT NULL DEFAULT 0,
        media INTEGER NOT NULL DEFAULT 1,
        created INTEGER NOT NULL,
        claimed INTEGER,
        agent_id TEXT UNIQUE,
        stream TEXT, substream TEXT, snapshot TEXT, onvif_url TEXT, ptz INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX reserved_serial ON cameras (serial) WHERE state = 'reserved';
    CREATE TABLE fingerprints (
        fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
        camera INTEGER NOT NULL REFERENCES cameras (id) ON DELETE CASCADE
    ) STRICT;
    CREATE TABLE claims (
        id INTEGER PRIMARY KEY,
        fingerprint BLOB,
        serial TEXT,
        name TEXT NOT NULL,
        account TEXT NOT NULL,
        method TEXT NOT NULL,
        claimed INTEGER,
        ended INTEGER NOT NULL,
        why TEXT NOT NULL
    ) STRICT;
    CREATE TABLE forwards (fingerprint BLOB PRIMARY KEY, url TEXT NOT NULL, pin TEXT) STRICT;
    CREATE TABLE revocations (fingerprint BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT;
    CREATE TABLE viewers (
        user TEXT PRIMARY KEY,
        ha1_md5 TEXT NOT NULL,
        ha1_sha256 TEXT NOT NULL,
        account TEXT NOT NULL,
        cameras TEXT,
        created INTEGER NOT NULL,
        expires INTEGER
    ) STRICT;
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        hash BLOB NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        account TEXT NOT NULL,
        cameras TEXT,
        created INTEGER NOT NULL,
        expires INTEGER
    ) STRICT;
    CREATE TABLE placements (camera TEXT PRIMARY KEY, streamer TEXT NOT NULL) STRICT;
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;",
    "CREATE TABLE views (
        id INTEGER PRIMARY KEY,
        camera TEXT NOT NULL,
        profile TEXT NOT NULL,
        user TEXT NOT NULL,
        by TEXT NOT NULL,
        address TEXT NOT NULL,
        began INTEGER NOT NULL,
        ended INTEGER,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX views_camera ON views (camera, id);
    CREATE INDEX views_user ON views (user, id);",
    // The operator's key is of another curve, and what was proven of the old one is worth nothing.
    "DELETE FROM secrets WHERE name = 'operator';
    UPDATE cameras SET operator_proof = NULL, confirmed = 0;",
    "CREATE INDEX fingerprints_camera ON fingerprints (camera);",
    "ALTER TABLE cameras ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;",
    // By name, like placements: cameras of the configuration file have audits too.
    "CREATE TABLE audits (
        camera TEXT PRIMARY KEY,
        received INTEGER NOT NULL,
        report BLOB NOT NULL CHECK (length(report) <= 524288)
    ) STRICT;",
    // A number that was a camera's is never another's: who heard something of the one before it is not mistaken.
    "ALTER TABLE cameras ADD COLUMN reset_before INTEGER;
    CREATE TABLE camera_ids (id INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;
    INSERT INTO camera_ids SELECT max(id) FROM cameras;",
];
/// The newest version.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Opens a database for writing: made if it is not there, checked and brought up to date if it is. Before an older
/// one is changed, a copy of it is put beside it.
///
/// # Errors
/// See [`StoreError`]; a file that is refused is left as it was.
pub fn open(path: &Path) -> Result<Connection> {
    if !is_there(path)? {
        create(path)?;
    }
    refuse_empty(path)?;
    let connection = Connection::open(path).map_err(|error| blame(path, error))?;
    let version = check(path, &connection)?;
    configure(&connection).map_err(|error| blame(path, error))?;
    if version < VERSION {
        copy_aside(path, &connection, version)?;
    }
    migrate(&connection, version).map_err(|error| blame(path, error))?;
    Ok(connection)
}

/// True for a database that is there; what is neither there nor away must not be made anew.
///
/// # Errors
/// It could not be looked for, or is no ordinary file.
pub fn is_there(path: &Path) -> Result<bool> {
    for suffix in ["-journal", "-wal", "-shm"] {
        let log = log_of(path, suffix);
        ordinary::is_file(&log).map_err(|error| io_error(&log, error))?;
    }
    ordinary::is_file(path).map_err(|error| io_error(path, error))
}

/// What SQLite keeps beside a database.
fn log_of(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Brings what is in a database's log into the database itself, so that it can be kept without the log.
///
/// # Errors
/// It is damaged, or cannot be written.
pub(super) fn settle(path: &Path) -> Result<()> {
    refuse_empty(path)?;
    let connection = Connection::open(path).map_err(|error| blame(path, error))?;
    let settled = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    settled.map_err(|error| blame(path, error))?;
    connection.close().map_err(|(_, error)| blame(path, error))
}

/// Refuses a file with nothing in it, before SQLite looks, which would remove its log.
pub(super) fn refuse_empty(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => Err(StoreError::Empty {
            path: path.to_owned(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Makes a database, which has its name only once everything is in it: whoever is killed before leaves none, so that
/// one that is empty was not.
fn create(path: &Path) -> Result<()> {
    let part = beside(path, "new");
    let remove = || {
        let _ = fs::remove_file(&part);
        let _ = fs::remove_file(beside(path, "new-journal"));
    };
    remove();
    let made = fill(path, &part);
    if made.is_err() {
        remove();
    }
    made?;
    // The log of a database that is not there any more must not be read with this one.
    for suffix in ["-wal", "-shm"] {
        put_aside(&log_of(path, suffix), unix_now(), &mut Vec::new())?;
    }
    rename(&part, path)
}

fn fill(path: &Path, part: &Path) -> Result<()> {
    // SQLite would make it readable by others. The file is closed before SQLite opens it, whose locks go with it.
    owner::give(&create_private(part)?, owner::folder_of(path));
    let connection = Connection::open(part).map_err(|error| blame(path, error))?;
    migrate(&connection, 0).map_err(|error| blame(path, error))?;
    connection.close().map_err(|(_, error)| blame(path, error))
}

/// Opens for reading only, without changing a byte.
///
/// # Errors
/// As [`open`], and when there is no such file.
pub fn open_for_reading(path: &Path) -> Result<Connection> {
    // SQLite would wait for the other end of a fifo. Of what is not there it says so itself.
    is_there(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| blame(path, error))?;
    check(path, &connection)?;
    Ok(connection)
}

/// What a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Cameras that are claimed or expected.
    pub cameras: u64,
    /// Viewers.
    pub viewers: u64,
}

/// Looks at a database without changing it.
///
/// # Errors
/// As [`open`].
pub fn inspect(path: &Path) -> Result<Contents> {
    refuse_empty(path)?;
    let connection = open_for_reading(path)?;
    let count = |table: &str| -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(|error| blame(path, error))?;
        Ok(count.unsigned_abs())
    };
    Ok(Contents {
        cameras: count("cameras")?,
        viewers: count("viewers")?,
    })
}

/// A database in memory, which is gone with the process.
///
/// # Errors
/// Only for want of memory.
pub fn in_memory() -> Result<Connection> {
    let connection = Connection::open_in_memory()?;
    configure(&connection)?;
    migrate(&connection, 0)?;
    Ok(connection)
}

/// Judges what is there; gives its version. One in which nothing was ever written is [`StoreError::Empty`].
fn check(path: &Path, connection: &Connection) -> Result<i64> {
    let number = |pragma: &str| -> Result<i64> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(|error| blame(path, error))
    };
    let (version, application) = (number("user_version")?, number("application_id")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| blame(path, error))?;
    if tables == 0 && version == 0 {
        return Err(StoreError::Empty {
            path: path.to_owned(),
        });
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    if version > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    if version < 1 {
        return Err(corrupt(
            path,
            format!("it has tables, but is of version {version}"),
        ));
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| blame(path, error))?;
    if verdict != "ok" {
        return Err(corrupt(path, verdict));
    }
    Ok(version)
}

/// A write-ahead log that is synced at each commit: a claim that was acknowledged survives a power cut.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF;",
    )
}

fn migrate(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or_default();
    for (index, step) in MIGRATIONS.iter().enumerate().skip(done) {
        let next = index + 1;
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {step}
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {next}; COMMIT;"
        ))?;
    }
    Ok(())
}

/// Puts a copy of an older database beside it. One that is there from before counts if it is whole and of this version;
/// another one is put aside, for it could not be gone back to.
fn copy_aside(path: &Path, connection: &Connection, version: i64) -> Result<()> {
    let copy = beside(path, &format!("v{version}"));
    if is_there(&copy)? && is_of(&copy, version) {
        return Ok(());
    }
    let part = beside(&copy, "part");
    let remove = || {
        let _ = fs::remove_file(&part);
    };
    remove();
    owner::give(&create_private(&part)?, owner::folder_of(path));
    let copied = connection.execute("VACUUM INTO ?1", [part.to_string_lossy()]);
    let copied = copied
        .map_err(|error| blame(&part, error))
        .and_then(|_| sync(&part));
    if copied.is_err() {
        remove();
    }
    copied?;
    put_aside(&copy, unix_now(), &mut Vec::new())?;
    rename(&part, &copy)
}

fn is_of(copy: &Path, version: i64) -> bool {
    let found = open_for_reading(copy).and_then(|connection| check(copy, &connection));
    found.is_ok_and(|found| found == version)
}

fn corrupt(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        why,
    }
}

/// Tells damage from the rest.
fn blame(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(path, error.to_string()),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::Io {
            path: path.to_owned(),
            source: std::io::Error::other(error.to_string()),
        },
        _ => StoreError::Sqlite(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_database_is_copied_and_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&format!(
            "{} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;
             INSERT INTO placements VALUES ('front', 's1');
             INSERT INTO cameras (name, account, state, method, created) VALUES ('front', '', 'claimed', 'pin', 1);",
            MIGRATIONS[0]
        ))
        .unwrap();
        drop(old);
        let connection = open(&path).unwrap();
        let kept: String = connection
            .query_row("SELECT streamer FROM placements", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, "s1");
        let suspended: bool = connection
            .query_row("SELECT suspended FROM cameras", [], |row| row.get(0))
            .unwrap();
        assert!(!suspended);
        assert_eq!(check(&path, &connection).unwrap(), VERSION);
        let copy = open_for_reading(&folder.path().join("old.db.v1")).unwrap();
        assert_eq!(check(&path, &copy).unwrap(), 1);
    }

    #[test]
    fn a_copy_that_is_worth_nothing_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("old.db"), folder.path().join("old.db.v1"));
        let old = |path: &Path, camera: &str| {
            let _ = std::fs::remove_file(path);
            let old = Connection::open(path).unwrap();
            old.execute_batch(&format!(
                "{} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;
                 INSERT INTO placements VALUES ('{camera}', 's1');",
                MIGRATIONS[0]
            ))
            .unwrap();
            old.close().unwrap();
        };
        let kept = || -> String {
            let copy = open_for_reading(&copy).unwrap();
            assert_eq!(check(&path, &copy).unwrap(), 1);
            copy.query_row("SELECT camera FROM placements", [], |row| row.get(0))
                .unwrap()
        };
        old(&path, "front");
        let whole = std::fs::read(&path).unwrap();
        // Cut short by a power cut, damaged, and of another version.
        let mut newer = whole.clone();
        newer[60..64].copy_from_slice(&2_u32.to_be_bytes());
        for bad in [
            &b""[..],
            &whole[..whole.len() / 2],
            b"not a database, but long enough",
            &newer,
        ] {
            old(&path, "front");
            std::fs::write(&copy, bad).unwrap();
            drop(open(&path).unwrap());
            assert_eq!(kept(), "front");
            let names = std::fs::read_dir(folder.path()).unwrap();
            let aside: Vec<_> = names
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.to_string_lossy().contains("old.db.v1."))
                .collect();
            assert_eq!(aside.len(), 1, "{aside:?}");
            assert_eq!(std::fs::read(&aside[0]).unwrap(), bad);
            std::fs::remove_file(&aside[0]).unwrap();
        }
        // A good one stays.
        old(&copy, "first");
        old(&path, "second");
        drop(open(&path).unwrap());
        assert_eq!(kept(), "first");
        // And nothing is changed where none can be made.
        old(&path, "third");
        std::fs::remove_file(&copy).unwrap();
        std::os::unix::fs::symlink(folder.path().join("disk/x"), &copy).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("leads nowhere"));
        assert_eq!(
            open_for_reading(&path)
                .and_then(|old| check(&path, &old))
                .unwrap(),
            1
        );
        assert_eq!(std::fs::read(&path).unwrap().len(), before.len());
    }

    /// What `run` opens and what `check` looks at.
    #[test]
    fn one_without_a_schema_is_judged_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let no_schema = Connection::open(&path).unwrap();
        no_schema
            .execute_batch("CREATE TABLE a (b); DROP TABLE a; VACUUM;")
            .unwrap();
        no_schema.close().unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(!before.is_empty());
        let judged = || {
            [
                open(&path).map(drop).unwrap_err(),
                inspect(&path).map(drop).unwrap_err(),
            ]
        };
        for error in judged() {
            assert!(matches!(error, StoreError::Empty { .. }), "{error}");
        }
        let versionless = Connection::open(&path).unwrap();
        versionless
            .execute_batch(&format!(
                "CREATE TABLE a (b); PRAGMA application_id = {APPLICATION_ID};"
            ))
            .unwrap();
        versionless.close().unwrap();
        for error in judged() {
            assert!(error.to_string().contains("of version 0"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for error in judged() {
            assert!(error.to_string().contains("is a fifo"), "{error}");
        }
    }

    /// `: > lenscap.db`, and what of it can be found in its log.
    #[test]
    fn an_empty_one_is_lost_and_not_new() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("x.db"), folder.path().join("x.db-wal"));
        std::fs::write(&path, "").unwrap();
        std::fs::write(&log, "what was written last").unwrap();
        for _ in 0..2 {
            let error = open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Empty { .. }), "{error}");
            assert!(error.to_string().contains("lenscap-gateway restore"), "{error}");
        }
        assert!(std::fs::metadata(&path).unwrap().len() == 0 && log.exists());
        // What is said to be done is what helps, and takes nothing away.
        std::fs::rename(&path, folder.path().join("aside")).unwrap();
        drop(open(&path).unwrap());
        let kept = std::fs::read_dir(folder.path()).unwrap();
        let kept: Vec<_> = kept.map(|entry| entry.unwrap().path()).collect();
        let is_log = |path: &&std::path::PathBuf| path.to_string_lossy().contains("x.db-wal.before-");
        let log = kept.iter().find(is_log).unwrap();
        assert_eq!(std::fs::read(log).unwrap(), b"what was written last");
    }

    #[test]
    fn a_link_to_a_disk_that_is_away_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        std::os::unix::fs::symlink(folder.path().join("disk/x.db"), &path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("a link that leads nowhere"), "{error}");
        assert!(path.is_symlink() && std::fs::read_dir(folder.path()).unwrap().count() == 1);
    }

    /// A first start that is killed at any point leaves no database, or a whole one.
    #[test]
    fn one_that_was_only_begun_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let part = folder.path().join("x.db.new");
        let begun: [&dyn Fn(); 3] = [
            &|| std::fs::write(&part, "").unwrap(),
            // As SQLite leaves it when it is killed before the end of the first step.
            &|| {
                let connection = std::mem::ManuallyDrop::new(Connection::open(&part).unwrap());
                connection
                    .execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE cameras (id ANY) STRICT;")
                    .unwrap();
            },
            &|| std::fs::write(folder.path().join("x.db.new-journal"), "half a journal").unwrap(),
        ];
        for begin in begun {
            begin();
            assert!(!path.exists());
            let connection = open(&path).unwrap();
            assert_eq!(check(&path, &connection).unwrap(), VERSION);
            connection.close().unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        drop(open(&path).unwrap());
        let good = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = open(&path).unwrap_err().to_string();
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{error}");
            error
        };
        assert!(refused(b"no database at all, but long enough to be looked at").contains("is damaged"));
        let mut newer = good.clone();
        newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
        let expected = format!("newer lenscap-gateway (schema 99, this one knows {VERSION})");
        assert!(refused(&newer).contains(&expected));
        let mut foreign = good.clone();
        foreign[68..72].fill(0);
        assert!(refused(&foreign).contains("not one of lenscap-gateway"));
        let mut damaged = good.clone();
        for page in damaged.chunks_mut(4096).skip(1) {
            page[..8].fill(0xEE);
        }
        assert!(refused(&damaged).contains("lenscap-gateway restore"), "pages");
        assert!(refused(&good[..good.len() / 2]).contains("is damaged"), "cut");
    }
}
