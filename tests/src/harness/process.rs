//! Child processes with their output in files, killed with their group when dropped.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::dir::TestDir;
use super::{tools, wait};

/// How long a program may take to say that it listens.
pub const START_LIMIT: Duration = Duration::from_secs(20);
/// Lines of each log shown when a test fails.
const TAIL_LINES: usize = 40;

/// A running program. Its stdout and stderr are files in the test's folder.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    exit: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
    quiet: bool,
}

impl Process {
    /// Starts `command` in a process group of its own. It dies with the thread that started it.
    #[track_caller]
    pub fn start(dir: &TestDir, name: &str, command: &Command) -> Self {
        let stdout = unused(dir, name, "out");
        let stderr = unused(dir, name, "err");
        let mut wrapped = Command::new(tools::outside("setpriv"));
        wrapped
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("cannot make a log file"))
            .stderr(File::create(&stderr).expect("cannot make a log file"))
            .process_group(0);
        let child = wrapped
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            exit: None,
            stdout,
            stderr,
            quiet: false,
        }
    }

    /// Runs `command` to its end, or kills it and panics after `limit`.
    #[track_caller]
    pub fn run(dir: &TestDir, name: &str, command: &Command, limit: Duration) -> Finished {
        let mut process = Self::start(dir, name, command);
        let status = process.wait_exit(limit);
        Finished {
            status,
            stdout: process.stdout_text(),
            stderr: process.stderr_text(),
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout so far.
    pub fn stdout_text(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it wrote to stderr so far.
    pub fn stderr_text(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        self.stdout_text() + &self.stderr_text()
    }

    /// Waits for the JSON line on stdout whose `event` is this one.
    #[track_caller]
    pub fn wait_event(&mut self, event: &str, limit: Duration) -> Value {
        let what = format!("{}: event {event:?} on stdout", self.name);
        let end = Instant::now() + limit;
        loop {
            let text = self.stdout_text();
            let found = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|value| value.get("event").and_then(Value::as_str) == Some(event));
            if let Some(value) = found {
                return value;
            }
            if let Some(status) = self.exited() {
                panic!("{what}: it ended instead ({status})\n{}", self.tail());
            }
            assert!(
                Instant::now() < end,
                "{what}: did not come within {limit:?}\n{}",
                self.tail()
            );
            wait::measure_for(Duration::from_millis(10));
        }
    }

    /// Waits until a line of its log (either stream) satisfies `matches`, and gives that line.
    #[track_caller]
    pub fn wait_log(&mut self, what: &str, limit: Duration, matches: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + limit;
        loop {
            if let Some(line) = self.log().lines().find(|line| matches(line)) {
                return line.to_owned();
            }
            assert!(
                Instant::now() < end,
                "{}: no log line for {what:?} within {limit:?}\n{}",
                self.name,
                self.tail()
            );
            wait::measure_for(Duration::from_millis(20));
        }
    }

    /// Sends a signal to the program itself.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.nix_pid(), signal);
    }

    /// The exit status, when it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("a child can be waited for");
        }
        self.exit
    }

    /// Panics when it is no longer running.
    #[track_caller]
    pub fn assert_running(&mut self) {
        if let Some(status) = self.exited() {
            panic!(
                "{} ended ({status}) but had to stay up\n{}",
                self.name,
                self.tail()
            );
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = wait::within(limit, || self.exited()) {
            return status;
        }
        panic!("{} did not end within {limit:?}\n{}", self.name, self.tail());
    }

    /// Kills it and its group now.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            let _ = killpg(self.nix_pid(), Signal::SIGKILL);
            self.exit = self.child.wait().ok();
        }
    }

    /// Keeps its log out of a failure's output (players print much).
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"))
    }

    fn tail(&self) -> String {
        let mut text = String::new();
        for (stream, path) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let content = read_lossy(path);
            let lines: Vec<&str> = content.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            if !lines.is_empty() {
                text += &format!(
                    "--- {} {stream} ({})\n{}\n",
                    self.name,
                    path.display(),
                    lines[from..].join("\n")
                );
            }
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = killpg(self.nix_pid(), Signal::SIGKILL);
        if std::thread::panicking() && !self.quiet {
            eprintln!("{}", self.tail());
        }
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Finished {
    /// Panics unless it ended with 0; gives itself back.
    #[track_caller]
    pub fn success(self, what: &str) -> Self {
        assert!(
            self.status.success(),
            "{what} failed ({}, signal {:?})\n{}\n{}",
            self.status,
            self.status.signal(),
            self.stdout,
            self.stderr
        );
        self
    }

    /// Both streams.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

fn unused(dir: &TestDir, name: &str, suffix: &str) -> PathBuf {
    let first = dir.join(&format!("{name}.{suffix}"));
    if !first.exists() {
        return first;
    }
    (2..1000)
        .map(|n| dir.join(&format!("{name}-{n}.{suffix}")))
        .find(|path| !path.exists())
        .expect("a test starts fewer than a thousand of one program")
}

fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
