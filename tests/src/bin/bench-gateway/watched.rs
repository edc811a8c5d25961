//! A gateway with many cameras, each watched: the camera's own program, one of each camera, a player for each.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lenscap_tests::harness::agent::{Agent, AgentConfig};
use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::gateway::VIEWER;
use lenscap_tests::harness::process::START_LIMIT;
use lenscap_tests::harness::{Codec, Pki, Process, Simcam, TestDir, tools, wait};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::idle::Server;
use super::report::{Report, round};

const BITS_PER_SECOND: u64 = 2_000_000;
const GIB: f64 = (1u64 << 30) as f64;
/// All must be there, and play, by then.
const COME_LIMIT: Duration = Duration::from_secs(120);
/// Of what the cameras send, so much must arrive: else the machine was too slow, and the figure says nothing.
const LEAST_PART: f64 = 0.95;

/// Measures a gateway with so many cameras for so many seconds.
pub(crate) fn run(cameras: usize, seconds: u64, report: &mut Report) -> Result<()> {
    super::limits::raise()?;
    report.say(&format!("{cameras} cameras of 2 Mbit/s, each watched"));
    let dir = TestDir::new("bench-gateway::watched");
    let pki = Pki::new(&dir);
    let camera = Simcam::file(Codec::H264, BITS_PER_SECOND)
        .arg("--max-sessions")
        .arg(&(2 * cameras).to_string())
        .auth("none")
        .start(&dir);
    let clients: Vec<_> = (0..cameras)
        .map(|index| pki.client(&format!("c{index}")))
        .collect();
    let fingerprints: Vec<String> = clients.iter().map(|client| client.fingerprint()).collect();
    let password = dir.write_secret("viewer.password", VIEWER.1);
    let viewer = format!(
        "[[viewer]]\nuser = \"{}\"\npassword_file = {password:?}\n",
        VIEWER.0
    );
    let server = Server::start(&dir, &pki.leaf(Leaf::Good), &fingerprints, &viewer);
    let endpoint = format!(
        "https://localhost:{}/onvif/uplink",
        server.address("uplink").rsplit_once(':').context("a port")?.1
    );
    let agents: Vec<Agent> = clients
        .iter()
        .enumerate()
        .map(|(index, client)| {
            let mut config = AgentConfig::new(&endpoint, &pki, client).profile(camera.profile("main"));
            config.log_level = "info".to_owned();
            Agent::start(&dir.subdir(&format!("camera-{index}")), &config)
        })
        .collect();
    let all_there = || server.metric("uplinks").filter(|up| *up == cameras as f64);
    wait::within(COME_LIMIT, all_there).context("not all cameras came")?;
    let sinks: Vec<Process> = (0..cameras)
        .map(|index| sink(&dir, &server.address("rtsp"), index, &password))
        .collect();
    let all_play = || server.metric("sessions").filter(|up| *up == cameras as f64);
    wait::within(COME_LIMIT, all_play).context("not all cameras play")?;
    wait::measure_for(Duration::from_secs(3));

    let pid = server.process.pid();
    let (began, cpu_before, bytes_before) = (Instant::now(), cpu_seconds(pid)?, carried(&server)?);
    wait::measure_for(Duration::from_secs(seconds));
    let (cpu, bytes) = (cpu_seconds(pid)? - cpu_before, carried(&server)? - bytes_before);
    let took = began.elapsed().as_secs_f64();
    dir.write("stop", "");
    let (mut packets, mut gaps, mut torn) = (0, 0, 0);
    for mut sink in sinks {
        sink.wait_exit(START_LIMIT);
        let seen: Value = serde_json::from_str(&sink.stdout_text()).context("a player's report")?;
        ensure!(seen["ok"] == true, "a player failed: {seen}");
        let track = &seen["tracks"][0];
        let figure = |name: &str| track[name].as_u64().unwrap_or(0);
        packets += figure("packets");
        gaps += figure("gaps");
        torn += figure("torn");
    }
    drop(agents);
    let mbit_s = bytes * 8.0 / took / 1e6;
    let part = mbit_s * 1e6 / (cameras as u64 * BITS_PER_SECOND) as f64;
    ensure!(
        part >= LEAST_PART,
        "only {mbit_s:.0} Mbit/s arrived: this machine is too slow, or busy"
    );
    report.expect(
        gaps == 0 && torn == 0,
        format!("{cameras} watched cameras: {packets} packets, {gaps} gaps, {torn} torn pictures (none)"),
    );
    report.row(json!({
        "watched": cameras,
        "mbit_s_each": 2,
        "cpu_s_per_gib": round(cpu / (bytes / GIB)),
        "cpu_ms_per_s": round(cpu * 1e3 / took),
        "mbit_s": round(mbit_s),
        "packets": packets,
        "gaps": gaps,
        "torn": torn,
    }))?;
    report.table(&[
        ("watched", "watched cameras"),
        ("mbit_s", "Mbit/s together"),
        ("cpu_s_per_gib", "CPU s/GiB"),
        ("cpu_ms_per_s", "CPU ms/s"),
        ("gaps", "gaps"),
    ]);
    Ok(())
}

fn sink(dir: &TestDir, rtsp: &str, index: usize, password: &std::path::Path) -> Process {
    let mut command = Command::new(tools::own("rtp-sink"));
    command
        .arg(format!("rtsp://{rtsp}/c{index}/main"))
        .args([
            "--user",
            VIEWER.0,
            "--seconds",
            "600",
            "--timeout",
            "60",
            "--password-file",
        ])
        .arg(password)
        .arg("--stop-file")
        .arg(dir.join("stop"));
    Process::start(&dir.subdir(&format!("camera-{index}")), "sink", &command)
}

/// Bytes that went to viewers.
fn carried(server: &Server) -> Result<f64> {
    let metric = server.metric("bytes_total{direction=\"Down\"}");
    metric.context("no metric for bytes")
}

/// User and system time of all its threads, by the scheduler's own account.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?))?;
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
