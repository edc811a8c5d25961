//! `lenscap run`: one thread around one `mio::Poll`.
//!
//! Each turn reads the clock once. Events only set readiness; then comes a bounded pass of work, then the timers,
//! then the writes. There is no polling tick: an idle agent wakes for its next deadline and for nothing else.
//! It never listens and never executes anything.

mod camera;
mod closing;
mod connect;
mod flight;
mod net;
mod pace;
mod relay;
mod repeats;
mod reports;
mod resolve;
mod routes;
mod shared;
mod slots;
mod snapshot;
mod status;
mod tls_io;
mod uplink;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use lenscap_uplink::dial::RedirectError;
use lenscap_uplink::h2::StreamId;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};

use self::net::Net;
use self::shared::{Scratch, Shared};
use self::status::About;
use self::uplink::{Ask, Uplink};
use crate::clock::Clock;
use crate::config::{self, ClientAuth, Config, Loaded};
use crate::identity::{self, Identity};
use crate::monitor::{self, Health, Link, Order, Report, Sandbox};
use crate::sys::{self, Entropy, Signal, Signals};

pub(crate) use reports::{AUDIT_FILE, FLOWS_FILE};
pub use snapshot::http;

/// Which boot of the system this is.
pub(crate) const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// Events taken from the poller at one time.
const MAX_EVENTS: usize = 64;
/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of connections that are answered in one pass.
const ASKS_PER_PASS: usize = 64;
/// Uplinks that are no longer configured and still drain; one more ends the oldest.
const MAX_RETIRED: usize = 4;

/// Why the agent cannot run. Each says what to do.
#[derive(Debug)]
pub enum RunError {
    /// The operating system refused something that the agent cannot do without.
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// There is no usable identity.
    Identity(identity::IdentityError),
    /// An uplink's TLS cannot be set up.
    Tls {
        /// The uplink's name.
        uplink: String,
        /// Why.
        error: crate::tls::TlsError,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::Identity(error) => error.fmt(f),
            Self::Tls { uplink, error } => write!(f, "uplink {uplink}: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System { what, error }
}

const TERMINATE: u8 = 1;
const RELOAD: u8 = 2;
const REPORT: u8 = 4;
const RECONNECT: u8 = 8;

/// Does from another thread what signals do.
#[derive(Debug, Clone)]
pub struct Handle {
    waker: Arc<Waker>,
    commands: Arc<AtomicU8>,
}

impl Handle {
    /// As SIGTERM: an orderly end.
    pub fn terminate(&self) {
        self.send(TERMINATE);
    }

    /// As SIGHUP: the configuration is read again.
    pub fn reload(&self) {
        self.send(RELOAD);
    }

    /// As SIGUSR1: counters are logged.
    pub fn report(&self) {
        self.send(REPORT);
    }

    fn send(&self, command: u8) {
        self.commands.fetch_or(command, Ordering::SeqCst);
        // The agent's poller is gone when this fails, and nobody is there to be woken.
        let _ = self.waker.wake();
    }
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting; afterwards nothing does.
pub fn run(config_path: &Path, loaded: Loaded) -> Result<(), RunError> {
    log::info!("not started as root: one process, without a monitor, a user or a root folder of its own");
    let signals = Signals::new().map_err(system("signals"))?;
    wait_for_entropy()?;
    let (mut agent, _handle) = Agent::new(config_path, loaded)?;
    agent.about.sandbox = Sandbox::enter_unprivileged();
    agent.listen_to(signals)?;
    agent.run()
}

/// Runs the agent's process behind a monitor, until the monitor says so or is gone.
///
/// # Errors
/// What keeps it from starting; afterwards nothing does.
pub fn run_monitored(
    config_path: &Path,
    loaded: Loaded,
    link: Rc<Link>,
    sandbox: Sandbox,
) -> Result<(), RunError> {
    let signals = Signals::new().map_err(system("signals"))?;
    let (mut agent, _handle) = Agent::new(config_path, loaded)?;
    agent.about.sandbox = sandbox;
    agent.listen_to(signals)?;
    agent.attach(link)?;
    agent.run()
}

/// Waits for the kernel's generator, with a limit: ring would wait without one.
fn wait_for_entropy() -> Result<(), RunError> {
    const LIMIT: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_secs(1);
    let deadline = sys::monotonic() + LIMIT;
    loop {
        let error = match sys::entropy() {
            Entropy::Ready => return Ok(()),
            Entropy::Missing => io::Error::other("the kernel has none yet (no entropy)"),
            Entropy::NoSource(error) => error,
        };
        if sys::monotonic() >= deadline {
            return Err(system("random bytes")(error));
        }
        log::warn!("random bytes: {error}; waiting");
        sys::wait_readable([], Some(PAUSE)).map_err(system("poll"))?;
    }
}

/// An uplink of a configuration that was read again.
enum Made {
    /// The present one at this index goes on.
    Kept(usize),
    /// It is new or changed.
    New(Box<Uplink>),
}

/// The agent's event loop and everything in it.
pub struct Agent {
    poll: Poll,
    signals: Option<Signals>,
    commands: Arc<AtomicU8>,
    config_path: PathBuf,
    config: Config,
    identity: Option<Identity>,
    clock: Arc<Clock>,
    about: About,
    shared: Shared,
    uplinks: Vec<Uplink>,
    retired: Vec<Uplink>,
    /// Set once the agent ends: no later than this.
    ending: Option<Duration>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("uplinks", &self.uplinks.len())
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Sets everything up; nothing is dialled before [`Agent::run`]. The handle does what signals do.
    ///
    /// # Errors
    /// What keeps the agent from starting.
    pub fn new(config_path: &Path, loaded: Loaded) -> Result<(Self, Handle), RunError> {
        let poll = Poll::new().map_err(system("epoll"))?;
        let registry = poll.registry().try_clone().map_err(system("epoll"))?;
        let waker = Waker::new(poll.registry(), net::WAKER).map_err(system("eventfd"))?;
        let Loaded { config, warnings } = loaded;
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let clock = Arc::new(Clock::system());
        let identity = load_identity(&config)?;
        let shared = Shared::new(Net::new(registry), &config);
        let uplinks = config
            .uplinks
            .iter()
            .map(|uplink| make_uplink(uplink, &config, identity.as_ref(), &clock))
            .collect::<Result<_, _>>()?;
        let commands = Arc::new(AtomicU8::new(0));
        let handle = Handle {
            waker: Arc::new(waker),
            commands: Arc::clone(&commands),
        };
        let about = About::new(sys::monotonic(), Sandbox::none("not started by `lenscap run`"));
        shared.who.borrow_mut().boot = about.boot_id.replace('-', "");
        let agent = Self {
            poll,
            signals: None,
            commands,
            config_path: config_path.to_owned(),
            config,
            identity,
            clock,
            about,
            shared,
            uplinks,
            retired: Vec::new(),
            ending: None,
        };
        Ok((agent, handle))
    }

    fn listen_to(&mut self, mut signals: Signals) -> Result<(), RunError> {
        self.poll
            .registry()
            .register(&mut signals, net::SIGNALS, Interest::READABLE)
            .map_err(system("signals"))?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Takes orders from the monitor from now on.
    fn attach(&mut self, link: Rc<Link>) -> Result<(), RunError> {
        self.poll
            .registry()
            .register(&mut SourceFd(&link.raw_fd()), net::MONITOR, Interest::READABLE)
            .map_err(system("monitor"))?;
        self.shared.monitor = Some(link);
        Ok(())
    }

    /// Tells the monitor how things are.
    fn say_health(&mut self) {
        let Some(monitor) = &self.shared.monitor else {
            return;
        };
        for uplink in &mut self.uplinks {
            if let Some(news) = uplink.take_news() {
                let _ = monitor.send(&Report::Uplink(news));
            }
        }
        let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        monitor.say_health(&Health {
            uplinks: count(self.uplinks.len()),
            uplinks_up: count(self.uplinks.iter().filter(|uplink| uplink.is_up()).count()),
            sessions: count(
                self.uplinks
                    .iter()
                    .chain(&self.retired)
                    .map(Uplink::sessions)
                    .sum(),
            ),
            sandbox: self.about.sandbox.bits(),
            reasons: self.about.sandbox.reasons(),
        });
    }

    /// Runs until told to end.
    ///
    /// # Errors
    /// When the poller itself fails.
    pub fn run(mut self) -> Result<(), RunError> {
        log::info!(
            "lenscap {} is up; {} uplinks, {} profiles",
            env!("CARGO_PKG_VERSION"),
            self.uplinks.len(),
            self.config.profiles.len()
        );
        let mut events = Events::with_capacity(MAX_EVENTS);
        let mut scratch = Scratch::new();
        let mut wait = Some(Duration::ZERO);
        loop {
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RunError::System { what: "epoll", error }),
            }
            let now = sys::monotonic();
            self.shared.totals.borrow_mut().turns += 1;
            events
                .iter()
                .for_each(|event| self.shared.net.handle_event(event));
            let signalled = events.iter().any(|event| event.token() == net::SIGNALS);
            let ordered = events.iter().any(|event| event.token() == net::MONITOR);
            if !self.take_orders(ordered) {
                log::error!("the monitor is gone; ending");
                return Ok(());
            }
            if !self.take_commands(now, signalled) {
                log::info!("told to end a second time; ending at once");
                return Ok(());
            }
            let more = self.turn(now, &mut scratch);
            self.say_health();
            if let Some(monitor) = &self.shared.monitor {
                monitor.ask_for_log(now);
            }
            if let Some(deadline) = self.ending
                && (now >= deadline || self.retired.iter().all(Uplink::is_over))
            {
                self.retired
                    .iter_mut()
                    .for_each(|uplink| uplink.close(now, &mut scratch));
                log::info!("ended");
                return Ok(());
            }
            // What came while files were waited for does not wake the poller again.
            let ordered = self
                .shared
                .monitor
                .as_ref()
                .is_some_and(|monitor| monitor.has_waiting());
            wait = if more || ordered {
                Some(Duration::ZERO)
            } else {
                self.poll_timeout().map(|at| at.saturating_sub(now))
            };
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let uplinks = self
            .uplinks
            .iter()
            .chain(&self.retired)
            .filter_map(Uplink::poll_timeout)
            .min();
        [uplinks, self.ending].into_iter().flatten().min()
    }

    /// Work, timers, writes. True when there is more to do at once.
    fn turn(&mut self, now: Duration, scratch: &mut Scratch) -> bool {
        let mut more = false;
        let Self {
            uplinks,
            retired,
            shared,
            ..
        } = self;
        for uplink in uplinks.iter_mut().chain(retired.iter_mut()) {
            more |= uplink.work(now, shared, scratch);
        }
        for uplink in uplinks.iter_mut().chain(retired.iter_mut()) {
            if uplink.poll_timeout().is_some_and(|at| at <= now) {
                more |= uplink.handle_timeout(now, shared, scratch);
            }
        }
        self.answer(now);
        let Self {
            uplinks,
            retired,
            shared,
            ..
        } = self;
        for uplink in uplinks.iter_mut().chain(retired.iter_mut()) {
            more |= uplink.write(now, shared, scratch);
        }
        if self.ending.is_none() {
            self.retired.retain(|uplink| !uplink.is_over());
        }
        more
    }

    fn answer(&mut self, now: Duration) {
        for _ in 0..ASKS_PER_PASS {
            let asked = self.uplinks.iter_mut().chain(&mut self.retired).enumerate();
            let Some((index, (link, ask))) = asked
                .filter_map(|(index, uplink)| uplink.poll_ask().map(|ask| (index, ask)))
                .next()
            else {
                return;
            };
            self.answer_one(now, index, link, ask);
        }
    }

    fn answer_one(&mut self, now: Duration, index: usize, link: u32, ask: Ask) {
        let Self {
            about,
            shared,
            clock,
            uplinks,
            retired,
            config,
            ..
        } = self;
        let split = uplinks.len();
        // Reports are as they are now.
        if matches!(
            ask,
            Ask::Status { .. } | Ask::Audit { again: false, .. } | Ask::Flows { .. }
        ) {
            shared.refresh_files();
        }
        let status = match &ask {
            Ask::Status { .. } => {
                let hardening = reports::hardening(&config.agent.run_dir);
                uplinks
                    .iter()
                    .chain(retired.iter())
                    .nth(index)
                    .map(|asked| status::json(now, about, shared, clock, uplinks, asked, link, hardening))
            }
            Ask::Audit { .. } | Ask::Flows { .. } | Ask::Move { .. } | Ask::Resume { .. } | Ask::GoAway => {
                None
            }
        };
        let uplink = if index < split {
            uplinks.get_mut(index)
        } else {
            retired.get_mut(index - split)
        };
        let Some(uplink) = uplink else { return };
        match ask {
            Ask::Status { stream } => {
                if let (Some(link), Some(json)) = (uplink.link_mut(link), status) {
                    link.answer(
                        stream,
                        200,
                        &[("content-type", "application/json")],
                        json.into_bytes(),
                    );
                }
            }
            Ask::Audit { stream, .. } | Ask::Flows { stream, .. }
                if uplink.config().level < config::Level::Operator =>
            {
                uplink.answer_text(link, stream, 403, "this uplink's level is viewer");
            }
            Ask::Audit { stream, again: true } => {
                let asked = crate::cli::knows("audit")
                    && shared
                        .monitor
                        .as_ref()
                        .is_some_and(|monitor| monitor.send(&Report::Audit));
                let (status, line) = if asked {
                    (202, "asked for; one is made every 10 minutes at most")
                } else {
                    (503, "nothing makes audits here")
                };
                uplink.answer_text(link, stream, status, line);
            }
            Ask::Audit { stream, again: false } => {
                let read = || reports::read(&config.agent.run_dir, AUDIT_FILE);
                answer_report(now, shared, uplink, (link, stream), "application/json", read);
            }
            Ask::Flows { stream, since } => {
                let read = || {
                    reports::read(&config.agent.run_dir, FLOWS_FILE)
                        .map(|lines| reports::flows_since(lines, since))
                };
                answer_report(now, shared, uplink, (link, stream), "application/jsonl", read);
            }
            Ask::GoAway => uplink.handle_go_away(now, shared, link),
            Ask::Resume { stream, welcome } => {
                let (status, line) = match uplink.renew(now, shared, link, &welcome) {
                    true => (200, "taken"),
                    false => (409, "nothing to take, or this uplink ends"),
                };
                uplink.answer_text(link, stream, status, line);
            }
            Ask::Move { stream, .. } if index >= split => {
                uplink.answer_text(link, stream, 409, "this uplink ends");
            }
            Ask::Move { stream, target } => match uplink.retarget(now, shared, target.as_deref()) {
                Ok(()) => uplink.answer_text(link, stream, 202, "moving"),
                Err(error) => {
                    let status = match error {
                        RedirectError::Malformed(_) | RedirectError::NoTarget => 400,
                        RedirectError::Forbidden => 403,
                        RedirectError::Loop | RedirectError::TooManyHops | RedirectError::Claimed(_) => 409,
                    };
                    shared.fault(
                        now,
                        format!("uplink {}: move refused: {error}", uplink.config().name),
                    );
                    uplink.answer_text(link, stream, status, &error.to_string());
                }
            },
        }
    }

    /// What the monitor orders. False when it is gone.
    fn take_orders(&mut self, ordered: bool) -> bool {
        let Some(monitor) = &self.shared.monitor else {
            return true;
        };
        if !ordered && !monitor.has_waiting() {
            return true;
        }
        loop {
            let command = match monitor.poll_order() {
                Ok(Some(Order::Terminate)) => TERMINATE,
                Ok(Some(Order::Configure)) => RELOAD,
                Ok(Some(Order::Report)) => REPORT,
                Ok(Some(Order::Reconnect)) => RECONNECT,
                Ok(Some(Order::Refreshed | Order::Start(_) | Order::Log | Order::File { .. })) => 0,
                Ok(None) => return true,
                Err(_) => return false,
            };
            self.commands.fetch_or(command, Ordering::SeqCst);
        }
    }

    /// What signals and handles ask for. False when the agent is to end at once.
    fn take_commands(&mut self, now: Duration, signalled: bool) -> bool {
        let mut commands = self.commands.swap(0, Ordering::SeqCst);
        // A terminal or an init signals monitor and agent both: only the monitor counts how often.
        let monitored = self.shared.monitor.is_some();
        if signalled && let Some(signals) = &mut self.signals {
            // A descriptor that fails to be read has no signal; nothing better can be done.
            while let Ok(Some(signal)) = signals.poll() {
                let command = match (signal, &self.shared.monitor) {
                    (Signal::Terminate, _) => TERMINATE,
                    // The monitor has the files.
                    (Signal::Reload, Some(monitor)) => {
                        let _ = monitor.send(&Report::Reload);
                        0
                    }
                    (Signal::Reload, None) => RELOAD,
                    (Signal::Report, _) => REPORT,
                    (Signal::Reconnect, _) => RECONNECT,
                    (Signal::Child, _) => 0,
                };
                if command == TERMINATE && commands & TERMINATE != 0 && !monitored {
                    return false;
                }
                commands |= command;
            }
        }
        if commands & REPORT != 0 {
            self.report();
        }
        if commands & RECONNECT != 0 {
            log::info!("told to dial at once");
            self.uplinks.iter_mut().for_each(|uplink| uplink.reconnect(now));
        }
        if commands & TERMINATE != 0 {
            if self.ending.is_some() && !monitored {
                return false;
            }
            if self.ending.is_none() {
                self.end(now);
            }
        } else if commands & RELOAD != 0 && self.ending.is_none() {
            self.reload(now);
        }
        true
    }

    fn report(&self) {
        let media = status::media(&self.shared, self.uplinks.iter().chain(&self.retired));
        let counters: Vec<String> = status::counters(&self.shared, &media)
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        log::info!("{}", counters.join(", "));
    }

    fn end(&mut self, now: Duration) {
        log::info!("told to end; ending sessions and connections");
        self.ending = Some(now + END_TIMEOUT);
        self.retired.append(&mut self.uplinks);
        self.retired
            .iter_mut()
            .for_each(|uplink| uplink.retire(now, true));
    }

    /// Reads the configuration again. A broken one changes nothing.
    fn reload(&mut self, now: Duration) {
        let Loaded { config, warnings } = match config::load(&self.config_path) {
            Ok(loaded) => loaded,
            Err(errors) => {
                log::error!("the configuration is broken; the last good one stays in force");
                errors.errors.iter().for_each(|error| log::error!("{error}"));
                return self.obey_reset(now);
            }
        };
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let new_identity = !same_identity(&self.config, &config);
        let made = if new_identity {
            load_identity(&config).map(Some)
        } else {
            Ok(None)
        };
        let made = made.and_then(|identity| {
            let shown = identity.as_ref().unwrap_or(&self.identity);
            let uplinks = self.make_changed(&config, shown.as_ref(), new_identity)?;
            Ok((identity, uplinks))
        });
        let (identity, uplinks) = match made {
            Ok(made) => made,
            Err(error) => {
                log::error!("the last good configuration stays in force: {error}");
                return self.obey_reset(now);
            }
        };
        if let Some(identity) = identity {
            self.identity = identity;
        }
        self.apply_uplinks(now, uplinks);
        crate::logging::init(config.agent.log, config.agent.log_level);
        self.shared.configure(&config);
        self.shared.repeats.borrow_mut().clear();
        self.config = config;
        self.obey_reset(now);
        log::info!("the configuration was read again");
    }

    /// Forgets what gateways gave, if somebody at the camera wants that.
    fn obey_reset(&mut self, now: Duration) {
        let state_dir = &self.config.agent.state_dir;
        if self.shared.keeper.borrow_mut().handle_reload(state_dir) {
            self.uplinks.iter_mut().for_each(|uplink| uplink.forget(now));
        }
    }

    /// The uplinks of a configuration: the place of one that goes on unchanged, or a new one.
    fn make_changed(
        &self,
        config: &Config,
        identity: Option<&Identity>,
        new_identity: bool,
    ) -> Result<Vec<Made>, RunError> {
        let make = |wanted: &config::Uplink| {
            let kept = self.uplinks.iter().position(|uplink| {
                let certificate = matches!(wanted.auth, ClientAuth::Certificate);
                same_uplink(uplink.config(), wanted) && !(new_identity && certificate)
            });
            match kept {
                Some(index) => Ok(Made::Kept(index)),
                None => make_uplink(wanted, config, identity, &self.clock)
                    .map(|uplink| Made::New(Box::new(uplink))),
            }
        };
        config.uplinks.iter().map(make).collect()
    }

    /// Unchanged uplinks stay up; changed and removed ones drain, changed and new ones are dialled.
    fn apply_uplinks(&mut self, now: Duration, made: Vec<Made>) {
        let mut old: Vec<Option<Uplink>> = std::mem::take(&mut self.uplinks).into_iter().map(Some).collect();
        for made in made {
            match made {
                Made::Kept(index) => self.uplinks.extend(old.get_mut(index).and_then(Option::take)),
                Made::New(mut uplink) => {
                    let name = &uplink.config().name;
                    log::info!("uplink {name}: new or changed");
                    let before = old.iter().flatten().find(|old| old.config().name == *name);
                    if let Some(before) = before {
                        uplink.inherit(before);
                    }
                    self.uplinks.push(*uplink);
                }
            }
        }
        for mut uplink in old.into_iter().flatten() {
            log::info!(
                "uplink {}: removed or changed; its connection drains",
                uplink.config().name
            );
            uplink.retire(now, false);
            self.retired.push(uplink);
        }
        while self.retired.len() > MAX_RETIRED {
            self.retired.remove(0);
        }
    }
}

fn answer_report(
    now: Duration,
    shared: &Shared,
    uplink: &mut Uplink,
    (link, stream): (u32, StreamId),
    kind: &str,
    read: impl FnOnce() -> io::Result<Vec<u8>>,
) {
    let Some(slot) = shared.reports.take() else {
        return uplink.answer_text(link, stream, 503, "as many reports as may be are on their way");
    };
    match read() {
        Ok(body) => {
            if let Some(link) = uplink.link_mut(link) {
                link.answer_large(now, stream, &[("content-type", kind)], body, slot);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            uplink.answer_text(link, stream, 404, "there is none yet");
        }
        Err(error) => uplink.answer_text(link, stream, 500, &error.to_string()),
    }
}

/// The identity, where an uplink shows one.
fn load_identity(config: &Config) -> Result<Option<Identity>, RunError> {
    if !config
        .uplinks
        .iter()
        .any(|uplink| matches!(uplink.auth, ClientAuth::Certificate))
    {
        return Ok(None);
    }
    let identity = identity::load_or_create(&config.agent).map_err(RunError::Identity)?;
    log::info!("this camera's fingerprint is {}", identity.fingerprint);
    Ok(Some(identity))
}

/// An uplink, with what an earlier process kept of it.
fn make_uplink(
    uplink: &config::Uplink,
    config: &Config,
    identity: Option<&Identity>,
    clock: &Arc<Clock>,
) -> Result<Uplink, RunError> {
    let seed = u64::from_le_bytes(sys::random().map_err(system("random bytes"))?);
    let made = Uplink::new(uplink.clone(), identity, Arc::clone(clock), seed);
    let mut made = made.map_err(|error| RunError::Tls {
        uplink: uplink.name.clone(),
        error,
    })?;
    made.restore(monitor::kept(&config.agent.state_dir, uplink));
    Ok(made)
}

fn same_identity(a: &Config, b: &Config) -> bool {
    let needs = |c: &Config| {
        c.uplinks
            .iter()
            .any(|u| matches!(u.auth, ClientAuth::Certificate))
    };
    needs(a) == needs(b)
        && a.agent.state_dir == b.agent.state_dir
        && a.agent.certificate == b.agent.certificate
}

fn same_uplink(a: &config::Uplink, b: &config::Uplink) -> bool {
    a.name == b.name
        && a.endpoints == b.endpoints
        && a.redirect_to == b.redirect_to
        && a.trust == b.trust
        && a.auth == b.auth
        && a.level == b.level
}
