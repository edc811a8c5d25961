//! The configuration: `/etc/config/lenscap`, in UCI syntax, read without the `uci` program.

mod diagnostic;
mod secret;
mod types;

use std::path::Path;

pub use diagnostic::{Diagnostic, Errors, Position};
pub use secret::{MAX_SECRET_BYTES, Secret, is_world_readable};
pub use types::{
    AgentConfig, CertificateFiles, ClientAuth, Config, Harden, HardenMode, Level, LogTarget, Login, Password,
    Pin, Profile, SnapshotUrl, Trust, Uplink,
};

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/config/lenscap";

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is worth a word: unknown names, readable secrets, a camera that is not on loopback.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a configuration file.
///
/// # Errors
/// Every mistake in it.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let _ = path;
    unimplemented!()
}
