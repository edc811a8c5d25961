//! What a later boot is to show of the owner's way in, before what closed a login is believed to stay.
//!
//! A note of the state folder holds this boot, a word for that way, and the files: the lines of a [`Confirmation`].

use std::io;

use crate::engine::{STOPPED, Settings, confirmation_path, kept, note, note_path, waiting};
use crate::gate::Confirmation;
use crate::root::Root;
use crate::transaction::Write;

pub(crate) const UNPROVEN: &str = "unproven";

/// The lines of the note, with the files of the one that is there. No path stands for all of the journal.
pub(crate) fn text(root: &Root, settings: &Settings, proof: &str, mut paths: Vec<String>) -> String {
    if let Some((_, earlier)) = unproven(root, settings) {
        if earlier.paths.is_empty() {
            paths.clear();
        } else if !paths.is_empty() {
            paths.extend(earlier.paths);
            paths.sort_unstable();
            paths.dedup();
        }
    }
    paths.insert(0, proof.to_owned());
    paths.join("\n") + "\n"
}

/// The note once these files are taken back, if that is another; `all`: nothing is left of what was applied.
pub(crate) fn rest(root: &Root, settings: &Settings, restored: &[String], all: bool) -> Option<Write> {
    let (_, unproven) = unproven(root, settings)?;
    let text = kept(root, settings, UNPROVEN);
    let mut left: Vec<&str> = text.lines().collect();
    // The first line is none of them.
    left.retain(|line| !restored.iter().any(|path| path == line));
    if all || left.len() < 2 && !unproven.paths.is_empty() {
        let path = note_path(settings, UNPROVEN);
        return Some(Write::Remove { path });
    }
    let fewer = left.len() <= unproven.paths.len();
    fewer.then(|| note(settings, UNPROVEN, left.join("\n") + "\n"))
}

/// The word for the way in, and what waits for a boot that shows it. What is damaged or cannot be read is all of the journal.
#[must_use]
pub fn unproven(root: &Root, settings: &Settings) -> Option<(String, Confirmation)> {
    if !root.exists(&note_path(settings, UNPROVEN)) {
        return None;
    }
    let text = kept(root, settings, UNPROVEN);
    let first = text.lines().next().unwrap_or_default();
    let way = first.rsplit(' ').next().unwrap_or_default().to_owned();
    Some((way, Confirmation::parse(&text)))
}

/// A boot showed the way in, or did not in time: then it is as if nobody had confirmed, and
/// [`roll_back`](crate::engine::roll_back) takes it back.
///
/// # Errors
/// When the file system refuses.
pub fn prove(root: &Root, settings: &Settings, shown: bool) -> io::Result<()> {
    let path = note_path(settings, UNPROVEN);
    if shown {
        if waiting(root, settings)?.is_none() {
            root.remove(&note_path(settings, STOPPED))?;
        }
        root.remove(&path)?;
    } else {
        root.rename(&path, &confirmation_path(settings))?;
    }
    root.sync_folder(&settings.state_dir)
}
