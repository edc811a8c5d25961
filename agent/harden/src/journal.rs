//! What was changed, and what it was before: enough to take it back.
//!
//! The journal is a text file in the state folder, one line for each file. The originals lie beside it, named by their
//! SHA-256. Both are for root alone.

use ring::digest::{SHA256, digest};

use crate::root::Attributes;

/// The most files that a journal holds.
pub const MAX_ENTRIES: usize = 1024;
/// Marks beside that of an insecure original.
const LEFT: u8 = 2;
const BELOW: u8 = 4;
const HEADER: &str = "lenscap-harden 1";

/// What the hardener did to this root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// One for each changed file.
    pub entries: Vec<Entry>,
    /// The files among them that were to be taken back, and could not be: what is in them is applied no more.
    pub left: Vec<String>,
}

/// A changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file, after all links.
    pub path: String,
    /// What it was; `None`: it was not there.
    pub original: Option<Saved>,
    /// SHA-256 of what was written, in hexadecimal.
    pub written: String,
    /// Whether the original holds a default or empty password, or lets one in.
    pub insecure: bool,
    /// Whether the original is what lies below the overlay that the root is: the firmware's own.
    pub below: bool,
    /// Why, for people.
    pub why: String,
}

/// A saved original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// SHA-256 of its contents, in hexadecimal: its name in the state folder.
    pub name: String,
    /// Its owner and mode.
    pub attributes: Attributes,
}

impl Journal {
    /// The entry of a file.
    #[must_use]
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// Whether a file is one that was changed, and was not to be taken back since.
    #[must_use]
    pub fn applies(&self, path: &str) -> bool {
        self.entry(path).is_some() && !self.left.iter().any(|left| left == path)
    }

    /// A file was to be taken back, and could not be.
    pub fn leave(&mut self, path: &str) {
        if !self.left.iter().any(|left| left == path) {
            self.left.push(path.to_owned());
        }
    }

    /// Adds an entry, or replaces that of the same file.
    pub fn put(&mut self, entry: Entry) {
        self.left.retain(|left| *left != entry.path);
        match self.entries.iter_mut().find(|old| old.path == entry.path) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// The journal's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for entry in &self.entries {
            text.push_str(&self.line(entry));
        }
        text
    }

    /// An entry's line.
    pub(crate) fn line(&self, entry: &Entry) -> String {
        let Entry {
            path,
            original,
            written,
            insecure,
            below,
            why,
        } = entry;
        let (name, attributes) = match original {
            Some(saved) => (saved.name.as_str(), saved.attributes),
            None => ("-", Attributes::PRIVATE),
        };
        let Attributes { mode, uid, gid } = attributes;
        let marks =
            u8::from(*insecure) + if self.applies(path) { 0 } else { LEFT } + if *below { BELOW } else { 0 };
        let why = why.replace(|c: char| c.is_control(), " ");
        format!("{path}\t{name}\t{mode:o}\t{uid}\t{gid}\t{written}\t{marks}\t{why}\n")
    }

    /// Reads a journal's text. `None`: it is damaged or of a later version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEADER || !text.ends_with('\n') {
            return None;
        }
        let mut journal = Self::default();
        for line in lines {
            if journal.entries.len() == MAX_ENTRIES {
                return None;
            }
            journal.add_line(line)?;
        }
        Some(journal)
    }

    /// Adds what [`line`](Self::line) gave. `None`: it is damaged.
    pub(crate) fn add_line(&mut self, line: &str) -> Option<()> {
        let (entry, left) = parse_entry(line)?;
        if left {
            self.left.push(entry.path.clone());
        }
        self.entries.push(entry);
        Some(())
    }
}

fn parse_entry(line: &str) -> Option<(Entry, bool)> {
    let mut fields = line.splitn(8, '\t');
    let path = fields.next().filter(|path| path.starts_with('/'))?;
    let name = fields.next()?;
    let attributes = Attributes {
        mode: u32::from_str_radix(fields.next()?, 8).ok()?,
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    };
    let written = fields.next().filter(|text| is_digest(text))?;
    let marks: u8 = fields.next()?.parse().ok()?;
    let original = match name {
        "-" => None,
        name => Some(Saved {
            name: Some(name).filter(|name| is_digest(name))?.into(),
            attributes,
        }),
    };
    let entry = Entry {
        path: path.into(),
        original,
        written: written.into(),
        insecure: marks & 1 != 0,
        below: marks & BELOW != 0,
        why: fields.next()?.into(),
    };
    Some((entry, marks & LEFT != 0))
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let mut journal = Journal::default();
        journal.put(Entry {
            path: "/etc/a b".into(),
            original: Some(Saved {
                name: sha256(b"x"),
                attributes: Attributes {
                    mode: 0o4755,
                    uid: 1,
                    gid: 2,
                },
            }),
            written: sha256(b"y"),
            insecure: true,
            below: true,
            why: "two\treasons".into(),
        });
        journal.put(Entry {
            path: "/etc/new".into(),
            original: None,
            written: sha256(b"z"),
            insecure: false,
            below: false,
            why: String::new(),
        });
        journal.left.push("/etc/a b".into());
        let text = journal.to_text();
        let read = Journal::parse(&text).unwrap();
        assert_eq!(read.entries[0].why, "two reasons");
        assert_eq!(read.to_text(), text);
        assert!(!read.applies("/etc/a b") && read.applies("/etc/new") && !read.applies("/etc/other"));
        assert!(read.entries[0].insecure && !read.entries[1].insecure);
        assert_eq!(Journal::parse(&text[..text.len() - 1]), None);
        assert_eq!(
            Journal::parse(&text.replace("lenscap-harden 1", "lenscap-harden 2")),
            None
        );
        for cut in 0..text.len() - 1 {
            if !text[..cut].ends_with('\n') {
                assert_eq!(Journal::parse(&text[..cut]), None, "cut at {cut}");
            }
        }
    }
}
