//! Files that the configuration names, as this process may see them: those of the file system, or, in an agent whose
//! root is an empty folder, those that the monitor has handed over.
//!
//! The table belongs to one thread, as the agent has one.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lenscap_uplink::table::Table;

/// Files that may be handed over; a configuration with every bound reached stays below it.
const MAX_FILES: usize = 128;
/// The largest file that is held in memory.
const MAX_HELD_BYTES: u64 = 16 * 1024;
/// The largest file that is handed over: the largest that any reader takes, and a byte that shows it was too large.
const MAX_FILE_BYTES: u64 = 1024 * 1024 + 1;

thread_local! {
    static HANDED: RefCell<Option<Table<PathBuf, Handed>>> = const { RefCell::new(None) };
}

/// A file's contents and mode, or why it could not be opened; and when it came, counted.
struct Handed(Result<(Contents, u32), i32>, u64);

enum Contents {
    Bytes(Vec<u8>),
    /// A large one stays where it is until it is asked for: an idle agent holds no report in memory.
    Open(File),
}

impl Contents {
    fn read(&self, max_bytes: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => {
                let end = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.get(..end).unwrap_or_default().to_vec())
            }
            Self::Open(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(0))?;
                let mut bytes = Vec::new();
                file.take(max_bytes).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Ok((Contents::Bytes(bytes), _)) = &mut self.0 {
            bytes.fill(0);
            // Best effort: keeps the compiler from leaving out a write that nothing reads.
            std::hint::black_box(bytes);
        }
    }
}

/// From now on this thread has the files alone that it is handed.
pub fn seal() {
    HANDED.with_borrow_mut(|table| {
        table.get_or_insert_default();
    });
}

/// Takes a file under the name that the configuration has for it: open, or the error number of opening it.
pub fn hand_over(path: PathBuf, file: Result<File, i32>) {
    let contents = file.and_then(|file| {
        let data = file.metadata().map_err(|e| errno(&e))?;
        let mode = data.mode();
        if data.len() > MAX_HELD_BYTES {
            return Ok((Contents::Open(file), mode));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|e| errno(&e))?;
        Ok((Contents::Bytes(bytes), mode))
    });
    HANDED.with_borrow_mut(|table| {
        let table = table.get_or_insert_default();
        let latest = table.values().map(|handed| handed.1).max().unwrap_or(0);
        table.insert(path, Handed(contents, latest + 1));
        if table.len() > MAX_FILES {
            // Of a configuration that has long been replaced: all files of one come together.
            let oldest = table.iter().min_by_key(|(_, handed)| handed.1);
            if let Some(path) = oldest.map(|(path, _)| path.clone()) {
                table.remove(&path);
            }
        }
    });
}

/// The error number of an I/O error.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}

/// At most `max_bytes` from the start of a file.
///
/// # Errors
/// What the system says about the file.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    if let Some(result) = lookup(path, |contents, _| contents.read(max_bytes)) {
        return result?;
    }
    // A pipe that nobody writes to would hold the program for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        let why = "is a pipe, and no file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file's mode bits.
///
/// # Errors
/// What the system says about the file.
pub fn mode(path: &Path) -> io::Result<u32> {
    match lookup(path, |_, mode| mode) {
        Some(result) => result,
        None => Ok(fs::metadata(path)?.mode()),
    }
}

/// Makes sure that a file can be opened and is no folder.
///
/// # Errors
/// What the system says about the file.
pub fn check(path: &Path) -> io::Result<()> {
    if let Some(result) = lookup(path, |_, _| ()) {
        return result;
    }
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

/// `None` where files come from the file system.
fn lookup<T>(path: &Path, found: impl FnOnce(&Contents, u32) -> T) -> Option<io::Result<T>> {
    HANDED.with_borrow(|table| {
        let table = table.as_ref()?;
        Some(match table.get(path) {
            Some(Handed(Ok((contents, mode)), _)) => Ok(found(contents, *mode)),
            Some(Handed(Err(number), _)) => Err(io::Error::from_raw_os_error(*number)),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    })
}

/// Puts a file in the place of another, whole or not at all whenever the power fails, for its owner alone.
///
/// # Errors
/// What the system says; the old file is then as it was.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    publish(path, contents, 0o600, true)
}

/// The same for a folder in memory: readable by everyone, and no waiting for a disk.
///
/// # Errors
/// What the system says; the old file is then as it was.
pub fn replace_volatile(path: &Path, contents: &[u8]) -> io::Result<()> {
    publish(path, contents, 0o644, false)
}

/// The same for its owner alone.
///
/// # Errors
/// What the system says; the old file is then as it was.
pub fn replace_volatile_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    publish(path, contents, 0o600, false)
}

/// Where a power failure or a full flash is tried out, before each step.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::RefCell;
    use std::io;

    type Gate = Box<dyn FnMut() -> io::Result<()>>;
    thread_local! {
        static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
    }

    pub(crate) fn set(gate: Option<Gate>) {
        GATE.set(gate);
    }

    pub(super) fn step() -> io::Result<()> {
        GATE.with_borrow_mut(|gate| gate.as_mut().map_or(Ok(()), |gate| gate()))
    }
}

#[cfg(not(test))]
mod faults {
    pub(super) fn step() -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes in two halves, so that a fault can fall between them.
fn write_all(file: &mut File, contents: &[u8]) -> io::Result<()> {
    let (first, second) = contents.split_at(contents.len() / 2);
    faults::step()?;
    file.write_all(first)?;
    faults::step()?;
    file.write_all(second)
}

fn publish(path: &Path, contents: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    faults::step()?;
    let temporary = path.with_extension("new");
    // What a power failure left behind; it was never in use.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        write_all(&mut file, contents)?;
        if durable {
            faults::step()?;
            file.sync_all()?;
        }
        faults::step()?;
        fs::rename(&temporary, path)
    };
    let result = write();
    if result.is_err() && faults::step().is_ok() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    match path.parent() {
        Some(dir) if durable => {
            faults::step()?;
            // A name alone is in the folder where the program was started.
            File::open(Path::new(".").join(dir))?.sync_all()
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(path.with_extension("new"), "hal").unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(replace(&dir.path().join("none/f"), b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_alone_is_a_file_in_the_folder_of_the_program() {
        let name = Path::new("replaced-by-a-test");
        let replaced = replace(name, b"x");
        let there = fs::remove_file(name);
        assert!(replaced.is_ok() && there.is_ok(), "{replaced:?} {there:?}");
    }

    #[test]
    fn a_sealed_thread_sees_what_it_was_handed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "contents").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"contents");
        assert_eq!(check(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        seal();
        assert_eq!(read(&path, 100).unwrap_err().kind(), io::ErrorKind::NotFound);
        hand_over("/named".into(), File::open(&path).map_err(|e| errno(&e)));
        hand_over("/gone".into(), Err(nix::libc::EACCES));
        assert_eq!(read(Path::new("/named"), 4).unwrap(), b"cont");
        assert_eq!(mode(Path::new("/named")).unwrap() & 0o777, 0o640);
        check(Path::new("/named")).unwrap();
        for error in [
            read(Path::new("/gone"), 9).unwrap_err(),
            check(Path::new("/gone")).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        let large: Vec<u8> = (0..=u16::MAX).map(|n| (n % 251) as u8).collect();
        fs::write(dir.path().join("large"), &large).unwrap();
        hand_over(
            "/large".into(),
            File::open(dir.path().join("large")).map_err(|e| errno(&e)),
        );
        for _ in 0..2 {
            assert_eq!(read(Path::new("/large"), u64::MAX).unwrap(), large);
            assert_eq!(read(Path::new("/large"), 3).unwrap(), large[..3]);
        }
        hand_over("/named".into(), Err(nix::libc::ENOENT));
        assert!(read(Path::new("/named"), 4).is_err());
        let opened = || File::open(&path).map_err(|e| errno(&e));
        for number in 0..MAX_FILES {
            // Two are there already.
            hand_over(format!("/{number}").into(), opened());
        }
        // A full table forgets what came first.
        assert!(read(Path::new("/gone"), 4).is_err_and(|e| e.kind() == io::ErrorKind::NotFound));
        assert!(read(Path::new("/0"), 4).is_ok());
        hand_over("/more".into(), opened());
        assert!(read(Path::new("/0"), 4).is_err() && read(Path::new("/more"), 4).is_ok());
    }
}
