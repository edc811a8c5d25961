//! All transitions of the dialler.

use super::pace::{MIN_DELAY, Pace, STABLE_AFTER};
use super::{DialConfig, Event, MAX_DIALS, MAX_HOPS, Outcome, RedirectError, Step, Target, Waiting};
use crate::Now;
use crate::upgrade::{Redirect, Reply};
use crate::url::{HostPattern, Url, canonical_host};
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::time::Duration;

/// Events that wait to be polled; older ones give way.
const MAX_EVENTS: usize = 16;
/// Moves within [`MOVE_WINDOW`] that need not back off.
const QUICK_MOVES: usize = 4;
const MOVE_WINDOW: Duration = Duration::from_secs(60);
const DIGEST_LEN: usize = 32;

/// Decides what to dial and when.
#[derive(Debug)]
pub struct Dialer {
    config: DialConfig,
    pace: Pace,
    phase: Phase,
    /// A connection made before is still up while another is being made.
    old_up: bool,
    connected_at: Option<Now>,
    /// Where the next round begins, in the list of endpoints.
    next: usize,
    /// A 308's address; it stands before the configured ones.
    moved: Option<(Url, Option<String>)>,
    /// The last round's start.
    round_at: Option<Now>,
    /// When the last moves were asked for, the oldest first.
    moves: VecDeque<Now>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Now, why: Waiting, start: Start },
    Dialing(Round),
    Connected,
}

/// Where a round begins.
#[derive(Debug, Clone)]
enum Start {
    Endpoint,
    /// A move with a target.
    At(Url),
}

/// One round: the address being dialled, and what is left to try.
#[derive(Debug)]
struct Round {
    target: Target,
    handed_out: bool,
    dials: u32,
    /// Alternates of the last redirect.
    alternates: VecDeque<Target>,
    visited: Vec<String>,
    /// Every redirect so far was a 308 and the round began at an endpoint.
    permanent: bool,
    /// It began at an endpoint, and so another round follows when it fails, even while an old uplink is up.
    again: bool,
}

impl Dialer {
    /// A dialler that wants to dial at once. `seed` feeds the jitter and differs from camera to camera.
    pub fn new(config: DialConfig, seed: u64) -> Self {
        Self {
            config,
            pace: Pace::new(seed),
            phase: Phase::Waiting {
                until: Now::ZERO,
                why: Waiting::Backoff,
                start: Start::Endpoint,
            },
            old_up: false,
            connected_at: None,
            next: 0,
            moved: None,
            round_at: None,
            moves: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Now) -> Step {
        if let Phase::Waiting { until, why, start } = &self.phase {
            if now < *until {
                return Step::Wait {
                    until: *until,
                    why: *why,
                };
            }
            let start = start.clone();
            let Some(round) = self.begin_round(&start) else {
                return Step::Wait {
                    until: Now::MAX,
                    why: Waiting::NoEndpoint,
                };
            };
            self.round_at = Some(now);
            self.phase = Phase::Dialing(round);
        }
        match &mut self.phase {
            Phase::Dialing(round) if !round.handed_out => {
                round.handed_out = true;
                Step::Dial(round.target.clone())
            }
            Phase::Dialing(_) => Step::InProgress,
            Phase::Connected | Phase::Waiting { .. } => Step::Connected,
        }
    }

    /// Takes the end of an attempt or of the connection. An outcome that does not fit the state is ignored.
    pub fn handle_outcome(&mut self, now: Now, outcome: Outcome) {
        match outcome {
            Outcome::Lost => self.handle_lost(now),
            Outcome::Established | Outcome::Reply(Reply::Switched) => self.handle_established(now),
            Outcome::Failed(_) => self.handle_failed(now, Pace::backoff),
            Outcome::Reply(Reply::Refused { .. }) => self.handle_failed(now, Pace::backoff),
            Outcome::Reply(Reply::Unavailable { retry_after, .. }) => {
                self.handle_failed(now, |pace| pace.unavailable(retry_after));
            }
            Outcome::Reply(Reply::Unauthorized { retry_after, .. }) => {
                if let Phase::Dialing(round) = &mut self.phase {
                    round.alternates.clear();
                    self.handle_failed(now, |pace| pace.refused(retry_after));
                }
            }
            Outcome::Reply(Reply::Redirect(redirect)) => self.handle_redirect(now, &redirect),
        }
    }

    /// Moves the uplink (make before break): to `target`, which `redirect_to` must allow, or from the endpoints anew
    /// when `None`. A relative target counts from the first endpoint. The old uplink stays until the new one is up.
    /// A target is tried once; the endpoints are tried until one takes the uplink, for a gateway that said GOAWAY
    /// cannot ask again. More than four moves in a minute back off.
    /// An attempt under way is to be abandoned without reporting its outcome.
    pub fn retarget(&mut self, now: Now, target: Option<&str>) -> Result<(), RedirectError> {
        let start = match target {
            None => Start::Endpoint,
            Some(text) => {
                let base = self.endpoint(0).map(|(url, _)| url);
                let url = match &base {
                    Some(base) => base.join(text),
                    None => Url::parse(text),
                };
                let url = url.map_err(RedirectError::Malformed)?;
                if !self.allows(&url) {
                    return Err(RedirectError::Forbidden);
                }
                Start::At(url)
            }
        };
        self.start_move(now, start);
        Ok(())
    }

    /// The network may just have come: the next round begins within [`MIN_BACKOFF`](super::MIN_BACKOFF), with jitter,
    /// since a whole street's power may have come with it. A gateway that refused, or asked for patience, is given it.
    pub fn hurry(&mut self, now: Now) {
        if let Phase::Waiting {
            until,
            why: Waiting::Backoff,
            ..
        } = &mut self.phase
        {
            self.pace.reset();
            let soon = now + self.pace.backoff().0;
            let soon = self.round_at.map_or(soon, |at| soon.max(at + MIN_DELAY));
            *until = soon.min(*until);
        }
    }

    /// Takes a new configuration. If it differs, what a 308 said is forgotten, an attempt under way is to be abandoned,
    /// and a connected uplink moves.
    pub fn reconfigure(&mut self, now: Now, config: DialConfig) {
        if config == self.config {
            return;
        }
        self.config = config;
        self.moved = None;
        self.pace.reset();
        self.pace.reset_refusals();
        self.moves.clear();
        self.start_move(now, Start::Endpoint);
    }

    /// Takes an address that an earlier process kept from [`Event::EndpointMoved`]; it is dialled first. False when
    /// the configuration does not allow its host.
    pub fn restore_endpoint(&mut self, url: Url, pin: Option<String>) -> bool {
        let allowed = self.allows(&url);
        if allowed {
            self.moved = Some((url, pin));
        }
        allowed
    }

    /// The next thing to log or to keep.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn start_move(&mut self, now: Now, start: Start) {
        self.old_up |= matches!(self.phase, Phase::Connected);
        self.next = 0;
        let until = self.round_at.map_or(now, |at| now.max(at + MIN_DELAY));
        let until = until.max(now + self.pace_move(now));
        self.phase = Phase::Waiting {
            until,
            why: Waiting::MovePaced,
            start,
        };
    }

    /// How much longer a move must wait, so that gateways which send a camera to and fro do not hurry it.
    fn pace_move(&mut self, now: Now) -> Duration {
        let full = self.moves.len() >= QUICK_MOVES;
        let oldest = if full { self.moves.pop_front() } else { None };
        self.moves.push_back(now);
        match oldest {
            Some(oldest) if now.saturating_sub(oldest) < MOVE_WINDOW => self.pace.backoff().0,
            _ => Duration::ZERO,
        }
    }

    fn handle_lost(&mut self, now: Now) {
        if self.old_up {
            self.old_up = false;
            self.end_connection(now);
            return;
        }
        if !matches!(self.phase, Phase::Connected) {
            return;
        }
        self.end_connection(now);
        self.next = 0;
        let delay = self.pace.backoff();
        self.wait(now, delay);
    }

    /// A connection that lived makes the backoff start anew.
    fn end_connection(&mut self, now: Now) {
        let since = self.connected_at.take();
        if since.is_some_and(|at| now.saturating_sub(at) >= STABLE_AFTER) {
            self.pace.reset();
        }
    }

    fn handle_established(&mut self, now: Now) {
        if matches!(self.phase, Phase::Dialing(_)) {
            self.end_connection(now);
            self.old_up = false;
            self.connected_at = Some(now);
            self.pace.reset_refusals();
            self.phase = Phase::Connected;
        }
    }

    /// The next alternate, or the end of the round.
    fn handle_failed(&mut self, now: Now, delay: impl FnOnce(&mut Pace) -> (Duration, Waiting)) {
        let Phase::Dialing(round) = &mut self.phase else {
            return;
        };
        while round.dials < MAX_DIALS {
            let Some(target) = round.alternates.pop_front() else {
                break;
            };
            if round.enter(target).is_ok() {
                return;
            }
        }
        let again = round.again;
        if self.old_up {
            self.push_event(Event::MoveFailed);
            if !again {
                // The uplink that is up serves on; whoever asked for the move can ask again.
                self.old_up = false;
                self.phase = Phase::Connected;
                return;
            }
        }
        self.next = self.next.wrapping_add(1);
        let delay = delay(&mut self.pace);
        self.wait(now, delay);
    }

    fn handle_redirect(&mut self, now: Now, redirect: &Redirect) {
        let Phase::Dialing(round) = &self.phase else {
            return;
        };
        let from = round.target.clone();
        let permanent = redirect.permanent && round.permanent;
        let mut result = Err(RedirectError::NoTarget);
        let mut targets = VecDeque::new();
        for text in &redirect.targets {
            match self.judge(&from, text) {
                Ok(url) => targets.push_back(url),
                Err(error) => {
                    result = Err(error);
                    self.push_event(Event::RedirectRefused(error));
                }
            }
        }
        let pin = pin_for_location(&from, redirect);
        let targets: VecDeque<Target> = targets
            .into_iter()
            .map(|url| self.target(url, &pin, from.hop + 1))
            .collect();
        if let Some(first) = targets.front()
            && permanent
        {
            self.keep_endpoint(first.url.clone(), first.pin.clone());
        }
        let Phase::Dialing(round) = &mut self.phase else {
            return;
        };
        round.permanent = permanent;
        if !targets.is_empty() {
            round.alternates = targets;
            result = Ok(());
        }
        if result == Err(RedirectError::NoTarget) {
            self.push_event(Event::RedirectRefused(RedirectError::NoTarget));
        }
        self.handle_failed(now, Pace::backoff);
    }

    /// Whether a redirect from `from` to `text` may be followed.
    fn judge(&self, from: &Target, text: &str) -> Result<Url, RedirectError> {
        let url = from.url.join(text).map_err(RedirectError::Malformed)?;
        if from.hop >= MAX_HOPS {
            return Err(RedirectError::TooManyHops);
        }
        if !self.allows(&url) {
            return Err(RedirectError::Forbidden);
        }
        match &self.phase {
            Phase::Dialing(round) if round.visited.iter().any(|seen| seen == url.as_str()) => {
                Err(RedirectError::Loop)
            }
            _ => Ok(url),
        }
    }

    fn keep_endpoint(&mut self, url: Url, pin: Option<String>) {
        let known = self
            .moved
            .as_ref()
            .is_some_and(|(old, old_pin)| *old == url && *old_pin == pin);
        if !known {
            self.moved = Some((url.clone(), pin.clone()));
            self.push_event(Event::EndpointMoved { url, pin });
        }
    }

    fn begin_round(&self, start: &Start) -> Option<Round> {
        let (url, pin) = match start {
            Start::Endpoint => self.endpoint(self.next)?,
            Start::At(url) => (url.clone(), None),
        };
        let visited = [url.as_str().to_string()].into();
        let pin = pin.map(|pin| (url.host().to_string(), pin));
        Some(Round {
            target: self.target(url, &pin, 0),
            handed_out: false,
            dials: 1,
            alternates: VecDeque::new(),
            visited,
            permanent: matches!(start, Start::Endpoint),
            again: matches!(start, Start::Endpoint),
        })
    }

    /// The endpoints in turn: a 308's address first, then the configured ones.
    fn endpoint(&self, turn: usize) -> Option<(Url, Option<String>)> {
        let moved = self.moved.iter().cloned();
        let configured = self.config.endpoints.iter().map(|url| (url.clone(), None));
        let count = usize::from(self.moved.is_some()) + self.config.endpoints.len();
        moved.chain(configured).nth(turn.checked_rem(count)?)
    }

    fn target(&self, url: Url, pin: &Option<(String, String)>, hop: u8) -> Target {
        let pin = pin
            .as_ref()
            .filter(|(host, _)| host == url.host())
            .map(|(_, pin)| pin.clone());
        Target {
            send_bearer: self.is_configured_host(&url),
            url,
            pin,
            hop,
        }
    }

    fn is_configured_host(&self, url: &Url) -> bool {
        let host = canonical_host(url.host());
        self.config
            .endpoints
            .iter()
            .any(|endpoint| canonical_host(endpoint.host()) == host)
    }

    fn allows(&self, url: &Url) -> bool {
        let named = |pattern: &HostPattern| pattern.matches(url.host());
        self.is_configured_host(url) || self.config.redirect_to.iter().any(named)
    }

    fn wait(&mut self, now: Now, (delay, why): (Duration, Waiting)) {
        self.phase = Phase::Waiting {
            until: now + delay,
            why,
            start: Start::Endpoint,
        };
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl Round {
    /// Makes `target` the address to dial, unless it was dialled in this round.
    fn enter(&mut self, target: Target) -> Result<(), RedirectError> {
        if self.visited.iter().any(|seen| seen == target.url.as_str()) {
            return Err(RedirectError::Loop);
        }
        self.visited.push(target.url.as_str().to_string());
        self.target = target;
        self.handed_out = false;
        self.dials += 1;
        Ok(())
    }
}

/// A 308's pin and the one host it holds for: the host of `Location`. A malformed pin does not count, so that a CA
/// must vouch for the server.
fn pin_for_location(from: &Target, redirect: &Redirect) -> Option<(String, String)> {
    let pin = redirect.pin.as_ref().filter(|_| redirect.permanent)?;
    let mut digest = [0; DIGEST_LEN];
    let decoded = Base64::decode(pin.strip_prefix("sha256/")?, &mut digest).ok()?;
    if decoded.len() != DIGEST_LEN {
        return None;
    }
    let location = from.url.join(redirect.targets.first()?).ok()?;
    Some((location.host().to_string(), pin.clone()))
}
