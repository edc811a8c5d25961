//! Files and folders that are kept, told apart: not there, there, and what is neither. A link that leads nowhere, a file that may
//! not be looked at and a fifo are not "not there": what stands for them would be made anew, and the real one lost.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::libc::O_NONBLOCK;

/// No certificate or key is larger, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// True if something has this name, whatever it is, and wherever a link leads.
///
/// # Errors
/// It could not be looked for.
pub fn has_name(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// True if an ordinary file is there, false if nothing is.
///
/// # Errors
/// It could not be looked for, leads nowhere, or is something else.
pub fn is_file(path: &Path) -> io::Result<bool> {
    match found(path)? {
        Some(found) if !found.is_file() => Err(odd(&found)),
        found => Ok(found.is_some()),
    }
}

/// True if a folder is there, false if nothing is.
///
/// # Errors
/// As [`is_file`].
pub fn is_folder(path: &Path) -> io::Result<bool> {
    match found(path)? {
        Some(found) if !found.is_dir() => Err(io::Error::other("is no folder")),
        found => Ok(found.is_some()),
    }
}

/// The content of a small ordinary file; `None` if nothing is there. Never waits for somebody who writes.
///
/// # Errors
/// As [`is_file`], and it cannot be read.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        // A socket cannot even be opened.
        Err(error) => return is_file(path).and_then(|there| if there { Err(error) } else { Ok(None) }),
    };
    must_be_file(&file)?;
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("is larger than a certificate or key can be"));
    }
    Ok(Some(content))
}

/// Refuses what is open, but not an ordinary file.
///
/// # Errors
/// What it is.
pub fn must_be_file(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_file() { Ok(()) } else { Err(odd(&found)) }
}

/// Says what something is that ought to be an ordinary file.
#[must_use]
pub fn odd(found: &Metadata) -> io::Error {
    let kind = found.file_type();
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_symlink() {
        "a link"
    } else {
        "a device"
    };
    io::Error::other(format!("is {what}, not an ordinary file; put it aside"))
}

fn found(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound && has_name(path)? => {
            let why = "a link that leads nowhere; is the disk that it leads to mounted?";
            Err(io::Error::new(ErrorKind::NotFound, why))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_neither_there_nor_away_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "abc").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("disk/file"), path("nowhere")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for name in ["file", "link"] {
            assert!(is_file(&path(name)).unwrap());
            assert_eq!(read(&path(name)).unwrap().unwrap(), b"abc");
        }
        assert!(!is_file(&path("none")).unwrap() && read(&path("none")).unwrap().is_none());
        for (name, why) in [
            ("nowhere", "leads nowhere"),
            ("fifo", "is a fifo, not an ordinary file"),
            ("socket", "is a socket"),
            ("", "is a folder"),
            ("file/x", "Not a directory"),
        ] {
            for error in [is_file(&path(name)).unwrap_err(), read(&path(name)).unwrap_err()] {
                assert!(error.to_string().contains(why), "{name}: {error}");
            }
        }
        assert!(is_folder(folder.path()).unwrap() && !is_folder(&path("none")).unwrap());
        assert!(is_folder(&path("nowhere")).is_err() && is_folder(&path("file")).is_err());
        File::create(path("large"))
            .unwrap()
            .set_len(MAX_BYTES + 1)
            .unwrap();
        assert!(read(&path("large")).is_err());
    }
}
