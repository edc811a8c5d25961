//! Jobs: this program, started again for a short task with what the agent must not have. One at a time, at low priority,
//! with a deadline, and what it says goes to a file of bounded size in the run folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::config::{Config, HardenMode};
use crate::{cli, sys};

/// The variable that tells a job its monitor's process.
pub const JOB: &str = "LENSCAP_MONITOR";
/// The first runs come after the agent's start, which is more urgent.
const FIRST_DELAY: Duration = Duration::from_secs(5);
/// A look that a change asked for comes no sooner after the last one's end.
const LOOK_GAP: Duration = Duration::from_secs(10);
/// An audit that a gateway asked for: it must not keep the camera busy by asking.
const AUDIT_GAP: Duration = Duration::from_secs(600);
/// Changes of files that come together are one.
const SETTLE: Duration = Duration::from_secs(2);
/// No file that a job writes is larger: neither its answer nor anything it saves.
const MAX_FILE_BYTES: u32 = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A task.
#[derive(Debug)]
pub(super) struct Kind {
    /// The command, which this program may not have.
    args: &'static [&'static str],
    /// Where its answer is, in the run folder.
    file: &'static str,
    /// Who may read the answer.
    mode: u32,
    max_bytes: u64,
    deadline: Duration,
    /// Least time between the end of a run and one that was asked for.
    gap: Duration,
    /// How often; `None`: what the configuration says of hardening.
    every: Option<Duration>,
}

/// Looks whether hardening holds. Everybody may read what it says: it names no address and no secret.
pub(super) const HARDEN: usize = 0;
/// A full report.
pub(super) const AUDIT: usize = 2;

/// All of them. Of those that are due at the same time the first goes first: the accounts of flows, which take a moment, wait
/// for no audit.
const KINDS: [Kind; 3] = [
    Kind {
        args: &["harden", "--recheck", "--json"],
        file: super::state::HARDENING_FILE,
        mode: 0o644,
        max_bytes: 8 * 1024,
        deadline: Duration::from_secs(120),
        gap: LOOK_GAP,
        every: None,
    },
    Kind {
        args: &["flows", "--sample", "--json"],
        file: crate::run::FLOWS_FILE,
        mode: 0o600,
        max_bytes: 512 * 1024,
        deadline: Duration::from_secs(20),
        gap: MINUTE,
        every: Some(MINUTE),
    },
    Kind {
        args: &["audit", "--json"],
        file: crate::run::AUDIT_FILE,
        mode: 0o600,
        max_bytes: 256 * 1024,
        deadline: Duration::from_secs(180),
        gap: AUDIT_GAP,
        every: Some(DAY),
    },
];

/// The files that jobs leave for the agent.
pub(super) fn files(run_dir: &Path) -> impl Iterator<Item = PathBuf> {
    KINDS.iter().map(|kind| run_dir.join(kind.file))
}

#[derive(Debug)]
struct Running {
    kind: usize,
    child: Child,
    deadline: Duration,
    /// Its answer, and where that goes.
    output: PathBuf,
    target: PathBuf,
    killed: bool,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) kind: usize,
    /// Why there is no answer of it.
    pub(super) failure: Option<String>,
}

/// What is due, and what runs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// When each is due next. `None`: never.
    due: [Option<Duration>; KINDS.len()],
    /// When each ended last.
    ended: [Option<Duration>; KINDS.len()],
    running: Option<Running>,
}

impl Jobs {
    pub(super) fn new(now: Duration, config: &Config) -> Self {
        let mut jobs = Self::default();
        jobs.configure(now, config);
        jobs
    }

    /// Takes another configuration: jobs that it has no more stop, others keep their turn.
    pub(super) fn configure(&mut self, now: Duration, config: &Config) {
        for (due, kind) in self.due.iter_mut().zip(&KINDS) {
            *due = match (every(kind, config), *due) {
                (Some(every), Some(at)) => Some(at.min(now + every)),
                (Some(_), None) => Some(now + FIRST_DELAY),
                (None, _) => None,
            };
        }
    }

    /// Asks for a run before its turn.
    pub(super) fn ask(&mut self, now: Duration, kind: usize) {
        let gap = KINDS.get(kind).map_or(DAY, |kind| kind.gap);
        let ended = self.ended.get(kind).copied().flatten();
        let earliest = ended.map_or(now, |end| end + gap);
        if let Some(Some(due)) = self.due.get_mut(kind) {
            *due = (*due).min(earliest.max(now + SETTLE));
        }
    }

    /// When there is something to do.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match &self.running {
            Some(running) if running.killed => None,
            Some(running) => Some(running.deadline),
            None => self.due.iter().flatten().min().copied(),
        }
    }

    /// Starts what is due, or ends what takes too long.
    pub(super) fn handle_timeout(
        &mut self,
        now: Duration,
        config_path: &Path,
        config: &Config,
    ) -> Option<Ended> {
        if let Some(running) = &mut self.running {
            if now >= running.deadline && !running.killed {
                running.kill();
            }
            return None;
        }
        let due = |(_, due): &(usize, &Option<Duration>)| due.is_some_and(|due| now >= due);
        let (index, _) = self
            .due
            .iter()
            .enumerate()
            .filter(due)
            .min_by_key(|(_, due)| **due)?;
        let kind = KINDS.get(index)?;
        let next = every(kind, config).map(|every| now + every);
        if let Some(due) = self.due.get_mut(index) {
            *due = next;
        }
        match start(now, index, kind, config_path, &config.agent.run_dir) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                return Some(Ended {
                    kind: index,
                    failure: Some(format!("it cannot be started: {error}")),
                });
            }
        }
        None
    }

    /// Buries a run that has ended, and publishes its answer.
    pub(super) fn reap(&mut self, now: Duration) -> Option<Ended> {
        let running = self.running.as_mut()?;
        let status = running.child.try_wait().ok().flatten()?;
        let running = self.running.take()?;
        if let Some(ended) = self.ended.get_mut(running.kind) {
            *ended = Some(now);
        }
        let failure = running.publish(status).err();
        if failure.is_some() {
            let _ = fs::remove_file(&running.output);
        }
        Some(Ended {
            kind: running.kind,
            failure,
        })
    }

    /// Ends what runs, for the monitor's own end.
    pub(super) fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
            let _ = running.child.wait();
            let _ = fs::remove_file(&running.output);
        }
    }
}

impl Running {
    /// With what it has started itself.
    fn kill(&mut self) {
        self.killed = true;
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    fn publish(&self, status: ExitStatus) -> Result<(), String> {
        let Some(kind) = KINDS.get(self.kind) else {
            return Ok(());
        };
        if self.killed {
            return Err(format!("it took longer than {} s", kind.deadline.as_secs()));
        }
        let Some(code) = status.code() else {
            return Err("it was killed".into());
        };
        let size = fs::metadata(&self.output)
            .map_err(|error| error.to_string())?
            .len();
        if size == 0 {
            return Err(format!("it said nothing (exit status {code})"));
        }
        if size > kind.max_bytes {
            return Err(format!("it said more than {} bytes", kind.max_bytes));
        }
        let published = fs::set_permissions(&self.output, fs::Permissions::from_mode(kind.mode))
            .and_then(|()| fs::rename(&self.output, &self.target));
        published.map_err(|error| error.to_string())
    }
}

fn every(kind: &Kind, config: &Config) -> Option<Duration> {
    let known = kind.args.first().is_some_and(|command| cli::knows(command));
    let wanted = match kind.every {
        Some(_) => config.agent.reports,
        None => config.harden.mode != HardenMode::Off,
    };
    (known && wanted).then_some(kind.every.unwrap_or(config.harden.recheck))
}

/// Called first in every process of this program: one that the monitor started as a job ends with it, for nobody else knows
/// how long it may take. False if the monitor is gone already.
#[must_use]
pub fn obey_job() -> bool {
    let monitor = std::env::var(JOB).ok().and_then(|pid| pid.parse().ok());
    monitor.is_none_or(|pid| sys::die_with_parent(pid).is_ok())
}

fn start(
    now: Duration,
    index: usize,
    kind: &Kind,
    config_path: &Path,
    run_dir: &Path,
) -> io::Result<Running> {
    super::make_run_dir(run_dir)?;
    let target = run_dir.join(kind.file);
    let output = target.with_extension("out");
    let file = create(&output)?;
    let child = Command::new("/proc/self/exe")
        .arg0("lenscap")
        .args(kind.args)
        .arg("--config")
        .arg(config_path)
        .env_clear()
        .env(JOB, std::process::id().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file)
        .process_group(0)
        .spawn()?;
    // The camera's own work comes first, and a file that grows for ever ends it.
    sys::make_minor(child.id(), MAX_FILE_BYTES);
    Ok(Running {
        kind: index,
        child,
        deadline: now + kind.deadline,
        output,
        target,
        killed: false,
    })
}

/// A new file for root alone, whatever lies there.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// What stands in for a look at hardening that gave no answer.
pub(super) fn unknown(now: Duration, why: &str) -> String {
    let mut lines = crate::flat::Lines::default();
    lines.string("event", "rechecked");
    lines.string("verdict", "unknown");
    lines.string("reason", why);
    lines.number("looked_s", now.as_secs());
    lines.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read as _};
    use std::os::fd::AsFd as _;

    fn config(harden: &str) -> Config {
        let text = format!(
            "config uplink 'main'\n\toption endpoint 'https://localhost/x'\nconfig profile 'main'\n\toption rtsp 'rtsp://127.0.0.1/x'\n{harden}"
        );
        crate::config::parse("test", &text).unwrap().config
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn turns_follow_the_configuration_and_requests_wait_their_gap() {
        let off = config("");
        let on = config("config harden\n\toption recheck '60'\n");
        let mut jobs = Jobs::new(100 * SECOND, &off);
        assert_eq!(jobs.due[HARDEN], None);
        jobs.ask(100 * SECOND, HARDEN);
        assert_eq!(jobs.due[HARDEN], None, "what is off stays off");
        jobs.configure(200 * SECOND, &on);
        assert_eq!(jobs.due[HARDEN], Some(205 * SECOND));
        jobs.due[HARDEN] = Some(260 * SECOND);
        jobs.ended[HARDEN] = Some(210 * SECOND);
        jobs.ask(211 * SECOND, HARDEN);
        assert_eq!(jobs.due[HARDEN], Some(220 * SECOND));
        jobs.ask(218 * SECOND, HARDEN);
        assert_eq!(jobs.due[HARDEN], Some(220 * SECOND), "several are one");
        jobs.due[HARDEN] = Some(600 * SECOND);
        jobs.ask(400 * SECOND, HARDEN);
        assert_eq!(jobs.due[HARDEN], Some(402 * SECOND));
        jobs.configure(300 * SECOND, &off);
        assert_eq!(jobs.due[HARDEN], None);
        // What this program does not know is never started.
        for kind in [1, AUDIT] {
            let command = KINDS[kind].args[0];
            assert_eq!(jobs.due[kind].is_some(), cli::knows(command), "{command}");
        }
        jobs.configure(300 * SECOND, &config("config agent\n\toption reports '0'\n"));
        assert_eq!(jobs.due, [None; KINDS.len()]);
    }

    /// A run of something else than this program, and a pipe that is open for as long as any of its processes lives.
    fn running(dir: &Path, script: &str) -> (Jobs, PipeReader) {
        let output = dir.join("harden.out");
        let (lives, held) = io::pipe().unwrap();
        let child = Command::new("sh")
            .args(["-c", script])
            .stdout(create(&output).unwrap())
            .stderr(held)
            .process_group(0)
            .spawn()
            .unwrap();
        sys::make_minor(child.id(), MAX_FILE_BYTES);
        let running = Running {
            kind: HARDEN,
            child,
            deadline: sys::monotonic() + SECOND,
            output,
            target: dir.join("harden.json"),
            killed: false,
        };
        let jobs = Jobs {
            running: Some(running),
            ..Jobs::default()
        };
        (jobs, lives)
    }

    /// Bytes that came through the pipe; none at its end.
    fn read(lives: &mut PipeReader) -> usize {
        let [ready] = sys::wait_readable([Some(lives.as_fd())], Some(30 * SECOND)).unwrap();
        assert!(ready, "nothing happens");
        lives.read(&mut [0; 64]).unwrap()
    }

    fn wait(mut jobs: Jobs, mut lives: PipeReader) -> Ended {
        while read(&mut lives) > 0 {}
        // It closes its descriptors a moment before it can be buried.
        jobs.running.as_mut().unwrap().child.wait().unwrap();
        jobs.reap(sys::monotonic()).unwrap()
    }

    #[test]
    fn answers_are_published_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let published = || fs::read_to_string(dir.path().join("harden.json")).unwrap_or_default();
        let (jobs, lives) = running(dir.path(), "echo answer; exit 1");
        assert_eq!(wait(jobs, lives).failure, None);
        assert_eq!(published(), "answer\n");
        let mode = fs::metadata(dir.path().join("harden.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
        for (script, why) in [
            ("exit 3", "said nothing (exit status 3)"),
            ("head -c 9000 /dev/zero", "said more than 8192 bytes"),
            ("exec cat /dev/zero", "was killed"),
        ] {
            let (jobs, lives) = running(dir.path(), script);
            let failure = wait(jobs, lives).failure.unwrap();
            assert!(failure.contains(why), "{failure}");
            assert_eq!(published(), "answer\n");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_takes_too_long_ends_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let (mut jobs, mut lives) = running(dir.path(), "sleep 1000 & echo started >&2; wait");
        assert!(read(&mut lives) > 0);
        let config = config("");
        let late = sys::monotonic() + 2 * SECOND;
        assert!(jobs.poll_timeout().unwrap() < late);
        assert_eq!(jobs.handle_timeout(late, Path::new("/"), &config), None);
        assert_eq!(jobs.poll_timeout(), None, "nothing is due until it is gone");
        let ended = wait(jobs, lives);
        assert!(ended.failure.unwrap().contains("longer than 120 s"));
    }
}
