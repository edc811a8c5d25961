//! All transitions of the dialler.

use super::pace::{MIN_DELAY, Pace};
use super::{
    DialConfig, Event, Kept, MAX_DIALS, MAX_HOPS, Outcome, RedirectError, Resume, Role, Step, Target, Waiting,
};
use crate::Now;
use crate::claim::Claim;
use crate::upgrade::{Redirect, Reply, Welcome};
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
/// How long a streamer takes a credential (docs/protocol.md).
const RESUME_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

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
    pub(super) moved: Option<(Url, Option<String>)>,
    /// Whom the camera obeys. `None` where it shows no key and so cannot be claimed.
    claim: Option<Claim>,
    /// Where the connection that is up was made to.
    at: Option<Url>,
    /// How to come back to a streamer, and what of that was to be kept last.
    resume: Option<Resume>,
    resume_kept: Option<Resume>,
    /// A streamer did not take the credential since the last 101.
    not_taken: bool,
    /// Since when no 101 has brought a credential.
    without: Option<Now>,
    /// The last streamer was lost, and so has its turn after the others.
    streamer_lost: bool,
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

/// For how long a redirect counts.
#[derive(Debug, PartialEq, Eq)]
enum GoodFor {
    Now,
    Ever,
    /// The operator of a claimed camera says so, and when.
    EverSigned(u64),
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
            claim: None,
            at: None,
            resume: None,
            resume_kept: None,
            not_taken: false,
            without: None,
            streamer_lost: false,
            round_at: None,
            moves: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Says who the camera is; only one that shows its key can be claimed. Before [`restore`](Self::restore).
    pub fn set_claim(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    /// What is known of the claim.
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The same, to be told of a PIN.
    pub fn claim_mut(&mut self) -> Option<&mut Claim> {
        self.claim.as_mut()
    }

    /// The credential for a target that [`resumes`](Target::resumes).
    pub fn credential(&self) -> Option<&str> {
        self.resume.as_ref().map(|resume| resume.credential.as_str())
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
            Outcome::Established => self.handle_established(now, &Welcome::default()),
            Outcome::Reply(Reply::Switched(welcome)) => self.handle_established(now, &welcome),
            Outcome::Failed(_) => self.handle_failed(now, Pace::backoff),
            Outcome::Reply(Reply::Refused { .. }) => self.handle_failed(now, Pace::backoff),
            Outcome::Reply(Reply::Unavailable { retry_after, .. }) => {
                self.handle_failed(now, |pace| pace.unavailable(retry_after));
            }
            Outcome::Reply(Reply::Pending { retry_after, release }) => {
                if matches!(self.phase, Phase::Dialing(_)) {
                    self.handle_release(release.as_deref());
                    self.handle_failed(now, |pace| pace.unavailable(retry_after));
                }
            }
            Outcome::Reply(Reply::Unauthorized { retry_after, .. }) => {
                if let Phase::Dialing(round) = &mut self.phase {
                    // A streamer that does not take the credential says nothing for the others.
                    if !round.target.resumes {
                        round.alternates.clear();
                    }
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
                let base = self.endpoint(0).map(|(url, ..)| url);
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
        self.resume = None;
        self.pace.reset();
        self.pace.reset_refusals();
        self.moves.clear();
        self.start_move(now, Start::Endpoint);
    }

    /// Takes what an earlier process kept, as far as the configuration allows its hosts. Before the first dial.
    pub fn restore(&mut self, kept: Kept) {
        let Kept {
            endpoint,
            operator,
            was_reset,
            resume,
        } = kept;
        self.moved = endpoint.filter(|(url, _)| self.allows(url));
        if let Some(claim) = &mut self.claim {
            claim.set_operator(operator);
            claim.set_reset(was_reset);
            self.resume = resume
                .map(|resume| Resume {
                    addresses: resume
                        .addresses
                        .into_iter()
                        .filter(|url| self.allows(url))
                        .collect(),
                    credential: resume.credential,
                })
                .filter(|resume| !resume.addresses.is_empty());
            self.resume_kept.clone_from(&self.resume);
        }
    }

    /// Whether a redirect, a move or a kept address may lead there.
    pub fn allows(&self, url: &Url) -> bool {
        let named = |pattern: &HostPattern| pattern.matches(url.host());
        self.is_configured_host(url) || self.config.redirect_to.iter().any(named)
    }

    /// The camera was reset: nothing that a gateway gave counts any more, and the configured addresses are dialled. The
    /// connection, or an attempt under way, is to be abandoned.
    pub fn forget(&mut self, now: Now) {
        self.moved = None;
        self.resume = None;
        self.resume_kept = None;
        self.not_taken = false;
        if let Some(claim) = &mut self.claim {
            claim.set_operator(None);
            claim.set_reset(true);
        }
        self.pace.reset();
        self.pace.reset_refusals();
        self.start_move(now, Start::Endpoint);
        self.old_up = false;
        self.connected_at = None;
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
            self.streamer_lost = true;
            self.end_connection(now);
            return;
        }
        if !matches!(self.phase, Phase::Connected) {
            return;
        }
        let lived = self.end_connection(now);
        self.next = 0;
        self.streamer_lost = true;
        let delay = match &self.resume {
            Some(_) if lived => self.pace.quick(),
            _ => self.pace.backoff(),
        };
        self.wait(now, delay);
    }

    /// A connection that lived makes the backoff start anew; whether it did.
    fn end_connection(&mut self, now: Now) -> bool {
        let since = self.connected_at.take();
        since.is_some_and(|at| self.pace.handle_end(now, now.saturating_sub(at)))
    }

    fn handle_established(&mut self, now: Now, welcome: &Welcome) {
        let Phase::Dialing(round) = &self.phase else {
            return;
        };
        let at = round.target.url.clone();
        self.end_connection(now);
        self.old_up = false;
        self.streamer_lost = false;
        self.connected_at = Some(now);
        self.pace.reset_refusals();
        self.phase = Phase::Connected;
        let Some(claim) = &mut self.claim else { return };
        if let Some(text) = &welcome.operator {
            match claim.handle_introduction(text) {
                Ok(false) => {}
                Ok(true) => self.push_operator(),
                Err(error) => self.push_event(Event::ClaimRefused(error)),
            }
        }
        self.take_resume(now, welcome, at);
    }

    /// Takes a fresh credential that came over the uplink that is up. False if there is none in it, or the camera shows
    /// no key, or is about to move.
    pub fn handle_renewal(&mut self, welcome: &Welcome) -> bool {
        let connected = matches!(self.phase, Phase::Connected) && self.claim.is_some();
        let Some(at) = self.at.take_if(|_| connected && welcome.resume.is_some()) else {
            return false;
        };
        self.take_resume(self.connected_at.unwrap_or_default(), welcome, at);
        true
    }

    fn take_resume(&mut self, now: Now, welcome: &Welcome, at: Url) {
        let new = Resume::of(welcome, &at, |url| self.allows(url));
        self.at = Some(at);
        let refused = core::mem::take(&mut self.not_taken);
        // A gateway that gives none knows no better way back than the one before, until nobody takes that any more.
        if new.is_none() {
            let since = *self.without.get_or_insert(now);
            if !refused && now.saturating_sub(since) < RESUME_LIFE {
                return;
            }
        }
        self.without = None;
        self.resume = new;
        let news = match (&self.resume, &self.resume_kept) {
            (Some(new), Some(kept)) => new.is_news_to(kept),
            (new, kept) => new.is_some() != kept.is_some(),
        };
        if news {
            self.resume_kept.clone_from(&self.resume);
            self.push_event(Event::ResumeChanged(self.resume.clone()));
        }
    }

    /// The operator that the camera obeys may have ended its claim.
    fn handle_release(&mut self, text: Option<&str>) {
        let (Some(claim), Some(text)) = (&mut self.claim, text) else {
            return;
        };
        match claim.handle_release(text) {
            Ok(()) => {
                self.resume = None;
                self.resume_kept = None;
                self.not_taken = false;
                self.push_operator();
            }
            Err(error) => self.push_event(Event::ClaimRefused(error)),
        }
    }

    fn push_operator(&mut self) {
        if let Some(operator) = self.claim.as_ref().and_then(Claim::operator).cloned() {
            self.push_event(Event::OperatorChanged(operator));
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
        self.handle_release(redirect.release.as_deref());
        let good_for = match self.judge_permanence(&from, redirect) {
            Ok(good_for) => good_for,
            Err(error) => {
                self.push_event(Event::RedirectRefused(error));
                self.handle_failed(now, Pace::backoff);
                return;
            }
        };
        self.not_taken |= from.resumes;
        let (role, count) = match good_for {
            GoodFor::Now => (Role::Streamer, usize::MAX),
            GoodFor::Ever => (Role::Endpoint, usize::MAX),
            // The signature is over `Location`, and says nothing of the alternates.
            GoodFor::EverSigned(_) => (Role::Endpoint, 1),
        };
        let pin = pin_for_location(&from, redirect);
        let mut targets: VecDeque<Target> = VecDeque::new();
        for text in redirect.targets.iter().take(count) {
            match self.judge(&from, text) {
                Ok(url) => targets.push_back(self.target(url, &pin, from.hop + 1, role)),
                Err(error) => self.push_event(Event::RedirectRefused(error)),
            }
        }
        if redirect.targets.is_empty() {
            self.push_event(Event::RedirectRefused(RedirectError::NoTarget));
        }
        if let Some(first) = targets.front().filter(|_| role == Role::Endpoint) {
            let (url, pin) = (first.url.clone(), first.pin.clone());
            self.keep_endpoint(url, pin, &good_for);
        }
        let Phase::Dialing(round) = &mut self.phase else {
            return;
        };
        while let Some(target) = targets.pop_back() {
            round.alternates.push_front(target);
        }
        round.alternates.truncate(MAX_DIALS as usize);
        self.handle_failed(now, Pace::backoff);
    }

    /// For how long a redirect counts. A claimed camera follows one for good only if its operator says so, whoever shows
    /// it; an unclaimed one where nothing but endpoints led to it.
    fn judge_permanence(&self, from: &Target, redirect: &Redirect) -> Result<GoodFor, RedirectError> {
        if !redirect.permanent {
            return Ok(GoodFor::Now);
        }
        if let Some(claim) = self.claim.as_ref().filter(|claim| claim.is_claimed()) {
            let location = redirect.targets.first().map_or("", String::as_str);
            return claim
                .check_redirect(redirect.signature.as_deref(), location, redirect.pin.as_deref())
                .map(GoodFor::EverSigned)
                .map_err(RedirectError::Claimed);
        }
        Ok(match from.role {
            Role::Streamer => GoodFor::Now,
            Role::Activation | Role::Endpoint => GoodFor::Ever,
        })
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

    fn keep_endpoint(&mut self, url: Url, pin: Option<String>, good_for: &GoodFor) {
        if let (GoodFor::EverSigned(issued), Some(claim)) = (good_for, &mut self.claim) {
            claim.note_followed(*issued);
        }
        let known = self
            .moved
            .as_ref()
            .is_some_and(|(old, old_pin)| *old == url && *old_pin == pin);
        if !known {
            self.moved = Some((url.clone(), pin.clone()));
            self.push_event(Event::EndpointMoved { url, pin });
            if matches!(good_for, GoodFor::EverSigned(_)) {
                self.push_operator();
            }
        }
    }

    fn begin_round(&self, start: &Start) -> Option<Round> {
        let mut targets = match start {
            Start::Endpoint => self.round_targets(),
            Start::At(url) => [self.target(url.clone(), &None, 0, Role::Streamer)].into(),
        };
        let target = targets.pop_front()?;
        let visited = [target.url.as_str().to_string()].into();
        Some(Round {
            target,
            handed_out: false,
            dials: 1,
            alternates: targets,
            visited,
            again: matches!(start, Start::Endpoint),
        })
    }

    /// Where the credential is taken, and the endpoint whose turn it is. A move asks the endpoint first, since it knows
    /// better.
    fn round_targets(&self) -> VecDeque<Target> {
        let mut targets = VecDeque::new();
        let pinned = self.moved.as_ref().and_then(|(url, pin)| {
            let pin = pin.clone()?;
            Some((url.host().to_string(), pin))
        });
        for url in self.resume.iter().flat_map(|resume| &resume.addresses) {
            let mut target = self.target(url.clone(), &pinned, 0, Role::Streamer);
            target.resumes = true;
            targets.push_back(target);
        }
        if self.old_up {
            // It is the one that wants to be left.
            targets.pop_front();
        } else if self.streamer_lost && targets.len() > 1 {
            targets.rotate_left(1);
        }
        if let Some((url, pin, role)) = self.endpoint(self.next) {
            let pin = pin.map(|pin| (url.host().to_string(), pin));
            let endpoint = self.target(url, &pin, 0, role);
            if self.old_up {
                targets.push_front(endpoint);
            } else {
                targets.push_back(endpoint);
            }
        }
        targets
    }

    /// The endpoints in turn: a 308's address first, then the configured ones. Once a camera is claimed those no longer
    /// count beside the address of a 308: an activation address that has lapsed must not own the fleet.
    fn endpoint(&self, turn: usize) -> Option<(Url, Option<String>, Role)> {
        let claimed = self.claim.as_ref().map(Claim::is_claimed);
        let moved = self
            .moved
            .iter()
            .map(|(url, pin)| (url.clone(), pin.clone(), Role::Endpoint));
        let configured: &[Url] = match (claimed, &self.moved) {
            (Some(true), Some(_)) => &[],
            _ => self.config.endpoints.as_slice(),
        };
        let role = match claimed {
            Some(false) => Role::Activation,
            Some(true) | None => Role::Endpoint,
        };
        let count = usize::from(self.moved.is_some()) + configured.len();
        let configured = configured.iter().map(|url| (url.clone(), None, role));
        moved.chain(configured).nth(turn.checked_rem(count)?)
    }

    fn target(&self, url: Url, pin: &Option<(String, String)>, hop: u8, role: Role) -> Target {
        let pin = pin
            .as_ref()
            .filter(|(host, _)| host == url.host())
            .map(|(_, pin)| pin.clone());
        Target {
            send_bearer: self.is_configured_host(&url),
            url,
            pin,
            hop,
            role,
            resumes: false,
        }
    }

    fn is_configured_host(&self, url: &Url) -> bool {
        let host = canonical_host(url.host());
        self.config
            .endpoints
            .iter()
            .any(|endpoint| canonical_host(endpoint.host()) == host)
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
