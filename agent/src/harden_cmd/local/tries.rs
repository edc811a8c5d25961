//! Wrong passwords count: cameras lock a user after five to seven in a row. What this program tries itself counts over all
//! services, for they may have the same users, and over all of its runs; and what was wrong is not tried again soon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::service::Service;
use crate::{config, files, monitor, sys};

/// So many wrong ones at most, of all services together, without a right one in between.
pub(super) const MAX_WRONG: usize = 4;
/// How long a camera remembers them, or has its user locked.
pub(super) const LOCKED_FOR: Duration = Duration::from_secs(30 * 60);
/// No run waits longer for all services together: others wait for it.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long a password that was wrong is not tried there again.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
/// In the run folder: a camera that starts again counts anew.
const FILE: &str = "harden.tries";
/// The most that are remembered, and their file.
const MAX_KEPT: usize = 64;
const MAX_FILE_BYTES: u64 = 8 * 1024;

/// A password that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    /// When, since boot.
    at: Duration,
    /// How often the camera may have counted it.
    count: usize,
    /// A service, and which password it was, as the record has them.
    what: String,
}

/// What was tried in vain.
#[derive(Debug)]
pub(super) struct Tries {
    file: PathBuf,
    now: Duration,
    wrong: Vec<Wrong>,
    /// Whether this run has opened a service, once it has tried to.
    opened: Option<bool>,
}

impl Tries {
    /// What earlier runs of this boot have tried.
    pub(super) fn new(config: &Path) -> Self {
        let file = config::load_agent_leniently(config).run_dir.join(FILE);
        let text = files::read(&file, MAX_FILE_BYTES).unwrap_or_default();
        let now = sys::monotonic();
        Self {
            wrong: parse(&String::from_utf8_lossy(&text), now),
            file,
            now,
            opened: None,
        }
    }

    /// Whether services had their time.
    pub(super) fn is_late(&self) -> bool {
        sys::monotonic().saturating_sub(self.now) >= MAX_WAIT
    }

    fn counted(&self) -> usize {
        let counts = self.wrong.iter().map(|wrong| self.count(wrong));
        counts.sum()
    }

    /// How often a camera may remember it.
    fn count(&self, wrong: &Wrong) -> usize {
        let recent = self.now.saturating_sub(wrong.at) < LOCKED_FOR;
        if recent { wrong.count } else { 0 }
    }

    /// How many may still be wrong.
    pub(super) fn left(&self) -> usize {
        MAX_WRONG.saturating_sub(self.counted())
    }

    /// Whether nothing at all may be tried. A password that another service has taken may still be: where it is wrong, the
    /// user is another, whose count has none of the other's. So may one that a service has, where none was refused yet.
    pub(super) fn is_spent(&self) -> bool {
        self.counted() >= MAX_WRONG + usize::from(self.opened != Some(false))
    }

    /// How long ago it was wrong there.
    pub(super) fn age(&self, service: &Service) -> Option<Duration> {
        let what = service.to_line();
        let wrong = self.wrong.iter().find(|wrong| wrong.what == what)?;
        Some(self.now.saturating_sub(wrong.at))
    }

    /// Whether it was wrong there.
    pub(super) fn failed(&self, service: &Service) -> bool {
        self.age(service).is_some_and(|age| age < REMEMBERED_FOR)
    }

    /// A service was opened, or not. After a right password it counts anew.
    pub(super) fn note(&mut self, service: &Service, opened: bool) {
        let what = service.to_line();
        let before = self.wrong.clone();
        let again = self.wrong.iter().position(|wrong| wrong.what == what);
        let again = again.map(|at| self.wrong.remove(at));
        self.opened = Some(opened || self.opened == Some(true));
        if opened {
            let door = what.rsplit_once(' ').map_or("", |(door, _)| door);
            let there = self.wrong.iter_mut().filter(|wrong| {
                let rest = wrong.what.strip_prefix(door);
                rest.is_some_and(|rest| rest.starts_with(' '))
            });
            there.for_each(|wrong| wrong.count = 0);
        } else {
            self.wrong.truncate(MAX_KEPT - 1);
            let count = again.map_or(0, |wrong| self.count(&wrong));
            let (at, count) = (self.now, count.saturating_add(1));
            self.wrong.insert(0, Wrong { at, count, what });
        }
        if self.wrong != before {
            self.keep();
        }
    }

    /// Nothing depends on it within one run.
    fn keep(&self) {
        let line = |wrong: &Wrong| format!("{} {} {}\n", wrong.at.as_secs(), wrong.count, wrong.what);
        let text: String = self.wrong.iter().map(line).collect();
        if let Some(folder) = self.file.parent() {
            let _ = monitor::make_run_dir(folder);
        }
        let _ = files::replace_volatile_private(&self.file, text.as_bytes());
    }
}

/// Times that are still to come are of another boot. A count beyond all bounds is one that leaves nothing to be tried.
fn parse(text: &str, now: Duration) -> Vec<Wrong> {
    let line = |line: &str| {
        let (at, rest) = line.split_once(' ')?;
        let (count, what) = rest.split_once(' ')?;
        Some(Wrong {
            at: Duration::from_secs(at.parse().ok()?),
            count: count.parse().unwrap_or(MAX_KEPT).min(MAX_KEPT),
            what: what.to_owned(),
        })
    };
    let wrong = text.lines().filter_map(line).filter(|wrong| wrong.at <= now);
    wrong.take(MAX_KEPT).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::{Kind, OTHER, Seen};
    use super::*;

    fn service(kind: Kind, port: u16, old: usize) -> Service {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Service {
            kind,
            address,
            old,
            seen: Seen::Old,
        }
    }

    /// A run that begins then.
    fn run_at(file: &Path, seconds: u64) -> Tries {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let now = Duration::from_secs(seconds);
        Tries {
            wrong: parse(&text, now),
            file: file.to_owned(),
            now,
            opened: None,
        }
    }

    #[test]
    fn what_comes_too_late_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut looked = super::super::Looked::default();
        let (known, other) = (service(Kind::Isapi, 80, 1), service(Kind::Onvif, 8000, OTHER));
        let addresses = [known.address, other.address];
        // It began when the machine did.
        let mut late = run_at(&dir.path().join(FILE), 0);
        assert!(late.is_late());
        let doors = super::super::doors(&mut late, &[known], "media", &addresses, &mut looked);
        assert!(doors.is_empty());
        let first = service(Kind::Onvif, 80, OTHER);
        assert_eq!(looked.untold, [first, known, other]);
    }

    #[test]
    fn no_count_is_so_high_that_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let door = service(Kind::Onvif, 80, OTHER);
        for _ in 0..2 * MAX_KEPT {
            run_at(&file, 100).note(&door, false);
            assert!(run_at(&file, 200).failed(&door));
        }
        let again = run_at(&file, 200);
        assert!(again.left() == 0 && again.is_spent());
        // Other services, as many as are remembered and more: what counts is in front.
        for port in 1000..1200 {
            run_at(&file, 100 + u64::from(port)).note(&service(Kind::Onvif, port, 0), false);
            assert_eq!(run_at(&file, 101 + u64::from(port)).left(), 0);
        }
        // Half an hour after the last one all may be tried again, and it counts anew.
        let mut later = run_at(&file, 1300 + 1800);
        assert_eq!(later.left(), MAX_WRONG);
        later.note(&service(Kind::Onvif, 1199, 0), false);
        assert_eq!(later.left(), MAX_WRONG - 1);
        // A file that somebody else wrote.
        let now = Duration::from_secs(9);
        for count in ["65", "99999999999999999999", "x"] {
            let kept = parse(&format!("9 {count} onvif 127.0.0.1:80 0\n"), now);
            assert_eq!(
                kept.iter().map(|wrong| wrong.count).collect::<Vec<_>>(),
                [MAX_KEPT]
            );
        }
    }

    #[test]
    fn four_in_a_row_are_the_most_and_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run").join(FILE);
        let at = |seconds: u64| run_at(&file, seconds);
        let onvif = |old: usize| service(Kind::Onvif, 80, old);
        let isapi = |old: usize| service(Kind::Isapi, 8, old);
        let mut tries = at(100);
        tries.note(&onvif(0), false);
        tries.note(&isapi(1), false);
        assert_eq!(
            (tries.left(), tries.failed(&onvif(0)), tries.failed(&isapi(0))),
            (2, true, false)
        );
        // Another run; the same try again is one more.
        let mut tries = at(200);
        tries.note(&onvif(0), false);
        tries.note(&onvif(1), false);
        assert!(tries.left() == 0 && tries.is_spent());
        // But where a service was opened.
        tries.opened = Some(true);
        assert!(!tries.is_spent());
        tries.note(&onvif(2), false);
        assert!(tries.is_spent());
        // Forgotten by the camera after half an hour, and here after a day.
        assert_eq!(at(2001).left(), 4);
        assert!(at(2001).failed(&onvif(0)) && at(80_000).failed(&onvif(0)) && !at(90_000).failed(&onvif(0)));
        // A right one: what was wrong there counts no more, and that of others does.
        let mut tries = at(300);
        tries.note(&onvif(OTHER), true);
        assert_eq!(at(300).left(), 3);
        assert!(at(300).failed(&onvif(2)));
        tries.note(&onvif(2), true);
        assert!(!at(300).failed(&onvif(2)));
        // Another port that begins alike.
        tries.note(&service(Kind::Isapi, 80, OTHER), true);
        assert_eq!(at(300).left(), 3);
        // Of another boot, or damaged.
        assert_eq!(at(50).left(), 4);
        assert_eq!(
            parse("x\n1 1\n\n9 1 y\n10 1 z\n", Duration::from_secs(9)).len(),
            1
        );
    }
}
