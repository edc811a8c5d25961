//! The independent gateway in Python: one scenario a run, reported as JSON lines.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certs::CertFiles;
use super::dir::{TestDir, workspace_root};
use super::process::{Process, START_LIMIT};
use super::{tools, wait};

/// A running `tests/pygateway`.
#[derive(Debug)]
pub struct PyGateway {
    /// The process.
    pub process: Process,
    /// The port uplinks are taken on.
    pub port: u16,
}

impl PyGateway {
    /// Starts one scenario with this server certificate.
    #[track_caller]
    pub fn start(dir: &TestDir, server: &CertFiles, scenario: &str, args: &[&str]) -> Self {
        let mut command = Command::new(tools::venv_python());
        command
            .current_dir(workspace_root().join("tests"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-m", "pygateway", "--scenario", scenario])
            .arg("--cert")
            .arg(&server.cert)
            .arg("--key")
            .arg(&server.key)
            .args(args);
        let mut process = Process::start(dir, "pygateway", &command);
        let event = process.wait_event("listening", START_LIMIT);
        let port = ["port", "uplink", "address"]
            .iter()
            .find_map(|name| match &event[name] {
                Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
                Value::String(text) => text.rsplit(':').next().and_then(|n| n.parse().ok()),
                _ => None,
            })
            .unwrap_or_else(|| panic!("no port in {event}"));
        Self { process, port }
    }

    /// `https://localhost:<port>/onvif/uplink`.
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}/onvif/uplink", self.port)
    }

    /// The same for the WebSocket carrier.
    pub fn websocket_endpoint(&self) -> String {
        format!("wss://localhost:{}/onvif/uplink", self.port)
    }

    /// All events of this kind so far.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.process
            .stdout_text()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["event"] == kind)
            .collect()
    }

    /// Waits for an event of this kind.
    #[track_caller]
    pub fn wait_event(&mut self, kind: &str, limit: Duration) -> Value {
        self.process.wait_event(kind, limit)
    }

    /// Waits for the scenario's end, which must be a good one; gives the result.
    #[track_caller]
    pub fn wait_ok(&mut self, limit: Duration) -> Value {
        let end = Instant::now() + limit;
        let result = wait::within(limit, || {
            let result = self.events("result").pop();
            if result.is_none() && self.process.exited().is_some() {
                panic!(
                    "the Python gateway ended without a result\n{}",
                    self.process.log()
                );
            }
            result
        });
        let Some(result) = result else {
            panic!(
                "no result from the Python gateway within {limit:?}\n{}",
                self.process.log()
            )
        };
        assert_eq!(
            result["ok"],
            true,
            "the Python gateway's scenario failed\n{}",
            self.process.log()
        );
        assert!(
            self.process
                .wait_exit(end.saturating_duration_since(Instant::now()).max(START_LIMIT))
                .success()
        );
        result
    }
}
