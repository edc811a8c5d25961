//! Which address does what, and which scope it takes.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, delete, get, post};

use super::{Api, fleet, gate, handlers, people, reply, reports};
use crate::store::Scope;

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Largest list of cameras, in bytes.
const MAX_LIST_BYTES: usize = 8 << 20;
/// The description of all this.
const OPENAPI: &str = include_str!("openapi.json");

/// All routes.
pub fn router(api: Api) -> Router {
    let mut guarded = Router::new();
    for (path, scope, methods) in guarded_routes() {
        let check = move |request: Request, next: Next| gate::require(scope, request, next);
        guarded = guarded.route(path, methods.layer(middleware::from_fn(check)));
    }
    let guarded = guarded.layer(middleware::from_fn_with_state(api.clone(), gate::identify));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/openapi.json", get(openapi))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(reply::uniform))
        .with_state(api)
}

async fn openapi() -> axum::response::Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

fn guarded_routes() -> Vec<(&'static str, Scope, MethodRouter<Api>)> {
    let import = post(fleet::import).layer(DefaultBodyLimit::max(MAX_LIST_BYTES));
    vec![
        ("/metrics", Scope::Metrics, get(handlers::metrics)),
        ("/cameras", Scope::View, get(handlers::cameras)),
        ("/cameras/{camera}", Scope::View, get(handlers::camera)),
        ("/cameras/{camera}/status", Scope::View, get(handlers::status)),
        (
            "/cameras/{camera}/audit",
            Scope::View,
            get(reports::audit).post(reports::request_audit),
        ),
        ("/cameras/{camera}/flows", Scope::View, get(reports::flows)),
        ("/cameras/{camera}/link", Scope::View, post(people::link)),
        ("/cameras/{camera}/{file}", Scope::View, get(handlers::snapshot)),
        (
            "/cameras/{camera}/move",
            Scope::Admin,
            post(handlers::move_camera),
        ),
        ("/cameras/{camera}/release", Scope::Claim, post(fleet::release)),
        ("/cameras/{camera}/transfer", Scope::Claim, post(fleet::transfer)),
        ("/cameras/{camera}/media", Scope::Claim, post(fleet::media)),
        ("/pending", Scope::Claim, get(fleet::pending)),
        ("/claims", Scope::Claim, post(fleet::claim)),
        ("/import", Scope::Admin, import),
        ("/export", Scope::Admin, get(fleet::export)),
        ("/views", Scope::Admin, get(fleet::views)),
        (
            "/forwards",
            Scope::Admin,
            get(fleet::forwards).post(fleet::add_forward),
        ),
        (
            "/forwards/{fingerprint}",
            Scope::Admin,
            delete(fleet::remove_forward),
        ),
        ("/streamers", Scope::Admin, get(fleet::streamers)),
        (
            "/viewers",
            Scope::Admin,
            get(people::viewers).post(people::add_viewer),
        ),
        ("/viewers/{user}", Scope::Admin, delete(people::remove_viewer)),
        (
            "/tokens",
            Scope::Admin,
            get(people::tokens).post(people::add_token),
        ),
        ("/tokens/{id}", Scope::Admin, delete(people::remove_token)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{Api, Gate};
    use super::*;
    use crate::server::Shared;
    use axum::body::Body;
    use axum::http::{Method, StatusCode};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    /// Every method and path that is served.
    fn served() -> Vec<(Method, &'static str)> {
        let mut served = vec![(Method::GET, "/healthz"), (Method::GET, "/openapi.json")];
        for (path, _, _) in guarded_routes() {
            let methods: &[Method] = match path {
                "/viewers" | "/tokens" | "/forwards" => &[Method::GET, Method::POST],
                "/viewers/{user}" | "/tokens/{id}" | "/forwards/{fingerprint}" => &[Method::DELETE],
                "/claims" | "/import" => &[Method::POST],
                _ => match path.rsplit('/').next() {
                    Some("audit") => &[Method::GET, Method::POST],
                    Some("link" | "move" | "release" | "transfer" | "media") => &[Method::POST],
                    _ => &[Method::GET],
                },
            };
            served.extend(methods.iter().map(|method| (method.clone(), path)));
        }
        served
    }

    async fn status(method: Method, path: &str) -> StatusCode {
        let api = Api {
            shared: Shared::for_tests(&["front"]),
            gate: Gate::Local,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        TowerToHyperService::new(router(api))
            .call(request)
            .await
            .unwrap()
            .status()
    }

    /// The document and the routes name the same.
    #[tokio::test]
    async fn every_route_is_described_and_every_description_is_served() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
            {
                described.push((method.to_uppercase(), path.clone()));
            }
        }
        let mut routes: Vec<(String, String)> = served()
            .iter()
            .map(|(method, path)| (method.to_string(), (*path).replace("{file}", "{profile}.jpg")))
            .collect();
        described.sort();
        routes.sort();
        assert_eq!(described, routes);
        for (method, path) in served() {
            let path = path.replace("{camera}", "front").replace("{file}", "main.jpg");
            let got = status(method.clone(), &path.replace("{user}", "x").replace("{id}", "1")).await;
            assert_ne!(got, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
        assert_eq!(
            status(Method::PUT, "/cameras").await,
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
