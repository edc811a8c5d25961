//! `lenscap-gateway check`: the configuration with every file that it names, or the data folder alone, where that is all
//! there is. Nothing that is kept is changed.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use super::place::{Failure, Place, no_folder};
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
        if !folder.is_dir() {
            return Err(no_folder(&folder));
        }
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
    let pair = match ca::own_key(folder) {
        Ok(pair) => pair,
        Err(error) => return found.error(error),
    };
    if pair.is_none() || !cert.exists() {
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
    if !database.exists() {
        return found.good(&database, "not there yet; `lenscap-gateway run` makes it");
    }
    match schema::inspect(&database) {
        Ok(held) => found.good(
            &database,
            &format!("ok, {} cameras, {} viewers", held.cameras, held.viewers),
        ),
        Err(error) => found.error(error),
    }
}
