//! `bench-gateway`: what the gateway's program costs with many cameras, and how soon cameras are back.
//! docs/benchmarks.md says how and why.
//!
//! It does *not* build anything: tests/bench-gateway.sh does that. Its programs lie beside it.

mod agents;
mod failover;
mod fleet;
mod idle;
mod plot;
mod report;
mod watched;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

/// The clock of all processes.
mod clock {
    use nix::time::{ClockId, clock_gettime};

    /// Milliseconds since the machine started.
    pub(crate) fn monotonic_ms() -> f64 {
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or((0, 0), |t| (t.tv_sec(), t.tv_nsec()));
        time.0 as f64 * 1e3 + time.1 as f64 / 1e6
    }
}

/// Open files.
mod limits {
    use anyhow::{Result, ensure};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    /// Enough for ten thousand connections at each end.
    const WANTED: u64 = 65_536;
    /// Without so many, the gateway would refuse cameras, which would be waited for in vain.
    const NEEDED: u64 = 12_000;

    /// As many as may be; root may have what it wants, unless it is in a container that says otherwise.
    pub(crate) fn raise() -> Result<()> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let wanted = soft.max(WANTED);
        if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_err() {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            ensure!(
                hard >= NEEDED,
                "a process may have {hard} open files here, {NEEDED} are needed: raise the hard limit (ulimit -Hn)"
            );
        }
        Ok(())
    }
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// 1,000 to 10,000 idle uplinks, and how they come back.
    Idle,
    /// 100 cameras, each watched.
    Watched,
    /// Streamers that are killed, or silent.
    Failover,
}

/// Measures the gateway with many cameras.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Less of everything, to see that it works; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Where figures go.
    #[arg(long, default_value = "out/bench")]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cameras of one process; started by the measurement itself.
    #[command(hide = true)]
    Agents(agents::AgentsArgs),
}

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a part says of itself, and a panic of what it starts: the others are measured all the same.
fn caught<T>(part: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(part)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        bail!("{}", text.unwrap_or_else(|| "it panicked; see above".to_owned()))
    })
}

/// Whether all that has to hold did.
fn measure() -> Result<bool> {
    let cli = Cli::parse();
    if let Some(Command::Agents(args)) = &cli.command {
        return agents::run(args).map(|()| true);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("ten thousand connections take more open files than a user may have: run it as root");
    }
    let chosen = |part| cli.only.is_empty() || cli.only.contains(&part);
    let mut report = report::Report::new(&cli.out)?;
    if chosen(Part::Idle) {
        let counts: &[usize] = if cli.quick {
            &[200, 500]
        } else {
            &[1000, 2000, 5000, 10_000]
        };
        let done = caught(|| idle::run(counts, &mut report));
        report.part("idle", done);
    }
    if chosen(Part::Watched) {
        let (cameras, seconds) = if cli.quick { (10, 5) } else { (100, 30) };
        let done = caught(|| watched::run(cameras, seconds, &mut report));
        report.part("watched", done);
    }
    if chosen(Part::Failover) {
        let plan = if cli.quick {
            failover::Plan {
                fleets: 1,
                kills: 4,
                silences: 2,
            }
        } else {
            failover::Plan {
                fleets: 5,
                kills: 100,
                silences: 10,
            }
        };
        let done = caught(|| failover::run(&plan, &mut report));
        report.part("failover", done);
    }
    Ok(report.finish())
}
