//! Changes of several files that are all made or none, whenever the power fails.
//!
//! New contents are written beside their targets first, then one record names all renames that are due: its own rename
//! is the moment at which the new state is decided. What follows needs no space, and [`Store::recover`] does the rest
//! of it after an interruption.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;

use nix::errno::Errno;

use crate::journal::{Journal, sha256};
use crate::root::{Attributes, Root, folder_of};

const JOURNAL: &str = "journal";
const PREPARING: &str = "preparing";
const PENDING: &str = "pending";
const SAVED: &str = "saved";
/// Before what the journal said of a file, in the record of renames.
const WAS: &str = "was\t";
/// What a small file takes on a flash file system, in bytes.
pub const FILE_OVERHEAD: u64 = 4096;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A file gets these contents.
    File {
        /// The file, after all links.
        path: String,
        /// All of it.
        contents: Vec<u8>,
        /// Its owner and mode.
        attributes: Attributes,
        /// SHA-256 of what it was when this was planned, in hexadecimal: another file is left as it is. `None`: it may be
        /// anything.
        was: Option<String>,
    },
    /// A file goes.
    Remove {
        /// The file, after all links.
        path: String,
    },
}

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// All files are as they were.
    Unchanged(io::Error),
    /// The new state is decided and some files have it; [`Store::recover`] does the rest.
    Unfinished(io::Error),
}

/// What an earlier, interrupted run had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing.
    Nothing,
    /// Preparations, now removed: all files are as they were before that run.
    Cleaned,
    /// A decided state, now complete.
    Finished,
}

/// The state folder inside a root: journal, saved originals, and the records of a running transaction.
pub struct Store<'a> {
    root: &'a Root,
    dir: String,
    /// The file beside which the last commit could write nothing.
    stopped_at: RefCell<Option<String>>,
}

impl<'a> Store<'a> {
    /// The store in a folder, which need not be there yet.
    #[must_use]
    pub fn new(root: &'a Root, dir: &str) -> Self {
        Self {
            root,
            dir: dir.trim_end_matches('/').to_owned(),
            stopped_at: RefCell::default(),
        }
    }

    /// The file of the firmware's at which the last commit stopped with nothing changed nor left, if it was one.
    #[must_use]
    pub fn stopped_at(&self) -> Option<String> {
        self.stopped_at.take().filter(|_| !self.is_interrupted())
    }

    /// The root that it is in.
    #[must_use]
    pub fn root(&self) -> &'a Root {
        self.root
    }

    /// The journal; an empty one if there is none.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn journal(&self) -> io::Result<Journal> {
        let text = match self.root.read(&self.path(JOURNAL)) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(Journal::default()),
            Err(error) => return Err(error),
        };
        let text = str::from_utf8(&text).ok();
        text.and_then(Journal::parse)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the journal is damaged"))
    }

    /// A saved original, checked against its name.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn saved(&self, name: &str) -> io::Result<Vec<u8>> {
        let contents = self.root.read(&self.path(&format!("{SAVED}/{name}")))?;
        if sha256(&contents) == name {
            Ok(contents)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the saved original {name} is damaged"),
            ))
        }
    }

    /// Whether an interrupted run left something.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.root.exists(&self.path(PENDING)) || self.root.exists(&self.path(PREPARING))
    }

    /// Brings an interrupted run to its end: forward if its state was decided, else back.
    ///
    /// # Errors
    /// When the file system refuses. Then it can be called again.
    pub fn recover(&self) -> io::Result<Recovered> {
        if self.root.exists(&self.path(PENDING)) {
            let pending = self.root.read(&self.path(PENDING))?;
            self.finish(&String::from_utf8_lossy(&pending))
                .map_err(|stop| stop.error)?;
            return Ok(Recovered::Finished);
        }
        if self.root.exists(&self.path(PREPARING)) {
            let preparing = self.root.read(&self.path(PREPARING))?;
            self.abandon(&String::from_utf8_lossy(&preparing))?;
            return Ok(Recovered::Cleaned);
        }
        Ok(Recovered::Nothing)
    }

    /// The bytes that a transaction needs at most while it runs.
    #[must_use]
    pub fn space_needed(writes: &[Write], originals: &[Vec<u8>]) -> u64 {
        let written = writes.iter().map(|write| match write {
            Write::File { contents, .. } => contents.len(),
            Write::Remove { .. } => 0,
        });
        let sizes = written.chain(originals.iter().map(Vec::len));
        sizes.map(|size| size as u64 + FILE_OVERHEAD).sum::<u64>() + 4 * FILE_OVERHEAD
    }

    /// Makes all changes or none. `journal` replaces the journal, in the same step. `disclose` is called when nothing
    /// but the decision is missing: what the new state needs to be known for, such as a password, is told there. Gives the
    /// files that stayed as they were; the journal has of them what it had before.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn commit(
        &self,
        writes: &[Write],
        originals: &[Vec<u8>],
        journal: &Journal,
        disclose: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<Vec<String>, Failure> {
        let before = self.journal().map_err(Failure::Unchanged)?;
        // First: without it nothing may change.
        let mut all = vec![self.journal_write(journal)];
        all.extend_from_slice(writes);
        let writes = all;
        let mut temporaries = String::new();
        let mut pending = String::new();
        for write in &writes {
            let (Write::File { path, .. } | Write::Remove { path }) = write;
            if let Some(entry) = before.entry(path) {
                pending.push_str(&format!("{WAS}{}", before.line(entry)));
            }
            match write {
                Write::File { path, was, .. } => {
                    let temporary = temporary(path);
                    let was = was.as_deref().unwrap_or_default();
                    temporaries.push_str(&format!("{temporary}\n"));
                    pending.push_str(&format!("rename\t{temporary}\t{path}\t{was}\n"));
                }
                Write::Remove { path } => pending.push_str(&format!("remove\t{path}\n")),
            }
        }
        let prepared = self
            .prepare(&writes, originals, &temporaries)
            .and_then(|()| disclose())
            .and_then(|()| self.publish(PENDING, pending.as_bytes()));
        if let Err(error) = prepared {
            // The record's rename may have happened before its folder could not be synced.
            let undecided = self.root.remove(&self.path(PENDING));
            let abandoned = undecided.and_then(|()| self.abandon(&temporaries));
            return Err(match abandoned {
                Err(_) if self.root.exists(&self.path(PENDING)) => Failure::Unfinished(error),
                _ => Failure::Unchanged(error),
            });
        }
        let skipped = self.finish(&pending).map_err(|stop| {
            if stop.changed || self.root.remove(&self.path(PENDING)).is_err() {
                return Failure::Unfinished(stop.error);
            }
            let _ = self.abandon(&temporaries);
            Failure::Unchanged(stop.error)
        })?;
        if skipped.is_empty() {
            self.forget_unused(journal);
        } else if let Ok(journal) = self.journal() {
            self.forget_unused(&journal);
        }
        Ok(skipped)
    }

    fn journal_write(&self, journal: &Journal) -> Write {
        let path = self.path(JOURNAL);
        if journal.entries.is_empty() {
            return Write::Remove { path };
        }
        Write::File {
            path,
            contents: journal.to_text().into_bytes(),
            attributes: Attributes::PRIVATE,
            was: None,
        }
    }

    fn prepare(&self, writes: &[Write], originals: &[Vec<u8>], temporaries: &str) -> io::Result<()> {
        self.root.make_folders(&self.path(SAVED))?;
        self.publish(PREPARING, temporaries.as_bytes())?;
        for original in originals {
            let name = format!("{SAVED}/{}", sha256(original));
            if self.saved(name.trim_start_matches("saved/")).is_err() {
                self.publish(&name, original)?;
            }
        }
        let mut folders = Vec::new();
        let files = writes.iter().filter_map(|write| match write {
            Write::File {
                path,
                contents,
                attributes,
                was,
            } => Some((path, contents, *attributes, was)),
            Write::Remove { .. } => None,
        });
        for ((path, contents, attributes, was), temporary) in files.zip(temporaries.lines()) {
            let folder = folder_of(path);
            self.root.make_folders(folder)?;
            if was.is_some() {
                let made = self.root.create_steadily(temporary, contents, attributes);
                made.inspect_err(|_| *self.stopped_at.borrow_mut() = Some(path.clone()))?;
            } else {
                self.root.create(temporary, contents, attributes)?;
            }
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
            .iter()
            .try_for_each(|folder| self.root.sync_folder(folder))
    }

    /// Writes a file of the state folder, whole or not at all.
    fn publish(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let temporary = format!("{path}.new");
        self.root.remove(&temporary)?;
        let written = self
            .root
            .create(&temporary, contents, Attributes::PRIVATE)
            .and_then(|()| self.root.rename(&temporary, &path));
        if let Err(error) = written {
            let _ = self.root.remove(&temporary);
            return Err(error);
        }
        self.root.sync_folder(folder_of(&path))
    }

    /// A file that is not what it was planned for, or that cannot be replaced for good, stays as it is, and is planned
    /// anew: gives those. Nothing does if the journal, which is first, cannot be written.
    fn finish(&self, pending: &str) -> Result<Vec<String>, Stop> {
        let mut folders = Vec::new();
        let mut skipped = Vec::new();
        let mut changed = false;
        for line in pending.lines().filter(|line| !line.starts_with(WAS)) {
            let fields: Vec<&str> = line.split('\t').collect();
            let done = || match fields.as_slice() {
                // Done before the interruption.
                ["rename", from, ..] if !self.root.is_file(from, false) => Ok(()),
                ["rename", from, to, was] if !was.is_empty() => self.root.replace(from, to, was),
                ["rename", from, to, ..] => self.root.rename(from, to),
                ["remove", path] => self.root.remove(path),
                _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
            };
            // What is renamed lies beside what it replaces.
            let path = fields.get(1).copied().unwrap_or("/");
            // What is read-only once may be so no more, and what is so for good is told from that.
            match done().or_else(|_| done()) {
                Err(error) if changed && is_lasting(&error) => {
                    let target = fields.get(2).copied().unwrap_or(path);
                    let forgotten = self.forget(target, pending);
                    forgotten.map_err(|error| Stop { changed, error })?;
                    skipped.push(target.to_owned());
                    // Where nothing can be written it stays for the next run, which finds the record too.
                    let _ = self.root.remove(path);
                    continue;
                }
                done => done.map_err(|error| Stop { changed, error })?,
            }
            changed = true;
            if !folders.contains(&folder_of(path)) {
                folders.push(folder_of(path));
            }
        }
        let rest = || {
            for folder in &folders {
                match self.root.sync_folder(folder) {
                    // Whoever may write above it has moved it since.
                    Err(error) if is_absent(&error) => {}
                    synced => synced?,
                }
            }
            self.root.remove(&self.path(PENDING))?;
            self.root.sync_folder(&self.dir)?;
            self.root.remove(&self.path(PREPARING))
        };
        rest().map_err(|error| Stop { changed, error })?;
        Ok(skipped)
    }

    /// Has the journal say of a file what it said before. One that was to be taken back is left.
    fn forget(&self, path: &str, pending: &str) -> io::Result<()> {
        let mut journal = self.journal()?;
        let mut before = Journal::default();
        for line in pending.lines().filter_map(|line| line.strip_prefix(WAS)) {
            let _ = before.add_line(line);
        }
        let now = journal.entry(path);
        if now == before.entry(path) {
            return Ok(());
        }
        let left = now.is_none() || !before.applies(path);
        journal.entries.retain(|entry| entry.path != path);
        if let Some(entry) = before.entry(path) {
            journal.put(entry.clone());
            if left {
                journal.leave(path);
            }
        }
        if journal.entries.is_empty() {
            return self.root.remove(&self.path(JOURNAL));
        }
        self.publish(JOURNAL, journal.to_text().as_bytes())
    }

    fn abandon(&self, temporaries: &str) -> io::Result<()> {
        let mut removed = Ok(());
        // Others may have put something in the place of one, which is theirs. One holds up no other.
        for temporary in temporaries.lines().filter(|path| self.root.is_file(path, true)) {
            match self.root.remove(temporary) {
                Err(error) if !is_lasting(&error) => removed = Err(error),
                _ => {}
            }
        }
        removed?;
        self.root.remove(&self.path(PREPARING))?;
        if let Ok(journal) = self.journal() {
            self.forget_unused(&journal);
        }
        Ok(())
    }

    /// Removes originals that no entry names, and the folder when nothing is left to remember.
    fn forget_unused(&self, journal: &Journal) {
        let saved = self.path(SAVED);
        for entry in self.root.list(&saved).unwrap_or_default() {
            let used = |saved: &crate::journal::Saved| saved.name == entry.name;
            if !journal
                .entries
                .iter()
                .any(|entry| entry.original.as_ref().is_some_and(used))
            {
                let _ = self.root.remove(&format!("{saved}/{}", entry.name));
            }
        }
        if journal.entries.is_empty() {
            for folder in [saved.as_str(), &self.dir, folder_of(&self.dir)] {
                let _ = self.root.remove_empty_folder(folder);
            }
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

struct Stop {
    changed: bool,
    error: io::Error,
}

/// A name beside a file that nobody can have taken before.
fn temporary(path: &str) -> String {
    let folder = folder_of(path).trim_end_matches('/');
    format!(
        "{folder}/.lenscap-{:016x}",
        RandomState::new().build_hasher().finish()
    )
}

/// Whether an error is about one file, and will be the same the next time: it may not be replaced, something is mounted
/// over it, or a folder is in its place.
fn is_lasting(error: &io::Error) -> bool {
    const LASTING: [i32; 5] = [
        Errno::EPERM as i32,
        Errno::EROFS as i32,
        Errno::EBUSY as i32,
        Errno::EXDEV as i32,
        Errno::EISDIR as i32,
    ];
    error.raw_os_error().is_some_and(|errno| LASTING.contains(&errno))
}

/// Whether an error says that the file, or a folder on its way, is not there.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
