//! The HTTP API: cameras, snapshots, status, moves and metrics.

mod handlers;
mod reports;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::config::Sha256Hash;
use crate::server::Shared;
use crate::{net, tls};

/// Most HTTP connections at a time.
const MAX_CONNECTIONS: usize = 512;
/// Time for a request head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time for a connection with all its requests.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(300);
/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Pause after `accept` failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Api {
    shared: Arc<Shared>,
    token: Option<Sha256Hash>,
}

/// The routes.
fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/cameras", get(handlers::cameras))
        .route("/cameras/{camera}/status", get(handlers::status))
        .route(
            "/cameras/{camera}/audit",
            get(reports::audit).post(reports::request_audit),
        )
        .route("/cameras/{camera}/flows", get(reports::flows))
        .route("/cameras/{camera}/move", post(handlers::move_camera))
        .route("/cameras/{camera}/{file}", get(handlers::snapshot))
        .route("/metrics", get(handlers::metrics))
        .layer(middleware::from_fn_with_state(api.clone(), authorize));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(guarded)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

async fn authorize(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(expected) = api.token else {
        if is_foreign(request.headers()) {
            let why = "without token_file only http://127.0.0.1 and http://localhost are served, and no web pages\n";
            return (StatusCode::FORBIDDEN, why).into_response();
        }
        return next.run(request).await;
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = given
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token {
        Some((_, token)) if bool::from(tls::sha256(token.trim().as_bytes()).ct_eq(&expected)) => {
            next.run(request).await
        }
        _ => {
            api.shared.metrics.auth_failures.inc();
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed\n").into_response()
        }
    }
}

/// True for what a web page makes a browser on this machine send: a request of another origin, or one to a name
/// that its owner lets point here (DNS rebinding).
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let authority: Option<Authority> = text(header::HOST).and_then(|host| host.parse().ok());
    let is_local = authority.as_ref().is_some_and(|authority| {
        let host = authority.host();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok()
    });
    let same = |origin: &str| origin.strip_prefix("http://") == text(header::HOST);
    !is_local || text(header::ORIGIN).is_some_and(|origin| !same(origin))
}

/// Serves HTTP/1.1 until stopped. Every connection holds a clone of `alive`.
pub async fn run(
    socket: TcpListener,
    shared: Arc<Shared>,
    token: Option<Sha256Hash>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let router = router(Api { shared, token });
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                net::prepare(&stream);
                let held = (permit, alive.clone());
                let served = serve(stream, router.clone(), stop.clone());
                tokio::spawn(async move {
                    served.await;
                    drop(held);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept HTTP clients");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = timeout(CONNECTION_DEADLINE, async {
        tokio::select! {
            done = connection.as_mut() => return done,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    });
    if let Ok(Err(error)) = served.await {
        debug!(%error, "HTTP connection failed");
    }
}
