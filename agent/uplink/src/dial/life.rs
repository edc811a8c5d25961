//! A month of a camera's life on a virtual clock: the shipped dialler against a world in which everything goes wrong
//! that does on real lines. Only the world is made up here.

use super::tests::claimed::credential;
use super::*;
use crate::claim::Claim;
use crate::claim::tests::{FINGERPRINT, Signer};
use crate::rng::Rng;
use crate::upgrade::{Redirect, Welcome};
use crate::url::HostPattern;
use alloc::vec;
use core::time::Duration;
use std::collections::BTreeMap;

const DAY: u64 = 86_400;
const MONTH: u64 = 30 * DAY;
const ACTIVATION: &str = "activate.vendor.net";
/// Where the operator's endpoint may be, one at a time.
const ENDPOINTS: [&str; 3] = ["e1.operator.net", "e2.operator.net", "e3.operator.net"];
const STREAMERS: [&str; 2] = ["s1.operator.net", "s2.operator.net"];
/// A camera that could be connected is so within this.
const BACK_WITHIN: u64 = 100;

/// What happens to the camera or around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// The line's address changes: connections are cut.
    AddressChange,
    /// The NAT forgets the connection: it is found dead after 30 s.
    NatTimeout,
    /// No packet passes.
    NetworkDown,
    /// No name resolves.
    NamesDown,
    /// The clock jumps, or a certificate is not yet valid: no handshake succeeds.
    CertificatesRefused,
    /// A gateway renews its certificate and is started anew.
    Renewal,
    /// A streamer is killed, for a while.
    StreamerKilled(usize),
    /// A streamer is killed and started again and again.
    StreamerFlaps(usize),
    EndpointDown,
    /// The endpoint moves; the old one says so from now on.
    EndpointMoves,
    /// The power fails.
    PowerCut,
    /// The power fails at the next write, before or after it counts.
    PowerCutAtWrite,
    /// Nothing can be written.
    FlashFull,
    /// Whoever has bought the activation address sends every camera to itself.
    ActivationLapses,
}

use Mishap::*;

/// How often in a month, and for how many seconds at most.
const MISHAPS: &[(Mishap, u64, u64)] = &[
    (AddressChange, 30, 5),
    (NatTimeout, 60, 0),
    (NetworkDown, 12, 6 * 3600),
    (NamesDown, 8, 2 * 3600),
    (CertificatesRefused, 6, 600),
    (Renewal, 2, 0),
    (StreamerKilled(0), 20, 1800),
    (StreamerKilled(1), 20, 1800),
    (StreamerFlaps(0), 2, 1000),
    (StreamerFlaps(1), 2, 1000),
    (EndpointDown, 8, 12 * 3600),
    (EndpointMoves, 4, 0),
    (PowerCut, 10, 0),
    (PowerCutAtWrite, 10, 0),
    (FlashFull, 3, DAY),
    (ActivationLapses, 1, 0),
];

struct World {
    rng: Rng,
    owner: Signer,
    now_ms: u64,
    /// Until when each mishap lasts.
    until: BTreeMap<u8, u64>,
    endpoint: usize,
    /// Without a streamer, the endpoint carries the camera itself, and gives no credential.
    carries: bool,
    lapsed: bool,
    /// What has still to happen, the latest first.
    script: Vec<(u64, Mishap, u64)>,
    // The camera.
    dialer: Dialer,
    booted_ms: u64,
    flash: Kept,
    /// The power fails at the next write.
    cut_at_write: bool,
    at: Option<&'static str>,
    dying_at: Option<u64>,
    up_possible_since: u64,
    writes: Vec<u64>,
    dials: Vec<u64>,
}

fn host(url: &Url) -> &'static str {
    let all = [ACTIVATION].into_iter().chain(ENDPOINTS).chain(STREAMERS);
    all.into_iter()
        .find(|name| *name == url.host())
        .expect("a known host")
}

fn address(host: &str) -> String {
    alloc::format!("https://{host}/up")
}

fn camera(seed: u64, kept: &Kept) -> Dialer {
    let config = DialConfig {
        endpoints: vec![Url::parse(&address(ACTIVATION)).unwrap()],
        redirect_to: vec![HostPattern::parse("*.operator.net").unwrap()],
    };
    let mut dialer = Dialer::new(config, seed);
    dialer.set_claim(Claim::new(&FINGERPRINT));
    dialer.restore(kept.clone());
    dialer
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut script = Vec::new();
        for (mishap, often, lasts) in MISHAPS {
            for _ in 0..*often {
                // The first hour is quiet, so that the camera finds its operator.
                script.push((3600 + rng.up_to(MONTH - 7200), *mishap, rng.up_to(*lasts)));
            }
        }
        script.sort_by_key(|(at, ..)| core::cmp::Reverse(*at));
        Self {
            rng,
            owner: Signer::new(),
            now_ms: 0,
            until: BTreeMap::new(),
            endpoint: 0,
            carries: seed % 2 == 1,
            lapsed: false,
            script,
            dialer: camera(seed, &Kept::default()),
            booted_ms: 0,
            flash: Kept::default(),
            cut_at_write: false,
            at: None,
            dying_at: None,
            up_possible_since: 0,
            writes: Vec::new(),
            dials: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Duration::from_millis(self.now_ms - self.booted_ms)
    }

    fn lasts(&self, mishap: Mishap) -> bool {
        let until = self.until.get(&key(mishap)).copied().unwrap_or(0);
        self.now_ms < until * 1000
    }

    fn is_up(&self, host: &str) -> bool {
        let streamer = STREAMERS.iter().position(|name| *name == host);
        match streamer {
            Some(index) => {
                // Up for 10 s out of 15.
                let flaps = self.lasts(StreamerFlaps(index)) && self.now_ms % 15_000 > 10_000;
                !self.lasts(StreamerKilled(index)) && !flaps
            }
            None => !(self.lasts(EndpointDown) && ENDPOINTS.contains(&host)),
        }
    }

    fn line_is_up(&self) -> bool {
        ![AddressChange, NetworkDown, NamesDown, CertificatesRefused]
            .iter()
            .any(|mishap| self.lasts(*mishap))
    }

    fn happen(&mut self, mishap: Mishap, lasts: u64) {
        let until = self.now_ms / 1000 + lasts;
        self.until.insert(key(mishap), until);
        let soon = |world: &mut Self, ms: u64| world.dying_at = world.at.map(|_| world.now_ms + ms);
        match mishap {
            AddressChange | Renewal => soon(self, 0),
            NatTimeout | NetworkDown => soon(self, 30_000),
            StreamerKilled(_) | StreamerFlaps(_) | NamesDown | CertificatesRefused | EndpointDown
            | FlashFull => {}
            EndpointMoves => self.endpoint = (self.endpoint + 1) % ENDPOINTS.len(),
            ActivationLapses => self.lapsed = true,
            PowerCut => self.boot(),
            PowerCutAtWrite => self.cut_at_write = true,
        }
    }

    fn boot(&mut self) {
        self.booted_ms = self.now_ms;
        self.dialer = camera(self.rng.next_u64(), &self.flash);
        self.at = None;
        self.dying_at = None;
    }

    /// What comes of dialling, and how long it takes.
    fn dial(&mut self, target: &Target) -> (Outcome, u64) {
        let host = host(&target.url);
        let claimed = self.dialer.claim().is_some_and(Claim::is_claimed);
        assert!(host != ACTIVATION || !claimed, "{target:?}");
        let failed = |kind| Outcome::Failed(kind);
        if self.lasts(NamesDown) {
            return (failed(FailureKind::Resolve), 5000);
        }
        if self.lasts(NetworkDown) || self.lasts(AddressChange) {
            return (failed(FailureKind::Connect), self.rng.up_to(10_000));
        }
        if self.lasts(CertificatesRefused) {
            return (failed(FailureKind::Tls), 200);
        }
        if !self.is_up(host) {
            return (
                failed(FailureKind::Connect),
                [1, 10_000][self.rng.up_to(1) as usize],
            );
        }
        (Outcome::Reply(self.answer(host, target)), 100)
    }

    fn answer(&mut self, host: &str, target: &Target) -> Reply {
        let endpoint = ENDPOINTS[self.endpoint];
        let issued = self.now_ms / 1000 + 1;
        if host == ACTIVATION || ENDPOINTS.contains(&host) && host != endpoint {
            let to = address(if self.lapsed && host == ACTIVATION {
                "evil.operator.net"
            } else {
                endpoint
            });
            let signed = ENDPOINTS
                .contains(&host)
                .then(|| self.owner.redirect(issued, &to, None));
            return Reply::Redirect(Redirect {
                permanent: true,
                targets: vec![to],
                signature: signed,
                ..Redirect::default()
            });
        }
        if host == endpoint {
            let up = STREAMERS.iter().filter(|name| self.is_up(name));
            let targets: Vec<String> = up.map(|name| address(name) + "?ticket=t").collect();
            if targets.is_empty() && self.carries {
                let held = self.dialer.claim().unwrap().held();
                return Reply::Switched(Welcome {
                    operator: (held != self.owner.id()).then(|| self.owner.introduction(None)),
                    ..Welcome::default()
                });
            }
            if targets.is_empty() {
                return Reply::Unavailable {
                    status: 503,
                    retry_after: Some(Duration::from_secs(30)),
                };
            }
            return Reply::Redirect(Redirect {
                targets,
                ..Redirect::default()
            });
        }
        assert!(
            target.resumes || target.url.as_str().contains("ticket="),
            "{target:?}"
        );
        let others = STREAMERS.iter().filter(|name| **name != host);
        let held = self.dialer.claim().unwrap().held();
        Reply::Switched(Welcome {
            operator: (held != self.owner.id()).then(|| self.owner.introduction(None)),
            resume: Some(credential(issued)),
            alternates: others.map(|name| address(name)).collect(),
        })
    }

    /// What the state machine wants kept is kept, unless flash is full.
    fn keep(&mut self) {
        while let Some(event) = self.dialer.poll_event() {
            let mut after = self.flash.clone();
            match event {
                Event::EndpointMoved { url, pin } => after.endpoint = Some((url, pin)),
                Event::OperatorChanged(operator) => after.operator = Some(operator),
                Event::ResumeChanged(resume) => {
                    assert!(resume.is_some(), "the way back was given up");
                    after.resume = resume;
                }
                Event::ClaimRefused(error) => panic!("{error}"),
                Event::RedirectRefused(_) | Event::MoveFailed => continue,
            }
            if self.lasts(FlashFull) {
                continue;
            }
            self.writes.push(self.now_ms / 1000);
            let cut = core::mem::take(&mut self.cut_at_write);
            if !cut || self.rng.up_to(1) == 0 {
                self.flash = after;
            }
            if cut {
                self.boot();
            }
        }
    }

    /// Goes to the next moment at which something is due.
    fn step(&mut self) {
        let now = self.now();
        let waits = match self.dialer.poll(now) {
            Step::Dial(target) => {
                self.dials.push(self.now_ms / 1000);
                let (outcome, took) = self.dial(&target);
                self.now_ms += took;
                if matches!(outcome, Outcome::Reply(Reply::Switched(_))) {
                    self.at = Some(host(&target.url));
                    self.dying_at = None;
                }
                self.dialer.handle_outcome(self.now(), outcome);
                self.keep();
                return;
            }
            Step::Wait { until, .. } => until.as_millis() as u64 + self.booted_ms,
            Step::Connected | Step::InProgress => u64::MAX,
        };
        if self.at.is_some_and(|at| !self.is_up(at)) {
            self.dying_at = Some(self.now_ms);
        }
        if self.dying_at.is_some_and(|at| at <= self.now_ms) {
            self.at = None;
            self.dying_at = None;
            self.dialer.handle_outcome(now, Outcome::Lost);
            return;
        }
        let next = self.script.last().map_or(MONTH * 1000, |(at, ..)| at * 1000);
        if next <= self.now_ms
            && let Some((_, mishap, lasts)) = self.script.pop()
        {
            self.happen(mishap, lasts);
            return;
        }
        let dies = self.dying_at.unwrap_or(u64::MAX);
        // Not further than a second, to see streamers die.
        self.now_ms = waits
            .min(next)
            .min(dies)
            .min(self.now_ms + 1000)
            .max(self.now_ms + 1);
    }

    /// Whether a camera without a connection could have one. Where only credentials help, it must have been given one.
    fn could_be_up(&self) -> bool {
        let streamer = STREAMERS
            .iter()
            .enumerate()
            .any(|(index, name)| self.is_up(name) && !self.lasts(StreamerFlaps(index)));
        let resumes = self.flash.resume.is_some() && self.dialer.credential().is_some();
        self.line_is_up() && streamer && (!self.lasts(EndpointDown) || resumes)
    }

    fn check(&mut self) {
        if self.at.is_some() || !self.could_be_up() {
            self.up_possible_since = self.now_ms;
        }
        let waited = (self.now_ms - self.up_possible_since) / 1000;
        assert!(
            waited <= BACK_WITHIN,
            "not back after {waited} s: {:?}",
            self.dialer
        );
    }
}

fn key(mishap: Mishap) -> u8 {
    MISHAPS
        .iter()
        .position(|(known, ..)| *known == mishap)
        .unwrap_or(0) as u8
}

/// The most of these times that fall into one span.
fn most_in(times: &[u64], span: u64) -> usize {
    let within = |from: usize| {
        times[from..]
            .iter()
            .take_while(|at| **at < times[from] + span)
            .count()
    };
    (0..times.len()).map(within).max().unwrap_or(0)
}

#[test]
fn a_month_of_a_cameras_life() {
    let (mut dials, mut writes) = (0, 0);
    let (mut most_dials, mut most_writes) = (0, 0);
    const LIVES: u64 = 6;
    for seed in 0..LIVES {
        let mut world = World::new(seed);
        while world.now_ms < MONTH * 1000 {
            world.step();
            world.check();
        }
        let [minute, hour] = [60, 3600].map(|span| most_in(&world.dials, span));
        let a_day = most_in(&world.writes, DAY);
        assert!(
            minute <= 60 && hour <= 1200,
            "seed {seed}: {minute} dials in a minute, {hour} in an hour"
        );
        assert!(a_day <= 6, "seed {seed}: {a_day} writes in a day");
        assert!(
            world.flash.operator.is_some() && world.flash.endpoint.is_some(),
            "seed {seed}"
        );
        dials += world.dials.len();
        writes += world.writes.len();
        most_dials = most_dials.max(hour);
        most_writes = most_writes.max(a_day);
    }
    std::println!(
        "{LIVES} months: {} dials a day, {most_dials} in an hour at most; {} writes a month, {most_writes} in a day at most",
        dials as u64 / (LIVES * 30),
        writes as u64 / LIVES,
    );
}
