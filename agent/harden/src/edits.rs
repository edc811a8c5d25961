//! Changes as they are planned: measures read and change files here, and the root stays as it is.

use std::io;

use crate::report::{Finding, Measure, Status};
use crate::root::{Attributes, Root};
use crate::transaction::is_absent;

/// Why a file stays as it is.
pub(crate) const LEFT: &str =
    "left as it is: others than root own or may write one of its folders, or it is immutable";

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
    /// Why, for people.
    pub why: Vec<String>,
}

/// All planned changes of a root, and what was found on the way.
pub struct Edits<'a> {
    root: &'a Root,
    /// Sorted by path.
    files: Vec<(String, Edit)>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl<'a> Edits<'a> {
    /// No changes.
    #[must_use]
    pub fn new(root: &'a Root) -> Self {
        Self {
            root,
            files: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// The root that is to be changed.
    #[must_use]
    pub fn root(&self) -> &'a Root {
        self.root
    }

    /// A file as it will be. `None`: it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let contents = self.root.canonical(path).and_then(|path| {
            match self.files.iter().find(|(have, _)| *have == path) {
                Some((_, edit)) => Ok(edit.contents.clone()),
                None => self.root.read(&path),
            }
        });
        match contents {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Plans other contents for a file that is there. One that must not or cannot be changed is told: see
    /// [`Root::may_change`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn change(&mut self, path: &str, contents: Vec<u8>, insecure: bool, why: &str) -> io::Result<()> {
        if self.root.may_change(path) {
            return self.change_own(path, contents, insecure, why);
        }
        let measure = if insecure {
            Measure::Credentials
        } else {
            Measure::Telnet
        };
        self.find(measure, Status::Unknown, Some((path, 0)), LEFT);
        for finding in &mut self.findings {
            if finding.status == Status::Planned && finding.path.as_deref() == Some(path) {
                finding.status = Status::Unknown;
            }
        }
        Ok(())
    }

    fn change_own(&mut self, path: &str, contents: Vec<u8>, insecure: bool, why: &str) -> io::Result<()> {
        let path = self.root.canonical(path)?;
        if !self.files.iter().any(|(have, _)| *have == path) {
            let before = self.root.attributes(&path)?;
            let edit = Edit {
                original: Some(self.root.read(&path)?),
                contents: Vec::new(),
                before,
                attributes: before,
                insecure: false,
                why: Vec::new(),
            };
            self.add(path.clone(), edit);
        }
        if let Some((_, edit)) = self.files.iter_mut().find(|(have, _)| *have == path) {
            edit.contents = contents;
            edit.insecure |= insecure;
            if !edit.why.iter().any(|old| old == why) {
                edit.why.push(why.to_owned());
            }
        }
        Ok(())
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
            return self.change_own(path, contents, false, why);
        }
        let edit = Edit {
            original: None,
            contents,
            before: attributes,
            attributes,
            insecure: false,
            why: vec![why.to_owned()],
        };
        self.files.retain(|(have, _)| have != path);
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
        if let Some((_, edit)) = self.files.iter_mut().find(|(have, _)| *have == path) {
            edit.attributes = attributes;
        }
        Ok(())
    }

    /// Gives up the change of a file.
    pub fn leave(&mut self, path: &str) -> Option<Edit> {
        let at = self.files.iter().position(|(have, _)| have == path)?;
        Some(self.files.remove(at).1)
    }

    fn add(&mut self, path: String, edit: Edit) {
        let at = self.files.partition_point(|(have, _)| *have < path);
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
