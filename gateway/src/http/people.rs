//! Viewers, tokens and playback addresses.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::body;
use super::fleet::done;
use super::reply::{failure, problem};
use crate::fleet::access::Access;
use crate::fleet::{NewToken, NewViewer, blocking};

/// How long a playback address is good unless the request says otherwise.
const LINK_SECONDS: u64 = 3600;

pub(super) async fn viewers(State(api): State<Api>) -> Response {
    Json(api.shared.fleet.viewers()).into_response()
}

pub(super) async fn add_viewer(State(api): State<Api>, body: Bytes) -> Response {
    let new: NewViewer = match body::json(&body) {
        Ok(new) => new,
        Err(refusal) => return *refusal,
    };
    let (fleet, user) = (Arc::clone(&api.shared.fleet), new.user.clone());
    match blocking(move || fleet.add_viewer(new)).await {
        Ok(password) => {
            let shown = json!({"user": user, "password": password});
            (StatusCode::CREATED, Json(shown)).into_response()
        }
        Err(error) => failure(&error),
    }
}

pub(super) async fn remove_viewer(State(api): State<Api>, Path(user): Path<String>) -> Response {
    let fleet = Arc::clone(&api.shared.fleet);
    done(blocking(move || fleet.remove_viewer(&user)).await)
}

pub(super) async fn tokens(State(api): State<Api>) -> Response {
    Json(api.shared.fleet.tokens()).into_response()
}

pub(super) async fn add_token(State(api): State<Api>, body: Bytes) -> Response {
    let new: NewToken = match body::json(&body) {
        Ok(new) => new,
        Err(refusal) => return *refusal,
    };
    let fleet = Arc::clone(&api.shared.fleet);
    match blocking(move || fleet.add_token(new)).await {
        Ok((id, token)) => {
            let shown = json!({"id": id, "token": token});
            (StatusCode::CREATED, Json(shown)).into_response()
        }
        Err(error) => failure(&error),
    }
}

pub(super) async fn remove_token(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        return problem(
            StatusCode::NOT_FOUND,
            "there is no such token: its number is meant, as in GET /tokens",
        );
    };
    let fleet = Arc::clone(&api.shared.fleet);
    done(blocking(move || fleet.remove_token(id)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLink {
    profile: String,
    seconds: Option<u64>,
}

/// Paths and not whole addresses: by which name viewers reach the gateway it does not know.
pub(super) async fn link(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
    body: Bytes,
) -> Response {
    let NewLink { profile, seconds } = match body::json(&body) {
        Ok(new) => new,
        Err(refusal) => return *refusal,
    };
    let seconds = seconds.unwrap_or(LINK_SECONDS);
    match api.shared.fleet.make_link(&access, &camera, &profile, seconds) {
        Ok((play, expires)) => {
            let shown = json!({
                "rtsp": format!("/{camera}/{profile}?play={play}"),
                "snapshot": format!("/cameras/{camera}/{profile}.jpg?play={play}"),
                "expires": expires,
            });
            (StatusCode::CREATED, Json(shown)).into_response()
        }
        Err(error) => failure(&error),
    }
}
