//! Where the configuration and the data are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, Config, Loaded};
use crate::data;
use crate::ordinary;

/// The configuration when none is named.
const DEFAULT_CONFIG: &str = "/etc/lenscap-gateway/gateway.toml";

/// Where to look.
#[derive(Args, Clone, Debug, Default)]
pub struct Place {
    /// Configuration file (TOML); without one: /etc/lenscap-gateway/gateway.toml, or none.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Why a command did not do it.
#[derive(Debug)]
pub enum Failure {
    /// Mistakes in the configuration or on the command line.
    Usage(String),
    /// Everything else.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl Failure {
    /// 2 for usage, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Refuses a data folder that is not there, or that could not be looked for.
pub(super) fn must_be_folder(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    match ordinary::is_folder(folder) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Failed(format!(
            "there is no data folder {shown}; start `lenscap-gateway run` first, or name it with --data"
        ))),
        Err(error) => Err(Failure::Failed(format!(
            "the data folder {shown} could not be looked at: {error}; run this as its owner or as root, or name another \
             with --data"
        ))),
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The configuration, where there is one.
    pub loaded: Option<Loaded>,
    /// The data folder.
    pub data: PathBuf,
}

impl Place {
    /// The configuration file that counts: the one named, or the default one if it is there.
    #[must_use]
    pub fn config_file(&self) -> Option<PathBuf> {
        // One that may not be looked at is there: what it says must not be passed over.
        let is_there = |path: &PathBuf| ordinary::has_name(path).unwrap_or(true);
        let default = || Some(PathBuf::from(DEFAULT_CONFIG)).filter(is_there);
        // A data folder that is named stands for itself.
        self.config
            .clone()
            .or_else(|| if self.data.is_none() { default() } else { None })
    }

    /// The data folder when no configuration names one.
    #[must_use]
    pub fn default_data(&self) -> PathBuf {
        let is_root = std::fs::metadata("/proc/self")
            .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
            .unwrap_or(false);
        self.data
            .clone()
            .unwrap_or_else(|| data::default_folder(|name| std::env::var(name).ok(), is_root))
    }

    /// The configuration, if there is one, with `--data` put over it.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self) -> Result<Option<Loaded>, Failure> {
        let Some(path) = self.config_file() else {
            return Ok(None);
        };
        let mut loaded = config::load(&path).map_err(|errors| Failure::Usage(errors.to_string()))?;
        if let Some(data) = &self.data {
            loaded.config.data = Some(data.clone());
        }
        Ok(Some(loaded))
    }

    /// Finds the data folder.
    ///
    /// # Errors
    /// Mistakes in the configuration, or one without a data folder.
    pub fn find(&self) -> Result<Found, Failure> {
        let loaded = self.load()?;
        let data = match &loaded {
            None => self.default_data(),
            Some(Loaded {
                config: Config { data: Some(data), .. },
                ..
            }) => data.clone(),
            Some(_) => {
                let path = self.config_file().unwrap_or_default();
                return Err(Failure::Failed(no_data(&path)));
            }
        };
        Ok(Found { loaded, data })
    }
}

fn no_data(config: &Path) -> String {
    format!(
        "{}: nothing is kept by this configuration: add `data = \"/var/lib/lenscap-gateway\"` at its top and restart the gateway",
        config.display()
    )
}
