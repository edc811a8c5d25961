//! [`Store`] in one SQLite file.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::model::{Camera, Forward, MAX_VIEWS, Secret, Token, View, ViewFilter, ViewerRow};
use super::rows::{self, CAMERA_COLUMNS, int, joined, method_name, state_name};
use super::{Result, Store, StoreError, schema};
use crate::config::Sha256Hash;

/// One connection; calls take turns.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens or makes a database.
    ///
    /// # Errors
    /// See [`schema::open`].
    pub fn open(path: &Path) -> Result<Self> {
        schema::open(path).map(Self::over)
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// Only for want of memory.
    pub fn in_memory() -> Result<Self> {
        schema::in_memory().map(Self::over)
    }

    fn over(connection: Connection) -> Self {
        Self {
            connection: Mutex::new(connection),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic of another thread rolled its transaction back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list<T>(&self, sql: &str, map: fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], map)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn write<T>(&self, act: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = act(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

impl Store for SqliteStore {
    fn cameras(&self) -> Result<Vec<Camera>> {
        self.list(
            &format!("SELECT {CAMERA_COLUMNS} FROM cameras ORDER BY name"),
            rows::camera,
        )
    }

    fn put_cameras(&self, cameras: &[Camera]) -> Result<()> {
        self.write(|transaction| {
            for camera in cameras {
                let mut id = camera.id;
                if id == 0 {
                    transaction.execute("INSERT INTO camera_ids DEFAULT VALUES", [])?;
                    id = transaction.last_insert_rowid();
                    transaction.execute("DELETE FROM camera_ids", [])?;
                    transaction
                        .execute(
                            "INSERT INTO cameras (id, name, account, created, state, method)
                             VALUES (?1, ?2, ?3, ?4, 'claimed', 'pin')",
                            params![id, camera.name, camera.account, int(camera.created)],
                        )
                        .map_err(|error| taken(error, &camera.name))?;
                }
                write_camera(transaction, id, camera)?;
            }
            Ok(())
        })
    }

    fn remove_camera(&self, id: i64, now: u64, why: &str) -> Result<()> {
        self.write(|transaction| {
            let moved = transaction.execute(
                "INSERT INTO claims (fingerprint, serial, name, account, method, claimed, ended, why)
                 SELECT (SELECT fingerprint FROM fingerprints WHERE camera = cameras.id),
                        serial, name, account, method, claimed, ?2, ?3 FROM cameras WHERE id = ?1",
                params![id, int(now), why],
            )?;
            if moved == 0 {
                return Err(StoreError::Missing("there is no such camera".into()));
            }
            transaction.execute(
                "INSERT INTO revocations SELECT fingerprint, ?2 FROM fingerprints WHERE camera = ?1
                 ON CONFLICT (fingerprint) DO UPDATE SET until = excluded.until",
                params![id, int(now)],
            )?;
            transaction.execute(
                "DELETE FROM placements WHERE camera = (SELECT name FROM cameras WHERE id = ?1)",
                [id],
            )?;
            transaction.execute(
                "DELETE FROM audits WHERE camera = (SELECT name FROM cameras WHERE id = ?1)",
                [id],
            )?;
            strip_name(transaction, id)?;
            transaction.execute("DELETE FROM cameras WHERE id = ?1", [id])?;
            Ok(())
        })
    }

    fn forwards(&self) -> Result<Vec<(Sha256Hash, Forward)>> {
        self.list("SELECT fingerprint, url, pin FROM forwards", |row| {
            let forward = Forward {
                url: row.get(1)?,
                pin: row.get(2)?,
            };
            Ok((rows::hash(row, 0)?.unwrap_or_default(), forward))
        })
    }

    fn set_forward(&self, key: &Sha256Hash, forward: Option<&Forward>) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM forwards WHERE fingerprint = ?1", [&key[..]])?;
            if let Some(Forward { url, pin }) = forward {
                transaction.execute(
                    "INSERT INTO forwards VALUES (?1, ?2, ?3)",
                    params![&key[..], url, pin],
                )?;
            }
            Ok(())
        })
    }

    fn viewers(&self) -> Result<Vec<ViewerRow>> {
        self.list(
            "SELECT user, ha1_md5, ha1_sha256, account, cameras, created, expires FROM viewers ORDER BY user",
            rows::viewer,
        )
    }

    fn add_viewer(&self, viewer: &ViewerRow) -> Result<()> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO viewers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        viewer.user,
                        viewer.ha1.md5,
                        viewer.ha1.sha256,
                        viewer.account,
                        joined(viewer.cameras.as_ref()),
                        int(viewer.created),
                        viewer.expires.map(int)
                    ],
                )
                .map_err(|error| taken(error, &viewer.user))?;
            Ok(())
        })
    }

    fn remove_viewer(&self, user: &str) -> Result<()> {
        self.write(|transaction| {
            match transaction.execute("DELETE FROM viewers WHERE user = ?1", [user])? {
                0 => Err(StoreError::Missing(format!("there is no viewer {user:?}"))),
                _ => Ok(()),
            }
        })
    }

    fn tokens(&self) -> Result<Vec<Token>> {
        self.list(
            "SELECT id, name, hash, scopes, account, cameras, created, expires FROM tokens ORDER BY id",
            rows::token,
        )
    }

    fn add_token(&self, token: &Token) -> Result<i64> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO tokens (name, hash, scopes, account, cameras, created, expires)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        token.name,
                        &token.hash[..],
                        rows::scopes(&token.scopes),
                        token.account,
                        joined(token.cameras.as_ref()),
                        int(token.created),
                        token.expires.map(int)
                    ],
                )
                .map_err(|error| taken(error, &token.name))?;
            Ok(transaction.last_insert_rowid())
        })
    }

    fn remove_token(&self, id: i64) -> Result<()> {
        self.write(
            |transaction| match transaction.execute("DELETE FROM tokens WHERE id = ?1", [id])? {
                0 => Err(StoreError::Missing(format!("there is no token {id}"))),
                _ => Ok(()),
            },
        )
    }

    fn placements(&self) -> Result<Vec<(String, String)>> {
        self.list("SELECT camera, streamer FROM placements", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    fn set_placements(&self, placed: &[(String, String)]) -> Result<()> {
        if placed.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            for (camera, streamer) in placed {
                transaction.execute(
                    "INSERT INTO placements VALUES (?1, ?2)
                     ON CONFLICT (camera) DO UPDATE SET streamer = excluded.streamer",
                    [camera, streamer],
                )?;
            }
            Ok(())
        })
    }

    fn revocations(&self) -> Result<Vec<(Sha256Hash, u64)>> {
        self.list("SELECT fingerprint, until FROM revocations", |row| {
            Ok((
                rows::hash(row, 0)?.unwrap_or_default(),
                rows::seconds(row, 1)?.unwrap_or_default(),
            ))
        })
    }

    fn audit(&self, camera: &str) -> Result<Option<(u64, Vec<u8>)>> {
        let sql = "SELECT received, report FROM audits WHERE camera = ?1";
        let kept = self.connection().query_row(sql, [camera], |row| {
            Ok((rows::seconds(row, 0)?.unwrap_or_default(), row.get(1)?))
        });
        Ok(kept.optional()?)
    }

    fn put_audits(&self, audits: &[(&str, u64, &[u8])]) -> Result<()> {
        self.write(|transaction| {
            for (camera, received, report) in audits {
                transaction.execute(
                    "INSERT INTO audits VALUES (?1, ?2, ?3)
                     ON CONFLICT (camera) DO UPDATE SET received = excluded.received, report = excluded.report",
                    params![camera, int(*received), report],
                )?;
            }
            Ok(())
        })
    }

    fn remove_audit(&self, camera: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM audits WHERE camera = ?1", [camera])?;
            Ok(())
        })
    }

    fn write_views(&self, views: &[View]) -> Result<()> {
        self.write(|transaction| {
            for view in views {
                transaction.execute(
                    "INSERT INTO views VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, bytes = excluded.bytes",
                    params![
                        view.id,
                        view.camera,
                        view.profile,
                        view.user,
                        view.by,
                        view.address,
                        int(view.began),
                        view.ended.map(int),
                        int(view.bytes)
                    ],
                )?;
            }
            transaction.execute(
                "DELETE FROM views WHERE id <= (SELECT id FROM views ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                [int(MAX_VIEWS)],
            )?;
            Ok(())
        })
    }

    fn close_views(&self) -> Result<i64> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE views SET ended = (SELECT max(max(began, ifnull(ended, 0))) FROM views) WHERE ended IS NULL",
                [],
            )?;
            let last = transaction.query_row("SELECT ifnull(max(id), 0) FROM views", [], |row| row.get(0))?;
            Ok(last)
        })
    }

    fn views(&self, filter: &ViewFilter) -> Result<Vec<View>> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT id, camera, profile, user, by, address, began, ended, bytes FROM views
             WHERE (?1 IS NULL OR camera = ?1) AND (?2 IS NULL OR user = ?2) AND (?3 IS NULL OR id < ?3)
             ORDER BY id DESC LIMIT ?4",
        )?;
        let rows = statement.query_map(
            params![filter.camera, filter.user, filter.before, filter.limit],
            rows::view,
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn secret(&self, name: &str, make: &dyn Fn() -> Vec<u8>) -> Result<Secret> {
        self.write(|transaction| {
            let kept = transaction
                .query_row("SELECT value FROM secrets WHERE name = ?1", [name], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(kept) = kept {
                return Ok(Secret::new(kept));
            }
            let made = make();
            transaction.execute("INSERT INTO secrets VALUES (?1, ?2)", params![name, made])?;
            Ok(Secret::new(made))
        })
    }
}

/// Takes a camera's name out of the lists that nothing else bounds: the next camera of that name may be somebody
/// else's. A list that is empty then names none, and does not become everything.
fn strip_name(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    for table in ["viewers", "tokens"] {
        // Each name between spaces of its own, so that it is found beside itself too.
        transaction.execute(
            &format!(
                "WITH gone AS (SELECT ' ' || name || ' ' AS name FROM cameras WHERE id = ?1)
                 UPDATE {table} SET cameras = trim(replace(
                     replace(' ' || replace(cameras, ' ', '  ') || ' ', (SELECT name FROM gone), ''), '  ', ' '))
                 WHERE account = '' AND instr(' ' || cameras || ' ', (SELECT name FROM gone)) > 0"
            ),
            [id],
        )?;
    }
    Ok(())
}

fn write_camera(transaction: &Transaction<'_>, id: i64, camera: &Camera) -> Result<()> {
    let details = &camera.details;
    let sql = "SELECT account <> ?2 FROM cameras WHERE id = ?1";
    let owner = transaction.query_row(sql, params![id, camera.account], |row| row.get(0));
    if owner.optional()? == Some(true) {
        strip_name(transaction, id)?;
    }
    let count = transaction
        .execute(
            "UPDATE cameras SET name = ?2, account = ?3, serial = ?4, model = ?5, state = ?6, method = ?7,
             pin_key = ?8, operator_proof = ?9, confirmed = ?10, media = ?11, claimed = ?12, agent_id = ?13,
             stream = ?14, substream = ?15, snapshot = ?16, onvif_url = ?17, ptz = ?18,
             suspended = ?19, reset_before = ?20 WHERE id = ?1",
            params![
                id,
                camera.name,
                camera.account,
                camera.serial,
                camera.model,
                state_name(camera.state),
                method_name(camera.method),
                camera.pin_key.as_ref().map(|key| &key[..]),
                camera.operator_proof.as_ref().map(|proof| &proof[..]),
                camera.confirmed,
                camera.media,
                camera.claimed.map(int),
                details.agent_id,
                details.stream,
                details.substream,
                details.snapshot,
                details.onvif_url,
                details.ptz,
                camera.suspended,
                camera.reset_before
            ],
        )
        .map_err(|error| taken(error, &camera.name))?;
    if count == 0 {
        return Err(StoreError::Missing(format!(
            "there is no camera {:?}",
            camera.name
        )));
    }
    transaction.execute("DELETE FROM fingerprints WHERE camera = ?1", [id])?;
    if let Some(fingerprint) = &camera.fingerprint {
        transaction
            .execute(
                "INSERT INTO fingerprints VALUES (?1, ?2)",
                params![&fingerprint[..], id],
            )
            .map_err(|error| taken(error, &camera.name))?;
    }
    Ok(())
}

/// Says which of a row's values another row has.
fn taken(error: rusqlite::Error, name: &str) -> StoreError {
    if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) {
        return StoreError::Sqlite(error);
    }
    let text = error.to_string();
    let what = [
        ("fingerprints.fingerprint", "this key is claimed already"),
        ("cameras.serial", "this serial is reserved already"),
        (
            "cameras.agent_id",
            "this agent id belongs to another camera already",
        ),
    ];
    let found = what.iter().find(|(column, _)| text.contains(column));
    StoreError::Conflict(match found {
        Some((_, why)) => format!("{name}: {why}"),
        None => format!("the name {name:?} is taken"),
    })
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
