//! retina-play: plays an RTSP URL over TCP with the `retina` crate, a strict client, and reports what it
//! saw as one JSON object. Any error of the session or any RTP loss makes it fail.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use futures_util::StreamExt as _;
use retina::client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::client::{SessionGroup, TcpTransportOptions, TeardownPolicy, Transport};
use retina::codec::CodecItem;
use serde_json::{Value, json};

/// Plays an RTSP URL over TCP with the retina crate.
#[derive(Debug, Parser)]
#[command(name = "retina-play")]
struct Args {
    /// rtsp://HOST:PORT/PATH
    url: String,
    /// User, when the server asks.
    #[arg(long)]
    user: Option<String>,
    /// File with the password.
    #[arg(long, requires = "user")]
    password_file: Option<PathBuf>,
    /// How long to play after the first frame.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Longest wait for the first frame.
    #[arg(long, default_value_t = 15.0)]
    timeout: f64,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    media: String,
    encoding: String,
    frames: u64,
    bytes: u64,
    loss: u64,
    random_access_points: u64,
}

#[derive(Default)]
struct Report {
    streams: Vec<Seen>,
    first_frame: Option<Duration>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut report = Report::default();
    let outcome = run(&args, &mut report).await;
    let line = report.to_json(outcome.as_ref().err());
    let printed = writeln!(std::io::stdout(), "{line}");
    match outcome.and(printed.map_err(Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("retina-play: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let credentials = match (&args.user, &args.password_file) {
        (Some(user), Some(file)) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let password = text.trim_end_matches(['\r', '\n']).to_owned();
            Some(Credentials {
                username: user.clone(),
                password,
            })
        }
        _ => None,
    };
    let group = std::sync::Arc::new(SessionGroup::default());
    let played = play(args, credentials, &group, report).await;
    // The session sends TEARDOWN from a task of its own once it is dropped.
    let teardown = tokio::time::timeout(Duration::from_secs(5), group.await_teardown()).await;
    played?;
    teardown
        .context("no answer to TEARDOWN")?
        .context("TEARDOWN failed")?;
    ensure!(report.first_frame.is_some(), "no frame arrived");
    let lost: u64 = report.streams.iter().map(|seen| seen.loss).sum();
    ensure!(lost == 0, "{lost} RTP packets are missing");
    ensure!(
        report.streams.iter().all(|seen| seen.frames > 0),
        "a stream without any frame"
    );
    Ok(())
}

async fn play(
    args: &Args,
    credentials: Option<Credentials>,
    group: &std::sync::Arc<SessionGroup>,
    report: &mut Report,
) -> Result<()> {
    let started = Instant::now();
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent("retina-play".to_owned())
        .session_group(std::sync::Arc::clone(group))
        .teardown(TeardownPolicy::Always);
    let url = args.url.parse().context("not a URL")?;
    let first = Duration::from_secs_f64(args.timeout);
    let setup = async {
        let mut session = Session::describe(url, options).await?;
        for index in 0..session.streams().len() {
            let transport = Transport::Tcp(TcpTransportOptions::default());
            session
                .setup(index, SetupOptions::default().transport(transport))
                .await?;
        }
        session.play(PlayOptions::default()).await?.demuxed()
    };
    let mut session = tokio::time::timeout(first, setup)
        .await
        .context("no answer in time")??;
    report.streams = session
        .streams()
        .iter()
        .map(|s| Seen {
            media: s.media().into(),
            encoding: s.encoding_name().into(),
            ..Seen::default()
        })
        .collect();
    let mut deadline = started + first;
    loop {
        let item = match tokio::time::timeout_at(deadline.into(), session.next()).await {
            Ok(Some(item)) => item?,
            Ok(None) => bail!("the server ended the session"),
            Err(_) => return Ok(()),
        };
        if report.handle_item(&item) && report.first_frame.is_none() {
            report.first_frame = Some(started.elapsed());
            deadline = Instant::now() + Duration::from_secs_f64(args.seconds);
        }
    }
}

impl Report {
    /// Counts an item; `true` when it is a frame.
    fn handle_item(&mut self, item: &CodecItem) -> bool {
        let (stream, bytes, loss, key) = match item {
            CodecItem::VideoFrame(f) => (
                f.stream_id(),
                f.data().len(),
                f.loss(),
                f.is_random_access_point(),
            ),
            CodecItem::AudioFrame(f) => (f.stream_id(), f.data().len(), f.loss(), false),
            CodecItem::MessageFrame(f) => (f.stream_id(), f.data().len(), f.loss(), false),
            _ => return false,
        };
        if let Some(seen) = self.streams.get_mut(stream) {
            seen.frames += 1;
            seen.bytes += bytes as u64;
            seen.loss += u64::from(loss);
            seen.random_access_points += u64::from(key);
        }
        true
    }

    fn to_json(&self, error: Option<&anyhow::Error>) -> Value {
        let streams: Vec<Value> = self
            .streams
            .iter()
            .map(|seen| {
                json!({
                    "media": seen.media,
                    "encoding": seen.encoding,
                    "frames": seen.frames,
                    "bytes": seen.bytes,
                    "loss": seen.loss,
                    "random_access_points": seen.random_access_points,
                })
            })
            .collect();
        json!({
            "ok": error.is_none(),
            "error": error.map(|error| format!("{error:#}")),
            "first_frame_ms": self.first_frame.map(|d| d.as_secs_f64() * 1000.0),
            "frames": self.streams.iter().map(|seen| seen.frames).sum::<u64>(),
            "bytes": self.streams.iter().map(|seen| seen.bytes).sum::<u64>(),
            "loss": self.streams.iter().map(|seen| seen.loss).sum::<u64>(),
            "streams": streams,
        })
    }
}
