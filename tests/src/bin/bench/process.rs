//! Processes the benchmark starts, what they cost, and their end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lenscap_tests::netns::{Namespace, ip};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(20);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What an interrupted benchmark must still remove.
static LEFTOVERS: Mutex<Leftovers> = Mutex::new(Leftovers {
    pids: BTreeSet::new(),
    namespaces: BTreeSet::new(),
});

struct Leftovers {
    pids: BTreeSet<u32>,
    namespaces: BTreeSet<String>,
}

fn leftovers() -> MutexGuard<'static, Leftovers> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a namespace for [`clean_up`].
pub(crate) fn remember_namespace(name: &str) {
    leftovers().namespaces.insert(name.to_owned());
}

/// Forgets a namespace that is deleted.
pub(crate) fn forget_namespace(name: &str) {
    leftovers().namespaces.remove(name);
}

/// Kills what still runs and deletes the namespaces: for the moment of a signal.
pub(crate) fn clean_up() {
    let left = leftovers();
    for &pid in &left.pids {
        kill_tree(pid);
    }
    for name in &left.namespaces {
        let _ = ip(&["netns", "del", name]);
    }
}

/// A program in a namespace. Its output goes to files; it and its children end with the value.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    pub(crate) fn start(
        namespace: &Namespace,
        dir: &Path,
        name: &str,
        command: &mut Command,
    ) -> Result<Self> {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        command
            .stdin(Stdio::piped())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?);
        let mut child = namespace.spawn(command)?;
        leftovers().pids.insert(child.id());
        let stdin = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            stdin,
            out,
            err,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote so far.
    pub(crate) fn log(&self) -> String {
        read(&self.out) + &read(&self.err)
    }

    /// Waits for a JSON line on stdout with this `event`.
    pub(crate) fn wait_event(&mut self, event: &str, limit: Duration) -> Result<serde_json::Value> {
        self.wait(event, limit, |process| {
            read(&process.out)
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|value| value["event"] == event)
        })
    }

    /// Waits until its log has a line with this text, and gives the line.
    pub(crate) fn wait_log(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.wait(text, limit, |process| {
            process
                .log()
                .lines()
                .find(|line| line.contains(text))
                .map(|line| line.trim().to_owned())
        })
    }

    fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let why = ended.map_or("it takes too long".to_owned(), |status| {
                    format!("it ended: {status}")
                });
                bail!("{} did not come to '{what}' ({why}):\n{}", self.name, self.tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends standard input, waits for the end of the program, and gives what it wrote to stdout.
    pub(crate) fn finish(mut self) -> Result<String> {
        drop(self.stdin.take());
        let end = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("{} does not end", self.name);
            }
            std::thread::sleep(POLL);
        }
        Ok(read(&self.out))
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill_tree(self.child.id());
        let _ = self.child.wait();
        leftovers().pids.remove(&self.child.id());
    }
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn kill_tree(root: u32) {
    for pid in tree(&[root]) {
        if let Ok(pid) = i32::try_from(pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// These processes and all their descendants.
fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found: Vec<u32> = roots.to_vec();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold spaces and brackets.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// User and system time of these programs with all their processes and threads, also threads that
/// have ended, in nanoseconds: the scheduler's own account, read through the process CPU clock.
pub(crate) fn cpu_ns(programs: &[Process]) -> Result<u64> {
    let mut total = 0;
    for pid in pids(programs) {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?))
            .with_context(|| format!("CPU clock of process {pid}"))?;
        let time = clock_gettime(clock)?;
        total += u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?;
    }
    Ok(total)
}

/// The largest resident sets of these programs' processes together, KiB. Processes of one program map the same pages of
/// its file: those count once, and of every process but the largest only what is its own (`RssAnon`).
pub(crate) fn peak_rss_kib(programs: &[Process]) -> Result<u64> {
    let mut by_program: BTreeMap<PathBuf, Vec<(u64, u64)>> = BTreeMap::new();
    for pid in pids(programs) {
        let program = fs::read_link(format!("/proc/{pid}/exe"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let sizes = (status_kib(&status, "VmHWM:")?, status_kib(&status, "RssAnon:")?);
        by_program.entry(program).or_default().push(sizes);
    }
    let of_program = |mut sizes: Vec<(u64, u64)>| {
        sizes.sort_unstable();
        let largest = sizes.pop().map_or(0, |(peak, _)| peak);
        largest + sizes.iter().map(|(_, own)| own).sum::<u64>()
    };
    Ok(by_program.into_values().map(of_program).sum())
}

fn status_kib(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}

fn pids(programs: &[Process]) -> Vec<u32> {
    tree(&programs.iter().map(Process::pid).collect::<Vec<_>>())
}
