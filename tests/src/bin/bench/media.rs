//! The bytes: simcam on the camera's side, and a sink that pulls them through a peer.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lenscap_tests::digest::Credentials;
use lenscap_tests::rtp::{Header, SequenceTracker};
use lenscap_tests::rtspclient::{Client, Options};

use crate::process::Process;
use crate::rig::{CABLE, Rig};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Until a peer carries its first request.
const READY_LIMIT: Duration = Duration::from_secs(20);
const REPLY_LIMIT: Duration = Duration::from_secs(10);
const CREDIT_STEP: u64 = 32 << 10;
/// Interleaved header of a frame (RFC 2326 section 10.12).
const INTERLEAVED: u64 = 4;

/// How the camera sends.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// As fast as credit comes, with so many KiB between camera and sink.
    Bulk { window_kib: u64 },
    /// Live video of this bit rate, key pictures four times as large as the others.
    Paced { bitrate: &'static str },
    /// Live video of this bit rate with 60 pictures a second, all of one size.
    Smooth { bitrate: &'static str },
}

/// A simcam on the camera's host.
pub(crate) struct Camera {
    /// RTSP port, open on loopback and on every link.
    pub(crate) port: u16,
    credit: Option<String>,
    _process: Process,
}

impl Camera {
    pub(crate) fn start(rig: &Rig<'_>, source: Source) -> Result<Self> {
        let mut command = Command::new(&rig.binaries.simcam);
        command.args(["--listen", "0.0.0.0:0", "--synthetic", "--path", "/stream"]);
        match source {
            // Every picture can be decoded alone, so that a drop costs no more than itself.
            Source::Bulk { window_kib } => command
                .args([
                    "--bulk",
                    "--bulk-listen",
                    "0.0.0.0:0",
                    "--gop",
                    "1",
                    "--bitrate",
                    "4M",
                ])
                .arg(format!("--bulk-window={window_kib}")),
            Source::Paced { bitrate } => command.args(["--gop", "50", "--bitrate", bitrate]),
            Source::Smooth { bitrate } => command.args(["--gop", "1", "--fps", "60", "--bitrate", bitrate]),
        };
        let mut process = Process::start(&rig.camera, &rig.dir, "simcam", &mut command)?;
        let event = process.wait_event("listening", START_LIMIT)?;
        let port = |name: &str| {
            event[name]
                .as_str()
                .and_then(|address| address.rsplit_once(':')?.1.parse().ok())
        };
        let port_of_rtsp = port("rtsp").context("simcam names no RTSP port")?;
        let credit = port("bulk").map(|port: u16| format!("{}:{port}", CABLE.camera));
        Ok(Self {
            port: port_of_rtsp,
            credit,
            _process: process,
        })
    }

    /// The camera's URL as another host on this address sees it.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("rtsp://{host}:{}/stream", self.port)
    }
}

/// Where and as whom a viewer pulls.
#[derive(Clone)]
pub(crate) struct Viewer {
    pub(crate) url: String,
    pub(crate) credentials: Option<Credentials>,
}

/// When a pull is over.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Bytes(u64),
    Elapsed(Duration),
}

/// What was pulled.
pub(crate) struct Pulled {
    /// From the start of the TCP connection to the first RTP packet.
    pub(crate) first_rtp: Duration,
    /// Interleaved bytes, headers counted.
    pub(crate) bytes: u64,
    /// From the first packet to the last.
    pub(crate) seconds: f64,
    /// RTP packets that a gap in the sequence says were left out.
    pub(crate) lost: u64,
}

impl Pulled {
    pub(crate) fn mib_per_s(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.seconds
    }

    pub(crate) fn mbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.seconds
    }
}

/// An open session, set up but not playing.
pub(crate) struct Sink {
    client: Client,
    credit: Option<TcpStream>,
    credited: u64,
    credited_before: u64,
    began: Instant,
}

impl Sink {
    /// Waits until the peer carries RTSP, and throws that session away.
    pub(crate) fn wait_ready(rig: &Rig<'_>, viewer: &Viewer) -> Result<()> {
        rig.server.run(|| {
            let end = Instant::now() + READY_LIMIT;
            loop {
                let attempt = connect(viewer, Duration::from_secs(3))
                    .and_then(|mut client| client.describe().map(|_| ()));
                match attempt {
                    Ok(()) => return Ok(()),
                    Err(error) if Instant::now() > end => return Err(error.context("nothing is carried")),
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        })
    }

    /// Connects and sets up; runs on the server's host.
    pub(crate) fn open(viewer: &Viewer, camera: &Camera) -> Result<Self> {
        let credit = camera.credit.as_ref().map(TcpStream::connect).transpose()?;
        let began = Instant::now();
        let mut client = connect(viewer, REPLY_LIMIT)?;
        client.describe()?;
        client.setup_all()?;
        if let Some(credit) = &credit {
            credit.set_nodelay(true)?;
        }
        Ok(Self {
            client,
            credit,
            credited: 0,
            credited_before: 0,
            began,
        })
    }

    /// Asks for the media.
    pub(crate) fn play(&mut self) -> Result<()> {
        self.client.play().map(|_| ())
    }

    /// Receives until the end, giving credit on the way: for what came, and for what a gap shows to
    /// have been dropped on purpose. May be called again to go on, say after a warm-up.
    pub(crate) fn pull(&mut self, until: Until) -> Result<Pulled> {
        let limit = match until {
            Until::Bytes(_) => Duration::from_secs(120),
            Until::Elapsed(length) => length,
        };
        let end = Instant::now() + limit;
        let mut tracker = SequenceTracker::default();
        let mut bytes = 0;
        let mut first: Option<Instant> = None;
        while let Some(frame) = self.client.next_frame(end)? {
            let Some((header, _)) = Header::parse(&frame.data) else {
                continue;
            };
            if self.client.track_of(frame.channel).is_none() {
                continue;
            }
            first.get_or_insert_with(Instant::now);
            tracker.handle_sequence(header.sequence);
            bytes += frame.data.len() as u64 + INTERLEAVED;
            self.give_credit(bytes + tracker.lost * (bytes / tracker.packets.max(1)))?;
            if matches!(until, Until::Bytes(wanted) if bytes >= wanted) || Instant::now() >= end {
                break;
            }
        }
        self.credited_before += bytes + tracker.lost * (bytes / tracker.packets.max(1));
        let Some(first) = first else {
            bail!("no RTP packet came")
        };
        if matches!(until, Until::Bytes(wanted) if bytes < wanted) {
            bail!("only {bytes} bytes came in {limit:?}");
        }
        Ok(Pulled {
            first_rtp: first - self.began,
            bytes,
            seconds: first.elapsed().as_secs_f64(),
            lost: tracker.lost,
        })
    }

    /// Tells the source that `bytes` of this pull are no longer on their way.
    fn give_credit(&mut self, bytes: u64) -> Result<()> {
        let due = self.credited_before + bytes;
        if let Some(credit) = self
            .credit
            .as_mut()
            .filter(|_| due >= self.credited + CREDIT_STEP)
        {
            self.credited = due;
            credit.write_all(format!("{due}\n").as_bytes())?;
        }
        Ok(())
    }
}

fn connect(viewer: &Viewer, timeout: Duration) -> Result<Client> {
    Client::connect(Options {
        url: viewer.url.clone(),
        credentials: viewer.credentials.clone(),
        timeout,
        tolerate_garbage: false,
        receive_buffer: None,
    })
}
