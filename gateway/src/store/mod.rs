//! What the gateway remembers: cameras and their claims, viewers, tokens, placements, audits, who watched.
//!
//! [`Store`] is the seam: one machine uses SQLite ([`sqlite`]); several gateways that share one fleet would put
//! another implementation here. Calls block for as long as a disk takes, so they belong on blocking threads.

pub mod backup;
pub mod model;
mod rows;
pub mod schema;
pub mod sqlite;

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use model::{
    Camera, CameraState, Details, Forward, Method, Scope, Secret, Token, View, ViewFilter, ViewerRow,
};

use crate::config::Sha256Hash;

/// Why the store did not do it. Nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A name, fingerprint, serial or number that is taken.
    #[error("{0}")]
    Conflict(String),
    /// What was named is not there.
    #[error("{0}")]
    Missing(String),
    /// The file is damaged.
    #[error(
        "{} is damaged ({why}); nothing was changed. Put it aside and bring back a backup: lenscap-gateway restore FILE",
        path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// Nothing is in the file any more. One that was only begun never has this name.
    #[error(
        "{} is empty, as after a power cut or on a full disk, and everything that was kept in it is lost; nothing was \
         changed. Bring back a backup: lenscap-gateway restore FILE. Without one, put the file aside: the gateway then \
         starts with no cameras and no viewers",
        path.display()
    )]
    Empty {
        /// The database.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "{} was written by a newer lenscap-gateway (schema {found}, this one knows {known}); nothing was changed. \
         Install the newer version again, or restore a backup made by this one",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema here.
        known: i64,
    },
    /// Another program's file.
    #[error("{} is a database, but not one of lenscap-gateway; nothing was changed", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Files.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite failed: disk full, disk broken.
    #[error("the database refused: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Everything that is kept. Each call is one transaction: it happens whole, or not at all, and is on the disk
/// when it returns.
pub trait Store: Send + Sync + fmt::Debug {
    /// All cameras, by name.
    ///
    /// # Errors
    /// Only of the database itself.
    fn cameras(&self) -> Result<Vec<Camera>>;

    /// Writes cameras, all or none: new ones with the id 0, others over the one of the same id. Viewers and tokens of
    /// no account do not name a camera any more whose account is another than before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a name, key, serial of a reservation or agent id is taken;
    /// [`StoreError::Missing`] if there is none of the id.
    fn put_cameras(&self, cameras: &[Camera]) -> Result<()>;

    /// Forgets a camera and its audit; its claim goes into the history, its resume credentials issued until `now` are void, and
    /// viewers and tokens of no account do not name it any more.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    fn remove_camera(&self, id: i64, now: u64, why: &str) -> Result<()>;

    /// Where an unclaimed key is sent for good (308).
    ///
    /// # Errors
    /// Only of the database itself.
    fn forwards(&self) -> Result<Vec<(Sha256Hash, Forward)>>;

    /// Sets or clears a key's forward.
    ///
    /// # Errors
    /// Only of the database itself.
    fn set_forward(&self, key: &Sha256Hash, forward: Option<&Forward>) -> Result<()>;

    /// All viewers, by name.
    ///
    /// # Errors
    /// Only of the database itself.
    fn viewers(&self) -> Result<Vec<ViewerRow>>;

    /// Adds a viewer.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    fn add_viewer(&self, viewer: &ViewerRow) -> Result<()>;

    /// Takes a viewer away.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    fn remove_viewer(&self, user: &str) -> Result<()>;

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// Only of the database itself.
    fn tokens(&self) -> Result<Vec<Token>>;

    /// Adds a token and gives its id.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    fn add_token(&self, token: &Token) -> Result<i64>;

    /// Takes a token away.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    fn remove_token(&self, id: i64) -> Result<()>;

    /// Camera name to streamer name.
    ///
    /// # Errors
    /// Only of the database itself.
    fn placements(&self) -> Result<Vec<(String, String)>>;

    /// Remembers where cameras are placed: camera and streamer by name.
    ///
    /// # Errors
    /// Only of the database itself.
    fn set_placements(&self, placed: &[(String, String)]) -> Result<()>;

    /// Keys whose resume credentials issued until that time are void.
    ///
    /// # Errors
    /// Only of the database itself.
    fn revocations(&self) -> Result<Vec<(Sha256Hash, u64)>>;

    /// A camera's latest audit, and when it came, in seconds since 1970.
    ///
    /// # Errors
    /// Only of the database itself.
    fn audit(&self, camera: &str) -> Result<Option<(u64, Vec<u8>)>>;

    /// Puts a camera's audit, of [`MAX_AUDIT_BYTES`](crate::reports::audit::MAX_AUDIT_BYTES) at most, in the place of
    /// the one before.
    ///
    /// # Errors
    /// Only of the database itself.
    fn put_audit(&self, camera: &str, received: u64, report: &[u8]) -> Result<()> {
        self.put_audits(&[(camera, received, report)])
    }

    /// The same for many, all or none.
    ///
    /// # Errors
    /// Only of the database itself.
    fn put_audits(&self, audits: &[(&str, u64, &[u8])]) -> Result<()>;

    /// Forgets a camera's audit, if there is one.
    ///
    /// # Errors
    /// Only of the database itself.
    fn remove_audit(&self, camera: &str) -> Result<()>;

    /// Writes views that began or ended; the oldest beyond [`model::MAX_VIEWS`] go.
    ///
    /// # Errors
    /// Only of the database itself.
    fn write_views(&self, views: &[View]) -> Result<()>;

    /// Ends the views that a killed process left open, at the last time that any view knows of: until then it
    /// lived. Gives the highest number of a view, 0 if there is none.
    ///
    /// # Errors
    /// Only of the database itself.
    fn close_views(&self) -> Result<i64>;

    /// Who watched, newest first.
    ///
    /// # Errors
    /// Only of the database itself.
    fn views(&self, filter: &ViewFilter) -> Result<Vec<View>>;

    /// A secret of the gateway's own; `make` gives it when there is none yet.
    ///
    /// # Errors
    /// Only of the database itself.
    fn secret(&self, name: &str, make: &dyn Fn() -> Vec<u8>) -> Result<Secret>;
}
