//! Talks to the gateway: over its local socket if it runs, in this process if it does not.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::{Body, Bytes};
use http::{Method, Request, StatusCode, header};
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::place::{Failure, Place, must_be_folder};
use crate::config::{DEFAULT_PATH, DEFAULT_REALM};
use crate::data::{Data, DataError, SOCKET};
use crate::fleet::Fixed;
use crate::http::{Api, Gate, router};
use crate::server::{self, share, share_fixed};

/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 256 << 20;

enum Way {
    Socket(PathBuf),
    /// Dropped in this order: the store is closed before the folder is free.
    Direct {
        router: Box<Router>,
        _data: Data,
    },
}

/// A way to the gateway.
pub(super) struct Client {
    way: Way,
    runtime: tokio::runtime::Runtime,
}

/// An answer that is a success.
pub(super) struct Answer {
    body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::Failed("the running gateway answers in an unknown way; is it of another version?".into())
        })
    }
}

impl Client {
    /// Finds the gateway. `make`: the data folder may be made.
    pub(super) fn open(place: &Place, make: bool) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed)?;
        let found = place.find()?;
        if !make {
            must_be_folder(&found.data)?;
        }
        let way = match Data::open(&found.data) {
            Err(DataError::Busy(_)) => Way::Socket(found.data.join(SOCKET)),
            Err(error) => return Err(failed(error)),
            Ok(data) => {
                let _inside = runtime.enter();
                let shared = match &found.loaded {
                    Some(loaded) => share(&loaded.config, Some(&data)),
                    None => {
                        let fixed = Fixed {
                            realm: DEFAULT_REALM.to_owned(),
                            ..Fixed::default()
                        };
                        share_fixed(fixed, None, DEFAULT_PATH.to_owned(), None, Some(&data))
                    }
                };
                let shared: Result<_, server::StartError> = shared;
                let api = Api {
                    shared: shared.map_err(failed)?,
                    gate: Gate::Local,
                };
                Way::Direct {
                    router: Box::new(router(api)),
                    _data: data,
                }
            }
        };
        Ok(Self { way, runtime })
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::GET, path, "application/json", String::new(), "")
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, "application/json", body.to_string(), "")
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::DELETE, path, "application/json", String::new(), "")
    }

    /// Asks; what is not a success is an error. `file` names what mistakes with places are in.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
        file: &str,
    ) -> Result<Answer, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .map_err(failed)?;
        let (status, body) = self.runtime.block_on(async {
            match &self.way {
                Way::Socket(path) => over_socket(path, request).await,
                Way::Direct { router, .. } => {
                    let service = TowerToHyperService::new(Router::clone(router));
                    match service.call(request).await {
                        Ok(response) => collect(response.status(), response.into_body()).await,
                        Err(never) => match never {},
                    }
                }
            }
        })?;
        if status.is_success() {
            return Ok(Answer { body });
        }
        Err(Failure::Failed(explain(&body, file)))
    }
}

async fn over_socket(path: &Path, request: Request<Body>) -> Result<(StatusCode, Bytes), Failure> {
    let stream = UnixStream::connect(path).await.map_err(|error| {
        Failure::Failed(format!(
            "a gateway runs there, but {} cannot be reached: {error}; are you its user, or root?",
            path.display()
        ))
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    collect(response.status(), Body::new(response.into_body())).await
}

async fn collect(status: StatusCode, body: Body) -> Result<(StatusCode, Bytes), Failure> {
    let bytes = axum::body::to_bytes(body, MAX_ANSWER_BYTES)
        .await
        .map_err(failed)?;
    Ok((status, bytes))
}

fn explain(body: &[u8], file: &str) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    let mut text = String::new();
    for mistake in problem["mistakes"].as_array().into_iter().flatten() {
        let (line, column) = (&mistake["line"], &mistake["column"]);
        let message = mistake["message"].as_str().unwrap_or_default();
        text.push_str(&format!("{file}:{line}:{column}: {message}\n"));
    }
    text + problem["error"].as_str().unwrap_or("the gateway refused")
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Escapes one path segment or query value.
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
