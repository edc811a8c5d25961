//! Whether a later boot shows the way in that the owner had when a login was closed: no reading of scripts tells that for certain.

use core::time::Duration;
use std::path::Path;

use lenscap_harden::engine::{self, Settings};
use lenscap_harden::gate::{CONFIRM_WITHIN, SHOWN_WITHIN};
use lenscap_harden::proof;
use lenscap_harden::root::Root;

use super::live::{boot_id, owned_since};
use super::{Request, lock, refused, ssh, unknown};
use crate::cli::Stop;
use crate::{firewall, sys};

/// What a later boot is to show of the owner's way in. Nothing if that is an uplink, or none that a boot would end is seen.
pub(super) fn way_in(request: &Request, boot_id: &str, ways: &ssh::Ways) -> Option<String> {
    let way = ssh::word(ways).filter(|_| owned_since(&request.config).is_none())?;
    Some(format!("{boot_id} {way}"))
}

/// Looks, in a later boot, for the way in that the owner had: not before a server has had its time to end again. One that is
/// not there then is lost: what was confirmed is to be taken back like what was not. Says whether it is still looked for.
pub(super) fn prove(root: &Root, settings: &Settings, config: &Path) -> Result<bool, Stop> {
    let now = sys::monotonic();
    if !is_due(root, settings)? {
        return Ok(false);
    }
    if now < CONFIRM_WITHIN {
        return Ok(true);
    }
    let _lock = lock(root)?;
    let Some((way, _)) = proof::unproven(root, settings) else {
        return Ok(false);
    };
    // As the rules have it that are in force, whatever the configuration says by now.
    let record = firewall::record(root, &settings.state_dir);
    // Routes block no port.
    let behind = record.as_ref().is_some_and(|record| !record.blackhole);
    let nets = record.as_ref().map(|record| record.allow_in.clone());
    let ways = ssh::ways(root, nets.unwrap_or_default(), None, &settings.state_dir);
    let shown = ssh::is_back(&ways, &way, behind) || owned_since(config).is_some();
    // What waits for the owner meanwhile comes first.
    let waits = engine::waiting(root, settings).map_err(unknown)?.is_some();
    if !shown && (!is_over(now) || waits) {
        return Ok(!waits);
    }
    proof::prove(root, settings, shown).map_err(|error| {
        // As where files cannot be taken back.
        if let Some(record) = record.filter(|_| !shown) {
            let _ = firewall::remove(&record);
        }
        refused(error)
    })?;
    Ok(false)
}

/// Whether this boot is to show the owner's way in.
pub(super) fn is_due(root: &Root, settings: &Settings) -> Result<bool, Stop> {
    let unproven = proof::unproven(root, settings);
    let boot_id = boot_id(root)?;
    Ok(unproven.is_some_and(|(_, of)| of.boot_id != boot_id))
}

/// Whether it is one that did not, and has had its time.
pub(super) fn is_lost(root: &Root, settings: &Settings) -> Result<bool, Stop> {
    Ok(is_due(root, settings)? && is_over(sys::monotonic()))
}

fn is_over(now: Duration) -> bool {
    now >= CONFIRM_WITHIN + SHOWN_WITHIN
}
