//! How soon a watched camera plays again when the streamer that has it is killed, or falls silent, with the endpoint up
//! and down. A viewer asks without a pause, so that what is measured is the fleet's time and not the viewer's.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use lenscap_tests::harness::TestDir;
use nix::sys::signal::Signal;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::fleet::Scene;
use super::report::{Report, percentile, round};

/// From the death of a streamer's process to media (design section 10), seconds.
const KILLED_TARGET_S: f64 = 5.0;
/// From its silence.
const SILENT_TARGET_S: f64 = 35.0;
/// Media again, or it is a failure and not a figure.
const LIMIT: Duration = Duration::from_secs(120);
/// The camera is watched for so long before the next kill, and up to a second more: so often a streamer may be lost
/// for ever without back-off growing (agent/uplink/src/dial/pace.rs).
const WATCHED: Duration = Duration::from_secs(11);
/// A stopped process is silent as a host is that lost its network, except that its kernel still takes connections.
const FREEZE: Signal = Signal::SIGSTOP;

/// How much.
pub(crate) struct Plan {
    /// Fleets at the same time, so that it does not take an hour.
    pub(crate) fleets: usize,
    /// Kills over all fleets.
    pub(crate) kills: usize,
    /// Silences over all fleets.
    pub(crate) silences: usize,
}

/// Seconds until media, by endpoint: up, down.
#[derive(Default)]
struct Times {
    killed: [Vec<f64>; 2],
    silent: [Vec<f64>; 2],
}

/// Measures.
pub(crate) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let (kills, silences) = (plan.kills / plan.fleets / 2, plan.silences / plan.fleets / 2);
    report.say(&format!(
        "{} fleets of an endpoint and two streamers; in each, with the endpoint up and then down, {kills} kills and \
         {silences} silences",
        plan.fleets
    ));
    let threads: Vec<_> = (0..plan.fleets)
        .map(|number| {
            thread::spawn(move || {
                let dir = TestDir::new(&format!("bench-gateway::failover-{number}"));
                one_fleet(&dir, kills, silences).with_context(|| format!("fleet {number}"))
            })
        })
        .collect();
    let mut all = Times::default();
    for thread in threads {
        let times = thread
            .join()
            .map_err(|_| anyhow!("a fleet's thread panicked"))??;
        for up in [0, 1] {
            all.killed[up].extend(&times.killed[up]);
            all.silent[up].extend(&times.silent[up]);
        }
    }
    let together = |by_endpoint: &[Vec<f64>; 2]| by_endpoint.concat();
    let (killed, silent) = (together(&all.killed), together(&all.silent));
    println!("\n  seconds to media     times     p50     p99     max");
    let rows = [
        ("killed, endpoint up", &all.killed[0]),
        ("killed, endpoint down", &all.killed[1]),
        ("killed", &killed),
        ("silent, endpoint up", &all.silent[0]),
        ("silent, endpoint down", &all.silent[1]),
    ];
    let mut figures = serde_json::Map::new();
    for (name, times) in rows {
        let (line, object) = summary(name, times);
        println!("{line}");
        figures.insert(name.replace(", ", "_").replace(' ', "_"), object);
    }
    println!();
    report.write("failover.json", &Value::Object(figures))?;
    let p99 = sorted(&killed);
    let p99 = percentile(&p99, 0.99);
    report.expect(
        p99 <= KILLED_TARGET_S,
        format!(
            "{} streamers killed: media again after {p99:.2} s in 99 of 100 (at most {KILLED_TARGET_S} s)",
            killed.len()
        ),
    );
    let longest = sorted(&silent).last().copied().unwrap_or(f64::NAN);
    report.expect(
        longest <= SILENT_TARGET_S,
        format!(
            "{} streamers silent: media again after {longest:.2} s at the most (at most {SILENT_TARGET_S} s)",
            silent.len()
        ),
    );
    Ok(())
}

fn sorted(times: &[f64]) -> Vec<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn summary(name: &str, times: &[f64]) -> (String, Value) {
    let sorted = sorted(times);
    let at = |part| round(percentile(&sorted, part));
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let line = format!("  {name:<21}{:>5}{p50:>8.2}{p99:>8.2}{max:>8.2}", times.len());
    let all: Vec<f64> = times.iter().map(|time| round(*time)).collect();
    let object = json!({"times": times.len(), "p50_s": p50, "p99_s": p99, "max_s": max, "all_s": all});
    (line, object)
}

fn one_fleet(dir: &TestDir, kills: usize, silences: usize) -> Result<Times> {
    let mut scene = Scene::start(dir)?;
    let mut times = Times::default();
    for endpoint_down in [false, true] {
        if endpoint_down {
            scene.fleet.endpoint.kill();
            scene.watch(WATCHED).context("after the endpoint was killed")?;
        }
        let up = usize::from(endpoint_down);
        for number in 0..kills + silences {
            let more = Duration::from_millis(rand::rng().random_range(0..1000));
            scene.watch(WATCHED + more)?;
            let gone = scene.at();
            let silent = number >= kills;
            let streamer = &mut scene.fleet.streamers[gone];
            if silent {
                streamer.process.signal(FREEZE);
            } else {
                streamer.kill();
            }
            let what = if silent { "silent" } else { "killed" };
            let took = scene.media_within(LIMIT, Some(gone)).with_context(|| {
                format!(
                    "{what} {number}, endpoint {}",
                    if endpoint_down { "down" } else { "up" }
                )
            })?;
            let times = if silent {
                &mut times.silent
            } else {
                &mut times.killed
            };
            times[up].push(took.as_secs_f64());
            scene.fleet.streamers[gone].start_again();
            if !endpoint_down {
                scene.fleet.wait_joined(gone);
            }
        }
    }
    Ok(times)
}
