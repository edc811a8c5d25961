//! `bench`: Lenscap beside stunnel, OpenSSH, Dropbear and OpenVPN, all carrying the same RTSP bytes
//! with ChaCha20-Poly1305 between two network namespaces. docs/benchmarks.md says how and why.
//!
//! It does *not* build anything: tests/bench.sh does that and names the programs.

mod keys;
mod measure;
mod media;
mod peers;
mod process;
mod report;
mod rig;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::unistd::geteuid;
use serde_json::json;

use keys::Keys;
use measure::{Bench, LOSS, Long};
use peers::Peer;
use report::{Row, median};
use rig::Binaries;

/// Round trips at which the first RTP packet is timed, milliseconds.
const FIRST_RTP_RTTS_MS: [f64; 2] = [0.0, 50.0];
/// Bulk runs of the peers that are far from the target.
const FEW_REPEATS: usize = 3;
/// Lines with loss at the same moment for the two peers that are compared closely.
const CLOSE_COPIES: u64 = 3;
const MIB: u64 = 1 << 20;

/// Measures Lenscap beside other ways to carry a camera's video.
#[derive(Parser)]
struct Args {
    /// The agent, as it ships.
    #[arg(long, default_value = "target/release/lenscap")]
    agent: PathBuf,
    /// The gateway.
    #[arg(long, default_value = "target/server/lenscap-gateway")]
    gateway: PathBuf,
    /// The camera.
    #[arg(long, default_value = "target/server/simcam")]
    simcam: PathBuf,
    /// The delay line.
    #[arg(long, default_value = "target/server/delayline")]
    delayline: PathBuf,
    /// Where figures and logs go.
    #[arg(long, default_value = "out/bench")]
    out: PathBuf,
    /// Fewer and shorter runs, to see that all works; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Only these peers (lenscap, stunnel, openssh, dropbear, openvpn).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// How often and how long.
struct Plan {
    bulk_repeats: usize,
    bulk_bytes: u64,
    paced_repeats: usize,
    paced_length: Duration,
    first_repeats: usize,
    long_repeats: usize,
    long_length: Duration,
    loss_rounds: u64,
    loss_length: Duration,
}

impl Plan {
    fn new(quick: bool) -> Self {
        let seconds = Duration::from_secs;
        if quick {
            return Self {
                bulk_repeats: 1,
                bulk_bytes: 64 * MIB,
                paced_repeats: 1,
                paced_length: seconds(3),
                first_repeats: 2,
                long_repeats: 1,
                long_length: seconds(3),
                loss_rounds: 1,
                loss_length: seconds(5),
            };
        }
        Self {
            bulk_repeats: 5,
            bulk_bytes: 512 * MIB,
            paced_repeats: 2,
            paced_length: seconds(15),
            first_repeats: 5,
            long_repeats: 2,
            long_length: seconds(8),
            loss_rounds: 4,
            loss_length: seconds(20),
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !geteuid().is_root() {
        bail!("the benchmark makes network namespaces and TUN devices: run it as root");
    }
    clean_up_at_signals()?;
    let peers = chosen(&args.only)?;
    let runs = args.out.join("run");
    if runs.exists() {
        std::fs::remove_dir_all(&runs)?;
    }
    std::fs::create_dir_all(&runs)?;
    let runs = runs.canonicalize()?;
    let bench = Bench {
        binaries: Binaries {
            agent: absolute(&args.agent)?,
            gateway: absolute(&args.gateway)?,
            simcam: absolute(&args.simcam)?,
            delayline: absolute(&args.delayline)?,
        },
        keys: Keys::generate(&runs.join("keys"))?,
        dir: runs,
    };
    let mut session = Session {
        bench,
        plan: Plan::new(args.quick),
        rows: Vec::new(),
        failed: Vec::new(),
        began: Instant::now(),
    };
    session.prove(&peers);
    session.bulk();
    session.paced();
    let direct = session.first_rtp()?;
    session.long();
    session.loss();
    session.finish(&args.out, &direct)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{} is missing; tests/bench.sh builds it", path.display()))
}

fn chosen(only: &[String]) -> Result<Vec<Peer>> {
    let known = |name: &String| {
        let found = Peer::ALL
            .into_iter()
            .find(|peer| peer.name().split(' ').next() == Some(name.as_str()));
        found.with_context(|| format!("no peer is called '{name}'"))
    };
    if only.is_empty() {
        Ok(Peer::ALL.to_vec())
    } else {
        only.iter().map(known).collect()
    }
}

/// An interrupted run must leave no processes and no namespaces behind.
fn clean_up_at_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        process::clean_up();
        std::process::exit(130);
    });
    Ok(())
}

/// A run of the whole benchmark.
struct Session {
    bench: Bench,
    plan: Plan,
    rows: Vec<Row>,
    failed: Vec<(Peer, String)>,
    began: Instant,
}

impl Session {
    fn say(&self, text: &str) {
        println!("[{:>4} s] {text}", self.began.elapsed().as_secs());
    }

    /// Runs `measure` for each peer still in the race. A peer that fails leaves it, with the reason.
    fn each(&mut self, what: &str, measure: impl Fn(&Bench, &Plan, &mut Row) -> Result<String>) {
        let mut kept = Vec::new();
        for mut row in std::mem::take(&mut self.rows) {
            match measure(&self.bench, &self.plan, &mut row) {
                Ok(text) => {
                    self.say(&format!("{what}: {:<12} {text}", row.peer.name()));
                    kept.push(row);
                }
                Err(error) => self.fail(row.peer, what, &error),
            }
        }
        self.rows = kept;
    }

    fn fail(&mut self, peer: Peer, what: &str, error: &anyhow::Error) {
        self.say(&format!("{what}: {} gets no row: {error:#}", peer.name()));
        self.failed.push((peer, format!("{what}: {error:#}")));
    }

    /// Versions, commands, sizes, and the cipher each peer really negotiated.
    fn prove(&mut self, peers: &[Peer]) {
        for &peer in peers {
            match self.row(peer) {
                Ok(row) => {
                    println!("{}: {}", peer.name(), peer.note());
                    println!("  version  {}", row.version);
                    for command in &row.commands {
                        println!("  command  {command}");
                    }
                    println!("  cipher   {}", row.cipher);
                    self.rows.push(row);
                }
                Err(error) => self.fail(peer, "start", &error),
            }
        }
    }

    fn row(&self, peer: Peer) -> Result<Row> {
        let version = peer.version(&self.bench.binaries.agent, &self.bench.binaries.gateway)?;
        let (binary_bytes, shared_lib_bytes) = self.bench.sizes(peer)?;
        let (cipher, commands) = self.bench.prove(peer)?;
        Ok(Row {
            peer,
            version,
            cipher,
            commands,
            binary_bytes,
            shared_lib_bytes,
            bulk: Vec::new(),
            paced: Vec::new(),
            long: Vec::new(),
            long_loss: Vec::new(),
            long_live: None,
            first_rtp: Vec::new(),
        })
    }

    fn bulk(&mut self) {
        for repeat in 0..self.plan.bulk_repeats {
            self.each("bulk", |bench, plan, row| {
                // The slow ones are slow by far; time goes to the two that are close.
                if repeat >= FEW_REPEATS && !matches!(row.peer, Peer::Lenscap | Peer::Stunnel) {
                    return Ok("(measured enough)".to_owned());
                }
                let cost = bench.bulk(row.peer, plan.bulk_bytes)?;
                row.bulk.push(cost);
                Ok(format!(
                    "{:>6.0} MiB/s, CPU s/GiB camera {:.2}, server {:.2}",
                    cost.mib_per_s, cost.camera_cpu_s_per_gib, cost.server_cpu_s_per_gib
                ))
            });
        }
    }

    fn paced(&mut self) {
        for _ in 0..self.plan.paced_repeats {
            self.each("4 Mbit/s", |bench, plan, row| {
                let cost = bench.paced(row.peer, plan.paced_length)?;
                row.paced.push(cost);
                Ok(format!(
                    "camera {:.2} ms CPU a second, {:.0} KiB RSS",
                    cost.camera_cpu_ms_per_s, cost.camera_rss_kib
                ))
            });
        }
    }

    /// Gives the medians of direct pulls.
    fn first_rtp(&mut self) -> Result<Vec<(f64, f64)>> {
        let mut direct = Vec::new();
        for rtt in FIRST_RTP_RTTS_MS {
            let ms = median(self.bench.first_rtp(None, rtt, self.plan.first_repeats)?);
            self.say(&format!("first RTP at {rtt} ms: direct {ms:.1} ms"));
            direct.push((rtt, ms));
            self.each("first RTP", |bench, plan, row| {
                let values = bench.first_rtp(Some(row.peer), rtt, plan.first_repeats)?;
                row.first_rtp.push((rtt, values));
                Ok(format!("{:.1} ms at {rtt} ms", row.first_rtp_ms(rtt)))
            });
        }
        Ok(direct)
    }

    fn long(&mut self) {
        for _ in 0..self.plan.long_repeats {
            self.each("100 ms", |bench, plan, row| {
                let long = bench.long_bulk(row.peer, 0.0, 1, plan.long_length)?;
                row.long.push(long);
                Ok(format!(
                    "{:.1} Mbit/s bulk, {} packets dropped",
                    long.mbit_per_s, long.lost
                ))
            });
        }
        self.each("100 ms", |bench, plan, row| {
            if !matches!(row.peer, Peer::Lenscap | Peer::Stunnel) {
                return Ok("(live profile not measured)".to_owned());
            }
            let live = bench.long_live(row.peer, plan.long_length)?;
            row.long_live = Some(live);
            Ok(format!(
                "{:.1} Mbit/s of a live 50 Mbit/s, {} packets dropped",
                live.mbit_per_s, live.lost
            ))
        });
    }

    /// All peers at the same moment, each on a line of its own: a few Mbit/s need little CPU, and
    /// chance needs many long runs, most of all where two peers are close.
    fn loss(&mut self) {
        for round in 0..self.plan.loss_rounds {
            let mut runs = Vec::new();
            for row in &self.rows {
                let copies = if matches!(row.peer, Peer::Lenscap | Peer::Stunnel) {
                    CLOSE_COPIES
                } else {
                    1
                };
                runs.extend((0..copies).map(|copy| (row.peer, 1 + round * CLOSE_COPIES + copy)));
            }
            for (peer, outcome) in self.loss_round(&runs) {
                match outcome {
                    Ok(long) => self.keep_loss(peer, long),
                    Err(error) => {
                        self.rows.retain(|row| row.peer != peer);
                        self.fail(peer, "0.1 % loss", &error);
                    }
                }
            }
        }
    }

    fn loss_round(&self, runs: &[(Peer, u64)]) -> Vec<(Peer, Result<Long>)> {
        let (bench, length) = (&self.bench, self.plan.loss_length);
        std::thread::scope(|scope| {
            let start = |&(peer, seed): &(Peer, u64)| {
                (
                    peer,
                    scope.spawn(move || bench.long_bulk(peer, LOSS, seed, length)),
                )
            };
            let threads: Vec<_> = runs.iter().map(start).collect();
            let join = |(peer, thread): (Peer, std::thread::ScopedJoinHandle<'_, Result<Long>>)| {
                (
                    peer,
                    thread
                        .join()
                        .unwrap_or_else(|_| bail!("its measurement panicked")),
                )
            };
            threads.into_iter().map(join).collect()
        })
    }

    fn keep_loss(&mut self, peer: Peer, long: Long) {
        let (rate, lost) = (long.mbit_per_s, long.lost);
        self.say(&format!(
            "0.1 % loss: {:<12} {rate:.2} Mbit/s, {lost} packets dropped",
            peer.name()
        ));
        if let Some(row) = self.rows.iter_mut().find(|row| row.peer == peer) {
            row.long_loss.push(long);
        }
    }

    fn finish(&self, out: &Path, direct: &[(f64, f64)]) -> Result<()> {
        println!("\n{}\n", report::table(&self.rows, direct));
        for (peer, why) in &self.failed {
            println!(
                "no row for {}: {}",
                peer.name(),
                why.lines().next().unwrap_or_default()
            );
        }
        for (text, met) in report::verdicts(&self.rows, direct) {
            println!("{:<8} {text}", if met { "met" } else { "NOT MET" });
        }
        let file = out.join("bench.json");
        std::fs::write(
            &file,
            serde_json::to_string_pretty(&report::to_json(&self.rows, direct))? + "\n",
        )?;
        let uname = nix::sys::utsname::uname()?;
        let about = json!({
            "kernel": uname.release().to_string_lossy(),
            "machine": uname.machine().to_string_lossy(),
            "cpus": std::thread::available_parallelism()?.get(),
            "congestion_control": "cubic",
            "seconds": self.began.elapsed().as_secs(),
            "no_row": self.failed.iter().map(|(peer, why)| json!({"name": peer.name(), "why": why})).collect::<Vec<_>>(),
        });
        std::fs::write(
            out.join("about.json"),
            serde_json::to_string_pretty(&about)? + "\n",
        )?;
        println!("\nfigures: {}", file.display());
        if !self.rows.iter().any(|row| row.peer == Peer::Lenscap) {
            bail!("Lenscap itself has no row");
        }
        Ok(())
    }
}
