//! The configuration as the program uses it: every value parsed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use lenscap_harden::listeners::Close;
use lenscap_harden::report::Measure;
use lenscap_rtsp::{CameraUrl, Credentials};
use lenscap_uplink::url::{HostPattern, Url};
use log::LevelFilter;

use super::secret::Secret;

/// Everything that `/etc/config/lenscap` says.
#[derive(Debug, Clone)]
pub struct Config {
    /// `config agent`.
    pub agent: AgentConfig,
    /// Each `config uplink`, in order, at least one.
    pub uplinks: Vec<Uplink>,
    /// Each `config profile`, in order, at least one.
    pub profiles: Vec<Profile>,
    /// `config harden`, kept for `lenscap harden`.
    pub harden: Harden,
}

/// `config agent`: what belongs to the program and not to one uplink.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where the identity is kept.
    pub state_dir: PathBuf,
    /// Where the program says how it is; forgotten at a restart.
    pub run_dir: PathBuf,
    /// The agent's user, when the program is started as root.
    pub user: String,
    /// The agent's group, if it is not the user's own.
    pub group: Option<String>,
    /// Where log lines go.
    pub log: LogTarget,
    /// What is logged.
    pub log_level: LevelFilter,
    /// The device's serial number, for gateways and for the name in a self-generated certificate.
    pub serial: Option<String>,
    /// The device's model, for gateways.
    pub model: Option<String>,
    /// A client certificate chain and its key, instead of a self-generated identity.
    pub certificate: Option<CertificateFiles>,
    /// The resolver's configuration, resolv.conf(5).
    pub resolv_conf: PathBuf,
    /// Names known without asking, hosts(5).
    pub hosts: PathBuf,
    /// Whether `lenscap capture` may be used.
    pub capture: bool,
    /// Whether the service makes audits and keeps flow accounts.
    pub reports: bool,
}

/// `option cert` and `option key`: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the device's own certificate first.
    pub cert: PathBuf,
    /// The private key: PKCS #8, SEC 1 or PKCS #1.
    pub key: PathBuf,
}

/// `option log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// `/dev/log`.
    Syslog,
}

/// `config uplink`: one gateway, or several that are equal.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// The section's name.
    pub name: String,
    /// Where to dial, in order of preference, at least one.
    pub endpoints: Vec<Url>,
    /// Hosts that a redirect may lead to.
    pub redirect_to: Vec<HostPattern>,
    /// What vouches for the gateway.
    pub trust: Trust,
    /// How the agent shows who it is.
    pub auth: ClientAuth,
    /// What the gateway may ask for.
    pub level: Level,
}

/// What vouches for a gateway. Where there are pins they hold for the hosts of the uplink's endpoints, instead of a
/// CA; any other host (after a redirect) needs a CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// CA certificates in a PEM file, instead of the built-in Mozilla roots.
    pub ca_file: Option<PathBuf>,
    /// Hashes of the gateway's public key.
    pub pins: Vec<Pin>,
}

/// The SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469, section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Reads `sha256/<base64>`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut hash = [0; 32];
        text.strip_prefix("sha256/")
            .and_then(|base64| Base64::decode(base64, &mut hash).ok())
            .filter(|decoded| decoded.len() == 32)
            .ok_or("expected sha256/ and the base64 of a SHA-256, 44 characters that end in =")?;
        Ok(Self(hash))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", Base64::encode_string(&self.0))
    }
}

/// How the agent shows who it is: never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// A TLS client certificate.
    Certificate,
    /// `Authorization: Bearer` with the token in this file.
    Bearer {
        /// The file whose first line is the token.
        token_file: PathBuf,
    },
}

/// What a gateway may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Media, snapshots, status, move.
    Viewer,
    /// Audit, flows and, where allowed, ONVIF as well.
    Operator,
    /// Kept for later.
    Admin,
}

impl Level {
    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// `config profile`: one media profile of the camera.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The section's name, which the gateway asks for.
    pub name: String,
    /// The camera's URL, without user and password.
    pub rtsp: CameraUrl,
    /// Where that URL leads.
    pub rtsp_addr: SocketAddr,
    /// The camera's URL for one JPEG.
    pub snapshot: Option<SnapshotUrl>,
    /// Who the agent is to the camera.
    pub login: Option<Login>,
}

/// A parsed `http://` URL on the camera.
#[derive(Clone, PartialEq, Eq)]
pub struct SnapshotUrl {
    /// Where to connect.
    pub addr: SocketAddr,
    /// The `Host` header's value.
    pub authority: String,
    /// The request's target, starting with `/`.
    pub target: String,
}

/// Many a target has a password in it.
impl std::fmt::Debug for SnapshotUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.authority)
    }
}

/// The camera's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// Where the camera's password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// In the configuration itself.
    Inline(Secret),
    /// The first line of a file, read when it is needed.
    File(PathBuf),
}

impl Login {
    /// The user and the password, which is read now if it is in a file.
    ///
    /// # Errors
    /// A sentence for the user about the file.
    pub fn credentials(&self) -> Result<Credentials, String> {
        let password = self.password.read()?;
        Ok(Credentials {
            user: self.user.clone(),
            password: lenscap_rtsp::Secret::new(password.expose()),
        })
    }
}

impl Password {
    /// The password, from the file if that is where it is.
    ///
    /// # Errors
    /// A sentence for the user about the file.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => Secret::read(path),
        }
    }
}

/// `config harden`: measures that `lenscap harden` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Harden {
    /// How far it goes by itself.
    pub mode: HardenMode,
    /// Telnet off.
    pub telnet: bool,
    /// Factory credentials replaced.
    pub credentials: bool,
    /// Nothing listens outwards.
    pub firewall: bool,
    /// `address:port` on the LAN that keeps access.
    pub allow_lan: Vec<String>,
    /// Destinations that stay reachable.
    pub allow_out: Vec<String>,
    /// The camera answers WS-Discovery on the local network.
    pub discovery: bool,
    /// Routes to nowhere, where nothing filters.
    pub blackhole: bool,
    /// Services that are closed with telnet.
    pub close: Close,
    /// The streamer, if it may live in a network of its own where nothing filters.
    pub streamer: Option<PathBuf>,
    /// How often the monitor looks whether it still holds.
    pub recheck: Duration,
    /// How login passwords are made.
    pub password: HardenPassword,
    /// To whom a new login password is encrypted.
    pub owner_key: Option<String>,
}

impl Default for Harden {
    fn default() -> Self {
        Self {
            mode: HardenMode::Confirm,
            telnet: true,
            credentials: true,
            firewall: true,
            allow_lan: Vec::new(),
            allow_out: Vec::new(),
            discovery: false,
            blackhole: false,
            close: Close::default(),
            streamer: None,
            recheck: Duration::from_secs(600),
            password: HardenPassword::Random,
            owner_key: None,
        }
    }
}

impl Harden {
    /// Whether the firewall is among the measures that are taken without being named.
    #[must_use]
    pub fn closes_network(&self) -> bool {
        self.firewall && self.mode != HardenMode::Off
    }

    /// Whether a measure is wanted.
    #[must_use]
    pub fn wants(&self, measure: Measure) -> bool {
        match measure {
            Measure::Telnet => self.telnet,
            Measure::Credentials => self.credentials,
            Measure::Firewall => self.firewall,
        }
    }
}

/// `option password` of `config harden`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardenPassword {
    /// Made at random, and told once or encrypted to the owner.
    Random,
    /// None fits: keys alone open a login.
    Lock,
    /// Given with `--password-file` when the camera is made.
    Secret,
}

/// `option mode` of `config harden`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardenMode {
    /// Nothing is changed.
    Off,
    /// Applied, and rolled back unless confirmed.
    Confirm,
    /// Applied.
    Enforce,
}
