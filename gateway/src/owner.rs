//! Whose a file is. What root's commands leave in the folder of a service, the service must be able to open.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

/// The folder that a file is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Gives an open file or folder to the owner of `folder`. Nothing happens where it is theirs already, and nothing to what
/// is neither a folder nor an ordinary file, or has another name somewhere else: a folder's owner must not be given what was never theirs.
/// Only root can give files away; everybody else's stay their own.
pub fn give(file: &File, folder: &Path) {
    let (Ok(owner), Ok(own)) = (fs::metadata(folder), file.metadata()) else {
        return;
    };
    let is_other = (owner.uid(), owner.gid()) != (own.uid(), own.gid());
    if is_other && (own.is_dir() || own.is_file() && own.nlink() == 1) {
        let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// For tests: hands a folder to somebody else if that can be done, and tells its owner.
#[cfg(test)]
pub(crate) fn foreign(folder: &Path) -> (u32, u32) {
    use std::os::unix::fs::chown;
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        chown(folder, Some(65_534), Some(65_534)).unwrap();
    }
    of(folder)
}

/// For tests: who owns a file, not what a symbolic link leads to.
#[cfg(test)]
pub(crate) fn of(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_another_name_is_not_given_away() {
        let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (secret, own) = (outside.path().join("secret"), inside.path().join("own"));
        fs::write(&secret, "").unwrap();
        fs::write(&own, "").unwrap();
        let before = of(&secret);
        let owner = foreign(inside.path());
        let link = inside.path().join("link");
        fs::hard_link(&secret, &link).unwrap();
        for path in [&link, &own] {
            give(&File::open(path).unwrap(), inside.path());
        }
        assert_eq!(of(&secret), before);
        assert_eq!(of(&own), owner);
        assert_eq!(folder_of(Path::new("a")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/b")), Path::new("a"));
    }
}
