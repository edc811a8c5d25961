//! Passwords and tokens: values that no log, error or debug output may show.

use std::fmt;
use std::path::Path;

use crate::files;

/// The longest password or token that is read from a file, in bytes.
pub const MAX_SECRET_BYTES: usize = 8 * 1024;

/// A password or a token. `Debug` shows nothing of it; the memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the peer that must have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from the first line of a file.
    ///
    /// # Errors
    /// A sentence for the user, without the value.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let bytes = files::read(path, MAX_SECRET_BYTES as u64 + 1)
            .map_err(|error| format!("cannot open {shown}: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("cannot read {shown}: it is not UTF-8"))?;
        let whole = Self(text);
        if whole.0.len() > MAX_SECRET_BYTES {
            return Err(format!(
                "{shown} is longer than {MAX_SECRET_BYTES} bytes; it must hold one line, the secret"
            ));
        }
        let line = whole.0.lines().next().unwrap_or("");
        if line.is_empty() {
            return Err(format!("{shown} is empty; its first line must be the secret"));
        }
        if line.chars().any(char::is_control) {
            return Err(format!(
                "{shown} holds control characters in its first line, which must be the secret"
            ));
        }
        Ok(Self(line.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Best effort: keeps the compiler from leaving out a write that nothing reads.
        std::hint::black_box(&bytes);
    }
}

/// Whether users other than the file's owner and group may read a file. A file that is not there is not readable.
#[must_use]
pub fn is_world_readable(path: &Path) -> bool {
    files::mode(path).is_ok_and(|mode| mode & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(..)");
    }

    #[test]
    fn the_first_line_of_a_file_is_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, "p w\r\nsecond\n").unwrap();
        assert_eq!(Secret::read(&path).unwrap().expose(), "p w");
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("is empty"));
        std::fs::write(&path, "a\tb").unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("control characters"));
        std::fs::write(&path, vec![b'a'; MAX_SECRET_BYTES + 1]).unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("longer than"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("cannot read"));
        assert!(
            Secret::read(&dir.path().join("none"))
                .unwrap_err()
                .contains("cannot open")
        );
    }

    #[test]
    fn other_users_rights_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(!is_world_readable(&path));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(is_world_readable(&path));
        assert!(!is_world_readable(&dir.path().join("none")));
    }
}
