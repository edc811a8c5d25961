//! What a streamer was told last, and how it judges cameras by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ring::hmac;

use super::message::Rules;
use super::streamers::MAX_ALTERNATES;
use crate::ca;
use crate::config::{Sha256Hash, parse_fingerprint};
use crate::fleet::operator::{PublicKey, Ticket, TicketError, introduction, key_id, parse_public};
use crate::fleet::resume::{Resume, ResumeError};
use crate::rtsp::digest::Ha1;
use crate::rtsp::guard::Viewer;
use crate::uplink::upgrade::{HeldKey, Introduction};

/// The file that keeps it, in the data folder.
pub const FILE: &str = "rules.json";

/// Rules in a form to judge by.
#[derive(Debug)]
pub struct Remote {
    /// As they came.
    pub rules: Rules,
    /// This streamer's name.
    pub name: String,
    operator: PublicKey,
    resume: hmac::Key,
    revoked: BTreeMap<Sha256Hash, u64>,
}

/// Why a streamer does not take a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It shows neither a ticket nor a credential.
    Nothing,
    /// Its ticket.
    Ticket(TicketError),
    /// Its credential.
    Resume(ResumeError),
    /// It is not claimed any more.
    Released,
    /// The operator's own system says no to it; the endpoint asks again.
    Suspended,
}

impl Remote {
    /// `None` if the rules make no sense.
    #[must_use]
    pub fn new(name: &str, rules: Rules) -> Option<Self> {
        let hash = |text: &str| parse_fingerprint(&format!("sha256:{text}"));
        let revoked = rules
            .revoked
            .iter()
            .filter_map(|(key, until)| Some((hash(key)?, *until)));
        Some(Self {
            name: name.to_owned(),
            operator: parse_public(&rules.operator)?,
            resume: hmac::Key::new(hmac::HMAC_SHA256, &hash(&rules.resume_key)?),
            revoked: revoked.collect(),
            rules,
        })
    }

    /// What was kept in the data folder, if anything.
    #[must_use]
    pub fn load(name: &str, data: &Path) -> Option<Self> {
        let text = std::fs::read(data.join(FILE)).ok()?;
        Self::new(name, serde_json::from_slice(&text).ok()?)
    }

    /// Keeps it there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, data: &Path) -> Result<(), ca::CaError> {
        let text = serde_json::to_string(&self.rules).unwrap_or_default();
        ca::write(&data.join(FILE), &text, 0o600)
    }

    /// The camera's name, and the fields of its 101.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub fn judge(
        &self,
        now: u64,
        key: &Sha256Hash,
        said: &Introduction,
    ) -> Result<(String, String), NotTaken> {
        let (camera, proof) = match (&said.ticket, &said.resume) {
            (Some(ticket), _) => {
                let ticket = Ticket::accept(ticket.as_str(), &self.operator, key, &self.name, now);
                let ticket = ticket.map_err(NotTaken::Ticket)?;
                // A camera that was claimed a moment ago may be here before the rules that name it.
                if self
                    .revoked
                    .get(key)
                    .is_some_and(|until| *until > ticket.issued())
                {
                    return Err(NotTaken::Released);
                }
                (ticket.camera().to_owned(), ticket.proof())
            }
            (None, Some(resume)) => {
                let resume = Resume::accept(resume.as_str(), &self.resume, key, &self.revoked, now);
                let resume = resume.map_err(NotTaken::Resume)?;
                let there = self.rules.cameras.contains_key(resume.camera());
                if !there || self.is_anothers(resume.camera(), resume.key()) {
                    return Err(NotTaken::Released);
                }
                (resume.camera().to_owned(), resume.proof())
            }
            (None, None) => return Err(NotTaken::Nothing),
        };
        if self.rules.suspended.contains(&camera) {
            return Err(NotTaken::Suspended);
        }
        let resume = Resume::new(key, &camera, proof.as_ref(), now).seal(&self.resume);
        let mut fields = reply_fields(&resume, self.others());
        let ours = said.operator == HeldKey::Id(key_id(&self.operator));
        if !ours && said.operator != HeldKey::Unsaid {
            let shown = introduction(&self.operator, proof.as_ref());
            fields.push_str(&format!("Lenscap-Operator: {shown}\r\n"));
        }
        Ok((camera, fields))
    }

    /// A fresh credential for a camera whose uplink is up, and where else it may be shown; `old` is what it has.
    #[must_use]
    pub fn renew(&self, now: u64, camera: &str, old: &str) -> Option<(String, Vec<String>)> {
        let resume = Resume::renewed(old, &self.resume, &self.revoked, now)?;
        let rules = &self.rules;
        let ours = rules.cameras.contains_key(camera)
            && !rules.suspended.contains(camera)
            && !self.is_anothers(camera, resume.key());
        (resume.camera() == camera && ours).then(|| {
            let others = self.others().map(str::to_owned).collect();
            (resume.seal(&self.resume), others)
        })
    }

    /// Whether a name belongs to another key than this one, in hex, by now.
    #[must_use]
    pub fn is_anothers(&self, camera: &str, key: &str) -> bool {
        self.rules
            .keys
            .get(camera)
            .is_some_and(|keys| !keys.contains(key))
    }

    /// Addresses of the other streamers. Those that were lost come last: a camera may hear of nobody else until it
    /// needs them.
    fn others(&self) -> impl Iterator<Item = &str> {
        let all = self.rules.streamers.iter().chain(&self.rules.lost);
        let others = all.filter(|(name, _)| **name != self.name);
        others.map(|(_, url)| url.as_str()).take(MAX_ALTERNATES)
    }

    /// Viewers in the form of the guard.
    #[must_use]
    pub fn viewers(&self) -> BTreeMap<String, Viewer> {
        let viewers = self.rules.viewers.iter().map(|(user, viewer)| {
            let ha1 = Ha1 {
                md5: viewer.md5.clone(),
                sha256: viewer.sha256.clone(),
            };
            let cameras = viewer
                .cameras
                .as_ref()
                .map(|names| names.iter().cloned().collect());
            (user.clone(), Viewer { ha1, cameras })
        });
        viewers.collect()
    }

    /// Cameras that may be watched.
    #[must_use]
    pub fn shown(&self) -> BTreeSet<String> {
        let shown = self.rules.cameras.iter().filter(|(_, media)| **media);
        shown.map(|(name, _)| name.clone()).collect()
    }
}

/// The fields that let a camera come back: a credential, and where else it may be shown.
pub fn reply_fields<'a>(resume: &str, others: impl Iterator<Item = &'a str>) -> String {
    let mut fields = format!("Lenscap-Resume: {resume}\r\n");
    for url in others.take(MAX_ALTERNATES) {
        fields.push_str(&format!("Link: <{url}>; rel=alternate\r\n"));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::operator::OperatorKey;
    use crate::rtsp::digest::hex;
    use crate::uplink::upgrade::handle_head;

    const NOW: u64 = 1_000_000;

    fn said(query: &str, resume: &str) -> Introduction {
        let head = format!(
            "GET /u?{query} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c-reverse\r\n\
             Lenscap-Operator: none\r\n{resume}\r\n"
        );
        handle_head(head.as_bytes(), "/u").unwrap().unwrap().introduction
    }

    fn remote(operator: &OperatorKey, revoked: &[(Sha256Hash, u64)]) -> Remote {
        let rules = Rules {
            operator: hex(operator.public()),
            resume_key: "07".repeat(32),
            cameras: [("front".to_owned(), true)].into(),
            revoked: revoked.iter().map(|(key, until)| (hex(key), *until)).collect(),
            streamers: [
                ("s1".to_owned(), "https://s1/".to_owned()),
                ("s2".to_owned(), "https://s2/".to_owned()),
            ]
            .into(),
            lost: [("s0".to_owned(), "https://s0/".to_owned())].into(),
            ..Rules::default()
        };
        Remote::new("s1", rules).unwrap()
    }

    #[test]
    fn tickets_and_credentials_lead_from_one_to_the_next() {
        let operator = OperatorKey::from_pkcs8(&OperatorKey::generate()).unwrap();
        let taken = remote(&operator, &[]);
        let ticket = |camera: &str, streamer: &str| {
            let ticket = Ticket::new(&[1; 32], camera, streamer, Some(&[9; 32]), NOW);
            said(&format!("ticket={}", operator.sign_ticket(&ticket)), "")
        };
        let (camera, fields) = taken.judge(NOW, &[1; 32], &ticket("front", "s1")).unwrap();
        assert_eq!(camera, "front");
        let links = "Link: <https://s2/>; rel=alternate\r\nLink: <https://s0/>; rel=alternate\r\n";
        assert!(
            fields.contains(links) && !fields.contains("https://s1/"),
            "{fields}"
        );
        assert!(
            fields.contains("Lenscap-Operator: p256/") && fields.contains("proof="),
            "{fields}"
        );
        let judge = |remote: &Remote, key: u8, said: &Introduction, now| {
            remote.judge(now, &[key; 32], said).map(|(name, _)| name)
        };
        assert_eq!(
            judge(&taken, 2, &ticket("front", "s1"), NOW),
            Err(NotTaken::Ticket(TicketError::Key))
        );
        assert_eq!(
            judge(&taken, 1, &ticket("front", "s2"), NOW),
            Err(NotTaken::Ticket(TicketError::Streamer))
        );
        assert_eq!(
            judge(&taken, 1, &ticket("front", "s1"), NOW + 61),
            Err(NotTaken::Ticket(TicketError::Expired))
        );
        assert_eq!(
            judge(&taken, 1, &ticket("new", "s1"), NOW),
            Ok("new".to_owned()),
            "not in the rules yet"
        );
        let since = remote(&operator, &[([1; 32], NOW + 1)]);
        assert_eq!(
            judge(&since, 1, &ticket("front", "s1"), NOW + 2),
            Err(NotTaken::Released)
        );
        assert_eq!(judge(&taken, 1, &said("x=1", ""), NOW), Err(NotTaken::Nothing));
        let line = fields
            .lines()
            .find(|line| line.starts_with("Lenscap-Resume: "))
            .unwrap();
        let resume = said("", &format!("{line}\r\n"));
        // At another streamer of the fleet as well: only the fleet's key counts.
        let other = Remote {
            name: "s2".into(),
            ..remote(&operator, &[])
        };
        let later = NOW + 6 * 86_400;
        assert_eq!(judge(&other, 1, &resume, later), Ok("front".to_owned()));
        assert_eq!(
            judge(&other, 2, &resume, later),
            Err(NotTaken::Resume(ResumeError::Key))
        );
        let mut suspended = remote(&operator, &[]);
        suspended.rules.suspended.insert("front".to_owned());
        for said in [&ticket("front", "s1"), &resume] {
            assert_eq!(judge(&suspended, 1, said, NOW), Err(NotTaken::Suspended));
        }
        // The name is another camera's now, whatever the clocks said when the first one was released.
        let mut claimed_anew = remote(&operator, &[([1; 32], NOW - 1)]);
        let held = resume.resume.as_ref().unwrap().as_str();
        assert_eq!(judge(&claimed_anew, 1, &resume, later), Ok("front".to_owned()));
        assert!(claimed_anew.renew(later, "front", held).is_some());
        claimed_anew
            .rules
            .keys
            .insert("front".to_owned(), [hex(&[2; 32])].into());
        assert_eq!(judge(&claimed_anew, 1, &resume, later), Err(NotTaken::Released));
        assert!(claimed_anew.renew(later, "front", held).is_none());
        claimed_anew
            .rules
            .keys
            .insert("front".to_owned(), [hex(&[1; 32])].into());
        assert_eq!(judge(&claimed_anew, 1, &resume, later), Ok("front".to_owned()));
        let released = remote(&operator, &[([1; 32], NOW)]);
        assert_eq!(
            judge(&released, 1, &resume, later),
            Err(NotTaken::Resume(ResumeError::Revoked))
        );
    }

    #[test]
    fn kept_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Remote::load("s1", folder.path()).is_none());
        let operator = OperatorKey::from_pkcs8(&OperatorKey::generate()).unwrap();
        let told = remote(&operator, &[([1; 32], 5)]);
        told.save(folder.path()).unwrap();
        assert_eq!(Remote::load("s1", folder.path()).unwrap().rules, told.rules);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Remote::load("s1", folder.path()).is_none());
    }
}
