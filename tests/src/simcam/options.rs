//! Command line of simcam.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use crate::annexb::Codec;

/// A scriptable RTSP camera: plays a recorded or synthetic stream as live video, with the quirks of
/// real cameras by choice.
///
/// Prints one JSON line with its addresses, then serves until SIGTERM.
#[derive(Clone, Debug, Parser)]
#[command(name = "simcam")]
pub struct Options {
    /// RTSP address; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// HTTP address of the snapshot.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub http_listen: SocketAddr,
    /// Address of the credit port of --bulk.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub bulk_listen: SocketAddr,
    /// Path of the profile that the media options describe.
    #[arg(long, default_value = "/stream")]
    pub path: String,
    /// Annex B stream without B pictures, played in a loop (.h264 or .h265).
    #[arg(long)]
    pub video: Option<PathBuf>,
    /// Frames per second, a number or a fraction such as 30000/1001.
    #[arg(long, default_value = "25")]
    pub fps: String,
    /// Audio track.
    #[arg(long, value_enum, default_value = "none")]
    pub audio: Audio,
    /// Synthetic pictures with counter and send time instead of a file.
    #[arg(long, conflicts_with = "video")]
    pub synthetic: bool,
    /// Bit rate of the synthetic stream (4M, 500k).
    #[arg(long, default_value = "4M")]
    pub bitrate: String,
    /// Pictures from one random access point of the synthetic stream to the next.
    #[arg(long, default_value_t = 50)]
    pub gop: u32,
    /// Codec: of the synthetic stream, or of a file whose name does not tell.
    #[arg(long)]
    pub codec: Option<String>,
    /// A further profile: PATH:key=value,... with video, fps, audio, synthetic, bitrate, gop, codec.
    #[arg(long = "profile")]
    pub profiles: Vec<String>,
    /// Authentication for RTSP and for the snapshot.
    #[arg(long, value_enum, default_value = "none")]
    pub auth: AuthKind,
    /// Offer qop="auth" in Digest challenges.
    #[arg(long)]
    pub qop: bool,
    /// User name.
    #[arg(long, default_value = "camera")]
    pub user: String,
    /// File with the password.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
    /// Realm of challenges.
    #[arg(long, default_value = "simcam")]
    pub realm: String,
    /// JPEG served as the snapshot.
    #[arg(long)]
    pub snapshot: Option<PathBuf>,
    /// Path of the snapshot.
    #[arg(long, default_value = "/image.jpg")]
    pub snapshot_path: String,
    /// Sessions at the same moment; one more is answered 453.
    #[arg(long, default_value_t = 16)]
    pub max_sessions: usize,
    /// Seconds without an RTSP request after which a session is closed.
    #[arg(long, default_value_t = 60)]
    pub session_timeout: u64,
    /// NAME or NAME=ARG, may be repeated; `--quirk help` lists them.
    #[arg(long = "quirk")]
    pub quirks: Vec<String>,
    /// Send as fast as the receiver credits bytes on the bulk port.
    #[arg(long)]
    pub bulk: bool,
    /// KiB in flight with --bulk.
    #[arg(long, default_value_t = 1024)]
    pub bulk_window: u64,
    /// File for the event log, JSON lines.
    #[arg(long)]
    pub events: Option<PathBuf>,
    /// Seed for SSRCs and first sequence numbers; the same seed gives the same packets.
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// Largest RTP payload.
    #[arg(long, default_value_t = 1400)]
    pub mtu: usize,
}

/// Audio track of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Audio {
    /// No audio.
    None,
    /// A 440 Hz tone in G.711 µ-law, 20 ms packets.
    Pcmu,
}

/// Authentication scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthKind {
    /// Open.
    None,
    /// Basic.
    Basic,
    /// Digest with MD5.
    DigestMd5,
    /// Digest with SHA-256.
    DigestSha256,
}

/// Names of quirks with what each does.
pub const QUIRKS: &[(&str, &str)] = &[
    (
        "absolute-control",
        "absolute control URLs, Content-Base and RTP-Info with a LAN address and a query",
    ),
    ("no-session-timeout", "Session header without timeout"),
    (
        "nonce-change",
        "every third authorised request invalidates the nonce, stale=true; =fresh sends no stale",
    ),
    ("text-between-frames", "a line of text between interleaved frames"),
    (
        "partial-write-corruption",
        "when its socket blocks in mid-frame, the rest of the frame is dropped",
    ),
    ("no-interleaved", "Transport reply without interleaved="),
    ("other-channels", "answers channels four above those asked for"),
    (
        "close-midstream",
        "=SECONDS: closes the connection that long after PLAY",
    ),
    (
        "stall",
        "=SECONDS: stops sending that long after PLAY, without closing",
    ),
    ("bare-lf", "lines end in LF alone"),
    (
        "folded-header",
        "headers continued on a second line, one of them empty",
    ),
    ("udp-only", "461 to interleaved transport"),
    ("get-parameter-closes", "GET_PARAMETER closes the connection"),
    (
        "public-without-get-parameter",
        "GET_PARAMETER neither offered nor known",
    ),
    ("refuses-password", "every password is wrong"),
    ("garbage", "answers requests with bytes that are no RTSP"),
    ("no-reason", "status lines without a reason"),
    (
        "stale-sessions",
        "=SECONDS (65): a session without TEARDOWN keeps its place that long",
    ),
    ("snapshot-chunked", "snapshot in chunked transfer coding"),
    ("snapshot-oversize", "a snapshot that never ends"),
    ("snapshot-stall", "the snapshot request is never answered"),
];

/// Parsed quirks.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, clippy::struct_excessive_bools)] // QUIRKS documents each by its name
pub struct Quirks {
    pub absolute_control: bool,
    pub no_session_timeout: bool,
    pub nonce_change: Option<NonceChange>,
    pub text_between_frames: bool,
    pub partial_write_corruption: bool,
    pub no_interleaved: bool,
    pub other_channels: bool,
    pub close_midstream: Option<Duration>,
    pub stall: Option<Duration>,
    pub bare_lf: bool,
    pub folded_header: bool,
    pub udp_only: bool,
    pub get_parameter_closes: bool,
    pub public_without_get_parameter: bool,
    pub refuses_password: bool,
    pub garbage: bool,
    pub no_reason: bool,
    pub stale_sessions: Option<Duration>,
    pub snapshot_chunked: bool,
    pub snapshot_oversize: bool,
    pub snapshot_stall: bool,
}

/// How a changed nonce is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceChange {
    /// With `stale=true`.
    Stale,
    /// As if the password were wrong.
    Fresh,
}

impl Quirks {
    /// Parses `NAME` and `NAME=ARG`.
    pub fn parse(specs: &[String]) -> Result<Self> {
        let mut quirks = Self::default();
        for spec in specs {
            let (name, arg) = spec
                .split_once('=')
                .map_or((spec.as_str(), None), |(n, a)| (n, Some(a)));
            quirks.set(name, arg)?;
        }
        Ok(quirks)
    }

    fn set(&mut self, name: &str, arg: Option<&str>) -> Result<()> {
        match name {
            "absolute-control" => self.absolute_control = true,
            "no-session-timeout" => self.no_session_timeout = true,
            "nonce-change" => {
                self.nonce_change = Some(match arg {
                    None | Some("stale") => NonceChange::Stale,
                    Some("fresh") => NonceChange::Fresh,
                    Some(other) => bail!("nonce-change={other}: stale or fresh"),
                });
            }
            "text-between-frames" => self.text_between_frames = true,
            "partial-write-corruption" => self.partial_write_corruption = true,
            "no-interleaved" => self.no_interleaved = true,
            "other-channels" => self.other_channels = true,
            "close-midstream" => self.close_midstream = Some(seconds(name, arg, None)?),
            "stall" => self.stall = Some(seconds(name, arg, None)?),
            "bare-lf" => self.bare_lf = true,
            "folded-header" => self.folded_header = true,
            "udp-only" => self.udp_only = true,
            "get-parameter-closes" => self.get_parameter_closes = true,
            "public-without-get-parameter" => self.public_without_get_parameter = true,
            "refuses-password" => self.refuses_password = true,
            "garbage" => self.garbage = true,
            "no-reason" => self.no_reason = true,
            "stale-sessions" => self.stale_sessions = Some(seconds(name, arg, Some(65.0))?),
            "snapshot-chunked" => self.snapshot_chunked = true,
            "snapshot-oversize" => self.snapshot_oversize = true,
            "snapshot-stall" => self.snapshot_stall = true,
            _ => bail!("unknown quirk {name}; known are: {}", quirk_names()),
        }
        Ok(())
    }
}

fn quirk_names() -> String {
    QUIRKS
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn seconds(name: &str, arg: Option<&str>, default: Option<f64>) -> Result<Duration> {
    let value = match (arg, default) {
        (Some(text), _) => text
            .parse::<f64>()
            .with_context(|| format!("--quirk {name}={text}"))?,
        (None, Some(value)) => value,
        (None, None) => bail!("--quirk {name} needs =SECONDS"),
    };
    Duration::try_from_secs_f64(value).with_context(|| format!("--quirk {name}={value}"))
}

/// Frames per second as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// Frames in `den` seconds.
    pub num: u32,
    /// Seconds.
    pub den: u32,
}

/// Where the video of a profile comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoSpec {
    /// An Annex B file.
    File {
        /// The file.
        path: PathBuf,
        /// Its codec.
        codec: Codec,
    },
    /// Synthetic pictures.
    Synthetic {
        /// Codec of the NAL headers.
        codec: Codec,
        /// Bits per second.
        bitrate: u64,
        /// Pictures per random access point.
        gop: u32,
    },
}

/// One profile as the command line describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSpec {
    /// Path in the RTSP URL, with leading slash.
    pub path: String,
    /// Frame rate of the video.
    pub fps: FrameRate,
    /// Video track.
    pub video: Option<VideoSpec>,
    /// Audio track.
    pub audio: Audio,
}

#[derive(Clone, Debug, Default)]
struct Raw {
    video: Option<PathBuf>,
    fps: Option<String>,
    audio: Option<Audio>,
    synthetic: bool,
    bitrate: Option<String>,
    gop: Option<u32>,
    codec: Option<String>,
}

impl Options {
    /// All profiles: the one of the plain options, when they name media, then those of `--profile`.
    pub fn profile_specs(&self) -> Result<Vec<ProfileSpec>> {
        let mut specs = Vec::new();
        if self.video.is_some() || self.synthetic || self.audio != Audio::None {
            let raw = Raw {
                video: self.video.clone(),
                fps: Some(self.fps.clone()),
                audio: Some(self.audio),
                synthetic: self.synthetic,
                bitrate: Some(self.bitrate.clone()),
                gop: Some(self.gop),
                codec: self.codec.clone(),
            };
            specs.push(raw.resolve(&self.path)?);
        }
        for text in &self.profiles {
            specs.push(parse_profile(text).with_context(|| format!("--profile {text}"))?);
        }
        if specs.is_empty() && self.snapshot.is_none() {
            bail!("nothing to serve: give --video, --synthetic, --audio, --profile or --snapshot");
        }
        Ok(specs)
    }
}

fn parse_profile(text: &str) -> Result<ProfileSpec> {
    let (path, rest) = text.split_once(':').context("PATH:key=value,... expected")?;
    let mut raw = Raw::default();
    for item in rest.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        match key {
            "video" => raw.video = Some(PathBuf::from(value)),
            "fps" => raw.fps = Some(value.to_owned()),
            "audio" => raw.audio = Some(Audio::from_str(value, true).map_err(anyhow::Error::msg)?),
            "synthetic" => raw.synthetic = true,
            "bitrate" => raw.bitrate = Some(value.to_owned()),
            "gop" => raw.gop = Some(value.parse()?),
            "codec" => raw.codec = Some(value.to_owned()),
            _ => bail!("unknown key {key}"),
        }
    }
    raw.resolve(path)
}

impl Raw {
    fn resolve(self, path: &str) -> Result<ProfileSpec> {
        let named = match &self.codec {
            Some(name) => {
                Some(Codec::from_name(name).with_context(|| format!("codec {name}: h264 or h265"))?)
            }
            None => None,
        };
        let video = match self.video {
            Some(file) => {
                let by_name = file
                    .extension()
                    .and_then(|e| e.to_str())
                    .and_then(Codec::from_name);
                let codec = by_name
                    .or(named)
                    .context("name the file .h264 or .h265, or give --codec")?;
                Some(VideoSpec::File { path: file, codec })
            }
            None if self.synthetic => Some(VideoSpec::Synthetic {
                codec: named.unwrap_or(Codec::H264),
                bitrate: parse_bitrate(self.bitrate.as_deref().unwrap_or("4M"))?,
                gop: self.gop.unwrap_or(50).max(1),
            }),
            None => None,
        };
        let fps = parse_fps(self.fps.as_deref().unwrap_or("25"))?;
        let path = format!("/{}", path.trim_start_matches('/'));
        Ok(ProfileSpec {
            path,
            fps,
            video,
            audio: self.audio.unwrap_or(Audio::None),
        })
    }
}

fn parse_bitrate(text: &str) -> Result<u64> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1_000.0),
        Some((at, 'M' | 'm')) => (text.get(..at), 1_000_000.0),
        _ => (Some(text), 1.0),
    };
    let value: f64 = digits
        .unwrap_or_default()
        .parse()
        .with_context(|| format!("bit rate {text}"))?;
    Ok((value * factor) as u64)
}

fn parse_fps(text: &str) -> Result<FrameRate> {
    let (num, den) = text.split_once('/').unwrap_or((text, "1"));
    let rate = FrameRate {
        num: num.parse()?,
        den: den.parse()?,
    };
    if rate.num == 0 || rate.den == 0 || rate.num / rate.den > 1000 {
        bail!("frames per second {text}: more than 0, at most 1000");
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_quirk_parses() {
        for (name, _) in QUIRKS {
            let spec = if ["close-midstream", "stall"].contains(name) {
                format!("{name}=1.5")
            } else {
                (*name).to_owned()
            };
            Quirks::parse(&[spec]).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert!(Quirks::parse(&["nothing".into()]).is_err());
        assert!(Quirks::parse(&["stall".into()]).is_err());
    }

    #[test]
    fn profiles_parse() {
        let spec = parse_profile("sub:synthetic,codec=h265,bitrate=500k,fps=30000/1001,audio=pcmu").unwrap();
        assert_eq!(spec.path, "/sub");
        assert_eq!(
            spec.fps,
            FrameRate {
                num: 30_000,
                den: 1001
            }
        );
        assert_eq!(
            spec.video,
            Some(VideoSpec::Synthetic {
                codec: Codec::H265,
                bitrate: 500_000,
                gop: 50
            })
        );
        assert_eq!(spec.audio, Audio::Pcmu);
        assert!(parse_profile("x:video=a.mp4").is_err());
        assert!(parse_profile("x:colour=red").is_err());
    }
}
