//! Users that no file holds: those of a camera's own ONVIF service (Device Management, GetUsers and SetUser, with the
//! digest of WS-UsernameToken), of Hikvision's ISAPI (`/ISAPI/Security/users`, with HTTP Digest), of Dahua's interface
//! (`/cgi-bin/userManager.cgi`, the same) and of DVRIP. A running camera alone has them, and they are reached over its
//! loopback interface alone.

mod dvrip;
mod service;
mod tries;
mod web;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lenscap_harden::credentials::{self, Secrets};
use lenscap_harden::edits::Edits;
use lenscap_harden::engine::{self, Plan, Settings};
use lenscap_harden::listeners::Listener;
use lenscap_harden::report::{Finding, Measure, Status};
use lenscap_harden::root::Root;
use lenscap_harden::secret::Secret;
use service::{Has, KINDS, Kind, LATER, OTHER, Password, Seen, Service, Stuck, USER};
use tries::Tries;

use super::refused;
use crate::cli::Stop;
use crate::config::{self, Profile};

/// Where cameras have these services, beside where the configuration has its snapshots.
const PORTS: &[u16] = &[80, 8080, 8899, 2020, 8000, dvrip::PORT];
/// Services that are looked at, and remembered.
const MAX_SERVICES: usize = 8;
/// The longest password that ISAPI takes.
const MAX_ISAPI_BYTES: usize = 16;
/// Addresses for RTSP that hold the password themselves, as XiongMai's do.
const IN_ADDRESS: &str = "password=";

/// Looks for services whose user has a password that everybody knows, and says so in the plan.
pub(super) fn look(root: &Root, settings: &Settings, config: &Path, plan: &mut Plan<'_>) {
    look_with(&mut Tries::new(config), root, settings, config, plan);
}

/// What a look finds.
#[derive(Default)]
struct Looked {
    /// Those that can be closed.
    open: Vec<Service>,
    /// A sentence for each other.
    stuck: Vec<String>,
    /// Those of the record that no old password opens any more.
    shut: Vec<Service>,
    /// Those where it could not be told.
    untold: Vec<Service>,
}

fn look_with(
    tries: &mut Tries,
    root: &Root,
    settings: &Settings,
    config: &Path,
    plan: &mut Plan<'_>,
) -> Looked {
    let profiles = config::load(config)
        .map(|loaded| loaded.config.profiles)
        .unwrap_or_default();
    let holds = |profile: &&Profile| {
        let address = profile.rtsp.request_uri().to_ascii_lowercase();
        address.contains(IN_ADDRESS)
    };
    let held = profiles.iter().find(holds);
    let (ours, unfinished) = record(root, settings);
    let media = current(root, settings, unfinished.as_ref());
    let mut looked = Looked::default();
    let open = plan.edits.listeners().unwrap_or_default();
    let doors = doors(tries, &ours, &media, &addresses(open, &profiles), &mut looked);
    let untried = known_passwords(tries, doors, &mut looked);
    let mut found = Vec::new();
    for service in core::mem::take(&mut looked.open) {
        let mut what = format!("{}: {USER} has a password that everybody knows", service.name());
        let mut status = Status::Planned;
        if let Some(profile) = held {
            // The agent would lose its video.
            let why = format!("; it stays, as the address of profile {} holds it", profile.name);
            what.push_str(&why);
            status = Status::Fails;
            looked.stuck.push(what.clone());
        } else {
            looked.open.push(service);
        }
        found.push((status, what));
    }
    // With the image's media password in services as well, no camera would make one of its own.
    let of_image = || ours.is_empty() && engine::applied(root, settings).has_media_of_image();
    if !looked.open.is_empty() && of_image() {
        let what = "services wait, for the media password is the image's still: `--apply` makes another; run it again then";
        looked.open.clear();
        looked.stuck.push(what.into());
        found.push((Status::Fails, what.into()));
    }
    let before = plan.edits.findings.len();
    if !looked.open.is_empty() && !settings.media_may_change(&mut plan.edits) {
        looked.open.clear();
        let waits = plan.edits.findings.iter().skip(before);
        looked.stuck.extend(waits.map(|finding| finding.text.clone()));
    }
    for service in untried {
        let what = format!(
            "{}: not all that everybody knows is tried yet; {LATER}",
            service.name()
        );
        found.push((Status::Unknown, what));
    }
    for service in &looked.untold {
        found.push((Status::Unknown, format!("{}: it does not answer", service.name())));
    }
    for service in ours.iter().filter(|our| our.seen == Seen::Both) {
        if !looked
            .open
            .iter()
            .chain(&looked.shut)
            .any(|seen| seen.is(service))
        {
            looked.stuck.push(service.may_be_open());
            found.push((Status::Fails, service.may_be_open()));
        }
    }
    if !found.is_empty() {
        // What the files alone had to say.
        let well =
            |finding: &Finding| (finding.measure, finding.status) == (Measure::Credentials, Status::Holds);
        plan.edits.findings.retain(|finding| !well(finding));
    }
    for (status, what) in found {
        plan.edits.find(Measure::Credentials, status, None, what);
    }
    looked
}

/// The services that answer, but for those that have the media password already.
fn doors(
    tries: &mut Tries,
    ours: &[Service],
    media: &str,
    addresses: &[SocketAddr],
    looked: &mut Looked,
) -> Vec<Service> {
    let mut doors = Vec::new();
    for address in addresses {
        for (kind, ..) in KINDS {
            if (kind == Kind::Dvrip) != (address.port() == dvrip::PORT) {
                continue;
            }
            let door = Service {
                kind,
                address: *address,
                old: OTHER,
                seen: Seen::Old,
            };
            let our = ours.iter().find(|our| our.is(&door));
            let late = tries.is_late();
            let speaks = if late {
                Err(io::ErrorKind::TimedOut.into())
            } else {
                kind.speaks(*address)
            };
            match (speaks, our) {
                (Ok(true), Some(our)) if tries.left() > 0 => {
                    match door.opens(Password(OTHER, media), tries) {
                        Ok(Some(_)) if our.seen == Seen::Both && tries.left() > 0 => {
                            match our.opens(Password::known(our.old), tries) {
                                Ok(Some(_)) => looked.open.push(*our),
                                Ok(None) => looked.shut.push(*our),
                                Err(_) => {}
                            }
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => doors.push(door),
                        Err(_) => looked.untold.push(door),
                    }
                }
                (Ok(true), _) => doors.push(door),
                // It hangs, or is not looked at. What does not answer as such a service is none, but for those that were.
                (Err(error), our) if hangs(&error) => {
                    if late && our.is_none() {
                        looked.untold.push(door);
                    }
                    for our in ours {
                        if our.address == *address && our.kind >= kind {
                            looked.untold.push(*our);
                        }
                    }
                    break;
                }
                (Ok(false) | Err(_), _) => {}
            }
        }
    }
    doors
}

/// How the kernel tells of a time that is over depends on what was waited for.
fn hangs(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Tries passwords, one at each service in turn. What has opened one is tried first at others: they may have the same user.
/// Gives those where some are left to be tried.
fn known_passwords(tries: &mut Tries, mut doors: Vec<Service>, looked: &mut Looked) -> Vec<Service> {
    let open = &mut looked.open;
    loop {
        let mut tried = false;
        let mut closed = Vec::new();
        for door in doors {
            let first = open.last().map(|service| service.old);
            let candidates = first
                .iter()
                .chain(door.kind.tried())
                .map(|old| Service { old: *old, ..door });
            let Some(next) = candidates.into_iter().find(|next| !tries.failed(next)) else {
                continue;
            };
            // One try is kept, to see that the old password is one no more.
            let kept = usize::from(first.is_some_and(|first| first != next.old));
            if tries.left() <= kept {
                closed.push(door);
                continue;
            }
            tried = true;
            match next.opens(Password::known(next.old), tries) {
                Ok(Some(_)) => open.push(next),
                Ok(None) => closed.push(door),
                Err(_) => looked.untold.push(door),
            }
        }
        doors = closed;
        if !tried {
            open.sort_unstable_by_key(|service| (service.address, service.kind));
            return doors;
        }
    }
}

fn addresses(open: &[Listener], profiles: &[Profile]) -> Vec<SocketAddr> {
    let open = open
        .iter()
        .map(|listener| listener.port)
        .filter(|port| PORTS.contains(port));
    let mut addresses: Vec<SocketAddr> = open
        .map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        .collect();
    addresses.extend(
        profiles
            .iter()
            .filter_map(|profile| profile.snapshot.as_ref())
            .map(|url| url.addr),
    );
    addresses.retain(|address| address.ip().is_loopback());
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_SERVICES);
    addresses
}

/// Gives the users of services the media password, before any file has it: a camera that refuses keeps its old one, and
/// the agent its own. Says what was changed, and what could not be.
pub(super) fn close(
    root: &Root,
    settings: &Settings,
    config: &Path,
    applied_at: Option<(&str, Duration)>,
) -> Result<Closed, Stop> {
    let mut closed = finish(root, settings, config, applied_at)?;
    let mut tries = Tries::new(config);
    let mut plan = empty_plan(root);
    let looked = look_with(&mut tries, root, settings, config, &mut plan);
    let services = looked.open;
    closed.failed.extend(looked.stuck);
    let unknown = |finding: &&Finding| finding.status == Status::Unknown;
    let untried = plan.edits.findings.iter().filter(unknown);
    closed.untold.extend(untried.map(|finding| finding.text.clone()));
    let (mut done, unfinished) = record(root, settings);
    for service in &looked.shut {
        let known = done.iter_mut().filter(|have| have.is(service));
        known.for_each(|have| have.seen = Seen::New);
    }
    if services.is_empty() {
        if !looked.shut.is_empty() {
            write(root, settings, &done, unfinished.as_ref()).map_err(refused)?;
        }
        return Ok(closed);
    }
    let secret = match unfinished {
        Some(secret) => secret,
        None => new_secret(root, settings, &services).map_err(refused)?,
    };
    done.retain(|have| !services.iter().any(|new| new.is(have)));
    done.extend_from_slice(&services);
    // Whatever happens from here on, the password is known.
    write(root, settings, &done, Some(&secret)).map_err(refused)?;
    let given = Given {
        services: &services,
        shared: false,
    };
    let given = give(root, settings, given, &secret, applied_at, &mut tries)?;
    closed.changed.extend(given.changed);
    closed.failed.extend(given.failed);
    Ok(closed)
}

/// Brings a run to its end that was cut short between the services and the files: without it the agent has not the
/// password that they have. What does not answer waits on.
pub(super) fn finish(
    root: &Root,
    settings: &Settings,
    config: &Path,
    applied_at: Option<(&str, Duration)>,
) -> Result<Closed, Stop> {
    let (services, Some(secret)) = record(root, settings) else {
        return Ok(Closed::default());
    };
    let given = Given {
        services: &services,
        shared: true,
    };
    give(
        root,
        settings,
        given,
        &secret,
        applied_at,
        &mut Tries::new(config),
    )
}

/// What a run closed and may be open still, a sentence each.
pub(super) fn still_open(root: &Root, settings: &Settings) -> Vec<String> {
    let (services, _) = record(root, settings);
    let both = services.iter().filter(|service| service.seen == Seen::Both);
    both.map(Service::may_be_open).collect()
}

/// Whether a run was cut short there.
pub(super) fn is_unfinished(root: &Root, settings: &Settings) -> bool {
    let (_, secret) = record(root, settings);
    secret.is_some()
}

/// What came of closing services, a sentence each.
#[derive(Debug, Default)]
pub(super) struct Closed {
    pub(super) changed: Vec<String>,
    pub(super) failed: Vec<String>,
    /// What could not be told.
    pub(super) untold: Vec<String>,
}

/// Services of the record that get a password; `shared`: one may have it already.
struct Given<'a> {
    services: &'a [Service],
    shared: bool,
}

fn give(
    root: &Root,
    settings: &Settings,
    Given { services, mut shared }: Given<'_>,
    secret: &Secret,
    applied_at: Option<(&str, Duration)>,
    tries: &mut Tries,
) -> Result<Closed, Stop> {
    let (mut done, _) = record(root, settings);
    let mut closed = Closed::default();
    let (mut untold, mut newly) = (0, false);
    for service in services {
        let new = Password(OTHER, secret.reveal());
        let changed = service.change(Password::known(service.old), new, shared, tries);
        shared |= matches!(changed, Ok(()) | Err(Stuck { has: Has::New, .. }));
        let seen = match changed {
            Ok(()) => {
                closed
                    .changed
                    .push(format!("{}: {USER} gets the media password", service.name()));
                Some(Seen::New)
            }
            Err(Stuck { has, why }) => {
                closed.failed.push(format!(
                    "{}: the password of {USER} could not be changed: {why}",
                    service.name()
                ));
                let seen = match has {
                    Has::Old => None,
                    Has::New => Some(Seen::Both),
                    Has::Given => Some(Seen::New),
                    Has::Neither if service.seen == Seen::Old => None,
                    Has::Neither | Has::Untold => Some(service.seen),
                };
                untold += usize::from(seen.is_some() && has != Has::New);
                seen
            }
        };
        newly |= seen.is_some_and(|seen| seen != service.seen);
        done.retain_mut(|have| {
            if !have.is(service) {
                return true;
            }
            have.seen = seen.unwrap_or(have.seen);
            seen.is_some()
        });
    }
    if done.len() > untold {
        let mut plan = empty_plan(root);
        let file = &settings.password_file;
        credentials::write_password_file(&mut plan.edits, file, secret).map_err(refused)?;
        let mut none = settings.clone();
        none.measures.clear();
        engine::apply(&plan, &none, applied_at, &mut |_| Ok(())).map_err(super::failed)?;
        // It is that of an earlier run, and what is new is in no file.
        if newly && plan.edits.files().next().is_none() {
            engine::wait_with(root, settings, file, applied_at).map_err(super::failed)?;
        }
    }
    // It is tried again and again: flash is written only if there is something new.
    let left = (untold > 0).then_some(secret);
    if record(root, settings) != (done.clone(), left.cloned()) {
        write(root, settings, &done, left).map_err(refused)?;
    }
    Ok(closed)
}

/// A plan that changes nothing yet.
pub(super) fn empty_plan(root: &Root) -> Plan<'_> {
    Plan {
        recognised: Vec::new(),
        edits: Edits::new(root),
        secrets: Secrets::default(),
        interrupted: false,
    }
}

/// The media password there is, or a new one. ISAPI takes 16 characters at most.
fn new_secret(root: &Root, settings: &Settings, services: &[Service]) -> io::Result<Secret> {
    if let Ok(stored) = Secret::given(&current(root, settings, None)) {
        return Ok(stored);
    }
    let secret = Secret::random(&mut super::fill)?;
    if services.iter().all(|service| service.kind != Kind::Isapi) {
        return Ok(secret);
    }
    let short = secret.reveal().get(..MAX_ISAPI_BYTES).unwrap_or_default();
    Secret::given(short).map_err(io::Error::other)
}

/// The password that services have or get.
fn current(root: &Root, settings: &Settings, unfinished: Option<&Secret>) -> String {
    if let Some(secret) = unfinished {
        return secret.reveal().to_owned();
    }
    let stored = root.read(&settings.password_file).unwrap_or_default();
    String::from_utf8_lossy(&stored).trim_end().to_owned()
}

/// Gives services their old passwords back. One that has taken the media password is forgotten only once the old one opens
/// it: of one that is not up, or whose user is locked, nobody would know the password, and so the record and the password
/// stay for another try.
pub(super) fn undo(root: &Root, settings: &Settings, config: &Path) -> io::Result<()> {
    let path = engine::note_path(settings, engine::SERVICES);
    let (mut services, unfinished) = record(root, settings);
    if services.is_empty() {
        return Ok(());
    }
    let secret = unfinished.as_ref();
    let current = current(root, settings, secret);
    let all = services.len();
    let mut result = Ok(());
    let mut tries = Tries::new(config);
    let mut shared = secret.is_some();
    services.retain(|service| {
        let old = Password::known(service.old);
        let changed = service.change(Password(OTHER, &current), old, shared, &mut tries);
        let Err(Stuck { has, why: error }) = changed else {
            shared = true;
            return false;
        };
        let never_new = secret.is_some() && service.seen == Seen::Old;
        // The old one opens it: that the other may too does no harm.
        if has == Has::New || has == Has::Neither && never_new {
            return false;
        }
        let why = format!(
            "{}: {USER} has the media password still, which is kept in {}: {error}; try again when the service is up, or remove \
             {path} if it has another password by now",
            service.name(),
            if secret.is_some() { &path } else { &settings.password_file }
        );
        result = Err(io::Error::new(error.kind(), why));
        true
    });
    // It is tried again and again: flash is written only if there is something new.
    if services.len() < all {
        write(root, settings, &services, secret)?;
    }
    result
}

fn record(root: &Root, settings: &Settings) -> (Vec<Service>, Option<Secret>) {
    let text = engine::kept(root, settings, engine::SERVICES);
    let services = text
        .lines()
        .filter_map(Service::parse)
        .take(MAX_SERVICES)
        .collect();
    let secret = text
        .lines()
        .find_map(|line| Secret::given(line.strip_prefix("new ")?).ok());
    (services, secret)
}

fn write(root: &Root, settings: &Settings, services: &[Service], secret: Option<&Secret>) -> io::Result<()> {
    if services.is_empty() {
        return root.remove(&engine::note_path(settings, engine::SERVICES));
    }
    let line = |service: &Service| format!("{} {}\n", service.to_line(), service.seen as u8);
    let mut text: String = services.iter().map(line).collect();
    if let Some(secret) = secret {
        text.push_str(&format!("new {}\n", secret.reveal()));
    }
    root.make_folders(&settings.state_dir)?;
    engine::keep(root, settings, engine::SERVICES, &text)
}
