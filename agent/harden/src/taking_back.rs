//! Takes back what was applied: what its owner asks for, and what nobody confirmed or no boot has shown.

use std::io;

use crate::applied::Applied;
use crate::engine::{
    APPLIED, INETD, LEFT, STOPPED, Settings, UNCONFIRMED, applied, closes_telnet, confirmation_path, current,
    keep, left, note, note_path, waiting, waits_for,
};
use crate::firewall::RECORD;
use crate::journal::{Entry, Journal};
use crate::proof;
use crate::report::Measure;
use crate::root::Root;
use crate::transaction::{Failure, Store, Write};

/// Takes back what was not confirmed, default passwords too: every login is as it was. What is `needed` still waits on;
/// what goes `along` is taken back with the rest. Files that somebody else changed since are noted: see [`left`].
///
/// # Errors
/// See [`Failure`].
pub fn roll_back(
    root: &Root,
    settings: &Settings,
    needed: Option<&str>,
    along: &dyn Fn(&str) -> bool,
) -> Result<Undone, Failure> {
    let waiting = waiting(root, settings).map_err(Failure::Unchanged)?;
    let wanted = |path: &str| {
        let waits = waiting.as_ref().is_none_or(|waiting| waits_for(waiting, path));
        (waits || along(path)) && needed != Some(path)
    };
    let back = Back {
        insecure: true,
        unasked: true,
        waits: needed,
    };
    take_back(root, settings, back, &wanted)
}

/// What became of each file of the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Files that are what they were.
    pub restored: Vec<String>,
    /// Files that stay, since their originals hold default or empty passwords.
    pub kept: Vec<String>,
    /// Files that somebody else changed since, or that cannot be put back: they are left alone, and count as applied no more.
    pub changed_since: Vec<String>,
}

/// Takes everything back. Originals that hold default or empty passwords only with `restore_insecure`.
///
/// # Errors
/// See [`Failure`].
pub fn undo(root: &Root, settings: &Settings, restore_insecure: bool) -> Result<Undone, Failure> {
    undo_some(root, settings, restore_insecure, &|_| true)
}

/// Takes back the files alone that `wanted` says.
///
/// # Errors
/// See [`Failure`].
pub fn undo_some(
    root: &Root,
    settings: &Settings,
    restore_insecure: bool,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Undone, Failure> {
    let back = Back {
        insecure: restore_insecure,
        unasked: false,
        waits: None,
    };
    take_back(root, settings, back, wanted)
}

/// How something is taken back.
#[derive(Clone, Copy)]
struct Back<'a> {
    /// Default and empty passwords too.
    insecure: bool,
    /// Nobody is there who reads what comes of it.
    unasked: bool,
    /// The file of something that is in no file, and waits on.
    waits: Option<&'a str>,
}

/// A file beside which nothing can be written, twice, holds up no other.
fn take_back(
    root: &Root,
    settings: &Settings,
    back: Back<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Undone, Failure> {
    let store = Store::new(root, &settings.state_dir);
    let mut stops = Vec::new();
    loop {
        let done = take_back_but(&store, settings, back, wanted, &stops);
        match store.stopped_at() {
            Some(path) if done.is_err() => stops.push(path),
            _ => return done,
        }
    }
}

/// Leaves the files that are named twice.
fn take_back_but(
    store: &Store<'_>,
    settings: &Settings,
    back: Back<'_>,
    wanted: &dyn Fn(&str) -> bool,
    stops: &[String],
) -> Result<Undone, Failure> {
    let root = store.root();
    let journal = store.journal().map_err(Failure::Unchanged)?;
    let mut undone = Undone::default();
    let known = journal.left.len();
    let mut rest = Journal {
        left: journal.left,
        ..Journal::default()
    };
    let mut writes = Vec::new();
    let mut others = Vec::new();
    let mut reopened = false;
    for entry in journal.entries {
        let path = entry.path.clone();
        let telnets = closes_telnet(&entry, settings);
        // The media password's file goes only when the streamer's password does.
        let stays = !back.insecure && (entry.insecure || path == settings.password_file);
        if !wanted(&path) || stays {
            if wanted(&path) {
                undone.kept.push(path.clone());
            }
            others.push(path);
            rest.entries.push(entry);
            continue;
        }
        let stopped = stops.iter().filter(|stop| **stop == path).count() > 1;
        match restoring(store, root, &entry) {
            Ok(write) if !stopped => {
                rest.left.retain(|left| *left != path);
                writes.extend(write);
                reopened |= telnets && back.unasked;
                undone.restored.push(path);
            }
            // One holds up no other.
            _ => {
                rest.leave(&path);
                undone.changed_since.push(path);
                rest.entries.push(entry);
            }
        }
    }
    let (write, gone) = rest_waits(root, settings, back, &others, &undone.restored)?;
    writes.extend(write);
    let waits = !gone && waiting(root, settings).map_err(Failure::Unchanged)?.is_some();
    let (unproven, proves) = proof::rest(root, settings, &undone.restored, rest.entries.is_empty());
    let proven = unproven.is_some() && !proves;
    writes.extend(unproven);
    // It is tried again and again.
    if back.unasked && !undone.changed_since.is_empty() && undone.changed_since != left(root, settings) {
        writes.push(note(settings, LEFT, undone.changed_since.join("\n")));
    }
    if undone.restored.is_empty() && writes.is_empty() && rest.left.len() == known {
        return Ok(undone);
    }
    let telnet = |path: &String| path.ends_with("/inetd.conf");
    let notes = [
        (proof::SHORT, !proves && !waits),
        (STOPPED, proven || (gone || back.unasked) && !proves),
        (INETD, undone.restored.iter().any(telnet)),
    ];
    let over = notes.into_iter().filter(|(_, over)| *over);
    let over = over.map(|(note, _)| note_path(settings, note));
    let over = over.filter(|path| root.exists(path));
    writes.extend(over.map(|path| Write::Remove { path }));
    writes.extend(applied_rest(root, settings, &rest, reopened));
    let skipped = store.commit(&writes, &[], &rest, &mut || Ok(()))?;
    tell_skipped(root, settings, back, skipped, undone)
}

/// What is still applied once only these entries are there: not what was to be taken back and could not be. Where telnet was
/// `reopened` unasked, another run's part of its files may be there still, but no look is to end it again.
fn applied_rest(root: &Root, settings: &Settings, rest: &Journal, reopened: bool) -> Option<Write> {
    let mut left = applied(root, settings);
    if left == Applied::default() {
        return None;
    }
    let mut entries = rest.entries.iter().filter(|entry| rest.applies(&entry.path));
    let telnet = !reopened && entries.clone().any(|entry| closes_telnet(entry, settings));
    let credentials = entries
        .any(|entry| entry.insecure && entry.original.is_some() && entry.path != settings.password_file);
    let record = note_path(settings, RECORD);
    left.measures.retain(|measure| match measure {
        Measure::Telnet => telnet,
        Measure::Credentials => credentials,
        Measure::Firewall => rest.applies(&record),
    });
    if !credentials {
        left.fields.clear();
    }
    Some(if left == Applied::default() {
        Write::Remove {
            path: note_path(settings, APPLIED),
        }
    } else {
        note(settings, APPLIED, left.to_text())
    })
}

/// What could not be put back after all was not.
fn tell_skipped(
    root: &Root,
    settings: &Settings,
    back: Back<'_>,
    mut skipped: Vec<String>,
    mut undone: Undone,
) -> Result<Undone, Failure> {
    skipped.retain(|path| undone.restored.contains(path));
    undone.restored.retain(|path| !skipped.contains(path));
    let told = skipped.is_empty() || !back.unasked;
    undone.changed_since.append(&mut skipped);
    if !told {
        let left = undone.changed_since.join("\n");
        keep(root, settings, LEFT, &left).map_err(Failure::Unfinished)?;
    }
    Ok(undone)
}

/// What waits for a confirmation once these files are taken back, if that is something else than before; and whether
/// nothing does any more.
fn rest_waits(
    root: &Root,
    settings: &Settings,
    back: Back<'_>,
    others: &[String],
    restored: &[String],
) -> Result<(Option<Write>, bool), Failure> {
    let Some(mut waiting) = waiting(root, settings).map_err(Failure::Unchanged)? else {
        return Ok((None, false));
    };
    let before = waiting.paths.len();
    if back.waits.is_none() && !others.iter().any(|other| waits_for(&waiting, other)) {
        let path = confirmation_path(settings);
        return Ok((Some(Write::Remove { path }), true));
    }
    // What is taken back waits for nobody: another run may close it for good.
    match back.waits {
        Some(needed) => waiting.paths = vec![needed.to_owned()],
        None => waiting.paths.retain(|path| !restored.contains(path)),
    }
    let changed = waiting.paths.len() != before;
    Ok((
        changed.then(|| note(settings, UNCONFIRMED, waiting.to_text())),
        false,
    ))
}

/// What takes a file back; nothing where it is what it was.
///
/// # Errors
/// Somebody else changed it since, it cannot be replaced, or it or its original cannot be read.
fn restoring(store: &Store<'_>, root: &Root, entry: &Entry) -> io::Result<Option<Write>> {
    let path = entry.path.clone();
    let now = current(root, &path)?;
    // A link on the way may lead to another's, and would stop the others too.
    let moved = entry.original.is_some() && root.canonical(&path)? != path;
    if now.as_ref() != Some(&entry.written) || moved || root.is_stuck(&path) {
        let is_back = now.as_ref() == entry.original.as_ref().map(|saved| &saved.name);
        return if is_back {
            Ok(None)
        } else {
            Err(io::ErrorKind::ResourceBusy.into())
        };
    }
    let Some(saved) = &entry.original else {
        return Ok(Some(Write::Remove { path }));
    };
    // The firmware's own file may be another by now.
    let below = root.below(&path).ok().filter(|_| entry.below);
    let (contents, attributes) = match below {
        Some(below) => below,
        None => (store.saved(&saved.name)?, saved.attributes),
    };
    Ok(Some(Write::File {
        path,
        contents,
        attributes,
        was: Some(entry.written.clone()),
    }))
}
