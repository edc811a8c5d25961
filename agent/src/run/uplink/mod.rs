//! One configured uplink: dials, keeps one live connection, and lets old ones drain.

mod dialling;
mod exchange;
mod link;

use std::sync::Arc;
use std::time::Duration;

use lenscap_uplink::claim::{Claim, Operator, Standing};
use lenscap_uplink::dial::{
    DialConfig, Dialer, Event, Kept, Outcome, RedirectError, Resume, Role, Step, Target, Waiting,
};
use lenscap_uplink::h2::StreamId;
use lenscap_uplink::upgrade::{Reply, Welcome};
use log::Level;

pub(super) use self::link::{Ask, Link};

use self::dialling::{Attempt, Cx, Dialling};
use self::link::{Ended, work_relay};
use super::closing::Closing;
use super::relay::Relay;
use super::shared::{Scratch, Shared};
use super::slots::Slots;
use super::tls_io::TlsFailure;
use crate::clock::Clock;
use crate::config::{self, ClientAuth};
use crate::identity::Identity;
use crate::monitor::{Fact, UplinkState};
use crate::{sys, tls};

/// Sessions of one uplink at one time.
const MAX_SESSIONS: usize = 16;
/// Old connections that drain at one time; one more ends the oldest.
const MAX_DRAINING: usize = 2;
/// How long sessions may stay on a connection that drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts started in one pass: redirects follow each other without waiting.
const STEPS_PER_PASS: usize = 8;
/// Most that the monitor is told of an error, and the room it has for a credential and its addresses.
const MAX_ERROR_BYTES: usize = 512;
const MAX_RESUME_BYTES: usize = 2000;

/// A connection that drains, and until when it may.
struct Draining {
    link: Link,
    deadline: Duration,
}

/// One uplink of the configuration.
pub(super) struct Uplink {
    config: config::Uplink,
    client: tls::Client,
    dialer: Dialer,
    dialling: Option<Dialling>,
    /// When the dialler is to be asked again, if time alone decides that.
    wait_until: Option<Duration>,
    live: Option<Link>,
    draining: Vec<Draining>,
    orphans: Vec<Relay>,
    closing: Closing,
    sessions: Slots,
    /// No new connection is made: the process ends, or the configuration no longer has this uplink.
    retired: bool,
    /// What the gateway that is dialled is told of the camera.
    fields: Vec<(&'static str, String)>,
    /// How it is, and whether that is news.
    state: UplinkState,
    is_news: bool,
}

impl Uplink {
    pub(super) fn new(
        config: config::Uplink,
        identity: Option<&Identity>,
        clock: Arc<Clock>,
        seed: u64,
    ) -> Result<Self, tls::TlsError> {
        let client = tls::Client::new(&config, identity, clock)?;
        let dial = DialConfig {
            endpoints: config.endpoints.clone(),
            redirect_to: config.redirect_to.clone(),
        };
        let mut dialer = Dialer::new(dial, seed);
        let shown = identity.filter(|_| matches!(config.auth, ClientAuth::Certificate));
        if let Some(identity) = shown {
            dialer.set_claim(Claim::new(&identity.key_hash));
        }
        Ok(Self {
            state: UplinkState {
                uplink: config.name.clone(),
                since_s: seconds(sys::monotonic()),
                ..UplinkState::default()
            },
            config,
            client,
            dialer,
            dialling: None,
            wait_until: None,
            live: None,
            draining: Vec::new(),
            orphans: Vec::new(),
            closing: Closing::default(),
            sessions: Slots::new(MAX_SESSIONS),
            retired: false,
            fields: Vec::new(),
            is_news: true,
        })
    }

    pub(super) fn config(&self) -> &config::Uplink {
        &self.config
    }

    /// Takes what an earlier process kept.
    pub(super) fn restore(&mut self, kept: Kept) {
        let name = &self.config.name;
        if kept.endpoint.is_some() {
            log::info!("uplink {name}: an address that the gateway gave for good is dialled first");
        }
        if kept.resume.is_some() {
            log::info!("uplink {name}: the last streamer is tried first");
        }
        self.dialer.restore(kept);
    }

    /// Obeys whom the uplink of the same name obeyed before its configuration changed: that may not be written down.
    pub(super) fn inherit(&mut self, old: &Self) {
        let operator = old.dialer.claim().and_then(Claim::operator);
        if let (Some(claim), Some(operator)) = (self.dialer.claim_mut(), operator) {
            claim.set_operator(Some(operator.clone()));
        }
    }

    /// The camera was reset: what gateways gave is forgotten, and the connection ended.
    pub(super) fn forget(&mut self, now: Duration) {
        log::info!(
            "uplink {}: this camera was reset; its claim has ended",
            self.config.name
        );
        self.dialer.forget(now);
        self.is_news = true;
        self.dialling = None;
        self.wait_until = Some(now);
        if let Some(mut link) = self.live.take() {
            link.close_sessions(now);
            self.drain(now, link);
            self.note_down(now);
        }
    }

    /// How it is, if that is news.
    pub(super) fn take_news(&mut self) -> Option<UplinkState> {
        if !std::mem::take(&mut self.is_news) {
            return None;
        }
        let claim = self.dialer.claim();
        let mut state = self.state.clone();
        for (flag, holds) in [
            (UplinkState::CLAIMABLE, claim.is_some()),
            (UplinkState::CLAIMED, claim.is_some_and(Claim::is_claimed)),
        ] {
            state.flags |= if holds { flag } else { 0 };
        }
        Some(state)
    }

    /// Whether a connection is up.
    pub(super) fn is_up(&self) -> bool {
        self.live.is_some()
    }

    /// What the uplink is doing, in a word.
    pub(super) fn phase(&self) -> &'static str {
        match (&self.live, &self.dialling) {
            _ if self.retired => "draining",
            (Some(_), None) => "live",
            (Some(_), Some(_)) => "moving",
            (None, Some(dialling)) => dialling.phase(),
            (None, None) => "waiting",
        }
    }

    /// Every connection, the live one first.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.live
            .iter()
            .chain(self.draining.iter().map(|draining| &draining.link))
    }

    pub(super) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.live
            .iter_mut()
            .chain(self.draining.iter_mut().map(|draining| &mut draining.link))
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.used()
    }

    pub(super) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.links().flat_map(Link::relays).chain(&self.orphans)
    }

    /// Reads, and goes on with whatever is under way. True when there is more to do at once.
    pub(super) fn work(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        let mut more = false;
        for link in self.links_mut() {
            more |= link.work(now, shared, scratch);
        }
        for orphan in &mut self.orphans {
            more |= work_relay(orphan, now, shared, scratch);
        }
        more |= self.closing.work(now, &mut scratch.read);
        self.dial(now, shared, scratch);
        more
    }

    /// Does what is due. True when there is more to do at once.
    pub(super) fn handle_timeout(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        let mut more = false;
        for link in self.links_mut() {
            more |= link.handle_timeout(now, shared, scratch);
        }
        for orphan in &mut self.orphans {
            orphan.handle_timeout(now);
            more |= work_relay(orphan, now, shared, scratch);
        }
        more
    }

    /// Writes, then buries what is over. True when there is more to do at once.
    pub(super) fn write(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        let mut more = false;
        for link in self.links_mut() {
            more |= link.write(now, scratch);
        }
        // What a session that lost its stream still owes the camera is worked on at once.
        more | self.bury(now, shared, scratch)
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let dial = match &self.dialling {
            Some(dialling) => dialling.poll_timeout(),
            None => self.wait_until.filter(|_| !self.retired),
        };
        let links = self.links().filter_map(Link::poll_timeout).min();
        let draining = self.draining.iter().map(|draining| draining.deadline).min();
        let orphans = self.orphans.iter().filter_map(Relay::poll_timeout).min();
        let closing = self.closing.poll_timeout();
        [dial, links, draining, orphans, closing]
            .into_iter()
            .flatten()
            .min()
    }

    /// A move that the gateway asked for (make before break).
    pub(super) fn retarget(
        &mut self,
        now: Duration,
        shared: &Shared,
        target: Option<&str>,
    ) -> Result<(), RedirectError> {
        self.dialer.retarget(now, target)?;
        // The attempt that was under way is for where the gateway no longer wants this camera.
        self.dialling = None;
        shared.totals.borrow_mut().moves += 1;
        self.wait_until = Some(now);
        let text = format!(
            "uplink {}: the gateway asks for a move; the old connection stays until the new one is up",
            self.config.name
        );
        shared.repeats.borrow_mut().say(now, Level::Info, text);
        Ok(())
    }

    /// The gateway gives a fresh credential over the live connection. False if it does not count.
    pub(super) fn renew(&mut self, now: Duration, shared: &Shared, link: u32, welcome: &Welcome) -> bool {
        let live = self.live.as_ref().is_some_and(|live| live.id == link);
        let taken = live && self.dialer.handle_renewal(welcome);
        self.take_events(now, shared);
        taken
    }

    /// The gateway announced that a connection ends: the same as a move, if it is the live one.
    pub(super) fn handle_go_away(&mut self, now: Duration, shared: &Shared, link: u32) {
        let live = self.live.as_mut().filter(|live| live.id == link);
        // An orderly end is announced twice (RFC 9113, section 6.8); it is one move.
        if self.retired || live.is_none_or(|live| std::mem::replace(&mut live.leaving, true)) {
            return;
        }
        if let Err(e) = self.retarget(now, shared, None) {
            log::debug!("uplink {}: GOAWAY: {e}", self.config.name);
        }
    }

    /// The network may have come: what waits for its turn dials soon.
    pub(super) fn reconnect(&mut self, now: Duration) {
        if self.live.is_none() && self.dialling.is_none() {
            self.dialer.hurry(now);
            self.wait_until = Some(now);
        }
    }

    /// Makes no new connection and lets the present ones drain; with `close_sessions`, sessions are ended too.
    pub(super) fn retire(&mut self, now: Duration, close_sessions: bool) {
        self.retired = true;
        self.dialling = None;
        if let Some(link) = self.live.take() {
            self.drain(now, link);
        }
        if close_sessions {
            for link in self.links_mut() {
                link.close_sessions(now);
            }
        }
    }

    /// Retired, and nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.retired
            && self.live.is_none()
            && self.draining.is_empty()
            && self.orphans.is_empty()
            && self.closing.is_empty()
    }

    /// Says goodbye on every connection at once.
    pub(super) fn close(&mut self, now: Duration, scratch: &mut Scratch) {
        for link in self.links_mut() {
            link.close(now, scratch);
        }
    }

    /// Answers a request that had to be asked above, if its connection is still there.
    pub(super) fn link_mut(&mut self, id: u32) -> Option<&mut Link> {
        self.links_mut().find(|link| link.id == id)
    }

    /// What the connections ask of those above.
    pub(super) fn poll_ask(&mut self) -> Option<(u32, Ask)> {
        self.links_mut()
            .find_map(|link| link.poll_ask().map(|ask| (link.id, ask)))
    }

    pub(super) fn answer_text(&mut self, link: u32, stream: StreamId, status: u16, line: &str) {
        if let Some(link) = self.link_mut(link) {
            link.answer_text(stream, status, line);
        }
    }

    fn drain(&mut self, now: Duration, mut link: Link) {
        link.drain(now);
        self.draining.push(Draining {
            link,
            deadline: now + DRAIN_TIMEOUT,
        });
        if self.draining.len() > MAX_DRAINING
            && let Some(oldest) = self.draining.first_mut()
        {
            oldest.deadline = now;
        }
    }

    fn dial(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) {
        for _ in 0..STEPS_PER_PASS {
            if self.retired {
                return;
            }
            let dialling = match self.dialling.take() {
                Some(dialling) => dialling,
                None => match self.next_attempt(now, shared) {
                    Some(dialling) => dialling,
                    None => return,
                },
            };
            let mut cx = Cx {
                now,
                shared,
                scratch,
                client: &self.client,
                auth: &self.config.auth,
                fields: &self.fields,
            };
            match dialling.advance(&mut cx) {
                Attempt::Pending(dialling) => {
                    self.dialling = Some(dialling);
                    return;
                }
                Attempt::Failed(failure) => {
                    shared.totals.borrow_mut().dial_failures += 1;
                    self.fault(now, shared, failure.to_string());
                    self.report(now, shared, Outcome::Failed(failure.kind()));
                }
                Attempt::Replied(reply) => {
                    self.log_reply(now, shared, &reply);
                    self.report(now, shared, Outcome::Reply(reply));
                }
                Attempt::Up {
                    io,
                    carrier,
                    mut rest,
                    target,
                    welcome,
                } => {
                    let peer = target.url.authority();
                    let link = Link::new(shared, now, *io, carrier, peer, self.sessions.clone(), &mut rest);
                    self.note_peer(&target, UplinkState::UP);
                    self.state.since_s = seconds(now);
                    self.state.error.clear();
                    self.handle_up(now, shared, link, welcome);
                }
            }
        }
    }

    fn next_attempt(&mut self, now: Duration, shared: &Shared) -> Option<Dialling> {
        if self.wait_until.is_some_and(|until| now < until) {
            return None;
        }
        self.wait_until = None;
        match self.dialer.poll(now) {
            Step::Dial(target) => {
                let made = Dialling::new(shared, now, target);
                // Now the files are fresh.
                self.introduce(
                    shared,
                    made.as_ref().is_ok_and(|dialling| dialling.target().resumes),
                );
                match made {
                    Ok(dialling) => {
                        if self.live.is_none() {
                            self.note_peer(dialling.target(), self.state.flags & UplinkState::PENDING);
                        }
                        return Some(dialling);
                    }
                    Err(failure) => {
                        self.fault(now, shared, failure.to_string());
                        self.report(now, shared, Outcome::Failed(failure.kind()));
                    }
                }
            }
            Step::Wait { until, why } => {
                self.wait_until = Some(until);
                log::debug!(
                    "uplink {}: {} s until the next attempt, {}",
                    self.config.name,
                    until.saturating_sub(now).as_secs(),
                    reason(why)
                );
            }
            Step::InProgress | Step::Connected => {}
        }
        None
    }

    /// What the next gateway is told of the camera: nothing, where it shows no key.
    fn introduce(&mut self, shared: &Shared, resumes: bool) {
        self.fields.clear();
        let Some(claim) = self.dialer.claim_mut() else {
            return;
        };
        claim.set_pin_key(shared.pin_key().as_ref());
        let mut fields = shared.who.borrow().fields();
        let held = claim.held();
        // Which one, or a gateway could not tell one after a claim from the one before it.
        let reset = shared.keeper.borrow().reset();
        if reset != 0 {
            fields.push(("Lenscap-Reset", format!("{reset:08x}")));
        }
        fields.push(("Lenscap-Operator", held));
        if let Some(proof) = claim.pin_proof() {
            fields.push(("Lenscap-Pin-Proof", proof));
        }
        if let Some(credential) = self.dialer.credential().filter(|_| resumes) {
            fields.push(("Lenscap-Resume", credential.to_owned()));
        }
        self.fields = fields;
    }

    fn note_peer(&mut self, target: &Target, flags: u32) {
        let role = match target.role {
            Role::Activation => UplinkState::ACTIVATION,
            Role::Endpoint => 0,
            Role::Streamer => UplinkState::STREAMER,
        };
        self.state.flags = flags | role;
        self.state.peer = target.url.authority();
        self.is_news = true;
    }

    fn note_down(&mut self, now: Duration) {
        self.state.flags = 0;
        self.state.since_s = seconds(now);
        self.is_news = true;
    }

    /// Logs what went wrong, and keeps it for those who ask.
    fn fault(&mut self, now: Duration, shared: &Shared, text: String) {
        shared.fault(now, format!("uplink {}: {text}", self.config.name));
        self.state.error = text.chars().filter(|c| !c.is_control()).collect();
        let mut end = self.state.error.len().min(MAX_ERROR_BYTES);
        while !self.state.error.is_char_boundary(end) {
            end -= 1;
        }
        self.state.error.truncate(end);
        self.is_news = true;
    }

    fn handle_up(&mut self, now: Duration, shared: &Shared, link: Link, welcome: Welcome) {
        let name = &self.config.name;
        shared.totals.borrow_mut().connections += 1;
        shared.repeats.borrow_mut().clear();
        let old = self.live.replace(link);
        match old {
            Some(old) => {
                log::info!("uplink {name}: the new connection is up; the old one drains");
                self.drain(now, old);
            }
            None => log::info!("uplink {name}: up"),
        }
        self.report(now, shared, Outcome::Reply(Reply::Switched(welcome)));
    }

    fn keep(&self, now: Duration, shared: &Shared, fact: Fact) {
        shared.keep(now, self.config.name.clone(), fact);
    }

    fn report(&mut self, now: Duration, shared: &Shared, outcome: Outcome) {
        self.wait_until = Some(now);
        self.dialer.handle_outcome(now, outcome);
        self.take_events(now, shared);
    }

    fn take_events(&mut self, now: Duration, shared: &Shared) {
        while let Some(event) = self.dialer.poll_event() {
            let name = &self.config.name;
            match event {
                Event::EndpointMoved { url, pin } => {
                    log::info!("uplink {name}: the gateway has a new address for good (308)");
                    let fact = Fact::Endpoint {
                        url: url.as_str().to_owned(),
                        pin: pin.unwrap_or_default(),
                    };
                    self.keep(now, shared, fact);
                }
                Event::OperatorChanged(operator) => {
                    let word = match operator.standing {
                        Standing::Proven => "obeys an operator that knows its PIN",
                        Standing::Unproven => "obeys the operator of this gateway",
                        Standing::Released => "was released by its operator, and obeys nobody",
                    };
                    log::info!("uplink {name}: this camera {word} ({})", operator.id());
                    self.keep(now, shared, operator_fact(&operator));
                }
                Event::ResumeChanged(resume) => self.keep(now, shared, resume_fact(resume)),
                Event::ClaimRefused(error) => {
                    self.fault(now, shared, format!("the gateway's word on an operator: {error}"));
                }
                Event::RedirectRefused(error) => {
                    self.fault(now, shared, format!("redirect refused: {error}"));
                }
                Event::MoveFailed => {
                    self.fault(
                        now,
                        shared,
                        "the move failed; the old connection stays".to_owned(),
                    );
                }
            }
        }
    }

    fn log_reply(&mut self, now: Duration, shared: &Shared, reply: &Reply) {
        let name = &self.config.name;
        let fault = match reply {
            Reply::Switched(_) => return,
            Reply::Redirect(redirect) => {
                let kind = if redirect.permanent {
                    "for good (308)"
                } else {
                    "for this session (307)"
                };
                log::debug!("uplink {name}: sent elsewhere {kind}");
                return;
            }
            Reply::Pending { .. } => {
                if self.live.is_none() {
                    self.state.flags |= UplinkState::PENDING;
                }
                "nobody has claimed this camera; claim it at the gateway with what `lenscap enroll` shows"
                    .to_owned()
            }
            Reply::Unauthorized { status, .. } => format!(
                "the gateway does not accept this camera ({status}); register its certificate's fingerprint \
                 (`lenscap check` shows it) or its token there"
            ),
            Reply::Unavailable { status, .. } => {
                format!("the gateway is busy or out of order ({status}); trying again")
            }
            Reply::Refused { status } => {
                format!("what answers is no gateway ({status}); check the path in option endpoint")
            }
        };
        self.fault(now, shared, fault);
    }

    /// Takes out what is over. True if sessions lost their stream.
    fn bury(&mut self, now: Duration, shared: &Shared, scratch: &mut Scratch) -> bool {
        let known = self.orphans.len();
        for link in self
            .live
            .iter_mut()
            .chain(self.draining.iter_mut().map(|draining| &mut draining.link))
        {
            let (received, sent) = link.take_traffic();
            let mut totals = shared.totals.borrow_mut();
            totals.received_bytes += received;
            totals.sent_bytes += sent;
            self.orphans.append(&mut link.take_orphans());
        }
        if let Some(ended) = self.live.as_mut().and_then(Link::take_ended)
            && let Some(mut link) = self.live.take()
        {
            self.note_down(now);
            self.log_lost(now, shared, &ended);
            link.close(now, scratch);
            self.take_remains(now, link);
            self.report(now, shared, Outcome::Lost);
        }
        let mut index = 0;
        while let Some(draining) = self.draining.get_mut(index) {
            let late = now >= draining.deadline;
            if draining.link.is_drained() || late || draining.link.take_ended().is_some() {
                let mut draining = self.draining.remove(index);
                log::debug!("uplink {}: the old connection is closed", self.config.name);
                draining.link.close(now, scratch);
                self.take_remains(now, draining.link);
            } else {
                index += 1;
            }
        }
        let more = self.orphans.len() > known;
        self.orphans.retain(|orphan| {
            let over = orphan.is_over();
            if over {
                shared.totals.borrow_mut().media.add(&orphan.counters());
            }
            !over
        });
        more
    }

    fn take_remains(&mut self, now: Duration, link: Link) {
        let (mut orphans, socket) = link.into_remains(now);
        self.orphans.append(&mut orphans);
        self.closing.push(now, socket);
    }

    fn log_lost(&mut self, now: Duration, shared: &Shared, ended: &Ended) {
        let why = match ended {
            Ended::Closed => "the gateway closed the connection".to_owned(),
            Ended::Cut => "the connection was cut".to_owned(),
            Ended::Failed(TlsFailure::Io(error)) => format!("the connection broke: {}", error.kind()),
            Ended::Failed(TlsFailure::Tls(error)) => tls::explain(error),
            Ended::Http2(error) => error.to_string(),
            Ended::WebSocket(error) => error.to_string(),
            Ended::Done => return,
        };
        self.fault(now, shared, format!("down: {why}; dialling again"));
    }
}

fn seconds(at: Duration) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

fn operator_fact(operator: &Operator) -> Fact {
    Fact::Operator {
        key: operator.key_text(),
        standing: operator.standing as u8,
        issued: operator.issued,
    }
}

/// As many addresses as the monitor's message has room for.
fn resume_fact(resume: Option<Resume>) -> Fact {
    let (mut credential, mut addresses) = (String::new(), String::new());
    if let Some(resume) = resume {
        credential = resume.credential;
        for url in &resume.addresses {
            if credential.len() + addresses.len() + url.as_str().len() < MAX_RESUME_BYTES {
                if !addresses.is_empty() {
                    addresses.push(' ');
                }
                addresses += url.as_str();
            }
        }
    }
    Fact::Resume {
        credential,
        addresses,
    }
}

fn reason(why: Waiting) -> &'static str {
    match why {
        Waiting::Backoff => "backing off",
        Waiting::Unauthorized => "since the gateway does not accept this camera",
        Waiting::RetryAfter => "as the gateway asked",
        Waiting::MovePaced => "since moves come too fast",
        Waiting::NoEndpoint => "since there is no endpoint",
    }
}
