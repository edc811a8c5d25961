//! An endpoint, which carries no media itself, and its streamers: programs that can be killed and started again.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::dir::TestDir;
use super::process::{Process, START_LIMIT};
use super::{gateway, tools, wait};

/// The fleet's viewer.
pub const VIEWER: &str = "carol";

/// Runs a command of the gateway's; gives what it printed.
#[track_caller]
pub fn ask(place: &[&str], words: &str) -> String {
    let mut command = Command::new(tools::own("lenscap-gateway"));
    command.args(words.split(' ')).args(place);
    printed(&mut command, words)
}

/// Runs a command of the camera's program; gives what it printed.
#[track_caller]
pub fn on_camera(config: &Path, words: &str) -> String {
    let mut command = Command::new(tools::own("lenscap"));
    command.args(words.split(' ')).arg("--config").arg(config);
    printed(&mut command, words)
}

#[track_caller]
fn printed(command: &mut Command, words: &str) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it can be started");
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(
        output.status.success(),
        "{words} failed ({})\n{out}\n{err}",
        output.status
    );
    out
}

/// What `camera list` says of a camera by this name, or one that waits with this serial.
#[track_caller]
pub fn camera(place: &[&str], name: &str) -> Value {
    let list: Value = serde_json::from_str(&ask(place, "camera list --json")).unwrap();
    let of = |kind: &str, key: &str| {
        let list = list[kind].as_array().unwrap();
        list.iter().find(|camera| camera[key] == name).cloned()
    };
    of("cameras", "name")
        .or(of("pending", "serial"))
        .unwrap_or_default()
}

/// Adds [`VIEWER`] with these options; gives its password.
#[track_caller]
pub fn add_viewer(place: &[&str], options: &str) -> String {
    let added = ask(place, &format!("viewer add {VIEWER} --json{options}"));
    let added: Value = serde_json::from_str(&added).unwrap();
    added["password"].as_str().unwrap().to_owned()
}

/// Claims the camera of this serial for the account `home`, with the PIN that somebody types.
#[track_caller]
pub fn claim_by_pin(place: &[&str], serial: &str, name: &str, pin: &str) {
    let mut child = Command::new(tools::own("lenscap-gateway"))
        .args([
            "camera",
            "claim",
            "--serial",
            serial,
            "--name",
            name,
            "--account",
            "home",
        ])
        .args(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{pin}").unwrap();
    let status = wait::until("the claim", START_LIMIT, || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

/// What lets streamers in.
pub const JOIN_TOKEN: &str = "join-token-0123456789";

/// A gateway of the fleet, with a certificate by the fleet's authority.
#[derive(Debug)]
pub struct Member {
    dir: TestDir,
    name: String,
    config: PathBuf,
    text: String,
    log_level: String,
    /// The process.
    pub process: Process,
    /// `HOST:PORT` that cameras dial.
    pub uplink: String,
    /// `HOST:PORT` of RTSP.
    pub rtsp: String,
}

impl Member {
    #[track_caller]
    fn start(dir: &TestDir, ca: &Path, name: &str, section: &str, log_level: &str) -> Self {
        let folder = dir.subdir(name);
        let out = folder.join("gateway").display().to_string();
        let place = ca.display().to_string();
        ask(&["--data", &place], &format!("ca issue localhost --out {out}"));
        folder.write_secret("join.token", JOIN_TOKEN);
        let text = format!(
            "data = \"data\"\n[uplink]\nlisten = \"UPLINK\"\ncert = \"gateway.pem\"\nkey = \"gateway.key\"\n\
             [rtsp]\nlisten = \"RTSP\"\n{section}uplink_url = \"https://localhost:0/onvif/uplink\"\n\
             rtsp_url = \"rtsp://localhost:0\"\njoin_token_file = \"join.token\"\n"
        );
        let any = "127.0.0.1:0";
        let config = folder.write("gateway.toml", with_addresses(&text, any, any));
        let (process, uplink, rtsp) = spawn(dir, name, &config, log_level);
        // From now on the same ports again.
        folder.write("gateway.toml", with_addresses(&text, &uplink, &rtsp));
        Self {
            dir: dir.clone(),
            name: name.to_owned(),
            config,
            text,
            log_level: log_level.to_owned(),
            process,
            uplink,
            rtsp,
        }
    }

    /// Its configuration file.
    pub fn config(&self) -> String {
        self.config.display().to_string()
    }

    /// Its name among streamers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills it, as when its machine loses power.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same ports.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process.kill();
        let text = with_addresses(&self.text, &self.uplink, &self.rtsp);
        std::fs::write(&self.config, text).expect("its configuration can be written");
        (self.process, ..) = spawn(&self.dir, &self.name, &self.config, &self.log_level);
    }
}

fn with_addresses(text: &str, uplink: &str, rtsp: &str) -> String {
    text.replace("UPLINK", uplink).replace("RTSP", rtsp)
}

#[track_caller]
fn spawn(dir: &TestDir, name: &str, config: &Path, log_level: &str) -> (Process, String, String) {
    let mut command = Command::new(tools::own("lenscap-gateway"));
    command
        .args(["run", "--log-level", log_level, "--config"])
        .arg(config);
    let mut process = Process::start(dir, name, &command);
    let listening = process.wait_event("listening", START_LIMIT);
    let address = |name: &str| listening[name].as_str().unwrap().to_owned();
    let (uplink, rtsp) = (address("uplink"), address("rtsp"));
    (process, uplink, rtsp)
}

/// An endpoint and its streamers.
#[derive(Debug)]
pub struct Fleet {
    dir: TestDir,
    /// The endpoint.
    pub endpoint: Member,
    /// The streamers.
    pub streamers: Vec<Member>,
    /// The authority behind all their certificates.
    pub ca_file: PathBuf,
}

impl Fleet {
    /// Starts an endpoint and streamers of these names, and waits until they have joined.
    #[track_caller]
    pub fn start(dir: &TestDir, names: &[&str]) -> Self {
        Self::start_logging(dir, names, "info")
    }

    /// The same with another log level.
    #[track_caller]
    pub fn start_logging(dir: &TestDir, names: &[&str], log_level: &str) -> Self {
        let ca = dir.join("ca");
        ask(&["--data", &ca.display().to_string()], "ca init");
        let endpoint = Member::start(dir, &ca, "endpoint", "[endpoint]\ncapacity = 0\n", log_level);
        let port = gateway::port_of(&endpoint.uplink);
        let ca_file = ca.join("ca.pem");
        let streamers = names.iter().map(|name| {
            let section = format!(
                "[streamer]\nname = \"{name}\"\nendpoint = \"localhost:{port}\"\nendpoint_ca = {ca_file:?}\n"
            );
            Member::start(dir, &ca, name, &section, log_level)
        });
        let mut fleet = Self {
            dir: dir.clone(),
            streamers: streamers.collect(),
            endpoint,
            ca_file,
        };
        for index in 0..names.len() {
            fleet.wait_joined(index);
        }
        fleet
    }

    /// Waits until this streamer has joined the endpoint since it was started last.
    #[track_caller]
    pub fn wait_joined(&mut self, index: usize) {
        let joined = |line: &str| line.contains("joined the endpoint");
        self.streamers[index]
            .process
            .wait_log("the endpoint", START_LIMIT, joined);
    }

    /// Where commands for the endpoint act.
    #[track_caller]
    pub fn ask(&self, words: &str) -> String {
        ask(&["--config", &self.endpoint.config()], words)
    }

    /// What the endpoint knows of a camera.
    #[track_caller]
    pub fn camera(&self, name: &str) -> Value {
        camera(&["--config", &self.endpoint.config()], name)
    }

    /// The streamer that has this camera by the word of the endpoint, unless it is `not`.
    #[track_caller]
    pub fn streamer_of(&self, name: &str, not: &str) -> Option<String> {
        let camera = self.camera(name);
        let at = camera["streamer"].as_str()?;
        (at != not).then(|| at.to_owned())
    }

    /// Adds [`VIEWER`]; gives its password.
    #[track_caller]
    pub fn add_viewer(&self) -> String {
        add_viewer(&["--config", &self.endpoint.config()], "")
    }

    /// Lets cameras in by serial: `SERIAL,NAME` a line.
    #[track_caller]
    pub fn import(&self, lines: &str) {
        let list = self.dir.write("list.csv", format!("serial,name\n{lines}"));
        self.ask(&format!("camera import {}", list.display()));
    }

    /// The configuration of a camera of this fleet, for [`camera_config`].
    pub fn uplink_section(&self) -> String {
        format!(
            "config uplink 'main'\n\toption endpoint 'https://localhost:{}/onvif/uplink'\n\
             \tlist redirect_to 'localhost'\n\toption ca_file '{}'",
            gateway::port_of(&self.endpoint.uplink),
            self.ca_file.display()
        )
    }
}

/// The configuration of a camera's program, with these lines instead of a `config uplink` of the harness'.
pub fn camera_config(dir: &TestDir, serial: &str, uplink: &str, profile: &str) -> PathBuf {
    let folder = dir.subdir("agent");
    let text = format!(
        "config agent\n\toption state_dir '{}'\n\toption run_dir '{}'\n\toption serial '{serial}'\n\
         \toption reports '0'\n\
         {uplink}\nconfig profile 'main'\n\toption rtsp '{profile}'\n",
        folder.subdir("state").path().display(),
        folder.join("run").display(),
    );
    folder.write("lenscap", text)
}

/// Starts the camera's program with a configuration file.
#[track_caller]
pub fn camera_program(dir: &TestDir, config: &Path) -> Process {
    let mut command = Command::new(tools::own("lenscap"));
    command.arg("run").arg("--config").arg(config);
    Process::start(dir, "agent", &command)
}

/// How long a claimed camera may take to come: an agent asks again within 10 s of being told to wait, and back-off may
/// add some.
pub const CLAIMED_LIMIT: Duration = Duration::from_secs(40);
