//! What each route does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::Method;
use serde::{Deserialize, Serialize};

use super::body::json;
use super::reply::{failure, problem};
use super::{Api, Origin};
use crate::fleet::access::Access;
use crate::metrics::SnapshotResult;
use crate::rtsp::digest::hex;
use crate::server::Shared;
use crate::store::{CameraState, Details, Method as ClaimMethod};
use crate::uplink::link::Uplink;
use crate::uplink::requests::{
    AskError, MAX_SNAPSHOT_BYTES, MAX_TEXT_BYTES, SNAPSHOT_DEADLINE, TEXT_DEADLINE, ask,
};

/// Content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Longest address that a camera may be moved to, in bytes.
const MAX_TARGET_BYTES: usize = 2048;

#[derive(Serialize)]
struct CameraView {
    name: String,
    online: bool,
    /// Seconds since 1970.
    since: Option<u64>,
    peer: Option<String>,
    agent_version: Option<String>,
    profiles: Vec<String>,
    /// `fixed`: in the configuration file. `reserved`, `claimed`: in the database.
    state: &'static str,
    account: String,
    serial: Option<String>,
    model: Option<String>,
    fingerprint: Option<String>,
    method: Option<ClaimMethod>,
    /// Seconds since 1970.
    claimed: Option<u64>,
    media: bool,
    /// The operator's own system says no to it.
    suspended: bool,
    /// Since when two devices use its key, in seconds since 1970.
    cloned: Option<u64>,
    /// The streamer that has it, if it is not here.
    streamer: Option<String>,
    details: Option<Details>,
}

fn view(shared: &Shared, name: &str) -> CameraView {
    let registry = &shared.registry;
    let index = registry.index(name);
    let uplink = index.and_then(|index| registry.uplinks(index).into_iter().next());
    let info = uplink.as_ref().map(|uplink| uplink.info()).unwrap_or_default();
    let since = |uplink: &Arc<Uplink>| {
        uplink
            .since()
            .duration_since(UNIX_EPOCH)
            .ok()
            .map(|since| since.as_secs())
    };
    let kept = shared.fleet.camera(name);
    let streamer = shared.fleet.streamer_of(name);
    let kept = kept.as_deref();
    CameraView {
        name: name.to_owned(),
        online: uplink.is_some() || streamer.is_some(),
        since: uplink.as_ref().and_then(since),
        peer: uplink.as_ref().map(|uplink| uplink.peer().to_string()),
        agent_version: info.version,
        profiles: info.profiles,
        state: match kept.map(|camera| camera.state) {
            None => "fixed",
            Some(CameraState::Reserved) => "reserved",
            Some(CameraState::Claimed) => "claimed",
        },
        account: kept.map(|camera| camera.account.clone()).unwrap_or_default(),
        serial: kept.and_then(|camera| camera.serial.clone()),
        model: kept.and_then(|camera| camera.model.clone()),
        fingerprint: kept
            .and_then(|camera| camera.fingerprint)
            .map(|key| format!("sha256:{}", hex(&key))),
        method: kept.map(|camera| camera.method),
        claimed: kept.and_then(|camera| camera.claimed),
        media: kept.is_none_or(|camera| camera.media),
        suspended: shared.fleet.is_suspended(name),
        cloned: index.and_then(|index| registry.cloned(index)),
        streamer,
        details: kept.map(|camera| camera.details.clone()),
    }
}

/// All cameras that whoever asks may see, those that are expected included.
pub(super) async fn cameras(State(api): State<Api>, Extension(access): Extension<Arc<Access>>) -> Response {
    let fleet = &api.shared.fleet;
    let mut names: BTreeSet<String> = fleet.fixed_cameras().iter().cloned().collect();
    names.extend(fleet.cameras().iter().map(|camera| camera.name.clone()));
    // What a streamer was told of.
    names.extend(api.shared.registry.names());
    let seen = names.iter().filter(|name| fleet.sees(&access, name));
    Json(seen.map(|name| view(&api.shared, name)).collect::<Vec<_>>()).into_response()
}

pub(super) async fn camera(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
) -> Response {
    match visible(&api, &access, &camera) {
        Ok(()) => Json(view(&api.shared, &camera)).into_response(),
        Err(failure) => failure.into_response(),
    }
}

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let text = api.shared.metrics.encode_with(&api.shared.reports.registry());
    ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
}

pub(super) async fn status(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
) -> Response {
    match ask_camera(
        (&api, &access),
        &camera,
        Method::GET,
        "/status",
        None,
        MAX_TEXT_BYTES,
        TEXT_DEADLINE,
    )
    .await
    {
        Ok(response) if response.status() == StatusCode::OK => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (of_a_camera(), headers, response.into_body()).into_response()
        }
        Ok(response) => bad_gateway(response.status(), &response.into_body()),
        Err(failure) => failure.into_response(),
    }
}

pub(super) async fn snapshot(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Extension(origin): Extension<Origin>,
    RawQuery(query): RawQuery,
    Path((camera, file)): Path<(String, String)>,
) -> Response {
    let Some(profile) = file.strip_suffix(".jpg").filter(|profile| is_segment(profile)) else {
        return text(
            StatusCode::NOT_FOUND,
            "no such page; snapshots are at /cameras/<camera>/<profile>.jpg",
        );
    };
    let fleet = &api.shared.fleet;
    if fleet.sees(&access, &camera) && !fleet.may_be_watched(&camera) {
        let known = fleet
            .camera(&camera)
            .is_some_and(|camera| camera.state == CameraState::Claimed);
        return if known {
            text(StatusCode::FORBIDDEN, "this camera's media are switched off")
        } else {
            Failure::Offline.into_response()
        };
    }
    let here = api
        .shared
        .registry
        .index(&camera)
        .is_some_and(|index| !api.shared.registry.uplinks(index).is_empty());
    if !here
        && fleet.sees(&access, &camera)
        && let Some(base) = fleet.elsewhere(&camera).and_then(|(_, http)| http)
    {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let location = format!("{base}/cameras/{camera}/{file}{query}");
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
    }
    let path = format!("/snapshot/{profile}");
    let answer = ask_camera(
        (&api, &access),
        &camera,
        Method::GET,
        &path,
        None,
        MAX_SNAPSHOT_BYTES,
        SNAPSHOT_DEADLINE,
    )
    .await;
    let (result, response) = match answer {
        Ok(response) => match response.status() {
            StatusCode::OK => {
                let address = origin
                    .address
                    .map(|address| address.to_string())
                    .unwrap_or_default();
                let begun = fleet.begin_view(&camera, profile, &access.who(), "snapshot", &address);
                if let Some(begun) = begun {
                    fleet.end_view(begun, response.body().len() as u64);
                }
                (SnapshotResult::Ok, image(response.into_body()))
            }
            StatusCode::NOT_FOUND => (
                SnapshotResult::NotFound,
                text(
                    StatusCode::NOT_FOUND,
                    "the camera has no snapshot of this profile",
                ),
            ),
            StatusCode::GATEWAY_TIMEOUT => (
                SnapshotResult::Timeout,
                text(StatusCode::GATEWAY_TIMEOUT, "the camera did not answer in time"),
            ),
            other => (SnapshotResult::Error, bad_gateway(other, &response.into_body())),
        },
        Err(failure) => (failure.snapshot_result(), failure.into_response()),
    };
    api.shared.metrics.snapshot(result);
    response
}

/// Fields of what a camera sent: a browser keeps it nowhere, and whatever it is, does not take it for a page.
pub(super) fn of_a_camera() -> [(HeaderName, &'static str); 2] {
    [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
}

fn image(body: Bytes) -> Response {
    (of_a_camera(), [(header::CONTENT_TYPE, "image/jpeg")], body).into_response()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    target: Option<String>,
    /// A streamer of this fleet.
    streamer: Option<String>,
}

pub(super) async fn move_camera(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
    body: Bytes,
) -> Response {
    let Move { target, streamer } = match json(&body) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let plain = |target: &String| {
        target.len() <= MAX_TARGET_BYTES
            && target.bytes().all(|byte| byte.is_ascii_graphic())
            && (target.starts_with("https://") || target.starts_with("wss://"))
    };
    if target.as_ref().is_some_and(|target| !plain(target)) {
        return text(
            StatusCode::BAD_REQUEST,
            "the target must be an https: or wss: address",
        );
    }
    let target = target.as_deref();
    let fleet = &api.shared.fleet;
    if let Err(failure) = visible(&api, &access, &camera) {
        return failure.into_response();
    }
    match fleet.order_move(&camera, streamer.as_deref(), target) {
        Ok(true) => return (StatusCode::ACCEPTED, Json(serde_json::json!({"moving": true}))).into_response(),
        Ok(false) => {}
        Err(error) => return failure(&error),
    }
    match ask_camera(
        (&api, &access),
        &camera,
        Method::POST,
        "/uplink/move",
        target,
        MAX_TEXT_BYTES,
        TEXT_DEADLINE,
    )
    .await
    {
        Ok(response) => match response.status() {
            StatusCode::ACCEPTED => {
                (StatusCode::ACCEPTED, Json(serde_json::json!({"moving": true}))).into_response()
            }
            StatusCode::FORBIDDEN => text(
                StatusCode::FORBIDDEN,
                "the camera's redirect_to does not allow this target",
            ),
            StatusCode::BAD_REQUEST => text(
                StatusCode::BAD_REQUEST,
                "the camera does not understand this target",
            ),
            other => bad_gateway(other, &response.into_body()),
        },
        Err(failure) => failure.into_response(),
    }
}

pub(super) enum Failure {
    UnknownCamera,
    Offline,
    Agent(AskError),
}

impl Failure {
    fn snapshot_result(&self) -> SnapshotResult {
        match self {
            Self::UnknownCamera => SnapshotResult::NotFound,
            Self::Offline => SnapshotResult::Offline,
            Self::Agent(AskError::Timeout) => SnapshotResult::Timeout,
            Self::Agent(_) => SnapshotResult::Error,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::UnknownCamera => text(StatusCode::NOT_FOUND, "no such camera"),
            Self::Offline => text(StatusCode::SERVICE_UNAVAILABLE, "the camera is offline"),
            Self::Agent(error @ AskError::Timeout) => text(StatusCode::GATEWAY_TIMEOUT, &error.to_string()),
            Self::Agent(error) => text(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }
}

/// What somebody may not see does not exist for him.
pub(super) fn visible(api: &Api, access: &Access, camera: &str) -> Result<(), Failure> {
    let sees = api.shared.fleet.sees(access, camera);
    sees.then_some(()).ok_or(Failure::UnknownCamera)
}

/// Asks the newest uplink that takes the request.
pub(super) async fn ask_camera(
    (api, access): (&Api, &Access),
    camera: &str,
    method: Method,
    path: &str,
    location: Option<&str>,
    limit: usize,
    deadline: Duration,
) -> Result<http::Response<Bytes>, Failure> {
    let registry = &api.shared.registry;
    visible(api, access, camera)?;
    // One that is expected has no number yet.
    let camera = registry.index(camera).ok_or(Failure::Offline)?;
    let mut failure = Failure::Offline;
    for uplink in registry.uplinks(camera) {
        match ask(&uplink, method.clone(), path, location, limit, deadline).await {
            Ok(response) => return Ok(response),
            Err(error) if error.is_gone() => failure = Failure::Agent(error),
            Err(error) => return Err(Failure::Agent(error)),
        }
    }
    Err(failure)
}

/// One path segment that needs no escaping.
fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}

pub(super) fn bad_gateway(status: StatusCode, body: &[u8]) -> Response {
    let why: String = String::from_utf8_lossy(body)
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    text(
        StatusCode::BAD_GATEWAY,
        &format!("the agent answered {}: {why}", status.as_u16()),
    )
}

pub(super) fn text(status: StatusCode, why: &str) -> Response {
    problem(status, why)
}
