//! Answers: JSON, also for what went wrong.

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tracing::error;

use crate::fleet::FleetError;
use crate::fleet::csv::Mistake;

/// Longest text of a library's own refusal that is kept.
const MAX_WHY_BYTES: usize = 1024;

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mistakes: Option<Vec<Place<'a>>>,
}

#[derive(Serialize)]
struct Place<'a> {
    line: usize,
    column: usize,
    message: &'a str,
}

/// `{"error": why}`.
pub(super) fn problem(status: StatusCode, why: &str) -> Response {
    let body = Problem {
        error: why,
        mistakes: None,
    };
    (status, Json(body)).into_response()
}

/// What a failed operation is in HTTP.
pub(super) fn failure(failure: &FleetError) -> Response {
    let why = failure.to_string();
    let status = match failure {
        FleetError::Bad(_) => StatusCode::BAD_REQUEST,
        FleetError::Missing(_) => StatusCode::NOT_FOUND,
        FleetError::NotKept | FleetError::Elsewhere | FleetError::Conflict(_) => StatusCode::CONFLICT,
        FleetError::Forbidden(_) => StatusCode::FORBIDDEN,
        FleetError::Unavailable(_) | FleetError::Clock(_) => StatusCode::SERVICE_UNAVAILABLE,
        FleetError::TooMany(seconds) => {
            let retry = [(header::RETRY_AFTER, seconds.to_string())];
            return (retry, problem(StatusCode::TOO_MANY_REQUESTS, &why)).into_response();
        }
        FleetError::Mistakes(mistakes) => return listed(&why, mistakes),
        FleetError::Store(error) => {
            error!(%error, "the database refused");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    problem(status, &why)
}

fn listed(why: &str, mistakes: &[Mistake]) -> Response {
    let mut places = Vec::with_capacity(mistakes.len());
    for Mistake { place, message } in mistakes {
        places.push(Place {
            line: place.line,
            column: place.column,
            message,
        });
    }
    let body = Problem {
        error: why,
        mistakes: Some(places),
    };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// Puts the refusals of libraries (no such route, a path that is not UTF-8, a body that is too large) into the form of
/// our own.
pub(super) async fn uniform(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "application/json");
    if is_json || !(response.status().is_client_error() || response.status().is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_WHY_BYTES)
        .await
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let why = if text.is_empty() {
        parts.status.canonical_reason().unwrap_or_default().to_owned()
    } else {
        text
    };
    let body = Problem {
        error: &why,
        mistakes: None,
    };
    let json = serde_json::to_vec(&body).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(json))
}
