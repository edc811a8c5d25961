//! What a gateway may ask for. Everything else is 404: the gateway names profiles, never hosts, ports or paths.

use lenscap_uplink::h2::Request;

/// The subprotocol of RTSP over WebSocket (ONVIF Streaming Specification, section 5.1.4).
pub(super) const RTSP_SUBPROTOCOL: &str = "rtsp.onvif.org";
/// The version of RFC 6455.
const WEBSOCKET_VERSION: &[u8] = b"13";

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// An RTSP session.
    Rtsp,
    /// One JPEG of a profile.
    Snapshot(&'a str),
    /// The agent's state.
    Status,
    /// The last audit; whether a new one is to be made.
    Audit {
        /// For later.
        again: bool,
    },
    /// Flow records behind a cursor.
    Flows {
        /// The last record that the gateway has.
        since: u64,
    },
    /// A move of the uplink.
    Move,
    /// A fresh credential to come back with.
    Resume,
    /// A known path with another method; the value is for `allow`.
    MethodNotAllowed(&'static str),
    /// An extended CONNECT that is not RTSP over WebSocket.
    BadWebSocket(&'static str),
    /// Nothing.
    NotFound,
}

/// Finds the route of a request. ONVIF is not served yet, on any level.
pub(super) fn route(request: &Request) -> Route<'_> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path == "/rtsp" {
        return rtsp(request);
    }
    if let Some(profile) = path.strip_prefix("/snapshot/") {
        return if request.method == "GET" {
            Route::Snapshot(profile)
        } else {
            Route::MethodNotAllowed("GET")
        };
    }
    match (path, request.method.as_str()) {
        ("/status", "GET") => Route::Status,
        ("/audit", "GET") => Route::Audit {
            again: query == "again",
        },
        ("/flows", "GET") => match query.strip_prefix("since=").map_or(Ok(0), str::parse) {
            Ok(since) if query.is_empty() || query.starts_with("since=") => Route::Flows { since },
            Ok(_) | Err(_) => Route::NotFound,
        },
        ("/status" | "/audit" | "/flows", _) => Route::MethodNotAllowed("GET"),
        ("/uplink/move", "POST") => Route::Move,
        ("/uplink/resume", "POST") => Route::Resume,
        ("/uplink/move" | "/uplink/resume", _) => Route::MethodNotAllowed("POST"),
        _ => Route::NotFound,
    }
}

fn rtsp(request: &Request) -> Route<'_> {
    match request.protocol.as_deref() {
        Some("websocket") if request.method == "CONNECT" => {}
        _ => return Route::MethodNotAllowed("CONNECT"),
    }
    let offered = request.header("sec-websocket-protocol").unwrap_or_default();
    if !offered
        .split(|&b| b == b',')
        .any(|name| name.trim_ascii() == RTSP_SUBPROTOCOL.as_bytes())
    {
        return Route::BadWebSocket("sec-websocket-protocol must offer rtsp.onvif.org");
    }
    match request.header("sec-websocket-version") {
        Some(version) if version.trim_ascii() != WEBSOCKET_VERSION => {
            Route::BadWebSocket("sec-websocket-version must be 13")
        }
        Some(_) | None => Route::Rtsp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            protocol: (method == "CONNECT").then(|| "websocket".into()),
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).into(), v.as_bytes().to_vec()))
                .collect(),
            ..Request::default()
        }
    }

    #[test]
    fn paths_lead_where_they_should() {
        let subprotocol = [
            ("sec-websocket-protocol", "x, rtsp.onvif.org"),
            ("sec-websocket-version", "13"),
        ];
        assert_eq!(route(&request("CONNECT", "/rtsp", &subprotocol)), Route::Rtsp);
        assert_eq!(
            route(&request("GET", "/rtsp", &subprotocol)),
            Route::MethodNotAllowed("CONNECT")
        );
        assert!(matches!(
            route(&request("CONNECT", "/rtsp", &[])),
            Route::BadWebSocket(_)
        ));
        let old = [
            ("sec-websocket-protocol", "rtsp.onvif.org"),
            ("sec-websocket-version", "8"),
        ];
        assert!(matches!(
            route(&request("CONNECT", "/rtsp", &old)),
            Route::BadWebSocket(_)
        ));
        assert_eq!(
            route(&request("GET", "/snapshot/main?x=1", &[])),
            Route::Snapshot("main")
        );
        assert_eq!(
            route(&request("POST", "/snapshot/main", &[])),
            Route::MethodNotAllowed("GET")
        );
        assert_eq!(route(&request("GET", "/status", &[])), Route::Status);
        assert_eq!(
            route(&request("DELETE", "/status", &[])),
            Route::MethodNotAllowed("GET")
        );
        assert_eq!(
            route(&request("GET", "/audit", &[])),
            Route::Audit { again: false }
        );
        assert_eq!(
            route(&request("GET", "/audit?again", &[])),
            Route::Audit { again: true }
        );
        for (path, since) in [("/flows", 0), ("/flows?since=0", 0), ("/flows?since=17", 17)] {
            assert_eq!(route(&request("GET", path, &[])), Route::Flows { since });
        }
        assert_eq!(
            route(&request("POST", "/flows", &[])),
            Route::MethodNotAllowed("GET")
        );
        assert_eq!(route(&request("POST", "/uplink/move", &[])), Route::Move);
        assert_eq!(route(&request("POST", "/uplink/resume", &[])), Route::Resume);
        for path in ["/uplink/move", "/uplink/resume"] {
            assert_eq!(route(&request("GET", path, &[])), Route::MethodNotAllowed("POST"));
        }
        for path in [
            "/",
            "",
            "/flows?since=",
            "/flows?since=-1",
            "/flows?from=1",
            "/audit/",
            "/onvif/device_service",
            // Captures are made on the camera, and nowhere else.
            "/capture",
            "/capture?seconds=1",
            "/rtsp/",
            "*",
            "/Status",
        ] {
            assert_eq!(route(&request("GET", path, &[])), Route::NotFound, "{path}");
        }
        assert_eq!(route(&request("CONNECT", "/tcp", &subprotocol)), Route::NotFound);
    }
}
