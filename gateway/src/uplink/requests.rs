//! What the gateway asks an agent over HTTP/2 (design section 3): media sessions, snapshots, status, moves.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::timeout;
use tracing::debug;

use super::link::{Lease, Uplink};
use crate::config::MAX_NAME_BYTES;

/// Subprotocol of ONVIF streaming over WebSocket.
pub const RTSP_SUBPROTOCOL: &str = "rtsp.onvif.org";
/// Authority of requests on an uplink; agents ignore it.
const AUTHORITY: &str = "lenscap";
/// Time for an agent to accept a media session.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Largest snapshot, in bytes.
pub const MAX_SNAPSHOT_BYTES: usize = 8 << 20;
/// Time for a snapshot, the camera's own time included.
pub const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(15);
/// Largest status or text answer, in bytes.
pub const MAX_TEXT_BYTES: usize = 256 << 10;
/// Time for status and moves.
pub const TEXT_DEADLINE: Duration = Duration::from_secs(10);
/// Most profiles that are remembered of an agent.
const MAX_PROFILES: usize = 64;

/// Why an agent did not do what it was asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// The uplink is lost or drains.
    #[error("the uplink is gone: {0}")]
    Gone(#[from] h2::Error),
    /// No answer in time, or all of its streams are taken.
    #[error("no answer from the agent in time")]
    Timeout,
    /// The answer to a media session was not what it has to be.
    #[error("the agent refused with status {0}")]
    Refused(StatusCode),
    /// The answer is larger than it may be.
    #[error("the agent's answer is too large")]
    TooLarge,
    /// The request could not be put together.
    #[error("bad request: {0}")]
    Http(#[from] http::Error),
}

impl AskError {
    /// True if an older uplink of the same camera may still do it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

/// An RTSP session: WebSocket frames in both directions.
#[derive(Debug)]
pub struct RtspStream {
    /// To the agent.
    pub send: SendStream<Bytes>,
    /// From the agent.
    pub recv: RecvStream,
    _lease: Lease,
}

/// Opens an RTSP session (RFC 8441 extended CONNECT).
///
/// # Errors
/// See [`AskError`].
pub async fn open_rtsp(uplink: &Arc<Uplink>) -> Result<RtspStream, AskError> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://{AUTHORITY}/rtsp"))
        .header("sec-websocket-protocol", RTSP_SUBPROTOCOL)
        .header("sec-websocket-version", "13")
        .body(())?;
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let opened = timeout(OPEN_DEADLINE, async {
        let mut sender = uplink.sender().ready().await?;
        let (response, send) = sender.send_request(request, false)?;
        Ok::<_, h2::Error>((response.await?, send))
    });
    let (response, mut send) = opened.await.map_err(|_| AskError::Timeout)??;
    let spoken = response.headers().get("sec-websocket-protocol");
    if response.status() != StatusCode::OK || spoken.is_none_or(|value| value != RTSP_SUBPROTOCOL) {
        send.send_reset(h2::Reason::CANCEL);
        return Err(AskError::Refused(response.status()));
    }
    Ok(RtspStream {
        send,
        recv: response.into_body(),
        _lease: uplink.lease(),
    })
}

/// Sends a request without a body and collects its answer.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(
    uplink: &Uplink,
    method: Method,
    path: &str,
    location: Option<&str>,
    limit: usize,
    deadline: Duration,
) -> Result<Response<Bytes>, AskError> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://{AUTHORITY}{path}"));
    if let Some(location) = location {
        let mut value = HeaderValue::from_str(location).map_err(http::Error::from)?;
        // It may hold a ticket, and libraries log what is not marked.
        value.set_sensitive(true);
        request = request.header("location", value);
    }
    ask_with(uplink, request.body(())?, limit, deadline).await
}

/// Gives a camera a fresh credential to come back with, and the addresses of those that take it.
///
/// # Errors
/// See [`AskError`].
pub async fn give_resume(
    uplink: &Uplink,
    credential: &str,
    others: &[String],
) -> Result<StatusCode, AskError> {
    let mut value = HeaderValue::from_str(credential).map_err(http::Error::from)?;
    value.set_sensitive(true);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{AUTHORITY}/uplink/resume"))
        .header("lenscap-resume", value);
    for url in others {
        request = request.header("link", format!("<{url}>; rel=alternate"));
    }
    let answer = ask_with(uplink, request.body(())?, MAX_TEXT_BYTES, TEXT_DEADLINE);
    Ok(answer.await?.status())
}

async fn ask_with(
    uplink: &Uplink,
    request: Request<()>,
    limit: usize,
    deadline: Duration,
) -> Result<Response<Bytes>, AskError> {
    let answer = timeout(deadline, async {
        let mut sender = uplink.sender().ready().await?;
        let (response, _) = sender.send_request(request, true)?;
        collect(response, limit).await
    });
    answer.await.map_err(|_| AskError::Timeout)?
}

async fn collect(response: ResponseFuture, limit: usize) -> Result<Response<Bytes>, AskError> {
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        if body.len() + data.len() > limit {
            return Err(AskError::TooLarge);
        }
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Response::from_parts(parts, body.freeze()))
}

#[derive(Deserialize)]
struct Status {
    version: Option<String>,
    #[serde(default)]
    profiles: Vec<String>,
}

/// Asks a new uplink for version and profiles, for the list of cameras.
pub async fn learn(uplink: Arc<Uplink>) {
    let answer = ask(
        &uplink,
        Method::GET,
        "/status",
        None,
        MAX_TEXT_BYTES,
        TEXT_DEADLINE,
    )
    .await;
    let body = match answer {
        Ok(response) if response.status() == StatusCode::OK => response.into_body(),
        Ok(response) => return debug!(status = %response.status(), "agent has no status"),
        Err(error) => return debug!(%error, "agent gave no status"),
    };
    match serde_json::from_slice::<Status>(&body) {
        Ok(mut status) => uplink.set_info(|info| {
            status.profiles.retain(|name| name.len() <= MAX_NAME_BYTES);
            status.profiles.truncate(MAX_PROFILES);
            info.profiles = status.profiles;
            let version = status.version.filter(|version| version.len() <= MAX_NAME_BYTES);
            info.version = version.or(info.version.take());
        }),
        Err(error) => debug!(%error, "agent's status is no JSON of ours"),
    }
}
