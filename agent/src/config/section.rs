//! Takes typed values out of one section and collects what is wrong with it.

use std::path::{Path, PathBuf};

use crate::files;

use super::diagnostic::{Diagnostic, Position};
use super::suggest::nearest;
use super::uci::{Entry, Section, Word};

/// The most mistakes that are shown; one more line says that there are others.
const MAX_DIAGNOSTICS: usize = 50;

/// What was found wrong so far.
pub(super) struct Sink {
    pub(super) file: String,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Sink {
    pub(super) fn new(file: String) -> Self {
        Self {
            file,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, position: Position, message: String) {
        let diagnostic = self.diagnostic(position, message, false);
        push(&mut self.errors, diagnostic);
    }

    pub(super) fn warn(&mut self, position: Position, message: String) {
        let diagnostic = self.diagnostic(position, message, false);
        push(&mut self.warnings, diagnostic);
    }

    /// `word` names nothing that the program knows.
    pub(super) fn unknown(&mut self, word: &Word, what: &str, known: &[&str]) {
        let name = &word.text;
        let message = match nearest(name, known) {
            Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
            None => format!("unknown {what} `{name}`; known are {}", known.join(", ")),
        };
        let diagnostic = self.diagnostic(word.position, message, true);
        push(&mut self.warnings, diagnostic);
    }

    fn diagnostic(&self, position: Position, message: String, unknown_name: bool) -> Diagnostic {
        Diagnostic {
            file: self.file.clone(),
            position,
            message,
            unknown_name,
        }
    }
}

fn push(list: &mut Vec<Diagnostic>, diagnostic: Diagnostic) {
    if list.len() < MAX_DIAGNOSTICS {
        list.push(diagnostic);
    } else if list.len() == MAX_DIAGNOSTICS {
        let Diagnostic {
            file, unknown_name, ..
        } = diagnostic;
        let message = "and more, not shown".into();
        list.push(Diagnostic {
            file,
            position: Position::default(),
            message,
            unknown_name,
        });
    }
}

/// A section that is being read.
pub(super) struct Reader<'a> {
    pub(super) section: &'a Section,
    pub(super) sink: &'a mut Sink,
}

impl<'a> Reader<'a> {
    /// Starts to read a section: options that are not in `known` are reported.
    pub(super) fn new(section: &'a Section, known: &[&str], sink: &'a mut Sink) -> Self {
        let what = format!("option in `config {}`:", section.kind.text);
        for entry in &section.entries {
            if !known.contains(&entry.name.text.as_str()) {
                sink.unknown(&entry.name, &what, known);
            }
        }
        Self { section, sink }
    }

    pub(super) fn position(&self) -> Position {
        self.section.kind.position
    }

    /// An option that is there at most once.
    pub(super) fn one(&mut self, name: &str) -> Option<&'a Word> {
        let mut found: Option<&'a Entry> = None;
        for entry in self
            .section
            .entries
            .iter()
            .filter(|entry| entry.name.text == name)
        {
            if let Some(first) = found {
                let line = first.name.position.line;
                self.sink.error(
                    entry.name.position,
                    format!("`{name}` is given twice, first in line {line}; keep one"),
                );
                continue;
            }
            if entry.is_list {
                self.sink.error(
                    entry.name.position,
                    format!("`{name}` takes one value: write `option {name}`"),
                );
            }
            found = Some(entry);
        }
        let entry = found?;
        if entry.value.text.is_empty() {
            let message = format!("`{name}` is empty; give it a value or remove the line");
            self.sink.error(entry.value.position, message);
            return None;
        }
        Some(&entry.value)
    }

    /// All values of a list, which may also be written as options. At most `limit`.
    pub(super) fn many(&mut self, name: &str, limit: usize) -> Vec<&'a Word> {
        let mut values: Vec<&'a Word> = Vec::new();
        for entry in self
            .section
            .entries
            .iter()
            .filter(|entry| entry.name.text == name)
        {
            let position = entry.value.position;
            if entry.value.text.is_empty() {
                self.sink.error(
                    position,
                    format!("`{name}` is empty; give it a value or remove the line"),
                );
            } else if values.iter().any(|earlier| earlier.text == entry.value.text) {
                self.sink.error(
                    position,
                    format!("this value of `{name}` is in the list already; remove one"),
                );
            } else if values.len() == limit {
                self.sink.error(
                    position,
                    format!("more than {limit} values of `{name}`; remove some"),
                );
                break;
            } else {
                values.push(&entry.value);
            }
        }
        values
    }

    /// An option's value through `parse`, whose error is reported.
    pub(super) fn parsed<T>(&mut self, name: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let word = self.one(name)?;
        self.value(name, word, parse)
    }

    /// A list's values through `parse`, whose errors are reported.
    pub(super) fn parsed_list<T>(
        &mut self,
        name: &str,
        limit: usize,
        parse: fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let words = self.many(name, limit);
        words
            .into_iter()
            .filter_map(|word| self.value(name, word, parse))
            .collect()
    }

    /// A value that [`one`](Self::one) gave, through `parse`, whose error is reported.
    pub(super) fn value<T>(
        &mut self,
        name: &str,
        word: &Word,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&word.text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.sink.error(word.position, format!("`{name}`: {message}"));
                None
            }
        }
    }

    /// The path of a file that must be readable.
    pub(super) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let word = self.one(name)?;
        self.file_at(name, word)
    }

    /// The path of a readable file that must not be readable by everyone.
    pub(super) fn secret_file(&mut self, name: &str) -> Option<PathBuf> {
        let word = self.one(name)?;
        let path = self.file_at(name, word)?;
        if super::is_world_readable(&path) {
            let message = format!(
                "`{name}`: every user may read {}; run `chmod 600` or `chmod 640` on it",
                path.display()
            );
            self.sink.warn(word.position, message);
        }
        Some(path)
    }

    fn file_at(&mut self, name: &str, word: &Word) -> Option<PathBuf> {
        let path = self.value(name, word, absolute_path)?;
        let wrong = match files::check(&path) {
            Ok(()) => return Some(path),
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
                format!("{} is a directory, not a file", path.display())
            }
            Err(error) => format!("cannot open {}: {error}", path.display()),
        };
        self.sink.error(word.position, format!("`{name}`: {wrong}"));
        None
    }

    pub(super) fn error(&mut self, position: Position, message: &str) {
        self.sink.error(position, message.into());
    }
}

/// UCI's truth values.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "on" | "true" | "yes" | "enabled" => Ok(true),
        "0" | "off" | "false" | "no" | "disabled" => Ok(false),
        _ => Err("expected a truth value: 1, on, true, yes, enabled, or 0, off, false, no, disabled".into()),
    }
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    if Path::new(text).is_absolute() {
        Ok(PathBuf::from(text))
    } else {
        Err("expected a path that starts with `/`".into())
    }
}
