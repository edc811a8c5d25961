//! `lenscap-gateway ca`, `backup` and `restore`.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::place::{Failure, Place};
use super::show::print;
use crate::ca::{self, Use};
use crate::clock::unix_now;
use crate::data::{Data, DataError};
use crate::ordinary;
use crate::store::backup as store;

#[derive(Subcommand)]
pub(super) enum CaCommand {
    /// Make a CA in the data folder. `run` without a configuration does it by itself.
    Init {
        #[command(flatten)]
        place: Place,
    },
    /// Make a certificate and a key.
    Issue {
        /// Names and addresses that it is for, the first one first.
        #[arg(required = true)]
        names: Vec<String>,
        /// Writes PREFIX.pem and PREFIX.key.
        #[arg(long, value_name = "PREFIX")]
        out: PathBuf,
        /// For a camera instead of a gateway.
        #[arg(long)]
        client: bool,
        /// For so many days.
        #[arg(long, default_value_t = ca::LEAF_DAYS)]
        days: u64,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub(super) struct BackupArgs {
    /// The backup.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub(super) fn ca(command: CaCommand) -> Result<(), Failure> {
    let now = SystemTime::now();
    match command {
        CaCommand::Init { place } => {
            let folder = data_folder(&place)?;
            // A gateway that runs there may make one at the same time.
            let _data = Data::open(&folder).map_err(failed)?;
            let path = ca::init(&folder, now).map_err(failed)?;
            print(&format!(
                "{}: give it to those who shall trust this gateway\n",
                path.display()
            ))
        }
        CaCommand::Issue {
            names,
            out,
            client,
            days,
            place,
        } => {
            if let Some(odd) = names.iter().find(|name| !ca::is_host(name)) {
                return Err(Failure::Usage(format!(
                    "{odd:?} is neither a host name nor an address"
                )));
            }
            if !(1..=7300).contains(&days) {
                return Err(Failure::Usage("--days: 1 to 7300".to_owned()));
            }
            let (cert, key) = (with_suffix(&out, "pem"), with_suffix(&out, "key"));
            for path in [&cert, &key] {
                if ordinary::has_name(path).map_err(failed)? {
                    return Err(Failure::Failed(format!("{} is there already", path.display())));
                }
            }
            let what = if client { Use::Client } else { Use::Server };
            let issued = ca::issue(&data_folder(&place)?, &names, what, days, now).map_err(failed)?;
            ca::hand_out(&key, &issued.key, 0o600).map_err(failed)?;
            ca::hand_out(&cert, &issued.chain, 0o644).map_err(failed)?;
            print(&format!("{}\n{}\n", cert.display(), key.display()))
        }
    }
}

pub(super) fn backup(args: &BackupArgs) -> Result<(), Failure> {
    store::backup(&data_folder(&args.place)?, &args.file).map_err(failed)?;
    print(&format!(
        "{}: keep it safe, whoever has it can pose as this gateway\n",
        args.file.display()
    ))
}

pub(super) fn restore(args: &BackupArgs) -> Result<(), Failure> {
    let folder = data_folder(&args.place)?;
    let _data = match Data::open(&folder) {
        Err(DataError::Busy(folder)) => {
            let why = format!("a gateway runs with {}; stop it first", folder.display());
            return Err(Failure::Failed(why));
        }
        other => other.map_err(failed)?,
    };
    let kept = store::restore(&args.file, &folder, unix_now()).map_err(failed)?;
    let mut text = format!("{}: restored\n", folder.display());
    for path in kept {
        text.push_str(&format!("what was there is now {}\n", path.display()));
    }
    print(&text)
}

/// The data folder alone: certificates of the configuration may be what is to be made.
fn data_folder(place: &Place) -> Result<PathBuf, Failure> {
    match &place.data {
        Some(folder) => Ok(folder.clone()),
        None => Ok(place.find()?.data),
    }
}

fn with_suffix(prefix: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
