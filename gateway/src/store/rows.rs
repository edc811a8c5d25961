//! Rows to values and back.

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Error, Row};

use super::model::{Camera, CameraState, Details, Method, Scope, Token, View, ViewerRow};
use crate::config::Sha256Hash;
use crate::rtsp::digest::Ha1;

pub(super) const CAMERA_COLUMNS: &str = "cameras.id, name, account, serial, model, state, method, pin_key, operator_proof, \
     confirmed, media, created, claimed, agent_id, stream, substream, snapshot, onvif_url, ptz, \
     suspended, (SELECT fingerprint FROM fingerprints WHERE camera = cameras.id), reset_before";

pub(super) fn state_name(state: CameraState) -> &'static str {
    match state {
        CameraState::Reserved => "reserved",
        CameraState::Claimed => "claimed",
    }
}

pub(super) fn method_name(method: Method) -> &'static str {
    match method {
        Method::Pin => "pin",
        Method::Fingerprint => "fingerprint",
        Method::Serial => "serial",
        Method::Callback => "callback",
    }
}

pub(super) fn camera(row: &Row<'_>) -> rusqlite::Result<Camera> {
    Ok(Camera {
        id: row.get(0)?,
        name: row.get(1)?,
        account: row.get(2)?,
        serial: row.get(3)?,
        model: row.get(4)?,
        state: match row.get_ref(5)?.as_str()? {
            "reserved" => CameraState::Reserved,
            "claimed" => CameraState::Claimed,
            other => return Err(odd(5, other)),
        },
        method: match row.get_ref(6)?.as_str()? {
            "pin" => Method::Pin,
            "fingerprint" => Method::Fingerprint,
            "serial" => Method::Serial,
            "callback" => Method::Callback,
            other => return Err(odd(6, other)),
        },
        pin_key: hash(row, 7)?,
        operator_proof: hash(row, 8)?,
        confirmed: row.get(9)?,
        media: row.get(10)?,
        created: seconds(row, 11)?.unwrap_or_default(),
        claimed: seconds(row, 12)?,
        details: Details {
            agent_id: row.get(13)?,
            stream: row.get(14)?,
            substream: row.get(15)?,
            snapshot: row.get(16)?,
            onvif_url: row.get(17)?,
            ptz: row.get(18)?,
        },
        suspended: row.get(19)?,
        fingerprint: hash(row, 20)?,
        reset_before: row.get(21)?,
    })
}

pub(super) fn viewer(row: &Row<'_>) -> rusqlite::Result<ViewerRow> {
    Ok(ViewerRow {
        user: row.get(0)?,
        ha1: Ha1 {
            md5: Some(row.get(1)?),
            sha256: Some(row.get(2)?),
        },
        account: row.get(3)?,
        cameras: list(row, 4)?,
        created: seconds(row, 5)?.unwrap_or_default(),
        expires: seconds(row, 6)?,
    })
}

pub(super) fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let scopes = row.get_ref(3)?.as_str()?;
    let scope = |name: &str| {
        Scope::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(scope, _)| *scope)
    };
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: hash(row, 2)?.unwrap_or_default(),
        // A scope that this version does not know gives nothing.
        scopes: scopes.split(' ').filter_map(scope).collect(),
        account: row.get(4)?,
        cameras: list(row, 5)?,
        created: seconds(row, 6)?.unwrap_or_default(),
        expires: seconds(row, 7)?,
    })
}

pub(super) fn view(row: &Row<'_>) -> rusqlite::Result<View> {
    Ok(View {
        id: row.get(0)?,
        camera: row.get(1)?,
        profile: row.get(2)?,
        user: row.get(3)?,
        by: row.get(4)?,
        address: row.get(5)?,
        began: seconds(row, 6)?.unwrap_or_default(),
        ended: seconds(row, 7)?,
        bytes: seconds(row, 8)?.unwrap_or_default(),
    })
}

/// Names have no spaces, so a list of them is text with spaces.
pub(super) fn joined(names: Option<&Vec<String>>) -> Option<String> {
    names.map(|names| names.join(" "))
}

pub(super) fn scopes(scopes: &[Scope]) -> String {
    let name = |scope: &Scope| {
        Scope::ALL
            .iter()
            .find(|(known, _)| known == scope)
            .map_or("", |(_, name)| name)
    };
    scopes.iter().map(name).collect::<Vec<_>>().join(" ")
}

pub(super) fn hash(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Sha256Hash>> {
    match row.get_ref(index)? {
        ValueRef::Null => Ok(None),
        value => {
            let bytes = value.as_blob()?;
            bytes.try_into().map(Some).map_err(|_| {
                FromSqlError::InvalidBlobSize {
                    expected_size: 32,
                    blob_size: bytes.len(),
                }
                .into()
            })
        }
    }
}

/// SQLite's integers are signed; times and counts here are not.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn list(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(index)?;
    Ok(text.map(|text| {
        text.split(' ')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }))
}

pub(super) fn seconds(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(index)?;
    Ok(value.map(|value| u64::try_from(value).unwrap_or_default()))
}

fn odd(column: usize, value: &str) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, format!("unknown value {value:?}").into())
}
