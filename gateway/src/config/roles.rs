//! `[endpoint]` and `[streamer]`.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::diagnostics::Collector;
use super::{Sha256Hash, files, is_name, raw};
use crate::fleet::{EndpointAddresses, Part, check_forward};
use crate::roles::message::{Hello, VERSION};
use crate::store::Forward;
use crate::tls;

/// Cameras that a streamer takes unless the configuration says otherwise.
const DEFAULT_CAPACITY: usize = 10_000;

/// How a streamer joins.
#[derive(Clone)]
pub struct JoinConfig {
    /// Who it is.
    pub hello: Hello,
    /// `HOST:PORT` of the endpoint.
    pub endpoint: String,
    /// Replaces the public CAs.
    pub ca: Option<PathBuf>,
    /// Lets it in.
    pub token: String,
}

impl std::fmt::Debug for JoinConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinConfig")
            .field("name", &self.hello.name)
            .finish_non_exhaustive()
    }
}

/// What this process does in its fleet.
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub(super) part: Part,
    /// SHA-256 of what lets streamers in.
    pub(super) join_token: Option<Sha256Hash>,
    pub(super) join: Option<JoinConfig>,
}

/// Where cameras go that nobody has claimed here.
pub(super) fn check_activation(collect: &mut Collector, raw: &raw::Activation) -> Forward {
    let forward = Forward {
        url: raw.forward.get_ref().clone(),
        pin: raw.forward_pin.clone(),
    };
    if let Err(error) = check_forward(&forward) {
        collect.error(raw.forward.span(), error);
    }
    forward
}

pub(super) fn check(collect: &mut Collector, folder: &Path, file: &raw::File) -> Roles {
    match (&file.endpoint, &file.streamer) {
        (None, None) => Roles::default(),
        (Some(endpoint), None) => check_endpoint(collect, folder, endpoint, file.data.is_some()),
        (None, Some(streamer)) => check_streamer(collect, folder, streamer, file.data.is_some()),
        (Some(endpoint), Some(_)) => {
            collect.error(
                endpoint.uplink_url.span(),
                "a process is the endpoint or a streamer: give one section, not both",
            );
            Roles::default()
        }
    }
}

fn check_endpoint(collect: &mut Collector, folder: &Path, raw: &raw::Endpoint, has_data: bool) -> Roles {
    if !has_data {
        collect.error(
            raw.uplink_url.span(),
            "an endpoint needs a data folder: add `data` at the top of the file",
        );
    }
    let token = files::token(collect, folder, &raw.join_token_file);
    let addresses = addresses(
        collect,
        &raw.uplink_url,
        raw.rtsp_url.as_ref(),
        raw.http_url.as_ref(),
    );
    Roles {
        part: Part::Endpoint {
            addresses: Some(addresses),
            capacity: raw.capacity.unwrap_or(DEFAULT_CAPACITY),
        },
        join_token: token.map(|token| tls::sha256(token.as_bytes())),
        join: None,
    }
}

fn check_streamer(collect: &mut Collector, folder: &Path, raw: &raw::Streamer, has_data: bool) -> Roles {
    let name = raw.name.get_ref();
    if !has_data {
        collect.error(
            raw.name.span(),
            "a streamer needs a data folder: add `data` at the top of the file",
        );
    }
    if !is_name(name) {
        collect.error(
            raw.name.span(),
            "must have 1 to 64 of the letters a-z, A-Z, 0-9, `-`, `_` and `.`",
        );
    }
    let port = raw
        .endpoint
        .get_ref()
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        collect.error(
            raw.endpoint.span(),
            "must be HOST:PORT of the endpoint's [uplink]",
        );
    }
    let EndpointAddresses {
        uplink_url,
        rtsp_url,
        http_url,
    } = addresses(
        collect,
        &raw.uplink_url,
        raw.rtsp_url.as_ref(),
        raw.http_url.as_ref(),
    );
    let hello = Hello {
        v: VERSION,
        name: name.clone(),
        uplink_url,
        rtsp_url,
        http_url,
        capacity: raw.capacity.unwrap_or(DEFAULT_CAPACITY),
    };
    let token = files::token(collect, folder, &raw.join_token_file);
    Roles {
        part: Part::Streamer { name: name.clone() },
        join_token: None,
        join: token.map(|token| JoinConfig {
            hello,
            endpoint: raw.endpoint.get_ref().clone(),
            ca: raw.endpoint_ca.as_ref().map(|ca| folder.join(ca.get_ref())),
            token,
        }),
    }
}

/// Where cameras and viewers reach this process.
fn addresses(
    collect: &mut Collector,
    uplink: &Spanned<String>,
    rtsp: Option<&Spanned<String>>,
    http: Option<&Spanned<String>>,
) -> EndpointAddresses {
    EndpointAddresses {
        uplink_url: url(collect, uplink, &["https", "wss"]),
        rtsp_url: rtsp.map(|text| url(collect, text, &["rtsp", "rtsps"])),
        http_url: http.map(|text| url(collect, text, &["http", "https"])),
    }
}

/// An address without a slash at its end, so that paths can follow; an uplink's is whole as it is.
fn url(collect: &mut Collector, text: &Spanned<String>, schemes: &[&str]) -> String {
    let given = text.get_ref();
    let good = given.split_once("://").is_some_and(|(scheme, rest)| {
        schemes.contains(&scheme)
            && !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(['@', '>', '"'])
    });
    if !good || !given.bytes().all(|byte| byte.is_ascii_graphic()) {
        collect.error(
            text.span(),
            format!(
                "must be an address that begins with {}://",
                schemes.join(":// or ")
            ),
        );
    }
    given.trim_end_matches('/').to_owned()
}
