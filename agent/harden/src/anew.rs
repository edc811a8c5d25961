//! What an update of the firmware changed below the overlay in which it was closed.

use std::io;

use crate::edits::Edits;
use crate::engine::{Settings, current};
use crate::journal::sha256;
use crate::report::{Measure, Status};
use crate::root::Root;
use crate::transaction::Store;

/// Why such a file is changed.
pub(crate) const ANEW: &str = "begins anew from the firmware's file";

/// An update of the firmware brings other files below the overlay that keeps those which were closed: they are closed anew
/// from there. Not where a measure is missing that closed something in them: then that is told.
pub(crate) fn plan(root: &Root, settings: &Settings, edits: &mut Edits<'_>) -> io::Result<()> {
    let journal = Store::new(root, &settings.state_dir)
        .journal()
        .unwrap_or_default();
    let wants = |measure: &Measure| settings.measures.contains(measure);
    let all = [Measure::Telnet, Measure::Credentials].iter().all(wants);
    for entry in journal
        .entries
        .iter()
        .filter(|entry| entry.below && journal.applies(&entry.path))
    {
        let path = entry.path.as_str();
        let measure = if entry.insecure {
            Measure::Credentials
        } else {
            Measure::Telnet
        };
        let Ok(base) = root.below(path) else { continue };
        let known = entry
            .original
            .as_ref()
            .is_some_and(|saved| saved.name == sha256(&base.0));
        if known || !wants(&measure) || current(root, path)?.as_ref() != Some(&entry.written) {
            continue;
        }
        let (status, then) = if all {
            (Status::Planned, "it is closed anew")
        } else {
            (
                Status::Fails,
                "`--apply` of telnet and credentials closes it anew",
            )
        };
        let text = format!("an update of the firmware brought another file below this one: {then}");
        edits.find(measure, status, Some((path, 0)), text);
        if all {
            edits.begin_anew(path, base, entry.insecure, ANEW)?;
        }
    }
    Ok(())
}
