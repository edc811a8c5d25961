//! Users that no file holds: those of a camera's own ONVIF service (Device Management, GetUsers and SetUser, with the
//! digest of WS-UsernameToken), of Hikvision's ISAPI (`/ISAPI/Security/users`, with HTTP Digest), of Dahua's interface
//! (`/cgi-bin/userManager.cgi`, the same) and of DVRIP. A running camera alone has them, and they are reached over its
//! loopback interface alone.

mod dvrip;
mod web;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lenscap_harden::credentials::{self, Secrets};
use lenscap_harden::edits::Edits;
use lenscap_harden::engine::{self, Plan, Settings};
use lenscap_harden::listeners;
use lenscap_harden::report::{Finding, Measure, Status};
use lenscap_harden::root::{Attributes, Root};
use lenscap_harden::secret::Secret;
use lenscap_harden::survey::contains;
use web::{
    DAHUA, DEVICE, ISAPI, SCHEMA, dahua_request, dahua_user, date_request, encoded, isapi_id, isapi_users,
    levels, onvif_users, send, soap,
};

use crate::cli::{EXIT_FAILURE, Stop};
use crate::config::{self, Profile};

/// Where cameras have these services, beside where the configuration has its snapshots.
const PORTS: &[u16] = &[80, 8080, 8899, 2020, 8000, dvrip::PORT];
/// What is tried, of all that everybody knows: a camera locks its user after five to seven wrong passwords.
const TRIED: &[&str] = &["admin", "12345", "", "123456"];
/// Services beside ONVIF may share its user, and so its count of wrong passwords: there the makers' own alone are tried,
/// and what has opened another service.
const DAHUA_TRIED: &[usize] = &[0];
const DVRIP_TRIED: &[usize] = &[2];
const USER: &str = "admin";
const TIMEOUT: Duration = Duration::from_secs(5);
/// Services that are looked at, and remembered.
const MAX_SERVICES: usize = 8;
/// The longest password that ISAPI takes.
const MAX_ISAPI_BYTES: usize = 16;
/// How Dahua's cameras, and those that are sold under other names, ask for a password.
const DAHUA_REALMS: &[&[u8]] = &[b"realm=\"Login to ", b"realm=\"DH_"];
/// Addresses for RTSP that hold the password themselves, as XiongMai's do.
const IN_ADDRESS: &str = "password=";
/// What was changed, or is about to be: how to take it back, or to finish it.
const RECORD: &str = "services";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Onvif,
    Isapi,
    Dahua,
    Dvrip,
}

/// Each kind, as the record and as people call it.
const KINDS: [(Kind, &str, &str); 4] = [
    (Kind::Onvif, "onvif", "ONVIF"),
    (Kind::Isapi, "isapi", "ISAPI"),
    (Kind::Dahua, "dahua", "Dahua's interface"),
    (Kind::Dvrip, "dvrip", "DVRIP"),
];

impl Kind {
    fn names(self) -> (&'static str, &'static str) {
        let known = KINDS.iter().find(|(kind, ..)| *kind == self);
        known.map_or(("", ""), |(_, record, people)| (record, people))
    }
}

/// A service whose user has a password that everybody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    kind: Kind,
    address: SocketAddr,
    /// Which of [`TRIED`] it was.
    old: usize,
}

impl Service {
    fn name(&self) -> String {
        let (_, name) = self.kind.names();
        format!("{name} on port {}", self.address.port())
    }

    fn to_line(&self) -> String {
        let (kind, _) = self.kind.names();
        format!("{kind} {} {}\n", self.address, self.old)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let word = words.next()?;
        let (kind, ..) = *KINDS.iter().find(|(_, record, _)| *record == word)?;
        let address: SocketAddr = words.next()?.parse().ok()?;
        let old = words.next()?.parse().ok().filter(|old| *old < TRIED.len())?;
        address.ip().is_loopback().then_some(Self { kind, address, old })
    }

    fn old_password(&self) -> &'static str {
        TRIED.get(self.old).copied().unwrap_or_default()
    }

    fn opens(&self, password: &str) -> io::Result<Option<String>> {
        match self.kind {
            Kind::Onvif => onvif_users(self.address, Some(password)),
            Kind::Isapi => isapi_users(self.address, password),
            Kind::Dahua => dahua_user(self.address, password),
            Kind::Dvrip => Ok(dvrip::opens(self.address, password)?.then(String::new)),
        }
    }

    /// Gives the user another password, and makes sure that it alone opens the service.
    fn change(&self, from: &str, to: &str) -> io::Result<()> {
        let Some(users) = self.opens(from)? else {
            // Another service of the same user may have changed it.
            return match self.opens(to)? {
                Some(_) => Ok(()),
                None => Err(refused("it does not take its password")),
            };
        };
        let answer = match self.kind {
            Kind::Dahua => {
                let path = format!(
                    "{DAHUA}modifyPassword&name={USER}&pwd={}&pwdOld={}",
                    encoded(to),
                    encoded(from)
                );
                send(self.address, "GET", &path, "", "", Some(from))?.status
            }
            Kind::Dvrip => dvrip::change(self.address, from, to).map(|()| 200)?,
            Kind::Onvif => {
                let level = levels(&users).unwrap_or("Administrator");
                let body = format!(
                    "<SetUser xmlns=\"{DEVICE}\"><User><Username xmlns=\"{SCHEMA}\">{USER}</Username>\
                     <Password xmlns=\"{SCHEMA}\">{to}</Password><UserLevel xmlns=\"{SCHEMA}\">{level}</UserLevel></User></SetUser>"
                );
                soap(self.address, &body, Some(from))?.status
            }
            Kind::Isapi => {
                let id = isapi_id(&users).ok_or_else(|| refused("its list has no such user"))?;
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><User><id>{id}</id><userName>{USER}</userName>\
                     <password>{to}</password></User>"
                );
                let path = format!("{ISAPI}/{id}");
                send(self.address, "PUT", &path, "application/xml", &body, Some(from))?.status
            }
        };
        if answer != 200 {
            return Err(refused(&format!("it answers {answer}")));
        }
        if self.opens(to)?.is_none() {
            return Err(refused("the new password does not open it"));
        }
        if self.opens(from)?.is_some() {
            return Err(refused("the old password still opens it"));
        }
        Ok(())
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::other(why)
}

/// Looks for services whose user has a password that everybody knows, and says so in the plan. Gives those that can be
/// closed, and a sentence for each other.
pub(super) fn look(root: &Root, config: &Path, plan: &mut Plan<'_>) -> (Vec<Service>, Vec<String>) {
    let (mut found, mut stuck) = (Vec::<Service>::new(), Vec::new());
    let profiles = config::load(config)
        .map(|loaded| loaded.config.profiles)
        .unwrap_or_default();
    let holds = |profile: &&Profile| {
        let address = profile.rtsp.request_uri().to_ascii_lowercase();
        address.contains(IN_ADDRESS)
    };
    let held = profiles.iter().find(holds);
    let mut opened = None;
    for address in addresses(root, &profiles) {
        for (kind, ..) in KINDS {
            if (kind == Kind::Dvrip) != (address.port() == dvrip::PORT) {
                continue;
            }
            // What does not answer as such a service is none.
            let Ok(Some(old)) = known_password(kind, address, opened) else {
                continue;
            };
            opened = Some(old);
            let service = Service { kind, address, old };
            let mut what = format!("{}: {USER} has a password that everybody knows", service.name());
            let mut status = Status::Planned;
            if let Some(profile) = held {
                // The agent would lose its video.
                let why = format!("; it stays, as the address of profile {} holds it", profile.name);
                what.push_str(&why);
                status = Status::Fails;
                stuck.push(what.clone());
            } else {
                found.push(service);
            }
            plan.edits.find(Measure::Credentials, status, None, what);
        }
    }
    if opened.is_some() {
        // What the files alone had to say.
        let well =
            |finding: &Finding| (finding.measure, finding.status) == (Measure::Credentials, Status::Holds);
        plan.edits.findings.retain(|finding| !well(finding));
    }
    (found, stuck)
}

fn addresses(root: &Root, profiles: &[Profile]) -> Vec<SocketAddr> {
    let open = listeners::read(root).unwrap_or_default();
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
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MAX_SERVICES);
    addresses
}

/// `opened` has opened another service of this camera.
fn known_password(kind: Kind, address: SocketAddr, opened: Option<usize>) -> io::Result<Option<usize>> {
    let all: [usize; TRIED.len()] = core::array::from_fn(|at| at);
    let tried = match kind {
        Kind::Onvif => {
            if !soap(address, &date_request(), None)?
                .text()
                .contains("SystemDateAndTime")
            {
                return Ok(None);
            }
            &all[..]
        }
        // It is told by its wish for a password.
        Kind::Isapi => {
            let answer = send(address, "GET", ISAPI, "", "", None)?;
            if answer.status != 401 || answer.challenges.is_empty() {
                return Ok(None);
            }
            &all[..]
        }
        // And this by whom it asks for.
        Kind::Dahua => {
            let answer = send(address, "GET", &dahua_request(), "", "", None)?;
            let realm = |challenge: &Vec<u8>| DAHUA_REALMS.iter().any(|realm| contains(challenge, realm));
            if answer.status != 401 || !answer.challenges.iter().any(realm) {
                return Ok(None);
            }
            DAHUA_TRIED
        }
        Kind::Dvrip => DVRIP_TRIED,
    };
    let others = tried.iter().copied().filter(|old| Some(*old) != opened);
    for old in opened.into_iter().chain(others) {
        let service = Service { kind, address, old };
        if service.opens(service.old_password())?.is_some() {
            return Ok(Some(old));
        }
    }
    Ok(None)
}

/// Gives the users of services the media password, before any file has it: a camera that refuses keeps its old one, and
/// the agent its own. Says what was changed, and what could not be.
pub(super) fn close(
    root: &Root,
    settings: &Settings,
    config: &Path,
    applied_at: Option<(&str, Duration)>,
) -> Result<(Vec<String>, Vec<String>), Stop> {
    let mut plan = empty_plan(root);
    let (services, mut failed) = look(root, config, &mut plan);
    let path = format!("{}/{RECORD}", settings.state_dir);
    let (mut done, unfinished) = record(root, &path);
    if services.is_empty() && unfinished.is_none() {
        return Ok((Vec::new(), failed));
    }
    let stop = |error: io::Error| Stop(error.to_string(), EXIT_FAILURE);
    let secret = match unfinished {
        Some(secret) => secret,
        None => new_secret(root, settings, &services).map_err(stop)?,
    };
    done.retain(|have| {
        !services
            .iter()
            .any(|new| (new.kind, new.address) == (have.kind, have.address))
    });
    done.extend_from_slice(&services);
    // Whatever happens from here on, the password is known.
    write(root, &path, &done, Some(&secret)).map_err(stop)?;
    let mut changed = Vec::new();
    for service in &services {
        match service.change(service.old_password(), secret.reveal()) {
            Ok(()) => changed.push(format!("{}: {USER} gets the media password", service.name())),
            Err(error) => {
                failed.push(format!(
                    "{}: the password of {USER} could not be changed: {error}",
                    service.name()
                ));
                if service.opens(secret.reveal()).ok().flatten().is_none() {
                    done.retain(|have| have != service);
                }
            }
        }
    }
    if !done.is_empty() {
        credentials::write_password_file(&mut plan.edits, &settings.password_file, &secret).map_err(stop)?;
        let mut none = settings.clone();
        none.measures.clear();
        engine::apply(&plan, &none, applied_at, &mut |_| Ok(())).map_err(super::failed)?;
    }
    write(root, &path, &done, None).map_err(stop)?;
    Ok((changed, failed))
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
    let stored = root.read(&settings.password_file).unwrap_or_default();
    if let Ok(stored) = Secret::given(String::from_utf8_lossy(&stored).trim_end()) {
        return Ok(stored);
    }
    let secret = Secret::random(&mut super::fill)?;
    if services.iter().all(|service| service.kind != Kind::Isapi) {
        return Ok(secret);
    }
    let short = secret.reveal().get(..MAX_ISAPI_BYTES).unwrap_or_default();
    Secret::given(short).map_err(io::Error::other)
}

/// Gives services their old passwords back. One is forgotten only if it answered and neither password opens it: of one
/// that is not up nobody would know the password, and so the record and the password stay for another try.
pub(super) fn undo(root: &Root, settings: &Settings) -> io::Result<()> {
    let path = format!("{}/{RECORD}", settings.state_dir);
    let (mut services, unfinished) = record(root, &path);
    let stored = root.read(&settings.password_file).unwrap_or_default();
    let stored = String::from_utf8_lossy(&stored).trim_end().to_owned();
    let secret = unfinished.as_ref();
    let current = secret.map_or(stored.as_str(), Secret::reveal);
    let all = services.len();
    let mut result = Ok(());
    services.retain(|service| {
        let old = service.old_password();
        let Err(error) = service.change(current, old) else {
            return false;
        };
        let closed = |password: &str| service.opens(password).is_ok_and(|users| users.is_none());
        if closed(current) && (current == old || closed(old)) {
            return false;
        }
        let why = format!(
            "{}: {USER} has the media password still, which is kept in {}: {error}; try again when the service is up",
            service.name(),
            if secret.is_some() { &path } else { &settings.password_file }
        );
        result = Err(io::Error::new(error.kind(), why));
        true
    });
    // It is tried again and again: flash is written only if there is something new.
    if services.len() < all {
        write(root, &path, &services, secret)?;
    }
    result
}

fn record(root: &Root, path: &str) -> (Vec<Service>, Option<Secret>) {
    let text = root.read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
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

fn write(root: &Root, path: &str, services: &[Service], secret: Option<&Secret>) -> io::Result<()> {
    if services.is_empty() {
        return root.remove(path);
    }
    let mut text: String = services.iter().map(Service::to_line).collect();
    if let Some(secret) = secret {
        text.push_str(&format!("new {}\n", secret.reveal()));
    }
    let temporary = format!("{path}.new");
    root.make_folders(lenscap_harden::root::folder_of(path))?;
    root.remove(&temporary)?;
    root.create(&temporary, text.as_bytes(), Attributes::PRIVATE)?;
    root.rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_is_what_everybody_knows() {
        assert!(
            TRIED
                .iter()
                .all(|password| lenscap_harden::defaults::is_known(password))
        );
        assert!(TRIED.len() <= 4, "more would lock the user");
        assert!(
            DVRIP_TRIED.len() == 1 && DAHUA_TRIED.len() == 1,
            "they may count with ONVIF's"
        );
    }

    #[test]
    fn records_are_read_as_written_and_lead_nowhere_else() {
        for line in [
            "onvif 127.0.0.1:80 1",
            "isapi [::1]:8000 0",
            "dahua 127.0.0.1:80 0",
            "dvrip 127.0.0.1:34567 2",
        ] {
            assert_eq!(Service::parse(line).unwrap().to_line(), format!("{line}\n"));
        }
        for bad in [
            "onvif 192.168.1.2:80 1",
            "onvif 127.0.0.1:80 9",
            "ssh 127.0.0.1:80 1",
            "",
            "onvif",
        ] {
            assert_eq!(Service::parse(bad), None, "{bad}");
        }
    }
}
