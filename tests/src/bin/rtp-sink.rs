//! rtp-sink: plays an RTSP URL over TCP and reports, as one JSON object, what arrived: packets, gaps,
//! torn access units, hashes, and for synthetic streams how old the pictures were.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use lenscap_tests::annexb::{Codec, NalKind, nal_kind};
use lenscap_tests::depacketize::{Depacketizer, Unit};
use lenscap_tests::digest::{Credentials, hex};
use lenscap_tests::rtp::{Header, SequenceTracker};
use lenscap_tests::rtspclient::{self, Client, Frame, Track};
use lenscap_tests::synthetic::{now_us, read_stamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Credit is written when so many bytes have come since the last time.
const CREDIT_STEP: u64 = 16 << 10;
/// `SO_RCVBUF` of a throttled reader, so that the kernel does not read ahead for it.
const SLOW_RECEIVE_BUFFER: usize = 16 << 10;
/// Ages kept for the percentiles.
const MAX_AGES: usize = 1 << 20;

/// Plays an RTSP URL over TCP and reports what arrived.
#[derive(Debug, Parser)]
#[command(name = "rtp-sink")]
struct Args {
    /// rtsp://HOST:PORT/PATH
    url: String,
    /// User, when the server asks.
    #[arg(long)]
    user: Option<String>,
    /// File with the password.
    #[arg(long, requires = "user")]
    password_file: Option<PathBuf>,
    /// How long to play.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Stop after so many interleaved bytes.
    #[arg(long)]
    bytes: Option<u64>,
    /// Stop after so many RTP packets.
    #[arg(long)]
    packets: Option<u64>,
    /// Stop once this file is there.
    #[arg(long)]
    stop_file: Option<PathBuf>,
    /// Write a line for each RTP packet: track, ssrc, extended sequence number, timestamp, SHA-256 of the payload.
    #[arg(long)]
    packets_file: Option<PathBuf>,
    /// Write the first video track as Annex B (with the parameter sets of the SDP in front).
    #[arg(long)]
    record: Option<PathBuf>,
    /// Keep torn access units out of --record.
    #[arg(long)]
    skip_torn: bool,
    /// Read no faster than so many bytes a second.
    #[arg(long)]
    throttle: Option<u64>,
    /// Credit port of `simcam --bulk`.
    #[arg(long)]
    bulk_control: Option<String>,
    /// Skip and count bytes between frames that mean nothing, instead of failing.
    #[arg(long)]
    tolerate_garbage: bool,
    /// End without TEARDOWN.
    #[arg(long)]
    no_teardown: bool,
    /// Longest wait for a connection, a reply or the first packet.
    #[arg(long, default_value_t = 15.0)]
    timeout: f64,
    /// File for the report; standard output without it.
    #[arg(long)]
    report: Option<PathBuf>,
}

struct TrackSink {
    track: Track,
    index: usize,
    sequence: SequenceTracker,
    first: Option<(u32, u64)>,
    last: u64,
    bytes: u64,
    payloads: Sha256,
    depacketizer: Option<Depacketizer>,
    units: u64,
    torn: u64,
    key_units: u64,
}

#[derive(Default)]
struct Synthetic {
    units: u64,
    missing: u64,
    damaged: u64,
    last: Option<u32>,
    ages_us: Vec<u64>,
}

#[derive(Default)]
struct Sink {
    tracks: Vec<TrackSink>,
    synthetic: Synthetic,
    packets_file: Option<BufWriter<File>>,
    record: Option<BufWriter<File>>,
    skip_torn: bool,
    packets: u64,
    bytes: u64,
    first_packet: Option<Duration>,
    invalid: u64,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    let mut sink = Sink::default();
    let outcome = play(&args, &mut sink, started);
    let report = sink.report(started.elapsed(), outcome.as_ref().map(|played| played as &Value));
    let written = match &args.report {
        Some(file) => std::fs::write(file, format!("{report}\n")).map_err(Into::into),
        None => writeln!(std::io::stdout(), "{report}").map_err(anyhow::Error::from),
    };
    match outcome.map(|_| ()).and(written) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rtp-sink: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn play(args: &Args, sink: &mut Sink, started: Instant) -> Result<Value> {
    let credentials = match (&args.user, &args.password_file) {
        (Some(user), Some(file)) => Some(
            Credentials::from_file(user, file).with_context(|| format!("cannot read {}", file.display()))?,
        ),
        _ => None,
    };
    sink.skip_torn = args.skip_torn;
    sink.packets_file = create(args.packets_file.as_ref())?;
    sink.record = create(args.record.as_ref())?;
    let timeout = Duration::from_secs_f64(args.timeout);
    let mut client = Client::connect(rtspclient::Options {
        url: args.url.clone(),
        credentials,
        timeout,
        tolerate_garbage: args.tolerate_garbage,
        receive_buffer: args.throttle.map(|_| SLOW_RECEIVE_BUFFER),
    })?;
    client.describe()?;
    client.setup_all()?;
    sink.begin(&client.tracks)?;
    let mut credit = args.bulk_control.as_ref().map(TcpStream::connect).transpose()?;
    client.play()?;
    let played = Instant::now();
    let mut credited = 0;
    let end = played + Duration::from_secs_f64(args.seconds);
    while Instant::now() < end
        && args.bytes.is_none_or(|limit| sink.bytes < limit)
        && args.packets.is_none_or(|limit| sink.packets < limit)
        && args.stop_file.as_ref().is_none_or(|file| !file.exists())
    {
        let deadline = if sink.packets == 0 {
            end.min(played + timeout)
        } else {
            end
        };
        let Some(frame) = client.next_frame(deadline)? else {
            break;
        };
        sink.handle_frame(&client, &frame, started)?;
        if let Some(control) = credit.as_mut().filter(|_| sink.bytes >= credited + CREDIT_STEP) {
            credited = sink.bytes;
            control.write_all(format!("{credited}\n").as_bytes())?;
        }
        if let Some(rate) = args.throttle {
            let due = Duration::from_secs_f64(client.read_bytes as f64 / rate.max(1) as f64);
            std::thread::sleep(due.saturating_sub(played.elapsed()));
        }
    }
    let seconds = played.elapsed().as_secs_f64();
    if !args.no_teardown {
        client.teardown()?;
    }
    sink.finish()?;
    anyhow::ensure!(sink.packets > 0, "no RTP packet arrived");
    Ok(json!({"play_seconds": seconds, "garbage_bytes": client.garbage_bytes}))
}

fn create(path: Option<&PathBuf>) -> Result<Option<BufWriter<File>>> {
    path.map(|path| {
        File::create(path)
            .map(BufWriter::new)
            .with_context(|| format!("cannot create {}", path.display()))
    })
    .transpose()
}

impl Sink {
    fn begin(&mut self, tracks: &[Track]) -> Result<()> {
        self.tracks = tracks
            .iter()
            .cloned()
            .enumerate()
            .map(|(index, track)| TrackSink::new(index, track))
            .collect();
        let video = tracks.iter().find(|track| track.codec().is_some());
        if let (Some(record), Some(video)) = (&mut self.record, video) {
            for set in sprop_sets(&video.fmtp) {
                write_nal(record, &set)?;
            }
        }
        Ok(())
    }

    fn handle_frame(&mut self, client: &Client, frame: &Frame, started: Instant) -> Result<()> {
        let Some(index) = client.track_of(frame.channel) else {
            return Ok(());
        };
        self.bytes += frame.data.len() as u64 + 4;
        let (Some(track), Some((header, payload))) = (self.tracks.get_mut(index), Header::parse(&frame.data))
        else {
            self.invalid += 1;
            return Ok(());
        };
        self.packets += 1;
        self.first_packet.get_or_insert_with(|| started.elapsed());
        let (extended, units) = track.handle_packet(&header, payload);
        if let Some(file) = &mut self.packets_file {
            let hash = hex(&Sha256::digest(payload));
            writeln!(
                file,
                "{index} {:08x} {extended} {} {hash}",
                header.ssrc, header.timestamp
            )?;
        }
        let codec = track.track.codec();
        for unit in units {
            if let Some(codec) = codec {
                self.handle_unit(codec, &unit)?;
            }
        }
        Ok(())
    }

    fn handle_unit(&mut self, codec: Codec, unit: &Unit) -> Result<()> {
        if let Some(record) = self.record.as_mut().filter(|_| !(unit.torn && self.skip_torn)) {
            for nal in &unit.nals {
                write_nal(record, nal)?;
            }
        }
        for stamp in unit.nals.iter().filter_map(|nal| read_stamp(codec, nal)) {
            self.synthetic
                .handle_stamp(stamp.counter, stamp.time_us, stamp.intact && !unit.torn);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for file in [&mut self.packets_file, &mut self.record].into_iter().flatten() {
            file.flush()?;
        }
        Ok(())
    }

    fn report(&self, elapsed: Duration, outcome: std::result::Result<&Value, &anyhow::Error>) -> Value {
        let seconds = outcome.ok().and_then(|v| v["play_seconds"].as_f64());
        let rate = seconds
            .filter(|s| *s > 0.0)
            .map(|s| self.bytes as f64 / s / f64::from(1 << 20));
        json!({
            "ok": outcome.is_ok(),
            "error": outcome.err().map(|error| format!("{error:#}")),
            "first_packet_ms": self.first_packet.map(|d| d.as_secs_f64() * 1000.0),
            "total_seconds": elapsed.as_secs_f64(),
            "play_seconds": seconds,
            "packets": self.packets,
            "bytes": self.bytes,
            "mib_per_s": rate,
            "invalid_packets": self.invalid,
            "garbage_bytes": outcome.ok().map(|v| v["garbage_bytes"].clone()),
            "tracks": self.tracks.iter().map(TrackSink::report).collect::<Vec<_>>(),
            "synthetic": self.synthetic.report(),
        })
    }
}

impl TrackSink {
    fn new(index: usize, track: Track) -> Self {
        let depacketizer = track.codec().map(Depacketizer::new);
        Self {
            track,
            index,
            sequence: SequenceTracker::default(),
            first: None,
            last: 0,
            bytes: 0,
            payloads: Sha256::new(),
            depacketizer,
            units: 0,
            torn: 0,
            key_units: 0,
        }
    }

    fn handle_packet(&mut self, header: &Header, payload: &[u8]) -> (u64, Vec<Unit>) {
        let gaps = self.sequence.gaps;
        let extended = self.sequence.handle_sequence(header.sequence);
        let lost_before = self.sequence.gaps != gaps;
        self.first.get_or_insert((header.ssrc, extended));
        self.last = extended;
        self.bytes += payload.len() as u64;
        self.payloads.update(payload);
        let Some(depacketizer) = &mut self.depacketizer else {
            return (extended, Vec::new());
        };
        let units: Vec<Unit> = depacketizer
            .handle_payload(header.timestamp, header.marker, lost_before, payload)
            .collect();
        let codec = self.track.codec();
        for unit in &units {
            self.units += 1;
            self.torn += u64::from(unit.torn);
            let key = |nal: &Vec<u8>| {
                let kind = codec.map(|codec| nal_kind(codec, nal));
                matches!(
                    kind,
                    Some(NalKind::Slice {
                        random_access: true,
                        ..
                    })
                )
            };
            self.key_units += u64::from(unit.nals.iter().any(key));
        }
        (extended, units)
    }

    fn report(&self) -> Value {
        json!({
            "index": self.index,
            "media": self.track.media,
            "encoding": self.track.encoding,
            "packets": self.sequence.packets,
            "gaps": self.sequence.gaps,
            "lost": self.sequence.lost,
            "reordered": self.sequence.reordered,
            "payload_bytes": self.bytes,
            "ssrc": self.first.map(|(ssrc, _)| format!("{ssrc:08x}")),
            "first_sequence": self.first.map(|(_, first)| first),
            "last_sequence": self.last,
            "payload_sha256": hex(&self.payloads.clone().finalize()),
            "access_units": self.units,
            "torn": self.torn,
            "random_access_units": self.key_units,
        })
    }
}

impl Synthetic {
    fn handle_stamp(&mut self, counter: u32, time_us: u64, whole: bool) {
        self.units += 1;
        self.damaged += u64::from(!whole);
        if let Some(last) = self.last {
            self.missing += u64::from(counter.saturating_sub(last).saturating_sub(1));
        }
        self.last = Some(counter);
        if self.ages_us.len() < MAX_AGES {
            self.ages_us.push(now_us().saturating_sub(time_us));
        }
    }

    fn report(&self) -> Value {
        if self.units == 0 {
            return Value::Null;
        }
        let mut ages = self.ages_us.clone();
        ages.sort_unstable();
        let at = |part: f64| {
            let index = ((ages.len().saturating_sub(1)) as f64 * part).round() as usize;
            ages.get(index).map(|us| *us as f64 / 1000.0)
        };
        json!({
            "access_units": self.units,
            "missing": self.missing,
            "torn": self.damaged,
            "age_ms": {"min": at(0.0), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)},
        })
    }
}

fn write_nal(file: &mut BufWriter<File>, nal: &[u8]) -> std::io::Result<()> {
    file.write_all(&[0, 0, 0, 1])?;
    file.write_all(nal)
}

/// The parameter sets of an `a=fmtp` line (`sprop-parameter-sets`, `sprop-vps`, ...), in its order.
fn sprop_sets(fmtp: &str) -> Vec<Vec<u8>> {
    use base64ct::{Base64, Encoding as _};
    fmtp.split(';')
        .filter_map(|part| part.trim().split_once('='))
        .filter(|(name, _)| name.starts_with("sprop-"))
        .flat_map(|(_, value)| value.split(','))
        .filter_map(|set| Base64::decode_vec(set.trim()).ok())
        .collect()
}
