//! The configuration file: TOML, unknown keys are errors, every mistake has its place.
//!
//! Relative paths in it are relative to the file's own folder.

mod diagnostics;
pub(crate) mod files;
mod raw;
mod reports;
mod roles;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use toml::Spanned;

use diagnostics::Collector;
pub use diagnostics::{Diagnostic, Errors};
pub use roles::JoinConfig;

use crate::ca;
use crate::clock;
use crate::expiry::{self, What};
use crate::fleet::outbound::Callback;
use crate::fleet::{Fixed, Part};
use crate::ipfix::IpfixConfig;
use crate::reports::ReportsConfig;
use crate::rtsp::digest::{Algorithm, Ha1};
use crate::rtsp::guard::Viewer;
use crate::store::Forward;
use crate::tls;

/// Longest name of a camera or a user.
pub const MAX_NAME_BYTES: usize = 64;
/// Where cameras ask for the upgrade unless the configuration says otherwise.
pub const DEFAULT_PATH: &str = "/onvif/uplink";
/// Digest realm unless the configuration says otherwise.
pub const DEFAULT_REALM: &str = "lenscap";
const DEFAULT_MAX_UPLINKS: usize = 20_000;
const DEFAULT_MAX_VIEWERS: usize = 2_000;

/// A SHA-256 hash of something public: a key's fingerprint or a token's digest.
pub type Sha256Hash = [u8; 32];

/// A whole, checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Where everything is kept that is not in this file.
    pub data: Option<PathBuf>,
    /// Where cameras dial in.
    pub uplink: UplinkConfig,
    /// Where viewers connect.
    pub rtsp: Option<RtspConfig>,
    /// The HTTP API.
    pub http: Option<HttpConfig>,
    /// Audits and flows.
    pub reports: ReportsConfig,
    /// Where flows are exported to.
    pub ipfix: Option<IpfixConfig>,
    /// The operator's own system, which decides about claims.
    pub callback: Option<CallbackConfig>,
    /// Where cameras go that nobody has claimed here.
    pub activation: Option<Forward>,
    /// What this process does in its fleet.
    pub part: Part,
    /// SHA-256 of the token that lets streamers in.
    pub join_token: Option<Sha256Hash>,
    /// How this streamer joins.
    pub join: Option<JoinConfig>,
    /// Camera names, in the file's order.
    pub cameras: Vec<String>,
    /// SPKI fingerprint to index in `cameras`.
    pub fingerprints: BTreeMap<Sha256Hash, usize>,
    /// SHA-256 of a bearer token to index in `cameras`.
    pub tokens: BTreeMap<Sha256Hash, usize>,
    /// Viewers by user name.
    pub viewers: BTreeMap<String, Viewer>,
    /// See [`Fixed`]. It is no option of the file: only tests have no minute.
    pub clone_after_seconds: Option<u64>,
}

impl Config {
    /// What a fleet needs to know of it.
    #[must_use]
    pub fn fixed(&self) -> Fixed {
        let realm = self
            .rtsp
            .as_ref()
            .map_or(DEFAULT_REALM, |rtsp| rtsp.realm.as_str());
        Fixed {
            cameras: self.cameras.clone(),
            fingerprints: self.fingerprints.clone(),
            tokens: self.tokens.clone(),
            viewers: self.viewers.clone(),
            realm: realm.to_owned(),
            part: self.part.clone(),
            activation: self.activation.clone(),
            clone_after_seconds: self.clone_after_seconds,
        }
    }
}

/// The uplink listener.
#[derive(Debug)]
pub struct UplinkConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate chain file.
    pub cert: PathBuf,
    /// Private key file.
    pub key: PathBuf,
    /// Path of the upgrade request.
    pub path: String,
    /// Most uplinks at a time.
    pub max_uplinks: usize,
    /// The loaded chain and key.
    pub identity: Arc<CertifiedKey>,
}

/// The RTSP listener.
#[derive(Debug)]
pub struct RtspConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Address and port of RTSPS, with the uplink's certificate.
    pub listen_tls: Option<SocketAddr>,
    /// Digest realm.
    pub realm: String,
    /// Most viewer connections at a time.
    pub max_viewers: usize,
}

/// The HTTP listener.
#[derive(Debug)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// SHA-256 of the operator's bearer token.
    pub token: Option<Sha256Hash>,
    /// HTTPS, with the uplink's certificate.
    pub tls: bool,
}

/// The claim callback.
pub struct CallbackConfig {
    /// What is asked.
    pub url: String,
    /// Signs the questions.
    pub secret: Vec<u8>,
    /// Replaces the public CAs.
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for CallbackConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackConfig").finish_non_exhaustive()
    }
}

/// A configuration and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Things that work but deserve a look.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks a configuration file with all the files that it names.
///
/// # Errors
/// Every mistake that was found, with file, line and column.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Errors::one(Diagnostic::file(path, format!("cannot be read: {error}"))))?;
    parse(path, &text)
}

/// As [`load`], with the text at hand; `path` gives relative paths their folder and errors their name.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Errors> {
    let mut collect = Collector::new(path, text);
    let file: raw::File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => return Err(collect.syntax(&error)),
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let rtsp = file.rtsp.as_ref().map(|raw| check_rtsp(&mut collect, raw));
    let realm = rtsp
        .as_ref()
        .map_or(DEFAULT_REALM, |rtsp| rtsp.realm.as_str())
        .to_owned();
    let uplink = check_uplink(&mut collect, folder, &file.uplink);
    let http = file
        .http
        .as_ref()
        .map(|raw| check_http(&mut collect, folder, raw, file.data.is_some()));
    let reports = reports::check_reports(&mut collect, folder, file.reports.as_ref());
    let ipfix = file
        .ipfix
        .as_ref()
        .map(|raw| reports::check_ipfix(&mut collect, raw));
    let data = file.data.as_ref().map(|data| folder.join(data.get_ref()));
    let callback = file
        .claims
        .as_ref()
        .and_then(|raw| check_claims(&mut collect, folder, raw, data.is_some()));
    let activation = file
        .activation
        .as_ref()
        .map(|raw| roles::check_activation(&mut collect, raw));
    let roles = roles::check(&mut collect, folder, &file);
    let mut cameras = Cameras::default();
    for camera in &file.camera {
        check_camera(&mut collect, camera, &mut cameras);
    }
    let mut viewers = BTreeMap::new();
    for raw in &file.viewer {
        check_viewer(&mut collect, folder, &realm, raw, &cameras.names, &mut viewers);
    }
    if common_algorithms(&viewers).is_empty() {
        collect.warn_file(
            "no Digest algorithm serves every viewer: give each ha1_sha256 and ha1_md5, or a password_file",
        );
    }
    if cameras.names.is_empty() && data.is_none() {
        collect.warn_file("no [[camera]]: every uplink will be refused");
    }
    if viewers.is_empty() && rtsp.is_some() && data.is_none() {
        collect.warn_file("no [[viewer]]: nobody can watch over RTSP");
    }
    let warnings = collect.finish()?;
    let Some(uplink) = uplink else {
        return Err(Errors::default());
    };
    let Cameras {
        names,
        fingerprints,
        tokens,
    } = cameras;
    let config = Config {
        data,
        callback,
        activation,
        part: roles.part,
        join_token: roles.join_token,
        join: roles.join,
        uplink,
        rtsp,
        http,
        reports,
        ipfix,
        cameras: names,
        fingerprints,
        tokens,
        viewers,
        clone_after_seconds: None,
    };
    Ok(Loaded { config, warnings })
}

fn check_uplink(collect: &mut Collector, folder: &Path, raw: &raw::Uplink) -> Option<UplinkConfig> {
    let listen = address(collect, &raw.listen);
    let (cert, key) = (folder.join(raw.cert.get_ref()), folder.join(raw.key.get_ref()));
    let path = match &raw.path {
        None => DEFAULT_PATH.to_owned(),
        Some(path) => {
            if !path.get_ref().starts_with('/') || path.get_ref().contains(['?', '#', ' ']) {
                collect.error(path.span(), "must begin with `/` and have no query");
            }
            path.get_ref().clone()
        }
    };
    if let Err(why) = files::private(&key) {
        collect.error(raw.key.span(), why);
    }
    match tls::load_identity(&cert, &key) {
        Ok(identity) => {
            warn_of_expiry(collect, &cert, &identity);
            if let Err(wrong) = clock::check(clock::unix_now()) {
                collect.warn_file(&wrong.to_string());
            }
            let max_uplinks = raw.max_uplinks.unwrap_or(DEFAULT_MAX_UPLINKS);
            Some(UplinkConfig {
                listen,
                cert,
                key,
                path,
                max_uplinks,
                identity,
            })
        }
        Err(error) => {
            let span = if error.is_about_key() {
                raw.key.span()
            } else {
                raw.cert.span()
            };
            collect.error(span, error);
            None
        }
    }
}

/// Cameras that pin the key do not look at dates; everybody else does.
fn warn_of_expiry(collect: &mut Collector, path: &Path, identity: &CertifiedKey) {
    let end = identity.cert.first().and_then(ca::end_of);
    let notice = end.and_then(|end| expiry::judge(What::Shown, path, end, clock::unix_now()));
    if let Some(notice) = notice {
        collect.warn_file(notice.text());
    }
}

fn check_rtsp(collect: &mut Collector, raw: &raw::Rtsp) -> RtspConfig {
    let realm = raw
        .realm
        .as_ref()
        .map_or(DEFAULT_REALM, |realm| realm.get_ref().as_str());
    if let Some(spanned) = &raw.realm
        && (realm.is_empty() || realm.contains(['"', '\\']) || realm.chars().any(char::is_control))
    {
        collect.error(
            spanned.span(),
            "must not be empty, nor have quotes, backslashes or control characters",
        );
    }
    RtspConfig {
        listen: address(collect, &raw.listen),
        listen_tls: raw.listen_tls.as_ref().map(|text| address(collect, text)),
        realm: realm.to_owned(),
        max_viewers: raw.max_viewers.unwrap_or(DEFAULT_MAX_VIEWERS),
    }
}

fn check_http(collect: &mut Collector, folder: &Path, raw: &raw::Http, has_data: bool) -> HttpConfig {
    let listen = address(collect, &raw.listen);
    let token = raw
        .token_file
        .as_ref()
        .and_then(|file| files::token(collect, folder, file))
        .map(|token| tls::sha256(token.as_bytes()));
    if !raw.tls && !listen.ip().is_loopback() {
        collect.warn_file(
            "[http]: tokens would travel in clear; set `tls = true`, or let a proxy that speaks TLS listen",
        );
    }
    if raw.token_file.is_none() && !has_data && !listen.ip().is_loopback() {
        collect.error(
            raw.listen.span(),
            "the HTTP API would be open to everyone: add `token_file`, or listen on 127.0.0.1",
        );
    }
    HttpConfig {
        listen,
        token,
        tls: raw.tls,
    }
}

fn check_claims(
    collect: &mut Collector,
    folder: &Path,
    raw: &raw::Claims,
    has_data: bool,
) -> Option<CallbackConfig> {
    if !has_data {
        collect.error(
            raw.callback.span(),
            "claims need a data folder: add `data` at the top of the file",
        );
    }
    let ca = raw.callback_ca.as_ref().map(|ca| folder.join(ca.get_ref()));
    let secret = match files::secret_line(&folder.join(raw.callback_secret_file.get_ref())) {
        Ok(secret) => secret.into_bytes(),
        Err(why) => {
            collect.error(raw.callback_secret_file.span(), why);
            return None;
        }
    };
    let url = raw.callback.get_ref().clone();
    if let Err(error) = Callback::new(&url, &secret, ca.as_deref()) {
        collect.error(raw.callback.span(), error);
    }
    Some(CallbackConfig { url, secret, ca })
}

#[derive(Default)]
struct Cameras {
    names: Vec<String>,
    fingerprints: BTreeMap<Sha256Hash, usize>,
    tokens: BTreeMap<Sha256Hash, usize>,
}

fn check_camera(collect: &mut Collector, raw: &Spanned<raw::Camera>, cameras: &mut Cameras) {
    let camera = raw.get_ref();
    check_name(collect, &camera.name);
    if cameras.names.contains(camera.name.get_ref()) {
        collect.error(camera.name.span(), "there is a camera of this name already");
    }
    let index = cameras.names.len();
    cameras.names.push(camera.name.get_ref().clone());
    if camera.fingerprint.is_none() && camera.token_sha256.is_none() {
        collect.error(
            raw.span(),
            "needs `fingerprint` (of its key) or `token_sha256`, or it can never connect",
        );
    }
    if let Some(text) = &camera.fingerprint {
        let hex = parse_fingerprint(text.get_ref());
        claim(
            collect,
            text,
            hex,
            &mut cameras.fingerprints,
            index,
            "must be `sha256:` and 64 hex digits",
        );
    }
    if let Some(text) = &camera.token_sha256 {
        let hash = parse_hash(text.get_ref());
        claim(
            collect,
            text,
            hash,
            &mut cameras.tokens,
            index,
            "must be 64 hex digits (printf %s TOKEN | sha256sum)",
        );
    }
}

fn claim(
    collect: &mut Collector,
    text: &Spanned<String>,
    hash: Option<Sha256Hash>,
    taken: &mut BTreeMap<Sha256Hash, usize>,
    index: usize,
    form: &str,
) {
    match hash {
        None => collect.error(text.span(), form),
        Some(hash) if taken.contains_key(&hash) => {
            collect.error(text.span(), "belongs to another camera already");
        }
        Some(hash) => {
            taken.insert(hash, index);
        }
    }
}

fn check_viewer(
    collect: &mut Collector,
    folder: &Path,
    realm: &str,
    raw: &Spanned<raw::Viewer>,
    cameras: &[String],
    viewers: &mut BTreeMap<String, Viewer>,
) {
    let viewer = raw.get_ref();
    let user = viewer.user.get_ref();
    if !is_user(user) {
        collect.error(
            viewer.user.span(),
            "must have 1 to 64 bytes, without quotes, colons and backslashes",
        );
    }
    for name in viewer.cameras.iter().flatten() {
        if !cameras.contains(name.get_ref()) {
            collect.error(name.span(), format!("there is no camera {:?}", name.get_ref()));
        }
    }
    let ha1 = check_password(collect, folder, realm, raw);
    let names = |names: &Vec<Spanned<String>>| {
        names
            .iter()
            .map(|name| name.get_ref().clone())
            .collect::<BTreeSet<_>>()
    };
    let entry = Viewer {
        ha1,
        cameras: viewer.cameras.as_ref().map(names),
    };
    if viewers.insert(user.clone(), entry).is_some() {
        collect.error(viewer.user.span(), "there is a viewer of this name already");
    }
}

fn check_password(collect: &mut Collector, folder: &Path, realm: &str, raw: &Spanned<raw::Viewer>) -> Ha1 {
    let viewer = raw.get_ref();
    let hashed = viewer.ha1_md5.is_some() || viewer.ha1_sha256.is_some();
    match (&viewer.password_file, hashed) {
        (Some(file), true) => {
            collect.error(file.span(), "give either `password_file` or `ha1_...`, not both")
        }
        (None, false) => collect.error(raw.span(), "needs `password_file`, or `ha1_sha256` and `ha1_md5`"),
        (Some(file), false) => match files::secret_line(&folder.join(file.get_ref())) {
            Ok(password) => return Ha1::from_password(viewer.user.get_ref(), realm, &password),
            Err(why) => collect.error(file.span(), why),
        },
        (None, true) => {}
    }
    let mut hash = |text: &Option<Spanned<String>>, digits: usize| {
        let text = text.as_ref()?;
        let hex = text.get_ref();
        if hex.len() != digits || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            collect.error(text.span(), format!("must be {digits} hex digits"));
        }
        Some(hex.to_ascii_lowercase())
    };
    Ha1 {
        md5: hash(&viewer.ha1_md5, 32),
        sha256: hash(&viewer.ha1_sha256, 64),
    }
}

/// The algorithms that every viewer has a hash for, the strongest first.
pub(crate) fn common_algorithms(viewers: &BTreeMap<String, Viewer>) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    if viewers.values().all(|viewer| viewer.ha1.sha256.is_some()) {
        algorithms.push(Algorithm::Sha256);
    }
    if viewers.values().all(|viewer| viewer.ha1.md5.is_some()) {
        algorithms.push(Algorithm::Md5);
    }
    algorithms
}

/// True for what a camera or an account may be called: it goes into addresses as it is.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.starts_with('.') && text.bytes().all(plain)
}

/// True for what a viewer may be called: it goes into Digest as it is.
#[must_use]
pub fn is_user(text: &str) -> bool {
    let odd = |c: char| matches!(c, '"' | ':' | '\\') || c.is_control();
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(odd)
}

/// `sha256:` and 64 hex digits.
#[must_use]
pub fn parse_fingerprint(text: &str) -> Option<Sha256Hash> {
    let (prefix, digits) = text.split_at_checked("sha256:".len())?;
    // A label without a serial has it in capitals, which QR codes have a short form for.
    let named = prefix.eq_ignore_ascii_case("sha256:");
    named.then_some(digits).and_then(parse_hash)
}

fn check_name(collect: &mut Collector, name: &Spanned<String>) {
    if !is_name(name.get_ref()) {
        collect.error(
            name.span(),
            "must have 1 to 64 of the letters a-z, A-Z, 0-9, `-`, `_` and `.`",
        );
    }
}

fn address(collect: &mut Collector, text: &Spanned<String>) -> SocketAddr {
    text.get_ref().parse().unwrap_or_else(|_| {
        collect.error(
            text.span(),
            "must be IP:PORT, as in \"0.0.0.0:8554\" or \"[::]:8554\"",
        );
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

/// 64 hex digits.
fn parse_hash(text: &str) -> Option<Sha256Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}
