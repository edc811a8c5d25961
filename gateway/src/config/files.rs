//! Files with secrets in them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use toml::Spanned;

use super::diagnostics::Collector;

/// Longest file with a password or token, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;
const OTHERS: u32 = 0o007;
/// Shortest token.
const MIN_TOKEN_CHARS: usize = 16;

/// Refuses a file that everyone on the machine may read or write.
pub(crate) fn private(path: &Path) -> Result<(), String> {
    let Ok(meta) = fs::metadata(path) else {
        return Ok(());
    };
    let mode = meta.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(format!(
            "{} is open to everyone (mode {mode:04o}): chmod 600 it",
            path.display()
        ));
    }
    Ok(())
}

/// The first line of a small private file.
pub(super) fn secret_line(path: &Path) -> Result<String, String> {
    private(path)?;
    let unreadable = |error| format!("{} cannot be read: {error}", path.display());
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_SECRET_BYTES {
        return Err(format!("{} is larger than a password can be", path.display()));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    match text.lines().next().unwrap_or_default() {
        "" => Err(format!("{} has an empty first line", path.display())),
        line => Ok(line.to_owned()),
    }
}

/// The token in a file.
pub(super) fn token(collect: &mut Collector, folder: &Path, file: &Spanned<String>) -> Option<String> {
    match secret_line(&folder.join(file.get_ref())) {
        Ok(token) if token.len() < MIN_TOKEN_CHARS => {
            let why = format!("the token is shorter than {MIN_TOKEN_CHARS} characters");
            collect.error(file.span(), why);
            None
        }
        Ok(token) => Some(token),
        Err(why) => {
            collect.error(file.span(), why);
            None
        }
    }
}
