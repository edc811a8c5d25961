//! What a later boot is to show of the owner's way in, before what closed a login is believed to stay.
//!
//! A note of the state folder holds it in parts, by boot and way: a line with that boot and a word for the way, and then the
//! files, as in a [`Confirmation`].

use std::io;

use crate::engine::{
    STOPPED, Settings, UNCONFIRMED, confirmation_path, keep, kept, note, note_path, waiting,
};
use crate::gate::Confirmation;
use crate::root::Root;
use crate::transaction::Write;

pub(crate) const UNPROVEN: &str = "unproven";

/// Reads the note's parts, lines each. One without files stands for all of the journal, and so does damage.
fn parts(root: &Root, settings: &Settings) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    if !root.exists(&note_path(settings, UNPROVEN)) {
        return parts;
    }
    for line in kept(root, settings, UNPROVEN).lines() {
        match parts.last_mut() {
            Some(part) if line.starts_with('/') => part.push(line.to_owned()),
            _ => parts.push(vec![line.to_owned()]),
        }
    }
    if parts.is_empty() {
        parts.push(vec![String::new()]);
    }
    parts
}

fn text(parts: &[Vec<String>]) -> String {
    parts.concat().join("\n") + "\n"
}

/// The note's text with these files too.
pub(crate) fn with(root: &Root, settings: &Settings, proof: &str, mut paths: Vec<String>) -> String {
    let mut parts = parts(root, settings);
    match parts
        .iter_mut()
        .find(|part| part.first().is_some_and(|first| first == proof))
    {
        Some(part) => {
            paths.retain(|path| part.len() > 1 && !part.contains(path));
            part.append(&mut paths);
        }
        None => {
            paths.insert(0, proof.to_owned());
            parts.push(paths);
        }
    }
    text(&parts)
}

/// The note once these files are taken back, if that is another, and whether it is there then; `all`: nothing is left of what
/// was applied.
pub(crate) fn rest(
    root: &Root,
    settings: &Settings,
    restored: &[String],
    all: bool,
) -> (Option<Write>, bool) {
    let before = parts(root, settings);
    let mut left = before.clone();
    left.retain_mut(|part| {
        let whole = part.len() == 1;
        part.retain(|line| !restored.contains(line));
        !all && (whole || part.len() > 1)
    });
    let write = (left != before).then(|| {
        if left.is_empty() {
            let path = note_path(settings, UNPROVEN);
            Write::Remove { path }
        } else {
            note(settings, UNPROVEN, text(&left))
        }
    });
    (write, !left.is_empty())
}

/// What waits for a boot that shows the way in, by the word for that. What is damaged or cannot be read is all of the journal.
#[must_use]
pub fn unproven(root: &Root, settings: &Settings) -> Vec<(String, Confirmation)> {
    let part = |part: Vec<String>| {
        let first = part.first().map(String::as_str).unwrap_or_default();
        let way = first.rsplit(' ').next().unwrap_or_default().to_owned();
        (way, Confirmation::parse(&part.join("\n")))
    };
    parts(root, settings).into_iter().map(part).collect()
}

/// What became of each part of [`unproven`]: a boot showed the way in, or did not in time, or is still to. If not, it is as if
/// nobody had confirmed, and [`roll_back`](crate::engine::roll_back) takes it back.
///
/// # Errors
/// When the file system refuses.
pub fn prove(root: &Root, settings: &Settings, shown: &[Option<bool>]) -> io::Result<()> {
    let path = note_path(settings, UNPROVEN);
    let (mut left, mut lost) = (Vec::new(), Vec::new());
    for (part, shown) in parts(root, settings).into_iter().zip(shown) {
        match shown {
            None => left.push(part),
            Some(true) => {}
            Some(false) => lost.push(part),
        }
    }
    let lose = !lost.is_empty();
    if lose {
        let whole = lost.iter().any(|part| part.len() == 1);
        let mut lines = lost.concat();
        // The first part's boot is an earlier one: that is all that counts.
        let mut first = true;
        lines.retain(|line| core::mem::take(&mut first) || !whole && line.starts_with('/'));
        if keep(root, settings, UNCONFIRMED, &(lines.join("\n") + "\n")).is_err() {
            // More than need be goes back, but this takes no room on a full disk.
            root.rename(&path, &confirmation_path(settings))?;
            left.clear();
        }
        root.sync_folder(&settings.state_dir)?;
    }
    if left.is_empty() {
        if !lose && waiting(root, settings)?.is_none() {
            root.remove(&note_path(settings, STOPPED))?;
        }
        root.remove(&path)?;
    } else {
        keep(root, settings, UNPROVEN, &text(&left))?;
    }
    root.sync_folder(&settings.state_dir)
}
