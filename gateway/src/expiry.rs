//! Certificates that end: said in the log and in metrics, long before and while the program runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::interval;
use tracing::{error, warn};

use crate::ca;
use crate::clock;
use crate::metrics::Metrics;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(6 * 3600);
const DAY_SECONDS: u64 = 86_400;
/// From when on the end of a certificate is told.
const NOTICE_DAYS: u64 = 14;
/// From when on the end of a CA is told: another one has to reach whoever trusts the old one.
const CA_NOTICE_DAYS: u64 = 365;

/// What a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The one that cameras and viewers are shown.
    Shown,
    /// That of the gateway's own CA.
    Ca,
}

/// How soon something ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Soon.
    Soon(String),
    /// It has.
    Over(String),
}

impl Notice {
    /// For people.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Soon(text) | Self::Over(text) => text,
        }
    }
}

/// Judges the first certificate of a PEM file that ends at `end`, in seconds since 1970.
#[must_use]
pub fn judge(what: What, path: &Path, end: u64, now: u64) -> Option<Notice> {
    let (path, on) = (path.display(), clock::date(end));
    let left = end.checked_sub(now).map(|left| left / DAY_SECONDS);
    let to_do = "make another before: put ca.pem aside, but not ca.key; `lenscap-gateway ca init` makes one of the same key, \
                 whose certificates are believed by those who trust this one; give it to them before its end";
    match (what, left) {
        (What::Shown, None) => Some(Notice::Over(format!(
            "{path} has expired ({on}); cameras that do not pin its key refuse it"
        ))),
        (What::Ca, None) => Some(Notice::Over(format!(
            "the CA {path} has expired ({on}); cameras that trust it and do not pin the gateway's key refuse the \
             gateway, and nothing is issued by it any more; put ca.pem aside, run `lenscap-gateway ca init`, and give \
             the new ca.pem to those who trust the old one"
        ))),
        (What::Shown, Some(days)) if days < NOTICE_DAYS => {
            Some(Notice::Soon(format!("{path} expires in {days} days ({on})")))
        }
        (What::Ca, Some(days)) if days < CA_NOTICE_DAYS => Some(Notice::Soon(format!(
            "the CA {path} expires in {days} days ({on}); {to_do}"
        ))),
        (What::Shown | What::Ca, Some(_)) => None,
    }
}

/// When the first certificate of a PEM file ends.
#[must_use]
pub fn end_of(path: &Path) -> Option<u64> {
    ca::end_of(&CertificateDer::from_pem_file(path).ok()?)
}

/// The certificates of a gateway.
#[derive(Clone, Debug)]
pub struct Certificates(pub Vec<(What, PathBuf)>);

impl Certificates {
    /// What is to be said of them now.
    #[must_use]
    pub fn notices(&self, now: u64) -> Vec<Notice> {
        let judged = |(what, path): &(What, PathBuf)| judge(*what, path, end_of(path)?, now);
        self.0.iter().filter_map(judged).collect()
    }

    /// Says it, and sets the metrics.
    pub fn look(&self, metrics: &Metrics, now: u64) {
        for (what, path) in &self.0 {
            let gauge = match what {
                What::Shown => &metrics.certificate_end,
                What::Ca => &metrics.ca_end,
            };
            let end = end_of(path).unwrap_or_default();
            gauge.set(i64::try_from(end).unwrap_or(i64::MAX));
        }
        // By a clock that cannot be right everything has expired; that it is wrong is said elsewhere.
        let notices = if clock::is_plausible(now) {
            self.notices(now)
        } else {
            Vec::new()
        };
        for notice in notices {
            match notice {
                Notice::Soon(text) => warn!("{text}"),
                Notice::Over(text) => error!("{text}"),
            }
        }
    }

    /// Looks for as long as the process lives.
    pub async fn watch(self, metrics: Arc<Metrics>) {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            self.look(&metrics, clock::unix(SystemTime::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program runs on while its CA comes to its end.
    #[test]
    fn the_end_is_said_long_before() {
        let folder = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        ca::ensure(folder.path(), &["gw.example".to_owned()], start).unwrap();
        let all = Certificates(vec![
            (What::Shown, folder.path().join("gateway.pem")),
            (What::Ca, folder.path().join("ca.pem")),
        ]);
        let start = clock::unix(start);
        let said = |days: u64| {
            let notices = all.notices(start + days * DAY_SECONDS);
            let short = |notice: &Notice| match notice {
                Notice::Soon(text) if text.contains("the CA") => "CA soon",
                Notice::Over(text) if text.contains("the CA") => "CA over",
                Notice::Soon(_) => "soon",
                Notice::Over(_) => "over",
            };
            notices.iter().map(short).collect::<Vec<_>>()
        };
        let (leaf, ca) = (ca::LEAF_DAYS, ca::CA_DAYS);
        let none: [&str; 0] = [];
        assert_eq!(said(0), none);
        assert_eq!(said(leaf - NOTICE_DAYS - 1), none);
        assert_eq!(said(leaf - NOTICE_DAYS + 1), ["soon"]);
        assert_eq!(said(leaf + 1), ["over"]);
        assert_eq!(said(ca - CA_NOTICE_DAYS - 1), ["over"]);
        assert_eq!(said(ca - CA_NOTICE_DAYS + 1), ["over", "CA soon"]);
        assert_eq!(said(ca + 1), ["over", "CA over"]);
        let metrics = Metrics::new();
        all.look(&metrics, start);
        let end = start + ca * DAY_SECONDS;
        assert_eq!(metrics.ca_end.get(), i64::try_from(end).unwrap());
        // What is said to be done is what helps.
        std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(start + (11 * 365) * DAY_SECONDS);
        ca::init(folder.path(), late).unwrap();
        assert_eq!(said(ca + 1), ["over"]);
    }
}
