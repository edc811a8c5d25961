//! Audits and flows, as they were fetched last.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::Method;
use serde::Serialize;

use super::Api;
use super::handlers::{Failure, ask_camera, bad_gateway, of_a_camera, text, visible};
use crate::fleet::access::Access;
use crate::reports::flows::{Flow, Head};
use crate::uplink::requests::{MAX_TEXT_BYTES, TEXT_DEADLINE};

/// When a report came from its camera, in seconds since 1970.
const RECEIVED: HeaderName = HeaderName::from_static("lenscap-received");

pub(super) async fn audit(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
) -> Result<Response, Failure> {
    visible(&api, &access, &camera)?;
    let Some((received_s, body)) = api.shared.reports.audit(&camera).await else {
        return Ok(text(StatusCode::NOT_FOUND, "no audit of this camera yet"));
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (RECEIVED, received_s.to_string()),
    ];
    Ok((of_a_camera(), headers, body).into_response())
}

/// Asks the camera to look again now.
pub(super) async fn request_audit(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
) -> Response {
    let (path, limit) = ("/audit?again", MAX_TEXT_BYTES);
    match ask_camera(
        (&api, &access),
        &camera,
        Method::GET,
        path,
        None,
        limit,
        TEXT_DEADLINE,
    )
    .await
    {
        Ok(response) => match response.status() {
            StatusCode::ACCEPTED => {
                api.shared.reports.expect_audit(&camera);
                (StatusCode::ACCEPTED, Json(serde_json::json!({"looking": true}))).into_response()
            }
            StatusCode::FORBIDDEN => text(
                StatusCode::FORBIDDEN,
                "the camera's configuration gives this gateway no audits",
            ),
            other => bad_gateway(other, &response.into_body()),
        },
        Err(failure) => failure.into_response(),
    }
}

#[derive(Serialize)]
struct FlowsView<'a> {
    camera: &'a str,
    received_s: u64,
    #[serde(flatten)]
    head: &'a Head,
    flows: Vec<&'a Flow>,
}

pub(super) async fn flows(
    State(api): State<Api>,
    Extension(access): Extension<Arc<Access>>,
    Path(camera): Path<String>,
) -> Result<Response, Failure> {
    visible(&api, &access, &camera)?;
    let Some((received_s, table)) = api.shared.reports.flows(&camera).await else {
        return Ok(text(StatusCode::NOT_FOUND, "no flows of this camera yet"));
    };
    let mut flows: Vec<&Flow> = table.flows().collect();
    // What was active last comes first, as `lenscap flows` shows it.
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.cursor));
    let view = FlowsView {
        camera: &camera,
        received_s,
        head: &table.head,
        flows,
    };
    Ok((of_a_camera(), Json(view)).into_response())
}
