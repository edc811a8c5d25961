//! The monitor: the process that stays root so that the agent need not be (design after OpenSSH's and OpenNTPD's).
//!
//! It starts the agent and starts it again, hands it the files it needs, keeps what must be kept, and says how things
//! are. It has no network socket, reads nothing that a peer sent, and takes no path, command or time from the agent.
//! It waits without a tick.
//!
//! The agent is this program executed anew (`/proc/self/exe`, which stays right when an upgrade replaces the file),
//! not a fork: it then has a layout of its own in memory and nothing of what the monitor has read. The channel is its
//! standard input, so starting it takes neither unsafe code nor an inherited number.

mod bundle;
mod child;
mod jobs;
mod keep;
mod kept;
mod link;
mod message;
mod owner;
mod running;
mod sandbox;
mod state;
mod uplinks;
mod user;
mod watch;

use std::fmt::Display;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

pub use child::main as agent_main;
pub use jobs::{JOB, obey_job};
pub use keep::agent_in_force;
pub use kept::{Keeper, kept, last_reset, reset};
pub use link::Link;
pub use message::{
    Fact, Health, MAX_PATH_BYTES, MAX_REASON_BYTES, MESSAGE_BYTES, Order, Report, Start, Store, UplinkState,
    Wire,
};
pub use owner::owned_since;
pub use sandbox::{Measure, Sandbox};
pub(crate) use state::HARDENING_FILE;
pub use state::{describe, running_monitor};
pub use user::uid_in;

use lenscap_harden::root::Root;

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK};
use crate::clock::Clock;
use crate::config::{self, Config, Errors, HardenMode, Loaded, LogTarget};
use crate::sys::{self, Entropy, Signal, Signals};
use crate::{identity, logging, tls};
use bundle::{Bundle, uses_identity};
use jobs::Jobs;
use running::{Running, Said};
use state::State;
use uplinks::Uplinks;
use watch::Watch;

/// The command by which the monitor starts the agent; it is in no help text.
pub const AGENT_COMMAND: &str = "run-agent";

/// The first pause before the agent is started again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An agent that lived as long has the first pause again.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// A boot with an agent that was up for so long was a good one.
const HEALTHY_AFTER: Duration = Duration::from_secs(120);
/// Major 1, minor 3 (Linux' devices.txt): /dev/null.
const NULL_DEVICE: u64 = 1 << 8 | 3;
/// How long an agent may take to end orderly; its own limit is shorter.
const END_TIMEOUT: Duration = Duration::from_secs(8);
/// Messages that are read before signals are looked at: an agent cannot keep the monitor from them by talking.
const MESSAGES_PER_PASS: usize = 32;
/// Messages that are read from an agent that has ended; more do not fit the channel, unless it is not its alone.
const LAST_MESSAGES: usize = 512;

/// Runs monitor and agent until SIGTERM. The exit status.
#[must_use]
pub fn run(config_path: &Path) -> u8 {
    let (source, loaded) = match load(config_path) {
        Ok(found) => found,
        Err(errors) => {
            say_unusable(config_path, &errors);
            return EXIT_CONFIG;
        }
    };
    let signals = match Signals::with_children() {
        Ok(signals) => signals,
        Err(error) => {
            log::error!("signals: {error}");
            return EXIT_FAILURE;
        }
    };
    // The agent reads the same text and says its warnings.
    Monitor::new(config_path, source, loaded.config, signals).run()
}

/// Without a configuration nothing says where the log is; the system's is told where nobody reads standard error.
fn say_unusable(config_path: &Path, errors: &Errors) {
    eprintln!("{errors}\nlenscap: the configuration cannot be used");
    let agent = config::load_agent_leniently(config_path);
    if agent.log == LogTarget::Syslog || stderr_goes_nowhere() {
        logging::init(LogTarget::Syslog, agent.log_level);
        errors.errors.iter().for_each(|error| log::error!("{error}"));
        log::error!(
            "the configuration cannot be used, and there is no good copy of an earlier one. Correct the file (`lenscap check`)"
        );
    }
}

/// Whether standard error is /dev/null, as start-stop-daemon leaves it.
fn stderr_goes_nowhere() -> bool {
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|file| file.rdev() == NULL_DEVICE)
}

/// The configuration, or its last good copy when the file is damaged. A file that is not there has no copy: it may
/// have been removed, or be misspelt.
fn load(config_path: &Path) -> Result<(PathBuf, Loaded), Errors> {
    let errors = match config::load(config_path) {
        Ok(loaded) => {
            logging::init(loaded.config.agent.log, loaded.config.agent.log_level);
            return Ok((config_path.to_owned(), loaded));
        }
        Err(errors) => errors,
    };
    if !config_path.exists() {
        return Err(errors);
    }
    let Some((path, loaded)) = keep::load_good(config_path) else {
        return Err(errors);
    };
    logging::init(loaded.config.agent.log, loaded.config.agent.log_level);
    errors.errors.iter().for_each(|error| log::error!("{error}"));
    warn_of_good_copy(&path);
    Ok((path, loaded))
}

fn warn_of_good_copy(path: &Path) {
    log::error!(
        "the configuration cannot be used; running with its last good copy, {}. Correct the file (`lenscap check`) and send SIGHUP",
        path.display()
    );
}

struct Monitor {
    config_path: PathBuf,
    /// Where the configuration in force was read: `config_path`, or its last good copy.
    source: PathBuf,
    config: Config,
    signals: Signals,
    bundle: Bundle,
    agent: Option<Running>,
    /// When the agent is to be started.
    start_at: Duration,
    pause: Duration,
    started: Duration,
    restarts: u64,
    ending: Option<Duration>,
    /// Why the agent is not up, as it was said last.
    cause: String,
    user_warned: bool,
    keeper: Keeper,
    health: Health,
    uplinks: Uplinks,
    /// The status file as it was written last.
    written: String,
    /// Some agent has been up.
    was_up: bool,
    jobs: Jobs,
    /// Files whose change is worth a look at hardening; `None`: the kernel does not tell.
    watch: Option<Watch>,
    /// Why the last look at hardening gave no answer, as it was said.
    look_failure: Option<String>,
    /// This boot counts as a good one.
    healthy: bool,
    /// Since when all uplinks are up.
    all_up: Option<Duration>,
    /// The agent ends to dial anew: by when. Its uplinks are to come back through what was applied.
    renewing: Option<Duration>,
    status: Option<u8>,
}

impl Monitor {
    fn new(config_path: &Path, source: PathBuf, config: Config, signals: Signals) -> Self {
        let now = sys::monotonic();
        Self {
            jobs: Jobs::new(now, &config),
            watch: None,
            look_failure: None,
            healthy: false,
            all_up: None,
            renewing: None,
            bundle: Bundle::new(config_path, &source, &config),
            keeper: Keeper::new(&config.agent.state_dir),
            config_path: config_path.to_owned(),
            source,
            config,
            signals,
            agent: None,
            start_at: now,
            pause: FIRST_PAUSE,
            started: now,
            restarts: 0,
            ending: None,
            cause: String::new(),
            user_warned: false,
            health: Health::default(),
            uplinks: Uplinks::default(),
            written: String::new(),
            was_up: false,
            status: None,
        }
    }

    fn run(mut self) -> u8 {
        self.watch_files();
        let status = loop {
            let now = sys::monotonic();
            if let Some(status) = self.status {
                break status;
            }
            match (&mut self.agent, self.ending) {
                (None, Some(_)) => break EXIT_OK,
                (None, None) if now >= self.start_at => self.start(now),
                (Some(agent), Some(deadline)) if now >= deadline => {
                    log::warn!("the agent does not end; killing it");
                    agent.kill();
                    self.ending = Some(now + END_TIMEOUT);
                }
                (Some(agent), None) if self.renewing.is_some_and(|deadline| now >= deadline) => {
                    agent.kill();
                    self.renewing = Some(now + END_TIMEOUT);
                }
                _ => {}
            }
            self.run_jobs(now);
            let Config { agent, uplinks, .. } = &self.config;
            self.keeper.handle_timeout(now, &agent.state_dir, uplinks);
            self.note_health(now, &Root::live);
            self.write_state();
            if let Err(error) = self.wait(now) {
                log::error!("poll: {error}");
                break EXIT_FAILURE;
            }
        };
        // Whatever the reason, no process is left behind.
        self.jobs.end();
        if let Some(mut agent) = self.agent.take() {
            agent.kill();
            agent.wait();
        }
        let run_dir = &self.config.agent.run_dir;
        // Another monitor may have been started meanwhile.
        if running_monitor(run_dir) == Some(std::process::id()) {
            let _ = std::fs::remove_file(state::path(run_dir));
            let _ = std::fs::remove_file(uplinks::path(run_dir));
        }
        status
    }

    /// Waits for a signal, a message, or the next thing that is due; and handles it.
    fn wait(&mut self, now: Duration) -> io::Result<()> {
        let due = match (&self.agent, self.ending) {
            (_, Some(deadline)) => Some(deadline),
            (None, None) => Some(self.start_at),
            (Some(_), None) => self.renewing,
        };
        let due = [
            due,
            self.jobs.poll_timeout(),
            self.healthy_at(),
            self.keeper.poll_timeout(),
        ];
        let wait = due.into_iter().flatten().min().map(|at| at.saturating_sub(now));
        let channel = self.agent.as_ref().and_then(Running::channel);
        let watch = self.watch.as_ref().map(Watch::fd);
        let fds = [Some(self.signals.as_fd()), channel, watch];
        let [signalled, spoken, changed] = sys::wait_readable(fds, wait)?;
        let now = sys::monotonic();
        // What the agent said before it ended counts.
        if spoken {
            self.listen(now);
        }
        if changed && self.watch.as_mut().is_some_and(Watch::poll) {
            self.jobs.ask(now, jobs::HARDEN);
        }
        if signalled {
            while let Some(signal) = self.signals.poll()? {
                self.handle_signal(now, signal);
            }
        }
        Ok(())
    }

    fn handle_signal(&mut self, now: Duration, signal: Signal) {
        match (signal, &mut self.agent) {
            (Signal::Terminate, Some(agent)) if self.ending.is_some() => {
                log::info!("told to end a second time; ending at once");
                agent.kill();
            }
            (Signal::Terminate, agent) => {
                self.ending = Some(now + END_TIMEOUT);
                if let Some(agent) = agent {
                    agent.order(&Order::Terminate);
                }
            }
            (Signal::Reload, _) => self.reload(now),
            (Signal::Report, Some(agent)) => agent.order(&Order::Report),
            (Signal::Report, None) => log::info!("the agent is not up: {}", self.cause),
            (Signal::Reconnect, Some(agent)) => agent.order(&Order::Reconnect),
            (Signal::Reconnect, None) => self.start_at = now,
            (Signal::Child, _) => {
                self.reap(now);
                if let Some(ended) = self.jobs.reap(now) {
                    self.handle_job(now, &ended);
                }
            }
        }
    }

    fn run_jobs(&mut self, now: Duration) {
        if self.ending.is_some() || self.jobs.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        if let Some(ended) = self.jobs.handle_timeout(now, &self.source, &self.config) {
            self.handle_job(now, &ended);
        }
    }

    /// A job has ended. A look at hardening that says nothing must not leave an earlier one's word standing.
    fn handle_job(&mut self, now: Duration, ended: &jobs::Ended) {
        if ended.kind != jobs::HARDEN {
            if let Some(why) = &ended.failure {
                log::warn!("a job gave no answer: {why}");
            }
            return;
        }
        self.watch_files();
        if let Some(why) = &ended.failure {
            if self.look_failure.as_ref() != Some(why) {
                log::error!("whether hardening holds is not known: {why}");
            }
            let path = state::hardening_path(&self.config.agent.run_dir);
            let _ = crate::files::replace_volatile(&path, jobs::unknown(now, why).as_bytes());
        }
        self.look_failure.clone_from(&ended.failure);
        if ended.failure.is_none() && owner::waits_for_uplink(&self.config.agent.run_dir) {
            self.renew(now);
        }
    }

    /// What was applied is confirmed by the owner's uplink, if it comes back through it: the connection that is there
    /// proves nothing.
    fn renew(&mut self, now: Duration) {
        if let (Some(agent), None, None) = (&mut self.agent, self.ending, self.renewing) {
            log::info!("the uplink is dialled anew, to see whether it passes what was applied");
            agent.order(&Order::Terminate);
            self.renewing = Some(now + END_TIMEOUT);
        }
    }

    /// Watches what hardening changed, and where firmwares start things.
    fn watch_files(&mut self) {
        if self.config.harden.mode == HardenMode::Off {
            self.watch = None;
            return;
        }
        if self.watch.is_none() {
            self.watch = Watch::new()
                .inspect_err(|error| log::warn!("changes of files are seen late: {error}"))
                .ok();
        }
        if let Some(watch) = &mut self.watch {
            watch.set(keep::watched(&self.config.agent.resolv_conf));
        }
    }

    /// When this boot will have been a good one.
    fn healthy_at(&self) -> Option<Duration> {
        let agent = self.agent.as_ref().filter(|agent| agent.up && !self.healthy)?;
        Some(agent.since + HEALTHY_AFTER)
    }

    fn note_health(&mut self, now: Duration, root: &dyn Fn() -> io::Result<Root>) {
        if self.healthy_at().is_some_and(|at| now >= at) {
            self.healthy = true;
            if let Err(error) = root().and_then(|root| keep::note_healthy(&root)) {
                log::warn!("that this boot was a good one cannot be kept: {error}");
            }
        }
    }

    /// Starts the agent, or says what is in the way and tries again later.
    fn start(&mut self, now: Duration) {
        match self.try_start(now) {
            Ok(agent) => {
                log::debug!("the agent is process {}", agent.pid());
                sys::offer_to_die(agent.pid());
                self.agent = Some(agent);
            }
            Err(why) => {
                // The same cause is said once, however long it lasts.
                if self.cause != why {
                    log::error!("{why}; trying again");
                    self.cause = why;
                }
                self.back_off(now);
            }
        }
    }

    fn try_start(&mut self, now: Duration) -> Result<Running, String> {
        match sys::entropy() {
            Entropy::Ready => {}
            Entropy::Missing => {
                return Err("the kernel has no random bytes yet (no entropy); waiting for them".into());
            }
            Entropy::NoSource(error) => return Err(format!("no source of random bytes: {error}")),
        }
        if uses_identity(&self.config) {
            identity::load_or_create(&self.config.agent).map_err(|error| error.to_string())?;
        }
        let (ids, warning) = user::look_up(&self.config.agent);
        if let Some(warning) = warning.filter(|_| !self.user_warned) {
            log::warn!("{warning}");
            self.user_warned = true;
        }
        let (root, why_no_root) = match empty_root(&self.config.agent.run_dir) {
            Ok(root) => (root.display().to_string(), String::new()),
            Err(why) => (String::new(), why),
        };
        let start = Order::Start(Start {
            uid: ids.uid,
            gid: ids.gid,
            monitor: std::process::id(),
            config: self.config_path.display().to_string(),
            root,
            why_no_root,
        });
        self.bundle = Bundle::new(&self.config_path, &self.source, &self.config);
        let mut agent = Running::start(now).map_err(|error| format!("cannot start the agent: {error}"))?;
        agent.order(&start);
        agent.hand_files(&mut self.bundle);
        agent.order(&Order::Configure);
        Ok(agent)
    }

    fn back_off(&mut self, now: Duration) {
        self.start_at = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Takes the agent's messages.
    fn listen(&mut self, now: Duration) {
        for _ in 0..MESSAGES_PER_PASS {
            let Some(agent) = &mut self.agent else { return };
            match agent.listen() {
                Said::Nothing => return,
                Said::Report(report) => self.handle_report(now, report),
                Said::Nonsense => {
                    log::error!("the agent's message cannot be understood; killing it");
                    agent.kill();
                    return;
                }
                // One that ends has closed it too: killing it changes nothing, not even its exit status.
                Said::Gone => {
                    agent.kill();
                    return;
                }
            }
        }
    }

    fn handle_report(&mut self, now: Duration, report: Report) {
        let Some(agent) = &mut self.agent else { return };
        match report {
            Report::Health(health) => {
                let all_up = health.uplinks > 0 && health.uplinks_up == health.uplinks;
                if all_up
                    && self.all_up.is_none()
                    && owner::waits_for_confirmation(&self.config.agent.run_dir)
                {
                    self.jobs.ask(now, jobs::HARDEN);
                }
                self.all_up = all_up.then(|| self.all_up.unwrap_or(now));
                self.health = health;
                if !agent.up {
                    agent.up = true;
                    self.was_up = true;
                    self.cause.clear();
                    self.keep_good();
                }
            }
            Report::Refresh => {
                agent.hand_files(&mut self.bundle);
                agent.order(&Order::Refreshed);
            }
            Report::Reload => self.reload(now),
            Report::Audit => self.jobs.ask(now, jobs::AUDIT),
            Report::Log => agent.hand_log(),
            Report::Store(store) => self.store(now, store),
            Report::Uplink(state) => {
                if self
                    .config
                    .uplinks
                    .iter()
                    .any(|uplink| uplink.name == state.uplink)
                {
                    self.uplinks.handle_state(state);
                }
            }
        }
    }

    /// The configuration with which the agent came up is worth keeping.
    fn keep_good(&self) {
        if self.source != self.config_path {
            return;
        }
        if let Err(error) = keep::keep_good(&self.config_path, &self.config.agent) {
            log::warn!("no copy of the good configuration is kept: {error}");
        }
    }

    fn store(&mut self, now: Duration, store: Store) {
        let Config { agent, uplinks, .. } = &self.config;
        self.keeper.handle_store(now, &agent.state_dir, uplinks, store);
    }

    /// Reads the configuration again. A broken one changes nothing, but a reset is obeyed all the same.
    fn reload(&mut self, now: Duration) {
        let loaded = match config::load(&self.config_path) {
            Ok(loaded) => loaded,
            Err(errors) => {
                log::error!("the configuration is broken; the last good one stays in force");
                errors.errors.iter().for_each(|error| log::error!("{error}"));
                return self.pass_reset();
            }
        };
        if let Err(error) = check_files(&loaded.config) {
            log::error!("the last good configuration stays in force: {error}");
            return self.pass_reset();
        }
        let old = std::mem::replace(&mut self.config, loaded.config);
        self.keeper.handle_reload(&self.config.agent.state_dir);
        self.uplinks.retain(&self.config);
        self.jobs.configure(now, &self.config);
        self.watch_files();
        if old.agent.run_dir != self.config.agent.run_dir {
            let _ = std::fs::remove_file(state::path(&old.agent.run_dir));
            let _ = std::fs::remove_file(uplinks::path(&old.agent.run_dir));
            self.uplinks.written.clear();
        }
        if (&old.agent.user, &old.agent.group) != (&self.config.agent.user, &self.config.agent.group) {
            log::warn!("another user or group of the agent takes effect when the service is restarted");
        }
        logging::init(self.config.agent.log, self.config.agent.log_level);
        self.user_warned = false;
        self.source.clone_from(&self.config_path);
        self.bundle = Bundle::new(&self.config_path, &self.source, &self.config);
        match &mut self.agent {
            Some(agent) => {
                agent.hand_files(&mut self.bundle);
                agent.order(&Order::Configure);
                self.keep_good();
            }
            None => {
                self.pause = FIRST_PAUSE;
                self.start_at = now;
            }
        }
    }

    /// Lets the agent know of a reset; it does not take a configuration that it cannot use either.
    fn pass_reset(&mut self) {
        if self.keeper.handle_reload(&self.config.agent.state_dir)
            && let Some(agent) = &mut self.agent
        {
            agent.hand_files(&mut self.bundle);
            agent.order(&Order::Configure);
        }
    }

    /// Buries an agent that has ended and decides when the next one starts.
    fn reap(&mut self, now: Duration) {
        let Some(agent) = &mut self.agent else { return };
        let Some(status) = agent.exited() else { return };
        let (up, lived) = (agent.up, now.saturating_sub(agent.since));
        self.listen_last();
        self.agent = None;
        self.health = Health::default();
        self.all_up = None;
        self.uplinks = Uplinks::default();
        if self.ending.is_some() {
            log::debug!("the agent ended: {status}");
            return;
        }
        if self.renewing.take().is_some() {
            self.start_at = now;
            return;
        }
        self.restarts += 1;
        if !up && status.code() == Some(EXIT_CONFIG.into()) && self.replace_config() {
            return;
        }
        if lived >= STABLE_AFTER {
            self.pause = FIRST_PAUSE;
        }
        let pause = self.pause;
        self.back_off(now);
        let why = format!("the agent ended unasked ({})", describe_end(status));
        if up || self.cause != why {
            log::error!("{why}; starting it again in {} s", pause.as_secs());
        }
        self.cause = why;
    }

    /// What a dead agent said last still counts.
    fn listen_last(&mut self) {
        for _ in 0..LAST_MESSAGES {
            let Some(agent) = &mut self.agent else { return };
            match agent.listen() {
                Said::Report(Report::Store(store)) => self.store(sys::monotonic(), store),
                Said::Report(_) => {}
                Said::Nothing | Said::Nonsense | Said::Gone => return,
            }
        }
    }

    /// The agent cannot use the configuration, though it has no mistake in itself: a CA file without certificates,
    /// for example. True when that is settled: by the last good copy, or by the end if no agent ever came up.
    fn replace_config(&mut self) -> bool {
        let good = keep::load_good(&self.config_path).filter(|_| self.source == self.config_path);
        if let Some((path, loaded)) = good {
            warn_of_good_copy(&path);
            self.source = path;
            self.config = loaded.config;
            self.start_at = sys::monotonic() + FIRST_PAUSE;
            return true;
        }
        if !self.was_up {
            log::error!("the configuration cannot be used");
            self.status = Some(EXIT_CONFIG);
        }
        !self.was_up
    }

    /// Writes the status file, if it would say something new. It is a convenience: failures are no one's concern but
    /// the log's.
    fn write_state(&mut self) {
        let agent = self.agent.as_ref();
        let state = State {
            state: match (self.ending, agent) {
                (Some(_), _) => "ending",
                (None, Some(agent)) if agent.up => "up",
                (None, Some(_)) => "starting",
                (None, None) => "waiting",
            },
            reason: &self.cause,
            agent_pid: agent.map_or(0, Running::pid),
            restarts: self.restarts,
            started_s: self.started.as_secs(),
            last_good: self.source != self.config_path,
            unkept: self.keeper.problem(),
            health: self.health.clone(),
            all_up_s: self.all_up.map_or(0, |since| since.as_secs()),
        };
        let text = state.to_text();
        let run_dir = &self.config.agent.run_dir;
        self.uplinks.write(run_dir);
        if text == self.written {
            return;
        }
        let written = make_run_dir(run_dir)
            .and_then(|()| crate::files::replace_volatile(&state::path(run_dir), text.as_bytes()));
        match written {
            Ok(()) => self.written = text,
            Err(error) => log::debug!("{}: {error}", run_dir.display()),
        }
    }
}

/// What is wrong with the files that a configuration names: the agent would find it out too late, when the configuration
/// counts as good and takes the place of the last one that was.
fn check_files(config: &Config) -> Result<(), String> {
    if uses_identity(config) {
        identity::load_or_create(&config.agent).map_err(|error| error.to_string())?;
    }
    let clock = Arc::new(Clock::system());
    for uplink in &config.uplinks {
        tls::Client::new(uplink, None, Arc::clone(&clock))
            .map_err(|error| format!("uplink {}: {error}", uplink.name))?;
    }
    Ok(())
}

fn describe_end(status: ExitStatus) -> impl Display {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

pub(crate) fn make_run_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// A folder with nothing in it, that only root can change: one of our own, or the one that systems keep for this.
fn empty_root(run_dir: &Path) -> Result<PathBuf, String> {
    let own = run_dir.join("empty");
    let made = make_run_dir(run_dir).and_then(|()| {
        if !own.is_dir() {
            std::fs::DirBuilder::new().mode(0o555).create(&own)?;
            // The mask of the process does not count.
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o555))?;
        }
        check_empty(&own)
    });
    let Err(error) = made else { return Ok(own) };
    let system = Path::new("/var/empty");
    check_empty(system)
        .map(|()| system.to_owned())
        .map_err(|_| format!("no empty folder: {}: {error}", own.display()))
}

fn check_empty(dir: &Path) -> io::Result<()> {
    let data = std::fs::symlink_metadata(dir)?;
    let safe = data.is_dir() && data.uid() == 0 && data.mode() & 0o022 == 0;
    if safe && std::fs::read_dir(dir)?.next().is_none() {
        return Ok(());
    }
    Err(io::Error::other("not an empty folder of root's alone"))
}

#[cfg(test)]
mod tests;
