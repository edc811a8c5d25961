//! Changes as they are planned: measures read and change files here, and the root stays as it is.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;

use crate::journal::sha256;
use crate::listeners::{self, Listener};
use crate::report::{Finding, Measure, Status};
use crate::root::{Attributes, Root};
use crate::transaction::is_absent;

/// Why a file stays as it is.
const LEFT: &str =
    "left as it is: others than root own it or one of its folders, it has several names, or it is immutable";
/// The same where the firmware's own boot does that.
pub(crate) const MOUNTED: &str = "the firmware mounts another file over this one: it is left as it is. Where that one lies in the tree it is \
     looked at by itself, and what is changed there shows after the next boot";

/// Why a file stays as it is that must not be changed.
pub(crate) fn why_left(root: &Root, path: &str) -> &'static str {
    let mounted = root.canonical(path).is_ok_and(|real| root.is_mounted(&real));
    if mounted { MOUNTED } else { LEFT }
}

/// How much of what was read is kept, in bytes: each measure reads a camera's scripts, more than once.
const MAX_KEPT: usize = 1 << 19;
/// Why a file is left for another run.
const UNSTEADY: &str = "changed while it was looked at: it is left as it is, and is for another look";

/// What a file was when it was first read here. What is planned from it is planned for that alone: the owner of a folder
/// could otherwise have what he wrote there put in the place of root's file.
struct Seen {
    path: String,
    real: String,
    digest: String,
    is_steady: bool,
    /// What was read, as far as it is kept.
    text: Option<Vec<u8>>,
}

/// A file that will be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What it is; `None`: it is not there.
    pub original: Option<Vec<u8>>,
    /// What it will be.
    pub contents: Vec<u8>,
    /// Its owner and mode.
    pub before: Attributes,
    /// The same as it will be.
    pub attributes: Attributes,
    /// Whether the original holds a default or empty password.
    pub insecure: bool,
    /// What undo returns to, if that is not what is there.
    pub base: Option<(Vec<u8>, Attributes)>,
    /// Why, for people.
    pub why: Vec<String>,
}

/// All planned changes of a root, and what was found on the way.
pub struct Edits<'a> {
    root: &'a Root,
    /// Sorted by path.
    files: Vec<(String, Edit)>,
    /// What was read, sorted by path.
    seen: RefCell<Vec<Seen>>,
    /// How much more of it may be kept.
    left: Cell<usize>,
    pub(crate) listeners: OnceCell<io::Result<Vec<Listener>>>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Whether the firmware waits for a shell on a port: what gives one is not stopped either.
    pub awaited: bool,
}

impl<'a> Edits<'a> {
    /// No changes.
    #[must_use]
    pub fn new(root: &'a Root) -> Self {
        Self {
            root,
            files: Vec::new(),
            seen: RefCell::default(),
            left: Cell::new(MAX_KEPT),
            listeners: OnceCell::new(),
            findings: Vec::new(),
            awaited: false,
        }
    }

    /// The root that is to be changed.
    #[must_use]
    pub fn root(&self) -> &'a Root {
        self.root
    }

    /// A file as it will be. `None`: it is not there, or another one than when it was read before, if that was not kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let kept = {
            let all = self.seen.borrow();
            let seen = place(&all, path).ok().and_then(|at| all.get(at));
            seen.and_then(|seen| Some((seen.real.clone(), seen.text.clone()?)))
        };
        let contents = match kept {
            Some((real, text)) => Ok((real, Some(text))),
            None => self.root.canonical(path).map(|real| (real, None)),
        };
        let contents = contents.and_then(|(real, text)| {
            if let Ok(at) = self.at(&real) {
                return Ok(Some(self.files[at].1.contents.clone()));
            }
            if text.is_some() {
                return Ok(text);
            }
            let contents = self.root.read(&real)?;
            Ok(self.is_as_seen(path, &real, &contents).then_some(contents))
        });
        match contents {
            Err(error) if is_absent(&error) => Ok(None),
            contents => contents,
        }
    }

    /// Where the change of a file is, or would be.
    fn at(&self, real: &str) -> Result<usize, usize> {
        self.files.binary_search_by(|(have, _)| have.as_str().cmp(real))
    }

    fn edit(&mut self, real: &str) -> Option<&mut Edit> {
        let at = self.at(real).ok()?;
        self.files.get_mut(at).map(|(_, edit)| edit)
    }

    /// Where a file was read first.
    pub(crate) fn place(&self, path: &str) -> String {
        let all = self.seen.borrow();
        let seen = place(&all, path).ok().and_then(|at| all.get(at));
        seen.map_or(path, |seen| &seen.real).to_owned()
    }

    /// Who listens on a running camera, at the moment when this was asked first.
    ///
    /// # Errors
    /// When `/proc` could not be read.
    pub fn listeners(&self) -> Result<&[Listener], &io::Error> {
        let all = self.listeners.get_or_init(|| listeners::read(self.root));
        all.as_deref()
    }

    fn is_as_seen(&self, path: &str, real: &str, contents: &[u8]) -> bool {
        let digest = sha256(contents);
        let mut all = self.seen.borrow_mut();
        let at = match place(&all, path) {
            Ok(at) => {
                let seen = &mut all[at];
                seen.is_steady &= seen.real == real && seen.digest == digest;
                return seen.is_steady;
            }
            Err(at) => at,
        };
        let left = self.left.get().checked_sub(contents.len());
        self.left.set(left.unwrap_or(self.left.get()));
        all.insert(
            at,
            Seen {
                path: path.to_owned(),
                real: real.to_owned(),
                digest,
                is_steady: true,
                text: left.map(|_| contents.to_vec()),
            },
        );
        true
    }

    /// Tells of the files that were others each time they were read.
    pub(crate) fn tell_unsteady(&mut self) {
        for seen in self.seen.take() {
            if !seen.is_steady {
                self.find(Measure::Telnet, Status::Unknown, Some((&seen.path, 0)), UNSTEADY);
            }
        }
    }

    /// Plans other contents for a file that is there. One that must not or cannot be changed is told: see
    /// [`Root::may_change`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn change(&mut self, path: &str, contents: Vec<u8>, insecure: bool, why: &str) -> io::Result<()> {
        // Where links lead now, and nobody else can have them lead elsewhere from now on.
        let real = self.root.canonical(path)?;
        let may = self.root.may_change_at(&real);
        if may && self.change_own(path, &real, contents, insecure, why, true)? {
            return Ok(());
        }
        let measure = if insecure {
            Measure::Credentials
        } else {
            Measure::Telnet
        };
        let (status, text) = if may {
            (Status::Unknown, UNSTEADY)
        } else {
            match why_left(self.root, &real) {
                MOUNTED => (Status::Fails, MOUNTED),
                text => (Status::Unknown, text),
            }
        };
        self.find(measure, status, Some((path, 0)), text);
        for finding in &mut self.findings {
            if finding.status == Status::Planned && finding.path.as_deref() == Some(path) {
                finding.status = Status::Unknown;
            }
        }
        Ok(())
    }

    fn change_own(
        &mut self,
        path: &str,
        real: &str,
        contents: Vec<u8>,
        insecure: bool,
        why: &str,
        roots: bool,
    ) -> io::Result<bool> {
        if self.at(real).is_err() {
            let (original, before) = match self.root.original(real) {
                Ok(original) => original,
                Err(_) if roots => return Ok(false),
                Err(_) => (self.root.read(real)?, self.root.attributes(real)?),
            };
            if !self.is_as_seen(path, real, &original) {
                return Ok(false);
            }
            let edit = Edit {
                original: Some(original),
                contents: Vec::new(),
                before,
                attributes: before,
                insecure: false,
                base: None,
                why: Vec::new(),
            };
            self.add(real.to_owned(), edit);
        }
        if let Some(edit) = self.edit(real) {
            edit.contents = contents;
            edit.insecure |= insecure;
            if !edit.why.iter().any(|old| old == why) {
                edit.why.push(why.to_owned());
            }
        }
        Ok(true)
    }

    /// Plans a file that is this, whether there is one or not.
    ///
    /// # Errors
    /// When one is there and cannot be read.
    pub fn put(
        &mut self,
        path: &str,
        contents: Vec<u8>,
        attributes: Attributes,
        why: &str,
    ) -> io::Result<()> {
        if self.root.exists(path) {
            let real = self.root.canonical(path)?;
            self.change_own(path, &real, contents, false, why, false)?;
            return Ok(());
        }
        let edit = Edit {
            original: None,
            contents,
            before: attributes,
            attributes,
            insecure: false,
            base: None,
            why: vec![why.to_owned()],
        };
        self.leave(path);
        self.add(path.to_owned(), edit);
        Ok(())
    }

    /// The same, and whatever its owner and mode are, they become these.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_owned(
        &mut self,
        path: &str,
        contents: Vec<u8>,
        attributes: Attributes,
        why: &str,
    ) -> io::Result<()> {
        self.put(path, contents, attributes, why)?;
        // Its folder may have to be made.
        let path = self.root.canonical(path).unwrap_or_else(|_| path.to_owned());
        if let Some(edit) = self.edit(&path) {
            edit.attributes = attributes;
        }
        Ok(())
    }

    /// Plans to begin anew with a file, from these contents.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) fn begin_anew(
        &mut self,
        path: &str,
        base: (Vec<u8>, Attributes),
        insecure: bool,
        why: &str,
    ) -> io::Result<()> {
        self.change(path, base.0.clone(), insecure, why)?;
        if let Some(edit) = self.edit(path) {
            edit.attributes = base.1;
            edit.base = Some(base);
        }
        Ok(())
    }

    /// Gives up what was to begin anew and could not be closed.
    pub(crate) fn settle_anew(&mut self) {
        let anew = self.files.iter().filter(|(_, edit)| edit.base.is_some());
        let open = anew.filter(|(path, _)| {
            self.findings.iter().any(|finding| {
                let at = finding.path.as_ref().and_then(|at| self.root.canonical(at).ok());
                matches!(finding.status, Status::Fails | Status::Unknown) && at.as_ref() == Some(path)
            })
        });
        let open: Vec<String> = open.map(|(path, _)| path.clone()).collect();
        for path in open {
            self.leave(&path);
        }
    }

    /// Gives up the change of a file.
    pub fn leave(&mut self, path: &str) -> Option<Edit> {
        let at = self.at(path).ok()?;
        Some(self.files.remove(at).1)
    }

    fn add(&mut self, path: String, edit: Edit) {
        let (Ok(at) | Err(at)) = self.at(&path);
        self.files.insert(at, (path, edit));
    }

    /// The changed files, by path. A file that would stay as it is, is none.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Edit)> {
        self.files
            .iter()
            .filter(|(_, edit)| {
                edit.original.as_ref() != Some(&edit.contents) || edit.before != edit.attributes
            })
            .map(|(path, edit)| (path.as_str(), edit))
    }

    /// Adds a finding.
    pub fn find(
        &mut self,
        measure: Measure,
        status: Status,
        at: Option<(&str, u32)>,
        text: impl Into<String>,
    ) {
        // What a file holds must not move a terminal's cursor.
        let text = text.into().replace(|c: char| c.is_control(), " ");
        let finding = Finding {
            measure,
            status,
            path: at.map(|(path, _)| path.to_owned()),
            line: at.map(|(_, line)| line).filter(|line| *line > 0),
            text,
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

fn place(seen: &[Seen], path: &str) -> Result<usize, usize> {
    seen.binary_search_by(|seen| seen.path.as_str().cmp(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What the owner of a folder wrote there must not come in the place of root's file, however he swaps the two.
    #[test]
    fn what_was_read_of_one_file_is_not_planned_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for folder in ["etc/init.d", "home/u/a", "home/u/b"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("etc/init.d/rcS"), "roots\n").unwrap();
        for folder in ["a", "b"] {
            fs::write(at(&format!("home/u/{folder}/rcS")), "theirs\n").unwrap();
        }
        let root = Root::tree(dir.path()).unwrap();
        let mut edits = Edits::new(&root);
        let swap = |folder: &str| {
            let (folder, aside) = (
                at(&format!("home/u/{folder}")),
                at(&format!("home/u/{folder}.aside")),
            );
            fs::rename(&folder, aside).unwrap();
            symlink("/etc/init.d", folder).unwrap();
        };
        let planned = "runs a server";
        let (a, b) = ("/home/u/a/rcS", "/home/u/b/rcS");
        for path in [a, b] {
            assert_eq!(edits.read(path).unwrap().unwrap(), b"theirs\n");
            edits.find(Measure::Telnet, Status::Planned, Some((path, 1)), planned);
        }
        swap("a");
        edits.change(a, b"evil\n".to_vec(), false, planned).unwrap();
        swap("b");
        // What was read is kept, and is not what is there.
        assert_eq!(edits.read(b).unwrap().unwrap(), b"theirs\n");
        edits.change(b, b"evil\n".to_vec(), false, planned).unwrap();
        assert_eq!(edits.files().count(), 0);
        edits.tell_unsteady();
        let unknown = |finding: &&Finding| finding.status == Status::Unknown;
        assert_eq!(
            edits.findings.iter().filter(unknown).count(),
            edits.findings.len()
        );
        let unsteady = edits.findings.iter().filter(|finding| finding.text == UNSTEADY);
        assert_eq!(unsteady.count(), 2);
        // Root's own is there as ever.
        assert_eq!(edits.read("/etc/init.d/rcS").unwrap().unwrap(), b"roots\n");
        edits
            .change("/etc/init.d/rcS", b"closed\n".to_vec(), false, planned)
            .unwrap();
        assert_eq!(edits.files().count(), 1);
    }
}
