//! Cameras: simcam with any quirk, and GStreamer's RTSP server, each with an event log.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::agent::Profile;
use super::dir::{TestDir, workspace_root};
use super::netns::Cable;
use super::process::{Process, START_LIMIT};
use super::{media, tools, wait};
pub use crate::annexb::Codec;

/// The user every test camera knows.
pub const USER: &str = "camuser";
/// Its password: distinctive, so that a leak is found.
pub const PASSWORD: &str = "Camera-Secret-8d2f4b";
/// How long a TEARDOWN may take from a viewer's end to the camera.
pub const TEARDOWN_LIMIT: Duration = Duration::from_secs(10);
/// Bit rate of the files simcam plays unless a test wants another.
pub const BITRATE: u64 = 1_000_000;

/// A running camera.
#[derive(Debug)]
pub struct Camera {
    /// The process.
    pub process: Process,
    /// `HOST:PORT` of RTSP.
    pub rtsp: String,
    /// `HOST:PORT` of the snapshot, where it has one.
    pub http: String,
    /// The path of its profile, with leading slash.
    pub path: String,
    events: PathBuf,
    login: bool,
}

/// simcam's options, with defaults that play.
#[derive(Debug, Clone)]
pub struct Simcam {
    args: Vec<String>,
    auth: &'static str,
}

impl Simcam {
    /// A file of this codec, with G.711 audio, behind Digest (MD5).
    pub fn playing(codec: Codec) -> Self {
        Self::file(codec, BITRATE).audio()
    }

    /// A file of this codec and bit rate, no audio.
    pub fn file(codec: Codec, bits_per_second: u64) -> Self {
        let file = media::video(codec, bits_per_second);
        Self::empty()
            .arg("--video")
            .arg(&file.display().to_string())
            .arg("--fps")
            .arg(&media::FPS.to_string())
    }

    /// Synthetic pictures that carry the time they were made.
    pub fn synthetic(codec: Codec, bits_per_second: u64) -> Self {
        let name = codec.rtp_name().to_lowercase();
        Self::empty()
            .arg("--synthetic")
            .arg("--codec")
            .arg(&name)
            .arg("--bitrate")
            .arg(&bits_per_second.to_string())
    }

    /// Adds the audio track.
    pub fn audio(self) -> Self {
        self.arg("--audio").arg("pcmu")
    }

    /// Adds a snapshot.
    pub fn snapshot(self) -> Self {
        let file = media::jpeg();
        self.arg("--snapshot").arg(&file.display().to_string())
    }

    /// Adds a quirk, `NAME` or `NAME=ARG`.
    pub fn quirk(self, quirk: &str) -> Self {
        self.arg("--quirk").arg(quirk)
    }

    /// `none`, `basic`, `digest-md5` or `digest-sha256`.
    pub fn auth(mut self, auth: &'static str) -> Self {
        self.auth = auth;
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn start(&self, dir: &TestDir) -> Camera {
        self.start_command(dir, |command| command)
    }

    /// Starts it on the camera's side of a cable.
    #[track_caller]
    pub fn start_on(&self, dir: &TestDir, cable: &Cable) -> Camera {
        self.start_command(dir, |command| cable.on_camera(&command))
    }

    fn empty() -> Self {
        Self {
            args: Vec::new(),
            auth: "digest-md5",
        }
    }

    #[track_caller]
    fn start_command(&self, dir: &TestDir, place: impl FnOnce(Command) -> Command) -> Camera {
        let events = unused(dir, "simcam.events");
        let mut command = Command::new(tools::own("simcam"));
        command
            .args(&self.args)
            .arg("--events")
            .arg(&events)
            .args(["--auth", self.auth]);
        let login = self.auth != "none";
        if login {
            let password = dir.write_secret("simcam.password", PASSWORD);
            command.args(["--user", USER, "--password-file"]).arg(password);
        }
        let mut process = Process::start(dir, "simcam", &place(command));
        let event = process.wait_event("listening", START_LIMIT);
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (rtsp, http) = (field("rtsp"), field("http"));
        Camera {
            process,
            rtsp,
            http,
            path: "/stream".to_owned(),
            events,
            login,
        }
    }
}

impl Camera {
    /// GStreamer's RTSP server with Digest, a test picture in this codec, and audio.
    #[track_caller]
    pub fn gstreamer(dir: &TestDir, codec: Codec) -> Self {
        let events = unused(dir, "gst-camera.events");
        let password = dir.write_secret("gst-camera.password", PASSWORD);
        let mut command = Command::new(tools::system_python());
        command
            .arg(workspace_root().join("tests/gst/camera.py"))
            .args(["--codec", &codec.rtp_name().to_lowercase()])
            // Both kinds of sound get their turn.
            .args(["--audio", if codec == Codec::H264 { "pcmu" } else { "aac" }])
            .args(["--user", USER, "--password-file"])
            .arg(password)
            .arg("--events")
            .arg(&events);
        let mut process = Process::start(dir, "gst-camera", &command);
        let event = process.wait_event("listening", START_LIMIT);
        let rtsp = event["rtsp"].as_str().unwrap_or_default().to_owned();
        let path = event["path"].as_str().unwrap_or("/stream").to_owned();
        Self {
            process,
            rtsp,
            http: String::new(),
            path,
            events,
            login: true,
        }
    }

    /// The profile section that an agent needs for this camera.
    pub fn profile(&self, name: &str) -> Profile {
        Profile {
            name: name.to_owned(),
            rtsp: format!("rtsp://{}{}", self.rtsp, self.path),
            snapshot: (!self.http.is_empty()).then(|| format!("http://{}/image.jpg", self.http)),
            login: self.login.then(|| (USER.to_owned(), PASSWORD.to_owned())),
        }
    }

    /// The URL for a viewer that pulls directly.
    pub fn direct_url(&self) -> String {
        if self.login {
            format!("rtsp://{USER}:{PASSWORD}@{}{}", self.rtsp, self.path)
        } else {
            format!("rtsp://{}{}", self.rtsp, self.path)
        }
    }

    /// The same without credentials.
    pub fn plain_url(&self) -> String {
        format!("rtsp://{}{}", self.rtsp, self.path)
    }

    /// All events of this kind so far.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["event"] == kind)
            .collect()
    }

    /// Waits until `count` events of this kind are there.
    #[track_caller]
    pub fn wait_events(&self, kind: &str, count: usize, limit: Duration) -> Vec<Value> {
        wait::until(&format!("{count} {kind:?} events at the camera"), limit, || {
            let events = self.events(kind);
            (events.len() >= count).then_some(events)
        })
    }

    /// Waits until `count` sessions were ended in order.
    #[track_caller]
    pub fn wait_teardowns(&self, count: usize) {
        self.wait_events("teardown", count, TEARDOWN_LIMIT);
    }

    /// How often a write to a client found its socket full, over all connections that have ended.
    pub fn eagain_count(&self) -> u64 {
        let ended: u64 = self
            .events("closed")
            .iter()
            .filter_map(|event| event["eagain"].as_u64())
            .sum();
        ended.max(self.events("eagain").len() as u64)
    }
}

fn unused(dir: &TestDir, name: &str) -> PathBuf {
    (1..100)
        .map(|n| {
            dir.join(&if n == 1 {
                name.to_owned()
            } else {
                format!("{name}.{n}")
            })
        })
        .find(|path| !path.exists())
        .expect("a test starts fewer than a hundred cameras")
}
