//! The camera's program: its configuration file and the running process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::certs::{CertFiles, Pki};
use super::dir::TestDir;
use super::process::{Finished, Process};
use super::{discreet, netns::Cable, stat, tools};

/// How long an agent may take to drain and end after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(15);

/// One `config profile` section.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The section's name.
    pub name: String,
    /// The camera's RTSP URL, without credentials.
    pub rtsp: String,
    /// The camera's snapshot URL.
    pub snapshot: Option<String>,
    /// User and password of the camera.
    pub login: Option<(String, String)>,
}

/// What goes into `/etc/config/lenscap`, with defaults that work.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Endpoints in order.
    pub endpoints: Vec<String>,
    /// The certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// SPKI pins, `sha256/<base64>`.
    pub pins: Vec<String>,
    /// Hosts a redirect may name.
    pub redirect_to: Vec<String>,
    /// A client certificate; without one the agent makes its own identity.
    pub client: Option<CertFiles>,
    /// A bearer token, written to a file of its own.
    pub token: Option<String>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// `option log_level`.
    pub log_level: String,
    /// Further names for the hosts file: each is 127.0.0.1.
    pub names: Vec<String>,
    /// `option reports`: off unless a test is about them, for an audit asks every service on this machine.
    pub reports: bool,
    /// Appended as it is.
    pub extra: String,
}

impl AgentConfig {
    /// An agent that dials `endpoint`, trusts `pki` and shows `client`.
    pub fn new(endpoint: &str, pki: &Pki, client: &CertFiles) -> Self {
        Self {
            endpoints: vec![endpoint.to_owned()],
            ca_file: Some(pki.ca_file()),
            pins: Vec::new(),
            redirect_to: Vec::new(),
            client: Some(client.clone()),
            token: None,
            profiles: Vec::new(),
            log_level: "debug".to_owned(),
            names: Vec::new(),
            reports: false,
            extra: String::new(),
        }
    }

    /// The same with one more profile.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profiles.push(profile);
        self
    }

    /// The same with a token instead of the client certificate.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self.client = None;
        self
    }

    /// Writes the configuration and the files it names; gives its path.
    pub fn write(&self, dir: &TestDir) -> PathBuf {
        let dir = dir.subdir("agent");
        let mut text = String::from("config agent 'agent'\n");
        option(
            &mut text,
            "state_dir",
            &dir.subdir("state").path().display().to_string(),
        );
        option(&mut text, "run_dir", &dir.join("run").display().to_string());
        option(&mut text, "log", "stderr");
        option(&mut text, "log_level", &self.log_level);
        option(&mut text, "reports", if self.reports { "1" } else { "0" });
        let mut hosts = String::from("127.0.0.1 localhost gateway.test other.gateway.test\n");
        for name in &self.names {
            hosts += &format!("127.0.0.1 {name}\n");
        }
        option(
            &mut text,
            "hosts",
            &dir.write("hosts", hosts).display().to_string(),
        );
        if let Some(client) = &self.client {
            option(&mut text, "cert", &client.cert.display().to_string());
            option(&mut text, "key", &client.key.display().to_string());
        }
        text += "\nconfig uplink 'main'\n";
        for endpoint in &self.endpoints {
            list(&mut text, "endpoint", endpoint);
        }
        for host in &self.redirect_to {
            list(&mut text, "redirect_to", host);
        }
        if let Some(ca_file) = &self.ca_file {
            option(&mut text, "ca_file", &ca_file.display().to_string());
        }
        for pin in &self.pins {
            list(&mut text, "pin", pin);
        }
        if let Some(token) = &self.token {
            let path = dir.write_secret("uplink.token", token);
            option(&mut text, "token_file", &path.display().to_string());
        }
        for profile in &self.profiles {
            write_profile(&mut text, &dir, profile);
        }
        text += &self.extra;
        dir.write("lenscap", text)
    }
}

fn write_profile(text: &mut String, dir: &TestDir, profile: &Profile) {
    *text += &format!("\nconfig profile '{}'\n", profile.name);
    option(text, "rtsp", &profile.rtsp);
    if let Some(snapshot) = &profile.snapshot {
        option(text, "snapshot", snapshot);
    }
    if let Some((user, password)) = &profile.login {
        option(text, "user", user);
        let path = dir.write_secret(&format!("{}.password", profile.name), password);
        option(text, "password_file", &path.display().to_string());
    }
}

fn option(text: &mut String, name: &str, value: &str) {
    *text += &format!("\toption {name} '{value}'\n");
}

fn list(text: &mut String, name: &str, value: &str) {
    *text += &format!("\tlist {name} '{value}'\n");
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    config: PathBuf,
}

impl Agent {
    /// Writes the configuration and starts `lenscap run`.
    #[track_caller]
    pub fn start(dir: &TestDir, config: &AgentConfig) -> Self {
        let path = config.write(dir);
        Self {
            process: Process::start(dir, "agent", &run_command(&path)),
            config: path,
        }
    }

    /// The same on the camera's side of a cable.
    #[track_caller]
    pub fn start_on(dir: &TestDir, config: &AgentConfig, cable: &Cable) -> Self {
        let path = config.write(dir);
        let command = cable.on_camera(&run_command(&path));
        Self {
            process: Process::start(dir, "agent", &command),
            config: path,
        }
    }

    /// The processes the agent consists of: the one that was started, and, where it keeps its privileges from its
    /// network, the one with the network. At least one.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.process.pid()];
        pids.extend(stat::children(self.process.pid()));
        pids
    }

    /// The process with the network.
    pub fn network_pid(&self) -> u32 {
        self.pids().last().copied().unwrap_or_else(|| self.process.pid())
    }

    /// The configuration file in use.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Puts other text into the configuration file.
    pub fn overwrite_config(&self, text: &str) {
        fs::write(&self.config, text).expect("the configuration can be written");
    }

    /// SIGTERM, then its end: exit status 0 within [`STOP_LIMIT`].
    #[track_caller]
    pub fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait_exit(STOP_LIMIT);
        assert!(
            status.success(),
            "the agent ended with {status} after SIGTERM\n{}",
            self.process.log()
        );
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            discreet::assert_discreet("agent", &self.process.log());
        }
    }
}

/// `lenscap check` on a configuration file.
#[track_caller]
pub fn check(dir: &TestDir, config: &Path) -> Finished {
    let mut command = Command::new(tools::own("lenscap"));
    command.arg("check").arg("--config").arg(config);
    Process::run(dir, "check", &command, Duration::from_secs(10))
}

fn run_command(config: &Path) -> Command {
    let mut command = Command::new(tools::own("lenscap"));
    command.arg("run").arg("--config").arg(config);
    command
}
