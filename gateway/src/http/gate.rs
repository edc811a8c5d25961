//! Who asks, and whether he may.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::reply::problem;
use super::{Api, Origin};
use crate::clock::unix_now;
use crate::config::Sha256Hash;
use crate::fleet::access::Access;
use crate::fleet::link;
use crate::store::Scope;
use crate::tls;

/// Who is let in without a token of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Everybody: the local socket, which its file's mode guards.
    Local,
    /// Every program of this machine, but no web page.
    Open,
    /// Whoever has the operator's token of the configuration, if there is one.
    Token(Option<Sha256Hash>),
}

/// Finds out who asks, and refuses who may not. The routes' own scopes are looked at by [`require`].
pub(super) async fn identify(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
    match judge(
        &api,
        request.headers(),
        request.uri().path(),
        request.uri().query(),
    ) {
        Ok(access) => {
            origin.handle_known();
            request.extensions_mut().insert(Arc::new(access));
            next.run(request).await
        }
        Err(Refusal::Foreign) => {
            let why =
                "without token_file only http://127.0.0.1 and http://localhost are served, and no web pages";
            problem(StatusCode::FORBIDDEN, why)
        }
        Err(Refusal::Missing) => challenge("a bearer token is needed"),
        Err(Refusal::Wrong) => {
            api.shared.metrics.auth_failures.inc();
            match origin.address.map(|address| failed(&api, address)) {
                Some(Some(seconds)) => {
                    let retry = [(header::RETRY_AFTER, seconds.to_string())];
                    let why = "too many failed logins";
                    (retry, problem(StatusCode::TOO_MANY_REQUESTS, why)).into_response()
                }
                Some(None) | None => challenge("this token is not valid, or not any more"),
            }
        }
    }
}

/// Refuses who has come in, but not for this.
pub(super) async fn require(scope: Scope, request: Request, next: Next) -> Response {
    let allowed = request
        .extensions()
        .get::<Arc<Access>>()
        .is_some_and(|access| access.allows(scope));
    if allowed {
        next.run(request).await
    } else {
        let name = Scope::ALL
            .iter()
            .find(|(known, _)| *known == scope)
            .map_or("", |(_, name)| name);
        problem(
            StatusCode::FORBIDDEN,
            &format!("this token lacks the scope {name}"),
        )
    }
}

enum Refusal {
    Missing,
    Wrong,
    Foreign,
}

fn judge(api: &Api, headers: &HeaderMap, path: &str, query: Option<&str>) -> Result<Access, Refusal> {
    let open = match api.gate {
        Gate::Local => return Ok(Access::operator()),
        Gate::Open => true,
        Gate::Token(_) => false,
    };
    if let Some(token) = bearer(headers) {
        let hash = tls::sha256(token.as_bytes());
        if let Gate::Token(Some(expected)) = api.gate
            && bool::from(hash.ct_eq(&expected))
        {
            return Ok(Access::operator());
        }
        return api.shared.fleet.access(token, unix_now()).ok_or(Refusal::Wrong);
    }
    if let Some((text, _)) =
        query.and_then(|query| link::take(&format!("?{query}")).map(|(v, r)| (v.to_owned(), r)))
    {
        return by_link(api, &text, path).ok_or(Refusal::Wrong);
    }
    match open {
        true if is_foreign(headers) => Err(Refusal::Foreign),
        true => Ok(Access::operator()),
        false => Err(Refusal::Missing),
    }
}

/// A playback address opens the snapshots of its profile.
fn by_link(api: &Api, text: &str, path: &str) -> Option<Access> {
    let (camera, file) = path.strip_prefix("/cameras/")?.split_once('/')?;
    let profile = file.strip_suffix(".jpg")?;
    let user = api.shared.fleet.accept_link(text, camera, profile)?;
    Some(Access::link(camera, user))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn challenge(why: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, problem(StatusCode::UNAUTHORIZED, why)).into_response()
}

/// Counts a failed login; gives the seconds to wait if there were too many. A good token is let in all the same.
fn failed(api: &Api, address: IpAddr) -> Option<u64> {
    let now = api.shared.elapsed();
    let mut throttle = api.shared.throttle();
    throttle.handle_failure(now, address);
    throttle.blocked(now, address).map(|wait| wait.as_secs() + 1)
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
