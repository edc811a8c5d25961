//! Files that appear whole or not at all, and only once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::{files, sys};

/// The largest certificate or key file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Writes a file that only its owner may read. It is there completely or not at all, whenever the power fails, and a
/// file that is there already stays as it is (`AlreadyExists`).
pub(super) fn create(path: &Path, contents: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // Of this call's own, so that starts at the same time do not publish each other's halves.
    let temporary = path.with_extension(format!("{:016x}.new", u64::from_ne_bytes(sys::random()?)));
    let result = write(&temporary, contents).and_then(|()| publish(&temporary, path));
    let _ = fs::remove_file(&temporary);
    result?;
    File::open(dir)?.sync_all()
}

fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// A hard link fails where the name is taken, a rename would not. Some file systems have no links.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            if path.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(temporary, path)
        }
        result => result,
    }
}

/// A whole file of bounded size.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = files::read(path, MAX_BYTES + 1)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/f.pem");
        create(&path, b"one").unwrap();
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(dir.path().join("a/b")).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            create(&path, b"two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_power_failure_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.pem");
        fs::write(path.with_extension("new"), b"hal").unwrap();
        create(&path, b"whole").unwrap();
        assert_eq!(read(&path).unwrap(), b"whole");
    }

    #[test]
    fn large_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.pem");
        fs::write(&path, vec![0; 64 * 1024 + 1]).unwrap();
        assert!(read(&path).is_err());
    }
}
