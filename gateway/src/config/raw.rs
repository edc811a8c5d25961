//! The file as serde reads it.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) data: Option<Spanned<String>>,
    pub(super) uplink: Uplink,
    pub(super) rtsp: Option<Rtsp>,
    pub(super) http: Option<Http>,
    pub(super) reports: Option<super::reports::RawReports>,
    pub(super) ipfix: Option<super::reports::RawIpfix>,
    pub(super) claims: Option<Claims>,
    pub(super) activation: Option<Activation>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) streamer: Option<Streamer>,
    #[serde(default)]
    pub(super) camera: Vec<Spanned<Camera>>,
    #[serde(default)]
    pub(super) viewer: Vec<Spanned<Viewer>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Uplink {
    pub(super) listen: Spanned<String>,
    pub(super) cert: Spanned<String>,
    pub(super) key: Spanned<String>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) max_uplinks: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rtsp {
    pub(super) listen: Spanned<String>,
    pub(super) listen_tls: Option<Spanned<String>>,
    pub(super) realm: Option<Spanned<String>>,
    pub(super) max_viewers: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) listen: Spanned<String>,
    pub(super) token_file: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tls: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Activation {
    pub(super) forward: Spanned<String>,
    pub(super) forward_pin: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) uplink_url: Spanned<String>,
    pub(super) rtsp_url: Option<Spanned<String>>,
    pub(super) http_url: Option<Spanned<String>>,
    pub(super) join_token_file: Spanned<String>,
    pub(super) capacity: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Streamer {
    pub(super) name: Spanned<String>,
    pub(super) endpoint: Spanned<String>,
    pub(super) endpoint_ca: Option<Spanned<String>>,
    pub(super) join_token_file: Spanned<String>,
    pub(super) uplink_url: Spanned<String>,
    pub(super) rtsp_url: Option<Spanned<String>>,
    pub(super) http_url: Option<Spanned<String>>,
    pub(super) capacity: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub(super) callback: Spanned<String>,
    pub(super) callback_secret_file: Spanned<String>,
    pub(super) callback_ca: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Camera {
    pub(super) name: Spanned<String>,
    pub(super) fingerprint: Option<Spanned<String>>,
    pub(super) token_sha256: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Viewer {
    pub(super) user: Spanned<String>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) ha1_md5: Option<Spanned<String>>,
    pub(super) ha1_sha256: Option<Spanned<String>>,
    pub(super) cameras: Option<Vec<Spanned<String>>>,
}
