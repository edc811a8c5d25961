//! The measurements: each makes its own two hosts, runs one peer between them, and takes all down.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::keys::Keys;
use crate::media::{Camera, Pulled, Sink, Source, Until, Viewer};
use crate::peers::{Peer, Running};
use crate::process::{cpu_ns, peak_rss_kib};
use crate::rig::{Between, Binaries, Rig};

/// KiB between camera and sink in bulk runs: twice what 50 Mbit/s need at 100 ms.
const BULK_WINDOW_KIB: u64 = 1024;
/// The same on a line with loss, where a peer's own queue should neither run dry nor grow old.
const LOSS_WINDOW_KIB: u64 = 256;
/// Before a measurement that is about the steady state.
const WARM_UP: Duration = Duration::from_secs(3);
/// Long enough on a line with loss that slow start is forgotten.
const LOSS_WARM_UP: Duration = Duration::from_secs(8);
/// Bytes before the bulk measurement: pages touched, windows open.
const BULK_WARM_UP_BYTES: u64 = 32 << 20;
/// Round trip of the long line.
pub(crate) const LONG_RTT_MS: f64 = 100.0;
/// Its loss, each way.
pub(crate) const LOSS: f64 = 0.001;
/// Cipher suite that TLS peers must show on the wire.
const WIRE_SUITE: &str = "TLS13_CHACHA20_POLY1305_SHA256";

/// What every measurement needs.
pub(crate) struct Bench {
    pub(crate) binaries: Binaries,
    pub(crate) keys: Keys,
    pub(crate) dir: PathBuf,
}

/// Cost and speed of one pull.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) camera_cpu_s_per_gib: f64,
    pub(crate) server_cpu_s_per_gib: f64,
    /// CPU time of the camera's side in milliseconds a second of media.
    pub(crate) camera_cpu_ms_per_s: f64,
    pub(crate) mib_per_s: f64,
    pub(crate) camera_rss_kib: f64,
}

/// One pull over the long line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Long {
    pub(crate) mbit_per_s: f64,
    /// RTP packets left out.
    pub(crate) lost: u64,
}

impl Bench {
    /// Runs `work` with a camera, a peer that carries it, and a viewer's address.
    fn with_peer<T>(
        &self,
        peer: Peer,
        what: &str,
        between: Between,
        source: Source,
        work: impl FnOnce(&Rig<'_>, &Camera, &Running) -> Result<T>,
    ) -> Result<T> {
        let name = format!("{what}-{}", peer.name().replace(' ', ""));
        let mut rig = Rig::new(&self.binaries, &self.dir, &name, between)?;
        let camera = Camera::start(&rig, source)?;
        let running = peer.start(&rig, &self.keys, &camera)?;
        Sink::wait_ready(&rig, &running.viewer).with_context(|| tails(&running))?;
        let value = work(&rig, &camera, &running).with_context(|| tails(&running))?;
        running.prove_cipher()?;
        drop(running);
        if let Between::Line { .. } = between {
            let stats = rig.finish_line()?;
            ensure_wire_suite(peer, &stats)?;
        }
        Ok(value)
    }

    /// Starts the peer once and gives the line that proves its cipher, and its command lines.
    pub(crate) fn prove(&self, peer: Peer) -> Result<(String, Vec<String>)> {
        let between = Between::Line {
            rtt_ms: 0.0,
            loss: 0.0,
            seed: 1,
        };
        self.with_peer(
            peer,
            "proof",
            between,
            Source::Paced { bitrate: "4M" },
            |_, _, running| Ok((running.prove_cipher()?, running.commands.clone())),
        )
    }

    /// A fixed number of bytes as fast as they go.
    pub(crate) fn bulk(&self, peer: Peer, bytes: u64) -> Result<Cost> {
        let source = Source::Bulk {
            window_kib: BULK_WINDOW_KIB,
        };
        self.with_peer(peer, "bulk", Between::Cable, source, |rig, camera, running| {
            cost(
                rig,
                camera,
                running,
                Until::Bytes(BULK_WARM_UP_BYTES),
                Until::Bytes(bytes),
            )
        })
    }

    /// Live video at its own pace.
    pub(crate) fn paced(&self, peer: Peer, length: Duration) -> Result<Cost> {
        let source = Source::Paced { bitrate: "4M" };
        self.with_peer(peer, "paced", Between::Cable, source, |rig, camera, running| {
            cost(
                rig,
                camera,
                running,
                Until::Elapsed(Duration::from_secs(1)),
                Until::Elapsed(length),
            )
        })
    }

    /// Bulk over the long line, after a warm-up.
    pub(crate) fn long_bulk(&self, peer: Peer, loss: f64, seed: u64, length: Duration) -> Result<Long> {
        let window_kib = if loss > 0.0 {
            LOSS_WINDOW_KIB
        } else {
            BULK_WINDOW_KIB
        };
        self.long(peer, Source::Bulk { window_kib }, loss, seed, length)
    }

    /// Live video of 50 Mbit/s over the long line without loss, after a warm-up.
    pub(crate) fn long_live(&self, peer: Peer, length: Duration) -> Result<Long> {
        self.long(peer, Source::Smooth { bitrate: "50M" }, 0.0, 1, length)
    }

    fn long(&self, peer: Peer, source: Source, loss: f64, seed: u64, length: Duration) -> Result<Long> {
        let between = Between::Line {
            rtt_ms: LONG_RTT_MS,
            loss,
            seed,
        };
        let warm_up = if loss > 0.0 { LOSS_WARM_UP } else { WARM_UP };
        self.with_peer(peer, "long", between, source, |rig, camera, running| {
            let pulled = rig.server.run(|| {
                let mut sink = Sink::open(&running.viewer, camera)?;
                sink.play()?;
                sink.pull(Until::Elapsed(warm_up))?;
                sink.pull(Until::Elapsed(length))
            })?;
            Ok(Long {
                mbit_per_s: pulled.mbit_per_s(),
                lost: pulled.lost,
            })
        })
    }

    /// Milliseconds from a viewer's connect to its first RTP packet, several times; `None` is direct.
    pub(crate) fn first_rtp(&self, peer: Option<Peer>, rtt_ms: f64, repeats: usize) -> Result<Vec<f64>> {
        // Bulk, since it sends at PLAY and not at the next picture's time.
        let source = Source::Bulk { window_kib: 64 };
        let between = Between::Line {
            rtt_ms,
            loss: 0.0,
            seed: 1,
        };
        let Some(peer) = peer else {
            let rig = Rig::new(&self.binaries, &self.dir, "first-direct", between)?;
            let camera = Camera::start(&rig, source)?;
            let viewer = Viewer {
                url: camera.url(rig.ends.camera),
                credentials: None,
            };
            return (0..repeats)
                .map(|_| first_rtp_ms(&rig, &camera, &viewer))
                .collect();
        };
        self.with_peer(peer, "first", between, source, |rig, camera, running| {
            (0..repeats)
                .map(|_| first_rtp_ms(rig, camera, &running.viewer))
                .collect()
        })
    }

    /// Size of the stripped program on the camera, and of the libraries it links beyond libc.
    pub(crate) fn sizes(&self, peer: Peer) -> Result<(u64, u64)> {
        let program = peer.camera_program(&self.binaries.agent)?;
        let stripped = self.dir.join("stripped");
        let strip = std::process::Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(&program)
            .status();
        ensure!(
            strip.context("running strip (binutils)")?.success(),
            "cannot strip {}",
            program.display()
        );
        let size = std::fs::metadata(&stripped)?.len();
        std::fs::remove_file(&stripped)?;
        Ok((size, shared_lib_bytes(&program)?))
    }
}

fn cost(rig: &Rig<'_>, camera: &Camera, running: &Running, warm_up: Until, until: Until) -> Result<Cost> {
    rig.server.run(|| {
        let mut sink = Sink::open(&running.viewer, camera)?;
        sink.play()?;
        sink.pull(warm_up)?;
        let before = (cpu_ns(&running.camera)?, cpu_ns(&running.server)?);
        let pulled = sink.pull(until)?;
        let after = (cpu_ns(&running.camera)?, cpu_ns(&running.server)?);
        let rss = peak_rss_kib(&running.camera)?;
        ensure!(
            after.0 >= before.0 && after.1 >= before.1,
            "a process ended in the middle"
        );
        Ok(cost_of(&pulled, after.0 - before.0, after.1 - before.1, rss))
    })
}

fn cost_of(pulled: &Pulled, camera_ns: u64, server_ns: u64, rss_kib: u64) -> Cost {
    let gib = pulled.bytes as f64 / f64::from(1 << 30);
    Cost {
        camera_cpu_s_per_gib: camera_ns as f64 / 1e9 / gib,
        server_cpu_s_per_gib: server_ns as f64 / 1e9 / gib,
        camera_cpu_ms_per_s: camera_ns as f64 / 1e6 / pulled.seconds,
        mib_per_s: pulled.mib_per_s(),
        camera_rss_kib: rss_kib as f64,
    }
}

fn first_rtp_ms(rig: &Rig<'_>, camera: &Camera, viewer: &Viewer) -> Result<f64> {
    rig.server.run(|| {
        let mut sink = Sink::open(viewer, camera)?;
        sink.play()?;
        Ok(sink.pull(Until::Bytes(1))?.first_rtp.as_secs_f64() * 1000.0)
    })
}

/// The delay line reads every ServerHello, so TLS peers are checked without asking them.
fn ensure_wire_suite(peer: Peer, stats: &serde_json::Value) -> Result<()> {
    if !matches!(peer, Peer::Lenscap | Peer::Stunnel) {
        return Ok(());
    }
    for direction in ["a_to_b", "b_to_a"] {
        for suite in stats[direction]["tls_ciphers"].as_array().into_iter().flatten() {
            if suite.as_str() != Some(WIRE_SUITE) {
                bail!("the wire shows {suite}, not {WIRE_SUITE}");
            }
        }
    }
    let seen = |direction: &str| stats[direction]["tls_ciphers"].as_array().map_or(0, Vec::len);
    ensure!(
        seen("a_to_b") + seen("b_to_a") > 0,
        "no TLS ServerHello crossed the line"
    );
    Ok(())
}

fn shared_lib_bytes(program: &Path) -> Result<u64> {
    let output = std::process::Command::new("ldd")
        .arg(program)
        .output()
        .context("running ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let paths = text
        .lines()
        .filter_map(|line| line.split("=> ").nth(1)?.split(' ').next());
    let beyond_libc = paths.filter(|path| {
        let base = path.rsplit('/').next().unwrap_or_default();
        !["libc.so", "libm.so", "libgcc_s.so", "ld-linux"]
            .iter()
            .any(|own| base.starts_with(own))
    });
    Ok(beyond_libc
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|meta| meta.len())
        .sum())
}

fn tails(running: &Running) -> String {
    let programs = running.camera.iter().chain(&running.server);
    programs
        .map(|process| format!("--- {}\n", process.tail()))
        .collect()
}
