//! SSH host keys that other devices have too: on a running camera, with Dropbear's own program.

use core::time::Duration;
use std::process::{Command, Stdio};

use lenscap_harden::engine::{self, Settings};
use lenscap_harden::hostkeys::shared;
use lenscap_harden::root::Root;

use super::{failed, local, refused};
use crate::cli::Stop;

/// What makes Dropbear's host keys.
const KEY_PROGRAMS: &[&str] = &[
    "/usr/bin/dropbearkey",
    "/usr/sbin/dropbearkey",
    "/bin/dropbearkey",
    "/sbin/dropbearkey",
];

/// Makes new SSH host keys in the place of shared ones, where Dropbear's key program is. Says what was done.
pub(super) fn renew(
    root: &Root,
    settings: &Settings,
    applied_at: Option<(&str, Duration)>,
) -> Result<Vec<String>, Stop> {
    let Some(program) = KEY_PROGRAMS.iter().find(|path| root.exists(path)) else {
        return Ok(Vec::new());
    };
    let temporary = format!("{}/host-key", settings.state_dir);
    let mut plan = local::empty_plan(root);
    let mut done = Vec::new();
    for key in shared(root) {
        let Some(kind) = key.kind else {
            continue;
        };
        root.make_folders(&settings.state_dir).map_err(refused)?;
        root.remove(&temporary).map_err(refused)?;
        let made = Command::new(program)
            .args(["-t", kind, "-f", &temporary])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let new = root.read(&temporary);
        root.remove(&temporary).map_err(refused)?;
        // What could not be made is told by the plan: the key is still shared.
        if let (true, Ok(new)) = (made.is_ok_and(|status| status.success()), new) {
            let why = "the SSH host key was shared with other devices";
            plan.edits.change(key.path, new, true, why).map_err(refused)?;
            done.push(format!(
                "{}: a new SSH host key, as the old one was shared",
                key.path
            ));
        }
    }
    let mut none = settings.clone();
    none.measures.clear();
    engine::apply(&plan, &none, applied_at, &mut |_| Ok(())).map_err(failed)?;
    Ok(done)
}
