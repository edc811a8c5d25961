//! Idle uplinks on one gateway: what each costs, how fast they come, and how they come back when it starts again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64ct::{Base64, Encoding as _};
use lenscap_tests::harness::certs::{CertFiles, Leaf, hex};
use lenscap_tests::harness::process::START_LIMIT;
use lenscap_tests::harness::{Pki, Process, TestDir, http, stat, tools, wait};
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::clock::monotonic_ms;
use super::plot::{self, Panel};
use super::report::{Report, round};

/// Target for an idle uplink, KiB.
const TARGET_KIB: f64 = 48.0;
/// Cameras of one process.
const PER_PROCESS: usize = 2500;
/// All must have come by then.
const COME_LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Past the first PING of either side, and with what is asked of a new uplink answered.
const SETTLE: Duration = Duration::from_secs(30);
/// The count whose return is drawn, and for how long the gateway is away then.
const DRAWN: usize = 2000;
const AWAY: Duration = Duration::from_secs(60);
/// Of cameras that come back, at most this part in the busiest time of the given length (ms): evenly spread over the two
/// seconds after a restart it would be 14 %, and after a minute of back-off up to 30 s it is 7 %. More is left to a
/// machine that stalls for a moment.
const BUSIEST: [(f64, f64); 2] = [(250.0, 0.25), (1000.0, 0.12)];

/// A gateway with a configuration of its own, on the same ports at each start.
pub(crate) struct Server {
    dir: TestDir,
    config: PathBuf,
    /// The process.
    pub(crate) process: Process,
    /// What it listens on.
    pub(crate) listening: Value,
}

impl Server {
    /// Starts it for cameras with these fingerprints, named `c0`, `c1`, ...; gives it after it listens.
    pub(crate) fn start(dir: &TestDir, cert: &CertFiles, fingerprints: &[String], extra: &str) -> Self {
        let text = |port: u16| {
            let mut text = format!(
                "[uplink]\nlisten = \"127.0.0.1:{port}\"\ncert = {:?}\nkey = {:?}\n\
                 [rtsp]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n{extra}",
                cert.cert, cert.key
            );
            for (index, fingerprint) in fingerprints.iter().enumerate() {
                text += &format!("[[camera]]\nname = \"c{index}\"\nfingerprint = \"{fingerprint}\"\n");
            }
            text
        };
        let config = dir.write_secret("gateway.toml", text(0));
        let (process, listening) = spawn(dir, &config);
        let port = address(&listening, "uplink")
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or_default();
        // From now on the same port again.
        dir.write_secret("gateway.toml", text(port));
        Self {
            dir: dir.clone(),
            config,
            process,
            listening,
        }
    }

    pub(crate) fn address(&self, name: &str) -> String {
        address(&self.listening, name)
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn start_again(&mut self) {
        (self.process, self.listening) = spawn(&self.dir, &self.config);
    }

    /// A figure of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let reply = http::get(&self.address("http"), "/metrics").ok()?;
        let wanted = format!("lenscap_gateway_{name} ");
        let text = reply.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&wanted))?;
        line.trim().parse().ok()
    }

    fn wait_uplinks(&self, count: usize) -> Result<()> {
        // Seldom: whoever asks has a part in what the gateway needs.
        let all = || {
            wait::measure_for(LOOK_EVERY);
            self.metric("uplinks").filter(|up| *up == count as f64)
        };
        wait::within(COME_LIMIT, all)
            .map(drop)
            .with_context(|| format!("only {:?} of {count} uplinks came up", self.metric("uplinks")))
    }
}

fn spawn(dir: &TestDir, config: &Path) -> (Process, Value) {
    let mut command = Command::new(tools::own("lenscap-gateway"));
    command.args(["run", "--config"]).arg(config);
    let mut process = Process::start(dir, "gateway", &command);
    let listening = process.wait_event("listening", START_LIMIT);
    (process, listening)
}

fn address(listening: &Value, name: &str) -> String {
    listening[name].as_str().unwrap_or_default().to_owned()
}

/// Keys of cameras, made once.
struct Keys {
    file: PathBuf,
    fingerprints: Vec<String>,
}

impl Keys {
    fn make(dir: &TestDir, count: usize) -> Result<Self> {
        let (mut lines, mut fingerprints) = (Vec::new(), Vec::new());
        for number in 0..count {
            let mut params = CertificateParams::new(Vec::<String>::new())?;
            let name = format!("lenscap-BENCH-{number:06}");
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate()?;
            let cert = params.self_signed(&key)?;
            let (cert, secret) = (
                Base64::encode_string(cert.der()),
                Base64::encode_string(&key.serialize_der()),
            );
            writeln!(lines, "{cert} {secret}")?;
            fingerprints.push(format!(
                "sha256:{}",
                hex(&Sha256::digest(key.subject_public_key_info()))
            ));
        }
        Ok(Self {
            file: dir.write_secret("keys", lines),
            fingerprints,
        })
    }
}

/// The processes with the cameras.
struct Crowd {
    /// Killed with the value.
    _processes: Vec<Process>,
    events: Vec<PathBuf>,
}

impl Crowd {
    fn start(dir: &TestDir, server: &Server, keys: &Keys, ca: &Path, count: usize) -> Result<Self> {
        let (mut processes, mut events) = (Vec::new(), Vec::new());
        // Two at the least: one core of its own is not what the gateway is to wait for.
        let size = PER_PROCESS.min(count.div_ceil(2));
        for first in (0..count).step_by(size) {
            let file = dir.join(&format!("cameras-{first}"));
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["agents", "--gateway", &server.address("uplink"), "--keys"])
                .arg(&keys.file)
                .arg("--ca")
                .arg(ca)
                .args(["--first", &first.to_string()])
                .args(["--count", &size.min(count - first).to_string(), "--events"])
                .arg(&file);
            processes.push(Process::start(dir, "agents", &command));
            events.push(file);
        }
        Ok(Self {
            _processes: processes,
            events,
        })
    }

    /// What happened since then: time, camera, and what.
    fn since(&self, start_ms: f64, what: &str) -> Vec<(f64, usize)> {
        let mut found = Vec::new();
        for file in &self.events {
            for line in fs::read_to_string(file).unwrap_or_default().lines() {
                let mut words = line.split(' ');
                let at = words.next().and_then(|word| word.parse::<f64>().ok());
                let camera = words.next().and_then(|word| word.parse().ok());
                if let (Some(at), Some(camera), Some(said)) = (at, camera, words.next())
                    && at >= start_ms
                    && said == what
                {
                    found.push((at - start_ms, camera));
                }
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found
    }
}

/// Measures each count on a gateway of its own.
pub(crate) fn run(counts: &[usize], report: &mut Report) -> Result<()> {
    super::limits::raise()?;
    let dir = TestDir::new("bench-gateway::idle");
    let most = counts.iter().copied().max().unwrap_or(0);
    report.say(&format!("keys of {most} cameras"));
    let keys = Keys::make(&dir, most)?;
    let pki = Pki::new(&dir);
    let cert = pki.leaf(Leaf::Good);
    for &count in counts {
        let place = dir.subdir(&count.to_string());
        let bench = Bench {
            dir: place,
            keys: &keys,
            cert: &cert,
            ca: pki.ca_file(),
            count,
        };
        let drawn = count == DRAWN || count == most && most < DRAWN;
        let row = bench.run(drawn, report)?;
        report.row(row)?;
    }
    report.table(&[
        ("idle_uplinks", "idle uplinks"),
        ("kib_per_uplink", "KiB each"),
        ("rss_mib", "RSS MiB"),
        ("idle_cpu_ms_per_s", "idle CPU ms/s"),
        ("handshakes_per_s", "handshakes/s"),
        ("handshake_cpu_ms", "CPU ms each"),
        ("reconnect_all_s", "all back, s"),
    ]);
    Ok(())
}

struct Bench<'a> {
    dir: TestDir,
    keys: &'a Keys,
    cert: &'a CertFiles,
    ca: PathBuf,
    count: usize,
}

impl Bench<'_> {
    fn run(&self, drawn: bool, report: &mut Report) -> Result<Value> {
        let count = self.count;
        report.say(&format!("{count} cameras"));
        let mut server = Server::start(&self.dir, self.cert, &self.keys.fingerprints, "");
        let pid = server.process.pid();
        server.metric("uplinks").context("no metric for uplinks")?;
        let (rss_before, cpu_before) = (stat::rss_kib(pid), stat::cpu_seconds(pid));
        let began_ms = monotonic_ms();
        let crowd = Crowd::start(&self.dir, &server, self.keys, &self.ca, count)?;
        server.wait_uplinks(count)?;
        let cpu_come = stat::cpu_seconds(pid) - cpu_before;
        let dials = crowd.since(began_ms, "dial");
        let ups = crowd.since(began_ms, "up");
        ensure!(
            ups.len() == count,
            "{} of {count} came at the first try",
            ups.len()
        );
        let took_ms = ups.last().map_or(0.0, |up| up.0) - dials.first().map_or(0.0, |dial| dial.0);
        let (settling, cpu_settling) = (Instant::now(), stat::cpu_seconds(pid));
        wait::measure_for(SETTLE);
        let idle_cpu = (stat::cpu_seconds(pid) - cpu_settling) / settling.elapsed().as_secs_f64();
        server.wait_uplinks(count)?;
        ensure!(
            crowd.since(began_ms, "down").is_empty(),
            "an idle uplink was lost"
        );
        let rss = stat::rss_kib(pid);
        let kib = (rss - rss_before) as f64 / count as f64;
        report.say(&format!(
            "{count} cameras: {kib:.1} KiB each; the gateway is killed and starts again"
        ));
        let restart = back(&mut server, &crowd, count, Duration::ZERO)?;
        let reconnect_all_s = restart.arrivals.last().copied().unwrap_or(f64::NAN) / 1e3;
        if count >= 10_000 {
            report.expect(
                kib <= TARGET_KIB,
                format!("an idle uplink at {count}: {kib:.1} KiB (at most {TARGET_KIB})"),
            );
        }
        if drawn {
            report.say(&format!(
                "{count} cameras: the gateway is away for {} s",
                AWAY.as_secs()
            ));
            let away = back(&mut server, &crowd, count, AWAY)?;
            draw(count, &[restart, away], report)?;
        }
        Ok(json!({
            "idle_uplinks": count,
            "kib_per_uplink": round(kib),
            "handshakes_per_s": round(count as f64 / (took_ms / 1e3)),
            "reconnect_all_s": round(reconnect_all_s),
            "handshake_cpu_ms": round(cpu_come * 1e3 / count as f64),
            "idle_cpu_ms_per_s": round(idle_cpu * 1e3),
            "rss_mib": round(rss as f64 / 1024.0),
        }))
    }
}

/// One return of all cameras; milliseconds since the gateway was killed.
struct Return {
    up_again: f64,
    arrivals: Vec<f64>,
    dials: Vec<f64>,
}

fn back(server: &mut Server, crowd: &Crowd, count: usize, away: Duration) -> Result<Return> {
    let killed_ms = monotonic_ms();
    server.kill();
    wait::measure_for(away);
    server.start_again();
    let up_again = monotonic_ms() - killed_ms;
    server.wait_uplinks(count)?;
    // The last arrival of each: a first one may have ended again.
    let last: BTreeMap<usize, f64> = crowd
        .since(killed_ms, "up")
        .into_iter()
        .map(|(at, camera)| (camera, at))
        .collect();
    ensure!(last.len() == count, "{} of {count} came back", last.len());
    let mut arrivals: Vec<f64> = last.into_values().collect();
    arrivals.sort_by(f64::total_cmp);
    let dials = crowd
        .since(killed_ms, "dial")
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    Ok(Return {
        up_again,
        arrivals,
        dials,
    })
}

/// The figures for the plot, and whether anybody came in a crowd.
fn draw(count: usize, returns: &[Return; 2], report: &mut Report) -> Result<()> {
    let mut panels = Vec::new();
    for (one, (span_ms, most)) in returns.iter().zip(BUSIEST) {
        let part = busiest(&one.arrivals, span_ms) as f64 / count as f64;
        report.expect(
            part <= most,
            format!(
                "{count} cameras, gateway away for {:.1} s: {:.1} % arrived in the busiest {:.1} s (at most {:.0} %)",
                one.up_again / 1e3,
                part * 100.0,
                span_ms / 1e3,
                most * 100.0
            ),
        );
        panels.push(json!({
            "up_again_ms": round(one.up_again),
            "arrivals_ms": one.arrivals,
            "dials_ms": one.dials,
            "busiest_ms": span_ms,
            "busiest_part": part,
        }));
    }
    let drawn: Vec<Panel<'_>> = returns
        .iter()
        .map(|one| Panel {
            title: format!(
                "{count} cameras; the gateway was killed and up again after {:.1} s",
                one.up_again / 1e3
            ),
            up_again: one.up_again,
            arrivals: &one.arrivals,
            dials: &one.dials,
        })
        .collect();
    plot::draw(report.out(), &drawn)?;
    report.write("arrivals.json", &json!({"cameras": count, "returns": panels}))
}

/// The most of these sorted times that lie within a span.
fn busiest(times: &[f64], span: f64) -> usize {
    let mut from = 0;
    let mut most = 0;
    for (at, time) in times.iter().enumerate() {
        while times.get(from).is_some_and(|first| time - first >= span) {
            from += 1;
        }
        most = most.max(at + 1 - from);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_span_is_found() {
        assert_eq!(busiest(&[0.0, 50.0, 99.0, 100.0, 250.0], 100.0), 3);
        assert_eq!(busiest(&[], 100.0), 0);
        assert_eq!(busiest(&[1.0, 1.0, 1.0], 1.0), 3);
    }
}
