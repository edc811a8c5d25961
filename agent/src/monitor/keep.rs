//! What the monitor keeps in the state folder: the last good configuration, and addresses that gateways gave for good.

use std::io;
use std::path::{Path, PathBuf};

use lenscap_harden::engine::{self, Settings};
use lenscap_harden::look;
use lenscap_harden::root::Root;
use lenscap_uplink::dial::{DialConfig, Dialer};
use lenscap_uplink::url::Url;
use ring::digest::{SHA256, digest};

use crate::config::{AgentConfig, Config, Loaded, MAX_FILE_BYTES, Pin, Uplink};
use crate::{config, files};

/// The last configuration with which the agent came up.
const GOOD_CONFIG: &str = "config.good";
/// Addresses from 308 replies.
const ENDPOINTS: &str = "endpoints";
/// Most that is read of the latter.
const MAX_ENDPOINTS_BYTES: u64 = 64 * 1024;

/// The files whose change is worth a look at hardening.
pub(super) fn watched() -> Vec<String> {
    let settings = Settings::default();
    let mut paths = Root::live()
        .and_then(|root| look::watched(&root, &settings))
        // A damaged journal is said by the look itself.
        .unwrap_or_else(|_| look::STARTERS.iter().map(|path| (*path).to_owned()).collect());
    paths.push(engine::confirmation_path(&settings));
    paths
}

/// Hardening counts boots that go wrong: this one did not.
///
/// # Errors
/// What the system says.
pub(super) fn note_healthy() -> io::Result<()> {
    let (root, settings) = (Root::live()?, Settings::default());
    let mut boots = engine::boots(&root, &settings);
    boots.healthy();
    engine::keep_boots(&root, &settings, &boots)
}

/// Where the last good configuration is kept.
pub(super) fn good_path(agent: &AgentConfig) -> PathBuf {
    agent.state_dir.join(GOOD_CONFIG)
}

/// Where endpoints are kept.
pub(super) fn endpoints_path(agent: &AgentConfig) -> PathBuf {
    agent.state_dir.join(ENDPOINTS)
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

/// A folder for its owner alone.
fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// An address that a gateway gave for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The uplink's name.
    pub uplink: String,
    /// The address.
    pub url: Url,
    /// Its pin.
    pub pin: Option<String>,
    /// Of what the uplink's configuration was: another configuration forgets the address.
    tag: String,
}

impl Endpoint {
    /// Judges what an agent or a file says. `None` if the configuration does not have that uplink, or does not allow
    /// the address.
    fn judge(config: &Config, uplink: &str, url: &str, pin: &str) -> Option<Self> {
        let uplink = config.uplinks.iter().find(|candidate| candidate.name == uplink)?;
        let url = Url::parse(url).ok()?;
        let pin = if pin.is_empty() {
            None
        } else {
            Some(Pin::parse(pin).ok()?.to_string())
        };
        if url.as_str().contains(|c: char| !c.is_ascii_graphic()) || !allows(uplink, &url) {
            return None;
        }
        Some(Self {
            uplink: uplink.name.clone(),
            url,
            pin,
            tag: tag(uplink),
        })
    }
}

/// The dialler's own rule.
fn allows(uplink: &Uplink, url: &Url) -> bool {
    let dial = DialConfig {
        endpoints: uplink.endpoints.clone(),
        redirect_to: uplink.redirect_to.clone(),
    };
    Dialer::new(dial, 0).restore_endpoint(url.clone(), None)
}

/// Of endpoints and allowed redirects.
fn tag(uplink: &Uplink) -> String {
    // Not their debugging output, which is short in the camera's builds.
    let mut text = String::new();
    for endpoint in &uplink.endpoints {
        text += &format!("{endpoint}\n");
    }
    for pattern in &uplink.redirect_to {
        text += &format!("{pattern}\n");
    }
    let hash = digest(&SHA256, text.as_bytes());
    let short = hash.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(short))
}

/// The addresses that are kept and still count.
#[must_use]
pub fn endpoints(config: &Config) -> Vec<Endpoint> {
    let bytes = files::read(&endpoints_path(&config.agent), MAX_ENDPOINTS_BYTES).unwrap_or_default();
    let Ok(text) = String::from_utf8(bytes) else {
        return Vec::new();
    };
    parse(&text, config)
}

fn parse(text: &str, config: &Config) -> Vec<Endpoint> {
    let mut found: Vec<Endpoint> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(uplink), Some(tag), Some(url)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let endpoint = Endpoint::judge(config, uplink, url, words.next().unwrap_or_default());
        if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.tag == tag) {
            found.retain(|earlier| earlier.uplink != endpoint.uplink);
            found.push(endpoint);
        }
    }
    found
}

fn format(endpoints: &[Endpoint]) -> String {
    let line = |e: &Endpoint| {
        let pin = e.pin.as_deref().unwrap_or_default();
        format!("{} {} {} {pin}", e.uplink, e.tag, e.url.as_str())
            .trim_end()
            .to_owned()
            + "\n"
    };
    endpoints.iter().map(line).collect()
}

/// Why an address is not kept.
#[derive(Debug)]
pub(super) enum StoreError {
    /// The configuration does not allow it.
    Refused,
    /// It could not be written.
    Io(io::Error),
}

/// Keeps an address. False if it was kept already.
///
/// # Errors
/// An address that is not allowed; what the system says.
pub(super) fn store_endpoint(
    config: &Config,
    uplink: &str,
    url: &str,
    pin: &str,
) -> Result<bool, StoreError> {
    let endpoint = Endpoint::judge(config, uplink, url, pin).ok_or(StoreError::Refused)?;
    let mut kept = endpoints(config);
    if kept.contains(&endpoint) {
        return Ok(false);
    }
    kept.retain(|earlier| earlier.uplink != endpoint.uplink);
    kept.push(endpoint);
    make_dir(&config.agent.state_dir)
        .and_then(|()| files::replace(&endpoints_path(&config.agent), format(&kept).as_bytes()))
        .map_err(StoreError::Io)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIN: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn text(dir: &Path) -> String {
        let dir = dir.display();
        format!(
            "config agent\noption state_dir '{dir}/state'\nconfig uplink main\noption endpoint https://gw.example/\n\
             list redirect_to *.stream.example\nconfig uplink second\noption endpoint https://b.example/\n\
             config profile main\noption rtsp rtsp://127.0.0.1/\n"
        )
    }

    fn config(dir: &Path) -> Config {
        config::parse("c", &text(dir)).unwrap().config
    }

    #[test]
    fn allowed_addresses_are_kept_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        assert!(store_endpoint(&config, "main", "https://a.stream.example/x", PIN).unwrap());
        assert!(!store_endpoint(&config, "main", "https://a.stream.example/x", PIN).unwrap());
        assert!(store_endpoint(&config, "second", "https://b.example/moved", "").unwrap());
        assert!(store_endpoint(&config, "main", "https://c.stream.example/y", "").unwrap());
        let kept: Vec<_> = endpoints(&config)
            .into_iter()
            .map(|e| (e.uplink, e.url.as_str().to_owned(), e.pin))
            .collect();
        assert_eq!(
            kept,
            [
                ("second".into(), "https://b.example/moved".into(), None),
                ("main".into(), "https://c.stream.example/y".into(), None)
            ]
        );
    }

    #[test]
    fn what_the_configuration_does_not_allow_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        for (uplink, url, pin) in [
            ("none", "https://a.stream.example/", ""),
            ("main", "https://evil.example/", ""),
            ("main", "http://a.stream.example/", ""),
            ("main", "https://stream.example/", ""),
            ("main", "https://u:p@a.stream.example/", ""),
            ("second", "https://a.stream.example/", ""),
            ("main", "https://a.stream.example/", "sha256/x"),
            ("main", "https://a.stream.example/ x\nsecond 0 y", ""),
        ] {
            let stored = store_endpoint(&config, uplink, url, pin);
            assert!(matches!(stored, Err(StoreError::Refused)), "{uplink} {url} {pin}");
        }
        assert!(!dir.path().join("state").exists());
    }

    #[test]
    fn another_configuration_forgets_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let before = config(dir.path());
        store_endpoint(&before, "main", "https://a.stream.example/x", "").unwrap();
        let other = text(dir.path()).replace("gw.example/", "gw.example/other");
        let after = config::parse("c", &other).unwrap().config;
        assert!(endpoints(&after).is_empty() && endpoints(&before).len() == 1);
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

    proptest! {
        #[test]
        fn any_file_of_endpoints_gives_allowed_ones_alone(
            text in "(main|second|x| |[0-9a-f]{16}|https://a.stream.example/|https://evil.example/|sha256/|\n|\\PC){0,20}"
        ) {
            let config = config(Path::new("/nonexistent"));
            for endpoint in parse(&text, &config) {
                let allowed = endpoint.url.host().ends_with(".stream.example") || endpoint.url.host() == "b.example";
                prop_assert!(allowed);
            }
        }
    }
}
