//! Stands in for the firewall in a program that was built without it: it says so, and sets nothing.

#[path = "firewall/request.rs"]
mod request;

use std::io;

use lenscap_harden::edits::Edits;
use lenscap_harden::firewall::{Policy, RECORD};
use lenscap_harden::report::{Measure, Status};
use lenscap_harden::root::Root;

pub use request::Request;

/// On a running camera it fails; a tree has no firewall in any case.
///
/// # Errors
/// None.
pub fn plan(_: Request<'_>, edits: &mut Edits<'_>) -> io::Result<()> {
    let status = if edits.root().is_live() {
        Status::Fails
    } else {
        Status::Notice
    };
    edits.find(
        Measure::Firewall,
        status,
        None,
        "not set: this program was built without it, for the flash it takes",
    );
    Ok(())
}

/// There is none.
#[must_use]
pub fn record(_: &Root, _: &str) -> Option<Policy> {
    None
}

/// There is none.
#[must_use]
pub fn in_force(_: &Root, _: &str, _: Option<&str>) -> Option<Policy> {
    None
}

/// There is none.
#[must_use]
pub fn tried(_: &Root, _: &str, _: Option<&str>) -> (Status, String) {
    (Status::Fails, String::new())
}

/// Where a program with a firewall keeps its record.
#[must_use]
pub fn record_path(state_dir: &str) -> String {
    format!("{}/{RECORD}", state_dir.trim_end_matches('/'))
}

/// Nothing has to be done.
///
/// # Errors
/// None.
pub fn sync(_: &Root, _: &str, _: Option<&str>, _: Option<&Policy>, _: bool) -> Result<bool, String> {
    Ok(false)
}

/// Nothing keeps what is not there.
///
/// # Errors
/// None.
pub fn include(_: &str, _: &mut Edits<'_>) -> io::Result<()> {
    Ok(())
}

/// Nothing depends on them.
#[must_use]
pub fn known_servers(_: &Root, _: Option<&str>) -> String {
    String::new()
}

/// Nothing depends on them.
#[must_use]
pub fn watched(_: &Root, _: &str, _: Option<&str>) -> Vec<String> {
    Vec::new()
}
