//! The server's program: its configuration file, the running process and its API.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::certs::{CertFiles, sha256_hex};
use super::dir::TestDir;
use super::http::{self, Response};
use super::process::{Process, START_LIMIT};
use super::{discreet, netns::Cable, tools, wait};

/// How long an agent may take to be online: the first attempt is jittered over up to 2 s.
pub const ONLINE_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to come back after a loss: back-off doubles up to 30 s.
pub const BACK_LIMIT: Duration = Duration::from_secs(60);
/// The viewer every test gateway knows.
pub const VIEWER: (&str, &str) = ("alice", "Viewer-Secret-51c9e0");

/// What identifies a camera to the gateway.
#[derive(Debug, Clone)]
pub enum CameraKey {
    /// Its certificate's key.
    Certificate(CertFiles),
    /// The fingerprint as the agent itself names it.
    Fingerprint(String),
    /// Its bearer token.
    Token(String),
}

/// The gateway's configuration, with defaults that work.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The address uplinks are taken on; viewers and the API stay on loopback.
    pub host: String,
    /// The port uplinks are taken on; 0 for any.
    pub uplink_port: u16,
    /// The server certificate.
    pub server: CertFiles,
    /// Cameras by name.
    pub cameras: Vec<(String, CameraKey)>,
    /// Appended as it is.
    pub extra: String,
}

impl GatewayConfig {
    /// A gateway that knows one camera, `front`.
    pub fn new(server: &CertFiles, front: CameraKey) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            uplink_port: 0,
            server: server.clone(),
            cameras: vec![("front".to_owned(), front)],
            extra: String::new(),
        }
    }

    fn write(&self, dir: &TestDir) -> PathBuf {
        let dir = dir.subdir("gateway");
        let host = &self.host;
        let password = dir.write_secret("viewer.password", VIEWER.1);
        let mut text = format!(
            "[uplink]\nlisten = \"{host}:{}\"\ncert = {:?}\nkey = {:?}\n\n[rtsp]\nlisten = \"127.0.0.1:0\"\n\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\n[[viewer]]\nuser = \"{}\"\npassword_file = {:?}\n",
            self.uplink_port, self.server.cert, self.server.key, VIEWER.0, password
        );
        for (name, key) in &self.cameras {
            text += &format!("\n[[camera]]\nname = \"{name}\"\n");
            text += &match key {
                CameraKey::Certificate(files) => format!("fingerprint = \"{}\"\n", files.fingerprint()),
                CameraKey::Fingerprint(fingerprint) => format!("fingerprint = \"{fingerprint}\"\n"),
                CameraKey::Token(token) => format!("token_sha256 = \"{}\"\n", sha256_hex(token.as_bytes())),
            };
        }
        text += &self.extra;
        dir.write_secret("gateway.toml", text)
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// `HOST:PORT` that cameras dial.
    pub uplink: String,
    /// `HOST:PORT` of RTSP.
    pub rtsp: String,
    /// `HOST:PORT` of HTTP.
    pub http: String,
}

impl Gateway {
    /// Starts `lenscap-gateway run` and waits until it listens.
    #[track_caller]
    pub fn start(dir: &TestDir, config: &GatewayConfig) -> Self {
        Self::start_command(dir, &command(dir, config))
    }

    /// The same on the gateway's side of a cable.
    #[track_caller]
    pub fn start_on(dir: &TestDir, config: &GatewayConfig, cable: &Cable) -> Self {
        Self::start_command(dir, &cable.on_gateway(&command(dir, config)))
    }

    #[track_caller]
    fn start_command(dir: &TestDir, command: &Command) -> Self {
        let mut process = Process::start(dir, "gateway", command);
        let event = process.wait_event("listening", START_LIMIT);
        let field = |name: &str| {
            event[name]
                .as_str()
                .unwrap_or_else(|| panic!("no {name} in the gateway's {event}"))
                .to_owned()
        };
        Self {
            uplink: field("uplink"),
            rtsp: field("rtsp"),
            http: field("http"),
            process,
        }
    }

    /// The port uplinks are taken on.
    pub fn uplink_port(&self) -> u16 {
        port_of(&self.uplink)
    }

    /// The endpoint for an agent: `https://localhost:PORT/onvif/uplink`.
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}/onvif/uplink", self.uplink_port())
    }

    /// The RTSP URL for a viewer, with the viewer's credentials.
    pub fn viewer_url(&self, camera: &str, profile: &str) -> String {
        format!(
            "rtsp://{}:{}@{}/{camera}/{profile}",
            VIEWER.0, VIEWER.1, self.rtsp
        )
    }

    /// The same without credentials.
    pub fn plain_url(&self, camera: &str, profile: &str) -> String {
        format!("rtsp://{}/{camera}/{profile}", self.rtsp)
    }

    /// `GET` from its HTTP side.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::get(&self.http, path).unwrap_or_else(|error| panic!("GET {path} from the gateway: {error}"))
    }

    /// The entry of this camera in `GET /cameras`.
    pub fn camera(&self, name: &str) -> Option<Value> {
        let response = http::get(&self.http, "/cameras").ok()?;
        let cameras: Value = serde_json::from_slice(&response.body).ok()?;
        cameras
            .as_array()?
            .iter()
            .find(|camera| camera["name"] == name)
            .cloned()
    }

    /// Whether this camera's uplink is up.
    pub fn is_online(&self, name: &str) -> bool {
        self.camera(name).is_some_and(|camera| camera["online"] == true)
    }

    /// Waits until this camera's uplink is up.
    #[track_caller]
    pub fn wait_online(&self, name: &str, limit: Duration) -> Value {
        wait::until(&format!("camera {name:?} online at the gateway"), limit, || {
            self.camera(name).filter(|camera| camera["online"] == true)
        })
    }

    /// Waits until this camera's uplink is down.
    #[track_caller]
    pub fn wait_offline(&self, name: &str, limit: Duration) {
        wait::until(&format!("camera {name:?} offline at the gateway"), limit, || {
            (!self.is_online(name)).then_some(())
        });
    }

    /// The agent's `/status`, proxied.
    #[track_caller]
    pub fn agent_status(&self, camera: &str) -> Value {
        let response = self.get(&format!("/cameras/{camera}/status"));
        assert_eq!(response.status, 200, "status of {camera}: {}", response.text());
        response.json()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            discreet::assert_discreet("gateway", &self.process.stderr_text());
        }
    }
}

/// The port of `HOST:PORT`.
#[track_caller]
pub fn port_of(address: &str) -> u16 {
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .unwrap_or_else(|| panic!("no port in {address:?}"))
}

fn command(dir: &TestDir, config: &GatewayConfig) -> Command {
    let path = config.write(dir);
    let mut command = Command::new(tools::own("lenscap-gateway"));
    // Ours to the last detail, and what the libraries say at DEBUG.
    command
        .arg("run")
        .arg("--config")
        .arg(path)
        .args(["--log-level", "debug,lenscap_gateway=trace"]);
    command
}
