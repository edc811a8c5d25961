//! Mistakes with their places.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most mistakes that are reported at a time.
const MAX_ERRORS: usize = 50;
/// A suggested key may differ from the one given by this many edits.
const MAX_EDITS: usize = 2;

/// One mistake or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The configuration file.
    pub file: PathBuf,
    /// Line and column, from 1; `None` for the file as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Diagnostic {
    pub(super) fn file(path: &Path, message: String) -> Self {
        Self {
            file: path.to_owned(),
            place: None,
            message,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<Diagnostic>);

impl Errors {
    pub(super) fn one(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Gathers diagnostics while a file is checked.
pub(super) struct Collector<'a> {
    path: &'a Path,
    text: &'a str,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl fmt::Display) {
        if self.errors.len() < MAX_ERRORS {
            let diagnostic = self.at(Some(span), message.to_string());
            self.errors.push(diagnostic);
        }
    }

    pub(super) fn warn_file(&mut self, message: &str) {
        self.warnings
            .push(Diagnostic::file(self.path, message.to_owned()));
    }

    pub(super) fn finish(self) -> Result<Vec<Diagnostic>, Errors> {
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Errors(self.errors))
        }
    }

    /// An error of the TOML parser. Its own rendering quotes the line, which may hold a hash: only message and place
    /// are used.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> Errors {
        let mut message = error.message().to_owned();
        if let Some(nearest) = nearest_key(&message) {
            message = format!("{message} (did you mean `{nearest}`?)");
        }
        Errors::one(self.at(error.span(), message))
    }

    fn at(&self, span: Option<Range<usize>>, message: String) -> Diagnostic {
        let place = span.map(|span| {
            let before = self.text.get(..span.start).unwrap_or(self.text);
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            (line, column)
        });
        Diagnostic {
            file: self.path.to_owned(),
            place,
            message,
        }
    }
}

/// Out of "unknown field `x`, expected one of `a`, `b`", the one that looks like `x`.
fn nearest_key(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let distance = |key: &str| edits(given, key);
    quoted
        .filter(|key| distance(key) <= MAX_EDITS)
        .min_by_key(|key| distance(key))
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
