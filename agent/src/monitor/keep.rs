//! What the monitor keeps in the state folder: the last good configuration. What gateways gave is in [`super::kept`].

use std::io;
use std::path::{Path, PathBuf};

use lenscap_harden::engine::{self, Settings};
use lenscap_harden::look;
use lenscap_harden::root::Root;

use super::kept::make_dir;
use crate::config::{AgentConfig, Loaded, MAX_FILE_BYTES};
use crate::{config, files, firewall};

/// The last configuration with which the agent came up.
const GOOD_CONFIG: &str = "config.good";

/// The files whose change is worth a look at hardening.
pub(super) fn watched(resolv_conf: &Path) -> Vec<String> {
    let settings = Settings::default();
    let root = Root::live();
    let mut paths = root
        .as_ref()
        .ok()
        .and_then(|root| look::watched(root, &settings).ok())
        // A damaged journal is said by the look itself.
        .unwrap_or_else(|| look::STARTERS.iter().map(|path| (*path).to_owned()).collect());
    if let Ok(root) = root {
        paths.extend(firewall::watched(
            &root,
            &settings.state_dir,
            resolv_conf.to_str(),
        ));
    }
    paths.push(engine::confirmation_path(&settings));
    paths
}

/// Hardening counts boots that go wrong: this one did not.
///
/// # Errors
/// What the system says.
pub(super) fn note_healthy(root: &Root) -> io::Result<()> {
    let settings = Settings::default();
    let mut boots = engine::boots(root, &settings);
    boots.healthy();
    engine::keep_boots(root, &settings, &boots)
}

/// Where the last good configuration is kept.
pub(super) fn good_path(agent: &AgentConfig) -> PathBuf {
    agent.state_dir.join(GOOD_CONFIG)
}

/// The copy starts with the name of what it is a copy of, so that it stands in for no other file.
fn good_header(config_path: &Path) -> String {
    format!("# The last good copy of {}\n", config_path.display())
}

/// Keeps a copy of a configuration that works. Flash is written only if it differs from the one that is kept.
///
/// # Errors
/// What the system says.
pub(super) fn keep_good(config_path: &Path, agent: &AgentConfig) -> io::Result<()> {
    let mut copy = good_header(config_path).into_bytes();
    copy.extend(files::read(config_path, MAX_FILE_BYTES as u64)?);
    let path = good_path(agent);
    let most = copy.len() as u64 + 1;
    if files::read(&path, most).is_ok_and(|kept| kept == copy) {
        return Ok(());
    }
    make_dir(&agent.state_dir)?;
    files::replace(&path, &copy)
}

/// What `config agent` says: of the file, or, if that is damaged, of the copy with which the service goes on.
#[must_use]
pub fn agent_in_force(config_path: &Path) -> AgentConfig {
    config::load_agent(config_path)
        .ok()
        .or_else(|| Some(load_good(config_path)?.1.config.agent))
        .unwrap_or_else(|| config::load_agent_leniently(config_path))
}

/// The last good copy of a configuration, if there is one that can still be used.
pub(super) fn load_good(config_path: &Path) -> Option<(PathBuf, Loaded)> {
    // A damaged file may still say where the state is.
    let agent = config::load_agent_leniently(config_path);
    let path = good_path(&agent);
    let header = good_header(config_path);
    let start = files::read(&path, header.len() as u64).ok()?;
    if start != header.as_bytes() {
        return None;
    }
    config::load(&path).ok().map(|loaded| (path, loaded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dir: &Path) -> String {
        let dir = dir.display();
        format!(
            "config agent\noption state_dir '{dir}/state'\nconfig uplink main\noption endpoint https://gw.example/\n\
             list redirect_to *.stream.example\nconfig uplink second\noption endpoint https://b.example/\n\
             config profile main\noption rtsp rtsp://127.0.0.1/\n"
        )
    }

    fn config(dir: &Path) -> config::Config {
        config::parse("c", &text(dir)).unwrap().config
    }

    #[test]
    fn the_good_copy_stands_in_for_its_own_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lenscap");
        std::fs::write(&path, text(dir.path())).unwrap();
        let agent = config(dir.path()).agent;
        assert!(load_good(&path).is_none());
        keep_good(&path, &agent).unwrap();
        let written = std::fs::metadata(good_path(&agent)).unwrap();
        keep_good(&path, &agent).unwrap();
        let again = std::fs::metadata(good_path(&agent)).unwrap();
        assert_eq!(written.modified().unwrap(), again.modified().unwrap());
        // Damaged behind the section that names the state folder.
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 40]).unwrap();
        let (good, loaded) = load_good(&path).unwrap();
        assert_eq!((good, loaded.config.uplinks.len()), (good_path(&agent), 2));
        let other = dir.path().join("other");
        std::fs::copy(&path, &other).unwrap();
        assert!(load_good(&other).is_none());
    }
}
