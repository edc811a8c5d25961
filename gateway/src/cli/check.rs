//! `lenscap-gateway check`: the configuration with every file that it names, or the data folder alone, where that is all
//! there is. Nothing that is kept is changed.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use super::place::{Failure, Place, must_be_folder};
use crate::ca::{self, CaError};
use crate::clock;
use crate::config::{Loaded, files};
use crate::expiry::{self, Notice, What};
use crate::store::backup::DATABASE;
use crate::store::schema;
use crate::tls;

pub(super) fn check(place: &Place) -> ExitCode {
    match judge(place) {
        Ok(found) => found.tell(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

/// What there is to say.
#[derive(Default)]
struct Findings {
    good: Vec<String>,
    warnings: Vec<String>,
    errors: Vec<String>,
}

impl Findings {
    fn good(&mut self, path: &Path, what: &str) {
        self.good.push(format!("{}: {what}", path.display()));
    }

    fn error(&mut self, error: impl ToString) {
        self.errors.push(error.to_string());
    }

    /// Certificates that have ended still serve cameras that pin the key.
    fn end(&mut self, what: What, path: &Path, now: u64) -> String {
        let end = expiry::end_of(path).unwrap_or_default();
        if clock::is_plausible(now)
            && let Some(Notice::Soon(text) | Notice::Over(text)) = expiry::judge(what, path, end, now)
        {
            self.warnings.push(text);
        }
        clock::date(end)
    }

    fn tell(self) -> ExitCode {
        for warning in self.warnings {
            eprintln!("warning: {warning}");
        }
        for line in self.good {
            println!("{line}");
        }
        for error in &self.errors {
            eprintln!("{error}");
        }
        if self.errors.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn judge(place: &Place) -> Result<Findings, Failure> {
    let now = clock::unix(SystemTime::now());
    let mut found = Findings::default();
    let Some(Loaded { config, warnings }) = place.load()? else {
        let folder = place.default_data();
        must_be_folder(&folder)?;
        if let Err(wrong) = clock::check(now) {
            found.warnings.push(wrong.to_string());
        }
        check_own(&mut found, &folder, now);
        check_kept(&mut found, &folder, now);
        return Ok(found);
    };
    found.warnings.extend(warnings.iter().map(ToString::to_string));
    if let Some(folder) = &config.data {
        check_kept(&mut found, folder, now);
    }
    let path = place.config_file().unwrap_or_default();
    let (cameras, viewers) = (config.cameras.len(), config.viewers.len());
    found.good(&path, &format!("ok, {cameras} cameras, {viewers} viewers"));
    Ok(found)
}

/// The certificate that a gateway without a configuration makes for itself.
fn check_own(found: &mut Findings, folder: &Path, now: u64) {
    let (cert, key) = (folder.join("gateway.pem"), folder.join("gateway.key"));
    let kept = ca::own_key(folder).and_then(|key| Ok((key, ca::own_certificate(folder)?)));
    let (pair, shown) = match kept {
        Ok(kept) => kept,
        Err(error) => return found.error(error),
    };
    if pair.is_none() || shown.is_none() {
        return found.good(&cert, "not there yet; `lenscap-gateway run` makes it");
    }
    if let Err(why) = files::private(&key) {
        found.error(why);
    }
    if let Err(error) = tls::load_identity(&cert, &key) {
        return found.error(error);
    }
    let until = found.end(What::Shown, &cert, now);
    let names = ca::names_of(&cert).join(", ");
    found.good(&cert, &format!("ok, until {until}, for {names}"));
    match ca::lost_ca(folder) {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => found.error(error),
    }
}

/// The CA and the database.
fn check_kept(found: &mut Findings, folder: &Path, now: u64) {
    let (cert, database) = (folder.join("ca.pem"), folder.join(DATABASE));
    match ca::load(folder) {
        Ok(_) => {
            let until = found.end(What::Ca, &cert, now);
            found.good(&cert, &format!("ok, until {until}"));
        }
        Err(CaError::Missing(_)) => found.good(&cert, "there is no CA here"),
        Err(error) => found.error(error),
    }
    match schema::is_there(&database) {
        Ok(true) => {}
        Ok(false) => return found.good(&database, "not there yet; `lenscap-gateway run` makes it"),
        Err(error) => return found.error(error),
    }
    match schema::inspect(&database) {
        Ok(held) => found.good(
            &database,
            &format!("ok, {} cameras, {} viewers", held.cameras, held.viewers),
        ),
        Err(error) => found.error(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is said to somebody whom the file system gives no more than its modes allow, as it does root.
    fn judged_as_nobody(data: &Path) -> String {
        let place = Place {
            config: None,
            data: Some(data.to_owned()),
        };
        let judging = std::thread::spawn(move || {
            // Of this thread alone; for anybody but root it changes nothing.
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            match judge(&place) {
                Ok(found) => [found.errors, found.good].concat().join("\n"),
                Err(failure) => failure.to_string(),
            }
        });
        judging.join().unwrap()
    }

    #[test]
    fn what_may_not_be_looked_at_is_not_taken_for_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("data");
        fs::create_dir(&data).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        // For whoever is not root these are their own, so the modes take it from the owner as well.
        mode(parent.path(), 0o000);
        let said = judged_as_nobody(&data);
        mode(parent.path(), 0o755);
        assert!(
            said.contains("could not be looked at: Permission denied") && said.contains("as root"),
            "{said}"
        );
        ca::ensure(&data, &["a".to_owned()], SystemTime::now()).unwrap();
        drop(schema::open(&data.join(DATABASE)).unwrap());
        mode(&data, 0o000);
        let said = judged_as_nobody(&data);
        mode(&data, 0o755);
        assert!(!said.contains("not there") && !said.contains("no CA"), "{said}");
        for name in ["gateway.key", "ca.pem", DATABASE] {
            let denied = |line: &str| line.contains(name) && line.contains("Permission denied");
            assert!(said.lines().any(denied), "{name}: {said}");
        }
        mode(&data.join(DATABASE), 0o000);
        let said = judged_as_nobody(&data);
        assert!(said.contains("lenscap.db: unable to open"), "{said}");
    }
}
