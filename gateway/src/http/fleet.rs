//! Claims, lists, and who watched.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use super::body::{self, Query};
use super::reply::{failure, problem};
use crate::clock::unix_now;
use crate::config::is_name;
use crate::fleet::access::Access;
use crate::fleet::{FleetError, Transfer, blocking, import as list};
use crate::rtsp::digest::hex;
use crate::store::{Forward, ViewFilter};

/// Views of one page, unless the query says otherwise, and at most.
const PAGE: i64 = 100;
const MAX_PAGE: i64 = 1000;

#[derive(Serialize)]
struct WaitingView {
    serial: Option<String>,
    model: Option<String>,
    fingerprint: String,
    address: String,
    agent_version: Option<String>,
    /// It shows something to compare a PIN with.
    pin: bool,
    first_seen: u64,
    last_seen: u64,
}

pub(super) async fn pending(State(api): State<Api>, Extension(access): Extension<Arc<Access>>) -> Response {
    if !access.is_unbounded() {
        // A fingerprint is all that a claim takes.
        return problem(StatusCode::FORBIDDEN, "this token sees its own cameras only");
    }
    let view = |waiting: &crate::fleet::pending::Waiting| {
        let applicant = &waiting.applicant;
        WaitingView {
            serial: applicant.serial.clone(),
            model: applicant.model.clone(),
            fingerprint: format!("sha256:{}", hex(&applicant.fingerprint)),
            address: applicant.address.to_string(),
            agent_version: applicant.agent_version.clone(),
            pin: applicant.proof.is_some(),
            first_seen: waiting.first_seen,
            last_seen: waiting.last_seen,
        }
    };
    let waiting = api.shared.fleet.waiting(unix_now());
    Json(waiting.iter().map(view).collect::<Vec<_>>()).into_response()
}

pub(super) async fn claim(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    body: Bytes,
) -> Response {
    let request = match body::json(&body) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    match api.shared.fleet.claim(&access, request).await {
        Ok(camera) => {
            let shown = json!({
                "name": camera.name,
                "account": camera.account,
                "state": camera.state,
                "method": camera.method,
                "serial": camera.serial,
                "fingerprint": camera.fingerprint.map(|key| format!("sha256:{}", hex(&key))),
            });
            (StatusCode::CREATED, Json(shown)).into_response()
        }
        Err(error) => failure(&error),
    }
}

pub(super) async fn release(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
) -> Response {
    let shared = Arc::clone(&api.shared);
    let release = move || {
        shared.fleet.release(&access, &camera)?;
        shared.reports.forget(&camera);
        Ok(())
    };
    done(blocking(release).await)
}

pub(super) async fn transfer(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
    body: Bytes,
) -> Response {
    let to: Transfer = match body::json(&body) {
        Ok(to) => to,
        Err(refusal) => return *refusal,
    };
    let shared = Arc::clone(&api.shared);
    let transfer = move || {
        shared.fleet.transfer(&access, &camera, to)?;
        // Its new owner asks it anew.
        shared.reports.forget(&camera);
        Ok(())
    };
    done(blocking(transfer).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Media {
    media: bool,
}

pub(super) async fn media(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
    body: Bytes,
) -> Response {
    let Media { media } = match body::json(&body) {
        Ok(media) => media,
        Err(refusal) => return *refusal,
    };
    let fleet = Arc::clone(&api.shared.fleet);
    done(blocking(move || fleet.set_media(&access, &camera, media)).await)
}

pub(super) async fn forwards(State(api): State<Api>) -> Response {
    let forwards = api.shared.fleet.forwards();
    let view = |(key, forward): &(String, Forward)| json!({"fingerprint": key, "url": forward.url, "pin": forward.pin});
    Json(forwards.iter().map(view).collect::<Vec<_>>()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewForward {
    fingerprint: String,
    url: String,
    pin: Option<String>,
}

pub(super) async fn add_forward(State(api): State<Api>, body: Bytes) -> Response {
    let NewForward {
        fingerprint,
        url,
        pin,
    } = match body::json(&body) {
        Ok(new) => new,
        Err(refusal) => return *refusal,
    };
    let fleet = Arc::clone(&api.shared.fleet);
    done(blocking(move || fleet.set_forward(&fingerprint, Some(Forward { url, pin }))).await)
}

pub(super) async fn remove_forward(State(api): State<Api>, Path(fingerprint): Path<String>) -> Response {
    let fleet = Arc::clone(&api.shared.fleet);
    done(blocking(move || fleet.set_forward(&fingerprint, None)).await)
}

/// A list of cameras as CSV; `?account=` is for rows without one.
pub(super) async fn import(State(api): State<Api>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let query = match Query::parse(query.as_deref(), &["account"]) {
        Ok(query) => query,
        Err(refusal) => return *refusal,
    };
    let account = query.text("account").unwrap_or_default();
    if !account.is_empty() && !is_name(&account) {
        return problem(StatusCode::BAD_REQUEST, "this cannot be an account's name");
    }
    let Ok(text) = String::from_utf8(body.to_vec()) else {
        return problem(StatusCode::BAD_REQUEST, "the list is not UTF-8");
    };
    let fleet = Arc::clone(&api.shared.fleet);
    let imported = blocking(move || {
        let rows = list::parse(&text).map_err(FleetError::Mistakes)?;
        fleet.import(rows, &account)
    });
    match imported.await {
        Ok(report) => Json(report).into_response(),
        Err(error) => failure(&error),
    }
}

pub(super) async fn export(State(api): State<Api>) -> Response {
    let cameras = api.shared.fleet.cameras();
    let text = list::export(cameras.iter().map(|camera| &**camera));
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response()
}

pub(super) async fn views(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let known = ["camera", "user", "before", "limit"];
    let read = Query::parse(query.as_deref(), &known).and_then(|query| {
        let limit = query.number("limit")?.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            let why = format!("limit: 1 to {MAX_PAGE}");
            return Err(Box::new(problem(StatusCode::BAD_REQUEST, &why)));
        }
        Ok(ViewFilter {
            camera: query.text("camera"),
            user: query.text("user"),
            before: query.number("before")?,
            limit: u32::try_from(limit).unwrap_or_default(),
        })
    });
    let filter = match read {
        Ok(filter) => filter,
        Err(refusal) => return *refusal,
    };
    let fleet = Arc::clone(&api.shared.fleet);
    match blocking(move || fleet.views(&filter)).await {
        Ok(views) => Json(views).into_response(),
        Err(error) => failure(&error),
    }
}

pub(super) async fn streamers(State(api): State<Api>) -> Response {
    Json(api.shared.fleet.list_streamers()).into_response()
}

/// 204, or what went wrong.
pub(super) fn done(outcome: Result<(), FleetError>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failure(&error),
    }
}
