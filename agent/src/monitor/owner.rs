//! The owner's uplink: whether this camera belongs to an operator whose gateway it reaches, as far as hardening asks.

use std::path::Path;
use std::time::Duration;

use lenscap_uplink::claim::Operator;

use super::kept::kept;
use super::state;
use crate::config::{Config, Uplink};
use crate::files;
use crate::flat::Read;

/// Most that is read of a file.
const MAX_BYTES: u64 = 64 * 1024;

/// Since when a camera that belongs to an owner reaches all its gateways, on the monotonic clock. `None`: it has no
/// owner, or does not reach them. The agent says so, which knows no more than its connections.
#[must_use]
pub fn owned_since(config: &Config) -> Option<Duration> {
    let dir = &config.agent.state_dir;
    if !config.uplinks.iter().any(|uplink| is_claimed(dir, uplink)) {
        return None;
    }
    let status = Read::parse(&read(&state::path(&config.agent.run_dir))).filter(state::is_running)?;
    let since = status.number("all_up_s");
    (since > 0).then(|| Duration::from_secs(since))
}

/// Whether the last look at hardening waits for the owner's uplink to come back.
pub(super) fn waits_for_uplink(run_dir: &Path) -> bool {
    look_says(run_dir, "waiting_for_uplink")
}

/// Whether it waits for a confirmation of any kind.
pub(super) fn waits_for_confirmation(run_dir: &Path) -> bool {
    look_says(run_dir, "waiting_for_confirmation")
}

fn look_says(run_dir: &Path, name: &str) -> bool {
    Read::parse(&read(&state::hardening_path(run_dir))).is_some_and(|look| look.is(name))
}

fn read(path: &Path) -> String {
    let bytes = files::read(path, MAX_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_claimed(state_dir: &Path, uplink: &Uplink) -> bool {
    kept(state_dir, uplink)
        .operator
        .as_ref()
        .is_some_and(Operator::is_obeyed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn an_operator_who_was_not_let_go_owns_the_camera() {
        let text = "config uplink main\noption endpoint 'https://x/'\nconfig profile main\noption rtsp 'rtsp://127.0.0.1/'\n";
        let config = config::parse("c", text).unwrap().config;
        let uplink = &config.uplinks[0];
        let dir = tempfile::tempdir().unwrap();
        let key = "BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        for (line, claimed) in [
            (format!("main - operator {key} 0 0"), true),
            (
                format!("reset 00\nx y\nmain - operator {key} 1 1790000000\n"),
                true,
            ),
            (format!("main - operator {key} 2 1790000000"), false),
            ("main 0f endpoint https://y/".to_owned(), false),
            (format!("other - operator {key} 1 0"), false),
            (format!("main - operator {key}"), false),
            (String::new(), false),
            // A key that the agent cannot read it does not obey either.
            ("main - operator AAAA 1 0".to_owned(), false),
        ] {
            std::fs::write(dir.path().join("uplinks"), &line).unwrap();
            assert_eq!(is_claimed(dir.path(), uplink), claimed, "{line}");
        }
    }
}
