//! Two hosts and what is between them: a camera and a server namespace, a plain cable for credit
//! and for loopback-like runs, and for long round trips a delay line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lenscap_tests::netns::{Namespace, join};
use serde_json::Value;

use crate::process::{Process, forget_namespace, remember_namespace};

/// The far ends of the plain cable.
pub(crate) const CABLE: Ends = Ends {
    server: "10.77.0.1",
    camera: "10.77.0.2",
};
/// The far ends of the delay line.
pub(crate) const LINE: Ends = Ends {
    server: "10.77.1.1",
    camera: "10.77.1.2",
};

const START_LIMIT: Duration = Duration::from_secs(10);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Addresses of the two hosts on one link.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) server: &'static str,
    pub(crate) camera: &'static str,
}

/// What lies between camera and server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Between {
    /// The cable alone.
    Cable,
    /// The delay line: round trip in milliseconds, loss each way, seed of the loss.
    Line { rtt_ms: f64, loss: f64, seed: u64 },
}

/// Programs the benchmark runs.
pub(crate) struct Binaries {
    pub(crate) agent: PathBuf,
    pub(crate) gateway: PathBuf,
    pub(crate) simcam: PathBuf,
    pub(crate) delayline: PathBuf,
}

/// One pair of hosts, for one measurement.
pub(crate) struct Rig<'a> {
    line: Option<Process>,
    pub(crate) camera: Namespace,
    pub(crate) server: Namespace,
    pub(crate) ends: Ends,
    pub(crate) dir: PathBuf,
    pub(crate) binaries: &'a Binaries,
}

impl<'a> Rig<'a> {
    /// Makes the hosts; what runs on them writes into a new folder below `base`.
    pub(crate) fn new(binaries: &'a Binaries, base: &Path, name: &str, path: Between) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("{number:03}-{name}"));
        std::fs::create_dir_all(&dir)?;
        let id = format!("lcb{}-{number}", std::process::id());
        let (camera, server) = (create(&format!("{id}c"))?, create(&format!("{id}s"))?);
        let with_mask = |address: &str| format!("{address}/30");
        join(
            &camera,
            &server,
            "cable",
            &with_mask(CABLE.camera),
            &with_mask(CABLE.server),
        )?;
        let mut rig = Self {
            line: None,
            camera,
            server,
            ends: CABLE,
            dir,
            binaries,
        };
        if let Between::Line { rtt_ms, loss, seed } = path {
            rig.ends = LINE;
            rig.line = Some(rig.start_line(rtt_ms, loss, seed)?);
        }
        Ok(rig)
    }

    fn start_line(&self, rtt_ms: f64, loss: f64, seed: u64) -> Result<Process> {
        // Niceness: a link does not become slower because its users are busy.
        let mut command = Command::new("nice");
        command.args(["-n", "-15"]).arg(&self.binaries.delayline);
        command.args([
            "--until-eof",
            "--a",
            self.camera.name(),
            "--b",
            self.server.name(),
        ]);
        command
            .arg(format!("--addr-a={}/30", LINE.camera))
            .arg(format!("--addr-b={}/30", LINE.server));
        command.arg(format!("--delay-ms={}", rtt_ms / 2.0));
        command
            .arg(format!("--loss={loss}"))
            .arg(format!("--seed={seed}"));
        let mut line = Process::start(&self.server, &self.dir, "delayline", &mut command)?;
        line.wait_event("ready", START_LIMIT)?;
        Ok(line)
    }

    /// Takes the delay line down and gives its statistics. What the kernel dropped before the line
    /// could read it would be loss nobody asked for, so it is an error.
    pub(crate) fn finish_line(&mut self) -> Result<Value> {
        let line = self.line.take().context("no delay line here")?;
        let out = line.finish()?;
        let stats: Value = serde_json::from_str(out.lines().last().unwrap_or_default())?;
        let dropped = [
            &stats["kernel_dropped_a"],
            &stats["kernel_dropped_b"],
            &stats["write_errors"],
        ];
        ensure!(
            dropped.iter().all(|n| n.as_u64() == Some(0)),
            "the delay line could not keep up: {stats}"
        );
        Ok(stats)
    }
}

impl Drop for Rig<'_> {
    fn drop(&mut self) {
        drop(self.line.take());
        forget_namespace(self.camera.name());
        forget_namespace(self.server.name());
    }
}

fn create(name: &str) -> Result<Namespace> {
    let namespace = Namespace::create(name)?;
    remember_namespace(name);
    namespace.tune_tcp()?;
    Ok(namespace)
}
