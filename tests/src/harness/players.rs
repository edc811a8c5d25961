//! Viewers that are not ours: ffmpeg, ffprobe and GStreamer, each playing a URL for a while.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::dir::{TestDir, workspace_root};
use super::netns::Cable;
use super::process::Process;
use super::tools;

/// How long a viewer may take on top of the time it plays.
const MARGIN: Duration = Duration::from_secs(60);

/// What a viewer saw.
#[derive(Debug, Clone, Default)]
pub struct Played {
    /// Pictures (decoded, or packets where the viewer does not decode).
    pub video: u64,
    /// Audio frames or packets; 0 where the viewer does not count them.
    pub audio: u64,
    /// The video codec by the viewer's name of it.
    pub video_codec: String,
    /// RTP sequence numbers missing, where the viewer looks.
    pub gaps: u64,
    /// Access units with a piece missing, where the viewer looks.
    pub torn: u64,
    /// What it printed at level error.
    pub complaints: String,
}

/// ffmpeg that reads an RTSP URL over TCP and prints errors only; what it does with that is still to be said.
#[must_use]
pub fn ffmpeg_of(url: &str) -> Command {
    let mut command = Command::new(tools::outside("ffmpeg"));
    command.args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", url]);
    command
}

/// Plays with ffmpeg, decoding everything.
#[track_caller]
pub fn ffmpeg(dir: &TestDir, url: &str, seconds: u64) -> Played {
    run_ffmpeg(dir, url, seconds, |command| command)
}

/// The same on the gateway's side of a cable.
#[track_caller]
pub fn ffmpeg_on(dir: &TestDir, url: &str, seconds: u64, cable: &Cable) -> Played {
    run_ffmpeg(dir, url, seconds, |command| cable.on_gateway(&command))
}

#[track_caller]
fn run_ffmpeg(dir: &TestDir, url: &str, seconds: u64, place: impl FnOnce(Command) -> Command) -> Played {
    let mut command = ffmpeg_of(url);
    command.args(["-t", &seconds.to_string()]);
    command.args(["-map", "0", "-f", "null", "-progress", "pipe:1", "-"]);
    let limit = Duration::from_secs(seconds) + MARGIN;
    let finished = Process::run(dir, "ffmpeg", &place(command), limit).success("ffmpeg");
    let video = finished
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("frame="))
        .filter_map(|count| count.trim().parse().ok())
        .max()
        .unwrap_or(0);
    Played {
        video,
        complaints: finished.stderr,
        ..Played::default()
    }
}

/// Reads with ffprobe, counting packets.
#[track_caller]
pub fn ffprobe(dir: &TestDir, url: &str, seconds: u64) -> Played {
    let mut command = Command::new(tools::outside("ffprobe"));
    command
        .args([
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-read_intervals",
            &format!("%+{seconds}"),
        ])
        .args([
            "-count_packets",
            "-show_entries",
            "stream=codec_type,codec_name,width,height,nb_read_packets",
        ])
        .args(["-of", "json", url]);
    let limit = Duration::from_secs(seconds) + MARGIN;
    let finished = Process::run(dir, "ffprobe", &command, limit).success("ffprobe");
    let report: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("ffprobe printed no JSON ({error}): {}", finished.stdout));
    let streams = report["streams"].as_array().cloned().unwrap_or_default();
    let of = |kind: &str| {
        streams
            .iter()
            .find(|stream| stream["codec_type"] == kind)
            .cloned()
            .unwrap_or_default()
    };
    let packets = |stream: &Value| {
        stream["nb_read_packets"]
            .as_str()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    let (video, audio) = (of("video"), of("audio"));
    Played {
        video: packets(&video),
        audio: packets(&audio),
        video_codec: video["codec_name"].as_str().unwrap_or_default().to_owned(),
        complaints: finished.stderr,
        ..Played::default()
    }
}

/// Plays with GStreamer's `rtspsrc protocols=tcp`, decoding everything; its jitter buffers look for gaps.
#[track_caller]
pub fn gstreamer(dir: &TestDir, url: &str, seconds: u64) -> Played {
    let mut command = Command::new(tools::system_python());
    command
        .arg(workspace_root().join("tests/gst/play.py"))
        .arg(url)
        .arg(seconds.to_string());
    let limit = Duration::from_secs(seconds) + MARGIN;
    let finished = Process::run(dir, "gst-play", &command, limit);
    let report: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("play.py printed no JSON ({error}): {}", finished.output()));
    let count = |name: &str| {
        report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name}: {report}"))
    };
    assert_eq!(count("tracks"), 2, "a jitter buffer for each track: {report}");
    let complaints = report["complaints"].as_array().into_iter().flatten();
    Played {
        video: count("video"),
        audio: count("audio"),
        gaps: count("num-lost") + count("num-late") + count("num-duplicates"),
        complaints: complaints.map(|line| format!("{line}\n")).collect(),
        ..Played::default()
    }
}

/// Decodes a file with ffmpeg, stopping at the first error; gives what it printed, which is nothing when all is well.
#[track_caller]
pub fn decode_strictly(dir: &TestDir, file: &std::path::Path, format: &str) -> String {
    let mut command = Command::new(tools::outside("ffmpeg"));
    command
        .args([
            "-nostdin",
            "-v",
            "error",
            "-xerror",
            "-err_detect",
            "explode",
            "-f",
            format,
            "-i",
        ])
        .arg(file)
        .args(["-f", "null", "-"]);
    let finished = Process::run(dir, "ffmpeg-decode", &command, Duration::from_secs(120));
    let mut said = finished.output();
    if !finished.status.success() {
        said += &format!("(ffmpeg: {})", finished.status);
    }
    said
}

/// Plays with retina, a strict client; `url` has no credentials, the login is given apart.
#[track_caller]
pub fn retina(dir: &TestDir, url: &str, login: (&str, &str), seconds: u64) -> Played {
    let password = dir.write_secret("retina-play.password", login.1);
    let mut command = Command::new(tools::own("retina-play"));
    command
        .arg(url)
        .args(["--user", login.0, "--password-file"])
        .arg(password);
    command.args(["--seconds", &seconds.to_string()]);
    let limit = Duration::from_secs(seconds) + MARGIN;
    let finished = Process::run(dir, "retina-play", &command, limit);
    let report: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("retina-play printed no JSON ({error}): {}", finished.output()));
    assert_eq!(report["ok"], true, "retina: {report}");
    let streams = report["streams"].as_array().cloned().unwrap_or_default();
    let frames = |media: &str| {
        let stream = streams.iter().find(|stream| stream["media"] == media);
        stream.and_then(|stream| stream["frames"].as_u64()).unwrap_or(0)
    };
    Played {
        video: frames("video"),
        audio: frames("audio"),
        gaps: report["loss"].as_u64().unwrap_or(u64::MAX),
        ..Played::default()
    }
}

/// Looks at every RTP packet with `rtp-sink`; `url` has no credentials, the login is given apart.
#[track_caller]
pub fn rtp_sink(dir: &TestDir, url: &str, login: (&str, &str), seconds: u64) -> Played {
    let report = rtp_sink_report(dir, url, login, &["--seconds", &seconds.to_string()]);
    assert_eq!(report["ok"], true, "rtp-sink: {report}");
    played_of(&report)
}

/// The whole report of an `rtp-sink` with these further arguments, played well or not.
#[track_caller]
pub fn rtp_sink_report(dir: &TestDir, url: &str, login: (&str, &str), args: &[&str]) -> Value {
    let password = dir.write_secret("rtp-sink.password", login.1);
    let mut command = Command::new(tools::own("rtp-sink"));
    command
        .arg(url)
        .args(["--user", login.0, "--password-file"])
        .arg(password)
        .args(args);
    let finished = Process::run(dir, "rtp-sink", &command, MARGIN * 4);
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("rtp-sink printed no JSON ({error}): {}", finished.output()))
}

/// The figures of a report of `rtp-sink`.
pub fn played_of(report: &Value) -> Played {
    let tracks = report["tracks"].as_array().cloned().unwrap_or_default();
    let sum = |name: &str| tracks.iter().filter_map(|track| track[name].as_u64()).sum();
    let of = |media: &str, name: &str| {
        let track = tracks.iter().find(|track| track["media"] == media);
        track.and_then(|track| track[name].as_u64()).unwrap_or(0)
    };
    Played {
        video: of("video", "access_units"),
        audio: of("audio", "packets"),
        gaps: sum("gaps") + sum("reordered"),
        torn: sum("torn"),
        complaints: report["error"].as_str().unwrap_or_default().to_owned(),
        ..Played::default()
    }
}
