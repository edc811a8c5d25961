//! One of a camera's own services, its user, and how it is asked for another password.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lenscap_harden::survey::contains;

use super::dvrip;
use super::tries::{LOCKED_FOR, Tries};
use super::web::{
    DAHUA, DEVICE, ISAPI, SCHEMA, dahua_request, dahua_user, date_request, encoded, isapi_id, isapi_users,
    levels, onvif_users, send, soap,
};

/// What is tried, of all that everybody knows; how many in a row, [`Tries`] says.
pub(super) const TRIED: &[&str] = &["admin", "12345", "", "123456"];
/// Stands for a password that is none of these.
pub(super) const OTHER: usize = TRIED.len();
pub(super) const USER: &str = "admin";
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// How Dahua's cameras, and those that are sold under other names, ask for a password.
const DAHUA_REALMS: &[&[u8]] = &[b"realm=\"Login to ", b"realm=\"DH_"];
/// What is not tried now.
pub(super) const LATER: &str =
    "a camera locks its user after some wrong passwords, and enough were tried: try again in half an hour";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Onvif,
    Isapi,
    Dahua,
    Dvrip,
}

/// Each kind, as the record and as people call it, and which passwords are tried, in turn: where the makers have one, that
/// alone, beside what has opened another service.
pub(super) const KINDS: [(Kind, &str, &str, &[usize]); 4] = [
    (Kind::Onvif, "onvif", "ONVIF", &[0, 1, 2, 3]),
    (Kind::Isapi, "isapi", "ISAPI", &[1, 0, 2, 3]),
    (Kind::Dahua, "dahua", "Dahua's interface", &[0]),
    (Kind::Dvrip, "dvrip", "DVRIP", &[2]),
];

impl Kind {
    fn names(self) -> (&'static str, &'static str) {
        let known = KINDS.iter().find(|(kind, ..)| *kind == self);
        known.map_or(("", ""), |(_, record, people, _)| (record, people))
    }

    pub(super) fn tried(self) -> &'static [usize] {
        let known = KINDS.iter().find(|(kind, ..)| *kind == self);
        known.map_or(&[], |(.., tried)| tried)
    }

    /// Whether a service answers as such a one does. No password is tried.
    pub(super) fn speaks(self, address: SocketAddr) -> io::Result<bool> {
        Ok(match self {
            Self::Onvif => {
                let answer = soap(address, &date_request(), None)?;
                answer.text().contains("SystemDateAndTime")
            }
            // It is told by its wish for a password.
            Self::Isapi => {
                let answer = send(address, "GET", ISAPI, "", "", None)?;
                answer.status == 401 && !answer.challenges.is_empty()
            }
            // And this by whom it asks for.
            Self::Dahua => {
                let answer = send(address, "GET", &dahua_request(), "", "", None)?;
                let realm = |challenge: &Vec<u8>| DAHUA_REALMS.iter().any(|realm| contains(challenge, realm));
                answer.status == 401 && answer.challenges.iter().any(realm)
            }
            Self::Dvrip => true,
        })
    }
}

/// A password, and which of [`TRIED`] it is.
#[derive(Clone, Copy)]
pub(super) struct Password<'a>(pub(super) usize, pub(super) &'a str);

impl Password<'static> {
    pub(super) fn known(which: usize) -> Self {
        Self(which, TRIED.get(which).copied().unwrap_or_default())
    }
}

/// Which password a service has after it was to get another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    Old,
    /// The old one may open it too.
    New,
    /// It was none of them before the time that a user is locked, and is none of them now.
    Neither,
    /// It did not answer, or its user may be locked.
    Untold,
    /// The same, but it said that it has the new one.
    Given,
}

/// Why a service is not what it should be.
pub(super) struct Stuck {
    pub(super) has: Has,
    pub(super) why: io::Error,
}

/// What a service of the record has taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Old,
    /// The new password was taken once: it is not forgotten before the old one is.
    New,
    /// And the old one may open it too.
    Both,
}

/// A service whose user has a password that everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    /// Which of [`TRIED`] it was.
    pub(super) old: usize,
    pub(super) seen: Seen,
}

impl Service {
    pub(super) fn name(&self) -> String {
        let (_, name) = self.kind.names();
        format!("{name} on port {}", self.address.port())
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        (self.kind, self.address) == (other.kind, other.address)
    }

    /// What must not be taken for closed.
    pub(super) fn may_be_open(&self) -> String {
        format!(
            "{}: the old password of {USER} may still open it: `lenscap harden --apply` looks again",
            self.name()
        )
    }

    pub(super) fn to_line(self) -> String {
        let (kind, _) = self.kind.names();
        format!("{kind} {} {}", self.address, self.old)
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let word = words.next()?;
        let (kind, ..) = *KINDS.iter().find(|(_, record, ..)| *record == word)?;
        let address: SocketAddr = words.next()?.parse().ok()?;
        let old = words.next()?.parse().ok().filter(|old| *old < TRIED.len())?;
        let seen = match words.next() {
            Some("2") => Seen::Both,
            Some("1") => Seen::New,
            Some(_) | None => Seen::Old,
        };
        address.ip().is_loopback().then_some(Self {
            kind,
            address,
            old,
            seen,
        })
    }

    /// What it tells whoever has the password; `None`: it is wrong.
    pub(super) fn opens(&self, password: Password<'_>, tries: &mut Tries) -> io::Result<Option<String>> {
        let Password(which, text) = password;
        if tries.is_late() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let answer = match self.kind {
            Kind::Onvif => onvif_users(self.address, text),
            Kind::Isapi => isapi_users(self.address, text),
            Kind::Dahua => dahua_user(self.address, text),
            Kind::Dvrip => dvrip::opens(self.address, text).map(|opens| opens.then(String::new)),
        };
        let door = |old: usize| Self { old, ..*self };
        match &answer {
            Ok(opened) => tries.note(&door(which), opened.is_some()),
            // An answer that is not understood may be about the password.
            Err(error) if matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::InvalidData) => {
                tries.note(&door(OTHER), false);
            }
            Err(_) => {}
        }
        answer
    }

    /// Gives the user another password, and makes sure that it alone opens the service. `shared`: another service has it
    /// already, and this may be the same user.
    pub(super) fn change(
        &self,
        from: Password<'_>,
        to: Password<'_>,
        shared: bool,
        tries: &mut Tries,
    ) -> Result<(), Stuck> {
        let stuck = |has, why: &str| {
            Err(Stuck {
                has,
                why: refused(why),
            })
        };
        let ages = [from, to].map(|Password(old, _)| tries.age(&Self { old, ..*self }));
        let since = |long| {
            let fits = |age: Option<Duration>| age.is_some_and(|age| (age >= LOCKED_FOR) == long);
            ages.into_iter().all(fits)
        };
        // Whoever tries wrong passwords has the user locked, and then none opens it.
        if tries.is_spent() || since(false) {
            return stuck(Has::Untold, LATER);
        }
        let neither = if since(true) { Has::Neither } else { Has::Untold };
        let untold = |why| Stuck {
            has: Has::Untold,
            why,
        };
        if !shared || self.opens(to, tries).map_err(untold)?.is_none() {
            if let Some(users) = self.opens(from, tries).map_err(untold)? {
                self.ask_and_see(from, to, &users, neither, tries)?;
            } else if !shared && tries.is_spent() {
                return stuck(Has::Untold, LATER);
            } else if shared || self.opens(to, tries).map_err(untold)?.is_none() {
                return stuck(neither, "it takes neither password");
            }
        }
        if tries.left() == 0 || !matches!(self.opens(from, tries), Ok(None)) {
            return stuck(Has::New, "the old password may still open it");
        }
        Ok(())
    }

    /// Asks for another password, and sees whether that opens it.
    fn ask_and_see(
        &self,
        from: Password<'_>,
        to: Password<'_>,
        users: &str,
        neither: Has,
        tries: &mut Tries,
    ) -> Result<(), Stuck> {
        let asked = self.ask(from, to, users);
        let has = if matches!(asked, Ok(200)) {
            Has::Given
        } else {
            Has::Untold
        };
        let untold = |why| Stuck { has, why };
        // What is refused is not changed, as a rule; what is not answered may be.
        if let Ok(status) = asked
            && status != 200
            && self.opens(from, tries).map_err(untold)?.is_some()
        {
            let why = refused(&format!("it answers {status}"));
            return Err(Stuck { has: Has::Old, why });
        }
        if self.opens(to, tries).map_err(untold)?.is_some() {
            return Ok(());
        }
        let has = match self.opens(from, tries) {
            Ok(Some(_)) => Has::Old,
            Ok(None) if has == Has::Untold => neither,
            Ok(None) | Err(_) => has,
        };
        let why = asked
            .err()
            .unwrap_or_else(|| refused("the new password does not open it"));
        Err(Stuck { has, why })
    }

    /// Asks for another password. Gives the status of the answer.
    fn ask(&self, from: Password<'_>, to: Password<'_>, users: &str) -> io::Result<u16> {
        let (Password(_, from), Password(_, to)) = (from, to);
        Ok(match self.kind {
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
                let level = levels(users).unwrap_or("Administrator");
                let body = format!(
                    "<SetUser xmlns=\"{DEVICE}\"><User><Username xmlns=\"{SCHEMA}\">{USER}</Username>\
                     <Password xmlns=\"{SCHEMA}\">{to}</Password><UserLevel xmlns=\"{SCHEMA}\">{level}</UserLevel></User></SetUser>"
                );
                soap(self.address, &body, Some(from))?.status
            }
            Kind::Isapi => {
                let id = isapi_id(users).ok_or_else(|| refused("its list has no such user"))?;
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><User><id>{id}</id><userName>{USER}</userName>\
                     <password>{to}</password></User>"
                );
                let path = format!("{ISAPI}/{id}");
                send(self.address, "PUT", &path, "application/xml", &body, Some(from))?.status
            }
        })
    }
}

pub(super) fn refused(why: &str) -> io::Error {
    io::Error::other(why)
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
        for (.., tried) in KINDS {
            assert!(tried.iter().all(|which| *which < OTHER), "{tried:?}");
        }
        assert!(
            TRIED.len() <= super::super::tries::MAX_WRONG,
            "one service is looked at in one run"
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
            for (mark, seen) in ["", " 1", " 2"]
                .into_iter()
                .zip([Seen::Old, Seen::New, Seen::Both])
            {
                let service = Service::parse(&format!("{line}{mark}")).unwrap();
                assert_eq!((service.to_line().as_str(), service.seen), (line, seen));
            }
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
