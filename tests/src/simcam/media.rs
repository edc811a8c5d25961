//! What simcam plays: video from a file or synthetic, a tone, and the SDP that describes them.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64ct::{Base64, Encoding as _};

use super::options::{Audio, FrameRate, ProfileSpec, VideoSpec};
use crate::annexb::{Codec, NalKind, access_units, nal_kind, split_nals};
use crate::digest::hex;
use crate::packetize::packetize;
use crate::synthetic;

/// RTP clock of video.
const VIDEO_CLOCK: u64 = 90_000;
/// RTP clock of G.711, and its samples in 20 ms.
const AUDIO_CLOCK: u64 = 8_000;
const AUDIO_SAMPLES: u64 = 160;
/// How many times a synthetic key picture is larger than the others.
const KEY_WEIGHT: u64 = 4;

/// One media profile, ready to be played any number of times.
#[derive(Debug)]
pub struct Profile {
    /// Path in the RTSP URL.
    pub path: String,
    /// Its tracks; `trackID=` is the index.
    pub tracks: Vec<Track>,
}

/// One track of a profile.
#[derive(Debug)]
pub enum Track {
    /// Video.
    Video(Video),
    /// A 440 Hz tone in G.711 µ-law.
    Tone,
}

/// A video track.
#[derive(Debug)]
pub struct Video {
    codec: Codec,
    fps: FrameRate,
    sets: Vec<Vec<u8>>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File {
        bytes: Vec<u8>,
        units: Vec<Vec<Range<usize>>>,
    },
    Synthetic {
        key_len: usize,
        other_len: usize,
        gop: u64,
    },
}

impl Profile {
    /// Reads the files a specification names.
    pub fn load(spec: &ProfileSpec) -> Result<Self> {
        let mut tracks = Vec::new();
        if let Some(video) = &spec.video {
            tracks.push(Track::Video(Video::load(video, spec.fps)?));
        }
        if spec.audio == Audio::Pcmu {
            tracks.push(Track::Tone);
        }
        Ok(Self {
            path: spec.path.clone(),
            tracks,
        })
    }

    /// The session description; `control` gives the control URL of a track.
    pub fn sdp(&self, host: &str, aggregate: &str, control: impl Fn(usize) -> String) -> String {
        let mut sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=simcam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:{aggregate}\r\n\
             a=range:npt=now-\r\n"
        );
        for (index, track) in self.tracks.iter().enumerate() {
            sdp.push_str(&track.sdp());
            let _ = write!(sdp, "a=control:{}\r\n", control(index));
        }
        sdp
    }
}

impl Track {
    /// RTP payload type.
    pub fn payload_type(&self) -> u8 {
        match self {
            Self::Video(_) => 96,
            Self::Tone => 0,
        }
    }

    /// When unit `index` is due, counted from PLAY.
    pub fn due(&self, index: u64) -> Duration {
        match self {
            Self::Video(video) => Duration::from_nanos(
                u64::try_from(
                    u128::from(index) * 1_000_000_000 * u128::from(video.fps.den) / u128::from(video.fps.num),
                )
                .unwrap_or(u64::MAX),
            ),
            Self::Tone => Duration::from_millis(20 * index),
        }
    }

    /// RTP timestamp of unit `index`, before the random offset and the cut to 32 bits.
    pub fn timestamp(&self, index: u64) -> u64 {
        match self {
            Self::Video(video) => index * VIDEO_CLOCK * u64::from(video.fps.den) / u64::from(video.fps.num),
            Self::Tone => index * AUDIO_SAMPLES,
        }
    }

    /// RTP payloads of unit `index`: an access unit, or 20 ms of tone.
    pub fn payloads(&self, index: u64, mtu: usize) -> Vec<Vec<u8>> {
        match self {
            Self::Video(video) => video.payloads(index, mtu),
            Self::Tone => vec![tone(index)],
        }
    }

    /// Whether the last packet of a unit carries the marker.
    pub fn marks(&self) -> bool {
        matches!(self, Self::Video(_))
    }

    fn sdp(&self) -> String {
        match self {
            Self::Video(video) => video.sdp(),
            Self::Tone => "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n".to_owned(),
        }
    }
}

impl Video {
    fn load(spec: &VideoSpec, fps: FrameRate) -> Result<Self> {
        match spec {
            VideoSpec::File { path, codec } => {
                let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                Self::from_stream(bytes, *codec, fps)
                    .with_context(|| format!("{} cannot be played", path.display()))
            }
            VideoSpec::Synthetic { codec, bitrate, gop } => {
                let gop = u64::from(*gop);
                let gop_bytes = bitrate * gop * u64::from(fps.den) / u64::from(fps.num) / 8;
                let other_len = gop_bytes / (gop - 1 + KEY_WEIGHT);
                let source = Source::Synthetic {
                    key_len: usize::try_from(other_len * KEY_WEIGHT)?,
                    other_len: usize::try_from(other_len)?,
                    gop,
                };
                let sets = synthetic::parameter_sets(*codec)
                    .iter()
                    .map(|set| set.to_vec())
                    .collect();
                Ok(Self {
                    codec: *codec,
                    fps,
                    sets,
                    source,
                })
            }
        }
    }

    fn from_stream(bytes: Vec<u8>, codec: Codec, fps: FrameRate) -> Result<Self> {
        let units = access_units(codec, &bytes);
        let mut sets: Vec<Vec<u8>> = Vec::new();
        for nal in split_nals(&bytes)
            .into_iter()
            .filter_map(|range| bytes.get(range))
        {
            if nal_kind(codec, nal) == NalKind::ParameterSet && !sets.iter().any(|set| set == nal) {
                sets.push(nal.to_vec());
            }
        }
        ensure!(
            !sets.is_empty(),
            "no parameter sets: not an Annex B stream of {}",
            codec.rtp_name()
        );
        ensure!(units.len() > 1, "fewer than two pictures");
        Ok(Self {
            codec,
            fps,
            sets,
            source: Source::File { bytes, units },
        })
    }

    fn payloads(&self, index: u64, mtu: usize) -> Vec<Vec<u8>> {
        match &self.source {
            Source::File { bytes, units } => {
                let unit = units
                    .get((index % units.len() as u64) as usize)
                    .map(Vec::as_slice);
                let nals: Vec<&[u8]> = unit
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|nal| bytes.get(nal.clone()))
                    .collect();
                packetize(self.codec, &nals, mtu)
            }
            Source::Synthetic {
                key_len,
                other_len,
                gop,
            } => {
                let key = index.is_multiple_of(*gop);
                let len = if key { *key_len } else { *other_len };
                let slice = synthetic::slice(self.codec, key, index as u32, synthetic::now_us(), len);
                let sets: &[Vec<u8>] = if key { &self.sets } else { &[] };
                let nals: Vec<&[u8]> = sets.iter().map(Vec::as_slice).chain([slice.as_slice()]).collect();
                packetize(self.codec, &nals, mtu)
            }
        }
    }

    fn sdp(&self) -> String {
        let fmtp = match self.codec {
            Codec::H264 => {
                let level = self.sets_of(7).first().and_then(|sps| sps.get(1..4)).map(hex);
                format!(
                    "packetization-mode=1;profile-level-id={};sprop-parameter-sets={},{}",
                    level.unwrap_or_default().to_ascii_uppercase(),
                    base64_list(&self.sets_of(7)),
                    base64_list(&self.sets_of(8)),
                )
            }
            Codec::H265 => format!(
                "sprop-vps={};sprop-sps={};sprop-pps={}",
                base64_list(&self.sets_of(32)),
                base64_list(&self.sets_of(33)),
                base64_list(&self.sets_of(34)),
            ),
        };
        let rate = f64::from(self.fps.num) / f64::from(self.fps.den);
        format!(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 {}/90000\r\na=fmtp:96 {fmtp}\r\na=framerate:{rate:.3}\r\n",
            self.codec.rtp_name()
        )
    }

    fn sets_of(&self, wanted: u8) -> Vec<&[u8]> {
        let kind = |set: &[u8]| match self.codec {
            Codec::H264 => set.first().map(|b| b & 0x1f),
            Codec::H265 => set.first().map(|b| (b >> 1) & 0x3f),
        };
        self.sets
            .iter()
            .map(Vec::as_slice)
            .filter(|set| kind(set) == Some(wanted))
            .collect()
    }
}

/// Clock rate of a track, for sender reports.
pub fn clock_rate(track: &Track) -> u64 {
    match track {
        Track::Video(_) => VIDEO_CLOCK,
        Track::Tone => AUDIO_CLOCK,
    }
}

fn base64_list(sets: &[&[u8]]) -> String {
    sets.iter()
        .map(|set| Base64::encode_string(set))
        .collect::<Vec<_>>()
        .join(",")
}

fn tone(index: u64) -> Vec<u8> {
    (0..AUDIO_SAMPLES)
        .map(|sample| {
            let at = (index * AUDIO_SAMPLES + sample) % AUDIO_CLOCK;
            let phase = at as f64 * 440.0 * std::f64::consts::TAU / AUDIO_CLOCK as f64;
            mu_law((phase.sin() * 8_000.0) as i32)
        })
        .collect()
}

/// µ-law of a 16-bit sample (Rec. ITU-T G.711).
fn mu_law(sample: i32) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (sample.abs().min(32_635) + 132) as u32;
    let exponent = (31 - magnitude.leading_zeros()).saturating_sub(7).min(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::read_stamp;

    fn synthetic_video(bitrate: u64) -> Video {
        let spec = VideoSpec::Synthetic {
            codec: Codec::H264,
            bitrate,
            gop: 50,
        };
        Video::load(&spec, FrameRate { num: 25, den: 1 }).unwrap()
    }

    #[test]
    fn synthetic_bit_rate_is_as_asked() {
        let video = synthetic_video(4_000_000);
        let bytes: usize = (0..50)
            .flat_map(|index| video.payloads(index, 1400))
            .map(|p| p.len())
            .sum();
        let bitrate = bytes as f64 * 8.0 / 2.0;
        assert!((bitrate / 4_000_000.0 - 1.0).abs() < 0.02, "{bitrate}");
    }

    #[test]
    fn synthetic_units_carry_their_index() {
        let video = synthetic_video(50_000);
        let payloads = video.payloads(7, 10_000);
        assert_eq!(payloads.len(), 1);
        let stamp = read_stamp(Codec::H264, &payloads[0]).unwrap();
        assert_eq!((stamp.counter, stamp.intact, stamp.key), (7, true, false));
    }

    #[test]
    fn timestamps_and_due_times_do_not_drift() {
        let fps = FrameRate {
            num: 30_000,
            den: 1001,
        };
        let spec = VideoSpec::Synthetic {
            codec: Codec::H265,
            bitrate: 1_000_000,
            gop: 30,
        };
        let track = Track::Video(Video::load(&spec, fps).unwrap());
        assert_eq!(track.timestamp(30_000), 1001 * 90_000);
        assert_eq!(track.due(30_000), Duration::from_secs(1001));
        assert_eq!(Track::Tone.timestamp(50), 8_000);
    }

    #[test]
    fn mu_law_reference_points() {
        assert_eq!(mu_law(0), 0xff);
        assert_eq!(mu_law(32_767), 0x80);
        assert_eq!(mu_law(-32_767), 0x00);
        assert_eq!(mu_law(1000), 0xce);
    }
}
