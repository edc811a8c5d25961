//! The operator's own system decides, where there is one: signed questions to one address ([`super::outbound`]).
//!
//! New claims wait for its answer and fail without one. A claimed camera is let in, or placed, at once and asked about
//! behind that, and again for as long as it is there; without an answer, the last one holds, over a restart too, so
//! that a billing system that is down darkens no camera.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::admit::fingerprint_text;
use super::live::Live;
use super::outbound::{Answer, DEADLINE, Question};
use super::pending::{Applicant, site};
use super::{Fleet, FleetError};
use crate::clock::unix_now;
use crate::config::is_name;
use crate::store::{Camera, Method};

/// How long an answer about a claimed camera holds before it is asked again.
const HOLDS_SECONDS: u64 = 3600;
/// How long a no, or no answer, holds: a bill that was paid should show soon.
const NO_HOLDS_SECONDS: u64 = 240;
/// Most questions about claimed cameras at a time; the others wait for their turn.
const MAX_CONNECTS: usize = 8;
/// Most questions about unknown cameras at a time; the others are asked about when they come again.
const MAX_OFFERS: usize = 8;
/// Most of them about cameras of one site: keys cost nothing, addresses do.
const MAX_OFFERS_PER_SITE: usize = 2;
/// Most questions about claims at a time; the others wait for as long as an answer may take.
const MAX_CLAIMS: usize = 4;

/// What was asked and answered lately. Times are of a clock that is never set.
#[derive(Debug, Default)]
pub(super) struct Consulted {
    /// Claimed camera to when it is asked about again; `u64::MAX` while it waits for its turn or an answer.
    again: BTreeMap<String, u64>,
    /// Whose turn comes: each camera of the database once at most.
    due: VecDeque<String>,
    workers: usize,
    /// Nothing was answered last.
    silent: bool,
}

impl Consulted {
    /// A camera is to be asked about, unless an answer holds. True if somebody has to begin with [`Self::next_due`].
    fn handle_wish(&mut self, now: u64, camera: &str) -> bool {
        if self.again.get(camera).is_some_and(|again| now < *again) {
            return false;
        }
        self.again.insert(camera.to_owned(), u64::MAX);
        self.due.push_back(camera.to_owned());
        let begins = self.workers < MAX_CONNECTS;
        self.workers += usize::from(begins);
        begins
    }

    /// The next camera to ask about; whoever is given none ends.
    fn next_due(&mut self) -> Option<String> {
        let next = self.due.pop_front();
        if next.is_none() {
            self.workers -= 1;
        }
        next
    }

    /// What was said holds for so long.
    fn handle_answer(&mut self, now: u64, camera: &str, holds: u64) {
        // One that was released in the meantime is not remembered.
        if let Some(again) = self.again.get_mut(camera) {
            *again = now + holds;
        }
    }

    fn forget(&mut self, camera: &str) {
        self.again.remove(camera);
        self.due.retain(|due| due != camera);
    }
}

/// Bounds on questions other than those about claimed cameras.
#[derive(Debug)]
pub(super) struct Turns {
    offers: Arc<Mutex<Vec<IpAddr>>>,
    claims: Semaphore,
}

/// A question about an unknown camera of a site, for as long as it lives.
struct Offer {
    offers: Arc<Mutex<Vec<IpAddr>>>,
    site: IpAddr,
}

impl Turns {
    /// `None` if there are too many already, or too many of this site.
    fn offer(&self, site: IpAddr) -> Option<Offer> {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let here = offers.iter().filter(|other| **other == site).count();
        if offers.len() >= MAX_OFFERS || here >= MAX_OFFERS_PER_SITE {
            return None;
        }
        offers.push(site);
        Some(Offer {
            offers: Arc::clone(&self.offers),
            site,
        })
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = offers.iter().position(|site| *site == self.site) {
            offers.swap_remove(at);
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            offers: Arc::default(),
            claims: Semaphore::new(MAX_CLAIMS),
        }
    }
}

impl Fleet {
    /// True if the operator's system has said no to this camera.
    #[must_use]
    pub fn is_suspended(&self, camera: &str) -> bool {
        match self.remote() {
            Some(remote) => remote.rules.suspended.contains(camera),
            None => self.callback.is_some() && self.camera(camera).is_some_and(|camera| camera.suspended),
        }
    }

    /// The cameras that it has said no to.
    pub(super) fn suspended(&self, live: &Live) -> BTreeSet<String> {
        if self.callback.is_none() {
            return BTreeSet::new();
        }
        let suspended = live.cameras.values().filter(|camera| camera.suspended);
        suspended.map(|camera| camera.name.clone()).collect()
    }

    /// Asks about a claimed camera that has come, was placed or was refused, unless an answer still holds.
    pub fn consult(self: &Arc<Self>, name: &str) {
        self.consult_at(self.start.elapsed().as_secs(), name);
    }

    /// Asks about the cameras that are here or at a streamer, whose answers do not hold any more.
    pub(super) fn consult_live(self: &Arc<Self>, now: u64) {
        if self.callback.is_none() {
            return;
        }
        let mut names = self.streamers.online();
        names.extend(self.registry.online());
        for name in names {
            self.consult_at(now, &name);
        }
    }

    fn consult_at(self: &Arc<Self>, now: u64, name: &str) {
        if self.callback.is_none() || self.camera(name).is_none() {
            return;
        }
        if self.consulted().handle_wish(now, name) {
            let fleet = Arc::clone(self);
            tokio::spawn(async move {
                while let Some(name) = fleet.next_due() {
                    fleet.ask_about_claimed(&name).await;
                }
            });
        }
    }

    fn next_due(&self) -> Option<String> {
        self.consulted().next_due()
    }

    async fn ask_about_claimed(self: &Arc<Self>, name: &str) {
        let Some(camera) = self.camera(name) else {
            return self.consulted().forget(name);
        };
        let question = Question {
            event: "connect",
            fingerprint: camera.fingerprint.as_ref().map(fingerprint_text),
            serial: camera.serial.as_deref(),
            model: camera.model.as_deref(),
            camera: Some(&camera.name),
            account: Some(&camera.account),
        };
        let answer = self.ask(&question).await;
        let was_silent = std::mem::replace(&mut self.consulted().silent, answer.is_err());
        let holds = match answer {
            Ok(answer) => {
                self.note_said(Arc::clone(&camera), !answer.allow);
                if answer.allow {
                    HOLDS_SECONDS
                } else {
                    NO_HOLDS_SECONDS
                }
            }
            Err(error) if was_silent => {
                debug!(camera = name, %error, "the last answer holds");
                NO_HOLDS_SECONDS
            }
            Err(error) => {
                warn!(camera = name, %error, "the last answer holds, for this camera and others");
                NO_HOLDS_SECONDS
            }
        };
        let now = self.start.elapsed().as_secs();
        self.consulted().handle_answer(now, name, holds);
    }

    /// Asks about an unknown camera that has a place in the list of those that wait; a yes claims it.
    pub fn offer(self: &Arc<Self>, applicant: &Applicant) {
        if self.callback.is_none() {
            return;
        }
        let Some(turn) = self.turns.offer(site(applicant.address.ip())) else {
            return debug!(
                "too many questions about unknown cameras; this one is asked about when it comes again"
            );
        };
        let elapsed = self.start.elapsed().as_secs();
        if !self.pending().handle_offer(elapsed, &applicant.fingerprint) {
            return;
        }
        let (fleet, applicant) = (Arc::clone(self), applicant.clone());
        tokio::spawn(async move {
            if let Err(error) = fleet.ask_about_unknown(applicant, unix_now()).await {
                warn!(%error, "the operator's system was asked about an unknown camera, which stays unclaimed");
            }
            drop(turn);
        });
    }

    async fn ask_about_unknown(self: &Arc<Self>, applicant: Applicant, now: u64) -> Result<(), FleetError> {
        let question = Question {
            event: "pending",
            fingerprint: Some(fingerprint_text(&applicant.fingerprint)),
            serial: applicant.serial.as_deref(),
            model: applicant.model.as_deref(),
            camera: None,
            account: None,
        };
        let answer = self.ask(&question).await?;
        if !answer.allow {
            return Ok(());
        }
        let name = answer.name.clone().unwrap_or_default();
        let account = answer.account.unwrap_or_default();
        let mut camera = Camera::claimed(&name, &account, applicant.fingerprint, Method::Callback, now);
        camera.serial = applicant.serial;
        camera.model = applicant.model;
        self.note_claim(applicant.fingerprint, camera, answer.name.is_none());
        Ok(())
    }

    /// Waits for the operator's system to agree to a claim; it may name another account or name.
    pub(super) async fn agree(&self, camera: &mut Camera) -> Result<(), FleetError> {
        if self.callback.is_none() {
            return Ok(());
        }
        let question = Question {
            event: "claim",
            fingerprint: camera.fingerprint.as_ref().map(fingerprint_text),
            serial: camera.serial.as_deref(),
            model: camera.model.as_deref(),
            camera: Some(&camera.name),
            account: Some(&camera.account),
        };
        let busy = || {
            let why = "too many claims wait for the operator's system; nothing was claimed, try again";
            FleetError::Unavailable(why.to_owned())
        };
        let turn = timeout(DEADLINE, self.turns.claims.acquire()).await;
        let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let answer = self.ask(&question).await?;
        if !answer.allow {
            let why = "the operator's system does not allow this claim".to_owned();
            return Err(FleetError::Forbidden(why));
        }
        if let Some(account) = answer.account {
            camera.account = account;
        }
        if let Some(name) = answer.name {
            camera.name = name;
        }
        Ok(())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Answer, FleetError> {
        let nobody = || FleetError::Unavailable("there is no system to ask".to_owned());
        let callback = self.callback.as_ref().ok_or_else(nobody)?;
        let answer = callback.ask(unix_now(), question).await.map_err(|error| {
            FleetError::Unavailable(format!(
                "the operator's system does not answer ({error}); nothing was claimed"
            ))
        })?;
        let good = |text: &Option<String>, empty_too: bool| {
            text.as_ref()
                .is_none_or(|text| is_name(text) || (empty_too && text.is_empty()))
        };
        if good(&answer.name, false) && good(&answer.account, true) {
            Ok(answer)
        } else {
            let why = "the operator's system answered with a name or account that cannot be one".to_owned();
            Err(FleetError::Unavailable(why))
        }
    }

    /// Forgets what was answered about a camera that is gone or changed hands.
    pub(super) fn forget_answers(&self, name: &str) {
        self.consulted().forget(name);
    }

    fn consulted(&self) -> MutexGuard<'_, Consulted> {
        self.consulted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::fleet::Fixed;
    use crate::fleet::outbound::Callback;
    use crate::fleet::pending::MAX_PER_SITE;
    use crate::roles::message::{Hello, VERSION};
    use crate::store::Store;
    use crate::store::sqlite::SqliteStore;
    use crate::uplink::upgrade::{HeldKey, Introduction};

    #[test]
    fn each_camera_is_asked_about_once_at_a_time_and_few_at_once() {
        let mut consulted = Consulted::default();
        let names: Vec<String> = (0..20).map(|n| format!("c{n:02}")).collect();
        let begun = names.iter().filter(|name| consulted.handle_wish(0, name));
        assert_eq!(begun.count(), MAX_CONNECTS);
        assert!(names.iter().all(|name| !consulted.handle_wish(5, name)));
        let taken: Vec<String> = std::iter::from_fn(|| consulted.due.pop_front()).collect();
        assert_eq!(taken, names);
        consulted.handle_answer(10, "c00", HOLDS_SECONDS);
        consulted.handle_answer(10, "c01", NO_HOLDS_SECONDS);
        consulted.forget("c02");
        consulted.handle_answer(10, "c02", HOLDS_SECONDS);
        for _ in 0..MAX_CONNECTS {
            assert_eq!(consulted.next_due(), None);
        }
        let mut wants = |now, name: &str| {
            if !consulted.handle_wish(now, name) {
                return false;
            }
            assert_eq!(consulted.next_due().as_deref(), Some(name));
            consulted.handle_answer(now, name, HOLDS_SECONDS);
            consulted.next_due().is_none()
        };
        assert!(wants(11, "c02"), "forgotten, so asked about");
        assert!(!wants(9 + NO_HOLDS_SECONDS, "c01") && wants(10 + NO_HOLDS_SECONDS, "c01"));
        assert!(!wants(9 + HOLDS_SECONDS, "c00") && wants(10 + HOLDS_SECONDS, "c00"));
    }

    /// Answers each question with the next of `answers`, and hangs up on all others; tells of each.
    async fn system(answers: &'static [&'static str]) -> (Callback, mpsc::UnboundedReceiver<String>) {
        let mut answers = answers.iter();
        answering(move |_| Some(answers.next().copied().unwrap_or(""))).await
    }

    /// Answers each question with what `answer` says: nothing hangs up, and `None` lets it wait. Tells of each.
    async fn answering(
        mut answer: impl FnMut(&str) -> Option<&'static str> + Send + 'static,
    ) -> (Callback, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (asked, questions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"}") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
                let question = String::from_utf8(seen).unwrap();
                match answer(&question) {
                    Some("") => {}
                    Some(answer) => {
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                        let reply = format!("{head}{answer}");
                        stream.write_all(reply.as_bytes()).await.unwrap();
                    }
                    None => waiting.push(stream),
                }
                let _ = asked.send(question);
            }
        });
        (Callback::new(&url, b"secret", None).unwrap(), questions)
    }

    async fn soon(what: &str, mut is: impl FnMut() -> bool) {
        let wait = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("timed out: {what}"));
    }

    fn open(store: &Arc<SqliteStore>, callback: Callback) -> Arc<Fleet> {
        let store: Arc<dyn Store> = Arc::clone(store) as _;
        Fleet::open(
            store,
            true,
            Fixed::default(),
            Some(callback),
            Arc::default(),
            Arc::default(),
        )
        .unwrap()
    }

    /// A camera that stays connected at a streamer, whose owner stops paying and pays again.
    #[tokio::test]
    async fn a_live_camera_is_asked_about_again_and_a_no_outlives_the_process() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        store
            .put_cameras(&[Camera::claimed("porch", "acme", [1; 32], Method::Pin, 1)])
            .unwrap();
        let (callback, mut questions) = system(&[r#"{"allow":true}"#, r#"{"allow":false}"#]).await;
        let fleet = open(&store, callback);
        let hello = Hello {
            v: VERSION,
            name: "s1".into(),
            uplink_url: "https://s1/".into(),
            rtsp_url: None,
            http_url: None,
            capacity: 1,
        };
        let (id, _orders) = fleet.streamers().join(hello).unwrap();
        let cameras = vec!["porch".to_owned(), "nobody".to_owned()];
        fleet.streamers().handle_online("s1", id, cameras);
        let answered = |fleet: &Arc<Fleet>| {
            let fleet = Arc::clone(fleet);
            move || {
                fleet
                    .consulted()
                    .again
                    .get("porch")
                    .is_some_and(|again| *again < u64::MAX)
            }
        };
        fleet.consult_live(0);
        questions.recv().await.unwrap();
        soon("the first answer", answered(&fleet)).await;
        fleet.consult_live(HOLDS_SECONDS / 2);
        assert!(questions.try_recv().is_err(), "the answer still holds");
        assert!(!fleet.is_suspended("porch") && fleet.rules().suspended.is_empty());
        fleet.consult_live(2 * HOLDS_SECONDS);
        soon("the no", || fleet.is_suspended("porch")).await;
        assert!(fleet.rules().suspended.contains("porch"), "its streamer is told");
        // A new process, and a system that does not answer: what was said last holds.
        let (callback, mut questions) = system(&[]).await;
        let fleet = open(&store, callback);
        assert!(fleet.is_suspended("porch"));
        fleet.consult("porch");
        questions.recv().await.unwrap();
        soon("the failure", answered(&fleet)).await;
        assert!(fleet.is_suspended("porch"));
        // Handed to another account by a list: the no was about the former one, and nobody has asked since.
        let list = format!(
            "name,fingerprint,account\nporch,sha256:{},other\n",
            "01".repeat(32)
        );
        let list = super::super::import::parse(&list);
        fleet.import(list.unwrap(), "acme").unwrap();
        assert!(!fleet.is_suspended("porch") && !fleet.consulted().again.contains_key("porch"));
        store
            .put_cameras(&[Camera {
                suspended: true,
                ..store.cameras().unwrap()[0].clone()
            }])
            .unwrap();
        let (callback, _questions) = system(&[r#"{"allow":true}"#]).await;
        let fleet = open(&store, callback);
        fleet.consult("porch");
        soon("the yes", || !fleet.is_suspended("porch")).await;
        assert!(!store.cameras().unwrap()[0].suspended);
    }

    fn applicant(n: u32, address: [u8; 4]) -> Applicant {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&n.to_be_bytes());
        Applicant {
            fingerprint,
            address: (address, 4000).into(),
            serial: Some(format!("SN{}", n % 10)),
            model: None,
            agent_version: None,
            proof: None,
        }
    }

    /// One host with as many keys as it likes, and a system that answers nothing.
    #[tokio::test]
    async fn one_address_leaves_room_for_questions_about_cameras_of_others() {
        let (callback, mut questions) = answering(|_| None).await;
        let fleet = open(&Arc::new(SqliteStore::in_memory().unwrap()), callback);
        let comes = |applicant: Applicant| {
            let has_place = fleet.pending().handle_seen(1, applicant.clone()).is_some();
            fleet.offer(&applicant);
            has_place
        };
        for n in 0..MAX_PER_SITE as u32 {
            assert!(comes(applicant(n, [192, 0, 2, 1])));
        }
        assert!(!comes(applicant(99_999, [192, 0, 2, 1])), "it has no place");
        for _ in 0..MAX_OFFERS_PER_SITE {
            assert!(questions.recv().await.unwrap().contains("pending"));
        }
        for site in 1..MAX_OFFERS / MAX_OFFERS_PER_SITE {
            for n in 0..MAX_OFFERS_PER_SITE {
                let other = applicant((site * 100_000 + n) as u32, [198, 51, 100, site as u8]);
                let key = fingerprint_text(&other.fingerprint);
                assert!(comes(other));
                assert!(questions.recv().await.unwrap().contains(&key));
            }
        }
        assert!(comes(applicant(999_999, [203, 0, 113, 1])));
        // Who was not asked about is not taken for one that was.
        assert!(
            fleet
                .pending()
                .handle_offer(1, &applicant(999_999, [203, 0, 113, 1]).fingerprint)
        );
        assert!(questions.try_recv().is_err(), "all turns are taken");
        // Somebody without a place is nobody to ask about, however many turns are free.
        fleet.turns.offers.lock().unwrap().clear();
        fleet.offer(&applicant(99_999, [192, 0, 2, 1]));
        assert_eq!(fleet.turns.offers.lock().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn answers_about_many_cameras_are_written_together() {
        const CAMERAS: u8 = 100;
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let camera = |n: u8| Camera::claimed(&format!("c{n}"), "acme", [n; 32], Method::Pin, 1);
        store
            .put_cameras(&(0..CAMERAS).map(camera).collect::<Vec<_>>())
            .unwrap();
        let (callback, _questions) = answering(|question| {
            let claims = question.contains("pending");
            Some(if claims {
                r#"{"allow":true}"#
            } else {
                r#"{"allow":false}"#
            })
        })
        .await;
        let fleet = open(&store, callback);
        let made = || fleet.metrics.rules_made.get();
        let (before, start) = (made(), std::time::Instant::now());
        for n in 0..CAMERAS {
            fleet.consult(&format!("c{n}"));
        }
        soon("all of them", || {
            (0..CAMERAS).all(|n| fleet.is_suspended(&format!("c{n}")))
        })
        .await;
        let most = |start: std::time::Instant| 2 + start.elapsed().as_secs();
        assert!(
            made() - before <= most(start),
            "{} for {CAMERAS}",
            made() - before
        );
        let (before, start) = (made(), std::time::Instant::now());
        for n in 1000..1000 + u32::from(CAMERAS) {
            let newcomer = applicant(n, [10, 0, 0, n as u8]);
            fleet.pending().handle_seen(1, newcomer.clone());
            soon("a turn", || fleet.turns.offers.lock().unwrap().len() < MAX_OFFERS).await;
            fleet.offer(&newcomer);
        }
        // Ten of them go by each serial, which is one camera's name.
        let all = 2 * usize::from(CAMERAS);
        soon("all claims", || fleet.cameras().len() == all).await;
        assert!(
            made() - before <= most(start),
            "{} for {CAMERAS}",
            made() - before
        );
        assert_eq!(
            fleet
                .cameras()
                .iter()
                .filter(|camera| camera.name.starts_with("SN"))
                .count(),
            100
        );
        assert!(fleet.camera("SN3").is_some());
        soon("nobody waits", || fleet.waiting(1).is_empty()).await;
        // All have got the operator's key, and come with it.
        let (before, start) = (made(), std::time::Instant::now());
        for camera in fleet.cameras() {
            let none = Introduction {
                operator: HeldKey::None,
                ..Introduction::default()
            };
            fleet.note_shown(&camera.fingerprint.unwrap(), &none);
        }
        soon("all confirmed", || {
            fleet.cameras().iter().all(|camera| camera.confirmed)
        })
        .await;
        assert!(made() - before <= most(start), "{} for {all}", made() - before);
    }
}
