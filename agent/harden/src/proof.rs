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
/// A note of the state folder: the boots in which something waited and that did not last, as [`Boots`](crate::gate::Boots) are kept.
pub const SHORT: &str = "short-boots";

/// The note's parts. One without files stands for all of the journal, and so does damage.
fn parts(root: &Root, settings: &Settings) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    if !root.exists(&note_path(settings, UNPROVEN)) {
        return parts;
    }
    let mut text = kept(root, settings, UNPROVEN);
    if text.is_empty() {
        text.push('\n');
    }
    for line in text.lines() {
        match parts.last_mut() {
            Some(part) if line.starts_with('/') => add(part, line),
            _ => parts.push([line, "\n"].concat()),
        }
    }
    parts
}

fn add(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn is_whole(part: &str) -> bool {
    part.lines().count() < 2
}

/// The note with one more part.
pub(crate) fn with(root: &Root, settings: &Settings, proof: &str, paths: &[String]) -> Write {
    let mut parts = parts(root, settings);
    let mut part = [proof, "\n"].concat();
    for path in paths {
        add(&mut part, path);
    }
    if !parts.contains(&part) {
        parts.push(part);
    }
    note(settings, UNPROVEN, parts.concat())
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
    let mut text = String::new();
    for part in &before {
        let mut left = String::new();
        for line in part.lines() {
            if !restored.iter().any(|path| path == line) {
                add(&mut left, line);
            }
        }
        if !all && (is_whole(part) || !is_whole(&left)) {
            text.push_str(&left);
        }
    }
    let proves = !text.is_empty();
    let write = if text == before.concat() {
        None
    } else if proves {
        Some(note(settings, UNPROVEN, text))
    } else {
        let path = note_path(settings, UNPROVEN);
        Some(Write::Remove { path })
    };
    (write, proves)
}

/// What waits for a boot that shows the way in, by the word for that. What is damaged or cannot be read is all of the journal.
#[must_use]
pub fn unproven(root: &Root, settings: &Settings) -> Vec<(String, Confirmation)> {
    let mut found = Vec::new();
    for part in parts(root, settings) {
        let first = part.lines().next().unwrap_or_default();
        let way = first.rsplit(' ').next().unwrap_or_default();
        found.push((way.to_owned(), Confirmation::parse(&part)));
    }
    found
}

/// What became of each part of [`unproven`]: a boot showed the way in, or did not in time, or is still to. If not, it is as if
/// nobody had confirmed, and [`roll_back`](crate::engine::roll_back) takes it back.
///
/// # Errors
/// When the file system refuses.
pub fn prove(root: &Root, settings: &Settings, shown: &[Option<bool>]) -> io::Result<()> {
    let path = note_path(settings, UNPROVEN);
    let (mut left, mut lost, mut all) = (String::new(), String::new(), false);
    let parts = parts(root, settings);
    for (part, shown) in parts.iter().zip(shown) {
        if shown.is_none() {
            left.push_str(part);
        } else if *shown == Some(false) {
            all |= is_whole(part);
            // The first one's boot is an earlier one: that is all that counts.
            for line in part.lines().skip(usize::from(!lost.is_empty())) {
                add(&mut lost, line);
            }
        }
    }
    let earlier = waiting(root, settings)?;
    if lost.is_empty() {
        if left.is_empty() && earlier.is_none() {
            root.remove(&note_path(settings, STOPPED))?;
            root.remove(&note_path(settings, SHORT))?;
        }
    } else if parts.len() == 1 && earlier.is_none() {
        // It takes no room on a full disk.
        root.rename(&path, &confirmation_path(settings))?;
        return root.sync_folder(&settings.state_dir);
    } else {
        // What could not be taken back yet goes with it.
        if let Some(earlier) = earlier {
            all |= earlier.paths.is_empty();
            for path in &earlier.paths {
                add(&mut lost, path);
            }
        }
        keep(root, settings, UNCONFIRMED, if all { "" } else { &lost })?;
        root.sync_folder(&settings.state_dir)?;
    }
    if left.is_empty() {
        root.remove(&path)?;
    } else {
        keep(root, settings, UNPROVEN, &left)?;
    }
    root.sync_folder(&settings.state_dir)
}
