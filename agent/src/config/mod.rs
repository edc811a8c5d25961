//! The configuration: `/etc/config/lenscap`, in UCI syntax, read without the `uci` program.

pub(crate) mod diagnostic;
mod read;
mod secret;
mod section;
mod suggest;
mod types;
mod uci;
mod url;

use std::path::Path;

pub use diagnostic::{Diagnostic, Errors, Position};
pub use secret::{MAX_SECRET_BYTES, Secret, is_world_readable};
pub use types::{
    AgentConfig, CertificateFiles, ClientAuth, Config, Harden, HardenMode, HardenPassword, Level, LogTarget,
    Login, Password, Pin, Profile, SnapshotUrl, Trust, Uplink,
};

use crate::files;
use section::Sink;

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/config/lenscap";

/// Where the program says how it is unless the configuration says otherwise.
pub const DEFAULT_RUN_DIR: &str = "/var/run/lenscap";

/// The longest configuration file, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024;

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
    let mut sink = Sink::new(path.display().to_string());
    let config = read_text(path, &mut sink).and_then(|text| {
        let config = read::config(&text, &mut sink);
        if is_world_readable(path) {
            read::warn_inline_passwords(&text, &mut sink);
        }
        config
    });
    finish(config, sink).map(|(config, warnings)| Loaded { config, warnings })
}

/// Reads a configuration's text, which `file` names in messages. Files that the text names are opened.
///
/// # Errors
/// Every mistake in it.
pub fn parse(file: &str, text: &str) -> Result<Loaded, Errors> {
    let mut sink = Sink::new(file.to_owned());
    let config = read::config(text, &mut sink);
    finish(config, sink).map(|(config, warnings)| Loaded { config, warnings })
}

/// Reads `config agent` alone: enough for the identity, before there is a gateway to configure.
///
/// # Errors
/// Mistakes in the file's syntax and in that section.
pub fn load_agent(path: &Path) -> Result<AgentConfig, Errors> {
    let mut sink = Sink::new(path.display().to_string());
    let agent = read_text(path, &mut sink).map(|text| read::agent_only(&text, &mut sink));
    finish(agent, sink).map(|(agent, _)| agent)
}

/// What `config agent` says, as far as it can be read: defaults stand in for what is damaged or missing.
#[must_use]
pub fn load_agent_leniently(path: &Path) -> AgentConfig {
    let mut sink = Sink::new(path.display().to_string());
    let bytes = files::read(path, MAX_FILE_BYTES as u64).unwrap_or_default();
    read::agent_only(&String::from_utf8_lossy(&bytes), &mut sink)
}

/// What a configuration says, as far as it can be used: for a tree, whose files are not this machine's.
#[must_use]
pub fn parse_leniently(text: &str) -> Option<Config> {
    read::config(text, &mut Sink::new(String::new()))
}

/// What `config harden` says, as far as it can be read: an image may have its uplink from somewhere else.
#[must_use]
pub fn harden_leniently(text: &str) -> Harden {
    read::harden_only(text, &mut Sink::new(String::new()))
}

fn finish<T>(value: Option<T>, mut sink: Sink) -> Result<(T, Vec<Diagnostic>), Errors> {
    diagnostic::sort(&mut sink.errors);
    diagnostic::sort(&mut sink.warnings);
    match value {
        Some(value) if sink.errors.is_empty() => Ok((value, sink.warnings)),
        _ => Err(Errors {
            errors: sink.errors,
            warnings: sink.warnings,
        }),
    }
}

/// The file's text, if it is text.
fn read_text(path: &Path, sink: &mut Sink) -> Option<String> {
    let whole = Position::default();
    let bytes = match files::read(path, MAX_FILE_BYTES as u64 + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => "; name another file with --config",
                std::io::ErrorKind::PermissionDenied => "; run this as root",
                _ => "",
            };
            sink.error(whole, format!("cannot read the configuration: {error}{hint}"));
            return None;
        }
    };
    if bytes.len() > MAX_FILE_BYTES {
        sink.error(
            whole,
            format!(
                "longer than {} KiB; this is no configuration of lenscap",
                MAX_FILE_BYTES / 1024
            ),
        );
        return None;
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        sink.error(
            position_of(&bytes, at),
            "a NUL byte; the file is damaged or not text".into(),
        );
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            sink.error(
                position_of(error.as_bytes(), at),
                "not UTF-8; save the file as UTF-8".into(),
            );
            None
        }
    }
}

/// Line and column of a byte. What stands before it is counted as UTF-8.
fn position_of(bytes: &[u8], at: usize) -> Position {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default())
        .chars()
        .count()
        + 1;
    Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests;
