//! What gateways gave for good, in the state folder: an uplink's address (308), its operator's key, and the credential by
//! which it comes back to a streamer.
//!
//! One file of lines, replaced as a whole: `<uplink> <tag> <kind> <values>`. The tag names the configuration that a
//! line belongs to, since another one forgets addresses; the operator outlives it (`-`), for a camera that forgets its
//! operator has left it. `reset <number>` tells a running agent that everything was forgotten on purpose, and gateways
//! that each of them has lost its claim, whichever of them the camera reaches first.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lenscap_uplink::claim::{Operator, Standing};
use lenscap_uplink::dial::{DialConfig, Dialer, Kept, MAX_RESUME_TARGETS, Resume};
use lenscap_uplink::url::Url;
use ring::digest::{SHA256, digest};

use super::message::{Fact, Store};
use crate::config::{Pin, Uplink};
use crate::{files, sys};

const FILE: &str = "uplinks";
/// Most that is read of it.
const MAX_BYTES: u64 = 64 * 1024;
/// Most lines that are kept; of uplinks that are not configured any more the oldest go.
const MAX_LINES: usize = 64;
const MAX_CREDENTIAL: usize = 1024;
/// How often a day addresses, operators and credentials are written: a taken agent, or a gateway that changes its mind,
/// wears no flash out. What is too often is written the day after.
const WRITES_PER_DAY: [u32; 3] = [6, 6, 3];
const DAY: Duration = Duration::from_secs(24 * 3600);
/// When what could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(3600);
/// What could not be written; one more displaces the oldest.
const MAX_UNSAVED: usize = 16;

const KINDS: [&str; 3] = ["endpoint", "operator", "resume"];

/// Where it is kept.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

fn read(state_dir: &Path) -> io::Result<String> {
    match files::read(&path(state_dir), MAX_BYTES) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// What is kept of an uplink and still counts.
#[must_use]
pub fn kept(state_dir: &Path, uplink: &Uplink) -> Kept {
    parse(&read(state_dir).unwrap_or_default(), uplink)
}

/// The last reset on purpose; empty if there was none.
#[must_use]
pub fn last_reset(state_dir: &Path) -> String {
    let text = read(state_dir).unwrap_or_default();
    text.lines()
        .find(|line| is_reset(line))
        .unwrap_or_default()
        .into()
}

fn is_reset(line: &str) -> bool {
    line.starts_with("reset ") && line.matches(' ').count() == 1
}

/// A reset's line in short, for messages.
fn short(line: &str) -> u32 {
    let number = line.strip_prefix("reset ").unwrap_or_default();
    // Its lower half counts.
    u64::from_str_radix(number, 16).unwrap_or_default() as u32
}

/// Forgets everything. A running agent hears of it when its configuration is read again.
///
/// # Errors
/// What the system says; then nothing is forgotten.
pub fn reset(state_dir: &Path) -> io::Result<()> {
    // No agent says that of no reset.
    let number = u64::from_ne_bytes(sys::random()?) | 1;
    make_dir(state_dir)?;
    let lock = File::open(state_dir)?;
    // Where files cannot be locked, on NFS, it is done without.
    let _ = lock.lock();
    files::replace(&path(state_dir), format!("reset {number:016x}\n").as_bytes())
}

/// A folder for its owner alone.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The dialler's own rule.
fn allows(uplink: &Uplink, url: &Url) -> bool {
    let dial = DialConfig {
        endpoints: uplink.endpoints.clone(),
        redirect_to: uplink.redirect_to.clone(),
    };
    Dialer::new(dial, 0).allows(url)
}

/// Of endpoints and allowed redirects.
fn tag(uplink: &Uplink) -> String {
    // Not their debugging output, which is short in the camera's builds.
    let mut text = String::new();
    for endpoint in &uplink.endpoints {
        text += &format!("{endpoint}\n");
    }
    for pattern in &uplink.redirect_to {
        text += &format!("{pattern}\n");
    }
    let hash = digest(&SHA256, text.as_bytes());
    let short = hash.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(short))
}

fn address(uplink: &Uplink, text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| allows(uplink, url))
}

fn endpoint(uplink: &Uplink, url: &str, pin: &str) -> Option<(Url, Option<String>)> {
    let pin = match pin {
        "" => None,
        pin => Some(Pin::parse(pin).ok()?.to_string()),
    };
    Some((address(uplink, url)?, pin))
}

fn operator(key: &str, standing: &str, issued: u64) -> Option<Operator> {
    Some(Operator {
        key: Operator::parse_key(key)?,
        standing: match standing {
            "0" => Standing::Unproven,
            "1" => Standing::Proven,
            "2" => Standing::Released,
            _ => return None,
        },
        issued,
    })
}

fn resume<'a>(uplink: &Uplink, credential: &str, addresses: impl Iterator<Item = &'a str>) -> Option<Resume> {
    let fits = |text: &str| text.len() <= MAX_CREDENTIAL && text.bytes().all(|byte| byte.is_ascii_graphic());
    let addresses: Vec<Url> = addresses
        .take(MAX_RESUME_TARGETS)
        .filter_map(|text| address(uplink, text))
        .collect();
    (fits(credential) && !credential.is_empty() && !addresses.is_empty()).then(|| Resume {
        credential: credential.into(),
        addresses,
    })
}

fn parse(text: &str, uplink: &Uplink) -> Kept {
    let (name, tag) = (uplink.name.as_str(), tag(uplink));
    let mut kept = Kept {
        was_reset: text.lines().any(is_reset),
        ..Kept::default()
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(whose), Some(of)) = (words.next(), words.next()) else {
            continue;
        };
        if whose != name || of != tag && of != "-" {
            continue;
        }
        let kind = words.next();
        let (a, b) = (
            words.next().unwrap_or_default(),
            words.clone().next().unwrap_or_default(),
        );
        match kind {
            Some("endpoint") if of != "-" => kept.endpoint = endpoint(uplink, a, b).or(kept.endpoint),
            Some("operator") => {
                let issued = words.nth(1).and_then(|number| number.parse().ok());
                kept.operator = issued.and_then(|issued| operator(a, b, issued)).or(kept.operator);
            }
            Some("resume") if of != "-" => kept.resume = resume(uplink, a, words).or(kept.resume),
            _ => {}
        }
    }
    kept
}

/// A fact's kind and line, the latter empty if it says that there is none. `None` if the configuration does not allow it.
fn line(uplink: &Uplink, fact: &Fact) -> Option<(&'static str, String)> {
    let (name, tag) = (uplink.name.as_str(), tag(uplink));
    Some(match fact {
        Fact::Endpoint { url, pin } => {
            let (url, pin) = endpoint(uplink, url, pin)?;
            let pin = pin.unwrap_or_default();
            (KINDS[0], format!("{name} {tag} endpoint {} {pin}", url.as_str()))
        }
        Fact::Operator {
            key,
            standing,
            issued,
        } => {
            operator(key, &standing.to_string(), *issued)?;
            (KINDS[1], format!("{name} - operator {key} {standing} {issued}"))
        }
        Fact::Resume { credential, .. } if credential.is_empty() => (KINDS[2], String::new()),
        Fact::Resume {
            credential,
            addresses,
        } => {
            let resume = resume(uplink, credential, addresses.split(' '))?;
            let mut line = format!("{name} {tag} resume {credential}");
            for url in &resume.addresses {
                line += " ";
                line += url.as_str();
            }
            (KINDS[2], line)
        }
    })
}

fn is_release(fact: &Fact) -> bool {
    matches!(fact, Fact::Operator { standing, .. } if *standing == Standing::Released as u8)
}

/// The file's text with a fact in it.
fn with(text: &str, uplink: &Uplink, fact: &Fact) -> Option<String> {
    let (kind, new) = line(uplink, fact)?;
    let name = uplink.name.as_str();
    let released = is_release(fact);
    let is_of = |line: &str, kind: &str| {
        let mut words = line.split(' ');
        words.next() == Some(name) && words.nth(1) == Some(kind)
    };
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !(line.is_empty() || is_of(line, kind) || released && is_of(line, KINDS[2])))
        .collect();
    if lines.len() >= MAX_LINES {
        lines.remove(usize::from(lines.first().is_some_and(|line| is_reset(line))));
    }
    if !new.is_empty() {
        lines.push(new.trim_end());
    }
    Some(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// Why a fact is not kept.
#[derive(Debug)]
enum StoreError {
    /// The configuration does not have that uplink, or does not allow the address.
    Refused,
    /// The camera was reset, and whoever says this did not know.
    Reset,
    /// It could not be written.
    Io(io::Error),
}

/// Keeps a fact. False if it was kept already. What was said before the last reset is not kept: it would bring back a
/// claim that has ended.
fn store(state_dir: &Path, uplinks: &[Uplink], store: &Store) -> Result<bool, StoreError> {
    let uplink = uplinks.iter().find(|candidate| candidate.name == store.uplink);
    let uplink = uplink.ok_or(StoreError::Refused)?;
    // Before anything is made for it.
    line(uplink, &store.fact).ok_or(StoreError::Refused)?;
    make_dir(state_dir).map_err(StoreError::Io)?;
    // A reset that is at work has it, and is not waited for.
    let lock = File::open(state_dir).map_err(StoreError::Io)?;
    if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(StoreError::Io(io::ErrorKind::ResourceBusy.into()));
    }
    let before = read(state_dir).map_err(StoreError::Io)?;
    if before
        .lines()
        .any(|line| is_reset(line) && short(line) != store.reset)
    {
        return Err(StoreError::Reset);
    }
    let after = with(&before, uplink, &store.fact).ok_or(StoreError::Refused)?;
    if after == before {
        return Ok(false);
    }
    files::replace(&path(state_dir), after.as_bytes()).map_err(StoreError::Io)?;
    Ok(true)
}

/// Keeps facts, not too often, and remembers what could not be written.
#[derive(Debug, Default)]
pub struct Keeper {
    day: Duration,
    writes: [u32; 3],
    unsaved: Vec<Store>,
    /// What was too much for today.
    late: Vec<Store>,
    retry_at: Option<Duration>,
    problem: String,
    reset: String,
}

impl Keeper {
    /// One for a state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            reset: last_reset(state_dir),
            ..Self::default()
        }
    }

    /// The last reset that is known here, for what is said from now on.
    #[must_use]
    pub fn reset(&self) -> u32 {
        short(&self.reset)
    }

    /// Why something is not kept; empty if all is.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// When to try again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let tomorrow = (!self.late.is_empty()).then_some(self.day + DAY);
        [self.retry_at, tomorrow].into_iter().flatten().min()
    }

    /// Whether everything was forgotten on purpose since the last question; what waits to be written is then forgotten too.
    pub fn handle_reload(&mut self, state_dir: &Path) -> bool {
        let last = last_reset(state_dir);
        // Without the line, or where it cannot be read, nothing was reset.
        let is_new = !last.is_empty() && last != self.reset;
        if is_new {
            self.reset = last;
            self.unsaved.clear();
            self.late.clear();
            self.settle();
        }
        is_new
    }

    /// Keeps what an agent has learnt.
    pub fn handle_store(&mut self, now: Duration, state_dir: &Path, uplinks: &[Uplink], new: Store) {
        self.turn_day(now);
        let index = match new.fact {
            Fact::Endpoint { .. } => 0,
            Fact::Operator { .. } => 1,
            Fact::Resume { .. } => 2,
        };
        let most = WRITES_PER_DAY.get(index).copied().unwrap_or_default();
        if self.writes.get(index).is_none_or(|count| *count >= most) {
            let uplink = uplinks.iter().find(|candidate| candidate.name == new.uplink);
            if uplink.is_some_and(|uplink| line(uplink, &new.fact).is_some()) {
                put_off(&mut self.late, new);
            }
            return;
        }
        // In order, or the operator could be kept without the address where it is found.
        self.flush(state_dir, uplinks);
        let waits = self.unsaved.iter().any(|old| !replaces(&new, old));
        let stored = if waits {
            let why = "what came before is not written yet";
            Err(StoreError::Io(io::Error::other(why)))
        } else {
            store(state_dir, uplinks, &new)
        };
        if matches!(stored, Ok(false)) {
            return;
        }
        if let Some(count) = self.writes.get_mut(index) {
            *count += 1;
        }
        if self.writes.get(index) == Some(&most) {
            log::warn!(
                "gateways give new addresses too often; a further one is kept tomorrow, and holds until the agent ends"
            );
        }
        let name = &new.uplink;
        match stored {
            Ok(_) => log::info!("uplink {name}: {} is kept", what(&new.fact)),
            Err(StoreError::Refused) => {
                log::warn!("uplink {name}: an address that `redirect_to` does not allow is not kept");
            }
            Err(StoreError::Reset) => {
                log::info!(
                    "uplink {name}: {} is of before the reset, and is not kept",
                    what(&new.fact)
                );
            }
            Err(StoreError::Io(error)) => {
                let dir = state_dir.display();
                log::error!(
                    "uplink {name}: {} cannot be kept in {dir} and holds until the agent ends: {error}; trying again every hour",
                    what(&new.fact)
                );
                // What came first is the cause.
                if !waits || self.problem.is_empty() {
                    self.problem = format!("what gateways gave cannot be kept in {dir}: {error}");
                }
                put_off(&mut self.unsaved, new);
                self.retry_at = Some(now + RETRY_EVERY);
                return;
            }
        }
        self.unsaved.retain(|old| !replaces(&new, old));
        self.settle();
    }

    /// Counts anew each day; what was too much for the last one is due then.
    fn turn_day(&mut self, now: Duration) {
        if now.saturating_sub(self.day) < DAY {
            return;
        }
        self.day = now;
        self.writes = [0; 3];
        for store in std::mem::take(&mut self.late) {
            put_off(&mut self.unsaved, store);
            self.retry_at = Some(now);
        }
    }

    /// Tries again what could not be written, if it is time.
    pub fn handle_timeout(&mut self, now: Duration, state_dir: &Path, uplinks: &[Uplink]) {
        self.turn_day(now);
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.retry_at = Some(now + RETRY_EVERY);
        self.flush(state_dir, uplinks);
    }

    fn flush(&mut self, state_dir: &Path, uplinks: &[Uplink]) {
        if self.unsaved.is_empty() {
            return;
        }
        self.unsaved
            .retain(|unsaved| matches!(store(state_dir, uplinks, unsaved), Err(StoreError::Io(_))));
        if self.unsaved.is_empty() {
            log::info!("what gateways gave is kept now");
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.unsaved.is_empty() {
            self.retry_at = None;
            self.problem.clear();
        }
    }
}

/// Remembers what is to be written later.
fn put_off(list: &mut Vec<Store>, new: Store) {
    list.retain(|old| !replaces(&new, old));
    if list.len() == MAX_UNSAVED {
        list.remove(0);
    }
    list.push(new);
}

/// Whether nothing is left to say for `old` once `new` is known.
fn replaces(new: &Store, old: &Store) -> bool {
    new.uplink == old.uplink && std::mem::discriminant(&new.fact) == std::mem::discriminant(&old.fact)
}

fn what(fact: &Fact) -> &'static str {
    match fact {
        Fact::Endpoint { .. } => "the gateway's new address",
        Fact::Operator { .. } if is_release(fact) => "the end of the claim",
        Fact::Operator { .. } => "the operator's key",
        Fact::Resume { .. } => "the way back to the streamer",
    }
}

#[cfg(test)]
mod tests;
