//! What all uplinks of one agent share: the poller, the profiles, the counters.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use lenscap_rtsp::{Counters, Credentials, Limits, SessionConfig};
use log::Level;

use super::net::Net;
use super::repeats::Repeats;
use super::slots::Slots;
use crate::config::{Config, Login, Profile, Uplink};
use crate::identity::pin;
use crate::monitor::{self, Fact, Keeper, Report, Store};

/// Sent as `User-Agent`, to the gateway and to the camera.
pub(super) const USER_AGENT: &str = concat!("lenscap/", env!("CARGO_PKG_VERSION"));
/// Snapshots being fetched or sent at one time; each may hold 4 MiB.
const MAX_SNAPSHOTS: usize = 4;
/// Reports being sent at one time; each may hold 1 MiB.
const MAX_REPORTS: usize = 2;
/// Bytes read from a socket at one time.
const READ_BYTES: usize = 64 * 1024;

/// Buffers used by whoever has the turn; they hold nothing between turns.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) read: Box<[u8]>,
    pub(super) plain: Vec<u8>,
    pub(super) inner: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            read: vec![0; READ_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            inner: Vec::new(),
        }
    }
}

/// Counters of the process.
#[derive(Debug, Default, Clone)]
pub(super) struct Totals {
    pub(super) sessions: u64,
    pub(super) sessions_refused: u64,
    pub(super) snapshots: u64,
    pub(super) snapshot_errors: u64,
    pub(super) connections: u64,
    pub(super) dial_failures: u64,
    pub(super) moves: u64,
    pub(super) turns: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) media: Media,
    pub(super) last_error: Option<String>,
}

/// Sums of [`Counters`] over sessions.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Media {
    pub(super) rtp_packets_in: u64,
    pub(super) rtp_bytes_in: u64,
    pub(super) viewer_bytes_out: u64,
    pub(super) dropped_full: u64,
    pub(super) dropped_late: u64,
    pub(super) dropped_waiting: u64,
    pub(super) dropped_rasl: u64,
    pub(super) dropped_side: u64,
    pub(super) dropped_oversize: u64,
    pub(super) dropped_bytes: u64,
    pub(super) torn_units: u64,
    pub(super) camera_resyncs: u64,
    pub(super) camera_skipped_bytes: u64,
    pub(super) auth_rounds: u64,
    pub(super) queue_peak_bytes: u64,
}

impl Media {
    pub(super) fn add(&mut self, c: &Counters) {
        self.rtp_packets_in += c.rtp_packets_in;
        self.rtp_bytes_in += c.rtp_bytes_in;
        self.viewer_bytes_out += c.viewer_bytes_out;
        self.dropped_full += c.dropped_full.units;
        self.dropped_late += c.dropped_late.units;
        self.dropped_waiting += c.dropped_waiting.units;
        self.dropped_rasl += c.dropped_rasl.units;
        self.dropped_side += c.dropped_side.units;
        self.dropped_oversize += c.dropped_oversize.units;
        self.dropped_bytes += [
            c.dropped_full,
            c.dropped_late,
            c.dropped_waiting,
            c.dropped_rasl,
            c.dropped_side,
            c.dropped_oversize,
        ]
        .iter()
        .map(|dropped| dropped.bytes)
        .sum::<u64>();
        self.torn_units += c.torn_units;
        self.camera_resyncs += c.camera_resyncs;
        self.camera_skipped_bytes += c.camera_skipped_bytes;
        self.auth_rounds += c.auth_rounds;
        self.queue_peak_bytes = self.queue_peak_bytes.max(c.queue_peak_bytes);
    }
}

/// What a gateway is told of this camera.
#[derive(Debug, Default)]
pub(super) struct Who {
    pub(super) serial: String,
    model: String,
    /// 32 hex digits.
    pub(super) boot: String,
    state_dir: std::path::PathBuf,
    uplinks: Vec<Uplink>,
}

impl Who {
    fn configure(&mut self, config: &Config) {
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        self.serial = text(&config.agent.serial);
        self.model = text(&config.agent.model);
        self.state_dir.clone_from(&config.agent.state_dir);
        self.uplinks.clone_from(&config.uplinks);
    }

    /// Fields of the upgrade request.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let fields = [
            ("Lenscap-Serial", &self.serial),
            ("Lenscap-Model", &self.model),
            ("Lenscap-Boot", &self.boot),
        ];
        let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
        said.map(|(name, value)| (name, value.clone())).collect()
    }
}

/// State that outlives any one uplink.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) net: Rc<Net>,
    pub(super) profiles: RefCell<Rc<[Profile]>>,
    pub(super) snapshots: Slots,
    pub(super) reports: Slots,
    pub(super) totals: RefCell<Totals>,
    pub(super) repeats: RefCell<Repeats>,
    pub(super) resolv_conf: RefCell<std::path::PathBuf>,
    pub(super) hosts: RefCell<std::path::PathBuf>,
    pub(super) next_link: Cell<u32>,
    /// The way to the monitor, if there is one.
    pub(super) monitor: Option<Rc<monitor::Link>>,
    /// Keeps what the monitor would, where there is none.
    pub(super) keeper: RefCell<Keeper>,
    pub(super) who: RefCell<Who>,
}

impl Shared {
    pub(super) fn new(net: Rc<Net>, config: &Config) -> Self {
        let mut who = Who::default();
        who.configure(config);
        Self {
            net,
            profiles: RefCell::new(config.profiles.clone().into()),
            snapshots: Slots::new(MAX_SNAPSHOTS),
            reports: Slots::new(MAX_REPORTS),
            totals: RefCell::new(Totals::default()),
            repeats: RefCell::new(Repeats::default()),
            resolv_conf: RefCell::new(config.agent.resolv_conf.clone()),
            hosts: RefCell::new(config.agent.hosts.clone()),
            next_link: Cell::new(1),
            monitor: None,
            keeper: RefCell::new(Keeper::new(&config.agent.state_dir)),
            who: RefCell::new(who),
        }
    }

    /// Takes another configuration.
    pub(super) fn configure(&self, config: &Config) {
        *self.profiles.borrow_mut() = config.profiles.clone().into();
        self.resolv_conf
            .borrow_mut()
            .clone_from(&config.agent.resolv_conf);
        self.hosts.borrow_mut().clone_from(&config.agent.hosts);
        self.who.borrow_mut().configure(config);
    }

    /// Has something kept over restarts.
    pub(super) fn keep(&self, now: Duration, uplink: String, fact: Fact) {
        let reset = self.keeper.borrow().reset();
        let store = Store { uplink, fact, reset };
        match &self.monitor {
            Some(monitor) => {
                if !monitor.send(&Report::Store(store)) {
                    log::warn!(
                        "what the gateway gave does not reach the monitor; it holds until the agent ends"
                    );
                }
            }
            None => {
                let who = self.who.borrow();
                let mut keeper = self.keeper.borrow_mut();
                keeper.handle_store(now, &who.state_dir, &who.uplinks, store);
            }
        }
    }

    /// What `lenscap enroll` has made of the PIN.
    pub(super) fn pin_key(&self) -> Option<[u8; 32]> {
        let who = self.who.borrow();
        pin::stored_key(&who.state_dir, &who.serial)
    }

    /// Files that are read next are as they are now. Without a monitor they are anyway.
    pub(super) fn refresh_files(&self) {
        if let Some(monitor) = &self.monitor {
            monitor.refresh();
        }
    }

    /// Logs a fault, unless the same was said lately, and keeps it for `/status`.
    pub(super) fn fault(&self, now: Duration, text: String) {
        self.totals.borrow_mut().last_error = Some(text.clone());
        self.repeats.borrow_mut().say(now, Level::Warn, text);
    }

    pub(super) fn profile(&self, name: &str) -> Option<Profile> {
        self.profiles
            .borrow()
            .iter()
            .find(|profile| profile.name == name)
            .cloned()
    }

    /// The camera's user for a profile. Passwords are read when they are needed, so that a rotated one counts from
    /// the next session on.
    pub(super) fn credentials(
        &self,
        now: Duration,
        name: &str,
        login: Option<&Login>,
    ) -> Option<Credentials> {
        let login = login?;
        match login.credentials() {
            Ok(credentials) => Some(credentials),
            Err(e) => {
                self.fault(now, format!("profile {name}: {e}"));
                None
            }
        }
    }

    /// What a new session is told.
    pub(super) fn session_config(&self, now: Duration) -> SessionConfig {
        self.refresh_files();
        let profiles = Rc::clone(&self.profiles.borrow());
        let profiles = profiles
            .iter()
            .map(|profile| lenscap_rtsp::Profile {
                name: profile.name.clone(),
                rtsp: profile.rtsp.clone(),
                credentials: self.credentials(now, &profile.name, profile.login.as_ref()),
            })
            .collect();
        SessionConfig {
            profiles,
            limits: Limits::default(),
            user_agent: USER_AGENT.to_owned(),
        }
    }
}
