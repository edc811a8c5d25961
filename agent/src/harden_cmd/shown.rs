//! Whether a later boot shows the way in that the owner had when a login was closed: no reading of scripts tells that for certain.

use core::time::Duration;
use std::path::Path;

use lenscap_harden::engine::{self, Settings};
use lenscap_harden::gate::{Boots, CONFIRM_WITHIN, Confirmation, MAX_BAD_BOOTS, SHOWN_WITHIN};
use lenscap_harden::root::Root;
use lenscap_harden::{listeners, proof};

use super::live::{NOT_TAKEN_BACK, boot_id, is_overdue, owned_since};
use super::{Request, lock, refused, ssh, unknown};
use crate::cli::Stop;
use crate::{firewall, sys};

/// How long a boot has where those before it did not last: long enough for a server to start.
pub(super) const SHORT: Duration = Duration::from_secs(120);

/// What a later boot is to show of the owner's way in. Nothing if that is an uplink, or none that a boot would end is seen.
pub(super) fn way_in(root: &Root, request: &Request, boot_id: &str, ways: &ssh::Ways) -> Option<String> {
    let way = ssh::word(ways).filter(|_| owned_since(root, &request.config).is_none())?;
    Some(format!("{boot_id} {way}"))
}

/// Looks, in a later boot, for the way in that the owner had: not before a server has had its time to end again. One that is
/// not there then is lost: what was confirmed is to be taken back like what was not. Where boot after boot ends before, one that is
/// not there soon is lost. A claimed uplink is one at any time.
/// Says whether it is still looked for.
pub(super) fn prove(root: &Root, settings: &Settings, config: &Path) -> Result<bool, Stop> {
    let now = sys::monotonic();
    let boot_id = boot_id(root)?;
    let due = |of: &Confirmation| of.boot_id != boot_id;
    let unproven = proof::unproven(root, settings);
    let owned = !unproven.is_empty() && owned_since(root, config).is_some();
    let any = unproven.iter().any(|(_, of)| due(of));
    let short = any && is_one_of_many(root, settings, &boot_id);
    let from = if short { SHORT } else { CONFIRM_WITHIN };
    if !owned && (!any || now < from) {
        return Ok(any);
    }
    let _lock = lock(root)?;
    let recovered = engine::recover(root, settings);
    // Nothing is lost where nobody can look.
    listeners::read(root).map_err(unknown)?;
    // As the rules have it that are in force, whatever the configuration says by now.
    let record = firewall::record(root, &settings.state_dir);
    // Routes block no port.
    let behind = record.as_ref().is_some_and(|record| !record.blackhole);
    let nets = record.as_ref().map(|record| record.allow_in.clone());
    let ways = ssh::ways(root, nets.unwrap_or_default(), None, &settings.state_dir);
    // What waits for the owner meanwhile comes first; not what could not be taken back yet.
    let waiting = engine::waiting(root, settings).map_err(unknown)?;
    let waits = waiting.is_some_and(|waiting| !is_overdue(root, settings, &waiting, &boot_id));
    let over = now >= from + SHOWN_WITHIN && !waits;
    let (mut shown, mut lost, mut blocks) = (Vec::new(), false, false);
    let (mut missed, mut looks) = (false, false);
    for (way, of) in proof::unproven(root, settings) {
        let is_due = due(&of);
        let is_back = is_due && ssh::is_back(&ways, &way, behind);
        missed |= is_due && !is_back;
        if owned || is_back && now >= CONFIRM_WITHIN {
            shown.push(Some(true));
        } else if is_due && !is_back && over {
            lost = true;
            blocks |= engine::waits_for(&of, &firewall::record_path(&settings.state_dir));
            shown.push(Some(false));
        } else {
            looks |= is_due;
            shown.push(None);
        }
    }
    if short && !missed {
        // This boot may take its time then, like those after it.
        let _ = root.remove(&engine::note_path(settings, proof::SHORT));
    }
    if shown.iter().any(Option::is_some) {
        let proven = recovered.and_then(|_| proof::prove(root, settings, &shown));
        proven.map_err(|error| {
            // As where files cannot be taken back.
            if let Some(record) = record.filter(|_| blocks) {
                let _ = firewall::remove(&record);
            }
            let Stop(why, status) = refused(error);
            let before = if lost { NOT_TAKEN_BACK } else { "" };
            Stop([before, &why].concat(), status)
        })?;
    }
    Ok(looks)
}

/// Whether something waited in some boots before this one, one after the other, and they ended before its time. Counts this one.
pub(super) fn is_one_of_many(root: &Root, settings: &Settings, boot_id: &str) -> bool {
    let before = engine::kept(root, settings, proof::SHORT);
    let mut boots = Boots::parse(&before);
    boots.begin(boot_id);
    if sys::monotonic() >= CONFIRM_WITHIN + SHOWN_WITHIN {
        // This one lasts.
        boots.forget();
    }
    let text = boots.to_text();
    if text != before {
        // What cannot be counted has all the time that there is.
        let _ = engine::keep(root, settings, proof::SHORT, &text);
    }
    boots.bad() >= MAX_BAD_BOOTS
}

/// What this boot is to show the owner's way in for.
fn due(root: &Root, settings: &Settings) -> Result<Vec<(String, Confirmation)>, Stop> {
    let boot_id = boot_id(root)?;
    let mut due = proof::unproven(root, settings);
    due.retain(|(_, of)| of.boot_id != boot_id);
    Ok(due)
}

/// Whether this boot is to show it.
pub(super) fn is_due(root: &Root, settings: &Settings) -> Result<bool, Stop> {
    Ok(!due(root, settings)?.is_empty())
}

/// Whether it is one that did not, and has had its time, and a file goes back for that.
pub(super) fn is_lost(root: &Root, settings: &Settings, path: &str) -> Result<bool, Stop> {
    let over = sys::monotonic() >= CONFIRM_WITHIN + SHOWN_WITHIN;
    let waits = |(_, of): &(String, Confirmation)| engine::waits_for(of, path);
    Ok(over && due(root, settings)?.iter().any(waits))
}
