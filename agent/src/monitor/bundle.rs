//! The files that the agent needs and cannot open itself.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc;

use super::jobs;
use super::kept;
use crate::config::{ClientAuth, Config, Password};
use crate::files::errno;
use crate::identity;
use crate::run::BOOT_ID_PATH;

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            mode: data.mode(),
            changed: (data.ctime(), data.ctime_nsec()),
            modified: (data.mtime(), data.mtime_nsec()),
        }
    }
}

/// One file: the name under which the agent knows it, where it is, and which version the agent has.
#[derive(Debug)]
struct Item {
    name: PathBuf,
    source: PathBuf,
    handed: Option<Result<Stamp, i32>>,
}

/// All files of one configuration.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    items: Vec<Item>,
}

impl Bundle {
    /// The files that a configuration names. `source` is where the configuration itself is read.
    pub(super) fn new(config_path: &Path, source: &Path, config: &Config) -> Self {
        let mut bundle = Self::default();
        bundle.add(config_path, source);
        let mut named = |path: &Path| bundle.add(path, path);
        let agent = &config.agent;
        named(&agent.resolv_conf);
        named(&agent.hosts);
        named(Path::new(BOOT_ID_PATH));
        named(&kept::path(&agent.state_dir));
        named(&identity::pin::key_path(&agent.state_dir));
        jobs::files(&agent.run_dir).for_each(|path| named(&path));
        match &agent.certificate {
            Some(files) => {
                named(&files.cert);
                named(&files.key);
            }
            None if uses_identity(config) => named(&identity::path(agent)),
            None => {}
        }
        for uplink in &config.uplinks {
            if let Some(ca_file) = &uplink.trust.ca_file {
                named(ca_file);
            }
            if let ClientAuth::Bearer { token_file } = &uplink.auth {
                named(token_file);
            }
        }
        for login in config
            .profiles
            .iter()
            .filter_map(|profile| profile.login.as_ref())
        {
            if let Password::File(path) = &login.password {
                named(path);
            }
        }
        bundle
    }

    fn add(&mut self, name: &Path, source: &Path) {
        if self.items.iter().all(|item| item.name != name) {
            self.items.push(Item {
                name: name.to_owned(),
                source: source.to_owned(),
                handed: None,
            });
        }
    }

    /// Calls `hand` with each file that the agent does not have as it is now.
    ///
    /// # Errors
    /// What `hand` says; the file is then handed again the next time.
    pub(super) fn hand_changed(
        &mut self,
        mut hand: impl FnMut(&Path, Result<&File, i32>) -> io::Result<()>,
    ) -> io::Result<()> {
        for item in &mut self.items {
            let known = std::fs::metadata(&item.source);
            let known = known.map(|data| Stamp::of(&data)).map_err(|e| errno(&e));
            if item.handed == Some(known) {
                continue;
            }
            // The version is that of the open file, whatever its name stands for by then.
            let opened = open(&item.source);
            hand(&item.name, opened.as_ref().map(|(file, _)| file).map_err(|e| *e))?;
            item.handed = Some(opened.map(|(_, stamp)| stamp));
        }
        Ok(())
    }
}

/// Whether an uplink shows a certificate.
pub(super) fn uses_identity(config: &Config) -> bool {
    let shows = |auth: &ClientAuth| matches!(auth, ClientAuth::Certificate);
    config.uplinks.iter().any(|uplink| shows(&uplink.auth))
}

/// Opens a regular file for reading. A folder's descriptor would be a way out of the agent's root, and a pipe or a
/// device could make the monitor wait.
fn open(path: &Path) -> Result<(File, Stamp), i32> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|e| errno(&e))?;
    let data = file.metadata().map_err(|e| errno(&e))?;
    if data.is_dir() {
        return Err(libc::EISDIR);
    }
    if !data.is_file() {
        return Err(libc::EINVAL);
    }
    Ok((file, Stamp::of(&data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn changed(bundle: &mut Bundle) -> Vec<(String, Result<String, i32>)> {
        let mut seen = Vec::new();
        bundle
            .hand_changed(|name, file| {
                let text = file.map(|mut file| {
                    let mut text = String::new();
                    file.read_to_string(&mut text).unwrap();
                    text
                });
                seen.push((name.display().to_string(), text));
                Ok(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn files_are_handed_once_and_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let mut bundle = Bundle::default();
        bundle.add(Path::new("/named"), &path);
        bundle.add(Path::new("/named"), Path::new("/twice"));
        bundle.add(&dir.path().join("gone"), &dir.path().join("gone"));
        bundle.add(dir.path(), dir.path());
        let seen = changed(&mut bundle);
        assert_eq!(seen[0], ("/named".to_owned(), Ok("one".to_owned())));
        assert_eq!(
            (seen[1].1.clone(), seen[2].1.clone()),
            (Err(libc::ENOENT), Err(libc::EISDIR))
        );
        // What cannot be opened although it is there is looked at anew, as nothing says that it still cannot.
        assert_eq!(changed(&mut bundle).len(), 1);
        std::fs::write(dir.path().join("g"), "two").unwrap();
        std::fs::rename(dir.path().join("g"), &path).unwrap();
        std::fs::write(dir.path().join("gone"), "back").unwrap();
        let seen: Vec<_> = changed(&mut bundle).into_iter().map(|(_, text)| text).collect();
        assert_eq!(seen, [Ok("two".into()), Ok("back".into()), Err(libc::EISDIR)]);
    }

    #[test]
    fn what_could_not_be_handed_is_handed_again() {
        let mut bundle = Bundle::default();
        bundle.add(Path::new("/named"), Path::new("/dev/null"));
        let failed = bundle.hand_changed(|_, _| Err(io::ErrorKind::WouldBlock.into()));
        assert!(failed.is_err());
        assert_eq!(changed(&mut bundle)[0].1, Err(libc::EINVAL));
    }
}
