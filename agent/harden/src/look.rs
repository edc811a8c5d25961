//! Looking again: whether what was applied still holds, cheaply, and how often what was put back is closed again.

use core::time::Duration;
use std::io;

use crate::engine::Settings;
use crate::gate::Restores;
use crate::journal::{Journal, sha256};
use crate::root::Root;
use crate::transaction::{Store, is_absent};

/// How long a look that found everything in order stands in for the next, if nothing changed.
const TRUSTED_FOR: Duration = Duration::from_secs(24 * 3600);
/// Where firmwares start things and keep accounts: whoever opens a camera again changes one of these.
pub const STARTERS: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/inittab",
    "/etc/inetd.conf",
    "/etc/rc.local",
    "/etc/init.d",
    "/etc/rc.d",
    "/etc/crontabs",
    "/etc/cron.d",
    "/etc/network/interfaces",
    "/etc/dropbear/authorized_keys",
];

/// The files whose change is worth a look: those of the journal, and [`STARTERS`].
///
/// # Errors
/// When the journal is damaged or cannot be read.
pub fn watched(root: &Root, settings: &Settings) -> io::Result<Vec<String>> {
    let journal = Store::new(root, &settings.state_dir).journal()?;
    let mut paths: Vec<String> = STARTERS.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(journal.entries.into_iter().map(|entry| entry.path));
    Ok(paths)
}

/// Files that are not as the journal says they were written.
///
/// # Errors
/// When one cannot be read.
pub fn strayed(root: &Root, journal: &Journal) -> io::Result<Vec<String>> {
    let mut strayed = Vec::new();
    for entry in &journal.entries {
        let same = match root.read(&entry.path) {
            Ok(contents) => sha256(&contents) == entry.written,
            Err(error) if is_absent(&error) => false,
            Err(error) => return Err(error),
        };
        if !same {
            strayed.push(entry.path.clone());
        }
    }
    Ok(strayed)
}

/// What tells this state of a root from another, without reading much: the journal, and the stamps of its files and of
/// [`STARTERS`]. A folder's own stamp does not tell of a change in a file that it holds: each has its own.
#[must_use]
pub fn stamp(root: &Root, journal: &Journal) -> String {
    let mut text = journal.to_text();
    let starters = STARTERS.iter().copied();
    for path in starters.chain(journal.entries.iter().map(|entry| entry.path.as_str())) {
        add_stamp(root, path, &mut text);
        for entry in root.list(path).unwrap_or_default() {
            add_stamp(root, &format!("{path}/{}", entry.name), &mut text);
        }
    }
    sha256(text.as_bytes())
}

fn add_stamp(root: &Root, path: &str, text: &mut String) {
    text.push_str(&root.stamp(path).unwrap_or_default());
    text.push('\n');
}

/// What looks know of each other, until the next boot.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// When the last full look was, since boot, and the root's [`stamp`] then; only if everything held.
    good: Option<(Duration, String)>,
    /// What was put back and closed again.
    pub restores: Restores,
    /// The name and time servers that the firewall let through, as one word.
    pub servers: Option<String>,
    /// The root's [`stamp`] when a packet from outside was last seen to be dropped.
    pub proven: Option<String>,
}

impl Memory {
    /// Whether a full look may be left out.
    #[must_use]
    pub fn trusts(&self, now: Duration, stamp: &str) -> bool {
        let fresh = |then: &Duration| now.checked_sub(*then).is_some_and(|age| age < TRUSTED_FOR);
        matches!(&self.good, Some((then, seen)) if fresh(then) && seen == stamp)
    }

    /// A full look ended, well or not.
    pub fn note(&mut self, now: Duration, stamp: String, holds: bool) {
        self.good = holds.then_some((now, stamp));
    }

    /// Lines for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let good = self.good.as_ref();
        let good = good.map_or(String::new(), |(then, stamp)| {
            format!("{} {stamp}", then.as_secs())
        });
        let [servers, proven] = [&self.servers, &self.proven].map(|line| line.as_deref().unwrap_or_default());
        format!("{good}\n{}\n{servers}\n{proven}\n", self.restores.to_text())
    }

    /// Reads those lines. What is damaged, or of another boot, says nothing.
    #[must_use]
    pub fn parse(text: &str, now: Duration) -> Self {
        let mut lines = text.lines();
        let good = lines.next().and_then(|line| {
            let (then, stamp) = line.split_once(' ')?;
            Some((Duration::from_secs(then.parse().ok()?), stamp.to_owned()))
        });
        let restores = Restores::parse(lines.next().unwrap_or_default(), now);
        let mut word = || lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
        Self {
            good,
            restores,
            servers: word(),
            proven: word(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_look_is_trusted_for_a_day_and_only_of_the_same_state() {
        let seconds = Duration::from_secs;
        let mut memory = Memory::default();
        assert!(!memory.trusts(seconds(5), ""));
        memory.note(seconds(100), "a".into(), true);
        assert!(memory.restores.allow(seconds(100)));
        assert_eq!(Memory::parse(&memory.to_text(), seconds(200)).servers, None);
        memory.servers = Some("word".into());
        let memory = Memory::parse(&memory.to_text(), seconds(200));
        assert!(memory.trusts(seconds(200), "a") && !memory.trusts(seconds(200), "b"));
        assert!(memory.trusts(seconds(86_400), "a") && !memory.trusts(seconds(86_500), "a"));
        // The time of another boot.
        assert!(!memory.trusts(seconds(99), "a"));
        assert_eq!(memory.restores.count(seconds(200)), 1);
        assert_eq!(memory.servers.as_deref(), Some("word"));
        assert_eq!(memory.proven, None);
        let mut memory = memory;
        memory.note(seconds(300), "a".into(), false);
        assert!(!Memory::parse(&memory.to_text(), seconds(300)).trusts(seconds(300), "a"));
        let damaged = Memory::parse("x y z\n1 q 99999999999999999999 -\n", seconds(5));
        assert!(!damaged.trusts(seconds(5), "y z") && damaged.restores.count(seconds(5)) == 1);
    }
}
